"""Starts a job's entrypoint with the way to its data, passes on what it prints, and says how it ended.

`python -m federation.worker.launch -- COMMAND ...` is what a site's cluster really runs. The one-time ticket is exchanged
here; the token goes to the entrypoint's environment and to the cluster's own store alone. The outputs are committed by the
gateway, when this process has told it that the entrypoint ended with 0: a job is only as successful as that commit.
"""

from __future__ import annotations

import contextlib
import os
import queue
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from types import FrameType
from typing import IO, Any, NamedTuple, Self

from federation import config, secrecy, traces
from federation.core import errors, units
from federation.environment import GRPC_QUIET
from federation.v1 import gateway_pb2
from federation.wire import gateway as gateways
from federation.wire.pauses import persistent
from federation.worker import cluster, environment, lastword

#: How long the end of a run is told to a gateway that is away: longer than any restart.
FINISH_SECONDS = 600
#: What is printed goes to the gateway in batches of at most this size and age.
BATCH_BYTES = 256 * 1024
BATCH_SECONDS = 0.5
LOG_BYTES_MAX = 16 << 20
#: A child of the entrypoint that outlives it may hold its output open; it is listened to for so long.
_LINGER_SECONDS = 2.0
_PIPE_BYTES = 64 * 1024
_DETAIL_CHARS = 300
_TAIL_BYTES = 64 * 1024
#: As shells do: a command that is not there, one that cannot be run, one that a signal ended.
_NOT_FOUND, _NOT_RUNNABLE, _SIGNALLED = 127, 126, 128
#: Ray's errors in a traceback when something of the job in the cluster is gone. Only a hint: the agent asks the cluster.
_WORKERS_LOST = re.compile(
    rb"ray\.exceptions\.(ActorDied|ActorUnavailable|RayActor|NodeDied|WorkerCrashed|LocalRayletDied"
    rb"|ObjectLost|ObjectFetchTimedOut|OwnerDied|ObjectReconstructionFailed)\w*Error"
)
_FAILED = 1


def main(argv: list[str]) -> int:
    """Runs the command and returns the exit code of it all: the command's, or 1 when its outputs were not committed."""
    secrecy.keep()
    command = argv[1:] if argv[:1] == ["--"] else argv
    variables = config.environment()
    traces.configure("federation-run", variables)
    with traces.span("run", parent=variables.get(environment.TRACEPARENT, ""), fed_run=variables.get(environment.RUN, "")):
        return _launch(command, variables)


def _launch(command: list[str], variables: Mapping[str, str]) -> int:
    out = sys.stdout.buffer
    try:
        limit = int(variables.get(environment.LOG_BYTES_MAX) or LOG_BYTES_MAX)
        connection = _connect(variables)
    except errors.FederationError as error:
        _say(out, f"the entrypoint was not started: {error}")
        return _FAILED
    client = connection.client()
    with _Log(client, out, limit) as log, _published(connection, log), _place_of_last_word() as place:
        end = _run(command, {**_child_environment(variables, connection), lastword.VARIABLE: str(place or "")}, log)
        if end.code and place and (said := lastword.read(place)):
            end = end._replace(reason=said.reason, detail=f"the entrypoint ended with exit code {end.code}: {said.detail}")
    return _finish(client, end, out)


def _connect(variables: Mapping[str, str]) -> environment.Connection:
    """Exchanges the ticket. The nonce is made here and kept in no environment, so that nobody else can ask again."""
    target, ca = environment.required(variables, environment.GATEWAY), environment.ca(variables)
    ticket = environment.required(variables, environment.TICKET)
    answer = gateways.GatewayClient(target, ca).exchange_ticket(ticket, secrets.token_hex(16))
    return environment.Connection(
        gateway=target,
        run=answer.run,
        ca=ca,
        token=answer.token,
        inputs=tuple(map(_binding, answer.inputs)),
        outputs=tuple(map(_binding, answer.outputs)),
        traceparent=traces.current() or variables.get(environment.TRACEPARENT, ""),
    )


def _binding(told: gateway_pb2.Binding) -> environment.Binding:
    return environment.Binding(
        alias=told.alias, dataset=told.dataset, version=told.version, column_classes=tuple(told.column_classes)
    )


@contextlib.contextmanager
def _place_of_last_word() -> Iterator[Path | None]:
    """A file of this run's own; None where there is no room for one, which ends nothing."""
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="fed-run-"))
        except OSError:
            yield None
        else:
            yield Path(folder, "last-word")


def _child_environment(variables: Mapping[str, str], connection: environment.Connection) -> dict[str, str]:
    own = {environment.TICKET, environment.LOG_BYTES_MAX}
    kept = {key: value for key, value in variables.items() if key not in own}
    return GRPC_QUIET | kept | connection.variables()


class _End(NamedTuple):
    """How the entrypoint ended: its exit code, as shells tell it; a reason and a sentence when it is not 0."""

    code: int
    reason: str = ""
    detail: str = ""


def _run(command: list[str], variables: dict[str, str], log: _Log) -> _End:
    try:
        # In this process's group, so that whoever kills the group leaves nothing behind.
        child = subprocess.Popen(
            command, env=variables, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, bufsize=0
        )
    except (OSError, ValueError, IndexError) as error:
        missing = isinstance(error, FileNotFoundError)
        return _failed(_NOT_FOUND if missing else _NOT_RUNNABLE, f"the entrypoint could not be started: {error}")
    with child, _forwarding(child):
        assert child.stdout is not None
        pump = threading.Thread(target=_pump, args=(child.stdout.fileno(), log), daemon=True)
        pump.start()
        code = child.wait()
        pump.join(_LINGER_SECONDS)
    if code < 0:
        return _failed(_SIGNALLED - code, f"the entrypoint was ended by {_signal_name(-code)}")
    if code == 0:
        return _End(0)
    end = _failed(code, f"the entrypoint ended with exit code {code}{log.last_line()}")
    return end._replace(reason="WORKERS_LOST") if _WORKERS_LOST.search(log.tail()) else end


