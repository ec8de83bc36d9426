"""Pipelines and scattered jobs through the SDK, against a real server."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from federation.client import files
from federation.core import dataset, errors, job
from federation.core.pipeline import Pipeline, PipelineRequest, PipelineState, TaskSpec
from tests import builders
from tests.wire import edge as edges
from tests.wire.typing_fed import typing


def request(*tasks: TaskSpec) -> PipelineRequest:
    """A pipeline that makes numbers and adds them up, unless it is told otherwise."""
    make = builders.request([], ["out=ml/numbers"], namespace="", principal="")
    add = builders.request([], ["out=ml/sum"], namespace="", principal="")
    fed = (job.InputSpec(alias="x", dataset="", task="make", output="out"),)
    two = (TaskSpec(task="make", request=make), TaskSpec(task="add", request=job.JobRequest(**{**add.__dict__, "inputs": fed})))
    return PipelineRequest(label="adds", tasks=tasks or two)


def test_a_pipeline_is_planned_submitted_listed_and_cancelled(edge):
    """Without a price for compute nothing can run: refused with every site's reason, and stored so."""
    client = edge.client()
    planned = client.create_pipeline(request(), validate_only=True)
    assert list(client.list_pipelines()) == []
    sent = client.submit_pipeline(request())
    assert client.get_pipeline(sent.pipeline) == client.get_pipeline(f"pipelines/{sent.pipeline}") == sent
    assert [each.pipeline for each in client.list_pipelines(filter=f'state = "{sent.state}"')] == [sent.pipeline]
    assert planned.state is sent.state is PipelineState.REJECTED
    assert {row.reason for row in sent.plan.rejections} == {"PRICE_UNKNOWN"}
    assert sent.request.principal == "users/admin"
    with pytest.raises(errors.FailedPrecondition, match="PIPELINE_ENDED"):
        client.cancel_pipeline(sent.pipeline)
    assert client.wait_pipeline(sent.pipeline, 1) == sent


def test_submitting_twice_is_submitting_once(edge):
    """By the request id."""
    client = edge.client()
    first, second = (client.create_pipeline(request(), request_id="r-1") for _ in range(2))
    assert first == second
    assert len(list(client.list_pipelines())) == 1


def test_working_directories_travel_once_and_must_be_there(edge, tmp_path: Path):
    """Both tasks name one folder: one package. A digest that nobody sent is refused."""
    client = edge.client()
    (tmp_path / "main.py").write_text("print('hello')\n")
    sent: Pipeline = client.submit_pipeline(request(), {"make": tmp_path, "add": tmp_path})
    (digest,) = {spec.request.working_dir for spec in sent.request.tasks}
    assert client.get_package(digest).digest == digest
    lost = TaskSpec(task="a", request=builders.request(working_dir="0" * 64))
    with pytest.raises(errors.FailedPrecondition, match="PACKAGE_MISSING"):
        client.create_pipeline(request(lost))


def test_a_partitioned_dataset_is_shown_with_its_parts_and_scattered_over(edge):
    """Parts and limits come back as they were set; what has no parts is not scattered over."""
    client = edge.client()
    for name in ("sales/eu", "sales/us"):
        client.create_dataset(builders.dataset(name, release_bytes_max=5))
    whole = client.create_dataset(builders.dataset("sales/all", parts=("sales/eu", "sales/us")))
    assert client.get_dataset("sales/all").parts == whole.parts == ("sales/eu", "sales/us")
    changed = client.update_dataset(dataset.Dataset(namespace="sales", dataset="eu"), ("release_bytes_max",))
    assert changed.release_bytes_max == 0
    map_ = builders.request(["data=sales/all"], ["sums=ml/sums"])
    with pytest.raises(errors.FailedPrecondition, match="DATASET_EMPTY"):
        client.scatter_job(map_, "data", builders.request([], ["sums=ml/sums"]))
    with pytest.raises(errors.FailedPrecondition, match="DATASET_NOT_PARTITIONED"):
        client.scatter_job(builders.request(["data=sales/flights"]), "data", validate_only=True)


def test_a_scattered_job_that_is_only_planned_is_neither_sent_nor_started(edge, monkeypatch, tmp_path: Path):
    """`--dry-run` tells where each part would run; no pipeline, job or package is there afterwards."""
    edges.make_placeable(edge)
    client = edge.client()
    client.create_dataset(builders.dataset("sales/all", parts=("sales/flights",)))
    folder = tmp_path / "work"
    folder.mkdir()
    (folder / "main.py").write_text("print('hello')\n")
    words = ("--scatter", "data=sales/all", "--working-dir", str(folder), "--dry-run", "-o", "json", "--", "python", "main.py")
    answer = typing(edge, monkeypatch, tmp_path)("job", "submit", *words)
    assert [row["site"] for row in json.loads(answer.stdout)["plan"]["tasks"]] == ["eu-1"]
    assert (list(client.list_pipelines()), list(client.list_jobs())) == ([], [])
    packed = files.pack(folder, files.PACKAGE_BYTES_MAX)
    with packed.file, pytest.raises(errors.NotFound):
        client.get_package(packed.digest)


def test_nobody_sets_a_jobs_pipeline_but_the_server(edge):
    """A job that says it is of one is of none."""
    planned = edge.client().plan(builders.request(pipeline="p-1", task="a"))
    assert (planned.request.pipeline, planned.request.task) == ("", "")
