"""Pipelines: placed as a whole, started task by task, and ended once."""

from __future__ import annotations

import dataclasses
import itertools
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.catalog_sql import SqlCatalog
from federation.core import columns, dataset, errors, ids, job, records, tasks
from federation.core.job import JobState
from federation.core.pipeline import Pipeline, PipelineState
from federation.services import datasets, pipelines, policies
from tests import builders, prepared
from tests.services.pipelines import PipelineSimulation, task
from tests.sim import check_laws

GIB = 2**30


@pytest.fixture
def sim(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PipelineSimulation]:
    """Flights at us-1, weather at eu-1, EU orders at eu-1, in memory unless told otherwise. The laws hold at the end."""

    def sqlite(clock, ids_):
        return SqlCatalog(prepared.sqlite(tmp_path / "catalog.db"), clock, ids_)

    made = PipelineSimulation(catalog=sqlite if getattr(request, "param", "") == "sqlite" else MemoryCatalog)
    made.put("sales/flights", "us-1")
    made.put("sales/weather", "eu-1", total=10**6)
    made.put("sales/orders", "eu-1", residency=("EU",))
    yield made
    check_laws(made)
    made.catalog.close()


#: For what is about storage: the same on both catalogs.
BOTH = pytest.mark.parametrize("sim", ["memory", "sqlite"], indirect=True)


def chain() -> tuple:
    """Clean the flights, then train on what came of it."""
    return (
        task("clean", ["sales/flights"], ["out=ml/clean"]),
        task("train", ["data=clean.out"], ["model=ml/model"]),
    )


@BOTH
def test_a_chain_runs_from_task_to_task_on_the_versions_that_were_made(sim):
    """The second task's job is made when the first has committed, and reads exactly that version."""
    sent = sim.send(*chain())
    assert (sent.state, sim.task(sent, "train").job) == (PipelineState.RUNNING, "")
    assert sim.until_ended(sent).state is PipelineState.SUCCEEDED
    made = sim.run_of(sim.task(sent, "clean").job).outputs
    (read,) = sim.job_of(sent, "train").request.inputs
    assert (f"{read.dataset}@{read.version}",) == made == ("ml/clean@1",)
    request = sim.job_of(sent, "train").request
    assert (request.pipeline, request.task, request.sites) == (sent.pipeline, "train", ("us-1",))


@BOTH
def test_a_pipeline_is_placed_as_a_whole(sim):
    """Two inputs of 1 GB at us-1 and eu-1 are cleaned to 1 kB and 10 GB: joining goes to the larger, cleaning stays."""
    sent = sim.send(
        task("small", ["sales/flights"], ["out=ml/small"], assume=1000),
        task("large", ["sales/orders"], ["out=ml/large"], assume="10GB"),
        task("join", ["a=small.out", "b=large.out"], ["out=ml/joined"]),
    )
    assert {row.task: row.site for row in sent.plan.tasks} == {"small": "us-1", "large": "eu-1", "join": "eu-1"}
    assert sent.plan.proven
    assert sent.plan.bound_micros == sent.plan.cost_micros <= sent.plan.separate_micros
    sim.until_ended(sent)


def test_an_early_task_gives_way_to_a_later_one(sim):
    """By itself a task goes to the cheapest compute; as a part it goes where its large output is needed."""
    sim.reprice("us-1", "0.05")
    sent = sim.send(
        task("make", [], ["out=ml/made"], assume="100GB"),
        task("use", ["data=make.out", "sales/flights"], ["out=ml/used"], sites=("us-1",)),
    )
    placed = {row.task: row for row in sent.plan.tasks}
    assert (placed["make"].site, placed["use"].handover_micros) == ("us-1", 0)
    assert sent.plan.separate_micros - sent.plan.cost_micros == 2_000_000 - 1_666  # 100 GB at 2 cents, less cheaper compute
    sim.until_ended(sent)


