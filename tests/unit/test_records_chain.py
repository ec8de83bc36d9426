"""Rows as Arrow has them give the same canonical bytes as row by row; and how events become rows."""

from __future__ import annotations

import dataclasses
import json
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.adapters import records_chain, records_tables
from federation.core import chain, decision, errors, metering
from federation.core.events import TABLE_OF_KIND, Event
from tests import records

LEDGER = "egress_ledger"

_TIMES = st.integers(0, 2**52).map(lambda micros: datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=micros))
_STRUCT = pa.struct([("a", pa.int64()), ("é", pa.string()), ("t", pa.list_(pa.string()))])
_SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64()),
        ("é", pa.string()),
        ("text", pa.string()),
        ("bytes", pa.binary()),
        ("money", pa.decimal128(38, 12)),
        ("time", pa.timestamp("us", tz="UTC")),
        ("date", pa.date32()),
        ("share", pa.float64()),
        ("flag", pa.bool_()),
        ("texts", pa.list_(pa.string())),
        ("numbers", pa.list_(pa.int64())),
        ("structs", pa.list_(_STRUCT)),
        ("day", pa.date32()),
        ("chain", pa.binary()),
    ]
)
_ROWS = st.fixed_dictionaries(
    {
        "position": st.integers(-(2**63), 2**63 - 1),
        "é": st.none() | st.text(max_size=5),
        "text": st.text(max_size=20),
        "bytes": st.none() | st.binary(max_size=5),
        "money": st.none() | st.integers(-(10**25), 10**25).map(lambda units: Decimal(units).scaleb(-12)),
        "time": st.none() | _TIMES,
        "date": st.none() | st.dates(date(1900, 1, 1)),
        "share": st.none() | st.floats(allow_nan=False),
        "flag": st.none() | st.booleans(),
        "texts": st.none() | st.lists(st.none() | st.text(max_size=3), max_size=3),
        "numbers": st.none() | st.lists(st.none() | st.integers(-9, 9), max_size=3),
        "structs": st.none()
        | st.lists(
            st.none()
            | st.fixed_dictionaries(
                {
                    "a": st.none() | st.integers(0, 9),
                    "é": st.none() | st.text(max_size=2),
                    "t": st.none() | st.lists(st.text(max_size=2), max_size=2),
                }
            ),
            max_size=3,
        ),
        "day": st.none(),
        "chain": st.none() | st.binary(max_size=3),
    }
)


@given(st.lists(_ROWS, max_size=8), st.data())
def test_arrays_give_the_bytes_that_rows_give(rows: list[dict[str, Any]], data: st.DataObject):
    """For every type, with and without nulls, in one piece, in slices and in chunks."""
    table = pa.Table.from_pylist(rows, schema=_SCHEMA)
    start = data.draw(st.integers(0, len(rows)))
    for some in (table, table.slice(start), pa.concat_tables([table.slice(start), table])):
        assert records_chain.canonical(some) == [chain.canonical(row) for row in some.to_pylist()]


def test_a_type_that_the_record_does_not_have_is_refused():
    """Rather than hashed as something that Spark or DuckDB would read otherwise."""
    with pytest.raises(TypeError, match="duration"):
        records_chain.canonical(pa.table({"a": pa.array([timedelta(1)])}))


def test_the_order_of_columns_changes_nothing():
    """A column that a migration has put at the end is hashed where its name belongs."""
    rows = records_tables.to_arrow(LEDGER, [records.event(1), records.event(2)])
    turned = rows.select(list(reversed(rows.column_names)))
    assert records_chain.canonical(turned) == records_chain.canonical(rows)


# -- How events become rows --------------------------------------------------------------------------------------------------


def entries(*numbers: int) -> list[metering.LedgerEntry]:
    """Ledger entries of which some have no avoided cost."""
    return [records.entry(number, avoided_micros=number * 10**12 if number % 2 else None) for number in numbers]


def batch(position: int, values: list[Any], kind: str = "ledger.entry") -> Event:
    """One event that holds many facts."""
    return dataclasses.replace(records.event(position, kind), body="", rows=len(values), data=records_tables.pack(kind, values))


def test_many_facts_in_one_event_are_the_same_rows_as_one_by_one():
    """Positions, decimals, days and links: nobody can tell how a fact was told."""
    values = entries(*range(1, 8))
    singles = [records.event(number, body=value) for number, value in enumerate(values, 1)]
    told = [singles[0], batch(4, values[1:4]), singles[4], batch(7, values[5:7])]
    assert records_tables.to_arrow(LEDGER, told).equals(records_tables.to_arrow(LEDGER, singles))


