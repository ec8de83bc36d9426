"""Lineage as arrays: a million edges in memory, walked level by level in milliseconds. Pure; whoever fills it reads the record.

Names are numbered as they come, and an edge is a number in columns of numbers. Edges lie in the order of their positions in the
log, so that "as of a position" is "the first so many". Around each node and run they are found by two arrays (compressed sparse
rows: where a name's edges begin, and the edges), and those that came since in a dictionary, until it is worth making the
arrays anew.

A walk is one sequence of edges: level by level, upstream before downstream on each, in the order of positions around each name.
An answer is a piece of that sequence. So it can stop anywhere, say how many edges it has told, and be continued by any server
that has the same record; and a greater depth only makes the sequence longer.
"""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import lineage, records

Ints = npt.NDArray[np.int64]
Numbers = npt.NDArray[np.int32]
Bools = npt.NDArray[np.bool_]

#: What stands in a column of integers for a figure that is not known.
UNKNOWN = np.iinfo(np.int64).min
#: Of a frontier at most so many names are told.
FRONTIER_MAX = 100
#: Edges that may wait in the dictionary, at least; and of all edges one in so many.
_TAIL_MIN, _TAIL_SHARE = 4096, 8
#: Positions in one range whose rows are compared as a whole.
RANGE = 1 << 14
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
#: Odd constants that spread bits (splitmix64, Steele, Lea and Flood 2014).
_MIX = (np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB), np.uint64(0x9E3779B97F4A7C15))


class Coded(NamedTuple):
    """A column of texts: each row's is `values[codes[row]]`. Values need not be unique."""

    values: Sequence[str]
    codes: npt.NDArray[Any]


EDGE_TEXTS = ("run", "direction", "alias", "node", "manifest_digest", "site", "source_region", "destination_region")
#: Lists travel as JSON text, '' where there are none.
EDGE_LISTS = ("columns", "column_map")
EDGE_INTS = ("bytes", "time", "charge_micros", "rows")
#: Texts of edges that are numbered; a direction is one bit, and digests lie by themselves.
_NUMBERED = ("run", "node", "alias", "site", "source_region", "destination_region", *EDGE_LISTS)
RUN_TEXTS = ("run", "job", "label", "kind", "site", "region", "principal", "state", "reason")
RUN_INTS = ("attempt", "start_time", "end_time")


class Columns(NamedTuple):
    """Facts as columns, by the names of the fields of `lineage.Edge` or `lineage.RunFact`, in the order of their positions.

    Times are microseconds since 1970.
    """

    positions: Ints
    texts: Mapping[str, Coded]
    figures: Mapping[str, Ints]

    def rows(self, chosen: Any) -> Columns:
        """Some of the rows: a slice, or their numbers."""
        texts = {name: Coded(column.values, column.codes[chosen]) for name, column in self.texts.items()}
        figures = {name: column[chosen] for name, column in self.figures.items()}
        return Columns(self.positions[chosen], texts, figures)

    def until(self, position: int) -> Columns:
        """The rows up to a position."""
        return self.rows(slice(0, int(np.searchsorted(self.positions, position, side="right"))))


def micros(time: datetime) -> int:
    """Microseconds since 1970."""
    return (time - _EPOCH) // _MICROSECOND


def moment(since: int) -> datetime:
    """The time of `micros`."""
    return _EPOCH + int(since) * _MICROSECOND


class _Names:
    """Texts, each once, by the order in which they came."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._numbers: dict[str, int] = {}
        self._text_bytes = 0

    def __len__(self) -> int:
        return len(self.texts)

    def find(self, text: str) -> int:
        """The number of a text, -1 for one that never came."""
        return self._numbers.get(text, -1)

    def numbered(self, column: Coded) -> Numbers:
        """The numbers of a column's texts; those that are new get the next ones."""
        lookup = np.zeros(len(column.values), np.int32)
        for code in _used(column):
            lookup[code] = self._number(column.values[code])
        numbers: Numbers = lookup[column.codes]
        return numbers

    def _number(self, text: str) -> int:
        number = self._numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
            self._text_bytes += sys.getsizeof(text)
        return number

    @property
    def memory_bytes(self) -> int:
        """Texts, their list, their dictionary, and the numbers in it."""
        return self._text_bytes + sys.getsizeof(self.texts) + sys.getsizeof(self._numbers) + 32 * len(self.texts)


