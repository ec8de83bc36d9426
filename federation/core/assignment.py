"""Many jobs placed together on sites with limited room: cheapest in all, with a proven bound and the price of what is scarce.

Higher priorities are placed first, and a lower one never displaces them. Within a priority it is one assignment problem: what
all jobs cost together is made as small as can be. The answer depends on values alone: not on the order in which they come, and
on no clock; effort is counted in rounds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import NamedTuple

import numpy as np

from federation.core import assignment_exact, assignment_prices, assignment_search, assignment_table, errors, program, units
from federation.core.assignment_table import Floats, Ints, Prices, Table

#: A port `Solver` with its time limit, as a function: the core knows no ports.
Minimize = Callable[[program.Program], program.Solution]


class Option(NamedTuple):
    """One way to run a job: at which site, at which cost, and what it takes there, in the order of the resources."""

    site: str
    cost_micros: int
    demand: tuple[int, ...]


class Queued(NamedTuple):
    """A job of the queue: its options, what it costs to leave it waiting for now, and its priority; higher goes first."""

    job: str
    options: tuple[Option, ...]
    unplaced_micros: int
    priority: int = 0


class Room(NamedTuple):
    """What a site has left for the queue, in the order of the resources."""

    site: str
    free: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Effort:
    """How hard to try, in rounds and never in seconds. `gap_target` is the proven gap beyond which more is spent.

    A placement is annealed up to `coolings` times, each twice as slowly as the one before. The first takes `steps_each` for a
    job, but `steps_few` for each of the first `few`: a short queue needs more for each. None takes more than `steps_max`. Then
    a solver is asked.
    """

    warm_rounds: int = 60
    climbs: int = 6
    climb_rounds: int = 80
    coolings: int = 2
    steps_each: int = 200
    few: int = 50
    steps_few: int = 600
    steps_max: int = 250_000
    nodes: int = assignment_exact.NODES_MAX
    gap_target: Fraction = Fraction(1, 100)


@dataclass(frozen=True, kw_only=True)
class Waiting:
    """Why a job waits: the site that it would have gone to, and the resource of which that had `free` where `wanted` was asked.

    Without a site, no option costs less than waiting, or there is none. `elsewhere` counts the other sites
    that cost less than waiting.
    """

    job: str
    site: str = ""
    resource: str = ""
    wanted: int = 0
    free: int = 0
    elsewhere: int = 0


@dataclass(frozen=True, kw_only=True)
class ResourcePrice:
    """What one more of a resource at a site would save, at the margin: the shadow price that placements were judged by."""

    site: str
    resource: str
    unit_micros: Fraction


@dataclass(frozen=True, kw_only=True)
class PriorityResult:
    """One priority's part: what it costs, what it cannot cost less than beside the higher ones, and which prices prove that."""

    priority: int
    cost_micros: int
    bound_micros: int
    prices: tuple[ResourcePrice, ...]


@dataclass(frozen=True, kw_only=True)
class Assignment:
    """Where the jobs of a queue go. `placed` are (job, position in its options), `waiting` the others, by name."""

    placed: tuple[tuple[str, int], ...]
    waiting: tuple[Waiting, ...]
    priorities: tuple[PriorityResult, ...]

    def __repr__(self) -> str:
        counts = f"placed={len(self.placed)} waiting={len(self.waiting)}"
        return f"<Assignment {counts} cost={units.usd(self.cost_micros)} gap={float(self.gap):.3%}>"

    @property
    def cost_micros(self) -> int:
        """What all costs together, jobs that wait included."""
        return sum(part.cost_micros for part in self.priorities)

    @property
    def bound_micros(self) -> int:
        """No assignment with the same higher priorities costs less: the sum over priorities."""
        return sum(part.bound_micros for part in self.priorities)

    @property
    def gap(self) -> Fraction:
        """By what share of the cost it might be cheaper at most."""
        return Fraction(self.cost_micros - self.bound_micros, max(self.cost_micros, 1))

    @property
    def optimal(self) -> bool:
        """Whether it is proven that nothing is cheaper, given the higher priorities."""
        return self.cost_micros == self.bound_micros


def assign(
    queue: Sequence[Queued],
    rooms: Sequence[Room],
    resources: Sequence[str],
    *,
    effort: Effort = Effort(),
    minimize: Minimize | None = None,
) -> Assignment:
    """The cheapest placement found for a queue, priority by priority; what it leaves waiting and why.

    A solver is asked only where the gap is beyond the target, and only about what could still be cheaper. InvalidArgument
    (QUEUE_INVALID) for a job or site named twice, an unknown site, a demand of the wrong length, a number out of range.
    """
    queue, rooms = sorted(queue, key=lambda job: job.job), sorted(rooms, key=lambda room: room.site)
    _check(queue, rooms, resources)
    if not queue:
        return Assignment(placed=(), waiting=(), priorities=())
    table, positions = _table(queue, rooms, len(resources))
    levels = np.array([job.priority for job in queue])
    placed: list[tuple[str, int]] = []
    waiting: list[Waiting] = []
    results: list[PriorityResult] = []
    free = table.free
    for priority in sorted(set(levels.tolist()), reverse=True):
        rows = np.flatnonzero(levels == priority)
        part = table.pick(rows, free)
        answer = _place(part, effort, minimize)
        free = free - part.used(answer.choice)
        for row, lane in zip(rows.tolist(), answer.choice.tolist(), strict=True):
            position = int(positions[row, lane])
            if position >= 0:
                placed.append((queue[row].job, position))
            else:
                waiting.append(_why(queue[row], rooms, resources, free))
        results.append(_result(priority, part, answer, rooms, resources))
    return Assignment(
        placed=tuple(sorted(placed)), waiting=tuple(sorted(waiting, key=lambda one: one.job)), priorities=tuple(results)
    )


