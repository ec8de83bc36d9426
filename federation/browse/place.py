"""Where in the catalog somebody is: a place has a kind and a name, and its way from the beginning. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from federation.core import errors, ids
from federation.core import lineage as lineages


class Kind(StrEnum):
    """What is there. The first six are the sections, in the order of their keys."""

    DATA = "Data"
    SITES = "Sites"
    JOBS = "Jobs"
    TRANSFERS = "Transfers"
    COSTS = "Costs"
    POLICIES = "Policies"
    NAMESPACE = "Namespace"
    DATASET = "Dataset"
    VERSION = "Version"
    FILE = "File"
    SITE = "Site"
    JOB = "Job"
    TRANSFER = "Transfer"
    PIPELINES = "Pipelines"
    PIPELINE = "Pipeline"
    BUDGETS = "Budgets"
    BUDGET = "Budget"
    REVISION = "Revision"
    POLICY = "Policy"


#: The revision of the policies that holds.
HOLDS = "-"
SECTIONS = (Kind.DATA, Kind.SITES, Kind.JOBS, Kind.TRANSFERS, Kind.COSTS, Kind.POLICIES)
#: In what a thing lies, beside data.
_WITHIN = {
    Kind.SITE: Kind.SITES,
    Kind.JOB: Kind.JOBS,
    Kind.TRANSFER: Kind.TRANSFERS,
    Kind.PIPELINE: Kind.PIPELINES,
    Kind.PIPELINES: Kind.JOBS,
    Kind.BUDGET: Kind.BUDGETS,
    Kind.BUDGETS: Kind.COSTS,
    Kind.REVISION: Kind.POLICIES,
}
_COLLECTIONS = {
    "sites": Kind.SITE,
    "jobs": Kind.JOB,
    "transfers": Kind.TRANSFER,
    "pipelines": Kind.PIPELINE,
    "budgets": Kind.BUDGET,
    "policies": Kind.REVISION,
}
_WORDS = {str(kind).lower(): kind for kind in (*SECTIONS, Kind.PIPELINES, Kind.BUDGETS)}
_IDS = {Kind.JOB: re.compile(r"j-[0-9a-z]{26}"), Kind.PIPELINE: re.compile(r"p-[0-9a-z]{26}")}


@dataclass(frozen=True, kw_only=True)
class Place:
    """A kind of thing and which: `sales/flights@3`, `eu-1`; of a section nothing.

    `part` is a file of a version, or a policy of a revision of them (`3`, or `-` for the one that holds).
    """

    kind: Kind
    name: str = ""
    part: str = ""

    @property
    def section(self) -> Kind:
        """The section that it is in."""
        return trail(self)[0].kind

    @property
    def copied(self) -> str:
        """Its name as `fed` takes it."""
        collection = next((word for word, kind in _COLLECTIONS.items() if kind is self.kind), "")
        return self.part or (f"{collection}/{self.name}" if collection else self.name)


def trail(place: Place) -> tuple[Place, ...]:
    """The places from the beginning of its section to it, itself last."""
    above = _above(place)
    return (place,) if above is None else (*trail(above), place)


def word(place: Place) -> str:
    """What it is called below the place that it lies in: `flights` in `sales`."""
    match place.kind:
        case Kind.DATASET:
            return place.name.partition("/")[2]
        case Kind.VERSION:
            return "@" + place.name.rpartition("@")[2]
        case Kind.FILE | Kind.POLICY:
            return place.part
    return place.name or str(place.kind)


def parse(text: str) -> Place:
    """The place of a name as people or programs write it; InvalidArgument (NAME_INVALID) for what names none.

    `sales`, `sales/flights`, `sales/flights@3`, `sites/eu-1`, `jobs/j-01k9...`, `budgets/ml`, `costs`; and the contract's long
    names.
    """
    text = text.strip("/")
    collection, _, rest = text.partition("/")
    if text == f"policies/{HOLDS}":
        return Place(kind=Kind.POLICIES)
    if collection == "policies" and rest and not rest.isdecimal():
        raise errors.InvalidArgument(
            f"{text!r} names no revision of the policies", reason="NAME_INVALID", help="Write policies, or policies/3."
        )
    if collection in _COLLECTIONS and rest:
        return Place(kind=_COLLECTIONS[collection], name=rest.partition("/")[0])
    if not rest:
        return _single(text)
    if collection == "namespaces" and "/" not in rest:
        return Place(kind=Kind.NAMESPACE, name=ids.segment(rest, "namespace"))
    name, number = ids.dataset_or_version(text)
    if number is None:
        return Place(kind=Kind.DATASET, name=name.short)
    return Place(kind=Kind.VERSION, name=f"{name.short}@{number}")


def _single(word: str) -> Place:
    """The place of one word: a section, pipelines or budgets, a job or a pipeline, or a namespace."""
    if word in _WORDS or not word:
        return Place(kind=_WORDS.get(word, Kind.DATA))
    for kind, form in _IDS.items():
        if form.fullmatch(word):
            return Place(kind=kind, name=word)
    return Place(kind=Kind.NAMESPACE, name=ids.segment(word, "namespace"))


def of_node(node: str) -> Place | None:
    """The place of what stands in lineage: a version, a dataset, a run by its job; None for people, puts and foreign things."""
    if lineages.is_run(node):
        return parse(node) if node.startswith("jobs/") else None
    if lineages.node_kind(node) is lineages.NodeKind.PERSON:
        return None
    try:
        return parse(node) if "/" in node else None
    except errors.InvalidArgument:
        return None


def _above(place: Place) -> Place | None:
    match place.kind:
        case Kind.NAMESPACE:
            above = Kind.DATA, ""
        case Kind.DATASET:
            above = Kind.NAMESPACE, place.name.partition("/")[0]
        case Kind.VERSION:
            above = Kind.DATASET, place.name.rpartition("@")[0]
        case Kind.FILE:
            above = Kind.VERSION, place.name
        case Kind.POLICY if place.name != HOLDS:
            above = Kind.REVISION, place.name
        case Kind.POLICY:
            above = Kind.POLICIES, ""
        case kind if kind in _WITHIN:
            above = _WITHIN[kind], ""
        case _:
            return None
    return Place(kind=above[0], name=above[1])
