"""Many jobs at once: what fits, what is cheapest, what is proven, and who comes first."""

from __future__ import annotations

import itertools
import random
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.adapters import solver
from federation.core import assignment, assignment_exact, assignment_prices, assignment_search, assignment_table, errors
from federation.core.assignment import Option, Queued, Room

RESOURCES = ("cpus", "gpus:A100", "gpus:H100")


@st.composite
def queues(draw, jobs: int = 5, sites: int = 3, priorities: int = 1) -> tuple[list[Queued], list[Room]]:
    """A few jobs with up to two ways at each of a few sites, of any size, often too many for the room."""
    rooms = [
        Room(f"s{i}", (draw(st.integers(0, 6)), draw(st.integers(0, 4)), draw(st.integers(0, 4))))
        for i in range(draw(st.integers(1, sites)))
    ]
    queue = []
    for i in range(draw(st.integers(0, jobs))):
        options = []
        for room in rooms:
            for _ in range(draw(st.integers(0, 2))):
                gpus = draw(st.integers(0, 3))
                demand = (draw(st.integers(0, 3)), gpus, 0) if draw(st.booleans()) else (draw(st.integers(0, 3)), 0, gpus)
                options.append(Option(room.site, draw(st.integers(0, 60)), demand))
        queue.append(Queued(f"j{i}", tuple(options), draw(st.integers(0, 90)), draw(st.integers(1, priorities))))
    return queue, rooms


def free_after(queue, rooms, told, priority: int | None = None) -> dict[str, list[int]]:
    """What is left at each site beside the jobs that were placed: all, or those of a priority and above."""
    by_name = {job.job: job for job in queue}
    left = {room.site: list(room.free) for room in rooms}
    for name, position in told.placed:
        if priority is None or by_name[name].priority >= priority:
            option = by_name[name].options[position]
            left[option.site] = [have - want for have, want in zip(left[option.site], option.demand, strict=True)]
    return left


def cheapest(jobs: list[Queued], left: dict[str, list[int]]) -> int:
    """The least that the jobs can cost in this room: every combination is tried."""
    best = None
    for ways in itertools.product(*([None, *job.options] for job in jobs)):
        room = {site: list(free) for site, free in left.items()}
        for way in ways:
            if way is not None:
                room[way.site] = [have - want for have, want in zip(room[way.site], way.demand, strict=True)]
        if all(have >= 0 for free in room.values() for have in free):
            cost = sum(job.unplaced_micros if way is None else way.cost_micros for job, way in zip(jobs, ways, strict=True))
            best = cost if best is None else min(best, cost)
    return best or 0


def cost_of(queue, told) -> int:
    """What the placement costs, added up anew."""
    placed = dict(told.placed)
    return sum(job.options[placed[job.job]].cost_micros if job.job in placed else job.unplaced_micros for job in queue)


def table_of(queue, rooms) -> assignment_table.Table:
    """The queue as arrays, less what would never be taken."""
    table, _ = assignment._table(queue, rooms, len(RESOURCES))
    return table.pick(np.arange(len(queue)), table.free)


def everything(table: assignment_table.Table) -> assignment_exact.Contested:
    """The whole queue as a program: no lane costs too much beside a bound that says nothing."""
    part = assignment_exact.contested(
        table, assignment_exact.Reduced(np.zeros_like(table.cost), -(2**60)), np.full(table.jobs, table.cost.shape[1] - 1)
    )
    assert part.complete
    return part


@given(queues())
def test_a_tiny_queue_is_placed_as_by_trying_everything(given_):
    """Never more than there is; the cost is what it says; the bound holds; and so few jobs are always placed optimally."""
    queue, rooms = given_
    told = assignment.assign(queue, rooms, RESOURCES)
    assert all(have >= 0 for free in free_after(queue, rooms, told).values() for have in free)
    assert told.cost_micros == cost_of(queue, told)
    best = cheapest(queue, {room.site: list(room.free) for room in rooms})
    assert told.bound_micros <= best <= told.cost_micros
    assert told.optimal
    assert told.gap == 0


