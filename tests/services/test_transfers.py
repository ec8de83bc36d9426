"""Transfers: asked for, shared, run, tried again, ended once; what they leave is a replica or nothing."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from federation.adapters.catalog_sql import SqlCatalog
from federation.core import dataset, errors, ids, job, kinds, leases, site, transfer
from federation.core.transfer import TransferCause, TransferState
from federation.crypto import grants as signed
from federation.crypto import hpke
from federation.services import carrying, datasets, live_transfers, namespaces, sites, transfers
from federation.services import leases as lease_service
from tests import builders, prepared
from tests.sim import LEASE_SECONDS, Simulation, check_laws

FLIGHTS = "sales/flights@1"


def start(sim: Simulation, version: str = "sales/flights", to: str = "eu-1", **terms) -> transfer.Transfer:
    """Alice asks for a replica."""
    alice = builders.person()
    return sim.write(lambda tx: transfers.create(tx, sim.ctx, alice, version, to, **terms), actor=alice.name)


def look(sim: Simulation, name: str) -> transfer.Transfer:
    """A transfer as it is now."""
    return sim.read(lambda tx: transfers.get(tx, name))


def replica(sim: Simulation, version: str = FLIGHTS, at: str = "eu-1") -> dataset.Replica | None:
    """A replica as it is now."""
    return sim.read(lambda tx: carrying.replica_at(tx, ids.version(version), at))


def running(sim: Simulation, **terms) -> transfer.Transfer:
    """A transfer of the flights to eu-1 whose agent has it."""
    made = start(sim, **terms)
    sim.sweep()
    sim.agents["eu-1"].work()
    return look(sim, made.transfer)


def finish(sim: Simulation, at: str = "eu-1") -> None:
    """The site's agent brings all its transfers to their end."""
    sim.sweep()
    agent = sim.agents[at]
    agent.work()
    for name in list(agent.transfers):
        agent.carry(name, agent.transfers[name].transfer.object_bytes)
        agent.land(name)


# Asking


def test_a_person_gets_a_replica_from_the_cheapest_source(sim: Simulation) -> None:
    """Of two sources that which costs less; the replica has its keys, and the ledger has what was moved."""
    sim.declare("vu-1")
    finish_first = start(sim, to="vu-1")
    finish(sim, "vu-1")
    assert look(sim, finish_first.transfer).state is TransferState.SUCCEEDED
    made = start(sim)
    # A cent a GB out of Vultr, two between AWS regions.
    assert (made.source_site, made.estimate_micros, made.state) == ("vu-1", 10_000, TransferState.PENDING)
    finish(sim)
    ended = look(sim, made.transfer)
    assert (ended.state, ended.bytes_done, ended.objects_done) == (TransferState.SUCCEEDED, 10**9, 1)
    held = replica(sim)
    assert held is not None
    assert (held.transfer, held.expire_time, held.state) == (made.transfer, None, dataset.ReplicaState.AVAILABLE)
    sim.agents["vu-1"].beat()
    (entry,) = [each for each in sim.events("ledger.entry") if made.transfer in each.body]
    assert '"charge_micros":10000' in entry.body.replace(" ", "")


def test_a_named_source_is_taken_though_it_is_dearer(sim: Simulation) -> None:
    """Who names it has a reason."""
    sim.declare("vu-1")
    start(sim, to="vu-1")
    finish(sim, "vu-1")
    assert start(sim, source="us-1").source_site == "us-1"


def test_a_transfer_to_where_the_data_may_not_lie_is_refused(sim: Simulation) -> None:
    """Nothing is made."""
    with pytest.raises(errors.PermissionDenied) as caught:
        start(sim, "sales/orders", "us-1")
    assert caught.value.reason == "RESIDENCY_DENIED"
    assert sim.all(transfer.Transfer) == []


