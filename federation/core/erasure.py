"""Erasures: a version that must be forgotten, what destroys it at each site, and the certificate of it. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from federation.core.leases import Lease


class ErasureState(StrEnum):
    """PENDING until every site has confirmed and the last lease has run out; then CERTIFIED."""

    PENDING = "PENDING"
    CERTIFIED = "CERTIFIED"


@dataclass(frozen=True, kw_only=True)
class SiteErasure:
    """One site's part: its word, signed (hex), that the generations' secrets are gone; "" until it has come."""

    site: str
    signing_key: str
    signature: str = ""
    confirm_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class Erasure:
    """The end of a version. `generations` are those that no other version has: their secrets are destroyed at each of `sites`.

    `downstream` is what was made of it and stays, by lineage; `downstream_complete` says whether that is all of it.
    `waits_for` is told while it is PENDING and not stored.
    """

    erasure: str
    dataset: str
    dataset_uid: str
    version: int
    manifest_digest: str
    reason: str
    principal: str
    state: ErasureState = ErasureState.PENDING
    generations: tuple[str, ...]
    sites: tuple[SiteErasure, ...]
    downstream: tuple[str, ...] = ()
    downstream_models: tuple[str, ...] = ()
    downstream_complete: bool = True
    waits_for: tuple[str, ...] = ()
    certificate_digest: str = ""
    etag: str = ""
    create_time: datetime | None = None
    certify_time: datetime | None = None

    @property
    def short(self) -> str:
        """`sales/flights@3`."""
        return f"{self.dataset}@{self.version}"

    @property
    def unconfirmed(self) -> tuple[str, ...]:
        """Sites whose word has not come."""
        return tuple(part.site for part in self.sites if not part.signature)


@dataclass(frozen=True, kw_only=True)
class Deletion:
    """What a deletion certificate says: the erasure as it ended, and every lease that was ever granted on the version."""

    erasure: Erasure
    leases: tuple[Lease, ...]


@dataclass(frozen=True, kw_only=True)
class StoredCertificate:
    """A certificate as it was issued; `text` is what `crypto.erasure` made of it."""

    erasure: str
    text: str


@dataclass(frozen=True, kw_only=True)
class EraseGenerations:
    """Destroy the secrets of these generations for good, and confirm it."""

    erasure: str
    version: str
    dataset_uid: str
    generations: tuple[str, ...]
