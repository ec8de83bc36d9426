"""Which versions came from which, through which runs: facts, questions and answers as values. Where they are kept is not told.

A node is what data is in or from: a version (`sales/flights@3`), the person who put one (`users/ada`), or a place outside of
the federation, by its URL (`s3://lake/raw/`, `postgres://crm/public.customers`). Whoever adds foreign nodes names them with `://`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from federation.core import errors, ids

#: What a put is called where a run has `jobs/J/runs/N`: by the grant under which it was written.
PUTS = "puts/"
#: What a run of somebody else is called, before the id that its events have for it.
EXTERNAL_RUNS = "external/"
#: Columns that a run may name of one input or output, and links between them; and how long a column's name may be.
COLUMNS_MAX = 1000
COLUMN_CHARS_MAX = 256

_OR = " | "
_VERSION = re.compile(r"[a-z][a-z0-9-]*/[a-z][a-z0-9-]*@[1-9][0-9]*")


class Direction(StrEnum):
    """Which way lineage is walked: to what something came from, to what came of it, or both."""

    UPSTREAM = "UPSTREAM"
    DOWNSTREAM = "DOWNSTREAM"
    BOTH = "BOTH"


class NodeKind(StrEnum):
    """What a node is: a VERSION of ours, the PERSON who put one, or EXTERNAL: a URL, a table of somebody else's."""

    VERSION = "VERSION"
    PERSON = "PERSON"
    EXTERNAL = "EXTERNAL"


def node_kind(node: str) -> NodeKind:
    """What the node of that name is."""
    if _VERSION.fullmatch(node):
        return NodeKind.VERSION
    return NodeKind.PERSON if node.startswith("users/") else NodeKind.EXTERNAL


def dataset_of(node: str) -> str:
    """The dataset of a version's node (`sales/flights`), '' for any other."""
    return node.rpartition("@")[0] if node_kind(node) is NodeKind.VERSION else ""


@dataclass(frozen=True, kw_only=True)
class ColumnSource:
    """That a column of an output is made from a column of an input: `total` from `orders.price`, by the input's alias."""

    column: str
    source: str


@dataclass(frozen=True, kw_only=True)
class InputColumns:
    """Which columns of an input a run asked for. `whole`: it also read it in a way that shows none, so maybe all of them."""

    alias: str
    columns: tuple[str, ...] = ()
    whole: bool = False


@dataclass(frozen=True, kw_only=True)
class OutputColumns:
    """Which columns (name and type) a run wrote to an output, and from which it says that they are made."""

    alias: str
    columns: tuple[tuple[str, str], ...] = ()
    sources: tuple[ColumnSource, ...] = ()


@dataclass(frozen=True, kw_only=True)
class LineageReport:
    """What the code of a run tells of the columns that it reads and writes. Many processes of one run tell parts of it."""

    inputs: tuple[InputColumns, ...] = ()
    outputs: tuple[OutputColumns, ...] = ()

    def input(self, alias: str) -> InputColumns:
        """What is known of an input."""
        return next((each for each in self.inputs if each.alias == alias), InputColumns(alias=alias, whole=True))

    def output(self, alias: str) -> OutputColumns:
        """What is known of an output."""
        return next((each for each in self.outputs if each.alias == alias), OutputColumns(alias=alias))

    def merged(self, other: LineageReport) -> LineageReport:
        """Both together; the order does not matter, and the same again changes nothing."""
        return LineageReport(
            inputs=tuple(
                _merged_input(alias, [*self.inputs, *other.inputs])
                for alias in sorted({each.alias for each in (*self.inputs, *other.inputs)})
            ),
            outputs=tuple(
                _merged_output(alias, [*self.outputs, *other.outputs])
                for alias in sorted({each.alias for each in (*self.outputs, *other.outputs)})
            ),
        )


#: What a run tells that tells nothing.
UNTOLD = LineageReport()


def _merged_input(alias: str, told: list[InputColumns]) -> InputColumns:
    mine = [each for each in told if each.alias == alias]
    columns = sorted({name for each in mine for name in each.columns})
    # More than can be told is told as what it may well be: all of them.
    whole = any(each.whole for each in mine) or len(columns) > COLUMNS_MAX
    return InputColumns(alias=alias, columns=() if whole else tuple(columns), whole=whole)


def _merged_output(alias: str, told: list[OutputColumns]) -> OutputColumns:
    mine = [each for each in told if each.alias == alias]
    types: dict[str, set[str]] = {}
    for name, type_ in (pair for each in mine for pair in each.columns):
        types.setdefault(name, set()).update(type_.split(_OR))
    # Files of one output may differ in a column's type: all of them are told.
    columns = tuple((name, _OR.join(sorted(of))) for name, of in sorted(types.items()))
    sources = sorted({(each.column, each.source) for one in mine for each in one.sources})
    return OutputColumns(
        alias=alias,
        columns=columns[:COLUMNS_MAX],
        sources=tuple(ColumnSource(column=column, source=source) for column, source in sources[:COLUMNS_MAX]),
    )


