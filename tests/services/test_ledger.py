"""The egress ledger: once for each grant, at the month's marginal price, summing to what left."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, ids, job, kinds, metering, site
from federation.core.job import JobState
from federation.services import access, costs, ledger, personal, sites
from tests import builders
from tests.sim import SimulatedAgent, Simulation, check_ledger

FLIGHTS = ids.dataset("sales/flights")


def granted(sim: Simulation) -> str:
    """A person's grant to read the flights from us-1."""
    return sim.write(lambda tx: personal.open_read(tx, sim.ctx, builders.person(), FLIGHTS)).grant


def settle(sim: Simulation, grant: str, size: int, at: str = "us-1", **changes: int) -> metering.LedgerEntry:
    """What the source says, remembered for the laws."""
    usage = builders.usage(size, grant=grant, source_site=at, **changes)
    entry = sim.write(lambda tx: ledger.settle(tx, sim.ctx, at, usage))
    sim.sent.setdefault(grant, usage.charged_bytes)
    return entry


def test_a_download_is_charged_at_the_way_out(sim: Simulation) -> None:
    """10 GB at nine cents, and nobody claims that it avoided anything."""
    entry = settle(sim, granted(sim), 10**10)
    assert (entry.charge_micros, entry.destination_region, entry.avoided_micros) == (900_000, site.INTERNET, None)
    assert (entry.principal, entry.job, entry.dataset, entry.version) == ("users/alice", "", "flights", 1)


def test_the_first_word_counts(sim: Simulation) -> None:
    """A grant that is settled again has the same entry, whatever is said the second time."""
    grant = granted(sim)
    first = settle(sim, grant, 100)
    before = sim.catalog.revision()
    assert settle(sim, grant, 10**9) == first
    assert sim.catalog.revision() == before


def test_what_was_granted_but_never_counted_is_charged_and_marked(sim: Simulation) -> None:
    """A process that was killed hides nothing."""
    entry = settle(sim, granted(sim), 10**9, unsettled_bytes=10**9)
    assert (entry.bytes, entry.unsettled_bytes, entry.charge_micros) == (2 * 10**9, 10**9, 180_000)


def test_zero_bytes_are_an_entry_too(sim: Simulation) -> None:
    """That nothing left is the proof of what was saved."""
    entry = settle(sim, granted(sim), 0)
    assert (entry.bytes, entry.charge_micros) == (0, 0)


def test_settling_closes_the_grant(sim: Simulation) -> None:
    """The source's word is final."""
    grant = granted(sim)
    entry = settle(sim, grant, 1)
    record = sim.read(lambda tx: tx.get(kinds.GrantRecord, grant))
    assert record is not None
    assert (record.closed, record.entry) == (True, entry.entry)


def test_only_the_source_settles(sim: Simulation) -> None:
    """Another site has nothing to say about what left here."""
    grant = granted(sim)
    with pytest.raises(errors.PermissionDenied) as caught:
        sim.write(lambda tx: ledger.settle(tx, sim.ctx, "eu-1", builders.usage(1, grant=grant, source_site="eu-1")))
    assert caught.value.reason == "GRANT_FOREIGN_SITE"
    with pytest.raises(errors.InvalidArgument):
        sim.write(lambda tx: ledger.settle(tx, sim.ctx, "eu-1", builders.usage(1, grant=grant, source_site="us-1")))
    with pytest.raises(errors.InvalidArgument):
        sim.write(lambda tx: ledger.settle(tx, sim.ctx, "us-1", builders.usage(-1, grant=grant, source_site="us-1")))


def test_a_grant_to_write_or_an_unknown_one_is_answered_without_an_entry(sim: Simulation) -> None:
    """So that its gateway can let go of it."""
    grant = sim.write(lambda tx: personal.open_write(tx, sim.ctx, builders.person(), FLIGHTS, "us-1"))
    for name in (grant.grant, "a-unknown"):
        usage = builders.usage(5, grant=name, source_site="us-1")
        assert sim.write(lambda tx, usage=usage: ledger.settle(tx, sim.ctx, "us-1", usage)).entry == ""  # type: ignore[misc]
    assert sim.all(metering.LedgerEntry) == []


