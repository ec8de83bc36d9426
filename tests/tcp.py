"""Ports for parts that bind them later, in another process, and again after they were killed.

A port that the kernel picks is free at that moment. Until its part binds it, and whenever the part is down, the kernel may give
it to any connection that goes out. These come from below the kernel's range, and whoever was given one holds a lock on it for
as long as the test process lives.
"""

from __future__ import annotations

import fcntl
import os
import secrets
import socket
import tempfile
from pathlib import Path

#: From there the shared Ray clusters have theirs (`tests.ray_pair`).
_END = 22_000
_START = 10_000


def free_ports(count: int) -> list[int]:
    """So many ports of 127.0.0.1 that nobody listens on, and that no other test process is given."""
    found: list[int] = []
    while len(found) < count:
        port = _START + secrets.randbelow(_END - _START)
        if _held(port):
            found.append(port)
    return found


def _held(port: int) -> bool:
    """Whether the port is ours from now on."""
    folder = Path(tempfile.gettempdir()) / f"fed-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder / str(port), os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", port))
    except OSError:
        os.close(lock)
        return False
    return True  # the lock is never closed
