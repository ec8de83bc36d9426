"""The sweep: brings stored state on, as often as it likes, with no memory of its own."""

from __future__ import annotations

from federation.core import ids, job, kinds
from federation.services import personal
from tests import builders
from tests.sim import LEASE_SECONDS, Simulation


def test_a_grant_that_is_over_is_closed_once(sim: Simulation) -> None:
    """Its source is told to settle it, whether it was ever used or not."""
    grant = sim.write(lambda tx: personal.open_read(tx, sim.ctx, builders.person(), ids.dataset("sales/flights"))).grant
    sim.clock.advance(sim.ctx.grant_seconds - 1)
    for agent in sim.agents.values():
        agent.beat()
    assert sim.sweep() == 0
    sim.wait(1)
    record = sim.read(lambda tx: tx.get(kinds.GrantRecord, grant))
    assert record is not None
    assert record.closed
    assert sim.sweep() == 0


def test_a_sweep_counts_what_it_changed(sim: Simulation) -> None:
    """Three sites fall silent; a run loses its lease. Sweeping again changes nothing."""
    sim.submit(builders.request(["sales/flights"]))
    sim.clock.advance(LEASE_SECONDS)
    assert sim.sweep() == 4
    assert sim.sweep() == 0


def test_jobs_that_wait_go_in_the_order_in_which_they_came(sim: Simulation) -> None:
    """Of those that would fit now, the oldest."""
    first = sim.submit(builders.request(["sales/orders"], cpus=16))
    second, third = (sim.submit(builders.request(["sales/orders"], cpus=16)) for _ in range(2))
    sim.cancel(first.job)
    sim.sweep()
    assert (sim.job(second.job).state, sim.job(third.job).state) == (job.JobState.PLACED, job.JobState.PENDING)


def test_a_job_without_any_site_is_rejected_and_one_with_a_site_to_come_waits() -> None:
    """A declared site may become READY; a federation without sites has nothing to wait for."""
    sim = Simulation(())
    assert sim.submit(builders.request()).reason == "NO_SITE"
    agent = sim.declare("eu-1", up=False)
    waiting = sim.submit(builders.request())
    assert (waiting.state, waiting.reason) == (job.JobState.PENDING, "SITE_NOT_READY")
    agent.come_up()
    sim.sweep()
    assert sim.job(waiting.job).state is job.JobState.PLACED
