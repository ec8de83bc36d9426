"""Money, sizes and durations as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, units


@given(st.integers(-(10**15), 10**15))
def test_dollars_are_exact_both_ways(micros: int):
    """Every micro-dollar is printed and read back."""
    text = units.usd(micros).replace("$", "").replace(",", "")
    assert units.micros(text) == micros


@pytest.mark.parametrize("bad", ["", "abc", "0.0000001", "NaN", "Infinity"])
def test_what_is_not_a_whole_number_of_micro_dollars_is_refused(bad: str):
    """No rounding where somebody meant something else."""
    with pytest.raises(errors.InvalidArgument) as caught:
        units.micros(bad)
    assert caught.value.reason == "AMOUNT_INVALID"


@pytest.mark.parametrize(
    ("text", "size"), [("0", 0), ("1KB", 1000), ("1KiB", 1024), ("1.5 GB", 1_500_000_000), ("10TiB", 10 * 2**40), ("7b", 7)]
)
def test_sizes_know_decimal_and_binary_units(text: str, size: int):
    """KB is 1000, KiB is 1024."""
    assert units.parse_size(text) == size


@pytest.mark.parametrize("bad", ["", "-1", "1XB", "GB", "1e3"])
def test_what_is_not_a_size_is_refused(bad: str):
    """A sign, an unknown unit, no number."""
    with pytest.raises(errors.InvalidArgument):
        units.parse_size(bad)


@given(st.integers(0, 10**17))
def test_a_printed_size_is_near_the_size(number: int):
    """At most 5 % off, and exact in bytes."""
    text = units.size(number)
    assert abs(units.parse_size(text) - number) <= number * 0.05


def test_durations_have_units():
    """Seconds by default."""
    assert [units.parse_duration(text) for text in ("90", "90s", "15m", "2h", "1d")] == [90, 90, 900, 7200, 86400]
