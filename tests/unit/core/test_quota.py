"""Quotas: what is left of one, and what is beyond it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from federation.core import quota


@given(st.integers(0, 100), st.integers(0, 100), st.integers(0, 100))
def test_a_quota_refuses_exactly_what_is_beyond_it(limit, spent, wanted):
    """To the last micro-dollar; who wants nothing is never refused, and without a limit (0) nobody is."""
    refused = quota.exceeded(wanted, quota.left(limit, spent))
    assert refused == (limit > 0 and wanted > 0 and spent + wanted > limit)