def test_a_price_that_went_missing_keeps_the_grant_to_be_settled_later(sim: Simulation) -> None:
    """No charge is invented; once the price is there, the entry is made."""
    grant, rates = granted(sim), sim.ctx.rates
    sim.ctx = dataclasses.replace(sim.ctx, rates=dataclasses.replace(rates, rows=()))
    usage = builders.usage(10**9, grant=grant, source_site="us-1")
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: ledger.settle(tx, sim.ctx, "us-1", usage))
    assert caught.value.reason == "PRICE_UNKNOWN"
    assert sim.all(site.LinkVolume) == []
    sim.ctx = dataclasses.replace(sim.ctx, rates=rates)
    assert settle(sim, grant, 10**9).charge_micros == 90_000


def test_a_new_month_begins_its_tiers_anew(sim: Simulation) -> None:
    """The counter is the month's."""
    settle(sim, granted(sim), 10**9)
    sim.clock.advance(10 * 86400)
    sim.agents["us-1"].beat()
    entry = settle(sim, granted(sim), 10**9)
    assert (entry.month, entry.month_to_date_bytes) == ("2026-12", 0)
    assert [row.month for row in sim.all(site.LinkVolume)] == ["2026-11", "2026-12"]
    # The law on counters is of one month.
    sim.catalog.write(lambda tx: tx.delete(site.LinkVolume, "2026-11/aws:us-east-1~internet"))
    (counter,) = sim.all(site.LinkVolume)
    sim.catalog.write(lambda tx: tx.replace(dataclasses.replace(counter, sent_bytes=2 * 10**9)))


@given(st.lists(st.integers(0, 3 * 10**9), min_size=1, max_size=6))
def test_many_small_reads_cost_what_one_big_one_does(sizes: list[int]) -> None:
    """Charges are differences of a rounded whole, so no way of splitting changes the sum."""
    sim = Simulation(("us-1",))
    sim.put("sales/flights", "us-1")
    charges = [settle(sim, granted(sim), size).charge_micros for size in sizes]
    whole = sim.ctx.rates.price("aws:us-east-1", site.INTERNET, 0, sum(sizes))
    assert whole is not None
    assert sum(charges) == whole.micros
    check_ledger(sim)


def test_costs_sum_by_job_dataset_and_link_and_to_the_total(sim: Simulation) -> None:
    """Each way of looking at it has the same total."""
    submitted = sim.submit(builders.request(["sales/flights", "sales/weather"]))
    sim.drive(4)
    settle(sim, granted(sim), 10**9)
    for by in metering.SUMMARY_KEYS:
        rows, total = costs.summarize(sim.catalog, None, by)
        assert sum(row.charge_micros for row in rows) == total.charge_micros == 90_000
        assert sum(row.bytes for row in rows) == total.bytes == 10**9 + 200
    rows, total = costs.summarize(sim.catalog, None, "dataset", costs.Selection(where={"job": submitted.job}))
    assert [(row.key, row.local_bytes, row.egress_bytes) for row in rows] == [
        ("sales/flights", 100, 0),
        ("sales/weather", 0, 100),
    ]
    assert total.entries == 2
    with pytest.raises(errors.InvalidArgument):
        costs.summarize(sim.catalog, None, "mood")


def test_a_run_that_fails_after_it_was_settled_has_avoided_nothing(sim: Simulation) -> None:
    """Its grants were settled as if it would commit: a correction takes back what they claim, and keeps what was charged."""
    cheap = dataclasses.replace(sim.read(lambda tx: sites.get_site(tx, "us-2")), offer=builders.offer("0.001"))
    sim.write(lambda tx: sites.update_site(tx, cheap, frozenset({"offer"})))
    submitted = sim.submit(builders.request(["sales/flights", "sales/weather"]))
    (agent,) = (each for each in sim.agents.values() if each.name == sim.run_of(submitted.job).site)
    agent.work()
    name = sim.run_of(submitted.job).run
    agent.accept(name)
    agent.begin(name)
    for alias, size in (("flights", 10**9), ("weather", 10**6)):
        agent.read(name, alias, size)
    for grant in sim.run_of(submitted.job).grants:
        record = sim.read(lambda tx, grant=grant: tx.get(kinds.GrantRecord, grant))  # type: ignore[misc]
        sim.agents[record.source_site].settle(grant)
    _, claimed = costs.summarize(sim.catalog, None, "job")
    assert claimed.avoided_micros > 0
    agent.report(name, JobState.FAILED, reason="ENTRYPOINT_FAILED")
    _, total = costs.summarize(sim.catalog, None, "job")
    assert (total.charge_micros, total.bytes) == (claimed.charge_micros, claimed.bytes)
    assert total.avoided_micros == -total.charge_micros
    corrections = [entry for entry in sim.all(metering.LedgerEntry) if entry.corrects]
    assert [(entry.corrects + "-c", entry.bytes, entry.charge_micros) for entry in corrections] == [
        (entry.entry, 0, 0) for entry in corrections
    ]
    run = sim.run_of(submitted.job)
    sim.write(lambda tx: ledger.take_back_avoided(tx, run))
    assert len([entry for entry in sim.all(metering.LedgerEntry) if entry.corrects]) == len(corrections) > 0


