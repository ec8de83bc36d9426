"""Secrets that several hold together."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation.core import errors
from federation.crypto import shares

sizes = st.integers(2, 6).flatmap(lambda count: st.tuples(st.integers(2, count), st.just(count)))


@settings(max_examples=30, deadline=None)
@given(st.binary(min_size=1, max_size=32), sizes)
@pytest.mark.invariant("K6")
def test_any_so_many_give_the_secret_back(secret, size):
    """Whichever they are, in whichever order."""
    threshold, count = size
    made = shares.split(secret, shares=count, threshold=threshold)
    assert len({share[0] for share in made}) == count
    for chosen in itertools.islice(itertools.permutations(made, threshold), 12):
        assert shares.combine(chosen) == secret


@pytest.mark.invariant("K6")
def test_one_share_less_says_nothing():
    """Whatever the shares of fewer are, every secret is as likely: each value of the missing share gives another."""
    first, second, _ = shares.split(b"\x07", shares=3, threshold=3)
    assert len({shares.combine([first, second, bytes([3, value])]) for value in range(256)}) == 256


def test_the_field_is_that_of_aes():
    """Products of FIPS 197, section 4.2: 57 * 83 = c1, 57 * 13 = fe; and each value times its inverse is 1."""
    assert (shares._times(0x57, 0x83), shares._times(0x57, 0x13)) == (0xC1, 0xFE)
    assert all(shares._times(value, shares._inverse(value)) == 1 for value in range(1, 256))


@pytest.mark.parametrize(("count", "threshold"), [(1, 1), (2, 1), (2, 3), (256, 2)])
def test_what_is_no_threshold_is_refused(count, threshold):
    """One alone, more than there are, or more than the field has points."""
    with pytest.raises(errors.InvalidArgument) as caught:
        shares.split(b"s", shares=count, threshold=threshold)
    assert caught.value.reason == "THRESHOLD_INVALID"


@pytest.mark.parametrize("given_", [[b"\x01a", b"\x01b"], [b"\x00a", b"\x01b"], [b"\x01a", b"\x02bc"]])
def test_what_are_no_shares_of_one_secret_is_refused(given_):
    """The same number twice, the secret's own place, or another length."""
    with pytest.raises(errors.InvalidArgument) as caught:
        shares.combine(given_)
    assert caught.value.reason == "SHARES_INVALID"
