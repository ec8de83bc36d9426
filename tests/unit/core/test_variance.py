"""Estimate against meter, summed."""

from __future__ import annotations

import pytest

from federation.core import errors, variance
from federation.core.variance import Observation


def read(run: str, estimate: int, metered: int) -> Observation:
    """A read whose money is a thousandth of its bytes."""
    return Observation(
        job=run,
        label="train",
        run=run,
        link="a~b",
        input="x=sales/flights",
        estimate_bytes=estimate,
        metered_bytes=metered,
        estimate_micros=estimate // 1000,
        charge_micros=metered // 1000,
    )


def test_sums_may_be_right_where_each_part_is_wrong_and_the_error_shows_it() -> None:
    """One too high, one too low."""
    (row,) = variance.summarize([read("r1", 1000, 500), read("r2", 1000, 1500)], "label")
    assert (row.estimate_bytes, row.metered_bytes, row.runs) == (2000, 2000, 2)
    assert row.bytes_error == pytest.approx(0.5)


def test_what_had_no_estimate_is_summed_but_has_no_error() -> None:
    """Nothing can be divided by nothing."""
    (row,) = variance.summarize([read("r1", 0, 500), read("r1", 1000, 1100)], "job")
    assert row.metered_bytes == 1600
    assert row.bytes_error == pytest.approx(0.1)
    assert variance.total([read("r1", 0, 5)]).bytes_error == 0


def test_the_time_of_a_run_belongs_to_no_link() -> None:
    """But to its job and to the total."""
    seen = [read("r1", 1000, 1000), Observation(job="r1", label="train", run="r1", estimate_seconds=100, run_seconds=150)]
    (link,) = variance.summarize(seen, "link")
    assert (link.key, link.estimate_seconds) == ("a~b", 0)
    (by_job,) = variance.summarize(seen, "job")
    assert (by_job.estimate_seconds, by_job.run_seconds) == (100, 150)
    assert by_job.time_error == pytest.approx(0.5)
    assert variance.total(seen).runs == 1


def test_an_unknown_key_is_refused() -> None:
    """With those that are known."""
    with pytest.raises(errors.InvalidArgument, match="moon") as caught:
        variance.summarize([], "moon")
    assert caught.value.reason == "SUMMARY_KEY_UNKNOWN"
