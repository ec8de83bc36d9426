"""A federation in one process: memory catalog, manual clock, and agents that accept, run, finish, die and come back.

What agents do is what the contract lets them do, through the server's own use cases; only Ray, disks and wires are missing.
Everything comes from a seed, so that what happened once happens again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import random
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from federation import ports
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import ManualClock, SeededIds
from federation.core import (
    budget,
    dataset,
    decision,
    errors,
    grants,
    ids,
    job,
    kinds,
    lineage,
    metering,
    pipeline,
    policy,
    quota,
    records,
    site,
    transfer,
)
from federation.core.events import Event
from federation.core.job import JobState
from federation.core.policy import Principal
from federation.core.transfer import TransferState
from federation.crypto import grants as signed
from federation.crypto import manifest, signing
from federation.services import (
    access,
    budgets,
    carrying,
    datasets,
    jobs,
    ledger,
    live_transfers,
    namespaces,
    personal,
    reconcile,
    retention,
    runs,
    scan,
    sites,
)
from federation.services.context import Context
from tests import builders

T = TypeVar("T")
GRANT_KEY = hashlib.sha256(b"the catalog's grant key").digest()
LEASE_SECONDS = 15


@dataclasses.dataclass
class LocalRun:
    """A run as its agent holds it. `staged` is what it wrote, once its entrypoint has ended well."""

    start: job.StartRun
    accepted: bool = False
    running: bool = False
    staged: tuple[dataset.NewVersion, ...] | None = None

    @property
    def name(self) -> str:
        return self.start.run.run


class SimulatedAgent:
    """One site's agent. What it holds survives its death, as a journal does, unless it is wiped."""

    def __init__(self, sim: Simulation, name: str) -> None:
        self.sim = sim
        self.name = name
        self.private = hashlib.sha256(f"agent {name}".encode()).digest()
        self.capacity = builders.capacity()
        self.compute_error = ""
        self.alive = False
        self.runs: dict[str, LocalRun] = {}
        self.transfers: dict[str, transfer.StartTransfer] = {}
        self.drops: dict[str, transfer.DropReplica] = {}
        self.open_grants: dict[str, int] = {}
        self.settled: set[str] = set()

    # Its life

    def come_up(self) -> None:
        """Starts, or comes back from the dead, and registers."""
        self.alive = True
        self.write(
            lambda tx: sites.register(
                tx,
                self.name,
                site.Presence(
                    gateway=f"{self.name}.example:7443",
                    signing_key=signing.public_hex(self.private),
                    sealing_key="22" * 32,
                    has_compute=True,
                    capacity=self.capacity,
                    compute_error=self.compute_error,
                ),
                builders.findings(),
            )
        )

    def die(self) -> None:
        """Says no more until it comes back."""
        self.alive = False

    def wipe(self) -> None:
        """Loses its journal of runs and transfers (not what it counted of grants)."""
        self.runs.clear()
        self.transfers.clear()
        self.drops.clear()

    def beat(self) -> sites.HeartbeatAnswer:
        """A heartbeat; does what it is told."""
        answer = self.write(
            lambda tx: sites.heartbeat(
                tx,
                self.sim.ctx,
                self.name,
                capacity=self.capacity,
                compute_error=self.compute_error,
                runs=tuple(self.runs),
                open_grants=tuple(self.open_grants),
            )
        )
        for run in answer.superseded_runs:
            self.drop(run)
        for grant in answer.closed_grants:
            self.settle(grant)
        return answer

    # Its work

    def work(self) -> tuple[job.StartRun | job.StopRun, ...]:
        """Reads its instructions: takes note of new runs and transfers, stops those that it is told to stop."""
        due = self.sim.catalog.read(lambda tx: jobs.instructions(tx, self.sim.ctx, self.name))
        for instruction in due:
            if isinstance(instruction, job.StartRun):
                self.runs.setdefault(instruction.run.run, LocalRun(start=instruction))
            else:
                self.stop(instruction)
        for other in self.sim.catalog.read(lambda tx: live_transfers.instructions(tx, self.sim.ctx, self.name)):
            if isinstance(other, transfer.StartTransfer):
                self.transfers[other.transfer.transfer] = other
            elif isinstance(other, transfer.StopTransfer):
                self.transfers.pop(other.transfer, None)
            else:
                self.drops[other.version] = other
        return due

    def stop(self, instruction: job.StopRun) -> None:
        """Stops a run and says so."""
        self.report(instruction.run, JobState.CANCELLED, reason=instruction.reason)
        self.drop(instruction.run)

    def accept(self, run: str) -> None:
        """Takes a run."""
        if self.heard(lambda tx: jobs.accept_run(tx, self.sim.ctx, self.name, run, f"s-{run}"), run):
            self.runs[run].accepted = True

    def begin(self, run: str) -> None:
        """Its entrypoint starts."""
        if self.report(run, JobState.RUNNING):
            self.runs[run].running = True

    def fail(self, run: str, reason: str = "ENTRYPOINT_FAILED", *, retryable: bool = False) -> None:
        """Its entrypoint fails."""
        self.report(run, JobState.FAILED, reason=reason, retryable=retryable)
        self.drop(run)

    def read(self, run: str, alias: str, size: int) -> None:
        """The run reads some of an input, from the gateway that its plan names."""
        (assigned,) = (each for each in self.runs[run].start.inputs if each.plan.alias == alias)
        self.sim.agents[assigned.plan.source_site].serve(assigned.grant, size)

    def finish(self, run: str, *, hear: bool = True, report: lineage.LineageReport = lineage.UNTOLD) -> None:
        """Its entrypoint has ended well: what it wrote is committed. With `hear=False` the answer is lost on the way."""
        local = self.runs[run]
        staged = local.staged = self.stage(local.start) if local.staged is None else local.staged
        heard = self.heard(lambda tx: jobs.finish_run(tx, self.sim.ctx, self.name, run, staged, report=report), run)
        if heard and hear:
            self.drop(run)

    def stage(self, start: job.StartRun) -> tuple[dataset.NewVersion, ...]:
        """Outputs as its store would hold them: new objects, a signed manifest, a wrapped key."""
        return tuple(self.new_version(out.dataset, out.dataset_uid, alias=out.alias) for out in start.outputs)

    def new_version(self, name: str, uid: str, *, alias: str = "", total: int = 1000) -> dataset.NewVersion:
        """One version of a dataset, stored and signed here."""
        generation = self.sim.ids.new("g")
        digest = hashlib.sha256(generation.encode()).hexdigest()
        return builders.new_version(
            name,
            total,
            dataset_uid=uid,
            manifest_digest=digest,
            signature=manifest.sign(self.private, uid, digest),
            generations=(generation,),
            keys=(builders.wrapped_key(self.name, generation, dataset_uid=uid),),
            alias=alias,
        )

    def report(self, run: str, state: JobState, *, reason: str = "", retryable: bool = False) -> bool:
        """Says what became of a run; whether it is still the one to say it."""
        told = jobs.RunReport(state=state, reason=reason, retryable=retryable)
        return self.heard(lambda tx: jobs.report_run(tx, self.sim.ctx, self.name, run, told), run)

    def heard(self, work: Callable[[ports.Transaction], object], run: str) -> bool:
        """Whether the catalog takes its word on a run; drops one that is over."""
        try:
            self.write(work)
        except errors.FailedPrecondition as error:
            if error.reason != "RUN_SUPERSEDED":
                raise
            self.drop(run)
            return False
        return True

    def drop(self, run: str) -> None:
        """Forgets a run and what it wrote."""
        self.runs.pop(run, None)

    # Its transfers

    def carry(self, name: str, size: int) -> transfer.Transfer:
        """Fetches some of a transfer from its source, and says how far it is; drops one that is not its to do any more."""
        start = self.transfers[name]
        self.sim.agents[start.transfer.source_site].serve(start.grant, size)
        done = start.transfer.bytes_done + size
        return self._told(name, TransferState.RUNNING, bytes_done=done)

    def fail_transfer(self, name: str, reason: str = "SOURCE_UNREACHABLE", *, retryable: bool = True) -> transfer.Transfer:
        """It cannot go on."""
        answer = self._told(name, TransferState.FAILED, reason=reason, retryable=retryable)
        self.transfers.pop(name, None)
        return answer

    def land(self, name: str, *, hear: bool = True) -> transfer.Transfer | None:
        """All is stored and verified: the replica is made known. With `hear=False` the answer is lost on the way."""
        start = self.transfers[name]
        wanted = self.sim.read(lambda tx: datasets.get_version(tx, carrying.version_name(start.transfer)))
        keys = tuple(builders.wrapped_key(self.name, g, dataset_uid=start.dataset_uid) for g in wanted.generations)
        try:
            answer = self.write(lambda tx: live_transfers.finish(tx, self.sim.ctx, self.name, name, keys, wanted.object_bytes))
        except errors.FailedPrecondition as error:
            if error.reason != "TRANSFER_SUPERSEDED":
                raise
            answer = None
        if hear:
            self.transfers.pop(name, None)
        return answer

    def drop_replica(self, version: str) -> None:
        """Its objects are removed, and it says so."""
        self.write(lambda tx: retention.finish_drop(tx, self.name, version))
        self.drops.pop(version, None)

    def _told(self, name: str, state: TransferState, **said: Any) -> transfer.Transfer:
        attempt = self.transfers[name].transfer.attempt
        report = live_transfers.Report(state=state, attempt=attempt, **said)
        answer = self.write(lambda tx: live_transfers.report(tx, self.name, name, report))
        if (answer.state, answer.attempt) != (TransferState.RUNNING, attempt):
            self.transfers.pop(name, None)
        return answer

    # Its gateway

    def serve(self, token: bytes, size: int) -> None:
        """Sends bytes under a grant, if it is one and still open here."""
        grant = signed.verify(signing.public_hex(GRANT_KEY), token, now=self.sim.clock.now(), site=self.name)
        if grant.grant not in self.settled:
            self.open_grants[grant.grant] = self.open_grants.get(grant.grant, 0) + size

    def settle(self, grant: str) -> metering.LedgerEntry:
        """Tells what left under a grant. The first word counts; what it says of it later may differ."""
        size = self.open_grants.pop(grant, 0)
        usage = builders.usage(size, grant=grant, source_site=self.name, settle_time=self.sim.clock.now())
        entry = self.write(lambda tx: ledger.settle(tx, self.sim.ctx, self.name, usage))
        if entry.entry and grant not in self.settled:
            self.sim.sent[grant] = size
        self.settled.add(grant)
        return entry

    # All of it

    def drive(self) -> None:
        """One round of everything that a healthy agent does."""
        self.beat()
        self.work()
        for local in list(self.runs.values()):
            self.drive_run(local)
        for name, start in list(self.transfers.items()):
            if self.sim.agents[start.transfer.source_site].alive:
                self.carry(name, start.transfer.object_bytes)
            if name in self.transfers:
                self.land(name)
        for version in list(self.drops):
            self.drop_replica(version)

    def drive_run(self, local: LocalRun) -> None:
        """Brings one run a step on."""
        if not local.accepted:
            self.accept(local.name)
        elif not local.running and local.staged is None:
            self.begin(local.name)
        else:
            for assigned in local.start.inputs:
                if self.sim.agents[assigned.plan.source_site].alive:
                    self.read(local.name, assigned.plan.alias, 100)
            self.finish(local.name)

    def write(self, work: Callable[[ports.Transaction], T]) -> T:
        """A call to the catalog under this agent's name."""
        return self.sim.write(work, actor=f"agents/{self.name}")


