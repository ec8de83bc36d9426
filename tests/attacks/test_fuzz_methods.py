"""Every method of the catalog and of a gateway, called with generated messages: no crash, no INTERNAL, no secret in an answer.

A short run by a fixed seed belongs to every test run; `make fuzz` goes on for minutes with seeds of its own.
"""

from __future__ import annotations

import random
import socket
import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest

from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import UlidIds
from federation.core import job
from federation.crypto import grants as signed_grants
from federation.wire import methods, tls
from tests import prepared
from tests.agent import federation as federations
from tests.agent.compute import MemoryCompute
from tests.attacks.messages import Caller, generate, with_text
from tests.wire import edge as edges

CATALOG = [row for row in methods.TABLE.values() if row.service in methods.PEOPLE + methods.AGENTS]
GATEWAY = [row for row in methods.TABLE.values() if row.service in methods.GATEWAY]
#: Calls of each method in the short form.
ROUNDS = 8


@pytest.fixture(scope="module")
def server(certs: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[edges.Edge]:
    """A catalog in SQL, with two sites, a dataset, and a secret in its rows that no answer may hold."""
    url = prepared.sqlite(tmp_path_factory.mktemp("fuzz") / "catalog.db")
    started = edges.start(certs, SqlCatalog(url, edges.clock(), UlidIds()))
    edges.populate(started)
    yield started
    started.stop()


@pytest.fixture
def callers(server: edges.Edge) -> Iterator[dict[str, Caller]]:
    """An administrator, a user and an agent, each over a channel of its own."""
    secrets = (*server.tokens.values(), server.ctx.grant_key.hex())
    made = {}
    for who in ("admin", "user"):
        bearer = (("authorization", f"Bearer {server.tokens[who]}"),)
        made[who] = Caller(channel=server.channel(who, agents=False), metadata=bearer, secrets=secrets)
    made["agent"] = Caller(channel=server.channel("agent:eu-1", agents=True), secrets=secrets)
    made["newcomer"] = Caller(channel=server.channel("agent:us-1", agents=True), secrets=secrets)
    yield made
    for caller in made.values():
        caller.channel.close()


def rounds(config: pytest.Config) -> Iterator[random.Random]:
    """Random generators: a few with known seeds, or as many as fit into `--fuzz-seconds`."""
    seconds = config.getoption("--fuzz-seconds")
    if not seconds:
        yield from (random.Random(seed) for seed in range(ROUNDS))
        return
    until, seed = time.monotonic() + seconds, time.time_ns()
    while time.monotonic() < until:
        yield random.Random(seed)
        seed += 1


def _agents(row: methods.Method) -> str:
    """Which agent calls a method, '' for people: what Register says may fail the admission, and then no more is answered."""
    return "" if row.service != "Agent" else "newcomer" if row.name == "Register" else "agent"


@pytest.mark.invariant("P4")
def test_no_generated_message_breaks_the_catalog(callers: dict[str, Caller], request: pytest.FixtureRequest):
    """Each method gets messages of its own type with special values everywhere; afterwards the server still answers."""
    for rng in rounds(request.config):
        for row in CATALOG:
            who = _agents(row) or rng.choice(("admin", "admin", "user"))
            messages = [generate(row.request, rng) for _ in range(rng.randrange(4) if row.request_stream else 1)]
            callers[who].call(row, *messages)
    tried = {code for caller in callers.values() for code in caller.codes}
    assert {"OK", "INVALID_ARGUMENT", "NOT_FOUND"} <= tried
    agents = callers["agent"].codes
    assert agents.get("OK", 0) > agents.get("FAILED_PRECONDITION", 0), agents
    assert callers["admin"].call(methods.TABLE["Identity.WhoAmI"], methods.TABLE["Identity.WhoAmI"].request()) == ""


@pytest.fixture(scope="module")
def site(certs: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[federations.Federation]:
    """Two sites with a dataset at us-1, whose runs the test launches."""
    folder = tmp_path_factory.mktemp("fuzzed")
    started = federations.start(folder, certs, compute=lambda _: MemoryCompute(), quantum_bytes=64 * 1024)
    started.put("sales/flights", federations.write_files(folder / "data", a_csv=b"x\n1\n"), "us-1")
    yield started
    started.stop()


@pytest.mark.invariant("P4")
def test_no_generated_message_breaks_a_gateway(site: federations.Federation, request: pytest.FixtureRequest):
    """As nobody, as the bearer of a grant, and as a run; afterwards what was put is still read back."""
    place = site.places["us-1"]
    assert place.agent is not None
    run = federations.launch(site, "us-1", inputs=(job.InputSpec(alias="x", dataset="sales/flights"),))
    token = place.agent._identity.token(run.row.run, "nonce")
    deks = [dek.hex() for *_, dek in place.agent._opener.deks(place.agent._opener.open("sales/flights@1"))]
    secrets = (token, *deks)
    channel = tls.channel(place.agent.address, tls.Tls(site.edge.certs.ca))
    read, write = (site.client.open_read("sales/flights").grant, site.client.open_write("sales/flights", "us-1").grant)
    credentials: list[tuple[tuple[str, str | bytes], ...]] = [
        (),
        (("fed-grant-bin", read),),
        (("fed-grant-bin", write),),
        (("authorization", f"Bearer {token}"),),
    ]
    callers = [Caller(channel=channel, metadata=metadata, secrets=secrets) for metadata in credentials]
    for rng in rounds(request.config):
        for row in GATEWAY:
            if row.name in ("FinishAttempt", "CloseGrant", "CompleteWrite"):
                continue  # they end what the others are tried with; below
            messages = [generate(row.request, rng) for _ in range(rng.randrange(4) if row.request_stream else 1)]
            rng.choice(callers).call(row, *messages)
    for name in ("CompleteWrite", "CloseGrant", "FinishAttempt"):
        row = methods.TABLE[f"Gateway.{name}"]
        for caller in callers:
            caller.call(row, generate(row.request, random.Random(1)))
    channel.close()
    assert {code for caller in callers for code in caller.codes} >= {"UNAUTHENTICATED", "INVALID_ARGUMENT"}
    assert signed_grants.peek(read).version == "sales/flights@1"
    assert site.findings() == []


class Canary:
    """A listener on loopback that nobody is to call."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self.visits = 0
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        while True:
            try:
                visitor, _ = self._socket.accept()
            except OSError:
                return
            self.visits += 1
            visitor.close()

    def close(self) -> None:
        """Listens no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()
        self._thread.join(timeout=5)


@pytest.fixture
def canary() -> Iterator[Canary]:
    """One that listens for the test."""
    made = Canary()
    yield made
    made.close()


@pytest.mark.invariant("G1")
def test_the_canary_notices_a_visit(canary: Canary):
    """Else the test below could not fail."""
    socket.create_connection(("127.0.0.1", canary.port), timeout=5).close()
    for _ in range(100):
        if canary.visits:
            break
        time.sleep(0.02)
    assert canary.visits == 1


#: URLs that some library or other would open.
URLS = (
    "http://127.0.0.1:{port}/latest/meta-data/",
    "simplecache::http://127.0.0.1:{port}/x",
    "s3://b/k?endpoint_override=127.0.0.1:{port}&scheme=http",
    "file:///etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "127.0.0.1:{port}",
)


@pytest.mark.invariant("G1")
def test_no_url_in_any_field_of_any_request_is_opened(callers: dict[str, Caller], canary: Canary):
    """Chained, with an endpoint, with a scheme of files: in every text of every request, and nobody comes by."""
    calls = 0
    for row in CATALOG:
        caller = callers[_agents(row) or "admin"]
        for number, url in enumerate(URLS):
            for place, (_, message) in enumerate(with_text(row.request, url.format(port=canary.port))):
                if place > 6 and (place + number) % len(URLS):  # of large messages each field gets one of them
                    continue
                caller.call(row, message)
                calls += 1
    assert calls > 1000
    assert canary.visits == 0
