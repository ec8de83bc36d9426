"""What is always true, whatever happens in whatever order: agents die, answers get lost, people cancel and delete."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from federation.adapters.catalog_sql import SqlCatalog
from federation.core import errors, ids, job
from federation.services import personal
from tests import builders, prepared
from tests.sim import LocalRun, SimulatedAgent, Simulation, check_laws

SITES = ("eu-1", "us-1", "us-2")
INPUTS = ("sales/flights", "sales/weather", "sales/orders")
ANY = st.integers(0, 10**6)


class Federation(RuleBasedStateMachine):
    """Three sites with small clusters, so that jobs wait for each other."""

    def __init__(self) -> None:
        super().__init__()
        self.sim = Simulation(SITES)

    @initialize()
    def scene(self) -> None:
        """Data at two sites, clusters of four CPUs."""
        for agent in self.sim.agents.values():
            agent.capacity = builders.capacity(4)
            agent.beat()
        self.sim.put("sales/flights", "us-1")
        self.sim.put("sales/weather", "eu-1", total=10**6)
        self.sim.put("sales/orders", "eu-1", residency=("EU",))

    # People

    @rule(inputs=st.sets(st.sampled_from(INPUTS)), cpus=st.integers(1, 5), output=st.booleans(), attempts=st.integers(1, 3))
    def submit(self, inputs: set[str], cpus: int, output: bool, attempts: int) -> None:
        """Somebody submits a job; some can never run."""
        outputs = ["out=ml/out-" + "-".join(sorted(name.partition("/")[2] for name in inputs))] if output and inputs else []
        request = builders.request(sorted(inputs), outputs, cpus=cpus, max_attempts=attempts)
        self.sim.submit(request)

    @rule(pick=ANY)
    def cancel(self, pick: int) -> None:
        """Somebody cancels a job that has not ended."""
        live = [each for each in self.sim.all(job.Job) if not each.state.terminal]
        if live:
            self.sim.cancel(live[pick % len(live)].job)

    @rule(pick=ANY)
    def download(self, pick: int) -> None:
        """Somebody takes data home."""
        name = ids.dataset(INPUTS[pick % 2])
        try:
            grant = self.sim.write(lambda tx: personal.open_read(tx, self.sim.ctx, builders.person(), name))
        except errors.FailedPrecondition as error:
            if error.reason != "SITE_NOT_READY":
                raise
        else:
            self.sim.agents[grant.site].open_grants[grant.grant] = pick

    @rule(pick=ANY)
    def write(self, pick: int) -> None:
        """Somebody writes a new version, if the site answers."""
        try:
            self.sim.put(*(("sales/flights", "us-1") if pick % 2 else ("sales/weather", "eu-1")), total=pick)
        except errors.FailedPrecondition as error:
            if error.reason != "SITE_LOST":
                raise

    # Agents

    def agent(self, pick: int) -> SimulatedAgent | None:
        """One that lives."""
        alive = [agent for agent in self.sim.agents.values() if agent.alive]
        return alive[pick % len(alive)] if alive else None

    def held(self, pick: int) -> tuple[SimulatedAgent, LocalRun] | None:
        """A run that an agent that lives has taken."""
        found = [(a, r) for a in self.sim.agents.values() if a.alive for r in a.runs.values() if r.accepted]
        return found[pick % len(found)] if found else None

    @rule(pick=ANY)
    def beat(self, pick: int) -> None:
        """A heartbeat: leases are renewed, closed grants are settled."""
        if agent := self.agent(pick):
            agent.beat()

    @rule(pick=ANY)
    def work(self, pick: int) -> None:
        """An agent reads its instructions and takes what it is given."""
        if agent := self.agent(pick):
            agent.work()
            for run in list(agent.runs):
                agent.accept(run)

    @rule(pick=ANY)
    def drive(self, pick: int) -> None:
        """An agent does a round of everything."""
        if agent := self.agent(pick):
            agent.drive()

    @rule(pick=ANY, hear=st.booleans())
    def finish(self, pick: int, hear: bool) -> None:
        """A run ends well; the answer may get lost."""
        if held := self.held(pick):
            agent, local = held
            agent.finish(local.name, hear=hear)

    @rule(pick=ANY, reason=st.sampled_from(["ENTRYPOINT_FAILED", "PREEMPTED", "STORAGE_FULL", "COMPUTE_UNAVAILABLE"]))
    def fail(self, pick: int, reason: str) -> None:
        """A run fails."""
        if held := self.held(pick):
            agent, local = held
            agent.fail(local.name, reason, retryable=True)

    @rule(pick=ANY, size=st.integers(0, 10**9))
    def read(self, pick: int, size: int) -> None:
        """A run reads an input."""
        if held := self.held(pick):
            agent, local = held
            for assigned in local.start.inputs:
                if self.sim.agents[assigned.plan.source_site].alive:
                    agent.read(local.name, assigned.plan.alias, size)

    @rule(pick=ANY)
    def settle(self, pick: int) -> None:
        """A source settles a grant, perhaps for the second time and with other figures."""
        agent = self.agent(pick)
        known = sorted({*agent.open_grants, *agent.settled}) if agent else []
        if agent and known:
            agent.settle(known[pick % len(known)])

    @rule(pick=ANY)
    def die(self, pick: int) -> None:
        """An agent dies."""
        if agent := self.agent(pick):
            agent.die()

    @rule(pick=ANY, wiped=st.booleans())
    def come_back(self, pick: int, wiped: bool) -> None:
        """An agent comes back, perhaps without its journal."""
        agent = self.sim.agents[SITES[pick % len(SITES)]]
        if wiped:
            agent.wipe()
        agent.come_up()

    # Time

    @rule(seconds=st.sampled_from([1, 3, 15, 60]))
    def wait(self, seconds: int) -> None:
        """Time passes and the server sweeps; sweeping on, it soon has nothing left to do.

        A second sweep may still tell a waiting job that a later one has just taken the room at a site; a third changes nothing.
        """
        self.sim.wait(seconds)
        self.sim.sweep()
        assert self.sim.sweep() == 0

    @invariant()
    def laws(self) -> None:
        """All of them, after each step."""
        check_laws(self.sim)

    def teardown(self) -> None:
        """No job is stuck when its sites answer."""
        self.sim.finish_everything()
        check_laws(self.sim)
        stuck = [each for each in self.sim.all(job.Job) if not each.state.terminal]
        assert stuck == []


TestFederation = Federation.TestCase
# A third of the examples of the profile: each is a whole story, with all laws after each of its steps.
TestFederation.settings = settings(max_examples=settings().max_examples // 3, stateful_step_count=30)


@pytest.mark.parametrize("seed", range(3))
def test_a_federation_whose_agents_die_at_random_ends_all_its_jobs(seed: int) -> None:
    """Twenty-five jobs, agents that die and come back by a seeded coin; the laws hold on the way, and every job ends."""
    sim = Simulation(SITES, seed=seed)
    sim.put("sales/flights", "us-1")
    sim.put("sales/weather", "eu-1", total=10**6)
    for number in range(25):
        names = sim.random.sample(["sales/flights", "sales/weather"], sim.random.randint(1, 2))
        sim.submit(builders.request(names, [f"out=ml/out-{number}"], cpus=sim.random.randint(1, 8), max_attempts=5))
        agent = sim.agents[sim.random.choice(SITES)]
        if not agent.alive:
            agent.come_up()
        elif sim.random.random() < 0.3:
            agent.die()
        sim.drive(seconds=sim.random.choice([1, 3, 8]))
        if number % 5 == 0:
            check_laws(sim)
    sim.finish_everything()
    check_laws(sim)
    ended = sim.all(job.Job)
    assert all(each.state.terminal for each in ended)
    assert sum(each.state is job.JobState.SUCCEEDED for each in ended) > 20


def test_the_laws_hold_on_sqlite_too(tmp_path: Path) -> None:
    """The same use cases over the real store: an agent dies, comes back, and every job ends."""
    sim = Simulation(SITES, catalog=lambda clock, made: SqlCatalog(prepared.sqlite(tmp_path / "catalog.db"), clock, made))
    sim.put("sales/flights", "us-1")
    for number in range(4):
        sim.submit(builders.request(["sales/flights"], [f"out=ml/out-{number}"], cpus=8, max_attempts=5))
        sim.drive()
        if number == 1:
            sim.agents["us-1"].die()
    sim.finish_everything()
    check_laws(sim)
    assert {each.state for each in sim.all(job.Job)} == {job.JobState.SUCCEEDED}
    sim.catalog.close()


def test_the_same_seed_tells_the_same_story() -> None:
    """Event by event, so that what went wrong once can be looked at again."""

    def story() -> list[tuple[str, str, str]]:
        sim = Simulation(SITES, seed=7)
        sim.put("sales/flights", "us-1")
        sim.submit(builders.request(["sales/flights"], ["m=ml/m"]))
        sim.drive(4)
        return [(event.kind, event.name, event.body) for event in sim.events()]

    assert story() == story()