class Simulation:
    """The federation. `sent` is what each grant's source said first; the ledger must sum to it."""

    def __init__(
        self,
        places: Iterable[str] = ("eu-1", "us-1", "us-2"),
        *,
        seed: int = 0,
        catalog: Callable[[ports.Clock, ports.Ids], ports.Catalog] = MemoryCatalog,
        **terms: object,
    ) -> None:
        self.random = random.Random(seed)
        self.clock = ManualClock(builders.NOW)
        self.ids = SeededIds(seed)
        self.catalog = catalog(self.clock, self.ids)
        self.ctx = Context(
            ids=self.ids,
            policies=builders.POLICIES,
            rates=builders.rates(),
            grant_key=GRANT_KEY,
            lease_seconds=LEASE_SECONDS,
            **terms,  # type: ignore[arg-type]
        )
        self.sent: dict[str, int] = {}
        self.agents: dict[str, SimulatedAgent] = {}
        for name in places:
            self.declare(name)

    # Setting the scene

    def declare(self, name: str, *, up: bool = True) -> SimulatedAgent:
        """A site, with its agent up unless told otherwise."""
        place = dataclasses.replace(builders.site(name), sources=("s3://raw",))
        self.write(lambda tx: sites.create_site(tx, self.ctx, place, joined=True), actor="users/root")
        self.agents[name] = agent = SimulatedAgent(self, name)
        if up:
            agent.come_up()
        return agent

    def put(self, name: str, at: str, *, residency: tuple[str, ...] = (), total: int = 10**9) -> dataset.Version:
        """A person writes a version at a site; dataset and namespace are made if need be."""
        parsed = ids.dataset(name)
        agent, alice = self.agents[at], builders.person()

        def work(tx: ports.Transaction) -> dataset.Version:
            if tx.get(dataset.Namespace, parsed.namespace) is None:
                namespaces.create(tx, self.ctx, builders.namespace(parsed.namespace))
            stored = tx.get(dataset.Dataset, name) or datasets.create_dataset(tx, self.ctx, builders.dataset(name, residency))
            grant = personal.open_write(tx, self.ctx, alice, parsed, at)
            new = agent.new_version(name, stored.uid, total=total)
            return personal.commit(tx, self.ctx, grant, new, at)

        return self.write(work, actor=alice.name)

    def submit(self, request: job.JobRequest, principal: Principal | None = None) -> job.Job:
        """A person submits a job."""
        who = principal or builders.person()
        return self.write(lambda tx: jobs.submit(tx, self.ctx, who, request), actor=who.name)

    def cancel(self, name: str) -> job.Job:
        """A person cancels a job."""
        return self.write(lambda tx: jobs.cancel(tx, name), actor="users/alice")

    # Letting it run

    def sweep(self) -> int:
        """What the server does each second."""
        return self.write(lambda tx: reconcile.sweep(tx, self.ctx, revision=self.catalog.revision()), actor="server")

    def wait(self, seconds: float) -> None:
        """Time passes, and the server sweeps."""
        self.clock.advance(seconds)
        self.sweep()

    def drive(self, rounds: int = 1, *, seconds: float = 3) -> None:
        """All agents that live do a round of work, and time passes."""
        for _ in range(rounds):
            for agent in self.agents.values():
                if agent.alive:
                    agent.drive()
            self.wait(seconds)

    def finish_everything(self, rounds: int = 60) -> None:
        """All agents come back and work until no job is left, or the rounds are used up."""
        for agent in self.agents.values():
            agent.compute_error = ""
            agent.come_up()
        for _ in range(rounds):
            self.drive()
            if all(each.state.terminal for each in self.all(job.Job)):
                break
        self.drive(2)

    # Looking

    def write(self, work: Callable[[ports.Transaction], T], *, actor: str = "") -> T:
        """One transaction."""
        return self.catalog.write(work, actor=actor)

    def read(self, work: Callable[[ports.Transaction], T]) -> T:
        """One look."""
        return self.catalog.read(work)

    def all(self, cls: type[T], **where: str) -> list[T]:
        """All stored values of a kind."""
        return self.read(lambda tx: list(scan.every(tx, cls, where=where)))

    def job(self, name: str) -> job.Job:
        """A job as it is now."""
        return self.read(lambda tx: jobs.get(tx, name))

    def run_of(self, name: str) -> job.Run:
        """A job's newest run as it is now."""
        return self.read(lambda tx: jobs.get_run(tx, jobs.get(tx, name).run))

    def dataset(self, name: str) -> dataset.Dataset:
        """A dataset as it is now."""
        return self.read(lambda tx: datasets.get_dataset(tx, ids.dataset(name)))

    def events(self, *wanted: str) -> tuple[Event, ...]:
        """All events, or those of the kinds."""
        return self.catalog.events(0, limit=10_000, kinds=wanted)


