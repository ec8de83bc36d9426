"""Answers queries of people in a process of its own each, which is ended when it takes too long or more memory than it may.

A query can be made to run for ever and inside DataFusion nothing stops it; beside the server it must not run. A process starts
in a third of a second, which somebody who asks in SQL does not notice. What it is told goes through its standard input, since
the keys of an object store may be among it.
"""

from __future__ import annotations

import json
import resource
import selectors
import subprocess
import sys
import threading
from collections.abc import Mapping
from typing import Any

import pyarrow as pa
from deltalake import QueryBuilder

from federation.adapters.engine_embedded import DeltaFusionEngine
from federation.core import errors, maintenance, query
from federation.ports import RecordAnswer

#: What a process takes beside the query's own memory: code, threads' stacks, buffers of files.
_BASE_BYTES = 1024**3
#: What a process says once it has started: from then on the query's time is counted.
_READY = b"ready\n"
_START_SECONDS = 60.0
_RETRY_SECONDS = 2.0
#: How Rust, Arrow, Python and the C library say that there is no more memory.
_OUT_OF_MEMORY = (
    "memory allocation of",
    "malloc of size",
    "realloc of size",
    "MemoryError",
    "bad_alloc",
    "Cannot allocate memory",
)


class QueriesApart:
    """A `ports.RecordQueries` over the tables under `root`. So many `at_once`: others are told to come again."""

    def __init__(
        self,
        root: str,
        storage_options: Mapping[str, str] | None = None,
        *,
        memory_bytes: int = 1024**3,
        at_once: int = 2,
    ) -> None:
        self._root = root
        self._options = dict(storage_options or {})
        self._memory_bytes = memory_bytes
        self._places = threading.BoundedSemaphore(at_once)

    def ask(self, sql: str, *, rows_max: int, bytes_max: int, seconds: float) -> RecordAnswer:
        query.parse(sql)  # a statement that is none needs no process
        if not self._places.acquire(blocking=False):
            raise errors.Unavailable(
                "other queries are being answered",
                reason="QUERIES_BUSY",
                help="Ask again in a moment.",
                retry_seconds=_RETRY_SECONDS,
            )
        try:
            return self._ask({"sql": sql, "rows_max": rows_max, "bytes_max": bytes_max}, seconds)
        finally:
            self._places.release()

    def _ask(self, question: dict[str, Any], seconds: float) -> RecordAnswer:
        told = question | {"root": self._root, "options": self._options, "memory_bytes": self._memory_bytes}
        with subprocess.Popen(
            [sys.executable, "-m", __name__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process:
            try:
                stdin, stdout = process.stdin, process.stdout
                if stdin is None or stdout is None:
                    raise AssertionError("both were asked for")
                with selectors.DefaultSelector() as ready:
                    ready.register(stdout, selectors.EVENT_READ)
                    began = bool(ready.select(_START_SECONDS)) and stdout.readline() == _READY
                if not began:
                    process.kill()
                    raise _failed(process.communicate()[1])
                output, complaint = process.communicate(json.dumps(told).encode(), timeout=seconds)
            except subprocess.TimeoutExpired:
                raise maintenance.query_too_slow(seconds) from None
            finally:
                process.kill()
        head, _, stream = output.partition(b"\n")
        if process.returncode or not head:
            raise _failed(complaint)
        answer = json.loads(head)
        if error := answer.get("error"):
            raise getattr(errors, error.pop("kind"))(error.pop("message"), **error)
        return RecordAnswer(stream=stream, rows=answer["rows"], complete=answer["complete"])


def _failed(complaint: bytes) -> errors.FederationError:
    """What became of a process that gave no answer: it met the bound on its memory, or could not run at all."""
    text = complaint.decode(errors="replace")
    if any(mark in text for mark in _OUT_OF_MEMORY):
        return maintenance.query_too_large()
    last = (text.strip().splitlines() or ["it said nothing"])[-1]
    return errors.Unavailable(f"the process for a query failed: {last}", reason="QUERIES_FAILED", help="See the server's log.")


def _answer(question: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
    """What the process finds: a head, and the rows as an Arrow IPC stream."""
    engine = DeltaFusionEngine(question["root"], question["options"], memory_bytes=question["memory_bytes"])
    rows_max = question["rows_max"]
    try:
        found = engine.query(question["sql"], limit=rows_max + 1)
    except errors.FederationError as error:
        told = {"kind": type(error).__name__, "message": error.message, "reason": error.reason, "help": error.help}
        return {"error": told | {"metadata": dict(error.metadata), "violations": dict(error.violations)}}, b""
    kept = _within(found.slice(0, rows_max), question["bytes_max"])
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, kept.schema) as writer:
        writer.write_table(kept)
    return {"rows": kept.num_rows, "complete": kept.num_rows == found.num_rows}, sink.getvalue().to_pybytes()


def _within(table: pa.Table, bytes_max: int) -> pa.Table:
    """As many of the first rows as do not come to more bytes."""
    low, high = 0, table.num_rows
    while low < high:
        middle = (low + high + 1) // 2
        if table.slice(0, middle).nbytes <= bytes_max:
            low = middle
        else:
            high = middle - 1
    return table.slice(0, low)


def main() -> None:
    """The process: one question from standard input, its answer to standard output."""
    QueryBuilder().execute("SELECT 1").read_all()  # the first takes longer: it starts DataFusion
    sys.stdout.buffer.write(_READY)
    sys.stdout.buffer.flush()
    question = json.loads(sys.stdin.buffer.read())
    bound = question["memory_bytes"] + _BASE_BYTES
    resource.setrlimit(resource.RLIMIT_DATA, (bound, bound))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    head, stream = _answer(question)
    sys.stdout.buffer.write(json.dumps(head).encode() + b"\n" + stream)


if __name__ == "__main__":
    main()