@pytest.mark.parametrize("split", range(8))
def test_batches_that_follow_each_other_make_one_chain(split: int):
    """Wherever a commit ends, the next one goes on from its last link."""
    events = [records.event(number) for number in range(1, 8)]
    whole = records_tables.to_arrow(LEDGER, events)
    first = records_tables.to_arrow(LEDGER, events[:split])
    head = records_tables.head_after(chain.Head(table=LEDGER, position=0, rows=0, chain=chain.genesis(LEDGER)), first)
    second = records_tables.to_arrow(LEDGER, events[split:], head.chain)
    assert pa.concat_tables([first, second]).equals(whole)
    assert records_tables.head_after(head, second).rows == 7


def test_every_kind_of_fact_can_be_packed():
    """And comes back as it would one by one, nested values too."""
    facts = {
        "ledger.entry": records.entry(),
        "lineage.run": records.run_fact(),
        "lineage.edge": records.edge(),
        "placement.decided": records.decided(),
        "usage.counted": records.usage_record(),
        "bill.lines": records.bill_line(),
    }
    assert set(facts) == set(TABLE_OF_KIND)
    for kind, fact in facts.items():
        table = TABLE_OF_KIND[kind]
        single = records_tables.to_arrow(table, [records.event(3, kind, fact)])
        assert records_tables.to_arrow(table, [batch(3, [fact], kind)]).equals(single)


def test_columns_are_packed_as_values_are():
    """What counts by the thousand has arrays already."""
    values = entries(1, 2)
    columns = pa.Table.from_pylist([dataclasses.asdict(value) for value in values])
    assert records_tables.pack("ledger.entry", columns) == records_tables.pack("ledger.entry", values)


def test_what_another_release_packed_is_read():
    """A column that it did not know yet is empty where it may be, and refused where it may not."""
    values = entries(2)
    known = pa.Table.from_pylist([dataclasses.asdict(value) for value in values])
    lacking = records_tables.pack("ledger.entry", known.drop_columns(["avoided_micros"]))
    event = dataclasses.replace(records.event(1), body="", data=lacking)
    assert records_tables.to_arrow(LEDGER, [event]).column("avoided_usd").to_pylist() == [None]
    with pytest.raises(errors.InvalidArgument, match="entry is not filled"):
        records_tables.pack("ledger.entry", known.drop_columns(["entry"]))


@pytest.mark.parametrize(
    "changes",
    [{"rows": 2}, {"data": b"no stream"}, {"data": records_tables.pack("lineage.edge", [records.edge()])}],
    ids=["another number of rows", "no Arrow stream", "another table's"],
)
def test_a_batch_that_is_none_is_told_by_its_position(changes: dict[str, Any]):
    """DataCorrupt, as for a body that is none."""
    event = dataclasses.replace(batch(5, entries(1)), **changes)
    with pytest.raises(errors.DataCorrupt, match="event 5") as caught:
        records_tables.to_arrow(LEDGER, [event])
    assert caught.value.reason == "RECORD_INVALID"


def test_kinds_of_the_audit_are_told_one_by_one():
    """Their table has no columns for what they hold."""
    with pytest.raises(errors.InvalidArgument) as caught:
        records_tables.pack("dataset.created", [])
    assert caught.value.reason == "KIND_UNPACKED"


def test_audit_takes_whatever_an_event_says():
    """The event itself is the row, with the digest of its body; many facts of a kind unknown here are told by theirs."""
    single = Event(
        position=4,
        time=records.TIME,
        kind="dataset.created",
        name="namespaces/n/datasets/d",
        actor="users/ada",
        request_id="r",
        body='{"a":1}',
    )
    many = dataclasses.replace(single, position=9, body="", rows=5, data=b"strange")
    first, second = records_tables.to_arrow("audit", [single, many]).to_pylist()
    assert {name: first[name] for name in ("position", "kind", "name", "actor", "request_id", "body")} == {
        "position": 4,
        "kind": "dataset.created",
        "name": "namespaces/n/datasets/d",
        "actor": "users/ada",
        "request_id": "r",
        "body": '{"a":1}',
    }
    assert first["body_sha256"] == "015abd7f5cc57a2dd94b7590f04ad8084273905ee33ec5cebeae62276a97f862"
    assert (second["position"], json.loads(second["body"])["rows"]) == (9, 5)


