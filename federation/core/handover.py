"""Places the tasks of a pipeline: from what each costs at each site, and what is handed over, to the cheapest whole.

What is handed over costs what its bytes cost between two regions, so of a task's sites in one region only the cheapest can be
part of the best whole: the problem is as large as the regions, not as the sites, and the answer is the same. Of equally cheap
wholes one wins in which the fewest inputs leave a region: what looks free may be larger than somebody thought.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from federation.core import elimination

#: What bytes cost from one place to another, None where the price is not known.
Price = Callable[["Place", "Place", int], int | None]


@dataclass(frozen=True, kw_only=True)
class Place:
    """As much of a site as a price depends on: its region, and the account that pays for what leaves it."""

    region: str
    account: str = ""


@dataclass(frozen=True, kw_only=True)
class Stage:
    """One task to be placed: what it costs at each site that can take it. One that runs has one site, and costs no more."""

    task: str
    costs: Mapping[str, int]


@dataclass(frozen=True, kw_only=True)
class Flow:
    """So many bytes that one task makes and another reads."""

    before: str
    after: str
    bytes: int


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one task has of the whole: its site, its own cost, and what handing its inputs over to it costs."""

    task: str
    site: str
    own_micros: int
    handover_micros: int


@dataclass(frozen=True, kw_only=True)
class Whole:
    """The placement of all tasks, in the order given. No placement is cheaper than `bound_micros`, which is proven.

    `separate_micros` is what it would cost to give each task in turn the site that is cheapest for it alone, None where that
    leads to a task that then has none.
    """

    shares: tuple[Share, ...]
    bound_micros: int
    proven: bool
    method: str
    separate_micros: int | None

    @property
    def cost_micros(self) -> int:
        """What it costs in all."""
        return sum(share.own_micros + share.handover_micros for share in self.shares)


def place(
    stages: Sequence[Stage],
    flows: Sequence[Flow],
    places: Mapping[str, Place],
    price: Price,
    *,
    solve: elimination.Solve | None = None,
    seconds: float = 5.0,
) -> Whole:
    """The cheapest whole, proven or with its proven bound. `stages` come in an order in which each is after what feeds it.

    FailedPrecondition (PIPELINE_NO_SITE, PIPELINE_NO_PLACEMENT, PIPELINE_UNDECIDED) where there is none.
    """
    options = {stage.task: _cheapest_by_place(stage, places) for stage in stages}
    tables = [_table(flow, options, places, price) for flow in flows]
    scale = _scale(stages, options, tables)
    leaving = [_leaves(flow, options, places) * (scale > 1) for flow in flows]
    weighed = [table * scale + more for table, more in zip(tables, leaving, strict=True)]
    problem = _problem(stages, flows, {stage.task: _own(stage, options) * scale for stage in stages}, weighed)
    found = elimination.place(problem, solve=solve, seconds=seconds)
    sites = {stage.task: options[stage.task][at] for stage, at in zip(stages, found.sites, strict=True)}
    shares = tuple(_share(stage, sites, flows, options, tables) for stage in stages)
    return Whole(
        shares=shares,
        # A bound on `scale` times the cost and the inputs that leave a region, of which there are fewer than `scale`.
        bound_micros=-((len(flows) * (scale > 1) - found.bound_micros) // scale),
        proven=found.proven,
        method=str(found.method),
        separate_micros=_separately(stages, flows, options, tables),
    )


def _problem(
    stages: Sequence[Stage],
    flows: Sequence[Flow],
    costs: Mapping[str, npt.NDArray[np.float64]],
    tables: Sequence[npt.NDArray[np.float64]],
) -> elimination.Problem:
    edges = (
        elimination.Edge(before=flow.before, after=flow.after, costs=table) for flow, table in zip(flows, tables, strict=True)
    )
    return elimination.Problem(
        tasks=tuple(elimination.Task(name=stage.task, costs=costs[stage.task]) for stage in stages), edges=tuple(edges)
    )


def _own(stage: Stage, options: Mapping[str, tuple[str, ...]]) -> npt.NDArray[np.float64]:
    return np.array([stage.costs[at] for at in options[stage.task]], dtype=np.float64)


def _leaves(flow: Flow, options: Mapping[str, tuple[str, ...]], places: Mapping[str, Place]) -> npt.NDArray[np.float64]:
    """1 between sites of different regions, 0 inside of one."""
    before = np.array([places[at].region for at in options[flow.before]])
    after = np.array([places[at].region for at in options[flow.after]])
    return np.asarray(before[:, None] != after[None, :], dtype=np.float64)


def _scale(stages: Sequence[Stage], options: Mapping[str, tuple[str, ...]], tables: Sequence[npt.NDArray[np.float64]]) -> int:
    """So high that all inputs that leave a region weigh less than a micro-dollar together; 1 where costs are too large."""
    alone = sum(max(_own(stage, options), default=0.0) for stage in stages)
    handed = sum(float(np.max(table, where=np.isfinite(table), initial=0.0)) for table in tables)
    scale = len(tables) + 1
    return scale if (alone + handed + 1) * scale <= elimination.COST_MAX else 1


def _cheapest_by_place(stage: Stage, places: Mapping[str, Place]) -> tuple[str, ...]:
    """The cheapest site in each place, by name; of equally cheap ones the first by name."""
    best: dict[Place, str] = {}
    for name in sorted(stage.costs, key=lambda name: (stage.costs[name], name)):
        best.setdefault(places[name], name)
    return tuple(sorted(best.values()))


def _table(
    flow: Flow, options: Mapping[str, tuple[str, ...]], places: Mapping[str, Place], price: Price
) -> npt.NDArray[np.float64]:
    """What a flow costs between each two sites; an infinity where the price is not known."""
    rows, columns = options[flow.before], options[flow.after]
    table = np.full((len(rows), len(columns)), np.inf)
    for i, source in enumerate(rows):
        for j, destination in enumerate(columns):
            micros = price(places[source], places[destination], flow.bytes)
            if micros is not None:
                table[i, j] = micros
    return table


def _share(
    stage: Stage,
    sites: Mapping[str, str],
    flows: Sequence[Flow],
    options: Mapping[str, tuple[str, ...]],
    tables: Sequence[npt.NDArray[np.float64]],
) -> Share:
    handed = 0
    for flow, table in zip(flows, tables, strict=True):
        if flow.after == stage.task:
            row, column = options[flow.before].index(sites[flow.before]), options[flow.after].index(sites[flow.after])
            handed += int(table[row, column])
    at = sites[stage.task]
    return Share(task=stage.task, site=at, own_micros=stage.costs[at], handover_micros=handed)


def _separately(
    stages: Sequence[Stage],
    flows: Sequence[Flow],
    options: Mapping[str, tuple[str, ...]],
    tables: Sequence[npt.NDArray[np.float64]],
) -> int | None:
    """One task after another, each where it is cheapest as things lie by then: what submitting job by job comes to."""
    chosen: dict[str, int] = {}
    total = 0
    for stage in stages:
        costs = _own(stage, options)
        for flow, table in zip(flows, tables, strict=True):
            if flow.after == stage.task:
                costs += table[chosen[flow.before]]
        chosen[stage.task] = int(costs.argmin())
        least = float(costs.min())
        if not np.isfinite(least):
            return None
        total += int(least)
    return total
