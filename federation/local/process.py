"""One process of ours: started in a session of its own, recognised again after a restart of `fed`, ended with all its children.

A pid file holds the pid, the process's start time and the machine's boot: a pid that was given to a stranger since is never
taken for ours.
"""

from __future__ import annotations

import json
import signal
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from federation.core import errors
from federation.local import procfs

#: Children of this process, which may outlive it on purpose: kept, because Python warns when one that lives is forgotten.
_CHILDREN: list[subprocess.Popen[bytes]] = []
#: Several are started and looked at at once.
_CHILDREN_LOCK = threading.Lock()


@dataclass(frozen=True, kw_only=True)
class Record:
    """What a pid file says. `start_ticks` and `boot` name the process for good; `address` is where it listens.

    `settings` is a digest of what it was started with.
    """

    name: str
    pid: int
    start_ticks: int
    boot: str
    command: tuple[str, ...]
    address: str
    log: str
    settings: str = ""


class Process:
    """A process that is kept by its pid file in `folder`."""

    def __init__(self, *, name: str, folder: Path, log: Path, command: Sequence[str], address: str, settings: str = "") -> None:
        self.name = name
        self._settings = settings
        self.log = log
        self.address = address
        self._command = tuple(command)
        self._file = folder / f"{name.replace(' ', '-')}.json"

    @classmethod
    def recorded(cls, folder: Path) -> tuple[Process, ...]:
        """All that have a pid file in the folder, alive or dead."""
        found = []
        for file in sorted(folder.glob("*.json")):
            record = _read(file)
            if record is None:
                file.unlink(missing_ok=True)
            else:
                found.append(
                    cls(name=record.name, folder=folder, log=Path(record.log), command=record.command, address=record.address)
                )
        return tuple(found)

    def __repr__(self) -> str:
        return f"<Process {self.name} pid={self.pid()}>"

    def start(self) -> None:
        """Starts it unless it runs; what an earlier one left in its session is ended first."""
        if self.pid() is not None:
            return
        self.stop(grace_seconds=0)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._file.parent.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            child = subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, cwd=self._file.parent
            )
        with _CHILDREN_LOCK:
            _CHILDREN.append(child)
        self._write(child.pid)

    def pid(self) -> int | None:
        """Its pid while it lives, None otherwise."""
        _reap()
        record = _read(self._file)
        if record is None or record.boot != procfs.boot_id():
            return None
        stat = procfs.stat(record.pid)
        return record.pid if stat is not None and stat.start_ticks == record.start_ticks and stat.state != "Z" else None

    def is_outdated(self) -> bool:
        """Whether it runs with other settings than it would be started with now."""
        record = _read(self._file)
        return self.pid() is not None and record is not None and record.settings != self._settings

    def stop(self, *, grace_seconds: float = 15) -> None:
        """Asks it to end, kills what is left of its session after `grace_seconds`, and forgets it.

        Unavailable (STOP_FAILED) if even that leaves something.
        """
        leader = self.pid()
        if leader is not None and grace_seconds > 0:
            procfs.send(leader, signal.SIGTERM)
            self._await_none(grace_seconds)
        if not self._await_none(10, killing=True):
            raise errors.Unavailable(f"processes {self.session()} of {self.name} do not end", reason="STOP_FAILED")
        _reap()  # what ended while it was being looked at is a zombie still
        self._file.unlink(missing_ok=True)

    def session(self) -> tuple[int, ...]:
        """Pids of the process and of everything that it started and that still lives."""
        _reap()
        record = _read(self._file)
        if record is None or record.boot != procfs.boot_id():
            return ()
        return tuple(
            stat.pid
            for stat in procfs.every()
            if stat.session == record.pid and stat.start_ticks >= record.start_ticks and not procfs.is_over(stat.pid)
        )

    def last_lines(self, number: int = 5) -> tuple[str, ...]:
        """The end of its log."""
        try:
            return tuple(self.log.read_text(errors="replace").strip().splitlines()[-number:])
        except FileNotFoundError:
            return ()

    def _write(self, pid: int) -> None:
        stat = procfs.stat(pid)
        if stat is None:
            return
        record = Record(
            name=self.name,
            pid=pid,
            start_ticks=stat.start_ticks,
            boot=procfs.boot_id(),
            command=self._command,
            address=self.address,
            log=str(self.log),
            settings=self._settings,
        )
        temporary = self._file.with_suffix(".tmp")
        temporary.write_text(json.dumps(asdict(record)))
        temporary.replace(self._file)

    def _await_none(self, seconds: float, *, killing: bool = False) -> bool:
        """Whether nothing of the session is left in time. `killing` ends what there is, and what it still started meanwhile."""
        deadline = time.monotonic() + seconds
        while left := self.session():
            if time.monotonic() > deadline:
                return False
            for pid in left if killing else ():
                procfs.send(pid, signal.SIGKILL)
            time.sleep(0.05)
        return True


def _reap() -> None:
    """Takes note of children that have ended; they would stay zombies otherwise."""
    with _CHILDREN_LOCK:
        _CHILDREN[:] = [child for child in _CHILDREN if child.poll() is None]


def _read(file: Path) -> Record | None:
    """A pid file; None for none, or for one that a crash left half written."""
    try:
        data = json.loads(file.read_text())
        return Record(**{**data, "command": tuple(data["command"])})
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
