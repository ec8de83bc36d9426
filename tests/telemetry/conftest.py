"""One federation with traces and metrics on, for all tests of this folder; nobody else's processes are traced."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from federation import traces
from tests.agent import federation as federations
from tests.localfed import environment_with
from tests.telemetry import receiver as receivers
from tests.wire import certs as certificates


@pytest.fixture(scope="module")
def receiver() -> Iterator[receivers.Receiver]:
    """An OTLP receiver that this process, and the jobs that it starts, send their spans to."""
    started = receivers.start()
    with environment_with(**started.environment):
        assert traces.configure("federation-test", started.environment)
        yield started
        traces.shutdown()
    started.stop()


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory, receiver: receivers.Receiver) -> Iterator[federations.Federation]:
    """Two sites whose jobs are processes."""
    del receiver
    made = certificates.make(tmp_path_factory.mktemp("pki"))
    started = federations.start(tmp_path_factory.mktemp("fed"), made, quantum_bytes=64 * 1024, http_listen="127.0.0.1:0")
    yield started
    started.stop()
