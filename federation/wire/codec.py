"""Values of the core to messages of the contract and back, by one table of class pairs and their type hints.

A field travels under its own name. What differs is told here and nowhere else: a resource's `name` is built from the fields
that make it up, pairs become maps (and come back sorted by key), times become Timestamps, enums carry their type's prefix.
An optional field that is unset is None; an UNSPECIFIED enum, and a message that is absent, is the value's default.
"""

from __future__ import annotations

import dataclasses
import functools
import operator
import types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, NamedTuple, TypeVar

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from federation.core import (
    admission,
    authorization,
    bill,
    budget,
    card,
    chain,
    collection,
    columns,
    dataset,
    discovery,
    erasure,
    errors,
    ids,
    job,
    keys,
    leases,
    lineage,
    metering,
    openlineage,
    people,
    pipeline,
    quota,
    ratecard,
    records,
    site,
    trail,
    transfer,
    variance,
    witness,
)
from federation.v1 import (
    agent_pb2,
    audit_pb2,
    bills_pb2,
    budgets_pb2,
    care_pb2,
    catalog_pb2,
    costs_pb2,
    identity_pb2,
    jobs_pb2,
    keys_pb2,
    leases_pb2,
    ledger_pb2,
    lineage_pb2,
    pipelines_pb2,
    policies_pb2,
    sites_pb2,
    transfers_pb2,
)

M = TypeVar("M", bound=Message)
T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Named:
    """How a resource's name on the wire is made of a value's fields: `build` gives the name, `parse` the fields."""

    fields: frozenset[str]
    build: Callable[[Any], str]
    parse: Callable[[str], dict[str, Any]]


def _version_fields(name: str) -> dict[str, Any]:
    parsed = ids.version(name)
    return {"namespace": parsed.dataset.namespace, "dataset": parsed.dataset.dataset, "number": parsed.number}


def _dataset_fields(name: str) -> dict[str, Any]:
    return ids.dataset(name)._asdict()


def _replica_fields(name: str) -> dict[str, Any]:
    head, _, tail = name.rpartition("/replicas/")
    return {**_version_fields(head), "site": ids.segment(tail, "site")}


def _run_fields(name: str) -> dict[str, Any]:
    return {"run": name, "job": run_job(name)}


def _child(collection: str, field: str) -> Named:
    return Named(
        fields=frozenset({field}),
        build=lambda value: f"{collection}/{getattr(value, field)}",
        parse=lambda name: {field: ids.child(name, collection)},
    )


def _of_site(what: str, *fields: str) -> Named:
    """`sites/eu-1/keyring`: something of a site, told apart by further fields where there are several."""
    return Named(
        fields=frozenset({"site"}),
        build=lambda value: "/".join(("sites", value.site, what, *(str(getattr(value, field)) for field in fields))),
        parse=lambda name: {"site": ids.segment(name.split("/")[1], "site")},
    )


def run_job(name: str) -> str:
    """The job of a run's full name: `jobs/j-1/runs/2` is of `j-1`."""
    parts = name.split("/")
    if len(parts) != 4 or parts[0] != "jobs" or parts[2] != "runs" or not parts[3].isdecimal():
        raise errors.InvalidArgument(
            f"{name!r} does not name a run",
            reason="NAME_INVALID",
            help="Write jobs/JOB/runs/NUMBER.",
            violations={"name": "must be jobs/JOB/runs/NUMBER"},
        )
    return ids.segment(parts[1], "job")