def test_an_output_inherits_residency_along_the_graph(sim):
    """What comes of EU orders is planned for the EU alone, two tasks later too, though compute is cheaper elsewhere."""
    for name in ("us-1", "us-2"):
        sim.reprice(name, "0.0001")
    sent = sim.send(
        task("sums", ["sales/orders"], ["out=ml/sums"]),
        task("rank", ["data=sums.out"], ["out=ml/ranks"]),
        task("free", [], ["out=ml/free"]),
    )
    sites = {row.task: row.site for row in sent.plan.tasks}
    assert (sites["sums"], sites["rank"]) == ("eu-1", "eu-1")
    assert sites["free"] != "eu-1"
    assert sim.until_ended(sent).state is PipelineState.SUCCEEDED
    assert sim.dataset("ml/ranks").residency == ("EU",)


def test_outputs_that_may_not_meet_are_refused_with_both_datasets_named(sim):
    """The contradiction is found before anything is stored, three tasks away from where it comes from, with a way out."""
    sim.put("sales/leads", "us-1", residency=("US",))
    before = sim.catalog.revision()
    with pytest.raises(errors.InvalidArgument) as caught:
        sim.send(
            task("eu", ["sales/orders"], ["out=ml/eu"]),
            task("us", ["sales/leads"], ["out=ml/us"]),
            task("more", ["data=us.out"], ["out=ml/more"]),
            task("join", ["a=eu.out", "b=more.out"], ["out=ml/all"]),
        )
    assert caught.value.reason == "RESIDENCY_CONTRADICTION"
    assert caught.value.metadata == {"input sales/orders": "EU", "input sales/leads": "US", "task": "join"}
    assert "--release-max" in caught.value.help
    assert sim.catalog.revision() == before


@BOTH
def test_a_task_that_fails_ends_the_pipeline_and_cancels_the_rest(sim):
    """What ran beside it is stopped, what was to come never starts, and the pipeline says which task it was."""
    sent = sim.send(*chain(), task("beside", ["sales/weather"], ["out=ml/beside"]))
    sim.fail(sent, "clean")
    ended = sim.until_ended(sent)
    assert (ended.state, ended.reason) == (PipelineState.FAILED, "TASK_FAILED")
    assert ended.detail.startswith("task clean is FAILED: ENTRYPOINT_FAILED")
    states = {each.task: each.state for each in ended.tasks}
    assert states == {"clean": JobState.FAILED, "train": JobState.CANCELLED, "beside": JobState.CANCELLED}
    assert sim.task(sent, "train").job == ""


@BOTH
def test_an_optional_task_that_fails_is_left_out_and_named(sim):
    """What comes after it goes on without its output, and hears from its environment which and why."""
    sent = sim.send(
        task("a", ["sales/flights"], ["out=ml/a"], optional=True),
        task("b", ["sales/weather"], ["out=ml/b"], optional=True),
        task("all", ["first=a.out", "second=b.out"], ["out=ml/all"]),
        parts_min=1,
    )
    sim.fail(sent, "a")
    ended = sim.until_ended(sent)
    assert ended.state is PipelineState.SUCCEEDED
    assert sim.task(sent, "a").left_out.startswith("ENTRYPOINT_FAILED")
    request = sim.job_of(sent, "all").request
    assert [row.alias for row in request.inputs] == ["second"]
    assert list(json.loads(dict(request.env)[tasks.LEFT_OUT])) == ["first"]


def test_too_few_optional_tasks_fail_the_pipeline(sim):
    """Two of two were wanted, and one has failed."""
    sent = sim.send(
        task("a", ["sales/flights"], ["out=ml/a"], optional=True),
        task("b", ["sales/weather"], ["out=ml/b"], optional=True),
        parts_min=2,
    )
    sim.fail(sent, "a")
    ended = sim.until_ended(sent)
    assert (ended.state, ended.reason) == (PipelineState.FAILED, "PARTS_TOO_FEW")


