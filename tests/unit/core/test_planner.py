"""Where a job runs: the planner against a dumb twin, its laws, and what it refuses."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, job, planner, ratecard, site, units
from federation.core.world import World
from tests import builders
from tests.builders import price_row

REGIONS = {"aws:a": "EU", "aws:b": "US", "gcp:c": "EU", "gcp:d": "US"}
RESIDENCIES = st.sampled_from([(), ("EU",), ("EU", "US")])


@st.composite
def rate_cards(draw) -> ratecard.RateCard:
    """Some links with one or two tiers, some without a price."""
    rows = []
    for source, destination in [
        ("aws:*", "aws:*"),
        ("aws:*", "internet"),
        ("gcp:*", "internet"),
        ("gcp:c", "gcp:d"),
        ("gcp:c", "internet"),
    ]:
        if draw(st.integers(0, 4)):
            low, high = (f"0.{draw(st.integers(0, 99)):02d}" for _ in range(2))
            if draw(st.booleans()):
                rows.append(price_row(source, destination, low, upto=draw(st.integers(1, 30)) * 10**9))
            rows.append(price_row(source, destination, high))
    return ratecard.RateCard(rows=tuple(rows))


@st.composite
def sites(draw, name: str) -> site.Site:
    """A site in one of four regions, in any state, with or without compute, prices and GPUs."""
    region = draw(st.sampled_from(sorted(REGIONS)))
    return builders.site(
        name,
        region,
        REGIONS[region],
        state=draw(st.sampled_from([site.SiteState.READY] * 4 + [site.SiteState.LOST, site.SiteState.DECLARED])),
        has_compute=draw(st.integers(0, 5)) > 0,
        compute_error=draw(st.sampled_from(["", "", "", "down"])),
        offer=builders.offer(
            draw(st.sampled_from([None, 10_000, 40_000, 40_000, 90_000])), {"H100": draw(st.integers(1, 9)) * 10**6}
        ),
        capacity=builders.capacity(draw(st.integers(1, 8)), "64GB", {"H100": draw(st.integers(0, 4))}),
    )


@st.composite
def worlds(draw) -> World:
    """Up to five sites and three inputs, with reservations and volumes of the month."""
    names = [f"s{i}" for i in range(draw(st.integers(1, 5)))]
    inputs = [
        builders.world_input(
            f"i{n}",
            draw(st.lists(st.sampled_from(names), unique=True, max_size=3)),
            draw(st.integers(0, 60)) * 10**9,
            draw(RESIDENCIES),
        )
        for n in range(draw(st.integers(0, 3)))
    ]
    scopes = [f"{region}~internet" for region in REGIONS]
    return builders.world(
        [draw(sites(name)) for name in names],
        inputs,
        rates=draw(rate_cards()),
        loads=tuple(builders.load(name, draw(st.integers(0, 8)), 0, {"H100": draw(st.integers(0, 2))}) for name in names),
        volumes=tuple(
            site.LinkVolume(scope=scope, month="2026-11", sent_bytes=draw(st.integers(0, 40)) * 10**9) for scope in scopes
        ),
    )


requests = st.builds(
    lambda cpus, gpus, seconds: builders.request(
        cpus=cpus, gpus=gpus, gpu_type="H100" if gpus else "", duration_seconds=seconds
    ),
    st.integers(0, 6),
    st.integers(0, 2),
    st.sampled_from([1, 600, 36_000]),
)


class Twin:
    """The planner again, as dumb as can be: one loop for each rule of the text, fractions throughout, nothing remembered."""

    def __init__(self, request: job.JobRequest, world: World) -> None:
        self.request, self.world = request, world

    def fits(self, at: site.Site) -> bool:
        wanted, load = self.request.resources, self.world.load(at.site)
        return (
            at.state is site.SiteState.READY
            and at.has_compute
            and not at.compute_error
            and all(not item.residency or at.jurisdiction in item.residency for item in self.world.inputs)
            and at.capacity.cpus - load.cpus >= wanted.cpus
            and (not wanted.gpus or dict(at.capacity.gpus)["H100"] - dict(load.gpus).get("H100", 0) >= wanted.gpus)
        )

    def compute(self, at: site.Site) -> int | None:
        wanted, offer = self.request.resources, at.offer
        if wanted.cpus and offer.cpu_hour_micros is None:
            return None
        hourly = Fraction(wanted.cpus * (offer.cpu_hour_micros or 0) + wanted.gpus * offer.gpu("H100").gpu_hour_micros)
        return units.round_half_even(hourly * self.request.duration_seconds / 3600)

    def egress(self, region: str) -> int | None:
        """All inputs, the largest first, each from where it is cheapest then."""
        sent = {volume.scope: volume.sent_bytes for volume in self.world.volumes}
        total = 0
        for item in sorted(self.world.inputs, key=lambda item: (-item.bytes, item.dataset)):
            ways = []
            for other in self.world.sites:
                if other.site in item.replica_sites and other.state is site.SiteState.READY:
                    scope = ratecard.scope(other.region, region)
                    tariff, before = self.world.rates.tariff(other.region, region), sent.get(scope, 0)
                    if tariff is not None and tariff.exact(before + item.bytes) is not None:
                        exact = tariff.exact(before + item.bytes) - tariff.exact(before)
                        ways.append((exact, other.region != region, other.site, scope, tariff.charge(before, item.bytes)))
            if not ways:
                return None
            _, leaves, _, scope, micros = min(ways)
            total += micros
            if leaves:
                sent[scope] = sent.get(scope, 0) + item.bytes
        return total

    def ranked(self) -> list[tuple[str, int, int]]:
        found = []
        for at in self.world.sites:
            compute, egress = self.compute(at), self.egress(at.region)
            if self.fits(at) and compute is not None and egress is not None:
                here = sum(item.bytes for item in self.world.inputs if at.site in item.replica_sites)
                everything = sum(item.bytes for item in self.world.inputs)
                found.append((compute + egress, -(here / everything if everything else 1.0), at.site, compute, egress))
        return [(name, compute, egress) for _, _, name, compute, egress in sorted(found)]


@given(requests, worlds())
def test_the_planner_answers_as_its_dumb_twin(request_, world):
    """The same sites in the same order at the same prices, on any small world."""
    plan = planner.plan(request_, world)
    assert [(c.site, c.compute_micros, c.egress_micros) for c in plan.ranked] == Twin(request_, world).ranked()


@given(requests, worlds())
def test_every_site_is_ranked_or_rejected(request_, world):
    """Nothing disappears, nothing is told twice."""
    plan = planner.plan(request_, world)
    told = [candidate.site for candidate in plan.ranked] + [rejection.site for rejection in plan.rejections]
    assert sorted(told) == sorted(row.site for row in world.sites)


@given(requests, worlds(), st.randoms(use_true_random=False))
def test_the_order_of_sites_and_inputs_does_not_matter(request_, world, random):
    """Shuffled, the same world gives the same plan, its inputs in their new order."""
    mixed = replace(
        world,
        sites=tuple(random.sample(world.sites, len(world.sites))),
        inputs=tuple(random.sample(world.inputs, len(world.inputs))),
    )
    plan, other = planner.plan(request_, world), planner.plan(request_, mixed)

    def told(plan: job.Plan) -> list[job.Candidate]:
        return [replace(c, inputs=tuple(sorted(c.inputs, key=lambda item: item.alias))) for c in plan.ranked]

    assert told(plan) == told(other)
    assert [(r.site, r.reason) for r in plan.rejections] == [(r.site, r.reason) for r in other.rejections]
    assert (plan.baseline_site, plan.baseline_egress_micros) == (other.baseline_site, other.baseline_egress_micros)


@given(requests, worlds())
def test_a_plan_adds_up(request_, world):
    """Inputs sum to the candidate's egress, baselines to the plan's; what is local is free; every source can be read."""
    decision = planner.decide(request_, world)
    plan = decision.plan()
    ready = {row.site: row for row in world.sites if row.state is site.SiteState.READY}
    assert not any(candidate.inputs for candidate in plan.ranked[2:])  # those of choice and runner-up are told
    for candidate in map(decision.told, plan.ranked):
        assert candidate.egress_micros == sum(item.egress_micros for item in candidate.inputs)
        assert [item.alias for item in candidate.inputs] == [item.alias for item in world.inputs]
        baselines = [item.baseline_micros for item in candidate.inputs]
        assert plan.baseline_egress_micros == (None if None in baselines or not plan.baseline_site else sum(baselines))
        for item, seen in zip(candidate.inputs, world.inputs, strict=True):
            assert item.source_site in seen.replica_sites
            assert ready[item.source_site].region == item.source_region
            assert (item.way is job.Way.LOCAL) == (item.source_site == candidate.site) == (candidate.site in seen.replica_sites)
            assert item.source_region != item.destination_region or item.egress_micros == 0


@given(requests, worlds())
def test_a_choice_costs_no_more_than_the_rule_of_thumb_where_that_is_allowed(request_, world):
    """Bringing everything to the cheapest compute is one of the candidates, unless a filter took it out."""
    plan = planner.plan(request_, world)
    thumb = next((c for c in plan.ranked if c.site == plan.baseline_site), None)
    if thumb is not None:
        assert plan.choice.total_micros <= thumb.total_micros
        assert thumb.egress_micros == plan.baseline_egress_micros


@given(worlds().filter(lambda world: world.inputs))
def test_without_tiers_each_input_goes_the_cheapest_way_of_all(world):
    """Where prices have one tier, no choice of replicas for all inputs together is cheaper (but for the rounding)."""
    flat = tuple(replace(row, upto_bytes=None) for row in world.rates.rows if row.upto_bytes is None)
    world = replace(world, rates=ratecard.RateCard(rows=flat), volumes=())
    regions = {row.site: row.region for row in world.sites if row.state is site.SiteState.READY}
    for candidate in planner.plan(builders.request(), world).ranked:
        totals = []
        for choice in product(*([regions[s] for s in item.replica_sites if s in regions] for item in world.inputs)):
            prices = [world.rates.price(r, candidate.region, 0, i.bytes) for r, i in zip(choice, world.inputs, strict=True)]
            if None not in prices:
                totals.append(sum(price.micros for price in prices))
        assert abs(candidate.egress_micros - min(totals)) <= len(world.inputs)


def test_contradicting_residencies_are_refused_and_both_named():
    """An EU-only and a US-only input can meet nowhere; the third, which is innocent, is not named."""
    inputs = [
        builders.world_input("a", residency=("EU",)),
        builders.world_input("b"),
        builders.world_input("c", residency=("US",)),
    ]
    with pytest.raises(errors.InvalidArgument) as caught:
        planner.plan(builders.request(), builders.world(None, inputs))
    assert caught.value.reason == "RESIDENCY_CONTRADICTION"
    assert caught.value.metadata == {"input sales/a": "EU", "input sales/c": "US"}


def test_three_residencies_may_contradict_only_together():
    """Each two have a jurisdiction in common, all three have none: all are named."""
    pairs = [("EU", "US"), ("US", "CH"), ("CH", "EU")]
    inputs = [builders.world_input(f"i{n}", residency=pair) for n, pair in enumerate(pairs)]
    with pytest.raises(errors.InvalidArgument) as caught:
        planner.plan(builders.request(), builders.world(None, inputs))
    assert len(caught.value.metadata) == 3


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (builders.request(cpus=-1), "RESOURCES_INVALID"),
        (builders.request(gpus=10**9), "RESOURCES_INVALID"),
        (builders.request(memory_bytes=-1), "RESOURCES_INVALID"),
        (builders.request(duration_seconds=-1), "DURATION_INVALID"),
        (builders.request(duration_seconds=10**12), "DURATION_INVALID"),
        (builders.request(kind=job.JobKind.INGEST), "SITE_REQUIRED"),
        (builders.request(inputs=(), sites=()), ""),
    ],
)
def test_absurd_requests_are_refused(request_: job.JobRequest, reason: str):
    """What no site could answer is an error of the request, with the field's name."""
    if not reason:
        planner.plan(request_, builders.world())
        return
    with pytest.raises(errors.InvalidArgument) as caught:
        planner.plan(request_, builders.world())
    assert caught.value.reason == reason
    assert caught.value.violations


