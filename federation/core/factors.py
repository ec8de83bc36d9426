"""Sums of small cost tables over choices, and their exact minimum by eliminating one choice after another.

Costs are whole numbers held in float64, far below 2**53, so that every sum is exact; an infinity forbids. See
Dechter, "Bucket elimination" (1999) for the method, min-weight and min-fill for the order.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Costs = npt.NDArray[np.float64]
Positions = npt.NDArray[np.int64]

#: A slice of this many cells stays in the processor's cache while it is added up.
_SLICE_CELLS = 2**15


@dataclass(eq=False)
class Graph:
    """Choices that remain (by number), what each costs, and what each pair of neighbours costs together.

    `options[v]` are the positions that choice v may still take, ascending; `unary[v]` has a cost for each of them and
    `pairs[u, v]`, where u < v, a matrix for those of both.
    """

    options: dict[int, Positions]
    unary: dict[int, Costs]
    pairs: dict[tuple[int, int], Costs]
    neighbours: dict[int, set[int]] = field(init=False)

    def __post_init__(self) -> None:
        self.neighbours = {v: set() for v in self.options}
        for u, v in self.pairs:
            self.neighbours[u].add(v)
            self.neighbours[v].add(u)

    def pair(self, u: int, v: int) -> Costs:
        """The matrix of two neighbours with u's options as rows."""
        return self.pairs[u, v] if u < v else self.pairs[v, u].T

    def keep(self, v: int, kept: npt.NDArray[np.bool_]) -> None:
        """Leaves only some of a choice's options."""
        if kept.all():
            return
        self.options[v] = self.options[v][kept]
        self.unary[v] = self.unary[v][kept]
        for u in self.neighbours[v]:
            if u < v:
                self.pairs[u, v] = np.ascontiguousarray(self.pairs[u, v][:, kept])
            else:
                self.pairs[v, u] = np.ascontiguousarray(self.pairs[v, u][kept])

    def cost(self, chosen: Mapping[int, int]) -> float:
        """What chosen options cost, each given by its place among those that remain."""
        alone = sum(float(costs[chosen[v]]) for v, costs in self.unary.items())
        return alone + sum(float(matrix[chosen[u], chosen[v]]) for (u, v), matrix in self.pairs.items())

    def most(self) -> float:
        """No placement costs more, unless it is forbidden."""
        tables = (*self.unary.values(), *self.pairs.values())
        return sum(float(np.max(table, where=np.isfinite(table), initial=0.0)) for table in tables)

    def components(self) -> list[Graph]:
        """Parts that have no edge between them."""
        parts, seen = [], set[int]()
        for start in self.options:
            if start in seen:
                continue
            members, todo = {start}, [start]
            while todo:
                fresh = self.neighbours[todo.pop()] - members
                members |= fresh
                todo.extend(fresh)
            seen |= members
            parts.append(self._part(members))
        return parts

    def _part(self, members: set[int]) -> Graph:
        return Graph(
            options={v: self.options[v] for v in sorted(members)},
            unary={v: self.unary[v] for v in sorted(members)},
            pairs={edge: matrix for edge, matrix in self.pairs.items() if edge[0] in members},
        )


class Order(NamedTuple):
    """In which order choices are eliminated, the cells of the largest table that this makes, of all, and the sums it takes."""

    choices: tuple[int, ...]
    widest_cells: float
    total_cells: float
    work_cells: float


class Step(NamedTuple):
    """One eliminated choice: what is needed to take it once its neighbours, `scope`, are taken."""

    choice: int
    scope: tuple[int, ...]
    options: dict[int, Positions]
    tables: tuple[tuple[tuple[int, ...], Costs], ...]


def order(graph: Graph, sizes: Mapping[int, int] | None = None) -> Order:
    """The better of two greedy orders: least table first, and fewest new pairs of neighbours first.

    `sizes` are the numbers of options to reckon with, by default those that the graph holds.
    """
    sizes = {v: max(size, 1) for v, size in (sizes or {v: len(left) for v, left in graph.options.items()}).items()}
    if all(len(around) <= 2 for around in graph.neighbours.values()) or len(graph.pairs) < len(graph.options):
        return _greedy(graph, sizes, fill=False)
    return min((_greedy(graph, sizes, fill=fill) for fill in (False, True)), key=lambda found: found.work_cells)


def eliminate(graph: Graph, choices: Iterable[int]) -> tuple[float, list[Step]]:
    """Eliminates all choices, in that order: the least total cost (infinite where nothing is allowed) and the steps back."""
    tables: dict[int, list[tuple[tuple[int, ...], Costs]]] = {v: [((v,), costs)] for v, costs in graph.unary.items()}
    place = {v: i for i, v in enumerate(choices)}
    for (u, v), matrix in graph.pairs.items():
        tables[u if place[u] < place[v] else v].append(((u, v), matrix))
    total, steps = 0.0, []
    for v in place:
        # Each table lies with the first of its choices to go, so that what v holds now is all that mentions v.
        step = Step(v, _scope(v, tables[v]), {}, tuple(tables.pop(v)))
        step.options.update({w: graph.options[w] for w in (v, *step.scope)})
        steps.append(step)
        table = _minimum(step)
        if step.scope:
            tables[min(step.scope, key=place.__getitem__)].append((step.scope, table))
        else:
            total += float(table)
    return total, steps


