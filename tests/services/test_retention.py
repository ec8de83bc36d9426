"""Replicas that end: read, they stay; unread, they go, but never the last one and never one that somebody uses."""

from __future__ import annotations

import dataclasses
from datetime import timedelta
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import dataset, errors, ids, job, retention, transfer
from federation.core.transfer import TransferCause
from federation.services import carrying, datasets, personal, sites, transfers
from federation.services import retention as keeping
from tests import builders
from tests.services.test_transfers import FLIGHTS, finish, replica, start
from tests.sim import Simulation


def kept(sim: Simulation, seconds: int = 600, version: str = "sales/flights", at: str = "eu-1") -> dataset.Replica:
    """A replica at a site that ends after a time without reads."""
    start(sim, version, at, keep_seconds=seconds)
    finish(sim, at)
    held = replica(sim, FLIGHTS if version == "sales/flights" else version, at)
    assert held is not None
    return held


def look(sim: Simulation, seconds: int = 0) -> int:
    """Time passes, and the catalog lets go of what is over."""
    sim.clock.advance(seconds)
    for agent in sim.agents.values():
        if agent.alive:
            agent.beat()
    return sim.write(keeping.expire)


def state(sim: Simulation, version: str = FLIGHTS, at: str = "eu-1") -> dataset.ReplicaState | None:
    """The state of a replica."""
    held = replica(sim, version, at)
    return held.state if held else None


def why(sim: Simulation) -> str:
    """What keeps the replica at eu-1."""
    return sim.read(lambda tx: keeping.holds(tx, carrying.replica_at(tx, ids.version(FLIGHTS), "eu-1")))  # type: ignore[arg-type]


def test_a_replica_that_nobody_reads_is_dropped_in_two_steps(sim: Simulation) -> None:
    """First no plan chooses it and its site is told; when its objects are gone, the row and its keys go."""
    kept(sim)
    assert look(sim, 599) == 0
    assert look(sim, 1) == 1
    assert look(sim) == 0
    assert state(sim) is dataset.ReplicaState.DELETING
    agent = sim.agents["eu-1"]
    agent.work()
    assert agent.drops[FLIGHTS].sealed.keys
    assert [place.site for place in sim.read(lambda tx: carrying.holders(tx, ids.version(FLIGHTS)))] == ["us-1"]
    told = sim.read(lambda tx: [each.version.name.short for each in datasets.sealed_versions(tx, "eu-1")])
    assert FLIGHTS not in told
    agent.drop_replica(FLIGHTS)
    assert state(sim) is None
    assert {key.site for key in sim.all(dataset.WrappedKey, dataset_uid=sim.dataset("sales/flights").uid)} == {"us-1"}
    agent.drop_replica(FLIGHTS)


def test_a_replica_that_was_not_to_be_dropped_is_not_forgotten(sim: Simulation) -> None:
    """Whatever its site says: its data may be gone, and somebody must look."""
    kept(sim)
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: keeping.finish_drop(tx, "eu-1", FLIGHTS))
    assert caught.value.reason == "REPLICA_IN_USE"


def test_keys_that_another_version_there_needs_stay(sim: Simulation) -> None:
    """A version that reuses objects of the one before shares its generation."""
    first = sim.put("sales/flights", "us-1")
    uid = sim.dataset("sales/flights").uid
    agent = sim.agents["us-1"]
    new = agent.new_version("sales/flights", uid)
    shared = dataclasses.replace(new, generations=(*new.generations, *first.generations))
    second = sim.write(lambda tx: datasets.commit_version(tx, sim.ctx, shared, "us-1"))
    kept(sim, 60, first.name.short)
    kept(sim, 6000, second.name.short)
    sim.drive(24)
    assert state(sim, first.name.short) is None
    assert state(sim, second.name.short) is dataset.ReplicaState.AVAILABLE
    here = {key.generation for key in sim.all(dataset.WrappedKey, site="eu-1", dataset_uid=uid)}
    assert here == {*shared.generations}


