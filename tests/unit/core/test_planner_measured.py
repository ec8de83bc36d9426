"""Reading or copying over measured links: the sweep of arrays against the search, and the search against everything."""

from __future__ import annotations

import random
from dataclasses import replace
from itertools import product

from hypothesis import given, settings
from hypothesis import strategies as st

from federation.core import job, planner, ratecard, search, site
from tests import builders
from tests.builders import GB, price_row

REGIONS = ("aws:a", "aws:b", "aws:c", "gcp:d", "gcp:e", "gcp:f")
TIERED = ratecard.RateCard(
    rows=(
        price_row("aws:*", "aws:*", "0.02"),
        price_row("aws:*", "internet", "0.09", upto=90 * GB),
        price_row("aws:*", "internet", "0.05"),
        price_row("gcp:*", "internet", "0.08"),
    )
)


@st.composite
def cases(draw):
    """A job for which time may count, and sites between which most links are measured."""
    names = [f"s{n}" for n in range(draw(st.integers(2, 7)))]
    rows = [
        builders.site(
            name,
            draw(st.sampled_from(REGIONS)),
            "EU",
            account=draw(st.sampled_from(["", "", "lab"])),
            offer=builders.offer(
                draw(st.sampled_from([30_000, 90_000])), storage_gb_month_micros=draw(st.sampled_from([None, 0, 23_000, 10**6]))
            ),
        )
        for name in names
    ]
    inputs = [
        builders.world_input(
            f"i{n}",
            draw(st.lists(st.sampled_from(names), min_size=1, max_size=3, unique=True)),
            draw(st.sampled_from([0, 20, 20, 37])) * GB,
        )
        for n in range(draw(st.integers(1, 4)))
    ]
    speeds = tuple(
        site.LinkSpeed(source_region=a, destination_region=b, bytes_per_second=draw(st.sampled_from([10**6, 10**7, 10**8])))
        for a, b in product(REGIONS, REGIONS)
        if draw(st.integers(0, 5))
    )
    specs = tuple(
        job.InputSpec(alias=item.alias, dataset=item.dataset, read_percent=draw(st.sampled_from([0, 30, 250])))
        for item in inputs
    )
    asked = builders.request(
        cpus=2,
        duration_seconds=draw(st.sampled_from([60, 600, 20_000])),
        hour_value_micros=draw(st.sampled_from([None, 0, 100_000, 10**6])),
        deadline_seconds=draw(st.sampled_from([0, 0, 8000])),
        no_copies=draw(st.integers(0, 4)) == 0,
    )
    volumes = tuple(
        site.LinkVolume(scope=f"{region}~internet", month="2026-11", sent_bytes=draw(st.sampled_from([0, 55, 200])) * GB)
        for region in REGIONS
    )
    card = draw(st.sampled_from([builders.rates(), TIERED]))
    return replace(asked, inputs=specs), builders.world(rows, inputs, rates=card, speeds=speeds, volumes=volumes)


@settings(deadline=None, max_examples=200)
@given(cases())
def test_what_the_sweep_settles_is_what_the_search_finds(case):
    """The same candidate field by field, by the same ways, with the same charges and seconds."""
    decision = planner.Decision(*case)
    for candidate in decision.ranked:
        if candidate.site in decision.settled:
            at = decision.sites[candidate.site]
            told = decision.told(candidate)
            assert decision.supposed([at]) == {at.site: candidate}
            del decision.settled[at.site], decision._told[at.site]
            assert decision.searched(at) == candidate
            assert decision.told(candidate) == told


def test_many_inputs_over_measured_links_are_settled_by_the_sweep():
    """Ten inputs of three replicas and sixty sites: every site is priced, few are left to the search."""
    rnd = random.Random(3)
    regions = [f"aws:r{n}" for n in range(60)]
    offers = [builders.offer(rnd.randint(30_000, 90_000), storage_gb_month_micros=23_000) for _ in regions]
    rows = [builders.site(f"s{n}", region, "EU", offer=offers[n]) for n, region in enumerate(regions)]
    names = [row.site for row in rows]
    inputs = [builders.world_input(f"i{n}", rnd.sample(names, 3), rnd.randint(GB, 1000 * GB)) for n in range(10)]
    speeds = tuple(
        site.LinkSpeed(source_region=a, destination_region=b, bytes_per_second=10**8) for a, b in product(regions, regions)
    )
    world = builders.world(rows, inputs, speeds=speeds)
    decision = planner.Decision(builders.request(cpus=4, hour_value_micros=10**6), world)
    assert not decision.rejections
    assert len(decision.settled) > 50


# The search alone

WAYS = st.builds(
    search.Way,
    fixed=st.sampled_from([0, 10**9, 3 * 10**9]),
    legs=st.lists(st.tuples(st.just(0), st.integers(0, 20).map(lambda n: n * GB)), max_size=2).map(tuple),
    read=st.none() | st.tuples(st.integers(0, 2), st.integers(0, 20).map(lambda n: n * GB)),
    staged=st.lists(st.tuples(st.integers(0, 2), st.integers(0, 20).map(lambda n: n * GB)), max_size=2).map(tuple),
    staged_seconds=st.sampled_from([0, 0, 300]),
)


def cost_of(problem: search.Problem, ways) -> int | None:
    """What ways cost together, added up plainly."""
    read, staged = [0, 0, 0], [0, 0, 0]
    for way in ways:
        if way.read:
            read[way.read[0]] += way.read[1]
        for link, volume in way.staged:
            staged[link] += volume
    slow = [search.seconds(volume, speed) for volume, speed in zip(staged, problem.speeds, strict=True)]
    reading = max(search.seconds(volume, speed) for volume, speed in zip(read, problem.speeds, strict=True))
    staging = max((way.staged_seconds + sum(slow[link] for link, _ in way.staged) for way in ways), default=0)
    (meter,) = problem.meters
    volume = sum(volume for way in ways for _, volume in way.legs)
    owed, paid, time = meter.amount(volume), meter.amount(0), problem.clock(reading, staging)
    if owed is None or paid is None or time is None:
        return None
    return sum(way.fixed for way in ways) + owed - paid + time


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.lists(WAYS, min_size=1, max_size=4), max_size=4),
    st.sampled_from([0, 60, 900]),
    st.sampled_from([0, 10**6]),
    st.sampled_from([None, 1500]),
    st.sampled_from([None, 60]),
)
def test_the_search_finds_the_first_of_the_best_choices(ways, hidden, hour_value, limit, last):
    """With shared tiers, shared links, a deadline, and reads that hide behind the run."""
    card = ratecard.RateCard(
        rows=(
            price_row("aws:*", "internet", "0.07", upto=25 * GB),
            price_row("aws:*", "internet", "0.03", upto=last and last * GB),
        )
    )
    tariff = card.tariff("aws:a", "gcp:b")

    def clock(reading: int, staging: int) -> int | None:
        run = max(hidden, reading)
        return None if limit and run + staging > limit else run * 10**5 + hour_value * (run + staging)

    problem = search.Problem(ways, [search.Meter(tariff, 5 * GB, 1)], [10**7, 2 * 10**7, 10**8], clock, hidden)
    tried = {
        choice: cost_of(problem, [row[w] for row, w in zip(ways, choice, strict=True)])
        for choice in product(*(range(len(row)) for row in ways))
    }
    costs = [cost for cost in tried.values() if cost is not None]
    best = next((choice for choice, cost in tried.items() if cost == min(costs)), None) if costs else None
    assert search.solve(problem, search.Budget(10**6), "here") == best
