"""What a budget is on, when it warns, and what it refuses."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import budget, errors
from tests import builders

DOLLAR = 10**6


def candidate(*inputs: tuple[str, str, str, int], landing: int = 0):
    """A candidate that reads these: dataset, source region, reader's region, micro-dollars."""
    plans = tuple(
        builders.input_plan(f"in{n}", dataset=name, source_region=source, destination_region=to, egress_micros=micros)
        for n, (name, source, to, micros) in enumerate(inputs)
    )
    return builders.candidate(inputs=plans, egress_micros=sum(row[3] for row in inputs), landing_micros=landing)


@pytest.mark.parametrize(
    ("scope", "micros"),
    [
        ("all", 7 * DOLLAR),
        ("namespaces/research", 7 * DOLLAR),
        ("namespaces/other", 0),
        ("datasets/sales/flights", 2 * DOLLAR),
        ("links/aws:eu-central-1~aws:us-east-1", 4 * DOLLAR),
        ("links/aws:us-east-1~aws:eu-central-1", 0),
    ],
)
def test_each_scope_counts_its_own(scope: str, micros: int):
    """A dataset its reads, a link what goes that way, a namespace and everything also what outputs cost to land."""
    eu, us = "aws:eu-central-1", "aws:us-east-1"
    found = candidate(("sales/flights", "aws:us-east-2", us, 2 * DOLLAR), ("sales/weather", eu, us, 4 * DOLLAR), landing=DOLLAR)
    assert budget.estimated(builders.request(namespace="research"), found, scope) == micros


def test_a_run_that_would_exceed_a_hard_budget_is_refused_with_the_amounts():
    """What is spent and what is in flight count; the reason is stable and can pass."""
    found = candidate(("sales/flights", "aws:eu-central-1", "aws:us-east-1", 2 * DOLLAR))
    cap = budget.Cap(budget="cap", scope="all", limit_micros=10 * DOLLAR, spent_micros=5 * DOLLAR, reserved_micros=4 * DOLLAR)
    refused = budget.refusal(builders.request(), found, [cap])
    assert refused is not None
    assert (refused.reason, refused.resolvable) == ("BUDGET_EXHAUSTED", True)
    for word in ("cap", "$2.00", "$5.00", "$4.00", "$10.00"):
        assert word in refused.detail


def test_a_budget_may_be_used_to_the_last_micro_and_what_is_free_may_always_run():
    """Exactly full is not exceeded; local reads cost nothing."""
    cap = budget.Cap(budget="cap", scope="all", limit_micros=10 * DOLLAR, spent_micros=8 * DOLLAR)
    remote = candidate(("sales/flights", "aws:eu-central-1", "aws:us-east-1", 2 * DOLLAR))
    assert budget.refusal(builders.request(), remote, [cap]) is None
    full = budget.Cap(budget="cap", scope="all", limit_micros=10 * DOLLAR, spent_micros=11 * DOLLAR)
    assert budget.refusal(builders.request(), candidate(), [full]) is None


@given(st.lists(st.integers(1, 200), max_size=6), st.integers(0, 300), st.integers(0, 300))
def test_every_threshold_is_told_once_however_spending_grows(percents, first, more):
    """What was told at the first look is not told at the next."""
    told = budget.crossed(100, percents, first, ())
    later = budget.crossed(100, percents, first + more, told)
    assert not set(told) & set(later)
    assert {*told, *later} == {percent for percent in percents if percent <= first + more}


@pytest.mark.parametrize(
    "changes",
    [
        {"scope": "namespace/sales"},
        {"scope": "links/aws:eu-central-1"},
        {"scope": "datasets/"},
        {"limit_micros": 0},
        {"alert_percents": (0,)},
        {"alert_percents": (2000,)},
    ],
)
def test_a_budget_that_could_never_work_is_refused(changes):
    """With the field."""
    values = {"budget": "b", "scope": "all", "limit_micros": 1} | changes
    with pytest.raises(errors.InvalidArgument) as caught:
        budget.check(budget.Budget(**values))
    assert set(caught.value.violations) == set(changes)
