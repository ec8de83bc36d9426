"""Watching: what people are told of the log as it grows, under which permission, and the filter by which they choose. Pure.

A kind of event that is not named here is told to nobody: what is new in the log stays there until somebody has thought of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from types import MappingProxyType
from typing import Any

from federation.core import (
    authorization,
    bill,
    budget,
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
from federation.core.events import Event


@dataclass(frozen=True, kw_only=True)
class Told:
    """One type of resource as it is watched: whoever has `permission` may be told of it, as they may get it.

    `value` is what its events hold. `dataset` says of which dataset it tells that it is there: that is told to those alone who
    may browse it. `namespace` is the one that a filter means.
    """

    collection: str
    permission: str
    value: type
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
        "budget": Told(collection="budgets", permission="budgets.get", value=budget.Budget),
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
        "escrow": "who opens what is between its custodians and the auditors",
        "grant": "an id that a bearer shows is nobody else's to know",
        "keys": "the custody of keys is told by `fed key`",
        "labels": "told by the dataset that they bind",
        "ledger": "by the thousand: `fed cost` reads them from the record",
        "lease": "by the thousand: `fed lease` lists them",
        "lineage": "by the thousand: `fed lineage` walks them",
        "output": "told by the version that it became",
        "placement": "told by the job that was placed",
        "record": "heads of the record are listed by `fed ledger`",
        "residency": "told by the dataset that it binds",
        "token": "who has got in is for auditors",
        "usage": "by the thousand: `fed cost` reads them from the record",
    }
)
_BY_TYPE = {row.collection: row for row in (*TOLD.values(), *filter(None, EXCEPTIONS.values()))}
TYPES = tuple(sorted(_BY_TYPE))
FIELDS = ("type", "name", "kind", "namespace", "dataset")


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


@dataclass(frozen=True)
class Sight:
    """One event of the log as it is looked at by all who watch: what is made of it is made once."""

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
    def dataset(self) -> str:
        """The dataset of whose being there it tells, `sales/flights`; '' where it tells of none."""
        return self.row.dataset(self.event.name, self.value)

    @property
    def hidden(self) -> bool:
        """Whether nobody can tell of which dataset it speaks, so that nobody is told."""
        return self.row.dataset is _held_dataset and self.value is None

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

    def of(self, name: str) -> str:
        """The field that a filter names."""
        match name:
            case "type":
                return self.row.collection
            case "name":
                return self.event.name
            case "kind":
                return self.event.kind
            case "namespace":
                return self.row.namespace(self.event.name, self.value)
            case _:
                return self.dataset


def sight(event: Event) -> Sight | None:
    """The event as it is watched; None for one that is told to nobody."""
    row = told(event.kind)
    return None if row is None else Sight(event, row)


@dataclass(frozen=True)
class Term:
    """That a field has a value, or begins with it."""

    field: str
    value: str
    is_prefix: bool = False

    def holds(self, found: str) -> bool:
        return found.startswith(self.value) if self.is_prefix else found == self.value


@dataclass(frozen=True)
class Filter:
    """All of the clauses must hold; of a clause one term must."""

    clauses: tuple[tuple[Term, ...], ...] = ()

    def matches(self, one: Sight) -> bool:
        """Whether the event is wanted."""
        return all(any(term.holds(one.of(term.field)) for term in clause) for clause in self.clauses)

    @property
    def names(self) -> frozenset[str]:
        """Names one of which each wanted event has; () where the filter does not say."""
        for clause in self.clauses:
            if all(term.field == "name" and not term.is_prefix for term in clause):
                return frozenset(term.value for term in clause)
        return frozenset()

    @property
    def types(self) -> frozenset[str]:
        """Types that the filter names; () where it leaves them open."""
        for clause in self.clauses:
            if all(term.field == "type" and not term.is_prefix for term in clause):
                return frozenset(term.value for term in clause)
        return frozenset()


_TERM = re.compile(r'\s*([a-z_]+)\s*=\s*"((?:[^"\\]|\\["\\])*)"\s*')
_JOIN = re.compile(r"(AND|OR)\b")


def parse(text: str) -> Filter:
    """`field = "value"` terms joined by AND and, tighter (as AIP-160 has it), by OR; a value may end with `*`.

    InvalidArgument (FILTER_INVALID) for anything else.
    """
    clauses: list[list[Term]] = [[]]
    position = 0
    while text.strip():
        found = _TERM.match(text, position)
        if not found:
            raise _invalid(text, f"cannot be read from position {position}: {text[position : position + 40]!r}")
        clauses[-1].append(_term(text, found[1], re.sub(r"\\(.)", r"\1", found[2])))
        position = found.end()
        if position == len(text):
            break
        join = _JOIN.match(text, position)
        if not join:
            raise _invalid(text, f"expected AND or OR at position {position}: {text[position : position + 40]!r}")
        if join[1] == "AND":
            clauses.append([])
        position = join.end()
    return Filter(tuple(map(tuple, filter(None, clauses))))


def _term(text: str, name: str, value: str) -> Term:
    if name not in FIELDS:
        raise _invalid(text, f"there is no field {name!r} to filter by")
    made = Term(name, value.removesuffix("*"), value.endswith("*"))
    if name == "type" and not any(made.holds(known) for known in TYPES):
        raise _invalid(text, f"there is no type {value!r}; types are {', '.join(TYPES)}")
    return made


def _invalid(text: str, why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"the filter {text!r} {why}",
        reason="FILTER_INVALID",
        help=f'Write field = "value", joined by AND or OR; a value may end with *. Fields: {", ".join(FIELDS)}.',
        violations={"filter": why},
        metadata={"fields": ", ".join(FIELDS)},
    )
