"""OpenLineage events in a file, one JSON object a line: for collectors that follow files, and to look at."""

from __future__ import annotations

import os
from pathlib import Path

from federation.core import errors


class FileTransport:
    """A `ports.LineageTransport`. Lines are on the disk when `send` returns."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def __repr__(self) -> str:
        return f"<FileTransport {self._path}>"

    def send(self, events: tuple[str, ...]) -> None:
        data = "".join(f"{event}\n" for event in events).encode()
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
            try:
                size = os.fstat(descriptor).st_size
                if os.write(descriptor, data) != len(data):
                    os.ftruncate(descriptor, size)
                    raise OSError("the disk is full")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
        except OSError as error:
            raise errors.Unavailable(
                f"lineage events cannot be written to {self._path}: {error}",
                reason="LINEAGE_RECEIVER_UNAVAILABLE",
                help="Check that its folder is there and has room. Nothing is lost: events are told once it has.",
            ) from error
