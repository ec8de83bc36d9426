"""Carries events to the record's tables, each exactly once, one leased committer for each table. Remembers nothing itself.

The table holds the position that it has come to, in the same commit as the rows; so wherever this is killed, the next one
goes on from there. A lease in the catalog says whose turn it is, so that two servers do not get into each other's way; what
keeps a row from being there twice is not the lease, which may run out while its holder sleeps, but the table itself.

The log may let go of an event once it is old, and the table holds it in a commit that another durable one has followed.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Mapping
from datetime import timedelta

from federation import ports
from federation.core import errors
from federation.core.events import TABLES, Event, kinds_of
from federation.core.kinds import CommitterLease
from federation.services.heads import HeadKeeper

#: Events, facts and bytes in one commit: it costs about the same however many it carries, and memory is bounded.
BATCH = 10_000
FACTS_MAX = 50_000
BYTES_MAX = 16 * 1024 * 1024
#: How long a lease lasts; it is renewed each third of that.
LEASE_SECONDS = 6.0
#: Events are kept in the log for so long at least.
RETENTION_SECONDS = 7 * 86_400


@dataclasses.dataclass
class _Progress:
    """How far the holder of a table's lease has carried it; the fields of `CommitterLease` that say so."""

    position: int
    carried: int
    sealed: int

    def noted(self, lease: CommitterLease) -> CommitterLease:
        """The lease with how far its table is."""
        return dataclasses.replace(lease, position=self.position, carried=self.carried, sealed=self.sealed)


