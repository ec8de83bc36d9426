"""Looks into strangers' files in a process of its own, which may die of what it sees: a crafted footer can end its reader.

The process gets the bytes of a Parquet footer or of a CSV file's head through its standard input, and answers with rows and
columns. It opens no file, may take so much memory and leaves no core, and is killed when an answer takes too long; the next
question starts another. One process serves an agent's ingests, one question at a time: a footer takes well under a
millisecond, a new process a third of a second.
"""

from __future__ import annotations

import csv
import io
import json
import logging
import resource
import selectors
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, BinaryIO

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

_log = logging.getLogger(__name__)

#: A footer or head beyond this is not looked into.
LOOK_BYTES_MAX = 16 << 20
#: What the process may take: its code, its question, and what a decoder makes of it.
_MEMORY_BYTES = 2 << 30
_ANSWER_BYTES_MAX = 16 << 20
#: Until an answer is there, with the start of a process where one is needed.
_SECONDS = 20.0
_LENGTH = 8
_PARQUET, _CSV = b"P", b"C"
_MAGIC = b"PAR1"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a file tells of itself: rows (-1 where it does not say), and its columns' names and types."""

    rows: int = -1
    columns: tuple[tuple[str, str], ...] = ()


class Airlock:
    """Answers questions by a process that is started when it is first needed. Threads take turns."""

    def __init__(self, *, seconds: float = _SECONDS, memory_bytes: int = _MEMORY_BYTES) -> None:
        self._seconds = seconds
        self._memory_bytes = memory_bytes
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None

    def parquet(self, footer: bytes) -> Look | None:
        """What a Parquet footer tells, without the eight bytes after it; None for one that cannot be read, or that kills."""
        return self._ask(_PARQUET, footer)

    def csv(self, head: bytes) -> Look | None:
        """What whole first lines of a CSV file tell; None where they are none."""
        return self._ask(_CSV, head)

    def close(self) -> None:
        """Ends the process; a later question starts another."""
        with self._lock:
            self._end()

    def _ask(self, kind: bytes, data: bytes) -> Look | None:
        if len(data) > LOOK_BYTES_MAX:
            return None
        with self._lock:
            try:
                told = json.loads(self._exchange(kind, data))
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                _log.warning("a file ended the process that looked into it (%s); it is taken as one that cannot be read", error)
                self._end()
                return None
        if told is None:
            return None
        return Look(rows=told["rows"], columns=tuple((name, type_) for name, type_ in told["columns"]))

    def _exchange(self, kind: bytes, data: bytes) -> bytes:
        process = self._started()
        stdin, stdout = process.stdin, process.stdout
        if stdin is None or stdout is None:
            raise AssertionError("both were asked for")
        stdin.write(kind + len(data).to_bytes(_LENGTH, "big") + data)
        stdin.flush()
        with selectors.DefaultSelector() as ready:
            ready.register(stdout, selectors.EVENT_READ)
            if not ready.select(self._seconds):
                raise TimeoutError(f"no answer within {self._seconds} s")
        size = int.from_bytes(_exactly(stdout, _LENGTH), "big")
        if size > _ANSWER_BYTES_MAX:
            raise ValueError(f"its answer would be {size} bytes long")
        return _exactly(stdout, size)

    def _started(self) -> subprocess.Popen[bytes]:
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, "-m", __name__, str(self._memory_bytes)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                bufsize=0,
            )
        return self._process

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                stream.close()


def _exactly(stream: Any, size: int) -> bytes:
    """So many bytes; EOFError where the other side has ended."""
    data = bytearray()
    while len(data) < size:
        piece = stream.read(size - len(data))
        if not piece:
            raise EOFError("it ended without an answer")
        data += piece
    return bytes(data)


def look(kind: bytes, data: bytes) -> dict[str, Any] | None:
    """The process's side of a question."""
    try:
        if kind == _PARQUET:
            # A footer tells where its pages are; whether they are there is not looked at.
            whole = _MAGIC + data + len(data).to_bytes(4, "little") + _MAGIC
            footer = pa.parquet.read_metadata(pa.BufferReader(whole))
            return {"rows": int(footer.num_rows), "columns": list(_described(footer.schema.to_arrow_schema()))}
        next(csv.reader(io.StringIO(data[:65_536].decode())))
        return {"rows": -1, "columns": list(_described(pa.csv.read_csv(io.BytesIO(data)).schema))}
    except (pa.ArrowException, OSError, ValueError, csv.Error, StopIteration, MemoryError):
        return None


def _described(fields: Iterable[pa.Field]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for field in fields:
        if field.name not in seen:
            seen.add(field.name)
            yield field.name, str(field.type)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answers until there is nobody who asks."""
    while kind := questions.read(1):
        data = _exactly(questions, int.from_bytes(_exactly(questions, _LENGTH), "big"))
        answer = json.dumps(look(kind, data)).encode()
        answers.write(len(answer).to_bytes(_LENGTH, "big") + answer)
        answers.flush()


def main() -> None:
    """The process: bounded before it sees anything."""
    bounds = {
        resource.RLIMIT_DATA: int(sys.argv[1]),
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,
        resource.RLIMIT_NOFILE: 64,
    }
    pa.set_cpu_count(1)
    for what, most in bounds.items():
        resource.setrlimit(what, (most, most))
    serve(sys.stdin.buffer, sys.stdout.buffer)


if __name__ == "__main__":
    main()
