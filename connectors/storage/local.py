"""A folder as a site's store, and folders as sources: durable, atomic, never overwritten, never left by way of a link.

Layout: an object lies at its key below the root. A write begins in `.tmp` on the same file system and is linked to its key when
it is whole and on disk, so that no reader ever sees a part of an object; what a killed writer left in `.tmp` is removed at the
next start.
"""

from __future__ import annotations

import errno
import fcntl
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from connectors.storage import common
from federation.core import errors, ids
from federation.ports import ObjectInfo

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# Not blocking: a pipe that somebody put in our way must not hold us up.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_DRAFT = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_ABSENT = frozenset({errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.EISDIR, errno.ENXIO})
_REFUSED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})
#: How often a folder may be pruned away under a writer before that is taken for a fault.
_TRIES = 16


class _Draft(NamedTuple):
    """An object while it is written: a locked file in `.tmp`."""

    fd: int
    name: str


class LocalStore:
    """Fills `ObjectStore` with a folder. Many threads and processes may use the same one."""

    def __init__(self, root: str | Path, options: Mapping[str, str] | None = None) -> None:
        common.options(options or {}, (), "a local store")
        self._root = _path(root)
        with self._translated():
            (self._root / common.RESERVED).mkdir(parents=True, exist_ok=True, mode=0o700)
            self._root = self._root.resolve()
            self._sweep()

    def __repr__(self) -> str:
        return f"<LocalStore root={self._root}>"

    def put(self, key: str, data: BinaryIO) -> int:
        parts = common.key(key)
        total = 0
        with self._draft() as draft:
            while piece := data.read(common.PIECE):
                with self._translated():
                    _write(draft.fd, piece)
                total += len(piece)
            with self._translated():
                os.fsync(draft.fd)
                self._publish(draft, key, parts)
        return total

    def read(self, key: str, offset: int = 0, length: int = -1, *, reader: str = "") -> Iterator[bytes]:  # noqa: ARG002 - no log here
        parts = common.key(key)
        with self._translated(key):
            fd = _open_file(self._root, parts)
        try:
            end = os.fstat(fd).st_size if length < 0 else offset + length
            while offset < end:
                with self._translated(key):
                    piece = os.pread(fd, min(common.PIECE, end - offset), offset)
                if not piece:
                    return
                yield piece
                offset += len(piece)
        finally:
            os.close(fd)

    def info(self, key: str) -> ObjectInfo | None:
        parts = common.key(key)
        try:
            with self._translated(key), _folder(self._root, parts[:-1]) as folder:
                found = os.stat(parts[-1], dir_fd=folder, follow_symlinks=False)
        except errors.NotFound:
            return None
        return ObjectInfo(key=key, bytes=found.st_size) if stat.S_ISREG(found.st_mode) else None

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._translated(), _folder(self._root, ()) as root:
            for info in _walk(root, "", prefix, _skip):
                if not info.key.startswith(f"{common.RESERVED}/"):
                    yield info

    def delete(self, key: str) -> None:
        parts = common.key(key)
        try:
            with self._translated(key), _folder(self._root, parts[:-1]) as folder:
                os.unlink(parts[-1], dir_fd=folder)
                os.fsync(folder)
        except errors.NotFound:
            return
        self._prune(parts[:-1])

    def free_bytes(self) -> int | None:
        with self._translated():
            found = os.statvfs(self._root)
        return found.f_bavail * found.f_frsize

    def probe(self) -> None:
        common.probe(self, str(self._root))

    @contextmanager
    def _draft(self) -> Iterator[_Draft]:
        """A fresh file in `.tmp`, locked while it is written and gone afterwards, whatever happens."""
        with self._translated():
            draft = self._new_draft()
        try:
            yield draft
        finally:
            (self._root / common.RESERVED / draft.name).unlink(missing_ok=True)
            os.close(draft.fd)

    def _new_draft(self) -> _Draft:
        while True:
            name = secrets.token_hex(16)
            fd = os.open(self._root / common.RESERVED / name, _DRAFT, 0o600)
            fcntl.flock(fd, fcntl.LOCK_EX)
            if os.fstat(fd).st_nlink:
                return _Draft(fd, name)
            # Another process that has just started took it for a leftover, in the moment before it was locked.
            os.close(fd)

    def _publish(self, draft: _Draft, key: str, parts: tuple[str, ...]) -> None:
        """Gives the written file its key, durably, unless the key is taken."""
        drafted = self._root / common.RESERVED / draft.name
        for _ in range(_TRIES):
            try:
                with _folder(self._root, parts[:-1], create=True) as folder:
                    os.link(drafted, parts[-1], dst_dir_fd=folder, follow_symlinks=False)
                    os.fsync(folder)
            except FileExistsError:
                raise common.taken(key) from None
            except FileNotFoundError:
                continue  # Pruned by a deletion between our making the folder and our using it.
            except OSError as error:
                self._prune(parts[:-1])
                if error.errno in _ABSENT:
                    raise errors.InvalidArgument(
                        f"the key {key} lies below what is not a folder", reason="PATH_INVALID"
                    ) from None
                raise
            return
        raise common.unavailable(str(self._root), f"the folder of {key} vanishes while it is written")

    def _prune(self, parts: tuple[str, ...]) -> None:
        """Removes empty folders, innermost first, up to one that is in use."""
        for depth in range(len(parts), 0, -1):
            try:
                with _folder(self._root, parts[: depth - 1]) as folder:
                    os.rmdir(parts[depth - 1], dir_fd=folder)
            except OSError:
                return  # In use, or gone: either is well.

    def _sweep(self) -> None:
        """Removes drafts whose writer has died: theirs are the only ones that nobody has locked."""
        for path in (self._root / common.RESERVED).iterdir():
            try:
                fd = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
            except FileNotFoundError:
                continue
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                path.unlink(missing_ok=True)
            except BlockingIOError:
                pass
            finally:
                os.close(fd)

    @contextmanager
    def _translated(self, key: str = "") -> Iterator[None]:
        """The file system's errors as ours; `key` is what was looked for, empty when nothing was."""
        try:
            yield
        except OSError as error:
            raise _ours(error, str(self._root), key) from error