# What is true at any time


def check_laws(sim: Simulation) -> None:
    """All laws at once."""
    check_runs(sim)
    check_ended_runs(sim)
    check_loads(sim)
    check_usage(sim)
    check_ledger(sim)
    check_transfers(sim)
    check_replicas(sim)
    check_events(sim)
    check_decisions(sim)


def check_transfers(sim: Simulation) -> None:
    """One live transfer of a version to a site at most; only a RUNNING one has an open grant, and no site has too many."""
    rows = sim.all(transfer.Transfer)
    live = [(row.dataset, row.version, row.destination_site) for row in rows if not row.state.terminal]
    assert len(live) == len(set(live))
    running = [row for row in rows if row.state is TransferState.RUNNING]
    assert all(sum(row.destination_site == name for row in running) <= sim.ctx.transfers_per_site for name in sim.agents)
    open_ = {record.grant: record for record in sim.all(kinds.GrantRecord, closed="") if record.transfer}
    assert set(open_) <= {row.grant for row in running}
    assert all(row.state.terminal == (row.end_time is not None) for row in rows)
    assert all(row.reason for row in rows if row.state in (TransferState.FAILED, TransferState.CANCELLED))


def check_replicas(sim: Simulation) -> None:
    """None lies where residency forbids, each version is kept somewhere, and keys are where replicas are alone.

    Of one that was erased nothing is kept, and no key.
    """
    bound = {each.name: each.residency for each in sim.all(dataset.Dataset)}
    where = {each.site: each.jurisdiction for each in sim.all(site.Site)}
    replicas, keys = sim.all(dataset.Replica), {(key.generation, key.site) for key in sim.all(dataset.WrappedKey)}
    versions = sim.all(dataset.Version)
    generations = {version.name: () if version.erase_time else version.generations for version in versions}
    assert all(policy.residency_allows(bound[row.version.dataset], where[row.site]) for row in replicas)
    kept = {row.version for row in replicas if row.state is not dataset.ReplicaState.DELETING}
    assert kept == {version.name for version in versions if version.erase_time is None and version.collect_time is None}
    assert keys == {(generation, row.site) for row in replicas for generation in generations[row.version]}
    brought = {(row.transfer, row.site) for row in replicas if row.transfer}
    done = {(row.transfer, row.destination_site) for row in sim.all(transfer.Transfer, state="SUCCEEDED")}
    assert brought <= done


