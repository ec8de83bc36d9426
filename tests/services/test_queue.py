"""Jobs that wait: placed together, by priority and fair share, with room kept for the big ones, within quotas."""

from __future__ import annotations

import dataclasses

import pytest

from federation.core import job, quota
from federation.core.job import JobState
from federation.services import namespaces, shares
from tests import builders
from tests.sim import Simulation


@pytest.fixture
def sim() -> Simulation:
    """Two sites of 16 CPUs each; the orders lie at the first, and at the second nothing."""
    made = Simulation(places=("eu-1", "us-1"))
    made.put("sales/orders", "eu-1", total=10**12)
    made.put("sales/clicks", "eu-1", total=10**9)
    return made


def asked(cpus: int, *, inputs: tuple[str, ...] = (), namespace: str = "sales", **changes: object) -> job.JobRequest:
    """A job of so many CPUs for ten minutes."""
    return builders.request(list(inputs), cpus=cpus, namespace=namespace, **changes)


def where(sim: Simulation, *jobs: job.Job) -> list[str]:
    """The sites of jobs' current runs, '' for those that wait."""
    return [sim.read(lambda tx, each=each: _site(tx, sim.job(each.job))) for each in jobs]


def _site(tx, stored: job.Job) -> str:
    run = tx.get(job.Run, stored.run) if stored.run and not stored.state.terminal else None
    return run.site if run is not None and stored.state is not JobState.PENDING else ""


def fill(sim: Simulation) -> list[job.Job]:
    """Takes all room at both sites."""
    return [sim.submit(asked(16, sites=(name,))) for name in sim.agents]


def test_jobs_that_wait_are_placed_where_they_cost_least_together(sim):
    """First come, first served would give the data's site to the older job, which hardly reads; together they are cheaper."""
    full = fill(sim)
    small = sim.submit(asked(16, inputs=("sales/clicks",)))
    big = sim.submit(asked(16, inputs=("sales/orders",)))
    for each in full:
        sim.cancel(each.job)
    sim.sweep()
    assert where(sim, small, big) == ["us-1", "eu-1"]
    assert sim.job(big.job).plan.choice.egress_micros == 0


def test_a_newcomer_does_not_overtake_who_waits_for_the_same_site(sim):
    """It would fit, but so does the one that came before it: both are placed at the next look, the older one first."""
    full = fill(sim)
    older = sim.submit(asked(16, sites=("eu-1",)))
    sim.cancel(full[0].job)
    newer = sim.submit(asked(16, sites=("eu-1",)))
    assert (newer.state, newer.reason) == (JobState.PENDING, "QUEUED")
    sim.sweep()
    assert where(sim, older, newer) == ["eu-1", ""]


def told(sim: Simulation, one: job.Job) -> list[tuple[str, str, str]]:
    """What would let a job begin, as its plan has it."""
    return [(row.site, row.change, row.subject) for row in sim.job(one.job).plan.counterfactuals]


def test_who_waits_for_room_is_told_how_much_more_would_do_as_that_changes(sim):
    """The cheapest site first, by its own figures; a look that finds nothing new leaves the plan as it is."""
    halves = [sim.submit(asked(8, sites=("eu-1",))) for _ in range(2)]
    waiting = sim.submit(asked(16, sites=("eu-1",)))
    assert told(sim, waiting) == [("eu-1", "MORE_CAPACITY", "16 CPUs")]
    before = sim.job(waiting.job)
    sim.sweep()
    assert sim.job(waiting.job) == before
    sim.cancel(halves[0].job)
    sim.sweep()
    assert told(sim, waiting) == [("eu-1", "MORE_CAPACITY", "8 CPUs")]


def test_what_need_not_be_told_to_one_job_is_told_to_another_that_asks_for_the_same(sim):
    """They share one plan, which says nothing new to the first; the second has it from another time."""
    fill(sim)
    first, second = (sim.submit(asked(16, sites=("eu-1",))) for _ in range(2))
    old = dataclasses.replace(second.plan, rejections=(), counterfactuals=())
    sim.write(lambda tx: tx.replace(dataclasses.replace(tx.get(job.Job, second.job), plan=old)))
    sim.sweep()
    assert told(sim, second) == told(sim, first) == [("eu-1", "MORE_CAPACITY", "16 CPUs")]


def test_a_newcomer_goes_at_once_where_nobody_waits(sim):
    """Those who wait for one site hold nobody up at another."""
    fill(sim)
    waits = sim.submit(asked(16, sites=("eu-1",)))
    sim.declare("us-2")
    goes = sim.submit(asked(4, sites=("us-2",)))
    assert where(sim, waits, goes) == ["", "us-2"]


