"""The catalog server: two ports on one event loop, people by token and agents by certificate, and the loops behind them."""

from __future__ import annotations

import asyncio
import contextlib
import logging

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from federation.api.agent import AgentServicer
from federation.api.authentication import AgentsDoor, PeopleDoor
from federation.api.background import Background, Committer
from federation.api.bills import BillsServicer
from federation.api.budgets import BudgetsServicer
from federation.api.calls import Entrance, generic_handlers
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
from federation.api.sites import SitesServicer
from federation.api.store import Store
from federation.api.transfers import TransfersServicer
from federation.config import ServerSettings
from federation.core import errors
from federation.ports import Catalog, People, RecordEngine, RecordQueries, RecordReader
from federation.services.context import Context
from federation.services.lineage_index import LineageIndex
from federation.services.openlineage import Emitter
from federation.wire import methods, tls
from federation.wire.rates import Rates

_log = logging.getLogger(__name__)

#: What a call may bring at once. No data passes through the catalog: the largest is a list of others' lineage events.
REQUEST_BYTES_MAX = 16 * 1024 * 1024


class Server:
    """One process's server. `start`, then `wait`; `stop` from a signal handler or another task of the same loop.

    After `start`, `address` and `agents_address` are what it listens on, with the real ports where the settings said `:0`.
    """

    def __init__(
        self,
        catalog: Catalog,
        ctx: Context,
        settings: ServerSettings,
        committer: Committer,
        *,
        lineage: LineageIndex,
        emitters: tuple[Emitter, ...] = (),
        reader: RecordReader | None = None,
        engine: RecordEngine | None = None,
        queries: RecordQueries | None = None,
        people: People | None = None,
    ) -> None:
        self._queries = queries
        self._issuers = people
        self._settings = settings
        self._store = Store(catalog, ctx, engine)
        self._feed = Feed(self._store)
        self._committer = committer
        self._lineage = lineage
        self._emitters = emitters
        self._terms = settings.openlineage.terms(settings.federation)
        self._rates = Rates(settings.rates)
        self._door = PeopleDoor(self._store, people)
        self._http = HttpListener(self._store, self._terms, self._door, self._rates)
        self._reader = reader
        self._background: Background | None = None
        self._servers: list[grpc.aio.Server] = []
        self._health = health.aio.HealthServicer()
        self._identity = tls.Files(settings.tls.ca, settings.tls.cert, settings.tls.key)
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
        for name in ("", *(f"federation.v1.{service}" for service in methods.PEOPLE + methods.AGENTS)):
            await self._health.set(name, health_pb2.HealthCheckResponse.SERVING)
        self._background = Background(self._store, self._committer, self._lineage, self._emitters)
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
        await self._health.enter_graceful_shutdown()
        self._agent.stop()
        await self._feed.stop()
        await self._http.stop()
        await asyncio.gather(*(server.stop(grace) for server in self._servers))
        await background.stop()
        await asyncio.to_thread(self._store.close)
        self._door.close()

    def _people(self) -> grpc.aio.Server:
        store, pages = self._store, Pages(self._store.ctx.grant_key)
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
            "Ledger": LedgerServicer(store, pages, self._reader),
            "Lineage": LineageServicer(store, self._lineage, self._terms),
            "Leases": LeasesServicer(store, pages),
            "Erasures": ErasuresServicer(store, pages, self._lineage),
            "Identity": IdentityServicer(store, pages, self._door, self._issuers, self._settings.federation, self._identity),
            "Policies": PoliciesServicer(store),
            "Events": EventsServicer(self._feed),
            "Records": RecordsServicer(store, self._queries, self._settings.query),
        }
        entrance = Entrance(door=self._door, rates=self._rates, redaction=Redaction(store))
        return self._server(generic_handlers(servicers, entrance))

    def _agents(self) -> grpc.aio.Server:
        door = AgentsDoor(self._store, self._settings.trust_domain)
        return self._server(generic_handlers({"Agent": self._agent}, Entrance(door=door, rates=self._rates)))

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
        raise errors.FailedPrecondition(
            f"cannot listen on {address}",
            reason="PORT_TAKEN",
            help="Another process may hold it; see who listens there, or choose another address.",
            metadata={"address": address},
        )
    return f"{address.rpartition(':')[0]}:{port}"
