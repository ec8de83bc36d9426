"""A forecast says how it was made and how sure it is; too little data is said and not covered up."""

from __future__ import annotations

import random
from datetime import date, timedelta

import pytest

from federation.core import forecast
from federation.core.forecast import Method

DOLLAR = 10**6


def days(until: date, count: int, micros: int = DOLLAR) -> dict[date, int]:
    """So many days of the same cost, up to the one before `until`."""
    return {until - timedelta(days=n): micros for n in range(1, count + 1)}


@pytest.mark.parametrize("count", [0, 1, 2])
def test_too_little_is_said(count: int):
    """No figure, and why there is none."""
    today = date(2026, 11, 3)
    found = forecast.forecast(days(today, count), today)
    assert (found.method, found.expected_micros, found.low_micros, found.days) == (Method.NONE, None, None, count)
    assert f"{count} full days are known" in found.note


def test_few_days_give_a_run_rate():
    """Ten equal days: the month is thirty of them, and that is certain."""
    today = date(2026, 11, 11)
    found = forecast.forecast(days(today, 10), today)
    assert (found.method, found.expected_micros, found.low_micros, found.high_micros) == (
        Method.RUN_RATE,
        30 * DOLLAR,
        30 * DOLLAR,
        30 * DOLLAR,
    )
    assert found.days_left == 20


def test_weekends_are_told_from_weekdays():
    """Nothing moves on weekends: six weeks of history say what the rest of November will be."""
    today = date(2026, 11, 16)  # a Monday
    history = {day: 0 if day.weekday() >= 5 else 10 * DOLLAR for day in days(today, 42)}
    found = forecast.forecast(history, today)
    workdays = sum(date(2026, 11, n).weekday() < 5 for n in range(1, 31))
    assert (found.method, found.expected_micros) == (Method.WEEKDAYS, workdays * 10 * DOLLAR)


def test_today_counts_what_it_has_cost_if_that_is_more_than_its_like():
    """A day that is already dearer is not forecast cheaper."""
    today = date(2026, 11, 11)
    found = forecast.forecast({**days(today, 10), today: 50 * DOLLAR}, today)
    assert found.expected_micros == (10 + 50 + 19) * DOLLAR
    assert found.spent_micros == 60 * DOLLAR


def test_the_last_day_of_a_month_is_nearly_known():
    """One day is left."""
    today = date(2026, 11, 30)
    found = forecast.forecast(days(today, 29), today)
    assert (found.days_left, found.expected_micros) == (1, 30 * DOLLAR)


def test_backtest_eighty_percent_of_months_end_inside_the_interval():
    """Made months with weekdays, noise and quiet days, each forecast at its tenth day from eight weeks of history.

    Of 300 months 80 percent should be inside; a binomial spread of four standard deviations is let be (0.71 to 0.89).
    """
    rng = random.Random(7)
    inside, errors_of = 0, []
    for _ in range(300):
        scale = [rng.uniform(5, 20) * (0.3 if weekday >= 5 else 1) for weekday in range(7)]
        first, today = date(2026, 9, 1), date(2026, 11, 10)
        every = [first + timedelta(days=n) for n in range((date(2026, 12, 1) - first).days)]
        made = {day: round(max(rng.gauss(scale[day.weekday()], 0.3 * scale[day.weekday()]), 0) * DOLLAR) for day in every}
        found = forecast.forecast({day: micros for day, micros in made.items() if day < today}, today)
        became = sum(micros for day, micros in made.items() if day.month == 11)
        assert found.method is Method.WEEKDAYS
        inside += found.low_micros <= became <= found.high_micros
        errors_of.append(abs(found.expected_micros - became) / became)
    assert 0.71 <= inside / 300 <= 0.89
    assert sum(errors_of) / 300 < 0.06
