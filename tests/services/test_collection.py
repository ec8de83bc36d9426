"""Old versions are let go of by a rule, and none that anybody holds on to."""

from __future__ import annotations

import dataclasses
from datetime import timedelta

import pytest

from federation import ports
from federation.core import dataset, errors, ids, job, leases, policy
from federation.core.collection import Judged, Kept, Rule
from federation.services import collection, datasets, namespaces
from tests.sim import Simulation

FLIGHTS = "sales/flights"
ADMIN = policy.Principal(name="users/root", role=policy.Role.ADMIN)
DAY = 86_400


@pytest.fixture
def old(sim: Simulation) -> Simulation:
    """Five versions of the flights at us-1, a day apart; the newest is as old as it is."""
    for _ in range(4):
        sim.clock.advance(DAY)
        sim.put(FLIGHTS, "us-1")
    return sim


def collect(sim: Simulation, *, models: dict[str, tuple[str, ...]] | None = None, **rule: int | bool) -> tuple[Judged, ...]:
    """What is decided of each version; those that go are being dropped from then on."""
    seen = models or {}
    return sim.write(
        lambda tx: collection.collect(
            tx,
            sim.ctx,
            ADMIN,
            ids.dataset(FLIGHTS),
            Rule(**rule),
            lambda name: seen.get(name, ()),  # type: ignore[arg-type]
        )
    )


def change(sim: Simulation, **fields: object) -> None:
    """Changes what the catalog says of the flights."""

    def work(tx: ports.Transaction) -> None:
        stored = tx.replace(dataclasses.replace(datasets.get_dataset(tx, ids.dataset(FLIGHTS)), **fields))  # type: ignore[arg-type]
        tx.emit("dataset.updated", stored.name.resource, stored)

    sim.write(work)


def going(judged: tuple[Judged, ...]) -> list[int]:
    """The numbers of the versions that go."""
    return [int(row.version.partition("@")[2]) for row in judged if not row.kept]


def why(judged: tuple[Judged, ...], number: int) -> str:
    """Why a version stays."""
    return next(row.kept for row in judged if row.version == f"{FLIGHTS}@{number}")


def states(sim: Simulation) -> dict[int, str]:
    """The states of the replicas at us-1."""
    rows = sim.read(lambda tx: tx.list(dataset.Replica, parent=FLIGHTS))
    return {row.number: str(row.state) for row in rows}


def test_the_newest_stay_and_old_ones_go(old: Simulation) -> None:
    """By number first, by age then; the replicas are dropped in two steps, and the versions stay told."""
    judged = collect(old, keep_versions=2)
    assert going(judged) == [3, 2, 1]
    assert all(row.object_bytes > 0 and row.sites == ("us-1",) for row in judged)
    assert states(old) == {1: "DELETING", 2: "DELETING", 3: "DELETING", 4: "AVAILABLE", 5: "AVAILABLE"}
    old.drive(5)
    assert set(states(old)) == {4, 5}
    assert old.read(lambda tx: datasets.get_version(tx, ids.version(f"{FLIGHTS}@1"))).number == 1
    assert going(collect(old, keep_versions=2)) == []
    with pytest.raises(errors.FailedPrecondition, match="VERSION_COLLECTED"):
        old.read(lambda tx: datasets.readable_version(tx, ids.version(f"{FLIGHTS}@1")))


def test_what_is_young_stays(old: Simulation) -> None:
    """However many there are."""
    judged = collect(old, keep_versions=1, keep_seconds=2 * DAY + 60)
    assert going(judged) == [2, 1]
    assert why(judged, 3) == Kept.YOUNG


def test_a_rule_that_would_leave_nothing_is_none() -> None:
    """Deleting a dataset has a verb of its own."""
    with pytest.raises(errors.InvalidArgument):
        Rule(keep_versions=0)


def test_a_legal_hold_keeps_all(old: Simulation) -> None:
    """And says so, instead of refusing to look."""
    change(old, legal_hold=True)
    judged = collect(old)
    assert going(judged) == []
    assert {row.kept for row in judged} == {Kept.NEWEST, Kept.LEGAL_HOLD}


def test_who_may_not_destroy_it_lets_go_of_nothing(old: Simulation) -> None:
    """Whoever only reads it is refused by the policy."""
    change(old, owner="users/ada", readers=("users/eve",))
    room = old.read(lambda tx: namespaces.get(tx, "sales"))

    def close(tx: ports.Transaction) -> None:
        stored = tx.replace(dataclasses.replace(room, owner="users/ada"))
        tx.emit("namespace.updated", "namespaces/sales", stored)

    old.write(close)
    reader = policy.Principal(name="users/eve", role=policy.Role.USER)
    with pytest.raises(errors.FederationError):
        old.write(lambda tx: collection.collect(tx, old.ctx, reader, ids.dataset(FLIGHTS), Rule(), lambda _: ()))
    assert set(states(old).values()) == {"AVAILABLE"}


def test_a_version_whose_keys_are_out_stays(old: Simulation) -> None:
    """Until the lease has run out: somebody is opening its files."""
    stored = old.dataset(FLIGHTS)
    lease = leases.Lease(
        lease="l-1",
        use=leases.Use.READ,
        site="us-1",
        dataset=FLIGHTS,
        dataset_uid=stored.uid,
        version=1,
        generations=("g",),
        sensitivities=("default",),
        principal="users/ada",
        reader_key="ab",
        nonce="n" * 32,
        call="c",
        issue_time=old.clock.now(),
        expire_time=old.clock.now() + timedelta(seconds=300),
    )
    old.write(lambda tx: tx.insert(lease))
    assert why(collect(old), 1) == Kept.LEASED
    old.clock.advance(301)
    assert 1 in going(collect(old))


def test_a_version_that_a_job_waits_for_stays(old: Simulation) -> None:
    """Its version was fixed when it was submitted."""
    asked = job.JobRequest(inputs=(job.InputSpec(alias="x", dataset=FLIGHTS, version=2),))
    waiting = job.Job(job="j-1", request=asked, uid="j-1", create_time=old.clock.now(), update_time=old.clock.now())
    old.write(lambda tx: tx.insert(waiting))
    judged = collect(old)
    assert why(judged, 2) == Kept.IN_USE
    old.write(lambda tx: tx.delete(job.Job, "j-1"))


def test_a_version_that_a_model_was_made_from_stays_unless_told_otherwise(old: Simulation) -> None:
    """So that the model can be made again, and looked into."""
    models = {"namespaces/sales/datasets/flights/versions/2": ("ml/delay@1",)}
    judged = collect(old, models=models)
    assert why(judged, 2) == Kept.MODEL
    assert 2 in going(collect(old, models=models, even_if_models=True))