@pytest.mark.parametrize(
    ("version", "to", "terms", "reason"),
    [
        ("sales/flights@9", "eu-1", {}, "NOT_FOUND"),
        ("sales/flights", "xx-1", {}, "NOT_FOUND"),
        ("sales/flights", "eu-1", {"source": "us-2"}, "REPLICA_MISSING"),
        ("sales/flights", "eu-1", {"source": "eu-1"}, "REPLICA_MISSING"),
        ("sales/flights", "eu-1", {"keep_seconds": -1}, "DURATION_INVALID"),
        ("sales/flights", "eu-1", {"priority": 10**7}, "PRIORITY_INVALID"),
        ("sales/flights", "eu-1", {"bytes_per_second_max": -5}, "RATE_INVALID"),
    ],
)
def test_what_cannot_be_is_refused_by_name(sim: Simulation, version: str, to: str, terms: dict, reason: str) -> None:
    """And nothing is made."""
    with pytest.raises(errors.FederationError) as caught:
        start(sim, version, to, **terms)
    assert caught.value.reason == reason
    assert sim.all(transfer.Transfer) == []


def test_an_unknown_price_refuses() -> None:
    """It is never taken for zero."""
    sim = Simulation(())
    sim.write(lambda tx: tx.insert(builders.site("eu-1", "nowhere:one", heartbeat_time=tx.now)))
    sim.declare("us-1")
    sim.put("sales/flights", "us-1")
    sim.ctx = dataclasses.replace(sim.ctx, rates=dataclasses.replace(sim.ctx.rates, rows=sim.ctx.rates.rows[:1]))
    with pytest.raises(errors.FailedPrecondition) as caught:
        start(sim)
    assert caught.value.reason == "PRICE_UNKNOWN"


def test_a_site_that_does_not_answer_is_no_destination_and_no_source(sim: Simulation) -> None:
    """Said before anything is stored."""
    sim.agents["us-1"].die()
    for agent in (sim.agents["eu-1"], sim.agents["us-2"]):
        agent.beat()
    sim.clock.advance(LEASE_SECONDS)
    sim.agents["eu-1"].beat()
    sim.agents["us-2"].beat()
    sim.sweep()
    with pytest.raises(errors.FailedPrecondition, match="us-1 is LOST"):
        start(sim)
    with pytest.raises(errors.FailedPrecondition) as caught:
        start(sim, "sales/weather", "us-1")
    assert caught.value.reason == "SITE_LOST"


def test_who_asks_for_the_same_shares_it(sim: Simulation) -> None:
    """The more urgent priority and the longer keeping win; one version crosses once."""
    first = start(sim, keep_seconds=60, priority=1)
    second = start(sim, keep_seconds=600)
    third = start(sim, priority=5)
    assert {first.transfer, second.transfer} == {third.transfer}
    assert (second.keep_seconds, second.priority) == (600, 1)
    assert (third.keep_seconds, third.priority) == (0, 5)
    finish(sim)
    assert len(sim.all(transfer.Transfer)) == 1


def test_what_is_there_already_is_answered_as_done_and_kept_as_long_as_asked(sim: Simulation) -> None:
    """Nothing moves; a replica that was to stay is not made to end."""
    start(sim, keep_seconds=60)
    finish(sim)
    done = start(sim, keep_seconds=3600)
    assert (done.state, done.reason) == (TransferState.SUCCEEDED, "TRANSFER_NOT_NEEDED")
    held = replica(sim)
    assert held is not None
    assert held.expire_time is not None
    assert (held.expire_time - sim.clock.now()).total_seconds() == 3600
    start(sim)
    assert replica(sim).expire_time is None  # type: ignore[union-attr]
    start(sim, keep_seconds=1)
    assert replica(sim).expire_time is None  # type: ignore[union-attr]


# Running


