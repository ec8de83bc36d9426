"""Budgets: counted from the month's first charge, told once for each threshold, and stopping what would exceed them."""

from __future__ import annotations

import dataclasses

import pytest

from federation.core import budget, errors, ids, metering, records, site
from federation.core.job import JobState
from federation.services import budgets, personal, quotas
from tests import builders
from tests.sim import Simulation

FLIGHTS = ids.dataset("sales/flights")
DOLLAR = 10**6
LINK = "links/aws:us-east-1~internet"


def make(sim: Simulation, scope: str = budget.ALL, dollars: float = 1, **changes) -> budget.Budget:
    """A budget of so many dollars."""
    asked = budget.Budget(
        budget=changes.pop("name", "cap"),
        scope=scope,
        limit_micros=round(dollars * DOLLAR),
        **{"alert_percents": (50, 100)} | changes,
    )
    return sim.write(lambda tx: budgets.create(tx, sim.ctx, builders.person(), asked))


def take_home(sim: Simulation, size: int) -> None:
    """A person downloads flights and it is settled: nine cents a gigabyte."""
    grant = sim.write(lambda tx: personal.open_read(tx, sim.ctx, builders.person(), FLIGHTS)).grant
    sim.agents["us-1"].open_grants[grant] = size
    sim.agents["us-1"].settle(grant)


def alerts(sim: Simulation) -> list[budget.Alert]:
    """What was told, from the log."""
    return [records.loads(budget.Alert, event.body) for event in sim.catalog.events(0, kinds=("budget.alert",), limit=1000)]


def shown(sim: Simulation, name: str = "cap") -> budget.Budget:
    """A budget as it is now."""
    return sim.read(lambda tx: budgets.get(tx, name))


@pytest.mark.parametrize("scope", [budget.ALL, "namespaces/sales", "datasets/sales/flights", LINK])
def test_what_is_charged_is_spent_in_every_scope(sim: Simulation, scope: str) -> None:
    """A download counts for the data's namespace, its dataset and its link, also for a budget that is made afterwards."""
    take_home(sim, 10**10)
    found = make(sim, scope, 10)
    assert (found.spent_micros, found.reserved_micros, found.month) == (900_000, 0, "2026-11")
    take_home(sim, 10**10)
    assert shown(sim).spent_micros == 1_800_000


def test_each_threshold_is_told_once_a_month(sim: Simulation) -> None:
    """At half, at the whole, and in the next month again."""
    make(sim, LINK, 1)
    for size, told in ((10**9, []), (5 * 10**9, [50]), (10**9, [50]), (10**10, [50, 100])):
        take_home(sim, size)
        sim.write(budgets.alert)
        sim.write(budgets.alert)
        assert [found.percent for found in alerts(sim)] == told
    assert shown(sim).alerted_percents == (50, 100)
    sim.clock.advance(10 * 86400)
    sim.agents["us-1"].beat()
    assert (shown(sim).spent_micros, shown(sim).alerted_percents) == (0, ())
    take_home(sim, 10**10)
    sim.write(budgets.alert)
    assert [(found.month, found.percent) for found in alerts(sim)][2:] == [("2026-12", 50)]
    # The law on counters is of one month.
    sim.catalog.write(lambda tx: tx.delete(site.LinkVolume, "2026-11/aws:us-east-1~internet"))
    (counter,) = sim.all(site.LinkVolume)
    everything = sum(record.bytes for record in sim.all(metering.LedgerEntry))
    sim.catalog.write(lambda tx: tx.replace(dataclasses.replace(counter, sent_bytes=everything)))


def test_the_sweep_tells_of_it(sim: Simulation) -> None:
    """Nobody has to ask."""
    make(sim, budget.ALL, 0.5)
    take_home(sim, 10**10)
    sim.sweep()
    assert [found.percent for found in alerts(sim)] == [50, 100]


