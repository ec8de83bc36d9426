"""Leases at a gateway over real TLS: the catalog's record comes before the key, and nobody else's lease opens anything."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from federation.agent import sealing
from federation.core import errors, job, leases
from federation.crypto import hpke
from federation.v1 import gateway_pb2
from federation.wire import data
from tests.agent import federation as federations
from tests.agent.federation import Federation, launch, until

FLIGHTS = (job.InputSpec(alias="x", dataset="sales/flights"),)
MODEL = (job.OutputSpec(alias="y", dataset="ml/model"),)


@pytest.fixture
def flights(held: Federation, tmp_path: Path) -> Federation:
    """A federation whose data lies at us-1."""
    held.put("sales/flights", federations.write_files(tmp_path / "flights", a_csv=b"x,y\n1,2\n"), "us-1")
    return held


def reason(call: Callable[[], Any]) -> str:
    """The reason with which a call is refused."""
    with pytest.raises(errors.FederationError) as refused:
        call()
    return refused.value.reason


def granted(federation: Federation, **where: str) -> list[leases.Lease]:
    """The leases that the catalog has."""
    return list(federation.client.list_leases(filter=" AND ".join(f'{key} = "{value}"' for key, value in where.items())))


@pytest.mark.invariant("L1")
def test_no_key_leaves_a_gateway_before_its_lease_is_recorded(flights: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """When a key is sealed the catalog has its lease already, in the log too; where the catalog refuses, none is unwrapped."""
    agent = flights.places["us-1"].agent
    assert agent is not None
    sealed: list[int] = []
    real = sealing.seal

    def watched(deks: Any, **whom: Any) -> Any:
        known = {lease.lease for lease in granted(flights)}
        assert whom["audience"].rpartition("/")[2] in known
        assert any(event.kind == "lease.granted" for event in flights.edge.catalog.events(0))
        sealed.append(1)
        return real(deks, **whom)

    monkeypatch.setattr(sealing, "seal", watched)
    launcher = launch(flights, "us-1", inputs=FLIGHTS, outputs=MODEL)
    assert launcher.read("x") == {"a.csv": b"x,y\n1,2\n"}
    launcher.write("y", model=b"weights")
    assert len(sealed) == 2
    unwrapped: list[Any] = []
    connector = agent._opener._keys
    opened = connector.unwrap
    monkeypatch.setattr(connector, "unwrap", lambda row: unwrapped.append(row) or opened(row))
    flights.client.cancel_job(launcher.row.start.run.job)
    assert reason(lambda: launcher.read("x")) == "RUN_SUPERSEDED"
    assert (len(sealed), unwrapped) == (2, [])


@pytest.mark.invariant("L2")
def test_a_process_reads_a_version_under_one_lease_until_it_ends(flights: Federation, monkeypatch: pytest.MonkeyPatch) -> None:
    """Opening more files asks nothing; when it has run out the next opening asks again, and a run that is over gets none."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS)
    run = launcher.row.run
    opened = data.open_version(launcher.gateway, audience=launcher.audience, input="x")
    for _ in range(3):
        assert opened.open("a.csv").read() == b"x,y\n1,2\n"
    (lease,) = granted(flights, run=run)
    assert (lease.short, lease.site, lease.attempt) == ("sales/flights@1", "us-1", 1)
    now = data.time.monotonic
    monkeypatch.setattr(data.time, "monotonic", lambda: now() + leases.LIFE_SECONDS)
    held = opened.open("a.csv")
    assert len(granted(flights, run=run)) == 2
    monkeypatch.setattr(data.time, "monotonic", lambda: now() + 2 * leases.LIFE_SECONDS)
    assert held.read(4) == b"x,y\n"
    assert len(granted(flights, run=run)) == 2
    flights.client.cancel_job(launcher.row.start.run.job)
    assert reason(lambda: opened.open("a.csv")) == "RUN_SUPERSEDED"
    assert not dict(opened.deks)


