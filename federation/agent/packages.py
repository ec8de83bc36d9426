"""Working directories of jobs: fetched by digest, checked, and unpacked within limits, once each.

A package comes from whoever may submit a job, so it may try to leave its folder or to fill the disk: both are refused.
"""

from __future__ import annotations

import errno
import hashlib
import io
import os
import re
import shutil
import stat
import tempfile
import unicodedata
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

from federation.agent import locks
from federation.core import errors, ids
from federation.crypto import layout

FILES_MAX = 20_000
UNPACKED_BYTES_MAX = 1 << 30
PACKAGE_BYTES_MAX = 256 << 20
#: How much more may come out than went in. Deflate can make a thousandfold of zeros; what people write is a tenth of that.
RATIO_MAX = 200
#: Below this a package is small whatever it was made of.
_RATIO_FROM = 64 << 20
#: Packages of so many digests stay unpacked; the one used longest ago goes first.
KEPT = 32
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Packages:
    """Unpacked packages under a folder, by digest. `fetch` streams a package's bytes from the catalog."""

    def __init__(self, folder: Path, fetch: Callable[[str], Iterator[bytes]]) -> None:
        self._folder = folder
        self._fetch = fetch
        self._locks = locks.NamedLocks()
        # What a process that died was in the middle of.
        for left in folder.glob("new-*"):
            shutil.rmtree(left, ignore_errors=True)

    def folder(self, digest: str) -> Path:
        """The folder with a package's files.

        DataCorrupt (DIGEST_MISMATCH) or InvalidArgument (PACKAGE_INVALID) for a bad one.
        """
        layout.sha256(digest, "package digest")
        target = self._folder / digest
        with self._locks.hold("packages"):
            if not target.is_dir():
                self._make(digest, target)
            os.utime(target)
            self._forget_old(target)
        return target

    def _make(self, digest: str, target: Path) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        scratch = Path(tempfile.mkdtemp(prefix="new-", dir=self._folder))
        try:
            with tempfile.TemporaryFile(dir=self._folder) as package:
                self._download(digest, package)
                unpack(package, scratch)
            scratch.rename(target)
        except OSError as error:
            shutil.rmtree(scratch, ignore_errors=True)
            raise _unusable(digest, error) from error
        except BaseException:
            shutil.rmtree(scratch, ignore_errors=True)
            raise

    def _download(self, digest: str, package: BinaryIO | io.BufferedRandom) -> None:
        sha256, size = hashlib.sha256(), 0
        for data in self._fetch(digest):
            size += len(data)
            if size > PACKAGE_BYTES_MAX:
                raise _invalid(f"it is longer than {PACKAGE_BYTES_MAX} bytes", reason="WORKING_DIR_TOO_BIG")
            sha256.update(data)
            package.write(data)
        if sha256.hexdigest() != digest:
            raise errors.DataCorrupt(
                f"the package that came for {digest} is {sha256.hexdigest()}",
                reason="DIGEST_MISMATCH",
                metadata={"digest": digest},
            )
        package.seek(0)

    def _forget_old(self, current: Path) -> None:
        folders = sorted((p for p in self._folder.iterdir() if not p.name.startswith("new-")), key=lambda p: p.stat().st_mtime)
        for old in folders[:-KEPT]:
            if old != current:
                shutil.rmtree(old, ignore_errors=True)


def unpack(package: BinaryIO | io.BufferedRandom, target: Path) -> None:
    """Unpacks a zip into a folder.

    InvalidArgument (PACKAGE_INVALID) for one with links, paths that lead elsewhere, or too much in it.
    """
    try:
        with zipfile.ZipFile(package) as archive:
            entries = archive.infolist()
            if len(entries) > FILES_MAX:
                raise _invalid(f"it has {len(entries)} entries, more than {FILES_MAX}")
            _check_entries(entries)
            room = min(UNPACKED_BYTES_MAX, max(_RATIO_FROM, RATIO_MAX * package.seek(0, os.SEEK_END)))
            for entry in entries:
                room -= _unpack_one(archive, entry, target, room)
    except (zipfile.BadZipFile, zipfile.LargeZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as error:
        raise _invalid(f"it is not a zip that can be read ({error})") from error


def _check_entries(entries: list[zipfile.ZipInfo]) -> None:
    """Refuses names that collide on some file system (case, Unicode forms), drive letters, and unusual compression."""
    seen: dict[str, str] = {}
    for entry in entries:
        name = entry.filename
        folded = unicodedata.normalize("NFKC", name).casefold().rstrip("/")
        if folded in seen:
            raise _invalid(f"{name!r} and {seen[folded]!r} are there under one name")
        seen[folded] = name
        if re.match(r"[A-Za-z]:", name):
            raise _invalid(f"{name!r} is not a path inside of it")
        if entry.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
            raise _invalid(f"{name!r} is packed in a way that is not read here")


def _unpack_one(archive: zipfile.ZipFile, entry: zipfile.ZipInfo, target: Path, room: int) -> int:
    """Unpacks one entry and returns its bytes, counted as they come: what a header says of a size is not believed."""
    mode = entry.external_attr >> 16
    if stat.S_IFMT(mode) not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _invalid(f"{entry.filename!r} is neither a file nor a folder")
    try:
        path = target / ids.relative_path(entry.filename.rstrip("/"))
    except errors.InvalidArgument as error:
        raise _invalid(f"{entry.filename!r} is not a path inside of it") from error
    if entry.is_dir():
        path.mkdir(parents=True, exist_ok=True)
        return 0
    path.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with archive.open(entry) as source, path.open("xb") as file:
        while piece := source.read(1 << 20):
            size += len(piece)
            if size > room:
                raise _invalid(
                    f"unpacked it is more than {UNPACKED_BYTES_MAX} bytes, or {RATIO_MAX} times as large as it came",
                    reason="WORKING_DIR_TOO_BIG",
                )
            file.write(piece)
    if mode & stat.S_IXUSR:
        path.chmod(0o755)
    return size


def _unusable(digest: str, error: OSError) -> errors.FederationError:
    if error.errno not in _FULL:  # a name that is there twice, as a file and a folder, or that is too long
        return _invalid(f"it cannot be unpacked ({error.strerror})")
    return errors.ResourceExhausted(
        f"there is no room to unpack the package {digest}: {error.strerror}",
        reason="STORAGE_FULL",
        help="Make room on the disk of the agent's state folder.",
    )


def _invalid(why: str, *, reason: str = "PACKAGE_INVALID") -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"the package of the working directory was refused: {why}",
        reason=reason,
        help="Submit the job again with a working directory of plain files.",
    )
