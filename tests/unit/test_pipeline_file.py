"""Pipelines as people write them: what the documentation shows is understood, and what is wrong is told by its key."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from federation.cli import pipeline_file
from federation.core import columns, errors, job, tasks

DOCS = Path(__file__).parents[2] / "docs" / "pipelines.md"


def parse(text: str) -> pipeline_file.PipelineFile:
    """A text, as if it lay in /here/p.yaml."""
    return pipeline_file.parse(text, "p.yaml", Path("/here"))


def test_the_documented_pipeline_is_understood():
    """The example of docs/pipelines.md, field by field."""
    (text,) = re.findall(r"```yaml\n(.*?)```", DOCS.read_text(), re.DOTALL)
    found = parse(text)
    tasks.check(found.request)
    clean, train, report = found.request.tasks
    assert (found.request.label, found.request.namespace) == ("delays", "ml")
    assert found.working_dirs == dict.fromkeys(("clean", "train", "report"), Path("/here/."))
    assert clean.request.entrypoint == ("python", "clean.py")
    assert clean.request.inputs == (job.InputSpec(alias="flights", dataset="sales/flights"),)
    assert clean.request.outputs == (job.OutputSpec(alias="rows", dataset="ml/clean-flights", assumed_bytes=2 * 10**9),)
    assert train.request.inputs == (
        job.InputSpec(alias="rows", dataset="", task="clean", output="rows"),
        job.InputSpec(alias="weather", dataset="sales/weather", read_percent=20),
    )
    assert train.request.outputs == (job.OutputSpec(alias="model", dataset="ml/delay-model", kind="MODEL", deliver_to="eu-1"),)
    assert train.request.resources == job.Resources(cpus=1, gpus=1, gpu_type="A10G")
    assert train.request.duration_seconds == 1800
    assert (report.after, report.optional) == (("train",), True)


def test_every_documented_key_is_known():
    """Each word that the page says a task takes."""
    page = DOCS.read_text()
    also = page.partition("A task also takes")[2].partition("Unknown keys")[0]
    named = set(re.findall(r"`([a-z_]+)`", also))
    assert {"cpus", "memory", "spot"} <= named <= set(pipeline_file._TASK)


def test_everything_a_job_can_ask_for_can_be_written(tmp_path: Path):
    """With units, dollars and words."""
    (tmp_path / "env.yaml").write_text("pip: [requests]")
    text = """
tasks:
  a:
    run: [python, "a b.py"]
    inputs: {x: {from: sales/x@3}}
    outputs: {o: {dataset: ml/o, release: true}}
    sites: [eu-1, us-1]
    env: {A: "1"}
    runtime_env: env.yaml
    memory: 4GiB
    time_limit: 1h
    max_attempts: 2
    priority: 5
    deadline: 2h
    hour_value_usd: "1.50"
    carbon_tonne_usd: "80"
    spot: ALLOWED
    no_copies: true
"""
    (request,) = (spec.request for spec in pipeline_file.parse(text, "p.yaml", tmp_path).request.tasks)
    assert request.entrypoint == ("python", "a b.py")
    assert request.inputs == (job.InputSpec(alias="x", dataset="sales/x", version=3),)
    assert request.outputs == (job.OutputSpec(alias="o", dataset="ml/o", release=True),)
    assert (request.sites, request.env, request.runtime_env) == (("eu-1", "us-1"), (("A", "1"),), '{"pip": ["requests"]}')
    assert (request.resources.memory_bytes, request.duration_limit_seconds, request.max_attempts) == (4 * 2**30, 3600, 2)
    assert (request.priority, request.deadline_seconds, request.hour_value_micros) == (5, 7200, 1_500_000)
    assert (request.carbon_tonne_micros, request.spot, request.no_copies) == (80_000_000, job.Spot.ALLOWED, True)


def test_an_output_names_its_column_classes_and_the_next_task_reads_them(tmp_path: Path):
    """As a table of lists; a column of two classes is refused."""
    text = """
