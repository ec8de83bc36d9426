"""The server's background loops: it reconciles each second, carries events to the Delta tables, and takes care of those.

Of several servers of one catalog one does each of these things at a time: whoever has the turn, or the lease.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Protocol, TypeVar

from federation import metrics
from federation.api.store import Store
from federation.services import reconcile
from federation.services.lineage_index import LineageIndex
from federation.services.turns import Turns

_log = logging.getLogger(__name__)

T = TypeVar("T")

SWEEP_SECONDS = 1.0
#: From the beginning of a commit to that of the next: few facts make few commits, and a long commit lets none wait longer.
COMMIT_SECONDS = 0.5
REST_SECONDS = 0.05
#: The index of lineage is brought up to date by whoever asks; this keeps that short, and builds it when the server starts.
FOLLOW_SECONDS = 5.0
EMIT_SECONDS = 0.5
#: A third of what a lease lasts.
HOLD_SECONDS = 2.0
SIGN_SECONDS = 1.0
TEND_SECONDS = 1.0
TRIM_SECONDS = 60.0
#: A costly step that found nothing looks again after this long where nothing but time has changed.
UNCHANGED_SECONDS = 5.0
BACKOFF_SECONDS_MAX = 30.0


class Committer(Protocol):
    """Carries committed events on, to each of its tables by itself; `services.committer` has the real one."""

    tables: tuple[str, ...]

    def hold(self) -> None: ...

    def carry(self, table: str) -> int: ...

    def sign(self) -> int: ...

    def tend(self, table: str) -> bool: ...

    def trim(self) -> int: ...

    def release(self) -> None: ...


class Emitter(Protocol):
    """Tells others of runs; `services.openlineage` has the real one."""

    def run_once(self) -> int: ...


class Background:
    """The loops of one server. `stop` lets what is under way end and begins nothing new."""

    def __init__(
        self,
        store: Store,
        committer: Committer,
        lineage: LineageIndex,
        emitters: tuple[Emitter, ...] = (),
        *,
        told: metrics.Server | None = None,
    ) -> None:
        self._store = store
        self._metrics = told or metrics.Server()
        self._committer = committer
        self._lineage = lineage
        self._emitters = emitters
        self._turns = Turns(store.catalog, store.ctx.ids.new("server"), (reconcile.TURN, *map(repr, emitters)))
        self._stopping = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []
        # Tables have threads of their own: a store that hangs keeps no request waiting, and no table another.
        self._pool = ThreadPoolExecutor(max_workers=2 * len(committer.tables) + 3, thread_name_prefix="committer")
        #: Costly step -> the revision at which it found nothing to do, -1 for none, and when it looked.
        self._seen: dict[str, tuple[int, float]] = {}

    def start(self) -> None:
        """Begins the loops on the running event loop."""
        loops: list[tuple[str, Callable[[], Awaitable[None]], float]] = [
            ("reconcile", self._sweep, SWEEP_SECONDS),
            ("hold leases", self._hold, HOLD_SECONDS),
            ("sign heads", self._sign, SIGN_SECONDS),
            ("trim log", self._trim, TRIM_SECONDS),
            ("follow lineage", self._follow, FOLLOW_SECONDS),
            *((f"emit {n}", partial(self._emit, emitter), EMIT_SECONDS) for n, emitter in enumerate(self._emitters, 1)),
        ]
        loops += [(f"tend {table}", partial(self._tend, table), TEND_SECONDS) for table in self._committer.tables]
        self._tasks = [asyncio.create_task(self._repeat(*loop)) for loop in loops]
        carrying = (
            self._repeat(f"carry {table}", partial(self._carry, table), COMMIT_SECONDS, rest=REST_SECONDS)
            for table in self._committer.tables
        )
        self._tasks += [asyncio.create_task(loop) for loop in carrying]

    async def stop(self) -> None:
        """Returns when the loops have ended; what is committed but not yet carried is carried once more before."""
        self._stopping.set()
        await asyncio.gather(*self._tasks)
        try:
            await asyncio.gather(*(self._carry(table) for table in self._committer.tables))
            await self._run(self._committer.release)
            await self._run(self._turns.release)
        except Exception:  # noqa: BLE001 - logged: the next server carries it, once the leases have run out
            _log.exception("the committer could not finish")
        await asyncio.to_thread(self._pool.shutdown)

    async def _sweep(self) -> None:
        """Each step in its own transaction; one that fails keeps none of the others, and is told once all were taken."""
        await self._store.run(self._turns.hold)
        failures: list[Exception] = []
        for name in reconcile.STEPS:
            if name not in reconcile.OWN and not self._turns.held(reconcile.TURN):
                continue
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
        changed = await store.write(lambda tx: step(tx, store.ctx, revision), actor="server")
        if changed and (kind := reconcile.TOLD.get(name)):
            for event in await store.run(lambda: store.catalog.events(revision, kinds=(kind,))):
                _log.warning("%s of %s: %s", event.kind, event.name, event.body)
        self._seen[name] = (-1 if changed else revision, time.monotonic())

    def _worth(self, name: str, revision: int) -> bool:
        """Whether to take a costly step: the catalog has changed since it last found nothing, or enough time has passed."""
        seen, looked = self._seen.get(name, (-1, 0.0))
        return seen != revision or time.monotonic() - looked > UNCHANGED_SECONDS

    async def _hold(self) -> None:
        await self._run(self._committer.hold)

    async def _sign(self) -> None:
        await self._run(self._committer.sign)

    async def _carry(self, table: str) -> None:
        begun = time.perf_counter()
        if carried := await self._run(partial(self._committer.carry, table)):
            self._metrics.record_seconds.labels(table).observe(time.perf_counter() - begun)
            self._metrics.record_events.labels(table).inc(carried)

    async def _tend(self, table: str) -> None:
        while not self._stopping.is_set() and await self._run(partial(self._committer.tend, table)):
            pass

    async def _trim(self) -> None:
        while not self._stopping.is_set() and await self._run(self._committer.trim) > 0:
            pass

    async def _run(self, work: Callable[[], T]) -> T:
        """Runs work of the committer in threads of its own."""
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    async def _follow(self) -> None:
        await self._store.run(self._lineage.view)

    async def _emit(self, emitter: Emitter) -> None:
        if self._turns.held(repr(emitter)):
            await self._store.run(emitter.run_once)

    async def _repeat(
        self, name: str, step: Callable[[], Awaitable[None]], seconds: float, *, rest: float | None = None
    ) -> None:
        """Repeats a step after a pause of so many seconds; with a `rest`, the step's time counts, but for so much of the pause.

        One that fails is logged and tried again, ever more slowly: none of them may end with the trouble.
        """
        failures = 0
        while not self._stopping.is_set():
            begun = time.monotonic()
            try:
                with self._metrics.round(name):
                    await step()
                failures = 0
            except Exception:  # noqa: BLE001 - logged, and tried again: the loop outlives every trouble
                failures += 1
                _log.exception("%s failed (%d in a row); it will be tried again", name, failures)
            due = seconds if rest is None else max(rest, seconds - (time.monotonic() - begun))
            pause = min((seconds * 2**failures) if failures else due, BACKOFF_SECONDS_MAX)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._stopping.wait(), pause)
