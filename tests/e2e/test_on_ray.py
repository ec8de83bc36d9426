"""A federation whose two sites have real Ray clusters: reading and writing on drivers and workers, GPUs, secrets, ends."""

from __future__ import annotations

import json
import secrets
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from connectors.compute.ray import RayCompute
from federation.core import errors, job
from federation.wire import gateway as gateways
from tests import localfed, tcp
from tests.ray_pair import RayPair, gpus_alone, ray_pair  # noqa: F401 - a fixture

pytestmark = pytest.mark.ray

ROWS = 30_000

READ_AND_WRITE = """
import hashlib, json, os
import pandas as pd, pyarrow.dataset as ds, pyarrow.compute as pc
import ray, ray.data
import federation

ray.init(logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False
sales = federation.inputs["sales"]
path = sales.files()[0]
seen = {}
seen["pandas"] = int(pd.read_parquet(f"fed://lab/sales/{path}")["x"].sum())
seen["pandas csv"] = int(pd.read_csv("fed://lab/rates/rates.csv")["rate"].sum())
table = ds.dataset("lab/sales", format="parquet", filesystem=federation.filesystem()).to_table(columns=["x"])
seen["filesystem"] = pc.sum(table["x"]).as_py()
seen["fsspec+fed"] = pc.sum(ds.dataset("fsspec+fed://lab/sales", format="parquet").to_table()["x"]).as_py()
doubled = sales.ray().map_batches(lambda batch: {"y": batch["x"] * 2})
seen["ray data"] = int(doubled.sum("y"))

@ray.remote
def on_a_worker():
    assert "FED_TOKEN" not in os.environ
    with federation.outputs["made"].open("by-worker.txt", "w") as file:
        file.write("a worker's")
    return int(pd.read_csv("fed://lab/rates/rates.csv")["rate"].sum()), os.getpid()

seen["task"], pid = ray.get(on_a_worker.remote())
assert pid != os.getpid()
with federation.outputs["made"].open("by-driver.json", "w") as file:
    json.dump(seen, file)
"""

GPUS = """
import os, ray
ray.init(logging_level="ERROR")
print("driver sees", os.environ.get("CUDA_VISIBLE_DEVICES"), flush=True)
"""

SLEEP = """
import pathlib, sys, time, federation
pathlib.Path(sys.argv[1]).touch()
time.sleep(float(sys.argv[2]))
with federation.outputs["made"].open("done.txt", "w") as file:
    file.write("done")
"""