def test_the_last_replica_that_can_be_read_stays(sim: Simulation) -> None:
    """Of two that are over one stays, and what lies at a silent site does not count."""
    held = sim.read(lambda tx: carrying.replica_at(tx, ids.version(FLIGHTS), "us-1"))
    assert held is not None
    kept(sim)
    over = dataclasses.replace(held, expire_time=sim.clock.now())
    sim.write(lambda tx: tx.emit("replica.updated", over.version.replica("us-1"), tx.replace(over)))
    assert look(sim, 600) == 1
    assert sorted(str(state(sim, FLIGHTS, at)) for at in ("eu-1", "us-1")) == ["AVAILABLE", "DELETING"]


def test_a_replica_stays_while_the_other_site_is_silent(sim: Simulation) -> None:
    """It may be the last one for good."""
    kept(sim)
    sim.write(lambda tx: sites.lose(tx, sites.get_site(tx, "us-1")))
    sim.agents["us-1"].die()
    assert look(sim, 600) == 0
    assert why(sim) == "it is the last one that can be read"
    sim.agents["us-1"].come_up()
    assert look(sim) == 1


def test_a_replica_under_an_open_grant_stays(sim: Simulation) -> None:
    """A person who takes it home, and a site that fetches it."""
    kept(sim)
    alice = builders.person()
    grant = sim.write(
        lambda tx: personal.open_read(tx, sim.ctx, alice, ids.dataset("sales/flights"), personal.Reading(site="eu-1"))
    )
    assert look(sim, 600) == 0
    assert why(sim) == "it is being read"
    sim.agents["eu-1"].settle(grant.grant)
    begun = start(sim, to="us-2", source="eu-1")
    assert look(sim) == 0
    sim.write(lambda tx: transfers.cancel(tx, begun.transfer))
    assert look(sim) == 1


def test_a_replica_stays_while_something_is_written_beside_it(sim: Simulation) -> None:
    """What is written may share objects with it: a person's version, a run's, or one that is on its way there."""
    kept(sim)
    alice = builders.person()
    sim.write(lambda tx: personal.open_write(tx, sim.ctx, alice, ids.dataset("sales/flights"), "eu-1"))
    assert look(sim, 600) == 0
    assert why(sim) == "something is written beside it"
    sim.clock.advance(sim.ctx.grant_seconds)
    sim.agents["eu-1"].beat()
    sim.agents["us-1"].beat()
    sim.sweep()
    sim.sweep()
    assert state(sim) is dataset.ReplicaState.DELETING


def test_a_transfer_waits_until_what_is_dropped_there_is_gone(sim: Simulation) -> None:
    """Else it would count on objects that are just being removed."""
    kept(sim)
    assert look(sim, 600) == 1
    again = start(sim)
    sim.sweep()
    assert sim.read(lambda tx: transfers.get(tx, again.transfer)).state is transfer.TransferState.PENDING
    sim.agents["eu-1"].work()
    sim.agents["eu-1"].drop_replica(FLIGHTS)
    sim.sweep()
    assert sim.read(lambda tx: transfers.get(tx, again.transfer)).state is transfer.TransferState.RUNNING


def test_a_read_keeps_a_replica_as_long_again(sim: Simulation) -> None:
    """By what was asked for it; the log says who read what, and when."""
    kept(sim, 6000)
    sim.clock.advance(5000)
    for agent in sim.agents.values():
        agent.beat()
    placed = sim.submit(builders.request(["sales/flights"], sites=("eu-1",)))
    assert placed.state is job.JobState.PLACED
    held = replica(sim)
    assert held is not None
    assert held.expire_time == sim.clock.now() + timedelta(seconds=6000)
    (log,) = sim.all(transfer.ReadLog)
    assert (log.dataset, log.version, log.site, log.times, log.reads) == ("sales/flights", 1, "eu-1", (sim.clock.now(),), 1)


def sell(sim: Simulation, usd: str) -> None:
    """Storage at eu-1 has a price."""
    offer = builders.offer(storage_gb_month_micros=builders.money(usd), storage_source="test")
    place = dataclasses.replace(sim.read(lambda tx: sites.get_site(tx, "eu-1")), offer=offer, etag="")
    sim.write(lambda tx: sites.update_site(tx, place, frozenset({"offer"})))