def test_the_destination_is_told_with_a_grant_for_its_own_keys(sim: Simulation) -> None:
    """Signed for the source's gateway, to hand the keys to this site alone; told alike as long as it is due."""
    made = running(sim)
    told = sim.agents["eu-1"].transfers[made.transfer]
    grant = signed.peek(told.grant)
    assert (grant.subject, grant.site, grant.reader_site, grant.run) == ("agents/eu-1", "us-1", "eu-1", "")
    assert (grant.version, grant.reader_region) == (FLIGHTS, "aws:eu-central-1")
    assert grant.bytes_max == sim.ctx.budget_bytes(10**9)
    assert (told.gateway, told.transfer.attempt) == ("us-1.example:7443", 1)
    before = dict(sim.agents["eu-1"].transfers)
    sim.agents["eu-1"].work()
    assert sim.agents["eu-1"].transfers == before


def test_only_so_many_run_into_a_site_at_once_the_most_urgent_first(sim: Simulation) -> None:
    """The others follow by priority, then by age."""
    for number in range(6):
        sim.put(f"sales/part-{number}", "us-1")
    asked = [start(sim, f"sales/part-{number}", priority=number == 5) for number in range(6)]
    sim.sweep()
    states = [look(sim, each.transfer).state for each in asked]
    assert states == [TransferState.RUNNING] * 3 + [TransferState.PENDING] * 2 + [TransferState.RUNNING]
    sim.agents["eu-1"].work()
    sim.agents["eu-1"].land(asked[5].transfer)
    sim.sweep()
    assert look(sim, asked[3].transfer).state is TransferState.RUNNING
    assert look(sim, asked[4].transfer).state is TransferState.PENDING


def test_progress_is_told_and_changes_nothing_else(sim: Simulation) -> None:
    """No event for each piece: the log is for what happened."""
    made = running(sim)
    before = len(sim.events())
    answer = sim.agents["eu-1"].carry(made.transfer, 250_000_000)
    assert (answer.state, answer.bytes_done) == (TransferState.RUNNING, 250_000_000)
    assert len(sim.events()) == before


def test_a_failed_attempt_is_repeated_after_a_while_from_another_source(sim: Simulation) -> None:
    """The wait doubles; its grant is closed at once, so that what it moved is settled."""
    start(sim, to="us-2")
    finish(sim, "us-2")
    made = running(sim, source="us-1")
    sim.agents["eu-1"].carry(made.transfer, 400_000_000)
    failed = sim.agents["eu-1"].fail_transfer(made.transfer)
    assert (failed.state, failed.reason, failed.attempt) == (TransferState.PENDING, "SOURCE_UNREACHABLE", 1)
    sim.wait(carrying.BACKOFF_SECONDS - 1)
    assert look(sim, made.transfer).state is TransferState.PENDING
    sim.wait(1)
    again = look(sim, made.transfer)
    assert (again.state, again.attempt, again.source_site) == (TransferState.RUNNING, 2, "us-2")
    record = sim.read(lambda tx: tx.get(kinds.GrantRecord, again.grant))
    assert record is not None
    assert record.estimate_bytes == 600_000_000


def test_attempts_are_bounded(sim: Simulation) -> None:
    """With the last reason, which stays."""
    made = running(sim)
    for attempt in range(1, carrying.ATTEMPTS_MAX + 1):
        sim.agents["eu-1"].beat()
        sim.agents["us-1"].beat()
        sim.agents["eu-1"].work()
        ended = sim.agents["eu-1"].fail_transfer(made.transfer, f"REASON_{attempt}")
        for _ in range(40):
            sim.agents["eu-1"].beat()
            sim.agents["us-1"].beat()
            sim.wait(10)
    assert (ended.state, ended.reason) == (TransferState.FAILED, "REASON_5")
    assert look(sim, made.transfer) == ended
    assert replica(sim) is None


def test_what_will_not_go_away_fails_at_once(sim: Simulation) -> None:
    """Unless the source is at fault and there is another one."""
    made = running(sim)
    assert sim.agents["eu-1"].fail_transfer(made.transfer, "STORAGE_FULL", retryable=False).state is TransferState.FAILED
    start(sim, to="us-2")
    finish(sim, "us-2")
    made = running(sim, source="us-1")
    assert sim.agents["eu-1"].fail_transfer(made.transfer, "DATA_CORRUPT", retryable=False).state is TransferState.PENDING
    sim.wait(5)
    sim.agents["eu-1"].work()
    assert look(sim, made.transfer).source_site == "us-2"
    assert sim.agents["eu-1"].fail_transfer(made.transfer, "DATA_CORRUPT", retryable=False).state is TransferState.FAILED


