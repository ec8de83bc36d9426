"""Inside a real Ray cluster: the entrypoint is its driver, and its tasks read and write on the cluster's workers."""

from __future__ import annotations

import io
import json
import shlex
import sys
import time

import pyarrow as pa
import pyarrow.parquet
import pytest

from connectors.compute.ray import RayCompute
from federation import ports
from tests.ray_pair import ray_pair  # noqa: F401 - a fixture
from tests.worker import gateway_stub
from tests.worker.conftest import job_environment

pytestmark = pytest.mark.ray

SCRIPT = """
import os
import ray, ray.data
import federation

ray.init(logging_level="ERROR")
ray.data.DataContext.get_current().enable_progress_bars = False

@ray.remote
def count(path):
    # Not the driver: here is no token in the environment.
    assert "FED_TOKEN" not in os.environ
    with federation.outputs["model"].open(f"counted-{path}.txt", "w") as file:
        file.write("done")
    return federation.inputs["flights"].pandas(path).x.sum()

assert sum(ray.get([count.remote(path) for path in federation.inputs["flights"].files()])) == 3 * 4950
rows = federation.inputs["flights"].ray()
assert rows.count() == 300
doubled = rows.map_batches(lambda batch: {"y": batch["x"] * 2})
doubled.write_parquet("ml/delay-model/doubled", filesystem=federation.filesystem())
people, staff = federation.inputs["people"], federation.inputs["staff"]
assert people.ray().sum("id") == 10 and people.ray().schema().names == ["id"]
assert staff.ray(columns=["email"]).take(1) == [{"email": "ada@example.org"}] and staff.ray().count() == 10
try:
    people.ray(columns=["email"])
except PermissionError as closed:
    assert closed.reason == "COLUMN_CLASS_CLOSED", closed
    print("all is read")
"""


def test_tasks_and_datasets_read_and_write_on_workers(gateway, ray_pair, tmp_path):  # noqa: F811
    """Tasks, Ray Data (by column classes too) and writes go through the gateway with the run's token, in no runtime_env."""
    files = {f"{n}.parquet": table_bytes(pa.table({"x": list(range(100))})) for n in range(3)}
    gateway.stub.add_input("flights", "sales/flights@3", files)
    gateway.stub.outputs["model"] = "ml/delay-model"
    table = pa.table({"id": [1] * 5, "email": ["ada@example.org"] * 5})
    for alias in ("people", "staff"):
        files = {f"{n}.parquet": table for n in range(2)}
        gateway.stub.add_columns(alias, f"hr/{alias}@1", files, "pii=email", granted=alias == "staff")
    (tmp_path / "package").mkdir()
    (tmp_path / "package" / "job.py").write_text(SCRIPT)
    compute = RayCompute(ray_pair.first.address, ray_pair.first.token_file)
    submission_id = f"s-{time.time_ns()}"
    own = {key: value for key, value in job_environment(gateway).items() if key.startswith("FED_")}
    compute.submit(
        ports.Submission(
            submission_id=submission_id,
            entrypoint=f"{shlex.quote(sys.executable)} -m federation.worker.launch -- python job.py",
            working_dir=str(tmp_path / "package"),
            runtime_env={},
            env=own,
            metadata={"run": gateway_stub.RUN},
        )
    )
    deadline = time.monotonic() + 250
    while (state := compute.state(submission_id)).state in ("PENDING", "RUNNING"):
        assert time.monotonic() < deadline, gateway.stub.logs.decode()
        time.sleep(0.2)
    log = gateway.stub.logs.decode()
    assert state.state == "SUCCEEDED", log
    assert "all is read" in log
    written = gateway.stub.written("model")
    assert {path for path in written if path.endswith(".txt")} == {f"counted-{n}.parquet.txt" for n in range(3)}
    doubled = [pyarrow.parquet.read_table(io.BytesIO(data)) for path, data in written.items() if path.startswith("doubled/")]
    assert sum(pa.concat_tables(doubled)["y"].to_pylist()) == 3 * 9900
    shown = json.dumps(compute._get("/api/jobs/"))
    assert gateway.stub.token not in shown + log


def table_bytes(table: pa.Table) -> bytes:
    """A table as a Parquet file."""
    sink = io.BytesIO()
    pyarrow.parquet.write_table(table, sink)
    return sink.getvalue()
