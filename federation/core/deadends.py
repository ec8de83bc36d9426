"""Drops options that another one beats whatever the neighbours take: dead ends, by Goldstein's criterion (1994)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from federation.core.factors import Costs, Graph


def drop(graph: Graph, *, rivals: int | None = None) -> None:
    """Takes dead ends out of the graph, in place, until none is left; at least one best placement stays.

    With `rivals` it looks at each choice once, and compares options with so many others only, those that look cheapest.
    """
    forbidden = graph.most() + 1
    for v in sorted(graph.options):
        graph.keep(v, ~_outdone(graph, v, forbidden))
    todo = dict.fromkeys(sorted(graph.options))
    while todo:
        v = next(iter(todo))
        del todo[v]
        beaten = _beaten(graph, v, forbidden, rivals)
        if beaten.any():
            graph.keep(v, ~beaten)
            if rivals is None:
                todo.update(dict.fromkeys(sorted(graph.neighbours[v])))


def _outdone(graph: Graph, v: int, forbidden: float) -> npt.NDArray[np.bool_]:
    """Which options differ from some other by the same cost whatever the neighbours take, and not for the better.

    Such as sites of one region: quicker to see than by comparing all with all.
    """
    matrices = [np.minimum(graph.pair(v, w), forbidden) for w in sorted(graph.neighbours[v])]
    costs = sum((matrix[:, 0] for matrix in matrices), start=np.minimum(graph.unary[v], forbidden))
    lines = np.hstack([matrix - matrix[:, :1] for matrix in matrices] or [np.zeros((len(costs), 1))])
    least: dict[bytes, int] = {}
    for option in np.argsort(costs, kind="stable"):
        # Adding 0 makes -0.0 the same as 0.0.
        least.setdefault((lines[option] + 0.0).tobytes(), int(option))
    outdone = np.ones(len(costs), dtype=np.bool_)
    outdone[list(least.values())] = False
    return outdone


def _beaten(graph: Graph, v: int, forbidden: float, rivals: int | None) -> npt.NDArray[np.bool_]:
    """Which options of v never cost less than some rival; of two that always cost the same, the later."""
    unary = np.minimum(graph.unary[v], forbidden)
    matrices = [np.minimum(graph.pair(v, w), forbidden) for w in sorted(graph.neighbours[v])]
    likely = np.argsort(sum((matrix.mean(axis=1) for matrix in matrices), start=unary), kind="stable")[:rivals]
    beaten = np.zeros(len(unary), dtype=np.bool_)
    for rival in likely:
        over = unary - unary[rival]
        for matrix in matrices:
            over += (matrix - matrix[rival]).min(axis=1)
        beaten |= over > 0
        for tied in np.flatnonzero(over == 0):
            # An earlier option stays, unless it is never cheaper and at times dearer.
            beaten[tied] |= tied > rival or (tied < rival and _dearer(unary, matrices, int(rival), int(tied)) < 0)
    return beaten


def _dearer(unary: Costs, matrices: list[Costs], option: int, rival: int) -> float:
    """By how much an option costs more than a rival at least, whatever the neighbours take."""
    return float(unary[option] - unary[rival]) + sum(float((matrix[option] - matrix[rival]).min()) for matrix in matrices)
