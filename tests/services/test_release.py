"""Release: small outputs leave a residency with the consent of every owner, measured at the commit and told to everyone."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator

import pytest

from federation.core import dataset, errors, ids, job, records
from federation.core.authorization import Decided
from federation.core.job import JobState
from federation.crypto import manifest
from federation.services import datasets, jobs, personal
from tests import builders
from tests.sim import Simulation, check_laws


@pytest.fixture
def sim() -> Iterator[Simulation]:
    """EU flights at eu-1 of which 1 kB may leave, EU orders of which nothing may, US leads at us-1 of which 2 kB may."""
    made = Simulation()
    made.put("sales/flights", "eu-1", residency=("EU",))
    made.put("sales/orders", "eu-1", residency=("EU",))
    made.put("sales/leads", "us-1", residency=("US",))
    made.put("sales/weather", "eu-1")
    allow(made, "sales/flights", 1000)
    allow(made, "sales/leads", 2000)
    yield made
    check_laws(made)


def allow(sim: Simulation, name: str, size: int) -> dataset.Dataset:
    """An owner lets outputs of at most that size leave."""
    changed = builders.dataset(name, release_bytes_max=size)
    return sim.write(lambda tx: datasets.update_dataset(tx, changed, frozenset({"release_bytes_max"})))


def request(*inputs: str, release: bool = True) -> job.JobRequest:
    """A job that sums these datasets into `ml/sums`."""
    made = builders.request(inputs, ["sums=ml/sums"])
    return dataclasses.replace(made, outputs=tuple(dataclasses.replace(row, release=release) for row in made.outputs))


def finish(
    sim: Simulation, submitted: job.Job, total: int, group_size: int | None = None
) -> tuple[job.Run, tuple[dataset.Version, ...]]:
    """Its run ends with an output of that size."""
    run = sim.run_of(submitted.job)
    agent = sim.agents[run.site]
    agent.work()
    agent.accept(run.run)
    (out,) = agent.runs[run.run].start.outputs
    generation = sim.ids.new("g")
    digest = hashlib.sha256(generation.encode()).hexdigest()
    new = builders.new_version(
        out.dataset,
        total,
        dataset_uid=out.dataset_uid,
        manifest_digest=digest,
        signature=manifest.sign(agent.private, out.dataset_uid, digest),
        generations=(generation,),
        keys=(builders.wrapped_key(agent.name, generation, dataset_uid=out.dataset_uid),),
        alias=out.alias,
        group_size=group_size,
    )
    return sim.write(lambda tx: jobs.finish_run(tx, sim.ctx, agent.name, run.run, (new,)))


def test_a_released_output_does_not_inherit_and_everyone_can_read_that_it_left(sim):
    """The event names the inputs whose residency it left, its bytes and the limit."""
    submitted = sim.submit(request("sales/flights", "sales/weather"))
    assert sim.run_of(submitted.job).site == "eu-1"
    run, (version,) = finish(sim, submitted, 1000)
    assert run.state is JobState.SUCCEEDED
    assert sim.dataset("ml/sums").residency == ()
    (event,) = sim.events("output.released")
    assert records.loads(dataset.Release, event.body) == dataset.Release(
        version=version.name.short, run=run.run, inputs=("sales/flights",), bytes=1000, bytes_max=1000
    )


def test_an_output_that_is_too_large_is_not_committed(sim):
    """One byte too many: nothing of the run is kept, and no event says that anything left."""
    submitted = sim.submit(request("sales/flights"))
    with pytest.raises(errors.FailedPrecondition) as caught:
        finish(sim, submitted, 1001)
    assert caught.value.reason == "RELEASE_TOO_LARGE"
    assert caught.value.metadata == {"output": "sums", "dataset": "sales/flights", "bytes": "1001"}
    assert sim.dataset("ml/sums").latest_version == 0
    assert sim.events("output.released") == ()
    assert finish(sim, submitted, 10)[0].state is JobState.SUCCEEDED


def test_an_input_of_which_nothing_may_leave_forbids_the_release_by_name(sim):
    """Before the job is stored."""
    with pytest.raises(errors.PermissionDenied) as caught:
        sim.submit(request("sales/flights", "sales/orders"))
    assert (caught.value.reason, caught.value.metadata["dataset"]) == ("RELEASE_NOT_ALLOWED", "sales/orders")
    assert "fed dataset update sales/orders --release-max 1MB" in caught.value.help
    assert sim.all(job.Job) == []


def test_an_owner_who_changes_their_mind_is_heard_at_the_commit(sim):
    """What was allowed when the job was submitted is asked again when it has something to show."""
    submitted = sim.submit(request("sales/flights"))
    allow(sim, "sales/flights", 0)
    with pytest.raises(errors.PermissionDenied, match="RELEASE_NOT_ALLOWED"):
        finish(sim, submitted, 10)
    assert sim.dataset("ml/sums").latest_version == 0


def test_without_release_an_output_inherits_residency_and_what_may_leave_of_it(sim):
    """What is made of what may leave in small pieces may itself leave in small pieces, and no larger ones."""
    finish(sim, sim.submit(request("sales/flights", release=False)), 10**6)
    made = sim.dataset("ml/sums")
    assert (made.residency, made.release_bytes_max) == (("EU",), 1000)
    finish(sim, sim.submit(request("sales/flights", "sales/orders", release=False)), 10**6)
    assert sim.dataset("ml/sums").release_bytes_max == 0  # its newest version is made of orders, too


def grouped(sim: Simulation, name: str, least: int) -> None:
    """An owner asks that groups of what leaves are so large."""
    changed = builders.dataset(name, group_size_min=least)
    sim.write(lambda tx: datasets.update_dataset(tx, changed, frozenset({"group_size_min"})))


def counted(*inputs: str, release: bool = True) -> job.JobRequest:
    """As `request`, of an aggregate whose column `people` counts."""
    made = request(*inputs, release=release)
    return dataclasses.replace(made, outputs=(dataclasses.replace(made.outputs[0], count_column="people"),))


@pytest.mark.invariant("P2")
def test_an_aggregate_is_released_by_what_its_site_has_counted(sim):
    """Assumed good when it is submitted, decided by the number at the commit, and told with it."""
    grouped(sim, "sales/flights", 10)
    submitted = sim.submit(counted("sales/flights"))
    for found, reason in ((None, "GROUPS_TOO_SMALL"), (9, "GROUPS_TOO_SMALL")):
        with pytest.raises(errors.FailedPrecondition) as caught:
            finish(sim, submitted, 500, found)
        assert (caught.value.reason, caught.value.metadata["dataset"]) == (reason, "sales/flights")
    assert sim.dataset("ml/sums").latest_version == 0
    assert sim.events("output.released") == ()
    _, (version,) = finish(sim, submitted, 500, 10)
    assert version.group_size == 10
    (event,) = sim.events("output.released")
    told = records.loads(dataset.Release, event.body)
    assert (told.group_size, told.group_size_min) == (10, 10)
    decided = [records.loads(Decided, each.body) for each in sim.events("policy.decided")]
    (export,) = [each.question for each in decided if each.action == "export"]
    assert (export.aggregate, export.group_size) == (True, 10)


def test_without_a_count_column_a_release_is_refused_before_the_job_is_stored(sim):
    """Nobody could tell how large its groups are."""
    grouped(sim, "sales/flights", 10)
    with pytest.raises(errors.PermissionDenied) as caught:
        sim.submit(request("sales/flights"))
    assert (caught.value.reason, caught.value.metadata["policy"]) == ("POLICY_DENIED", "group-size")
    assert sim.all(job.Job) == []


def test_an_owner_who_asks_for_larger_groups_meanwhile_is_heard(sim):
    """What holds is what is asked for when there is something to count."""
    grouped(sim, "sales/flights", 10)
    submitted = sim.submit(counted("sales/flights"))
    grouped(sim, "sales/flights", 20)
    with pytest.raises(errors.FailedPrecondition, match="GROUPS_TOO_SMALL"):
        finish(sim, submitted, 500, 15)


def test_what_a_person_puts_has_no_count(sim):
    """An agent's word on it is not taken: of what a person puts nobody knows what its columns count."""
    agent, alice = sim.agents["eu-1"], builders.person()
    stored = sim.dataset("sales/weather")
    grant = sim.write(lambda tx: personal.open_write(tx, sim.ctx, alice, stored.name, "eu-1"))
    new = dataclasses.replace(agent.new_version("sales/weather", stored.uid), group_size=1000)
    made = sim.write(lambda tx: personal.commit(tx, sim.ctx, grant, new, "eu-1"))
    assert made.group_size is None


def test_a_release_of_what_nothing_binds_is_no_event(sim):
    """There is nothing to leave."""
    finish(sim, sim.submit(request("sales/weather")), 10**9)
    assert sim.events("output.released") == ()


def test_a_released_output_joins_another_residency(sim):
    """Sums of EU flights, once released, are read beside US leads: which raw flights never could be."""
    finish(sim, sim.submit(request("sales/flights")), 500)
    joined = sim.submit(builders.request(["ml/sums", "sales/leads"], ["out=ml/joined"]))
    assert sim.run_of(joined.job).site == "us-1"
    with pytest.raises(errors.InvalidArgument, match="RESIDENCY_CONTRADICTION"):
        sim.submit(builders.request(["sales/flights", "sales/leads"], ["out=ml/joined"]))


def test_a_negative_limit_is_refused(sim):
    """Nobody means it."""
    with pytest.raises(errors.InvalidArgument, match="RELEASE_INVALID"):
        allow(sim, "sales/flights", -1)


def test_the_limit_of_a_dataset_is_part_of_it(sim):
    """It is read back as it was set."""
    assert sim.read(lambda tx: datasets.get_dataset(tx, ids.dataset("sales/leads"))).release_bytes_max == 2000
