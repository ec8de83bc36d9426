"""What the client answers where the core has no value for it."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import TypedDict

from federation.core import people


@dataclass(frozen=True, kw_only=True)
class Access:
    """A signed grant and where to present it. The grant opens what it names: it shows in no repr.

    `sensitive_columns` are those that its dataset's card names, or has from what it was made of.
    """

    grant: bytes = field(repr=False)
    gateway: str
    site: str
    name: str
    dataset_uid: str
    expire_time: datetime
    sensitive_columns: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class WhoAmI:
    """Who the server says the caller is, and what the server is. `revision` counts the catalog's changes.

    `credential` is what they showed: `tokens/t1f…`, or `issuers/corp` for who signed in there; `expire_time` when it ends.
    """

    principal: str
    role: str
    jurisdiction: str
    groups: tuple[str, ...]
    scopes: tuple[str, ...]
    credential: str
    expire_time: datetime | None
    server_version: str
    revision: int
    server_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """What a server tells anybody who connects. `ca` is PEM: true only if it is known otherwise, as by its fingerprint."""

    federation: str
    ca: bytes = field(repr=False)
    issuers: tuple[people.SignIn, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Invitation:
    """A join token for a site (`sites/eu-2`), good once. `secret` is told here and nowhere else."""

    site: str
    expire_time: datetime
    hosts: tuple[str, ...] = ()
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class Joined:
    """A site that has come in: PEM of its certificate, empty where the catalog signs none, and of the CA."""

    site: str
    certificate: bytes = field(repr=False)
    ca: bytes = field(repr=False)


@dataclass(frozen=True, kw_only=True)
class Package:
    """A working directory's zip, as the catalog keeps it under its SHA-256 (hex)."""

    digest: str
    package_bytes: int


class Finding(TypedDict):
    """One thing that a site's check found wrong: ORPHAN, MISSING, DAMAGED, KEY_MISSING or MANIFEST_INVALID.

    `bytes` is what an orphan takes, 0 for all others.
    """

    finding: str
    object: str
    version: str
    detail: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class QueryResult:
    """What was found in the record: rows as an Arrow IPC stream, how many, and whether these are all."""

    stream: bytes = field(repr=False)
    rows: int
    complete: bool
