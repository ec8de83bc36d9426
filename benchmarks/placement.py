"""How long a decision takes, and what it saves: `python -m benchmarks.placement`.

Latency: 10 inputs with 3 replicas each over 100 sites, in one process, the world given. Once with the shipped prices (the
sites lie in some 30 regions that have one), once with 100 regions of their own. CPU time of the thread, so that a busy machine
matters less; the wall time stands beside it.

Regret: a seeded trace of jobs with the shipped egress prices and public H100 prices. Ours, two rules of thumb, and the
optimum: the cheapest of all sites with the cheapest of all ways to choose a replica for each input, tried one by one.
"""

from __future__ import annotations

import argparse
import itertools
import random
import time
from dataclasses import replace

from federation.adapters import prices
from federation.core import planner, ratecard, units, world
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


def latency_world(seed: int, regions: list[str], rates: ratecard.RateCard) -> world.World:
    """100 sites over the regions, 10 inputs of 1 GB to 1 TB with 3 replicas each."""
    rnd = random.Random(seed)
    sites = [
        builders.site(f"s{i}", regions[i % len(regions)], "EU", offer=builders.offer(rnd.randint(30_000, 90_000)))
        for i in range(100)
    ]
    names = [at.site for at in sites]
    inputs = [builders.world_input(f"i{n}", rnd.sample(names, 3), rnd.randint(10**9, 10**12)) for n in range(10)]
    return builders.world(sites, inputs, rates=rates)


def latency(label: str, worlds: list[world.World], rounds: int) -> None:
    """p50 and p99 over all worlds; each decision gets a world that has remembered nothing."""
    request = builders.request(cpus=4)
    cpu, wall = [], []
    for seen in worlds * rounds:
        fresh = replace(seen)
        began, began_cpu = time.perf_counter_ns(), time.thread_time_ns()
        planner.plan(request, fresh)
        cpu.append(time.thread_time_ns() - began_cpu)
        wall.append(time.perf_counter_ns() - began)
    told = "  ".join(
        f"{what} p50 {sorted(times)[len(times) // 2] / 1e6:.2f} ms p99 {sorted(times)[len(times) * 99 // 100] / 1e6:.2f} ms"
        for what, times in (("cpu", cpu), ("wall", wall))
    )
    print(f"{label:28} {told}")


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
    latency(f"shipped, {len(shipped)} regions", [latency_world(seed, shipped, CARD) for seed in range(10)], options.rounds)
    latency("one price, 100 regions", [latency_world(seed, own, builders.rates()) for seed in range(10)], options.rounds)
    regret(options.jobs)


if __name__ == "__main__":
    main()
