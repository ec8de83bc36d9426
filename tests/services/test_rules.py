"""Replication rules: copies where they are wanted, cheapest first, followed by new versions, and an end."""

from __future__ import annotations

import dataclasses

import pytest

from federation.core import errors, ids, transfer
from federation.core.transfer import ReplicationRule, TransferState
from federation.services import carrying, datasets, rules, sites, transfers
from tests import builders
from tests.sim import Simulation, check_laws

#: Dollars for a GB and month, by site.
STORAGE = {"eu-1": "0.02", "eu-2": "0.03", "us-1": "0.02", "us-2": "0.01", "vu-1": "0.05"}


@pytest.fixture
def five() -> Simulation:
    """Five sites that sell storage; the flights are in the US, the EU's orders in the EU."""
    sim = Simulation(STORAGE)
    for name, usd in STORAGE.items():
        sell(sim, name, usd)
    sim.put("sales/flights", "us-1")
    sim.put("sales/orders", "eu-1", residency=("EU",))
    yield sim
    check_laws(sim)


def sell(sim: Simulation, name: str, usd: str | None) -> None:
    """An administrator says what storage costs at a site."""
    offer = builders.offer(storage_gb_month_micros=builders.money(usd), storage_source="test")
    place = sim.read(lambda tx: sites.get_site(tx, name))
    given = dataclasses.replace(place, offer=offer, etag="")
    sim.write(lambda tx: sites.update_site(tx, given, frozenset({"offer"})))


def make(sim: Simulation, of: str = "sales/flights", copies: int = 2, where: str = "", **changes) -> ReplicationRule:
    """Alice makes the rule `keep`."""
    asked = ReplicationRule(**{"rule": "keep", "dataset": of, "copies": copies, "site_filter": where} | changes)
    alice = builders.person()
    return sim.write(lambda tx: rules.create(tx, sim.ctx, alice, asked), actor=alice.name)


def rule(sim: Simulation) -> ReplicationRule:
    """The rule as it is now."""
    return sim.read(lambda tx: rules.get(tx, "keep"))


def holders(sim: Simulation, version: str = "sales/flights@1") -> list[str]:
    """Sites with a readable replica."""
    return [place.site for place in sim.read(lambda tx: carrying.holders(tx, ids.version(version)))]


def drive(sim: Simulation, rounds: int = 4) -> None:
    """Everything goes on for a while."""
    sim.drive(rounds)


def test_a_rule_brings_copies_to_the_cheapest_sites(five: Simulation) -> None:
    """Storage and egress together: us-2 costs one cent a GB and month and two to send, all others more."""
    made = make(five)
    assert (made.reason, made.detail) == ("COPIES_ARRIVING", "1 of 2 replicas of sales/flights@1 are there, 1 on their way")
    drive(five)
    assert holders(five) == ["us-1", "us-2"]
    assert (rule(five).reason, rule(five).detail) == ("", "")
    assert five.sweep() == 0


def test_a_copy_comes_from_another_copy_where_that_is_cheaper(five: Simulation) -> None:
    """Two sites of one region: the bytes cross the ocean once, and the second copy waits for the first."""
    five.declare("eu-3")
    sell(five, "eu-3", "0.02")
    made = make(five, copies=2, where='region = "aws:eu-central-1"')
    assert made.reason == "COPIES_ARRIVING"
    first, second = five.all(transfer.Transfer)
    assert (first.source_site, second.source_site, second.after) == ("us-1", first.destination_site, first.transfer)
    assert (first.estimate_micros, second.estimate_micros) == (20_000, 0)
    drive(five, 6)
    assert holders(five) == ["eu-1", "eu-3", "us-1"]


def test_a_filter_selects_and_residency_bounds(five: Simulation) -> None:
    """What the filter would allow and residency forbids is told by name, and never done."""
    made = make(five, "sales/orders", copies=3)
    assert (made.reason, len(five.all(transfer.Transfer))) == ("RULE_UNSATISFIABLE", 1)
    assert made.detail.startswith("1 of 3 replicas of sales/orders@1 are there; ")
    assert "us-1: residency allows EU only" in made.detail
    drive(five)
    assert holders(five, "sales/orders@1") == ["eu-1", "eu-2"]
    assert rule(five).detail.startswith("2 of 3 replicas of sales/orders@1 are there; ")


@pytest.mark.parametrize(
    ("break_it", "words"),
    [
        (lambda sim: sell(sim, "vu-1", None), "vu-1: its storage price is unknown"),
        (lambda sim: sim.write(lambda tx: sites.lose(tx, sites.get_site(tx, "vu-1"))), "vu-1: it is LOST"),
    ],
)
def test_what_keeps_a_rule_from_being_fulfilled_stands_on_it(five: Simulation, break_it, words: str) -> None:
    """In words that name the site; once it passes, the copy comes."""
    break_it(five)
    made = make(five, copies=1, where='site = "vu-1"')
    assert (made.reason, made.detail) == ("RULE_UNSATISFIABLE", f"0 of 1 replicas of sales/flights@1 are there; {words}")
    sell(five, "vu-1", "0.05")
    drive(five)
    assert rule(five).reason == ""


