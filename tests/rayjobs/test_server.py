"""Ray's own client against the bridge, over a real catalog server."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import shlex
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from click.testing import CliRunner

from federation.cli import app
from federation.core.job import JobState
from federation.rayjobs.server import RayJobs
from tests.wire import edge as edges
from tests.wire.edge import Edge

pytest.importorskip("ray")
from ray.exceptions import AuthenticationError
from ray.job_submission import JobStatus, JobSubmissionClient

INPUTS = {"fed.inputs": "flights=sales/flights@1"}


@pytest.fixture
def address(edge: Edge) -> Iterator[str]:
    """The bridge, on an event loop of its own, over a catalog with a dataset that the user may read."""
    edges.make_placeable(edge)
    loop, holder = asyncio.new_event_loop(), {}
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start() -> str:
        holder["runner"] = runner = web.AppRunner(RayJobs(edge.server.address, edge.certs.ca).application())
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}"

    try:
        yield asyncio.run_coroutine_threadsafe(start(), loop).result(60)
    finally:
        asyncio.run_coroutine_threadsafe(holder["runner"].cleanup(), loop).result(60)
        loop.call_soon_threadsafe(loop.stop)
        thread.join(60)
        loop.close()


def client(address: str, edge: Edge, who: str = "user") -> JobSubmissionClient:
    """Ray's client, as that person."""
    return JobSubmissionClient(address, headers={"Authorization": f"Bearer {edge.tokens.get(who, who)}"})


