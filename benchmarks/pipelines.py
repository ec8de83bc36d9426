"""Pipelines placed as a whole, beside SkyPilot's own solvers on the same instances: `python -m benchmarks.pipelines`.

SkyPilot's chain DP and its ILP (CBC) are handed the very costs that ours gets, region pair by region pair, which SkyPilot's own
prices do not know; its time is that of the solver alone, taken inside its process. Ours is taken around `elimination.place`,
checks of the input included. Both stand in one run, in turns; medians. Where SkyPilot's solver runs out of time, that is shown.

Growth: ours alone over tasks and over sites, with the solver behind it.
"""

from __future__ import annotations

import argparse
import statistics
import time
from pathlib import Path

import numpy as np

from benchmarks import _pipeline_instances as instances
from benchmarks import skypilot_peer
from federation.adapters import solver
from federation.core import elimination

MICROS = 1_000_000
#: (tasks, sites) of each shape beside SkyPilot; its model of more would not be built in minutes.
PEER_SIZES = ((10, 10), (20, 30), (50, 30), (50, 70))
GROWTH_TASKS = (10, 50, 100, 200, 500)
GROWTH_SITES = (10, 25, 50, 100)


def ours(made: instances.Instance) -> tuple[elimination.Placement, float]:
    """The placement and the seconds it took."""
    began = time.perf_counter()
    placed = elimination.place(made.problem, solve=solver.HighsSolver().minimize, seconds=60)
    return placed, time.perf_counter() - began


def theirs(peer: skypilot_peer.Peer, made: instances.Instance, seconds: float) -> skypilot_peer.Solved | None:
    """SkyPilot's solution, None if it ran out of time."""
    number = {task.name: v for v, task in enumerate(made.problem.tasks)}
    tasks = [[cost / MICROS if np.isfinite(cost) else None for cost in task.costs.tolist()] for task in made.problem.tasks]
    edges = [(number[edge.before], number[edge.after], (edge.costs / MICROS).tolist()) for edge in made.problem.edges]
    try:
        return peer.solve(tasks, edges, seconds=seconds)
    except skypilot_peer.TooSlow:
        return None


def beside(peer: skypilot_peer.Peer, made: instances.Instance, options: argparse.Namespace) -> str:
    """One line: both optima, both medians, their ratio."""
    taken, took = [], []
    for _ in range(options.repeats):
        placed, seconds = ours(made)
        taken.append(seconds)
        solved = theirs(peer, made, options.seconds)
        if solved is None:
            break
        took.append(solved.seconds)
    mine = statistics.median(taken)
    line = f"{made.shape:16} {made.tasks:5} {made.sites:5} {len(made.problem.edges):6} {mine * 1e3:10.1f} {placed.method:12}"
    if solved is None:
        return f"{line} {f'> {options.seconds:g} s':>12} {f'> {options.seconds / mine:,.0f}':>9}  -"
    other = statistics.median(took)
    cost = elimination.cost_micros(made.problem, solved.sites)
    same = "same" if cost == placed.cost_micros else f"{cost / placed.cost_micros - 1:+.2e}"
    return f"{line} {other * 1e3:10.1f} ms {other / mine:9,.1f}  {same}"


def compare(options: argparse.Namespace) -> None:
    """The table of both."""
    header = f"{'shape':16} {'tasks':>5} {'sites':>5} {'edges':>6} {'ours ms':>10} {'method':12}"
    print(f"{header} {'SkyPilot':>13} {'ratio':>9}  its cost")
    with skypilot_peer.peer(options.cache) as peer:
        for tasks, sites in options.sizes or PEER_SIZES:
            for shape in instances.SHAPES:
                print(beside(peer, instances.make(shape, tasks, sites, options.seed), options), flush=True)


def growth(options: argparse.Namespace) -> None:
    """Ours alone: seconds by tasks at 100 sites, and by sites at 200 tasks."""
    print(f"\n{'ours, s':16} {'shape':16}" + "".join(f"{shape:>17}" for shape in instances.SHAPES))
    steps = [(tasks, 100) for tasks in GROWTH_TASKS] + [(200, sites) for sites in GROWTH_SITES]
    for tasks, sites in steps:
        cells = []
        for shape in instances.SHAPES:
            found = [ours(instances.make(shape, tasks, sites, options.seed + i)) for i in range(options.repeats)]
            seconds = statistics.median(took for _, took in found)
            worst = max((placed for placed, _ in found), key=lambda placed: placed.gap)
            cells.append(f"{seconds:10.3f} {'proven' if all(placed.proven for placed, _ in found) else f'{worst.gap:.1e}':>6}")
        print(f"{tasks:5} x {sites:4} sites    {'':12}" + "".join(cells), flush=True)


def _size(text: str) -> tuple[int, int]:
    tasks, _, sites = text.partition("x")
    return int(tasks), int(sites)


def main() -> None:
    """Both tables, with their sizes as options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--cache", type=Path, default=skypilot_peer.CACHE, help="folder for SkyPilot's environment")
    parser.add_argument("--seconds", type=float, default=120, help="SkyPilot's time for one instance")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--sizes", type=_size, nargs="*", help="like 50x70: tasks and sites beside SkyPilot")
    parser.add_argument("--only", choices=("peer", "growth"), help="one of the two tables")
    options = parser.parse_args()
    if options.only != "growth":
        compare(options)
    if options.only != "peer":
        growth(options)


if __name__ == "__main__":
    main()
