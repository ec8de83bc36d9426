"""A proven lower bound on a sum of pairwise costs by passing messages, and a good placement found on the way.

Sequential reweighted message passing (Kolmogorov, "A new look at reweighted message passing", 2015; TRW-S for pairs) over
whole numbers: cost is only ever moved between a choice and its pairs, so what has gathered in the constant is a bound without
rounding. An option that would lift the bound to the best cost known is dropped for good.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import descent
from federation.core.factors import Graph

Whole = npt.NDArray[np.int64]

#: A run of passes ends when so many in a row have closed less than this share of the gap together.
_STALLED_PASSES = 8
_STALLED_SHARE = 0.02
#: Matrices are cut down to the options that are left when these are fewer than this share of what they hold.
_DENSE_SHARE = 0.7
#: Whether enough has dropped out is asked again when so much less is left.
_JUDGED_SHARE = 0.9


class Bounds(NamedTuple):
    """No placement of the graph costs less than `lower`; `chosen`, the positions taken, costs `upper`.

    Where none was found that costs less than `below`, `chosen` is empty and `upper` is what any other costs at least:
    `below`, or what only a forbidden one costs.
    """

    lower: float
    upper: float
    chosen: dict[int, int]

    @property
    def met(self) -> bool:
        """Whether nothing costs less than `upper`."""
        return self.lower >= self.upper


def bounds(graph: Graph, *, passes: int, below: float, enough: Callable[[Mapping[int, int]], bool]) -> Bounds:
    """Bounds the least cost from both sides, as far as it is below `below`.

    In place, the graph keeps only the options that may be in something cheaper than `upper`, which may be none that go
    together, and its costs are moved about: each placement below `upper` costs `lower` less than it did. At most `passes`
    (each looks at every matrix four times), fewer when the bounds meet or stop moving, or when `enough` says of the number of
    options that remain for each choice that another method will do.
    """
    best = descent.Descent(graph, below)
    state = _State(graph, cap=int(best.upper) + 1)
    gaps, judged = [math.inf], state.size()
    for _ in range(passes):
        state.sweep(best.upper)
        best.offer(state.rounded())
        if state.constant >= best.upper:
            return Bounds(best.upper, best.upper, best.positions)
        gaps.append(best.upper - state.constant)
        if _stalled(gaps):
            break
        if state.size() < _JUDGED_SHARE * judged:
            judged = state.size()
            if enough(state.sizes()):
                break
        state.thin()
    state.leave(graph)
    return Bounds(float(state.constant), best.upper, best.positions)


class _State:
    """The graph's cost, moved about: `constant`, plus `unary` of each choice, plus each pair less what it has given.

    `given[u, v]` is what the pair of u and v gave to u's options, in sum. Choices and pairs stay at 0 or more, so no placement
    costs less than `constant`. Costs are cut down to `cap`: whatever costs that much is no better than what is known.
    """

    def __init__(self, graph: Graph, cap: int) -> None:
        self.cap = cap
        self.constant = 0
        self.order = sorted(graph.options)
        self.options = {v: np.arange(len(graph.options[v])) for v in self.order}
        self.alive = {v: np.ones(len(graph.options[v]), dtype=np.bool_) for v in self.order}
        self.unary = {v: _whole(graph.unary[v], cap) for v in self.order}
        self.pairs = {edge: _whole(matrix, cap) for edge, matrix in graph.pairs.items()}
        self.given = {(u, v): np.zeros(len(self.options[u]), dtype=np.int64) for u in self.order for v in graph.neighbours[u]}
        self.before = {v: sorted(w for w in graph.neighbours[v] if w < v) for v in self.order}
        self.after = {v: sorted(w for w in graph.neighbours[v] if w > v) for v in self.order}

    def sweep(self, upper: float) -> None:
        """One pass forward and one back."""
        for v in self.order:
            self._visit(v, self.after[v], upper)
        for v in reversed(self.order):
            self._visit(v, self.before[v], upper)

    def _visit(self, v: int, onward: list[int], upper: float) -> None:
        """Takes what all pairs of a choice can give, moves the common part to the constant, and sends shares onward."""
        costs = self.unary[v]
        for w in (*self.before[v], *self.after[v]):
            least = self._least(v, w)
            self.given[v, w] += least
            costs += least
        np.minimum(costs, self.cap, out=costs)
        costs[~self.alive[v]] = self.cap
        common = int(costs.min())
        costs -= common
        self.constant += common
        # All that v could be charged lies with v now: the bound with an option is the constant plus what it costs here.
        self.alive[v] &= self.constant + costs < upper
        if onward:
            part = costs // max(len(self.before[v]), len(self.after[v]))
            for w in onward:
                self.given[v, w] -= part
            costs -= part * len(onward)

    def _least(self, v: int, w: int) -> Whole:
        """For each option of v the least that its pair with w still holds."""
        if v < w:
            least: Whole = (self.pairs[v, w] - self.given[w, v]).min(axis=1)
        else:
            least = (self.pairs[w, v] - self.given[w, v][:, None]).min(axis=0)
        return least - self.given[v, w]

    def rounded(self) -> dict[int, int]:
        """A placement by what is left after the way back: each choice takes its cheapest, given those before it.

        In places of the options as they were.
        """
        chosen: dict[int, int] = {}
        for v in self.order:
            costs = self.unary[v] + np.where(self.alive[v], 0, self.cap)
            for w in self.before[v]:
                costs = costs + self.pairs[w, v][chosen[w]] - self.given[v, w]
            chosen[v] = int(costs.argmin())
        return {v: int(self.options[v][place]) for v, place in chosen.items()}

    def size(self) -> int:
        """Options that are left, in sum."""
        return sum(self.sizes().values())

    def sizes(self) -> dict[int, int]:
        """Options that are left for each choice."""
        return {v: int(np.count_nonzero(alive)) for v, alive in self.alive.items()}

    def thin(self) -> None:
        """Frees arrays of dropped options where these are many."""
        for v, count in self.sizes().items():
            if 0 < count < _DENSE_SHARE * len(self.alive[v]):
                self._cut(v, self.alive[v])

    def _cut(self, v: int, kept: npt.NDArray[np.bool_]) -> None:
        self.options[v], self.unary[v], self.alive[v] = self.options[v][kept], self.unary[v][kept], self.alive[v][kept]
        for w in self.before[v]:
            self.pairs[w, v], self.given[v, w] = np.ascontiguousarray(self.pairs[w, v][:, kept]), self.given[v, w][kept]
        for w in self.after[v]:
            self.pairs[v, w], self.given[v, w] = np.ascontiguousarray(self.pairs[v, w][kept]), self.given[v, w][kept]

    def leave(self, graph: Graph) -> None:
        """Leaves in the graph what is left here: options and costs."""
        for v in self.order:
            self._cut(v, self.alive[v])
            graph.options[v] = graph.options[v][self.options[v]]
            graph.unary[v] = self.unary[v].astype(np.float64)
        for (u, v), matrix in self.pairs.items():
            graph.pairs[u, v] = (matrix - self.given[u, v][:, None] - self.given[v, u]).astype(np.float64)


def _stalled(gaps: list[float]) -> bool:
    if len(gaps) <= _STALLED_PASSES:
        return False
    return gaps[-1] > gaps[-1 - _STALLED_PASSES] * (1 - _STALLED_SHARE)


def _whole(costs: npt.NDArray[np.float64], cap: int) -> Whole:
    return np.minimum(costs, float(cap)).astype(np.int64)