@given(queues(jobs=6))
def test_without_branch_and_bound_the_gap_it_tells_is_true(given_):
    """The same with nothing but prices and search: feasible, and the optimum lies between bound and cost."""
    queue, rooms = given_
    told = assignment.assign(queue, rooms, RESOURCES, effort=assignment.Effort(nodes=0))
    best = cheapest(queue, {room.site: list(room.free) for room in rooms})
    assert told.bound_micros <= best <= told.cost_micros
    if told.optimal:
        assert told.cost_micros == best


@given(queues(priorities=3))
def test_a_lower_priority_never_displaces_a_higher(given_):
    """Each priority costs what is least in the room that the higher ones leave, as if the lower ones were not there."""
    queue, rooms = given_
    told = assignment.assign(queue, rooms, RESOURCES)
    assert [part.priority for part in told.priorities] == sorted({job.priority for job in queue}, reverse=True)
    for part in told.priorities:
        left = free_after(queue, rooms, told, part.priority + 1)
        assert part.cost_micros == cheapest([job for job in queue if job.priority == part.priority], left)
    alone = [job for job in queue if told.priorities and job.priority == told.priorities[0].priority]
    kept = dict(assignment.assign(alone, rooms, RESOURCES).placed)
    assert {name: way for name, way in told.placed if name in {job.job for job in alone}} == kept


@given(queues(jobs=6, priorities=2), st.randoms(use_true_random=False))
def test_the_order_of_jobs_and_sites_does_not_matter(given_, rnd):
    """Shuffled, the same values give the same assignment."""
    queue, rooms = given_
    shuffled = rnd.sample(queue, len(queue)), rnd.sample(rooms, len(rooms))
    assert assignment.assign(*shuffled, RESOURCES) == assignment.assign(queue, rooms, RESOURCES)


@given(queues(), st.integers(0, 2), st.integers(0, 2))
def test_one_more_of_a_resource_never_costs_more(given_, site, resource):
    """Room is never a disadvantage."""
    queue, rooms = given_
    before = assignment.assign(queue, rooms, RESOURCES)
    i = site % len(rooms)
    more = [have + (k == resource) for k, have in enumerate(rooms[i].free)]
    after = assignment.assign(queue, [*rooms[:i], Room(rooms[i].site, tuple(more)), *rooms[i + 1 :]], RESOURCES)
    assert after.cost_micros <= before.cost_micros


@given(queues(jobs=6))
def test_who_waits_is_told_what_blocks(given_):
    """The site is the one that it would like best; of the resource less is free than wanted; or waiting costs less anyway."""
    queue, rooms = given_
    told = assignment.assign(queue, rooms, RESOURCES)
    left, by_name = free_after(queue, rooms, told), {job.job: job for job in queue}
    assert {one.job for one in told.waiting} | {name for name, _ in told.placed} == set(by_name)
    for one in told.waiting:
        liked = [option for option in by_name[one.job].options if option.cost_micros < by_name[one.job].unplaced_micros]
        if one.resource:
            assert one.wanted > one.free == left[one.site][RESOURCES.index(one.resource)]
        else:
            assert not liked


def big_queue(seed: int, jobs: int, sites: int, load: float) -> tuple[list[Queued], list[Room]]:
    """Jobs with homes, of 1 to 8 GPUs and 1 to 24 hours, on sites with 8 to 32 GPUs of one of two types."""
    rnd = random.Random(seed)
    types = [rnd.randrange(2) for _ in range(sites)]
    gpus = [rnd.choice([8, 16, 32]) for _ in range(sites)]
    rooms = [
        Room(f"s{i:03}", (count * 6, *((count, 0) if kind == 0 else (0, count))))
        for i, (kind, count) in enumerate(zip(types, gpus, strict=True))
    ]
    price = [rnd.uniform(0.8, 1.4) for _ in range(sites)]
    sizes = [rnd.choice([1, 1, 2, 4, 8]) for _ in range(jobs)]
    count = max(int(jobs * load * sum(gpus) / max(sum(sizes), 1)), 1)
    queue = []
    for j in range(min(jobs, count)):
        size, hours, home = sizes[j], rnd.choice([1, 4, 24]), rnd.randrange(sites)
        transfer = int(10 ** rnd.uniform(4, 8))
        options = tuple(
            Option(
                room.site,
                int(size * hours * price[i] * 2e6) + (0 if i == home else transfer),
                (size * rnd.choice([2, 8]), *((size, 0) if types[i] == 0 else (0, size))),
            )
            for i, room in enumerate(rooms)
        )
        queue.append(Queued(f"j{j:04}", options, int(min(option.cost_micros for option in options) * rnd.uniform(1.5, 4))))
    return queue, rooms


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_a_long_queue_is_placed_within_a_few_percent_of_its_bound(seed):
    """150 jobs on 12 sites with less room than they want: fits, and the proven gap is below 3 %."""
    queue, rooms = big_queue(seed, 150, 12, 1.2)
    told = assignment.assign(queue, rooms, RESOURCES)
    assert all(have >= 0 for free in free_after(queue, rooms, told).values() for have in free)
    assert told.waiting
    assert told.gap <= Fraction(3, 100)


