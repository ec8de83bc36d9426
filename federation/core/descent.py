"""The cheapest placement that a search has come across: each that it is offered is improved a forest at a time.

A forest is a set of choices without a circle among them: all of it is moved at once, exactly, while the rest stays as it is.
"""

from __future__ import annotations

import numpy as np

from federation.core import factors
from federation.core.factors import Costs, Graph

#: Forests are grown from so many places in turn; when none of them pays any more, the placement is as good as this gets.
_STARTS = 4


class Descent:
    """The best placement of a graph so far, of those that cost less than `below`: `upper` is its cost."""

    def __init__(self, graph: Graph, below: float) -> None:
        """Begins with every choice's cheapest option. The graph may change later: this keeps its own view."""
        self._order = sorted(graph.options)
        self._options = dict(graph.options)
        self._forbidden = graph.most() + 1
        self._unary = {v: np.minimum(graph.unary[v], self._forbidden) for v in self._order}
        self._pairs = {edge: np.minimum(matrix, self._forbidden) for edge, matrix in graph.pairs.items()}
        self._neighbours = {v: sorted(graph.neighbours[v]) for v in self._order}
        self._seen: set[tuple[int, ...]] = set()
        self._chosen: dict[int, int] = {}
        self.upper = min(below, self._forbidden)
        self.offer({v: int(costs.argmin()) for v, costs in self._unary.items()})

    @property
    def positions(self) -> dict[int, int]:
        """The positions that the best placement takes; empty as long as there is none."""
        return {v: int(self._options[v][place]) for v, place in self._chosen.items()}

    def offer(self, chosen: dict[int, int]) -> None:
        """Improves a placement, given by places in the options, and keeps it if it is the best so far."""
        cost, idle, turn = self._cost(chosen), 0, 0
        while idle < _STARTS:
            key = tuple(chosen[v] for v in self._order)
            if not idle and key in self._seen:
                return
            self._seen.add(key)
            chosen = self._replanted(chosen, turn * len(self._order) // _STARTS)
            before, cost = cost, self._cost(chosen)
            idle, turn = 0 if cost < before else idle + 1, (turn + 1) % _STARTS
        if cost < self.upper:
            self.upper, self._chosen = cost, chosen

    def _cost(self, chosen: dict[int, int]) -> float:
        cost = sum(float(costs[chosen[v]]) for v, costs in self._unary.items())
        return cost + sum(float(matrix[chosen[u], chosen[v]]) for (u, v), matrix in self._pairs.items())

    def _replanted(self, chosen: dict[int, int], start: int) -> dict[int, int]:
        """The same placement with a forest of choices moved to where they cost least, given the others."""
        members = self._forest(start)
        unary = {v: self._given_others(v, members, chosen) for v in sorted(members)}
        pairs = {edge: matrix for edge, matrix in self._pairs.items() if edge[0] in members and edge[1] in members}
        forest = Graph({v: np.arange(len(costs)) for v, costs in unary.items()}, unary, pairs)
        moved: dict[int, int] = {}
        factors.retrace(factors.eliminate(forest, factors.order(forest).choices)[1], moved)
        return {v: moved.get(v, chosen[v]) for v in self._order}

    def _given_others(self, v: int, members: set[int], chosen: dict[int, int]) -> Costs:
        costs = self._unary[v]
        for w in self._neighbours[v]:
            if w not in members:
                costs = costs + (self._pairs[v, w][:, chosen[w]] if v < w else self._pairs[w, v][chosen[w]])
        return costs

    def _forest(self, start: int) -> set[int]:
        """Takes every choice, in turn from `start`, that closes no circle with those taken."""
        root: dict[int, int] = {}

        def top(v: int) -> int:
            while root[v] != v:
                root[v] = v = root[root[v]]
            return v

        for v in (*self._order[start:], *self._order[:start]):
            tops = [top(w) for w in self._neighbours[v] if w in root]
            if len(set(tops)) == len(tops):
                root[v] = v
                for other in tops:
                    root[other] = v
        return set(root)
