"""A file that is read by range from afar: seekable, for many threads, and fast for whoever reads it from front to back.

What is read is kept as blocks on chunk borders. A reader that goes on where it stopped is met by blocks that were asked for
before it came: 1 MiB at first, doubling up to 8 MiB while they are used. Large reads go straight into the caller's buffer,
in parallel pieces. A reader that jumps gets exactly the chunks that it asks for, since every byte may be billed.

From a source far away more is asked for ahead, as much as the line holds: never more than twice of what was read in one go, nor
than `FAR_BYTES` of a file, which is what its reader's memory pays for the distance.

Nothing here knows what the bytes are; a `Source` does.
"""

from __future__ import annotations

import atexit
import io
import itertools
import os
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from federation.wire import pauses

if TYPE_CHECKING:
    from typing_extensions import Buffer

#: Borders of what is fetched: those of the container's chunks.
ALIGNMENT = 16384
BLOCK_BYTES_MIN = 1 << 20
BLOCK_BYTES_MAX = 8 << 20
#: A read from here on is not kept but goes straight to its caller, in pieces of `PIECE_BYTES` at the same time.
DIRECT_BYTES = 2 << 20
PIECE_BYTES = 4 << 20
BLOCKS_AHEAD = 2
#: Decrypting is many short calls without the interpreter lock: more threads than cores hand it around and are slower.
THREADS = max(2, min(4, os.cpu_count() or 1))
#: A source whose first byte takes so long is far away: its threads wait for the line, not for the processor.
FAR_SECONDS = 0.01
FAR_THREADS = 16
FAR_BYTES = 64 << 20
#: What a reader gets through in a second, at most: so much for each second of delay is on its way to it.
_FAR_BYTES_PER_SECOND = 128 << 20
_PEEK_BYTES = 8192


