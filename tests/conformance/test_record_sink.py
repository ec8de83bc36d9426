"""Every promise of `ports.RecordSink`, kept alike by memory and Delta; and what else Delta's tables promise their readers."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest

from federation import ports
from federation.adapters import records_delta, records_tables
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.records_memory import MemoryRecords
from federation.core import errors
from federation.core.events import TABLE_OF_KIND
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
    facts = {LEDGER: records.entry(1, avoided_micros=-3), "lineage_runs": records.run_fact(), "lineage_edges": records.edge()}
    facts["bill_lines"] = records.bill_line()
    for (kind, table), (same, fact) in zip(TABLE_OF_KIND.items(), facts.items(), strict=True):
        assert table == same
        sink.append(table, (records.event(1, kind, fact),))
        (row,) = rows(table).to_pylist()
        for name in fact.__dataclass_fields__:
            assert row[name] == getattr(fact, name), (table, name)


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


def test_many_commits_leave_few_files_and_the_same_rows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Checkpoints and compaction keep a long-lived table quick, and change neither rows nor position."""
    monkeypatch.setattr(records_delta, "SMALL_FILES_MAX", 15)
    delta = DeltaRecords(str(tmp_path))
    for number in range(1, 51):
        delta.append(LEDGER, (records.event(number),))
    handle = delta.table(LEDGER)
    assert len(handle.file_uris()) < 35
    assert list((tmp_path / LEDGER / "_delta_log").glob("*.checkpoint.parquet"))
    assert positions(rows_of(delta, LEDGER)) == list(range(1, 51))
    assert DeltaRecords(str(tmp_path)).position(LEDGER) == 50


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