def test_a_hard_budget_stops_a_person(sim: Simulation) -> None:
    """With the amounts; what is in flight counts, and what is given back does not."""
    make(sim, "namespaces/sales", 0.1, hard=True)
    grant = sim.write(lambda tx: personal.open_read(tx, sim.ctx, builders.person(), FLIGHTS)).grant
    assert shown(sim).reserved_micros == 90_000
    with pytest.raises(errors.FailedPrecondition) as caught:
        sim.write(lambda tx: personal.open_read(tx, sim.ctx, builders.person(), FLIGHTS))
    assert caught.value.reason == "BUDGET_EXHAUSTED"
    assert caught.value.metadata == {"budget": "cap", "scope": "namespaces/sales"}
    sim.agents["us-1"].open_grants[grant] = 0
    sim.agents["us-1"].settle(grant)
    assert (shown(sim).reserved_micros, shown(sim).spent_micros) == (0, 0)
    sim.write(lambda tx: personal.open_read(tx, sim.ctx, builders.person(), FLIGHTS))


def test_a_hard_budget_keeps_a_job_from_where_it_would_pay_and_lets_it_wait(sim: Simulation) -> None:
    """The only site that it may run at would have to bring the weather over; at home it runs, whatever the budget says."""
    make(sim, "datasets/sales/weather", 0.000001, hard=True)
    waiting = sim.submit(builders.request(["sales/weather"], sites=("us-1",)))
    assert (waiting.state, waiting.reason) == (JobState.PENDING, "BUDGET_EXHAUSTED")
    assert "budget cap (datasets/sales/weather)" in waiting.detail
    assert sim.submit(builders.request(["sales/weather"], sites=("eu-1",))).state is JobState.PLACED
    raised = dataclasses.replace(shown(sim), limit_micros=DOLLAR, etag="")
    sim.write(lambda tx: budgets.update(tx, raised, frozenset({"limit_micros"})))
    sim.sweep()
    assert sim.job(waiting.job).state is JobState.PLACED


def test_a_soft_budget_stops_nothing(sim: Simulation) -> None:
    """It only tells."""
    make(sim, budget.ALL, 0.000001)
    assert sim.submit(builders.request(["sales/weather"], sites=("us-1",))).state is JobState.PLACED
    take_home(sim, 10**10)


def test_a_job_is_charged_to_its_own_namespace_and_its_quota(sim: Simulation) -> None:
    """Not to the data's; the quota of egress counts what the ledger charges."""
    submitted = sim.submit(builders.request(["sales/weather"], sites=("us-1",), namespace="ml"))
    assert sim.read(lambda tx: budgets._reserved(tx, "namespaces/ml")) == 20_000 * 10**6 // 10**9
    agent = sim.agents["us-1"]
    agent.work()
    run = sim.run_of(submitted.job).run
    agent.accept(run)
    agent.begin(run)
    agent.read(run, "weather", 10**9)
    agent.finish(run)
    (grant,) = sim.run_of(submitted.job).grants
    entry = sim.agents["eu-1"].settle(grant)
    assert (entry.payer, entry.charge_micros) == ("ml", 20_000)
    assert sim.read(lambda tx: quotas.usage(tx, "ml", tx.now)).egress_micros == 20_000
    assert sim.read(lambda tx: budgets._spent(tx, "2026-11", "namespaces/sales")) == 0
    assert sim.read(lambda tx: budgets._reserved(tx, "namespaces/ml")) == 0


def test_a_name_that_is_not_there_is_refused(sim: Simulation) -> None:
    """A budget on nothing would never warn."""
    for scope in ("namespaces/nowhere", "datasets/sales/nothing"):
        with pytest.raises(errors.NotFound):
            make(sim, scope)
    make(sim)
    with pytest.raises(errors.AlreadyExists):
        make(sim)
    sim.write(lambda tx: budgets.delete(tx, "cap"))
    with pytest.raises(errors.NotFound):
        shown(sim)