def check_sources(sources: tuple[ColumnSource, ...], inputs: frozenset[str], field: str = "column_map") -> None:
    """Returns for a legal map of an output's columns; InvalidArgument (COLUMN_MAP_INVALID) names what is wrong.

    `inputs` are the aliases that a source may begin with.
    """
    if len(sources) > COLUMNS_MAX:
        raise _map_invalid(field, f"{len(sources)} links between columns are more than {COLUMNS_MAX}")
    for each in sources:
        alias, dot, column = each.source.partition(".")
        if not dot or alias not in inputs:
            known = ", ".join(sorted(inputs)) or "none"
            raise _map_invalid(
                field, f"{each.source!r} does not begin with an input's alias and a dot; the inputs are: {known}"
            )
        check_column(each.column, field)
        check_column(column, field)


def check_report(report: LineageReport, *, inputs: frozenset[str], outputs: frozenset[str]) -> None:
    """Returns for a report that a run with those aliases may make; InvalidArgument (COLUMN_MAP_INVALID) otherwise."""
    for alias, known, columns in (
        *((each.alias, inputs, each.columns) for each in report.inputs),
        *((each.alias, outputs, tuple(name for name, _ in each.columns)) for each in report.outputs),
    ):
        if alias not in known:
            raise _map_invalid("alias", f"{alias[:40]!r} is none of the run's: {', '.join(sorted(known)) or 'there are none'}")
        if len(columns) > COLUMNS_MAX:
            raise _map_invalid("columns", f"{len(columns)} columns of {alias} are more than {COLUMNS_MAX}")
        for name in columns:
            check_column(name)
    for made in report.outputs:
        check_sources(made.sources, inputs)


def check_column(name: str, field: str = "columns") -> None:
    """Returns for what can be a column's name; InvalidArgument (COLUMN_MAP_INVALID) otherwise."""
    if not 0 < len(name) <= COLUMN_CHARS_MAX or not name.isprintable():
        raise _map_invalid(field, f"{name[:40]!r} is no name of a column: 1 to {COLUMN_CHARS_MAX} printable characters")


def _map_invalid(field: str, why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        why,
        reason="COLUMN_MAP_INVALID",
        help="Say from which columns of which inputs an output's column is made, for example total=orders.price,orders.qty.",
        violations={field: why},
    )


@dataclass(frozen=True, kw_only=True)
class RunFact:
    """The outcome of one run, as lineage keeps it. One for each run that ended, and one (kind PUT) for each put by a person."""

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
    """One input or output of a run. `direction` is `in` or `out`.

    `bytes` and `charge_micros` (fees for requests included) of an input are what the ledger has of its read; where that was not
    settled when the run ended, `charge_micros` is None and `bytes` is the version's. `rows` are the version's, None where they
    are not known. `columns` are those that were asked for of an input, () where it may have been all; of an output, all that it
    has. `column_map` says from which columns of which inputs those of an output are made.
    """

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
    charge_micros: int | None = None
    rows: int | None = None
    columns: tuple[str, ...] = ()
    column_map: tuple[ColumnSource, ...] = ()

    @property
    def crossed(self) -> bool:
        """Whether bytes left a region."""
        return bool(self.source_region) and self.source_region != self.destination_region


@dataclass(frozen=True, kw_only=True)
class Query:
    """A walk through lineage: from `name`, a dataset (all its versions), a version, a run or a foreign node.

    `depth` are hops, each through one run. As of `as_of_position` only facts up to that position of the log count (0: all that
    there are), as of `as_of_time` only what had happened by then. `skip` edges of the walk were told before.
    """

    name: str
    direction: Direction = Direction.BOTH
    depth: int = 10
    edges_max: int = 2000
    as_of_time: datetime | None = None
    as_of_position: int = 0
    skip: int = 0


@dataclass(frozen=True, kw_only=True)
class Graph:
    """The part of lineage that was asked for. `complete` is whether the walk saw everything that is reachable.

    `frontier` names nodes and runs whose further edges were not told (the first of `frontier_size`): beyond the depth, the
    limit on edges, or the time. Asked again with `continuation`, and a greater depth if that was the limit, the walk goes on
    where it stopped, in the same state of the record: `position`.
    """

    root: str
    runs: tuple[RunFact, ...]
    edges: tuple[Edge, ...]
    complete: bool
    frontier: tuple[str, ...] = ()
    frontier_size: int = 0
    continuation: str = ""
    position: int = 0
    nodes: tuple[NodeInfo, ...] = ()


