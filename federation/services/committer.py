"""Carries ledger and lineage from the catalog's events to their tables, each event exactly once. Remembers nothing itself.

The table holds the position that it has come to, in the same commit as the rows; so wherever this is killed, the next one
goes on from there.
"""

from __future__ import annotations

from federation import ports
from federation.core import errors
from federation.core.events import TABLE_OF_KIND, TABLES
from federation.services.heads import HeadKeeper

#: Events in one commit: a commit costs the same however many it carries, and memory is bounded.
BATCH = 10_000


class Committer:
    """The one writer of the ledger's and lineage's tables. One at a time: a second is harmless, and no help."""

    def __init__(
        self, catalog: ports.Catalog, sink: ports.RecordSink, *, batch: int = BATCH, heads: HeadKeeper | None = None
    ) -> None:
        self._catalog = catalog
        self._sink = sink
        self._batch = batch
        self._heads = heads

    def run_once(self) -> int:
        """Carries what was committed when it began; returns how many events. A table that fails holds up no other.

        Unavailable while the tables cannot be written: nothing is lost, the next call goes on where this one stopped.
        """
        until = self._catalog.revision()
        carried = 0
        failure: errors.FederationError | None = None
        for table in TABLES:
            try:
                carried += self._carry(table, until)
            except errors.FederationError as error:
                failure = failure or error
        if self._heads:
            self._heads.run_once()
        if failure:
            raise failure
        return carried

    def _carry(self, table: str, until: int) -> int:
        kinds = tuple(kind for kind, of in TABLE_OF_KIND.items() if of == table)
        without = () if kinds else tuple(TABLE_OF_KIND)
        after = self._sink.position(table)
        if after > self._catalog.revision():
            raise _ahead(table, after, until)
        carried = 0
        while after < until and (events := self._catalog.events(after, limit=self._batch, kinds=kinds, without=without)):
            self._sink.append(table, events)
            if self._heads:
                self._heads.carried(table, events)
            carried += len(events)
            after = events[-1].position
        return carried


def _ahead(table: str, position: int, revision: int) -> errors.FailedPrecondition:
    """Going on would skip events: those of the restored catalog that get positions which the table has seen already."""
    return errors.FailedPrecondition(
        f"table {table} holds events up to position {position}, but the catalog has come to {revision} only",
        reason="TABLES_AHEAD",
        help="The catalog is older than its tables, from a backup perhaps: restore the tables of that time, or name new ones.",
        metadata={"table": table, "position": str(position), "revision": str(revision)},
    )
