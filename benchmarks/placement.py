"""How long a decision takes, how that grows, what it needs, and what it saves: `python -m benchmarks.placement`.

Latency: 10 inputs with 3 replicas each over 100 sites, counterfactuals included, in one process, the world given and nothing of
it remembered; what the rate card says of its links is. Once with the shipped prices (the sites lie in some 30 regions that have
one), once with 100 regions of their own, once with storage prices, measured links and a value of time. CPU time of the thread,
so that a busy machine matters less; the wall time stands beside it. The floor is the least that any choice must do, in the same
process: look up each price once and take the least for each input and site, with nothing explained.

Growth: the median with more inputs, replicas, sites. Memory: the peak of one decision.

Regret: a seeded trace of jobs with the shipped egress prices and public H100 prices. Ours, two rules of thumb, and the
optimum: the cheapest of all sites with the cheapest of all ways to choose a replica for each input, tried one by one.
"""

from __future__ import annotations

import argparse
import itertools
import random
import statistics
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace

from federation.adapters import prices
from federation.core import planner, ratecard, site, units, world
from tests import builders

CARD = prices.default_rate_card()
#: Dollars an hour for one H100 on demand, skypilot-org/skypilot-catalog@00148f2 (p5.48xlarge).
H100 = {
    "aws:us-east-1": "6.88",
    "aws:us-east-2": "6.88",
    "aws:us-west-2": "6.88",
    "aws:eu-north-1": "7.3616",
    "aws:eu-west-2": "8.944",
    "aws:ca-central-1": "7.912",
    "aws:ap-northeast-1": "8.6",
    "aws:ap-south-1": "8.256",
    "aws:us-west-1": "8.6",
    "aws:ap-southeast-2": "8.944",
}


def latency_world(
    seed: int, regions: list[str], rates: ratecard.RateCard, *, sites: int = 100, inputs: int = 10, replicas: int = 3
) -> world.World:
    """Sites over the regions, inputs of 1 GB to 1 TB with so many replicas each."""
    rnd = random.Random(seed)
    rows = [
        builders.site(f"s{i}", regions[i % len(regions)], "EU", offer=builders.offer(rnd.randint(30_000, 90_000)))
        for i in range(sites)
    ]
    names = [at.site for at in rows]
    given = [builders.world_input(f"i{n}", rnd.sample(names, replicas), rnd.randint(10**9, 10**12)) for n in range(inputs)]
    return builders.world(rows, given, rates=rates)


def searched(seen: world.World) -> world.World:
    """The same with storage prices and measured links: copies and relays are ways then, and slow reads keep compute waiting."""
    rows = tuple(replace(at, offer=replace(at.offer, storage_gb_month_micros=23_000)) for at in seen.sites)
    regions = sorted({at.region for at in rows})
    speeds = tuple(
        site.LinkSpeed(source_region=a, destination_region=b, bytes_per_second=10**8)
        for a in regions
        for b in regions
        if a != b
    )
    return replace(seen, sites=rows, speeds=speeds)


def floor(seen: world.World) -> str:
    """The least egress over all sites, by one look at each price."""
    regions = {at.site: at.region for at in seen.sites}
    best = (float("inf"), "")
    for at in seen.sites:
        into, total = seen.rates.into(at.region), 0.0
        for item in seen.inputs:
            tariffs = [into[regions[name]] for name in item.replica_sites]
            total += min(tariff.tiers[0].rate * item.bytes / tariff.unit for tariff in tariffs if tariff)
        best = min(best, (total, at.site))
    return best[1]


def timed(decide: Callable[[world.World], object], worlds: list[world.World], rounds: int) -> tuple[list[float], list[float]]:
    """Milliseconds of CPU and of wall time, sorted; each decision gets a world that has remembered nothing."""
    cpu, wall = [], []
    for seen in worlds * rounds:
        fresh = replace(seen)
        began, began_cpu = time.perf_counter_ns(), time.thread_time_ns()
        decide(fresh)
        cpu.append((time.thread_time_ns() - began_cpu) / 1e6)
        wall.append((time.perf_counter_ns() - began) / 1e6)
    return sorted(cpu), sorted(wall)


def latency(label: str, worlds: list[world.World], rounds: int, **asked: object) -> None:
    """p50 and p99 over all worlds, beside the floor."""
    request = builders.request(cpus=4, **asked)
    for seen in worlds:
        planner.plan(request, replace(seen))
    cpu, wall = timed(lambda seen: planner.plan(request, seen), worlds, rounds)
    least, _ = timed(floor, worlds, rounds)
    told = "  ".join(
        f"{what} p50 {times[len(times) // 2]:.2f} ms p99 {times[len(times) * 99 // 100]:.2f} ms"
        for what, times in (("cpu", cpu), ("wall", wall), ("floor cpu", least))
    )
    print(f"{label:28} {told}")


