"""What is true of transfers whatever happens in whatever order: agents die, answers get lost, people cancel, rules end."""

from __future__ import annotations

import dataclasses

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from federation.core import dataset, errors, ids, job, site, transfer
from federation.core.transfer import ReplicationRule
from federation.services import access, datasets, retention, rules, sites, transfers
from tests import builders
from tests.sim import LEASE_SECONDS, SimulatedAgent, Simulation, check_laws

SITES = ("eu-1", "eu-2", "us-1", "us-2")
DATASETS = ("sales/flights", "sales/orders", "sales/weather")
ANY = st.integers(0, 10**6)


class Copies(RuleBasedStateMachine):
    """Four sites that sell storage; two transfers at most run into one of them at once."""

    def __init__(self) -> None:
        super().__init__()
        self.sim = Simulation(SITES, transfers_per_site=2)

    @initialize()
    def scene(self) -> None:
        """Flights in the US, orders that must stay in the EU, weather anywhere."""
        offer = builders.offer(storage_gb_month_micros=20_000, storage_source="test")
        for name in SITES:
            place = dataclasses.replace(self.sim.read(lambda tx, n=name: sites.get_site(tx, n)), offer=offer, etag="")
            self.sim.write(lambda tx, p=place: sites.update_site(tx, p, frozenset({"offer"})))
        self.sim.put("sales/flights", "us-1")
        self.sim.put("sales/orders", "eu-1", residency=("EU",))
        self.sim.put("sales/weather", "eu-2", total=10**6)

    def refused(self, *reasons: str, work) -> None:
        """Does it, or hears one of these reasons."""
        try:
            self.sim.write(work, actor="users/alice")
        except errors.FederationError as error:
            if error.reason not in reasons:
                raise

    # People

    @rule(of=st.sampled_from(DATASETS), to=st.sampled_from(SITES), keep=st.sampled_from([0, 5, 60]), priority=st.integers(0, 3))
    def create(self, of: str, to: str, keep: int, priority: int) -> None:
        """Somebody asks for a replica."""
        alice = builders.person()
        self.refused(
            *("RESIDENCY_DENIED", "SITE_LOST", "SITE_NOT_READY", "DATASET_DELETED"),
            work=lambda tx: transfers.create(tx, self.sim.ctx, alice, of, to, keep_seconds=keep, priority=priority),
        )

    @rule(pick=ANY)
    def cancel(self, pick: int) -> None:
        """Somebody gives one up."""
        rows = self.sim.all(transfer.Transfer)
        if rows:
            name = rows[pick % len(rows)].transfer
            self.refused("TRANSFER_ENDED", work=lambda tx: transfers.cancel(tx, name))

    @rule(of=st.sampled_from(DATASETS), copies=st.integers(1, 4), lifetime=st.sampled_from([0, 30]))
    def make_rule(self, of: str, copies: int, lifetime: int) -> None:
        """Somebody wants copies."""
        name = "r-" + of.partition("/")[2]
        asked = ReplicationRule(rule=name, dataset=of, copies=copies, lifetime_seconds=lifetime)
        self.refused(
            *("ALREADY_EXISTS", "DATASET_DELETED"),
            work=lambda tx: rules.create(tx, self.sim.ctx, builders.person(), asked),
        )

    @rule(of=st.sampled_from(DATASETS))
    def end_rule(self, of: str) -> None:
        """Somebody does not want them any more."""
        self.refused("NOT_FOUND", work=lambda tx: rules.delete(tx, "r-" + of.partition("/")[2]))

    @rule(at=st.sampled_from(["us-1", "eu-2"]), total=st.integers(0, 10**9))
    def write(self, at: str, total: int) -> None:
        """A new version."""
        try:
            self.sim.put("sales/flights" if at == "us-1" else "sales/weather", at, total=total)
        except errors.FederationError as error:
            if error.reason not in ("SITE_LOST", "DATASET_DELETED", "RESIDENCY_DENIED"):
                raise

    @rule(residency=st.sampled_from([(), ("EU",), ("US",), ("EU", "US")]))
    def bind(self, residency: tuple[str, ...]) -> None:
        """A residency is changed, as far as the replicas that are there allow it."""
        given = dataclasses.replace(self.sim.dataset("sales/weather"), residency=residency, etag="")
        self.refused(
            *("RESIDENCY_VIOLATED", "DATASET_DELETED"),
            work=lambda tx: datasets.update_dataset(tx, given, frozenset({"residency"})),
        )

    @rule(back=st.booleans())
    def delete(self, back: bool) -> None:
        """A dataset goes, and may come back."""
        name = ids.dataset("sales/weather")
        work = (lambda tx: datasets.undelete_dataset(tx, name)) if back else (lambda tx: datasets.delete_dataset(tx, name))
        self.refused("DATASET_DELETED", "DATASET_NOT_DELETED", work=work)

    @rule(of=st.sampled_from(DATASETS), at=st.sampled_from(SITES), via=st.sampled_from(["", *SITES]))
    def stage(self, of: str, at: str, via: str) -> None:
        """A job that waits for a site which is not up is planned with a copy elsewhere."""
        if "vu-1" not in self.sim.agents:
            self.sim.declare("vu-1", up=False)
        stored = self.sim.dataset(of)
        if stored.delete_time is not None:
            return
        held = self.sim.all(dataset.Replica, version=str(stored.latest_version), state="AVAILABLE")
        source = next(row.site for row in held if row.version.dataset.short == of)
        waiting = self.sim.submit(builders.request([f"{of}@{stored.latest_version}"], sites=("vu-1",)))
        if waiting.state is not job.JobState.PENDING or at == source:
            return
        alias = of.partition("/")[2]
        way = builders.input_plan(alias, source, at, way=job.Way.COPY, version=stored.latest_version, keep_seconds=5)
        way = dataclasses.replace(way, via_site="" if via in (at, source) else via)
        plan = builders.plan(builders.candidate(at, inputs=(way,)))
        self.refused("RESIDENCY_DENIED", work=lambda tx: transfers.stage(tx, self.sim.ctx, waiting, plan))

    @rule(pick=ANY)
    def cancel_job(self, pick: int) -> None:
        """A job that waits for a copy is cancelled."""
        waiting = [each for each in self.sim.all(job.Job) if not each.state.terminal]
        if waiting:
            self.sim.cancel(waiting[pick % len(waiting)].job)

    # Agents

    def held(self, pick: int) -> tuple[SimulatedAgent, str] | None:
        """A transfer that an agent that lives has in hand, whether or not it still should."""
        found = [(agent, name) for agent in self.sim.agents.values() if agent.alive for name in agent.transfers]
        return found[pick % len(found)] if found else None

    @rule()
    def work(self) -> None:
        """Agents read their instructions."""
        for agent in self.sim.agents.values():
            if agent.alive:
                agent.beat()
                agent.work()

    @rule(pick=ANY, size=st.integers(0, 10**9))
    def carry(self, pick: int, size: int) -> None:
        """Some of it is fetched, if the source lives and still takes the grant."""
        if held := self.held(pick):
            agent, name = held
            if self.sim.agents[agent.transfers[name].transfer.source_site].alive:
                agent.carry(name, size)

    @rule(pick=ANY, hear=st.booleans())
    def land(self, pick: int, hear: bool) -> None:
        """All is there; the answer may get lost."""
        if held := self.held(pick):
            agent, name = held
            agent.land(name, hear=hear)

    @rule(pick=ANY, reason=st.sampled_from(["SOURCE_UNREACHABLE", "STORAGE_FULL", "DATA_CORRUPT"]))
    def fail(self, pick: int, reason: str) -> None:
        """It cannot go on."""
        if held := self.held(pick):
            agent, name = held
            agent.fail_transfer(name, reason, retryable=reason == "SOURCE_UNREACHABLE")

    @rule(pick=ANY)
    def drop(self, pick: int) -> None:
        """Objects are gone; said twice, it changes nothing."""
        found = [(agent, v) for agent in self.sim.agents.values() if agent.alive for v in agent.drops]
        if found:
            agent, version = found[pick % len(found)]
            try:
                agent.drop_replica(version)
            except errors.FailedPrecondition as error:
                # What was dropped and said has been brought again since: an agent that hears this has done nothing to it.
                if error.reason != "REPLICA_IN_USE":
                    raise
                agent.drops.pop(version)

    @rule(pick=ANY)
    def die(self, pick: int) -> None:
        """An agent dies."""
        alive = [agent for agent in self.sim.agents.values() if agent.alive]
        if alive:
            alive[pick % len(alive)].die()

    @rule(pick=ANY, wiped=st.booleans())
    def come_back(self, pick: int, wiped: bool) -> None:
        """An agent comes back, perhaps without its journal."""
        agent = self.sim.agents[SITES[pick % len(SITES)]]
        if wiped:
            agent.wipe()
        agent.come_up()

    @rule(seconds=st.sampled_from([1, 5, 15, 120]))
    def wait(self, seconds: int) -> None:
        """Time passes and the server sweeps; sweeping on, it soon has nothing left to do."""
        self.sim.wait(seconds)
        for _ in range(3):
            self.sim.sweep()
        assert self.sim.sweep() == 0

    @invariant()
    def laws(self) -> None:
        """All of them, after each step."""
        check_laws(self.sim)

    def teardown(self) -> None:
        """When all sites answer nothing stays under way for ever, and nothing stays reserved on any link."""
        for each in self.sim.all(job.Job):
            if not each.state.terminal:
                self.sim.cancel(each.job)
        self.sim.agents.pop("vu-1", None)
        for agent in self.sim.agents.values():
            agent.come_up()
        for _ in range(60):
            self.sim.drive(seconds=12)
            if all(row.state.terminal for row in self.sim.all(transfer.Transfer)):
                break
        # Grants that no source ever heard of are given up after a while.
        self.sim.drive(access.GIVE_BACK_LEASES * LEASE_SECONDS // 12 + 2, seconds=12)
        check_laws(self.sim)
        assert [row for row in self.sim.all(transfer.Transfer) if not row.state.terminal] == []
        assert [row for row in self.sim.all(site.LinkReservation) if row.reserved_bytes] == []
        assert [row for row in self.sim.all(dataset.Replica) if row.state is dataset.ReplicaState.DELETING] == []
        over = self.sim.write(retention.expire)
        assert over == 0


TestCopies = Copies.TestCase
# An eighth of the examples of the profile: each is a whole story, with all laws after each of its steps.
TestCopies.settings = settings(max_examples=max(settings().max_examples // 8, 2), stateful_step_count=30)
