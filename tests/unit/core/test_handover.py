"""Placing a pipeline as a whole: against every placement there is, on small ones."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, handover

PLACES = {
    "a-1": handover.Place(region="aws:a"),
    "a-2": handover.Place(region="aws:a"),
    "b-1": handover.Place(region="aws:b"),
    "c-1": handover.Place(region="gcp:c", account="lab"),
}
RATES = {("aws:a", "aws:b"): 3, ("aws:b", "aws:a"): 5, ("aws:a", "gcp:c"): 9, ("gcp:c", "aws:b"): 2}


def price(source: handover.Place, destination: handover.Place, size: int) -> int | None:
    """A few links have a price, others have none."""
    if source.region == destination.region:
        return 0
    rate = RATES.get((source.region, destination.region))
    return None if rate is None else rate * size


@st.composite
def pipelines(draw: st.DrawFn) -> tuple[list[handover.Stage], list[handover.Flow]]:
    """One to five tasks with their sites, and what flows from earlier to later ones."""
    count = draw(st.integers(1, 5))
    costs = st.dictionaries(st.sampled_from(sorted(PLACES)), st.integers(0, 30), min_size=1)
    stages = [handover.Stage(task=f"t{n}", costs=draw(costs)) for n in range(count)]
    pairs = [(i, j) for i in range(count) for j in range(i + 1, count)]
    chosen = draw(st.lists(st.sampled_from(pairs), max_size=6)) if pairs else []
    flows = [handover.Flow(before=f"t{i}", after=f"t{j}", bytes=draw(st.integers(0, 8))) for i, j in chosen]
    return stages, flows


def every(stages: list[handover.Stage], flows: list[handover.Flow]) -> list[tuple[int, int]]:
    """Cost, and inputs that leave a region, of every placement that has a price."""
    found = []
    for sites in itertools.product(*(sorted(stage.costs) for stage in stages)):
        at = {stage.task: site for stage, site in zip(stages, sites, strict=True)}
        handed = [price(PLACES[at[flow.before]], PLACES[at[flow.after]], flow.bytes) for flow in flows]
        if None not in handed:
            leaving = sum(PLACES[at[flow.before]].region != PLACES[at[flow.after]].region for flow in flows)
            found.append((sum(stage.costs[at[stage.task]] for stage in stages) + sum(handed), leaving))
    return found


@given(pipelines())
def test_the_whole_is_the_cheapest_of_all(pipeline):
    """Cost, shares, bound and the fewest inputs that leave a region agree with a brute force over every placement."""
    stages, flows = pipeline
    ways = every(stages, flows)
    if not ways:
        with pytest.raises(errors.FailedPrecondition):
            handover.place(stages, flows, PLACES, price)
        return
    whole = handover.place(stages, flows, PLACES, price)
    at = {share.task: share.site for share in whole.shares}
    leaving = sum(PLACES[at[flow.before]].region != PLACES[at[flow.after]].region for flow in flows)
    assert (whole.cost_micros, leaving) == min(ways)
    assert whole.proven
    assert whole.bound_micros == whole.cost_micros
    assert [share.own_micros for share in whole.shares] == [stage.costs[at[stage.task]] for stage in stages]
    assert whole.separate_micros is None or whole.separate_micros >= whole.cost_micros


def test_each_task_by_itself_costs_more_where_it_walks_into_a_dear_link():
    """The first task saves 1 at a, and then hands 100 bytes over at 3 each."""
    stages = [
        handover.Stage(task="make", costs={"a-1": 0, "b-1": 1}),
        handover.Stage(task="use", costs={"b-1": 0}),
    ]
    flows = [handover.Flow(before="make", after="use", bytes=100)]
    whole = handover.place(stages, flows, PLACES, price)
    assert (whole.cost_micros, whole.separate_micros) == (1, 300)
    assert [(share.site, share.handover_micros) for share in whole.shares] == [("b-1", 0), ("b-1", 0)]


def test_costs_too_large_to_break_ties_with_are_still_placed_exactly():
    """Beyond that size the cheapest is found as before, whichever of its equals it is."""
    stages = [
        handover.Stage(task="make", costs={"a-1": 2**46, "b-1": 2**46 + 1}),
        handover.Stage(task="use", costs={"b-1": 2**46}),
    ]
    flows = [handover.Flow(before="make", after="use", bytes=2**40)]
    whole = handover.place(stages, flows, PLACES, price)
    assert (whole.cost_micros, whole.bound_micros) == (2**47 + 1, 2**47 + 1)