def _failed(code: int, detail: str) -> _End:
    return _End(code, "ENTRYPOINT_FAILED", detail)


def _pump(pipe: int, log: _Log) -> None:
    # The pipe is closed under this thread when the entrypoint has ended and something that it started holds on to it.
    with contextlib.suppress(OSError):
        while data := os.read(pipe, _PIPE_BYTES):
            log.write(data)


@contextlib.contextmanager
def _forwarding(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Hands SIGTERM and SIGINT on to the entrypoint, and goes on waiting for it."""

    def forward(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    before = {number: signal.signal(number, forward) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _published(connection: environment.Connection, log: _Log) -> Iterator[None]:
    """Puts the connection where the job's Ray workers find it, while the block goes on; a run that has ended leaves it there.

    By then it opens nothing: a gateway refuses the token of a run that is over.
    """
    if not cluster.present():
        yield
        return
    command = [sys.executable, "-m", cluster.__name__]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as publisher:
        assert publisher.stdin is not None
        with publisher.stdin, contextlib.suppress(BrokenPipeError):
            publisher.stdin.write(connection.to_json().encode())
        publisher.stdin = None
        try:
            yield
        finally:
            # What ended before Ray had started needed nothing from there.
            if publisher.poll() is None:
                publisher.kill()
            complaint = publisher.communicate()[1].decode(errors="replace").strip()
            if publisher.returncode > 0:
                log.write(
                    f"federation: Ray workers of this job could not read its data: {complaint[-_DETAIL_CHARS:]}\n".encode()
                )


def _finish(client: gateways.GatewayClient, end: _End, out: IO[bytes]) -> int:
    try:
        versions = persistent(
            lambda: client.finish_attempt(end.code, reason=end.reason, detail=end.detail),
            seconds=FINISH_SECONDS,
            passing=(errors.Unavailable, errors.DeadlineExceeded),
        )
    except errors.FederationError as error:
        _say(out, f"{'the outputs were not committed' if end.code == 0 else 'the end could not be reported'}: {error}")
        return end.code or _FAILED
    if versions:
        _say(out, f"committed {', '.join(versions)}")
    elif end.code:
        _say(out, end.detail)
    return end.code


class _Log:
    """What the entrypoint prints: to this process's own output, and in batches to the gateway.

    Of more than `bytes_max` the first are kept and the last `_TAIL_BYTES`, where errors stand; the entrypoint never waits
    for it.
    """

    def __init__(self, client: gateways.GatewayClient, out: IO[bytes], bytes_max: int) -> None:
        self._client = client
        self._out = out
        self._left = bytes_max
        self._dropped = 0
        self._tail = b""
        self._queue: queue.Queue[bytes | None] = queue.Queue()
        self._sender = threading.Thread(target=self._send, daemon=True)

    def __enter__(self) -> Self:
        self._sender.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._dropped:
            tail = self._tail[-min(self._dropped, len(self._tail)) :]
            self._pass_on(f"\n... {units.size(self._dropped - len(tail))} were printed here and not kept ...\n".encode() + tail)
        self._queue.put(None)
        self._sender.join()

    def write(self, data: bytes) -> None:
        """Takes some output."""
        self._tail = (self._tail + data)[-_TAIL_BYTES:]
        kept = data[: self._left]
        self._left -= len(kept)
        self._dropped += len(data) - len(kept)
        if kept:
            self._pass_on(kept)

    def last_line(self) -> str:
        """The last line that was printed, to be put behind a sentence."""
        lines = self._tail[-_DETAIL_CHARS:].decode(errors="replace").strip().splitlines()
        return f"; it said last: {lines[-1].strip()}" if lines else ""

    def tail(self) -> bytes:
        """The last that was printed, some 64 KiB."""
        return self._tail

    def _pass_on(self, data: bytes) -> None:
        self._queue.put(data)
        self._out.write(data)
        self._out.flush()

    def _send(self) -> None:
        over = False
        while not over:
            batch, over = self._batch()
            try:
                if batch:
                    persistent(partial(self._client.append_logs, batch))
            except errors.FederationError as error:
                # A superseded attempt, or a gateway that is gone for good: the entrypoint's own end will tell.
                _say(self._out, f"what follows is not in the job's log: {error}")
                return

    def _batch(self) -> tuple[list[bytes], bool]:
        """The output that came within a moment, and whether that was the end of it."""
        piece = self._queue.get()
        batch: list[bytes] = []
        deadline = time.monotonic() + BATCH_SECONDS
        while piece is not None:
            batch.append(piece)
            if sum(map(len, batch)) >= BATCH_BYTES:
                return batch, False
            try:
                piece = self._queue.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                return batch, False
        return batch, True


def _say(out: IO[bytes], line: str) -> None:
    out.write(f"federation: {line}\n".encode())
    out.flush()


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"


def _entry(argv: list[str]) -> Any:
    sys.exit(main(argv))


if __name__ == "__main__":
    _entry(sys.argv[1:])