def asked(address: str, edge: Edge, call: str, body: Any = None, *, who: str = "user") -> tuple[int, Any]:
    """Status and JSON of one request, such as `GET /api/jobs/`."""
    method, path = call.split()
    data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {edge.tokens[who]}"} if who else {}
    request = urllib.request.Request(address + path, data, headers, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, json.loads(answer.read() or b"null")
    except urllib.error.HTTPError as error:
        return error.code, json.loads(error.read())


def test_a_submission_of_rays_client_is_a_job_beside_its_data(address: str, edge: Edge, tmp_path: Path) -> None:
    """Its working directory travels once, its metadata names the data, and Ray's client reads back what became of it."""
    (tmp_path / "train.py").write_text("print('hello')")
    ray = client(address, edge)
    env = {"working_dir": str(tmp_path), "env_vars": {"LR": "0.1"}}
    name = ray.submit_job(
        entrypoint="python train.py", runtime_env=env, metadata=INPUTS, submission_id="Train_1", entrypoint_num_cpus=2
    )
    assert name == "Train_1"
    told = ray.get_job_info(name)
    with edge.client("user") as ours:
        stored = ours.get_job(told.metadata["fed.job"])
        package = ours.get_package(stored.request.working_dir)
    assert package.package_bytes > 0
    assert (told.status, told.submission_id, told.entrypoint) == (JobStatus.PENDING, "Train_1", "python train.py")
    assert told.metadata["fed.site"] == stored.plan.choice.site
    assert (stored.request.principal, stored.request.env, stored.request.resources.cpus) == ("users/user", (("LR", "0.1"),), 2)
    assert [row.dataset for row in stored.request.inputs] == ["sales/flights"]
    assert [row.submission_id for row in ray.list_jobs()] == ["Train_1"]
    again = ray.submit_job(entrypoint="python train.py", runtime_env=env, metadata=INPUTS)
    with edge.client("user") as ours:
        assert ours.get_job(again).request.working_dir == stored.request.working_dir


def test_the_same_options_in_fed_job_submit_make_the_same_job(
    address: str, edge: Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What goes to the bridge by Ray's client, and what goes to the catalog by `fed`, differ in their packages' bytes alone."""
    (tmp_path / "train.py").write_text("print('hello')")
    env = {"working_dir": str(tmp_path), "env_vars": {"LR": "0.1"}}
    command = ["python", "train.py", "--name", "a b"]
    ray = client(address, edge).submit_job(
        entrypoint=shlex.join(command), runtime_env=env, metadata=INPUTS, entrypoint_num_cpus=1.5, entrypoint_memory=1 << 20
    )
    told = {"FED_TARGET": edge.server.address, "FED_TOKEN": edge.tokens["user"], "FED_CA": str(edge.certs.layout.ca)}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    options = ["--runtime-env-json", json.dumps(env), "--metadata-json", json.dumps(INPUTS), "--submission-id", "Fed_1"]
    cores = ["--entrypoint-num-cpus", "1.5", "--entrypoint-memory", str(1 << 20), "--no-wait", "-o", "json"]
    done = CliRunner().invoke(app.fed, ["job", "submit", *options, *cores, "--", *command])
    assert done.exit_code == 0, done.output
    with edge.client("user") as ours:
        theirs, own = ours.get_job(ray).request, ours.get_job(json.loads(done.stdout)["job"]).request
    assert (own.submission_id, own.namespace, own.resources.cpus) == ("Fed_1", "sales", 2)
    assert dataclasses.replace(own, submission_id="", working_dir="") == dataclasses.replace(theirs, working_dir="")
    assert own.working_dir


def test_a_submission_id_is_good_once_for_each_submitter(address: str, edge: Edge) -> None:
    """A second use is told the job that has it; somebody else's use of the same word is their own."""
    mine, theirs = client(address, edge), client(address, edge, "admin")
    mine.submit_job(entrypoint="true", submission_id="nightly")
    with pytest.raises(RuntimeError, match="SUBMISSION_ID_TAKEN"):
        mine.submit_job(entrypoint="true", submission_id="nightly")
    theirs.submit_job(entrypoint="false", submission_id="nightly")
    assert mine.get_job_info("nightly").entrypoint == "true"
    assert theirs.get_job_info("nightly").entrypoint == "false"


def test_nobody_puts_code_into_anothers_package(address: str, edge: Edge) -> None:
    """Names of packages are their uploader's own, although two who upload the same folder call it the same."""
    path = "/api/packages/gcs/_ray_pkg_00.zip"
    assert asked(address, edge, f"PUT {path}", b"evil", who="admin")[0] == 200
    assert asked(address, edge, f"GET {path}", who="admin")[0] == 200
    status, told = asked(address, edge, f"GET {path}")
    assert (status, told["error"]["reason"]) == (404, "PACKAGE_MISSING")
    submission = {"entrypoint": "python a.py", "runtime_env": {"working_dir": "gcs://_ray_pkg_00.zip"}}
    status, told = asked(address, edge, "POST /api/jobs/", submission)
    assert (status, told["error"]["reason"]) == (404, "PACKAGE_MISSING")


def test_a_job_is_stopped_and_its_record_is_kept(address: str, edge: Edge) -> None:
    """Stopping twice says that there was nothing to stop; a record is evidence and is not deleted."""
    ray = client(address, edge)
    name = ray.submit_job(entrypoint="sleep 100", metadata=INPUTS)
    with pytest.raises(RuntimeError, match="JOB_UNFINISHED"):
        ray.delete_job(name)
    assert ray.stop_job(name) is True
    assert ray.get_job_status(name) is JobStatus.STOPPED
    assert ray.stop_job(name) is False
    with pytest.raises(RuntimeError, match="JOB_RECORD_KEPT"):
        ray.delete_job(name)
    with edge.client("user") as ours:
        assert ours.get_job(name).state is JobState.CANCELLED


@pytest.mark.filterwarnings("ignore:ssl=None is deprecated")  # what Ray's client gives to aiohttp
def test_a_refused_job_says_why_as_failed(address: str, edge: Edge) -> None:
    """Ray knows no refusal after a submission: the message has the reason, and a tail of its log ends at once."""
    ray = client(address, edge)
    name = ray.submit_job(
        entrypoint="true", metadata=INPUTS, entrypoint_num_gpus=9, entrypoint_resources={"accelerator_type:X": 1}
    )
    told = ray.get_job_info(name)
    assert told.status is JobStatus.FAILED
    assert "GPU" in told.message

    async def tailed() -> list[str]:
        return [text async for text in ray.tail_job_logs(name)]

    assert asyncio.run(asyncio.wait_for(tailed(), 20)) == []


@pytest.mark.parametrize(
    ("call", "body", "told"),
    [
        ("POST /api/jobs/", {"entrypoint": ""}, (400, "JOB_REQUEST_INVALID")),
        ("POST /api/jobs/", b"no json", (400, "JOB_REQUEST_INVALID")),
        ("POST /api/jobs/", {"entrypoint": "x", "metadata": {"fed.inputs": "no/such"}}, (404, "NOT_FOUND")),
        ("POST /api/jobs/", {"entrypoint": "x", "submission_id": "a b"}, (400, "JOB_REQUEST_INVALID")),
        ("POST /api/jobs/", b"[" * 2_000_000, (413, "HTTP_ERROR")),
        ("PUT /api/packages/gcs/a.whl", b"x", (400, "RUNTIME_ENV_UNSUPPORTED")),
        ("PUT /api/packages/https/a.zip", b"x", (400, "RUNTIME_ENV_UNSUPPORTED")),
        ("GET /api/jobs/no-such-job", None, (404, "NOT_FOUND")),
        ("GET /api/jobs/No%20such", None, (404, "NOT_FOUND")),
        ("GET /api/jobs/x/logs", None, (404, "NOT_FOUND")),
        ("GET /api/nothing", None, (404, "HTTP_ERROR")),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(address: str, edge: Edge, call: str, body: Any, told: tuple[int, str]) -> None:
    """Each with a status and a stable reason."""
    status, answer = asked(address, edge, call, body)
    assert (status, answer["error"]["reason"]) == told


def test_every_request_needs_its_callers_own_token(address: str, edge: Edge) -> None:
    """The bridge has none of its own."""
    for call, body in (("GET /api/jobs/", None), ("POST /api/jobs/", b"{}"), ("PUT /api/packages/gcs/a.zip", b"x")):
        status, told = asked(address, edge, call, body, who="")
        assert (status, told["error"]["reason"]) == (401, "TOKEN_MISSING")
    status, told = asked(address, edge, "GET /api/authentication_mode", who="")
    assert (status, told) == (200, {"authentication_mode": "token"})
    with pytest.raises(AuthenticationError, match="TOKEN_INVALID"):
        client(address, edge, "fed_wrong").list_jobs()
