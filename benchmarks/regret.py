"""What placement saves: `python -m benchmarks.regret`, on a fixed, seeded trace with the shipped prices.

Jobs of 8 H100 for 0.3 to 25 hours, each with one input of 10 GB to 50 TB in one AWS region (SkyPilot takes no more than one).
Each policy's placements are paid alike: the shipped price of the GPUs where it went, and the shipped egress of the region pair.

- *optimum*: a brute force over all regions, or with limits HiGHS on the whole queue (its proven bound beside it)
- *ours*: the planner, and with limits the assignment of the queue
- *at the data*: in the input's region if it has room, else the region with room to which its egress is least
- *cheapest GPU*: the least price an hour with room, then the first name
- *SkyPilot*: its own optimizer, asked again without the regions that are full (`benchmarks.skypilot_peer`)

Three settings: without limits; with room for fewer jobs at each region than want it; and with price shocks, where the GPU
prices change by -40 to +60 % in half of the regions and everybody but *ours, stale* has the new prices.
"""

from __future__ import annotations

import argparse
import csv
import random
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks import skypilot_peer
from federation.adapters import prices
from federation.adapters.solver import HighsSolver
from federation.core import assignment, job, planner, program, site, units, world
from tests import builders

RATES = prices.default_rate_card()
OFFERS = prices.default_offer_card()
GPUS = 8
#: Regions whose H100 on demand the shipped card prices.
REGIONS = (
    *("ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-2", "ap-southeast-3", "ca-central-1"),
    *("eu-north-1", "eu-west-2", "us-east-1", "us-east-2", "us-west-1", "us-west-2"),
)
#: Where inputs lie: those, and regions that have data and no such GPUs.
DATA_REGIONS = (*REGIONS, "eu-central-1", "eu-west-1", "eu-west-3", "ap-southeast-1", "sa-east-1", "af-south-1", "eu-south-1")

GpuPrices = Mapping[str, int]
Places = Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Asked:
    """One job of the trace."""

    region: str
    input_bytes: int
    seconds: int


def trace(seed: int, count: int) -> list[Asked]:
    """Regions uniform, sizes and hours log-uniform."""
    rnd = random.Random(seed)
    return [
        Asked(
            region=rnd.choice(DATA_REGIONS),
            input_bytes=int(10 ** rnd.uniform(10, 13.7)),
            seconds=int(3600 * 0.3 * (25 / 0.3) ** rnd.random()),
        )
        for _ in range(count)
    ]


def shipped() -> dict[str, int]:
    """Micro-dollars for an hour of one H100, by region."""
    found = {}
    for region in REGIONS:
        offer = OFFERS.offer(f"aws:{region}").gpu("H100")
        assert offer is not None, region
        found[region] = offer.gpu_hour_micros
    return found


