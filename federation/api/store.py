"""The catalog as servicers use it: its calls block, so they run in a bounded pool.

Those who wait for a change are told by the feed, which reads the log: a change that has no event is one that nobody waits for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from federation import traces
from federation.api.changes import Changes
from federation.core import errors
from federation.core.authorization import Denied
from federation.ports import Catalog, RecordEngine, Transaction
from federation.services import authorization
from federation.services.context import Context

T = TypeVar("T")

#: Enough to keep a PostgreSQL busy; SQLite's one writer takes them in turn anyway.
THREADS = 16


class Store:
    """One for each server. `close` after the servers have stopped.

    `engine` computes over the record's tables; None where there are none.
    """

    def __init__(self, catalog: Catalog, ctx: Context, engine: RecordEngine | None = None) -> None:
        self.catalog = catalog
        self.engine = engine
        self.ctx = ctx
        self.changes = Changes()
        self._pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="catalog")

    async def run(self, function: Callable[[], T]) -> T:
        """Runs blocking work of any kind in the pool."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, traces.carried(function))

    async def read(self, work: Callable[[Transaction], T]) -> T:
        """`Catalog.read`, off the event loop."""
        return await self.run(lambda: self.audited(lambda: self.catalog.read(work)))

    async def look(self, work: Callable[[Transaction], T]) -> T:
        """`read` for a few keys: at once where nothing must be waited for, since a way to a thread and back takes longer.

        What must wait after all, or write down a refusal, goes that way.
        """
        try:
            return self.catalog.glance(work)
        except (errors.Unavailable, Denied):
            return await self.read(work)

    async def write(self, work: Callable[[Transaction], T], *, actor: str, request_id: str = "") -> T:
        """`Catalog.write`, off the event loop."""
        return await self.run(
            lambda: self.audited(
                lambda: self.catalog.write(work, actor=actor, request_id=request_id), actor=actor, request_id=request_id
            )
        )

    def audited(self, act: Callable[[], T], *, actor: str = "", request_id: str = "") -> T:
        """What `act` gives. A refusal by policy is written into the log, for its own transaction left no trace of it."""
        try:
            return act()
        except Denied as refused:
            decision = refused.decision
            if decision is not None:
                self.catalog.write(
                    lambda tx: authorization.note(tx, decision), actor=actor or decision.principal, request_id=request_id
                )
                refused.in_log = True
            raise

    def close(self) -> None:
        """Ends the pool once what runs has ended. The catalog belongs to whoever handed it in."""
        self._pool.shutdown(wait=True, cancel_futures=True)
