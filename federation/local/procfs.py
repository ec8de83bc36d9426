"""What Linux tells of processes in /proc, as far as ours are recognised and ended by it. Changes nothing but by `send`."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Stat:
    """What /proc tells of a process: `start_ticks` together with the pid names it for good until the machine restarts."""

    pid: int
    session: int
    state: str
    start_ticks: int


def boot_id() -> str:
    """Which start of the machine this is."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def every() -> Iterator[Stat]:
    """All processes of the machine, zombies too."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (found := stat(int(entry.name))) is not None:
            yield found


def stat(pid: int) -> Stat | None:
    """One process; None when it is gone."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return None
    # The second field is the program's name in parentheses, which may hold anything; see proc_pid_stat(5).
    fields = text[text.rindex(")") + 2 :].split()
    return Stat(pid=pid, state=fields[0], session=int(fields[3]), start_ticks=int(fields[19]))


def is_over(pid: int) -> bool:
    """Whether nothing of a process is left that could hold its ports: its threads may outlive the first of them by a moment."""
    found = stat(pid)
    try:
        return found is None or (found.state == "Z" and len(list(Path(f"/proc/{pid}/task").iterdir())) <= 1)
    except OSError:
        return True


def send(pid: int, number: signal.Signals) -> None:
    """Signals a process; does nothing when it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
