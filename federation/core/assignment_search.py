"""Placements that fit: put together job by job under prices, then annealed by moves that push others aside."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import numpy as np

from federation.core.assignment_table import NUMBER_MAX, Floats, Ints, Table

#: Lanes of each job that it is moved to: those that pay least with toll.
_LANES_MAX = 80
#: A lane is drawn by this power of a number between 0 and 1, so that the first ones come most often.
_LEANING = 3
#: So many jobs are pushed aside by one that comes, at most.
_PUSHED_MAX = 4
#: Temperatures are shares of what a job costs on average. The more steps there are for each, the hotter they begin; the last is
#: a sixtieth of the first.
_HEAT_BY_STEPS, _HEAT_MAX, _COOLING = 3e-4, 0.1, 60
_STEPS_AT_ONE_HEAT = 100
#: A job is drawn so often for being there, and so often more for costing as much as one does on average.
_BEING, _COSTING = 1, 2

#: A lane as the annealing sees it: cost, site, what it takes, packed, and the lane itself.
_Way = tuple[int, int, int, int]


def greedy(table: Table, unit_prices: Floats) -> Ints:
    """Each job in turn takes its cheapest lane with toll that still fits; those who lose most by coming late come first."""
    paid = _paid(table, unit_prices)
    two = np.partition(paid, 1, axis=1) if paid.shape[1] > 1 else np.repeat(paid, 2, axis=1)
    choice = np.full(table.jobs, table.cost.shape[1] - 1, dtype=np.intp)
    variants = (table.cost.shape[1] - 1) // max(table.free.shape[0] - 1, 1)
    # Resources by lanes, so that what is compared and reduced lies in rows: this loop is where the time goes.
    room = np.ascontiguousarray(table.free[table.sites].T)
    demand = np.ascontiguousarray(table.demand.T)
    for job in np.lexsort((np.arange(table.jobs), two[:, 0] - two[:, 1])).tolist():
        wants = demand.take(table.kind[job], axis=1)
        fits = (wants <= room).all(axis=0)
        lane = int(np.where(fits, paid[job], np.inf).argmin())
        choice[job] = lane
        first = int(table.sites[lane]) * variants
        room[:, first : first + variants] -= wants[:, lane : lane + 1]
    return choice


class Annealing:
    """Random moves of a placement that fits, uphill ever less often (simulated annealing): `best` never gets dearer.

    A job is drawn and a lane for it. Where there is no room, others at the site leave for their cheapest lane that fits, which
    may be the place that just became free. Draws come from a generator with a fixed seed: the same table gives the same answer.
    """

    def __init__(self, table: Table, choice: Ints, unit_prices: Floats) -> None:
        self._guard = _pack([1 << _FIELD_BITS - 1] * table.free.shape[1])
        self._ways = _ways(table, choice, unit_prices)
        self._by_cost = [sorted(ways) for ways in self._ways]
        self._at = [next(way for way in ways if way[3] == lane) for ways, lane in zip(self._ways, choice.tolist(), strict=True)]
        left = (table.free - table.used(choice))[:-1].tolist()
        # Waiting takes nothing, so that its room needs no number.
        self._room = [self._guard + _pack(row) for row in left] + [self._guard]
        self._members: list[list[int]] = [[] for _ in self._room]
        for job, way in enumerate(self._at):
            self._members[way[1]].append(job)
        self._cost = sum(way[0] for way in self._at)
        self._kept, self._least = self._at[:], self._cost
        self._floor = [ways[0][0] for ways in self._by_cost]
        weight = np.array(self._floor) / max(sum(self._floor) / table.jobs, 1.0)
        # What is dear decides: it is drawn more often, and moves while the temperature is too low for what is cheap.
        self._urn = np.repeat(np.arange(table.jobs), np.rint(_BEING + _COSTING * weight).astype(np.intp)).tolist()
        self._warmth = np.sqrt(weight).tolist()
        self._draw = random.Random(0).random  # noqa: S311 - no secret: the same draws every time

    @property
    def best(self) -> Ints:
        """The cheapest placement so far."""
        return np.array([way[3] for way in self._kept], dtype=np.intp)

    def cool(self, steps: int, enough: float) -> None:
        """From hot to cold once, beginning at the placement as it is; ends early when one costs no more than `enough`."""
        draw, room, guard, urn, jobs = self._draw, self._room, self._guard, self._urn, len(self._at)
        heat = self._least / jobs * min(_HEAT_BY_STEPS * steps / jobs, _HEAT_MAX)
        cooling = _COOLING ** (-_STEPS_AT_ONE_HEAT / steps)
        for step in range(steps):
            if step % _STEPS_AT_ONE_HEAT == 0:
                heat *= cooling
                if self._least <= enough:
                    return
            job = urn[int(draw() * len(urn))]
            ways = self._ways[job]
            way, now = ways[int(draw() ** _LEANING * len(ways))], self._at[job]
            if way is now:
                continue
            # By how much the others may cost more in all.
            allowed = now[0] - way[0] - heat * self._warmth[job] * math.log(1.0 - draw())
            site = way[1]
            left = room[site] - way[2] + (now[2] if site == now[1] else 0)
            if left & guard == guard:
                if allowed >= 0:
                    self._move(job, way)
                    self._keep()
            elif site != now[1]:
                self._push(job, way, allowed)

    def _push(self, job: int, way: _Way, allowed: float) -> None:
        """Moves a job to where others must leave, if these need not cost more than `allowed` in all; else all stay.

        Who leaves are neighbours in the site's list, from a drawn one on. This is called in most steps: it gives up early.
        """
        at, room, guard, floor, site = self._at, self._room, self._guard, self._floor, way[1]
        members, left, pushed = self._members[site], room[site] - way[2], []
        first = int(self._draw() * len(members))
        for turn in range(min(_PUSHED_MAX, len(members))):
            other = members[first - turn]
            pushed.append(other)
            left += at[other][2]
            allowed += at[other][0] - floor[other]
            if left & guard == guard:
                break
        else:
            return
        if allowed < 0:
            return
        now = at[job]
        before = [(now[1], room[now[1]]), (site, room[site])]
        room[now[1]] += now[2]
        room[site] = left
        going = []
        for other in pushed:
            allowed += floor[other]
            to = self._cheapest(other, site, allowed)
            if to is None:
                break
            allowed -= to[0]
            before.append((to[1], room[to[1]]))
            room[to[1]] -= to[2]
            going.append((other, to))
        else:
            for mover, to in (*going, (job, way)):
                self._enter(mover, to)
            self._keep()
            return
        for place, was in reversed(before):
            room[place] = was

    def _cheapest(self, job: int, left: int, allowed: float) -> _Way | None:
        """Where a job that leaves a site goes: the cheapest lane elsewhere that fits and costs no more than allowed."""
        room, guard = self._room, self._guard
        for way in self._by_cost[job]:
            cost, site, takes, _ = way
            if cost > allowed:
                return None
            if (room[site] - takes) & guard == guard and site != left:
                return way
        return None

    def _move(self, job: int, way: _Way) -> None:
        self._room[self._at[job][1]] += self._at[job][2]
        self._room[way[1]] -= way[2]
        self._enter(job, way)

    def _enter(self, job: int, way: _Way) -> None:
        """Enters where a job is; the rooms are as they will be."""
        now = self._at[job]
        self._members[now[1]].remove(job)
        self._members[way[1]].append(job)
        self._at[job] = way
        self._cost += way[0] - now[0]

    def _keep(self) -> None:
        if self._cost < self._least:
            self._kept, self._least = self._at[:], self._cost


#: The numbers of one site or demand are packed into one, a field each with a guard bit on top: `room - wants` keeps all guard
#: bits exactly where each number fits, and is one operation however many resources there are.
_FIELD_BITS = NUMBER_MAX.bit_length() + 1


def _pack(numbers: Sequence[float]) -> int:
    return sum(int(number) << _FIELD_BITS * place for place, number in enumerate(numbers))


def _ways(table: Table, choice: Ints, unit_prices: Floats) -> list[list[_Way]]:
    """The lanes of each job that it is moved to, those that pay least first; waiting and the chosen one are always there."""
    last = table.cost.shape[1] - 1
    lanes = np.argsort(_paid(table, unit_prices), axis=1, kind="stable")[:, :_LANES_MAX]
    sites, demand = table.sites.tolist(), [_pack(row) for row in table.demand.tolist()]
    found = []
    for job, (row, chosen) in enumerate(zip(lanes.tolist(), choice.tolist(), strict=True)):
        costs, kinds = table.cost[job].tolist(), table.kind[job].tolist()
        looked_at = dict.fromkeys([*(lane for lane in row if math.isfinite(costs[lane])), last, chosen])
        found.append([(int(costs[lane]), sites[lane], demand[kinds[lane]], lane) for lane in looked_at])
    return found


def _paid(table: Table, unit_prices: Floats) -> Floats:
    """The cost of each lane with its toll."""
    flat = table.kind * table.free.shape[0] + table.sites
    paid: Floats = table.cost + (table.demand @ unit_prices.T).ravel()[flat]
    return paid