class _Placed(NamedTuple):
    choice: Ints
    bound: int
    prices: Prices


def _place(table: Table, effort: Effort, minimize: Minimize | None) -> _Placed:
    """One priority: by the first of the ways that proves its answer, the rest by prices, search and solver."""
    choice = table.cost.argmin(axis=1)
    if table.fits(choice):
        return _Placed(choice, table.total(choice), assignment_table.fixed(table, np.zeros_like(table.free)))
    room = assignment_exact.slots(table)
    if room is not None:
        choice, tolls = assignment_exact.transport(table, room)
        sizes, prices = np.ones_like(table.free), np.zeros_like(table.free)
        sizes[room.site, room.resource] = room.size
        prices[room.site, room.resource] = tolls / room.size
        proof = assignment_table.fixed(table, prices, sizes)
        return _Placed(choice, assignment_table.bound(table, proof), proof)
    choice, unit_prices = _searched(table, effort)
    proof = assignment_table.fixed(table, unit_prices)
    reduced = assignment_exact.reduce(table, proof)
    if table.total(choice) > reduced.bound:
        choice, proven = assignment_exact.search(table, reduced, choice, effort.nodes)
        if proven:
            return _Placed(choice, table.total(choice), proof)
    bound = reduced.bound
    if minimize is not None and table.total(choice) - bound > effort.gap_target * table.total(choice):
        choice, bound = _polished(table, reduced, choice, minimize)
    return _Placed(choice, min(bound, table.total(choice)), proof)


def _searched(table: Table, effort: Effort) -> tuple[Ints, Floats]:
    """A good placement and the prices that it was found by."""
    walk = assignment_prices.Walk(table)
    walk.warm(effort.warm_rounds)
    best = assignment_search.greedy(table, walk.unit_prices)
    for _ in range(effort.climbs):
        walk.climb(effort.climb_rounds, float(table.total(best)))
        best = min(best, assignment_search.greedy(table, walk.unit_prices), key=table.total)
    steps = effort.steps_each * table.jobs + (effort.steps_few - effort.steps_each) * min(table.jobs, effort.few)
    annealing = assignment_search.Annealing(table, best, walk.unit_prices)
    for turn in range(effort.coolings):
        annealing.cool(min(steps * 2**turn, effort.steps_max), walk.value / (1 - float(effort.gap_target) / 4))
        best = annealing.best
        if table.total(best) - walk.value <= effort.gap_target * table.total(best):
            break
    return best, walk.unit_prices


def _polished(table: Table, reduced: assignment_exact.Reduced, choice: Ints, minimize: Minimize) -> tuple[Ints, int]:
    """The placement and the bound after a solver has looked at what is contested. What it says is checked, not believed."""
    part = assignment_exact.contested(table, reduced, choice)
    try:
        solution = minimize(part.program)
    except errors.Unavailable:
        # It found nothing in its time: what is known stays, and so does its gap.
        return choice, reduced.bound
    answer = assignment_exact.chosen(part, solution, choice)
    if table.fits(answer) and table.total(answer) < table.total(choice):
        choice = answer
    # The solver's proof holds to one part in a million.
    proven = int(solution.bound * (1 - 2e-6)) if part.complete else 0
    return choice, max(reduced.bound, proven)


