"""Every promise of `ports.Catalog` and `ports.Transaction`, kept alike by memory, SQLite and a real PostgreSQL."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import re
import shutil
import sqlite3
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule

from federation import ports
from federation.adapters import (
    catalog_rows,
    sql_errors,
    sql_ground,
    sql_migrate,
    sql_schema,
    sql_sqlite,
    sql_transaction,
    sql_writer,
)
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import ManualClock, SeededIds, SystemClock, UlidIds
from federation.core import authorization, conditions, dataset, discovery, errors, job, kinds, site
from tests import builders, prepared
from tests.postgres import postgres_prepared_url, postgres_server, postgres_template, postgres_url  # noqa: F401 - fixtures

CLIENTS = 8


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def catalog(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[ports.Catalog]:
    """An empty catalog of each make."""
    if request.param == "memory":
        made: ports.Catalog = MemoryCatalog(ManualClock(), SeededIds())
    else:
        is_sqlite = request.param == "sqlite"
        url = prepared.sqlite(tmp_path / "catalog.db") if is_sqlite else request.getfixturevalue("postgres_prepared_url")
        made = SqlCatalog(url, ManualClock(), UlidIds())
    yield made
    made.close()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of an empty database of each make."""
    return f"sqlite:///{tmp_path / 'catalog.db'}" if request.param == "sqlite" else request.getfixturevalue("postgres_url")


def opened(url: str) -> SqlCatalog:
    """The catalog in that database."""
    return SqlCatalog(url, SystemClock(), UlidIds())


def insert(catalog: ports.Catalog, *values: object) -> None:
    """Stores the values in one transaction."""
    catalog.write(lambda tx: [tx.insert(value) for value in values])


def get(catalog: ports.Catalog, cls: type, key: str) -> object:
    """The committed value under the key."""
    return catalog.read(lambda tx: tx.get(cls, key))


def names(catalog: ports.Catalog, **how: object) -> list[str]:
    """Names of the datasets of a listing."""
    return [value.name.short for value in catalog.read(lambda tx: tx.list(dataset.Dataset, **how))]


def change_and_fail(tx: ports.Transaction) -> None:
    """Does all that a transaction can do, then raises."""
    tx.insert(builders.dataset("sales/new"))
    tx.replace(builders.dataset("sales/old", owner="bob"))
    tx.delete(dataset.Namespace, "sales")
    tx.emit("dataset.created", "sales/new", builders.dataset("sales/new"))
    tx.remember("r1", "hash", b"answer")
    raise errors.FailedPrecondition("on second thoughts")


# -- values ------------------------------------------------------------------------------------------------------------------


def test_a_value_comes_back_as_it_was_stored(catalog: ports.Catalog) -> None:
    """With all its fields, and the etag that insert returned."""
    value = builders.dataset("sales/flights", residency=("EU",), labels=(("team", "növény"),), owner="alice")
    stored = catalog.write(lambda tx: tx.insert(value))
    assert get(catalog, dataset.Dataset, "sales/flights") == stored
    assert dataclasses.replace(stored, etag="") == dataclasses.replace(value, etag="")
    assert stored.etag


def test_a_value_that_is_not_there_is_none(catalog: ports.Catalog) -> None:
    """Absence is an answer."""
    assert get(catalog, dataset.Dataset, "sales/flights") is None


def test_every_stored_kind_has_a_table() -> None:
    """A kind that is added to the core cannot be forgotten here."""
    assert set(sql_schema.TABLES) == set(kinds.KINDS)


def test_a_transaction_sees_its_own_changes(catalog: ports.Catalog) -> None:
    """Before anybody else does."""

    def work(tx: ports.Transaction) -> None:
        tx.insert(builders.dataset("sales/a"))
        tx.insert(builders.dataset("sales/b"))
        tx.delete(dataset.Dataset, "sales/a")
        assert tx.get(dataset.Dataset, "sales/a") is None
        assert [value.dataset for value in tx.list(dataset.Dataset)] == ["b"]
        tx.delete(dataset.Dataset, "sales/b")
        assert tx.list(dataset.Dataset) == ()
        assert catalog.read(lambda other: other.list(dataset.Dataset)) == ()

    catalog.write(work)


def test_a_taken_key_is_refused_and_the_transaction_goes_on(catalog: ports.Catalog) -> None:
    """So that 'create unless there' can be said in one transaction, on PostgreSQL too."""
    insert(catalog, builders.dataset("sales/flights", owner="alice"))

    def work(tx: ports.Transaction) -> None:
        with pytest.raises(errors.AlreadyExists, match="sales/flights"):
            tx.insert(builders.dataset("sales/flights", owner="bob"))
        tx.insert(builders.dataset("sales/weather"))

    catalog.write(work)
    assert get(catalog, dataset.Dataset, "sales/flights").owner == "alice"
    assert names(catalog) == ["sales/flights", "sales/weather"]


def test_what_is_absent_can_be_neither_replaced_nor_deleted(catalog: ports.Catalog) -> None:
    """NotFound, with or without an etag."""
    for etag in ("", "e-1"):
        with pytest.raises(errors.NotFound, match="sales/flights"):
            catalog.write(lambda tx, etag=etag: tx.replace(builders.dataset("sales/flights"), etag=etag))
        with pytest.raises(errors.NotFound, match="sales/flights"):
            catalog.write(lambda tx, etag=etag: tx.delete(dataset.Dataset, "sales/flights", etag=etag))


def test_each_change_gives_a_new_etag_and_an_old_one_conflicts(catalog: ports.Catalog) -> None:
    """So nobody overwrites what they have not read."""
    first = catalog.write(lambda tx: tx.insert(builders.dataset("sales/flights")))
    second = catalog.write(lambda tx: tx.replace(first, etag=first.etag))
    assert second.etag not in ("", first.etag)
    for stale in (
        lambda tx: tx.replace(first, etag=first.etag),
        lambda tx: tx.delete(dataset.Dataset, "sales/flights", etag=first.etag),
    ):
        with pytest.raises(errors.Conflict) as caught:
            catalog.write(stale)
        assert caught.value.reason == "ETAG_MISMATCH"
    assert get(catalog, dataset.Dataset, "sales/flights") == second
    catalog.write(lambda tx: tx.delete(dataset.Dataset, "sales/flights", etag=second.etag))
    assert get(catalog, dataset.Dataset, "sales/flights") is None


def test_without_an_etag_the_last_writer_wins(catalog: ports.Catalog) -> None:
    """Which the services use where they hold the row in the same transaction."""
    insert(catalog, builders.dataset("sales/flights"))
    catalog.write(lambda tx: tx.replace(builders.dataset("sales/flights", owner="bob")))
    assert get(catalog, dataset.Dataset, "sales/flights").owner == "bob"


def test_a_value_without_an_etag_is_stored_as_it_is(catalog: ports.Catalog) -> None:
    """A wrapped key has none, and no etag ever matches it."""
    key = builders.wrapped_key()
    assert catalog.write(lambda tx: tx.insert(key)) == key
    with pytest.raises(errors.Conflict):
        catalog.write(lambda tx: tx.replace(key, etag="e-1"))


def test_columns_follow_a_replaced_value(catalog: ports.Catalog) -> None:
    """A listing filters by what is stored now."""
    insert(catalog, builders.site("eu-1"))
    catalog.write(lambda tx: tx.replace(builders.site("eu-1", state=site.SiteState.LOST)))
    assert catalog.read(lambda tx: tx.list(site.Site, where={"state": "READY"})) == ()
    assert len(catalog.read(lambda tx: tx.list(site.Site, where={"state": "LOST"}))) == 1


@pytest.mark.parametrize("bad", ["nul\x00", "lone\ud800surrogate"])
def test_text_that_no_database_holds_is_refused(catalog: ports.Catalog, bad: str) -> None:
    """InvalidArgument, not a stack trace of a driver; the same in memory."""
    with pytest.raises(errors.InvalidArgument, match="not storable"):
        get(catalog, dataset.Namespace, bad)
    with pytest.raises(errors.InvalidArgument, match="not storable"):
        insert(catalog, builders.namespace(bad))


def test_a_class_that_is_not_stored_is_a_mistake_of_the_caller(catalog: ports.Catalog) -> None:
    """TypeError that says where to add it."""
    with pytest.raises(TypeError, match=re.escape("core.kinds.KINDS")):
        get(catalog, dict, "x")


# -- listings ----------------------------------------------------------------------------------------------------------------


