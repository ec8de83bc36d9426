"""How long a decision takes, how that grows, what it needs, and what it saves: `python -m benchmarks.placement`.

Latency: a stream of distinct decisions over one federation of 100 sites, in one process: from values (request, world, what is
prepared) to the plan as a value. *Decided* is the choice with how it has each input and what that is charged, the runner-up,
the margin between them and the baseline, all exact: `planner.decide(...).brief()`. *Explained* is that with all sites priced
and ranked, the refusals of others in words, and counterfactuals, as it is stored with a job: `planner.plan`. Before each
decision five sites are heard from and say something new of what others use of them, the loads of 70 sites are others,
and the job reads 10 other inputs of 3 replicas each; a fifth to a third of the sites have no room. Prepared and used again is
what sites, links and prices say whatever is asked (`core/prepared.py`): made once for each state of the sites, which here is
before each decision, and timed beside it (*prepared*). The links of a rate card are found when they are first met, so the
first tenth of the stream is not counted. The collector of garbage runs as in a server: what was there at the start is frozen.
Four shapes: 100 regions of one price; the shipped prices (the sites lie in some 30 regions that have one); storage prices,
measured links and a value of time in 100 regions; the same with the shipped prices. The floor is the least that any choice
must do in Python: look up each price once and take the least for each input and site, with nothing explained.

Growth: the median with more inputs, replicas, sites. Memory: the peak of one decision.

Calls: `fed job submit --dry-run` as a client sees it, from value to value: over TLS, on a server with a catalog of 100 sites in
SQLite; *explained* as above, and *brief* (`view: BASIC`), each after five heartbeats. Client and server share one process here,
and so the interpreter's lock.

Regret: a seeded trace of jobs with the shipped egress prices and public H100 prices. Ours, two rules of thumb, and the
optimum: the cheapest of all sites with the cheapest of all ways to choose a replica for each input, tried one by one.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import random
import statistics
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

from federation import ports
from federation.adapters import prices
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import SystemClock, UlidIds
from federation.core import job, planner, prepared, ratecard, site, units, world
from tests import builders
from tests.wire import certs, edge

T = TypeVar("T")
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
    return builders.world(rows, some_inputs(rnd, [at.site for at in rows], inputs, replicas), rates=rates)


def some_inputs(rnd: random.Random, names: list[str], inputs: int, replicas: int) -> list[world.WorldInput]:
    """Inputs of 1 GB to 1 TB with so many replicas each."""
    return [builders.world_input(f"i{n}", rnd.sample(names, replicas), rnd.randint(10**9, 10**12)) for n in range(inputs)]


def shipped_regions() -> list[str]:
    """Regions that the shipped card has a price of."""
    aws = sorted({f"{row.source_provider}:{row.source_place}" for row in CARD.rows if row.source_provider == "aws"})
    return [*aws, "vultr:ewr", "gcp:us-east1", "azure:eastus"]


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


class Stream:
    """Decisions one after another, each with a world of its own: sites that were heard from, other loads, another job."""

    def __init__(self, first: world.World, seed: int) -> None:
        self._rnd, self._world = random.Random(seed), first
        self._sites = list(first.sites)
        self.ground = prepared.Prepared(first.sites, first.rates, first.speeds)

    def following(self) -> world.World:
        """The world of the next decision."""
        rnd, names = self._rnd, [at.site for at in self._sites]
        for n in rnd.sample(range(len(names)), 5):
            at = self._sites[n]
            used = rnd.choice([0, 0, 4, 14])
            heard = at.heartbeat_time + timedelta(seconds=5) if at.heartbeat_time else None
            self._sites[n] = replace(at, capacity=replace(at.capacity, used_cpus=used), heartbeat_time=heard)
        return replace(
            self._world,
            sites=tuple(self._sites),
            inputs=tuple(some_inputs(rnd, names, 10, 3)),
            loads=tuple(builders.load(name, rnd.randint(0, 11)) for name in names[:70]),
        )

    def prepare(self, seen: world.World) -> prepared.Prepared:
        """What the world's sites, links and prices say, made from what they said before."""
        self.ground = prepared.Prepared(seen.sites, seen.rates, seen.speeds, self.ground)
        return self.ground


