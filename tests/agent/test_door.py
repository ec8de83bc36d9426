"""The lease: how long a site's runs go on without a word from the catalog."""

from __future__ import annotations

import pytest

from federation.adapters.system import ManualClock
from federation.agent import door
from federation.core import errors


def test_a_lease_counts_from_the_moment_that_was_asked() -> None:
    """A slow answer makes it no longer."""
    clock = ManualClock()
    lease = door.Lease(clock)
    asked = clock.now()
    clock.advance(5)
    lease.renew(asked, 6)
    lease.require()
    clock.advance(1)
    with pytest.raises(errors.Unavailable) as refused:
        lease.require()
    assert refused.value.reason == "LEASE_LOST"


def test_without_a_word_there_is_no_lease() -> None:
    """An agent that has not heard from the catalog serves no run."""
    with pytest.raises(errors.Unavailable) as refused:
        door.Lease(ManualClock()).require()
    assert refused.value.reason == "LEASE_LOST"
