"""Watching: what people are told of the log as it grows, under which permission, and the filter by which they choose. Pure.

A kind of event that is not named here is told to nobody: what is new in the log stays there until somebody has thought of it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from federation.core import (
    authorization,
    bill,
    budget,
    conditions,
    dataset,
    erasure,
    errors,
    job,
    pipeline,
    ratecard,
    records,
    site,
    transfer,
)
from federation.core.conditions import And, Compare, Condition, Not, Or, Shape
from federation.core.events import Event


class Subject(NamedTuple):
    """Something that an event tells to be there: a `dataset` (`sales/flights`), a `namespace`, or the `scope` of a budget."""

    kind: Literal["dataset", "namespace", "scope"]
    name: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """One type of resource as it is watched: whoever has `permission` may be told of it, as they may get it.

    `value` is what its events hold. `subject` says of what it tells that it is there: it is told to those alone who may know
    of that. Without one all are told, and names in it that its caller may not know of become tokens on their way out.
    `dataset` and `namespace` are what a filter means.
    """

    collection: str
    permission: str
    value: type
    subject: Callable[[str, Any], Subject | None] = lambda _name, _value: None
    dataset: Callable[[str, Any], str] = lambda _name, _value: ""
    namespace: Callable[[str, Any], str] = lambda _name, _value: ""


def _named_dataset(name: str, _value: Any) -> str:
    """`sales/flights` of `namespaces/sales/datasets/flights` and of everything below it."""
    parts = name.split("/")
    return f"{parts[1]}/{parts[3]}" if len(parts) > 3 else ""


def _held_dataset(_name: str, value: Any) -> str:
    return "" if value is None else str(value.dataset)


def _of_dataset(type_: str, permission: str, value: type, which: Callable[[str, Any], str]) -> Told:
    return Told(
        collection=type_,
        permission=permission,
        value=value,
        subject=lambda name, stored: Subject("dataset", which(name, stored)),
        dataset=which,
        namespace=lambda name, stored: which(name, stored).partition("/")[0],
    )


def _asked_namespace(_name: str, value: Any) -> str:
    return "" if value is None else str(value.request.namespace)


#: The first word of an event's kind -> how it is told. Some kinds go another way: see `EXCEPTIONS`.
TOLD: Mapping[str, Told] = MappingProxyType(
    {
        "namespace": Told(
            collection="namespaces",
            permission="namespaces.get",
            value=dataset.Namespace,
            subject=lambda name, _: Subject("namespace", name.removeprefix("namespaces/")),
            namespace=lambda name, _: name.removeprefix("namespaces/"),
        ),
        "dataset": _of_dataset("datasets", "datasets.get", dataset.Dataset, _named_dataset),
        "version": _of_dataset("versions", "versions.get", dataset.Version, _named_dataset),
        "replica": _of_dataset("replicas", "replicas.get", dataset.Replica, _named_dataset),
        "job": Told(collection="jobs", permission="jobs.get", value=job.Job, namespace=_asked_namespace),
        "run": Told(collection="runs", permission="jobs.get", value=job.Run),
        "pipeline": Told(
            collection="pipelines", permission="pipelines.get", value=pipeline.Pipeline, namespace=_asked_namespace
        ),
        "transfer": _of_dataset("transfers", "transfers.get", transfer.Transfer, _held_dataset),
        "rule": _of_dataset("replicationRules", "rules.get", transfer.ReplicationRule, _held_dataset),
        "site": Told(collection="sites", permission="sites.get", value=site.Site),
        "budget": Told(
            collection="budgets",
            permission="budgets.get",
            value=budget.Budget,
            subject=lambda _, value: Subject("scope", "" if value is None else value.scope),
        ),
        "erasure": _of_dataset("erasures", "erasures.get", erasure.Erasure, _held_dataset),
        "bill": Told(collection="bills", permission="bills.get", value=bill.Bill),
        "policy": Told(collection="policies", permission="policies.get", value=authorization.PolicyRevision),
        "prices": Told(collection="rateCards", permission="prices.get", value=ratecard.CardInfo),
    }
)
#: Kinds that go another way than their first word says: told as something else, or, with None, to nobody.
EXCEPTIONS: Mapping[str, Told | None] = MappingProxyType(
    {
        "bill.reconciled": Told(collection="reconciliations", permission="bills.get", value=bill.Reconciliation),
        # The lines of a bill, by the thousand: the bill itself is told once they are in.
        "bill.lines": None,
        # Its body is why; the dataset itself changes by an event of its own in the same transaction.
        "dataset.declassified": None,
        # That a threshold was passed, and who was invited: not the resource that the name says.
        "budget.alert": None,
        "site.invited": None,
        # Who was refused what: for auditors, from the record.
        "policy.decided": None,
        "policy.failed": None,
        "policy.unseen": None,
        "erasure.confirmed": None,
    }
)
#: First words of kinds that are told to nobody, each with the reason. A test holds that every kind is here or above.
UNTOLD: Mapping[str, str] = MappingProxyType(
    {
        "catalog": "that it was put back from a backup is for auditors",
        "check": "who has a store checked is for auditors",
        "escrow": "who opens what is between its custodians and the auditors",
        "grant": "an id that a bearer shows is nobody else's to know",
        "keys": "the custody of keys is told by `fed key`",
        "labels": "told by the dataset that they bind",
        "ledger": "by the thousand: `fed cost` reads them from the record",
        "lease": "by the thousand: `fed lease` lists them",
        "lineage": "by the thousand: `fed lineage` walks them",
        "logs": "who reads what a job printed is for auditors",
        "output": "told by the version that it became",
        "package": "what somebody calls their code is theirs alone",
        "placement": "told by the job that was placed",
        "record": "heads of the record are listed by `fed ledger`",
        "residency": "told by the dataset that it binds",
        "server": "whom its settings let in is for auditors",
        "token": "who has got in is for auditors",
        "usage": "by the thousand: `fed cost` reads them from the record",
    }
)
_BY_TYPE = {row.collection: row for row in (*TOLD.values(), *filter(None, EXCEPTIONS.values()))}
TYPES = tuple(sorted(_BY_TYPE))
#: What a filter may ask. `within` is the resource and all that it lies in: `jobs/j-1` has the job and its runs.
FIELDS: Mapping[str, Shape] = MappingProxyType(
    {
        **dict.fromkeys(("type", "name", "kind", "namespace", "dataset"), Shape.TEXT),
        "within": Shape.LIST,
    }
)


def told(kind: str) -> Told | None:
    """How events of a kind are told; None for those that are told to nobody."""
    return EXCEPTIONS[kind] if kind in EXCEPTIONS else TOLD.get(kind.partition(".")[0])


def permission(type_: str) -> str:
    """What a caller needs in order to be told of a type."""
    return _BY_TYPE[type_].permission


@dataclass(frozen=True, kw_only=True)
class Change:
    """One event as those are told who watch. `type` is the collection of the resource that `name` names.

    `value` is the resource after the change, without what may be secret in it; None where only its name is told.
    """

    revision: int
    time: datetime
    kind: str
    type: str
    name: str
    actor: str = ""
    value: Any = None


@dataclass(frozen=True, eq=False)
class Sight(Mapping[str, Any]):
    """One event of the log as it is looked at by all who watch: what is made of it is made once. Its items are `FIELDS`."""

    event: Event
    row: Told = field(repr=False)

    @property
    def revision(self) -> int:
        return self.event.position

    @cached_property
    def value(self) -> Any:
        """What the event holds; None for what this release cannot read: a newer one may have written it."""
        try:
            return records.loads(self.row.value, self.event.body)
        except (TypeError, ValueError):
            return None

    @cached_property
    def subject(self) -> Subject | None:
        """Of what it tells that it is there; None where of nothing that anybody may not know of."""
        return self.row.subject(self.event.name, self.value)

    @cached_property
    def hidden(self) -> bool:
        """Whether nobody can tell of what it speaks, so that nobody is told."""
        return self.subject is not None and not self.subject.name.strip("/")

    @cached_property
    def change(self) -> Change:
        """What is told of it."""
        event = self.event
        return Change(
            revision=event.position,
            time=event.time,
            kind=event.kind,
            type=self.row.collection,
            name=event.name,
            actor=event.actor,
            value=self.value,
        )

    def __getitem__(self, name: str) -> Any:
        """A field that a filter names, worked out when it is asked for."""
        match name:
            case "type":
                return self.row.collection
            case "name":
                return self.event.name
            case "within":
                parts = self.event.name.split("/")
                return tuple("/".join(parts[:end]) for end in range(2, len(parts) + 1, 2))
            case "kind":
                return self.event.kind
            case "namespace":
                return self.row.namespace(self.event.name, self.value)
            case "dataset":
                return self.row.dataset(self.event.name, self.value)
            case _:
                raise KeyError(name)

    def __iter__(self) -> Iterator[str]:
        return iter(FIELDS)

    def __len__(self) -> int:
        return len(FIELDS)


def sight(event: Event) -> Sight | None:
    """The event as it is watched; None for one that is told to nobody."""
    row = told(event.kind)
    return None if row is None else Sight(event, row)


@dataclass(frozen=True)
class Filter:
    """Which events somebody wants; all without a condition.

    `names` are names, and `types` types, of which each wanted event has one; () where the condition leaves them open.
    """

    condition: Condition | None = None

    def matches(self, one: Sight) -> bool:
        """Whether the event is wanted."""
        return self.condition is None or conditions.holds(self.condition, one)

    @cached_property
    def names(self) -> frozenset[str]:
        return _required(self.condition, "name")

    @cached_property
    def types(self) -> frozenset[str]:
        return _required(self.condition, "type")

    def subjects(self, one: Sight) -> tuple[Subject, ...]:
        """All that its caller must be able to know of to be told: a filter shall not find out what a value would not tell."""
        asked = Subject("namespace", one["namespace"]) if conditions.mentions(self.condition, "namespace") else None
        return tuple(found for found in (one.subject, asked) if found is not None and found.name)


def parse(text: str) -> Filter:
    """The filter; InvalidArgument (FILTER_INVALID) for what cannot be read, and for a type that nobody is told of."""
    condition = conditions.parse(text, FIELDS)
    unknown = sorted(_named(condition, "type") - set(TYPES))
    if unknown:
        raise errors.InvalidArgument(
            f"there is no type {unknown[0]!r} to watch",
            reason="FILTER_INVALID",
            help=f"Types are {', '.join(TYPES)}.",
            violations={"filter": f"unknown type {unknown[0]}"},
        )
    return Filter(condition)


def _required(condition: Condition | None, field_: str) -> frozenset[str]:
    match condition:
        case Compare(field=asked, operator="=", value=str(value)) if asked == field_:
            return frozenset({value})
        case Or(of=of):
            each = [_required(one, field_) for one in of]
            return frozenset[str]().union(*each) if all(each) else frozenset()
        case And(of=of):
            return next(filter(None, (_required(one, field_) for one in of)), frozenset())
    return frozenset()


def _named(condition: Condition | None, field_: str) -> set[str]:
    """Every value that a field is compared with."""
    match condition:
        case Compare(field=asked, value=str(value)) if asked == field_:
            return {value}
        case Not(of=one):
            return _named(one, field_)
        case And(of=of) | Or(of=of):
            return set().union(*(_named(one, field_) for one in of))
    return set()
