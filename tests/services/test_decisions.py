"""Decisions about jobs as the record keeps them: each once, with what was weighed, in the order in which they were made."""

from __future__ import annotations

import pytest

from federation.core import decision, ids, metering, policy, records
from federation.core.decision import Outcome
from federation.core.job import JobState
from federation.services import datasets, jobs
from tests import builders
from tests.sim import Simulation


@pytest.fixture
def sim() -> Simulation:
    """Two sites of 16 CPUs each; orders that may be anywhere lie at the first, EU orders there too."""
    made = Simulation(places=("eu-1", "us-1"))
    made.put("sales/orders", "eu-1", total=10**9)
    made.put("sales/private", "eu-1", residency=("EU",))
    return made


def told(sim: Simulation, name: str = "") -> list[decision.Decision]:
    """The decisions of a job, or all, oldest first."""
    found = [records.loads(decision.Decision, event.body) for event in sim.events("placement.decided")]
    return [each for each in found if name in ("", each.job)]


def asked(*inputs: str, cpus: int = 1, **changes: object):
    """A request of people of sales."""
    return builders.request(list(inputs), cpus=cpus, namespace="sales", **changes)


def test_a_job_that_is_placed_has_one_decision_with_all_that_was_weighed(sim):
    """The choice with the parts of its cost, the runner-up, the baseline, the residency that bound it, and the revision."""
    placed = sim.submit(asked("sales/orders"))
    (made,) = told(sim)
    chosen = placed.plan.choice
    assert (made.outcome, made.job, made.run, made.attempt) == (Outcome.PLACED, placed.job, placed.run, 1)
    assert (made.site, made.region, made.objective_micros) == (chosen.site, chosen.region, chosen.objective_micros)
    assert (made.compute_micros, made.egress_micros) == (chosen.compute_micros, chosen.egress_micros)
    assert made.runner_up_site == placed.plan.ranked[1].site
    assert made.margin_micros == placed.plan.ranked[1].objective_micros - chosen.objective_micros
    assert made.baseline_egress_micros == placed.plan.baseline_egress_micros
    assert 0 < made.revision == placed.plan.revision
    assert [item.dataset for item in made.inputs] == ["sales/orders"]
    assert (placed.decision, made.supersedes) == (made.decision, "")


def test_the_residency_that_set_a_site_aside_stands_with_the_input(sim):
    """An auditor sees which policy held when it was decided, whatever it says today."""
    sim.submit(asked("sales/private"))
    (made,) = told(sim)
    assert made.inputs[0].residency == ("EU",)
    assert [(each.site, each.reason) for each in made.rejections] == [("us-1", "RESIDENCY_DENIED")]
    assert made.runner_up_site is None


def test_a_job_that_no_site_may_run_is_refused_once_and_for_ever(sim):
    """With every site's reason; it never had a run."""
    refused = sim.submit(asked("sales/private", sites=("us-1",)))
    assert refused.state is JobState.REJECTED
    (made,) = told(sim)
    assert (made.outcome, made.run, made.site, made.reason) == (Outcome.REFUSED, "", "", refused.reason)
    assert {each.site for each in made.rejections} == {"eu-1", "us-1"}


def test_a_job_that_waits_is_told_once_however_often_it_is_looked_at(sim):
    """Each second a sweep decides the same: that is no new decision. Placing it in the end is one."""
    full = [sim.submit(asked(cpus=16, sites=(name,))) for name in sim.agents]
    waits = sim.submit(asked(cpus=16))
    for _ in range(5):
        sim.wait(1)
    (made,) = told(sim, waits.job)
    assert (made.outcome, made.reason) == (Outcome.WAITING, sim.job(waits.job).reason)
    sim.cancel(full[0].job)
    sim.wait(1)
    first, second = told(sim, waits.job)
    assert (first, second.outcome, second.supersedes) == (made, Outcome.PLACED, made.decision)


def test_every_attempt_is_a_decision_of_its_own(sim):
    """A run whose site fell silent is decided again, and the first decision is superseded."""
    placed = sim.submit(asked("sales/orders"))
    sim.drive()
    sim.agents[placed.plan.choice.site].die()
    for _ in range(40):
        sim.wait(1)
    decisions = told(sim, placed.job)
    runs = [each.run for each in decisions if each.outcome == Outcome.PLACED]
    assert runs[0] == f"jobs/{placed.job}/runs/1"
    assert len(decisions) > 1
    assert [each.supersedes for each in decisions[1:]] == [each.decision for each in decisions[:-1]]


def test_a_job_whose_input_was_deleted_while_it_waited_is_refused_without_a_plan(sim):
    """Nothing could be weighed any more; the reason is what hindered it."""
    for name in sim.agents:
        sim.submit(asked(cpus=16, sites=(name,)))
    waits = sim.submit(asked("sales/orders", cpus=16))
    sim.write(lambda tx: datasets.delete_dataset(tx, ids.dataset("sales/orders")))
    sim.wait(1)
    ended = sim.job(waits.job)
    last = told(sim, waits.job)[-1]
    assert ended.state.terminal
    assert (last.outcome, last.reason, last.candidates) == (Outcome.REFUSED, ended.reason, ())


def test_trying_decides_nothing(sim):
    """A dry run is stored nowhere, and told nowhere."""
    ada = policy.Principal(name="users/ada", role=policy.Role.USER)
    sim.read(lambda tx: jobs.plan_only(tx, sim.ctx, ada, asked("sales/orders")))
    assert told(sim) == []


def test_what_it_came_to_is_a_join_by_run(sim):
    """Estimate of the decision beside the meter's word in the ledger: the run is the key, and nothing is written twice."""
    placed = sim.submit(asked("sales/orders", sites=("us-1",)))
    sim.finish_everything()
    (made,) = [each for each in told(sim, placed.job) if each.run]
    entries = [records.loads(metering.LedgerEntry, event.body) for event in sim.events("ledger.entry")]
    of_run = [each for each in entries if each.run == made.run]
    assert of_run
    assert sum(each.estimate_micros for each in of_run) == made.egress_micros
