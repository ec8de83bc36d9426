"""A sum of pairwise costs as a mixed-integer linear program, over the local marginal polytope.

One 0/1 column for each option. Each pair of neighbours is a transport from the options of one to those of the other, whose
columns need not be declared whole: they are as soon as the options are. Options that a pair treats alike share their rows and
columns of that transport, so sites of one region cost no more than one site.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import program
from federation.core.factors import Costs, Graph

Whole = npt.NDArray[np.int64]


@dataclass(eq=False)
class _Rows:
    """Entries and right sides, gathered row by row; every row is an equation."""

    rows: list[Whole] = field(default_factory=list)
    columns: list[Whole] = field(default_factory=list)
    coefficients: list[Costs] = field(default_factory=list)
    sides: list[Costs] = field(default_factory=list)
    count: int = 0

    def begin(self, count: int, side: float) -> int:
        """Adds equations with one right side; returns the number of the first."""
        self.sides.append(np.full(count, side))
        self.count += count
        return self.count - count

    def enter(self, rows: Whole, columns: Whole, coefficient: float) -> None:
        """Adds one entry for each pair of row and column."""
        self.rows.append(rows)
        self.columns.append(columns)
        self.coefficients.append(np.full(len(rows), coefficient))


class _Transport(NamedTuple):
    """A pair's costs between classes of options that it treats alike, and the class of each option."""

    costs: Costs
    classes_u: Whole
    classes_v: Whole


class Relaxation(NamedTuple):
    """The program, and where the columns of each choice begin."""

    program: program.Program
    begins: dict[int, int]

    def places(self, values: npt.NDArray[np.float64], graph: Graph) -> dict[int, int]:
        """Each choice's place among its options, read from a solution."""
        return {v: int(values[begin : begin + len(graph.options[v])].argmax()) for v, begin in self.begins.items()}


def entries(graph: Graph) -> int:
    """At most so many entries has the program of a graph."""
    return sum(len(left) for left in graph.options.values()) + 3 * sum(matrix.size for matrix in graph.pairs.values())


def relax(graph: Graph) -> Relaxation:
    """The program whose least cost is the graph's."""
    begins, unary, count = {}, dict(graph.unary), 0
    for v, left in graph.options.items():
        begins[v] = count
        count += len(left)
    costs: list[Costs] = []
    rows = _Rows()
    for v, left in graph.options.items():
        row = rows.begin(1, 1.0)
        rows.enter(np.full(len(left), row), begins[v] + np.arange(len(left)), 1.0)
    for (u, v), matrix in graph.pairs.items():
        transport = _transport(matrix)
        if len(transport.costs) == 1:
            unary[v] = unary[v] + transport.costs[0][transport.classes_v]
        elif transport.costs.shape[1] == 1:
            unary[u] = unary[u] + transport.costs[:, 0][transport.classes_u]
        else:
            costs.append(_connect(rows, transport, begins[u], begins[v], count))
            count += len(costs[-1])
    return Relaxation(_assembled(rows, list(unary.values()), costs), begins)


def _transport(matrix: Costs) -> _Transport:
    lines, classes_u = np.unique(matrix, axis=0, return_inverse=True)
    turned, classes_v = np.unique(lines.T, axis=0, return_inverse=True)
    return _Transport(turned.T, classes_u.reshape(-1), classes_v.reshape(-1))


def _connect(rows: _Rows, transport: _Transport, begin_u: int, begin_v: int, begin: int) -> Costs:
    """One column for each allowed pair of classes; what arrives at a class is what is chosen of it. Returns their costs."""
    class_u, class_v = np.nonzero(np.isfinite(transport.costs))
    columns = begin + np.arange(len(class_u))
    for classes, ends, first in ((transport.classes_u, class_u, begin_u), (transport.classes_v, class_v, begin_v)):
        row = rows.begin(int(classes.max()) + 1, 0.0)
        rows.enter(row + ends, columns, 1.0)
        rows.enter(row + classes, first + np.arange(len(classes)), -1.0)
    return transport.costs[class_u, class_v]


def _assembled(rows: _Rows, options: list[Costs], transports: list[Costs]) -> program.Program:
    """Options with a forbidden cost are closed by their upper bound."""
    cost, sides = np.concatenate([*options, *transports]), np.concatenate(rows.sides)
    allowed = np.isfinite(cost)
    return program.assemble(
        costs=np.where(allowed, cost, 0.0),
        entries=(np.concatenate(rows.rows), np.concatenate(rows.columns), np.concatenate(rows.coefficients)),
        row_lower=sides,
        row_upper=sides,
        upper=allowed.astype(np.float64),
        integral=np.arange(len(cost)) < sum(len(costs) for costs in options),
    )
