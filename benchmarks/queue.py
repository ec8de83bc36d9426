"""A queue placed together: `python -m benchmarks.queue`. How long it takes, and how near it comes to what can be proven.

1,000 jobs on 100 sites, in seeded shapes: plenty of room, too little, three types of GPU of which a job takes some, big jobs,
and jobs that are all alike. Beside it first come first served (each job in turn takes the cheapest site with room), and HiGHS
on the same queue as one program, with a time limit; its bound or ours, whichever is higher, is what gaps are told against. CPU
time of the process stands beside the wall time, for a busy machine. Then how the time grows with the queue and with the sites.

With `--beside`, instead: 50 to 1,000 jobs on 10 to 100 sites in all shapes, some seeds of each, beside HiGHS on the same queue.
Without a solver for ourselves, and where no more than 0.3 % is left by our own proof it is not asked either.
"""

from __future__ import annotations

import argparse
import random
import time
from typing import Any

import numpy as np

from federation.adapters import solver
from federation.core import assignment, assignment_exact, errors
from federation.core.assignment import Option, Queued, Room

RESOURCES = ("cpus", "memory_gib", "gpus:A100", "gpus:H100", "gpus:L4")
#: Micro-dollars an hour, and the time that the same work takes, by type.
PRICE, SPEED = (2_500_000, 7_000_000, 800_000), (1.0, 0.45, 3.0)
#: A gap that is proven to be no more needs no solver beside it.
PROVEN = 0.003
SHAPES = {"loose": 0.15, "tight": 1.2, "three types": 0.9, "big jobs": 1.0, "alike": 0.95}


def queue(shape: str, jobs: int, sites: int, seed: int = 1) -> tuple[list[Queued], list[Room]]:
    """Jobs with a home each, 1 GB to 10 TB to bring elsewhere, asking for the shape's share of the GPUs."""
    rnd = random.Random(f"{shape} {seed}")
    types = [rnd.sample(range(3), rnd.choice([1, 1, 2])) for _ in range(sites)]
    totals = [[rnd.choice([8, 16, 32]) if kind in held else 0 for kind in range(3)] for held in types]
    level = [rnd.uniform(0.8, 1.4) for _ in range(sites)]
    wanted = [_gpus(shape, rnd) for _ in range(jobs)]
    scale = sum(wanted) / SHAPES[shape] / sum(map(sum, totals))
    rooms = []
    for site in range(sites):
        cpus, memory = rnd.choice([128, 256, 512]), rnd.choice([512, 1024, 2048])
        free = (cpus, memory, *totals[site])
        rooms.append(Room(f"s{site:04}", tuple(max(1, round(amount * scale)) if amount else 0 for amount in free)))
    return [
        _job(f"j{j:06}", shape, gpus, rooms=rooms, types=types, level=level, rnd=rnd) for j, gpus in enumerate(wanted)
    ], rooms


def _gpus(shape: str, rnd: random.Random) -> int:
    return 1 if shape == "alike" else rnd.choice([1, 1, 2, 8, 8, 16] if shape == "big jobs" else [1, 1, 1, 2, 2, 4, 8])


def _job(
    name: str, shape: str, gpus: int, *, rooms: list[Room], types: list[list[int]], level: list[float], rnd: random.Random
) -> Queued:
    hours, home, gigabytes = rnd.choice([1, 2, 4, 8, 24]), rnd.randrange(len(rooms)), 10 ** rnd.uniform(0, 4)
    takes = rnd.sample(range(3), rnd.choice([1, 2, 3])) if shape == "three types" else (0, 1, 2)
    cpus, memory = (4, 16) if shape == "alike" else (gpus * rnd.choice([2, 4, 8]), gpus * rnd.choice([8, 16, 32]))
    options = []
    for site, room in enumerate(rooms):
        egress = 0 if site == home else int(gigabytes * rnd.choice([10_000, 20_000, 20_000, 90_000]))
        for kind in types[site]:
            if kind in takes:
                micros = int((gpus * PRICE[kind] * level[site] + cpus * 40_000) * hours * SPEED[kind]) + egress
                demand = (cpus, memory, *(gpus if k == kind else 0 for k in range(3)))
                options.append(Option(room.site, micros, demand))
    least = min((option.cost_micros for option in options), default=10**6)
    return Queued(name, tuple(options), int(least * rnd.uniform(1.5, 4)))


def first_come(jobs: list[Queued], rooms: list[Room]) -> int:
    """What it costs when each job in turn takes the cheapest option that fits."""
    free, cost = {room.site: room.free for room in rooms}, 0
    for job in jobs:
        for option in sorted(job.options, key=lambda one: one.cost_micros):
            room = free[option.site]
            if option.cost_micros <= job.unplaced_micros and all(w <= h for w, h in zip(option.demand, room, strict=True)):
                free[option.site] = tuple(have - want for have, want in zip(room, option.demand, strict=True))
                cost += option.cost_micros
                break
        else:
            cost += job.unplaced_micros
    return cost


