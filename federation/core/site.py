"""Regions, sites, what they offer and at which price. Values only; who measures them is not told here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

INTERNET = "internet"


class SiteState(StrEnum):
    """What the catalog knows of a site: never seen, heard from lately, or silent for longer than its lease."""

    DECLARED = "DECLARED"
    READY = "READY"
    LOST = "LOST"


@dataclass(frozen=True, kw_only=True)
class GpuOffer:
    """One type of GPU at a site and its price. `type` is Ray's accelerator name, such as `H100`."""

    type: str
    gpu_hour_micros: int
    source: str


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a site sells, each with the source of its price. None is unknown, and an unknown price refuses."""

    cpu_hour_micros: int | None = None
    cpu_source: str = ""
    gpus: tuple[GpuOffer, ...] = ()
    storage_gb_month_micros: int | None = None
    storage_source: str = ""

    def gpu(self, gpu_type: str) -> GpuOffer | None:
        """The offer of that type, or None."""
        return next((offer for offer in self.gpus if offer.type == gpu_type), None)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a site has in all, as its agent reported it from its Ray cluster. GPUs are (type, count)."""

    cpus: int = 0
    memory_bytes: int = 0
    gpus: tuple[tuple[str, int], ...] = ()

    def gpu_count(self, gpu_type: str) -> int:
        """GPUs of that type; of all types where `gpu_type` is empty."""
        return sum(count for name, count in self.gpus if gpu_type in ("", name))


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place that holds replicas and may run jobs: one region, one storage root, at most one Ray cluster, one agent.

    `signing_key` (Ed25519) and `sealing_key` (HPKE X25519) are the agent's public keys, hex, set when it registers.
    `sources` are the store prefixes from which `ingest` may read; nothing else is ever opened.
    """

    site: str
    region: str
    jurisdiction: str
    gateway: str = ""
    has_compute: bool = False
    offer: Offer = Offer()
    sources: tuple[str, ...] = ()
    signing_key: str = ""
    sealing_key: str = ""
    state: SiteState = SiteState.DECLARED
    capacity: Capacity = Capacity()
    compute_error: str = ""
    heartbeat_time: datetime | None = None
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class SiteLoad:
    """What runs have reserved at a site. A row of its own, so that a heartbeat never races a reservation."""

    site: str
    cpus: int = 0
    memory_bytes: int = 0
    gpus: tuple[tuple[str, int], ...] = ()
    runs: int = 0
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class LinkVolume:
    """Bytes that one source has sent to one destination class in one month: the counter its tiers are read from.

    `scope` is the pricing scope of `ratecard.scope` (source region and destination class), `month` is `2026-11`.
    """

    scope: str
    month: str
    sent_bytes: int = 0
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class Link:
    """An ordered pair of regions as it is priced now: `gb_micros` buys the next `gb_bytes` bytes, None for an unknown price.

    `month_to_date_bytes` is what its pricing scope has carried this month; a destination may be `internet`.
    """

    source_region: str
    destination_region: str
    gb_micros: int | None
    gb_bytes: int
    month_to_date_bytes: int
    price_source: str = ""
    as_of: str = ""