def test_a_rule_for_no_site_and_one_for_no_data_say_so(five: Simulation) -> None:
    """They are kept: a site may come, or a version."""
    assert make(five, where='jurisdiction = "JP"').detail == (
        '0 of 2 replicas of sales/flights@1 are there; there are no more sites with jurisdiction = "JP"'
    )
    five.write(lambda tx: datasets.create_dataset(tx, five.ctx, builders.dataset("sales/empty")))
    assert make(five, "sales/empty", rule="other").reason == "DATASET_EMPTY"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"copies": 0}, "RULE_INVALID"),
        ({"copies": 10**6}, "RULE_INVALID"),
        ({"lifetime_seconds": -1}, "RULE_INVALID"),
        ({"where": 'price = "low"'}, "FILTER_INVALID"),
        ({"of": "sales/none"}, "NOT_FOUND"),
        ({"rule": "Not A Name"}, "NAME_INVALID"),
    ],
)
def test_a_wrong_rule_is_refused(five: Simulation, changes: dict, reason: str) -> None:
    """By name, and nothing is stored."""
    with pytest.raises(errors.FederationError) as caught:
        make(five, **changes)
    assert caught.value.reason == reason
    assert five.all(ReplicationRule) == []


def test_a_name_is_taken_once(five: Simulation) -> None:
    """Also by the same rule."""
    make(five)
    with pytest.raises(errors.AlreadyExists):
        make(five)


def test_a_new_version_is_followed_and_the_copy_of_the_old_one_goes(five: Simulation) -> None:
    """Nobody asked for copies of what is not newest; the original stays."""
    make(five)
    drive(five)
    five.put("sales/flights", "us-1")
    five.sweep()
    drive(five)
    assert holders(five, "sales/flights@2") == ["us-1", "us-2"]
    assert holders(five, "sales/flights@1") == ["us-1", "us-2"]
    for _ in range(2):
        drive(five, 1)
        five.clock.advance(rules.KEPT_SECONDS)
        drive(five, 3)
    assert holders(five, "sales/flights@1") == ["us-1"]
    assert holders(five, "sales/flights@2") == ["us-1", "us-2"]


@pytest.mark.parametrize("by_hand", [True, False])
def test_a_rule_ends_and_its_replicas_with_it(five: Simulation, by_hand: bool) -> None:
    """Deleted or over: what only it kept is dropped; what was written there stays."""
    make(five, lifetime_seconds=0 if by_hand else 7200)
    drive(five)
    five.clock.advance(rules.KEPT_SECONDS + 60)
    drive(five, 3)
    assert holders(five) == ["us-1", "us-2"]
    if by_hand:
        five.write(lambda tx: rules.delete(tx, "replicationRules/keep"))
    else:
        five.clock.advance(7200)
    drive(five, 4)
    assert holders(five) == ["us-1"]
    assert five.all(ReplicationRule) == []
    with pytest.raises(errors.NotFound):
        rule(five)


def test_a_rule_that_ends_gives_up_what_is_on_its_way_for_it_alone(five: Simulation) -> None:
    """What a person has joined goes on."""
    make(five, copies=2)
    make(five, copies=1, rule="far", where='site = "vu-1"')
    alice = builders.person()
    five.write(lambda tx: transfers.create(tx, five.ctx, alice, "sales/flights", "vu-1"))
    for name in ("keep", "far"):
        five.write(lambda tx, n=name: rules.delete(tx, n))
    reasons = {row.destination_site: (row.state, row.reason) for row in five.all(transfer.Transfer)}
    assert reasons["us-2"] == (TransferState.CANCELLED, "RULE_ENDED")


def test_a_site_to_which_it_failed_is_left_alone_for_a_while(five: Simulation) -> None:
    """The next cheapest is taken; the same failure is not repeated each second."""
    make(five)
    five.sweep()
    five.agents["us-2"].work()
    (name,) = five.agents["us-2"].transfers
    five.agents["us-2"].fail_transfer(name, "STORAGE_FULL", retryable=False)
    five.sweep()
    assert [row.destination_site for row in five.all(transfer.Transfer)] == ["us-2", "eu-1"]
    drive(five)
    assert holders(five) == ["eu-1", "us-1"]


def test_a_rule_of_a_deleted_dataset_waits_for_it(five: Simulation) -> None:
    """It says so, and goes on when the dataset is brought back."""
    make(five)
    five.write(lambda tx: datasets.delete_dataset(tx, ids.dataset("sales/flights")))
    five.sweep()
    assert rule(five).reason == "DATASET_DELETED"
    five.write(lambda tx: datasets.undelete_dataset(tx, ids.dataset("sales/flights")))
    drive(five)
    assert rule(five).reason == ""


def test_the_storage_of_a_short_rule_weighs_little(five: Simulation) -> None:
    """For a day dear storage beside a cheap link wins; for good it does not."""
    five.put("sales/near", "vu-1")
    make(five, "sales/near", copies=2, lifetime_seconds=86_400)
    make(five, "sales/near", copies=2, rule="long")
    sell(five, "us-2", "9")
    first = five.all(transfer.Transfer)[0]
    assert first.destination_site == "us-2"
