"""Ends what a test process leaves behind, however it ends, kill -9 included: federations, jobs, databases, whatever it started.

Parts of a federation outlive whoever started them; that is their nature, and in a test it is a leak. A guardian in a session of
its own waits at a pipe whose other end only the test process holds: when that is closed, the guardian kills every process that
works in the folder of the tests, or whose environment names it. The shared Ray clusters have a guardian of their own.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from federation.local import procfs

#: What the guardian of the Ray clusters ends, gently, and later.
_NOT_OURS = "ray-pair"
_ROUNDS = 20


@contextmanager
def over(folder: Path) -> Iterator[None]:
    """Nothing that belongs to the folder outlives this process, or the block."""
    # In a session of its own, so that whoever kills this process's group leaves it alive.
    guardian = subprocess.Popen(
        [sys.executable, "-m", "tests.guard", str(folder)],
        cwd=Path(__file__).parent.parent,
        stdin=subprocess.PIPE,
        start_new_session=True,
    )
    with guardian:
        yield


def _end_all(folder: Path) -> None:
    """Kills, and looks again: what is about to be started by one that is killed comes a moment later."""
    for _ in range(_ROUNDS):
        found = [process.pid for process in procfs.every() if process.state != "Z" and _belongs(process.pid, folder)]
        if not found:
            return
        for pid in found:
            procfs.send(pid, signal.SIGKILL)
        time.sleep(0.05)


def _belongs(pid: int, folder: Path) -> bool:
    if pid == os.getpid():
        return False
    try:
        places = [os.readlink(f"/proc/{pid}/cwd")]
        variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    places += [variable.partition(b"=")[2].decode(errors="replace") for variable in variables]
    return any(_is_below(place, folder) for place in places)


def _is_below(place: str, folder: Path) -> bool:
    return place.startswith(f"{folder}/") and not place.startswith(f"{folder / _NOT_OURS}/")


if __name__ == "__main__":
    sys.stdin.buffer.read()
    _end_all(Path(sys.argv[1]))