def test_what_is_said_of_an_earlier_attempt_is_not_heard(sim: Simulation) -> None:
    """An answer that got lost makes an agent say it again; the next attempt does not fail for it."""
    made = running(sim)
    sim.agents["eu-1"].fail_transfer(made.transfer)
    sim.wait(5)

    def late(tx) -> transfer.Transfer:
        return live_transfers.report(
            tx, "eu-1", made.transfer, live_transfers.Report(state=TransferState.FAILED, retryable=True, attempt=1)
        )

    assert (sim.write(late).state, sim.write(late).attempt) == (TransferState.RUNNING, 2)


def test_finishing_twice_is_finishing_once_and_late_is_refused(sim: Simulation) -> None:
    """The answer that got lost is given again; what was cancelled leaves no replica."""
    made = running(sim)
    agent = sim.agents["eu-1"]
    first = agent.land(made.transfer, hear=False)
    assert agent.land(made.transfer) == first
    other = start(sim, "sales/flights", "us-2")
    sim.sweep()
    sim.agents["us-2"].work()
    told = sim.agents["us-2"].transfers[other.transfer]
    sim.write(lambda tx: transfers.cancel(tx, other.transfer), actor="users/alice")
    sim.agents["us-2"].work()
    assert other.transfer not in sim.agents["us-2"].transfers
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: live_transfers.finish(tx, sim.ctx, "us-2", other.transfer, (), told.transfer.object_bytes))
    assert caught.value.reason == "TRANSFER_SUPERSEDED"
    assert replica(sim, at="us-2") is None


def test_a_site_speaks_of_its_own_transfers_alone(sim: Simulation) -> None:
    """Whatever it knows of others."""
    made = running(sim)
    for say in (
        lambda tx: live_transfers.report(tx, "us-2", made.transfer, live_transfers.Report(state=TransferState.RUNNING)),
        lambda tx: live_transfers.finish(tx, sim.ctx, "us-2", made.transfer, (), 10**9),
    ):
        with pytest.raises(errors.PermissionDenied) as caught:
            sim.write(say)
        assert caught.value.reason == "TRANSFER_FOREIGN_SITE"


def test_a_replica_needs_all_its_bytes_and_its_own_keys(sim: Simulation) -> None:
    """Else nothing is made, and the transfer goes on."""
    made = running(sim)
    version = sim.read(lambda tx: datasets.get_version(tx, ids.version(FLIGHTS)))
    uid = sim.dataset("sales/flights").uid
    (generation,) = version.generations
    good = builders.wrapped_key("eu-1", generation, dataset_uid=uid)
    for keys, size, reason in (
        ((good,), 10**9 - 1, "SIZE_INVALID"),
        ((), 10**9, "KEY_MISSING"),
        ((dataclasses.replace(good, site="us-2"),), 10**9, "KEY_FOREIGN"),
        ((dataclasses.replace(good, dataset_uid="other"),), 10**9, "KEY_FOREIGN"),
    ):
        with pytest.raises(errors.FederationError) as caught:
            sim.write(lambda tx, k=keys, n=size: live_transfers.finish(tx, sim.ctx, "eu-1", made.transfer, k, n))
        assert caught.value.reason == reason
    assert look(sim, made.transfer).state is TransferState.RUNNING
    assert replica(sim) is None