tasks:
  clean: { run: c, outputs: {out: {dataset: hr/clean, column_classes: %s}} }
  next: { run: n, inputs: {clean: {from: clean.out, column_classes: [pii]}} }
"""
    parsed = pipeline_file.parse(text % "{pii: [email, ssn], health: [diagnosis]}", "p.yaml", tmp_path).request
    (spec,) = parsed.tasks[0].request.outputs
    assert spec.column_classes == columns.parse(["pii=email,ssn", "health=diagnosis"])
    tasks.check(parsed)
    with pytest.raises(errors.InvalidArgument) as caught:
        pipeline_file.parse(text % "{pii: [email], health: [email]}", "p.yaml", tmp_path)
    assert caught.value.reason == "COLUMN_CLASS_INVALID"


@pytest.mark.parametrize(
    ("task", "key", "reason"),
    [
        ("run: python x\n    colour: red", "tasks.a.colour", "CONFIG_INVALID"),
        ("cpus: 1", "tasks.a.run", "CONFIG_INVALID"),
        ("run: 'python \"x'", "tasks.a.run", "CONFIG_INVALID"),
        ("run: python x\n    cpus: many", "tasks.a.cpus", "CONFIG_INVALID"),
        ("run: python x\n    inputs: {x: flights}", "tasks.a.inputs.x", "CONFIG_INVALID"),
        ("run: python x\n    inputs: {x: {from: b.y, often: 2}}", "tasks.a.inputs.x.often", "CONFIG_INVALID"),
        ("run: python x\n    outputs: {x: {kind: MODEL}}", "tasks.a.outputs.x.dataset", "CONFIG_INVALID"),
        ("run: python x\n    optional: perhaps", "tasks.a.optional", "CONFIG_INVALID"),
        ("run: python x\n    after: {b: c}", "tasks.a.after", "CONFIG_INVALID"),
        ("run: python x\n    after: b", "tasks.a.after", "PIPELINE_TASK_UNKNOWN"),
        ("run: python x\n    inputs: {x: a.y}", "tasks.a.inputs.x", "PIPELINE_OUTPUT_UNKNOWN"),
        ("run: python x\n    outputs: {y: ml/y}\n    inputs: {x: a.y}", "tasks.a", "PIPELINE_CYCLE"),
        (
            "run: python x\n    inputs: {x: {from: b.y, column_classes: [pii]}}\n  b: {run: y, outputs: {y: ml/y}}",
            "tasks.a.inputs.x.column_classes",
            "COLUMN_CLASS_UNKNOWN",
        ),
    ],
)
def test_what_is_wrong_is_told_by_file_task_and_key(tmp_path: Path, task: str, key: str, reason: str):
    """Before anything is sent, with what to do."""
    file = tmp_path / "p.yaml"
    file.write_text(f"tasks:\n  a:\n    {task}\n")
    with pytest.raises(errors.InvalidArgument) as caught:
        pipeline_file.read(file)
    assert (set(caught.value.violations), caught.value.reason) == ({key}, reason)
    assert str(file) in caught.value.message
    assert caught.value.help


def test_what_is_no_yaml_names_the_line():
    """Also a key that comes twice."""
    with pytest.raises(errors.InvalidArgument, match="line 3"):
        parse("tasks:\n  a: [1\n")
    with pytest.raises(errors.InvalidArgument, match="twice"):
        parse("tasks:\n  a: {run: x}\n  a: {run: y}\n")


def test_a_file_that_is_not_there_or_no_text_is_told(tmp_path: Path):
    """By its name."""
    with pytest.raises(errors.NotFound, match=r"none\.yaml"):
        pipeline_file.read(tmp_path / "none.yaml")
    (tmp_path / "bad.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(errors.InvalidArgument, match="cannot be read"):
        pipeline_file.read(tmp_path / "bad.yaml")
