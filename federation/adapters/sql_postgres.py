"""PostgreSQL under the catalog: writers of all servers take turns by one lock; readers have snapshots.

A transaction takes the lock before its first query, so its snapshot is of the state that the one before it left: positions
of events become visible in order and without gaps, and a plan is made from the world that it reserves in.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from federation import jitter
from federation.adapters import catalog_rows, sql_errors

T = TypeVar("T")
_ATTEMPTS = 8
_PAUSE_SECONDS = 0.01
_POOL = 8
#: A writer waits this long for its turn; one that dies in the middle of its own is thrown out after twice that.
_OPTIONS = "-c lock_timeout=30s -c idle_in_transaction_session_timeout=60s -c client_min_messages=warning"
# Conflicts with itself and with nothing that only reads.
_TAKE_TURN = sa.text("LOCK TABLE counters IN SHARE ROW EXCLUSIVE MODE")


def engine(url: sa.URL) -> sa.Engine:
    """A small pool of connections that are looked at before use, so that a restarted server is noticed here."""
    return sa.create_engine(
        url,
        isolation_level="SERIALIZABLE",
        pool_size=_POOL,
        max_overflow=_POOL,
        pool_timeout=30,
        pool_pre_ping=True,
        connect_args={"options": _OPTIONS, "connect_timeout": 10},
    )


def reader(writer: sa.Engine) -> sa.Engine:
    """The same pool for reading: one snapshot for each transaction, and no change."""
    return writer.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)


class TurnWriter:
    """Writes one transaction at a time, whichever process it comes from."""

    def __init__(self, writer: sa.Engine) -> None:
        self._engine = writer
        self._here = threading.local()

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Runs the work and commits; runs it again, after a pause, when the database gave it up for another's sake."""
        if getattr(self._here, "writes", False):
            raise catalog_rows.nested()
        self._here.writes = True
        try:
            return self._run(work)
        finally:
            self._here.writes = False

    @property
    def pool(self) -> sa.Pool:
        """Its connections."""
        return self._engine.pool

    def close(self) -> None:
        self._engine.dispose()

    def _run(self, work: Callable[[sa.Connection], T]) -> T:
        for attempt in range(1, _ATTEMPTS):
            try:
                return self._attempt(work)
            except sql_errors.Contention:
                # Longer and longer, and never in step with the others.
                time.sleep(jitter.pause(_PAUSE_SECONDS * 2**attempt))
        return self._attempt(work)

    def _attempt(self, work: Callable[[sa.Connection], T]) -> T:
        with sql_errors.translated(), self._engine.begin() as connection:
            connection.execute(_TAKE_TURN)
            return work(connection)
