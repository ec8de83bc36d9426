"""A real catalog server on loopback over TLS, in a thread with its own event loop, and ways to call it."""

from __future__ import annotations

import asyncio
import dataclasses
import threading
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

import grpc

from federation import config, ports
from federation.adapters import prices
from federation.adapters.lineage_record import MemoryLineage
from federation.adapters.records_memory import MemoryRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.api.server import Record, Server
from federation.client import Client
from federation.core import dataset, site
from federation.core.policy import Role
from federation.crypto import certificates, signing
from federation.services import datasets, identity, namespaces, sites
from federation.services.context import Context
from federation.services.lineage_index import LineageIndex
from federation.wire import errors as wire_errors
from federation.wire import methods, tls
from tests import builders
from tests.wire.certs import Certs

GRANT_KEY = signing.new_private()


def lineage_index(catalog: ports.Catalog) -> LineageIndex:
    """The index of lineage over tables that stay empty: all that it knows is from the log."""
    return LineageIndex(catalog, MemoryLineage(MemoryRecords()))


class NoCommitter:
    """Carries nothing: these tests look at the edge."""

    tables = ()

    def hold(self) -> None:
        """Holds nothing."""

    def sign(self) -> int:
        return 0

    def trim(self) -> int:
        return 0

    def release(self) -> None:
        """Has nothing."""


@dataclass(kw_only=True)
class Edge:
    """One running server over a catalog, with an admin's and a user's token."""

    certs: Certs
    catalog: ports.Catalog
    ctx: Context
    server: Server
    loop: asyncio.AbstractEventLoop
    thread: threading.Thread
    tokens: dict[str, str]

    def client(self, who: str = "admin", **options: Any) -> Client:
        """The SDK, as that person."""
        return Client(self.server.address, self.tokens.get(who, who), self.certs.ca, **options)

    def call(self, key: str, request: Any, **how: Any) -> Any:
        """One method, raw; `who` is a token's owner, `agent:SITE`, or '' for nobody. Failures are errors of our family."""
        with wire_errors.translated():
            return self.raw(key, request, **how)

    def raw(
        self,
        key: str,
        request: Any,
        *,
        who: str = "admin",
        agents: bool | None = None,
        metadata: Iterable[tuple[str, str]] = (),
        timeout: float = 30,
    ) -> Any:
        """As `call`, with gRPC's own errors. `agents` forces the port.

        A stream takes one message or a list of them, and answers with its first.
        """
        method = methods.TABLE[key]
        with self.channel(who, agents=method.service in methods.AGENTS if agents is None else agents) as channel:
            make = getattr(channel, method.shape)
            function = make(
                method.path,
                request_serializer=method.request.SerializeToString,
                response_deserializer=method.response.FromString,
            )
            sent = iter(request if isinstance(request, list) else [request]) if method.request_stream else request
            answer = function(sent, timeout=timeout, metadata=[*self._bearer(who), *metadata])
            if not method.response_stream:
                return answer
            try:
                return next(answer, None)
            finally:
                answer.cancel()

    def channel(self, who: str, *, agents: bool) -> grpc.Channel:
        """A channel to the port for people or for agents."""
        identity_ = tls.Tls(self.certs.ca)
        if who.startswith("agent:"):
            identity_ = self.certs.agent(who.removeprefix("agent:"))
        elif who == "server":
            identity_ = self.certs.server()
        return tls.channel(self.server.agents_address if agents else self.server.address, identity_)

    def run(self, coroutine: Any) -> Any:
        """Runs something on the server's loop."""
        return self.begin(coroutine).result(timeout=60)

    def begin(self, coroutine: Any) -> Future[Any]:
        """Begins something on the server's loop, and goes on."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop)

    def stop(self, *, close: bool = True) -> None:
        """Ends server, loop and thread, and the catalog unless it is to serve on."""
        self.run(self.server.stop(0.2))
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(timeout=60)
        self.loop.close()
        if close:
            self.catalog.close()

    def _bearer(self, who: str) -> list[tuple[str, str]]:
        token = self.tokens.get(who, "")
        return [("authorization", f"Bearer {token}")] if token else []


def start(
    certs: Certs,
    catalog: ports.Catalog,
    *,
    committer: Any = None,
    reader: Any = None,
    queries: Any = None,
    people: ports.People | None = None,
    listen: str = "127.0.0.1:0",
    rates: config.RateSettings = config.NO_RATES,
    authority: certificates.Authority | None = None,
) -> Edge:
    """Starts a server, on free ports unless told otherwise, and without limits on how often it is called."""
    ctx = Context(
        ids=UlidIds(),
        policies=builders.POLICIES,
        rates=prices.default_rate_card(),
        grant_key=GRANT_KEY,
        package_bytes_max=1024 * 1024,
        lease_seconds=60,
        authority=authority,
    )
    tokens = catalog.write(lambda tx: {who: identity.create_token(tx, ctx, who, role, "EU")[1] for who, role in PEOPLE.items()})
    settings = config.ServerSettings(
        state_dir=certs.layout.server,
        listen=listen,
        agents_listen="127.0.0.1:0",
        database_url="",
        tables_url="",
        tls=certs.layout.server_tls(),
        federation="acme",
        http_listen="127.0.0.1:0",
        rates=rates,
    )
    return serve(certs, catalog, ctx, settings, tokens, committer=committer, reader=reader, queries=queries, people=people)


def serve(
    certs: Certs,
    catalog: ports.Catalog,
    ctx: Context,
    settings: config.ServerSettings,
    tokens: dict[str, str],
    *,
    committer: Any = None,
    people: ports.People | None = None,
    **parts: Any,
) -> Edge:
    """Starts a server on a loop and a thread of its own; `parts` are more of what its `Record` is made of."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="edge", daemon=True)
    thread.start()
    record = Record(committer=committer or NoCommitter(), lineage=lineage_index(catalog), **parts)
    server = Server(catalog, ctx, settings, record, people=people)
    edge = Edge(certs=certs, catalog=catalog, ctx=ctx, server=server, loop=loop, thread=thread, tokens=tokens)
    edge.run(server.start())
    return edge