@BOTH
def test_a_site_that_is_lost_before_its_turn_comes_is_replaced_and_the_plan_says_why(sim):
    """The flights have a replica in no other place, but cleaned ones are made at us-1 before training finds it lost."""
    sent = sim.send(
        task("small", ["sales/weather"], ["out=ml/small"], assume=1000),
        task("make", ["a=small.out"], ["out=ml/made"], sites=("us-1", "us-2")),
    )
    assert sim.task(sent, "make").site == "us-1"
    sim.agents["us-1"].die()
    for _ in range(8):
        sim.drive()
    assert sim.until_ended(sent).state is PipelineState.SUCCEEDED
    assert sim.task(sent, "make").site == "us-2"
    plan = sim.pipeline(sent).plan
    assert any("make goes to us-2 instead of us-1: its agent has been silent" in note for note in plan.notes)
    assert {row.task: row.site for row in plan.tasks} == {"small": "eu-1", "make": "us-2"}
    assert plan.cost_micros == sum(row.own_micros + row.handover_micros for row in plan.tasks)


def test_a_job_that_waits_for_a_lost_site_is_moved_after_a_while(sim):
    """Its site dies while it runs there: the job waits for it, for a while, and is then taken elsewhere."""
    sent = sim.send(task("make", [], ["out=ml/made"], sites=("us-1", "us-2")))
    first = sim.task(sent, "make")
    assert first.site == "us-1"
    sim.drive()
    sim.agents["us-1"].die()
    ended = sim.until_ended(sent)
    assert ended.state is PipelineState.SUCCEEDED
    moved = sim.task(sent, "make")
    assert (moved.site, sim.job(first.job).state) == ("us-2", JobState.CANCELLED)
    assert moved.job != first.job


def test_a_task_that_only_a_lost_site_can_take_waits_for_it(sim):
    """The EU orders lie at eu-1 alone: the pipeline is planned for its return, says so, and goes on then."""
    sim.agents["eu-1"].die()
    sim.wait(20)
    sent = sim.send(task("sums", ["sales/orders"], ["out=ml/sums"]))
    assert sent.state is PipelineState.RUNNING
    assert any("sums waits for eu-1" in note for note in sent.plan.notes)
    sim.drive(10)
    assert sim.task(sent, "sums").state is JobState.PENDING
    sim.agents["eu-1"].come_up()
    assert sim.until_ended(sent).state is PipelineState.SUCCEEDED


@BOTH
def test_what_no_site_can_run_is_rejected_with_every_sites_reason(sim):
    """Nothing is started; the plan keeps why, task by task."""
    sent = sim.send(task("huge", ["sales/flights"], ["out=ml/huge"], cpus=1000), task("last", ["data=huge.out"]))
    assert (sent.state, sent.reason) == (PipelineState.REJECTED, "PIPELINE_NO_SITE")
    assert {row.site: (row.task, row.reason) for row in sent.plan.rejections} == dict.fromkeys(
        ("eu-1", "us-1", "us-2"), ("huge", "CPUS_EXHAUSTED")
    )
    assert sim.all(job.Job) == []
    assert {each.state for each in sent.tasks} == {JobState.REJECTED}


def test_a_busy_federation_does_not_change_the_plan(sim):
    """A site that is full now is not full for ever: the pipeline is planned by what sites have in all, and its jobs wait."""
    for _ in range(4):
        sim.submit(builders.request(["sales/flights"], cpus=4, sites=("us-1",)))
    sent = sim.send(*chain())
    assert {row.site for row in sent.plan.tasks} == {"us-1"}
    assert sim.task(sent, "clean").state is JobState.PENDING
    assert sim.until_ended(sent).state is PipelineState.SUCCEEDED


@BOTH
def test_cancelling_ends_live_jobs_and_what_was_to_come(sim):
    """At once where nothing runs, else when the sites have stopped; twice is once, and too late is told."""
    sent = sim.send(*chain())
    sim.drive()
    asked = sim.write(lambda tx: pipelines.cancel(tx, sent.pipeline))
    again = sim.write(lambda tx: pipelines.cancel(tx, f"pipelines/{sent.pipeline}"))
    assert asked == again
    assert (asked.state, asked.cancel_requested) == (PipelineState.RUNNING, True)
    ended = sim.until_ended(sent)
    assert (ended.state, {each.state for each in ended.tasks}) == (PipelineState.CANCELLED, {JobState.CANCELLED})
    with pytest.raises(errors.Conflict):
        sim.write(lambda tx: pipelines.cancel(tx, sent.pipeline, "stale"))
    done = sim.until_ended(sim.send(task("quick", [], ["out=ml/quick"])))
    with pytest.raises(errors.FailedPrecondition, match="SUCCEEDED already"):
        sim.write(lambda tx: pipelines.cancel(tx, done.pipeline))


