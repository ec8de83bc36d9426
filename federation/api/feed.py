"""The feed: the one reader of the log in each server, and those who follow it.

What the reader has read stays in a window of memory, from which all who are up to date are told; whoever wants older events, or
is too slow for the window, reads the log itself, a piece at a time. So nothing is queued for anybody, and a follower costs
nothing while nothing happens that it wants. The reader also tells the rest of the server that the catalog has changed, whoever
changed it.
"""

from __future__ import annotations

import asyncio
import bisect
import contextlib
import logging
import time
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from datetime import datetime
from typing import TypeVar

from federation.api import changes
from federation.api.changes import Changes
from federation.api.store import Store
from federation.core import authorization, errors, watching
from federation.core.events import TABLE_OF_KIND, Event
from federation.core.policy import Principal
from federation.core.watching import Sight, Subject
from federation.services import identity
from federation.services import watching as watched

_log = logging.getLogger(__name__)

T = TypeVar("T")

#: What the window holds at most.
WINDOW_EVENTS = 8192
WINDOW_BYTES = 32 << 20
#: What one look at the log reads at most.
READ_EVENTS = 1000
READ_BYTES = 4 << 20
#: What one answer tells at most.
PIECE_EVENTS = 200
PIECE_BYTES = 1 << 20
#: So many who are behind read the log at once: the others' calls need the catalog too.
READERS = 4
#: Who hears of nothing is told after so long that there was nothing.
BOOKMARK_SECONDS = 10.0
WAIT_SECONDS = 1.0
PAUSE_SECONDS = 1.0
#: Streams of one principal, and of all.
WATCHES_MAX = 200
WATCHES_IN_ALL_MAX = 10_000
#: What was found about a dataset is good for a minute at most, since policies may ask for the time.
JUDGED_SECONDS = 60.0
JUDGED_MAX = 100_000

# Their bodies are large, and nobody waits for them.
_UNREAD = frozenset(TABLE_OF_KIND)
# They change nothing that an agent could have to do.
_STILL = frozenset({"grant", "lease", "policy", "record"})


@dataclass(frozen=True)
class Piece:
    """What a follower is told at once: `sights`, and that everything up to `revision` has been told with them."""

    revision: int
    sights: Sequence[Sight] = ()


@dataclass(eq=False)
class _Follower:
    """One who follows. `position`: everything up to there was told, or is not wanted.

    While it is idle the feed looks out for it: `woken` is set at the first event that it wants, with `position` just before.
    """

    principal: Principal
    wanted: watching.Filter
    types: frozenset[str]
    position: int
    woken: asyncio.Event = field(default_factory=asyncio.Event)
    end: errors.FederationError | None = None

    def wants(self, one: Sight) -> bool:
        return one.row.collection in self.types and not one.hidden and self.wanted.matches(one)