def test_a_listing_is_in_byte_order_and_goes_on_after_a_key(catalog: ports.Catalog) -> None:
    """Upper case before lower case and punctuation where ASCII has it, whatever the database's locale."""
    keys = ["b-1", "a", "b", "b1", "c", "ba"]
    insert(catalog, *(builders.namespace(key) for key in keys), builders.namespace("Z"))
    assert [n.name for n in catalog.read(lambda tx: tx.list(dataset.Namespace))] == ["Z", "a", "b", "b-1", "b1", "ba", "c"]
    assert [n.name for n in catalog.read(lambda tx: tx.list(dataset.Namespace, after="b", limit=2))] == ["b-1", "b1"]
    newest = catalog.read(lambda tx: tx.list(dataset.Namespace, after="b1", limit=2, newest_first=True))
    assert [n.name for n in newest] == ["b-1", "b"]


def test_pages_cover_a_listing_once(catalog: ports.Catalog) -> None:
    """Each key exactly once, also when a page ends at the last."""
    insert(catalog, *(builders.version(f"sales/flights@{number}") for number in range(1, 13)))
    seen: list[int] = []
    after = ""
    while page := catalog.read(lambda tx, after=after: tx.list(dataset.Version, parent="sales/flights", after=after, limit=4)):
        seen.extend(value.number for value in page)
        after = kinds.KINDS[dataset.Version].key(page[-1])
    assert seen == list(range(1, 13))


def test_a_listing_keeps_to_its_parent_and_its_filter(catalog: ports.Catalog) -> None:
    """Both at once, an empty value too, and nobody else's children."""
    insert(
        catalog,
        builders.dataset("sales/a", owner="alice"),
        builders.dataset("sales/b", owner="bob"),
        builders.dataset("sales-2/c", owner="alice"),
        builders.dataset("sales/d", owner="alice", delete_time=builders.NOW),
    )
    assert names(catalog, parent="sales") == ["sales/a", "sales/b", "sales/d"]
    assert names(catalog, where={"owner": "alice"}) == ["sales-2/c", "sales/a", "sales/d"]
    assert names(catalog, parent="sales", where={"owner": "alice", "deleted": ""}) == ["sales/a"]
    assert names(catalog, parent="sale") == []


def test_a_listing_takes_any_of_several_parents_values_or_keys(catalog: ports.Catalog) -> None:
    """In key order, each once, and without those that are not there."""
    insert(
        catalog,
        builders.dataset("sales/a", owner="alice"),
        builders.dataset("sales/b", owner="bob"),
        builders.dataset("sales-2/c", owner="carol"),
    )
    assert names(catalog, parent=("sales-2", "sales", "mars")) == ["sales-2/c", "sales/a", "sales/b"]
    assert names(catalog, where={"owner": ("alice", "carol", "eve")}) == ["sales-2/c", "sales/a"]
    assert names(catalog, keys=("sales/b", "sales/x", "sales-2/c")) == ["sales-2/c", "sales/b"]
    assert names(catalog, keys=("sales/b", "sales-2/c"), after="sales-2/c", parent="sales") == ["sales/b"]


def test_what_has_not_changed_is_the_same_value_as_before(catalog: ports.Catalog) -> None:
    """Placement keeps what it has worked out from a row for as long as it reads the very same; a changed row is another."""
    insert(catalog, builders.site("eu-1"), builders.site("us-1"))

    def both() -> tuple[site.Site, ...]:
        return catalog.read(lambda tx: tx.list(site.Site))

    before = both()
    assert [new is old for new, old in zip(both(), before, strict=True)] == [True, True]
    catalog.write(lambda tx: tx.replace(dataclasses.replace(before[0], compute_error="down")))
    after = both()
    assert [new is old for new, old in zip(after, before, strict=True)] == [False, True]
    assert after[0].compute_error == "down"


def test_a_filter_by_an_unknown_column_is_refused(catalog: ports.Catalog) -> None:
    """With the columns that there are."""
    with pytest.raises(errors.InvalidArgument, match="deleted, kind, owner") as caught:
        names(catalog, where={"colour": "red"})
    assert caught.value.reason == "COLUMN_UNKNOWN"


@pytest.mark.parametrize("limit", [0, -1, catalog_rows.LIMIT_MAX + 1])
def test_a_listing_without_bounds_is_refused(catalog: ports.Catalog, limit: int) -> None:
    """And not clipped, or a short page would be taken for the last one."""
    with pytest.raises(errors.InvalidArgument, match=str(limit)):
        names(catalog, limit=limit)
    with pytest.raises(errors.InvalidArgument, match=str(limit)):
        catalog.events(0, limit=limit)