def growth(rounds: int) -> None:
    """The median by the number of inputs, replicas and sites, each grown alone, and the peak of memory."""
    request = builders.request(cpus=4)
    for what, numbers in (("inputs", (1, 10, 100)), ("replicas", (1, 3, 10, 30)), ("sites", (10, 100, 1000))):
        told = []
        for number in numbers:
            sizes = {"inputs": 10, "replicas": 3, "sites": 100} | {what: number}
            regions = [f"aws:r{i}" for i in range(min(sizes["sites"], 100))]
            worlds = [latency_world(seed, regions, builders.rates(), **sizes) for seed in range(3)]
            planner.plan(request, worlds[0])
            cpu, _ = timed(lambda seen: planner.plan(request, seen), worlds, rounds)
            tracemalloc.start()
            planner.plan(request, replace(worlds[0]))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            told.append(f"{number}: {statistics.median(cpu):.2f} ms, {units.size(peak)}")
        print(f"growth with {what:16} {'   '.join(told)}")


def trace(seed: int, jobs: int) -> list[tuple[world.World, int]]:
    """Worlds with one to three inputs of 1 GB to 50 TB, and hours on eight H100."""
    rnd = random.Random(seed)
    sites = [
        builders.site(
            f"s{i}",
            region,
            "EU",
            offer=builders.offer("0.04", {"H100": usd}),
            capacity=builders.capacity(192, "2TB", {"H100": 8}),
        )
        for i, (region, usd) in enumerate(H100.items())
    ]
    names = [at.site for at in sites]
    found = []
    for _ in range(jobs):
        inputs = [
            builders.world_input(f"i{n}", rnd.sample(names, rnd.randint(1, 2)), int(10 ** rnd.uniform(9, 13.7)))
            for n in range(rnd.randint(1, 3))
        ]
        found.append((builders.world(sites, inputs, rates=CARD), rnd.choice([600, 3600, 8 * 3600, 48 * 3600])))
    return found


def optimum(seen: world.World, computes: dict[str, int]) -> int:
    """The least total over every site and every choice of replicas together."""
    regions = {at.site: at.region for at in seen.sites}
    totals = []
    for at in seen.sites:
        for sources in itertools.product(*(item.replica_sites for item in seen.inputs)):
            volumes: dict[str, int] = {}
            for item, source in zip(seen.inputs, sources, strict=True):
                volumes[regions[source]] = volumes.get(regions[source], 0) + item.bytes
            charges = [seen.rates.price(region, at.region, 0, volume) for region, volume in volumes.items()]
            if None not in charges:
                totals.append(computes[at.site] + sum(charge.micros for charge in charges if charge))
    return min(totals)


def regret(jobs: int) -> None:
    """Totals of the trace by each way of deciding."""
    totals = dict.fromkeys(("optimum", "ours", "always at the biggest data", "always at the cheapest GPU"), 0)
    for seen, seconds in trace(7, jobs):
        plan = planner.plan(builders.request(cpus=8, gpus=8, gpu_type="H100", duration_seconds=seconds), seen)
        by_site = {candidate.site: candidate for candidate in plan.ranked}
        biggest = max(seen.inputs, key=lambda item: item.bytes)
        totals["optimum"] += optimum(seen, {name: candidate.compute_micros for name, candidate in by_site.items()})
        totals["ours"] += plan.ranked[0].total_micros
        totals["always at the biggest data"] += by_site[biggest.replica_sites[0]].total_micros
        totals["always at the cheapest GPU"] += by_site[plan.baseline_site].total_micros
    for way, micros in totals.items():
        print(f"{way:28} {units.usd(micros):>20}  {micros / totals['optimum'] - 1:+.2%}")


def main() -> None:
    """Both, with their sizes as options."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=50, help="decisions for each of ten worlds")
    parser.add_argument("--jobs", type=int, default=500, help="jobs of the trace")
    options = parser.parse_args()
    shipped = sorted({f"{row.source_provider}:{row.source_place}" for row in CARD.rows if row.source_provider == "aws"})
    shipped += ["vultr:ewr", "gcp:us-east1", "azure:eastus"]
    own = [f"aws:r{i}" for i in range(100)]
    hundred = [latency_world(seed, own, builders.rates()) for seed in range(10)]
    latency(f"shipped, {len(shipped)} regions", [latency_world(seed, shipped, CARD) for seed in range(10)], options.rounds)
    latency("one price, 100 regions", hundred, options.rounds)
    slow = [searched(seen) for seen in hundred]
    latency("measured links", slow, max(options.rounds // 10, 2), hour_value_micros=10**6)
    growth(max(options.rounds // 5, 3))
    regret(options.jobs)


if __name__ == "__main__":
    main()