@pytest.mark.parametrize("seed", range(3))
def test_the_gap_to_an_offline_milp_is_at_most_one_percent(seed):
    """50 jobs on 10 sites with too little room, where prices alone are percents off: beside the proven optimum, unaided."""
    queue, rooms = big_queue(seed, 50, 10, 1.1)
    told = assignment.assign(queue, rooms, RESOURCES)
    offline = solver.HighsSolver().minimize(everything(table_of(queue, rooms)).program, seconds=60)
    assert told.cost_micros <= offline.objective * 1.01
    assert told.bound_micros <= offline.objective * (1 + 1e-6)


@given(queues(), st.integers(1, 200), st.integers(1, 2))
def test_annealing_fits_is_never_dearer_and_repeats_itself(given_, steps, times):
    """From any placement that fits, at any prices: the best so far fits, costs no more than before, and is the same again."""
    queue, rooms = given_
    if not queue:
        return
    table = table_of(queue, rooms)
    start = assignment_search.greedy(table, np.zeros_like(table.free))
    annealing, again = (assignment_search.Annealing(table, start, np.zeros_like(table.free)) for _ in range(2))
    least = cheapest(queue, {room.site: list(room.free) for room in rooms})
    before = table.total(start)
    for _ in range(times):
        for one in (annealing, again):
            one.cool(steps, least)
        assert table.fits(annealing.best)
        assert least <= table.total(annealing.best) <= before
        assert annealing.best.tolist() == again.best.tolist()
        before = table.total(annealing.best)


def test_annealing_finds_what_moves_downhill_cannot():
    """Three jobs must each take the next one's place: any single step, and pushing one another aside, first costs more."""
    ways = {"a": (90, 80, 500, 110), "b": (500, 90, 80, 110), "c": (80, 500, 90, 110)}
    queue = [
        Queued(name, tuple(Option(f"s{i}", cost, (1, 0, 0)) for i, cost in enumerate(costs)), 1000)
        for name, costs in ways.items()
    ]
    table = table_of(queue, [Room(f"s{i}", (1, 0, 0)) for i in range(4)])
    annealing = assignment_search.Annealing(table, np.array([0, 1, 2]), np.zeros_like(table.free))
    annealing.cool(3000, 0)
    assert table.total(annealing.best) == 240


def test_the_same_long_queue_is_placed_the_same_way_again():
    """Draws come from a seed of their own, not from the process's generator, and no clock decides."""
    queue, rooms = big_queue(9, 60, 8, 1.2)
    first = assignment.assign(queue, rooms, RESOURCES)
    random.seed(5)
    assert assignment.assign(queue, rooms, RESOURCES) == first


def test_a_solver_is_asked_about_what_is_contested_and_makes_it_no_worse():
    """With a target that search misses, the solver closes the gap, and its bound counts for the whole queue."""
    queue, rooms = big_queue(5, 90, 8, 1.2)
    effort = assignment.Effort(gap_target=Fraction(1, 10**5), nodes=0)
    alone = assignment.assign(queue, rooms, RESOURCES, effort=effort)
    asked = []

    def minimize(program):
        asked.append(len(program.costs))
        return solver.HighsSolver().minimize(program, seconds=20)

    helped = assignment.assign(queue, rooms, RESOURCES, effort=effort, minimize=minimize)
    assert asked, "the gap was closed without it, so nothing was tested"
    assert helped.cost_micros <= alone.cost_micros
    assert helped.bound_micros >= alone.bound_micros
    assert all(have >= 0 for free in free_after(queue, rooms, helped).values() for have in free)


