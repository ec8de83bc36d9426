"""Names from the running catalog for a shell that waits: by a child process, which is killed when time is up.

So nothing that hangs makes a person wait: no lookup of a name, no handshake, no server. The child begins to load what it needs
at once, while its parent still finds out what the line wants; and it says nothing to anybody.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import select
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from federation.environment import environment

#: From the process's start to the answer.
MILLISECONDS = 300
#: What is left for printing when names are given up.
_RESERVE_SECONDS = 0.03


@dataclass(frozen=True, kw_only=True)
class _Child:
    """A process that waits for a question, and answers it once."""

    pid: int
    questions: int
    answers: int


def ask(kind: str, begun: str, context: str) -> tuple[list[str], bool]:
    """What there is of a kind that begins so, in the catalog of a context or the current one; and whether there is more.

    Nothing where that cannot be had in time. A process asks once: a line has one word that is completed.
    """
    child = start()
    if child is None:
        return [], False
    try:
        os.write(child.questions, json.dumps([kind, begun, context]).encode() + b"\n")
        names, more = json.loads(b"".join(_pieces(child.answers)))
    except (OSError, ValueError):
        return [], False
    return names, more


@functools.cache
def start() -> _Child | None:
    """The child; None where there is no time for one."""
    if _left() <= 0:
        return None
    reading, questions = os.pipe()
    answers, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(questions)
        os.close(answers)
        with contextlib.suppress(BaseException):
            _answer(reading, writing)
        os._exit(0)
    os.close(reading)
    os.close(writing)
    return _Child(pid=pid, questions=questions, answers=answers)


def end() -> None:
    """Kills the child, whatever it does."""
    child = start() if start.cache_info().currsize else None
    if child is not None:
        os.kill(child.pid, signal.SIGKILL)
        os.waitpid(child.pid, 0)


def _pieces(pipe: int) -> Iterator[bytes]:
    """What is written into a pipe until it is closed; nothing more when time is up."""
    while select.select([pipe], [], [], max(0.0, _left()))[0]:
        piece = os.read(pipe, 1 << 16)
        if not piece:
            return
        yield piece


def _answer(reading: int, writing: int) -> None:
    """In the child."""
    nowhere = os.open(os.devnull, os.O_RDWR)
    for stream in (0, 1, 2):
        os.dup2(nowhere, stream)
    from federation import contexts  # noqa: PLC0415 - in the child alone
    from federation.wire import names  # noqa: PLC0415 - gRPC takes a tenth of a second

    with os.fdopen(reading, "rb") as questions:
        line = questions.readline()
    kind, begun, context = json.loads(line)
    if kind == "context":
        known = (row.context for row in contexts.contexts().contexts)
        told = names.Told(names=tuple(name for name in known if name.startswith(begun)))
    else:
        settings = contexts.client(context)
        bearer = settings.token or (_signed_in(settings.signed_in) if settings.signed_in else "")
        server = names.Server(target=settings.target, ca=settings.ca, bearer=bearer)
        told = names.ask(server, kind, begun, max(0.0, _left()))
    with os.fdopen(writing, "wb") as answers:
        answers.write(json.dumps([told.names, told.more]).encode())


def _signed_in(path: Path) -> str:
    """The bearer of a sign-in. One that is over is shown as it is: to refresh it and be killed would end the sign-in."""
    from federation import files  # noqa: PLC0415 - as above

    return str(json.loads(files.read_secret(path, "sign-in"))["bearer"])


def _left() -> float:
    return _begun() + _seconds() - _RESERVE_SECONDS - time.monotonic()


def _seconds() -> float:
    try:
        return float(environment().get("FED_COMPLETION_MS") or MILLISECONDS) / 1000
    except ValueError:
        return MILLISECONDS / 1000


@functools.cache
def _begun() -> float:
    """When this process began, on the monotonic clock: where the system does not tell, when this was first asked."""
    now = time.monotonic()
    with contextlib.suppress(OSError, ValueError, IndexError, AttributeError):
        ticks = int(Path("/proc/self/stat").read_text().rpartition(")")[2].split()[19])
        age = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return now - age if 0 <= age < 60 else now
    return now
