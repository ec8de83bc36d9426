"""Estimate against meter: how far off plans were, in bytes, in money and in time, summed by job, label, link or input."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

from federation.core import errors


@dataclass(frozen=True, kw_only=True)
class Observation:
    """One figure of a run that succeeded, as it was estimated when the run was placed, and as it became.

    Of a read: its `link` and `input`, bytes and money. Of a run as a whole: its seconds, and no link or input.
    """

    job: str
    label: str
    run: str
    link: str = ""
    input: str = ""
    estimate_bytes: int = 0
    metered_bytes: int = 0
    estimate_micros: int = 0
    charge_micros: int = 0
    estimate_seconds: int = 0
    run_seconds: int = 0


@dataclass(frozen=True, kw_only=True)
class Variance:
    """What was estimated and what was metered, summed over the runs of one key.

    The errors are means of |metered - estimate| / estimate over all observations that have an estimate: 0.1 is ten percent off.
    A sum can be right where each of its parts is wrong; the errors show that.
    """

    key: str
    runs: int = 0
    estimate_bytes: int = 0
    metered_bytes: int = 0
    estimate_micros: int = 0
    charge_micros: int = 0
    estimate_seconds: int = 0
    run_seconds: int = 0
    bytes_error: float = 0.0
    cost_error: float = 0.0
    time_error: float = 0.0


#: What observations can be summed by. Those without the key, such as the time of a run by link, are in no sum but the total.
KEYS: Mapping[str, Callable[[Observation], str]] = {
    "job": lambda seen: seen.job,
    "label": lambda seen: seen.label,
    "link": lambda seen: seen.link,
    "input": lambda seen: seen.input,
}


def summarize(seen: Iterable[Observation], by: str) -> tuple[Variance, ...]:
    """One sum for each key, in key order; InvalidArgument (SUMMARY_KEY_UNKNOWN) for what is not in `KEYS`."""
    if by not in KEYS:
        raise errors.InvalidArgument(
            f"variances cannot be summed by {by!r}",
            reason="SUMMARY_KEY_UNKNOWN",
            help=f"Use one of {', '.join(KEYS)}.",
            violations={"by": f"must be one of {', '.join(KEYS)}"},
        )
    groups: dict[str, list[Observation]] = {}
    for one in seen:
        if key := KEYS[by](one):
            groups.setdefault(key, []).append(one)
    return tuple(total(group, key) for key, group in sorted(groups.items()))


def total(seen: Iterable[Observation], key: str = "") -> Variance:
    """The sum of all observations, under a key."""
    rows = tuple(seen)
    return Variance(
        key=key,
        runs=len({row.run for row in rows}),
        estimate_bytes=sum(row.estimate_bytes for row in rows),
        metered_bytes=sum(row.metered_bytes for row in rows),
        estimate_micros=sum(row.estimate_micros for row in rows),
        charge_micros=sum(row.charge_micros for row in rows),
        estimate_seconds=sum(row.estimate_seconds for row in rows),
        run_seconds=sum(row.run_seconds for row in rows),
        bytes_error=_error((row.estimate_bytes, row.metered_bytes) for row in rows),
        cost_error=_error((row.estimate_micros, row.charge_micros) for row in rows),
        time_error=_error((row.estimate_seconds, row.run_seconds) for row in rows),
    )


def _error(pairs: Iterable[tuple[int, int]]) -> float:
    """The mean relative error; 0 where nothing was estimated."""
    off = [abs(became - estimate) / estimate for estimate, became in pairs if estimate > 0]
    return sum(off) / len(off) if off else 0.0