def eliminate_simple(graph: Graph) -> list[Step]:
    """Takes choices with at most two neighbours out of the graph, in place: what is left has the same least cost.

    A choice with one option alone stays, as does one without neighbours, but is cut off from its neighbours, who are charged.
    """
    steps: list[Step] = []
    todo = sorted(graph.options, reverse=True)
    while todo:
        v = todo.pop()
        around = tuple(sorted(graph.neighbours.get(v, ())))
        if v in graph.options and len(graph.options[v]) == 1:
            _settle(graph, v, around)
        elif 1 <= len(around) <= 2:
            steps.append(_take_out(graph, v, around))
        else:
            continue
        todo.extend(around)
    return steps


def retrace(steps: Sequence[Step], chosen: dict[int, int]) -> None:
    """Completes `chosen` (positions) with the eliminated choices, the last first; of equally cheap options the first."""
    for step in reversed(steps):
        at = {w: int(np.searchsorted(step.options[w], chosen[w])) for w in step.scope}
        costs: Costs = np.zeros(len(step.options[step.choice]))
        for scope, table in step.tables:
            costs = costs + table[tuple(slice(None) if w == step.choice else at[w] for w in scope)]
        chosen[step.choice] = int(step.options[step.choice][int(costs.argmin())])


def _settle(graph: Graph, v: int, around: tuple[int, ...]) -> None:
    for w in around:
        graph.unary[w] = graph.unary[w] + graph.pair(v, w)[0]
        del graph.pairs[min(v, w), max(v, w)]
        graph.neighbours[w].discard(v)
        graph.neighbours[v].discard(w)


def _take_out(graph: Graph, v: int, around: tuple[int, ...]) -> Step:
    tables: list[tuple[tuple[int, ...], Costs]] = [((v,), graph.unary.pop(v))]
    for w in around:
        edge = (min(v, w), max(v, w))
        tables.append((edge, graph.pairs.pop(edge)))
        graph.neighbours[w].discard(v)
    step = Step(v, around, {w: graph.options[w] for w in (v, *around)}, tuple(tables))
    del graph.options[v], graph.neighbours[v]
    table = _minimum(step)
    if len(around) == 1:
        graph.unary[around[0]] = graph.unary[around[0]] + table
    else:
        graph.pairs[around] = graph.pairs[around] + table if around in graph.pairs else table  # type: ignore[index]
        graph.neighbours[around[0]].add(around[1])
        graph.neighbours[around[1]].add(around[0])
    return step


def _scope(v: int, tables: Iterable[tuple[tuple[int, ...], Costs]]) -> tuple[int, ...]:
    return tuple(sorted({w for scope, _ in tables for w in scope} - {v}))


def _minimum(step: Step) -> Costs:
    """The sum of a step's tables, minimized over the step's own choice: a table over its scope."""
    own, shape = len(step.options[step.choice]), tuple(len(step.options[w]) for w in step.scope)
    if not own:
        return np.full(shape, math.inf)
    # The smallest first: their sums stay small.
    terms = sorted((_aligned(step, scope, table) for scope, table in step.tables), key=lambda term: term.size)
    thickness = max(1, _SLICE_CELLS // max(1, math.prod(shape)))
    least: Costs | None = None
    for begin in range(0, own, thickness):
        total = terms[0][begin : begin + thickness]
        for term in terms[1:]:
            total = total + term[begin : begin + thickness]
        found = total.min(axis=0)
        least = found if least is None else np.minimum(least, found, out=least)
    assert least is not None
    return np.array(np.broadcast_to(least, shape))


def _aligned(step: Step, scope: tuple[int, ...], table: Costs) -> Costs:
    """The table with the step's choice as its first axis, then one axis for each of the step's scope."""
    axes = (step.choice, *(w for w in step.scope if w in scope))
    turned = table.transpose([scope.index(w) for w in axes])
    shape = [len(step.options[w]) if w in scope else 1 for w in (step.choice, *step.scope)]
    return np.ascontiguousarray(turned).reshape(shape)


def _greedy(graph: Graph, sizes: Mapping[int, int], *, fill: bool) -> Order:
    """Eliminates on paper, the cheapest choice next."""
    around = {v: set(others) for v, others in graph.neighbours.items()}
    logs = {v: math.log(size) for v, size in sizes.items()}

    def rank(v: int) -> tuple[float, float, int]:
        weight = logs[v] + sum(logs[w] for w in around[v])
        return (_missing(around, v), weight, v) if fill else (weight, 0.0, v)

    ranks = {v: rank(v) for v in around}
    heap = list(ranks.values())
    heapq.heapify(heap)
    choices, widest, total, work = [], 0.0, 0.0, 0.0
    while heap:
        entry = heapq.heappop(heap)
        v = entry[-1]
        if ranks.get(v) != entry:
            continue
        cells = math.prod((float(sizes[w]) for w in around[v]), start=1.0)
        choices.append(v)
        widest, total, work = max(widest, cells), total + cells, work + cells * sizes[v]
        for w in _join(around, v, fill=fill):
            ranks[w] = rank(w)
            heapq.heappush(heap, ranks[w])
        del ranks[v]
    return Order(tuple(choices), widest, total, work)


def _missing(around: Mapping[int, set[int]], v: int) -> float:
    """How many pairs of neighbours are no neighbours yet."""
    count = len(around[v])
    return (count * (count - 1) - sum(len(around[w] & around[v]) for w in around[v])) / 2


def _join(around: dict[int, set[int]], v: int, *, fill: bool) -> set[int]:
    """Takes v out and makes its neighbours neighbours of each other; returns those whose rank may have changed."""
    others = around.pop(v)
    for w in others:
        around[w] |= others
        around[w] -= {v, w}
    return others.union(*(around[w] for w in others)) if fill else others
