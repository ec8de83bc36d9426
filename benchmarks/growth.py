"""How time grows with inputs, sites, queue length and tasks, as pictures: `python -m benchmarks.growth`.

Writes growth-plan.svg, growth-queue.svg and growth-pipelines.svg beside this file. CPU time of the process, least of some
rounds; both axes are logarithmic, so a straight line of slope 1 is time in proportion.
"""

from __future__ import annotations

import argparse
import random
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from benchmarks import _chart, _pipeline_instances, queue
from federation.adapters import solver
from federation.core import assignment, elimination, planner, world
from tests import builders

HERE = Path(__file__).parent
PLAN_SIZES = (1, 3, 10, 30, 100, 300)
QUEUE_SIZES = (30, 100, 300, 1000)
TASK_SIZES = (10, 30, 100)


def decision(inputs: int, sites: int) -> Callable[[], object]:
    """A decision with three replicas of each input, every site in a region of its own."""
    rnd = random.Random(f"{inputs} {sites}")
    places = [
        builders.site(f"s{i:04}", f"aws:r{i}", "EU", offer=builders.offer(rnd.randint(30_000, 90_000))) for i in range(sites)
    ]
    names = [at.site for at in places]
    items = [builders.world_input(f"i{n}", rnd.sample(names, min(3, sites)), rnd.randint(10**9, 10**12)) for n in range(inputs)]
    seen: world.World = builders.world(places, items, rates=builders.rates())
    request = builders.request(cpus=4)
    return lambda: planner.plan(request, seen)


def placed(jobs: int, sites: int) -> Callable[[], object]:
    """A queue with too little room for it."""
    waiting, rooms = queue.queue("tight", jobs, sites)
    return lambda: assignment.assign(waiting, rooms, queue.RESOURCES)


def whole(shape: str, tasks: int) -> Callable[[], object]:
    """A pipeline on 30 sites."""
    problem = _pipeline_instances.make(shape, tasks, 30, 1).problem
    return lambda: elimination.place(problem, solve=solver.HighsSolver().minimize, seconds=60)


def line(name: str, sizes: Iterable[int], make: Callable[[int], Callable[[], object]], rounds: int) -> _chart.Points:
    """Milliseconds of CPU time by size."""
    points = []
    for size in sizes:
        work, least = make(size), float("inf")
        for _ in range(rounds):
            began = time.process_time()
            work()
            least = min(least, time.process_time() - began)
        points.append((float(size), max(least * 1e3, 1e-3)))
        print(f"{name:36} {size:6} {least * 1e3:12.2f} ms", flush=True)
    return points


def draw(name: str, title: str, x_name: str, lines: dict[str, _chart.Points]) -> None:
    """Writes one picture."""
    (HERE / f"growth-{name}.svg").write_text(_chart.loglog(title, x_name, "ms of CPU", lines))


def main() -> None:
    """All three pictures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    plans = {
        "inputs, at 100 sites": line("plan, inputs", PLAN_SIZES, lambda n: decision(n, 100), 10 * rounds),
        "sites, with 10 inputs": line("plan, sites", (*PLAN_SIZES[1:], 1000), lambda n: decision(10, n), 10 * rounds),
    }
    draw("plan", "One decision", "inputs or sites", plans)
    queues = {
        "jobs, at 100 sites": line("queue, jobs", QUEUE_SIZES, lambda n: placed(n, 100), rounds),
        "sites, for 300 jobs": line("queue, sites", (10, 30, 100), lambda n: placed(300, n), rounds),
    }
    draw("queue", "A queue placed together", "jobs or sites", queues)
    dags = {
        shape: line(f"pipeline, {shape}", TASK_SIZES, lambda n, shape=shape: whole(shape, n), min(rounds, 2))
        for shape in _pipeline_instances.SHAPES
    }
    draw("pipelines", "A pipeline on 30 sites", "tasks", dags)


if __name__ == "__main__":
    main()
