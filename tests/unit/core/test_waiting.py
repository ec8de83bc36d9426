"""How long until a site has room."""

from __future__ import annotations

from datetime import timedelta

from federation.core import job, waiting
from federation.core.world import Occupation
from tests import builders
from tests.builders import NOW


def held(run: str, seconds: int, **resources) -> Occupation:
    """What a run holds at `us-1`, and when it should end."""
    return Occupation(site="us-1", run=run, resources=job.Resources(**resources), end_time=NOW + timedelta(seconds=seconds))


def wait(cpus: int, *occupations: Occupation, load: int = 14, **changes) -> int | None:
    """Seconds until so many of 16 CPUs are free."""
    world = builders.world(loads=(builders.load("us-1", load),), occupations=occupations, **changes)
    return waiting.seconds(job.Resources(cpus=cpus), builders.site("us-1"), world)


def test_what_is_free_now_is_not_waited_for():
    """Two of sixteen are free."""
    assert wait(2, held("a", 100, cpus=14)) == 0


def test_runs_give_back_in_the_order_of_their_ends():
    """Four are free after the first end, ten after the second, whichever is named first."""
    runs = [held("late", 300, cpus=6), held("soon", 100, cpus=2)]
    assert [wait(cpus, *order) for order in (runs, runs[::-1]) for cpus in (4, 5, 10, 11)] == [100, 300, 300, None] * 2


def test_an_overdue_run_ends_at_any_moment_which_is_not_now():
    """Its predicted end has passed, and it still holds what it holds."""
    assert wait(4, held("overdue", -50, cpus=2)) == 1


def test_what_others_use_is_not_predicted_to_come_back():
    """Only the federation's own runs have a predicted end."""
    used = builders.site("us-1", capacity=builders.sites.Capacity(cpus=16, memory_bytes=10**9, used_cpus=10))
    world = builders.world([used], [], loads=(builders.load("us-1", 4),), occupations=(held("a", 60, cpus=4),))
    assert waiting.seconds(job.Resources(cpus=6), used, world) == 60
    assert waiting.seconds(job.Resources(cpus=7), used, world) is None
