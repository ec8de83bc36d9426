"""Placements that fit: put together job by job under prices, then improved by chains of moves and by swaps."""

from __future__ import annotations

import numpy as np

from federation.core.assignment_table import Bools, Floats, Ints, Table

#: Jobs whose moves are tried against each other at once: the time of a round grows with its square.
_MOVERS_MAX = 600
_CHAIN = 3
#: A rebuild empties the sites of a job's first so many lanes, calls in so many waiting jobs, and places at most so many.
_FAVOURITES, _CALLED, _REBUILT_MAX = 4, 12, 80


def greedy(table: Table, unit_prices: Floats) -> Ints:
    """Each job in turn takes its cheapest lane with toll that still fits; those who lose most by coming late come first."""
    flat = table.kind * table.free.shape[0] + table.sites
    paid = table.cost + (table.demand @ unit_prices.T).ravel()[flat]
    two = np.partition(paid, 1, axis=1) if paid.shape[1] > 1 else np.repeat(paid, 2, axis=1)
    order = np.lexsort((np.arange(table.jobs), two[:, 0] - two[:, 1]))
    return fill(table, paid, order.tolist(), np.full(table.jobs, table.cost.shape[1] - 1, dtype=np.intp))


def fill(table: Table, paid: Floats, order: list[int], choice: Ints) -> Ints:
    """The choice with the jobs of `order`, which wait, put one after another where they pay least among what is left."""
    choice = choice.copy()
    variants = (table.cost.shape[1] - 1) // max(table.free.shape[0] - 1, 1)
    # Resources by lanes, so that what is compared and reduced lies in rows: this loop is where the time goes.
    room = np.ascontiguousarray((table.free - table.used(choice))[table.sites].T)
    demand = np.ascontiguousarray(table.demand.T)
    for job in order:
        wants = demand.take(table.kind[job], axis=1)
        fits = (wants <= room).all(axis=0)
        lane = int(np.where(fits, paid[job], np.inf).argmin())
        choice[job] = lane
        first = int(table.sites[lane]) * variants
        room[:, first : first + variants] -= wants[:, lane : lane + 1]
    return choice


def improve(table: Table, choice: Ints, unit_prices: Floats, rounds: int) -> Ints:
    """Moves and swaps until none helps, or `rounds` are over. The cost never rises, and what fitted still fits."""
    choice = choice.copy()
    for _ in range(rounds):
        if not _Round(table, choice, unit_prices).apply():
            break
    return choice


def rebuild(table: Table, choice: Ints, unit_prices: Floats, tries: int) -> Ints:
    """Sites emptied and filled anew around jobs that are far from where they would pay least: what single moves never find.

    A big job gets a place that several small ones must leave. Each try empties the job's site and its favourites, calls in the
    waiting jobs that would pay least there, and fills in two orders; what costs less is kept.
    """
    choice = choice.copy()
    flat = table.kind * table.free.shape[0] + table.sites
    paid = table.cost + (table.demand @ unit_prices.T).ravel()[flat]
    favourites = np.argsort(paid, axis=1, kind="stable")[:, :_FAVOURITES]
    rows, left = np.arange(table.jobs), tries
    while left > 0:
        regret = paid[rows, choice] - paid.min(axis=1)
        seeds = np.lexsort((rows, -regret))[:left]
        seeds = seeds[regret[seeds] > 0.5]
        better = False
        for seed in seeds.tolist():
            left -= 1
            better |= _rebuild_around(table, choice, paid, seed, favourites[seed])
        if not better:
            break
    return choice


def _rebuild_around(table: Table, choice: Ints, paid: Floats, seed: int, favourites: Ints) -> bool:
    waiting = table.free.shape[0] - 1
    at = table.sites[choice]
    sites = np.unique(np.append(table.sites[favourites], at[seed]))
    sites = sites[sites != waiting]
    lanes = np.flatnonzero(np.isin(table.sites, sites))
    freed = np.flatnonzero(np.isin(at, sites))
    idle = np.flatnonzero(at == waiting)
    if len(idle) and len(lanes):
        promise = paid[np.ix_(idle, lanes)].min(axis=1) - paid[idle, -1]
        freed = np.union1d(freed, idle[np.lexsort((idle, promise))[:_CALLED]])
    jobs = np.union1d(freed, [seed])
    if len(jobs) > _REBUILT_MAX:
        return False
    before = int(table.cost[jobs, choice[jobs]].sum())
    without = choice.copy()
    without[jobs] = table.cost.shape[1] - 1
    offered = paid[jobs]
    two = np.partition(offered, 1, axis=1)[:, :2]
    for loss in (table.cost[jobs, -1] - two[:, 0], np.where(jobs == seed, np.inf, two[:, 1] - two[:, 0])):
        order = jobs[np.lexsort((jobs, -loss))]
        tried = fill(table, paid, order.tolist(), without)
        if int(table.cost[jobs, tried[jobs]].sum()) < before:
            choice[:] = tried
            return True
    return False


