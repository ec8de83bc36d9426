"""Where in the catalog somebody is: a place has a kind and a name, and its way from the beginning. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum

from federation.core import errors, ids
from federation.core import lineage as lineages


class Kind(StrEnum):
    """What is there. The first five are the sections, in the order of their keys."""

    DATA = "Data"
    SITES = "Sites"
    JOBS = "Jobs"
    TRANSFERS = "Transfers"
    COSTS = "Costs"
    NAMESPACE = "Namespace"
    DATASET = "Dataset"
    VERSION = "Version"
    FILE = "File"
    SITE = "Site"
    JOB = "Job"
    TRANSFER = "Transfer"


SECTIONS = (Kind.DATA, Kind.SITES, Kind.JOBS, Kind.TRANSFERS, Kind.COSTS)
#: Where a section's things are.
_WITHIN = {Kind.SITE: Kind.SITES, Kind.JOB: Kind.JOBS, Kind.TRANSFER: Kind.TRANSFERS}
_COLLECTIONS = {"sites": Kind.SITE, "jobs": Kind.JOB, "transfers": Kind.TRANSFER}
_JOB = re.compile(r"j-[0-9a-z]{26}")


@dataclass(frozen=True, kw_only=True)
class Place:
    """A kind of thing and which: `sales/flights@3`, `eu-1`; of a section nothing. `file` is one of a version's."""

    kind: Kind
    name: str = ""
    file: str = ""

    @property
    def section(self) -> Kind:
        """The section that it is in."""
        return self.kind if self.kind in SECTIONS else _WITHIN.get(self.kind, Kind.DATA)

    @property
    def copied(self) -> str:
        """Its name as `fed` takes it."""
        return self.file or (f"{self.section.lower()}/{self.name}" if self.kind in _WITHIN else self.name)


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
        case Kind.FILE:
            return place.file
    return place.name or str(place.kind)


def parse(text: str) -> Place:
    """The place of a name as people or programs write it; InvalidArgument (NAME_INVALID) for what names none.

    `sales`, `sales/flights`, `sales/flights@3`, `sites/eu-1`, `jobs/j-01k9...`, `costs`; and the contract's long names.
    """
    text = text.strip("/")
    collection, _, rest = text.partition("/")
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
    """The place of one word: a section, a job, or a namespace."""
    sections = {str(kind).lower(): kind for kind in SECTIONS}
    if word in sections or not word:
        return Place(kind=sections.get(word, Kind.DATA))
    if _JOB.fullmatch(word):
        return Place(kind=Kind.JOB, name=word)
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
            return Place(kind=Kind.DATA)
        case Kind.DATASET:
            return Place(kind=Kind.NAMESPACE, name=place.name.partition("/")[0])
        case Kind.VERSION:
            return Place(kind=Kind.DATASET, name=place.name.rpartition("@")[0])
        case Kind.FILE:
            return Place(kind=Kind.VERSION, name=place.name)
        case kind if kind in _WITHIN:
            return Place(kind=_WITHIN[kind])
    return None