@BOTH
def test_a_step_that_has_nothing_to_do_changes_nothing(sim):
    """Any number of servers may take steps as often as they like."""
    sent = sim.send(*chain())
    before = sim.catalog.revision()
    assert [sim.step() for _ in range(3)] == [0, 0, 0]
    assert sim.catalog.revision() == before
    assert sim.until_ended(sent).state is PipelineState.SUCCEEDED


def test_planning_stores_nothing(sim):
    """`--dry-run` has the same plan as the submission after it."""
    who, before = builders.person(), sim.catalog.revision()
    request = sim.send(*chain()).request
    planned = sim.read(lambda tx: pipelines.plan_only(tx, sim.ctx, who, request))
    assert [row.site for row in planned.plan.tasks] == ["us-1", "us-1"]
    assert len(sim.all(Pipeline)) == 1
    assert sim.catalog.revision() > before


def test_a_dataset_that_is_deleted_on_the_way_fails_the_pipeline_with_the_reason(sim):
    """And nothing of a half-made job is left."""
    sent = sim.send(*chain(), task("late", ["sales/weather", "x=clean.out"], ["out=ml/late"]))
    sim.write(lambda tx: datasets.delete_dataset(tx, ids.dataset("sales/weather")))
    ended = sim.until_ended(sent)
    assert ended.state is PipelineState.FAILED
    assert "sales/weather" in ended.detail
    assert {each.request.task for each in sim.all(job.Job)} <= {"clean", "train"}


def test_unknown_sizes_are_told_and_known_ones_come_from_the_request(sim):
    """Whoever states what a task writes gets a plan that counts it."""
    sent = sim.send(*chain())
    assert "clean.out: 1.0 GB assumed, its size is not known" in sent.plan.notes
    stated = sim.send(task("clean", ["sales/flights"], ["out=ml/clean"], assume=GIB), task("t", ["data=clean.out"]))
    assert not any("size is not known" in note for note in stated.plan.notes)
    sim.until_ended(sent)
    sim.until_ended(stated)


# What cannot be run


@pytest.mark.parametrize(
    ("tasks_", "reason", "named"),
    [
        ((), "PIPELINE_EMPTY", "tasks"),
        ((task("a"), task("a")), "PIPELINE_TASK_DUPLICATE", "tasks.a"),
        ((task("a", ["x=b.out"]),), "PIPELINE_TASK_UNKNOWN", "tasks.a.inputs.x"),
        ((task("a", after=("b",)),), "PIPELINE_TASK_UNKNOWN", "tasks.a.after"),
        ((task("a", [], ["out=ml/a"]), task("b", ["x=a.uot"])), "PIPELINE_OUTPUT_UNKNOWN", "tasks.b.inputs.x"),
        ((task("a", ["x=b.out"], ["out=ml/a"]), task("b", ["y=a.out"], ["out=ml/b"])), "PIPELINE_CYCLE", "tasks.a"),
        ((task("a", after=("a",)),), "PIPELINE_CYCLE", "tasks.a"),
        ((task("a", [], ["out=ml/a"]), task("b", [], ["out=ml/a"])), "PIPELINE_OUTPUT_DUPLICATE", "tasks.b.outputs.out"),
        ((task("a", [], ["out=ml/a"]), task("b", ["ml/a"])), "PIPELINE_INPUT_AMBIGUOUS", "tasks.b.inputs.a"),
        ((task("a", env=((tasks.LEFT_OUT, "x"),)),), "PIPELINE_TASK_INVALID", "tasks.a.env"),
        ((task("a", ["sales/none"]),), "NOT_FOUND", ""),
        ((task("a", entrypoint=()),), "JOB_REQUEST_INVALID", "tasks.a.entrypoint"),
        (tuple(task(f"t{n}") for n in range(501)), "PIPELINE_TOO_LARGE", "tasks"),
    ],
)
def test_what_cannot_be_run_is_refused_by_task_and_field(sim, tasks_, reason, named):
    """Before anything is stored."""
    before = sim.catalog.revision()
    with pytest.raises(errors.FederationError) as caught:
        sim.send(*tasks_)
    assert caught.value.reason == reason
    assert set(caught.value.violations) == ({named} if named else set())
    assert sim.catalog.revision() == before