class Feed:
    """One for each server. Everything but the reading of the log happens on the event loop."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._window: list[Sight] = []
        self._window_bytes = 0
        #: The window has everything after this position, up to `_position`.
        self._floor = 0
        self._position = 0
        self._followers: set[_Follower] = set()
        self._by_principal: Counter[str] = Counter()
        self._idle = _Idle()
        self._judge = _Judge(store)
        self._moved = Changes()
        self._readers = asyncio.Semaphore(READERS)
        self._pool = ThreadPoolExecutor(max_workers=1, thread_name_prefix="feed")
        self._task: asyncio.Task[None] | None = None
        self._stopping = False

    async def start(self) -> None:
        """Begins to read, a window's worth before the end of the log, so that whoever was cut off finds it in memory."""
        catalog = self._store.catalog

        def where() -> tuple[int, int]:
            return catalog.revision(), catalog.floor()

        revision, floor = await self._run(where)
        self._floor = self._position = max(floor, revision - WINDOW_EVENTS)
        await self._read(revision)
        self._task = asyncio.create_task(self._follow())

    async def stop(self) -> None:
        """Ends all streams with an error that tells to go on elsewhere, then the reader.

        Its thread may still wait for the log to grow: it ends with that, or with the catalog.
        """
        self._stopping = True
        for follower in tuple(self._followers):
            self._end(follower, _stops())
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
        self._pool.shutdown(wait=False, cancel_futures=True)

    async def follow(
        self, principal: Principal, wanted: watching.Filter, start: int, *, until_now: bool = False
    ) -> AsyncIterator[Piece]:
        """What happens from the revision `start` on, 0 for from now; the first piece says from where, and comes at once.

        OutOfRange (REVISION_COMPACTED) where the log no longer holds what is to be told, also later, of one who is too slow;
        OutOfRange (REVISION_AHEAD) where it is not there yet.
        """
        newest = await self._store.run(self._store.catalog.revision)
        follower = _Follower(principal, wanted, watched.types(principal, wanted), _begun(start, newest))
        with self._joined(follower):
            # Of a token that is taken back from here on the reader tells; before, nobody may have looked for a moment.
            await self._store.read(lambda tx: identity.require_standing(tx, principal))
            if follower.position < newest:
                await self._require_kept(follower.position)
            yield Piece(follower.position)
            if until_now:
                await self._reached(newest)
            told = time.monotonic()
            while True:
                _require_good(follower)
                if follower.position >= self._position:
                    if until_now:
                        yield Piece(follower.position)
                        return
                    if await self._rested(follower):
                        continue
                    shown: Sequence[Sight] = ()
                else:
                    found, until = await self._next(follower)
                    shown = await self._judge.visible(follower, found)
                    follower.position = until
                if shown or time.monotonic() - told >= BOOKMARK_SECONDS:
                    for piece in _pieces(shown, follower.position):
                        yield piece
                    told = time.monotonic()

    # The reader

    async def _follow(self) -> None:
        while not self._stopping:
            try:
                revision, found = await self._run(self._grown)
                if revision > self._position:
                    await self._read(revision, found)
            except errors.FederationError as error:
                _log.warning("the log cannot be read and is tried again: %s", error)
                await asyncio.sleep(PAUSE_SECONDS)
            except Exception:  # noqa: BLE001 - logged, and tried again: the reader outlives every trouble
                _log.exception("the reader of the log failed and goes on")
                await asyncio.sleep(PAUSE_SECONDS)

    def _grown(self) -> tuple[int, tuple[Event, ...]]:
        """How far the log is, once it has grown or a while is over, and what it has grown by: both in one way to the thread."""
        revision = self._store.catalog.wait(self._position, WAIT_SECONDS)
        if revision > self._position:
            with contextlib.suppress(errors.OutOfRange):  # whoever looks again finds that out
                return revision, _events(self._store, self._position)
        return revision, ()

    async def _read(self, revision: int, found: Sequence[Event] = ()) -> None:
        """Reads up to a revision that is known to be there; `found` comes next."""
        while True:
            after = self._position
            try:
                found = found or await self._run(lambda: _events(self._store, after))  # noqa: B023 - awaited at once
            except errors.OutOfRange:  # it was trimmed while nobody could read: begin where it begins now
                self._window, self._window_bytes = [], 0
                self._floor = self._position = await self._run(self._store.catalog.floor)
                for follower in self._followers:  # they find out what they have missed
                    follower.woken.set()
                continue
            if found:
                self._take(found)
            if any(event.kind.partition(".")[0] not in _STILL for event in found):
                self._store.changes.notify()
            if not found or self._position >= revision:
                self._position = max(self._position, revision)
                self._moved.notify()
                return
            found = ()

    def _take(self, found: Sequence[Event]) -> None:
        sights = [one for event in found if (one := watching.sight(event)) is not None]
        for event in found:
            self._judge.heed(event)
            if event.kind.startswith("token."):
                self._end_token(event.name)
        self._window += sights
        self._window_bytes += sum(one.event.size for one in sights)
        self._position = found[-1].position
        for one in sights:
            self._idle.wake(one)
        self._narrow()

    def _narrow(self) -> None:
        count = len(self._window) - WINDOW_EVENTS
        count = max(count, 0)
        size = self._window_bytes - sum(one.event.size for one in self._window[:count])
        while size > WINDOW_BYTES:
            size -= self._window[count].event.size
            count += 1
        if count:
            self._floor = self._window[count - 1].revision
            self._window, self._window_bytes = self._window[count:], size

    async def _run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._pool, work)

    # Those who follow

    @contextlib.contextmanager
    def _joined(self, follower: _Follower) -> Iterator[None]:
        name = follower.principal.name
        if self._stopping:
            raise _stops()
        if self._by_principal[name] >= WATCHES_MAX or len(self._followers) >= WATCHES_IN_ALL_MAX:
            raise errors.ResourceExhausted(
                f"{name} watches {self._by_principal[name]} times already, and {len(self._followers)} streams are open here",
                reason="WATCHES_TOO_MANY",
                help="End some of them: one stream can tell of many things, by its filter.",
                metadata={"most": str(WATCHES_MAX), "most_in_all": str(WATCHES_IN_ALL_MAX)},
            )
        self._followers.add(follower)
        self._by_principal[name] += 1
        try:
            yield
        finally:
            self._followers.discard(follower)
            self._idle.remove(follower)
            self._by_principal[name] -= 1
            if not self._by_principal[name]:
                del self._by_principal[name]

    async def _rested(self, follower: _Follower) -> bool:
        """Waits until there is something for a follower who is up to date; False where there was nothing for a while."""
        follower.woken.clear()
        self._idle.add(follower)
        if follower.end is not None:
            return True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(follower.woken.wait(), BOOKMARK_SECONDS)
        self._idle.remove(follower)
        if follower.woken.is_set():
            return True
        # Everything that was read in the meantime was looked at for it.
        follower.position = max(follower.position, self._position)
        return False

    async def _reached(self, revision: int) -> None:
        """Returns when the reader has come so far: nobody is told of what it has not read, for it knows who may be told."""
        while self._position < revision:
            moved = self._moved.event()
            await changes.wait(moved, WAIT_SECONDS)

    async def _next(self, follower: _Follower) -> tuple[list[Sight], int]:
        """What a follower wants of the next events after its position, and up to where that is all."""
        if follower.position >= self._floor:
            first = bisect.bisect_right(self._window, follower.position, key=lambda one: one.revision)
            some = self._window[first : first + READ_EVENTS]
            last = first + len(some) == len(self._window)
            until = self._position if last else some[-1].revision
        else:
            some, until = await self._from_log(follower.position)
        return [one for one in some if follower.wants(one)], max(until, follower.position)

    async def _from_log(self, position: int) -> tuple[list[Sight], int]:
        def look() -> tuple[int, tuple[Event, ...]]:
            return self._store.catalog.revision(), _events(self._store, position)

        async with self._readers:
            try:
                revision, found = await self._store.run(look)
            except errors.OutOfRange as error:
                raise await self._compacted(position) from error
        until = min(found[-1].position if found else revision, self._position)
        sights = (watching.sight(event) for event in found if event.position <= until)
        return [one for one in sights if one is not None], until

    async def _require_kept(self, position: int) -> None:
        if position < await self._store.run(self._store.catalog.floor):
            raise await self._compacted(position)

    async def _compacted(self, position: int) -> errors.OutOfRange:
        """What is told of a revision that the log has let go of."""
        catalog = self._store.catalog
        floor, revision = await self._store.run(lambda: (catalog.floor(), catalog.revision()))
        return errors.OutOfRange(
            f"the log no longer holds revision {position + 1}: it begins at {floor + 1}",
            reason="REVISION_COMPACTED",
            help="Open the stream anew without a start, list what you follow, and apply what comes; "
            f"or go on from {floor + 1} without what was in between.",
            metadata={"compact_revision": str(floor), "revision": str(revision)},
        )

    def _end_token(self, name: str) -> None:
        """A token that was taken back, or changed, tells nobody anything any more."""
        for follower in tuple(self._followers):
            if follower.principal.token == name:
                self._end(follower, _taken_back(follower.principal))

    @staticmethod
    def _end(follower: _Follower, why: errors.FederationError) -> None:
        follower.end = why
        follower.woken.set()