PEOPLE = {"admin": Role.ADMIN, "user": Role.USER, "auditor": Role.AUDITOR}


def clock() -> SystemClock:
    """The clock that certificates and tokens are checked by."""
    return SystemClock()


def populate(edge: Edge) -> None:
    """Two sites that answer, a namespace and a dataset."""

    def work(tx: ports.Transaction) -> None:
        for name, region, where in (("eu-1", "aws:eu-central-1", "EU"), ("us-1", "aws:us-east-1", "US")):
            sites.create_site(tx, edge.ctx, site.Site(site=name, region=region, jurisdiction=where), joined=True)
            sites.register(
                tx,
                name,
                site.Presence(
                    gateway=f"{name}.example:7443",
                    signing_key=signing.public_hex(signing.new_private()),
                    sealing_key="22" * 32,
                    has_compute=True,
                    capacity=site.Capacity(cpus=4, memory_bytes=8 * 10**9),
                ),
                builders.findings(),
            )
        namespaces.create(tx, edge.ctx, dataset.Namespace(name="sales"))
        datasets.create_dataset(tx, edge.ctx, dataset.Dataset(namespace="sales", dataset="flights"))

    edge.catalog.write(work, actor="users/admin")


def make_placeable(edge: Edge) -> None:
    """Puts a version of sales/flights to eu-1, which the user may read, and gives the sites prices."""

    def work(tx: ports.Transaction) -> None:
        for row in tx.list(site.Site):
            tx.replace(dataclasses.replace(row, offer=builders.offer()))
        stored = tx.get(dataset.Dataset, "sales/flights")
        tx.replace(dataclasses.replace(stored, latest_version=1, readers=("users/user",)))
        tx.insert(builders.version())
        tx.insert(builders.wrapped_key())
        tx.insert(builders.replica())

    edge.catalog.write(work)
