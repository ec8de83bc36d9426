"""Keeps what is in this process's memory there: no core file, and nobody of the same user may look into it.

Each process that holds keys calls `keep` once, at its start: an agent, the catalog (which signs), a job's launcher, whatever in
a job opens data, and commands of `fed` that open data, keyrings, custodians' keys or the catalog's own. It holds for this
process alone: a program that it starts begins anew.
"""

from __future__ import annotations

import contextlib
import ctypes
import resource
import sys

_PR_SET_DUMPABLE = 4


def keep() -> None:
    """From now on this process leaves no core file, and on Linux its memory is root's alone to read.

    PR_SET_DUMPABLE 0 (prctl(2)): no core dump at all, not to a pipe either, which RLIMIT_CORE 0 would not keep from being made;
    /proc/PID/mem, environ and maps belong to root, and ptrace needs its rights. What tells processes apart (/proc/PID/stat,
    cmdline) is as before. On other systems the limit on core files is all there is.
    """
    with contextlib.suppress(OSError, ValueError):  # it was lower already
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if not sys.platform.startswith("linux"):
        return
    libc = ctypes.CDLL(None, use_errno=True)
    # A sandbox may forbid the call; the limit above stands then.
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