def test_every_listing_runs_along_an_index(tmp_path: Path) -> None:
    """SQLite's own plan: no scan of a table, no sorting, for any kind, parent and column."""
    opened(f"sqlite:///{tmp_path / 'catalog.db'}").close()
    engine = sa.create_engine(f"sqlite:///{tmp_path / 'catalog.db'}")
    with engine.connect() as connection:
        for cls, kind in kinds.KINDS.items():
            filters = [{}, *({column: "x"} for column in kind.columns or {})]
            for parent, where in [("", where) for where in filters] + [("p", {})]:
                for newest_first in (False, True):
                    statement, values = sql_transaction.listing(
                        cls, parent=parent, where=where, after="k", limit=10, newest_first=newest_first
                    )
                    sql = statement.params(values).compile(connection, compile_kwargs={"literal_binds": True})
                    plan = "; ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}"))
                    assert plan.startswith("SEARCH"), (kind.table, where, plan)
                    assert "TEMP B-TREE" not in plan, (kind.table, where, plan)
        # However many other namespaces there are: most datasets are not deleted, which SQLite does not know.
        statement, values = sql_transaction.listing(dataset.Dataset, parent="p", where={"deleted": ""}, after="k", limit=10)
        sql = statement.params(values).compile(connection, compile_kwargs={"literal_binds": True})
        plan = "; ".join(row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {sql}"))
        assert "ix_datasets_parent (parent=? AND key>?)" in plan, plan
    engine.dispose()


# -- finding -----------------------------------------------------------------------------------------------------------------


def found(catalog: ports.Catalog, text: str, filter_: str = "", **how: Any) -> list[str]:
    """Names of the datasets that a search finds, in its order."""
    narrowed = conditions.narrowing(conditions.parse(filter_, discovery.FIELDS))
    asked = discovery.queries(text, narrowed)
    return [row.dataset for each in asked for _, row in catalog.read(lambda tx, q=each: tx.find(dataset.Dataset, q, **how))]


def test_values_are_found_best_place_first_and_newest_first_within_it(catalog: ports.Catalog) -> None:
    """The name, words of it, beginnings, labels and owner, columns, description and card: the same on every database."""
    insert(
        catalog,
        builders.dataset("sales/weather", description="What delayed the flights"),
        builders.dataset("sales/carriers", owner="users/flights"),
        builders.dataset("sales/delays", labels=(("of", "flights"),)),
        builders.dataset("sales/flights-eu"),
        builders.dataset("sales/flights"),
        builders.dataset("sales/flightsafety"),
        builders.dataset("sales/flights-us"),
        builders.version("sales/logs@1", columns=(("flightsSeen", "int"),)),
        builders.dataset("sales/logs", latest_version=1),
        builders.dataset("sales/clicks"),
        builders.dataset("sales/card", card=dataset.DataCard(known_bias="No flights at night")),
    )
    expected = ["flights", "flights-us", "flights-eu", "flightsafety", "delays", "carriers", "logs", "card", "weather"]
    assert found(catalog, "flights") == expected
    assert found(catalog, "Flìgh") == ["flights-us", "flightsafety", "flights", "flights-eu", *expected[4:]]
    assert found(catalog, "sales/flights") == ["flights", "flights-us", "flights-eu", "flightsafety", *expected[4:]]
    assert found(catalog, "flights seen") == ["logs"]
    assert found(catalog, "flights", 'labels.of = "flights" OR columns:flightsSeen') == ["delays", "logs"]
    assert found(catalog, "", "-labels:of NOT kind = MODEL", limit=2) == ["card", "clicks"]
    assert found(catalog, "train") == []


def test_what_a_value_is_found_by_follows_the_value(catalog: ports.Catalog) -> None:
    """In its own transaction: changed, taken away, or not at all because the transaction failed."""
    insert(catalog, builders.dataset("sales/a", description="old"), builders.dataset("sales/b", description="old"))

    def change(tx: ports.Transaction) -> None:
        tx.replace(builders.dataset("sales/a", description="new"))
        tx.delete(dataset.Dataset, "sales/b")
        tx.insert(builders.dataset("sales/c", description="new"))
        assert [row.dataset for _, row in tx.find(dataset.Dataset, discovery.queries("new")[-2])] == ["c", "a"]  # whole words

    def change_and_fail(tx: ports.Transaction) -> None:
        change(tx)
        raise errors.FailedPrecondition("on second thoughts")

    with pytest.raises(errors.FailedPrecondition):
        catalog.write(change_and_fail)
    assert (found(catalog, "old"), found(catalog, "new")) == (["b", "a"], [])
    catalog.write(change)
    assert (found(catalog, "old"), found(catalog, "new")) == ([], ["c", "a"])


def test_finding_goes_on_below_a_number(catalog: ports.Catalog) -> None:
    """And what is changed keeps its number, so that whoever pages sees nothing twice."""
    insert(catalog, *(builders.dataset(f"sales/d{number}") for number in range(5)))
    query = discovery.queries("d")[2]  # what begins a word of the name
    first = catalog.read(lambda tx: tx.find(dataset.Dataset, query, limit=2))
    catalog.write(lambda tx: tx.replace(builders.dataset("sales/d0", description="changed")))
    rest = catalog.read(lambda tx: tx.find(dataset.Dataset, query, before=first[-1][0]))
    assert [row.dataset for _, row in (*first, *rest)] == ["d4", "d3", "d2", "d1", "d0"]
    assert [number for number, _ in (*first, *rest)] == sorted((number for number, _ in (*first, *rest)), reverse=True)


@pytest.mark.parametrize("text", ["\"'*", "AND NOT (", "a:b", "flights OR", "naïve ﬁle 東京", "x" * 3000, "🛫", "_", "\u0301"])
def test_no_text_is_more_than_words_to_an_index(catalog: ports.Catalog, text: str) -> None:
    """Signs of either database's query language are nothing, and what is stored is found by itself."""
    insert(catalog, builders.dataset("sales/a", description=text), builders.dataset("sales/b"))
    assert "a" in found(catalog, text)


def test_a_very_wide_table_is_found_by_its_first_columns(catalog: ports.Catalog) -> None:
    """What does not fit into an index does not keep a version from being committed."""
    columns = tuple((f"measurement_{number:06}", "double") for number in range(40_000))
    insert(catalog, builders.version("sales/wide@1", columns=columns), builders.dataset("sales/wide", latest_version=1))
    assert found(catalog, "000123") == ["wide"]
    assert found(catalog, "039999") == []


def test_a_sqlite_without_full_text_is_told_as_such() -> None:
    """By what it lacks, and what to do: not as a statement that was refused."""
    refused = sa.exc.OperationalError("CREATE VIRTUAL TABLE", {}, sqlite3.OperationalError("no such module: fts5"))
    assert sql_errors.translate(refused).reason == "SQLITE_WITHOUT_FTS5"


def test_only_what_has_terms_is_found(catalog: ports.Catalog) -> None:
    """Asking for another kind is a mistake of the caller."""
    with pytest.raises(TypeError, match="Namespace is found by no terms"):
        catalog.read(lambda tx: tx.find(dataset.Namespace, conditions.ALL))


# -- transactions ------------------------------------------------------------------------------------------------------------


def test_a_transaction_that_raises_leaves_no_trace(catalog: ports.Catalog) -> None:
    """Neither values, nor events, nor a recorded answer, nor a gap in the positions."""
    insert(catalog, builders.namespace("sales"), builders.dataset("sales/old", owner="alice"))
    with pytest.raises(errors.FailedPrecondition, match="second thoughts"):
        catalog.write(change_and_fail)
    assert names(catalog) == ["sales/old"]
    assert get(catalog, dataset.Dataset, "sales/old").owner == "alice"
    assert get(catalog, dataset.Namespace, "sales") is not None
    assert catalog.events(0) == ()
    assert catalog.revision() == 0
    assert catalog.write(lambda tx: tx.replay("r1", "hash")) is None
    assert catalog.write(lambda tx: tx.emit("x.y", "n", None)) == 1


def test_whatever_the_work_raises_reaches_the_caller(catalog: ports.Catalog) -> None:
    """The very exception, and the catalog goes on."""
    surprise = ZeroDivisionError("by zero")

    def work(tx: ports.Transaction) -> None:
        tx.insert(builders.namespace("sales"))
        raise surprise

    with pytest.raises(ZeroDivisionError) as caught:
        catalog.write(work)
    assert caught.value is surprise
    insert(catalog, builders.namespace("sales"))


def test_a_reader_cannot_write(catalog: ports.Catalog) -> None:
    """Not by any of the ways that there are."""
    insert(catalog, builders.namespace("sales"))
    for change in (
        lambda tx: tx.insert(builders.namespace("other")),
        lambda tx: tx.replace(builders.namespace("sales")),
        lambda tx: tx.delete(dataset.Namespace, "sales"),
        lambda tx: tx.emit("x.y", "n", None),
        lambda tx: tx.remember("r1", "hash", b""),
    ):
        with pytest.raises(errors.FailedPrecondition) as caught:
            catalog.read(change)
        assert caught.value.reason == "READ_ONLY"


def test_a_reader_keeps_its_view_while_others_write(catalog: ports.Catalog) -> None:
    """All that it asks is answered from one state."""
    insert(catalog, builders.namespace("a"))

    def work(tx: ports.Transaction) -> None:
        assert len(tx.list(dataset.Namespace)) == 1
        with ThreadPoolExecutor(1) as other:
            other.submit(insert, catalog, builders.namespace("b")).result()
        assert len(tx.list(dataset.Namespace)) == 1

    catalog.read(work)
    assert len(catalog.read(lambda tx: tx.list(dataset.Namespace))) == 2


def test_a_write_inside_a_write_is_a_mistake_and_not_a_deadlock(catalog: ports.Catalog) -> None:
    """RuntimeError at once."""
    with pytest.raises(RuntimeError, match="inside write"):
        catalog.write(lambda _: catalog.write(lambda tx: tx.emit("x.y", "n", None)))
    catalog.write(lambda tx: tx.emit("x.y", "n", None))


def test_a_transaction_knows_who_when_and_why(catalog: ports.Catalog) -> None:
    """Actor, request and time go into each event."""

    def work(tx: ports.Transaction) -> None:
        assert (tx.actor, tx.request_id) == ("users/alice", "r1")
        assert tx.now == ManualClock().now()
        tx.emit("namespace.created", "sales", builders.namespace("sales"))

    catalog.write(work, actor="users/alice", request_id="r1")
    (event,) = catalog.events(0)
    assert (event.actor, event.request_id, event.time) == ("users/alice", "r1", ManualClock().now())
    assert (event.kind, event.name) == ("namespace.created", "sales")
    assert '"name":"sales"' in event.body


def test_a_closed_catalog_is_unavailable(catalog: ports.Catalog) -> None:
    """And closing twice does nothing."""
    catalog.close()
    catalog.close()
    for call in (
        lambda: catalog.write(lambda _: None),
        lambda: catalog.read(lambda _: None),
        lambda: catalog.events(0),
        catalog.revision,
    ):
        with pytest.raises(errors.Unavailable) as caught:
            call()
        assert caught.value.reason == "CATALOG_CLOSED"


# -- recorded answers --------------------------------------------------------------------------------------------------------


def test_old_answers_are_forgotten(catalog: ports.Catalog) -> None:
    """What is younger is replayed as before; a request whose answer is gone is a new one."""
    catalog.write(lambda tx: tx.remember("old", "hash", b"1"), actor="alice")
    between = catalog.write(lambda tx: tx.now) + timedelta(seconds=1)
    clock = catalog._clock  # type: ignore[attr-defined]
    clock.advance(10)
    catalog.write(lambda tx: tx.remember("new", "hash", b"2"), actor="alice")
    assert catalog.forget(between) == 1
    assert catalog.forget(between) == 0
    assert catalog.write(lambda tx: tx.replay("old", "hash"), actor="alice") is None
    assert catalog.write(lambda tx: tx.replay("new", "hash"), actor="alice") == b"2"


def test_values_are_counted_without_being_read(catalog: ports.Catalog) -> None:
    """By the columns that listings are narrowed by; of several values of one, all."""
    insert(catalog, *(dataset.Dataset(namespace="s", dataset=f"d{n}", owner="a" if n % 2 else "b") for n in range(5)))

    def count(**where: str | tuple[str, ...]) -> int:
        return catalog.read(lambda tx: tx.count(dataset.Dataset, where=where))

    assert [count(owner="a"), count(owner="b"), count(owner="c"), count(owner=("a", "b"))] == [2, 3, 0, 5]
    with pytest.raises(errors.InvalidArgument):
        count(nonsense="x")


def test_an_answer_is_replayed_to_its_actor_alone(catalog: ports.Catalog) -> None:
    """Two people may use the same key."""
    catalog.write(lambda tx: tx.remember("r1", "hash", b"\x00answer\xff"), actor="alice")
    assert catalog.write(lambda tx: tx.replay("r1", "hash"), actor="alice") == b"\x00answer\xff"
    assert catalog.write(lambda tx: tx.replay("r1", "other"), actor="bob") is None
    assert catalog.write(lambda tx: tx.replay("r2", "hash"), actor="alice") is None


def test_a_key_is_not_used_for_another_request(catalog: ports.Catalog) -> None:
    """REQUEST_ID_REUSED, and nothing happens twice."""
    catalog.write(lambda tx: tx.remember("r1", "hash", b"answer"), actor="alice")
    with pytest.raises(errors.InvalidArgument) as caught:
        catalog.write(lambda tx: tx.replay("r1", "another"), actor="alice")
    assert caught.value.reason == "REQUEST_ID_REUSED"
    with pytest.raises(errors.AlreadyExists):
        catalog.write(lambda tx: tx.remember("r1", "hash", b"another"), actor="alice")


# -- events ------------------------------------------------------------------------------------------------------------------


def test_events_are_read_after_a_position_by_kind_and_in_bounds(catalog: ports.Catalog) -> None:
    """In order, and the position that emit returned is the one that is read."""
    for number in range(1, 7):
        kind = "job.created" if number % 2 else "run.created"
        assert catalog.write(lambda tx, kind=kind: tx.emit(kind, "n", None)) == number
    assert [event.position for event in catalog.events(2)] == [3, 4, 5, 6]
    assert [event.position for event in catalog.events(0, limit=2)] == [1, 2]
    assert [event.position for event in catalog.events(1, kinds=["job.created"])] == [3, 5]
    assert [event.position for event in catalog.events(1, limit=3, kinds=["job.created", "run.created"])] == [2, 3, 4]
    assert [event.position for event in catalog.events(0, without=["job.created"])] == [
        event.position for event in catalog.events(0) if event.kind != "job.created"
    ]
    assert catalog.events(0, kinds=["job.created"], without=["job.created"]) == ()
    assert catalog.events(6) == ()
    assert catalog.events(2**70) == ()
    assert catalog.revision() == 6


def test_events_of_one_transaction_follow_each_other(catalog: ports.Catalog) -> None:
    """Positions have no gaps, however many a transaction emits."""
    assert catalog.write(lambda tx: [tx.emit("x.y", "n", None) for _ in range(3)]) == [1, 2, 3]
    assert catalog.write(lambda tx: [tx.emit("x.y", "n", None) for _ in range(2)]) == [4, 5]
    assert [event.position for event in catalog.events(0)] == [1, 2, 3, 4, 5]


def test_many_facts_are_one_event_that_takes_as_many_positions(catalog: ports.Catalog) -> None:
    """What follows them comes after the last; whoever reads from between them gets the whole event."""
    positions = catalog.write(
        lambda tx: [tx.emit("x.y", "n", None), tx.emit_rows("x.rows", "n", b"\x00rows", 10), tx.emit("x.y", "n", None)]
    )
    assert positions == [1, 11, 12]
    assert catalog.revision() == 12
    (many,) = catalog.events(5, limit=1)
    assert (many.position, many.kind, many.rows, many.data, many.body) == (11, "x.rows", 10, b"\x00rows", "")
    assert [event.position for event in catalog.events(11)] == [12]


def test_events_are_read_by_as_many_facts_and_bytes_as_are_wanted(catalog: ports.Catalog) -> None:
    """So that what waits is never in memory all at once; one event comes always, or nobody would get past it."""
    catalog.write(lambda tx: [tx.emit_rows("x.rows", "n", b"r" * 100, 10) for _ in range(3)])
    read = lambda **bounds: [event.position for event in catalog.events(0, **bounds)]  # noqa: E731 - said four times
    assert read(facts_max=20) == read(bytes_max=299) == read(facts_max=100, bytes_max=200) == [10, 20]
    assert read(facts_max=1) == read(bytes_max=1) == [10]
    assert read(facts_max=30, bytes_max=300) == [10, 20, 30]
    assert catalog.events(30, facts_max=1) == ()


def test_whoever_waits_for_the_log_to_grow_is_told(catalog: ports.Catalog) -> None:
    """At once, and with what is there already at once too; nothing that comes is slept over."""

    def emit() -> int:
        return catalog.write(lambda tx: tx.emit("x.y", "n", None))

    assert emit() == catalog.wait(0, 30) == 1
    assert catalog.wait(1, 0.05) == 1
    with ThreadPoolExecutor(1) as pool:
        for position in range(2, 30):
            waiting = pool.submit(catalog.wait, position - 1, 3600)
            assert emit() == waiting.result(timeout=30) == position


def test_whoever_waits_hears_of_what_others_write(url: str) -> None:
    """Another process's catalog of the same database."""
    here, there = opened(url), opened(url)
    with ThreadPoolExecutor(1) as pool:
        for position in range(1, 4):
            waiting = pool.submit(here.wait, position - 1, 3600)
            there.write(lambda tx: tx.emit("x.y", "n", None))
            assert waiting.result(timeout=30) == position
    there.close()
    here.close()


def test_a_lost_connection_of_the_listener_is_made_anew(request: pytest.FixtureRequest) -> None:
    """The database ends it, as a restart would: it is waited on, by looking, until it listens again."""
    url = request.getfixturevalue("postgres_url")
    catalog = opened(url)
    assert catalog.wait(0, 0.01) == 0
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%' AND pid <> pg_backend_pid()"
    other = sa.create_engine(url)
    with other.begin() as connection:
        assert len(connection.execute(sa.text(end)).all()) >= 1
    other.dispose()
    catalog.wait(0, 0.3)
    catalog.write(lambda tx: tx.emit("x.y", "n", None))
    assert catalog.wait(0, 30) == 1
    catalog.close()


def test_nothing_appears_behind_what_was_read(url: str) -> None:
    """Eight writers on two servers, transactions of unequal length: whoever reads to the end has read all up to there."""
    servers = [opened(url), opened(url)]
    done = threading.Event()

    def write(number: int) -> int:
        def work(tx: ports.Transaction) -> None:
            tx.emit("x.y", "n", number)
            time.sleep(0.001 * (number % 4))
            tx.emit("x.y", "n", number)

        for _ in range(12):
            servers[number % 2].write(work)
        return 24

    def read(server: SqlCatalog) -> list[int]:
        seen: list[int] = []
        while not done.is_set() or server.revision() > (seen[-1] if seen else 0):
            seen += [event.position for event in server.events(seen[-1] if seen else 0)]
        return seen

    with ThreadPoolExecutor(CLIENTS + 2) as pool:
        reading = [pool.submit(read, server) for server in servers]
        written = sum(pool.map(write, range(CLIENTS)))
        done.set()
        for future in reading:
            assert future.result() == list(range(1, written + 1))
    for server in servers:
        server.close()


def test_kinds_can_be_left_out(catalog: ports.Catalog) -> None:
    """For whoever takes all the rest."""
    catalog.write(lambda tx: [tx.emit(kind, "n", None) for kind in ("a.x", "b.x", "c.x")])
    assert [event.kind for event in catalog.events(0, without=["a.x", "c.x"])] == ["b.x"]


def test_the_oldest_events_are_trimmed_up_to_a_position_and_a_time(catalog: ports.Catalog) -> None:
    """Both must allow it; positions go on as if nothing had gone."""
    catalog.write(lambda tx: [tx.emit("x.y", "n", number) for number in range(1, 6)])
    now = catalog.events(0)[0].time
    assert (catalog.trim(5, now), catalog.floor()) == (0, 0)
    assert (catalog.trim(3, now + timedelta(seconds=1)), catalog.floor()) == (3, 3)
    assert [event.position for event in catalog.events(3)] == [4, 5]
    assert catalog.write(lambda tx: tx.emit("x.y", "n", None)) == 6
    assert catalog.revision() == 6


def test_the_newest_event_is_never_trimmed(catalog: ports.Catalog) -> None:
    """Somebody can always tell when the catalog last changed."""
    catalog.write(lambda tx: [tx.emit("x.y", "n", None), tx.emit_rows("x.rows", "n", b"r", 9)])
    assert catalog.trim(2**70, catalog.events(0)[0].time + timedelta(seconds=1)) == 1
    assert (catalog.floor(), catalog.revision()) == (1, 10)


def test_the_log_is_trimmed_a_bounded_part_at_a_time(catalog: ports.Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """Writers do not wait for years of events to go."""
    monkeypatch.setattr(catalog_rows, "TRIM_MAX", 2)
    catalog.write(lambda tx: [tx.emit("x.y", "n", None) for _ in range(6)])
    before = catalog.events(0)[0].time + timedelta(seconds=1)
    assert [catalog.trim(6, before) for _ in range(4)] == [2, 2, 1, 0]
    assert catalog.floor() == 5


def test_whoever_would_miss_trimmed_events_is_told(catalog: ports.Catalog) -> None:
    """OutOfRange with where to go on: a gap that nobody sees would be a lie."""
    catalog.write(lambda tx: [tx.emit("x.y", "n", None) for _ in range(3)])
    catalog.trim(2, catalog.events(0)[0].time + timedelta(seconds=1))
    for after in (0, 1):
        with pytest.raises(errors.OutOfRange, match="begins after position 2") as caught:
            catalog.events(after)
        assert (caught.value.reason, caught.value.metadata["floor"]) == ("EVENTS_TRIMMED", "2")
    assert [event.position for event in catalog.events(2)] == [3]


def test_bulk_is_refused_while_too_much_waits_to_be_carried(catalog: ports.Catalog) -> None:
    """Retryably, by table and for bulk alone: jobs and settlements go on, and their facts are kept whatever comes."""
    catalog._backlog_facts_max = 25
    push = lambda kind: catalog.write(lambda tx: tx.emit_rows(kind, "n", b"rows", 10))  # noqa: E731
    assert [push("ledger.entry") for _ in range(3)] == [10, 20, 30]
    with pytest.raises(errors.ResourceExhausted, match="30 events wait") as caught:
        push("ledger.entry")
    assert (caught.value.reason, caught.value.metadata["table"]) == ("RECORD_BACKLOG", "egress_ledger")
    assert caught.value.retry_seconds
    catalog.write(lambda tx: tx.emit("ledger.entry", "n", None))
    lease = kinds.CommitterLease(table="egress_ledger", expire_time=builders.NOW, carried=31)
    insert(catalog, lease)
    assert push("ledger.entry") == 41
    with pytest.raises(errors.ResourceExhausted, match="lineage_edges"):
        push("lineage.edge")


def test_an_event_of_more_than_a_reader_can_hold_is_refused(catalog: ports.Catalog) -> None:
    """By facts, and by bytes."""
    for data, rows in ((b"r", catalog_rows.ROWS_MAX + 1), (b"r" * (catalog_rows.ROWS_BYTES_MAX + 1), 1)):
        with pytest.raises(errors.InvalidArgument) as caught:
            catalog.write(lambda tx, data=data, rows=rows: tx.emit_rows("x.rows", "n", data, rows))
        assert caught.value.reason == "ROWS_INVALID"


def test_an_event_without_facts_is_refused(catalog: ports.Catalog) -> None:
    """Nothing of the transaction stays."""
    with pytest.raises(errors.InvalidArgument, match="0 rows"):
        catalog.write(lambda tx: tx.emit_rows("x.rows", "n", b"", 0))
    assert catalog.revision() == 0


def test_a_reader_of_the_log_never_misses_an_event(catalog: ports.Catalog) -> None:
    """While eight clients write, one that follows by its last position sees each event once, in order, without a gap."""
    each = 25
    finished = threading.Event()

    def follow() -> list[int]:
        seen: list[int] = []
        while True:
            last_look = finished.is_set()
            seen.extend(event.position for event in catalog.events(len(seen)))
            if last_look:
                return seen

    def produce(_: int) -> None:
        for number in range(each):
            if number % 5:
                catalog.write(lambda tx: tx.emit("x.y", "n", None))
            else:
                with pytest.raises(errors.FailedPrecondition):
                    catalog.write(change_and_fail_after_emit)

    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        follower = pool.submit(follow)
        list(pool.map(produce, range(CLIENTS)))
        finished.set()
        assert follower.result() == list(range(1, CLIENTS * each * 4 // 5 + 1))


def change_and_fail_after_emit(tx: ports.Transaction) -> None:
    """Takes a position and gives it up again."""
    tx.emit("x.y", "n", None)
    raise errors.FailedPrecondition("no")


# -- many at once ------------------------------------------------------------------------------------------------------------


def test_eight_clients_writing_at_once_lose_nothing(catalog: ports.Catalog) -> None:
    """Read-modify-write of one row, and a row of its own for each: no error, no lost update."""
    each = 25
    insert(catalog, builders.load("eu-1"))

    def reserve(tx: ports.Transaction, client: int, number: int) -> None:
        load = tx.get(site.SiteLoad, "eu-1")
        tx.replace(dataclasses.replace(load, runs=load.runs + 1), etag=load.etag)
        tx.insert(builders.namespace(f"n-{client}-{number}"))
        tx.emit("namespace.created", f"n-{client}-{number}", None)

    def client(client: int) -> None:
        for number in range(each):
            catalog.write(lambda tx, number=number: reserve(tx, client, number))

    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(client, range(CLIENTS)))
    assert get(catalog, site.SiteLoad, "eu-1").runs == CLIENTS * each
    assert len(catalog.read(lambda tx: tx.list(dataset.Namespace))) == CLIENTS * each
    assert [event.position for event in catalog.events(0)] == list(range(1, CLIENTS * each + 1))


_PROCESS = """
import sys
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import SystemClock, UlidIds
from federation.core import dataset, site
import dataclasses
url, client, each = sys.argv[1], sys.argv[2], int(sys.argv[3])
catalog = SqlCatalog(url, SystemClock(), UlidIds())
def work(tx, number):
    load = tx.get(site.SiteLoad, "eu-1") or tx.insert(site.SiteLoad(site="eu-1"))
    tx.replace(dataclasses.replace(load, runs=load.runs + 1), etag=load.etag)
    tx.emit("namespace.created", "n", tx.insert(dataset.Namespace(name=f"n-{client}-{number}")))
for number in range(each):
    catalog.write(lambda tx: work(tx, number))
catalog.close()
"""


def test_four_processes_on_one_database_lose_nothing(url: str) -> None:
    """They also open it, and migrate it, all at once."""
    each = 25
    started = [
        subprocess.Popen([sys.executable, "-c", _PROCESS, url, str(client), str(each)], stderr=subprocess.PIPE, text=True)
        for client in range(4)
    ]
    complaints = [process.communicate(timeout=120)[1] for process in started]
    assert [process.returncode for process in started] == [0, 0, 0, 0], complaints
    catalog = opened(url)
    assert get(catalog, site.SiteLoad, "eu-1").runs == 4 * each
    assert [event.position for event in catalog.events(0)] == list(range(1, 4 * each + 1))
    catalog.close()


# -- listings from memory ------------------------------------------------------------------------------------------------------


def loads(catalog: ports.Catalog) -> list[tuple[str, int]]:
    """All site loads, as a placement lists them: a kind that is remembered."""
    return [(row.site, row.cpus) for row in catalog.read(lambda tx: tx.list(site.SiteLoad))]


def test_a_listing_is_the_same_object_until_something_changes(url: str) -> None:
    """Then what was worked out from it still holds, and the database is asked for a stamp alone."""
    catalog = opened(url)
    insert(catalog, builders.load("eu-1"), builders.load("us-1"))
    first = catalog.read(lambda tx: tx.list(site.SiteLoad))
    insert(catalog, builders.namespace("another-kind"))
    assert catalog.read(lambda tx: tx.list(site.SiteLoad)) is first
    catalog.write(lambda tx: tx.delete(site.SiteLoad, "us-1"))
    assert catalog.read(lambda tx: tx.list(site.SiteLoad)) == first[:1]
    catalog.close()


def by_keys(catalog: ports.Catalog, *keys: str) -> list[tuple[str, int]]:
    """These site loads, asked for one by one and all at once, which agree."""
    found = catalog.read(lambda tx: tx.list(site.SiteLoad, keys=keys))
    assert found == catalog.read(lambda tx: tuple(row for key in sorted(keys) if (row := tx.get(site.SiteLoad, key))))
    return [(row.site, row.cpus) for row in found]


def test_a_listing_sees_what_another_process_changed(url: str) -> None:
    """Each change gives its table a stamp that no state of it had before, whoever makes it. So does what is read by its key."""
    ours, theirs = opened(url), opened(url)
    insert(ours, builders.load("eu-1"))
    for runs in (1, 2, 1):
        assert loads(ours) == loads(theirs) == by_keys(ours, "us-1", "eu-1") == by_keys(theirs, "us-1", "eu-1")
        theirs.write(lambda tx, runs=runs: tx.replace(builders.load("eu-1", runs)))  # type: ignore[misc]
        assert loads(ours) == loads(theirs) == by_keys(ours, "us-1", "eu-1") == [("eu-1", runs)]
    insert(theirs, builders.load("us-1"))
    assert by_keys(ours, "us-1", "eu-1") == [("eu-1", 1), ("us-1", 0)]
    ours.close()
    theirs.close()


LISTINGS = st.tuples(
    st.lists(st.sampled_from("abc"), min_size=1, max_size=3),  # parents that are listed together
    st.sampled_from([{}, {"state": "AVAILABLE"}, {"state": ("AVAILABLE", "SUSPECT"), "version": "1"}]),
    st.sampled_from([1, 2, 5, 1000]),
    st.booleans(),
)
REPLICAS = st.tuples(st.sampled_from("abc"), st.integers(1, 2), st.sampled_from(["s-1", "s-2"]))


def test_a_listing_from_memory_is_the_one_that_the_database_gives(tmp_path: Path) -> None:
    """Of several parents, of some again with others, of any columns, cut by any limit, either way round."""
    catalog = opened(f"sqlite:///{tmp_path / 'catalog.db'}")

    @given(st.lists(REPLICAS, max_size=6, unique=True), st.lists(LISTINGS, min_size=2, max_size=20))
    def law(there: list[Any], asked: list[Any]) -> None:
        catalog.write(
            lambda tx: [tx.delete(dataset.Replica, kinds.KINDS[dataset.Replica].key(row)) for row in tx.list(dataset.Replica)]
        )
        insert(catalog, *(builders.replica(f"sales/{name}@{number}", at) for name, number, at in there))
        for names_, where, limit, newest_first in asked:
            how = {"parent": tuple(f"sales/{name}" for name in names_), "where": where, "limit": limit}
            how["newest_first"] = newest_first
            statement, values = sql_transaction.listing(dataset.Replica, **how)
            with catalog._reader.begin() as connection:
                bodies = connection.execute(statement, values).scalars().all()
            remembered = catalog.read(lambda tx, how=how: tx.list(dataset.Replica, **how))  # type: ignore[misc]
            assert remembered == catalog_rows.to_values(dataset.Replica, bodies)

    law()
    catalog.close()


def test_a_listing_that_its_limit_cut_tells_nothing_of_each_parent(url: str) -> None:
    """The newest row of several parents is one's; that the others have none does not follow."""
    catalog = opened(url)
    insert(catalog, builders.replica("sales/a@1", "s-1"), builders.replica("sales/b@1", "s-1"))
    for parents in (("sales/a", "sales/b"), ("sales/b",), ("sales/a",)):
        for limit in (1, 2):
            found = catalog.read(lambda tx, how=(parents, limit): tx.list(dataset.Replica, parent=how[0], limit=how[1]))  # type: ignore[misc]
            assert [f"sales/{row.version.dataset.dataset}" for row in found] == list(parents)[:limit]
    catalog.close()


def test_what_a_transaction_listed_and_took_back_was_never_there(url: str) -> None:
    """Its own changes show in its own listings, and in nobody's memory: not even after another change has come instead."""
    catalog = opened(url)
    insert(catalog, builders.load("eu-1"))

    def tried(tx: ports.Transaction, name: str) -> None:
        tx.insert(builders.load(name))
        assert [row.site for row in tx.list(site.SiteLoad)] == ["eu-1", name]
        raise errors.FailedPrecondition("second thoughts")

    for name in ("us-1", "us-2"):
        with pytest.raises(errors.FailedPrecondition):
            catalog.write(lambda tx, name=name: tried(tx, name))  # type: ignore[misc]
        assert [name for name, _ in loads(catalog)] == ["eu-1"]
    insert(catalog, builders.load("us-3"))
    assert [name for name, _ in loads(catalog)] == ["eu-1", "us-3"]
    catalog.close()


def test_listings_of_many_threads_are_of_some_committed_state(url: str) -> None:
    """Two rows that always change together are never seen apart, whichever thread remembers what."""
    catalog = opened(url)
    insert(catalog, builders.load("eu-1"), builders.load("us-1"))

    def change(runs: int) -> None:
        catalog.write(lambda tx: [tx.replace(builders.load(name, runs)) for name in ("eu-1", "us-1")])

    with ThreadPoolExecutor(4) as pool:
        changes = [pool.submit(change, runs) for runs in range(1, 30)]
        seen = [pool.submit(loads, catalog) for _ in range(120)]
        assert all(len({runs for _, runs in look.result()}) == 1 for look in seen)
        assert [each.result() for each in changes]
    assert loads(catalog)[0][1] == loads(catalog)[1][1]
    catalog.close()


# -- blobs -------------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, catalog_rows.CHUNK_BYTES, 2 * catalog_rows.CHUNK_BYTES + 7])
def test_a_blob_comes_back_whole(catalog: ports.Catalog, size: int) -> None:
    """In pieces of at most 1 MiB, however it was sent; storing it again is harmless."""
    data = bytes(number % 251 for number in range(size))
    digest = hashlib.sha256(data).hexdigest()
    for step in (300_000, 5 << 20):
        assert catalog.put_blob(digest, (data[start : start + step] for start in range(0, size, step))) == size
    got = list(catalog.get_blob(digest))
    assert b"".join(got) == data
    assert all(len(piece) <= catalog_rows.CHUNK_BYTES for piece in got)
    assert catalog.blob_bytes(digest) == size


def test_a_blob_of_another_digest_leaves_nothing(catalog: ports.Catalog) -> None:
    """DIGEST_MISMATCH; the same when the sender breaks off, or the digest is none."""
    digest = hashlib.sha256(b"what was meant").hexdigest()
    with pytest.raises(errors.InvalidArgument) as caught:
        catalog.put_blob(digest, [b"what came"])
    assert caught.value.reason == "DIGEST_MISMATCH"

    def broken() -> Iterator[bytes]:
        yield b"what "
        raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        catalog.put_blob(digest, broken())
    with pytest.raises(errors.InvalidArgument, match="SHA-256"):
        catalog.put_blob("../etc", [b""])
    assert catalog.blob_bytes(digest) is None


def test_a_missing_blob_is_told_when_it_is_asked_for(catalog: ports.Catalog) -> None:
    """NotFound by the call, not in the middle of a stream."""
    with pytest.raises(errors.NotFound) as caught:
        catalog.get_blob("0" * 64)
    assert caught.value.reason == "BLOB_MISSING"


def test_many_may_store_one_blob_at_once(catalog: ports.Catalog) -> None:
    """It is there once."""
    data = b"x" * 3_000_000
    digest = hashlib.sha256(data).hexdigest()
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda _: catalog.put_blob(digest, [data]), range(4))) == [3_000_000] * 4
    assert b"".join(catalog.get_blob(digest)) == data


# -- databases ---------------------------------------------------------------------------------------------------------------


def test_what_was_committed_is_there_after_opening_again(url: str) -> None:
    """Values, events, answers and blobs; and opening migrates nothing a second time."""
    catalog = opened(url)
    stored = catalog.write(lambda tx: tx.insert(builders.namespace("sales")))
    catalog.write(lambda tx: (tx.emit("x.y", "n", None), tx.remember("r1", "hash", b"answer")))
    catalog.put_blob(hashlib.sha256(b"blob").hexdigest(), [b"blob"])
    catalog.close()
    for _ in range(2):
        catalog = opened(url)
        assert get(catalog, dataset.Namespace, "sales") == stored
        assert catalog.revision() == 1
        assert catalog.write(lambda tx: tx.replay("r1", "hash")) == b"answer"
        assert catalog.blob_bytes(hashlib.sha256(b"blob").hexdigest()) == 4
        catalog.close()


def comparable(dialect: str, item: sa.schema.SchemaItem, name: str, kind: str, *_: object) -> bool:
    """Not SQLite's full-text tables, of which metadata knows nothing, nor there the index that is PostgreSQL's for the same."""
    if kind == "index" and dialect == "sqlite":
        return not item.dialect_options["postgresql"]["using"]
    return not (kind == "table" and name.startswith(tuple(map(sql_schema.fts_of, sql_schema.TERMS.values()))))


def test_the_migrations_make_the_tables_that_the_code_uses(url: str) -> None:
    """Alembic finds no difference, column by column and index by index. If this fails, a migration is missing."""
    opened(url).close()
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        opts = {"compare_type": True, "include_object": functools.partial(comparable, connection.dialect.name)}
        context = MigrationContext.configure(connection, opts={"version_table": sql_schema.VERSION_TABLE, **opts})
        assert compare_metadata(context, sql_schema.metadata) == []
    engine.dispose()


def test_a_database_from_the_future_is_refused(url: str) -> None:
    """Rather than written to by a release that does not know its tables."""
    opened(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE schema_version SET version_num = '9999'"))
        connection.execute(sa.text("UPDATE counters SET value = 9999 WHERE name = 'oldest'"))
    engine.dispose()
    with pytest.raises(errors.FailedPrecondition, match="9999") as caught:
        opened(url)
    assert caught.value.reason == "DATABASE_NEWER"


def test_a_database_that_a_newer_release_has_only_added_to_is_opened_as_it_is(url: str) -> None:
    """Servers are renewed one after the other: one of before may be started again while the newer ones run."""
    opened(url).close()
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("UPDATE schema_version SET version_num = '0002'"))
        connection.execute(sa.text("ALTER TABLE turns ADD COLUMN colour TEXT"))
    catalog = opened(url)
    insert(catalog, builders.dataset())
    catalog.close()
    with engine.begin() as connection:
        assert connection.execute(sa.text("SELECT version_num FROM schema_version")).scalar_one() == "0002"
        connection.execute(sa.text("DELETE FROM counters WHERE name = 'oldest'"))
    engine.dispose()
    with pytest.raises(errors.FailedPrecondition):
        opened(url)


def test_a_migration_that_fails_leaves_nothing(url: str) -> None:
    """It is one transaction: the tables in the way are told of, and no half of the others is there."""
    engine = sa.create_engine(url)
    with engine.begin() as connection:
        connection.execute(sa.text("CREATE TABLE blob_chunks (x INTEGER)"))
    with pytest.raises(errors.FederationError, match="blob_chunks"):
        opened(url)
    assert sa.inspect(engine).get_table_names() == ["blob_chunks"]
    engine.dispose()


@pytest.mark.parametrize("bad", ["", "nonsense", "sqlite://", "sqlite:///:memory:", "mysql://u:hunter2@h/d", "://hunter2"])
def test_a_url_of_no_database_of_ours_is_refused(bad: str) -> None:
    """And its password is not repeated."""
    with pytest.raises(errors.InvalidArgument) as caught:
        opened(bad)
    assert caught.value.reason == "DATABASE_URL_INVALID"
    assert "hunter2" not in str(caught.value)


def test_a_database_that_does_not_answer_is_unavailable(tmp_path: Path) -> None:
    """No error of a driver comes through: nobody listening, no permission, not a database."""
    with pytest.raises(errors.Unavailable) as caught:
        opened("postgresql+psycopg://nobody:hunter2@127.0.0.1:1/none")
    assert "hunter2" not in str(caught.value)
    (tmp_path / "folder.db").mkdir()
    with pytest.raises(errors.Unavailable):
        opened(f"sqlite:///{tmp_path / 'folder.db'}")
    (tmp_path / "text.db").write_text("this is not a database, " * 100)
    with pytest.raises(errors.DataCorrupt) as damaged:
        opened(f"sqlite:///{tmp_path / 'text.db'}")
    assert damaged.value.reason == "DATABASE_CORRUPT"


def test_only_its_user_reads_the_sqlite_files(tmp_path: Path) -> None:
    """They hold wrapped keys and token digests."""
    catalog = opened(f"sqlite:///{tmp_path / 'state' / 'catalog.db'}")
    insert(catalog, builders.namespace("sales"))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in (tmp_path / "state").iterdir()}
    assert modes == {"catalog.db": 0o600, "catalog.db-wal": 0o600, "catalog.db-shm": 0o600}
    catalog.close()