def half_way(sim: Simulation) -> tuple[job.Job, SimulatedAgent, str]:
    """A job that has read its input and has not ended, its agent and its run. Computing would be cheaper elsewhere."""
    cheap = dataclasses.replace(sim.read(lambda tx: sites.get_site(tx, "us-2")), offer=builders.offer("0.001"))
    sim.write(lambda tx: sites.update_site(tx, cheap, frozenset({"offer"})))
    submitted = sim.submit(builders.request(["sales/flights"]))
    agent = sim.agents["us-1"]
    agent.work()
    name = sim.run_of(submitted.job).run
    agent.accept(name)
    agent.begin(name)
    agent.read(name, "flights", 10**9)
    return submitted, agent, name


def test_a_run_that_succeeds_before_it_is_settled_keeps_what_it_avoided(sim: Simulation) -> None:
    """Its end closes its grants and takes nothing from them: the entries that follow say what its place has saved."""
    submitted, agent, name = half_way(sim)
    agent.finish(name)
    (grant,) = sim.run_of(submitted.job).grants
    assert agent.settle(grant).avoided_micros == submitted.plan.choice.inputs[0].baseline_micros == 20_000  # type: ignore[union-attr]


def test_a_grant_that_was_closed_early_claims_nothing_once_its_run_has_failed(sim: Simulation) -> None:
    """Closed by another hand, settled after the end: the baseline is gone by then, and the log knows it."""
    submitted, agent, name = half_way(sim)
    (grant,) = sim.run_of(submitted.job).grants
    sim.write(lambda tx: access.close(tx, tx.get(kinds.GrantRecord, grant)))  # type: ignore[arg-type]
    agent.report(name, JobState.FAILED, reason="ENTRYPOINT_FAILED")
    assert agent.settle(grant).avoided_micros == 0


# By the hour, by both sides


def counted(size: int, aborted: int = 0, hour: int = 0) -> metering.Traffic:
    """What one side counted in an hour."""
    begin = metering.hour(builders.NOW) + timedelta(hours=hour)
    return metering.Traffic(hour_time=begin, bytes=size, responses=1, aborted_bytes=aborted, aborted_responses=int(aborted > 0))


def test_what_left_is_kept_by_the_hour_with_its_entry(sim: Simulation) -> None:
    """One record for each hour, with the pair of regions; settled again, nothing is added."""
    grant = granted(sim)
    traffic = (counted(60, 10), counted(30, hour=1))
    entry = settle(sim, grant, 100, traffic=traffic)
    settle(sim, grant, 100, traffic=traffic)
    records = sim.read(lambda tx: tx.list(metering.UsageRecord, parent=grant))
    assert [(r.bytes, r.aborted_bytes, r.counter, r.destination_region) for r in records] == [
        (60, 10, metering.Counter.GATEWAY, site.INTERNET),
        (30, 0, metering.Counter.GATEWAY, site.INTERNET),
    ]
    assert sum(r.bytes + r.aborted_bytes for r in records) == entry.bytes
    assert [e.kind for e in sim.catalog.events(0, limit=1000)].count("usage.counted") == 2


def test_hours_that_do_not_sum_to_what_left_are_refused(sim: Simulation) -> None:
    """An agent cannot tell the ledger one thing and the record another; nothing is settled."""
    grant = granted(sim)
    with pytest.raises(errors.InvalidArgument) as refused:
        settle(sim, grant, 100, traffic=(counted(60),))
    assert refused.value.reason == "TRAFFIC_INVALID"
    assert sim.read(lambda tx: tx.list(metering.UsageRecord)) == ()


