"""How each stored kind of value is keyed: one row here for each table of the catalog.

`key` orders a listing and is unique; `parent` is what a listing is narrowed by; `columns` are the fields that a listing may be
filtered by (they become indexed columns in SQL).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from federation.core import (
    authorization,
    bill,
    budget,
    chain,
    dataset,
    discovery,
    erasure,
    events,
    job,
    keys,
    leases,
    lineage,
    metering,
    openlineage,
    pipeline,
    policy,
    profile,
    quota,
    site,
    transfer,
)
from federation.core.grants import Access


@dataclass(frozen=True, kw_only=True)
class TokenRecord:
    """A person's API token as it is stored: SHA-256 of the secret, never the secret. `token` is what it is known by.

    `creator` is who made it (`users/root`, or `server` for those that the settings declare), `made_with` the token that they
    showed: what was made with a token ends when that one is taken back.
    """

    token: str
    digest: str
    user: str
    role: policy.Role
    jurisdiction: str = ""
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    creator: str = ""
    made_with: str = ""
    create_time: datetime | None = None
    expire_time: datetime | None = None
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class JoinRecord:
    """A join token as it is stored: SHA-256 of its secret, and for which site it is good, at which hosts.

    Once it was used, `used_for` is SHA-256 of the certificate request it was used with, and `certificate` (PEM) the answer.
    """

    join: str
    digest: str
    site: str
    hosts: tuple[str, ...]
    create_time: datetime
    expire_time: datetime
    use_time: datetime | None = None
    used_for: str = ""
    certificate: str = ""
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class PackageAlias:
    """What `principal` calls a package of a working directory: a name is theirs alone, so nobody puts code in its place."""

    principal: str
    alias: str
    digest: str
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class GrantRecord:
    """A grant that was issued: to READ, until `entry`, the ledger entry, settled it; to WRITE, until a version came of it.

    Holds what the ledger entry needs, frozen when the grant was issued: the estimate and the baseline of the plan.
    `reserved_bytes` and `reserved_micros` are counted in the reservations of the link and of its budgets' scopes until the
    grant is settled or given up. `account` is the source's; `payer` is the namespace that is charged, `label` the job's.
    `version` of a WRITE grant is 0 until it has committed one. `closed` grants open nothing any more. A READ may
    have the keys of `column_classes` beside `default`. `holder` is the person whose grant it is, as they were let in: what they
    may is asked again at each lease, for the `purpose` of then, and what is taken back from them takes it along.
    """

    grant: str
    run: str = ""
    job: str = ""
    attempt: int = 0
    principal: str
    alias: str = ""
    namespace: str
    dataset: str
    version: int
    source_site: str
    source_region: str
    reader_site: str = ""
    reader_region: str
    estimate_bytes: int = 0
    estimate_micros: int = 0
    baseline_micros: int | None = None
    expire_time: datetime
    access: Access = Access.READ
    closed: bool = False
    entry: str = ""
    transfer: str = ""
    account: str = ""
    reserved_bytes: int = 0
    reserved_micros: int = 0
    payer: str = ""
    label: str = ""
    column_classes: tuple[str, ...] = ()
    holder: policy.Principal | None = None
    purpose: str = ""
    close_time: datetime | None = None
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class CommitterLease:
    """Who carries events to one table of the record, until when, and how far they are.

    `position` is that of the last event that the table took. Every event up to `carried` that is the table's is in it; up to
    `sealed` another durable commit has followed the one that holds them, so that the log may let go of them.
    """

    table: str
    holder: str = ""
    expire_time: datetime
    position: int = 0
    carried: int = 0
    sealed: int = 0
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Which server does, until when, what one of those that share a catalog is enough for. See `services.turns`."""

    name: str
    holder: str
    expire_time: datetime


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What servers of a catalog have alike: `grant_key` as the first of them had it, `entrance` as the last to start has it."""

    name: str
    value: str


@dataclass(frozen=True, kw_only=True)
class RateCardVersion:
    """One state of the federation's prices, as it was imported: `number` counts from 1, the newest is used.

    `egress` and `compute` are the whole card as CSV text, so that any past charge can be priced again.
    """

    number: int
    egress: str
    compute: str
    digest: str
    note: str = ""
    principal: str = ""
    create_time: datetime | None = None
    etag: str = ""


@dataclass(frozen=True, kw_only=True)
class Kind:
    """One stored kind: its table, its key, its parent and the columns that listings may filter by.

    `remembered` are small values that every placement looks at: what was read once is not decoded again, nor are they listed
    again before one of them has changed. `numbered` ones of them are only ever added, under numbers without gaps: the newest
    says which state they are in, whoever added it. `terms` are what a value is found by, sorted (`core.terms`); it may look at
    other values that the same transaction sees.
    """

    table: str
    key: Callable[[Any], str]
    parent: Callable[[Any], str] = lambda _: ""
    columns: Mapping[str, Callable[[Any], str]] | None = None
    remembered: bool = False
    numbered: bool = False
    terms: Callable[[Lookup, Any], tuple[str, ...]] | None = None


#: The value of a class under a key, or None.
Lookup = Callable[[type, str], Any]


def _flag(filled: object) -> str:
    return "1" if filled else ""


def version_key(namespace: str, name: str, number: int) -> str:
    """Keys of versions sort by number: `sales/flights@0000000003`."""
    return f"{namespace}/{name}@{number:010d}"


def newest_key(stored: dataset.Dataset) -> str:
    """The key of a dataset's newest version."""
    return version_key(stored.namespace, stored.dataset, stored.latest_version)


