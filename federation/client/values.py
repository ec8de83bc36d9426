"""What the client answers where the core has no value for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict


@dataclass(frozen=True, kw_only=True)
class Access:
    """A signed grant and where to present it. The grant opens what it names: it shows in no repr."""

    grant: bytes = field(repr=False)
    gateway: str
    site: str
    name: str
    dataset_uid: str
    expire_time: datetime


@dataclass(frozen=True, kw_only=True)
class WhoAmI:
    """Who the server says the caller is, and what the server is. `revision` counts the catalog's changes."""

    principal: str
    role: str
    jurisdiction: str
    server_version: str
    revision: int


@dataclass(frozen=True, kw_only=True)
class CreatedToken:
    """A new token of a person. `secret` is told here and nowhere else."""

    user: str
    role: str
    jurisdiction: str = ""
    expire_time: datetime | None = None
    secret: str = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Package:
    """A working directory's zip, as the catalog keeps it under its SHA-256 (hex)."""

    digest: str
    package_bytes: int


class Finding(TypedDict):
    """One thing that a site's check found wrong: ORPHAN, MISSING, DAMAGED, KEY_MISSING or MANIFEST_INVALID."""

    finding: str
    object: str
    version: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """What was found in the record: rows as an Arrow IPC stream, how many, and whether these are all."""

    stream: bytes = field(repr=False)
    rows: int
    complete: bool
