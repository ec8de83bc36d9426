"""Queues placed provably best: jobs that are alike by augmenting paths, few by branch and bound, more by a solver."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import assignment_table, program
from federation.core.assignment_table import Floats, Ints, Table

#: Nodes that branch and bound looks at before it gives up, and undecided jobs beyond which it does not begin.
NODES_MAX = 20_000
UNDECIDED_MAX = 40
#: Columns that a solver is handed at most.
COLUMNS_MAX = 6_000


class Slots(NamedTuple):
    """Sites' room as places of one size: a job in a lane takes one place of slot `of[job, lane]` (-1: takes nothing scarce).

    `places` is how many each slot has, `site` and `resource` what they are made of, `size` how much of it a place is.
    """

    of: Ints
    places: Ints
    site: Ints
    resource: Ints
    size: Floats


def slots(table: Table) -> Slots | None:
    """The table's room as slots, where all jobs want the same of what is scarce at each site; else None."""
    scarce = _scarce(table)
    of = np.full(table.cost.shape, -1, dtype=np.intp)
    found: list[tuple[int, int, int, float]] = []
    live = np.isfinite(table.cost)
    for at in np.flatnonzero(scarce.any(axis=1)).tolist():
        lanes = np.flatnonzero(table.sites == at)
        wants = np.where(scarce[at], table.demand, 0.0)
        kinds = table.kind[:, lanes]
        used = np.unique(kinds[live[:, lanes]])
        shapes = np.unique(wants[used], axis=0)
        shapes = shapes[shapes.any(axis=1)]
        if (shapes > 0).sum(axis=0).max(initial=0) > 1:
            return None
        for shape in shapes:
            places = np.floor(np.divide(table.free[at], shape, where=shape > 0, out=np.full(len(shape), np.inf)))
            resource = int(places.argmin())
            same = live[:, lanes] & (wants[kinds] == shape).all(axis=2)
            of[:, lanes] = np.where(same, len(found), of[:, lanes])
            found.append((int(places[resource]), at, resource, float(shape[resource])))
    places_, sites, resources = (np.array([slot[i] for slot in found], dtype=np.intp) for i in range(3))
    return Slots(of, places_, sites, resources, np.array([slot[3] for slot in found]))


def _scarce(table: Table) -> npt.NDArray[np.bool_]:
    """Which resources of which sites can run out, less those that another one of the site always runs out before.

    Jobs that take at most a certain ratio of one for each of another (CPUs for a GPU) cannot take more in all than that ratio
    of what is free of the other.
    """
    scarce = table.load_max() > table.free
    for at in np.flatnonzero(scarce.sum(axis=1) > 1).tolist():
        lanes = table.sites == at
        used = np.unique(table.kind[:, lanes][np.isfinite(table.cost[:, lanes])])
        wants = table.demand[used]
        for k in np.flatnonzero(scarce[at]).tolist():
            scarce[at, k] = False
            if not _implied(wants, table.free[at], scarce[at], k):
                scarce[at, k] = True
    return scarce


def _implied(wants: Floats, free: Floats, others: npt.NDArray[np.bool_], k: int) -> bool:
    """Whether what is free of the others keeps the jobs from ever taking more of `k` than there is."""
    takers = wants[wants[:, k] > 0]
    main = np.where((takers > 0) & others, takers / np.maximum(free, 1e-300), 0.0)
    if not len(takers) or not main.any(axis=1).all():
        return not len(takers)
    by = main.argmax(axis=1)
    ratio = takers[:, k] / takers[np.arange(len(takers)), by]
    return sum(float(ratio[by == g].max()) * float(free[g]) for g in np.unique(by)) <= float(free[k])


def transport(table: Table, room: Slots) -> tuple[Ints, Floats]:
    """The cheapest lanes for places of one size, and a toll for each slot that proves it: successive shortest paths.

    All jobs start at their cheapest; each path moves one out of a slot that has too many, the cheapest way in all, to where
    there is room. Tolls keep every job in a lane that is cheapest with toll, and only full slots have one.
    """
    return _Transport(table, room).solve()