@pytest.mark.invariant("P2")
def test_what_a_later_task_would_leave_unsealed_is_asked_before_the_first_one_runs(sim):
    """Classes of what another task is yet to make count; a model of it, and rows that are sealed again, go on."""
    rule = """
        @id("sealed") @because("pii stays sealed") @control("test")
        forbid (principal, action == Fed::Action::"write", resource)
        when { resource.kind == "DATA" && context.unsealed_classes.contains("pii") };
    """
    case = records.dumps(builders.case())
    text = builders.POLICIES.default() + rule
    sim.write(lambda tx: policies.apply(tx, sim.ctx, text, "", (case,)), actor="users/root")
    pii = columns.parse(["pii=email"])

    def send(**changes):
        first, last = chain()
        sealed = dataclasses.replace(first.request.outputs[0], column_classes=pii)
        read = dataclasses.replace(last.request.inputs[0], column_classes=("pii",))
        made = dataclasses.replace(last.request.outputs[0], **changes)
        clean = dataclasses.replace(first.request, outputs=(sealed,))
        train = dataclasses.replace(last.request, inputs=(read,), outputs=(made,))
        return sim.send(dataclasses.replace(first, request=clean), dataclasses.replace(last, request=train))

    with pytest.raises(errors.PermissionDenied, match="ml/model with column class pii unsealed"):
        send()
    for allowed in ({"kind": "MODEL"}, {"column_classes": pii, "dataset": "ml/rows"}):
        assert send(**allowed).state is PipelineState.RUNNING


def test_a_circle_is_told_in_order():
    """a needs c, c needs b, b needs a."""
    from federation.core.pipeline import PipelineRequest

    request = PipelineRequest(tasks=(task("a", after=("c",)), task("b", after=("a",)), task("c", after=("b",))))
    with pytest.raises(errors.InvalidArgument) as caught:
        tasks.order(request)
    walked = caught.value.message.partition(": ")[2].split(" -> ")
    assert walked[0] == walked[-1]
    assert set(itertools.pairwise(walked)) == {("a", "b"), ("b", "c"), ("c", "a")}


def test_an_unknown_pipeline_is_not_found(sim):
    """By both forms of its name."""
    for name in ("p-none", "pipelines/p-none"):
        with pytest.raises(errors.NotFound):
            sim.read(lambda tx, name=name: pipelines.get(tx, name))


def test_the_owner_of_what_a_pipeline_makes_is_who_asked_for_it(sim):
    """Not the server, which made the dataset in their name."""
    sim.until_ended(sim.send(*chain()))
    assert {each.owner for each in sim.all(dataset.Dataset) if each.namespace == "ml"} == {"users/alice"}


def test_a_site_that_a_task_has_failed_at_for_good_is_left_for_another(sim):
    """Its store was full: the job cannot go on there, so the task is placed again among the sites that are left."""
    sent = sim.send(task("make", [], ["out=ml/made"], sites=("us-1", "us-2")))
    first = sim.task(sent, "make")
    agent = sim.agents[first.site]
    agent.work()
    (run,) = agent.runs
    agent.accept(run)
    agent.fail(run, "STORAGE_FULL", retryable=True)
    assert sim.job(first.job).state is JobState.FAILED
    assert sim.until_ended(sent).state is PipelineState.SUCCEEDED
    assert (first.site, sim.task(sent, "make").site) == ("us-1", "us-2")
    assert any(note.startswith("make goes to us-2 instead of us-1: ") for note in sim.pipeline(sent).plan.notes)