def check_runs(sim: Simulation) -> None:
    """At most one run of a job commits, at most one lives, and a job says what its current run says."""
    all_runs = sim.all(job.Run)
    for each in sim.all(job.Job):
        mine = [run for run in all_runs if run.job == each.job]
        committed = {version.run for version in sim.all(dataset.Version) if version.run.startswith(f"jobs/{each.job}/")}
        live = [run for run in mine if not run.state.terminal]
        done = [run.run for run in mine if run.state is JobState.SUCCEEDED]
        assert len(mine) == each.attempt <= each.request.max_attempts
        assert len(done) <= 1
        assert committed == (set(done) if each.request.outputs else set())
        assert [run.run for run in live] == ([each.run] if each.state in runs.LIVE else [])
        assert all(run.state is each.state for run in live)
        assert (each.state is JobState.SUCCEEDED) == bool(done)
        assert each.state.terminal == (each.end_time is not None)


def check_ended_runs(sim: Simulation) -> None:
    """A run that ended is one fact of lineage, opens nothing, and has edges only where it succeeded; a put is one as well."""
    ended = {run.run: run for run in sim.all(job.Run) if run.state.terminal}
    facts = {fact.run: fact.state for fact in sim.all(lineage.RunFact) if not fact.run.startswith(lineage.EXTERNAL_RUNS)}
    edges = [edge for edge in sim.all(lineage.Edge) if not edge.run.startswith(lineage.EXTERNAL_RUNS)]
    puts = {run for run in facts if run.startswith(lineage.PUTS)}
    assert {run: state for run, state in facts.items() if run not in puts} == {run.run: run.state for run in ended.values()}
    assert puts == {f"{lineage.PUTS}{record.grant}" for record in sim.all(kinds.GrantRecord) if _used_up(record)}
    assert all(record.closed for record in sim.all(kinds.GrantRecord) if record.run in ended)
    assert all(edge.run in puts or ended[edge.run].state is JobState.SUCCEEDED for edge in edges)


