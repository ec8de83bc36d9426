"""What the server does unasked: it reconciles each second, and carries events to the Delta tables."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from typing import Protocol

from federation.api.store import Store
from federation.services import reconcile

_log = logging.getLogger(__name__)

SWEEP_SECONDS = 1.0
COMMIT_SECONDS = 0.5
#: A costly step that found nothing looks again after this long where nothing but time has changed.
UNCHANGED_SECONDS = 5.0
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
        #: Costly step -> the revision at which it found nothing to do, -1 for none, and when it looked.
        self._seen: dict[str, tuple[int, float]] = {}

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
        """Each step in its own transaction; one that fails keeps none of the others, and is told once all were taken."""
        failures: list[Exception] = []
        for name in reconcile.STEPS:
            try:
                await self._step(name)
            except Exception as error:  # noqa: BLE001 - told below
                error.add_note(f"in the step: {name}")
                failures.append(error)
        if failures:
            raise ExceptionGroup("the sweep was not complete", failures)

    async def _step(self, name: str) -> None:
        store, revision = self._store, await self._store.run(self._store.catalog.revision)
        if name in reconcile.COSTLY and not self._worth(name, revision):
            return
        step = reconcile.STEPS[name]
        changed = await store.write(lambda tx: step(tx, store.ctx, revision), actor="server", quiet=True)
        if changed:
            store.changes.notify()
            if kind := reconcile.TOLD.get(name):
                for event in await store.run(lambda: store.catalog.events(revision, kinds=(kind,))):
                    _log.warning("%s of %s: %s", event.kind, event.name, event.body)
        self._seen[name] = (-1 if changed else revision, time.monotonic())

    def _worth(self, name: str, revision: int) -> bool:
        """Whether a step may find something: the catalog has changed since it found nothing, or time has passed."""
        seen, looked = self._seen.get(name, (-1, 0.0))
        return seen != revision or time.monotonic() - looked > UNCHANGED_SECONDS

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