def _table(queue: Sequence[Queued], rooms: Sequence[Room], resources: int) -> tuple[Table, Ints]:
    """The queue as arrays, and for each job and lane the position of the option (-1: none, or waiting)."""
    row_of = {room.site: row for row, room in enumerate(rooms)}
    nothing = (0,) * resources
    kinds = sorted({option.demand for job in queue for option in job.options} - {nothing})
    kind_of = {demand: row for row, demand in enumerate((nothing, *kinds))}
    counts = [len(job.options) for job in queue]
    owner = np.repeat(np.arange(len(queue)), counts)
    position = np.concatenate([np.arange(count) for count in counts])
    site = np.array([row_of[option.site] for job in queue for option in job.options], dtype=np.intp)
    cost = np.array([option.cost_micros for job in queue for option in job.options], dtype=np.float64)
    kind = np.array([kind_of[option.demand] for job in queue for option in job.options], dtype=np.intp)
    order = np.lexsort((position, kind, cost, site, owner))
    owner, position, site, cost, kind = owner[order], position[order], site[order], cost[order], kind[order]
    group = owner * len(rooms) + site
    index = np.arange(len(group))
    first = np.maximum.accumulate(np.where(np.append(True, group[1:] != group[:-1])[: len(group)], index, 0))
    rank = index - first
    variants = int(rank.max(initial=0)) + 1
    lane = site * variants + rank
    shape = (len(queue), len(rooms) * variants + 1)
    costs, lanes, positions = np.full(shape, np.inf), np.zeros(shape, dtype=np.intp), np.full(shape, -1, dtype=np.intp)
    costs[owner, lane], lanes[owner, lane], positions[owner, lane] = cost, kind, position
    costs[:, -1] = [job.unplaced_micros for job in queue]
    free = np.array([*(room.free for room in rooms), [np.inf] * resources], dtype=np.float64).reshape(len(rooms) + 1, resources)
    demand = np.array(list(kind_of), dtype=np.float64).reshape(len(kind_of), resources)
    sites = np.append(np.repeat(np.arange(len(rooms)), variants), len(rooms))
    return Table(costs, lanes, demand, free, sites), positions


def _why(job: Queued, rooms: Sequence[Room], resources: Sequence[str], free: Floats) -> Waiting:
    """What keeps a job waiting: the fullest resource at the site that it would like best."""
    row_of = {room.site: row for row, room in enumerate(rooms)}
    liked = sorted(
        (option for option in job.options if option.cost_micros <= job.unplaced_micros), key=lambda o: (o.cost_micros, o.site)
    )
    if not liked:
        return Waiting(job=job.job)
    option = liked[0]
    left = free[row_of[option.site]]
    lacks = [
        (wanted - have, -k) for k, (wanted, have) in enumerate(zip(option.demand, left.tolist(), strict=True)) if wanted > have
    ]
    if not lacks:
        return Waiting(job=job.job, site=option.site)
    # The share that is missing: bytes and GPUs compare.
    k = max((-k for _, k in lacks), key=lambda k: (1 - left[k] / option.demand[k], -k))
    others = len({other.site for other in liked} - {option.site})
    return Waiting(
        job=job.job, site=option.site, resource=resources[k], wanted=option.demand[k], free=int(left[k]), elsewhere=others
    )


def _result(priority: int, table: Table, answer: _Placed, rooms: Sequence[Room], resources: Sequence[str]) -> PriorityResult:
    parts, sizes, point = answer.prices
    prices = tuple(
        ResourcePrice(
            site=rooms[row].site,
            resource=resources[k],
            unit_micros=Fraction(int(parts[row, k]), 2**point * int(sizes[row, k])),
        )
        for row, k in zip(*(found.tolist() for found in np.nonzero(parts[:-1])), strict=True)
    )
    return PriorityResult(priority=priority, cost_micros=table.total(answer.choice), bound_micros=answer.bound, prices=prices)


def _check(queue: Sequence[Queued], rooms: Sequence[Room], resources: Sequence[str]) -> None:
    """Everything that the arithmetic relies on."""
    for what, names in (("job", [job.job for job in queue]), ("site", [room.site for room in rooms])):
        twice = sorted(name for name, count in Counter(names).items() if count > 1)
        if twice:
            raise _invalid(f"the {what} {twice[0]} is there twice", f"Name each {what} once.")
    for room in rooms:
        _check_numbers(f"what is free at {room.site}", room.free, resources)
    known = {room.site for room in rooms}
    checked: set[tuple[int, ...]] = set()
    for job in queue:
        if not 0 <= job.unplaced_micros < assignment_table.NUMBER_MAX:
            raise _invalid(f"{job.job} costs {job.unplaced_micros} micro-dollars while it waits", _RANGE)
        for option in job.options:
            if option.site not in known:
                raise _invalid(f"{job.job} has an option at {option.site}, which has no room", "Give the room of each site.")
            if not 0 <= option.cost_micros < assignment_table.NUMBER_MAX:
                raise _invalid(f"{job.job} costs {option.cost_micros} micro-dollars at {option.site}", _RANGE)
            if option.demand not in checked:
                _check_numbers(f"what {job.job} takes at {option.site}", option.demand, resources)
                checked.add(option.demand)


_RANGE = f"Use 0 to {assignment_table.NUMBER_MAX - 1}."


def _check_numbers(what: str, numbers: tuple[int, ...], resources: Sequence[str]) -> None:
    if len(numbers) != len(resources):
        raise _invalid(
            f"{what} has {len(numbers)} numbers for {len(resources)} resources", "Give one number for each resource."
        )
    if not all(0 <= number < assignment_table.NUMBER_MAX for number in numbers):
        raise _invalid(f"{what} is {numbers}", _RANGE)


def _invalid(message: str, help_: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(message, reason="QUEUE_INVALID", help=help_)
