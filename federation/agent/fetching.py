"""The objects of a version on their way from another site's gateway into this site's store: in parallel, resumed, measured.

An object is put as it arrives, and its last bytes are handed to the store only when all of it has the length and the SHA-256
that the manifest names: a store writes whole objects or none, so nobody ever sees another one.
"""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import logging
import queue
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass

from federation import failpoints, ports
from federation.agent import catalog as agent_catalog
from federation.agent import journal, locks, pacing, remote, spool, uploads
from federation.core import dataset, errors, job
from federation.crypto import layout
from federation.v1 import gateway_pb2

_log = logging.getLogger(__name__)

#: What goes away by itself: the same call is made again.
TRANSIENT = (errors.Unavailable, errors.DeadlineExceeded, errors.Cancelled)
#: One call asks for so much of an object, and so many more are asked for behind it, that a source far away never rests: the
#: connection lets all of them come before they are taken (`tls.DATA_WINDOW_BYTES`).
RANGE_BYTES = 16 * 1024 * 1024
RANGES_AHEAD = 2
#: Where a rate is to be kept, ranges are smaller, down to this: what was asked for comes, whatever the rate says of taking it.
RANGE_BYTES_LEAST = 1024 * 1024
#: An object from here on takes a connection to itself while it comes. Smaller ones share connections, and each costs a round
#: trip more than its bytes do, so many of them are under way at once.
LARGE_BYTES = 8 * 1024 * 1024
#: A call that brings less than so many bytes a second, after a minute of grace, is given up and made again from where it was.
_SLOWEST = 64 * 1024
_GRACE_SECONDS = 60.0
#: Lanes among which a rate may be shared, at most: what a call then brings is not slow but kept back.
_SHARES_MAX = 64
_PAUSE_SECONDS_MAX = 5.0


@dataclass(frozen=True, kw_only=True)
class Terms:
    """How a version is fetched: connections and objects at once, how long a source may be away, how often progress is told.

    Beginnings of objects take `spool_bytes_max` of the state folder at most; of objects below `spool_least_bytes` none is kept.
    """

    lanes: int = 4
    hands: int = 32
    patience_seconds: float = 60.0
    tell_seconds: float = 1.0
    spool_bytes_max: int = 16 * 1024 * 1024 * 1024
    spool_least_bytes: int = 32 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What fetching is done with. `locks` are by store key, for all transfers of this site."""

    store: ports.ObjectStore
    book: journal.Journal
    remotes: remote.Remotes
    spool: spool.Spool
    locks: locks.NamedLocks
    rate: pacing.Rate
    terms: Terms = Terms()


class Progress:
    """How much of a version is here and verified, or on its way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bytes = 0
        self._objects = 0
        self._coming: dict[str, int] = {}
        self._verified: list[str] = []

    def coming(self, key: str, size: int) -> None:
        """Counts bytes of an object that have arrived."""
        with self._lock:
            self._coming[key] = size

    def failed(self, key: str) -> None:
        """Takes back what was counted of an object: it has to be fetched again."""
        with self._lock:
            self._coming.pop(key, None)

    def here(self, key: str, size: int) -> None:
        """An object is in the store, and is the one that the manifest names."""
        with self._lock:
            self._coming.pop(key, None)
            self._bytes += size
            self._objects += 1
            self._verified.append(key)

    def counts(self) -> tuple[int, int]:
        """Bytes and objects; of what is on its way the bytes alone."""
        with self._lock:
            return self._bytes + sum(self._coming.values()), self._objects

    def verified(self) -> list[str]:
        """Objects that were verified since this was last asked."""
        with self._lock:
            found, self._verified = self._verified, []
            return found


