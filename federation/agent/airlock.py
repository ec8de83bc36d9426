"""Reads the footers of untrusted files in a process of its own: a crafted footer can crash whoever parses it.

The process gets the bytes of a Parquet footer, of a CSV file's head or of a small Parquet file through its standard input, and
answers with rows and columns, or with the least value of one. It opens no file, may take so much memory and leaves no core, and
is killed when an answer takes too long; the next question starts another. One process serves an agent's ingests, one question
at a time: a footer takes well under a millisecond, a new process a third of a second.
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
import pyarrow.compute
import pyarrow.csv
import pyarrow.parquet

_log = logging.getLogger(__name__)

#: A footer or head beyond this is not looked into.
LOOK_BYTES_MAX = 16 << 20
#: A column's name beside a file.
_NAME_BYTES_MAX = 2048
#: What the process may take: its code, its question, and what a decoder makes of it.
_MEMORY_BYTES = 2 << 30
_ANSWER_BYTES_MAX = 16 << 20
#: Until an answer is there, with the start of a process where one is needed.
_SECONDS = 20.0
_LENGTH = 8
_BATCH_ROWS = 65_536
_PARQUET, _CSV, _LEAST = b"P", b"C", b"L"
_MAGIC = b"PAR1"


@dataclass(frozen=True, kw_only=True)
class Look:
    """What a file tells of itself: rows (-1 where it does not say), and its columns' names and types."""

    rows: int = -1
    columns: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, kw_only=True)
class Least:
    """How many rows a file has, and the least value of a column in them; 0 where there are none."""

    rows: int
    least: int


class Airlock:
    """Asks that process, which is started when it is first needed. Threads take turns."""

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

    def least(self, column: str, file: bytes) -> Least | None:
        """The least value of a column of a Parquet file.

        None where it is no such file, has no such column of whole numbers, or a null in it.
        """
        name = column.encode()
        told = self._told(_LEAST, len(name).to_bytes(_LENGTH, "big") + name + file)
        return None if told is None else Least(rows=told["rows"], least=told["least"])

    def close(self) -> None:
        """Ends the process; a later question starts another."""
        with self._lock:
            self._end()

    def _ask(self, kind: bytes, data: bytes) -> Look | None:
        told = self._told(kind, data)
        if told is None:
            return None
        return Look(rows=told["rows"], columns=tuple((name, type_) for name, type_ in told["columns"]))

    def _told(self, kind: bytes, data: bytes) -> Any:
        if len(data) > LOOK_BYTES_MAX + _NAME_BYTES_MAX:
            return None
        with self._lock:
            try:
                return json.loads(self._exchange(kind, data))
            except (OSError, EOFError, ValueError, TimeoutError) as error:
                _log.warning("a file ended the process that looked into it (%s); it is taken as one that cannot be read", error)
                self._end()
                return None

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
    """Exactly that many bytes; EOFError where the other side has ended."""
    data = bytearray()
    while len(data) < size:
        piece = stream.read(size - len(data))
        if not piece:
            raise EOFError("it ended without an answer")
        data += piece
    return bytes(data)


def look(kind: bytes, data: bytes) -> dict[str, Any] | None:
    """Answers one question, inside the process."""
    try:
        if kind == _PARQUET:
            # A footer tells where its pages are; whether they are there is not looked at.
            whole = _MAGIC + data + len(data).to_bytes(4, "little") + _MAGIC
            footer = pa.parquet.read_metadata(pa.BufferReader(whole))
            return {"rows": int(footer.num_rows), "columns": list(_described(footer.schema.to_arrow_schema()))}
        if kind == _LEAST:
            size = int.from_bytes(data[:_LENGTH], "big")
            return _least(data[_LENGTH : _LENGTH + size].decode(), data[_LENGTH + size :])
        next(csv.reader(io.StringIO(data[:65_536].decode())))
        return {"rows": -1, "columns": list(_described(pa.csv.read_csv(io.BytesIO(data)).schema))}
    except (pa.ArrowException, OSError, ValueError, csv.Error, StopIteration, MemoryError):
        return None


def _least(column: str, file: bytes) -> dict[str, Any] | None:
    reader = pa.parquet.ParquetFile(pa.BufferReader(file))
    kind = reader.schema_arrow
    if len(kind.get_all_field_indices(column)) != 1 or not pa.types.is_integer(kind.field(column).type):
        return None
    rows, least = 0, None
    # Piece by piece, and each value that is there: what a file says of its own least values is not believed.
    for batch in reader.iter_batches(columns=[column], batch_size=_BATCH_ROWS):
        values = batch.column(0)
        if values.null_count:
            return None
        rows += len(values)
        found = pa.compute.min(values).as_py()
        least = found if least is None or (found is not None and found < least) else least
    return {"rows": rows, "least": least or 0}


def _described(fields: Iterable[pa.Field]) -> Iterator[tuple[str, str]]:
    seen: set[str] = set()
    for field in fields:
        if field.name not in seen:
            seen.add(field.name)
            yield field.name, str(field.type)


def serve(questions: BinaryIO, answers: BinaryIO) -> None:
    """Answers questions until the other side closes, inside the process."""
    while kind := questions.read(1):
        data = _exactly(questions, int.from_bytes(_exactly(questions, _LENGTH), "big"))
        answer = json.dumps(look(kind, data)).encode()
        answers.write(len(answer).to_bytes(_LENGTH, "big") + answer)
        answers.flush()


def main() -> None:
    """The process itself: its memory and its files are limited before it reads anything."""
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
