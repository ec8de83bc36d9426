"""Namespaces, datasets and versions: named, bound to places, written once for each grant, read where it is allowed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import TypeVar

import pytest

from federation import ports
from federation.core import dataset, errors, grants, ids, kinds, site
from federation.services import datasets, namespaces, personal
from tests import builders
from tests.sim import Simulation

T = TypeVar("T")
FLIGHTS = ids.dataset("sales/flights")
ORDERS = ids.dataset("sales/orders")


def refused(sim: Simulation, work: Callable[[ports.Transaction], object], reason: str) -> errors.FederationError:
    """The refusal of a piece of work, which must have that reason and leave no event."""
    before = sim.catalog.revision()
    with pytest.raises(errors.FederationError) as caught:
        sim.write(work)
    assert (caught.value.reason, sim.catalog.revision()) == (reason, before)
    return caught.value


def update(sim: Simulation, mask: str = "", **changes: object) -> dataset.Dataset:
    """Changes the flights."""
    given = dataclasses.replace(sim.dataset("sales/flights"), etag="", **changes)  # type: ignore[arg-type]
    return sim.write(lambda tx: datasets.update_dataset(tx, given, frozenset(mask.split())))


# Names


def test_a_namespace_is_created_changed_and_deleted_once_it_is_empty(sim: Simulation) -> None:
    """A deleted dataset counts: it may come back."""
    made = sim.write(lambda tx: namespaces.create(tx, sim.ctx, builders.namespace("lab", owner="")), actor="users/alice")
    assert (made.owner, made.create_time) == ("users/alice", sim.clock.now())
    told = dataclasses.replace(made, description="for trying things out")
    changed = sim.write(lambda tx: namespaces.update(tx, told, frozenset()))
    assert changed.description == "for trying things out"
    refused(sim, lambda tx: namespaces.update(tx, told, frozenset()), "ETAG_MISMATCH")
    refused(sim, lambda tx: namespaces.create(tx, sim.ctx, builders.namespace("lab")), "ALREADY_EXISTS")
    refused(sim, lambda tx: namespaces.delete(tx, "sales"), "NAMESPACE_NOT_EMPTY")
    sim.write(lambda tx: namespaces.delete(tx, "namespaces/lab", changed.etag))
    refused(sim, lambda tx: namespaces.get(tx, "lab"), "NOT_FOUND")


@pytest.mark.parametrize("name", ["", "Sales", "9a", "a-", "a_b", "a" * 64])
def test_names_outside_the_grammar_are_refused(sim: Simulation, name: str) -> None:
    """Before anything is stored."""
    refused(sim, lambda tx: namespaces.create(tx, sim.ctx, builders.namespace(name)), "NAME_INVALID")
    wrong = dataset.Dataset(namespace="sales", dataset=name)
    refused(sim, lambda tx: datasets.create_dataset(tx, sim.ctx, wrong), "NAME_INVALID")


def test_a_dataset_needs_its_namespace_and_a_name_of_its_own(sim: Simulation) -> None:
    """A deleted dataset keeps its name, and the refusal says how it comes back."""
    refused(sim, lambda tx: datasets.create_dataset(tx, sim.ctx, builders.dataset("lab/a")), "NOT_FOUND")
    sim.write(lambda tx: datasets.delete_dataset(tx, FLIGHTS))
    error = refused(sim, lambda tx: datasets.create_dataset(tx, sim.ctx, builders.dataset()), "ALREADY_EXISTS")
    assert "undelete" in error.help


def test_what_only_the_catalog_says_cannot_be_set_by_a_caller(sim: Simulation) -> None:
    """Not the latest version, not the uid, not the times."""
    forged = builders.dataset("sales/new", latest_version=7, uid="mine", delete_time=builders.NOW)
    made = sim.write(lambda tx: datasets.create_dataset(tx, sim.ctx, forged))
    assert (made.latest_version, made.delete_time) == (0, None)
    assert made.uid != "mine"


def test_a_mask_names_what_changes_and_nothing_else_does(sim: Simulation) -> None:
    """An empty mask takes what the caller filled; a path that may not change is refused by name."""
    changed = update(sim, "description", description="all of 2013", labels=(("a", "b"),))
    assert (changed.description, changed.labels) == ("all of 2013", ())
    sparse = dataset.Dataset(namespace="sales", dataset="flights", labels=(("tier", "gold"),))
    merged = sim.write(lambda tx: datasets.update_dataset(tx, sparse, frozenset()))
    assert (merged.description, merged.labels) == ("all of 2013", (("tier", "gold"),))
    whole = sim.write(lambda tx: datasets.update_dataset(tx, sparse, frozenset({"*"})))
    assert whole.description == ""
    error = refused(sim, lambda tx: datasets.update_dataset(tx, sparse, frozenset({"uid"})), "FIELD_MASK_INVALID")
    assert "uid" in error.violations


def test_a_deleted_dataset_is_there_but_cannot_be_used(sim: Simulation) -> None:
    """Until it is undeleted; what was granted on it stays closed."""
    alice = builders.person()
    sim.write(lambda tx: personal.open_read(tx, sim.ctx, alice, FLIGHTS))
    sim.write(lambda tx: datasets.delete_dataset(tx, FLIGHTS))
    assert sim.dataset("sales/flights").delete_time is not None
    assert all(record.closed for record in sim.all(kinds.GrantRecord))
    refused(sim, lambda tx: personal.open_read(tx, sim.ctx, alice, FLIGHTS), "DATASET_DELETED")
    refused(sim, lambda tx: personal.open_write(tx, sim.ctx, alice, FLIGHTS, "us-1"), "DATASET_DELETED")
    refused(sim, lambda tx: datasets.delete_dataset(tx, FLIGHTS), "DATASET_DELETED")
    sim.write(lambda tx: datasets.undelete_dataset(tx, FLIGHTS))
    refused(sim, lambda tx: datasets.undelete_dataset(tx, FLIGHTS), "DATASET_NOT_DELETED")
    assert sim.write(lambda tx: personal.open_read(tx, sim.ctx, alice, FLIGHTS)).site == "us-1"


# Residency


def test_a_residency_is_never_only_on_paper(sim: Simulation) -> None:
    """One that forbids a place where the data already lies is refused, and names the place."""
    given = dataclasses.replace(sim.dataset("sales/flights"), residency=("EU",))
    error = refused(sim, lambda tx: datasets.update_dataset(tx, given, frozenset({"residency"})), "RESIDENCY_VIOLATED")
    assert "us-1" in error.message
    assert update(sim, "residency", residency=("US", "EU", "US")).residency == ("EU", "US")


def test_tightening_a_residency_stops_those_who_read_elsewhere(sim: Simulation) -> None:
    """Their grants are closed; those inside go on."""
    abroad = sim.submit(builders.request(["sales/weather"], sites=("us-1",)))
    at_home = sim.submit(builders.request(["sales/weather"], sites=("eu-1",)))
    tight = dataclasses.replace(sim.dataset("sales/weather"), residency=("EU",))
    sim.write(lambda tx: datasets.update_dataset(tx, tight, frozenset({"residency"})))
    closed = {record.job: record.closed for record in sim.all(kinds.GrantRecord) if record.job}
    assert closed == {abroad.job: True, at_home.job: False}


@pytest.mark.parametrize("text", ["eu", "", "E U", "eü"])
def test_a_jurisdiction_is_written_in_capitals(sim: Simulation, text: str) -> None:
    """`eu` would silently deny everyone."""
    given = builders.dataset("sales/new", (text,))
    refused(sim, lambda tx: datasets.create_dataset(tx, sim.ctx, given), "NAME_INVALID")


def test_data_is_not_written_where_it_may_not_lie(sim: Simulation) -> None:
    """Neither is the grant given nor, had it been, the version taken."""
    alice = builders.person()
    refused(sim, lambda tx: personal.open_write(tx, sim.ctx, alice, ORDERS, "us-1"), "RESIDENCY_DENIED")
    new = sim.agents["us-1"].new_version("sales/orders", sim.dataset("sales/orders").uid)
    refused(sim, lambda tx: datasets.commit_version(tx, sim.ctx, new, "us-1"), "RESIDENCY_DENIED")


# Committing


def test_a_version_is_committed_with_its_replica_its_keys_and_their_events(sim: Simulation) -> None:
    """Numbers count from 1, and the dataset says the newest."""
    second = sim.put("sales/flights", "us-1", total=500)
    assert (second.number, second.signed_by, second.total_bytes) == (2, "us-1", 500)
    assert sim.dataset("sales/flights").latest_version == 2
    replica = sim.read(lambda tx: datasets.get_replica(tx, second.name, "us-1"))
    assert (replica.state, replica.verify_time) == (dataset.ReplicaState.AVAILABLE, sim.clock.now())
    assert [event.kind for event in sim.events()[-7:]] == [
        "version.committed",
        "replica.created",
        "dataset.updated",
        "grant.closed",
        "lineage.run",
        "lineage.edge",
        "lineage.edge",
    ]
    sealed = sim.read(lambda tx: datasets.sealed_version(tx, second.name, "us-1"))
    assert [key.generation for key in sealed.keys] == list(second.generations)
    assert sim.read(lambda tx: datasets.sealed_version(tx, second.name, "eu-1")).keys == ()
    assert len(sim.read(lambda tx: list(datasets.sealed_versions(tx, "us-1")))) == 2


def test_a_version_may_reuse_generations_whose_keys_are_there(sim: Simulation) -> None:
    """Unchanged files keep their objects and their key; a generation that nobody has a key for is refused."""
    first = sim.put("sales/flights", "us-1")
    uid = sim.dataset("sales/flights").uid
    new = sim.agents["us-1"].new_version("sales/flights", uid)
    reusing = dataclasses.replace(new, generations=(*first.generations, *new.generations))
    committed = sim.write(lambda tx: datasets.commit_version(tx, sim.ctx, reusing, "us-1"))
    assert committed.generations == reusing.generations
    stranger = dataclasses.replace(new, generations=("g-zzzzzzzzzzzzzzzzzzzzzzzzzz",))
    refused(sim, lambda tx: datasets.commit_version(tx, sim.ctx, stranger, "us-1"), "KEY_MISSING")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"signature": "00" * 64}, "MANIFEST_INVALID"),
        ({"manifest_digest": "11" * 32}, "MANIFEST_INVALID"),
        ({"dataset_uid": "d-other"}, "DATASET_REPLACED"),
        ({"total_bytes": -1}, "VERSION_INVALID"),
        ({"generations": ()}, "VERSION_INVALID"),
        ({"keys": ()}, "KEY_MISSING"),
        ({"dataset": "sales/nothing"}, "NOT_FOUND"),
    ],
)
def test_a_version_that_is_not_what_it_says_is_refused(sim: Simulation, change: dict[str, object], reason: str) -> None:
    """Signature, dataset, keys and sizes are each looked at; nothing is stored of a bad one."""
    good = sim.agents["us-1"].new_version("sales/flights", sim.dataset("sales/flights").uid)
    bad = dataclasses.replace(good, **change)  # type: ignore[arg-type]
    refused(sim, lambda tx: datasets.commit_version(tx, sim.ctx, bad, "us-1"), reason)


@pytest.mark.parametrize("change", [{"site": "eu-1"}, {"dataset_uid": "d-other"}])
def test_a_key_for_another_site_or_dataset_is_refused(sim: Simulation, change: dict[str, str]) -> None:
    """What this site could not unwrap is no key for it."""
    good = sim.agents["us-1"].new_version("sales/flights", sim.dataset("sales/flights").uid)
    bad = dataclasses.replace(good, keys=(dataclasses.replace(good.keys[0], **change),))
    refused(sim, lambda tx: datasets.commit_version(tx, sim.ctx, bad, "us-1"), "KEY_FOREIGN")


def test_another_sites_signature_does_not_do(sim: Simulation) -> None:
    """What eu-1 signed is not taken from us-1."""
    uid = sim.dataset("sales/flights").uid
    foreign = sim.agents["eu-1"].new_version("sales/flights", uid)
    refused(sim, lambda tx: datasets.commit_version(tx, sim.ctx, foreign, "us-1"), "MANIFEST_INVALID")


# What a person writes


def written(sim: Simulation, at: str = "us-1") -> tuple[grants.Grant, dataset.NewVersion]:
    """A grant to write flights, and what was written under it."""
    grant = sim.write(lambda tx: personal.open_write(tx, sim.ctx, builders.person(), FLIGHTS, at))
    return grant, sim.agents[at].new_version("sales/flights", grant.dataset_uid)


def test_a_grant_to_write_commits_one_version(sim: Simulation) -> None:
    """The same version again gets the same answer; another one is refused."""
    grant, new = written(sim)
    committed = sim.write(lambda tx: personal.commit(tx, sim.ctx, grant, new, "us-1"))
    before = sim.catalog.revision()
    assert sim.write(lambda tx: personal.commit(tx, sim.ctx, grant, new, "us-1")) == committed
    assert sim.catalog.revision() == before
    other = sim.agents["us-1"].new_version("sales/flights", grant.dataset_uid)
    refused(sim, lambda tx: personal.commit(tx, sim.ctx, grant, other, "us-1"), "GRANT_USED")


def test_a_grant_to_write_serves_its_site_its_dataset_and_its_purpose(sim: Simulation) -> None:
    """Whoever bends it is refused."""
    grant, new = written(sim)
    refused(sim, lambda tx: personal.commit(tx, sim.ctx, grant, new, "eu-1"), "GRANT_FOREIGN_SITE")
    weather = sim.agents["us-1"].new_version("sales/weather", sim.dataset("sales/weather").uid)
    refused(sim, lambda tx: personal.commit(tx, sim.ctx, grant, weather, "us-1"), "GRANT_INVALID")
    reading = dataclasses.replace(grant, access=grants.Access.READ)
    refused(sim, lambda tx: personal.commit(tx, sim.ctx, reading, new, "us-1"), "GRANT_INVALID")
    unknown = dataclasses.replace(grant, grant="a-none")
    refused(sim, lambda tx: personal.commit(tx, sim.ctx, unknown, new, "us-1"), "GRANT_UNKNOWN")


def test_a_grant_to_write_ends(sim: Simulation) -> None:
    """After it nothing is committed, whatever was uploaded."""
    grant, new = written(sim)
    sim.clock.advance(sim.ctx.grant_seconds)
    refused(sim, lambda tx: personal.commit(tx, sim.ctx, grant, new, "us-1"), "GRANT_EXPIRED")


def test_a_site_that_does_not_answer_is_not_written_to(sim: Simulation) -> None:
    """LOST and never seen are told apart."""
    sim.declare("us-3", up=False)
    alice = builders.person()
    refused(sim, lambda tx: personal.open_write(tx, sim.ctx, alice, FLIGHTS, "us-3"), "SITE_NOT_READY")
    sim.wait(60)
    refused(sim, lambda tx: personal.open_write(tx, sim.ctx, alice, FLIGHTS, "us-1"), "SITE_LOST")


# What a person takes home


def test_a_person_reads_the_newest_version_at_a_known_price(sim: Simulation) -> None:
    """The estimate is frozen with the grant; the bytes go to the internet; the budget bounds them."""
    grant = sim.write(lambda tx: personal.open_read(tx, sim.ctx, builders.person(), FLIGHTS))
    assert (grant.site, grant.version, grant.reader_region, grant.reader_site) == (
        "us-1",
        "sales/flights@1",
        site.INTERNET,
        "",
    )
    assert grant.bytes_max == sim.ctx.budget_bytes(10**9)
    record = sim.read(lambda tx: tx.get(kinds.GrantRecord, grant.grant))
    assert record is not None
    assert (record.estimate_bytes, record.estimate_micros, record.principal) == (10**9, 90_000, "users/alice")


def test_bound_data_goes_home_with_those_who_are_there(sim: Simulation) -> None:
    """A person outside, or of whom nobody knows where they are, is refused and told what to do."""
    for principal in (builders.person(), builders.person(jurisdiction="US")):
        error = refused(sim, lambda tx, who=principal: personal.open_read(tx, sim.ctx, who, ORDERS), "RESIDENCY_DENIED")  # type: ignore[misc]
        assert "Run a job beside it" in error.help
    inside = builders.person(jurisdiction="EU")
    assert sim.write(lambda tx: personal.open_read(tx, sim.ctx, inside, ORDERS)).site == "eu-1"


def test_the_cheapest_way_home_is_taken_and_an_unknown_price_refuses() -> None:
    """Of two replicas the one with the cheaper egress; a site without a price is never taken for free."""
    sim = Simulation(("us-1", "vu-1"))
    version = sim.put("sales/flights", "us-1")

    def copy(tx: ports.Transaction, at: str) -> dataset.Replica:
        return tx.insert(builders.replica(version.name.short, at))

    sim.write(lambda tx: copy(tx, "vu-1"))
    alice = builders.person()
    assert sim.write(lambda tx: personal.open_read(tx, sim.ctx, alice, FLIGHTS)).site == "vu-1"
    sim.ctx = dataclasses.replace(
        sim.ctx, rates=dataclasses.replace(sim.ctx.rates, rows=(builders.price_row("aws:*", "internet", "0.09"),))
    )
    assert sim.write(lambda tx: personal.open_read(tx, sim.ctx, alice, FLIGHTS)).site == "us-1"
    error = refused(
        sim, lambda tx: personal.open_read(tx, sim.ctx, alice, FLIGHTS, personal.Reading(site="vu-1")), "PRICE_UNKNOWN"
    )
    assert "vultr:ewr" in error.message


def test_a_version_is_read_where_it_lies_and_where_somebody_answers(sim: Simulation) -> None:
    """No replica, no version, no agent: three refusals."""
    alice = builders.person()
    refused(
        sim,
        lambda tx: personal.open_read(tx, sim.ctx, alice, FLIGHTS, personal.Reading(number=1, site="eu-1")),
        "REPLICA_MISSING",
    )
    refused(sim, lambda tx: personal.open_read(tx, sim.ctx, alice, FLIGHTS, personal.Reading(number=2)), "NOT_FOUND")
    sim.wait(60)
    refused(
        sim, lambda tx: personal.open_read(tx, sim.ctx, alice, FLIGHTS, personal.Reading(number=1, site="us-1")), "SITE_LOST"
    )
    refused(sim, lambda tx: personal.open_read(tx, sim.ctx, alice, FLIGHTS), "SITE_NOT_READY")


def test_a_replica_that_is_not_available_is_not_read(sim: Simulation) -> None:
    """A suspect one is as good as none."""
    name = ids.VersionName(FLIGHTS, 1)
    replica = sim.read(lambda tx: datasets.get_replica(tx, name, "us-1"))
    suspect = dataclasses.replace(replica, state=dataset.ReplicaState.SUSPECT)

    def work(tx: ports.Transaction) -> None:
        tx.emit("replica.updated", suspect.version.replica("us-1"), tx.replace(suspect))

    sim.write(work)
    refused(sim, lambda tx: personal.open_read(tx, sim.ctx, builders.person(), FLIGHTS), "REPLICA_MISSING")