class _Round:
    """One look at all moves of a placement, and the best of them that do not touch the same sites."""

    def __init__(self, table: Table, choice: Ints, unit_prices: Floats) -> None:
        self._table, self._choice = table, choice
        self._left = table.free - table.used(choice)
        self._movers = _movers(table, choice, unit_prices)
        rows = self._movers
        self._now = table.cost[rows, choice[rows]]
        self._at = table.sites[choice[rows]]
        self._takes = table.demand[table.kind[rows, choice[rows]]]

    def apply(self) -> bool:
        gain, lane = self._leaves()
        ejects, through = self._ejects()
        plans = sorted([*self._chains(gain, lane, ejects, through), *self._swaps(ejects, through)])
        touched: set[int] = set()
        waiting = self._table.free.shape[0] - 1
        for _, moves in plans:
            sites = [int(self._at[job]) for job, _ in moves] + [int(self._table.sites[moves[-1][1]])]
            real = {site for site in sites if site != waiting}
            if real & touched:
                continue
            touched |= real
            for job, to in moves:
                self._choice[self._movers[job]] = to
        return bool(plans)

    def _leaves(self) -> tuple[Floats, Ints]:
        """For each mover the change in cost of its cheapest lane that fits without anybody leaving, and that lane."""
        table, rows = self._table, self._movers
        kind = table.kind[rows]
        fits = _fitting(table.demand, self._left)[kind, table.sites]
        mine, lanes = np.nonzero(table.sites[None, :] == self._at[:, None])
        room = self._left[table.sites[lanes]] + self._takes[mine]
        fits[mine, lanes] = (table.demand[kind[mine, lanes]] <= room).all(axis=1)
        cost = np.where(fits, table.cost[rows], np.inf)
        lane = cost.argmin(axis=1)
        return cost[np.arange(len(rows)), lane] - self._now, lane

    def _ejects(self) -> tuple[Floats, Ints]:
        """[j, i]: the change in j's cost when it takes i's place at i's site, infinite where it does not fit; and the lane."""
        table, rows = self._table, self._movers
        waiting = table.free.shape[0] - 1
        variants = (table.cost.shape[1] - 1) // waiting
        barred = (self._at[:, None] == self._at[None, :]) | (self._at == waiting)[None, :]
        fits = _fitting(table.demand, self._left[np.minimum(self._at, waiting - 1)] + self._takes).ravel()
        costs, kinds = table.cost[rows], table.kind[rows] * len(rows)
        best = np.full(barred.shape, np.inf)
        lanes = np.zeros(barred.shape, dtype=np.intp)
        place = np.arange(len(rows))
        for v in range(variants):
            lane = np.where(self._at == waiting, v, self._at * variants + v)
            cost = costs.take(lane, axis=1)
            better = (cost < best) & fits.take(kinds.take(lane, axis=1) + place)
            np.copyto(best, cost, where=better)
            np.copyto(lanes, np.broadcast_to(lane, lanes.shape), where=better)
        best[barred] = np.inf
        best -= self._now[:, None]
        return best, lanes

    def _chains(self, gain: Floats, lane: Ints, ejects: Floats, through: Ints) -> list[tuple[float, list[tuple[int, int]]]]:
        """Paths j takes i's place, i takes k's, the last goes where there is room: Bellman and Ford's shortest paths."""
        steps: list[Ints] = []
        costs = [gain]
        for _ in range(_CHAIN - 1):
            over = ejects + costs[-1][None, :]
            steps.append(over.argmin(axis=1))
            costs.append(over[np.arange(len(gain)), steps[-1]])
        found = []
        for depth, cost in enumerate(costs):
            for start in np.flatnonzero(cost < -0.5).tolist():
                moves, job = [], start
                for step in reversed(steps[:depth]):
                    onto = int(step[job])
                    moves.append((job, int(through[job, onto])))
                    job = onto
                moves.append((job, int(lane[job])))
                if self._simple(moves):
                    found.append((float(cost[start]), moves))
        return found

    def _simple(self, moves: list[tuple[int, int]]) -> bool:
        """Whether a path touches no site twice, so that each of its moves was judged by what will be there."""
        sites = [int(self._at[job]) for job, _ in moves] + [int(self._table.sites[moves[-1][1]])]
        waiting = self._table.free.shape[0] - 1
        real = [site for site in sites if site != waiting]
        return len(moves) == 1 or len(set(real)) == len(real)

    def _swaps(self, ejects: Floats, through: Ints) -> list[tuple[float, list[tuple[int, int]]]]:
        both = np.triu(ejects + ejects.T)
        found = []
        for j, i in zip(*np.nonzero(both < -0.5), strict=True):
            found.append((float(both[j, i]), [(int(j), int(through[j, i])), (int(i), int(through[i, j]))]))
        return found


def _fitting(demand: Floats, room: Floats) -> Bools:
    """Which kinds of demand fit which rooms: kinds by rooms."""
    fits = np.ones((len(demand), len(room)), dtype=np.bool_)
    for k in range(demand.shape[1]):
        fits &= demand[:, k : k + 1] <= room[:, k]
    return fits


def _movers(table: Table, choice: Ints, unit_prices: Floats) -> Ints:
    """The jobs that may move: all, or those farthest from what they would pay least for, with the toll."""
    if table.jobs <= _MOVERS_MAX:
        return np.arange(table.jobs)
    flat = table.kind * table.free.shape[0] + table.sites
    paid = table.cost + (table.demand @ unit_prices.T).ravel()[flat]
    regret = paid[np.arange(table.jobs), choice] - paid.min(axis=1)
    return np.sort(np.lexsort((np.arange(table.jobs), -regret))[:_MOVERS_MAX])
