"""Every promise of `ports.RecordSink`, kept alike by memory and Delta; and what else Delta's tables promise their readers."""

from __future__ import annotations

import dataclasses
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pytest

from federation import ports
from federation.adapters import records_links, records_tables
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.records_memory import MemoryRecords
from federation.core import chain, errors, lineage
from federation.core.events import AUDIT, TABLE_OF_KIND
from tests import records
from tests.conformance import s3server

LEDGER = "egress_ledger"
_S3_OPTIONS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}
Rows = Callable[[str], pa.Table]
EDGE = records.edge(columns=("price", "qty"), column_map=(lineage.ColumnSource(column="total", source="a.price"),))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The endpoint of an S3 server."""
    with s3server.honest() as endpoint:
        yield endpoint


@pytest.fixture(params=["memory", "delta", "delta in s3"])
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[ports.RecordSink, Rows]:
    """An empty sink of each make, and how its rows are read."""
    if request.param == "memory":
        memory = MemoryRecords()
        return memory, memory.rows
    if request.param == "delta":
        delta = DeltaRecords(str(tmp_path / "tables"))
    else:
        endpoint = request.getfixturevalue("s3")
        bucket = s3server.bucket(endpoint, f"tables-{secrets.token_hex(4)}")
        delta = DeltaRecords(f"{bucket}/federation", _S3_OPTIONS | {"AWS_ENDPOINT_URL": endpoint})
    return delta, lambda table: rows_of(delta, table)


@pytest.fixture
def sink(made: tuple[ports.RecordSink, Rows]) -> ports.RecordSink:
    """The sink alone."""
    return made[0]


@pytest.fixture
def rows(made: tuple[ports.RecordSink, Rows]) -> Rows:
    """How its rows are read."""
    return made[1]


@pytest.fixture
def delta(tmp_path: Path) -> DeltaRecords:
    """A sink of Delta tables in a folder."""
    return DeltaRecords(str(tmp_path / "tables"))


def rows_of(delta: DeltaRecords, table: str) -> pa.Table:
    """A table's rows, in the order of positions, as pyarrow reads them."""
    return delta.table(table).to_pyarrow_table().sort_by("position")


def positions(rows: pa.Table) -> list[int]:
    """Which events are in the table."""
    return rows.column("position").to_pylist()


def test_an_empty_table_is_at_zero(sink: ports.RecordSink) -> None:
    """Before the first batch."""
    assert {sink.position(table) for table in records_tables.TABLES} == {0}


def test_the_position_is_that_of_the_last_event(sink: ports.RecordSink) -> None:
    """Each table has its own; positions may have gaps."""
    sink.append(LEDGER, (records.event(3), records.event(7)))
    assert sink.position(LEDGER) == 7
    assert sink.position("lineage_runs") == 0
    sink.append(LEDGER, (records.event(9),))
    assert sink.position(LEDGER) == 9


def test_a_batch_that_comes_again_is_not_doubled(sink: ports.RecordSink, rows: Rows) -> None:
    """Not the whole of it, and not where it overlaps with a new one."""
    first = tuple(records.event(number) for number in (1, 2, 3))
    for _ in range(3):
        sink.append(LEDGER, first)
    sink.append(LEDGER, (*first, records.event(4)))
    sink.append(LEDGER, first[:1])
    assert positions(rows(LEDGER)) == [1, 2, 3, 4]
    assert sink.position(LEDGER) == 4


def test_facts_by_the_thousand_and_single_ones_become_the_same_rows(sink: ports.RecordSink, rows: Rows) -> None:
    """In the order of their positions, whichever way they came; again only once."""
    mixed = (records.event(1), records.batch(5, 4), records.event(6), records.batch(9, 3))
    for events in (mixed[:2], mixed):
        sink.append(LEDGER, events)
    assert sink.position(LEDGER) == 9
    assert rows(LEDGER).column("entry").to_pylist() == [records.entry(number).entry for number in range(1, 10)]
    assert positions(rows(LEDGER)) == list(range(1, 10))
    alone = MemoryRecords()
    alone.append(LEDGER, tuple(records.event(number) for number in range(1, 10)))
    assert rows(LEDGER).select(alone.rows(LEDGER).column_names).equals(alone.rows(LEDGER))


def test_a_batch_that_is_not_what_it_says_is_refused(sink: ports.RecordSink) -> None:
    """Fewer facts than positions would put the following ones at wrong places."""
    with pytest.raises(errors.DataCorrupt, match="event 5"):
        sink.append(LEDGER, (dataclasses.replace(records.batch(5, 4), rows=5),))
    assert sink.position(LEDGER) == 0


