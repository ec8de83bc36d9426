"""Where objects lie that are only partly here: beginnings of their ciphertext, in bounded space, so that a crash costs little.

Layout: `<folder>/<transfer>/manifest` and `<folder>/<transfer>/<generation>.<object id>`. Nothing here is trusted: what is gone
on with is measured again, from its first byte. So it need not be forced to disk; a machine that dies may lose it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from federation.core import dataset

_log = logging.getLogger(__name__)

_MANIFEST = "manifest"
_PIECE = 1024 * 1024


class Spool:
    """The beginnings of objects. All of them together take at most `bytes_max`, and none is kept of an object below `least`."""

    def __init__(self, folder: Path, *, bytes_max: int, least: int) -> None:
        self._folder = folder
        self._bytes_max = bytes_max
        self._least = least
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._used = sum(path.stat().st_size for path in folder.glob("*/*.*"))

    @property
    def used_bytes(self) -> int:
        """What all beginnings take."""
        return self._used

    def keep(self, transfers: Iterable[str]) -> None:
        """Removes what belongs to no transfer of these."""
        known = set(transfers)
        for path in self._folder.iterdir():
            if path.name not in known:
                self.clear(path.name)

    def clear(self, transfer: str) -> None:
        """Removes all that is kept of a transfer."""
        folder = self._folder / transfer
        if folder.is_dir():
            self._release(sum(path.stat().st_size for path in folder.glob("*.*")))
            shutil.rmtree(folder)

    def put_manifest(self, transfer: str, data: bytes) -> None:
        """Keeps a transfer's manifest, durably, before anything is stored for it: it says what may not be removed."""
        folder = self._of(transfer)
        draft = folder / f"{_MANIFEST}~"
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        draft.rename(folder / _MANIFEST)

    def manifest(self, transfer: str) -> bytes | None:
        """A transfer's manifest; None before it came."""
        try:
            return (self._folder / transfer / _MANIFEST).read_bytes()
        except FileNotFoundError:
            return None

    def draft(self, transfer: str, entry: dataset.FileEntry) -> Draft:
        """The beginning of an object. One writer at a time."""
        path = self._of(transfer) / f"{entry.generation}.{entry.object_id}" if entry.object_bytes >= self._least else None
        return Draft(self, path)

    def _of(self, transfer: str) -> Path:
        folder = self._folder / transfer
        folder.mkdir(exist_ok=True, mode=0o700)
        return folder

    def _reserve(self, size: int) -> bool:
        with self._lock:
            if self._used + size > self._bytes_max:
                return False
            self._used += size
            return True

    def _release(self, size: int) -> None:
        with self._lock:
            self._used -= size


class Draft:
    """The beginning of one object. It stops growing where there is no room for it, and is still a beginning then."""

    def __init__(self, spool: Spool, path: Path | None) -> None:
        self._spool = spool
        self._path = path
        self._fd = -1
        self.bytes = 0
        if path is not None:
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self.bytes = os.fstat(self._fd).st_size

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def pieces(self) -> Iterator[bytes]:
        """The bytes that are kept, piece by piece."""
        offset = 0
        while offset < self.bytes and (piece := os.pread(self._fd, min(_PIECE, self.bytes - offset), offset)):
            yield piece
            offset += len(piece)

    def add(self, offset: int, piece: bytes | memoryview) -> None:
        """Keeps what comes at that position, if it is where the beginning ends and there is room."""
        if self._path is None or offset != self.bytes or not self._spool._reserve(len(piece)):
            return
        written = 0
        try:
            written = os.pwrite(self._fd, piece, offset)
        except OSError as error:  # the spool saves time after a crash, it is not worth a transfer
            _log.warning("the spool takes no more: %s", error)
        finally:
            self._spool._release(len(piece) - written)
        self.bytes += written

    def clear(self) -> None:
        """Removes what is kept of the object."""
        if self._path is not None:
            os.ftruncate(self._fd, 0)
            with contextlib.suppress(FileNotFoundError):
                self._path.unlink()
            self._spool._release(self.bytes)
        self.bytes = 0
