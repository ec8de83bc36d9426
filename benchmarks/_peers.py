"""What the peers of benchmarks share: an environment of its own for each, and how one is ended."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from typing import Any


def environment(cache: Path, version: str, *wanted: str) -> Path:
    """The interpreter of a peer's environment in `cache`, with these packages from PyPI; made anew for each version."""
    folder = cache.expanduser()
    python, done = folder / "bin" / "python", folder / f"{version}.done"
    if not done.exists():
        print(f"installing {', '.join(wanted)} in {folder} ...", file=sys.stderr, flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(folder)], check=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *wanted], check=True)
        done.touch()
    return python


def end(process: subprocess.Popen[Any]) -> None:
    """By SIGTERM, and by SIGKILL if that takes longer than 10 s."""
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(10)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