def test_one_refusal_among_many_settlements_is_its_own(sim: Simulation) -> None:
    """Each is answered; those that are good are entered."""
    grants = [granted(sim) for _ in range(3)]
    usages = [builders.usage(10 + n, grant=g, source_site="us-1") for n, g in enumerate(grants)]
    usages[1] = dataclasses.replace(usages[1], source_site="eu-1")
    outcomes = sim.write(lambda tx: ledger.settle_all(tx, sim.ctx, "us-1", usages))
    for number in (0, 2):
        sim.sent[grants[number]] = 10 + number
    assert [outcome.refusal.reason if outcome.refusal else outcome.entry.bytes for outcome in outcomes] == [
        10,
        "GRANT_FOREIGN_SITE",
        12,
    ]


def test_an_unknown_price_leaves_no_trace_among_many(sim: Simulation) -> None:
    """The refused settlement changes neither the month's volume nor anything else."""
    grant = granted(sim)
    before = sim.read(lambda tx: tx.list(site.LinkVolume))
    bare = dataclasses.replace(sim.ctx, rates=dataclasses.replace(sim.ctx.rates, rows=()))
    usage = builders.usage(10, grant=grant, source_site="us-1")
    (outcome,) = sim.write(lambda tx: ledger.settle_all(tx, bare, "us-1", [usage]))
    assert outcome.refusal is not None
    assert outcome.refusal.reason == "PRICE_UNKNOWN"
    assert sim.read(lambda tx: tx.list(site.LinkVolume)) == before


def test_what_readers_received_is_kept_once_and_only_of_their_own_run(sim: Simulation) -> None:
    """It stands beside what was sent; a hostile agent cannot report on another's run."""
    record = sim.write(lambda tx: access.issue(tx, builders.grant_record(grant="g-1")))
    run, grant = record.run, record.grant
    note = {grant: (counted(60), counted(30, hour=1))}
    sim.write(lambda tx: ledger.note_reads(tx, "us-1", run, note))
    again = sim.write(lambda tx: ledger.note_reads(tx, "us-1", run, {grant: (counted(99),)}))
    assert again == ()
    records = sim.read(lambda tx: tx.list(metering.UsageRecord, parent=grant))
    assert [(r.bytes, r.counter) for r in records] == [(60, metering.Counter.READER), (30, metering.Counter.READER)]
    for at, said in (("eu-1", run), ("us-1", "jobs/j-other/runs/1")):
        with pytest.raises(errors.PermissionDenied) as refused:
            sim.write(lambda tx, at=at, said=said: ledger.note_reads(tx, at, said, note))
        assert refused.value.reason == "GRANT_FOREIGN_SITE"


def test_both_sides_are_held_against_each_other() -> None:
    """By run, pair of regions and hour: whole bytes must agree, aborted ones are apart, an unheard reader is told."""
    sent = builders.grant_record(grant="g-1")
    other = builders.grant_record(grant="g-2")
    records = [
        metering.usage_record(sent, metering.Counter.GATEWAY, counted(60, 10)),
        metering.usage_record(other, metering.Counter.GATEWAY, counted(40)),
        metering.usage_record(sent, metering.Counter.READER, counted(60, 3)),
        metering.usage_record(other, metering.Counter.READER, counted(40)),
        metering.usage_record(sent, metering.Counter.GATEWAY, counted(5, hour=1)),
    ]
    both, alone = metering.agreements(records)
    assert (both.sent_bytes, both.received_bytes, both.aborted_bytes, both.agrees, both.heard) == (100, 100, 10, True, True)
    assert (alone.sent_bytes, alone.received_bytes, alone.agrees, alone.heard) == (5, 0, False, False)


@pytest.mark.parametrize(
    ("sent", "agrees"),
    [
        pytest.param(60, True, id="broken off on its way"),
        pytest.param(100, True, id="left whole before it was broken off"),
        pytest.param(101, False, id="more than was ever asked for"),
        pytest.param(59, False, id="less than came whole"),
    ],
)
def test_what_a_reader_broke_off_may_have_left_whole(sent: int, agrees: bool) -> None:
    """Up to all that was asked for in it, no more."""
    grant = builders.grant_record(grant="g-1")
    received = dataclasses.replace(counted(60, 3), unreceived_bytes=37)
    (row,) = metering.agreements(
        [
            metering.usage_record(grant, metering.Counter.GATEWAY, counted(sent)),
            metering.usage_record(grant, metering.Counter.READER, received),
        ]
    )
    assert (row.broken_off_bytes, row.agrees) == (40, agrees)