class Fetch:
    """One version's objects. `stopping` ends it, soon, with Cancelled (TRANSFER_STOPPED)."""

    def __init__(
        self,
        parts: Parts,
        *,
        transfer: str,
        given: job.InputAssignment,
        manifest: dataset.Manifest,
        bytes_per_second_max: int,
        stopping: threading.Event,
    ) -> None:
        self._parts = parts
        self._transfer = transfer
        self._given = given
        self._entries = {layout.object_key(manifest.dataset_uid, e.generation, e.object_id): e for e in manifest.files}
        self._uid = manifest.dataset_uid
        self._known = parts.book.transfer_objects(transfer)
        self._stopping = stopping
        self._working = 0
        self._ended = threading.Event()
        self._error: BaseException | None = None
        self._guard = threading.Lock()
        self._lanes: queue.SimpleQueue[int] = queue.SimpleQueue()
        for lane in range(1, parts.terms.lanes + 1):
            self._lanes.put(lane)
        self._pace = pacing.Pace([parts.rate, pacing.Rate(bytes_per_second_max, time.monotonic)], self._pause)
        self._hands, self._range_bytes, self._slowest = parts.terms.hands, RANGE_BYTES, _SLOWEST
        if rate := self._pace.bytes_per_second:
            self._hands = parts.terms.lanes
            self._range_bytes = min(RANGE_BYTES, max(RANGE_BYTES_LEAST, rate // (4 * parts.terms.lanes)))
            self._slowest = min(_SLOWEST, max(1, rate // _SHARES_MAX))
        self.progress = Progress()

    def require_room(self) -> None:
        """ResourceExhausted (STORAGE_FULL) where the store can tell that what is missing does not fit."""
        free = self._parts.store.free_bytes()
        if free is None:
            return
        generations = {entry.generation for entry in self._entries.values()}
        there = {info.key for each in generations for info in self._parts.store.list(layout.generation_prefix(self._uid, each))}
        missing = sum(entry.object_bytes for key, entry in self._entries.items() if key not in there)
        if missing > free:
            raise errors.ResourceExhausted(
                f"{missing} bytes are to be stored, and the store has room for {free}",
                reason="STORAGE_FULL",
                help="Make room at the site, or send the version elsewhere.",
                metadata={"missing_bytes": str(missing), "free_bytes": str(free)},
            )

    def run(self, tell: Callable[[], None]) -> None:
        """Brings what is not here; `tell` is called now and then, and ends it with what it raises."""
        # The largest first, so that none of them is begun when all others are done.
        waiting = iter(sorted(self._entries.items(), key=lambda item: (-item[1].object_bytes, item[0])))
        terms, small = self._parts.terms, sum(entry.object_bytes < LARGE_BYTES for entry in self._entries.values())
        hands = [
            threading.Thread(target=self._hand, args=(number, waiting), name=f"{self._transfer} {number}", daemon=True)
            for number in range(min(self._hands, small + terms.lanes, len(self._entries)))
        ]
        self._working = len(hands)
        for hand in hands:
            hand.start()
        try:
            while hands and not self._ended.wait(self._parts.terms.tell_seconds):
                self._write_down()
                tell()
        except BaseException as error:  # noqa: BLE001 - raised again below, when no hand works any more
            self._fail(error)
        for hand in hands:
            hand.join()
        self._write_down()
        if self._error is not None:
            raise self._error
        self._check_stopping()

    def _hand(self, number: int, waiting: Iterator[tuple[str, dataset.FileEntry]]) -> None:
        try:
            while True:
                self._check_stopping()
                with self._guard:
                    key, entry = next(waiting, ("", None))
                if entry is None:
                    break
                # The object's lock, since another transfer may be bringing it.
                with self._lane(number, entry) as lane, self._parts.locks.hold(key):
                    if not self._is_here(key, entry):
                        self._bring(lane, key, entry)
                self.progress.here(key, entry.object_bytes)
                failpoints.hit("agent.object_stored")
        except BaseException as error:  # noqa: BLE001 - raised again by `run`, in whose place this thread works
            self._fail(error)
        with self._guard:
            self._working -= 1
            if not self._working:
                self._ended.set()

    @contextlib.contextmanager
    def _lane(self, hand: int, entry: dataset.FileEntry) -> Iterator[int]:
        """The connection over which an object comes: a large one waits until one is free of other large ones."""
        if entry.object_bytes < LARGE_BYTES:
            yield 1 + hand % self._parts.terms.lanes
            return
        lane = self._lanes.get()
        try:
            yield lane
        finally:
            self._lanes.put(lane)

    def _is_here(self, key: str, entry: dataset.FileEntry) -> bool:
        """Whether the object is in the store already, for another version or from before. One that is damaged is removed."""
        info = self._parts.store.info(key)
        if info is None:
            return False
        if info.bytes == entry.object_bytes and (key in self._known or self._digest(key) == entry.object_sha256):
            return True
        _log.warning("%s is damaged at this site, and fetched again", key)
        self._parts.store.delete(key)
        return False

    def _digest(self, key: str) -> str:
        sha256 = hashlib.sha256()
        for piece in self._parts.store.read(key):
            self._check_stopping()
            sha256.update(piece)
        return sha256.hexdigest()

    def _bring(self, lane: int, key: str, entry: dataset.FileEntry) -> None:
        with self._parts.spool.draft(self._transfer, entry) as draft:
            resumed = draft.bytes
            try:
                self._put(lane, key, entry, draft)
            except Mismatch:
                if not resumed:
                    raise
                _log.warning("what was kept of %s is not a beginning of it: it is fetched anew", key)
            else:
                return
        with self._parts.spool.draft(self._transfer, entry) as draft:
            self._put(lane, key, entry, draft)

    def _put(self, lane: int, key: str, entry: dataset.FileEntry, draft: spool.Draft) -> None:
        arriving = Arriving(entry, self._pieces(lane, key, entry, draft))
        try:
            self._parts.store.put(key, arriving.binary())
        except Mismatch:
            draft.clear()
            self.progress.failed(key)
            raise
        finally:
            arriving.close()
        draft.clear()

    def _pieces(self, lane: int, key: str, entry: dataset.FileEntry, draft: spool.Draft) -> Generator[bytes | memoryview]:
        """An object's ciphertext: what is kept of it, and then what the source sends, kept as it comes."""
        position = 0
        for kept in draft.pieces():
            position += len(kept)
            yield kept
        for piece in self._received(lane, entry, position):
            draft.add(position, piece)
            position += len(piece)
            self.progress.coming(key, position)
            failpoints.hit("agent.piece_received")
            yield piece

    def _received(self, lane: int, entry: dataset.FileEntry, position: int) -> Iterator[bytes | memoryview]:
        """The object from a position on. A source that breaks off is asked again from where it was, until patience ends."""
        failures, begin = 0, time.monotonic()
        while position < entry.object_bytes:
            try:
                with contextlib.closing(self._ranges(lane, entry, position)) as pieces:
                    for piece in pieces:
                        self._pace.take(len(piece))
                        self._check_stopping()
                        yield piece
                        position, failures = position + len(piece), 0
            except errors.FederationError as error:
                self._check_stopping()
                if not _passing(error):
                    raise
                begin = time.monotonic() if not failures else begin
                failures += 1
                self._wait(error, failures, time.monotonic() - begin)

    def _ranges(self, lane: int, entry: dataset.FileEntry, position: int) -> Generator[bytes | memoryview]:
        """The object from a position on, range by range. What is asked for ahead waits in the connection, within its window."""
        size, end = self._range_bytes, entry.object_bytes
        ranges = ((at, min(size, end - at)) for at in range(position, end, size))
        under_way = deque[tuple[int, Generator[bytes | memoryview]]]()
        try:
            while under_way or position < end:
                for at, length in itertools.islice(ranges, 1 + RANGES_AHEAD - len(under_way)):
                    under_way.append((at + length, self._ask(lane, entry, at, length)))
                stop, pieces = under_way[0]
                for piece in pieces:
                    yield piece
                    position += len(piece)
                if position != stop:
                    raise Mismatch(entry, f"the source has {position} bytes of it")
                under_way.popleft()
        finally:
            for _, pieces in under_way:
                pieces.close()

    def _ask(self, lane: int, entry: dataset.FileEntry, offset: int, length: int) -> Generator[bytes | memoryview]:
        request = gateway_pb2.ReadObjectRequest(
            object_id=entry.object_id, generation=entry.generation, offset=offset, length=length
        )
        timeout = _GRACE_SECONDS + (1 + RANGES_AHEAD) * length / self._slowest  # those before it come first
        return self._parts.remotes.fetch(self._given, request, lane=lane, timeout=timeout)

    def _wait(self, error: errors.FederationError, failures: int, seconds: float) -> None:
        if seconds > self._parts.terms.patience_seconds:
            raise source_unavailable(self._given, error)
        self._pause(agent_catalog.backoff(failures, seconds_max=_PAUSE_SECONDS_MAX))

    def _pause(self, seconds: float) -> None:
        self._stopping.wait(seconds)
        self._check_stopping()

    def _check_stopping(self) -> None:
        if self._error is not None or self._stopping.is_set():
            raise errors.Cancelled(f"transfer {self._transfer} was stopped", reason="TRANSFER_STOPPED")

    def _fail(self, error: BaseException) -> None:
        with self._guard:
            self._error = self._error or error

    def _write_down(self) -> None:
        self._parts.book.add_transfer_objects(self._transfer, self.progress.verified())


class Arriving(uploads.Ciphertext):
    """One object as it arrives. Its last piece is given out only when all of it is what the manifest names."""

    def __init__(self, entry: dataset.FileEntry, pieces: Generator[bytes | memoryview]) -> None:
        super().__init__()
        self._entry = entry
        self._pieces = pieces
        self._sha256 = hashlib.sha256()
        self._bytes = 0

    def next_piece(self) -> bytes | memoryview:
        """The next bytes; Mismatch in place of the last ones, if these are not the object's."""
        piece = next(self._pieces, b"")
        self._sha256.update(piece)
        self._bytes += len(piece)
        whole = self._entry.object_bytes
        if self._bytes > whole or (not piece and self._bytes < whole):
            raise Mismatch(self._entry, f"{self._bytes} bytes of it came")
        if self._bytes == whole and self._sha256.hexdigest() != self._entry.object_sha256:
            raise Mismatch(self._entry, f"its SHA-256 is {self._sha256.hexdigest()}")
        return piece

    def close(self) -> None:
        """Ends what the pieces come from."""
        self._pieces.close()
        super().close()


class Mismatch(errors.DataCorrupt):
    """What arrived is not the object that the manifest names."""

    def __init__(self, entry: dataset.FileEntry, why: str) -> None:
        super().__init__(
            f"the object of {entry.path!r} has {entry.object_bytes} bytes with SHA-256 {entry.object_sha256}, but {why}",
            reason="OBJECT_CORRUPT",
            help="Run `fed fsck` for the site that it comes from.",
            metadata={"path": entry.path, "object": entry.object_id},
        )


def source_unavailable(given: job.InputAssignment, error: errors.FederationError) -> errors.Unavailable:
    """The error for a source that has not answered for too long."""
    return errors.Unavailable(
        f"site {given.plan.source_site} does not send: {error.message}",
        reason="SOURCE_UNAVAILABLE",
        help="Check that its agent runs and that its gateway can be reached from here.",
        metadata={"site": given.plan.source_site},
    )


def _passing(error: errors.FederationError) -> bool:
    """Whether asking the source again may help. A connection that was cut shows as an error without a reason of ours."""
    return isinstance(error, TRANSIENT) or type(error) is errors.FederationError