@pytest.mark.parametrize("size", [-1, 2**61])
def test_absurd_sizes_are_refused(size: int):
    """Of what the catalog holds and of what the request assumes."""
    with pytest.raises(errors.InvalidArgument, match="bytes is"):
        planner.plan(builders.request(), builders.world(None, [builders.world_input(total=size)]))
    spec = job.InputSpec(alias="flights", dataset="sales/flights", assumed_bytes=size)
    with pytest.raises(errors.InvalidArgument, match="assumed_bytes is"):
        planner.plan(replace(builders.request(), inputs=(spec,)), builders.world())


def test_an_assumed_size_is_planned_with_and_named():
    """`--assume-size` shows what a terabyte would cost; the plan says that it was assumed."""
    spec = job.InputSpec(alias="flights", dataset="sales/flights", assumed_bytes=10**12)
    plan = planner.plan(replace(builders.request(sites=("us-1",)), inputs=(spec,)), builders.world())
    assert plan.choice.inputs[0].bytes == 10**12
    assert plan.choice.egress_micros == 20_000_000
    assert plan.notes == ("flights: 1.0 TB assumed, sales/flights@1 has 1.0 GB", "a run of 600 s is assumed, the default")


def test_a_site_of_the_same_region_is_read_from_for_nothing():
    """No replica at the site, one at its neighbour: remote, at price 0, without a row in the rate card."""
    here, there = builders.site("eu-1"), builders.site("eu-9", "aws:eu-central-1", "EU", has_compute=False)
    world = builders.world([here, there], [builders.world_input(at=("eu-9",))], rates=ratecard.NO_PRICES)
    (item,) = planner.plan(builders.request(), world).choice.inputs
    assert (item.way, item.source_site, item.egress_micros) == (job.Way.REMOTE, "eu-9", 0)


def test_the_price_of_a_forbidden_site_is_not_even_looked_up():
    """Its rejection is the same whether its price is known or not."""
    inputs = [builders.world_input(residency=("EU",))]
    priced, unpriced = (
        planner.plan(builders.request(), builders.world([builders.site("us-1", offer=offer)], inputs))
        for offer in (builders.offer("0.01"), builders.offer(None))
    )
    assert priced.rejections == unpriced.rejections
    assert [rejection.reason for rejection in priced.rejections] == ["RESIDENCY_DENIED"]


def test_an_input_that_is_one_dataset_twice_is_priced_twice():
    """Two aliases of one dataset are two reads."""
    inputs = [builders.world_input("a", dataset="sales/x"), builders.world_input("b", dataset="sales/x")]
    plan = planner.plan(builders.request(sites=("us-1",)), builders.world(None, inputs))
    assert plan.choice.egress_micros == 40_000
