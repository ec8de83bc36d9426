"""What the rate of transfers promises, by a clock of the test's own: no waiting, only accounts."""

from __future__ import annotations

import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.agent import crew, pacing
from tests.agent.federation import until


class Time:
    """A clock that goes when it is told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def wait(self, seconds: float) -> None:
        """Lets so much time go by."""
        self.now += seconds


@given(
    rate=st.integers(1, 10**9),
    takings=st.lists(st.tuples(st.integers(1, 1 << 20), st.floats(0, 5)), min_size=1, max_size=60),
)
def test_no_stretch_of_time_passes_more_than_the_rate_and_a_burst(rate: int, takings: list[tuple[int, float]]) -> None:
    """Whoever waits as told keeps the rate over every stretch, however it rested between; the last piece may be on credit."""
    clock = Time()
    bucket = pacing.Rate(rate, clock)
    passed: list[tuple[float, int]] = []
    for size, rest in takings:
        passed.append((clock.now, size))
        clock.wait(bucket.take(size))
        clock.wait(rest)
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            seconds = passed[last][0] - passed[first][0]
            before_last = sum(size for _, size in passed[first:last])
            assert before_last <= (seconds + pacing.BURST_SECONDS) * rate * 1.000001 + 1


@given(rate=st.integers(1000, 10**9), sizes=st.lists(st.integers(1, 1 << 20), min_size=1, max_size=60))
def test_a_rate_that_is_always_asked_is_used_up(rate: int, sizes: list[int]) -> None:
    """It waits for no longer than the bytes cost: a limit is not a loss."""
    clock = Time()
    bucket = pacing.Rate(rate, clock)
    for size in sizes:
        clock.wait(bucket.take(size))
    assert clock.now - 1000.0 == pytest.approx(max(0.0, sum(sizes) / rate - pacing.BURST_SECONDS), abs=1e-6)


def test_of_two_rates_the_slower_one_counts() -> None:
    """The agent's and the transfer's own are both kept."""
    clock = Time()
    pace = pacing.Pace([pacing.Rate(1000, clock), pacing.Rate(100, clock), pacing.Rate(0, clock)], clock.wait)
    for _ in range(10):
        pace.take(50)
    assert clock.now - 1000.0 == pytest.approx(500 / 100 - pacing.BURST_SECONDS)


def test_transfers_that_share_a_rate_share_it() -> None:
    """Two paces over one rate together are no faster than one."""
    clock = Time()
    shared = pacing.Rate(1000, clock)
    paces = [pacing.Pace([shared], clock.wait) for _ in range(2)]
    for number in range(20):
        paces[number % 2].take(100)
    assert clock.now - 1000.0 == pytest.approx(2.0 - pacing.BURST_SECONDS)


def test_without_a_rate_nobody_waits() -> None:
    """0 is no limit."""
    assert pacing.Rate(0, Time()).take(1 << 40) == 0.0


def test_a_crew_does_the_most_urgent_first_and_nothing_twice_at_once() -> None:
    """One thread, three things that wait for it: in order of priority; what is woken while it runs, runs again."""
    done: list[str] = []
    gate, begun = threading.Event(), threading.Event()
    made = crew.Crew("test", 1)

    def hold() -> None:
        done.append("held")
        begun.set()
        gate.wait(30)

    made.wake("hold", hold)
    begun.wait(30)
    made.wake("low", lambda: done.append("low"))
    made.wake("high", lambda: done.append("high"), priority=5)
    made.wake("hold", hold)
    gate.set()
    until(lambda: len(done) == 4)
    assert done[:2] == ["held", "high"]
    assert sorted(done[2:]) == ["held", "low"]
    made.stop()


def test_a_crew_comes_back_when_a_step_said_so() -> None:
    """A step that returns seconds is called again after them, until it returns None."""
    made, calls = crew.Crew("test", 2), iter([0.0, 0.05, None])
    seen: list[object] = []

    def step() -> float | None:
        seen.append(found := next(calls))
        return found

    made.wake("x", step)
    until(lambda: len(seen) == 3)
    made.wake("x", lambda: seen.append("again"))
    until(lambda: seen[3:] == ["again"])
    made.stop()
