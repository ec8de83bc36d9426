"""Delta tables that somebody has tampered with, file by file: what was done is found, and what was not touched stays proven."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from deltalake import DeltaTable, write_deltalake
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.adapters import records_links, records_migrate, records_tables
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.records_links import DeltaReader
from federation.core import chain, errors
from federation.core.chain import SignedHead, Verification, Wrong
from federation.core.events import AUDIT, HEAD_KIND
from federation.crypto import heads as signed
from federation.crypto import signing
from federation.services import heads
from tests import records

LEDGER = "egress_ledger"
PRIVATE = bytes(range(32))
KEY = signing.public_hex(PRIVATE)
COMMITS, EACH = 6, 10
LAST = COMMITS * EACH


def verified(root: Path, *kept: SignedHead, keys: tuple[str, ...] = (KEY,), table: str = LEDGER) -> Verification:
    """What is found of a table, from its files alone and the heads that were kept elsewhere."""
    *_, found = heads.verify(DeltaReader(str(root)), table, kept, keys)
    return found


def head(sink: DeltaRecords, table: str = LEDGER) -> SignedHead:
    """A signed head of the table as it is now."""
    return signed.sign(PRIVATE, sink.head(table), records.TIME)


def entries(first: int, last: int) -> tuple[Any, ...]:
    """Events of ledger entries that are an hour apart, so that they fall on several days."""
    return tuple(
        records.event(number, body=records.entry(number, time=records.TIME + timedelta(hours=number)))
        for number in range(first, last + 1)
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[SignedHead, ...]]:
    """A ledger of sixty rows in six commits over three days, and its heads at 20, 40 and 60."""
    root = tmp_path_factory.mktemp("written")
    sink, kept = DeltaRecords(str(root)), []
    for number in range(COMMITS):
        sink.append(LEDGER, entries(number * EACH + 1, (number + 1) * EACH))
        if number % 2:
            kept.append(head(sink))
    return root, tuple(kept)


@pytest.fixture
def kept(written: tuple[Path, tuple[SignedHead, ...]]) -> tuple[SignedHead, ...]:
    """The heads."""
    return written[1]


@pytest.fixture
def root(written: tuple[Path, tuple[SignedHead, ...]], tmp_path: Path) -> Path:
    """A copy of the tables to tamper with."""
    return Path(shutil.copytree(written[0], tmp_path / "tables"))


def rewritten(root: Path, change: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], table: str = LEDGER) -> None:
    """Writes a table anew with other rows, as somebody does who leaves no trace in its log."""
    place = root / table
    rows = DeltaTable(str(place)).to_pyarrow_table().sort_by("position")
    changed = pa.Table.from_pylist(change(rows.to_pylist()), schema=rows.schema)
    shutil.rmtree(place)
    write_deltalake(str(place), changed, partition_by=["day"])


def edited_in_place(root: Path, position: int, **cells: Any) -> None:
    """Changes cells of one row in its Parquet file, and the file's length in the log that names it."""
    place = root / LEDGER
    for file in place.rglob("part-*.parquet"):
        rows = pq.ParquetFile(file).read()
        found = rows.column("position").to_pylist()
        if position in found:
            changed = rows.to_pylist()
            changed[found.index(position)] |= cells
            pq.write_table(pa.Table.from_pylist(changed, schema=rows.schema), file)
            _resize(place, file)


def _resize(place: Path, file: Path) -> None:
    for log in (place / "_delta_log").glob("*.json"):
        actions = [json.loads(line) for line in log.read_text().splitlines()]
        for action in actions:
            if action.get("add", {}).get("path", "").endswith(file.name):
                action["add"]["size"] = file.stat().st_size
        log.write_text("".join(json.dumps(action) + "\n" for action in actions))


def told(found: Verification) -> list[tuple[str, int, int]]:
    """What is wrong, and where."""
    return [(each.reason, each.after_position, each.position) for each in found.findings]


# -- Nothing was done --------------------------------------------------------------------------------------------------------


