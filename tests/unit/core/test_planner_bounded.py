"""A decision takes only so many steps, whatever it is asked; what they do not suffice for is told, with a proven gap."""

from __future__ import annotations

import random
from itertools import permutations

import pytest

from federation.core import planner, ratecard, site
from federation.core.world import World
from tests import builders
from tests.builders import GB, price_row

REGIONS = ("aws:a", "aws:b", "aws:c", "gcp:d", "gcp:e", "azure:f")
TIERED = ratecard.RateCard(
    rows=(
        price_row("aws:*", "aws:*", "0.02"),
        price_row("aws:*", "internet", "0.09", upto=300 * GB),
        price_row("aws:*", "internet", "0.05"),
        price_row("gcp:*", "internet", "0.00", upto=100 * GB),
        price_row("gcp:*", "internet", "0.08"),
        price_row("azure:*", "internet", "0.087", upto=500 * GB),
        price_row("azure:*", "internet", "0.07"),
    )
)
REQUEST = builders.request(cpus=4, hour_value_micros=10**6)


def hard(sites: int, inputs: int) -> World:
    """Tiers, storage everywhere, every link measured: all ways of all inputs hang together."""
    rnd = random.Random(sites)
    offers = [builders.offer(rnd.randint(30_000, 90_000), storage_gb_month_micros=23_000) for _ in range(sites)]
    rows = [builders.site(f"s{n}", REGIONS[n % len(REGIONS)], "EU", offer=offers[n]) for n in range(sites)]
    names = [row.site for row in rows]
    items = [builders.world_input(f"i{n}", rnd.sample(names, min(3, sites)), rnd.randint(GB, 300 * GB)) for n in range(inputs)]
    speeds = tuple(
        site.LinkSpeed(source_region=a, destination_region=b, bytes_per_second=rnd.choice([10**7, 10**8]))
        for a, b in permutations(REGIONS, 2)
    )
    return builders.world(rows, items, rates=TIERED, speeds=speeds)


def test_a_hard_decision_stops_after_its_steps_and_answers_for_every_site():
    """No site vanishes, the same world gets the same plan, and nothing is told of what would have changed the choice."""
    world = hard(40, 8)
    decision = planner.Decision(REQUEST, world)
    assert decision.doubtful
    # What one step adds to the last search that was begun is all that may be over.
    assert decision.steps_left > -100
    plan = planner.plan(REQUEST, world)
    assert len(plan.ranked) + len(plan.rejections) == 40
    assert plan == planner.plan(REQUEST, world)
    assert plan.counterfactuals == ()


@pytest.mark.parametrize("steps", [0, 60, 200, 500])
def test_the_gap_that_is_told_holds(monkeypatch: pytest.MonkeyPatch, steps: int):
    """However few steps there are, the best of all is at most so much below the choice as its plan admits."""
    world = hard(6, 4)
    monkeypatch.setattr(planner, "STEPS_MAX", 10**6)
    best = planner.Decision(REQUEST, world)
    assert not best.doubtful
    monkeypatch.setattr(planner, "STEPS_MAX", steps)
    few = planner.Decision(REQUEST, world)
    choice = few.ranked[0]
    assert best.ranked[0].objective_micros <= choice.objective_micros
    assert best.ranked[0].objective_micros >= choice.objective_micros * (1 - max(few.above(choice), 0)) - 1
    told = [note for note in planner.plan(REQUEST, world).notes if "above the least" in note]
    assert len(told) == (few.above(choice) > 0)
