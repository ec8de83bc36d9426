"""Named points at which a process can be made to die, so that recovery can be tried for real. Inert unless armed.

Armed by `FED_FAILPOINT=name` and `FED_FAILPOINT_ONCE=file`: the process that first reaches the point creates the file and kills
itself with SIGKILL; every later one finds the file and goes on.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

_ARMED = os.environ.get("FED_FAILPOINT", "")  # noqa: TID251 - read once; a failpoint has no settings object to come by
_ONCE = os.environ.get("FED_FAILPOINT_ONCE", "")  # noqa: TID251


def hit(name: str) -> None:
    """Dies here, once, if this point is armed."""
    if not _ARMED or name != _ARMED:
        return
    try:
        Path(_ONCE).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)
