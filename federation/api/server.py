"""The catalog server: two ports on one event loop, people by token and agents by certificate, and the loops behind them."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import logging
from typing import Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from federation.api.agent import AgentServicer
from federation.api.audit import AuditServicer
from federation.api.authentication import AgentsDoor, PeopleDoor
from federation.api.background import Background, Committer
from federation.api.bills import BillsServicer
from federation.api.budgets import BudgetsServicer
from federation.api.calls import Door, Entrance, generic_handlers
from federation.api.care import CareServicer
from federation.api.catalog import CatalogServicer
from federation.api.costs import CostsServicer
from federation.api.events import EventsServicer
from federation.api.feed import Feed
from federation.api.http import HttpListener
from federation.api.identity import IdentityServicer
from federation.api.jobs import JobsServicer
from federation.api.keys import KeysServicer
from federation.api.leases import ErasuresServicer, LeasesServicer
from federation.api.ledger import LedgerServicer
from federation.api.lineage import LineageServicer
from federation.api.pages import Pages
from federation.api.pipelines import PipelinesServicer
from federation.api.policies import PoliciesServicer
from federation.api.records import RecordsServicer
from federation.api.redaction import Redaction
from federation.api.refusals import Refusals
from federation.api.sites import SitesServicer
from federation.api.store import Store
from federation.api.telemetry import Connections, Telemetry, Told
from federation.api.transfers import TransfersServicer
from federation.config import ServerSettings
from federation.core import errors
from federation.ports import Catalog, People, RecordEngine, RecordQueries, RecordReader
from federation.services.context import Context
from federation.services.lineage_index import LineageIndex
from federation.services.openlineage import Emitter
from federation.wire import listening, methods, tls
from federation.wire.rates import Rates

_log = logging.getLogger(__name__)

#: What a call may bring at once. No data passes through the catalog: the largest is a list of others' lineage events.
REQUEST_BYTES_MAX = 16 * 1024 * 1024
#: Between two looks whether the catalog can be read, and how long one may take.
HEALTH_SECONDS = 2.0
HEALTH_SECONDS_MAX = 5.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Record:
    """How a server has to do with the record: who carries the log there, and by what it is read, kept quick and asked.

    The methods that need a `reader`, an `engine` or `queries` refuse where there is none.
    """

    committer: Committer
    lineage: LineageIndex
    emitters: tuple[Emitter, ...] = ()
    reader: RecordReader | None = None
    engine: RecordEngine | None = None
    queries: RecordQueries | None = None


class Server:
    """One process's server. `start`, then `wait`; `stop` from a signal handler or another task of the same loop.

    After `start`, `address` and `agents_address` are what it listens on, with the real ports where the settings said `:0`.
    """

    def __init__(
        self,
        catalog: Catalog,
        ctx: Context,
        settings: ServerSettings,
        record: Record,
        *,
        people: People | None = None,
        connections: Connections = tuple,
    ) -> None:
        self._record = record
        self._issuers = people
        self._settings = settings
        self._telemetry = Telemetry()
        told = Told(catalog, self._telemetry.committed)
        self._store = Store(told, dataclasses.replace(ctx, telemetry=self._telemetry), record.engine)
        self._feed = Feed(self._store)
        self._terms = settings.openlineage.terms(settings.federation)
        self._rates = Rates(settings.rates)
        self._door = PeopleDoor(self._store, people)
        self._refusals = Refusals(self._store)
        self._http = HttpListener(
            self._store,
            self._terms,
            self._door,
            rates=self._rates,
            refusals=self._refusals,
            told=self._telemetry.metrics,
        )
        self._background: Background | None = None
        self._servers: list[grpc.aio.Server] = []
        self._health = health.aio.HealthServicer()
        self._watch: asyncio.Task[None] | None = None
        self._identity = tls.Files(settings.tls.ca, settings.tls.cert, settings.tls.key)
        self._telemetry.looks_at(catalog, self._identity, connections)
        self._agent = AgentServicer(self._store, self._identity, heartbeat_seconds=settings.heartbeat_seconds)
        self.address = ""
        self.agents_address = ""
        self.http_address = ""

    async def start(self) -> None:
        """Listens, and begins the background work. FailedPrecondition (PORT_TAKEN, PERMISSION_UNDECLARED) where it cannot."""
        identity = self._identity
        people, agents = self._people(), self._agents()
        self.address = _listen(people, self._settings.listen, tls.server_credentials(identity, require_client=False))
        self.agents_address = _listen(
            agents, self._settings.agents_listen, tls.server_credentials(identity, require_client=True)
        )
        self._servers = [people, agents]
        await self._feed.start()
        if self._settings.http_listen:
            await self._http.start(self._settings.http_listen, self._settings.tls, identity)
            self.http_address = self._http.address
        for server in self._servers:
            await server.start()
        await self._say(health_pb2.HealthCheckResponse.SERVING)
        self._watch = asyncio.create_task(self._watch_catalog())
        record = self._record
        self._background = Background(
            self._store, record.committer, record.lineage, record.emitters, told=self._telemetry.metrics
        )
        self._background.start()
        _log.info("serving people on %s and agents on %s", self.address, self.agents_address)

    async def wait(self) -> None:
        """Returns when the server has stopped."""
        await asyncio.gather(*(server.wait_for_termination() for server in self._servers))

    async def stop(self, grace: float = 5.0) -> None:
        """Takes no new call, gives open ones `grace` seconds, ends the background work. Stopping twice is stopping once."""
        background, self._background = self._background, None
        if background is None:
            return
        if self._watch is not None:
            self._watch.cancel()
        await self._health.enter_graceful_shutdown()
        self._agent.stop()
        await self._feed.stop()
        await self._http.stop()
        await asyncio.gather(*(server.stop(grace) for server in self._servers))
        await background.stop()
        await asyncio.to_thread(self._store.close)
        self._door.close()

    async def _say(self, status: Any) -> None:
        """Tells whoever asks for the health of any service."""
        for name in ("", *(f"federation.v1.{service}" for service in methods.PEOPLE + methods.AGENTS)):
            await self._health.set(name, status)

    async def _watch_catalog(self) -> None:
        """Says that no service serves while the catalog cannot be read, so that balanced clients go to another server."""
        serving = True
        while True:
            await asyncio.sleep(HEALTH_SECONDS)
            try:
                async with asyncio.timeout(HEALTH_SECONDS_MAX):
                    await self._store.run(self._store.catalog.revision)
                readable = True
            except (TimeoutError, errors.FederationError) as error:
                readable = False
                _log.warning("the catalog cannot be read: %s", error or "it does not answer")
            if readable != serving:
                serving = readable
                states = health_pb2.HealthCheckResponse
                await self._say(states.SERVING if serving else states.NOT_SERVING)

    def _people(self) -> grpc.aio.Server:
        store, pages, record = self._store, Pages(self._store), self._record
        servicers = {
            "Catalog": CatalogServicer(store, pages),
            "Sites": SitesServicer(store, pages, self._identity),
            "Jobs": JobsServicer(store, pages),
            "Pipelines": PipelinesServicer(store, pages),
            "Transfers": TransfersServicer(store, pages),
            "Costs": CostsServicer(store, pages),
            "Bills": BillsServicer(store, pages),
            "Budgets": BudgetsServicer(store, pages),
            "Keys": KeysServicer(store, pages),
            "Ledger": LedgerServicer(store, pages, record.reader),
            "Lineage": LineageServicer(store, record.lineage, self._terms),
            "Audit": AuditServicer(store, pages, record.reader),
            "Leases": LeasesServicer(store, pages),
            "Erasures": ErasuresServicer(store, pages, record.lineage),
            "Identity": IdentityServicer(store, pages, self._door, self._issuers, self._settings.federation, self._identity),
            "Policies": PoliciesServicer(store),
            "Care": CareServicer(store, record.lineage),
            "Events": EventsServicer(self._feed),
            "Records": RecordsServicer(store, record.queries, self._settings.query),
        }
        return self._server(generic_handlers(servicers, self._entrance(self._door, Redaction(store))))

    def _agents(self) -> grpc.aio.Server:
        door = AgentsDoor(self._store, self._settings.trust_domain)
        return self._server(generic_handlers({"Agent": self._agent}, self._entrance(door)))

    def _entrance(self, door: Door, redaction: Redaction | None = None) -> Entrance:
        return Entrance(
            door=door, rates=self._rates, refusals=self._refusals, counted=self._telemetry.metrics, redaction=redaction
        )

    def _server(self, handlers: tuple[grpc.GenericRpcHandler, ...]) -> grpc.aio.Server:
        server = grpc.aio.server(options=tls.server_options(REQUEST_BYTES_MAX))
        server.add_generic_rpc_handlers(handlers)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, server)
        return server


def _listen(server: grpc.aio.Server, address: str, credentials: grpc.ServerCredentials) -> str:
    port = 0
    with contextlib.suppress(RuntimeError):  # grpc's word for an address that it cannot have
        port = server.add_secure_port(address, credentials)
    if not port:
        raise listening.port_taken(address)
    return f"{address.rpartition(':')[0]}:{port}"