def test_sqlite_keeps_what_it_has_answered_through_a_power_cut(tmp_path: Path) -> None:
    """The writer's connection is in WAL mode and waits for the disk at each commit; readers cannot write."""
    writer = sql_sqlite.engine(tmp_path / "catalog.db", reads_only=False)
    reader = sql_sqlite.engine(tmp_path / "catalog.db", reads_only=True)
    with writer.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 30_000
    with reader.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA query_only").scalar() == 1
    writer.dispose()
    reader.dispose()


def test_a_full_disk_fails_its_own_mutation_and_none_beside_it(tmp_path: Path) -> None:
    """A group that did not fit is taken apart: the small go through, the big one is told STORAGE_FULL and leaves nothing."""
    engine = sql_sqlite.engine(tmp_path / "catalog.db", reads_only=False)
    sql_migrate.upgrade(engine)

    def limit(connection: sqlite3.Connection, *_: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count = {pages + 20}")

    sa.event.listen(engine, "connect", limit)
    engine.dispose()
    writer = sql_writer.GroupWriter(engine, sql_sqlite.begin)
    gate = threading.Event()

    def mutation(name: str, size: int) -> Callable[[sa.Connection, sql_ground.Ground], None]:
        def work(connection: sa.Connection, ground: sql_ground.Ground) -> None:
            gate.wait(30)
            tx = sql_transaction.SqlTransaction(
                connection, sql_transaction.Occasion(now=builders.NOW, ids=UlidIds()), ground=ground
            )
            tx.insert(builders.namespace(name, description="x" * size))
            tx.emit("namespace.created", name, None)
            tx.finish()

        return work

    with ThreadPoolExecutor(3) as pool:
        answers = [pool.submit(writer.run, mutation(name, size)) for name, size in [("a", 10), ("b", 10_000_000), ("c", 10)]]
        while writer._queue.qsize() < 2:
            threading.Event().wait(0.01)
        gate.set()
        failures = [answer.exception() for answer in answers]
    assert [getattr(failure, "reason", None) for failure in failures].count("STORAGE_FULL") == 1
    assert failures.count(None) == 2
    with engine.connect() as connection:
        keys = connection.execute(sa.select(sql_schema.TABLES[dataset.Namespace].c.key)).scalars().all()
        assert sorted(keys) == ["a", "c"]
        assert sql_ground.position(connection) == 2
    writer.close()


def test_a_writer_that_cannot_begin_answers_all_who_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process holds the lock for longer than we wait: Unavailable, and later all is well again."""
    monkeypatch.setattr(sql_sqlite, "_BUSY_SECONDS", 0.2)
    catalog = opened(f"sqlite:///{tmp_path / 'catalog.db'}")
    other = sqlite3.connect(tmp_path / "catalog.db", isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with ThreadPoolExecutor(3) as pool:
        for answer in [pool.submit(insert, catalog, builders.namespace(name)) for name in "abc"]:
            assert answer.exception().reason == "DATABASE_BUSY"
    other.execute("ROLLBACK")
    other.close()
    insert(catalog, builders.namespace("a"))
    catalog.close()


def test_work_that_swallows_a_complaint_of_the_database_is_not_committed(url: str) -> None:
    """The database may have ended the transaction by itself: nothing more runs in it, and it fails as a whole."""
    catalog = opened(url)

    def work(tx: ports.Transaction) -> None:
        tx.insert(builders.namespace("sales"))
        with pytest.raises(errors.FederationError):
            tx._run(sa.text("SELECT nonsense FROM nowhere"))
        with pytest.raises(errors.FederationError):
            tx.insert(builders.namespace("other"))

    with pytest.raises(errors.FederationError, match="refused a statement"):
        catalog.write(work)
    assert catalog.read(lambda tx: tx.list(dataset.Namespace)) == ()
    catalog.close()


def test_a_transaction_is_of_no_use_after_its_end(url: str) -> None:
    """One that was kept by mistake writes nothing behind the catalog's back."""
    catalog = opened(url)
    kept: list[ports.Transaction] = []
    catalog.write(kept.append)
    with pytest.raises(RuntimeError, match="ended"):
        kept[0].insert(builders.namespace("sales"))
    catalog.close()


def test_postgres_runs_work_again_that_lost_a_race(postgres_url: str) -> None:  # noqa: F811
    """Another program changed the row meanwhile: the database gives the transaction up, and the next try sees the new state."""
    catalog = opened(postgres_url)
    insert(catalog, builders.load("eu-1"))
    table = sql_schema.TABLES[site.SiteLoad]
    meddler = sa.create_engine(postgres_url)
    tries = 0

    def work(tx: ports.Transaction) -> None:
        nonlocal tries
        tries += 1
        load = tx.get(site.SiteLoad, "eu-1")
        if tries < 3:
            with meddler.begin() as connection:
                connection.execute(sa.update(table).values(parent=f"meddled-{tries}"))
        tx.replace(dataclasses.replace(load, runs=load.runs + 1))

    catalog.write(work)
    assert tries == 3
    assert get(catalog, site.SiteLoad, "eu-1").runs == 1
    meddler.dispose()
    catalog.close()


def test_postgres_comes_back_after_its_connections_were_cut(postgres_url: str) -> None:  # noqa: F811
    """The pool looks at a connection before it hands it out."""
    catalog = opened(postgres_url)
    insert(catalog, builders.namespace("a"))
    admin = sa.create_engine(postgres_url)
    with admin.connect() as connection:
        connection.execute(
            sa.text(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
                "WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        )
    insert(catalog, builders.namespace("b"))
    assert len(catalog.read(lambda tx: tx.list(dataset.Namespace))) == 2
    admin.dispose()
    catalog.close()


@pytest.mark.parametrize("first_fails", [False, True])
def test_a_refusal_in_a_group_takes_nothing_of_the_others(url: str, first_fails: bool) -> None:
    """Whoever comes while one writes is committed together with others; who is refused among them leaves no trace."""
    catalog = opened(url)
    held, gate = threading.Event(), threading.Event()

    def hold(tx: ports.Transaction) -> None:
        held.set()
        gate.wait(30)

    def work(number: int, tx: ports.Transaction) -> int:
        seen = tx.list(dataset.Namespace)
        assert tx.revision() == len(seen), "each sees what those before it have left, and nothing of who was refused"
        tx.insert(builders.namespace(f"n{number}"))
        position = tx.emit("namespace.created", f"n{number}", None)
        if number % 2 == int(not first_fails):
            raise errors.FailedPrecondition("no")
        return position

    with ThreadPoolExecutor(9) as pool:
        pool.submit(catalog.write, hold)
        held.wait(30)
        answers = [pool.submit(catalog.write, functools.partial(work, number)) for number in range(8)]
        while catalog._writer._queue.qsize() < 8:
            threading.Event().wait(0.01)
        gate.set()
        failed = {number for number, answer in enumerate(answers) if answer.exception(60)}
    assert failed == {number for number in range(8) if number % 2 == int(not first_fails)}
    kept = [value.name for value in catalog.read(lambda tx: tx.list(dataset.Namespace))]
    assert kept == [f"n{number}" for number in range(8) if number not in failed]
    assert sorted(answer.result() for number, answer in enumerate(answers) if number not in failed) == [1, 2, 3, 4]
    assert {event.name for event in catalog.events(0)} == set(kept)
    catalog.close()


def test_what_was_believed_by_its_stamp_is_of_the_moment_that_is_looked_at(url: str) -> None:
    """A look that finds the first thing in memory, and must ask for the second after both have changed, begins anew."""
    catalog = opened(url)
    insert(catalog, builders.namespace("sales", owner="users/a"), builders.dataset("sales/old", owner="users/a"))
    get(catalog, dataset.Namespace, "sales")
    tries = []

    def change(tx: ports.Transaction) -> None:
        tx.replace(builders.namespace("sales", owner="users/b"))
        tx.replace(builders.dataset("sales/old", owner="users/b"))

    def work(tx: ports.Transaction) -> set[str]:
        owner = tx.get(dataset.Namespace, "sales").owner
        tries.append(owner)
        if len(tries) == 1:
            catalog.write(change)
        return {owner, *(value.owner for value in tx.list(dataset.Dataset, after="sales/a"))}

    assert catalog.read(work) == {"users/b"}
    assert tries == ["users/a", "users/b"]
    catalog.close()


def test_what_is_numbered_is_seen_whoever_wrote_it(url: str) -> None:
    """A server of an older release may give its table no stamp: new policies hold here all the same."""
    catalog, other = opened(url), sa.create_engine(url)
    assert get(catalog, authorization.PolicyRevision, "0000000001") is None
    row = catalog_rows.to_row(authorization.PolicyRevision(number=1, text="", digest="", principal="users/a"))
    with other.begin() as connection:
        values = {"key": row.key, "parent": row.parent, **row.columns, "etag": row.etag, "body": row.body}
        connection.execute(sa.insert(sql_schema.TABLES[authorization.PolicyRevision]), values)
    assert get(catalog, authorization.PolicyRevision, "0000000001").principal == "users/a"
    other.dispose()
    catalog.close()


def test_a_glance_waits_for_nobody(url: str) -> None:
    """SQLite answers one, unless somebody else looks that way; what lies behind a network is not looked at so."""
    catalog = opened(url)
    insert(catalog, builders.namespace("sales"))

    def owner(tx: ports.Transaction) -> str:
        return tx.get(dataset.Namespace, "sales").name

    if url.startswith("sqlite"):
        assert catalog.glance(owner) == "sales"
        with ThreadPoolExecutor(1) as pool:
            waits = catalog.glance(lambda _: pool.submit(catalog.glance, owner).exception(30))
    else:
        with pytest.raises(errors.Unavailable) as caught:
            catalog.glance(owner)
        waits = caught.value
    assert waits.reason == "MUST_WAIT"
    with pytest.raises(errors.FederationError):
        catalog.glance(lambda tx: tx.insert(builders.namespace("other")))
    catalog.close()
    with pytest.raises(errors.Unavailable):
        catalog.glance(owner)


# -- the dumb twin -----------------------------------------------------------------------------------------------------------


class Twins(RuleBasedStateMachine):
    """Whatever is done to both, the SQL catalog answers what the one in memory does."""

    keys = Bundle("keys")

    @initialize()
    def begin(self) -> None:
        self.folder = tempfile.mkdtemp()
        clock = ManualClock()
        # Both draw the same identifiers, so that even etags are equal.
        self.twins: tuple[ports.Catalog, ...] = (
            MemoryCatalog(clock, SeededIds(1)),
            SqlCatalog(prepared.sqlite(Path(self.folder) / "catalog.db"), clock, SeededIds(1)),
        )

    def both(self, act: Callable[[ports.Catalog], object]) -> None:
        """The same value, or the same refusal."""
        memory, sql = (_outcome(act, twin) for twin in self.twins)
        assert memory == sql

    @rule(target=keys, name=st.sampled_from("abcde"), owner=st.sampled_from(["", "x", "y"]))
    def insert(self, name: str, owner: str) -> str:
        value = builders.dataset(f"sales/{name}", owner=owner)
        self.both(lambda twin: twin.write(lambda tx: (tx.insert(value), tx.emit("dataset.created", name, value))))
        return f"sales/{name}"

    @rule(rows=st.integers(0, 3))
    def emit_rows(self, rows: int) -> None:
        self.both(lambda twin: twin.write(lambda tx: tx.emit_rows("x.rows", "n", b"r" * rows, rows)))

    @rule(after=st.integers(0, 20), facts=st.integers(0, 4), size=st.integers(0, 400))
    def events(self, after: int, facts: int, size: int) -> None:
        self.both(lambda twin: twin.events(after, without=["dataset.updated"], facts_max=facts, bytes_max=size))

    @rule(until=st.integers(0, 20))
    def trim(self, until: int) -> None:
        self.both(lambda twin: (twin.trim(until, ManualClock().advance(1)), twin.floor()))

    @rule(key=keys, owner=st.sampled_from(["", "x", "y"]), fresh=st.booleans(), fail=st.booleans())
    def replace(self, key: str, owner: str, fresh: bool, fail: bool) -> None:
        def work(tx: ports.Transaction) -> object:
            known = tx.get(dataset.Dataset, key)
            etag = known.etag if known and fresh else "e-stale"
            stored = tx.replace(builders.dataset(key, owner=owner), etag=etag)
            position = tx.emit("dataset.updated", key, stored)
            if fail:
                raise errors.FailedPrecondition("no")
            return stored, position

        self.both(lambda twin: twin.write(work))

    @rule(key=consumes(keys))
    def delete(self, key: str) -> None:
        self.both(lambda twin: twin.write(lambda tx: tx.delete(dataset.Dataset, key)))

    @rule(
        owner=st.sampled_from([None, "", "x"]),
        after=st.sampled_from(["", "sales/b", "sales/zz"]),
        limit=st.integers(0, 3),
        newest_first=st.booleans(),
    )
    def list_(self, owner: str | None, after: str, limit: int, newest_first: bool) -> None:
        where = None if owner is None else {"owner": owner}

        def work(tx: ports.Transaction) -> object:
            return tx.list(dataset.Dataset, parent="sales", where=where, after=after, limit=limit, newest_first=newest_first)

        self.both(lambda twin: twin.read(work))

    @rule(text=st.sampled_from(["", "a", "sales", "x y"]), before=st.integers(0, 6), limit=st.integers(1, 3))
    def find(self, text: str, before: int, limit: int) -> None:
        for query in discovery.queries(text):
            self.both(lambda twin, q=query: twin.read(lambda tx: tx.find(dataset.Dataset, q, before=before, limit=limit)))

    @rule(key=st.sampled_from("ab"), request_hash=st.sampled_from("12"), actor=st.sampled_from("xy"))
    def answer(self, key: str, request_hash: str, actor: str) -> None:
        def work(tx: ports.Transaction) -> bytes:
            known = tx.replay(key, request_hash)
            if known is None:
                tx.remember(key, request_hash, f"{actor}{key}{request_hash}".encode())
            return known or b"new"

        self.both(lambda twin: twin.write(work, actor=actor))

    @invariant()
    def the_same_log(self) -> None:
        self.both(lambda twin: (twin.revision(), twin.floor(), twin.events(twin.floor())))

    def teardown(self) -> None:
        for twin in getattr(self, "twins", ()):
            twin.close()
        shutil.rmtree(self.folder)


def _outcome(act: Callable[[ports.Catalog], object], catalog: ports.Catalog) -> object:
    try:
        return act(catalog)
    except errors.FederationError as error:
        return type(error), error.reason, error.message


TestTwins = Twins.TestCase
TestTwins.settings = settings(max_examples=20, stateful_step_count=30)


def test_events_are_told_without_secrets(catalog: ports.Catalog) -> None:
    """What people hand to their jobs is stored, for the jobs need it, and stands in no event."""
    asked = job.JobRequest(env=(("API_KEY", "hunter2"),), namespace="sales")
    stored = catalog.write(lambda tx: tx.insert(job.Job(job="j-secret", request=asked)))
    catalog.write(lambda tx: tx.emit("job.created", "jobs/j-secret", stored))
    assert catalog.read(lambda tx: tx.get(job.Job, "j-secret")).request.env == (("API_KEY", "hunter2"),)
    assert all("hunter2" not in event.body for event in catalog.events(0))
