"""Which versions came from which, through which runs. Facts as values; where they are kept is not told here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


class Direction(StrEnum):
    """Which way lineage is walked: to what something came from, to what came of it, or both."""

    UPSTREAM = "UPSTREAM"
    DOWNSTREAM = "DOWNSTREAM"
    BOTH = "BOTH"


@dataclass(frozen=True, kw_only=True)
class RunFact:
    """The outcome of one run, as lineage keeps it. One for each run that ended."""

    run: str
    job: str
    attempt: int
    label: str
    kind: str
    site: str
    region: str
    principal: str
    state: str
    reason: str
    start_time: datetime | None
    end_time: datetime


@dataclass(frozen=True, kw_only=True)
class Edge:
    """One input or output of a run. `direction` is `in` or `out`; `node` is `sales/flights@3`, or the URL of an ingest."""

    run: str
    direction: str
    alias: str
    node: str
    manifest_digest: str
    site: str
    source_region: str
    destination_region: str
    bytes: int
    time: datetime


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The part of lineage that was asked for. `complete` is whether the walk saw everything that is reachable.

    `frontier` names the nodes whose further edges were not walked: beyond the depth, or beyond the limit on edges.
    """

    root: str
    runs: tuple[RunFact, ...]
    edges: tuple[Edge, ...]
    complete: bool
    frontier: tuple[str, ...] = ()