class Committer:
    """The one writer of the record's tables, as far as it holds their leases. Threads may share it, one for each table or more.

    `holder` names this process among those that share the catalog.
    """

    tables = TABLES

    def __init__(
        self,
        catalog: ports.Catalog,
        sink: ports.RecordSink,
        *,
        holder: str = "here",
        batch: int = BATCH,
        retention_seconds: float = RETENTION_SECONDS,
        heads: HeadKeeper | None = None,
    ) -> None:
        self._catalog = catalog
        self._sink = sink
        self._holder = holder
        self._batch = batch
        self._retention = timedelta(seconds=retention_seconds)
        self._heads = heads
        self._locks = {table: threading.Lock() for table in TABLES}
        #: Our leases as they were when we got them, and how far we are in those tables that could be read since.
        self._leases: dict[str, CommitterLease] = {}
        self._progress: dict[str, _Progress] = {}

    def run_once(self) -> int:
        """Carries what was committed when it began; returns how many events. A table that fails holds up no other.

        Unavailable while the tables cannot be written: nothing is lost, the next call goes on where this one stopped.
        """
        self.hold()
        carried = 0
        failure: errors.FederationError | None = None
        for table in TABLES:
            try:
                carried += self.carry(table)
            except errors.FederationError as error:
                failure = failure or error
        self.sign()
        if failure:
            raise failure
        return carried

    def hold(self) -> None:
        """Takes the leases that nobody holds, renews ours, and writes down how far their tables are."""
        told = {table: dataclasses.replace(progress) for table, progress in self._progress.items()}
        ours = self._catalog.write(lambda tx: self._leased(tx, told), actor=self._holder)
        for table in TABLES:
            if table not in ours:
                self._leases.pop(table, None)
                self._progress.pop(table, None)
            elif table not in self._leases:
                self._leases[table] = ours[table]

    def carry(self, table: str) -> int:
        """Carries what was committed for one table when this began, if its lease is held here; returns how many events."""
        with self._locks[table]:
            lease = self._leases.get(table)
            if lease is None:
                return 0
            try:
                return self._carry(lease)
            except errors.FederationError:
                self._progress.pop(table, None)  # what was committed after all, and by whom, the table tells next time
                raise

    def sign(self) -> int:
        """Signs the heads of tables that have grown, where they are due; returns how many."""
        return self._heads.run_once() if self._heads else 0

    def tend(self, table: str) -> bool:
        """One step of the table's care, if its lease is held here; whether there is more to do at once."""
        return table in self._progress and self._sink.tend(table)

    def trim(self) -> int:
        """Lets go of a part of the log that is old and safe in all tables, and of answers as old; returns how many events."""
        before = self._catalog.read(lambda tx: tx.now) - self._retention
        self._catalog.forget(before)
        oldest = self._catalog.events(self._catalog.floor(), limit=1)
        if not oldest or oldest[0].time >= before:
            return 0
        self._seal(oldest[0].position)
        self.hold()
        leases = self._catalog.read(lambda tx: [tx.get(CommitterLease, table) for table in TABLES])
        return self._catalog.trim(min(lease.sealed if lease else 0 for lease in leases), before)

    def release(self) -> None:
        """Gives the leases up, so that another takes them at once."""
        told = self._progress
        self._leases, self._progress = {}, {}

        def work(tx: ports.Transaction) -> None:
            for table in TABLES:
                lease = tx.get(CommitterLease, table)
                if lease and lease.holder == self._holder:
                    lease = told[table].noted(lease) if table in told else lease
                    tx.replace(dataclasses.replace(lease, expire_time=tx.now))

        self._catalog.write(work, actor=self._holder)

    def _carry(self, lease: CommitterLease) -> int:
        table, until = lease.table, self._catalog.revision()
        progress = self._progress.get(table) or self._take(lease)
        carried = 0
        while progress.carried < until and (events := self._next(table, progress.carried)):
            self._sink.append(table, events)
            if self._heads:
                self._heads.carried(table, events)
            progress.sealed, progress.position = progress.carried, events[-1].position
            progress.carried = progress.position
            carried += len(events)
        if progress.carried < until:  # there is no more of this table's
            if progress.sealed == progress.carried:
                progress.sealed = until
            progress.carried = until
        return carried

    def _next(self, table: str, after: int) -> tuple[Event, ...]:
        """The next events of a table, as many as one commit takes."""
        return self._catalog.events(after, limit=self._batch, facts_max=FACTS_MAX, bytes_max=BYTES_MAX, **kinds_of(table))

    def _leased(self, tx: ports.Transaction, told: Mapping[str, _Progress]) -> dict[str, CommitterLease]:
        """The leases that are ours now. No events: they are no facts, and each would be carried and be followed by another."""
        ours = {}
        for table in TABLES:
            stored = tx.get(CommitterLease, table)
            if stored and stored.holder != self._holder and stored.expire_time > tx.now:
                continue
            lease = stored or CommitterLease(table=table, expire_time=tx.now)
            if table in told and lease.holder == self._holder:
                lease = told[table].noted(lease)
            lease = dataclasses.replace(lease, holder=self._holder, expire_time=tx.now + timedelta(seconds=LEASE_SECONDS))
            ours[table] = tx.replace(lease) if stored else tx.insert(lease)
        return ours

    def _take(self, lease: CommitterLease) -> _Progress:
        """Goes on from what the table holds, if no event is missing between that and the log."""
        position, floor = self._sink.position(lease.table), self._catalog.floor()
        revision = self._catalog.revision()  # after the position: both may grow while another carries as well
        if position > revision:
            raise _ahead(lease.table, position, revision)
        if position < min(lease.position, floor):
            raise _behind(lease, position, floor)
        # A table that lost its newest rows gets them again from the log, which has them still.
        sealed = max(lease.sealed if position >= lease.position else min(lease.sealed, position), floor)
        progress = _Progress(position=position, carried=max(position, sealed), sealed=sealed)
        self._progress[lease.table] = progress
        return progress

    def _seal(self, position: int) -> None:
        """Follows the newest commit of each table by another, where none has come by itself since it took the event there."""
        for table, progress in tuple(self._progress.items()):
            if progress.sealed < min(position, progress.carried):  # a table that is busy need not be waited for
                with self._locks[table]:
                    self._sink.seal(table)
                    progress.sealed = progress.carried


def _ahead(table: str, position: int, revision: int) -> errors.FailedPrecondition:
    """The refusal to go on where the table is ahead of a restored catalog: its new events would take positions of old ones."""
    return errors.FailedPrecondition(
        f"table {table} holds events up to position {position}, but the catalog has come to {revision} only",
        reason="TABLES_AHEAD",
        help="The catalog is older than its tables, from a backup perhaps: restore the tables of that time, or name new ones.",
        metadata={"table": table, "position": str(position), "revision": str(revision)},
    )


def _behind(lease: CommitterLease, position: int, floor: int) -> errors.FailedPrecondition:
    """The refusal to go on where the table has lost rows whose events the log has trimmed already: there would be a gap."""
    return errors.FailedPrecondition(
        f"table {lease.table} holds events up to position {position}, but once it held them up to {lease.position}, and the log"
        f" begins after {floor}",
        reason="TABLES_BEHIND",
        help="The tables are older than the catalog, or other ones: restore the newest, or name the place where they are.",
        metadata={"table": lease.table, "position": str(position), "floor": str(floor)},
    )
