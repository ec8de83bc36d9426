"""Files that processes read and keep: settings, and secrets that only their owner may read."""

from __future__ import annotations

import os
import stat
import tempfile
from collections.abc import Callable
from pathlib import Path

from federation.core import errors


def read_secret(path: Path, what: str) -> str:
    """Text of a file that only its owner may read; refuses one that others can."""
    return read_secret_bytes(path, what).decode()


def read_secret_bytes(path: Path, what: str) -> bytes:
    """As `read_secret`, for what is no text."""
    data = read(path, what)
    require_private(path, what)
    return data


def require_private(path: Path, what: str) -> None:
    """Returns for a file that only its owner may read; InvalidArgument (CONFIG_INVALID) with what mends it otherwise."""
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        raise errors.InvalidArgument(
            f"{what} {path} can be read by others (mode {mode:04o})", reason="CONFIG_INVALID", help=f"Run: chmod 600 {path}"
        )


def write_secret(path: Path, data: bytes) -> None:
    """Writes a file that only its owner may read, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def keep_secret(path: Path, make: Callable[[], bytes]) -> bytes:
    """The bytes of a secret file, which is made at the first call and kept from then on."""
    if not path.exists():
        write_secret(path, make())
    return path.read_bytes()


def read_text(path: Path, what: str) -> str:
    """As `read`, for what is UTF-8."""
    try:
        return read(path, what).decode()
    except UnicodeDecodeError as error:
        raise errors.InvalidArgument(f"{what} {path} is not UTF-8: {error.reason}", reason="CONFIG_INVALID") from None


def read(path: Path, what: str) -> bytes:
    """The bytes of a file; NotFound (CONFIG_MISSING) without one, InvalidArgument (CONFIG_INVALID) where it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise errors.NotFound(f"there is no {what} {path}", reason="CONFIG_MISSING", help="Check the path.") from None
    except OSError as error:
        raise errors.InvalidArgument(f"{what} {path} cannot be read: {error.strerror}", reason="CONFIG_INVALID") from None
