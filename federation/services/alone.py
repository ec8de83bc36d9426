"""Keeps the committer of a table away while somebody else commits to it, by taking the committer's own lease.

For engines whose commits could overwrite another's. It asks no server to stop: while one holds the lease it is refused. The
lease is long, so that it does not run out while the machine is busy; what is to be carried waits in the log meanwhile.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta

from federation import ports
from federation.core import errors
from federation.core.kinds import CommitterLease

_log = logging.getLogger(__name__)

#: How long a lease lasts; it is renewed each tenth of that.
LEASE_SECONDS = 600.0


class Alone:
    """`alone(table)` is a context in which no committer of this catalog writes to that table. `holder` takes the lease."""

    def __init__(self, catalog: ports.Catalog, *, holder: str, seconds: float = LEASE_SECONDS) -> None:
        self._catalog = catalog
        self._holder = holder
        self._seconds = seconds

    @contextmanager
    def __call__(self, table: str) -> Iterator[None]:
        """FailedPrecondition (LEASE_HELD) while a committer has the lease; Conflict (LEASE_LOST) if it was lost inside."""
        self._catalog.write(lambda tx: self._take(tx, table), actor=self._holder)
        ended = threading.Event()
        renewing = threading.Thread(target=self._renew, args=(table, ended), name=f"lease {table}", daemon=True)
        renewing.start()
        try:
            yield
        finally:
            ended.set()
            renewing.join()
            kept = self._catalog.write(lambda tx: self._give_back(tx, table), actor=self._holder)
        if not kept:
            raise errors.Conflict(
                f"the lease of table {table} ran out while it was needed",
                reason="LEASE_LOST",
                help="A committer may have written meanwhile: run `fed ledger verify` before anything else.",
                metadata={"table": table},
            )

    def _take(self, tx: ports.Transaction, table: str) -> None:
        stored = tx.get(CommitterLease, table)
        if stored and stored.holder != self._holder and stored.expire_time > tx.now:
            raise errors.FailedPrecondition(
                f"{stored.holder} commits to table {table}",
                reason="LEASE_HELD",
                help="Stop the catalog servers first, and start them again afterwards: nothing is lost meanwhile.",
                metadata={"table": table, "holder": stored.holder},
            )
        lease = stored or CommitterLease(table=table, expire_time=tx.now)
        lease = dataclasses.replace(lease, holder=self._holder, expire_time=tx.now + timedelta(seconds=self._seconds))
        if stored:
            tx.replace(lease)
        else:
            tx.insert(lease)

    def _renew(self, table: str, ended: threading.Event) -> None:
        while not ended.wait(self._seconds / 10):
            try:
                self._catalog.write(lambda tx: self._take(tx, table), actor=self._holder)
            except errors.FederationError as error:
                _log.warning("the lease of table %s is not renewed: %s", table, error)

    def _give_back(self, tx: ports.Transaction, table: str) -> bool:
        """Gives the lease back; whether it was ours until now."""
        stored = tx.get(CommitterLease, table)
        if stored is None or stored.holder != self._holder or stored.expire_time <= tx.now:
            return False
        tx.replace(dataclasses.replace(stored, expire_time=tx.now))
        return True
