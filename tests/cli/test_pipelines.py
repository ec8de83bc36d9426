"""What `fed pipeline` shows and what `fed job submit --scatter` asks for."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import pytest
from click.testing import CliRunner

from federation.cli import app, exits, pipelines, scatter
from federation.cli.output import Output
from federation.cli.session import Session
from federation.core import specs
from federation.core.job import JobRequest, JobState, OutputSpec, Resources
from federation.core.pipeline import Pipeline, PipelinePlan, PipelineRequest, PipelineState, TaskPlan, TaskRejection, TaskRun
from tests import builders
from tests.services.pipelines import task

SPECS = (task("train", ["data=clean.out"]), task("clean", ["sales/flights"], ["out=ml/clean"]))


def pipeline(**changes: Any) -> Pipeline:
    """Two tasks, the second of which is written first; one has ended."""
    plan = PipelinePlan(
        revision=1,
        decide_time=builders.NOW,
        tasks=(
            TaskPlan(task="clean", site="eu-1", region="aws:eu-central-1", own_micros=6_667),
            TaskPlan(task="train", site="us-1", region="aws:us-east-1", own_micros=10, handover_micros=20_000),
        ),
        cost_micros=26_677,
        bound_micros=26_677,
        proven=True,
        method="ELIMINATION",
        separate_micros=30_000,
        notes=("train goes to us-1 instead of us-2: its agent has been silent",),
    )
    given: dict[str, Any] = {
        "pipeline": "p-1",
        "request": PipelineRequest(label="delays", tasks=SPECS),
        "state": PipelineState.RUNNING,
        "plan": plan,
        "tasks": (
            TaskRun(task="train", site="us-1"),
            TaskRun(task="clean", site="eu-1", job="j-1", state=JobState.SUCCEEDED),
        ),
    }
    return Pipeline(**{**given, **changes})


def shown(capsys: pytest.CaptureFixture[str], found: Pipeline) -> str:
    """What is printed of it."""
    pipelines.show(Output(), found)
    return capsys.readouterr().out


def test_tasks_are_shown_in_the_order_in_which_they_run(capsys):
    """With what they wait for, where they are, and their share of the cost."""
    lines = shown(capsys, pipeline()).splitlines()
    assert [line.split()[:7] for line in lines[1:3]] == [
        ["clean", "-", "eu-1", "aws:eu-central-1", "$0.006667", "$0.00", "SUCCEEDED"],
        ["train", "clean", "us-1", "aws:us-east-1", "$0.00001", "$0.02", "PENDING"],
    ]


def test_cost_proof_and_what_each_task_by_itself_would_cost_are_told(capsys):
    """And the notes, which say why a task went elsewhere."""
    text = shown(capsys, pipeline())
    assert "cost: $0.026677, proven to be the least (elimination)" in text
    assert "each task by itself: $0.03, $0.003323 more" in text
    assert "note: train goes to us-1 instead of us-2" in text


def test_what_is_not_proven_says_what_is(capsys):
    """The bound, and how far it is away."""
    found = pipeline()
    assert found.plan
    unproven = dataclasses.replace(found.plan, proven=False, method="SEARCH", bound_micros=20_000, separate_micros=None)
    text = shown(capsys, dataclasses.replace(found, plan=unproven))
    assert "the best that was found (search); proven: none is below $0.02, 25.03% less" in text
    assert "each task by itself: a later one would find no site" in text


def test_a_rejected_pipeline_tells_why_each_site_was_set_aside(capsys):
    """By task."""
    rejection = TaskRejection(task="clean", site="eu-1", reason="CPUS_EXHAUSTED", detail="9 CPUs asked for, 4 in all")
    plan = PipelinePlan(revision=1, decide_time=builders.NOW, rejections=(rejection,))
    text = shown(capsys, pipeline(plan=plan, reason="PIPELINE_NO_SITE", detail="no site can run task clean"))
    assert "clean  eu-1       CPUS_EXHAUSTED  9 CPUs asked for, 4 in all  no" in text
    assert "PIPELINE_NO_SITE: no site can run task clean" in text


def test_the_end_names_what_was_left_out_and_where_to_look(capsys):
    """A failed task's job has a log."""
    left = TaskRun(task="train", site="us-1", state=JobState.FAILED, job="j-2", left_out="SITE_LOST: silent")
    failed = TaskRun(task="clean", site="eu-1", state=JobState.FAILED, job="j-1")
    pipelines.tell_end(Session(), pipeline(state=PipelineState.FAILED, reason="TASK_FAILED", tasks=(left, failed)))
    told = capsys.readouterr().err
    assert "p-1 FAILED (TASK_FAILED)" in told
    assert "train was left out: SITE_LOST: silent" in told
    assert "fed job logs j-1" in told


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (PipelineState.SUCCEEDED, exits.OK),
        (PipelineState.RUNNING, exits.OK),
        (PipelineState.FAILED, exits.JOB_FAILED),
        (PipelineState.CANCELLED, exits.JOB_FAILED),
        (PipelineState.REJECTED, exits.REFUSED),
    ],
)
def test_the_exit_code_says_how_it_ended(state, code):
    """As for jobs."""
    assert pipelines.code(pipeline(state=state)) == code


def test_a_scattered_job_asks_for_maps_and_a_reduce():
    """The map releases its part's output and has the GPUs, the reduce writes the whole one; both have the working directory."""
    request = JobRequest(
        label="sums",
        outputs=specs.outputs(["sums=ml/sums,release"]),
        resources=Resources(cpus=2, gpus=1, memory_bytes=5),
        entrypoint=("python", "map.py"),
        working_dir="a digest",
    )
    map_, alias, reduce = scatter.asked(request, "data=sales/flights", "python reduce.py 'a b'")
    assert reduce
    assert (alias, map_.namespace) == ("data", "sales")
    assert [(row.alias, row.dataset) for row in map_.inputs] == [("data", "sales/flights")]
    assert map_.outputs == (OutputSpec(alias="sums", dataset="ml/sums", release=True),)
    assert (reduce.inputs, reduce.outputs) == ((), (OutputSpec(alias="sums", dataset="ml/sums"),))
    assert (reduce.entrypoint, reduce.label) == (("python", "reduce.py", "a b"), "sums-reduce")
    assert reduce.resources == Resources(cpus=2, memory_bytes=5)
    assert map_.working_dir == reduce.working_dir == "a digest"
    assert scatter.asked(request, "data=sales/flights", "")[2] is None


@pytest.mark.parametrize("words", [("--reduce", "python x"), ("--parts-min", "1"), ("--scatter", "a=x/y", "--follow")])
def test_options_of_a_scattered_job_are_for_scattered_jobs(words):
    """Silently ignoring them would run something else."""
    result = CliRunner().invoke(app.fed, ["job", "submit", *words, "--", "python", "main.py"])
    assert result.exit_code == exits.USAGE


def test_a_pipeline_is_json_too(capsys):
    """With its name first, and everything in it."""
    out = Output()
    out.format = "json"
    out.item(pipeline())
    data = json.loads(capsys.readouterr().out)
    assert (data["name"], data["plan"]["bound_micros"]) == ("pipelines/p-1", 26_677)