class _Transport:
    def __init__(self, table: Table, room: Slots) -> None:
        self._open = len(room.places)
        self._cost = np.full((table.jobs, self._open + 1), np.inf)
        self._lane = np.zeros((table.jobs, self._open + 1), dtype=np.intp)
        rows = np.arange(table.jobs)
        for lane in range(table.cost.shape[1]):
            slot = room.of[:, lane]
            better = table.cost[:, lane] < self._cost[rows, slot]
            self._cost[rows[better], slot[better]] = table.cost[better, lane]
            self._lane[rows[better], slot[better]] = lane
        self._spare = np.append(room.places.astype(np.float64), np.inf)
        self._in = self._cost.argmin(axis=1)
        self._spare -= np.bincount(self._in, minlength=self._open + 1)
        self._toll = np.zeros(self._open + 1)
        self._step = np.full((self._open + 1, self._open + 1), np.inf)
        self._who = np.zeros((self._open + 1, self._open + 1), dtype=np.intp)

    def solve(self) -> tuple[Ints, Floats]:
        for slot in range(self._open):
            self._refresh(slot)
        while (self._spare < 0).any():
            self._augment()
        return self._lane[np.arange(len(self._in)), self._in], self._toll[:-1]

    def _refresh(self, slot: int) -> None:
        """What it costs to move one job of a slot to each other slot, before tolls, and which job that is."""
        jobs = np.flatnonzero(self._in == slot)
        self._step[slot] = np.inf
        if len(jobs):
            change = self._cost[jobs] - self._cost[jobs, slot][:, None]
            first = change.argmin(axis=0)
            self._step[slot] = change[first, np.arange(self._open + 1)]
            self._who[slot] = jobs[first]

    def _augment(self) -> None:
        """One shortest path (Dijkstra, dense) from slots with too many to one with room, tolls raised, jobs moved."""
        distance = np.where(self._spare < 0, 0.0, np.inf)
        before = np.full(self._open + 1, -1, dtype=np.intp)
        closed = np.zeros(self._open + 1, dtype=np.bool_)
        while True:
            at = int(np.where(closed, np.inf, distance).argmin())
            if self._spare[at] > 0:
                break
            closed[at] = True
            through = distance[at] + self._step[at] + self._toll - self._toll[at]
            nearer = ~closed & (through < distance)
            distance = np.where(nearer, through, distance)
            before[nearer] = at
        self._toll += np.maximum(distance[at] - distance, 0.0)
        self._spare[at] -= 1
        path = []
        while before[at] >= 0:
            path.append((int(before[at]), int(self._who[before[at], at]), at))
            at = int(before[at])
        self._spare[at] += 1
        for _, job, to in path:
            self._in[job] = to
        for slot in {slot for slot, _, to in path} | {to for _, _, to in path if to != self._open}:
            self._refresh(slot)


class Reduced(NamedTuple):
    """What a lane costs beyond the job's cheapest with toll, in whole micros rounded down, and the bound that this adds to.

    A placement that has a lane costs at least `bound` and all its jobs' excesses: lanes whose excess closes the gap are out.
    """

    excess: Floats
    bound: int


def reduce(table: Table, prices: assignment_table.Prices) -> Reduced:
    """The excess of every lane at these prices."""
    return Reduced(assignment_table.excess(table, prices), assignment_table.bound(table, prices))


