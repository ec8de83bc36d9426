"""What the server does unasked: it reconciles each second, and carries events to the Delta tables."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Protocol

from federation.api.store import Store
from federation.services import reconcile

_log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
COMMIT_SECONDS = 0.5
BACKOFF_SECONDS_MAX = 30.0


class Committer(Protocol):
    """Carries committed events on; `services.committer` has the real one."""

    def run_once(self) -> int: ...


class Background:
    """The loops of one server. `stop` lets what is under way end and begins nothing new."""

    def __init__(self, store: Store, committer: Committer) -> None:
        self._store = store
        self._committer = committer
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    def start(self) -> None:
        """Begins the loops on the running event loop."""
        self._tasks = [
            asyncio.create_task(self._repeat("reconcile", self._sweep, SWEEP_SECONDS)),
            asyncio.create_task(self._repeat("committer", self._commit, COMMIT_SECONDS)),
        ]

    async def stop(self) -> None:
        """Returns when the loops have ended; what is committed but not yet carried is carried once more before."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)

    async def _sweep(self) -> None:
        store, revision = self._store, await self._store.run(self._store.catalog.revision)
        changed = await store.write(lambda tx: reconcile.sweep(tx, store.ctx, revision=revision), actor="server", quiet=True)
        if changed:
            self._store.changes.notify()

    async def _commit(self) -> None:
        await self._store.run(self._committer.run_once)

    async def _repeat(self, name: str, step: Callable[[], Awaitable[None]], seconds: float) -> None:
        """Repeats a step; one that fails is logged and tried again, ever more slowly: none of them may end with the trouble."""
        failures = 0
        while not self._stopping.is_set():
            try:
                await step()
                failures = 0
            except Exception:  # noqa: BLE001 - logged, and tried again: the loop outlives every trouble
                failures += 1
                _log.exception("%s failed (%d in a row); it will be tried again", name, failures)
            pause = min(seconds * 2**failures, BACKOFF_SECONDS_MAX)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
