"""One object's ciphertext, fetched by range from a gateway, and the file that it decrypts to.

A large range is one call whose bytes are decrypted as they come, megabyte by megabyte. A gateway that goes away is asked again,
from the position reached.
"""

from __future__ import annotations

import contextlib
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator

from federation.core import dataset, errors
from federation.crypto import container
from federation.v1 import gateway_pb2
from federation.wire import counting
from federation.wire.gateway import GatewayClient
from federation.wire.pauses import Pauses

#: What is decrypted at once while a large range arrives; a multiple of the container's chunks.
STEP_BYTES = 64 * container.CHUNK
#: With a file's header its end is fetched too, at the same time: the last chunk, which is authenticated first, and what a
#: Parquet reader begins with.
_TAIL_CHUNKS = 4

Pieces = Generator[bytes | memoryview]


class SealedObject:
    """A file as its reader sees it: a `Source` for a FileReader."""

    def __init__(self, reader: container.RangedReader, fetch: ObjectFetch) -> None:
        self.size = reader.size
        self.delay = fetch.delay
        self._reader = reader
        self._fetch = fetch

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fills the target with plaintext from `offset`; returns the bytes that there were."""
        if len(target) <= STEP_BYTES:
            return self._reader.read_into(offset, target)
        done = 0
        with self._fetch.streaming(*sealed_range(offset, len(target))):
            for start, stop in steps(offset, len(target)):
                done += self._reader.read_into(offset + start, target[start:stop])
        return done


def steps(offset: int, length: int) -> Iterator[tuple[int, int]]:
    """Cuts a range into steps that end on borders of the file: (start, stop) from the range's beginning."""
    start = 0
    while start < length:
        stop = min(length, start + STEP_BYTES - (offset + start) % STEP_BYTES)
        yield start, stop
        start = stop


def sealed_range(offset: int, length: int) -> tuple[int, int]:
    """Where the chunks of a range of plaintext begin and end in the object, if all of them are full."""
    first, last = offset // container.CHUNK, -(-(offset + length) // container.CHUNK)
    return container.HEADER + first * container.SEALED_CHUNK, container.HEADER + last * container.SEALED_CHUNK


