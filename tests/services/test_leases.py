"""Leases: a data key leaves a gateway under one alone, and who may not have one any more is told why."""

from __future__ import annotations

import dataclasses
import itertools
from typing import Any

import pytest

from federation import ports
from federation.core import columns, dataset, errors, ids, job, leases
from federation.core.job import JobState
from federation.crypto import hpke
from federation.services import access, datasets, personal
from federation.services import leases as service
from tests import builders
from tests.sim import SimulatedAgent, Simulation

FLIGHTS = "sales/flights"
WORKER = "ab" * 32
_NONCES = itertools.count(1)


def nonce() -> str:
    """One that nobody has used."""
    return f"{next(_NONCES):032x}"


def running(sim: Simulation, *inputs: str, site: str = "us-1") -> tuple[SimulatedAgent, str]:
    """A job that runs at a site, its agent and its run."""
    submitted = sim.submit(builders.request(inputs or (FLIGHTS,), ["model=ml/delay-model"], sites=(site,)))
    agent = sim.agents[site]
    agent.work()
    agent.accept(submitted.run)
    agent.begin(submitted.run)
    return agent, submitted.run


def asked(sim: Simulation, of: str, *, alias: str = "flights", **changes: Any) -> leases.Asked:
    """What the gateway of a run's site asks for one of its workers."""
    version = sim.read(lambda tx: datasets.get_version(tx, ids.version(f"{FLIGHTS}@1")))
    return leases.Asked(
        **{
            "nonce": nonce(),
            "call": "call-1",
            "use": leases.Use.READ,
            "grant": access.run_grant_id(of, alias),
            "run": of,
            "dataset": FLIGHTS,
            "version": 1,
            "generations": version.generations,
            "reader_key": WORKER,
        }
        | changes
    )


def ask(sim: Simulation, at: str, what: leases.Asked) -> leases.Lease | errors.FederationError:
    """The catalog's answer to the agent of a site."""
    return sim.write(lambda tx: service.answer(tx, sim.ctx, at, what), actor=f"agents/{at}")


def refusal(sim: Simulation, at: str, what: leases.Asked) -> str:
    """Why it is refused; the log has told it, and no lease came of it."""
    before = len(sim.all(leases.Lease))
    answer = ask(sim, at, what)
    assert isinstance(answer, errors.FederationError), answer
    told = sim.events("lease.refused")[-1]
    assert f'"reason":"{answer.reason}"' in told.body.replace('": "', '":"')
    assert len(sim.all(leases.Lease)) == before
    return answer.reason


def granted(sim: Simulation, at: str, what: leases.Asked) -> leases.Lease:
    """The lease."""
    answer = ask(sim, at, what)
    assert isinstance(answer, leases.Lease), answer
    return answer


@pytest.mark.invariant("L1")
def test_a_lease_is_written_down_with_its_event_in_one_transaction(sim: Simulation) -> None:
    """Who gets what, where, for which run, until when; and the log has it at the same position as the row."""
    agent, run = running(sim)
    lease = granted(sim, agent.name, asked(sim, run))
    assert (lease.run, lease.attempt, lease.short, lease.site, lease.reader_key) == (run, 1, "sales/flights@1", "us-1", WORKER)
    assert (lease.principal, lease.sensitivities) == ("users/alice", ("default",))
    assert (lease.expire_time - lease.issue_time).total_seconds() == leases.LIFE_SECONDS
    assert sim.all(leases.Lease, version="sales/flights@1", run=run) == [lease]
    (event,) = sim.events("lease.granted")
    assert lease.lease in event.name
    assert lease.nonce in event.body


@pytest.mark.invariant("L1")
def test_a_transaction_that_fails_leaves_no_lease(sim: Simulation) -> None:
    """The key is handed out after the commit, so there is no key without a record."""
    agent, run = running(sim)

    def work(tx: Any) -> None:
        service.answer(tx, sim.ctx, agent.name, asked(sim, run))
        raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError):
        sim.write(work)
    assert not sim.all(leases.Lease)
    assert not sim.events("lease.granted")


