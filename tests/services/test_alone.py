"""Who commits beside the committer holds it off by its own lease."""

from __future__ import annotations

import threading
import time

import pytest

from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.records_memory import MemoryRecords
from federation.adapters.system import ManualClock, SeededIds, SystemClock, UlidIds
from federation.core import errors
from federation.core.kinds import CommitterLease
from federation.services.alone import Alone
from federation.services.committer import LEASE_SECONDS, Committer
from tests import records

LEDGER = "egress_ledger"


def test_the_committer_waits_until_the_table_is_given_back() -> None:
    """What comes meanwhile waits in the log, the table's alone; then it is carried."""
    catalog, sink = MemoryCatalog(ManualClock(), SeededIds()), MemoryRecords()
    committer = Committer(catalog, sink, holder="server-1")
    with Alone(catalog, holder="engine-1")(LEDGER):
        records.emit_entries(catalog, 1, 2)
        catalog.write(lambda tx: tx.emit("lineage.edge", "r-1", records.edge()))
        committer.run_once()
        assert (sink.position(LEDGER), sink.position("lineage_edges")) == (0, 3)
    committer.run_once()
    assert sink.position(LEDGER) == 2


def test_a_committer_that_writes_is_not_pushed_aside() -> None:
    """Not before its lease has run out, and by then it knows that it may write no more."""
    clock = ManualClock()
    catalog, sink = MemoryCatalog(clock, SeededIds()), MemoryRecords()
    records.emit_entries(catalog, 1)
    Committer(catalog, sink, holder="server-1").run_once()
    alone = Alone(catalog, holder="engine-1")
    with pytest.raises(errors.FailedPrecondition, match="server-1") as held, alone(LEDGER):
        raise AssertionError("both are in")
    assert held.value.reason == "LEASE_HELD"
    clock.advance(LEASE_SECONDS + 1)
    with alone(LEDGER):
        assert sink.position(LEDGER) == 1


def test_how_far_the_table_is_stays_in_its_lease() -> None:
    """The log is trimmed by it: who comes in between must not make it forget."""
    clock = ManualClock()
    catalog, sink = MemoryCatalog(clock, SeededIds()), MemoryRecords()
    records.emit_entries(catalog, 1, 2)
    committer = Committer(catalog, sink, holder="server-1")
    committer.run_once()
    committer.release()
    before = catalog.read(lambda tx: tx.get(CommitterLease, LEDGER))
    with Alone(catalog, holder="engine-1")(LEDGER):
        pass
    after = catalog.read(lambda tx: tx.get(CommitterLease, LEDGER))
    assert before is not None
    assert after is not None
    assert (after.position, after.carried, after.sealed) == (before.position, before.carried, before.sealed)
    assert after.position == 2


def test_a_lease_is_renewed_for_as_long_as_it_is_needed() -> None:
    """Longer than it lasts; and an error inside gives it back as well."""
    catalog = MemoryCatalog(SystemClock(), UlidIds())
    other = Alone(catalog, holder="engine-2", seconds=1)

    def fail() -> None:
        with Alone(catalog, holder="engine-1", seconds=1)(LEDGER):
            time.sleep(1.5)
            with pytest.raises(errors.FailedPrecondition), other(LEDGER):
                raise AssertionError("both are in")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    with other(LEDGER):
        pass
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("lease ")]


def test_a_lease_that_was_lost_is_told() -> None:
    """The machine slept too long: what was done may have met what another did."""
    clock = ManualClock()
    catalog = MemoryCatalog(clock, SeededIds())

    def sleep() -> None:
        with Alone(catalog, holder="engine-1")(LEDGER):
            clock.advance(3600)
            with Alone(catalog, holder="engine-2")(LEDGER):
                pass

    with pytest.raises(errors.Conflict) as lost:
        sleep()
    assert lost.value.reason == "LEASE_LOST"