def test_a_solver_that_finds_nothing_in_time_changes_nothing():
    """The placement stands with the gap that was proven before; the look at the queue does not fail with it."""
    queue, rooms = big_queue(5, 60, 8, 1.2)
    effort = assignment.Effort(gap_target=Fraction(1, 10**5), nodes=0, coolings=1, steps_few=20, steps_each=20)
    asked = []

    def minimize(program):
        asked.append(program)
        raise errors.Unavailable("no solution was found in time", reason="SOLVER_TIMEOUT")

    assert assignment.assign(queue, rooms, RESOURCES, effort=effort, minimize=minimize) == assignment.assign(
        queue, rooms, RESOURCES, effort=effort
    )
    assert asked


def unit_queue(rnd: random.Random, jobs: int, sites: int) -> tuple[list[Queued], list[Room]]:
    """Jobs that all want one H100 and four CPUs; what they cost lies anywhere."""
    rooms = [Room(f"s{i:02}", (rnd.choice([0, 7, 9, 400]), 0, rnd.randint(0, 3))) for i in range(sites)]
    queue = [
        Queued(
            f"j{j:03}",
            tuple(Option(room.site, rnd.randint(0, 10**9), (4, 0, 1)) for room in rooms if rnd.random() < 0.8),
            rnd.randint(10**8, 2 * 10**9),
        )
        for j in range(jobs)
    ]
    return queue, rooms


@pytest.mark.parametrize("seed", range(8))
def test_jobs_that_are_alike_are_placed_optimally_however_many(seed):
    """Places of one size make it a transportation problem: proven to the last micro-dollar, without branching."""
    queue, rooms = unit_queue(random.Random(seed), 80, 25)
    told = assignment.assign(queue, rooms, RESOURCES, effort=assignment.Effort(nodes=0))
    assert told.optimal
    assert told.waiting


@given(st.integers(0, 10**6))
def test_the_transport_optimum_is_the_one_found_by_trying_everything(seed):
    """Its own proof is not believed either."""
    queue, rooms = unit_queue(random.Random(seed), 5, 3)
    told = assignment.assign(queue, rooms, RESOURCES, effort=assignment.Effort(nodes=0))
    assert told.cost_micros == told.bound_micros == cheapest(queue, {room.site: list(room.free) for room in rooms})


def test_whoever_does_not_compete_gets_the_cheapest():
    """With room for all there is nothing to decide, and no resource has a price."""
    queue, rooms = big_queue(6, 60, 10, 0.02)
    rooms = [Room(room.site, tuple(have * 100 for have in room.free)) for room in rooms]
    told = assignment.assign(queue, rooms, RESOURCES)
    assert told.optimal
    assert told.priorities[0].prices == ()
    for name, position in told.placed:
        options = next(job.options for job in queue if job.job == name)
        assert options[position].cost_micros == min(option.cost_micros for option in options)


def test_the_price_of_a_scarce_gpu_is_what_one_more_would_save():
    """Two jobs want the one H100 at eu; the loser pays 30 more at us: 30 is what a second would be worth."""
    queue = [
        Queued("a", (Option("eu", 10, (1, 0, 1)), Option("us", 50, (1, 0, 1))), 1000),
        Queued("b", (Option("eu", 10, (1, 0, 1)), Option("us", 40, (1, 0, 1))), 1000),
    ]
    told = assignment.assign(queue, [Room("eu", (9, 0, 1)), Room("us", (9, 0, 9))], RESOURCES)
    assert dict(told.placed) == {"a": 0, "b": 1}
    (price,) = told.priorities[0].prices
    assert (price.site, price.resource) == ("eu", "gpus:H100")
    assert 30 <= price.unit_micros <= 40