@pytest.fixture(scope="module")
def federation(ray_pair: RayPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[localfed.LocalFederation]:  # noqa: F811
    """eu-1 has an A10G, us-1 two H100. The sales lie at eu-1 in three files, the rates in one."""
    folder = tmp_path_factory.mktemp("ray")
    compute = {
        name: {"ray": {"address": cluster.address, "token_file": str(cluster.token_file)}, "offer": OFFER}
        for name, cluster in zip(("eu-1", "us-1"), ray_pair.clusters, strict=True)
    }
    # A lease that outlasts the restart of an agent also on a machine that is busy with Ray.
    settings = {"lease_seconds": "60"}
    made = localfed.LocalFederation(folder=folder / "f", compute=compute, settings=settings)
    with localfed.running(made), made.client() as client:
        (folder / "sales").mkdir()
        for number in range(3):
            table = pa.table({"x": range(number * ROWS, (number + 1) * ROWS)})
            pa.parquet.write_table(table, folder / "sales" / f"{number}.parquet")
        pd.DataFrame({"rate": range(100)}).to_csv(folder / "rates.csv", index=False)
        client.put("lab/sales", folder / "sales", site="eu-1")
        client.put("lab/rates", folder / "rates.csv", site="eu-1")
        localfed.until(lambda: all(row.capacity.cpus for row in client.list_sites()), 30, "the clusters to be known")
        yield made
        assert made.fed("fsck").stdout == ""


OFFER = {
    **localfed.OFFER,
    "gpus": [
        {"type": "A10G", "hour_usd": "1.006", "source": "test"},
        {"type": "H100", "hour_usd": "6.88", "source": "test"},
    ],
}


def _compute(pair: RayPair, site: str) -> RayCompute:
    cluster = pair.first if site == "eu-1" else pair.second
    return RayCompute(cluster.address, cluster.token_file)


def test_every_way_to_read_sees_the_same_data_and_all_writers_make_one_version(
    federation: localfed.LocalFederation, tmp_path: Path
):
    """pandas, Arrow, Ray Data and a task on a worker agree with the files; driver and worker write into one version."""
    submitted = federation.submit(
        READ_AND_WRITE, inputs={"sales": "lab/sales", "rates": "lab/rates"}, outputs={"made": "lab/made"}, label="read"
    )
    ended = federation.succeed(submitted.job, 200)
    with federation.client() as client:
        (version,) = [row for row in client.list_versions("lab/made") if row.run == ended.run]
        assert version.files == 2
        got = {path.name: path.read_text() for path in client.get(version.name.short, tmp_path)}
    everything = sum(range(3 * ROWS))
    assert got["by-worker.txt"] == "a worker's"
    assert json.loads(got["by-driver.json"]) == {
        "pandas": sum(range(ROWS)),
        "pandas csv": sum(range(100)),
        "filesystem": everything,
        "fsspec+fed": everything,
        "ray data": 2 * everything,
        "task": sum(range(100)),
    }


def test_a_job_that_needs_a_gpu_runs_where_it_is(federation: localfed.LocalFederation, ray_pair: RayPair):  # noqa: F811
    """The one site with an H100 is chosen, the other says GPU_TYPE_MISSING, and Ray gives the job one of the two."""
    with gpus_alone(ray_pair):
        submitted = federation.submit(GPUS, resources=job.Resources(cpus=1, gpus=1, gpu_type="H100"))
        ended = federation.succeed(submitted.job)
    assert submitted.plan
    assert submitted.plan.choice
    assert submitted.plan.choice.site == "us-1"
    assert {row.site: row.reason for row in submitted.plan.rejections} == {"eu-1": "GPU_TYPE_MISSING"}
    seen = federation.job_log(ended.job).partition("driver sees ")[2].split()[0]
    assert seen in {"0", "1"}


def test_no_secret_lies_in_what_ray_keeps_and_a_ticket_opens_once(
    federation: localfed.LocalFederation,
    ray_pair: RayPair,  # noqa: F811
    tmp_path: Path,
):
    """Ray's record of a job holds a used ticket and no token; whoever finds the ticket there hears TICKET_USED."""
    started = tmp_path / "started"
    submitted = federation.submit(
        SLEEP, outputs={"made": "lab/ends"}, sites=("eu-1",), arguments=(str(started), "600"), label="secret"
    )
    localfed.until(started.exists, 60, "the entrypoint to run")
    with federation.client() as client:
        run = client.get_run(client.get_job(submitted.job).run)
        compute = _compute(ray_pair, "eu-1")
        shown = compute._get(f"/api/jobs/{run.submission_id}")
        environment = shown["runtime_env"]["env_vars"]
        assert {key for key in environment if "TOKEN" in key or "SECRET" in key or "KEY" in key} == set()
        token = _token_of(run.run)
        assert token
        assert token not in json.dumps(compute._get("/api/jobs/"))
        assert token not in json.dumps(shown)

        ca = federation.layout.ca.read_bytes()
        stranger = gateways.GatewayClient(environment["FED_GATEWAY"], ca)
        with pytest.raises(errors.Unauthenticated, match="TICKET_USED"):
            stranger.exchange_ticket(environment["FED_TICKET"], "a nonce of my own")
        stranger.close()

        # Cancelled, the job ends on its cluster too.
        client.cancel_job(submitted.job)
        ended = federation.wait_job(submitted.job)
        assert (ended.state, client.get_run(run.run).state) == (job.JobState.CANCELLED, job.JobState.CANCELLED)
        localfed.until(lambda: compute.state(run.submission_id).state == "STOPPED", 60, "its launcher to be gone")
        assert _token_of(run.run) == ""
        assert not [row for row in client.list_versions("lab/ends") if row.run == run.run]


def test_a_job_outlives_the_death_of_its_agent(federation: localfed.LocalFederation, tmp_path: Path):
    """kill -9 of the agent while the job runs on its cluster: it comes back, finds it, and the job succeeds once."""
    started = tmp_path / "started"
    name = federation.submit(
        SLEEP, outputs={"made": "lab/survivor"}, sites=("us-1",), arguments=(str(started), "3"), label="survivor"
    ).job
    localfed.until(started.exists, 60, "the entrypoint to run")
    federation.kill("agent us-1")
    federation.up()
    ended = federation.succeed(name)
    with federation.client() as client:
        (run,) = client.list_runs(name)
        (version,) = client.list_versions("lab/survivor")
    assert (run.attempt, run.state, ended.run) == (1, job.JobState.SUCCEEDED, version.run)


def _token_of(run: str) -> str:
    """The token that a process of that run on this machine has in its environment, '' where none has one."""
    for file in Path("/proc").glob("[0-9]*/environ"):
        try:
            pairs = dict(row.split("=", 1) for row in file.read_text().split("\0") if "=" in row)
        except (OSError, UnicodeDecodeError):
            continue
        if pairs.get("FED_RUN") == run and pairs.get("FED_TOKEN"):
            return pairs["FED_TOKEN"]
    return ""


@pytest.fixture
def jobs_api(federation: localfed.LocalFederation) -> Iterator[str]:
    """`fed ray`, and where it listens."""
    (port,) = tcp.free_ports(1)
    started = subprocess.Popen(
        [*localfed.FED, "ray", "--listen", f"127.0.0.1:{port}"], env=federation.environment(), cwd=federation.folder
    )
    try:
        localfed.until(lambda: _listens(port), 30, "the Jobs API to listen")
        yield f"http://127.0.0.1:{port}"
    finally:
        started.terminate()
        assert started.wait(60) == 0


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


RAYS_OWN = """
import federation, pathlib, sys
total = len(federation.inputs["rates"].pandas())
with federation.outputs["sizes"].open("sizes.txt", "w") as file:
    file.write(str(total))
print("read", total, pathlib.Path("beside.txt").read_text(), sys.argv[1], flush=True)
sys.exit(int(sys.argv[1]))
"""


def test_rays_own_command_line_reaches_the_federation(federation: localfed.LocalFederation, jobs_api: str, tmp_path: Path):
    """`ray job submit` unchanged: its folder travels, the job runs beside its data, its log is followed, its end told."""
    (tmp_path / "job.py").write_text(RAYS_OWN)
    (tmp_path / "beside.txt").write_text("found")
    environ = federation.environment(
        RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=federation.layout.admin_token.read_text().strip(), RAY_ADDRESS=jobs_api
    )
    data = json.dumps({"fed.inputs": "lab/rates", "fed.outputs": "sizes=lab/sizes"})
    ray = str(Path(sys.executable).with_name("ray"))
    submit = [ray, "job", "submit", "--working-dir", str(tmp_path), "--metadata-json", data]

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(words, env=environ, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)

    own = f"Sizes_{secrets.token_hex(4)}"
    done = run(*submit, "--submission-id", own, "--", "python", "job.py", "0")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "read 100 found 0" in done.stdout
    with federation.client() as client:
        (stored,) = client.list_jobs(filter=f'submission_id = "{own}"')
        assert stored.plan.choice.site == "eu-1"
        ran = client.get_run(stored.run)
        assert client.get_site("eu-1").dashboard_of(ran.submission_id).endswith(f"/#/jobs/{ran.submission_id}")
        assert [row.files for row in client.list_versions("lab/sizes") if row.run == stored.run] == [1]
    failed = run(*submit, "--", "python", "job.py", "3")
    assert failed.returncode == 1
    assert "exit code 3" in failed.stdout + failed.stderr
    logs = run(ray, "job", "logs", own)
    assert "found 0" in logs.stdout
