"""A backup of a catalog and its record, as values: what is in it, of which moment, and by which digests. Pure."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime

from federation.core import errors, records

#: The shape of a backup. One of a later shape is refused.
FORMAT = 1
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"
CATALOG, TABLES, STATE = "catalog", "tables", "state"
#: A restored catalog goes on so far beyond the backup's revision: whoever has seen later positions meets none of them again.
POSITIONS_SKIPPED = 1_000_000


@dataclass(frozen=True, kw_only=True)
class CopiedFile:
    """One file of a backup: how it is called there, its own length, and length and SHA-256 (hex) as it lies there.

    `commitment` is of the container that it is encrypted in, '' for one that lies as it is.
    """

    path: str
    bytes: int
    stored_bytes: int
    sha256: str
    commitment: str = ""


@dataclass(frozen=True, kw_only=True)
class TableCopy:
    """A table of the record: the Delta version that was copied, and the position of the last event in it."""

    table: str
    version: int
    position: int


@dataclass(frozen=True, kw_only=True)
class Backup:
    """What a backup says of itself. `revision` is the catalog's; tables are never further, for they were copied before it.

    `schema` is the revision of the database's tables. `salt` (hex) and `cost` make the key from the passphrase; empty and 0
    where nothing is encrypted, and then no secret of the server is in it. `signing_key` is the catalog's, which signed it.
    """

    format: int = FORMAT
    release: str
    schema: str
    federation: str
    create_time: datetime
    revision: int
    floor: int
    tables: tuple[TableCopy, ...]
    files: tuple[CopiedFile, ...]
    signing_key: str
    salt: str = ""
    cost: int = 0

    @property
    def encrypted(self) -> bool:
        return bool(self.salt)

    @property
    def stored_bytes(self) -> int:
        """What it takes on its disk."""
        return sum(file.stored_bytes for file in self.files)

    def to_json(self) -> bytes:
        """What is signed."""
        return records.dumps(self).encode()


@dataclass(frozen=True, kw_only=True)
class RestoreNote:
    """That the catalog was put back from a backup, as the log tells it (`catalog.restored`) before all that comes after.

    The backup is that of `create_time`, of `revision`, signed by `signing_key`; `tables_kept` says that the record survived.
    """

    create_time: datetime
    revision: int
    signing_key: str
    tables_kept: bool


@dataclass(frozen=True, kw_only=True)
class Summary:
    """A backup as people see it."""

    path: str
    federation: str
    release: str
    create_time: datetime
    revision: int
    tables: tuple[tuple[str, int], ...]
    files: int
    stored_bytes: int
    encrypted: bool
    signing_key: str


def summary(path: str, of: Backup) -> Summary:
    """What there is to say of a backup."""
    return Summary(
        path=path,
        federation=of.federation,
        release=of.release,
        create_time=of.create_time,
        revision=of.revision,
        tables=tuple((copy.table, copy.position) for copy in of.tables),
        files=len(of.files),
        stored_bytes=of.stored_bytes,
        encrypted=of.encrypted,
        signing_key=of.signing_key,
    )


def parsed(data: bytes) -> Backup:
    """A backup by its manifest; DataCorrupt (BACKUP_INVALID) for what is none, or one of a later shape."""
    try:
        shape = json.loads(data).get("format")
        found = records.loads(Backup, data.decode()) if shape == FORMAT else None
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise invalid(f"its manifest is none: {type(error).__name__}") from error
    if found is None:
        raise invalid(f"it is of shape {shape}, this release reads {FORMAT}")
    return found


def message(manifest: bytes) -> bytes:
    """What the catalog's key signs."""
    return b"fed/backup/v1\0" + manifest


def invalid(why: str) -> errors.DataCorrupt:
    """A backup that cannot be used."""
    return errors.DataCorrupt(
        f"this is no backup that can be restored: {why}",
        reason="BACKUP_INVALID",
        help="Take another copy of it, or another backup; nothing was changed.",
    )
