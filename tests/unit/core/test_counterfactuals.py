"""What would have made other sites win: each answer is carried out, and the site does win, at just that saving."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from federation.core import job, planner, ratecard, site, units
from federation.core.budget import Cap
from federation.core.quota import NamespaceUsage
from federation.core.world import Budget, World
from tests import builders
from tests.unit.core.test_planner_exact import cases


def changed(world: World, told: job.Counterfactual, choice: job.Plan) -> World:
    """The world with the one change that a counterfactual names."""
    at = next(row for row in world.sites if row.site == told.site)
    if told.change == "REPLICA_THERE":
        inputs = tuple(
            replace(item, replica_sites=(*item.replica_sites, told.site))
            if f"{item.dataset}@{item.version}" == told.subject
            else item
            for item in world.inputs
        )
        return replace(world, inputs=inputs)
    if told.change == "CHEAPER_EGRESS":
        return replace(world, rates=cheaper(world.rates, told))
    other = widened(at, told.subject) if told.change == "MORE_CAPACITY" else discounted(at, told, choice)
    return replace(world, sites=tuple(other if row is at else row for row in world.sites))


def widened(at: site.Site, subject: str) -> site.Site:
    """`2 H100`, `8 CPUs` or `1000 bytes of memory` more."""
    number, _, what = subject.partition(" ")
    capacity, count = at.capacity, int(number)
    if what == "CPUs":
        return replace(at, capacity=replace(capacity, cpus=capacity.cpus + count))
    if what == "bytes of memory":
        return replace(at, capacity=replace(capacity, memory_bytes=capacity.memory_bytes + count))
    gpus = dict(capacity.gpus) | {what: capacity.gpu_count(what) + count}
    return replace(at, capacity=replace(capacity, gpus=tuple(gpus.items())))


def discounted(at: site.Site, told: job.Counterfactual, plan: job.Plan) -> site.Site:
    """What the site computes on, so much cheaper an hour."""
    loser = next(candidate for candidate in plan.ranked if candidate.site == told.site)
    less = units.micros(told.subject.replace("$", "").replace(",", ""))
    if not loser.gpu_type:
        return replace(at, offer=replace(at.offer, cpu_hour_micros=at.offer.cpu_hour_micros - less))
    price = "spot_gpu_hour_micros" if loser.spot else "gpu_hour_micros"
    gpus = tuple(
        replace(gpu, **{price: getattr(gpu, price) - less}) if gpu.type == loser.gpu_type else gpu for gpu in at.offer.gpus
    )
    return replace(at, offer=replace(at.offer, gpus=gpus))


def cheaper(card: ratecard.RateCard, told: job.Counterfactual) -> ratecard.RateCard:
    """The card with a newer row for that one link."""
    origin, _, region = told.subject.partition(" to ")
    less = units.micros(told.detail.rpartition(" were ")[2].partition(" cheaper")[0].replace("$", "").replace(",", ""))
    gb_micros, gb_bytes = card.tariff(origin, region).listed[0]
    row = builders.price_row(origin, region, "0", gb=gb_bytes, as_of="2099")
    return ratecard.RateCard(rows=(*card.rows, replace(row, gb_micros=gb_micros - less)))


def holds(request: job.JobRequest, world: World) -> job.Plan:
    """Carries out every counterfactual of a plan."""
    plan = planner.plan(request, world)
    assert len(plan.counterfactuals) <= 10
    for told in plan.counterfactuals:
        other = planner.plan(request, changed(world, told, plan))
        assert other.choice.site == told.site, told
        assert other.choice.objective_micros == told.objective_micros, told
        if plan.choice is None:
            assert told.saving_micros == 0
            continue
        assert plan.choice.objective_micros - told.objective_micros == told.saving_micros, told
        assert told.saving_micros > 0
    return plan


@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
@given(cases(inputs_max=3))
def test_what_is_told_comes_true(case):
    """In the world with the change the site is the choice, and the objective falls by the saving, to the micro-dollar."""
    holds(*case)


@settings(deadline=None, max_examples=150)
@given(st.lists(st.tuples(st.integers(1, 99), st.integers(0, 9)), min_size=2, max_size=5), st.integers(1, 200), st.booleans())
def test_everyday_losers_are_told_what_they_lacked(hours, gigabytes, full):
    """Without storage prices, deadlines or tiers: replicas, capacity, hours and links, all of them exact."""
    places = ["aws:a", "aws:b", "aws:c", "gcp:d", "gcp:e"]
    rows = [
        builders.site(f"s{n}", places[n], offer=builders.offer(cents * 10_000, {"H100": "2"}), capacity=builders.capacity(4))
        for n, (cents, _) in enumerate(hours)
    ]
    inputs = [builders.world_input("a", ["s0"], gigabytes * 10**9), builders.world_input("b", ["s1"], 10**9)]
    rates = ratecard.RateCard(
        rows=tuple(
            builders.price_row(*row)
            for row in [("aws:*", "aws:*", "0.02"), ("aws:*", "internet", "0.09"), ("gcp:*", "internet", "0.12")]
        )
    )
    loads = tuple(builders.load(f"s{n}", cpus) for n, (_, cpus) in enumerate(hours) if full and cpus > 3)
    holds(builders.request(cpus=2, duration_seconds=36_000), builders.world(rows, inputs, rates=rates, loads=loads))


@settings(deadline=None, max_examples=100)
@given(
    st.lists(st.tuples(st.integers(1, 20), st.sampled_from([0, 0, 3])), min_size=2, max_size=5),
    st.lists(st.tuples(st.integers(0, 4), st.integers(0, 30)), min_size=1, max_size=3),
    st.sampled_from(["all", "namespaces/sales", "datasets/sales/i0", "links/aws:a~aws:b", "quota"]),
    st.sampled_from([1, 100_000, 1_000_000]),
)
def test_what_is_told_comes_true_under_budgets(hours, volumes, scope, limit):
    """Sites that money has set aside are let in by a replica or a cheaper link; one with more room may still be stopped."""
    places = ["aws:a", "aws:b", "aws:a", "aws:b", "gcp:d"]
    rows = [builders.site(f"s{n}", places[n], offer=builders.offer(tenths * 1000)) for n, (tenths, _) in enumerate(hours)]
    rows = [replace(row, capacity=builders.capacity(4)) for row in rows]
    inputs = [
        builders.world_input(f"i{n}", [f"s{at % len(rows)}"], gigabytes * 10**9) for n, (at, gigabytes) in enumerate(volumes)
    ]
    caps = () if scope == "quota" else (Cap(budget="b", scope=scope, limit_micros=limit),)
    quota = Budget(egress_micros_quota=limit, usage=NamespaceUsage(namespace="sales", month="2026-11"))
    loads = tuple(builders.load(f"s{n}", cpus) for n, (_, cpus) in enumerate(hours))
    links = [("aws:*", "aws:*", "0.02"), ("aws:*", "internet", "0.09"), ("gcp:*", "internet", "0.12")]
    rates = ratecard.RateCard(rows=tuple(builders.price_row(*row) for row in links))
    world = builders.world(rows, inputs, rates=rates, loads=loads, caps=caps, budget=quota if scope == "quota" else None)
    holds(builders.request(cpus=2, duration_seconds=36_000), world)


def test_a_replica_that_lets_in_a_cheaper_site_makes_no_other_win():
    """The budget of a link has set the cheapest aside. From a replica elsewhere it could read over another link, and win."""
    places = [("s0", "aws:a", "0.41"), ("s1", "aws:b", "0.40"), ("s2", "vultr:c", "0.01")]
    rows = [builders.site(name, region, offer=builders.offer(usd)) for name, region, usd in places]
    request, inputs = builders.request(duration_seconds=36_000), [builders.world_input(at=["s0"], total="10GB")]
    told = holds(request, builders.world(rows[:2], inputs)).counterfactuals
    assert ("s1", "REPLICA_THERE") in [(row.site, row.change) for row in told]
    cap = Cap(budget="b", scope="links/aws:a~vultr:c", limit_micros=1)
    told = holds(request, builders.world(rows, inputs, caps=(cap,))).counterfactuals
    assert [row.site for row in told if row.change == "REPLICA_THERE"] == ["s2"]


@pytest.mark.parametrize(
    ("terms", "refused"),
    [
        ({"deadline_seconds": 37_000}, "DEADLINE_MISSED"),
        ({"hour_value_micros": 10_000}, ""),
        ({"carbon_tonne_micros": 1_000_000}, ""),
        ({}, "PRICE_UNKNOWN"),
    ],
)
def test_a_replica_is_told_whatever_counts_beside_money(terms, refused):
    """100 GB lie at the dear site, further from the cheap one than the run lasts: with a replica there it would win."""
    near, cheap = (
        builders.site(name, offer=replace(builders.offer(usd), carbon_g_per_kwh=100, cpu_watts=10))
        for name, usd in (("eu-1", "0.05"), ("us-1", "0.01"))
    )
    slow = site.LinkSpeed(source_region=near.region, destination_region=cheap.region, bytes_per_second=10**11 // 40_000)
    rates = ratecard.RateCard(rows=()) if refused == "PRICE_UNKNOWN" else builders.rates()
    world = builders.world([near, cheap], [builders.world_input(total="100GB")], speeds=(slow,), rates=rates)
    plan = holds(builders.request(duration_seconds=36_000, **terms), world)
    assert [row.reason for row in plan.rejections] == ([refused] if refused else [])
    (told,) = [row for row in plan.counterfactuals if row.change == "REPLICA_THERE"]
    assert (told.site, told.subject) == ("us-1", "sales/flights@1")


def test_a_full_site_that_a_budget_would_stop_is_not_told_to_lack_room():
    """Its egress is more than the budget has left: with all the room there could be it would not be taken."""
    near, full = builders.site("eu-1", offer=builders.offer("0.90")), builders.site("us-1", offer=builders.offer("0.01"))
    world = builders.world([near, full], [builders.world_input(total="10GB")], loads=(builders.load("us-1", 16),))
    request = builders.request(duration_seconds=36_000)
    assert [told.change for told in holds(request, world).counterfactuals] == ["MORE_CAPACITY"]
    assert not holds(request, replace(world, caps=(Cap(budget="b", scope="all", limit_micros=1),))).counterfactuals


def test_a_replica_would_have_made_the_cheaper_site_win():
    """Flights lie at the dear site; a replica beside the cheap compute saves the difference."""
    near, cheap = builders.site("eu-1", offer=builders.offer("0.05")), builders.site("us-1", offer=builders.offer("0.01"))
    plan = holds(
        builders.request(duration_seconds=36_000), builders.world([near, cheap], [builders.world_input(total="100GB")])
    )
    told = next(told for told in plan.counterfactuals if told.change == "REPLICA_THERE")
    assert (told.site, told.subject, told.saving_micros) == ("us-1", "sales/flights@1", 400_000)
    assert told.detail == "it would win if sales/flights@1 had a replica there: -$0.40"


def test_two_more_gpus_would_have_made_the_full_site_win():
    """The near site has two of four free; two more and the data need not travel."""
    rows = [
        builders.site(name, offer=builders.offer("0.04", {"H100": "2"}), capacity=builders.capacity(gpus={"H100": 4}))
        for name in ("eu-1", "us-1")
    ]
    world = builders.world(rows, loads=(builders.load("eu-1", gpus={"H100": 2}),))
    plan = holds(builders.request(gpus=4, gpu_type="H100"), world)
    told = next(told for told in plan.counterfactuals if told.change == "MORE_CAPACITY")
    assert (told.site, told.subject, told.saving_micros) == ("eu-1", "2 H100", 20_000)


@pytest.mark.parametrize("hidden", ["forbidden", "unseen"])
def test_nothing_is_told_of_a_site_that_may_not_be_used(hidden: str):
    """A forbidden site with a price of nothing leaves no trace, and neither does one that the caller cannot see."""
    dear, other, free = (builders.offer(usd) for usd in ("0.05", "0.04", "0"))
    rows = [builders.site("eu-1", offer=dear), builders.site("eu-2", offer=other), builders.site("us-1", offer=free)]
    inputs = [builders.world_input(residency=("EU",), total="100GB")]
    world = builders.world(rows if hidden == "forbidden" else rows[:2], inputs)
    plan = planner.plan(builders.request(cpus=8), world)
    assert plan.counterfactuals
    assert all(told.site != "us-1" and "us-1" not in told.detail for told in plan.counterfactuals)


def test_amounts_beyond_64_bits_are_explained_too():
    """The dearest of everything for a year is still a plan, and what is told of it comes true."""
    hours, room = (10**12, 9 * 10**11), builders.capacity(4 * 10**5)
    rows = [builders.site(f"s{n}", f"aws:{n}", offer=builders.offer(hour), capacity=room) for n, hour in enumerate(hours)]
    request = builders.request(cpus=4 * 10**5, duration_seconds=3 * 10**7)
    plan = holds(request, builders.world(rows, [builders.world_input(at=["s0"])]))
    assert plan.choice.objective_micros > 2**63
    assert plan.counterfactuals


def test_a_site_that_was_chosen_for_the_queue_has_no_counterfactuals():
    """Others would have won alone: what they lacked is not what decided."""
    assert planner.plan(builders.request(), builders.world(), at="us-1").counterfactuals == ()
    assert planner.plan(builders.request(), builders.world(), explain=False).counterfactuals == ()


# Where no site can take the job


def test_the_smallest_addition_that_would_do_is_told_of_full_sites_the_cheapest_first():
    """All GPUs are taken, of one site for good: it has none of the type, though a price of it."""
    rows = [
        builders.site("eu-1", offer=builders.offer("0", {"H100": "3"}), capacity=builders.capacity(gpus={"H100": 4})),
        builders.site("us-1", offer=builders.offer("0", {"H100": "2"}), capacity=builders.capacity(gpus={"H100": 2})),
        builders.site("ap-1", "aws:c", offer=builders.offer("0", {"H100": "1"}), capacity=builders.capacity()),
    ]
    world = builders.world(rows, [builders.world_input(total="0B")], loads=(builders.load("eu-1", gpus={"H100": 3}),))
    plan = holds(builders.request(gpus=4, gpu_type="H100", duration_seconds=3600), world)
    assert plan.choice is None
    told = [(row.site, row.change, row.subject, row.objective_micros) for row in plan.counterfactuals]
    assert told == [
        ("ap-1", "MORE_CAPACITY", "4 H100", 4_000_000),
        ("us-1", "MORE_CAPACITY", "2 H100", 8_000_000),
        ("eu-1", "MORE_CAPACITY", "3 H100", 12_000_000),
    ]
    assert plan.counterfactuals[0].detail == "it could take the job, at $4.00, if it had 4 H100 more"


def test_a_replica_that_a_budget_a_deadline_or_a_missing_price_calls_for_is_told():
    """Nowhere may the job run as the data lies; beside a replica it could."""
    near, cheap = builders.site("eu-1", offer=builders.offer("0.05")), builders.site("us-1", offer=builders.offer("0.01"))
    near = replace(near, capacity=builders.capacity(1))
    slow = site.LinkSpeed(source_region=near.region, destination_region=cheap.region, bytes_per_second=10**11 // 40_000)
    world = builders.world([near, cheap], [builders.world_input(total="100GB")], speeds=(slow,))
    worlds = {
        "BUDGET_EXHAUSTED": (replace(world, caps=(Cap(budget="b", scope="all", limit_micros=1),)), 0),
        "DEADLINE_MISSED": (world, 37_000),
        "PRICE_UNKNOWN": (replace(world, rates=ratecard.RateCard(rows=())), 0),
    }
    for reason, (seen, deadline) in worlds.items():
        plan = holds(builders.request(cpus=2, duration_seconds=36_000, deadline_seconds=deadline), seen)
        assert plan.choice is None
        assert {row.site: row.reason for row in plan.rejections} == {"eu-1": "CPUS_EXHAUSTED", "us-1": reason}
        assert ("us-1", "REPLICA_THERE", "sales/flights@1") in [(r.site, r.change, r.subject) for r in plan.counterfactuals]


def test_nothing_is_told_where_no_change_of_one_thing_would_do():
    """The job is too big for the site twice over; and what residency forbids is not told of at all."""
    short = builders.site("eu-1", capacity=builders.capacity(1, gpus={"H100": 1}), offer=builders.offer("1", {"H100": "1"}))
    other = builders.site("us-1", capacity=builders.capacity(1), offer=builders.offer("0"))
    world = builders.world([short, other], [builders.world_input(residency=("EU",))])
    plan = holds(builders.request(cpus=2, gpus=2, gpu_type="H100"), world)
    assert (plan.choice, plan.counterfactuals) == (None, ())