def offline(jobs: list[Queued], rooms: list[Room], seconds: float) -> tuple[float, float, float]:
    """Cost, bound and time of HiGHS on the whole queue as one program."""
    table, _ = assignment._table(jobs, rooms, len(RESOURCES))
    table = table.pick(np.arange(table.jobs), table.free)
    before, assignment_exact.COLUMNS_MAX = assignment_exact.COLUMNS_MAX, table.cost.size + 1
    nothing = np.full(table.jobs, table.cost.shape[1] - 1)
    part = assignment_exact.contested(table, assignment_exact.Reduced(np.zeros_like(table.cost), -(2**60)), nothing)
    assignment_exact.COLUMNS_MAX = before
    began = time.perf_counter()
    try:
        found = solver.HighsSolver().minimize(part.program, seconds=seconds)
    except errors.Unavailable:
        return float("inf"), 0.0, time.perf_counter() - began
    return found.objective, found.bound, time.perf_counter() - began


def placed(jobs: list[Queued], rooms: list[Room], rounds: int, **options: Any) -> tuple[assignment.Assignment, float, float]:
    """The assignment, and the least wall and CPU time of some rounds."""
    walls, cpus = [], []
    for _ in range(rounds):
        wall, cpu = time.perf_counter(), time.process_time()
        told = assignment.assign(jobs, rooms, RESOURCES, **options)
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return told, min(walls), min(cpus)


def shapes(rounds: int, seconds: float) -> None:
    """Each shape: ours, ours with the solver on what is contested, HiGHS on all of it, first come first served."""
    print("1,000 jobs x 100 sites; gaps to the best bound known")
    print(f"{'shape':12} {'ours':>24} {'proven by us':>13} {f'HiGHS, {seconds:.0f} s':>18} {'first come':>11}")
    for shape in SHAPES:
        jobs, rooms = queue(shape, 1000, 100)
        told, wall, cpu = placed(jobs, rooms, rounds)
        cost, bound, took = offline(jobs, rooms, seconds)
        best = max(bound, told.bound_micros)
        ours = f"{told.cost_micros / best - 1:.2%} in {wall:.2f} s (cpu {cpu:.2f})"
        theirs, beside = f"none in {took:.0f} s", ""
        if cost < float("inf"):
            theirs, beside = f"{cost / best - 1:.2%} in {took:.0f} s", f"   ours to HiGHS {told.cost_micros / cost - 1:+.2%}"
        early = f"{first_come(jobs, rooms) / best - 1:.2%}"
        print(f"{shape:12} {ours:>24} {float(told.gap):13.2%} {theirs:>18} {early:>11}{beside}")


def growth(rounds: int) -> None:
    """Time beside length and sites, in the tight shape."""
    for what, sizes in (
        ("jobs", [(n, 100) for n in (100, 300, 1000, 3000)]),
        ("sites", [(1000, s) for s in (10, 30, 100, 300)]),
    ):
        print(f"\ntight, growing {what}")
        for count, sites in sizes:
            jobs, rooms = queue("tight", count, sites)
            told, wall, cpu = placed(jobs, rooms, rounds)
            print(f"{count:6} jobs x {sites:4} sites: {wall:6.2f} s (cpu {cpu:.2f}), gap {float(told.gap):.2%}")


def beside(seconds: float, seeds: int) -> None:
    """By size and shape, the worst of some seeds: above the best that HiGHS found, above what is proven, and CPU seconds."""
    print(f"{'jobs x sites':14} {'shape':12} {'to HiGHS':>9} {'to its bound':>13} {'proven by us':>13} {'cpu':>6}")
    for count in (50, 300, 1000):
        for sites in (10, 30, 100):
            for shape in SHAPES:
                worst = np.full(4, -np.inf)
                for seed in range(1, seeds + 1):
                    jobs, rooms = queue(shape, count, sites, seed)
                    told, _, cpu = placed(jobs, rooms, 1)
                    cost, bound = float(told.bound_micros), float(told.bound_micros)
                    if told.gap > PROVEN:
                        cost, proven, _ = offline(jobs, rooms, seconds)
                        bound = max(bound, proven)
                        # Where it finds nothing, its best is what is proven.
                        cost = cost if cost < float("inf") else bound
                    worst = np.maximum(worst, [told.cost_micros / cost - 1, told.cost_micros / bound - 1, float(told.gap), cpu])
                print(f"{count:5} x {sites:4}   {shape:12} {worst[0]:9.2%} {worst[1]:13.2%} {worst[2]:13.2%} {worst[3]:6.2f}")


def main() -> None:
    """The shapes and the growth, or what is beside HiGHS, with their effort as options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="rounds of which the fastest counts")
    parser.add_argument("--seconds", type=float, default=60, help="time limit of the solver on a whole queue")
    parser.add_argument("--beside", action="store_true", help="many sizes and seeds beside the solver; hours")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of each size and shape")
    options = parser.parse_args()
    if options.beside:
        beside(options.seconds, options.seeds)
        return
    shapes(options.rounds, options.seconds)
    growth(options.rounds)


if __name__ == "__main__":
    main()
