"""Made pipelines over the shipped egress prices, for `benchmarks.pipelines`: seeded, in the shapes that pipelines have.

Sites lie in the AWS regions of the shipped rate card, several in one region once these run out, each with a compute price of
its own. Tasks run 0.1 to 30 hours, first tasks read an input that lies in one region, and each edge carries 1 GB to 20 TB.
One site in ten may not run a given task.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np

from federation.adapters import prices
from federation.core import elimination

TB = 10**12
#: Dollars an hour of the machines that sites offer: one H100 at public prices, and what is dearer by region.
HOUR_USD = (3.0, 9.5)
SHAPES = ("chain", "tree", "series-parallel", "layered", "random")


@dataclass(frozen=True, kw_only=True)
class Instance:
    """A problem and where it came from."""

    shape: str
    tasks: int
    sites: int
    seed: int
    problem: elimination.Problem


def make(shape: str, tasks: int, sites: int, seed: int) -> Instance:
    """The same instance for the same arguments."""
    rng = np.random.default_rng([SHAPES.index(shape), tasks, sites, seed])
    edges = edges_of(shape, tasks, rng)
    regions, tb_micros = _regions()
    region_of = rng.permutation(np.resize(rng.permutation(len(regions)), sites))
    link = tb_micros[np.ix_(region_of, region_of)]
    hour_micros = (rng.uniform(*HOUR_USD, sites) * 1e6).astype(np.int64)
    heads = set(range(tasks)) - {after for _, after in edges}
    made = []
    for task in range(tasks):
        costs = hour_micros * int(_log_uniform(rng, 360, 108_000)) // 3600
        if task in heads:
            costs = costs + _moved(tb_micros[rng.integers(len(regions))][region_of], rng)
        made.append(elimination.Task(name=f"t{task}", costs=np.where(rng.random(sites) < 0.1, np.inf, costs)))
    flows = [elimination.Edge(before=f"t{u}", after=f"t{v}", costs=_moved(link, rng)) for u, v in edges]
    problem = elimination.Problem(tasks=tuple(made), edges=tuple(flows))
    return Instance(shape=shape, tasks=tasks, sites=sites, seed=seed, problem=problem)


def edges_of(shape: str, tasks: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Pairs (before, after) of task numbers, before < after."""
    if shape == "chain":
        return [(v - 1, v) for v in range(1, tasks)]
    if shape == "tree":
        # Fans out to the middle and in again at random: an undirected tree either way.
        return [(int(rng.integers(max(0, v - 8), v)), v) for v in range(1, tasks)]
    if shape == "series-parallel":
        return _series_parallel(tasks, rng)
    if shape == "layered":
        return _layered(tasks, rng)
    return _random(tasks, rng)


def _series_parallel(tasks: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """An edge is split by a new task, or doubled by a way around it, again and again; numbered in topological order."""
    edges = [(0.0, 1.0)]
    names = {0.0, 1.0}
    while len(names) < tasks:
        u, v = edges[int(rng.integers(len(edges)))]
        middle = u + (v - u) * float(rng.uniform(0.1, 0.9))
        if rng.random() < 0.5:
            edges.remove((u, v))
        edges += [(u, middle), (middle, v)]
        names.add(middle)
    number = {name: i for i, name in enumerate(sorted(names))}
    return [(number[u], number[v]) for u, v in edges]


def _layered(tasks: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Layers of up to ten tasks, each fed by one to three of the layer before."""
    width = min(10, max(2, tasks // 5))
    edges = []
    for v in range(width, tasks):
        begin = (v // width - 1) * width
        feeders = rng.choice(width, size=int(rng.integers(1, 4)), replace=False) if width >= 3 else [0]
        edges += [(begin + int(feeder), v) for feeder in feeders]
    return edges


def _random(tasks: int, rng: np.random.Generator) -> list[tuple[int, int]]:
    """Each task is fed by one to three of the twenty before it."""
    edges = []
    for v in range(1, tasks):
        near = np.arange(max(0, v - 20), v)
        edges += [(int(u), v) for u in rng.choice(near, size=min(len(near), int(rng.integers(1, 4))), replace=False)]
    return edges


def _regions() -> tuple[list[str], np.ndarray]:
    """Regions between which all prices are known, and what a TB costs between each two, in micro-dollars."""
    card = prices.default_rate_card()
    places = sorted({f"aws:{row.source_place}" for row in card.rows if row.source_provider == "aws"})
    known = [[card.price(u, v, 0, TB) for v in places] for u in places]
    whole = [i for i in range(len(places)) if sum(price is None for price in known[i]) == 0]
    table = np.zeros((len(whole), len(whole)), dtype=np.int64)
    for (a, i), (b, j) in itertools.product(enumerate(whole), repeat=2):
        price = known[i][j]
        assert price is not None
        table[a, b] = price.micros
    return [places[i] for i in whole], table


def _moved(tb_micros: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return tb_micros * int(_log_uniform(rng, 1, 20_000)) // 1000


def _log_uniform(rng: np.random.Generator, least: float, most: float) -> float:
    return float(np.exp(rng.uniform(np.log(least), np.log(most))))