def test_a_higher_priority_goes_first(sim):
    """Whenever it came."""
    full = fill(sim)
    low = sim.submit(asked(16, sites=("eu-1",)))
    high = sim.submit(asked(16, sites=("eu-1",), priority=5))
    sim.cancel(full[0].job)
    sim.sweep()
    assert where(sim, low, high) == ["", "eu-1"]


def test_room_is_kept_for_a_big_job_that_waits(sim):
    """Small ones that would end later than its room comes do not take it; one that ends before may."""
    busy = [sim.submit(asked(8, sites=("eu-1",), duration_seconds=seconds)) for seconds in (600, 3600)]
    big = sim.submit(asked(16, sites=("eu-1",)))
    assert where(sim, *busy, big) == ["eu-1", "eu-1", ""]
    sim.cancel(busy[0].job)
    long, short = (sim.submit(asked(8, sites=("eu-1",), duration_seconds=seconds)) for seconds in (36_000, 60))
    sim.sweep()
    assert where(sim, big, long, short) == ["", "", "eu-1"]
    assert "keeps room" in sim.job(long.job).detail


def test_namespaces_share_a_full_site_by_weight(sim):
    """Over a hundred short jobs each, twice the weight is twice the CPU-seconds, within five percent."""
    sim.write(lambda tx: namespaces.create(tx, sim.ctx, builders.namespace("lab")), actor="users/root")
    sim.write(
        lambda tx: namespaces.set_quota(tx, "lab", weight=2, gpu_seconds_quota=0, egress_micros_quota=0), actor="users/root"
    )
    for _ in range(90):
        for namespace in ("sales", "lab"):
            sim.submit(asked(8, namespace=namespace, sites=("eu-1",), duration_seconds=30))
    sim.drive(rounds=60, seconds=10)
    ended = {
        name: sum(each.state is JobState.SUCCEEDED for each in sim.all(job.Job) if each.request.namespace == name)
        for name in ("sales", "lab")
    }
    assert min(ended.values()) > 10
    assert ended["lab"] < 90, "the weights only show while both wait"
    assert ended["lab"] / (ended["lab"] + ended["sales"]) == pytest.approx(2 / 3, abs=2 / 3 * 0.05)


def test_what_was_used_is_set_right_when_a_run_ends(sim):
    """A run that was to take ten minutes and took less has used less."""
    sim.submit(asked(4, sites=("eu-1",)))
    used = sim.read(lambda tx: shares.uses(tx, "sales"))
    assert [use.amount for use in used] == [0.0, pytest.approx(4 * 600)]
    sim.drive(rounds=4, seconds=10)
    (run,) = sim.all(job.Run)
    took = int((run.end_time - run.create_time).total_seconds())
    used = sim.read(lambda tx: shares.uses(tx, "sales"))
    assert used[1].amount == pytest.approx(4 * took, rel=0.01)


def test_a_month_without_quota_left_waits_and_says_so(sim):
    """GPU-seconds that live runs have reserved count; more quota lets it go."""
    for agent in sim.agents.values():
        agent.capacity = builders.capacity(16, "64GB", {"H100": 8})
        agent.come_up()
    sim.write(lambda tx: namespaces.create(tx, sim.ctx, builders.namespace("lab")), actor="users/root")
    _offer_gpus(sim)

    def limit(gpu_seconds: int) -> None:
        sim.write(
            lambda tx: namespaces.set_quota(tx, "lab", weight=1, gpu_seconds_quota=gpu_seconds, egress_micros_quota=0),
            actor="users/root",
        )

    limit(1000)
    first, second = (sim.submit(asked(1, namespace="lab", gpus=1, gpu_type="H100", duration_seconds=600)) for _ in range(2))
    assert (first.state, second.state, second.reason) == (JobState.PLACED, JobState.PENDING, "QUOTA_GPU_SECONDS")
    limit(2000)
    sim.sweep()
    assert sim.job(second.job).state is JobState.PLACED
    (usage,) = (each for each in sim.all(quota.NamespaceUsage) if each.namespace == "lab")
    assert usage.reserved_gpu_seconds == 1200


def _offer_gpus(sim: Simulation) -> None:
    from federation.core import site

    def work(tx) -> None:
        for name in sim.agents:
            stored = tx.get(site.Site, name)
            tx.replace(dataclasses.replace(stored, offer=builders.offer("0.04", {"H100": "4"})))

    sim.write(work, actor="users/root")
