"""What a site tells of its cluster: totals, and what others than its own runs use, once it is sure."""

from __future__ import annotations

import threading

from federation.agent.capacity import CapacityWatch
from federation.core import job, site
from tests.agent.compute import MemoryCompute

RUN = "jobs/j-1/runs/1"


def report(gpus: int = 0, cpus: int = 0, **changes: object) -> site.Capacity:
    """A cluster of 8 H100 and 16 CPUs, of which so many are used by whomever."""
    values = {"cpus": 16, "gpus": (("H100", 8),), "used_cpus": cpus, "used_gpus": (("H100", gpus),) if gpus else ()}
    return site.Capacity(**values | changes)


def test_what_others_use_is_told_once_two_looks_have_seen_it():
    """The first look may have caught the tail of something that has just ended."""
    watch = CapacityWatch(None, dict)
    assert watch.seen(report(gpus=3, cpus=5)).used_gpus == ()
    sure = watch.seen(report(gpus=2, cpus=6))
    assert (sure.used_gpus, sure.used_cpus, sure.gpus) == ((("H100", 2),), 5, (("H100", 8),))


def test_what_the_sites_own_runs_hold_is_not_told_again():
    """The catalog has reserved it already; what is used beyond it is others'."""
    own = {RUN: job.Resources(cpus=4, gpus=2, gpu_type="H100")}
    watch = CapacityWatch(None, lambda: own)
    watch.seen(report(gpus=3, cpus=9))
    sure = watch.seen(report(gpus=3, cpus=9))
    assert sure.used_gpus == (("H100", 1),)
    assert sure.used_cpus == 0, "a run's own tasks use CPUs that nobody can tell from others'"


def test_a_run_of_any_type_is_taken_off_whatever_type_is_used():
    """It holds one of the types, and nobody says which."""
    own = {RUN: job.Resources(gpus=2)}
    watch = CapacityWatch(None, lambda: own)
    mixed = report(used_gpus=(("A10G", 1), ("H100", 2)))
    watch.seen(mixed)
    assert sum(count for _, count in watch.seen(mixed).used_gpus) == 1


def test_after_a_run_has_ended_its_trace_in_the_report_does_not_count():
    """A cluster's report lags: the site is not full with what it has just finished."""
    own = {RUN: job.Resources(gpus=8, gpu_type="H100")}
    watch = CapacityWatch(None, lambda: dict(own))
    watch.seen(report(gpus=8))
    watch.seen(report(gpus=8))
    own.clear()
    assert watch.seen(report(gpus=8)).used_gpus == ()
    assert watch.seen(report(gpus=0)).used_gpus == ()


def test_a_cluster_that_does_not_answer_keeps_its_totals_and_says_why():
    """So that the catalog still knows what the site could run."""
    compute = MemoryCompute()
    watch = CapacityWatch(compute, dict)
    assert watch.look() == (site.Capacity(), "its cluster has not answered yet")
    for away in (False, True):
        compute.away = away
        over = threading.Event()
        over.set()
        watch.refresh(over)
    known, why = watch.look()
    assert (known.cpus, why) == (8, "the cluster does not answer")
