"""What counts as sent already: the same whether it is asked scope by scope or for all links at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, planner, ratecard, sent, site
from tests import builders

REGIONS = ["aws:a", "aws:b", "gcp:c"]
ORIGINS = [(region, account) for region in REGIONS for account in ("", "research")]
SCOPES = sorted({ratecard.scope(region, to, account) for region, account in ORIGINS for to in REGIONS})
COUNTS = st.dictionaries(st.sampled_from(SCOPES), st.integers(0, 10**15))


@given(COUNTS, COUNTS)
def test_all_links_at_once_say_what_each_scope_says(volumes, reserved):
    """For every origin and region: what was sent this month and what quotes in flight will send."""
    rows = tuple(site.LinkVolume(scope=scope, month="2026-11", sent_bytes=count) for scope, count in volumes.items())
    held = tuple(site.LinkReservation(scope=scope, reserved_bytes=count) for scope, count in reserved.items())
    world = builders.world(volumes=rows, reservations=held)
    for regions in (REGIONS, list(REGIONS)):
        found = sent.Sent(rows, held, REGIONS).before(ORIGINS, regions)
        told = np.zeros((len(ORIGINS), len(REGIONS)), dtype=np.int64) if found is None else found
        for n, (region, account) in enumerate(ORIGINS):
            scopes = [ratecard.scope(region, to, account) for to in REGIONS]
            assert told[n].tolist() == [world.sent_bytes(scope) for scope in scopes]


def test_it_is_found_once_for_each_state_of_the_counters():
    """Another decision of the same counters takes what is there; another counter makes it anew."""
    world = builders.world(volumes=(site.LinkVolume(scope="aws:eu-central-1~internet", month="2026-11", sent_bytes=5),))
    ground = planner.decide(builders.request(), world).ground
    assert ground.sent_in(world) is ground.sent_in(world)
    assert ground.sent_in(builders.world()) is not ground.sent_in(world)


def test_a_counter_that_cannot_be_is_refused():
    """By name: nothing is priced after a volume that no scope has carried."""
    volumes = (site.LinkVolume(scope="aws:eu-central-1~internet", month="2026-11", sent_bytes=-1),)
    with pytest.raises(errors.InvalidArgument, match="aws:eu-central-1~internet has sent -1 bytes"):
        planner.plan(builders.request(), builders.world(volumes=volumes))
