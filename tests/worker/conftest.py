"""A gateway to work against, and a way to run real entrypoints."""

from __future__ import annotations

import base64
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from federation.worker import environment, session
from tests.worker import gateway_stub
from tests.worker.gateway_stub import Served

#: Runs the launcher as a cluster would, on a script; gives its exit code and output.
Launch = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Served]:
    """A gateway that listens."""
    with gateway_stub.serving(tmp_path / "state") as served:
        yield served


@pytest.fixture
def connection(gateway: Served) -> Callable[[], environment.Connection]:
    """A run's connection, with what is bound at the time of the call."""

    def make() -> environment.Connection:
        stub = gateway.stub
        inputs = tuple(environment.Binding(alias=a, dataset=i.version.split("@")[0], version=1) for a, i in stub.inputs.items())
        outputs = tuple(environment.Binding(alias=a, dataset=str(o)) for a, o in stub.outputs.items())
        return environment.Connection(
            gateway=gateway.target, run=gateway_stub.RUN, ca=gateway.ca, token=stub.token, inputs=inputs, outputs=outputs
        )

    return make


@pytest.fixture
def in_job(connection, monkeypatch: pytest.MonkeyPatch) -> Callable[[], session.Session]:
    """Makes this process a job's entrypoint."""

    def enter() -> session.Session:
        for key, value in connection().variables().items():
            monkeypatch.setenv(key, value)
        monkeypatch.setattr(session, "_SESSIONS", {})
        return session.current()

    return enter


def job_environment(gateway: Served, **more: str) -> dict[str, str]:
    """What a site's agent gives a launcher."""
    own = {
        "FED_GATEWAY": gateway.target,
        "FED_CA": base64.b64encode(gateway.ca).decode(),
        "FED_TICKET": gateway.stub.ticket,
        "FED_RUN": gateway_stub.RUN,
        "FED_LOG_BYTES_MAX": "1000000",
    }
    inherited = {key: value for key, value in os.environ.items() if not key.startswith("FED_")}
    return inherited | own | more


@pytest.fixture
def launch(gateway: Served, tmp_path: Path) -> Launch:
    """Runs a script under the launcher."""

    def run(script: str, **more: str) -> subprocess.CompletedProcess[str]:
        path = tmp_path / "job.py"
        path.write_text(script)
        command = [sys.executable, "-m", "federation.worker.launch", "--", sys.executable, str(path)]
        return subprocess.run(
            command, env=job_environment(gateway, **more), capture_output=True, text=True, timeout=120, check=False
        )

    return run