def test_a_thread_that_wants_a_key_waits_while_another_asks_for_a_new_lease(
    flights: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It looked while the lease held, and the keys were let go of before it took one."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS)
    opened = data.open_version(launcher.gateway, audience=launcher.audience, input="x")
    (generation,) = opened.deks
    before, real, now = opened.deks[generation], launcher.gateway.open_version, data.time.monotonic

    def while_another_wants_one(*given: Any, **named: Any) -> Any:
        wanted.append(pool.submit(lambda: opened.deks[generation]))
        with pytest.raises(TimeoutError):
            wanted[0].result(timeout=0.2)
        return real(*given, **named)

    wanted: list[Future[bytes]] = []
    monkeypatch.setattr(launcher.gateway, "open_version", while_another_wants_one)
    monkeypatch.setattr(data.time, "monotonic", lambda: now() + leases.LIFE_SECONDS)
    with ThreadPoolExecutor(1) as pool:
        assert opened.open("a.csv").read() == b"x,y\n1,2\n"
        assert wanted[0].result(timeout=30) == before


@pytest.mark.invariant("L2")
def test_a_replayed_answer_opens_for_nobody_else(flights: Federation) -> None:
    """The keys of a lease open with the key that it names, under its own name, for its own run."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS)
    private, public = hpke.new_pair()
    answer = launcher.gateway.open_version(public, "x")
    (key,) = answer.keys

    def open_with(secret: bytes, of: str, lease: str) -> bytes:
        whom = leases.audience(of, lease)
        return hpke.open_(secret, key.sealed, hpke.dek_info(answer.dataset_uid, key.generation, whom))

    assert len(open_with(private, launcher.audience, answer.lease)) == 32
    assert reason(lambda: open_with(hpke.new_pair()[0], launcher.audience, answer.lease)) == "SEAL_INVALID"
    assert reason(lambda: open_with(private, launcher.audience, "l-another")) == "SEAL_INVALID"
    assert reason(lambda: open_with(private, data.run_audience("jobs/j-other/runs/1"), answer.lease)) == "SEAL_INVALID"


@pytest.mark.invariant("L2")
def test_a_nonce_is_not_taken_twice_at_the_gateway_either(flights: Federation) -> None:
    """Nor is one that is too short to be random, nor none."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS)
    public = hpke.new_pair()[1]

    def ask(nonce: str) -> Any:
        request = gateway_pb2.OpenVersionRequest(input="x", reader_key=public, nonce=nonce)
        return launcher.gateway._call(lambda stub: stub.OpenVersion(request))

    assert ask("ab" * 16).lease
    assert reason(lambda: ask("ab" * 16)) == "LEASE_REPLAYED"
    assert reason(lambda: ask("")) == "LEASE_INVALID"
    assert reason(lambda: ask("1234")) == "LEASE_INVALID"


def test_a_remote_read_is_leased_twice(flights: Federation) -> None:
    """From the source to the reading site's gateway, and from there to the worker; both are in the catalog."""
    launcher = launch(flights, "eu-1", inputs=FLIGHTS)
    assert launcher.read("x") == {"a.csv": b"x,y\n1,2\n"}
    found = {(lease.site, lease.reader_site) for lease in granted(flights, run=launcher.row.run)}
    assert found == {("us-1", "eu-1"), ("eu-1", "")}
    assert launcher.read("x")
    assert len(granted(flights, run=launcher.row.run)) == 3


def test_a_catalog_that_answers_for_something_else_is_not_believed(
    flights: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a lease that has run out by the time it comes hands out nothing."""
    agent = flights.places["us-1"].agent
    assert agent is not None
    launcher = launch(flights, "us-1", inputs=FLIGHTS)
    real = agent._catalog.issue_lease
    for change, why in (
        ({"run": "jobs/j-other/runs/1"}, "LEASE_FOREIGN"),
        ({"reader_key": "00" * 32}, "LEASE_FOREIGN"),
        ({"expire_time": datetime.now(UTC) - timedelta(minutes=10)}, "LEASE_EXPIRED"),
    ):
        monkeypatch.setattr(agent._catalog, "issue_lease", lambda asked, c=change: dataclasses.replace(real(asked), **c))
        assert reason(lambda: launcher.read("x")) == why


def test_erasing_destroys_the_secrets_at_each_site(flights: Federation) -> None:
    """The agents are told over the stream of work, destroy, sign and drop the objects; what is read then is refused."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS)
    launcher.read("x")
    made = flights.client.erase_version("sales/flights@1", "request 4711")
    found = until(lambda: not (now := flights.client.get_erasure("sales/flights@1")).unconfirmed and now)
    assert found.erasure == made.erasure
    assert [part.site for part in found.sites] == ["us-1"]
    agent = flights.places["us-1"].agent
    assert agent is not None
    assert set(made.generations) <= set(agent._opener._keys.status().destroyed)
    until(lambda: not flights.places["us-1"].objects("objects"))
    assert reason(lambda: flights.client.open_read("sales/flights@1")) == "VERSION_ERASED"
    assert reason(lambda: launcher.read("x")) in ("VERSION_ERASED", "GRANT_CLOSED")  # once its gateway has heard of that
    assert any("a lease lasts until" in each for each in found.waits_for)
    assert flights.findings() == []
