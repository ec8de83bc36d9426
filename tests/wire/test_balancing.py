"""Several servers of one catalog behind one client: calls go round, and past whoever is away."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from federation import config
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import UlidIds
from federation.client import AsyncClient, Client
from federation.client.connection import Connection
from federation.core import errors
from federation.wire import balancing, methods
from tests import builders
from tests.wire import certs as certificates
from tests.wire import edge as edges


@pytest.fixture
def pair(certs: certificates.Certs) -> Iterator[tuple[edges.Edge, edges.Edge]]:
    """Two servers over one catalog."""
    catalog = MemoryCatalog(edges.clock(), UlidIds())
    one, other = (edges.start(certs, catalog) for _ in range(2))
    yield one, other
    for each in (one, other):
        each.stop(close=False)
    catalog.close()


def both(pair: tuple[edges.Edge, edges.Edge]) -> str:
    """The target that names both."""
    return ",".join(each.server.address for each in pair)


def test_calls_go_round_and_past_a_server_that_is_away(
    pair: tuple[edges.Edge, edges.Edge], monkeypatch: pytest.MonkeyPatch
) -> None:
    """By turns while both serve; when one has gone, nobody is told of it."""
    seen: list[str] = []
    for name, each in zip("ab", pair, strict=True):
        admit = each.server._door.admit

        async def noted(*given, name=name, admit=admit):  # type: ignore[no-untyped-def]
            seen.append(name)
            return await admit(*given)

        monkeypatch.setattr(each.server._door, "admit", noted)
    with Client(both(pair), pair[1].tokens["admin"], pair[0].certs.ca) as client:
        deadline = time.monotonic() + 30
        while set(seen[-6:]) != {"a", "b"} and time.monotonic() < deadline:
            client.who_am_i()
        assert {"a", "b"} == set(seen)
        pair[0].run(pair[0].server.stop(0.1))
        seen.clear()
        for number in range(10):
            client.create_namespace(builders.namespace(f"n{number}"))
        assert set(seen) == {"b"}
        assert len(list(client.list_namespaces())) == 10


def test_the_client_for_asyncio_goes_past_it_too(pair: tuple[edges.Edge, edges.Edge]) -> None:
    """By the same service config."""

    async def main() -> int:
        async with AsyncClient(both(pair), pair[1].tokens["admin"], pair[0].certs.ca) as client:
            before = await client.who_am_i()
            await asyncio.to_thread(pair[0].run, pair[0].server.stop(0.1))
            return sum([(await client.who_am_i()).principal == before.principal for _ in range(5)])

    assert asyncio.run(main()) == 5


def test_what_gRPC_is_told_of_one_address_one_name_and_several() -> None:  # noqa: N802 - its own name
    """A literal address is one server; a name may be many; several are looked up and prove to be the first; or it is inside."""
    assert balancing.settings("10.0.0.1:7400") == ("10.0.0.1:7400", ())
    name, options = balancing.settings("catalog.example:7400", ("federation.v1.Jobs", "federation.v1.Costs"))
    told = json.loads(dict(options)["grpc.service_config"])
    assert name == "catalog.example:7400"
    assert told["loadBalancingConfig"] == [{"round_robin": {}}]
    assert told["healthCheckConfig"] == {"serviceName": ""}
    calls, streams = told["methodConfig"]
    assert calls["retryPolicy"]["retryableStatusCodes"] == ["UNAVAILABLE"]
    assert calls["name"] == [{"service": "federation.v1.Jobs"}, {"service": "federation.v1.Costs"}]
    # Every stream by its name, which goes before its service's: what is not tried again by gRPC.
    assert {"service": "federation.v1.Costs", "method": "ExportLedger"} in streams.pop("name")
    assert streams == {}
    place, options = balancing.settings(balancing.inside("10.0.0.1:7411", "eu.example:443"))
    assert (place, dict(options)["grpc.ssl_target_name_override"]) == ("10.0.0.1:7411", "eu.example")
    place, options = balancing.settings("127.0.0.1:1,nowhere.invalid:2,127.0.0.2:3")
    assert place == "ipv4:127.0.0.1:1,127.0.0.2:3"
    assert dict(options)["grpc.default_authority"] == "127.0.0.1"
    with pytest.raises(errors.Unavailable) as caught:
        balancing.settings("nowhere.invalid:1,elsewhere.invalid:2")
    assert caught.value.reason == "HOST_UNKNOWN"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_stream_is_begun_again_until_it_tells_something(
    pair: tuple[edges.Edge, edges.Edge], monkeypatch: pytest.MonkeyPatch, asynchronous: bool
) -> None:
    """Refused twice by a server that is not ready: whoever asked is not told."""
    edge = pair[0]
    edges.populate(edge)
    tries, admit = [], edge.server._door.admit

    async def late(context: Any, method: methods.Method) -> Any:
        tries.append(method.key)
        if len(tries) < 3:
            raise errors.Unavailable("not yet", reason="STARTING")
        return await admit(context, method)

    async def on_a_loop() -> bytes:
        async with AsyncClient(edge.server.address, edge.tokens["admin"], edge.certs.ca) as client:
            return b"".join([piece async for piece in client.export_world()])

    monkeypatch.setattr(edge.server._door, "admit", late)
    if asynchronous:
        world = asyncio.run(on_a_loop())
    else:
        with edge.client() as client:
            world = b"".join(client.export_world())
    assert tries == ["Sites.ExportWorld"] * 3
    assert b"eu-1" in world


class _Breaks(Connection):
    """Its streams tell two things and break; how often one was opened, and ended, is counted."""

    opened = ended = 0

    def _send(self, method: methods.Method, request: Any, seconds: float | None) -> Any:
        self.opened += 1
        return self

    def __iter__(self) -> Iterator[int]:
        yield from (1, 2)
        raise errors.Unavailable("the server went", reason="AWAY")

    def cancel(self) -> None:
        """Counts."""
        self.ended += 1


def test_a_stream_that_breaks_off_is_not_begun_again() -> None:
    """What it has told would be told twice: whoever reads hears of it, and nothing is left open."""
    connection = _Breaks("127.0.0.1:1", "", b"")
    stream = connection.stream("Costs.ExportLedger", None)
    assert [next(stream), next(stream)] == [1, 2]
    with pytest.raises(errors.Unavailable, match="the server went"):
        next(stream)
    assert (connection.opened, connection.ended) == (1, 1)


def test_a_context_may_name_several_servers(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With commas between; each is checked."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "c.yaml"))
    text = "current: two\ncontexts:\n  two:\n    target: '10.0.0.1:7400, 10.0.0.2:7400'\n    ca: ca.crt\n"
    (tmp_path / "c.yaml").write_text(text)
    assert config.contexts().find("two").target == "10.0.0.1:7400,10.0.0.2:7400"
    (tmp_path / "c.yaml").write_text(text.replace("10.0.0.2:7400", "10.0.0.2"))
    with pytest.raises(errors.InvalidArgument):
        config.contexts()


def test_health_is_what_servers_say_of_themselves(pair: tuple[edges.Edge, edges.Edge]) -> None:
    """A server that stops says so before it takes no call any more."""
    from grpc_health.v1 import health_pb2, health_pb2_grpc

    with pair[0].channel("", agents=False) as channel:
        watching = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service=""), timeout=30)
        assert next(watching).status == health_pb2.HealthCheckResponse.SERVING
        pair[0].run(pair[0].server.stop(0.5))
        assert next(watching).status == health_pb2.HealthCheckResponse.NOT_SERVING
        watching.cancel()