def test_a_whole_transfer_measures_its_link(sim: Simulation) -> None:
    """A gigabyte in a hundred seconds, then one in fifty: the longer measurement weighs more than the shorter."""
    made = running(sim)
    for _ in range(10):
        sim.clock.advance(10)
        for agent in sim.agents.values():
            agent.beat()
    sim.agents["eu-1"].land(made.transfer)
    (speed,) = sim.all(site.LinkSpeed)
    assert (speed.source_region, speed.destination_region, speed.bytes_per_second) == (
        "aws:us-east-1",
        "aws:eu-central-1",
        10**7,
    )
    sim.put("sales/more", "us-1")
    other = running(sim, version="sales/more")
    sim.clock.advance(50)
    for agent in sim.agents.values():
        agent.beat()
    sim.agents["eu-1"].land(other.transfer)
    (speed,) = sim.all(site.LinkSpeed)
    assert speed.bytes_per_second == round(10**7 * 60 / 110 + 2 * 10**7 * 50 / 110)
    assert speed.samples == 2


@pytest.mark.parametrize(("total", "terms"), [(1_000, {}), (10**9, {"bytes_per_second_max": 10**6})], ids=["small", "held"])
def test_a_transfer_that_says_nothing_of_its_link_measures_none(sim: Simulation, total: int, terms: dict[str, int]) -> None:
    """A kilobyte takes as long as it takes to begin and to end; and who is held back shows no more than that."""
    sim.put("sales/other", "us-1", total=total)
    made = running(sim, version="sales/other", **terms)
    sim.clock.advance(2)
    sim.agents["eu-1"].land(made.transfer)
    assert look(sim, made.transfer).state is TransferState.SUCCEEDED
    assert not sim.all(site.LinkSpeed)


# What changes meanwhile


def test_a_destination_that_falls_silent_sets_its_transfer_back(sim: Simulation) -> None:
    """It is started again when the site answers, without counting as a failure."""
    made = running(sim)
    sim.agents["eu-1"].die()
    sim.clock.advance(LEASE_SECONDS)
    sim.agents["us-1"].beat()
    sim.sweep()
    waiting = look(sim, made.transfer)
    assert (waiting.state, waiting.reason, waiting.failed_sources) == (TransferState.PENDING, "SITE_LOST", ())
    sim.agents["eu-1"].come_up()
    sim.sweep()
    assert (look(sim, made.transfer).state, look(sim, made.transfer).attempt) == (TransferState.RUNNING, 2)


def test_a_site_that_had_finished_before_it_was_set_back_is_believed(sim: Simulation) -> None:
    """What it stored is what was wanted."""
    made = running(sim)
    sim.clock.advance(LEASE_SECONDS)
    sim.sweep()
    assert look(sim, made.transfer).state is TransferState.PENDING
    assert sim.agents["eu-1"].land(made.transfer).state is TransferState.SUCCEEDED  # type: ignore[union-attr]


@pytest.mark.parametrize("swept", [True, False])
def test_a_deleted_dataset_takes_its_transfers_with_it(sim: Simulation, swept: bool) -> None:
    """With the sweep or with the agent's next word, whichever is first; no replica comes of it."""
    made = running(sim)
    sim.write(lambda tx: datasets.delete_dataset(tx, ids.dataset("sales/flights")))
    if swept:
        sim.sweep()
    else:
        sim.agents["eu-1"].land(made.transfer)
    ended = look(sim, made.transfer)
    assert (ended.state, ended.reason) == (TransferState.CANCELLED, "DATASET_DELETED")
    assert replica(sim) is None


@pytest.mark.parametrize("swept", [True, False])
def test_a_residency_that_was_tightened_stops_what_is_on_its_way(sim: Simulation, swept: bool) -> None:
    """It is asked again in the transaction that would make the replica."""
    made = running(sim)
    tight = dataclasses.replace(sim.dataset("sales/flights"), residency=("US",), etag="")
    sim.write(lambda tx: datasets.update_dataset(tx, tight, frozenset({"residency"})))
    if swept:
        sim.sweep()
    else:
        assert sim.agents["eu-1"].land(made.transfer).state is TransferState.CANCELLED  # type: ignore[union-attr]
    ended = look(sim, made.transfer)
    assert (ended.state, ended.reason) == (TransferState.CANCELLED, "RESIDENCY_DENIED")
    assert replica(sim) is None