def test_a_seal_changes_neither_position_nor_rows(sink: ports.RecordSink, rows: Rows) -> None:
    """It only follows what was committed before."""
    sink.append(LEDGER, (records.event(1),))
    sink.seal(LEDGER)
    assert sink.position(LEDGER) == 1
    sink.append(LEDGER, (records.event(1), records.event(2)))
    assert positions(rows(LEDGER)) == [1, 2]


def test_care_ends_and_changes_no_row(sink: ports.RecordSink, rows: Rows) -> None:
    """However often it is asked for."""
    sink.append(LEDGER, (records.event(1),))
    sink.probe()
    while sink.tend(LEDGER):
        pass
    assert not sink.tend(LEDGER)
    assert positions(rows(LEDGER)) == [1]


def test_an_empty_batch_changes_nothing(sink: ports.RecordSink, rows: Rows) -> None:
    """Nor does it fail."""
    sink.append(LEDGER, ())
    assert sink.position(LEDGER) == 0
    assert positions(rows(LEDGER)) == []


def test_an_unknown_table_is_refused(sink: ports.RecordSink) -> None:
    """With those that there are."""
    for call in (lambda: sink.position("secrets"), lambda: sink.append("secrets", (records.event(1),))):
        with pytest.raises(errors.InvalidArgument, match="lineage_edges"):
            call()


def test_an_event_without_its_value_is_refused_and_nothing_of_its_batch_is_kept(sink: ports.RecordSink) -> None:
    """DataCorrupt, with the position to look at."""
    with pytest.raises(errors.DataCorrupt, match="event 2"):
        sink.append(LEDGER, (records.event(1), records.event(2, body=records.edge())))
    assert sink.position(LEDGER) == 0


def test_every_field_of_the_facts_is_a_column(sink: ports.RecordSink, rows: Rows) -> None:
    """A field that is added to the core cannot be forgotten in the tables; values come back as they were."""
    facts = {
        LEDGER: records.entry(1, avoided_micros=-3),
        "egress_usage": records.usage_record(),
        "lineage_runs": records.run_fact(),
        "lineage_edges": EDGE,
        "placement_decisions": records.decided(),
        "bill_lines": records.bill_line(),
    }
    assert {*facts, AUDIT} == {*records_tables.TABLES}
    for kind, table in TABLE_OF_KIND.items():
        fact = facts[table]
        sink.append(table, (records.event(1, kind, fact),))
        (row,) = rows(table).to_pylist()
        for name in fact.__dataclass_fields__:
            assert row[name] == plain(getattr(fact, name)), (table, name)


def plain(value: Any) -> Any:
    """A value as a row has it: structs and lists of them."""
    if dataclasses.is_dataclass(value):
        return {field.name: plain(getattr(value, field.name)) for field in dataclasses.fields(value)}
    return [plain(item) for item in value] if isinstance(value, tuple) else value


def test_money_is_exact_dollars_and_times_are_utc(sink: ports.RecordSink, rows: Rows) -> None:
    """A micro-dollar is 0.000001, an unknown amount is null, and the day is that of UTC."""
    late = datetime(2026, 11, 30, 23, 59, 59, 999999, tzinfo=UTC)
    sink.append(LEDGER, (records.event(1, body=records.entry(charge_micros=1, estimate_micros=10**15, time=late)),))
    (row,) = rows(LEDGER).to_pylist()
    assert row["charge_usd"] == Decimal("0.000001")
    assert row["estimate_usd"] == Decimal(10**9)
    assert row["avoided_usd"] is None
    assert row["time"] == late
    assert row["day"].isoformat() == "2026-11-30"


# -- Delta alone -------------------------------------------------------------------------------------------------------------


def test_duckdb_and_pyarrow_read_the_same_rows(delta: DeltaRecords) -> None:
    """From the dataset with its partitions, and from nothing but the list of files."""
    delta.append(LEDGER, tuple(records.event(number) for number in range(1, 101)))
    dataset = delta.table(LEDGER).to_pyarrow_dataset()  # noqa: F841 - DuckDB finds it by its name
    files = delta.table(LEDGER).file_uris()
    expected = sum(records.entry(number).charge_micros for number in range(1, 101))
    assert rows_of(delta, LEDGER).column("charge_micros").to_numpy().sum() == expected
    query = "SELECT count(*), sum(charge_micros), sum(charge_usd), count(DISTINCT day) FROM"
    by_dataset = duckdb.sql(f"{query} dataset").fetchall()
    by_files = duckdb.sql(f"{query} read_parquet({files}, hive_partitioning = true)").fetchall()
    assert by_dataset == by_files == [(100, expected, Decimal(expected).scaleb(-6), 2)]