@dataclass(frozen=True, kw_only=True)
class NodeInfo:
    """What the catalog says of a version in a graph today: kind and residency of its dataset, or that it is `gone`."""

    node: str
    kind: str = ""
    residency: tuple[str, ...] = ()
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class Sighting:
    """A model that saw a version: how many hops away, and the shortest way there, `node, run, node, ..., model`.

    `columns` are those that the first run on that way asked for, () where it may have been all.
    """

    model: str
    seen: str
    hops: int
    way: tuple[str, ...]
    columns: tuple[str, ...] = ()
    time: datetime
    sites: tuple[str, ...] = ()
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class Sightings:
    """All models that saw what was asked for, nearest first; `complete` and `frontier` as of a `Graph`."""

    root: str
    models: tuple[Sighting, ...]
    complete: bool
    frontier: tuple[str, ...] = ()
    position: int = 0


@dataclass(frozen=True, kw_only=True)
class Affected:
    """A version that came of one that is to be erased.

    `others` are inputs of its own run that do not come of the erased one; `remakable`: it could be made again, for all that
    its run read is still there without the erased version.
    """

    node: str
    kind: str
    hops: int
    run: str
    sites: tuple[str, ...]
    bytes: int
    newest: bool
    others: tuple[str, ...] = ()
    remakable: bool = False
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class Reader:
    """Who reads a version: a job or pipeline under way that would fail (`live`), or one that has read it, by its label."""

    name: str
    label: str
    live: bool
    state: str = ""
    pinned: bool = False


@dataclass(frozen=True, kw_only=True)
class Impact:
    """What would be lost if a version were erased: itself, at `sites`; and what came of it, nearest first.

    `bytes` are those of its own replicas together, `affected_bytes` those of all replicas of what came of it. `newest` is
    whether it is the dataset's newest version, `others` the versions of the dataset that would be left.
    """

    root: str
    sites: tuple[str, ...]
    bytes: int
    newest: bool
    others: tuple[str, ...]
    affected: tuple[Affected, ...]
    affected_bytes: int
    readers: tuple[Reader, ...]
    rules: tuple[str, ...]
    complete: bool
    frontier: tuple[str, ...] = ()
    position: int = 0


class Cause(StrEnum):
    """Why a dataset is bound as it is: somebody DECLARED it, it INHERITED it, or an output was RELEASED from that."""

    DECLARED = "DECLARED"
    INHERITED = "INHERITED"
    RELEASED = "RELEASED"


@dataclass(frozen=True, kw_only=True)
class Binding:
    """A dataset that binds what is made of it, and to where."""

    dataset: str
    residency: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class ResidencyFact:
    """One change of what binds a dataset, kept as it happened. `number` counts from 1 in each dataset.

    `residency` is what held from then on. `by` is the person, job or pipeline; `inputs` are what it was inherited from, or, for
    a RELEASED one, what the `version` was allowed to leave, with `bytes` of at most `bytes_max`.
    """

    dataset: str
    number: int
    cause: Cause
    residency: tuple[str, ...]
    by: str
    time: datetime
    inputs: tuple[Binding, ...] = ()
    version: str = ""
    bytes: int = 0
    bytes_max: int = 0


@dataclass(frozen=True, kw_only=True)
class Reason:
    """A dataset on the way to the answer: what binds it now, and every change that led there, oldest first."""

    dataset: str
    residency: tuple[str, ...]
    hops: int
    facts: tuple[ResidencyFact, ...]
    gone: bool = False


@dataclass(frozen=True, kw_only=True)
class Why:
    """Why a dataset has its residency: itself first, then what it inherited from, nearest first."""

    root: str
    residency: tuple[str, ...]
    reasons: tuple[Reason, ...]
    complete: bool


@dataclass(frozen=True, kw_only=True)
class Difference:
    """Where index and tables do not say the same: positions `first` to `last` of a table, and how many rows each has."""

    table: str
    first: int
    last: int
    index_rows: int
    table_rows: int


@dataclass(frozen=True, kw_only=True)
class IndexCheck:
    """The index of one server, compared with the Delta tables up to the position that they have come to.

    `tail_edges` came from the log since and are not in the tables yet. `memory_bytes` is what the index takes.
    """

    position: int
    edges: int
    runs: int
    nodes: int
    tail_edges: int
    memory_bytes: int
    build_millis: int
    rebuilt: bool
    same: bool
    differences: tuple[Difference, ...] = ()


def is_run(name: str) -> bool:
    """Whether a name is that of a run, of ours or of somebody else's, or of a put."""
    return name.startswith((PUTS, EXTERNAL_RUNS)) or (name.startswith("jobs/") and "/runs/" in name)


def versions_of(dataset: ids.DatasetName, latest: int) -> list[str]:
    """The nodes of all versions of a dataset."""
    return [f"{dataset.short}@{number}" for number in range(1, latest + 1)]