def test_a_table_that_nobody_touched_is_proven_to_its_last_row(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """From its files, the public key and the heads alone."""
    found = verified(root, *kept)
    assert found.intact
    assert (found.rows, found.proven_rows, found.proven_position, found.heads) == (LAST, LAST, LAST, 3)


def test_compaction_checkpoints_and_vacuum_change_nothing_of_it(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """What is proven are the rows, in whatever files, in whatever order they lie."""
    for tidy in (
        lambda handle: handle.optimize.compact(),
        lambda handle: handle.create_checkpoint(),
        lambda handle: handle.optimize.z_order(["grant", "bytes"]),
        lambda handle: handle.vacuum(retention_hours=0, enforce_retention_duration=False, dry_run=False),
        lambda handle: (handle.create_checkpoint(), handle.cleanup_metadata()),
    ):
        tidy(DeltaTable(str(root / LEDGER)))
        assert verified(root, *kept).proven_rows == LAST
    assert len(DeltaTable(str(root / LEDGER)).file_uris()) == 3
    sink = DeltaRecords(str(root))
    sink.append(LEDGER, entries(LAST + 1, LAST + 5))
    assert verified(root, *kept, head(sink)).proven_rows == LAST + 5


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 12), st.sampled_from(("", "compact", "z-order", "restart"))), max_size=5))
def test_batches_of_any_size_are_never_called_tampered_with(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[int, str]]
) -> None:
    """With compaction in between, and other processes that go on where the last one stopped."""
    root = tmp_path_factory.mktemp("batches")
    sink, count, kept = DeltaRecords(str(root)), 0, []
    for size, then in steps:
        sink.append(LEDGER, entries(count + 1, count + size))
        count += size
        kept.append(head(sink))
        if then == "compact":
            DeltaTable(str(root / LEDGER)).optimize.compact()
        elif then == "z-order":
            DeltaTable(str(root / LEDGER)).optimize.z_order(["entry"])
        elif then == "restart":
            sink = DeltaRecords(str(root))
    found = verified(root, *kept)
    assert found.intact
    assert (found.rows, found.proven_rows) == (count, count)