class _Idle:
    """Those who are up to date and wait, by the names that they want, so that an event costs nothing for all others."""

    def __init__(self) -> None:
        self._by_name: dict[str, set[_Follower]] = {}
        self._others: set[_Follower] = set()

    def add(self, follower: _Follower) -> None:
        for room in self._rooms(follower):
            room.add(follower)

    def remove(self, follower: _Follower) -> None:
        for room in self._rooms(follower):
            room.discard(follower)
        for name in follower.wanted.names:
            if not self._by_name.get(name, True):
                del self._by_name[name]

    def wake(self, one: Sight) -> None:
        """Wakes those who want it; they go on from there."""
        for follower in (*self._by_name.get(one.event.name, ()), *self._others):
            if not follower.woken.is_set() and one.revision > follower.position and follower.wants(one):
                follower.position = one.revision - 1
                follower.woken.set()

    def _rooms(self, follower: _Follower) -> Iterable[set[_Follower]]:
        names = follower.wanted.names
        return [self._by_name.setdefault(name, set()) for name in names] if names else [self._others]


class _Judge:
    """Who may know of what. An answer holds until the log tells of a change to what it was made from."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._known: OrderedDict[tuple[authorization.Subject, Subject], tuple[bool, float]] = OrderedDict()
        self._changes = 0

    def heed(self, event: Event) -> None:
        """Forgets what an event may have changed. The reader calls it before anybody is told of that event."""
        noun = event.kind.partition(".")[0]
        if noun in ("dataset", "namespace"):
            # A namespace may be known where one of its datasets may be.
            namespace = event.name.split("/")[1]
            self._forget(lambda asked: asked.kind == "scope" or asked.name.partition("/")[0] == namespace)
        elif event.kind == "policy.applied":
            self._forget(lambda _: True)

    async def visible(self, follower: _Follower, found: Sequence[Sight]) -> list[Sight]:
        """Those of them that may be told."""
        who, now = authorization.subject(follower.principal), time.monotonic()
        wanted = follower.wanted
        asked = dict.fromkeys(each for one in found for each in wanted.subjects(one))
        answers = {each: self._recall(who, each, now) for each in asked}
        if unknown := [each for each, answer in answers.items() if answer is None]:
            before, ctx = self._changes, self._store.ctx
            looked = await self._store.read(lambda tx: watched.known(tx, ctx, follower.principal, unknown))
            answers |= looked
            if before == self._changes:
                for each, answer in looked.items():
                    self._remember(who, each, answer, now)
        return [one for one in found if all(answers[each] for each in wanted.subjects(one))]

    def _recall(self, who: authorization.Subject, asked: Subject, now: float) -> bool | None:
        answer, since = self._known.get((who, asked), (None, now))
        return answer if now - since < JUDGED_SECONDS else None

    def _remember(self, who: authorization.Subject, asked: Subject, answer: bool, now: float) -> None:
        self._known[who, asked] = (answer, now)
        self._known.move_to_end((who, asked))
        if len(self._known) > JUDGED_MAX:
            self._known.popitem(last=False)

    def _forget(self, which: Callable[[Subject], bool]) -> None:
        self._changes += 1
        for key in [key for key in self._known if which(key[1])]:
            del self._known[key]


def _events(store: Store, after: int) -> tuple[Event, ...]:
    return store.catalog.events(after, limit=READ_EVENTS, without=_UNREAD, bytes_max=READ_BYTES)


def _begun(start: int, newest: int) -> int:
    """The position before the first revision that is wanted."""
    if start < 0:
        raise errors.InvalidArgument(
            f"there is no revision {start}",
            reason="REVISION_INVALID",
            help="Give the first revision that you want, or 0 for from now on.",
            violations={"start_revision": "must not be negative"},
        )
    if start > newest + 1:
        raise errors.OutOfRange(
            f"revision {start} is ahead of the catalog, which is at {newest}",
            reason="REVISION_AHEAD",
            help="The catalog may have been restored from a backup: list what you follow, and watch anew without a start.",
            metadata={"revision": str(newest)},
        )
    return start - 1 if start else newest


def _pieces(shown: Sequence[Sight], until: int) -> Iterator[Piece]:
    """What is told, in pieces of a bounded size, one at least; the last says that everything up to `until` was told."""
    rest = list(shown)
    if not rest:
        yield Piece(until)
    while rest:
        count, size = 0, 0
        while count < min(len(rest), PIECE_EVENTS) and (not count or size + rest[count].event.size <= PIECE_BYTES):
            size += rest[count].event.size
            count += 1
        piece, rest = rest[:count], rest[count:]
        yield Piece(piece[-1].revision if rest else until, piece)


def _require_good(follower: _Follower) -> None:
    """Raises where a follower may be told nothing any more."""
    if follower.end is not None:
        raise follower.end
    until = follower.principal.expire_time
    if until is not None and until <= datetime.now(until.tzinfo):
        raise _taken_back(follower.principal)


def _taken_back(principal: Principal) -> errors.Unauthenticated:
    return errors.Unauthenticated(
        f"the credential of {principal.name} has ended or was changed",
        reason="TOKEN_EXPIRED",
        help="Sign in again with `fed login`, and go on from the last revision that was told.",
    )


def _stops() -> errors.Unavailable:
    return errors.Unavailable(
        "this server stops", reason="SERVER_STOPS", help="Go on at another, from the last revision that was told."
    )