def test_the_tables_are_readable_by_every_engine(delta: DeltaRecords) -> None:
    """Reader 1, writer 4 or lower, no features; append-only; partitioned by day; each column explained."""
    for table, known in records_tables.TABLES.items():
        handle = delta.table(table)
        protocol = handle.protocol()
        assert (protocol.min_reader_version, protocol.reader_features, protocol.writer_features) == (1, None, None)
        assert protocol.min_writer_version <= 4
        assert handle.metadata().partition_columns == ["day"]
        assert handle.metadata().configuration["delta.appendOnly"] == "true"
        assert [field.name for field in handle.schema().fields] == known.schema.names
        assert all(field.metadata["comment"] for field in handle.schema().fields)


def test_another_sink_goes_on_where_the_first_stopped(tmp_path: Path) -> None:
    """The position is in the table, not in the process."""
    DeltaRecords(str(tmp_path)).append(LEDGER, (records.event(1), records.event(2)))
    again = DeltaRecords(f"file://{tmp_path}")
    assert again.position(LEDGER) == 2
    again.append(LEDGER, (records.event(2), records.event(3)))
    assert positions(rows_of(again, LEDGER)) == [1, 2, 3]


def test_two_sinks_at_once_double_nothing(tmp_path: Path) -> None:
    """One committer is meant; a second, started by mistake, with a handle that has seen nothing, does no harm."""
    first, second = DeltaRecords(str(tmp_path)), DeltaRecords(str(tmp_path))
    assert (first.position(LEDGER), second.position(LEDGER)) == (0, 0)
    batch = tuple(records.event(number) for number in (1, 2, 3))
    first.append(LEDGER, batch)
    second.append(LEDGER, batch)
    second.append(LEDGER, (*batch, records.event(4)))
    first.append(LEDGER, (records.event(4), records.event(5)))
    assert positions(rows_of(first, LEDGER)) == [1, 2, 3, 4, 5]


def test_two_sinks_racing_double_nothing(tmp_path: Path) -> None:
    """Both carry the same events at the same time; where one is told to come back later, it does."""

    def carry(sink: DeltaRecords) -> None:
        for number in range(1, 21):
            while sink.position(LEDGER) < number:
                try:
                    sink.append(LEDGER, (records.event(number),))
                except errors.Unavailable:
                    continue

    DeltaRecords(str(tmp_path)).position(LEDGER)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(carry, [DeltaRecords(str(tmp_path)) for _ in range(2)]))
    assert positions(rows_of(DeltaRecords(str(tmp_path)), LEDGER)) == list(range(1, 21))


def test_many_commits_leave_few_files_and_the_same_rows(tmp_path: Path) -> None:
    """Checkpoints and compaction keep a long-lived table quick, and change neither rows nor position; rows lie sorted."""
    delta = DeltaRecords(str(tmp_path))
    for number in range(1, 51):
        delta.append(LEDGER, (records.event(number),))
        while delta.tend(LEDGER):
            pass
    assert len(delta.table(LEDGER).file_uris()) < 25
    assert list((tmp_path / LEDGER / "_delta_log").glob("*.checkpoint.parquet"))
    assert positions(rows_of(delta, LEDGER)) == list(range(1, 51))
    again = DeltaRecords(str(tmp_path))
    assert again.position(LEDGER) == 50
    again.append(LEDGER, (records.event(51),))
    for day in delta.table(LEDGER).to_pyarrow_dataset().get_fragments():
        assert positions(day.to_table()) == sorted(positions(day.to_table()))


def tended(delta: DeltaRecords) -> None:
    """Does all that is due for the ledger."""
    while delta.tend(LEDGER):
        pass


def intact(delta: DeltaRecords, rows: int) -> bool:
    """Whether the ledger's chain holds, and has so many rows."""
    walk = chain.Walk(LEDGER)
    for batch in records_links.links(delta.table(LEDGER), LEDGER):
        walk.take(batch)
    found = walk.result()
    return found.intact and found.rows == rows


def test_care_goes_on_beside_appends(tmp_path: Path) -> None:
    """Both commit to one table; neither undoes the other's work, and the chain holds across files that were put together."""
    delta = DeltaRecords(str(tmp_path))
    done = threading.Event()

    def append() -> None:
        for number in range(1, 101):
            delta.append(LEDGER, (records.event(number, body=records.entry(1, entry=f"e-{number}")),))
        done.set()

    with ThreadPoolExecutor(1) as pool:
        appending = pool.submit(append)
        while not done.is_set():
            delta.tend(LEDGER)
        appending.result()
    tended(delta)
    assert positions(rows_of(delta, LEDGER)) == list(range(1, 101))
    assert len(delta.table(LEDGER).file_uris()) < 60
    assert intact(delta, 100)


