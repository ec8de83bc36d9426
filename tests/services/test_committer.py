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
from federation.services import committer
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
        "egress_usage": [],
        "bill_lines": [],
    }


def test_a_second_round_carries_only_what_is_new(catalog: ports.Catalog) -> None:
    """And a round with nothing to do does nothing."""
    sink = MemoryRecords()
    carrying = Committer(catalog, sink)
    assert carrying.run_once() == 0
    records.emit_entries(catalog, 1, 2)
    assert [carrying.run_once(), carrying.run_once()] == [2, 0]
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
    carrying = Committer(catalog, sink, batch=3)
    for _ in range(2):
        with pytest.raises(errors.Unavailable, match="down"):
            carrying.run_once()
    carrying.run_once()
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


def test_a_table_that_fails_holds_up_no_other(catalog: ports.Catalog) -> None:
    """Nor does one that is slow: each is carried by itself."""

    class HalfRecords(MemoryRecords):
        def append(self, table: str, events: tuple[Event, ...]) -> None:
            if table == LEDGER:
                raise errors.Unavailable("the ledger is away", reason="TABLES_UNAVAILABLE")
            super().append(table, events)

    sink = HalfRecords()
    records.emit_entries(catalog, 1)
    catalog.write(lambda tx: tx.emit("lineage.edge", "r-1", records.edge()))
    with pytest.raises(errors.Unavailable, match="ledger is away"):
        Committer(catalog, sink).run_once()
    assert positions(sink, "lineage_edges") == [2]