@pytest.mark.invariant("P2")
@pytest.mark.parametrize("swept", [True, False], ids=["by the sweep", "at the end"])
def test_a_policy_that_was_tightened_stops_what_is_on_its_way(sim: Simulation, swept: bool) -> None:
    """Whoever may not have it any more gets neither its keys nor the replica; the refusal is in the log before the end."""
    made = running(sim)
    version = sim.read(lambda tx: datasets.get_version(tx, ids.version("sales/flights@1")))
    wanted = leases.Asked(
        nonce="7" * 32,
        call="call-1",
        use=leases.Use.READ,
        grant=made.grant,
        run="",
        dataset="sales/flights",
        version=1,
        generations=version.generations,
        reader_key=hpke.fingerprint(bytes.fromhex(sim.read(lambda tx: sites.get_site(tx, "eu-1")).sealing_key)),
    )
    theirs = {"owner": "users/bob", "readers": ("users/alice",)}
    sim.write(lambda tx: namespaces.update(tx, builders.namespace(owner="users/bob"), frozenset({"owner"})))
    sim.write(lambda tx: datasets.update_dataset(tx, builders.dataset(**theirs), frozenset(theirs)))
    refused = sim.write(lambda tx: lease_service.answer(tx, sim.ctx, "us-1", wanted))
    assert isinstance(refused, errors.FederationError)
    assert refused.reason == "POLICY_DENIED"
    assert sim.all(leases.Lease) == []
    if swept:
        sim.sweep()
    else:
        assert sim.agents["eu-1"].land(made.transfer).state is TransferState.CANCELLED  # type: ignore[union-attr]
    ended = look(sim, made.transfer)
    assert (ended.state, ended.reason) == (TransferState.CANCELLED, "POLICY_DENIED")
    assert replica(sim) is None


def test_a_transfer_goes_on_while_one_who_wants_it_may_have_it(sim: Simulation) -> None:
    """A policy change that concerns nobody who wants it ends nothing."""
    made = running(sim)
    theirs = {"readers": ("users/alice",), "owner": "users/alice"}
    sim.write(lambda tx: datasets.update_dataset(tx, builders.dataset(**theirs), frozenset(theirs)))
    sim.sweep()
    assert look(sim, made.transfer).state is TransferState.RUNNING


def test_cancelling_twice_changes_nothing_and_what_has_ended_stays_so(sim: Simulation) -> None:
    """The reason is stable."""
    made = running(sim)
    first = sim.write(lambda tx: transfers.cancel(tx, made.transfer), actor="users/alice")
    assert (first.reason, first.detail) == ("CANCELLED", "cancelled by users/alice")
    assert sim.write(lambda tx: transfers.cancel(tx, made.transfer), actor="users/bob") == first
    other = start(sim)
    finish(sim)
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: transfers.cancel(tx, other.transfer))
    assert caught.value.reason == "TRANSFER_ENDED"
    with pytest.raises(errors.Conflict):
        sim.write(lambda tx: transfers.cancel(tx, other.transfer, "e-old"))


# For jobs


def copying(sim: Simulation, at: str = "eu-1", **input_) -> tuple[job.Job, job.Plan]:
    """A job that waits for a site which is not up yet, and a plan that runs it elsewhere with a copy of the flights."""
    if "vu-1" not in sim.agents:
        sim.declare("vu-1", up=False)
    way = builders.input_plan("flights", "us-1", at, way=job.Way.COPY, bytes=10**9, **input_)
    stored = sim.submit(builders.request(["sales/flights@1"], priority=7, sites=("vu-1",)))
    assert stored.state is job.JobState.PENDING
    return stored, builders.plan(builders.candidate(at, inputs=(way,)))


