"""The committer between a catalog and a sink: all of it, in order, once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation import ports
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.records_memory import MemoryRecords
from federation.adapters.system import ManualClock, SeededIds
from federation.core import errors
from federation.core.events import TABLES, Event
from federation.services.committer import Committer
from tests import records

LEDGER = "egress_ledger"


class FailingRecords(MemoryRecords):
    """A sink that is down, each time before or after it has done its work, for as long as it has been told to be."""

    def __init__(self, *before: bool) -> None:
        super().__init__()
        self._failures: Iterator[bool] = iter(before)

    def append(self, table: str, events: tuple[Event, ...]) -> None:
        before = next(self._failures, None)
        if before is not True:
            super().append(table, events)
        if before is not None:
            raise errors.Unavailable("the tables are down", reason="TABLES_UNAVAILABLE")


@pytest.fixture
def catalog() -> ports.Catalog:
    """An empty catalog in memory."""
    return new_catalog()


def new_catalog() -> ports.Catalog:
    """An empty catalog in memory."""
    return MemoryCatalog(ManualClock(), SeededIds())


def positions(sink: MemoryRecords, table: str = LEDGER) -> list[int]:
    """Which events a table holds."""
    return sink.rows(table).column("position").to_pylist()


def test_each_kind_of_event_goes_to_its_table_and_all_others_to_audit(catalog: ports.Catalog) -> None:
    """The ledger takes entries, lineage takes runs and edges, decisions theirs; audit takes all others."""
    sink = MemoryRecords()
    catalog.write(lambda tx: tx.emit("site.updated", "eu-1", None))
    catalog.write(
        lambda tx: (tx.emit("lineage.run", "r-1", records.run_fact()), tx.emit("lineage.edge", "r-1", records.edge()))
    )
    records.emit_entries(catalog, 1)
    catalog.write(lambda tx: tx.emit("placement.decided", "jobs/j-1", records.decided()))
    catalog.write(lambda tx: tx.emit("site.deleted", "eu-1", None))
    assert Committer(catalog, sink).run_once() == 6
    assert {table: positions(sink, table) for table in TABLES} == {
        LEDGER: [4],
        "lineage_runs": [2],
        "lineage_edges": [3],
        "placement_decisions": [5],
        "audit": [1, 6],
    }


def test_a_second_round_carries_only_what_is_new(catalog: ports.Catalog) -> None:
    """And a round with nothing to do does nothing."""
    sink = MemoryRecords()
    committer = Committer(catalog, sink)
    assert committer.run_once() == 0
    records.emit_entries(catalog, 1, 2)
    assert [committer.run_once(), committer.run_once()] == [2, 0]
    records.emit_entries(catalog, 3)
    assert Committer(catalog, sink).run_once() == 1
    assert positions(sink) == [1, 2, 3]


def test_a_round_is_bounded_by_what_was_there_when_it_began(catalog: ports.Catalog) -> None:
    """A busy catalog does not keep it from ever returning."""

    class BusyRecords(MemoryRecords):
        def append(self, table: str, events: tuple[Event, ...]) -> None:
            super().append(table, events)
            records.emit_entries(catalog, *range(5))

    records.emit_entries(catalog, *range(5))
    assert Committer(catalog, BusyRecords(), batch=5).run_once() == 5


def test_a_sink_that_is_down_loses_nothing(catalog: ports.Catalog) -> None:
    """Unavailable reaches the caller, and the next round goes on."""
    records.emit_entries(catalog, *range(1, 8))
    sink = FailingRecords(True, False)
    committer = Committer(catalog, sink, batch=3)
    for _ in range(2):
        with pytest.raises(errors.Unavailable, match="down"):
            committer.run_once()
    committer.run_once()
    assert positions(sink) == list(range(1, 8))


def test_a_broken_event_holds_up_its_own_table_only(catalog: ports.Catalog) -> None:
    """Lineage goes on while the ledger waits to be mended, and the failure is told."""
    catalog.write(lambda tx: tx.emit("ledger.entry", "e-1", records.edge()))
    catalog.write(lambda tx: tx.emit("lineage.edge", "r-1", records.edge()))
    sink = MemoryRecords()
    with pytest.raises(errors.DataCorrupt, match="event 1"):
        Committer(catalog, sink).run_once()
    assert positions(sink, "lineage_edges") == [2]


def test_tables_that_are_ahead_of_the_catalog_are_told(catalog: ports.Catalog) -> None:
    """A catalog from a backup would give new events positions that the tables take for old ones."""
    sink = MemoryRecords()
    sink.append(LEDGER, (records.event(5),))
    records.emit_entries(catalog, 1, 2)
    with pytest.raises(errors.FailedPrecondition, match="up to position 5") as caught:
        Committer(catalog, sink).run_once()
    assert caught.value.reason == "TABLES_AHEAD"


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 30), st.integers(1, 7))
def test_whenever_the_sink_fails_each_event_is_carried_once(failures: list[bool], events: int, batch: int) -> None:
    """Before its commit or after it, which a caller cannot tell apart."""
    catalog = new_catalog()
    records.emit_entries(catalog, *range(1, events + 1))
    sink = FailingRecords(*failures)
    committer = Committer(catalog, sink, batch=batch)
    for _ in range(len(failures) + 1):
        try:
            committer.run_once()
        except errors.Unavailable:
            continue
    assert positions(sink) == list(range(1, events + 1))