class _Rows:
    """Columns of numbers that grow together. A reader that took the arrays before they grew goes on with what it has."""

    def __init__(self, types: Mapping[str, Any]) -> None:
        self.size = 0
        self.columns: dict[str, npt.NDArray[Any]] = {name: np.zeros(0, kind) for name, kind in types.items()}

    def add(self, given: Mapping[str, npt.NDArray[Any]]) -> None:
        """Appends rows."""
        end = self.size + len(next(iter(given.values())))
        if end > len(next(iter(self.columns.values()))):
            room = max(end, 2 * self.size, 1024) if self.size else end
            for name, old in self.columns.items():
                new = np.zeros(room, old.dtype)
                new[: self.size] = old[: self.size]
                self.columns[name] = new
        for name, column in self.columns.items():
            column[self.size : end] = given[name]
        self.size = end

    @property
    def memory_bytes(self) -> int:
        return sum(column.nbytes for column in self.columns.values())


class _Around:
    """The edges around names, in and out apart: `2 * name + out` is the key."""

    def __init__(self) -> None:
        self.start: Ints = np.zeros(1, np.int64)
        self.edges: Numbers = np.zeros(0, np.int32)
        self.tail: dict[int, list[int]] = {}

    def build(self, keys: Numbers, names: int) -> None:
        """Makes the arrays from all edges' keys."""
        edges = np.argsort(keys, kind="stable").astype(np.int32)
        start = np.zeros(2 * names + 1, np.int64)
        np.cumsum(np.bincount(keys, minlength=2 * names), out=start[1:])
        # One after the other: who reads meanwhile has taken what was there before, as a whole.
        self.start, self.edges, self.tail = start, edges, {}

    def add(self, keys: Numbers, first: int) -> None:
        """Takes edges `first`, `first + 1` and so on into the dictionary."""
        for place, key in enumerate(keys.tolist()):
            self.tail.setdefault(key, []).append(first + place)

    def taken(self) -> _Around:
        """What is here now, for a reader whom later building does not disturb."""
        copy = _Around()
        copy.start, copy.edges, copy.tail = self.start, self.edges, self.tail
        return copy

    def of(self, keys: Numbers) -> tuple[Numbers, Numbers]:
        """The edges of keys, key by key in the order of positions, and for each the place of its key."""
        known = np.minimum(keys, len(self.start) - 2)
        begin = self.start[known]
        count = np.where(keys < len(self.start) - 1, self.start[known + 1] - begin, 0)
        owner = np.repeat(np.arange(len(keys), dtype=np.int32), count)
        offset = np.arange(len(owner), dtype=np.int64) - np.repeat(np.cumsum(count) - count, count)
        edges = self.edges[np.repeat(begin, count) + offset]
        if not self.tail:
            return edges, owner
        late = [(edge, place) for place, key in enumerate(keys.tolist()) for edge in self.tail.get(key, ())]
        if not late:
            return edges, owner
        edges = np.concatenate([edges, np.array([edge for edge, _ in late], np.int32)])
        owner = np.concatenate([owner, np.array([place for _, place in late], np.int32)])
        order = np.argsort(owner, kind="stable")
        return edges[order], owner[order]

    @property
    def memory_bytes(self) -> int:
        lists = sum(sys.getsizeof(edges) + 32 * len(edges) for edges in self.tail.values())
        return self.start.nbytes + self.edges.nbytes + sys.getsizeof(self.tail) + lists


