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
    """One type of GPU at a site and its price. `type` is Ray's accelerator name, such as `H100`.

    `spot_gpu_hour_micros` is None where there is no spot market; `preemptions_per_hour` is how often a spot GPU is taken away.
    `watts` is what one draws at full load, None where it is not known.
    """

    type: str
    gpu_hour_micros: int
    source: str
    spot_gpu_hour_micros: int | None = None
    preemptions_per_hour: float = 0.0
    watts: int | None = None


@dataclass(frozen=True, kw_only=True)
class Offer:
    """What a site sells, each with the source of its price. None is unknown, and an unknown price refuses.

    Two prices may be None without refusing: memory without a price of its own is in the CPUs' price, and carbon without a
    figure refuses only jobs that weigh it. `carbon_g_per_kwh` is the grid's mean intensity, `cpu_watts` what one CPU draws.
    """

    cpu_hour_micros: int | None = None
    cpu_source: str = ""
    gpus: tuple[GpuOffer, ...] = ()
    storage_gb_month_micros: int | None = None
    storage_source: str = ""
    memory_gb_hour_micros: int | None = None
    memory_source: str = ""
    cpu_watts: int | None = None
    carbon_g_per_kwh: int | None = None
    carbon_source: str = ""

    def gpu(self, gpu_type: str) -> GpuOffer | None:
        """The offer of that type, or None."""
        return next((offer for offer in self.gpus if offer.type == gpu_type), None)


@dataclass(frozen=True, kw_only=True)
class Capacity:
    """What a site has, as its agent reported it from its Ray cluster, and what others than the federation's runs use of it.

    GPUs are (type, count); used ones whose type nobody tells are of the empty type. `queued` counts what waits in the cluster
    for resources. What the federation's own runs hold is the site's `SiteLoad`: both together are in use.
    """

    cpus: int = 0
    memory_bytes: int = 0
    gpus: tuple[tuple[str, int], ...] = ()
    used_cpus: int = 0
    used_memory_bytes: int = 0
    used_gpus: tuple[tuple[str, int], ...] = ()
    queued: int = 0

    def gpu_count(self, gpu_type: str) -> int:
        """GPUs of that type; of all types where `gpu_type` is empty."""
        return sum(count for name, count in self.gpus if gpu_type in ("", name))


@dataclass(frozen=True, kw_only=True)
class Site:
    """A place that holds replicas and may run jobs: one region, one storage root, at most one Ray cluster, one agent.

    `signing_key` (Ed25519) and `sealing_key` (HPKE, 1,216 bytes) are the agent's public keys, hex, set when it registers.
    `sources` are the store prefixes from which `ingest` may read; nothing else is ever opened. `account` is the billing account
    whose month its egress counts in: sites of one account and region share their tiers; empty is the federation's own.
    `witness_error` is why its agent no longer co-signs the heads of the record, as it last said; empty while all is well.
    `grade` (A, B, C, or empty before it) is what the admission test made of the site at `admit_time`, `admission` what it
    found; `grade_max`, with its reason, is what an administrator holds it down to. `join_time` is when the site was let in.
    `dashboard` is where people of the site's network see its cluster's own dashboard, '' where there is none.
    """

    site: str
    region: str
    jurisdiction: str
    account: str = ""
    gateway: str = ""
    has_compute: bool = False
    offer: Offer = Offer()
    sources: tuple[str, ...] = ()
    signing_key: str = ""
    sealing_key: str = ""
    state: SiteState = SiteState.DECLARED
    capacity: Capacity = Capacity()
    compute_error: str = ""
    grade: str = ""
    admission: tuple[str, ...] = ()
    admit_time: datetime | None = None
    witness_error: str = ""
    grade_max: str = ""
    grade_reason: str = ""
    join_time: datetime | None = None
    dashboard: str = ""
    heartbeat_time: datetime | None = None
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None

    def dashboard_of(self, submission_id: str) -> str:
        """The page of one submission on the cluster's dashboard; '' without either."""
        return f"{self.dashboard}/#/jobs/{submission_id}" if self.dashboard and submission_id else ""


@dataclass(frozen=True, kw_only=True)
class Presence:
    """What a site's agent says of it when it registers, at each of its starts and later: fields of `Site`, in its own words."""

    gateway: str
    signing_key: str
    sealing_key: str
    has_compute: bool
    capacity: Capacity
    compute_error: str = ""
    dashboard: str = ""


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
    requests: int = 0
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class LinkReservation:
    """What quotes in flight will still send in one pricing scope: granted, and neither settled nor given up.

    Added to the month's volume when the next read is priced, so that two jobs never both count on the last of a cheap tier.
    """

    scope: str
    reserved_bytes: int = 0
    requests: int = 0
    grants: int = 0
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class LinkSpeed:
    """What one link was measured to carry: an exponentially weighted mean of whole reads and transfers."""

    source_region: str
    destination_region: str
    bytes_per_second: int
    samples: int = 1
    update_time: datetime | None = None
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
    reserved_bytes: int = 0
    bytes_per_second: int | None = None
