"""Transfers of replicas between sites, and the rules by which people ask for them. Values only."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from federation.core import dataset


class TransferState(StrEnum):
    """Lifecycle of a transfer."""

    PENDING = "PENDING"
    RUNNING = "RUNNING"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"

    @property
    def terminal(self) -> bool:
        return self in (TransferState.SUCCEEDED, TransferState.FAILED, TransferState.CANCELLED)


class TransferCause(StrEnum):
    """Who wants the replica: a job that was placed with a copy, a rule, a person, or an output that must be delivered."""

    JOB = "JOB"
    RULE = "RULE"
    PERSON = "PERSON"
    DELIVERY = "DELIVERY"


@dataclass(frozen=True, kw_only=True)
class Transfer:
    """One version on its way to one site, run by that site's agent. There is at most one live transfer of a version to a site.

    `dataset` is short (`sales/flights`). `after` is a transfer that must have brought the version to `source_site` first.
    `keep_seconds` is how long the replica is kept after it was last read, 0 for always. `bytes_per_second_max` of 0 is no
    limit of its own. `grant` is the read grant at the source, of the present attempt; `failed_sources` are the sources of the
    attempts that failed, in their order. `column_classes` are those whose keys go along beside `default`. It acts for its
    `principal`, with the `role` and the `groups` that they had when they asked for it, and for its jobs as those who submitted
    them.
    """

    transfer: str
    dataset: str
    version: int
    source_site: str
    destination_site: str
    cause: TransferCause = TransferCause.PERSON
    state: TransferState = TransferState.PENDING
    reason: str = ""
    detail: str = ""
    principal: str = ""
    rule: str = ""
    jobs: tuple[str, ...] = ()
    after: str = ""
    keep_seconds: int = 0
    priority: int = 0
    bytes_per_second_max: int = 0
    object_bytes: int = 0
    bytes_done: int = 0
    objects: int = 0
    objects_done: int = 0
    estimate_micros: int = 0
    attempt: int = 0
    grant: str = ""
    failed_sources: tuple[str, ...] = ()
    column_classes: tuple[str, ...] = ()
    role: str = "USER"
    groups: tuple[str, ...] = ()
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    start_time: datetime | None = None
    update_time: datetime | None = None
    end_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ReplicationRule:
    """What people want of a dataset's newest version: `copies` replicas at sites that `site_filter` selects.

    `site_filter` is a listing's filter over region, jurisdiction and site, such as `jurisdiction = "EU"`; empty for any site.
    `lifetime_seconds` ends the rule and, with it, what it made; 0 for ever. It acts for its `principal`, with the `role` and
    the `groups` that they had when they made it.
    """

    rule: str
    dataset: str
    copies: int = 1
    site_filter: str = ""
    lifetime_seconds: int = 0
    principal: str = ""
    role: str = "USER"
    groups: tuple[str, ...] = ()
    reason: str = ""
    detail: str = ""
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class ReadLog:
    """When a version was read at a site, newest last; `paid_micros` and `optimum_micros` sum up what was dropped.

    What it says is the history that `retention` decides from: see there what the two sums mean.
    """

    dataset: str
    version: int
    site: str
    times: tuple[datetime, ...] = ()
    reads: int = 0
    paid_micros: int = 0
    optimum_micros: int = 0
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class StartTransfer:
    """Fetch this version from its source: the signed grant for the source's gateway, where that is and who signs there."""

    transfer: Transfer
    grant: bytes
    gateway: str
    signing_key: str
    dataset_uid: str


@dataclass(frozen=True, kw_only=True)
class StopTransfer:
    """Give this transfer up and remove what it has left, unless it is to be taken up again."""

    transfer: str
    reason: str


@dataclass(frozen=True, kw_only=True)
class DropReplica:
    """Remove a replica: its manifest and every object that no other version at the site has, and the generations' keys."""

    version: str
    sealed: dataset.SealedVersion