def search(table: Table, reduced: Reduced, choice: Ints, nodes_max: int = NODES_MAX) -> tuple[Ints, bool]:
    """The best placement by branch and bound, and whether it is proven: False when the nodes ran out.

    Depth first over the jobs that have more than one lane left, cheapest excess first. A node's bound is the dual's plus the
    excesses on the way.
    """
    best, least = choice.copy(), table.total(choice)
    lanes = [np.flatnonzero(row < least - reduced.bound) for row in reduced.excess]
    if any(len(row) == 0 for row in lanes):
        return best, True
    if sum(len(row) > 1 for row in lanes) > UNDECIDED_MAX:
        return best, False
    order = sorted(range(table.jobs), key=lambda job: (len(lanes[job]) > 1, -float(table.demand[table.kind[job]].sum()), job))
    ways = [
        [
            (float(reduced.excess[job, lane]), int(lane))
            for lane in lanes[job][np.argsort(reduced.excess[job, lanes[job]], kind="stable")]
        ]
        for job in order
    ]
    left = table.free.copy()
    picked: list[int] = []
    stack = [iter(ways[0])] if order else []
    floor, nodes, spent = [float(reduced.bound)], 0, [0]
    while stack:
        nodes += 1
        if nodes > nodes_max:
            return best, False
        depth = len(stack) - 1
        job = order[depth]
        if len(picked) > depth:
            lane = picked.pop()
            left[table.sites[lane]] += table.demand[table.kind[job, lane]]
            floor.pop()
            spent.pop()
        way = next(((excess, lane) for excess, lane in stack[-1] if _takes(table, left, job, lane)), None)
        if way is None or floor[-1] + way[0] > least - 1:
            stack.pop()
            continue
        excess, lane = way
        left[table.sites[lane]] -= table.demand[table.kind[job, lane]]
        picked.append(lane)
        floor.append(floor[-1] + excess)
        spent.append(spent[-1] + int(table.cost[job, lane]))
        if len(picked) == len(order):
            if spent[-1] < least:
                least = spent[-1]
                best[order] = picked
            continue
        stack.append(iter(ways[depth + 1]))
    return best, True


def _takes(table: Table, left: Floats, job: int, lane: int) -> bool:
    return bool((table.demand[table.kind[job, lane]] <= left[table.sites[lane]]).all())


class Contested(NamedTuple):
    """The part of a queue that a solver is asked about: a column for each lane; `complete` when no better one is left out."""

    program: program.Program
    job: Ints
    lane: Ints
    complete: bool


def contested(table: Table, reduced: Reduced, choice: Ints) -> Contested:
    """The lanes that could be in a better placement than `choice`, the most promising where they are too many."""
    gap = table.total(choice) - reduced.bound
    inside = (reduced.excess < gap) & np.isfinite(table.cost)
    complete = int(inside.sum()) <= COLUMNS_MAX
    if not complete:
        threshold = np.partition(reduced.excess[inside], COLUMNS_MAX)[COLUMNS_MAX]
        inside &= reduced.excess < threshold
    inside[np.arange(table.jobs), choice] = True
    job, lane = np.nonzero(inside)
    rows, columns, amounts = [job], [np.arange(len(job))], [np.ones(len(job))]
    resources = table.free.shape[1]
    for k in range(resources):
        wants = table.demand[table.kind[job, lane], k]
        takes = np.flatnonzero((wants > 0) & (table.sites[lane] < table.free.shape[0] - 1))
        rows.append(table.jobs + table.sites[lane[takes]] * resources + k)
        columns.append(takes)
        # As a share of what is free, so that bytes and GPUs meet the solver's tolerances alike.
        amounts.append(wants[takes] / table.free[table.sites[lane[takes]], k])
    rooms = (table.free.shape[0] - 1) * resources
    once = np.ones(table.jobs)
    built = program.assemble(
        costs=table.cost[job, lane],
        entries=(np.concatenate(rows), np.concatenate(columns), np.concatenate(amounts)),
        row_lower=np.concatenate([once, np.full(rooms, -np.inf)]),
        row_upper=np.concatenate([once, np.ones(rooms)]),
    )
    return Contested(built, job, lane, complete)


def chosen(part: Contested, solution: program.Solution, choice: Ints) -> Ints:
    """The solver's answer as a lane for each job."""
    picked = np.flatnonzero(solution.values > 0.5)
    answer = choice.copy()
    answer[part.job[picked]] = part.lane[picked]
    return answer