class ObjectFetch:
    """Gives ranges of one object's ciphertext; may be called by many threads at once."""

    def __init__(
        self,
        gateway: GatewayClient,
        input: str,  # noqa: A002
        entry: dataset.FileEntry,
        counts: counting.InputCounts | None = None,
    ) -> None:
        self._gateway = gateway
        self._input = input
        self._entry = entry
        self._counts = counts
        chunks = entry.file_bytes // container.CHUNK - _TAIL_CHUNKS
        self._tail_offset = container.HEADER + chunks * container.SEALED_CHUNK if chunks > 0 else 0
        self._tail: bytes | None = None
        self._mine = threading.local()
        #: The least that an answer took to begin, in seconds.
        self._delay = math.inf

    def __call__(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`; fewer only where the object ends."""
        if self._tail is None and offset == 0 and length == container.HEADER:
            return self._read_both_ends()
        tail = self._tail
        if tail is None or offset + length <= self._tail_offset:
            return self._read(offset, length)
        front = self._tail_offset - offset
        if front <= 0:
            return tail[-front : length - front]
        return self._read(offset, front) + tail[: length - front]

    def delay(self) -> float:
        """How far away the object is: the seconds that an answer takes to begin, at best; 0 before the first."""
        return self._delay if self._delay < math.inf else 0.0

    @contextlib.contextmanager
    def streaming(self, begin: int, end: int) -> Iterator[None]:
        """Within the context, this thread's calls that go through `begin` to `end` in order share one call to the gateway."""
        # Nothing is asked for before the first of them: the object's ends may have to be fetched, and then its tail is here.
        self._mine.plan = (begin, end)
        try:
            yield
        finally:
            stream, self._mine.stream, self._mine.plan = getattr(self._mine, "stream", None), None, None
            if stream is not None:
                stream.close()

    def _read_both_ends(self) -> bytes:
        tail_bytes = self._entry.object_bytes - self._tail_offset
        if self._tail_offset == 0:
            self._tail = self._read(0, tail_bytes)
            return self._tail[: container.HEADER]
        with contextlib.closing(self._stream(self._tail_offset, self._entry.object_bytes)) as tail:
            header = self._read(0, container.HEADER)
            self._tail = tail.take(tail_bytes)
        return header

    def _read(self, offset: int, length: int) -> bytes:
        stream = self._shared(offset)
        if stream is not None:
            return stream.take(length)
        with contextlib.closing(self._stream(offset, offset + length)) as stream:
            return stream.take(length)

    def _shared(self, offset: int) -> _Stream | None:
        """This thread's stream, if it goes on at that position."""
        plan: tuple[int, int] | None = getattr(self._mine, "plan", None)
        if plan is not None and offset == plan[0]:
            end = min(plan[1], self._entry.object_bytes if self._tail is None else self._tail_offset)
            self._mine.stream, self._mine.plan = self._stream(offset, end), None
        stream: _Stream | None = getattr(self._mine, "stream", None)
        return stream if stream is not None and stream.position == offset else None

    def _stream(self, begin: int, end: int) -> _Stream:
        return _Stream(self._ask, begin, min(end, self._entry.object_bytes), self._counts)

    def _ask(self, begin: int, end: int, ask_seconds: int) -> Pieces:
        asked = time.monotonic()
        pieces = self._gateway.read_object(
            gateway_pb2.ReadObjectRequest(
                input=self._input,
                object_id=self._entry.object_id,
                generation=self._entry.generation,
                offset=begin,
                length=end - begin,
                ask_seconds=ask_seconds,
            )
        )
        return self._timed(asked, pieces)

    def _timed(self, asked: float, pieces: Pieces) -> Pieces:
        with contextlib.closing(pieces):
            for piece in pieces:
                self._delay = min(self._delay, time.monotonic() - asked)
                yield piece
                break
            yield from pieces


class _Stream:
    """A range that is being received. Asked for at once; asked for again, from where it stopped, after the gateway was away.

    `end` is not beyond the object's. Each answer is counted once it is over: whole when all of it has come, early otherwise.
    """

    def __init__(
        self, ask: Callable[[int, int, int], Pieces], begin: int, end: int, counts: counting.InputCounts | None
    ) -> None:
        self.position = begin
        self._ask = ask
        self._begin = begin
        self._received = begin
        self._end = end
        self._counts = counts
        self._waiting: deque[memoryview] = deque()
        self._pauses = Pauses()
        self._asked = int(time.time())
        self._coming = ask(begin, end, self._asked)
        self._counted = False

    def take(self, length: int) -> bytes:
        """The next `length` bytes; fewer only where the object, or the range, ends."""
        while self._received < min(self.position + length, self._end) and (piece := self._next()):
            self._waiting.append(memoryview(piece))
            self._received += len(piece)
            if self._received >= self._end:
                self._count(whole=True)
        taken: list[memoryview] = []
        while length and self._waiting:
            piece = self._waiting.popleft()
            taken.append(piece[:length])
            if len(piece) > length:
                self._waiting.appendleft(piece[length:])
            length -= len(taken[-1])
        data = b"".join(taken)
        self.position += len(data)
        return data

    def close(self) -> None:
        """Ends the call."""
        self._count(whole=self._received >= self._end)
        self._coming.close()

    def _count(self, *, whole: bool, retry: bool = False) -> None:
        if self._counts is None or self._counted:
            return
        self._counted = True
        if whole:
            self._counts.whole(self._asked, self._received - self._begin)
        else:
            self._counts.aborted(self._asked, self._received - self._begin, self._end - self._received, retry=retry)

    def _next(self) -> bytes | memoryview:
        while True:
            try:
                piece = next(self._coming, b"")
            except errors.Unavailable as error:
                self._pauses.wait(error)
                self._count(whole=False, retry=True)
                self._begin, self._asked, self._counted = self._received, int(time.time()), False
                self._coming = self._ask(self._begin, self._end, self._asked)
            else:
                self._pauses.progress()
                return piece
