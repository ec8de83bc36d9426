"""What earlier runs teach the next plan: a bounded memory that lineage, jobs and ledger could tell again."""

from __future__ import annotations

import dataclasses

from federation.core import dataset, job, profile
from federation.services import profiles
from tests import builders
from tests.sim import Simulation


def work(sim: Simulation, *, read: int = 300, label: str = "train", rounds: int = 3) -> str:
    """A job of one input and one output that reads so many bytes and ends well; its run."""
    sent = sim.submit(builders.request(["flights=sales/flights"], ["model=ml/model"], label=label))
    agent = sim.agents[sim.job(sent.job).plan.choice.site]  # type: ignore[union-attr]
    agent.work()
    run = sim.job(sent.job).run
    agent.accept(run)
    agent.begin(run)
    agent.read(run, "flights", read)
    sim.clock.advance(rounds)
    agent.finish(run)
    return run


def settle(sim: Simulation) -> None:
    """Every site settles what left it."""
    for agent in sim.agents.values():
        agent.beat()


def known(sim: Simulation, label: str = "train") -> profile.JobProfile | None:
    """The stored profile."""
    return sim.read(lambda tx: tx.get(profile.JobProfile, f"sales/{label}"))


def rebuilt(sim: Simulation, label: str) -> profile.JobProfile:
    """The profile as everything else tells it."""
    return sim.read(lambda tx: profiles.rebuilt(tx, "sales", label))


def test_a_run_that_succeeded_is_remembered_and_its_reads_once_they_are_settled(sim: Simulation) -> None:
    """The plan after that may predict from both."""
    sim.put("sales/flights", "eu-1", total=1000)
    run = work(sim, read=300, rounds=7)
    before = known(sim)
    assert before is not None
    (sample,) = before.samples
    assert (sample.run, sample.site, sample.seconds, sample.reads) == (run, "eu-1", 7, ())
    assert [(write.alias, write.object_bytes > 0) for write in sample.writes] == [("model", True)]
    settle(sim)
    after = known(sim)
    assert after is not None
    assert after.samples[0].reads == (profile.AliasRead(alias="flights", read_bytes=300, version_bytes=_size(sim)),)
    assert after.samples[0].writes == sample.writes


def _size(sim: Simulation) -> int:
    """What the newest version of the input holds."""
    return max((each for each in sim.all(dataset.Version) if each.dataset == "flights"), key=lambda v: v.number).object_bytes


def test_a_run_that_failed_teaches_nothing(sim: Simulation) -> None:
    """How long it took until then says nothing about the job."""
    sim.put("sales/flights", "eu-1")
    sent = sim.submit(builders.request(["flights=sales/flights"], label="train"))
    agent = sim.agents["eu-1"]
    agent.work()
    agent.accept(sent.run)
    agent.begin(sent.run)
    agent.fail(sent.run)
    settle(sim)
    assert known(sim) is None


def test_a_job_without_a_label_is_not_remembered(sim: Simulation) -> None:
    """Nothing says that two of them are the same job."""
    sim.put("sales/flights", "eu-1")
    work(sim, label="")
    settle(sim)
    assert sim.all(profile.JobProfile) == []


def test_only_the_newest_runs_are_remembered(sim: Simulation) -> None:
    """The profile stays small, however often the job runs."""
    sim.put("sales/flights", "eu-1")
    made = [work(sim, read=10 + i) for i in range(profile.SAMPLES_MAX + 3)]
    settle(sim)
    stored = known(sim)
    assert stored is not None
    assert [sample.run for sample in stored.samples] == made[3:]


def test_a_rebuilt_profile_equals_the_stored_one(sim: Simulation) -> None:
    """Through failures, other labels, reads at other sites and more runs than are remembered."""
    sim.put("sales/flights", "eu-1", total=5000)
    for i in range(profile.SAMPLES_MAX + 2):
        work(sim, read=i * 17, rounds=1 + i % 5)
        if i % 3 == 0:
            work(sim, read=i, label="other")
            settle(sim)
    settle(sim)
    for label in ("train", "other"):
        stored = known(sim, label)
        assert stored is not None
        assert all(sample.reads for sample in stored.samples)
        again = rebuilt(sim, label)
        assert again == dataclasses.replace(stored, etag=again.etag)


def test_an_ingestion_is_no_job_to_learn_from(sim: Simulation) -> None:
    """Its agent does it, and no site competes for it."""
    of = builders.job(request_=builders.request(kind=job.JobKind.INGEST))
    ended = builders.run(state=job.JobState.SUCCEEDED, start_time=builders.NOW, end_time=builders.NOW)
    assert sim.write(lambda tx: profiles.add_run(tx, of, ended)) is None
