"""The index of lineage follows the record: made from Delta, brought on by the log, never behind, whatever was trimmed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation import ports
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.lineage_record import DeltaLineage, MemoryLineage
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.records_memory import MemoryRecords
from federation.adapters.system import ManualClock, SeededIds
from federation.core import errors, lineage, lineage_graph
from federation.core.events import Event
from federation.services.committer import Committer
from federation.services.lineage_index import LineageIndex
from tests import builders, records


class Trimmed:
    """A catalog whose log has lost what is at or before a position, as far as the tables hold it."""

    def __init__(self, catalog: MemoryCatalog) -> None:
        self.catalog = catalog
        self.gone = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self.catalog, name)

    def events(self, after: int, **how: Any) -> tuple[Event, ...]:
        """What is left of them."""
        if after < self.gone:
            raise errors.OutOfRange("trimmed", reason="EVENTS_TRIMMED")
        return self.catalog.events(after, **how)

    def floor(self) -> int:
        """Where the log begins."""
        return self.gone


def catalog() -> Trimmed:
    """An empty one."""
    return Trimmed(MemoryCatalog(ManualClock(builders.NOW), SeededIds(1)))


def emit(on: Trimmed, *numbers: int) -> None:
    """A run for each number, which read one version and made another."""

    def work(tx: ports.Transaction) -> None:
        for number in numbers:
            run = f"jobs/j-{number}/runs/1"
            tx.emit("lineage.run", run, records.run_fact(run))
            tx.emit("lineage.edge", f"{run}/in", records.edge(run, "in", node=f"ml/x@{number}", columns=("a",)))
            tx.emit("site.updated", "sites/us-1", records.entry(1))
            tx.emit("lineage.edge", f"{run}/out", records.edge(run, "out", node=f"ml/x@{number + 1}", charge_micros=5))

    on.catalog.write(work)


def edges(index: LineageIndex) -> tuple[lineage.Edge, ...]:
    """All that it knows."""
    view, _ = index.view()
    return view.values(np.arange(view.size))


def test_without_tables_the_log_is_enough() -> None:
    """And each call knows what was committed before it."""
    on = catalog()
    index = LineageIndex(on, MemoryLineage(MemoryRecords()), batch=2)
    assert edges(index) == ()
    emit(on, 1, 2, 3)
    assert [edge.node for edge in edges(index)] == ["ml/x@1", "ml/x@2", "ml/x@2", "ml/x@3", "ml/x@3", "ml/x@4"]
    emit(on, 4)
    view, position = index.view()
    assert (view.size, position) == (8, on.revision())
    assert view.fact(view.run("jobs/j-4/runs/1")) == records.run_fact("jobs/j-4/runs/1")


def test_from_delta_and_from_the_log_are_the_same(tmp_path: Path) -> None:
    """A server that was there from the start, and one that starts now, when the log has forgotten what Delta holds."""
    on, sink = catalog(), DeltaRecords(str(tmp_path))
    old = LineageIndex(on, DeltaLineage(str(tmp_path)))
    for numbers in ((1, 2), (3,), (4, 5, 6)):
        emit(on, *numbers)
        edges(old)
        Committer(on, sink).run_once()
    on.gone = on.revision()
    emit(on, 7)
    young = LineageIndex(on, DeltaLineage(str(tmp_path)))
    assert edges(young) == edges(old)
    assert len(edges(young)) == 14
    for index in (old, young):
        told = index.check()
        assert (told.same, told.edges, told.tail_edges, told.runs) == (True, 14, 2, 7)


def test_an_index_that_fell_behind_the_log_goes_on_by_the_tables(tmp_path: Path) -> None:
    """Trimmed while it slept, once and twice; nothing is missing and nothing is there twice."""
    on, sink = catalog(), DeltaRecords(str(tmp_path))
    index = LineageIndex(on, DeltaLineage(str(tmp_path)))
    for round_ in range(4):
        emit(on, 3 * round_ + 1, 3 * round_ + 2)
        Committer(on, sink).run_once()
        on.gone = on.revision()
        emit(on, 3 * round_ + 3)
        if round_ % 2:
            assert len(edges(index)) == 6 * (round_ + 1)
    assert [edge.run for edge in edges(index)] == [f"jobs/j-{number}/runs/1" for number in range(1, 13) for _ in range(2)]


def test_a_row_that_the_tables_do_not_have_is_found_and_a_rebuild_mends_it(tmp_path: Path) -> None:
    """The check names table and positions; the index is made anew from the record."""
    on, sink = catalog(), DeltaRecords(str(tmp_path))
    emit(on, 1, 2)
    Committer(on, sink).run_once()
    record = DeltaLineage(str(tmp_path))
    index = LineageIndex(on, record)
    edges(index)
    index._graph._edges.columns["bytes"][1] += 1
    told = index.check()
    assert (told.same, [(each.table, each.index_rows, each.table_rows) for each in told.differences]) == (
        False,
        [("lineage_edges", 4, 4)],
    )
    mended = index.check(rebuild=True)
    assert (mended.same, mended.rebuilt, mended.edges, mended.memory_bytes > 0) == (True, True, 4, True)


def test_tables_that_are_ahead_of_the_catalog_are_refused() -> None:
    """A catalog from a backup gives out positions anew: to go on would be to mix two histories."""
    on, sink = catalog(), MemoryRecords()
    emit(on, 1, 2)
    Committer(on, sink).run_once()
    restored = catalog()
    emit(restored, 1)
    with pytest.raises(errors.FailedPrecondition) as caught:
        LineageIndex(restored, MemoryLineage(sink)).view()
    assert caught.value.reason == "TABLES_AHEAD"


def test_tables_that_cannot_be_read_are_unavailable_where_they_are_needed(tmp_path: Path) -> None:
    """And not before: a log that is whole is enough."""
    (tmp_path / "lineage_edges").mkdir()
    (tmp_path / "lineage_edges" / "_delta_log").write_text("no folder")
    with pytest.raises(errors.Unavailable) as caught:
        DeltaLineage(str(tmp_path)).read("lineage_edges", 0)
    assert caught.value.reason == "TABLES_UNAVAILABLE"


def test_the_tables_are_opened_again_only_where_something_is_new(tmp_path: Path) -> None:
    """What has not changed since it was read to its end has nothing above that end."""
    on, sink, record = catalog(), DeltaRecords(str(tmp_path)), DeltaLineage(str(tmp_path))
    emit(on, 1)
    Committer(on, sink).run_once()
    whole = record.read("lineage_edges", 0)
    last = int(whole.positions[-1])
    assert len(record.read("lineage_edges", last).positions) == 0
    emit(on, 2)
    Committer(on, sink).run_once()
    assert len(record.read("lineage_edges", last).positions) == 2
    assert len(record.read("lineage_edges", 0).positions) == 4


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.sampled_from(["emit", "carry", "trim", "look", "start"]), max_size=14))
def test_whatever_happens_in_whichever_order_the_index_knows_all(steps: list[str]) -> None:
    """Facts, commits to the tables, trims behind them, looks and restarts: each look sees each fact once, in order."""
    on, sink = catalog(), MemoryRecords()
    index, number = LineageIndex(on, MemoryLineage(sink), batch=3), 0
    for step in [*steps, "look"]:
        if step == "emit":
            number += 1
            emit(on, number)
        elif step == "carry":
            Committer(on, sink).run_once()
        elif step == "trim":
            on.gone = min(sink.position("lineage_edges"), sink.position("lineage_runs"))
        elif step == "start":
            index = LineageIndex(on, MemoryLineage(sink), batch=3)
        else:
            runs = [f"jobs/j-{each}/runs/1" for each in range(1, number + 1)]
            assert [edge.run for edge in edges(index)] == [run for run in runs for _ in range(2)]
            view, _ = index.view()
            assert all(view.fact(view.run(run)) for run in runs)
            assert index.check().same


def test_fingerprints_are_per_range() -> None:
    """So that a difference is told by where it is, and not for the whole table."""
    far = 3 * lineage_graph.RANGE
    log = [records.event(place, "lineage.edge", records.edge(f"r-{place}")) for place in (1, far, far + 1)]
    columns = MemoryLineage(MemoryRecords()).columns("lineage_edges", log)
    assert {number: count for number, (count, _) in lineage_graph.fingerprints(columns).items()} == {0: 1, 3: 2}
