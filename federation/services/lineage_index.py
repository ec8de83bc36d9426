"""The index of lineage, one in each server: built from the Delta tables, brought up to date from the log before each answer.

It can always be built again from the record. The log is trimmed only as far as the tables hold it, so an index that is older
than the beginning of the log catches up from the tables first.
"""

from __future__ import annotations

import threading
from collections.abc import Callable

import numpy as np

from federation import ports
from federation.core import errors, lineage, lineage_graph
from federation.core.events import TABLE_OF_KIND

EDGES, RUNS = "lineage_edges", "lineage_runs"
#: Events that are read from the log at once.
BATCH = 10_000
#: Edges first: so each edge that is seen has the fact of its run, which was written before it.
_KINDS = {table: kind for kind, table in TABLE_OF_KIND.items() if table in (EDGES, RUNS)}


class LineageIndex:
    """Any number of threads may ask; one at a time brings it up to date. `timer` tells seconds, for what a build took."""

    def __init__(
        self,
        catalog: ports.Catalog,
        record: ports.LineageRecord,
        *,
        timer: Callable[[], float] = lambda: 0.0,
        batch: int = BATCH,
    ) -> None:
        self._catalog = catalog
        self._record = record
        self._timer = timer
        self._batch = batch
        self._lock = threading.Lock()
        self._graph = lineage_graph.LineageGraph()
        self._seen = -1
        #: Table -> position up to which the log was let go of without a fact of its kind.
        self._through: dict[str, int] = {}
        self._build_millis = 0

    def __repr__(self) -> str:
        return f"<LineageIndex {self._graph} position={self._seen}>"

    def view(self) -> tuple[lineage_graph.View, int]:
        """Lineage with everything that was committed when this was called, and the position that it has come to.

        Unavailable (TABLES_UNAVAILABLE) while it needs tables that cannot be read; FailedPrecondition (TABLES_AHEAD) where the
        catalog is older than they are.
        """
        with self._lock:
            self._follow()
            return self._graph.view(), self._seen

    def check(self, *, rebuild: bool = False) -> lineage.IndexCheck:
        """Compares the index with the tables, as far as both have come; with `rebuild` it is made anew from them before."""
        with self._lock:
            if rebuild:
                self._graph, self._seen, self._through = lineage_graph.LineageGraph(), -1, {}
            self._follow()
            mine = {EDGES: self._graph.edge_columns(), RUNS: self._graph.fact_columns()}
            theirs = {table: self._record.read(table, 0).until(self._seen) for table in mine}
            ends = {table: int(columns.positions[-1]) if len(columns.positions) else 0 for table, columns in theirs.items()}
            found = tuple(
                difference
                for table, columns in mine.items()
                for difference in lineage_graph.differences(table, columns.until(ends[table]), theirs[table])
            )
            tail = int(np.count_nonzero(mine[EDGES].positions > ends[EDGES]))
            return lineage.IndexCheck(
                position=self._seen,
                edges=self._graph.edges,
                runs=self._graph.facts,
                nodes=self._graph.nodes,
                tail_edges=tail,
                memory_bytes=self._graph.memory_bytes,
                build_millis=self._build_millis,
                rebuilt=rebuild,
                same=not found,
                differences=found,
            )

    def _follow(self) -> None:
        revision = self._catalog.revision()
        if revision == self._seen:
            return
        began, first = self._timer(), self._seen < 0
        for table in _KINDS:
            while self._catch_up(table):
                pass
            if self._position(table) > self._catalog.revision():
                raise _ahead(table, self._position(table), revision)
        if first:
            self._build_millis = round(1000 * (self._timer() - began))
        self._seen = revision

    def _catch_up(self, table: str) -> bool:
        """A step towards the present; whether there may be more to come.

        What the log has let go of is in the tables: it is trimmed only behind what they hold for good.
        """
        kind, after, floor = _KINDS[table], self._reached(table), self._catalog.floor()
        if after < floor or not after:
            columns = self._record.read(table, after)
            if len(columns.positions):
                self._add(table, columns)
                return True
            self._through[table] = after = max(after, floor)
        try:
            events = self._catalog.events(after, limit=self._batch, kinds=(kind,))
        except errors.OutOfRange:  # it was trimmed meanwhile
            return True
        if events:
            self._add(table, self._record.columns(table, events))
        return len(events) == self._batch

    def _reached(self, table: str) -> int:
        """The position up to which this index is complete."""
        return max(self._position(table), self._through.get(table, 0))

    def _position(self, table: str) -> int:
        return self._graph.edge_position if table == EDGES else self._graph.fact_position

    def _add(self, table: str, columns: lineage_graph.Columns) -> None:
        if table == EDGES:
            self._graph.add_edges(columns)
        else:
            self._graph.add_facts(columns)


def _ahead(table: str, position: int, revision: int) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"table {table} holds lineage up to position {position}, but the catalog has come to {revision} only",
        reason="TABLES_AHEAD",
        help="The catalog is older than its tables, from a backup perhaps: restore the tables of that time, or name new ones.",
        metadata={"table": table, "position": str(position), "revision": str(revision)},
    )