class LocalSource:
    """Fills `SourceReader` with folders under one allowed prefix. Options: `prefix`, such as `file:///data/incoming`."""

    def __init__(self, options: Mapping[str, str]) -> None:
        given = common.options(options, ("prefix",), "a local source")
        self._prefix = given.get("prefix", "")
        common.url(self._prefix, "file")
        self._root = _path(self._prefix)

    def __repr__(self) -> str:
        return f"<LocalSource prefix={self._prefix}>"

    def list(self, url: str) -> Iterator[ObjectInfo]:
        """Files under a folder; InvalidArgument (SOURCE_NOT_A_FILE) for a link or device: left out, it would be lost."""
        parts = common.beneath(self._prefix, url, "file")
        with self._translated(url), _folder(self._root.resolve(), parts) as folder:
            yield from _walk(folder, "", "", _refuse)

    def open(self, url: str, key: str) -> BinaryIO:
        parts = common.beneath(self._prefix, url, "file") + tuple(ids.relative_path(key).split("/"))
        with self._translated(f"{url}/{key}"):
            return os.fdopen(_open_file(self._root.resolve(), parts), "rb", buffering=common.PIECE)

    @contextmanager
    def _translated(self, url: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno in _ABSENT:
                raise errors.NotFound(
                    f"there is nothing to read at {url}", reason="SOURCE_MISSING", metadata={"url": url}
                ) from error
            raise _ours(error, self._prefix, url) from error


def _path(root: str | Path) -> Path:
    """The folder that a path or a file url names; absolute, so that it does not depend on where a process was started."""
    if isinstance(root, str) and root.startswith("file:"):
        host, parts = common.url(root, "file")
        if host not in ("", "localhost"):
            raise errors.InvalidArgument(f"{root!r} names another host", reason="URL_INVALID", help="Write file:///folder.")
        return Path("/", *parts)
    return Path(root).absolute()


@contextmanager
def _folder(root: Path, parts: tuple[str, ...], *, create: bool = False) -> Iterator[int]:
    """A folder below the root, reached one step at a time and never through a link; made durably where asked for."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts:
            if create:
                _make_folder(part, fd)
            inner = os.open(part, _FOLDER, dir_fd=fd)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _make_folder(name: str, parent: int) -> None:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return
    os.fsync(parent)


def _open_file(root: Path, parts: tuple[str, ...]) -> int:
    with _folder(root, parts[:-1]) as folder:
        fd = os.open(parts[-1], _FILE, dir_fd=folder)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise FileNotFoundError(errno.ENOENT, "not a file")
    return fd


def _write(fd: int, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[os.write(fd, view) :]


def _walk(folder: int, base: str, prefix: str, strange: Callable[[str], None]) -> Iterator[ObjectInfo]:
    """Files below a folder in key order; `strange` is told of what is neither file nor folder. Never follows a link."""
    for name, entry in _entries(folder):
        key = base + name
        if name.endswith("/"):
            if key.startswith(prefix) or prefix.startswith(key):
                yield from _descend(folder, entry.name, key, prefix, strange)
        elif not key.startswith(prefix):
            continue
        elif not entry.is_file(follow_symlinks=False):
            strange(key)
        elif (found := _bytes(entry)) is not None:
            yield ObjectInfo(key=key, bytes=found)


def _entries(folder: int) -> list[tuple[str, os.DirEntry[str]]]:
    """A folder's entries in the order of the keys below them: `a-b` comes before `a/b`, so a folder sorts with its slash."""
    with os.scandir(folder) as entries:
        return sorted((entry.name + "/" * entry.is_dir(follow_symlinks=False), entry) for entry in entries)


def _descend(folder: int, name: str, base: str, prefix: str, strange: Callable[[str], None]) -> Iterator[ObjectInfo]:
    try:
        inner = os.open(name, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        return  # Deleted since it was listed.
    try:
        yield from _walk(inner, base, prefix, strange)
    finally:
        os.close(inner)


def _bytes(entry: os.DirEntry[str]) -> int | None:
    try:
        return entry.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return None  # Deleted since it was listed.


def _skip(_key: str) -> None:
    """A store holds files alone; whatever else lies in its folder is not an object."""


def _refuse(key: str) -> None:
    raise errors.InvalidArgument(
        f"{key!r} is a link or a device, not a file",
        reason="SOURCE_NOT_A_FILE",
        help="Replace it by the file itself, or move it elsewhere.",
        metadata={"key": key},
    )


def _ours(error: OSError, where: str, key: str) -> errors.FederationError:
    """The file system's error as ours; `key` is what was looked for, empty when nothing was."""
    detail = error.strerror or str(error)
    if error.errno in _FULL:
        return common.full(where, detail)
    if error.errno in _ABSENT and key:
        return common.missing(key)
    if error.errno in _REFUSED:
        return common.forbidden(where, detail)
    return common.unavailable(where, detail)