def test_a_plan_with_a_copy_makes_its_transfer_once(sim: Simulation) -> None:
    """Asked each second, by two jobs: one transfer, that both wait for."""
    first, plan = copying(sim, keep_seconds=7200)
    second, _ = copying(sim)
    names = {sim.write(lambda tx, w=waiting: transfers.stage(tx, sim.ctx, w, plan)) for waiting in (first, second, first)}
    ((name,),) = names
    made = look(sim, name)
    assert (made.cause, made.priority, made.keep_seconds) == (TransferCause.JOB, 7, 7200)
    assert made.jobs == (first.job, second.job)


def test_a_copy_that_is_there_needs_no_transfer(sim: Simulation) -> None:
    """The job can begin."""
    start(sim)
    finish(sim)
    waiting, plan = copying(sim)
    assert sim.write(lambda tx: transfers.stage(tx, sim.ctx, waiting, plan)) == ()


def test_a_relay_goes_one_leg_after_the_other(sim: Simulation) -> None:
    """The second begins when the first has brought it there, and is lost with it."""
    waiting, plan = copying(sim, via_site="us-2")
    first, second = sim.write(lambda tx: transfers.stage(tx, sim.ctx, waiting, plan))
    sim.sweep()
    assert [look(sim, name).state for name in (first, second)] == [TransferState.RUNNING, TransferState.PENDING]
    finish(sim, "us-2")
    sim.sweep()
    assert (look(sim, second).state, look(sim, second).source_site) == (TransferState.RUNNING, "us-2")


def test_a_relay_that_breaks_ends_what_waits_for_it(sim: Simulation) -> None:
    """With its reason; the job is planned again without copies, and remembers why."""
    waiting, plan = copying(sim, via_site="us-2")
    names = sim.write(lambda tx: transfers.stage(tx, sim.ctx, waiting, plan))
    sim.write(lambda tx: transfers.cancel(tx, names[0]))
    sim.sweep()
    assert (look(sim, names[1]).state, look(sim, names[1]).reason) == (TransferState.FAILED, "RELAY_FAILED")
    staged = dataclasses.replace(waiting, transfers=names)
    past = sim.read(lambda tx: transfers.past(tx, staged))
    assert [(each.site, each.reason) for each in past] == [("us-2", "STAGING_FAILED"), ("eu-1", "STAGING_FAILED")]
    assert sim.read(lambda tx: transfers.asked_again(tx, staged)).no_copies
    # Remembered by its plan as well, once the transfers themselves are not named any more.
    planned = dataclasses.replace(waiting, plan=dataclasses.replace(plan, attempts=past))
    assert sim.read(lambda tx: transfers.asked_again(tx, planned)).no_copies
    assert not sim.read(lambda tx: transfers.asked_again(tx, waiting)).no_copies


def test_a_plan_that_would_copy_to_where_the_data_may_not_lie_is_refused(sim: Simulation) -> None:
    """At the destination and on the way; nothing is made, whatever the planner thought."""
    for at, via in (("us-1", ""), ("eu-2", "us-1")):
        if at not in sim.agents:
            sim.declare(at)
        way = builders.input_plan("orders", "eu-1", at, way=job.Way.COPY, via_site=via)
        waiting, _ = copying(sim)
        plan = builders.plan(builders.candidate(at, inputs=(way,)))
        with pytest.raises(errors.PermissionDenied) as caught:
            sim.write(lambda tx, w=waiting, p=plan: transfers.stage(tx, sim.ctx, w, p))
        assert caught.value.reason == "RESIDENCY_DENIED"
    assert sim.all(transfer.Transfer) == []


def test_a_copy_that_no_job_waits_for_is_given_up_unless_somebody_else_wants_it(sim: Simulation) -> None:
    """Nobody pays for what nobody reads."""
    for shared, state in ((False, TransferState.CANCELLED), (True, TransferState.PENDING)):
        waiting, plan = copying(sim, "us-2" if shared else "eu-1")
        (name,) = sim.write(lambda tx, w=waiting, p=plan: transfers.stage(tx, sim.ctx, w, p))
        if shared:
            assert start(sim, to="us-2").transfer == name
        sim.cancel(waiting.job)
        sim.write(lambda tx: live_transfers.advance(tx, dataclasses.replace(sim.ctx, transfers_per_site=0)))
        assert look(sim, name).state is state
    assert look(sim, name).cause is TransferCause.PERSON