def test_rows_that_overlap_are_put_in_order_with_little_in_memory(
    root: Path, kept: tuple[SignedHead, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What must wait for others lies in files, and batches stay small."""
    DeltaTable(str(root / LEDGER)).optimize.z_order(["bytes"])
    monkeypatch.setattr(records_links, "WAITING_BYTES_MAX", 0)
    batches = list(records_links.links(DeltaTable(str(root / LEDGER)), LEDGER, batch=7))
    assert [at for batch in batches for at in batch.positions] == list(range(1, LAST + 1))
    assert max(len(batch.positions) for batch in batches) <= 7
    assert verified(root, *kept).proven_rows == LAST


def test_duckdb_finds_the_same_links(root: Path) -> None:
    """A second engine over nothing but the files, and the form of a row as docs/record.md says: no code of the tables."""
    files = DeltaTable(str(root / LEDGER)).file_uris()
    found = duckdb.sql(f"SELECT * EXCLUDE (day) FROM read_parquet({files}) ORDER BY position").to_arrow_table().to_pylist()
    link = chain.genesis(LEDGER)
    for row in found:
        link = chain.link(link, chain.canonical(row))
        assert row["chain"] == link
    assert len(found) == LAST


# -- Something was done ------------------------------------------------------------------------------------------------------


def test_a_cell_that_was_edited_is_found_and_the_rows_around_it_stay_proven(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """In its Parquet file, with the log made to fit."""
    edited_in_place(root, 25, charge_micros=0)
    found = verified(root, *kept)
    assert told(found) == [(Wrong.ROW_BROKEN, 24, 25)]
    assert (found.proven_position, found.consistent_position) == (20, 24)
    assert found.proven_rows == 20 + 15 + 20, "all but what lies between the head at 20 and the edited row"


def test_an_edit_is_found_after_compaction_too(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """Compaction moves rows as they are; it cannot make an edited one right."""
    edited_in_place(root, 25, charge_micros=0)
    DeltaTable(str(root / LEDGER)).optimize.compact()
    assert told(verified(root, *kept)) == [(Wrong.ROW_BROKEN, 24, 25)]


@pytest.mark.parametrize(
    "cells",
    [{"charge_usd": 0}, {"avoided_micros": 7}, {"principal": "users/mallory"}, {"corrects": "e-1"}, {"chain": bytes(32)}],
    ids=lambda cells: next(iter(cells)),
)
def test_every_column_is_covered(root: Path, kept: tuple[SignedHead, ...], cells: dict[str, Any]) -> None:
    """Derived ones too, what was null before, and the link itself."""
    edited_in_place(root, 33, **cells)
    found = verified(root, *kept)
    assert found.findings[0].position == 33
    assert found.findings[0].after_position == 32


def test_a_row_that_was_cut_is_found(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """Between which rows, and that one is missing."""
    rewritten(root, lambda rows: [row for row in rows if row["position"] != 30])
    assert told(verified(root, *kept)) == [(Wrong.ROW_BROKEN, 29, 31), (Wrong.ROWS_CUT, 20, 40)]


def test_a_row_that_was_put_in_is_found(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """Though its own link was reckoned as it should be: the true row after it tells."""

    def put_in(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        before = rows[29]
        forged = before | {"entry": "e-forged", "position": before["position"]}
        forged["chain"] = chain.link(before["chain"], chain.canonical(forged))
        return [*rows, forged]

    rewritten(root, put_in)
    found = verified(root, *kept)
    assert not found.intact
    assert found.findings[0].position in (30, 31)
    assert found.proven_position == 20


def test_rows_that_changed_places_are_found(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """With their positions and links left where they were."""

    def swap(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        first, second = rows[29], rows[30]
        place = ("position", "chain")
        rows[29] = second | {name: first[name] for name in place}
        rows[30] = first | {name: second[name] for name in place}
        return rows

    rewritten(root, swap)
    assert told(verified(root, *kept))[:1] == [(Wrong.ROW_BROKEN, 29, 30)]


def test_a_tail_that_was_cut_is_found_by_the_heads(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """The last commit is taken out of the log; the chain of what is left holds."""
    (root / LEDGER / "_delta_log" / f"{DeltaTable(str(root / LEDGER)).version():020}.json").unlink()
    found = verified(root, *kept)
    assert told(found) == [(Wrong.ROWS_CUT, 50, 60)]
    assert (found.proven_position, found.consistent_position) == (40, 50)
    assert verified(root).intact, "without the heads nobody can know"


def test_a_table_that_was_replaced_is_found_by_the_heads(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """One cell is changed and all links are reckoned anew. Without a head that is a table like any other: it proves nothing."""

    def replace(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[29]["charge_micros"] = 0
        links = chain.links(chain.genesis(LEDGER), [chain.canonical(row) for row in rows])
        return [row | {"chain": link} for row, link in zip(rows, links, strict=True)]

    rewritten(root, replace)
    found = verified(root, *kept)
    assert told(found) == [(Wrong.HEAD_DIFFERS, 20, 40)]
    assert (found.proven_position, found.proven_rows) == (20, 20)
    alone = verified(root)
    assert (alone.intact, alone.proven_rows, alone.consistent_position) == (True, 0, LAST)


def test_a_table_that_is_gone_is_found_by_the_heads(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """And one that was never there is empty."""
    shutil.rmtree(root / LEDGER)
    assert told(verified(root, *kept)) == [(Wrong.ROWS_CUT, 0, 60)]
    assert verified(root) == Verification(table=LEDGER)


def test_a_row_under_another_day_is_found(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """No link covers the day, but who reads a day's rows would miss it."""

    def move(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        rows[44]["day"] = date(2020, 1, 1)
        return rows

    rewritten(root, move)
    assert (Wrong.DAY_WRONG, 44, 45) in told(verified(root, *kept))


def test_links_that_were_taken_away_are_found(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """In the middle, and at the beginning, where rows then look as if they were older than the chain."""
    rewritten(root, lambda rows: [row | ({"chain": None} if row["position"] <= 5 else {}) for row in rows])
    found = verified(root, *kept)
    assert found.chained_from == 6
    assert told(found)[0] == (Wrong.ROW_BROKEN, 5, 6)


def test_a_file_that_is_gone_is_named(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """With the positions that lay in it; what other files hold is still told."""
    (lost,) = [file for file in (root / LEDGER).rglob("part-*.parquet") if 60 in _positions(file)]
    first, last = min(_positions(lost)), max(_positions(lost))
    lost.unlink()
    found = verified(root, *kept)
    assert (Wrong.FILE_DAMAGED, first - 1, last) in told(found)
    assert any(lost.name in each.detail for each in found.findings)
    assert found.proven_position == 40


def _positions(file: Path) -> list[int]:
    positions: list[int] = pq.ParquetFile(file).read(columns=["position"]).column("position").to_pylist()
    return positions


def test_a_file_that_is_no_parquet_any_more_is_named(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """A flipped bit, a truncation: what cannot be read is damage, not a crash."""
    (file,) = [file for file in (root / LEDGER).rglob("part-*.parquet") if 60 in _positions(file)]
    file.write_bytes(file.read_bytes()[:-9] + bytes(9))
    assert Wrong.FILE_DAMAGED in [reason for reason, _, _ in told(verified(root, *kept))]


def test_a_log_that_cannot_be_read_is_told(root: Path) -> None:
    """There is no table then to be proven."""
    (root / LEDGER / "_delta_log" / f"{0:020}.json").write_text("{")
    with pytest.raises(errors.DataCorrupt) as caught:
        verified(root)
    assert caught.value.reason == "TABLE_DAMAGED"


# -- Heads -------------------------------------------------------------------------------------------------------------------


def test_heads_of_the_audit_prove_a_table_without_a_catalog(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """They are rows of it, signed: with the public key the folder is enough."""
    sink = DeltaRecords(str(root))
    told = [records.event(100 + number, HEAD_KIND, each) for number, each in enumerate(kept)]
    named = [dataclasses.replace(event, name=f"recordHeads/{LEDGER}/{event.position}") for event in told]
    sink.append(AUDIT, tuple(named))
    assert verified(root).proven_position == LAST
    assert verified(root, keys=()).proven_position == 0, "who trusts no key has no proof"


def test_a_head_of_another_key_counts_nothing_and_one_that_lies_is_told(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """A forger has keys, but not the catalog's."""
    strange = signed.sign(signing.new_private(), chain.Head(table=LEDGER, position=99, rows=99, chain=bytes(32)), records.TIME)
    forged = dataclasses.replace(kept[0], position=41)
    found = verified(root, *kept, strange, forged)
    assert (found.strange_heads, found.heads) == (1, 3)
    assert told(found) == [(Wrong.HEAD_FORGED, LAST, 41)]


# -- What older and newer releases wrote -------------------------------------------------------------------------------------


def old_table(root: Path, table: str = LEDGER) -> pa.Schema:
    """A table as the release before the chain made it, with ten rows that it wrote."""
    known = records_tables.TABLES[table].schema
    schema = pa.schema([field.with_metadata({"comment": "old"}) for field in known if field.metadata[b"since"] == b"1"])
    place = str(root / table)
    handle = DeltaTable.create(place, schema=schema, partition_by=["day"], configuration={"delta.appendOnly": "true"})
    rows = records_tables.to_arrow(table, entries(1, 10)).select(schema.names).cast(schema)
    from deltalake import CommitProperties, Transaction

    marked = CommitProperties(app_transactions=[Transaction("federation.committer", 10)])
    write_deltalake(handle, rows, mode="append", commit_properties=marked)
    return schema


def test_a_table_of_the_release_before_is_migrated_when_it_is_opened(tmp_path: Path) -> None:
    """Its rows stay as they are, new ones are chained from where the chain begins, and the next opening changes nothing."""
    schema = old_table(tmp_path)
    assert "chain" not in schema.names
    sink = DeltaRecords(str(tmp_path))
    assert sink.position(LEDGER) == 10
    sink.append(LEDGER, entries(9, 15))
    handle = sink.table(LEDGER)
    assert records_migrate.version(handle) == records_tables.TABLES[LEDGER].version == 2
    rows = handle.to_pyarrow_table().sort_by("position")
    assert rows.column("position").to_pylist() == list(range(1, 16))
    assert [link is None for link in rows.column("chain").to_pylist()] == [True] * 10 + [False] * 5
    found = verified(tmp_path, head(sink))
    assert found.intact
    assert (found.rows, found.chained_from, found.proven_rows, found.proven_position) == (15, 11, 5, 15)
    before = handle.version()
    assert DeltaRecords(str(tmp_path)).table(LEDGER).version() == before


def test_a_table_before_its_migration_can_be_followed_too(tmp_path: Path) -> None:
    """Nobody has opened it with this release yet: nothing is chained, and nothing is wrong."""
    old_table(tmp_path)
    found = verified(tmp_path)
    assert (found.intact, found.rows, found.chained_from) == (True, 10, 0)


def test_two_that_migrate_at_once_both_succeed(tmp_path: Path) -> None:
    """Each column is added once."""
    old_table(tmp_path)
    first, second = DeltaTable(str(tmp_path / LEDGER)), DeltaTable(str(tmp_path / LEDGER))
    records_migrate.migrate(first, LEDGER)
    records_migrate.migrate(second, LEDGER)
    assert second.version() == first.version() == 2


def test_a_table_of_a_newer_release_is_refused_by_name(root: Path) -> None:
    """Writing to it would leave out what that release keeps."""
    handle = DeltaTable(str(root / LEDGER))
    field = pa.field("from_the_future", pa.string(), metadata={"comment": "later", "since": "99"})
    newer = records_tables.TABLES[LEDGER].schema.append(field)
    write_deltalake(handle, newer.empty_table(), mode="append", schema_mode="merge")
    with pytest.raises(errors.FailedPrecondition, match="egress_ledger has schema version 99") as caught:
        DeltaRecords(str(root)).append(LEDGER, entries(61, 61))
    assert caught.value.reason == "TABLE_NEWER"
    assert verified(root).intact, "reading it is another matter"


@pytest.mark.parametrize("strange", ["another type", "another column"])
def test_a_table_that_is_none_of_ours_is_refused(tmp_path: Path, strange: str) -> None:
    """A place that somebody else uses is not written to."""
    schema = records_tables.TABLES[LEDGER].schema
    at = schema.get_field_index("bytes")
    other = (
        schema.set(at, pa.field("bytes", pa.string()))
        if strange == "another type"
        else schema.append(pa.field("x", pa.string()))
    )
    DeltaTable.create(str(tmp_path / LEDGER), schema=other, partition_by=["day"])
    with pytest.raises(errors.FailedPrecondition, match="bytes" if strange == "another type" else "x") as caught:
        DeltaRecords(str(tmp_path)).position(LEDGER)
    assert caught.value.reason == "TABLE_FOREIGN"


def test_the_head_is_found_again_by_whoever_opens_the_table(root: Path, kept: tuple[SignedHead, ...]) -> None:
    """From the newest file alone; also where another process has appended in between, and after compaction."""
    first, second = DeltaRecords(str(root)), DeltaRecords(str(root))
    assert first.head(LEDGER).chain.hex() == kept[-1].chain
    second.append(LEDGER, entries(61, 65))
    assert first.head(LEDGER) == second.head(LEDGER)
    assert first.head(LEDGER).rows == 65
    DeltaTable(str(root / LEDGER)).optimize.compact()
    assert DeltaRecords(str(root)).head(LEDGER) == second.head(LEDGER)


@pytest.fixture(scope="module", autouse=True)
def _no_leftovers() -> Iterator[None]:
    """Nothing that a verification spilled is left."""
    import tempfile

    before = set(Path(tempfile.gettempdir()).glob("fed-verify-*"))
    yield
    assert set(Path(tempfile.gettempdir()).glob("fed-verify-*")) <= before