def _used_up(record: kinds.GrantRecord) -> bool:
    return record.access is grants.Access.WRITE and bool(record.version)


def check_loads(sim: Simulation) -> None:
    """What is reserved at each site is what its live runs need, no more and no less."""
    jobs_ = {each.job: each for each in sim.all(job.Job)}
    stored = {load.site: load for load in sim.all(site.SiteLoad)}
    for name in sim.agents:
        live = [run for run in sim.all(job.Run, site=name) if not run.state.terminal]
        needs = [run.taken(jobs_[run.job].request) for run in live]
        load = stored.get(name, site.SiteLoad(site=name))
        assert (load.runs, load.cpus) == (len(live), sum(need.cpus for need in needs))
        assert load.memory_bytes == sum(need.memory_bytes for need in needs)
        assert sum(count for _, count in load.gpus) == sum(need.gpus for need in needs)


def check_usage(sim: Simulation) -> None:
    """What namespaces have reserved is what their live runs' plans expect; it is all given back when nothing runs."""
    jobs_ = {each.job: each for each in sim.all(job.Job)}
    live = [run for run in sim.all(job.Run) if not run.state.terminal]
    expected: dict[str, int] = {}
    for run in live:
        of = jobs_[run.job]
        assert of.plan is not None
        assert of.plan.choice is not None
        namespace = of.request.namespace
        expected[namespace] = expected.get(namespace, 0) + of.plan.choice.run_seconds * run.taken(of.request).cpus
    reserved: dict[str, int] = {}
    for usage in sim.all(quota.NamespaceUsage):
        assert min(usage.gpu_seconds, usage.cpu_seconds, usage.reserved_gpu_seconds, usage.reserved_egress_micros) >= 0
        reserved[usage.namespace] = reserved.get(usage.namespace, 0) + usage.reserved_cpu_seconds
    assert {name: count for name, count in reserved.items() if count} == {n: c for n, c in expected.items() if c}


