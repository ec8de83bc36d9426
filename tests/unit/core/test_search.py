"""The search for the best joint choice: walking few choices one by one answers what branch and bound does."""

from __future__ import annotations

import gc
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import job, planner, ratecard, search, world
from tests import builders

_EDGES = st.integers(1, 40)
_RATES = st.integers(0, 9)


@st.composite
def tariffs(draw: st.DrawFn) -> ratecard.Tariff:
    """One to three tiers with any prices; the last may have an end, beyond which nothing is known."""
    tiers, begin, base = [], 0, 0
    for _ in range(draw(st.integers(0, 2))):
        upto, rate = begin + draw(_EDGES), draw(_RATES)
        tiers.append(ratecard.Tier(begin, upto, base, rate))
        begin, base = upto, base + rate * (upto - begin)
    last = None if draw(st.booleans()) else begin + draw(_EDGES)
    tiers.append(ratecard.Tier(begin, last, base, draw(_RATES)))
    return ratecard.Tariff(tiers=tuple(tiers), unit=1, source="", as_of="")


@st.composite
def problems(draw: st.DrawFn) -> search.Problem:
    """Up to four inputs with up to three ways each, over up to three meters, where time costs nothing."""
    meters = [search.Meter(tariff, draw(st.integers(0, 30)), 1) for tariff in draw(st.lists(tariffs(), min_size=1, max_size=3))]
    leg = st.tuples(st.integers(0, len(meters) - 1), st.integers(0, 25))
    way = st.builds(lambda fixed, legs: search.Way(fixed, tuple(legs)), st.integers(0, 20), st.lists(leg, max_size=2))
    return search.Problem(draw(st.lists(st.lists(way, min_size=1, max_size=3), min_size=1, max_size=4)), meters, ())


@given(problems())
def test_a_walk_through_all_choices_answers_what_the_search_does(problem: search.Problem) -> None:
    """The very same choice, the first of equally cheap ones, or none."""
    walked = search.solve(problem, search.Budget(10_000), "walked")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(search, "WALK_MAX", 0)
        patched.setattr(search, "WALK_FEW", 0)
        assert search.solve(problem, search.Budget(10_000), "searched") == walked


def test_a_walk_takes_steps_of_the_budget_and_is_not_begun_without() -> None:
    """Where the steps do not suffice for it, the search is asked, which says that they do not."""
    tariff = ratecard.Tariff(tiers=(ratecard.Tier(0, 10, 0, 5), ratecard.Tier(10, None, 50, 1)), unit=1, source="", as_of="")
    ways = [[search.Way(legs=((0, 9),)), search.Way(legs=((1, 9),))]] * 2
    problem = search.Problem(ways, [search.Meter(tariff, 0, 1), search.Meter(tariff, 0, 1)], ())
    budget = search.Budget(12)
    assert search.solve(problem, budget, "it") == (0, 0)
    assert budget.left == 0  # four ways, and four choices of two
    with pytest.raises(search.Exhausted):
        search.solve(problem, search.Budget(3), "it")


@pytest.mark.parametrize("how", [planner.Decision.plan, planner.Decision.brief])
def test_a_decision_leaves_nothing_to_the_garbage_collector(how: Callable[[planner.Decision], job.Plan]) -> None:
    """Nothing that it makes holds itself in a ring: all of it is gone when the plan is.

    Other threads of this process may leave something at any time, a ring of ours would each time.
    """
    sites = [builders.site(f"s{n}", f"aws:r{n}") for n in range(5)]
    seen = builders.world(sites, [builders.world_input("a", ["s1", "s2"], 10**12)], rates=builders.rates())
    how(planner.decide(builders.request(cpus=4), seen))
    gc.disable()
    gc.freeze()  # what other tests have made is not gone through
    try:
        assert any(_left(how, seen) == 0 for _ in range(5))
    finally:
        gc.unfreeze()
        gc.enable()


def _left(how: Callable[[planner.Decision], job.Plan], seen: world.World) -> int:
    """How many objects one decision, or another thread meanwhile, leaves to the collector."""
    gc.collect()
    how(planner.decide(builders.request(cpus=4), seen))
    return gc.collect()
