"""What is always true of pipelines, whatever happens in whatever order: sites die, runs fail, people cancel and delete."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from federation.adapters.catalog_sql import SqlCatalog
from federation.core import errors, ids, job, tasks
from federation.core.job import JobState
from federation.core.pipeline import Pipeline
from federation.services import datasets, pipelines
from tests import prepared
from tests.services.pipelines import PipelineSimulation, task
from tests.sim import LocalRun, SimulatedAgent, check_laws

SITES = ("eu-1", "us-1", "us-2")
INPUTS = ("sales/flights", "sales/weather", "sales/orders")
ANY = st.integers(0, 10**6)


class Pipelines(RuleBasedStateMachine):
    """Three sites, a few pipelines, and all that can befall them."""

    def __init__(self) -> None:
        super().__init__()
        self.sim = PipelineSimulation(SITES)

    @initialize()
    def scene(self) -> None:
        """Data at two sites, part of it bound to the EU."""
        self.sim.put("sales/flights", "us-1")
        self.sim.put("sales/weather", "eu-1", total=10**6)
        self.sim.put("sales/orders", "eu-1", residency=("EU",))

    # People

    @rule(pick=ANY, optional=st.booleans(), attempts=st.integers(1, 2))
    def submit(self, pick: int, optional: bool, attempts: int) -> None:
        """A diamond: two that read datasets, one that joins them, one that comes after without data."""
        number = len(self.sim.all(Pipeline))
        first, second = INPUTS[pick % 3], INPUTS[pick // 3 % 3]
        more = {"max_attempts": attempts}
        wanted = (
            task("a", [f"x={first}"], [f"out=ml/a{number}"], optional=optional, **more),
            task("b", [f"x={second}"], [f"out=ml/b{number}"], optional=optional, **more),
            task("join", ["l=a.out", "r=b.out"], [f"out=ml/j{number}"], **more),
            task("last", after=("join",), **more),
        )
        try:
            self.sim.send(*wanted, parts_min=pick % 3 if optional else 0)
        except errors.FailedPrecondition as refused:
            if refused.reason != "DATASET_DELETED":
                raise

    @rule(pick=ANY)
    def cancel(self, pick: int) -> None:
        """Somebody cancels a pipeline."""
        live = [each for each in self.sim.all(Pipeline) if not each.state.terminal]
        if live:
            name = live[pick % len(live)].pipeline
            self.sim.write(lambda tx: pipelines.cancel(tx, name))

    @rule(pick=ANY)
    def cancel_job(self, pick: int) -> None:
        """Somebody cancels a job of a pipeline by itself."""
        live = [each for each in self.sim.all(job.Job) if not each.state.terminal]
        if live:
            self.sim.cancel(live[pick % len(live)].job)

    @rule(pick=ANY, back=st.booleans())
    def delete(self, pick: int, back: bool) -> None:
        """Somebody deletes a dataset that pipelines read or write, or takes that back."""
        found = [each for each in self.sim.all(datasets.dataset.Dataset) if (each.delete_time is not None) == back]
        if found and pick % 4 == 0:
            name = ids.dataset(found[pick % len(found)].name.short)
            change = datasets.undelete_dataset if back else datasets.delete_dataset
            self.sim.write(lambda tx: change(tx, name))

    # Agents

    def held(self, pick: int) -> tuple[SimulatedAgent, LocalRun] | None:
        """A run that an agent that lives has taken."""
        found = [(a, r) for a in self.sim.agents.values() if a.alive for r in a.runs.values() if r.accepted]
        return found[pick % len(found)] if found else None

    @rule(seconds=st.integers(1, 20))
    def pass_time(self, seconds: int) -> None:
        """All that live do a round of work, and time passes."""
        for agent in self.sim.agents.values():
            if agent.alive:
                agent.beat()
                agent.work()
                for run in list(agent.runs):
                    agent.accept(run)
        self.sim.wait(seconds)

    @rule()
    def drive(self) -> None:
        """A round of everything."""
        self.sim.drive()

    @rule()
    def step(self) -> None:
        """Another server takes the same step."""
        self.sim.step()

    @rule(pick=ANY, hear=st.booleans())
    def finish(self, pick: int, hear: bool) -> None:
        """A run ends well; the answer may get lost."""
        if held := self.held(pick):
            agent, local = held
            if not any(self.sim.dataset(out.dataset).delete_time for out in local.start.outputs):
                agent.finish(local.name, hear=hear)

    @rule(pick=ANY, reason=st.sampled_from(["ENTRYPOINT_FAILED", "WORKER_DIED", "STORAGE_FULL"]))
    def fail(self, pick: int, reason: str) -> None:
        """A run fails."""
        if held := self.held(pick):
            agent, local = held
            agent.fail(local.name, reason, retryable=reason != "ENTRYPOINT_FAILED")

    @rule(pick=ANY)
    def die(self, pick: int) -> None:
        """A site falls silent."""
        self.sim.agents[SITES[pick % 3]].die()

    @rule(pick=ANY)
    def come_up(self, pick: int) -> None:
        """A site comes back."""
        self.sim.agents[SITES[pick % 3]].come_up()

    # What is always true

    @invariant()
    def laws(self) -> None:
        """Each task has at most one job that lives, and at most one that succeeded; nothing starts before what it needs."""
        all_jobs = self.sim.all(job.Job)
        for each in self.sim.all(Pipeline):
            for run in each.tasks:
                mine = [one for one in all_jobs if (one.request.pipeline, one.request.task) == (each.pipeline, run.task)]
                assert sum(not one.state.terminal for one in mine) <= 1
                assert sum(one.state is JobState.SUCCEEDED for one in mine) <= 1
                assert run.job in {"", *(one.job for one in mine)}
            self.check_order(each, {run.task: run for run in each.tasks})

    def check_order(self, each: Pipeline, runs: dict) -> None:
        """A task with a job has all its needs behind it; an ended pipeline has nothing that lives."""
        for spec in each.request.tasks:
            if runs[spec.task].job:
                assert all(runs[name].state.terminal for name in tasks.needs(spec))
        if each.state.terminal:
            assert all(run.state.terminal for run in each.tasks)

    def teardown(self) -> None:
        """Everything comes back, and every pipeline ends; a step after that changes nothing."""
        for name in (each.name for each in self.sim.all(datasets.dataset.Dataset) if each.delete_time is not None):
            self.sim.write(lambda tx, name=name: datasets.undelete_dataset(tx, name))
        for agent in self.sim.agents.values():
            agent.come_up()
        for _ in range(80):
            if all(each.state.terminal for each in self.sim.all(Pipeline)):
                break
            self.sim.drive()
        assert [each for each in self.sim.all(Pipeline) if not each.state.terminal] == []
        assert [each for each in self.sim.all(job.Job) if not each.state.terminal] == []
        self.sim.drive(3)
        revision = self.sim.catalog.revision()
        assert self.sim.step() == 0
        assert self.sim.catalog.revision() == revision
        check_laws(self.sim)
        self.sim.catalog.close()


TestPipelines = Pipelines.TestCase
TestPipelines.settings = settings(max_examples=12, stateful_step_count=20, deadline=None)


@pytest.mark.parametrize("seed", range(2))
def test_pipelines_survive_on_sqlite_too(tmp_path: Path, seed: int):
    """The same federation on a real database: sites come and go, and every pipeline ends."""

    def sqlite(clock, ids_):
        return SqlCatalog(prepared.sqlite(tmp_path / "catalog.db"), clock, ids_)

    sim = PipelineSimulation(SITES, seed=seed, catalog=sqlite)
    sim.put("sales/flights", "us-1")
    sim.put("sales/weather", "eu-1", total=10**6)
    sent = [
        sim.send(
            task("a", ["sales/flights"], [f"out=ml/a{n}"], optional=True),
            task("b", ["sales/weather"], [f"out=ml/b{n}"], optional=True),
            task("join", ["l=a.out", "r=b.out"], [f"out=ml/j{n}"]),
            parts_min=1,
        )
        for n in range(3)
    ]
    for _ in range(40):
        agent = sim.agents[sim.random.choice(SITES)]
        agent.die() if sim.random.random() < 0.4 else agent.come_up()
        sim.drive()
    sim.finish_everything()
    assert all(sim.until_ended(each).state.terminal for each in sent)
    check_laws(sim)
    sim.catalog.close()
