"""The embedded engine keeps every promise of its port, in a folder and in S3; people's queries run apart from the server."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from federation.adapters.engine_apart import QueriesApart
from federation.adapters.engine_embedded import DeltaFusionEngine
from federation.adapters.records_delta import DeltaRecords
from federation.core import errors
from tests import records
from tests.conformance import record_engine, s3server
from tests.conformance.record_engine import LEDGER, Record

S3_OPTIONS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
}


@pytest.mark.parametrize("promise", record_engine.PROMISES, ids=lambda promise: promise.__name__)
def test_the_embedded_engine_keeps_its_promises(promise: Callable[[Record], None], tmp_path: Path) -> None:
    """Each of them, over tables in a folder."""
    root = tmp_path / "tables"
    promise(Record(root=root, engine=DeltaFusionEngine(str(root), tables=record_engine.TABLES)))


@pytest.fixture(scope="module")
def s3() -> Iterator[str]:
    """The endpoint of an S3 server."""
    with s3server.honest() as endpoint:
        yield endpoint


def test_tables_in_s3_are_asked_and_put_together_alike(s3: str) -> None:
    """With the same options as the committer's."""
    root, options = f"{s3server.bucket(s3, f'b-{secrets.token_hex(4)}')}/tables", S3_OPTIONS | {"AWS_ENDPOINT_URL": s3}
    sink = DeltaRecords(root, options)
    for position in (1, 2, 3):
        sink.append(LEDGER, (records.event(position),))
    engine = DeltaFusionEngine(root, options)
    assert engine.compact(LEDGER).files_removed >= 2
    assert engine.query(f"SELECT SUM(charge_micros) AS c FROM {LEDGER}").column("c").to_pylist() == [60_006]
    sink.append(LEDGER, (records.event(4),))
    assert sink.position(LEDGER) == 4


def test_compaction_and_appends_at_once_lose_nothing(tmp_path: Path) -> None:
    """The engine's commits and the committer's go past each other: delta-rs puts a commit only where none is."""
    record = Record(root=tmp_path, engine=DeltaFusionEngine(str(tmp_path)))
    for _ in range(6):
        record.post({}, {}, {})
        record.engine.compact(LEDGER)
    positions = sorted(row["position"] for row in record.rows())
    assert positions == list(range(1, 19))


@pytest.fixture
def queries(tmp_path: Path) -> QueriesApart:
    """What answers people, over a ledger of five entries."""
    root = tmp_path / "tables"
    Record(root=root, engine=DeltaFusionEngine(str(root))).post(*[{}] * 5)
    return QueriesApart(str(root), memory_bytes=256 * 1024**2, at_once=1)


def ask(
    queries: QueriesApart, sql: str, *, rows_max: int = 10, bytes_max: int = 10**6, seconds: float = 60
) -> tuple[pa.Table, bool]:
    """The rows, and whether these are all."""
    answer = queries.ask(sql, rows_max=rows_max, bytes_max=bytes_max, seconds=seconds)
    with pa.ipc.open_stream(answer.stream) as reader:
        found = reader.read_all()
    assert found.num_rows == answer.rows
    return found, answer.complete


def test_an_answer_says_whether_it_is_complete(queries: QueriesApart) -> None:
    """Cut at the rows or the bytes that are allowed, and never silently."""
    rows, complete = ask(queries, f"SELECT entry FROM {LEDGER}")
    assert (rows.num_rows, complete) == (5, True)
    assert ask(queries, f"SELECT entry FROM {LEDGER}", rows_max=5)[1]
    rows, complete = ask(queries, f"SELECT entry FROM {LEDGER}", rows_max=3)
    assert (rows.num_rows, complete) == (3, False)
    rows, complete = ask(queries, f"SELECT repeat('x', 100000) FROM {LEDGER}", bytes_max=250_000)
    assert (rows.num_rows, complete) == (2, False)


def test_a_query_that_runs_for_ever_is_ended(queries: QueriesApart) -> None:
    """At its time, with the process that ran it; the next one finds its place free."""
    endless = "SELECT COUNT(*) FROM generate_series(1, 3000000) a, generate_series(1, 3000000) b WHERE a.value + b.value = -1"
    with pytest.raises(errors.DeadlineExceeded) as slow:
        ask(queries, endless, seconds=1)
    assert slow.value.reason == "QUERY_TOO_SLOW"
    assert ask(queries, "SELECT 1")[1]


@pytest.mark.parametrize(
    "greedy",
    [
        "SELECT array_agg(repeat('x', 1000) || CAST(value AS TEXT)) FROM generate_series(1, 30000000)",
        "SELECT COUNT(*) FROM (SELECT repeat(CAST(value AS TEXT), 1000) AS v FROM generate_series(1, 9000000) GROUP BY v)",
    ],
)
def test_a_query_that_takes_too_much_memory_is_ended(queries: QueriesApart, greedy: str) -> None:
    """Its process is, and the server beside it has lost nothing."""
    with pytest.raises(errors.ResourceExhausted) as large:
        ask(queries, greedy)
    assert large.value.reason == "QUERY_TOO_LARGE"


def test_errors_come_over_as_they_are(queries: QueriesApart) -> None:
    """By kind, reason and help, from the process that met them."""
    with pytest.raises(errors.NotFound) as missing:
        ask(queries, "SELECT * FROM lineage_runs")
    assert (missing.value.reason, missing.value.metadata["table"]) == ("TABLE_MISSING", "lineage_runs")
    with pytest.raises(errors.InvalidArgument, match="nothing") as invalid:
        ask(queries, f"SELECT nothing FROM {LEDGER}")
    assert invalid.value.reason == "SQL_INVALID"


def test_who_comes_while_others_are_answered_is_told_so(queries: QueriesApart) -> None:
    """And when to come again: a queue without end would be memory without end."""
    queries._places.acquire()
    try:
        with pytest.raises(errors.Unavailable) as busy:
            ask(queries, "SELECT 1")
    finally:
        queries._places.release()
    assert busy.value.reason == "QUERIES_BUSY"
    assert busy.value.retry_seconds
