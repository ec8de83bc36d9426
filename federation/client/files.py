"""Files on the caller's machine: which of a folder's go into a version, and the zip of a working directory."""

from __future__ import annotations

import hashlib
import io
import os
import stat
import tempfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from federation.core import errors, ids, units

#: Never part of a working directory: history and what Python makes again.
SKIPPED = frozenset({".git", "__pycache__"})
#: Larger working directories are refused: what is large is a dataset.
PACKAGE_BYTES_MAX = 64 * 1024 * 1024
_EPOCH = (1980, 1, 1, 0, 0, 0)  # a zip's own beginning of time: the same files give the same package whenever it is made
_PIECE_BYTES = 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class LocalFile:
    """One file that is to be stored: its path inside the dataset, where it lies, and its bytes when it was looked at."""

    path: str
    source: Path
    file_bytes: int


@dataclass(frozen=True, kw_only=True)
class Zip:
    """A working directory as a zip in a temporary file, with its SHA-256 (hex)."""

    file: IO[bytes]
    digest: str
    package_bytes: int


def found(path: Path) -> tuple[LocalFile, ...]:
    """The files at a path, in path order: itself, or all below a folder, hidden ones too.

    Each was opened once: what cannot be read, or is a symlink, a socket or a pipe, is refused before anything is written.
    """
    if path.is_symlink():
        raise _refused(path, "is a symbolic link", "SYMLINK_REFUSED", "Name what it points to.")
    if not path.exists():
        raise errors.NotFound(f"there is no {path}", reason="FILE_MISSING", help="Check the path.")
    pairs = [(path.name, path)] if not path.is_dir() else [(p.relative_to(path).as_posix(), p) for p in walk(path)]
    files = tuple(_file(ids.relative_path(name), source) for name, source in sorted(pairs))
    if not files:
        raise errors.InvalidArgument(f"{path} holds no file", reason="FOLDER_EMPTY", help="A version has one file at least.")
    return files


def walk(folder: Path, *, skipped: frozenset[str] = frozenset()) -> Iterator[Path]:
    """All entries below a folder that are not folders. One that cannot be listed is refused, not passed over."""
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError as error:
        raise _refused(folder, f"cannot be listed: {error.strerror}", "FILE_UNREADABLE", "See its permissions.") from None
    for entry in entries:
        if entry.name in skipped:
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from walk(Path(entry.path), skipped=skipped)
        else:
            yield Path(entry.path)


def pack(folder: Path, bytes_max: int) -> Zip:
    """A working directory as a zip: the same files, the same bytes. ResourceExhausted (WORKING_DIR_TOO_BIG) beyond the limit.

    The caller closes the file. `.git` and `__pycache__` stay out, a symbolic link is refused.
    """
    if not folder.is_dir():
        raise errors.InvalidArgument(f"{folder} is not a folder", reason="WORKING_DIR_INVALID", help="Name a folder.")
    target = tempfile.TemporaryFile()  # noqa: SIM115 - handed to the caller
    try:
        with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
            for source in walk(folder, skipped=SKIPPED):
                for _ in _add(archive, source, source.relative_to(folder).as_posix()):
                    _bounded(target, bytes_max, folder)
        length = _bounded(target, bytes_max, folder)
        target.seek(0)
        digest = hashlib.file_digest(target, "sha256").hexdigest()
    except BaseException:
        target.close()
        raise
    return Zip(file=target, digest=digest, package_bytes=length)


def pieces(file: IO[bytes]) -> Iterator[bytes]:
    """A file from its beginning, in pieces that fit a message."""
    file.seek(0)
    while piece := file.read(_PIECE_BYTES):
        yield piece


def sha256(file: IO[bytes]) -> str:
    """Of a file from its beginning, hex."""
    found = hashlib.sha256()
    for piece in pieces(file):
        found.update(piece)
    return found.hexdigest()


def _file(path: str, source: Path) -> LocalFile:
    with _opened(source) as file:
        return LocalFile(path=path, source=source, file_bytes=os.fstat(file.fileno()).st_size)


def _opened(source: Path) -> io.BufferedReader:
    """The file, open for reading. A pipe is not waited for, and a link not followed."""
    try:
        mode = source.lstat().st_mode
        if stat.S_ISLNK(mode):
            raise _refused(source, "is a symbolic link", "SYMLINK_REFUSED", "Put the file itself there, or leave it out.")
        if not stat.S_ISREG(mode):
            raise _refused(source, "is not a regular file", "FILE_UNREADABLE", "Leave it out.")
        return source.open("rb")
    except OSError as error:
        raise _refused(source, f"cannot be read: {error.strerror}", "FILE_UNREADABLE", "See its permissions.") from None


def _add(archive: zipfile.ZipFile, source: Path, name: str) -> Iterator[None]:
    """Adds a file, and stops after each piece, so that a giant is found out while it is packed and not after."""
    info = zipfile.ZipInfo(name, _EPOCH)
    info.compress_type = zipfile.ZIP_DEFLATED
    with _opened(source) as file, archive.open(info, "w", force_zip64=True) as entry:
        executable = bool(os.fstat(file.fileno()).st_mode & stat.S_IXUSR)
        info.external_attr = (stat.S_IFREG | (0o755 if executable else 0o644)) << 16
        while piece := file.read(_PIECE_BYTES):
            entry.write(piece)
            yield


def _bounded(target: IO[bytes], bytes_max: int, folder: Path) -> int:
    """The length of the package so far, if it is within the limit."""
    length = target.tell()
    if length > bytes_max:
        raise _too_big(folder, bytes_max)
    return length


def _too_big(folder: Path, bytes_max: int) -> errors.ResourceExhausted:
    return errors.ResourceExhausted(
        f"{folder} makes a package larger than {units.size(bytes_max)}",
        reason="WORKING_DIR_TOO_BIG",
        help="Keep data out of the working directory: put it into a dataset and read it as an input.",
        metadata={"bytes_max": str(bytes_max)},
    )


def _refused(path: Path, why: str, reason: str, help_: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"{path} {why}", reason=reason, help=help_, violations={"path": why})