def check_ledger(sim: Simulation) -> None:
    """Each grant has one entry at most, the entries sum to what sources said, and the month's counters to the entries."""
    entries = [entry for entry in sim.all(metering.LedgerEntry) if not entry.corrects]
    assert {entry.grant: entry.bytes for entry in entries} == sim.sent
    assert len(entries) == len(sim.sent)
    records_ = {record.grant: record for record in sim.all(kinds.GrantRecord)}
    counted: dict[str, int] = {}
    for entry in entries:
        scope = access.scope(records_[entry.grant])
        counted[scope] = counted.get(scope, 0) + entry.bytes
    assert {row.scope: row.sent_bytes for row in sim.all(site.LinkVolume)} == counted
    named = {record.entry: record.grant for record in records_.values() if record.entry}
    assert named == {entry.entry: entry.grant for entry in entries}
    check_corrections(sim)
    check_reservations(sim)
    check_budgets(sim)


def check_corrections(sim: Simulation) -> None:
    """Only a run that did not succeed is corrected, and what its grants claim to have avoided sums to minus their charge."""
    ended = {run.run: run for run in sim.all(job.Run)}
    entries = {entry.entry: entry for entry in sim.all(metering.LedgerEntry)}
    corrections = {entry.corrects: entry for entry in entries.values() if entry.corrects}
    assert all(ended[entries[name].run].state is not JobState.SUCCEEDED for name in corrections)
    for name, entry in entries.items():
        run = ended.get(entry.run)
        if run is not None and run.state.terminal and run.state is not JobState.SUCCEEDED and not entry.corrects:
            taken = corrections[name].avoided_micros if name in corrections else 0
            assert (entry.avoided_micros or 0) + (taken or 0) in (-entry.charge_micros, 0)


def check_reservations(sim: Simulation) -> None:
    """What is reserved on each link is what its unsettled grants hold, and a settled one holds nothing."""
    held: dict[str, tuple[int, int]] = {}
    for record in sim.all(kinds.GrantRecord):
        if record.reserved_bytes:
            assert not record.entry
            bytes_, number = held.get(access.scope(record), (0, 0))
            held[access.scope(record)] = (bytes_ + record.reserved_bytes, number + 1)
    stored = {row.scope: (row.reserved_bytes, row.grants) for row in sim.all(site.LinkReservation)}
    assert {scope: row for scope, row in stored.items() if row != (0, 0)} == held


def check_budgets(sim: Simulation) -> None:
    """What is spent in each scope is what the ledger charged in it, what is in flight is what unsettled grants hold."""
    spent: dict[tuple[str, str], int] = {}
    for entry in sim.all(metering.LedgerEntry):
        for scope in budgets.scopes_of_entry(entry) if entry.charge_micros else ():
            spent[entry.month, scope] = spent.get((entry.month, scope), 0) + entry.charge_micros
    assert {(row.month, row.scope): row.charge_micros for row in sim.all(budget.Spend)} == spent
    reserved: dict[str, int] = {}
    for record in sim.all(kinds.GrantRecord):
        for scope in budgets.scopes_of_grant(record) if record.reserved_micros else ():
            reserved[scope] = reserved.get(scope, 0) + record.reserved_micros
    assert {row.scope: row.reserved_micros for row in sim.all(budget.Reserve) if row.reserved_micros} == reserved


