"""Files of a backup under a passphrase: scrypt (RFC 7914) makes the key, a container (`crypto/container.py`) holds each file.

A file is bound to its path, so that none can stand in another's place.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from typing import IO

from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from federation.core import errors
from federation.crypto import canonical, container

#: N of scrypt: some 0.4 s and 128 MiB for each guess.
COST = 1 << 17
_COST_MAX = 1 << 20
SALT = 16
_PIECE = 1024 * 1024


def new_salt() -> bytes:
    """Drawn for each backup."""
    return os.urandom(SALT)


def key_of(passphrase: bytes, salt: bytes, cost: int) -> bytes:
    """The key that a passphrase stands for; DataCorrupt (BACKUP_INVALID) for a cost that nobody should pay."""
    if not 2 <= cost <= _COST_MAX or cost & (cost - 1):
        raise errors.DataCorrupt(f"a cost of {cost} is none of ours", reason="BACKUP_INVALID")
    return Scrypt(salt=salt, length=32, n=cost, r=8, p=1).derive(passphrase)


def sealer(key: bytes, path: str) -> container.Sealer:
    """Encrypts one file of a backup."""
    return container.Sealer(key, _place(path))


def opened(key: bytes, path: str, file: IO[bytes], *, stored_bytes: int, commitment: str) -> Iterator[bytes]:
    """A file's own bytes in pieces; DataCorrupt for a wrong key, another file, or one that was changed."""

    def fetch(offset: int, length: int) -> bytes:
        file.seek(offset)
        return file.read(length)

    reader = container.RangedReader(key, _place(path), object_bytes=stored_bytes, commitment=commitment, fetch=fetch)
    size, offset = container.file_bytes(stored_bytes), 0
    read: Callable[[int, int], bytes] = reader.read_at
    while offset < size:
        piece = read(offset, min(_PIECE, size - offset))
        offset += len(piece)
        yield piece


def _place(path: str) -> bytes:
    return canonical.join("fed/backup/file/v1", path)