def test_two_that_care_for_one_table_double_nothing(tmp_path: Path) -> None:
    """Files that one has put together, another must not put together again: the rows would be there twice."""
    first, second = DeltaRecords(str(tmp_path)), DeltaRecords(str(tmp_path))
    for number in range(1, 41):
        first.append(LEDGER, (records.event(number, body=records.entry(1)),))
    assert second.position(LEDGER) == 40
    assert first.tend(LEDGER)
    assert second.tend(LEDGER)
    while first.tend(LEDGER) | second.tend(LEDGER):
        pass
    assert positions(rows_of(first, LEDGER)) == list(range(1, 41))
    assert len(first.table(LEDGER).file_uris()) < 40


def test_a_day_that_is_over_comes_to_one_file(tmp_path: Path) -> None:
    """And what nothing refers to any more is thrown away, once no reader can need it."""
    delta = DeltaRecords(str(tmp_path))
    later = records.entry(1, time=records.TIME + timedelta(days=2))
    for number in range(1, 12):
        delta.append(LEDGER, (records.event(number, body=records.entry(1)),))
    for number in range(12, 24):
        delta.append(LEDGER, (records.event(number, body=later),))
    tended(delta)
    days = [path.parent.name for path in map(Path, delta.table(LEDGER).file_uris())]
    assert (len(days), len(set(days))) == (13, 2)
    assert len(list(tmp_path.rglob("part-*"))) == 24
    assert positions(rows_of(delta, LEDGER)) == list(range(1, 24))


def test_what_is_needed_no_more_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were put together, files of a commit that died, and the log behind a checkpoint."""
    delta = DeltaRecords(str(tmp_path))
    for number in range(1, 40):
        delta.append(LEDGER, (records.event(number, body=records.entry(1)),))
    orphan = tmp_path / LEDGER / "day=2026-11-22" / "part-of-a-dead-commit.parquet"
    orphan.write_bytes(b"half a file")
    long_ago = time.time() - 86_400
    for path in tmp_path.rglob("*"):
        if path.is_file():
            os.utime(path, (long_ago, long_ago))
    tended(delta)
    assert not orphan.exists()
    assert not (tmp_path / LEDGER / "_delta_log" / f"{0:020}.json").exists()
    assert positions(rows_of(DeltaRecords(str(tmp_path)), LEDGER)) == list(range(1, 40))


def test_a_store_that_lets_commits_overwrite_each_other_is_refused(s3: str) -> None:
    """At the start, by name, before any row is there to be lost; an honest one keeps nothing of the probe."""
    bucket = s3server.bucket(s3, f"tables-{secrets.token_hex(4)}")
    with s3server.troubled(s3) as trouble:
        options = _S3_OPTIONS | {"AWS_ENDPOINT_URL": trouble.endpoint}
        trouble.hides = frozenset({"if-none-match"})
        for call in (lambda delta: delta.probe(), lambda delta: delta.append(LEDGER, (records.event(1),))):
            with pytest.raises(errors.FailedPrecondition, match="overwrites an object") as caught:
                call(DeltaRecords(bucket, options))
            assert caught.value.reason == "STORE_DISHONEST"
        trouble.hides = frozenset({"range"})
        with pytest.raises(errors.FailedPrecondition, match="for a range"):
            DeltaRecords(bucket, options).probe()
        trouble.hides = frozenset()
        DeltaRecords(bucket, options).probe()
    assert "Contents" not in s3server.client(s3).list_objects_v2(Bucket=bucket.removeprefix("s3://"))


def test_tables_lie_in_a_folder_or_in_s3() -> None:
    """Another place is refused by name, and not by what some library thinks of it."""
    with pytest.raises(errors.InvalidArgument, match="ftp://") as caught:
        DeltaRecords("ftp://host/tables")
    assert caught.value.reason == "TABLES_URL_INVALID"


def test_a_commit_counts_once_its_files_are_on_the_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Data, log, and every folder between them and the root are synced before append returns."""
    synced: set[str] = set()
    real = os.fsync

    def note(descriptor: int) -> None:
        synced.add(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    DeltaRecords(str(tmp_path)).append(LEDGER, (records.event(1),))
    assert {str(path) for path in (tmp_path, *tmp_path.rglob("*"))} <= synced


def test_tables_that_cannot_be_written_are_unavailable(tmp_path: Path) -> None:
    """Nothing is half there, and the same sink goes on when the place is mended."""
    (tmp_path / "tables").write_text("a file in the way")
    delta = DeltaRecords(str(tmp_path / "tables"))
    with pytest.raises(errors.Unavailable) as caught:
        delta.append(LEDGER, (records.event(1),))
    assert caught.value.reason == "TABLES_UNAVAILABLE"
    (tmp_path / "tables").unlink()
    delta.append(LEDGER, (records.event(1),))
    assert positions(rows_of(delta, LEDGER)) == [1]
