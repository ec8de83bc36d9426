"""What a month will have cost when it is over, from what its days have cost so far. Pure, and honest about how little it knows.

Three methods, the best that the data allow. WEEKDAYS, from fourteen full days on: each day left is expected to cost the mean of
the same weekday in the last eight weeks. RUN_RATE, from three: each costs the mean of all days. NONE: too little to say.
The interval comes from how far past days were from what the method would have said of them: 80 percent of months should end
inside. Days are taken as independent, so a trend or a one-off is not in it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from enum import StrEnum

#: Two-sided 80 percent of Student's t by degrees of freedom, then the normal value (R: qt(0.9, df)).
_T80 = {1: 3.078, 2: 1.886, 3: 1.638, 4: 1.533, 5: 1.476, 6: 1.440, 8: 1.397, 10: 1.372, 15: 1.341, 20: 1.325, 30: 1.310}
_Z80 = 1.282
DAYS_MIN = 3
WEEKDAY_DAYS_MIN = 14
DAYS_MAX = 56


class Method(StrEnum):
    """How a forecast was made."""

    WEEKDAYS = "WEEKDAYS"
    RUN_RATE = "RUN_RATE"
    NONE = "NONE"


@dataclass(frozen=True, kw_only=True)
class Forecast:
    """A month at its end. `spent_micros` is charged by now, the rest is expected: `low_micros` to `high_micros` at 80 percent.

    `days` full days were learned from, `days_left` are expected, today among them. With the method NONE nothing beyond what is
    spent is known, and the other figures are None.
    """

    month: str
    method: Method
    spent_micros: int
    days: int
    days_left: int
    expected_micros: int | None = None
    low_micros: int | None = None
    high_micros: int | None = None
    note: str = ""


def forecast(daily: Mapping[date, int], today: date) -> Forecast:
    """The month of `today`, from charges by day; days between the first and today that are missing have cost nothing.

    `daily` may reach into earlier months; what was charged today counts as spent, and today is expected to cost what its like
    do, or what it has cost already if that is more.
    """
    month = f"{today:%Y-%m}"
    first = today.replace(day=1)
    spent = sum(micros for day, micros in daily.items() if first <= day <= today)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    left = [today + timedelta(days=n) for n in range((last - today).days + 1)]
    known = _known(daily, today)
    days = len(known)
    if days < DAYS_MIN:
        note = f"{days} full days are known, {DAYS_MIN} are needed: what the rest of the month will cost cannot be told"
        return Forecast(month=month, method=Method.NONE, spent_micros=spent, days=days, days_left=len(left), note=note)
    method = Method.WEEKDAYS if days >= WEEKDAY_DAYS_MIN else Method.RUN_RATE
    means = _means(known, method)
    parameters = len(set(means.values())) if method is Method.WEEKDAYS else 1
    rest = _rest(daily, today, left, means)
    spread = _spread(known, means, parameters, left)
    before = spent - daily.get(today, 0)
    expected = before + rest
    note = (
        "" if method is Method.WEEKDAYS else f"{days} full days are known; from {WEEKDAY_DAYS_MIN} on weekdays are told apart"
    )
    return Forecast(
        month=month,
        method=method,
        spent_micros=spent,
        days=days,
        days_left=len(left),
        expected_micros=round(expected),
        low_micros=max(round(expected - spread), min(spent, round(expected))),
        high_micros=round(expected + spread),
        note=note,
    )


def _known(daily: Mapping[date, int], today: date) -> dict[date, int]:
    """The full days before today, eight weeks at most, from the first that has an entry."""
    earlier = [day for day in daily if day < today]
    if not earlier:
        return {}
    begin = max(min(earlier), today - timedelta(days=DAYS_MAX))
    return {day: daily.get(day, 0) for day in (begin + timedelta(days=n) for n in range((today - begin).days))}


def _means(known: Mapping[date, int], method: Method) -> dict[int, float]:
    """Weekday -> what such a day costs."""
    overall = sum(known.values()) / len(known)
    if method is Method.RUN_RATE:
        return dict.fromkeys(range(7), overall)
    found: dict[int, list[int]] = {}
    for day, micros in known.items():
        found.setdefault(day.weekday(), []).append(micros)
    return {weekday: sum(found[weekday]) / len(found[weekday]) if weekday in found else overall for weekday in range(7)}


def _rest(daily: Mapping[date, int], today: date, left: list[date], means: Mapping[int, float]) -> float:
    return sum(max(means[day.weekday()], daily.get(day, 0)) if day == today else means[day.weekday()] for day in left)


def _spread(known: Mapping[date, int], means: Mapping[int, float], parameters: int, left: list[date]) -> float:
    """Half the interval: noise of the days to come, and of the means that they are expected to have."""
    freedom = len(known) - parameters
    if freedom < 1:
        return 0.0
    variance = sum((micros - means[day.weekday()]) ** 2 for day, micros in known.items()) / freedom
    counts: dict[int, int] = {}
    for day in known:
        counts[day.weekday()] = counts.get(day.weekday(), 0) + 1
    to_come: dict[int, int] = {}
    for day in left:
        to_come[day.weekday()] = to_come.get(day.weekday(), 0) + 1
    if parameters == 1:
        of_means = len(left) ** 2 / len(known)
    else:
        of_means = sum(count**2 / counts.get(weekday, len(known)) for weekday, count in to_come.items())
    return _t80(freedom) * math.sqrt(variance * (len(left) + of_means))


def _t80(freedom: int) -> float:
    return (
        next((value for known, value in sorted(_T80.items(), reverse=True) if known <= freedom), _Z80)
        if freedom <= 30
        else _Z80
    )