class LineageGraph:
    """All lineage that was added. One writer at a time; readers take a `View`, which nothing added later disturbs."""

    def __init__(self) -> None:
        self._names = _Names()
        self._runs = _Names()
        self._texts = _Names()
        numbers: dict[str, Any] = {**dict.fromkeys(_NUMBERED, np.int32), **dict.fromkeys(EDGE_INTS, np.int64)}
        self._edges = _Rows({"position": np.int64, "out": np.bool_, "digest": np.int32, **numbers})
        self._digests = _Rows({"digest": "S64"})
        self._facts = _Rows(
            {"position": np.int64, **dict.fromkeys(RUN_TEXTS, np.int32), **dict.fromkeys(RUN_INTS, np.int64)},
        )
        self._fact_of: dict[int, int] = {}
        self._by_node, self._by_run = _Around(), _Around()
        self._built = 0

    def __repr__(self) -> str:
        return f"<LineageGraph edges={self.edges} runs={self.facts} nodes={len(self._names)}>"

    @property
    def edges(self) -> int:
        """How many edges there are."""
        return self._edges.size

    @property
    def facts(self) -> int:
        """How many facts of runs there are."""
        return self._facts.size

    @property
    def nodes(self) -> int:
        """How many nodes there are."""
        return len(self._names)

    @property
    def edge_position(self) -> int:
        """Position of the last edge, 0 before the first."""
        return int(self._edges.columns["position"][self.edges - 1]) if self.edges else 0

    @property
    def fact_position(self) -> int:
        """Position of the last fact of a run, 0 before the first."""
        return int(self._facts.columns["position"][self.facts - 1]) if self.facts else 0

    @property
    def memory_bytes(self) -> int:
        """What it takes: arrays to the byte, names and dictionaries as the interpreter counts them."""
        parts = (self._names, self._runs, self._texts, self._edges, self._digests, self._facts, self._by_node, self._by_run)
        return sum(part.memory_bytes for part in parts) + sys.getsizeof(self._fact_of) + 64 * len(self._fact_of)

    def add_edges(self, columns: Columns) -> None:
        """Adds edges in the order of their positions, all above `edge_position`; what is not above it is there already."""
        columns = _after(columns, self.edge_position)
        count = len(columns.positions)
        if not count:
            return
        first = self.edges
        numbers = {name: self._pool(name).numbered(columns.texts[name]) for name in _NUMBERED}
        out = _out(columns.texts["direction"])
        digest = self._digested(columns.texts["manifest_digest"])
        self._edges.add({"position": columns.positions, **columns.figures, **numbers, "out": out, "digest": digest})
        if count > _TAIL_MIN or self.edges - self._built > max(_TAIL_MIN, self.edges // _TAIL_SHARE):
            self._build()
        else:
            self._by_node.add(2 * numbers["node"] + out, first)
            self._by_run.add(2 * numbers["run"] + out, first)

    def add_facts(self, columns: Columns) -> None:
        """Adds facts of runs, likewise."""
        columns = _after(columns, self.fact_position)
        if not len(columns.positions):
            return
        first = self.facts
        numbers = {name: self._pool(name).numbered(columns.texts[name]) for name in RUN_TEXTS}
        self._facts.add({"position": columns.positions, **columns.figures, **numbers})
        self._fact_of.update(zip(numbers["run"].tolist(), range(first, self.facts), strict=True))

    def view(self) -> View:
        """What is here now, for reading."""
        if self.edges - self._built > max(_TAIL_MIN, self.edges // _TAIL_SHARE):
            self._build()
        return View(self)

    def edge_columns(self) -> Columns:
        """All edges as columns again, to be compared with another source of them."""
        rows = {name: column[: self.edges] for name, column in self._edges.columns.items()}
        digests = [text.decode() for text in self._digests.columns["digest"][: self._digests.size].tolist()]
        texts = {name: Coded(self._pool(name).texts, rows[name]) for name in _NUMBERED}
        texts["manifest_digest"] = Coded(["", *digests], rows["digest"] + 1)
        texts["direction"] = Coded(["in", "out"], rows["out"].astype(np.int32))
        return Columns(rows["position"], texts, {name: rows[name] for name in EDGE_INTS})

    def fact_columns(self) -> Columns:
        """All facts of runs as columns again."""
        rows = {name: column[: self.facts] for name, column in self._facts.columns.items()}
        texts = {name: Coded(self._pool(name).texts, rows[name]) for name in RUN_TEXTS}
        return Columns(rows["position"], texts, {name: rows[name] for name in RUN_INTS})

    def _pool(self, name: str) -> _Names:
        """Where a column's texts are numbered: nodes and runs by themselves, all else together."""
        return {"run": self._runs, "node": self._names}.get(name, self._texts)

    def _digested(self, column: Coded) -> Numbers:
        """Digests are long, and those of a batch mostly differ: they lie in an array, without a dictionary; -1 is none."""
        told = [code for code in _used(column) if column.values[code]]
        lookup = np.full(len(column.values), -1, np.int32)
        lookup[told] = np.arange(self._digests.size, self._digests.size + len(told), dtype=np.int32)
        if told:
            self._digests.add({"digest": np.array([column.values[code].encode() for code in told], "S64")})
        numbers: Numbers = lookup[column.codes]
        return numbers

    def _build(self) -> None:
        columns, out = self._edges.columns, self._edges.columns["out"][: self.edges]
        self._by_node.build(2 * columns["node"][: self.edges] + out, len(self._names))
        self._by_run.build(2 * columns["run"][: self.edges] + out, len(self._runs))
        self._built = self.edges


def _used(column: Coded) -> list[int]:
    """The codes that some row has."""
    return np.flatnonzero(np.bincount(column.codes, minlength=len(column.values))).tolist()


def _out(direction: Coded) -> Bools:
    out: Bools = np.array([value == "out" for value in direction.values], np.bool_)[direction.codes]
    return out


def _after(columns: Columns, position: int) -> Columns:
    """The rows above a position, in the order of positions."""
    positions = columns.positions
    if not len(positions) or (positions[0] > position and bool(np.all(positions[1:] > positions[:-1]))):
        return columns
    rows = np.argsort(positions, kind="stable")
    return columns.rows(rows[positions[rows] > position])


# Reading


class Walked(NamedTuple):
    """A piece of a walk: edges and runs by number, in order, and what was not told of."""

    edges: Numbers
    runs: Numbers
    complete: bool
    frontier: tuple[str, ...]
    frontier_size: int


class View:
    """Lineage as it was when the view was taken. Any number of threads may read through it."""

    def __init__(self, graph: LineageGraph) -> None:
        self._graph = graph
        self.size = graph.edges
        self._columns = dict(graph._edges.columns)
        self._facts, self._fact_count = dict(graph._facts.columns), graph.facts
        self.by_node = graph._by_node.taken()
        self.by_run = graph._by_run.taken()
        self._names, self._runs, self._texts = graph._names, graph._runs, graph._texts

    def node(self, name: str) -> int:
        """The number of a node, -1 for one that lineage does not know."""
        return self._names.find(name)

    def run(self, name: str) -> int:
        """The number of a run, -1 for one that lineage does not know."""
        return self._runs.find(name)

    def node_name(self, number: int) -> str:
        return self._names.texts[number]

    def run_name(self, number: int) -> str:
        return self._runs.texts[number]

    def column(self, name: str) -> npt.NDArray[Any]:
        """A column of all edges: `node`, `run`, `out` and so on."""
        return self._columns[name]

    def before(self, position: int) -> int:
        """How many edges have positions up to one; all of them for 0."""
        if not position:
            return self.size
        return int(np.searchsorted(self._columns["position"][: self.size], position, side="right"))

    def values(self, numbers: Numbers) -> tuple[lineage.Edge, ...]:
        """Edges as values, by number."""
        rows = {name: column[numbers].tolist() for name, column in self._columns.items()}
        text = self._texts.texts
        return tuple(
            lineage.Edge(
                run=self._runs.texts[rows["run"][place]],
                direction="out" if rows["out"][place] else "in",
                alias=text[rows["alias"][place]],
                node=self._names.texts[rows["node"][place]],
                manifest_digest=self._digest(rows["digest"][place]),
                site=text[rows["site"][place]],
                source_region=text[rows["source_region"][place]],
                destination_region=text[rows["destination_region"][place]],
                bytes=rows["bytes"][place],
                time=moment(rows["time"][place]),
                charge_micros=_known(rows["charge_micros"][place]),
                rows=_known(rows["rows"][place]),
                columns=_columns(text[rows["columns"][place]]),
                column_map=_column_map(text[rows["column_map"][place]]),
            )
            for place in range(len(numbers))
        )

    def _digest(self, number: int) -> str:
        return self._graph._digests.columns["digest"][number].decode() if number >= 0 else ""

    def fact(self, run: int) -> lineage.RunFact | None:
        """What is known of a run, by its number; None while its fact has not come."""
        number = self._graph._fact_of.get(run)
        if number is None or number >= self._fact_count:
            return None
        row = {name: column[number] for name, column in self._facts.items()}
        return lineage.RunFact(
            run=self._runs.texts[run],
            **{name: self._texts.texts[row[name]] for name in RUN_TEXTS if name != "run"},
            attempt=int(row["attempt"]),
            start_time=None if row["start_time"] == UNKNOWN else moment(row["start_time"]),
            end_time=moment(row["end_time"]),
        )

    def walk(
        self,
        nodes: Iterable[int],
        runs: Iterable[int],
        query: lineage.Query,
        expired: Callable[[], bool] = lambda: False,
    ) -> Walked:
        """The piece of the walk from nodes or runs (by number) that a query asks for.

        `expired` is asked now and then whether it has taken long enough; it is not heard before there is something to tell.
        """
        return _Walk(self, query, expired).go(_array(nodes), _array(runs))


def _array(numbers: Iterable[int]) -> Numbers:
    return np.array(list(numbers), np.int32)


def _known(figure: Any) -> int | None:
    return None if figure == UNKNOWN else int(figure)


@functools.lru_cache(maxsize=4096)
def _columns(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text)) if text else ()


@functools.lru_cache(maxsize=4096)
def _column_map(text: str) -> tuple[lineage.ColumnSource, ...]:
    return tuple(records.load(lineage.ColumnSource, each) for each in json.loads(text)) if text else ()


class _Way:
    """One direction of a walk: what it has seen, and the nodes and runs that it comes to next."""

    def __init__(self, view: View, arrive: bool) -> None:
        # Upstream one arrives at a run by what it made (out) and leaves it by what it read (in); downstream by the other two.
        self.arrive, self.leave = arrive, not arrive
        self.seen_nodes = np.zeros(len(view._names), np.bool_)
        self.seen_runs = np.zeros(len(view._runs), np.bool_)
        self.nodes = self.runs = np.zeros(0, np.int32)


class _Walk:
    """One walk: the edges that it has come across, and which of them are its answer."""

    def __init__(self, view: View, query: lineage.Query, expired: Callable[[], bool]) -> None:
        self._view = view
        self._query = query
        self._expired = expired
        self._limit = view.before(query.as_of_position)
        self._until = None if query.as_of_time is None else micros(query.as_of_time)
        self._met = np.zeros(self._limit, np.bool_)
        self._skip, self._room = query.skip, query.edges_max
        self._told: list[Numbers] = []
        up, down = lineage.Direction.UPSTREAM, lineage.Direction.DOWNSTREAM
        self._ways = [_Way(view, way is up) for way in (up, down) if query.direction in (way, lineage.Direction.BOTH)]

    def go(self, nodes: Numbers, runs: Numbers) -> Walked:
        for way in self._ways:
            way.nodes, way.runs = nodes, runs
            way.seen_nodes[nodes] = True
            way.seen_runs[runs] = True
        self._step_on()
        edges = np.concatenate(self._told) if self._told else np.zeros(0, np.int32)
        beyond = dict.fromkeys(name for way in self._ways for name in self._beyond(way))
        frontier = tuple(sorted(list(beyond)[:FRONTIER_MAX]))
        return Walked(edges, _first(self._view.column("run")[edges]), not beyond, frontier, len(beyond))

    def _step_on(self) -> None:
        """Goes level by level until depth, room or time ends it, or there is nothing more."""
        for hop in range(self._query.depth):
            if not any(len(way.nodes) or len(way.runs) for way in self._ways):
                return
            for way in self._ways:
                # A run that the walk begins at is left, and was not arrived at.
                if (hop or not len(way.runs)) and not self._arrive(way):
                    return
                if not self._leave(way):
                    return

    def _arrive(self, way: _Way) -> bool:
        """From nodes to the runs that touch them; False where the walk ends on the way."""
        edges, _ = self._around(self._view.by_node, way.nodes, out=way.arrive)
        whole = self._tell(edges)
        way.runs = _fresh(self._view.column("run")[edges[self._met[edges]]], way.seen_runs)
        if whole:
            way.nodes = way.nodes[:0]
        return whole

    def _leave(self, way: _Way) -> bool:
        """From runs to the nodes on their other side, likewise."""
        edges, _ = self._around(self._view.by_run, way.runs, out=way.leave)
        whole = self._tell(edges)
        found = _fresh(self._view.column("node")[edges[self._met[edges]]], way.seen_nodes)
        way.nodes = np.concatenate([way.nodes, found])
        if whole:
            way.runs = way.runs[:0]
        return whole

    def _around(self, around: _Around, names: Numbers, *, out: bool) -> tuple[Numbers, Numbers]:
        """The edges of names on one side that count, and the place of each one's name."""
        edges, owners = around.of(2 * names + out)
        counts = edges < self._limit
        if self._until is not None:
            counts[counts] = self._view.column("time")[edges[counts]] <= self._until
        return edges[counts], owners[counts]

    def _tell(self, edges: Numbers) -> bool:
        """Takes those that were not met yet into the answer; False where there is no room or no time for all of them."""
        new = edges[~self._met[edges]]
        if not len(new):
            return True
        if self._told and self._expired():
            return False
        skipped = min(self._skip, len(new))
        piece = new[skipped : skipped + self._room]
        self._skip -= skipped
        self._room -= len(piece)
        self._met[new[: skipped + len(piece)]] = True
        if len(piece):
            self._told.append(piece)
        return skipped + len(piece) == len(new)

    def _beyond(self, way: _Way) -> Iterator[str]:
        """The names from which there is more to tell, each way from where it stopped, through what was met another way."""
        view = self._view
        nodes, runs = way.nodes, way.runs
        while len(nodes) or len(runs):
            around_nodes, unmet = self._split(view.by_node, nodes, out=way.arrive)
            yield from map(view.node_name, unmet)
            around_runs, unmet = self._split(view.by_run, runs, out=way.leave)
            yield from map(view.run_name, unmet)
            runs = _fresh(view.column("run")[around_nodes], way.seen_runs)
            nodes = _fresh(view.column("node")[around_runs], way.seen_nodes)

    def _split(self, around: _Around, names: Numbers, *, out: bool) -> tuple[Numbers, list[int]]:
        """The edges of those names of which all were met, and the names that have others."""
        edges, owners = self._around(around, names, out=out)
        unmet = np.zeros(len(names), np.bool_)
        unmet[owners[~self._met[edges]]] = True
        return edges[~unmet[owners]], names[unmet].tolist()


def _first(numbers: npt.NDArray[Any]) -> Numbers:
    """Each number once, in the order of first appearance."""
    _, places = np.unique(numbers, return_index=True)
    return numbers[np.sort(places)].astype(np.int32)


def _fresh(numbers: Numbers, seen: Bools) -> Numbers:
    """Those that were not seen before, each once, in order; seen from now on."""
    fresh = _first(numbers[~seen[numbers]])
    seen[fresh] = True
    return fresh


# Comparing


def fingerprints(columns: Columns) -> dict[int, tuple[int, int]]:
    """For each range of `RANGE` positions that has rows: how many, and a sum of their hashes.

    Good inside one process only, where the same text has the same hash. What differs in one figure differs here, but for one
    chance in 2^64.
    """
    positions = columns.positions
    mixed = _mixed(positions.astype(np.uint64))
    for place, name in enumerate(sorted({*columns.texts, *columns.figures})):
        column = columns.texts.get(name)
        if column is None:
            figures = columns.figures[name]
        else:
            figures = np.fromiter((hash(text) for text in column.values), np.int64, len(column.values))[column.codes]
        with np.errstate(over="ignore"):
            mixed = _mixed(mixed ^ (figures.view(np.uint64) + np.uint64(place) * _MIX[2]))
    found: dict[int, tuple[int, int]] = {}
    ranges, starts, counts = np.unique(positions // RANGE, return_index=True, return_counts=True)
    for number, start, count in zip(ranges.tolist(), starts.tolist(), counts.tolist(), strict=True):
        found[number] = (count, int(np.bitwise_xor.reduce(mixed[start : start + count])))
    return found


def _mixed(figures: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    with np.errstate(over="ignore"):
        figures = (figures ^ (figures >> np.uint64(30))) * _MIX[0]
        figures = (figures ^ (figures >> np.uint64(27))) * _MIX[1]
        return figures ^ (figures >> np.uint64(31))


def differences(table: str, index: Columns, record: Columns) -> tuple[lineage.Difference, ...]:
    """The ranges of positions in which two sources of the same rows, each in order, do not say the same."""
    mine, theirs = fingerprints(index), fingerprints(record)
    return tuple(
        lineage.Difference(
            table=table,
            first=number * RANGE,
            last=(number + 1) * RANGE - 1,
            index_rows=mine.get(number, (0, 0))[0],
            table_rows=theirs.get(number, (0, 0))[0],
        )
        for number in sorted({*mine, *theirs})
        if mine.get(number) != theirs.get(number)
    )