class Source(Protocol):
    """Something of known length that can be read at any offset, by many threads at once."""

    @property
    def size(self) -> int: ...

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fills the target from `offset`; returns the bytes that there were."""
        ...


class Watcher(Protocol):
    """Is told how a file is read."""

    def cached(self, size: int) -> None:
        """So many bytes were handed out from memory, to a read that asked for nothing itself."""
        ...

    def file_closed(self) -> None: ...


class _Block(NamedTuple):
    """Bytes `start` to `stop`, on their way until they are given up."""

    start: int
    stop: int
    data: Future[memoryview]
    given_up: threading.Event

    def covers(self, offset: int) -> bool:
        return self.start <= offset < self.stop

    def give_up(self) -> None:
        """Nobody will take it: it is not begun any more, nor waited for while its source is away."""
        self.data.cancel()
        self.given_up.set()


class FileReader(io.BufferedIOBase):
    """Reads a source as a binary file; `read_at` needs no position and is safe for threads.

    Has what pandas, pyarrow, DuckDB and a TextIOWrapper ask of a file. `delay` tells in how many seconds the source answers.
    """

    def __init__(
        self, source: Source, *, name: str = "", watcher: Watcher | None = None, delay: Callable[[], float] = lambda: 0.0
    ) -> None:
        super().__init__()
        self.name = name
        self.mode = "rb"
        self._source = source
        self._watcher = watcher
        self._ahead = _ReadAhead(source, delay)
        self._position = 0
        _OPEN.add()

    def __repr__(self) -> str:
        return f"<FileReader {self.name} size={self.size}>"

    @property
    def size(self) -> int:
        """Bytes of the file."""
        return self._source.size

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._check()
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self.size}[whence]
        if base + offset < 0:
            raise ValueError(f"position {base + offset} lies before the file")
        self._position = base + offset
        return self._position

    def read(self, size: int | None = -1, /) -> bytes:
        length = self.size - self._position if size is None or size < 0 else size
        data = self.read_at(self._position, length)
        self._position += len(data)
        return data

    def read1(self, size: int = -1, /) -> bytes:
        return self.read(size if size >= 0 else BLOCK_BYTES_MIN)

    def readinto(self, buffer: Buffer, /) -> int:
        with memoryview(buffer) as view, view.cast("B") as target:
            count = self.read_into(self._position, target)
        self._position += count
        return count

    def readinto1(self, buffer: Buffer, /) -> int:
        return self.readinto(buffer)

    def peek(self, size: int = 0, /) -> bytes:
        """Some bytes from the position on, which stays."""
        return self.read_at(self._position, size if size > 0 else _PEEK_BYTES)

    def read_at(self, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`; fewer only where the file ends."""
        self._check()
        length = max(0, min(length, self.size - offset))
        kept = self._ahead.kept(offset, length)
        if kept is not None:
            self._cached(len(kept))
            return bytes(kept)
        # A BytesIO that alone owns its bytes is written in place and hands them out without a copy.
        buffer = io.BytesIO(bytes(length))
        with buffer.getbuffer() as target:
            self.read_into(offset, target)
        return buffer.getvalue()

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fills the target from `offset`; returns the bytes that there were."""
        self._check()
        length = max(0, min(len(target), self.size - offset))
        with _OPEN.reading():
            self._cached(self._ahead.read(offset, target[:length]))
        return length

    def close(self) -> None:
        if not self.closed:
            self._ahead.forget()
            _OPEN.remove()
            if self._watcher is not None:
                self._watcher.file_closed()
        super().close()

    def _cached(self, size: int) -> None:
        if size and self._watcher is not None:
            self._watcher.cached(size)

    def _check(self) -> None:
        if self.closed:
            raise ValueError("I/O operation on closed file")


class _ReadAhead:
    """The blocks of one file: the one that was used last, and those on their way behind it."""

    def __init__(self, source: Source, delay: Callable[[], float]) -> None:
        self._source = source
        self._delay = delay
        self._lock = threading.Lock()
        self._last: tuple[int, memoryview] = (0, memoryview(b""))
        self._coming: deque[_Block] = deque()
        self._next = 0
        #: What was read in one go, up to `_next`.
        self._run_bytes = 0
        self._block_bytes = BLOCK_BYTES_MIN

    def kept(self, offset: int, length: int) -> memoryview | None:
        """A view of those bytes if the block that was used last has them all."""
        start, data = self._last
        if start <= offset and offset + length <= start + len(data):
            return data[offset - start : offset - start + length]
        return None

    def forget(self) -> None:
        """Lets go of all blocks."""
        with self._lock:
            self._drop()
            self._last = (0, memoryview(b""))

    def read(self, offset: int, target: memoryview) -> int:
        """Fills the target; returns how much of it was in the block that was used last."""
        kept = first = self._copy(offset, target)
        while len(target := target[first:]):
            offset += first
            first = self._copy(offset, target) or self._step(offset, target)
        return kept

    def _copy(self, offset: int, target: memoryview) -> int:
        start, data = self._last
        if not start <= offset < start + len(data):
            return 0
        part = data[offset - start : offset - start + len(target)]
        target[: len(part)] = part
        return len(part)

    def _step(self, offset: int, target: memoryview) -> int:
        """Gets the next bytes: from a block on its way, straight into the target, or as a new block."""
        with self._lock:
            block = self._arriving(offset)
            goes_on = block is not None or offset == self._next
            if not goes_on:
                self._drop()
            direct = 0 if block else self._direct_bytes(offset, len(target), goes_on=goes_on)
            start, stop, *_ = block or self._borders(offset, offset + (self._block_bytes if goes_on else len(target)))
            self._next = offset + direct if direct else stop
            self._run_bytes += self._next - offset
            if goes_on:
                self._ask_ahead(self._next)
        if direct:
            self._read_direct(offset, target[:direct])
            return direct
        self._last = (start, self._taken(block) if block else self._fetch(start, stop))
        return self._copy(offset, target)

    def _taken(self, block: _Block) -> memoryview:
        """A block's bytes. Nobody waits for a thread: all of them may be busy for minutes with a source that is away."""
        return self._fetch(block.start, block.stop) if block.data.cancel() else block.data.result()

    def _direct_bytes(self, offset: int, wanted: int, *, goes_on: bool) -> int:
        """How much of a large read goes straight to its caller: to a chunk's border if it goes on, that none comes twice."""
        if wanted < DIRECT_BYTES:
            return 0
        end = offset + wanted
        return (end - end % ALIGNMENT if goes_on and end < self._source.size else end) - offset

    def _arriving(self, offset: int) -> _Block | None:
        while self._coming and self._coming[0].stop <= offset:
            self._coming.popleft().give_up()
        if self._coming and self._coming[0].covers(offset):
            self._block_bytes = min(self._block_bytes * 2, BLOCK_BYTES_MAX)
            return self._coming.popleft()
        return None

    def _ask_ahead(self, position: int) -> None:
        if self._coming:
            position = self._coming[-1].stop
        far_bytes = self._far_bytes()
        while position < self._source.size:
            start, stop = self._borders(position, position + self._block_bytes)
            if len(self._coming) >= BLOCKS_AHEAD and stop - self._next > far_bytes:
                return
            given_up = threading.Event()
            fetched = self._submit(partial(self._fetch_ahead, start, stop, given_up))
            self._coming.append(_Block(start, stop, fetched, given_up))
            position = stop

    def _far_bytes(self) -> int:
        """How much may be asked for ahead because the source is far away."""
        delay = self._delay()
        if delay < FAR_SECONDS:
            return 0
        return min(FAR_BYTES, 2 * self._run_bytes, BLOCKS_AHEAD * BLOCK_BYTES_MAX + int(delay * _FAR_BYTES_PER_SECOND))

    def _submit(self, work: Callable[[], Any]) -> Future[Any]:
        return (_FAR if self._delay() >= FAR_SECONDS else _NEAR).submit(work)

    def _borders(self, start: int, stop: int) -> tuple[int, int]:
        return start - start % ALIGNMENT, min(-(-stop // ALIGNMENT) * ALIGNMENT, self._source.size)

    def _drop(self) -> None:
        for block in self._coming:
            block.give_up()
        self._coming.clear()
        self._run_bytes = 0
        self._block_bytes = BLOCK_BYTES_MIN

    def _fetch(self, start: int, stop: int) -> memoryview:
        data = memoryview(bytearray(stop - start))
        self._source.read_into(start, data)
        return data.toreadonly()

    def _fetch_ahead(self, start: int, stop: int, given_up: threading.Event) -> memoryview:
        with pauses.unless(given_up):
            return self._fetch(start, stop)

    def _read_direct(self, offset: int, target: memoryview) -> None:
        """Fills a large target with parallel pieces; the last one in the caller's own thread."""
        cuts = [*range(0, len(target), PIECE_BYTES), len(target)]
        # Inner cuts lie on borders of the file, whatever the offset is.
        cuts[1:-1] = [cut - (offset + cut) % ALIGNMENT for cut in cuts[1:-1]]
        pieces = [(offset + a, target[a:b]) for a, b in itertools.pairwise(cuts)]
        waiting = [self._submit(partial(self._source.read_into, *piece)) for piece in pieces[:-1]]
        try:
            self._source.read_into(*pieces[-1])
            for future, piece in zip(reversed(waiting), reversed(pieces[:-1]), strict=True):
                if future.cancel():  # as in `_taken`
                    self._source.read_into(*piece)
        finally:
            # Also after an error: nobody may write into the target once its owner has it back.
            failed = [error for future in waiting if not future.cancel() and (error := future.exception()) is not None]
        if failed:
            raise failed[0]


class _Pool:
    """Threads that fetch, made for each process at first use."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._lock = threading.Lock()
        self._threads: tuple[int, ThreadPoolExecutor] | None = None

    def submit(self, work: Callable[[], Any]) -> Future[Any]:
        with self._lock:
            if self._threads is None or self._threads[0] != os.getpid():
                self._threads = (os.getpid(), ThreadPoolExecutor(self._size, thread_name_prefix="fed-read"))
            threads = self._threads[1]
        try:
            return threads.submit(work)
        except RuntimeError:
            # The interpreter is ending and takes no more work; a thread of Arrow's may still be reading.
            return _now(work)


def _now(work: Callable[[], Any]) -> Future[Any]:
    done: Future[Any] = Future()
    try:
        done.set_result(work())
    except BaseException as error:  # noqa: BLE001 - it is the future's to raise
        done.set_exception(error)
    return done


class _OpenFiles:
    """Counts open files and reads, so that the interpreter does not end under a thread that reads.

    Threads of pyarrow go on reading through a Python file while the interpreter ends, and the process aborts (rc 134,
    apache/arrow#39162): a good job would have failed. Waits until files are closed, or have been idle for a moment.
    """

    IDLE_SECONDS = 0.5
    WAIT_SECONDS_MAX = 30.0

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._files = 0
        self._reads = 0
        self._last = 0.0
        self.hooks: list[Callable[[], None]] = []

    def add(self) -> None:
        with self._lock:
            self._files += 1

    def remove(self) -> None:
        with self._lock:
            self._files -= 1
            self._last = time.monotonic()

    def reading(self) -> _OpenFiles:
        return self

    def __enter__(self) -> None:
        with self._lock:
            self._reads += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._reads -= 1
            self._last = time.monotonic()

    def wait(self) -> None:
        """Returns when nobody reads any more, and whoever wanted to be told has been."""
        deadline = time.monotonic() + self.WAIT_SECONDS_MAX
        while time.monotonic() < deadline and self._busy():
            time.sleep(0.02)
        for hook in self.hooks:
            hook()

    def _busy(self) -> bool:
        with self._lock:
            return self._reads > 0 or (self._files > 0 and time.monotonic() - self._last < self.IDLE_SECONDS)


def at_rest(hook: Callable[[], None]) -> None:
    """Calls the hook when the interpreter ends and nobody reads any more."""
    _OPEN.hooks.append(hook)


_OPEN = _OpenFiles()
atexit.register(_OPEN.wait)
_NEAR, _FAR = _Pool(THREADS), _Pool(FAR_THREADS)
