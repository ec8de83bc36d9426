"""What a server tells of itself: who may ask, what it counts, and when it says that it is ready."""

from __future__ import annotations

import asyncio
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client import parser

from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import UlidIds
from federation.api import server as servers
from federation.core import dataset, errors
from federation.wire import patience
from tests.agent.federation import until
from tests.wire import certs as certificates
from tests.wire import edge as edges
from tests.wire.edge import Edge


def ask(edge: Edge, path: str, who: str = "") -> tuple[int, str]:
    """Status and body of a GET."""
    headers = {"authorization": f"Bearer {edge.tokens[who]}"} if who else {}
    request = urllib.request.Request(f"https://{edge.server.http_address}{path}", headers=headers)
    context = ssl.create_default_context(cadata=edge.certs.ca.decode())
    try:
        with urllib.request.urlopen(request, context=context, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def samples(text: str) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """All samples of an answer."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in parser.text_string_to_metric_families(text)
        for sample in family.samples
    }


@pytest.mark.parametrize(("who", "status"), [("", 401), ("user", 403), ("auditor", 200), ("admin", 200)])
def test_metrics_are_for_those_who_look_after_the_federation(shared_edge: Edge, who: str, status: int) -> None:
    """They tell regions, sites and volumes: who may read one dataset need not know those."""
    assert ask(shared_edge, "/metrics", who)[0] == status


def test_a_token_can_be_good_for_metrics_alone(edge: Edge) -> None:
    """So a scraper's token opens nothing else."""
    made = edge.client().create_token("prometheus", role="AUDITOR", scopes=("metrics.list",))
    edge.tokens["scraper"] = made.secret
    assert ask(edge, "/metrics", "scraper")[0] == 200
    with pytest.raises(errors.PermissionDenied):
        list(edge.client("scraper").list_jobs())


def test_calls_are_counted_by_method_and_code(edge: Edge) -> None:
    """Those that were refused too; how long each took is in its method's histogram."""
    client = edge.client()
    client.create_namespace(dataset.Namespace(name="ml"))
    with pytest.raises(errors.NotFound):
        client.get_namespace("nowhere")
    found = samples(ask(edge, "/metrics", "admin")[1])
    assert found["federation_rpc_handled_total", (("code", "OK"), ("method", "Catalog.CreateNamespace"))] == 1
    assert found["federation_rpc_handled_total", (("code", "NOT_FOUND"), ("method", "Catalog.GetNamespace"))] == 1
    assert found["federation_rpc_seconds_count", (("method", "Catalog.CreateNamespace"),)] == 1


def test_labels_tell_no_names_of_datasets_or_people(edge: Edge) -> None:
    """Whatever is made: a label that grows with it would fill whoever keeps the metrics, and tell what they may not know."""
    client = edge.client()
    client.create_namespace(dataset.Namespace(name="secret-project"))
    client.create_dataset(dataset.Dataset(namespace="secret-project", dataset="unheard-of"))
    text = ask(edge, "/metrics", "admin")[1]
    assert "federation_rpc_handled_total" in text
    assert not {"secret-project", "unheard-of", "users/admin", "admin"} & set(text.replace('"', " ").split())
    assert "secret-project" not in text
    assert "unheard-of" not in text


def test_the_catalog_s_state_is_looked_up_when_somebody_asks(shared_edge: Edge) -> None:
    """Sites by state, jobs that wait, when the certificate ends."""
    found = samples(ask(shared_edge, "/metrics", "admin")[1])
    assert found["federation_sites", (("state", "READY"),)] == 2
    assert found["federation_jobs", (("state", "PENDING"),)] == 0
    assert found["federation_certificate_expiry_timestamp_seconds", (("role", "server"),)] > 1e9
    assert ("federation_site_heartbeat_age_seconds", (("site", "eu-1"),)) in found
    assert found["federation_scrape_failures_total", ()] == 0


@pytest.mark.invariant("G4")
def test_a_connection_over_which_no_request_comes_is_closed(certs: certificates.Certs, monkeypatch: pytest.MonkeyPatch) -> None:
    """A stranger could hold thousands of them; one that has asked something keeps its connection."""
    monkeypatch.setattr(patience, "LOOK_SECONDS", 0.1)
    edge = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()))
    host, _, port = edge.server.http_address.rpartition(":")
    context = ssl.create_default_context(cadata=edge.certs.ca.decode())

    def connect() -> ssl.SSLSocket:
        return context.wrap_socket(socket.create_connection((host, int(port)), timeout=30), server_hostname=host)

    def answer(over: ssl.SSLSocket) -> bytes:
        over.sendall(b"GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")
        return b"".join(iter(lambda: over.recv(1), b"}"))

    try:
        with connect() as asked, connect() as silent:
            assert b"ALIVE" in answer(asked)
            monkeypatch.setattr(patience, "FIRST_REQUEST_SECONDS", 0.2)
            silent.sendall(b"GET /livez HTTP/1.1\r\nHost: ")
            assert silent.recv(1) == b""
            assert b"ALIVE" in answer(asked)
    finally:
        edge.stop()


@pytest.mark.invariant("G4")
def test_a_flood_of_looks_at_the_health_costs_the_catalog_one_at_a_time(
    shared_edge: Edge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Anybody may ask, without a token, and a probe must not be held off: so all who ask meanwhile share an answer."""
    listener, looks = shared_edge.server._http, 0
    run = listener._store.run

    async def counted(look: Callable[[], Any]) -> Any:
        nonlocal looks
        looks += 1
        return await run(look)

    monkeypatch.setattr(listener, "_store", SimpleNamespace(run=counted, catalog=shared_edge.catalog))

    async def flood() -> list[Any]:
        return await asyncio.gather(*(listener._health(None) for _ in range(200)))  # type: ignore[arg-type]

    assert {answer.status for answer in shared_edge.run(flood())} == {200}
    assert looks == 1


def test_a_server_without_its_catalog_lives_and_is_not_ready(
    certs: certificates.Certs, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Restarting it would mend nothing, so it stays alive; balanced clients hear NOT_SERVING and go to another one.

    Metrics are told all the same, without what the catalog would say.
    """
    monkeypatch.setattr(servers, "HEALTH_SECONDS", 0.1)
    catalog = MemoryCatalog(edges.clock(), UlidIds())
    edge = edges.start(certs, catalog)
    try:
        assert ask(edge, "/healthz")[0] == 200

        def health() -> int:
            with edge.channel("", agents=False) as channel:
                stub = health_pb2_grpc.HealthStub(channel)
                return stub.Check(health_pb2.HealthCheckRequest(service="federation.v1.Jobs"), timeout=30).status

        assert health() == health_pb2.HealthCheckResponse.SERVING
        metrics = edge.server._telemetry.metrics
        catalog.close()
        assert until(lambda: health() == health_pb2.HealthCheckResponse.NOT_SERVING)
        assert ask(edge, "/livez")[0] == 200
        assert ask(edge, "/healthz")[0] == 503
        metrics.render()  # that one failed is told with the next
        text = metrics.render().decode()
        assert samples(text)["federation_scrape_failures_total", ()] >= 1
        assert "federation_loop_failures_total" in text
    finally:
        edge.stop()


def test_health_of_a_service_that_is_not_there_is_not_found(shared_edge: Edge) -> None:
    """By service, as gRPC's health protocol has it."""
    with shared_edge.channel("", agents=False) as channel, pytest.raises(grpc.RpcError) as caught:
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(service="federation.v1.Nothing"), timeout=30)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
