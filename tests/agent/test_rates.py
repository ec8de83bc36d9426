"""A gateway counts calls by who makes them: nobody keeps it from others, and whoever waits as told comes through."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from federation import config
from federation.core import errors, job
from federation.v1 import gateway_pb2
from federation.wire import errors as wire_errors
from federation.wire.gateway import GatewayClient
from tests.agent import federation as federations
from tests.agent.compute import MemoryCompute
from tests.agent.federation import Federation, launch
from tests.wire import certs as certificates

NARROW = config.RateSettings(
    calls_per_second=20, burst=5, agent_calls_per_second=20, agent_burst=10, strangers_per_second=1, strangers_burst=5
)


@pytest.fixture
def narrow(tmp_path: Path, certs: certificates.Certs) -> Iterator[Federation]:
    """A federation whose gateways take few calls."""
    made = federations.start(tmp_path / "narrow", certs, lambda _: MemoryCompute(), rates=NARROW)
    yield made
    made.stop()


@pytest.mark.invariant("G4")
def test_a_run_that_calls_too_often_is_held_off_and_others_are_not(narrow: Federation) -> None:
    """By its name, whatever it asks for; what the SDK repeats comes through, never sooner than it was told."""
    narrow.put("sales/flights", Path(__file__), "us-1")
    inputs = (job.InputSpec(alias="x", dataset="sales/flights"),)
    greedy, modest = (launch(narrow, "us-1", inputs=inputs) for _ in range(2))

    def often() -> None:
        for _ in range(5_000):
            greedy.gateway.append_logs([b"x"])

    with pytest.raises(errors.RateLimited) as refused:
        often()
    begun = time.monotonic()
    assert (refused.value.reason, greedy.row.run in refused.value.message) == ("RATE_LIMITED", True)
    assert modest.gateway.append_logs([b"x"]) == 1
    assert list(greedy.read("x")) == [Path(__file__).name]
    assert time.monotonic() - begun >= 0.04


@pytest.mark.invariant("G4")
def test_a_person_has_one_bucket_however_many_grants(narrow: Federation) -> None:
    """Each grant is a credential of its own, and all of them are of one person."""
    narrow.put("sales/flights", Path(__file__), "us-1")
    grants = [narrow.client.open_read("sales/flights", site="us-1") for _ in range(8)]

    def often(access: Any) -> None:
        gateway = narrow.gateway(access)
        for _ in range(2_000):
            with contextlib.suppress(errors.PermissionDenied), wire_errors.translated():
                list(gateway._stub().ReadLogs(gateway_pb2.ReadLogsRequest()))  # the client itself would wait as it is told

    with ThreadPoolExecutor(len(grants)) as threads, pytest.raises(errors.RateLimited, match="users/admin"):
        list(threads.map(often, grants))


@pytest.mark.invariant("G4")
def test_a_flood_of_wrong_tokens_is_not_looked_up_for_ever(narrow: Federation) -> None:
    """It hears RATE_LIMITED in place of TOKEN_INVALID; a run that was let in before is served."""
    launcher = launch(narrow, "us-1")
    launcher.gateway.append_logs([b"x"])
    said = set()
    agent = narrow.places["us-1"].agent
    assert agent is not None
    for number in range(1_200):  # so many as the machine needs to be faster than the limit
        stranger = GatewayClient(agent.address, narrow.edge.certs.ca, token=f"fed_{number}")
        with pytest.raises(errors.FederationError) as refused:
            stranger.append_logs([b"x"])
        said.add(refused.value.reason)
        stranger.close()
        if "RATE_LIMITED" in said:
            break
    assert said == {"TOKEN_INVALID", "RATE_LIMITED"}
    assert launcher.gateway.append_logs([b"x"]) == 2