class Clock:
    """Milliseconds of CPU and of wall time of what is run by it."""

    def __init__(self) -> None:
        self.cpu: list[float] = []
        self.wall: list[float] = []

    def run(self, work: Callable[[], T]) -> T:
        """The work's answer; its times are kept."""
        began, began_cpu = time.perf_counter_ns(), time.thread_time_ns()
        answer = work()
        self.cpu.append((time.thread_time_ns() - began_cpu) / 1e6)
        self.wall.append((time.perf_counter_ns() - began) / 1e6)
        return answer

    def told(self, skipped: int = 0) -> str:
        """p50, p99 and the most of both, without the first so many."""
        return "  ".join(f"{what} {_spread(times[skipped:])}" for what, times in (("cpu", self.cpu), ("wall", self.wall)))


def _spread(times: list[float]) -> str:
    ordered = sorted(times)
    p50, p99 = (ordered[len(ordered) * percent // 100] for percent in (50, 99))
    return f"p50 {p50:.2f} p99 {p99:.2f} max {ordered[-1]:.2f} ms"


def latency(label: str, first: world.World, decisions: int, **asked: Any) -> None:
    """p50, p99 and the most over a stream of what is decided, and of what is also explained; beside preparing and the floor."""
    request = builders.request(cpus=4, **asked)
    works: dict[str, Callable[[world.World, prepared.Prepared], job.Plan]] = {
        "decided": lambda seen, ground: planner.decide(request, seen, ground=ground).brief(),
        "explained": lambda seen, ground: planner.plan(request, seen, ground=ground),
    }
    print(f"{label}, {decisions} decisions")
    for what, work in works.items():
        stream, deciding, preparing, floors = Stream(first, 1), Clock(), Clock(), Clock()
        gc.collect()
        gc.freeze()
        for n in range(decisions + decisions // 10):
            seen = stream.following()
            ground = preparing.run(lambda stream=stream, seen=seen: stream.prepare(seen))
            deciding.run(lambda work=work, seen=seen, ground=ground: work(seen, ground))
            if n % 10 == 0:
                floors.run(lambda seen=seen: floor(seen))
        gc.unfreeze()
        print(f"    {what:10} {deciding.told(decisions // 10)}")
    for what, clock in (("prepared", preparing), ("floor", floors)):
        print(f"    {what:10} {clock.told(len(clock.cpu) // 11)}")


def calls(count: int) -> None:
    """A plan over the wire, of a server with 100 sites, 40 datasets, 20 live runs, and links that were used and measured."""
    with tempfile.TemporaryDirectory() as folder:
        catalog = SqlCatalog(f"sqlite:///{folder}/catalog.db", SystemClock(), UlidIds())
        served = edge.start(certs.make(Path(folder)), catalog)
        rnd, names = random.Random(5), [f"s{n}" for n in range(100)]
        catalog.write(lambda tx: _populate(tx, rnd, names))
        client = served.client()
        for _ in range(20):
            client.create_job(_job(rnd))
        whole, brief = Clock(), Clock()
        # As `bootstrap/server.py` does once it serves.
        gc.collect()
        gc.freeze()
        for _ in range(count):
            catalog.write(lambda tx: _hear(tx, rnd, names))
            asked = _job(rnd)
            whole.run(lambda asked=asked: client.plan(asked))
            catalog.write(lambda tx: _hear(tx, rnd, names))
            brief.run(lambda asked=asked: client.plan(asked, brief=True))
        gc.unfreeze()
        served.stop()
    print(f"dry run over TLS, {count} calls")
    for what, clock in (("explained", whole), ("brief", brief)):
        print(f"    {what:10} wall {_spread(clock.wall[count // 10 :])}")


def _populate(tx: ports.Transaction, rnd: random.Random, names: list[str]) -> None:
    regions = shipped_regions()
    for n, name in enumerate(names):
        offer = builders.offer(rnd.randint(30_000, 90_000))
        tx.insert(builders.site(name, regions[n % len(regions)], "EU", offer=offer, heartbeat_time=tx.now))
        tx.insert(builders.load(name, rnd.randint(0, 11)))
    tx.insert(builders.namespace("sales"))
    for n in range(40):
        tx.insert(builders.dataset(f"sales/d{n}", latest_version=1, uid=f"u-{n}"))
        tx.insert(builders.version(f"sales/d{n}@1", rnd.randint(10**9, 10**11)))
        for name in rnd.sample(names, 3):
            tx.insert(builders.replica(f"sales/d{n}@1", name))
    for scope in sorted({ratecard.scope(*rnd.sample(regions, 2)) for _ in range(400)}):
        tx.insert(site.LinkVolume(scope=scope, month=f"{tx.now:%Y-%m}", sent_bytes=rnd.randint(0, 10**12)))
    for source, destination in sorted({tuple(rnd.sample(regions, 2)) for _ in range(400)}):
        tx.insert(site.LinkSpeed(source_region=source, destination_region=destination, bytes_per_second=10**9))


def _hear(tx: ports.Transaction, rnd: random.Random, names: list[str]) -> None:
    """Five heartbeats."""
    for name in rnd.sample(names, 5):
        at = tx.get(site.Site, name)
        assert at is not None
        capacity = replace(at.capacity, used_cpus=rnd.choice([0, 0, 2, 4]))
        tx.replace(replace(at, capacity=capacity, heartbeat_time=tx.now))


def _job(rnd: random.Random) -> job.JobRequest:
    read = [job.InputSpec(alias=f"i{n}", dataset=f"sales/d{d}") for n, d in enumerate(rnd.sample(range(40), 10))]
    return replace(builders.request(cpus=1), inputs=tuple(read), outputs=())


def growth(rounds: int) -> None:
    """The median by the number of inputs, replicas and sites, each grown alone, and the peak of memory."""
    request = builders.request(cpus=4)
    for what, numbers in (("inputs", (1, 10, 100)), ("replicas", (1, 3, 10, 30)), ("sites", (10, 100, 1000))):
        told = []
        for number in numbers:
            sizes = {"inputs": 10, "replicas": 3, "sites": 100} | {what: number}
            regions = [f"aws:r{i}" for i in range(min(sizes["sites"], 100))]
            worlds = [latency_world(seed, regions, builders.rates(), **sizes) for seed in range(3)]
            grounds = [prepared.Prepared(seen.sites, seen.rates, seen.speeds) for seen in worlds]
            planner.plan(request, worlds[0])
            clock = Clock()
            for seen, ground in list(zip(worlds, grounds, strict=True)) * rounds:
                clock.run(lambda seen=seen, ground=ground: planner.plan(request, replace(seen), ground=ground))
            tracemalloc.start()
            planner.plan(request, replace(worlds[0]))
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            told.append(f"{number}: {statistics.median(clock.cpu):.2f} ms, {units.size(peak)}")
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
    parser.add_argument("--decisions", type=int, default=2000, help="decisions of each stream")
    parser.add_argument("--calls", type=int, default=200, help="calls over the wire")
    parser.add_argument("--jobs", type=int, default=500, help="jobs of the trace")
    options = parser.parse_args()
    hundred = latency_world(0, [f"aws:r{i}" for i in range(100)], builders.rates())
    shipped = latency_world(0, shipped_regions(), CARD)
    few = max(options.decisions // 10, 20)
    latency("one price, 100 regions", hundred, options.decisions)
    latency(f"shipped prices, {len(shipped_regions())} regions", shipped, options.decisions)
    latency("storage, measured links, an hour's value", searched(hundred), few, hour_value_micros=10**6)
    latency("the same with shipped prices", searched(shipped), few, hour_value_micros=10**6)
    growth(10)
    calls(options.calls)
    regret(options.jobs)


if __name__ == "__main__":
    main()