def test_a_decision_says_what_was_chosen_and_from_what():
    """Alternatives, rejections and the residency of inputs as lists of structs, which every engine reads."""
    told = records.event(1, "placement.decided", records.decided())
    (row,) = records_tables.to_arrow("placement_decisions", [told]).to_pylist()
    assert (row["outcome"], row["site"], row["run"], row["rate_card"]) == ("PLACED", "us-1", "jobs/j-1/runs/1", 3)
    assert (row["objective_micros"], row["runner_up_site"], row["margin_micros"]) == (20_100, "us-2", 50)
    assert (row["baseline_egress_micros"], row["avoided_micros"]) == (50_000, 30_000)
    assert [each["site"] for each in row["candidates"]] == ["us-1", "us-2"]
    assert [each["reason"] for each in row["rejections"]] == ["RESIDENCY"]
    assert row["inputs"][0]["residency"] == ["EU", "US"]


def test_a_decision_without_a_plan_is_a_refusal_with_its_reason():
    """An input was deleted: nothing was weighed."""
    job = records.placed_job(reason="DATASET_DELETED", detail="it is gone", decision="d-0")
    made = decision.decide(
        job, None, decision.Outcome.REFUSED, decision="d-1", supersedes="d-0", time=records.TIME, rate_card=0, residency={}
    )
    assert (made.outcome, made.reason, made.run, made.site, made.supersedes) == ("REFUSED", "DATASET_DELETED", "", "", "d-0")
    assert [item.dataset for item in made.inputs] == ["sales/flights"]


# -- Schemas -----------------------------------------------------------------------------------------------------------------


def test_a_column_that_came_later_is_optional():
    """Or rows from before could not be read."""
    for table in records_tables.TABLES.values():
        assert all(field.nullable for field in table.schema if int(field.metadata[b"since"]) > 1)
        assert table.schema.names[-2:] == ["day", "chain"]
        assert table.day_of in table.schema.names


def test_what_a_row_has_beside_its_value_follows_from_it():
    """Position, day, link, and dollars of micro-dollars, or of a bill's pico-dollars: no other column is made up."""
    for name, table in records_tables.TABLES.items():
        derived = {field.name for field in table.schema} - {field.name for field in table.stored}
        dollars = {column for column in derived if column.endswith("_usd")}
        assert derived - dollars == {"position", "day", "chain"}, name
        for stem in (column.removesuffix("_usd") for column in dollars):
            assert {f"{stem}_micros", f"{stem}_picos"} & set(table.schema.names), (name, stem)


def test_facts_that_are_read_as_columns_are_those_that_are_read_as_values(monkeypatch: pytest.MonkeyPatch):
    """The quick way and the thorough one make the same rows, chain and all."""
    facts = {
        "ledger.entry": [records.entry(1, avoided_micros=-3), records.entry(2)],
        "lineage.run": [records.run_fact(), records.run_fact(start_time=records.TIME)],
        "lineage.edge": [records.edge()],
        "placement.decided": [records.decided()],
        "usage.counted": [records.usage_record()],
        "bill.lines": [records.bill_line(1), records.bill_line(2)],
    }
    quick, thorough = [], []
    for rows in (quick, thorough):
        for kind, table in TABLE_OF_KIND.items():
            told = [records.event(number, kind, fact) for number, fact in enumerate(facts[kind], start=1)]
            assert rows is thorough or records_tables._parsed(records_tables.TABLES[table], told) is not None
            rows.append(records_tables.to_arrow(table, told))
        monkeypatch.setattr(records_tables, "_parsed", lambda table, group: None)
    assert all(one.equals(other) for one, other in zip(quick, thorough, strict=True))


def test_a_fact_of_an_older_release_has_what_was_added_since():
    """As its class has it by default, though it stands among newer ones."""
    older = records.event(1)
    older = dataclasses.replace(older, body=older.body.replace(',"rate_card":0', "").replace(',"transfer":""', ""))
    assert "rate_card" not in older.body
    rows = records_tables.to_arrow(LEDGER, [older, records.event(2)])
    assert rows.column("rate_card").to_pylist() == [0, 0]
    assert rows.column("transfer").to_pylist() == ["", ""]


@pytest.mark.parametrize(("right", "wrong"), [('"bytes":1000002', '"bytes":"many"'), ('"bytes":1000002,', ""), ("{", "[")])
def test_among_many_the_fact_that_is_none_is_told_by_its_position(right: str, wrong: str):
    """Whichever way it is wrong."""
    bad = records.event(2)
    bad = dataclasses.replace(bad, body=bad.body.replace(right, wrong, 1))
    with pytest.raises(errors.DataCorrupt, match="event 2"):
        records_tables.to_arrow(LEDGER, [records.event(1), bad, records.event(3)])