def columns_of(lookup: Lookup, stored: dataset.Dataset) -> tuple[str, ...]:
    """The names of the columns of a dataset's newest version, as far as its files tell them."""
    if not stored.latest_version:
        return ()
    newest = lookup(dataset.Version, newest_key(stored))
    return () if newest is None else tuple(name for name, _ in newest.columns)


KINDS: dict[type, Kind] = {
    dataset.Namespace: Kind(table="namespaces", key=lambda v: v.name, remembered=True),
    dataset.Dataset: Kind(
        remembered=True,
        table="datasets",
        key=lambda v: v.name.short,
        parent=lambda v: v.namespace,
        columns={"kind": lambda v: str(v.kind), "owner": lambda v: v.owner, "deleted": lambda v: _flag(v.delete_time)},
        terms=lambda lookup, v: discovery.terms_of(v, columns_of(lookup, v)),
    ),
    dataset.Inherited: Kind(table="inherited", key=lambda v: v.dataset),
    dataset.Version: Kind(
        remembered=True,
        table="versions",
        key=lambda v: version_key(v.namespace, v.dataset, v.number),
        parent=lambda v: f"{v.namespace}/{v.dataset}",
        columns={"run": lambda v: v.run, "signed_by": lambda v: v.signed_by},
    ),
    dataset.Replica: Kind(
        remembered=True,
        table="replicas",
        key=lambda v: f"{version_key(v.namespace, v.dataset, v.number)}/{v.site}",
        parent=lambda v: f"{v.namespace}/{v.dataset}",
        columns={
            "site": lambda v: v.site,
            "version": lambda v: str(v.number),
            "state": lambda v: str(v.state),
            "expires": lambda v: _flag(v.expire_time),
        },
    ),
    dataset.WrappedKey: Kind(
        table="wrapped_keys",
        key=lambda v: f"{v.generation}/{v.site}/{v.sensitivity}",
        parent=lambda v: v.generation,
        columns={"site": lambda v: v.site, "dataset_uid": lambda v: v.dataset_uid, "kek": lambda v: v.kek},
    ),
    keys.SiteKeyring: Kind(table="site_keyrings", key=lambda v: v.site),
    keys.Escrow: Kind(table="escrows", key=lambda v: v.escrow, columns={"site": lambda v: v.site}),
    keys.EscrowedKey: Kind(
        table="escrowed_keys",
        key=lambda v: f"{v.escrow}/{v.generation}/{v.sensitivity}",
        parent=lambda v: v.escrow,
        columns={"dataset_uid": lambda v: v.dataset_uid},
    ),
    keys.Opening: Kind(
        table="openings", key=lambda v: v.opening, columns={"site": lambda v: v.site, "state": lambda v: str(v.state)}
    ),
    site.Site: Kind(
        remembered=True,
        table="sites",
        key=lambda v: v.site,
        columns={"region": lambda v: v.region, "state": lambda v: str(v.state)},
    ),
    site.SiteLoad: Kind(table="site_loads", key=lambda v: v.site, remembered=True),
    site.LinkVolume: Kind(
        table="link_volumes", key=lambda v: f"{v.month}/{v.scope}", parent=lambda v: v.month, remembered=True
    ),
    job.Job: Kind(
        table="jobs",
        key=lambda v: v.job,
        parent=lambda v: v.request.namespace,
        columns={
            "state": lambda v: str(v.state),
            "kind": lambda v: str(v.request.kind),
            "label": lambda v: v.request.label,
            "principal": lambda v: v.request.principal,
            "pipeline": lambda v: v.request.pipeline,
            "submission_id": lambda v: v.request.submission_id,
        },
    ),
    job.Run: Kind(
        remembered=True,
        table="runs",
        key=lambda v: v.run,
        parent=lambda v: v.job,
        columns={"state": lambda v: str(v.state), "site": lambda v: v.site},
    ),
    metering.LedgerEntry: Kind(
        table="ledger_entries",
        key=lambda v: v.entry,
        columns={
            "job": lambda v: v.job,
            "run": lambda v: v.run,
            "grant": lambda v: v.grant,
            "month": lambda v: v.month,
            "namespace": lambda v: v.namespace,
            "dataset": lambda v: v.dataset,
            "source_region": lambda v: v.source_region,
            "destination_region": lambda v: v.destination_region,
            "transfer": lambda v: v.transfer,
        },
    ),
    metering.UsageRecord: Kind(
        table="usage",
        key=lambda v: v.usage,
        parent=lambda v: v.grant,
        columns={
            "grant": lambda v: v.grant,
            "run": lambda v: v.run,
            "job": lambda v: v.job,
            "counter": lambda v: str(v.counter),
            "dataset": lambda v: v.dataset,
            "source_region": lambda v: v.source_region,
            "destination_region": lambda v: v.destination_region,
        },
    ),
    lineage.RunFact: Kind(table="lineage_runs", key=lambda v: v.run, parent=lambda v: v.job),
    lineage.Edge: Kind(
        table="lineage_edges",
        key=lambda v: f"{v.run}/{v.direction}/{v.alias}",
        parent=lambda v: v.run,
        columns={"direction": lambda v: v.direction},
    ),
    lineage.ResidencyFact: Kind(
        table="residency_facts", key=lambda v: f"{v.dataset}@{v.number:010d}", parent=lambda v: v.dataset
    ),
    openlineage.ForeignRun: Kind(
        table="foreign_runs",
        key=lambda v: v.run,
        parent=lambda v: v.job_namespace,
        columns={"principal": lambda v: v.principal},
    ),
    events.Cursor: Kind(table="cursors", key=lambda v: v.name),
    TokenRecord: Kind(
        table="tokens", key=lambda v: v.token, columns={"user": lambda v: v.user, "made_with": lambda v: v.made_with}
    ),
    PackageAlias: Kind(table="package_aliases", key=lambda v: f"{v.principal}/{v.alias}", parent=lambda v: v.principal),
    JoinRecord: Kind(table="joins", key=lambda v: v.join, columns={"site": lambda v: v.site}),
    GrantRecord: Kind(
        table="grants",
        key=lambda v: v.grant,
        columns={
            "run": lambda v: v.run,
            "source_site": lambda v: v.source_site,
            "closed": lambda v: _flag(v.closed),
            "reserved": lambda v: _flag(v.reserved_bytes),
            "transfer": lambda v: v.transfer,
        },
    ),
    leases.Lease: Kind(
        table="leases",
        key=lambda v: v.lease,
        parent=lambda v: v.short,
        columns={
            "version": lambda v: v.short,
            "dataset": lambda v: v.dataset,
            "run": lambda v: v.run,
            "site": lambda v: v.site,
            "principal": lambda v: v.principal,
        },
    ),
    erasure.Erasure: Kind(
        table="erasures",
        key=lambda v: v.erasure,
        columns={"dataset": lambda v: v.dataset, "state": lambda v: str(v.state)},
    ),
    erasure.StoredCertificate: Kind(table="certificates", key=lambda v: v.erasure),
    CommitterLease: Kind(table="committer_leases", key=lambda v: v.table),
    Turn: Kind(table="turns", key=lambda v: v.name),
    Agreement: Kind(table="agreements", key=lambda v: v.name),
    RateCardVersion: Kind(remembered=True, table="rate_cards", key=lambda v: f"{v.number:010d}"),
    site.LinkReservation: Kind(table="link_reservations", key=lambda v: v.scope, remembered=True),
    site.LinkSpeed: Kind(
        remembered=True,
        table="link_speeds",
        key=lambda v: f"{v.source_region}~{v.destination_region}",
        columns={"source_region": lambda v: v.source_region, "destination_region": lambda v: v.destination_region},
    ),
    profile.JobProfile: Kind(
        remembered=True, table="job_profiles", key=lambda v: f"{v.namespace}/{v.label}", parent=lambda v: v.namespace
    ),
    quota.ShareUse: Kind(table="share_use", key=lambda v: f"{v.namespace}/{v.meter}", parent=lambda v: v.namespace),
    quota.NamespaceUsage: Kind(table="namespace_usage", key=lambda v: f"{v.month}/{v.namespace}", parent=lambda v: v.month),
    transfer.Transfer: Kind(
        remembered=True,
        table="transfers",
        key=lambda v: v.transfer,
        parent=lambda v: v.dataset,
        columns={
            "state": lambda v: str(v.state),
            "live": lambda v: _flag(not v.state.terminal),
            "cause": lambda v: str(v.cause),
            "dataset": lambda v: v.dataset,
            "version": lambda v: str(v.version),
            "source_site": lambda v: v.source_site,
            "destination_site": lambda v: v.destination_site,
            "rule": lambda v: v.rule,
        },
    ),
    transfer.ReplicationRule: Kind(
        table="replication_rules", key=lambda v: v.rule, parent=lambda v: v.dataset, columns={"dataset": lambda v: v.dataset}
    ),
    transfer.ReadLog: Kind(
        remembered=True,
        table="read_logs",
        key=lambda v: f"{v.dataset}@{v.version:010d}/{v.site}",
        parent=lambda v: f"{v.dataset}@{v.version}",
    ),
    chain.SignedHead: Kind(
        table="record_heads",
        key=lambda v: f"{v.table}/{v.position:020d}",
        parent=lambda v: v.table,
        columns={"table": lambda v: v.table},
    ),
    pipeline.Pipeline: Kind(
        table="pipelines",
        key=lambda v: v.pipeline,
        parent=lambda v: v.request.namespace,
        columns={
            "state": lambda v: str(v.state),
            "live": lambda v: _flag(not v.state.terminal),
            "label": lambda v: v.request.label,
            "principal": lambda v: v.request.principal,
        },
    ),
    budget.Budget: Kind(
        remembered=True,
        table="budgets",
        key=lambda v: v.budget,
        columns={"scope": lambda v: v.scope, "hard": lambda v: _flag(v.hard)},
    ),
    budget.Spend: Kind(table="spends", key=lambda v: f"{v.month}/{v.scope}", parent=lambda v: v.month),
    budget.Reserve: Kind(table="reserves", key=lambda v: v.scope),
    budget.Alert: Kind(
        table="alerts", key=lambda v: f"{v.month}/{v.budget}/{v.percent:04d}", parent=lambda v: f"{v.month}/{v.budget}"
    ),
    bill.Bill: Kind(
        table="bills",
        key=lambda v: v.bill,
        columns={"provider": lambda v: v.provider, "account": lambda v: v.account, "month": lambda v: v.month},
    ),
    bill.LinkCharge: Kind(
        table="link_charges",
        key=lambda v: f"{v.bill}/{v.version:06d}/{v.account}/{v.link}",
        parent=lambda v: f"{v.bill}/{v.version}",
    ),
    authorization.PolicyRevision: Kind(
        table="policy_revisions", key=lambda v: f"{v.number:010d}", remembered=True, numbered=True
    ),
    bill.Reconciliation: Kind(table="reconciliations", key=lambda v: f"{v.month}/{v.provider}", parent=lambda v: v.month),
}