def test_a_big_job_takes_the_place_of_small_ones_that_can_go_elsewhere():
    """Eight small jobs are cheapest at eu, but the big one has nowhere else to go, and waiting is dear."""
    queue = [Queued(f"s{i}", (Option("eu", 10, (1, 0, 1)), Option("us", 12, (1, 0, 1))), 99) for i in range(8)]
    queue.append(Queued("big", (Option("eu", 50, (8, 0, 8)),), 500))
    told = assignment.assign(queue, [Room("eu", (99, 0, 8)), Room("us", (99, 0, 8))], RESOURCES)
    assert told.optimal
    assert dict(told.placed) == {"big": 0, **{f"s{i}": 1 for i in range(8)}}


@given(queues(jobs=6), st.integers(0, 10**6))
def test_the_dual_is_a_bound_at_any_prices(given_, seed):
    """Not only at good ones: nothing has to be trusted about how they were found."""
    queue, rooms = given_
    if not queue:
        return
    rnd = random.Random(seed)
    table = table_of(queue, rooms)
    prices = np.array([[rnd.choice([0, rnd.uniform(0, 50)]) for _ in RESOURCES] for _ in range(len(rooms) + 1)])
    units = np.array([[float(rnd.randint(1, 3)) for _ in RESOURCES] for _ in range(len(rooms) + 1)])
    found = assignment_table.bound(table, assignment_table.fixed(table, prices, units))
    assert found <= cheapest(queue, {room.site: list(room.free) for room in rooms})


def test_bytes_and_prices_of_any_size_stay_exact():
    """A pebibyte of memory and a billion dollars: the arithmetic has no rounding that could prove too much."""
    big, mem = 2**50 - 1, 2**49 + 1
    queue = [Queued(f"j{i}", (Option("eu", big - i, (mem,)), Option("us", big - 2 * i, (mem,))), big) for i in range(3)]
    told = assignment.assign(queue, [Room("eu", (2**50 - 1,)), Room("us", (mem,))], ("memory_bytes",))
    assert told.cost_micros == cheapest(queue, {"eu": [2**50 - 1], "us": [mem]})
    assert told.bound_micros <= told.cost_micros


def test_an_empty_queue_costs_nothing():
    """Nothing to place, nothing to prove, and no site needed."""
    told = assignment.assign([], [], RESOURCES)
    assert (told.cost_micros, told.bound_micros, told.optimal) == (0, 0, True)
    waits = assignment.assign([Queued("a", (), 7)], [], RESOURCES)
    assert waits.waiting == (assignment.Waiting(job="a"),)


@pytest.mark.parametrize(
    ("queue", "rooms", "word"),
    [
        ([Queued("a", (), 1), Queued("a", (), 1)], [], "twice"),
        ([], [Room("s", (1, 1, 1)), Room("s", (1, 1, 1))], "twice"),
        ([Queued("a", (Option("x", 1, (1, 1, 1)),), 1)], [], "no room"),
        ([Queued("a", (Option("s", 1, (1, 1)),), 1)], [Room("s", (1, 1, 1))], "2 numbers"),
        ([Queued("a", (Option("s", 2**50, (1, 1, 1)),), 1)], [Room("s", (1, 1, 1))], str(2**50)),
        ([Queued("a", (), -1)], [], "-1"),
        ([], [Room("s", (1, -1, 1))], "-1"),
    ],
)
def test_what_cannot_be_is_refused(queue, rooms, word):
    """Named twice, unknown, of the wrong length, or beyond what is exact: said with the value."""
    with pytest.raises(errors.InvalidArgument, match=word) as refused:
        assignment.assign(queue, rooms, RESOURCES)
    assert refused.value.reason == "QUEUE_INVALID"


def test_a_walk_ends_near_the_linear_programs_optimum():
    """The dual's value is within half a percent of what the solver finds for the relaxed program."""
    queue, rooms = big_queue(7, 150, 12, 1.2)
    table = table_of(queue, rooms)
    walk = assignment_prices.Walk(table)
    walk.warm(60)
    for _ in range(6):
        walk.climb(80, float(table.total(assignment_search.greedy(table, walk.unit_prices))))
    part = everything(table)
    relaxed = solver.HighsSolver().minimize(
        assignment_exact.program.Program(**{**vars(part.program), "integral": part.program.integral & False}), seconds=60
    )
    assert relaxed.objective * 0.995 <= walk.value <= relaxed.objective * (1 + 1e-6)