def test_an_output_is_delivered_to_where_it_is_wanted(sim: Simulation) -> None:
    """Once its run has committed, for good."""
    request = builders.request(["sales/flights"], ["m=ml/m"], sites=("us-1",))
    request = dataclasses.replace(request, outputs=(dataclasses.replace(request.outputs[0], deliver_to="eu-1"),))
    placed = sim.submit(request)
    sim.drive(8)
    assert sim.job(placed.job).state is job.JobState.SUCCEEDED
    (made,) = sim.all(transfer.Transfer)
    assert (made.cause, made.state, made.jobs, made.keep_seconds) == (
        TransferCause.DELIVERY,
        TransferState.SUCCEEDED,
        (placed.job,),
        0,
    )
    assert replica(sim, "ml/m@1") is not None


def test_a_delivery_that_residency_forbids_fails_by_name_and_leaves_the_job_alone(sim: Simulation) -> None:
    """The run has succeeded; its output stays where it may."""
    version = sim.put("ml/secret", "eu-1", residency=("EU",))
    of = builders.job()
    made = sim.write(lambda tx: transfers.deliver(tx, sim.ctx, of, version, at="eu-1", to="us-1"))
    assert made is not None
    assert (made.state, made.reason) == (TransferState.FAILED, "RESIDENCY_DENIED")
    assert sim.write(lambda tx: transfers.deliver(tx, sim.ctx, of, version, at="eu-1", to="eu-1")) is None


def test_a_delivery_that_residency_forbids_is_refused_before_anything_runs(sim: Simulation) -> None:
    """What binds the input binds the output, and that is known when the job is submitted."""
    sim.put("sales/secret", "eu-1", residency=("EU",))
    request = builders.request(["sales/secret"], ["m=ml/m"])
    for to in ("us-1", "eu-1"):
        asked = dataclasses.replace(request, outputs=(dataclasses.replace(request.outputs[0], deliver_to=to),))
        if to == "eu-1":
            assert sim.submit(asked).state is job.JobState.PLACED
        else:
            with pytest.raises(errors.PermissionDenied, match="ml/m may be stored and used in EU only") as refused:
                sim.submit(asked)
            assert refused.value.reason == "RESIDENCY_DENIED"
            assert sim.all(job.Job) == []


def test_it_goes_the_same_way_on_sqlite(tmp_path: Path) -> None:
    """The same use cases over the real store: shared, failed, repeated, finished, and dropped when its time is over."""
    sim = Simulation(catalog=lambda clock, made: SqlCatalog(prepared.sqlite(tmp_path / "catalog.db"), clock, made))
    sim.put("sales/flights", "us-1")
    made = running(sim, keep_seconds=60)
    assert start(sim, keep_seconds=30).transfer == made.transfer
    sim.agents["eu-1"].fail_transfer(made.transfer)
    sim.drive(4)
    assert look(sim, made.transfer).state is TransferState.SUCCEEDED
    check_laws(sim)
    sim.drive(30)
    assert replica(sim) is None
    assert {key.site for key in sim.all(dataset.WrappedKey)} == {"us-1"}
    check_laws(sim)
    sim.catalog.close()


def test_a_site_that_is_deleted_ends_what_was_to_come_there(sim: Simulation) -> None:
    """One bad row does not stop the others."""
    made, other = start(sim, to="us-2"), start(sim)
    sim.write(lambda tx: sites.delete_site(tx, "us-2"))
    del sim.agents["us-2"]
    sim.sweep()
    assert (look(sim, made.transfer).state, look(sim, made.transfer).reason) == (TransferState.CANCELLED, "SITE_DELETED")
    assert look(sim, other.transfer).state is TransferState.RUNNING