#: Value class -> message class.
PAIRS: dict[type, type[Message]] = {
    dataset.Namespace: catalog_pb2.Namespace,
    quota.NamespaceUsage: catalog_pb2.NamespaceUsage,
    dataset.DataCard: catalog_pb2.DataCard,
    dataset.Dataset: catalog_pb2.Dataset,
    columns.ColumnClass: catalog_pb2.ColumnClass,
    card.CardFact: catalog_pb2.CardFact,
    card.Explained: catalog_pb2.ExplainedCard,
    discovery.Span: catalog_pb2.Span,
    discovery.Match: catalog_pb2.Match,
    discovery.Found: catalog_pb2.FoundDataset,
    dataset.Version: catalog_pb2.Version,
    dataset.Replica: catalog_pb2.Replica,
    dataset.WrappedKey: agent_pb2.WrappedKey,
    dataset.NewVersion: agent_pb2.NewVersion,
    dataset.SealedVersion: agent_pb2.SealedVersion,
    keys.SiteKeyring: keys_pb2.SiteKeyring,
    keys.KeyUse: keys_pb2.KeyUse,
    keys.Custodian: keys_pb2.Custodian,
    keys.Escrow: keys_pb2.Escrow,
    keys.Approval: keys_pb2.Approval,
    keys.Opening: keys_pb2.Opening,
    keys.EscrowedKey: agent_pb2.EscrowedKey,
    keys.RotateKeys: agent_pb2.RotateKeys,
    keys.FillEscrow: agent_pb2.FillEscrow,
    keys.OpenEscrow: agent_pb2.OpenEscrow,
    site.GpuOffer: sites_pb2.GpuOffer,
    site.Offer: sites_pb2.Offer,
    site.Capacity: sites_pb2.Capacity,
    site.Site: sites_pb2.Site,
    admission.Finding: agent_pb2.AdmissionFinding,
    people.Token: identity_pb2.Token,
    people.SignIn: identity_pb2.Issuer,
    site.Link: sites_pb2.Link,
    job.InputSpec: jobs_pb2.InputSpec,
    job.OutputSpec: jobs_pb2.OutputSpec,
    job.Resources: jobs_pb2.Resources,
    job.JobRequest: jobs_pb2.JobRequest,
    job.Rejection: jobs_pb2.Rejection,
    job.InputPlan: jobs_pb2.InputPlan,
    job.PastAttempt: jobs_pb2.PastAttempt,
    job.Counterfactual: jobs_pb2.Counterfactual,
    job.Candidate: jobs_pb2.Candidate,
    job.Plan: jobs_pb2.Plan,
    job.Job: jobs_pb2.Job,
    job.Run: jobs_pb2.Run,
    job.InputAssignment: agent_pb2.InputAssignment,
    job.OutputAssignment: agent_pb2.OutputAssignment,
    job.StartRun: agent_pb2.StartRun,
    job.StopRun: agent_pb2.StopRun,
    transfer.Transfer: transfers_pb2.Transfer,
    transfer.ReplicationRule: transfers_pb2.ReplicationRule,
    transfer.StartTransfer: agent_pb2.StartTransfer,
    transfer.StopTransfer: agent_pb2.StopTransfer,
    transfer.DropReplica: agent_pb2.DropReplica,
    leases.Asked: agent_pb2.IssueLeaseRequest,
    leases.Lease: leases_pb2.Lease,
    erasure.SiteErasure: leases_pb2.SiteErasure,
    erasure.Erasure: leases_pb2.Erasure,
    erasure.EraseGenerations: agent_pb2.EraseGenerations,
    pipeline.TaskSpec: pipelines_pb2.TaskSpec,
    pipeline.PipelineRequest: pipelines_pb2.PipelineRequest,
    pipeline.TaskPlan: pipelines_pb2.TaskPlan,
    pipeline.TaskRejection: pipelines_pb2.TaskRejection,
    pipeline.PipelinePlan: pipelines_pb2.PipelinePlan,
    pipeline.TaskRun: pipelines_pb2.TaskRun,
    pipeline.Pipeline: pipelines_pb2.Pipeline,
    metering.LedgerEntry: costs_pb2.LedgerEntry,
    metering.CostSummary: costs_pb2.CostSummary,
    metering.Traffic: agent_pb2.Traffic,
    metering.UsageRecord: costs_pb2.Usage,
    collection.Judged: care_pb2.CollectedVersion,
    bill.Bill: bills_pb2.Bill,
    bill.LinkReconciliation: bills_pb2.LinkReconciliation,
    bill.Reconciliation: bills_pb2.Reconciliation,
    budget.Budget: budgets_pb2.Budget,
    authorization.PolicyRevision: policies_pb2.PolicyRevision,
    authorization.PolicyFlip: policies_pb2.PolicyFlip,
    ratecard.TierUse: costs_pb2.TierUse,
    ratecard.Quote: costs_pb2.PriceEgressResponse,
    ratecard.CardInfo: costs_pb2.RateCard,
    variance.Variance: costs_pb2.Variance,
    openlineage.Received: lineage_pb2.ReceiveOpenLineageResponse,
    chain.SignedHead: ledger_pb2.RecordHead,
    chain.Finding: ledger_pb2.Finding,
    chain.Verification: ledger_pb2.Verification,
    witness.Cosignature: audit_pb2.Cosignature,
    witness.HeadRefusal: audit_pb2.HeadRefusal,
    witness.WitnessCount: audit_pb2.WitnessCount,
    witness.AuditVerification: audit_pb2.AuditVerification,
    trail.AuditRow: audit_pb2.AuditEntry,
    lineage.RunFact: lineage_pb2.RunFact,
    lineage.Edge: lineage_pb2.LineageEdge,
    lineage.ColumnSource: lineage_pb2.ColumnSource,
    lineage.InputColumns: lineage_pb2.InputColumns,
    lineage.OutputColumns: lineage_pb2.OutputColumns,
    lineage.LineageReport: lineage_pb2.LineageReport,
    lineage.NodeInfo: lineage_pb2.NodeInfo,
    lineage.Graph: lineage_pb2.LineageGraph,
    lineage.Sighting: lineage_pb2.Sighting,
    lineage.Sightings: lineage_pb2.Sightings,
    lineage.Affected: lineage_pb2.Affected,
    lineage.Reader: lineage_pb2.Reader,
    lineage.Impact: lineage_pb2.Impact,
    lineage.Binding: lineage_pb2.ResidencyBinding,
    lineage.ResidencyFact: lineage_pb2.ResidencyFact,
    lineage.Reason: lineage_pb2.Reason,
    lineage.Why: lineage_pb2.Why,
    lineage.Difference: lineage_pb2.Difference,
    lineage.IndexCheck: lineage_pb2.IndexCheck,
}

