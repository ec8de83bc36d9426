"""What the peers of benchmarks share: how one is ended."""

from __future__ import annotations

import signal
import subprocess
from typing import Any


def end(process: subprocess.Popen[Any]) -> None:
    """By SIGTERM, and by SIGKILL if that takes longer than 10 s."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
