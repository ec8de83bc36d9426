"""The short list says what the whole comparison says, and is not asked for where it could say less."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.adapters import prices
from federation.core import job, planner, ratecard, shortlist, site
from federation.core.world import World
from tests import builders
from tests.builders import GB, price_row
from tests.unit.core.test_planner import requests, worlds

REGIONS = ["aws:a", "aws:b", "aws:c", "gcp:d", "gcp:e"]
#: Free, cheap and dear first tiers, a last one that ends, links of one price, one that nobody prices.
CARD = ratecard.RateCard(
    rows=(
        price_row("aws:*", "aws:*", "0.02"),
        price_row("aws:a", "internet", "0", upto=GB),
        price_row("aws:a", "internet", "0.09", upto=40 * GB),
        price_row("aws:a", "internet", "0.05"),
        price_row("aws:b", "internet", "0.09"),
        price_row("aws:c", "internet", "0.01", upto=20 * GB),
        price_row("aws:c", "internet", "0.12"),
        price_row("gcp:d", "internet", "0.08", upto=200 * GB),
        price_row("gcp:*", "gcp:*", "0.01"),
    )
)


@st.composite
def everyday(draw) -> World:
    """A dozen sites in five regions, some forbidden, inputs that share links with tiers, and volumes of the month."""
    names = [f"s{n:02d}" for n in range(draw(st.integers(2, 12)))]
    rows = [
        builders.site(
            name,
            draw(st.sampled_from(REGIONS)),
            "EU",
            offer=builders.offer(draw(st.sampled_from([10_000, 10_000, 30_000, 90_000]))),
            account=draw(st.sampled_from(["", "", "research"])),
        )
        for name in names
    ]
    inputs = [
        builders.world_input(
            f"i{n}",
            draw(st.lists(st.sampled_from(names), unique=True, min_size=1, max_size=3)),
            draw(st.one_of(st.integers(0, 3), st.integers(1, 60 * GB))),
        )
        for n in range(draw(st.integers(1, 5)))
    ]
    scopes = {ratecard.scope(a, b, account) for a in REGIONS for b in REGIONS if a != b for account in ("", "research")}
    sent = draw(st.lists(st.sampled_from(sorted(scopes)), unique=True, max_size=4))
    return builders.world(
        rows,
        inputs,
        rates=CARD,
        loads=tuple(builders.load(name, draw(st.sampled_from([0, 0, 16]))) for name in names),
        volumes=tuple(site.LinkVolume(scope=s, month="2026-11", sent_bytes=draw(st.integers(0, 50 * GB))) for s in sent),
        reservations=tuple(site.LinkReservation(scope=s, reserved_bytes=draw(st.integers(0, GB))) for s in sent[:1]),
        forbidden=tuple((name, "not there") for name in draw(st.lists(st.sampled_from(names), unique=True, max_size=3))),
        speeds=draw(
            st.sampled_from([(), (site.LinkSpeed(source_region="aws:a", destination_region="aws:b", bytes_per_second=10**7),)])
        ),
    )


def holds(request: job.JobRequest, world: World) -> planner.Decision:
    """The brief plan is the head of the whole one, and does not change it."""
    whole = planner.plan(request, world)
    decision = planner.decide(request, world)
    brief = decision.brief()
    assert brief.choice == whole.choice
    assert [row.site for row in brief.ranked] == [row.site for row in whole.ranked[:2]]
    assert brief.margin_micros == whole.margin_micros
    assert (brief.baseline_site, brief.baseline_egress_micros) == (whole.baseline_site, whole.baseline_egress_micros)
    assert brief.notes == whole.notes
    assert brief.rejections == (() if whole.ranked else whole.rejections)
    assert decision.plan() == whole
    assert not {row.site for row in whole.ranked} & set(world.denials)
    return decision


@given(requests, worlds())
def test_a_brief_plan_is_the_head_of_the_whole_one_in_any_world(request_, world):
    """Of sites in any state, prices that are missing, residencies and GPUs."""
    holds(request_, world)


@given(everyday())
def test_a_brief_plan_is_the_head_of_the_whole_one_where_links_have_tiers(world):
    """Free tiers, tiers that end, accounts that count apart, links that several inputs share."""
    holds(builders.request(), world)


@given(everyday())
def test_no_region_costs_less_than_its_bound_and_its_exact_price_is_the_one_of_all(world):
    """Asked for alone, a region has the egress that comparing all regions finds; or it is not answered at all."""
    decision = planner.decide(builders.request(), world)
    bounds = decision.bounds
    if bounds is None:
        assert not all(read.bytes and read.sources for read in decision.came.reads)
        return
    alone = {r: bounds.exact(r) for r in range(len(decision.came.regions))}
    decision.came.solve()
    for r, egress in alone.items():
        if r not in decision.came.blocked:
            assert bounds.least[r] <= decision.came.egress[r]
            assert egress in (None, decision.came.egress[r])
        else:
            assert egress is None


def test_with_a_hundred_sites_and_the_shipped_prices_few_regions_are_priced(monkeypatch: pytest.MonkeyPatch):
    """That is what makes it quick: no sweep over all regions, and exact prices of hardly more than the three it tells of."""
    card, rnd = prices.default_rate_card(), random.Random(4)
    regions = sorted({f"{row.source_provider}:{row.source_place}" for row in card.rows if row.source_place != "*"})
    names = [f"s{n:02d}" for n in range(100)]
    rows = [
        builders.site(name, regions[n % len(regions)], "EU", offer=builders.offer(30_000 + 7 * n))
        for n, name in enumerate(names)
    ]
    inputs = [builders.world_input(f"i{n}", rnd.sample(names, 3), rnd.randint(GB, 1000 * GB)) for n in range(10)]
    asked: list[int] = []
    exact = shortlist.Bounds._exact
    monkeypatch.setattr(shortlist.Bounds, "_exact", lambda self, r: asked.append(r) or exact(self, r))
    decision = planner.decide(builders.request(), builders.world(rows, inputs, rates=card))
    assert len(decision.brief().ranked) == 2
    assert not decision.came.solved
    assert 1 <= len(asked) <= shortlist.REGIONS_MAX
    assert decision.plan().choice == decision.brief().choice


def test_where_a_site_was_lost_before_all_are_compared():
    """Such a site comes after all others, however cheap: bounds on money say nothing of that."""
    world = replace(builders.world(), attempts=(job.PastAttempt(attempt=1, site="eu-1", reason="NODE_LOST"),))
    decision = holds(builders.request(), world)
    assert decision.brief().choice.site == "us-1"


def test_where_all_are_refused_the_brief_plan_says_why():
    """Without a choice the refusals are the answer, and whether waiting may help hangs on them."""
    brief = planner.decide(builders.request(cpus=1000), builders.world()).brief()
    assert brief.choice is None
    assert {row.reason for row in brief.rejections} == {"CPUS_EXHAUSTED"}