NAMES: dict[type, Named] = {
    dataset.Namespace: _child("namespaces", "name"),
    dataset.Dataset: Named(
        fields=frozenset({"namespace", "dataset"}), build=lambda value: value.name.resource, parse=_dataset_fields
    ),
    discovery.Found: Named(fields=frozenset(), build=lambda value: value.dataset.name.resource, parse=lambda _: {}),
    dataset.Version: Named(
        fields=frozenset({"namespace", "dataset", "number"}), build=lambda value: value.name.resource, parse=_version_fields
    ),
    dataset.Replica: Named(
        fields=frozenset({"namespace", "dataset", "number", "site"}),
        build=lambda value: value.version.replica(value.site),
        parse=_replica_fields,
    ),
    site.Site: _child("sites", "site"),
    site.Link: Named(
        fields=frozenset(),
        build=lambda value: f"links/{value.source_region}~{value.destination_region}",
        parse=lambda _: {},
    ),
    job.Job: _child("jobs", "job"),
    job.Run: Named(fields=frozenset({"run", "job"}), build=lambda value: value.run, parse=_run_fields),
    metering.LedgerEntry: _child("ledgerEntries", "entry"),
    metering.UsageRecord: Named(fields=frozenset(), build=lambda value: f"usage/{value.usage}", parse=lambda _: {}),
    ratecard.CardInfo: Named(fields=frozenset(), build=lambda value: f"rateCards/{value.number}", parse=lambda _: {}),
    chain.SignedHead: Named(
        fields=frozenset(), build=lambda value: f"recordHeads/{value.table}/{value.position}", parse=lambda _: {}
    ),
    transfer.Transfer: _child("transfers", "transfer"),
    transfer.ReplicationRule: _child("replicationRules", "rule"),
    pipeline.Pipeline: _child("pipelines", "pipeline"),
    trail.AuditRow: Named(fields=frozenset(), build=lambda value: f"auditEntries/{value.position}", parse=lambda _: {}),
    bill.Bill: _child("bills", "bill"),
    budget.Budget: _child("budgets", "budget"),
    keys.SiteKeyring: _of_site("keyring"),
    keys.KeyUse: _of_site("keyUses", "dataset"),
    keys.Escrow: _child("escrows", "escrow"),
    keys.Opening: _child("openings", "opening"),
    leases.Lease: _child("leases", "lease"),
    erasure.Erasure: _child("erasures", "erasure"),
    people.Token: _child("tokens", "token"),
}

#: Fields that stay on one side on purpose, each with the reason.
NOT_CARRIED: dict[type, Mapping[str, str]] = {
    transfer.Transfer: {
        "grant": "bookkeeping of the catalog; the agent gets the signed grant itself",
        "failed_sources": "bookkeeping of the catalog: what it chooses the next attempt's source by",
        "role": "for whom the policy is asked again while it runs; nobody else's business",
        "groups": "as `role`",
    },
    job.Run: {
        "grants": "ids of read grants are bookkeeping of the catalog; the agent gets the signed grants themselves",
        "held": "what a job asked for is told with the job, and the GPU type with the run",
        "expected_seconds": "the job's plan tells it",
    },
}

