"""The planner against everything: on small worlds each way, each GPU option and each relay is tried, in fractions."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import timedelta
from fractions import Fraction
from itertools import product
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.core import cost, filters, job, planner, policy, ratecard, relays, site, transfer, waiting
from federation.core.world import Occupation, World
from tests import builders
from tests.builders import GB, NOW, price_row

PLACES = {"aws:a": "EU", "aws:b": "US", "gcp:c": "EU", "gcp:d": "US"}
LINKS = [
    ("aws:*", "aws:*"),
    ("aws:a", "internet"),
    ("aws:b", "internet"),
    ("gcp:*", "internet"),
    ("gcp:*", "gcp:*"),
    ("gcp:c", "internet"),
]
NAMES = ["s0", "s1", "s2", "s3"]


class Way(NamedTuple):
    """A way as the brute force tries it."""

    how: job.Way
    legs: tuple[tuple[site.Site, site.Site, int], ...]
    storage: Fraction
    read: tuple[str, str, int] | None
    staged: tuple[tuple[str, str, int], ...]
    staged_seconds: int = 0


class BruteForce:
    """Tries everything, remembers nothing, and adds up fractions."""

    def __init__(self, request: job.JobRequest, world: World) -> None:
        self.request, self.world = request, world
        self.sites = {row.site: row for row in world.sites}
        self.speeds = {(row.source_region, row.destination_region): row.bytes_per_second for row in world.speeds}

    def read_bytes(self, item) -> int:
        spec = next(spec for spec in self.request.inputs if spec.alias == item.alias)
        return cost.units.divide_half_even(item.bytes * (spec.read_percent or 100), 100)

    def ways(self, item, at: site.Site, keep: int) -> list[Way]:
        """Every way that the text allows."""
        if at.site in item.replica_sites:
            return [Way(job.Way.LOCAL, (), Fraction(0), None, ())]
        part, whole = self.read_bytes(item), item.bytes
        found = []
        for moving in item.arriving:
            if moving.destination_site == at.site and self.sites[moving.source_site].state is site.SiteState.READY:
                speed = self.speeds.get((self.sites[moving.source_site].region, at.region))
                left = -(-(whole - moving.bytes_done) // speed) if speed else 0
                found.append(Way(job.Way.COPY, (), Fraction(0), None, (), left))
        ready = [self.sites[name] for name in item.replica_sites if self.sites[name].state is site.SiteState.READY]
        for source in ready:
            found.append(Way(job.Way.REMOTE, ((source, at, part),), Fraction(0), (source.region, at.region, part), ()))
            if self.request.no_copies:
                continue
            if at.offer.storage_gb_month_micros is not None:
                legs = ((source, at, whole),)
                found.append(Way(job.Way.COPY, legs, self.storing(whole, keep, at), None, ((source.region, at.region, whole),)))
            for over in self.world.sites:
                third = len({source.region, over.region, at.region}) == 3
                allowed = policy.residency_allows(item.residency, over.jurisdiction)
                keeps = over.state is site.SiteState.READY and over.offer.storage_gb_month_micros is not None
                big = whole >= relays.BYTES_MIN
                if big and third and allowed and keeps and over.site not in item.replica_sites:
                    first, paid = (source, over, whole), self.storing(whole, keep, over)
                    found.append(Way(job.Way.REMOTE, (first, (over, at, part)), paid, None, ()))
                    if at.offer.storage_gb_month_micros is not None:
                        both = paid + self.storing(whole, keep, at)
                        found.append(Way(job.Way.COPY, (first, (over, at, whole)), both, None, ()))
        return found

    @staticmethod
    def storing(volume: int, seconds: int, at: site.Site) -> Fraction:
        return Fraction(volume * seconds * at.offer.storage_gb_month_micros, GB * 730 * 3600)

    def egress(self, legs) -> Fraction | None:
        """What legs cost together, after what their scopes have sent and what is reserved."""
        sent: dict[str, tuple[ratecard.Tariff, int]] = {}
        for source, to, volume in legs:
            if source.region != to.region:
                tariff = self.world.rates.tariff(source.region, to.region)
                if tariff is None:
                    return None
                scope = ratecard.scope(source.region, to.region, source.account)
                sent[scope] = (tariff, sent.get(scope, (tariff, 0))[1] + volume)
        total = Fraction(0)
        for scope, (tariff, volume) in sent.items():
            begun = sum(row.sent_bytes for row in self.world.volumes if row.scope == scope)
            begun += sum(row.reserved_bytes for row in self.world.reservations if row.scope == scope)
            before, after = tariff.exact(begun), tariff.exact(begun + volume)
            if before is None or after is None:
                return None
            total += after - before
        return total

    def times(self, ways) -> tuple[int, int]:
        """Seconds of reading and of staging: links are shared, their volumes add up."""
        loads: dict[tuple[bool, str, str], int] = {}
        for way in ways:
            for staged, legs in ((False, (way.read,) if way.read else ()), (True, way.staged)):
                for origin, to, volume in legs:
                    loads[staged, origin, to] = loads.get((staged, origin, to), 0) + volume

        def seconds(staged: bool, leg) -> int:
            speed = self.speeds.get(leg[:2])
            return -(-loads[staged, leg[0], leg[1]] // speed) if speed else 0

        reading = max((seconds(False, way.read) for way in ways if way.read), default=0)
        staging = max((way.staged_seconds + sum(seconds(True, leg) for leg in way.staged) for way in ways), default=0)
        return reading, staging

    def computing(self, at: site.Site) -> list[tuple[Fraction, int, float, int]]:
        """(price of a second, seconds, preemptions an hour, wait) of each type and market."""
        wanted, offer = self.request.resources, at.offer
        if wanted.cpus and offer.cpu_hour_micros is None:
            return []
        base = Fraction(wanted.cpus * (offer.cpu_hour_micros or 0))
        base += Fraction(wanted.memory_bytes * (offer.memory_gb_hour_micros or 0), GB)
        types = [wanted.gpu_type] if wanted.gpu_type else [name for name, count in at.capacity.gpus if count >= wanted.gpus]
        found = []
        for name in types if wanted.gpus else [""]:
            gpu = offer.gpu(name) if name else None
            wait = waiting.seconds(replace(wanted, gpu_type=name), at, self.world)
            if (wanted.gpus and gpu is None) or wait is None or (wait and not self.timed):
                continue
            if gpu is None or self.request.spot is not job.Spot.ONLY:
                dear = base + (wanted.gpus * gpu.gpu_hour_micros if gpu else 0)
                found.append((dear / 3600, self.request.duration_seconds, 0.0, wait))
            if gpu and self.request.spot is not job.Spot.NEVER and gpu.spot_gpu_hour_micros is not None:
                cheap = base + wanted.gpus * gpu.spot_gpu_hour_micros
                found.append((cheap / 3600, self.request.duration_seconds, gpu.preemptions_per_hour, wait))
        return found

    @property
    def timed(self) -> bool:
        return bool(self.request.deadline_seconds) or self.request.hour_value_micros is not None

    def clock(self, options, reading: int, staging: int) -> Fraction | None:
        """The least that compute and time cost for so much reading and staging."""
        costs = []
        for price, seconds, often, wait in options:
            run = max(seconds, reading)
            if often:
                rate = often / 3600
                run = math.ceil(math.expm1(rate * run) / rate)
            whole = wait + staging + run
            if not self.request.deadline_seconds or whole <= self.request.deadline_seconds:
                costs.append(price * run + Fraction((self.request.hour_value_micros or 0) * whole, 3600))
        return min(costs, default=None)

    def site(self, at: site.Site) -> Fraction | None:
        """The least objective at a site; None where it cannot be."""
        refused = filters.reject(self.request, at, self.world)
        if refused is not None and not (self.timed and refused.resolvable and refused.reason in filters.EXHAUSTED):
            return None
        options = self.computing(at)
        runs = [
            seconds if not often else math.ceil(math.expm1(often / 3600 * seconds) / (often / 3600))
            for _, seconds, often, _ in options
        ]
        keep = max(1, math.ceil(max(runs, default=0) / 3600)) * 3600
        best = None
        for ways in product(*(self.ways(item, at, keep) for item in self.world.inputs)):
            egress = self.egress([leg for way in ways for leg in way.legs])
            timing = self.clock(options, *self.times(ways)) if egress is not None else None
            if egress is not None and timing is not None:
                total = egress + timing + sum(way.storage for way in ways)
                best = total if best is None or total < best else best
        return best

    def told(self, candidate: job.Candidate) -> Fraction | None:
        """The objective of what a plan tells of a site, added up anew from its inputs."""
        at, ways = self.sites[candidate.site], []
        for plan, item in zip(candidate.inputs, self.world.inputs, strict=True):
            keep = plan.keep_seconds
            if plan.way is job.Way.LOCAL:
                ways.append(Way(plan.way, (), Fraction(0), None, ()))
                continue
            source = self.sites[plan.source_site]
            if plan.transfer:
                ways.append(Way(plan.way, (), Fraction(0), None, (), plan.seconds))
                continue
            stored = self.storing(item.bytes, keep, at) if plan.way is job.Way.COPY else Fraction(0)
            leg = (source.region, at.region, plan.bytes)
            if plan.via_site:
                over = self.sites[plan.via_site]
                legs = ((source, over, item.bytes), (over, at, plan.bytes))
                ways.append(Way(plan.way, legs, stored + self.storing(item.bytes, keep, over), None, ()))
            elif plan.way is job.Way.COPY:
                ways.append(Way(plan.way, ((source, at, plan.bytes),), stored, None, (leg,)))
            else:
                ways.append(Way(plan.way, ((source, at, plan.bytes),), stored, leg, ()))
        timing = self.clock(self.computing(at), *self.times(ways))
        egress = self.egress([leg for way in ways for leg in way.legs])
        return egress + timing + sum(way.storage for way in ways)


@st.composite
def rate_cards(draw) -> ratecard.RateCard:
    """Links of up to three tiers, rising and falling, with a free allowance, a last bound, another GB, or no price at all."""
    rows = []
    for source, to in LINKS:
        gb = draw(st.sampled_from([GB, 2**30]))
        edges = sorted(draw(st.sets(st.integers(1, 40), max_size=2)))
        edges = [*edges, None] if draw(st.integers(0, 6)) else edges
        if draw(st.integers(0, 7)):
            rows += [
                price_row(source, to, f"0.{draw(st.sampled_from([0, 0, 1, 2, 5, 9])):02d}", upto=edge and edge * gb, gb=gb)
                for edge in edges
            ]
    return ratecard.RateCard(rows=tuple(rows))


@st.composite
def sites(draw, name: str, places: list[str]) -> site.Site:
    """A site with or without room, GPUs of two types, a spot market and a price of storage."""
    region = draw(st.sampled_from(places))
    spot = draw(st.sampled_from([None, 500_000]))
    gpus = tuple(
        site.GpuOffer(
            type=name,
            gpu_hour_micros=draw(st.integers(1, 4)) * 10**6,
            source="test",
            spot_gpu_hour_micros=spot,
            preemptions_per_hour=draw(st.sampled_from([0.0, 0.5])),
        )
        for name in ("H100", "T4")
    )
    return builders.site(
        name,
        region,
        PLACES[region],
        account=draw(st.sampled_from(["", "", "lab"])),
        state=draw(st.sampled_from([site.SiteState.READY] * 8 + [site.SiteState.LOST])),
        offer=builders.offer(
            draw(st.sampled_from([10_000, 40_000, 400_000])),
            gpus=gpus,
            storage_gb_month_micros=draw(st.sampled_from([None, 0, 0, 23_000])),
            memory_gb_hour_micros=draw(st.sampled_from([None, 5_000])),
        ),
        capacity=replace(
            builders.capacity(4, "64GB", {"H100": draw(st.integers(0, 4)), "T4": 2}), used_cpus=draw(st.integers(0, 1))
        ),
    )


@st.composite
def cases(draw, places=tuple(PLACES), inputs_max: int = 2, measured: bool = False) -> tuple[job.JobRequest, World]:
    """A request and a small world."""
    names = NAMES[: draw(st.integers(1, len(NAMES)))]
    rows = [draw(sites(name, list(places))) for name in names]
    aliases = [f"i{n}" for n in range(draw(st.integers(1, inputs_max)))]
    inputs = []
    for alias in aliases:
        at = draw(st.lists(st.sampled_from(names), unique=True, min_size=draw(st.sampled_from([0, 1, 1, 1])), max_size=3))
        arriving = ()
        if at and draw(st.integers(0, 5)) == 0:
            arriving = (
                transfer.Transfer(
                    transfer=f"t-{alias}",
                    dataset=f"sales/{alias}",
                    version=1,
                    source_site=at[0],
                    destination_site=draw(st.sampled_from(names)),
                ),
            )
        residency = draw(st.sampled_from([(), (), (), (), ("EU",), ("EU", "US")]))
        inputs.append(builders.world_input(alias, at, draw(st.integers(0, 30)) * GB, residency, arriving=arriving))
    requested = builders.request(
        cpus=draw(st.integers(0, 3)),
        gpus=draw(st.sampled_from([0, 0, 1, 2])),
        gpu_type=draw(st.sampled_from(["", "H100"])),
        memory_bytes=draw(st.sampled_from([0, 8 * GB])),
        duration_seconds=draw(st.sampled_from([60, 3600, 40_000])),
        spot=draw(st.sampled_from(list(job.Spot))),
        no_copies=draw(st.integers(0, 3)) == 0,
        deadline_seconds=draw(st.sampled_from([0, 0, 0, 5000])),
        hour_value_micros=draw(st.sampled_from([None, 0, 2_000_000])),
    )
    specs = tuple(
        job.InputSpec(alias=alias, dataset=f"sales/{alias}", read_percent=draw(st.sampled_from([0, 30, 250])))
        for alias in aliases
    )
    scopes = [f"{account}{region}~internet" for region in PLACES for account in ("", "lab/")]
    links = list(product(places, places)) if measured else []
    return replace(requested, inputs=specs), builders.world(
        rows,
        inputs,
        rates=draw(rate_cards()),
        loads=tuple(builders.load(name, draw(st.integers(0, 3)), 0, {"H100": draw(st.integers(0, 2))}) for name in names),
        volumes=tuple(site.LinkVolume(scope=s, month="2026-11", sent_bytes=draw(st.integers(0, 30)) * GB) for s in scopes[:4]),
        reservations=tuple(site.LinkReservation(scope=s, reserved_bytes=draw(st.integers(0, 9)) * GB) for s in scopes[2:6]),
        speeds=tuple(
            site.LinkSpeed(source_region=a, destination_region=b, bytes_per_second=draw(st.sampled_from([10**6, 10**7, 10**9])))
            for a, b in links
            if draw(st.booleans())
        ),
        occupations=tuple(
            Occupation(
                site=name,
                run=f"r-{name}",
                resources=job.Resources(cpus=3, gpus=2, gpu_type="H100"),
                end_time=NOW + timedelta(seconds=draw(st.integers(-10, 4000))),
            )
            for name in names
        ),
    )


def agrees(request: job.JobRequest, world: World) -> None:
    """The same sites, none dearer than the best of everything, and what is told of the first two is that best, exactly."""
    brute, plan = BruteForce(request, world), planner.plan(request, world)
    best = {row.site: total for row in world.sites if (total := brute.site(row)) is not None}
    assert {candidate.site for candidate in plan.ranked} == set(best)
    for candidate in plan.ranked:
        # Each part is rounded once.
        assert abs(candidate.objective_micros - best[candidate.site]) <= 3 + 2 * len(world.inputs)
    for candidate in plan.ranked[:2]:
        assert brute.told(candidate) == best[candidate.site]
        assert candidate.egress_micros == sum(item.egress_micros for item in candidate.inputs)
        assert candidate.storage_micros == sum(item.storage_micros for item in candidate.inputs)
    objectives = [candidate.objective_micros for candidate in plan.ranked]
    assert objectives == sorted(objectives)


@settings(deadline=None, max_examples=150)
@given(cases())
def test_the_plan_is_the_best_of_everything(case):
    """Every source, way, relay and GPU option at every site, under shared tiers, accounts, reservations and waits."""
    agrees(*case)


@settings(deadline=None, max_examples=150)
@given(cases(places=("aws:a", "gcp:c"), measured=True))
def test_the_plan_is_the_best_of_everything_when_links_take_time(case):
    """With measured links a slow read keeps compute waiting, so that a copy may pay; deadlines count it."""
    agrees(*case)


@settings(deadline=None, max_examples=60)
@given(cases(places=("aws:a", "aws:b", "gcp:c"), inputs_max=4).map(lambda case: (replace(case[0], no_copies=True), case[1])))
def test_replicas_are_chosen_together_where_inputs_share_tiers(case):
    """More inputs over few links: the greedy choice, the largest first, is often not the best."""
    agrees(*case)