def test_a_commit_is_bounded_by_the_facts_that_it_carries(catalog: ports.Catalog, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backlog of any size is carried in pieces that fit into memory."""
    monkeypatch.setattr(committer, "FACTS_MAX", 6)
    taken: list[int] = []

    class CountingRecords(MemoryRecords):
        def append(self, table: str, events: tuple[Event, ...]) -> None:
            super().append(table, events)
            taken.append(sum(event.rows for event in events))

    for last in (4, 8, 12, 20):
        batch = records.batch(last, 4 if last < 20 else 8)
        catalog.write(lambda tx, batch=batch: tx.emit_rows("ledger.entry", "batch", batch.data, batch.rows))
    sink = CountingRecords()
    Committer(catalog, sink).run_once()
    assert taken == [4, 4, 4, 8]
    assert positions(sink) == list(range(1, 21))


# -- leases ------------------------------------------------------------------------------------------------------------------


def test_only_the_holder_of_a_lease_carries(catalog: ports.Catalog) -> None:
    """Another waits, until the lease is given up or runs out; each time it goes on from what the table holds."""
    sink = MemoryRecords()
    first, second = (Committer(catalog, sink, holder=name) for name in ("a", "b"))
    records.emit_entries(catalog, 1)
    assert [first.run_once(), second.run_once()] == [1, 0]
    assert not second.tend(LEDGER)
    records.emit_entries(catalog, 2)
    first.release()
    assert [first.carry(LEDGER), second.run_once()] == [0, 1]
    catalog._clock.advance(committer.LEASE_SECONDS + 1)
    records.emit_entries(catalog, 3)
    assert [first.run_once(), second.run_once()] == [1, 0]
    assert positions(sink) == [1, 2, 3]


def test_a_lease_that_is_renewed_is_kept(catalog: ports.Catalog) -> None:
    """And its renewal is no event, or carrying would give itself more to carry."""
    first, second = (Committer(catalog, MemoryRecords(), holder=name) for name in ("a", "b"))
    first.hold()
    for _ in range(5):
        catalog._clock.advance(committer.LEASE_SECONDS / 2)
        first.hold()
        second.hold()
    records.emit_entries(catalog, 1)
    assert [second.carry(LEDGER), first.carry(LEDGER)] == [0, 1]
    assert catalog.revision() == 1


# -- trimming ----------------------------------------------------------------------------------------------------------------


def aged(catalog: ports.Catalog, sink: MemoryRecords, **how: object) -> Committer:
    """A committer that has carried three old entries, and an edge."""
    records.emit_entries(catalog, 1, 2, 3)
    catalog.write(lambda tx: tx.emit("lineage.edge", "r-1", records.edge()))
    made = Committer(catalog, sink, **how)
    made.run_once()
    catalog._clock.advance(committer.RETENTION_SECONDS + 1)
    records.emit_entries(catalog, 4)
    return made


def test_the_log_is_trimmed_behind_what_all_tables_hold(catalog: ports.Catalog) -> None:
    """Old events that every table has go; what came to pass lately stays, and all is carried as before."""
    sink = MemoryRecords()
    carrying = aged(catalog, sink)
    carrying.hold()
    carrying.run_once()
    assert carrying.trim() == 4
    assert catalog.floor() == 4
    assert carrying.trim() == 0
    records.emit_entries(catalog, 5)
    carrying.run_once()
    assert positions(sink) == [1, 2, 3, 5, 6]


def test_what_no_other_commit_has_followed_is_sealed_before_it_is_trimmed(catalog: ports.Catalog) -> None:
    """A commit alone might be the one that a failing disk forgets; an idle table gets another without rows."""
    sealed: list[str] = []

    class SealedRecords(MemoryRecords):
        def seal(self, table: str) -> None:
            sealed.append(table)

    carrying = aged(catalog, SealedRecords())
    assert sealed == []
    carrying.trim()
    assert sorted(sealed) == ["egress_ledger", "lineage_edges"]
    assert catalog.floor() == 4


def test_nothing_is_trimmed_while_a_table_is_behind(catalog: ports.Catalog) -> None:
    """Nor while nobody has ever carried it."""
    sink = FailingRecords(*[True] * 50)
    records.emit_entries(catalog, 1, 2)
    carrying = Committer(catalog, sink)
    with pytest.raises(errors.Unavailable):
        carrying.run_once()
    catalog._clock.advance(committer.RETENTION_SECONDS + 1)
    records.emit_entries(catalog, 3)
    assert (carrying.trim(), catalog.floor()) == (0, 0)


def test_nothing_young_is_trimmed(catalog: ports.Catalog) -> None:
    """For so long whoever watches may be away."""
    records.emit_entries(catalog, 1, 2)
    carrying = Committer(catalog, MemoryRecords(), retention_seconds=60)
    carrying.run_once()
    assert carrying.trim() == 0
    catalog._clock.advance(61)
    assert carrying.trim() == 1


def test_a_committer_that_starts_behind_the_floor_goes_on_where_the_log_begins(catalog: ports.Catalog) -> None:
    """A table that had nothing among what was trimmed has lost nothing; a table that is new has nothing to lose."""
    sink = MemoryRecords()
    carrying = aged(catalog, sink)
    carrying.trim()
    carrying.release()
    records.emit_entries(catalog, 5)
    assert Committer(catalog, sink, holder="next").run_once() == 2
    assert positions(sink) == [1, 2, 3, 5, 6]


def test_tables_that_lost_what_the_log_has_let_go_of_are_told(catalog: ports.Catalog) -> None:
    """A gap in the ledger must not be papered over; what the log still has is carried again."""
    carrying = aged(catalog, MemoryRecords())
    carrying.trim()
    carrying.release()
    with pytest.raises(errors.FailedPrecondition, match="up to 3") as caught:
        Committer(catalog, MemoryRecords(), holder="next").run_once()
    assert caught.value.reason == "TABLES_BEHIND"


def test_a_holder_that_slept_while_another_carried_and_trimmed_goes_on(catalog: ports.Catalog) -> None:
    """The log is gone from under it: it looks again where the table is."""
    sink = MemoryRecords()
    records.emit_entries(catalog, 1)
    sleeper = Committer(catalog, sink, holder="a")
    sleeper.run_once()
    records.emit_entries(catalog, 2, 3)
    catalog._clock.advance(committer.RETENTION_SECONDS + 1)
    records.emit_entries(catalog, 4)
    other = Committer(catalog, sink, holder="b")
    other.run_once()
    while other.trim():
        pass
    assert catalog.floor() == 3
    with pytest.raises(errors.OutOfRange):
        sleeper.carry(LEDGER)
    sleeper.carry(LEDGER)
    assert positions(sink) == [1, 2, 3, 4]


def test_tables_that_lost_what_the_log_still_has_get_it_again(catalog: ports.Catalog) -> None:
    """Restored tables catch up by themselves."""
    sink = MemoryRecords()
    records.emit_entries(catalog, 1, 2)
    first = Committer(catalog, sink)
    first.run_once()
    first.release()
    restored = MemoryRecords()
    Committer(catalog, restored, holder="next").run_once()
    assert positions(restored) == [1, 2]


@given(st.lists(st.booleans(), max_size=12), st.integers(1, 30), st.integers(1, 7))
def test_whenever_the_sink_fails_each_event_is_carried_once(failures: list[bool], events: int, batch: int) -> None:
    """Before its commit or after it, which a caller cannot tell apart."""
    catalog = new_catalog()
    records.emit_entries(catalog, *range(1, events + 1))
    sink = FailingRecords(*failures)
    carrying = Committer(catalog, sink, batch=batch)
    for _ in range(len(failures) + 1):
        try:
            carrying.run_once()
        except errors.Unavailable:
            continue
    assert positions(sink) == list(range(1, events + 1))