_VALUES: dict[type[Message], type] = {message: value for value, message in PAIRS.items()}
_MESSAGES: dict[str, type[Message]] = {message.DESCRIPTOR.full_name: message for message in _VALUES}


@typing.overload
def to_message(value: Any) -> Message: ...
@typing.overload
def to_message(value: Any, cls: type[M]) -> M: ...
def to_message(value: Any, cls: type[Message] = Message) -> Message:
    """The message that mirrors a value; InvalidArgument (VALUE_OUT_OF_RANGE) for what the contract's types cannot hold.

    `cls` says which message the caller knows it to be.
    """
    kind: type = type(value)
    assert issubclass(PAIRS[kind], cls), f"{kind.__name__} is not sent as {cls.__name__}"
    told = _told(value)
    try:
        return PAIRS[kind](**told)
    except (ValueError, TypeError):
        _name_what_cannot_be_sent(PAIRS[kind], told)
        raise


def to_value(message: Message) -> Any:
    """The value that a message mirrors; InvalidArgument for a name, an enum or a missing field that no value can have."""
    way = _way(_VALUES[type(message)])
    found = dict(zip(way.taken, way.take(message), strict=True))
    for name, decode in way.decoded:
        found[name] = decode(message)
    if way.named:
        found.update(way.named.parse(getattr(message, "name")))  # noqa: B009 - Message has no `name` that mypy knows of
    return way.cls(**found) if way.makes_itself else records.made(way.cls, found)


def from_time(time: datetime) -> Timestamp:
    """A time as Timestamp, to the microsecond."""
    stamp = Timestamp()
    stamp.FromDatetime(time)
    return stamp


def to_time(stamp: Timestamp) -> datetime:
    """A Timestamp as UTC time; InvalidArgument (TIME_INVALID) for one out of range."""
    try:
        return stamp.ToDatetime(UTC)
    except (ValueError, OverflowError):
        raise errors.InvalidArgument(
            f"{stamp.seconds} s and {stamp.nanos} ns since 1970 are no time",
            reason="TIME_INVALID",
            help="Use a time of the years 1 to 9999.",
        ) from None


class _Field(NamedTuple):
    """One field of a value and how it travels. `inner` is the hint without None, `item` that of a tuple's items."""

    name: str
    inner: Any
    item: Any
    optional: bool
    default: Any
    prefix: str

    @property
    def sent_as_it_is(self) -> bool:
        """Whether a message takes the field's item as the value has it; what is None it passes over."""
        if self.item is not None:
            return self.item not in PAIRS and typing.get_origin(self.item) is not tuple
        return self.inner not in PAIRS and self.inner is not datetime and not self.prefix

    @property
    def taken_as_it_is(self) -> bool:
        """Whether a value takes what a message answers for the field, whatever was set."""
        return self.item is None and self.sent_as_it_is and not self.optional


class _Way(NamedTuple):
    """How values of a class travel, found once for each class: most fields as they are, by one call; the rest one by one."""

    cls: type
    named: Named | None
    makes_itself: bool
    sent: tuple[str, ...]
    look: Callable[[Any], tuple[Any, ...]]
    encoded: tuple[tuple[str, Callable[[Any], Any]], ...]
    taken: tuple[str, ...]
    take: Callable[[Message], tuple[Any, ...]]
    decoded: tuple[tuple[str, Callable[[Message], Any]], ...]


@functools.cache
def _way(cls: type[Any]) -> _Way:
    kind: type = cls
    hints = typing.get_type_hints(cls)
    named = NAMES.get(cls)
    elsewhere = (named.fields if named else frozenset()) | set(NOT_CARRIED.get(cls, ()))
    wire = PAIRS[cls].DESCRIPTOR.fields_by_name
    # A replica's site is told twice on the wire: within its name, and as a field of its own.
    also = {"site"} if cls is dataset.Replica else set()
    fields = [
        _field(field, hints[field.name], wire[field.name])
        for field in dataclasses.fields(cls)
        if field.name not in elsewhere or field.name in also
    ]
    sent = tuple(field.name for field in fields if field.sent_as_it_is)
    taken = tuple(field.name for field in fields if field.taken_as_it_is)
    return _Way(
        cls=cls,
        named=named,
        makes_itself=records.makes_itself(kind),
        sent=sent,
        look=records.getter(sent),
        encoded=tuple((field.name, _encoder(field)) for field in fields if not field.sent_as_it_is),
        taken=taken,
        take=records.getter(taken),
        decoded=tuple((field.name, _decoder(field, wire[field.name])) for field in fields if not field.taken_as_it_is),
    )