@pytest.mark.invariant("L2")
def test_a_nonce_is_good_for_one_lease(sim: Simulation) -> None:
    """The same call again, whose answer was lost, is answered alike; another call, key or run with that nonce is not."""
    agent, run = running(sim)
    first = asked(sim, run)
    lease = granted(sim, agent.name, first)
    assert granted(sim, agent.name, first) == lease
    for replayed in ({"call": "call-2"}, {"reader_key": "cd" * 32}, {"version": 2}, {"generations": ("g-other",)}):
        assert refusal(sim, agent.name, asked(sim, run, **{"nonce": first.nonce, **replayed})) == "LEASE_REPLAYED"
    assert refusal(sim, "eu-1", first) == "LEASE_REPLAYED"
    assert len(sim.all(leases.Lease)) == 1


@pytest.mark.invariant("L2")
def test_a_lease_is_short(sim: Simulation) -> None:
    """A lost answer may be asked for again until the lease has run out, and no longer."""
    agent, run = running(sim)
    first = asked(sim, run)
    granted(sim, agent.name, first)
    for _ in range(leases.LIFE_SECONDS // 5):
        agent.beat()
        sim.wait(5)
    assert refusal(sim, agent.name, first) == "LEASE_EXPIRED"
    assert granted(sim, agent.name, asked(sim, run)).lease


@pytest.mark.invariant("L2")
def test_a_lease_is_for_its_own_run_version_and_site(sim: Simulation) -> None:
    """Another run's grant, another version or dataset, keys that the version does not have, another site: refused."""
    agent, run = running(sim)
    _, other = running(sim)
    sim.put(FLIGHTS, "us-1")
    for change in (
        {"grant": access.run_grant_id(other, "flights")},
        {"run": other},
        {"version": 2},
        {"dataset": "sales/weather"},
        {"generations": ("g-00000000000000000000000009",)},
        {"grant": ""},
        {"use": leases.Use.WRITE},
    ):
        assert refusal(sim, agent.name, asked(sim, run, **change)) == "LEASE_FOREIGN", change
    assert refusal(sim, "eu-1", asked(sim, run)) == "LEASE_FOREIGN"
    assert refusal(sim, agent.name, asked(sim, run, grant="a-00000000000000000000000000")) == "GRANT_UNKNOWN"


@pytest.mark.invariant("L4")
@pytest.mark.parametrize("end", ["cancelled", "failed", "lost"])
def test_a_run_that_is_over_gets_no_lease(sim: Simulation, end: str) -> None:
    """Cancelled, ended, or superseded by the next attempt: neither what it reads nor what it writes."""
    agent, run = running(sim)
    wanted = asked(sim, run)
    writing = asked(sim, run, use=leases.Use.WRITE, grant="", dataset="ml/delay-model", version=0, generations=("g-new",))
    if end == "cancelled":
        sim.cancel(sim.all(job.Job)[0].job)
    elif end == "failed":
        agent.fail(run)
    else:
        agent.die()
        sim.wait(60)
        agent.come_up()
        sim.sweep()
    assert refusal(sim, agent.name, wanted) in ("GRANT_CLOSED", "RUN_SUPERSEDED")
    assert refusal(sim, agent.name, writing) == "RUN_SUPERSEDED"


def test_what_a_run_writes_is_leased_too(sim: Simulation) -> None:
    """The key of a new generation, for a process of the run; a dataset that is no output of it is refused."""
    agent, run = running(sim)
    writing = {"use": leases.Use.WRITE, "grant": "", "version": 0, "generations": ("g-new",)}
    lease = granted(sim, agent.name, asked(sim, run, dataset="ml/delay-model", **writing))
    assert (lease.use, lease.short, lease.run) == (leases.Use.WRITE, "ml/delay-model", run)
    assert refusal(sim, agent.name, asked(sim, run, dataset="sales/weather", **writing)) == "LEASE_FOREIGN"


@pytest.mark.invariant("D4")
def test_what_a_run_writes_is_leased_by_the_classes_that_its_job_declares(sim: Simulation) -> None:
    """By all of them and no others, and committed so: the agent's word is not taken for it."""
    declared = columns.parse(["pii=email", "health=diagnosis"])
    wanted = builders.request([FLIGHTS])
    outputs = (job.OutputSpec(alias="model", dataset="ml/people", column_classes=declared),)
    submitted = sim.submit(dataclasses.replace(wanted, outputs=outputs))
    agent = sim.agents["us-1"]
    agent.work()
    agent.accept(submitted.run)
    agent.begin(submitted.run)
    writing = {"use": leases.Use.WRITE, "grant": "", "version": 0, "generations": ("g-new",), "dataset": "ml/people"}
    for classes in (("default",), ("default", "pii"), ("default", "health", "pii", "salary")):
        assert refusal(sim, agent.name, asked(sim, submitted.run, sensitivities=classes, **writing)) == "LEASE_FOREIGN"
    lease = granted(sim, agent.name, asked(sim, submitted.run, sensitivities=("default", "health", "pii"), **writing))
    assert lease.sensitivities == ("default", "health", "pii")
    with pytest.raises(errors.FailedPrecondition) as refused:
        agent.finish(submitted.run)
    assert refused.value.reason == "COLUMN_CLASS_INVALID"


@pytest.mark.invariant("L2")
def test_keys_go_to_another_site_only_to_its_own_key(sim: Simulation) -> None:
    """A remote read: the source hands the keys to the reading site's gateway, which leases them on to its workers."""
    agent, run = running(sim, FLIGHTS, site="eu-1")
    place = sim.read(lambda tx: datasets.sites.get_site(tx, "eu-1"))
    its_key = hpke.fingerprint(bytes.fromhex(place.sealing_key))
    from_site = asked(sim, run, run="", reader_key=its_key)
    assert granted(sim, "us-1", from_site).reader_site == "eu-1"
    assert refusal(sim, "us-1", asked(sim, run, run="")) == "READER_KEY_FOREIGN"
    lease = granted(sim, agent.name, asked(sim, run))
    assert (lease.site, lease.reader_site, lease.run) == ("eu-1", "", run)
    assert sim.run_of(sim.all(job.Job)[0].job).state is JobState.RUNNING


def test_a_persons_read_is_leased_under_their_grant(sim: Simulation) -> None:
    """And under a deleted dataset's no more."""
    alice = builders.person()
    grant = sim.write(lambda tx: personal.open_read(tx, sim.ctx, alice, ids.dataset(FLIGHTS)), actor=alice.name)
    what = asked(sim, "jobs/j-1/runs/1", run="", grant=grant.grant)
    assert granted(sim, "us-1", what).principal == "users/alice"
    again = sim.write(lambda tx: personal.open_read(tx, sim.ctx, alice, ids.dataset(FLIGHTS)), actor=alice.name)
    sim.write(lambda tx: datasets.delete_dataset(tx, ids.dataset(FLIGHTS)))
    assert refusal(sim, "us-1", asked(sim, "", run="", grant=again.grant)) == "GRANT_CLOSED"


@pytest.mark.parametrize(
    "change",
    [{"nonce": "short"}, {"nonce": "Z" * 32}, {"nonce": "a" * 200}, {"reader_key": "ab"}, {"call": ""}, {"version": 0}],
)
def test_what_cannot_be_a_lease_is_refused_by_name(sim: Simulation, change: dict[str, Any]) -> None:
    """A nonce that could be guessed, a key that is none."""
    agent, run = running(sim)
    assert refusal(sim, agent.name, asked(sim, run, **change)) == "LEASE_INVALID"


@pytest.mark.invariant("P2")
def test_the_policy_is_asked_anew_before_a_run_gets_a_key(sim: Simulation) -> None:
    """A dataset that was given up for other purposes while the run waited opens for it no more; both are told in the log."""
    agent, run = running(sim)
    granted(sim, agent.name, asked(sim, run))
    decided = sim.events("policy.decided")[-1].body
    assert '"action":"release_key"' in decided.replace('": "', '":"')

    def limit(tx: ports.Transaction) -> None:
        stored = tx.get(dataset.Dataset, FLIGHTS)
        assert stored is not None
        tx.emit("dataset.updated", ids.dataset(FLIGHTS).resource, tx.replace(dataclasses.replace(stored, purposes=("fraud",))))

    sim.write(limit)
    assert refusal(sim, agent.name, asked(sim, run)) == "POLICY_DENIED"
    assert '"allowed":false' in sim.events("policy.decided")[-1].body.replace('": ', '":')