def test_a_jobs_own_copy_is_kept_by_what_pays(sim: Simulation) -> None:
    """Break-even: as long as storing costs what fetching again does, two cents for a GB at two cents a month."""
    sell(sim, "0.02")
    held = kept(sim, 60)
    made = sim.read(lambda tx: transfers.get(tx, held.transfer))
    for_job = dataclasses.replace(made, cause=TransferCause.JOB)
    sim.write(lambda tx: tx.emit("transfer.updated", f"transfers/{made.transfer}", tx.replace(for_job)))
    name = ids.version(FLIGHTS)
    sim.write(lambda tx: keeping.note_read(tx, sim.ctx, name, reader="eu-1", source="eu-1"))
    after = replica(sim)
    assert after is not None
    assert after.expire_time is not None
    assert (after.expire_time - sim.clock.now()).total_seconds() == 30 * 86_400
    # One that is read from afar has no reads of its own to go by.
    sim.clock.advance(100)
    sim.write(lambda tx: keeping.note_read(tx, sim.ctx, name, reader="us-2", source="eu-1"))
    assert replica(sim) == after


def test_a_log_is_bounded_and_what_it_drops_is_summed_up(sim: Simulation) -> None:
    """A hundred reads, one an hour: the newest times, and what the others cost by our rule and in hindsight."""
    sell(sim, "0.02")
    kept(sim)
    name = ids.version(FLIGHTS)
    for _ in range(100):
        sim.clock.advance(3600)
        sim.write(lambda tx: keeping.note_read(tx, sim.ctx, name, reader="eu-1", source="eu-1"))
    (log,) = sim.all(transfer.ReadLog)
    assert (log.reads, len(log.times)) == (100, keeping.TIMES_MAX)
    assert log.times[-1] == sim.clock.now()
    # 67 gaps of an hour, each as cheap as storing a GB for it: 27.8 micro-dollars, rounded against us each time.
    assert log.optimum_micros == 67 * 27
    assert log.paid_micros == 67 * 28
    for agent in sim.agents.values():
        agent.beat()


@given(st.lists(st.integers(0, 10**6), min_size=1, max_size=80), st.integers(0, 10**6), st.fractions(0, 5))
def test_a_bounded_log_never_breaks_the_bound(gaps: list[int], fetch: int, rate: Fraction) -> None:
    """Whatever is summed up, what was paid stays within the bound that the rule promises; rounding loses little."""
    at = retention.Terms(fetch_micros=fetch, storage_micros_per_second=rate)
    now = builders.NOW
    log = transfer.ReadLog(dataset="sales/flights", version=1, site="eu-1", times=(now,), reads=1)
    for gap in gaps:
        now += timedelta(seconds=gap)
        log = dataclasses.replace(log, times=(*log.times, now), reads=log.reads + 1)
        if len(log.times) > 5:
            log = keeping.summed_up(log, at)
    found = keeping.history(log, at)
    assert found.gaps == len(gaps)
    assert len(log.times) <= 5
    assert found.online_micros <= 2 * found.offline_micros + Fraction(fetch, 8)
    exact = retention.replay(at, [int((each - builders.NOW).total_seconds()) for each in _times(gaps)])
    assert abs(found.offline_micros - exact.offline_micros) <= len(gaps)


def _times(gaps: list[int]) -> list:
    now, found = builders.NOW, [builders.NOW]
    for gap in gaps:
        now += timedelta(seconds=gap)
        found.append(now)
    return found


def test_a_gap_at_unknown_prices_is_forgotten() -> None:
    """It counts neither for nor against us."""
    log = transfer.ReadLog(
        dataset="d/d", version=1, site="eu-1", times=(builders.NOW, builders.NOW + timedelta(seconds=9)), reads=2
    )
    assert keeping.summed_up(log, None) == dataclasses.replace(log, times=log.times[1:])


def test_a_job_that_waits_keeps_what_was_brought_for_it(sim: Simulation) -> None:
    """It may wait for room much longer than the copy was to be kept."""
    sim.declare("vu-1", up=False)
    waiting = sim.submit(builders.request(["sales/flights@1"], sites=("vu-1",)))
    way = builders.input_plan("flights", "us-1", "eu-1", way=job.Way.COPY, bytes=10**9, keep_seconds=5)
    plan = builders.plan(builders.candidate("eu-1", inputs=(way,)))
    sim.write(lambda tx: transfers.stage(tx, sim.ctx, waiting, plan))
    finish(sim)
    assert look(sim, 10_000) == 0
    assert why(sim) == "a job is about to read it"
    sim.cancel(waiting.job)
    assert look(sim) == 1
