"""What runs print, kept in bounds: the first half of what is allowed, and the newest of the rest. What lay between is marked.

A run's log is a folder of segments named by the position of their first byte in all that was printed, so that a gap tells
itself.
"""

from __future__ import annotations

import re
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

from federation.core import errors

_SEGMENT = re.compile(r"[0-9]{16}\.log")
PIECE = 256 * 1024


class Logs:
    """The logs of this site's runs. Of each at most `bytes_max` are kept."""

    def __init__(self, folder: Path, *, bytes_max: int) -> None:
        self._folder = folder
        self._head_bytes = max(bytes_max // 2, 1)
        self._segment_bytes = max(bytes_max // 4, 1)
        self._lock = threading.Lock()
        self._news = threading.Condition()

    def append(self, run: str, data: bytes) -> int:
        """Adds what a run printed; returns how many bytes of its log are kept."""
        with self._lock:
            folder = self._of(run)
            try:
                folder.mkdir(parents=True, exist_ok=True)
                while data:
                    data = self._append_some(folder, data)
            except OSError as error:
                raise errors.ResourceExhausted(
                    f"the log of {run} cannot be written: {error.strerror}",
                    reason="STORAGE_FULL",
                    help="Make room on the disk of the agent's state folder.",
                ) from error
            kept = sum(path.stat().st_size for path in _segments(folder))
        with self._news:
            self._news.notify_all()
        return kept

    def read(self, run: str, position: int) -> tuple[bytes, int]:
        """What is kept from a position on, at most a piece, and the position behind it. A gap is told of in words."""
        with self._lock:
            for path in _segments(self._of(run)):
                start, size = int(path.stem), path.stat().st_size
                if start + size <= position:
                    continue
                gap = f"\n... {start - position} bytes were not kept ...\n".encode() if start > position else b""
                position = max(position, start)
                with path.open("rb") as file:
                    file.seek(position - start)
                    data = file.read(PIECE)
                return gap + data, position + len(data)
        return b"", position

    def forget(self, before: float) -> int:
        """Removes the logs of runs that have printed nothing since a time (Unix); returns how many."""
        gone = 0
        with self._lock:
            for folder in sorted({path.parent for path in self._folder.rglob("*.log")}):
                if all(path.stat().st_mtime < before for path in _segments(folder)):
                    shutil.rmtree(folder)
                    gone += 1
        return gone

    def stream(self, run: str) -> Iterator[bytes]:
        """All that is kept of a run's log now."""
        position = 0
        while True:
            data, position = self.read(run, position)
            if not data:
                return
            yield data

    def wait(self, seconds: float) -> None:
        """Returns when some run has printed, or after the time."""
        with self._news:
            self._news.wait(seconds)

    def remove(self, run: str) -> None:
        """Removes a run's log."""
        with self._lock:
            shutil.rmtree(self._of(run), ignore_errors=True)

    def _append_some(self, folder: Path, data: bytes) -> bytes:
        """Appends what fits the current segment, or begins the next; returns what is left."""
        segments = _segments(folder)
        last = segments[-1] if segments else folder / f"{0:016d}.log"
        size = last.stat().st_size if segments else 0
        limit = self._head_bytes if int(last.stem) == 0 else self._segment_bytes
        if size >= limit:
            last, size, limit = folder / f"{int(last.stem) + size:016d}.log", 0, self._segment_bytes
            if len(segments) == 3:  # the head stays; of the rest the older goes
                segments[1].unlink()
        with last.open("ab") as file:
            file.write(data[: limit - size])
        return data[limit - size :]

    def _of(self, run: str) -> Path:
        return self._folder / run.removeprefix("jobs/").replace("/runs/", ".").replace("/", "_")


def _segments(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob("*.log") if _SEGMENT.fullmatch(path.name))
