"""How long a copy is kept: never twice the optimum, and near it where reads have a habit."""

from __future__ import annotations

import random
from fractions import Fraction
from itertools import accumulate, pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, retention

DAY = 86400
#: Ten dollars to fetch, and as much for 26 days of storage: 500 GB over a 0.02 link.
TERMS = retention.Terms(fetch_micros=10_000_000, storage_micros_per_second=Fraction(10_000_000, 26 * DAY))
EVEN = 26 * DAY
SHAPES = ("regular", "jittered", "bursty", "poisson", "heavy", "just after", "changing", "against the rule")


def gaps_of(shape: str, rnd: random.Random, count: int) -> list[int]:
    """The times between reads, in seconds; `against the rule` is made by looking at what the rule would do."""
    mean = EVEN * rnd.choice([0.02, 0.3, 0.9, 1.1, 2, 10])
    after = rnd.choice([0, 1])
    gap = {
        "regular": lambda _: mean,
        "jittered": lambda _: mean * rnd.uniform(0.9, 1.1),
        "bursty": lambda _: mean * (20 if rnd.random() < 0.2 else rnd.uniform(0.01, 0.05)),
        "poisson": lambda _: rnd.expovariate(1 / mean),
        "heavy": lambda _: mean * 0.2 * rnd.paretovariate(1.1),
        "just after": lambda _: EVEN + after,
        "changing": lambda i: EVEN * (3 if i // 15 % 2 else 0.1),
    }.get(shape)
    return adversary(rnd, count) if gap is None else [int(gap(i)) for i in range(count)]


def adversary(rnd: random.Random, count: int) -> list[int]:
    """Each read comes when it hurts: a second after the copy was dropped, at once, or as late as it was kept."""
    history, gaps = retention.History(last_read_seconds=0), []
    for _ in range(count):
        kept = retention.keep(TERMS, history).keep_seconds or 0
        gaps.append(rnd.choice([kept + 1, kept + 1, kept, 0, EVEN, 10 * EVEN]))
        history = retention.observe(TERMS, history, history.last_read_seconds + gaps[-1])
    return gaps


def bill(terms: retention.Terms, gaps: list[int]) -> tuple[Fraction, Fraction, Fraction]:
    """What the rule, plain break-even, and hindsight pay for reads with these gaps: a dumb ledger of its own."""
    history = retention.History(last_read_seconds=0)
    ours = plain = optimum = Fraction(terms.fetch_micros)
    s, e = terms.storage_micros_per_second, terms.fetch_micros
    kept = retention.keep(terms, history).keep_seconds
    for gap in gaps:
        ours += s * min(gap, kept) + (e if gap > kept else 0)
        even = int(e / s)
        plain += s * min(gap, even) + (e if gap > even else 0)
        optimum += min(s * gap, e)
        assert ours <= 2 * optimum
        history = retention.observe(terms, history, history.last_read_seconds + gap)
        kept = retention.keep(terms, history).keep_seconds
        # If the reads end here, the storage after the last one is paid for nothing.
        assert ours + s * kept <= 2 * optimum + retention.CREDIT * e
    return ours, plain, optimum


@pytest.mark.parametrize("shape", SHAPES)
def test_no_sequence_of_reads_costs_twice_what_hindsight_pays(shape, long):
    """125 sequences of each of eight shapes, 1,000 in all, checked after every read, the storage after it included."""
    for seed in range(1000 if long else 125):
        rnd = random.Random(f"{shape} {seed}")
        bill(TERMS, gaps_of(shape, rnd, 40))


@given(
    st.integers(0, 10**6),
    st.fractions(Fraction(1, 1000), 1000, max_denominator=1000),
    st.lists(st.one_of(st.integers(0, 20), st.integers(0, 10**7)), max_size=40),
)
def test_the_bound_holds_at_any_price_and_for_any_gaps(fetch, storage, gaps):
    """Prices at which break-even is no whole second, or none at all, are no exception."""
    bill(retention.Terms(fetch_micros=fetch, storage_micros_per_second=storage), gaps)


@given(
    st.integers(1, 10**4),
    st.fractions(Fraction(1, 100), 100, max_denominator=100),
    st.lists(st.tuples(st.integers(-2, 2), st.sampled_from(["kept", "even", "zero", "far"])), max_size=60),
)
def test_the_bound_holds_against_who_knows_the_rule(fetch, storage, script):
    """Gaps chosen beside what the rule is about to do, where it could be made to pay twice each time."""
    terms = retention.Terms(fetch_micros=fetch, storage_micros_per_second=storage)
    history, gaps = retention.History(last_read_seconds=0), []
    for offset, near in script:
        kept = retention.keep(terms, history).keep_seconds
        base = {"kept": kept, "even": int(fetch / storage), "zero": 0, "far": 10**6}[near]
        gaps.append(max(base + offset, 0))
        history = retention.observe(terms, history, history.last_read_seconds + gaps[-1])
    bill(terms, gaps)


def test_reads_that_are_always_too_late_are_not_waited_for():
    """A read every 40 days where a copy pays for 26: break-even pays twice, we soon pay once."""
    ours, plain, optimum = bill(TERMS, [40 * DAY] * 50)
    assert plain >= Fraction(19, 10) * optimum
    assert ours <= Fraction(11, 10) * optimum


def test_regular_and_bursty_reads_cost_measurably_less_than_plain_ski_rental():
    """Over 60 seeds each: at least 15 % off break-even's regret on every shape with a habit."""
    for shape, most in (("jittered", 0.35), ("bursty", 0.75), ("just after", 0.15)):
        ours = plain = optimum = Fraction(0)
        for seed in range(60):
            one = bill(TERMS, gaps_of(shape, random.Random(f"{shape} {seed}"), 60))
            ours, plain, optimum = ours + one[0], plain + one[1], optimum + one[2]
        assert ours - optimum <= most * (plain - optimum), (shape, float((ours - optimum) / (plain - optimum)))


def test_the_first_decision_is_break_even():
    """Nothing is known, so the copy is kept for as long as storing costs what fetching does: 26 days."""
    assert retention.keep(TERMS, retention.History(last_read_seconds=0)).keep_seconds == EVEN


def test_free_storage_keeps_for_ever():
    """Where storing costs nothing there is nothing to weigh."""
    free = retention.Terms(fetch_micros=5, storage_micros_per_second=Fraction(0))
    assert retention.keep(free, retention.History(last_read_seconds=0)).keep_seconds is None
    assert retention.replay(free, [0, 10**9]).online_micros == 0


def test_a_history_is_its_reads_again():
    """Whoever stored only the reads comes to the same decision, and the history stays bounded."""
    reads = list(accumulate(gaps_of("bursty", random.Random(3), 200)))
    step_by_step = retention.replay(TERMS, reads[:1])
    for read in reads[1:]:
        step_by_step = retention.observe(TERMS, step_by_step, read)
    assert step_by_step == retention.replay(TERMS, reads)
    assert len(step_by_step.recent) == retention.RECENT_MAX
    assert step_by_step.gaps == 199


def test_what_is_no_history_is_refused():
    """Reads out of order, none at all, and a price below zero."""
    with pytest.raises(errors.InvalidArgument) as disordered:
        retention.replay(TERMS, [10, 5])
    assert disordered.value.reason == "READS_DISORDERED"
    with pytest.raises(errors.InvalidArgument) as none:
        retention.replay(TERMS, [])
    assert none.value.reason == "READS_MISSING"
    with pytest.raises(errors.InvalidArgument) as price:
        retention.Terms(fetch_micros=-1, storage_micros_per_second=Fraction(1))
    assert price.value.reason == "PRICE_INVALID"


def test_the_reason_names_what_was_compared():
    """A decision that leaves break-even says so, with the safe range."""
    history = retention.replay(TERMS, [0, *accumulate([40 * DAY] * 20)])
    told = retention.keep(TERMS, history)
    assert told.keep_seconds < EVEN
    assert "20 gaps seen" in told.why
    assert f"break-even is {EVEN} s" in told.why


def pay(terms: retention.Terms, reads: list[tuple[int, Fraction]]) -> Fraction:
    """What the rule for partial reads pays, the storage after the last one included; a ledger of its own."""
    s, e = terms.storage_micros_per_second, terms.fetch_micros
    holding, paid = retention.empty(terms, 0), Fraction(0)
    for time, part in reads:
        paid += s * _stored(terms, holding, time)
        does, holding = retention.step(terms, holding, time, part)
        paid += {retention.Read.COPY: 0, retention.Read.REMOTE: part * e, retention.Read.FETCH: e}[does]
    return paid + s * _stored(terms, holding, 10**12)


def _stored(terms: retention.Terms, holding: retention.Holding, until: int) -> int:
    end = retention.expires(terms, holding)
    return 0 if end is None else min(until, end) - holding.at_seconds


def hindsight(terms: retention.Terms, reads: list[tuple[int, Fraction]]) -> Fraction:
    """The least that the reads can cost, over every choice at every read: least cost without and with a copy after each."""
    s, e = terms.storage_micros_per_second, Fraction(terms.fetch_micros)
    without, held = Fraction(0), None
    for (before, _), (time, part) in pairwise([(0, Fraction(0)), *reads]):
        kept = None if held is None else held + s * (time - before)
        # At the read: from the copy and keep it or not; remotely; or fetched, and kept or not.
        from_copy = [] if kept is None else [kept]
        held = min([*from_copy, without + e])
        without = min([*from_copy, without + part * e, without + e])
    return min(without, held) if held is not None else without


PARTS = st.fractions(0, 1, max_denominator=50)
PARTIAL = st.lists(st.tuples(st.one_of(st.integers(0, 30), st.integers(0, 10**4)), PARTS), min_size=1, max_size=40)


@given(st.integers(1, 10**4), st.fractions(Fraction(1, 50), 50, max_denominator=50), PARTIAL)
def test_partial_reads_cost_at_most_three_times_what_hindsight_pays(fetch, storage, script):
    """At any prices and any reads, storage after the last one included."""
    terms = retention.Terms(fetch_micros=fetch, storage_micros_per_second=storage)
    times = accumulate(gap for gap, _ in script)
    reads = [(time, part) for time, (_, part) in zip(times, script, strict=True)]
    assert pay(terms, reads) <= 3 * hindsight(terms, reads)


@given(
    st.integers(1, 10**4), st.fractions(Fraction(1, 50), 50, max_denominator=50), st.lists(st.integers(0, 10**4), min_size=1)
)
def test_reads_of_everything_cost_at_most_twice(fetch, storage, gaps):
    """A fetch costs what the remote read would, so nothing is ever paid for twice."""
    terms = retention.Terms(fetch_micros=fetch, storage_micros_per_second=storage)
    reads = [(time, Fraction(1)) for time in accumulate(gaps)]
    assert pay(terms, reads) <= 2 * hindsight(terms, reads)


def test_no_one_can_promise_less_than_three_for_small_parts():
    """Reads of a hundredth until it fetches, then none: the bound is reached, so it is not said too carefully."""
    terms = retention.Terms(fetch_micros=10**6, storage_micros_per_second=Fraction(1))
    reads, holding = [], retention.empty(terms, 0)
    while not holding.held:
        reads.append((0, Fraction(1, 100)))
        _, holding = retention.step(terms, holding, 0, Fraction(1, 100))
    ratio = pay(terms, reads) / hindsight(terms, reads)
    assert Fraction(29, 10) < ratio <= 3


def test_a_copy_is_fetched_when_remote_reads_have_paid_for_it():
    """Four reads of a quarter in an hour: three remote, the fourth fetches, the fifth has it at hand."""
    terms = retention.Terms(fetch_micros=10**7, storage_micros_per_second=Fraction(0))
    holding, did = retention.empty(terms, 0), []
    for hour in range(5):
        does, holding = retention.step(terms, holding, hour * 3600, Fraction(1, 4))
        did.append(does)
    assert did == [retention.Read.REMOTE] * 3 + [retention.Read.FETCH, retention.Read.COPY]


def test_a_part_is_a_share():
    """More than everything is nothing that can be read, and time goes one way."""
    with pytest.raises(errors.InvalidArgument) as part:
        retention.step(TERMS, retention.empty(TERMS, 0), 1, Fraction(3, 2))
    assert part.value.reason == "PART_INVALID"
    with pytest.raises(errors.InvalidArgument) as order:
        retention.step(TERMS, retention.empty(TERMS, 5), 1, Fraction(1))
    assert order.value.reason == "READS_DISORDERED"
