"""What is prepared once for each state of the sites: it saves time and changes no answer, whatever it is offered to."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import given

from federation.core import planner, prepared
from federation.core.world import World
from tests import builders
from tests.unit.core.test_planner import requests, worlds


def ground(world: World, before: prepared.Prepared | None = None) -> prepared.Prepared:
    """What is prepared of a world."""
    return prepared.Prepared(world.sites, world.rates, world.speeds, before)


@given(requests, worlds(), worlds())
def test_what_is_prepared_changes_no_answer(request_, world, other):
    """Neither of this world, made anew or from what was known of another, nor of another world: that is not believed."""
    plain = planner.plan(request_, world)
    assert planner.plan(request_, world, ground=ground(world)) == plain
    assert planner.plan(request_, world, ground=ground(world, ground(other))) == plain
    assert planner.plan(request_, world, ground=ground(other)) == plain


def test_after_a_heartbeat_only_that_site_is_looked_at():
    """What is known of the others is taken over, and so is what the links' speeds are."""
    sites = tuple(builders.site(name) for name in ("eu-1", "eu-2", "us-1"))
    before = prepared.Prepared(sites, builders.rates(), ())
    busy = replace(sites[1], capacity=replace(sites[1].capacity, used_cpus=16))
    after = prepared.Prepared((sites[0], busy, sites[2]), before.rates, before.speed_rows, before)
    same = [after.facts[id(row)] is before.facts.get(id(row)) for row in after.given]
    assert same == [True, False, True]
    assert [int(count) for count in after.cpus] == [16, 0, 16]
    assert after.speeds is before.speeds
    assert after.regions is before.regions


def test_a_site_that_has_gone_full_is_refused_though_it_was_prepared_empty():
    """A prepared value of before the heartbeat is of other objects, so it decides nothing."""
    world = builders.world()
    before = ground(world)
    full = tuple(replace(row, capacity=replace(row.capacity, used_cpus=16)) for row in world.sites)
    plan = planner.plan(builders.request(), replace(world, sites=full), ground=before)
    assert {row.reason for row in plan.rejections} == {"CPUS_EXHAUSTED"}
    assert plan.choice is None