#: Kinds of event that happen once to a name.
ONCE = (
    "job.created",
    "run.placed",
    "run.succeeded",
    "grant.issued",
    "grant.closed",
    "ledger.entry",
    "lineage.run",
    "lineage.edge",
)
#: Kinds of value that events rebuild, by the first word of the event's kind, and the fields that change without an event.
REBUILT: dict[str, tuple[type, frozenset[str]]] = {
    "job": (job.Job, frozenset()),
    "run": (job.Run, frozenset({"lease_time", "etag"})),
    "dataset": (dataset.Dataset, frozenset()),
    "version": (dataset.Version, frozenset()),
    "replica": (dataset.Replica, frozenset()),
    "site": (site.Site, frozenset({"heartbeat_time", "etag"})),
    "transfer": (transfer.Transfer, frozenset({"bytes_done", "objects_done", "update_time", "etag"})),
    "rule": (transfer.ReplicationRule, frozenset()),
    "grant": (kinds.GrantRecord, frozenset({"entry", "version", "reserved_bytes", "reserved_micros", "etag"})),
    "ledger": (metering.LedgerEntry, frozenset()),
    "pipeline": (pipeline.Pipeline, frozenset()),
}


def check_events(sim: Simulation) -> None:
    """The log alone rebuilds the catalog, but for secrets: every change is in it, what happens once once, in order, gapless."""
    log = sim.events()
    assert [event.position for event in log] == list(range(1, len(log) + 1))
    once = [(event.kind, event.name) for event in log if event.kind in ONCE]
    assert len(once) == len(set(once))
    assert not any(key.wrapped in event.body for key in sim.all(dataset.WrappedKey) for event in log)
    for word, (cls, silent) in REBUILT.items():
        told = (event for event in log if event.kind.startswith(f"{word}.") and event.kind != "dataset.declassified")
        after = {event.name: event for event in told}
        left = [event.body for event in after.values() if not event.kind.endswith(".deleted") or word == "dataset"]
        rebuilt = [_without(records.loads(cls, body), silent) for body in left]
        stored = [_without(value, silent) for value in sim.all(cls)]
        assert sorted(rebuilt) == sorted(stored)


def check_decisions(sim: Simulation) -> None:
    """Each run was decided once, each job bears its newest decision, and none says again what the one before it said."""
    told: dict[str, list[decision.Decision]] = {}
    for event in sim.events("placement.decided"):
        made = records.loads(decision.Decision, event.body)
        told.setdefault(made.job, []).append(made)
    for stored in sim.all(job.Job):
        made = told.get(stored.job, [])
        assert stored.decision == (made[-1].decision if made else "")
        assert [each.supersedes for each in made] == ["", *(each.decision for each in made[:-1])][: len(made)]
        assert [each.decision for each in made] == sorted(each.decision for each in made)
        said = [(each.outcome, each.reason, each.site, each.transfers, each.run) for each in made]
        assert all(before != after for before, after in itertools.pairwise(said)), said
        if stored.state is JobState.REJECTED:
            assert made[-1].outcome == decision.Outcome.REFUSED
    begun = [each.run for made in told.values() for each in made if each.outcome == decision.Outcome.PLACED]
    assert sorted(begun) == sorted(run.run for run in sim.all(job.Run))


def _without(value: object, silent: frozenset[str]) -> str:
    return str(sorted((name, str(item)) for name, item in records.dump(value, telling=True).items() if name not in silent))


def grant_of(sim: Simulation, run: job.Run, alias: str) -> grants.Grant:
    """What the signed grant of a run's input says."""
    due = sim.read(lambda tx: jobs.instructions(tx, sim.ctx, run.site))
    (start,) = (each for each in due if isinstance(each, job.StartRun) and each.run.run == run.run)
    (assigned,) = (each for each in start.inputs if each.plan.alias == alias)
    return signed.peek(assigned.grant)
