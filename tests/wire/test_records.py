"""Queries of the record over the wire: answered in pieces, within the server's bounds, for administrators."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.engine_apart import QueriesApart
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import UlidIds
from federation.core import errors
from federation.ports import RecordAnswer
from tests import records
from tests.wire import edge as edges
from tests.wire.certs import Certs

LEDGER = "egress_ledger"


class Noting:
    """Answers as `QueriesApart` does, and notes what it was asked."""

    def __init__(self, inner: QueriesApart) -> None:
        self._inner = inner
        self.asked: list[tuple[int, float]] = []

    def ask(self, sql: str, *, rows_max: int, bytes_max: int, seconds: float) -> RecordAnswer:
        self.asked.append((rows_max, seconds))
        return self._inner.ask(sql, rows_max=rows_max, bytes_max=bytes_max, seconds=seconds)


@pytest.fixture(scope="module")
def recorded(certs: Certs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[edges.Edge, Noting]]:
    """A server beside a ledger of three entries."""
    root = tmp_path_factory.mktemp("tables")
    DeltaRecords(str(root)).append(LEDGER, tuple(records.event(position) for position in (1, 2, 3)))
    noting = Noting(QueriesApart(str(root)))
    made = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()), queries=noting)
    yield made, noting
    made.stop()


def test_an_administrator_asks_the_record_in_sql(recorded: tuple[edges.Edge, Noting]) -> None:
    """Rows as Arrow, with the bounds that were asked for, and those of the server where none were or too much was."""
    edge, noting = recorded
    before = len(noting.asked)
    with edge.client() as client:
        found = client.query_records(
            f"SELECT entry, repeat('x', 300000) AS x FROM {LEDGER} ORDER BY 1", rows_max=2, seconds_max=50
        )
        with pa.ipc.open_stream(found.stream) as reader:
            rows = reader.read_all()
        assert (found.rows, found.complete, rows.num_rows) == (2, False, 2)
        assert [len(text) for text in rows.column("x").to_pylist()] == [300_000] * 2
        assert client.query_records("SELECT 1 AS one").complete
        client.query_records("SELECT 1 AS one", rows_max=2**31 - 1, seconds_max=2**31 - 1)
    assert noting.asked[before:] == [(2, 50), (100_000, 60), (100_000, 60)]


def test_nobody_else_does(recorded: tuple[edges.Edge, Noting]) -> None:
    """The record tells of every namespace's money and of every person."""
    edge, noting = recorded
    before = len(noting.asked)
    with edge.client("user") as client, pytest.raises(errors.PermissionDenied):
        client.query_records("SELECT 1")
    assert len(noting.asked) == before


def test_refusals_come_with_their_reason(recorded: tuple[edges.Edge, Noting]) -> None:
    """No query, and a bound that is none."""
    edge, _ = recorded
    with edge.client() as client:
        for sql, reason in ((f"DELETE FROM {LEDGER}", "SQL_NOT_A_QUERY"), ("SELECT * FROM elsewhere", "SQL_INVALID")):
            with pytest.raises(errors.InvalidArgument) as refused:
                client.query_records(sql)
            assert refused.value.reason == reason
        with pytest.raises(errors.InvalidArgument) as wrong:
            client.query_records("SELECT 1", rows_max=-1)
        assert wrong.value.reason == "BOUND_INVALID"


def test_a_server_without_a_record_says_so(edge: edges.Edge) -> None:
    """It answers for its catalog alone."""
    with edge.client() as client, pytest.raises(errors.FailedPrecondition) as missing:
        client.query_records("SELECT 1")
    assert missing.value.reason == "RECORD_MISSING"