def shocked(seed: int, before: GpuPrices) -> dict[str, int]:
    """Half of the regions, with other prices."""
    rnd = random.Random(seed)
    moved = set(rnd.sample(REGIONS, len(REGIONS) // 2))
    return {name: round(micros * (rnd.uniform(0.6, 1.6) if name in moved else 1)) for name, micros in before.items()}


def cost(asked: Asked, at: str, gpus: GpuPrices) -> int:
    """What a job costs in a region, compute and egress, however it was chosen."""
    price = RATES.price(f"aws:{asked.region}", f"aws:{at}", 0, asked.input_bytes)
    assert price is not None, (asked.region, at)
    return units.divide_half_even(GPUS * gpus[at] * asked.seconds, 3600) + price.micros


def federation(asked: Asked, gpus: GpuPrices) -> tuple[job.JobRequest, world.World]:
    """The job and the regions as the planner sees them: a site in each region, and one more that only holds the input."""
    sites = [_site(name, gpus) for name in REGIONS]
    if asked.region not in REGIONS:
        sites.append(builders.site(asked.region, f"aws:{asked.region}", "X", has_compute=False))
    item = builders.world_input("data", [asked.region], asked.input_bytes)
    request = builders.request(["sales/data"], cpus=0, gpus=GPUS, gpu_type="H100", duration_seconds=asked.seconds)
    return request, builders.world(sites, [item], rates=RATES)


def _site(region: str, gpus: GpuPrices) -> site.Site:
    offer = site.Offer(gpus=(site.GpuOffer(type="H100", gpu_hour_micros=gpus[region], source="shipped"),))
    capacity = builders.capacity(192, "2TB", {"H100": GPUS})
    return builders.site(region, f"aws:{region}", "X", offer=offer, capacity=capacity)


def free(jobs: Sequence[Asked], choose: Callable[[Asked, Places], str], room: int) -> list[str]:
    """One job after the other, each where a policy wants it among the regions that still have room."""
    taken: Counter[str] = Counter()
    chosen = []
    for asked in jobs:
        at = choose(asked, [name for name in REGIONS if taken[name] < room])
        taken[at] += 1
        chosen.append(at)
    return chosen


def ours(jobs: Sequence[Asked], gpus: GpuPrices, room: int) -> list[str]:
    """The planner for each job, and the assignment for all where they may not fit."""
    plans = [planner.plan(*federation(asked, gpus)) for asked in jobs]
    if room >= len(jobs):
        return [plan.ranked[0].site for plan in plans]
    queue = [
        assignment.Queued(
            f"{i:06d}",
            tuple(assignment.Option(candidate.site, candidate.total_micros, (GPUS,)) for candidate in plan.ranked),
            4 * plan.ranked[-1].total_micros,
        )
        for i, plan in enumerate(plans)
    ]
    rooms = [assignment.Room(name, (GPUS * room,)) for name in REGIONS]
    found = dict(assignment.assign(queue, rooms, ("H100",)).placed)
    return [queue[i].options[found[f"{i:06d}"]].site for i in range(len(jobs))]


def optimum(jobs: Sequence[Asked], gpus: GpuPrices, room: int) -> tuple[int, int]:
    """The least total and its proven bound: by trying every region, or by HiGHS on the whole queue."""
    costs = [[cost(asked, name, gpus) for name in REGIONS] for asked in jobs]
    if room >= len(jobs):
        least = sum(min(row) for row in costs)
        return least, least
    count, sites = len(jobs), len(REGIONS)
    columns = list(range(count * sites))
    rows = [k // sites for k in columns] + [count + k % sites for k in columns]
    found = HighsSolver().minimize(
        program.assemble(
            costs=[micros for row in costs for micros in row],
            entries=(rows, columns * 2, [1.0] * (2 * len(columns))),
            row_lower=[1.0] * count + [0.0] * sites,
            row_upper=[1.0] * count + [float(room)] * sites,
        ),
        seconds=300,
    )
    return round(found.objective), round(found.bound)


def at_data(asked: Asked, open_: Places) -> str:
    """The input's own region, else the one to which its egress is least."""
    if asked.region in open_:
        return asked.region
    return min(open_, key=lambda name: (_egress(asked, name), name))


def _egress(asked: Asked, at: str) -> int:
    price = RATES.price(f"aws:{asked.region}", f"aws:{at}", 0, asked.input_bytes)
    assert price is not None
    return price.micros


def sky(jobs: Sequence[Asked], gpus: GpuPrices, room: int) -> list[str]:
    """SkyPilot's choice for each job in turn. As it does when a region fails, it is asked again without those that are full."""
    chosen: list[str] = []
    taken: Counter[str] = Counter()
    while len(chosen) < len(jobs):
        with _sky({name: gpus[name] for name in REGIONS if taken[name] < room}) as peer:
            left = [_job(asked) for asked in jobs[len(chosen) :]]
            for placed in _each(peer, left):
                if taken[placed] >= room:
                    break
                taken[placed] += 1
                chosen.append(placed)
    return chosen


def _each(peer: skypilot_peer.Peer, jobs: Sequence[skypilot_peer.Job]) -> Iterator[str]:
    for start in range(0, len(jobs), 10):
        for placed in peer.place(jobs[start : start + 10]):
            yield placed.region


def _job(asked: Asked) -> skypilot_peer.Job:
    return skypilot_peer.Job(
        cloud="aws",
        region=asked.region,
        input_gb=asked.input_bytes / 2**30,
        hours=asked.seconds / 3600,
        accelerators=f"H100:{GPUS}",
    )


@contextmanager
def _sky(gpus: GpuPrices) -> Iterator[skypilot_peer.Peer]:
    """SkyPilot on a catalog of one machine in each of these regions."""
    columns = ("provider", "region", "instance", "gpu", "gpu_count", "usd_per_hour", "usd_per_hour_spot")
    with tempfile.TemporaryDirectory(prefix="regret-") as folder:
        path = Path(folder) / "prices.csv"
        with path.open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(columns)
            rows.writerows(["aws", name, "p5.48xlarge", "H100", GPUS, GPUS * micros / 1e6, ""] for name, micros in gpus.items())
        with skypilot_peer.peer(prices=path) as peer:
            yield peer


def setting(title: str, jobs: Sequence[Asked], gpus: GpuPrices, room: int, *, before: GpuPrices | None, with_sky: bool) -> None:
    """All policies on one setting."""
    least, bound = optimum(jobs, gpus, room)
    ways: dict[str, Places] = {
        "ours": ours(jobs, gpus, room),
        "at the data": free(jobs, at_data, room),
        "cheapest GPU": free(jobs, lambda _, open_: min(open_, key=lambda name: (gpus[name], name)), room),
    }
    if before is not None:
        ways["ours, stale prices"] = ours(jobs, before, room)
    if with_sky:
        ways["SkyPilot"] = sky(jobs, gpus, room)
    print(f"{title}: {len(jobs)} jobs")
    print(f"  {'optimum':20} {units.usd(least):>18}" + ("" if bound == least else f"  proven bound {units.usd(bound)}"))
    for name, places in ways.items():
        paid = sum(cost(asked, at, gpus) for asked, at in zip(jobs, places, strict=True))
        print(f"  {name:20} {units.usd(paid):>18}  {paid / least - 1:+8.2%}")


def main() -> None:
    """The three settings, with their sizes as options."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=300)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--without-skypilot", action="store_true", help="do not install and run SkyPilot")
    options = parser.parse_args()
    jobs, gpus, with_sky = trace(options.seed, options.jobs), shipped(), not options.without_skypilot
    tight = -(-options.jobs * 11 // (10 * len(REGIONS)))  # ten percent more room than jobs
    setting("without limits", jobs, gpus, options.jobs, before=None, with_sky=with_sky)
    setting(f"room for {tight} jobs in each region", jobs, gpus, tight, before=None, with_sky=with_sky)
    after = shocked(options.seed, gpus)
    setting("price shocks, without limits", jobs, after, options.jobs, before=gpus, with_sky=with_sky)
    setting("price shocks, with that room", jobs, after, tight, before=gpus, with_sky=with_sky)


if __name__ == "__main__":
    main()