def _field(field: dataclasses.Field[Any], hint: Any, wire: Any) -> _Field:
    optional = typing.get_origin(hint) in (types.UnionType, typing.Union)
    inner = next(arg for arg in typing.get_args(hint) if arg is not types.NoneType) if optional else hint
    item = typing.get_args(inner)[0] if typing.get_origin(inner) is tuple else None
    enum = wire.enum_type
    return _Field(
        name=field.name,
        inner=inner,
        item=item,
        optional=optional,
        default=field.default if field.default_factory is dataclasses.MISSING else field.default_factory(),
        prefix=enum.values[0].name.removesuffix("UNSPECIFIED") if enum else "",
    )


def _told(value: Any) -> dict[str, Any]:
    """What the value's message is made of: values within it as such dicts, too, for protobuf to make all of them at once."""
    kind: type = type(value)
    way = _way(kind)
    told = dict(zip(way.sent, way.look(value), strict=True))
    for name, encode in way.encoded:
        item = getattr(value, name)
        if item is not None:
            told[name] = encode(item)
    if way.named:
        told["name"] = way.named.build(value)
    return told


def _encoder(field: _Field) -> Callable[[Any], Any]:
    """A function that turns a field's item into what its message is made of."""
    if field.item in PAIRS:
        return lambda item: [_told(each) for each in item]
    if field.item is not None:
        return dict
    if field.inner in PAIRS:
        return _told
    return from_time if field.inner is datetime else lambda item: f"{field.prefix}{item}"


def _name_what_cannot_be_sent(message: type[Message], told: Mapping[str, Any]) -> None:
    """InvalidArgument with the innermost field that the contract's type cannot hold; nothing where there is none."""
    for name, item in told.items():
        within = message.DESCRIPTOR.fields_by_name[name].message_type
        inner = _MESSAGES.get(within.full_name) if within else None
        if inner is not None:
            for each in item if isinstance(item, list) else [item]:
                _name_what_cannot_be_sent(inner, each)
        _guarded(name, functools.partial(message, **{name: item}))


def assign(message: Message, name: str, item: Any) -> None:
    """Sets a field; InvalidArgument (VALUE_OUT_OF_RANGE) for what its type cannot hold."""
    _guarded(name, lambda: setattr(message, name, item))


def _guarded(name: str, put: Callable[[], object]) -> None:
    try:
        put()
    except (ValueError, TypeError) as error:
        raise errors.InvalidArgument(
            f"{name} holds a value that cannot be sent: {error}",
            reason="VALUE_OUT_OF_RANGE",
            help="Integers must fit in 64 bits and text must be valid Unicode.",
            violations={name: str(error)},
        ) from None


def _decoder(field: _Field, wire: Any) -> Callable[[Message], Any]:
    """A function that turns what a message holds for a field's item into the item."""
    read = operator.attrgetter(field.name)
    if field.item is not None:
        if typing.get_origin(field.item) is tuple:
            return lambda message: tuple(sorted(read(message).items()))
        return (
            (lambda message: tuple(map(to_value, read(message))))
            if field.item in PAIRS
            else lambda message: tuple(read(message))
        )
    if field.inner in PAIRS or field.inner is datetime or field.optional:
        make = to_value if field.inner in PAIRS else to_time if field.inner is datetime else _itself
        return lambda message: make(read(message)) if message.HasField(field.name) else _absent(message, field)
    names = {number: value.name.removeprefix(field.prefix) for number, value in wire.enum_type.values_by_number.items()}
    return lambda message: _decoded_enum(message, field, names, read(message))


def _itself(item: Any) -> Any:
    return item


def _decoded_enum(message: Message, field: _Field, names: Mapping[int, str], number: int) -> StrEnum:
    if not number:
        return typing.cast("StrEnum", _absent(message, field))
    if number not in names:
        raise errors.InvalidArgument(
            f"{field.name} has no value number {number}",
            reason="ENUM_UNKNOWN",
            help="The sender may be of a newer version than this side.",
            violations={field.name: f"unknown value {number}"},
        )
    return typing.cast("StrEnum", field.inner(names[number]))


def _absent(message: Message, field: _Field) -> Any:
    if field.default is not dataclasses.MISSING:
        return field.default
    if field.optional:
        return None
    if field.inner in PAIRS:
        return to_value(PAIRS[field.inner]())
    raise errors.InvalidArgument(
        f"{message.DESCRIPTOR.name} lacks {field.name}",
        reason="FIELD_MISSING",
        violations={field.name: "is required"},
    )
