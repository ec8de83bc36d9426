"""The server's HTTP listener, for those who speak no gRPC: OpenLineage's standard endpoint and metrics, behind the same tokens.

`POST /api/v1/lineage` takes one event or a list of them. `GET /metrics` is Prometheus' and wants a token with `metrics.list`,
as administrators and auditors have: figures tell who reads from where. For anybody: `GET /schemas/1-0-0/NAME.json` has the
schemas of our facets, `GET /healthz` says whether this server can read its catalog (it is ready), `GET /livez` that it answers
at all. Off unless the settings name an address. Always TLS; a request's size and the time that it takes are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import re
import ssl
from collections.abc import Collection
from importlib import resources
from typing import Any

from aiohttp import web

from federation import metrics
from federation.api.authentication import PeopleDoor, bearer
from federation.api.refusals import Refusals
from federation.api.store import Store
from federation.config import TlsFiles
from federation.core import errors, openlineage, policy
from federation.crypto import secrets
from federation.services import openlineage as lineage_service
from federation.wire import answers, listening, tls
from federation.wire.patience import Patience
from federation.wire.rates import Rates

_log = logging.getLogger(__name__)

LINEAGE_PATH = "/api/v1/lineage"
HEALTH_PATH = "/healthz"
LIVE_PATH = "/livez"
METRICS_PATH = "/metrics"
PERMISSION = "lineage.create"
METRICS_PERMISSION = "metrics.list"
RENEW_SECONDS = 5.0
#: Events of one request, which together may have eight times the bytes of the largest.
EVENTS_MAX = 1000
BODY_BYTES_MAX = 8 * openlineage.EVENT_BYTES_MAX
_SCHEMA = re.compile(r"[A-Za-z]{1,64}\.json")


class HttpListener:
    """Listens between `start` and `stop`; `address` is where, with the real port where the settings said `:0`."""

    def __init__(
        self,
        store: Store,
        terms: openlineage.Terms,
        door: PeopleDoor,
        *,
        rates: Rates,
        refusals: Refusals,
        told: metrics.Server,
    ) -> None:
        self._store = store
        self._metrics = told
        self._rates = rates
        self._refusals = refusals
        self._terms = terms
        self._door = door
        self._looked: asyncio.Future[int] | None = None
        self._runner: web.AppRunner | None = None
        self._watches: list[asyncio.Task[None]] = []
        self.address = ""

    async def start(self, address: str, files: TlsFiles, identity: tls.Source) -> None:
        """FailedPrecondition (PORT_TAKEN) where it cannot listen."""
        patience = Patience()
        app = web.Application(client_max_size=BODY_BYTES_MAX, middlewares=[patience.middleware, _answered])
        app.router.add_post(LINEAGE_PATH, self._lineage)
        app.router.add_get(HEALTH_PATH, self._health)
        app.router.add_get(LIVE_PATH, self._live)
        app.router.add_get(METRICS_PATH, self._told)
        app.router.add_get(f"/schemas/{openlineage.FACET_VERSION}/{{name}}", self._schema)
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(files.cert, files.key)
        host, _, port = address.rpartition(":")
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=2.0)
        await runner.setup()
        try:
            await web.TCPSite(runner, host.strip("[]"), int(port), ssl_context=context).start()
        except OSError as error:
            await runner.cleanup()
            raise listening.port_taken(address, error) from error
        self._runner = runner
        self._watches = [
            asyncio.create_task(_renew(context, files, identity)),
            asyncio.create_task(patience.watch(runner)),
        ]
        self.address = f"{host}:{runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Lets what is under way end; again is harmless."""
        runner, self._runner = self._runner, None
        for watch in self._watches:
            watch.cancel()
        if runner is not None:
            await runner.cleanup()

    async def _lineage(self, request: web.Request) -> web.Response:
        principal = await self._admit(request, PERMISSION)
        async with self._refusals.told(_method(request), principal.name):
            events = parse(await request.read())
            received = await self._store.write(
                lambda tx: lineage_service.receive(tx, self._terms, principal.name, events), actor=principal.name
            )
        return web.json_response({"runs": received.runs, "ended": received.ended, "ignored": received.ignored}, status=201)

    async def _health(self, _request: web.Request) -> web.Response:
        """All who ask meanwhile share one look at the catalog: anybody may ask, as often as they like."""
        if self._looked is None or self._looked.done():
            self._looked = asyncio.ensure_future(self._store.run(self._store.catalog.revision))
        await asyncio.shield(self._looked)
        return web.json_response({"status": "SERVING"})

    async def _live(self, _request: web.Request) -> web.Response:
        """Not even whether the catalog is there: restarting a server mends no database."""
        return web.json_response({"status": "ALIVE"})

    async def _told(self, request: web.Request) -> web.Response:
        await self._admit(request, METRICS_PERMISSION)
        return web.Response(body=await self._store.run(self._metrics.render), headers={"content-type": metrics.CONTENT_TYPE})

    async def _admit(self, request: web.Request, permission: str) -> policy.Principal:
        shown = request.headers.get("authorization", "")
        place, credential = request.remote or "", secrets.digest(shown) if shown else ""
        self._rates.knock(place, credential)
        try:
            principal = await self._door.principal(bearer({"authorization": shown}))
        except errors.Unauthenticated as refused:
            self._rates.failed(place, credential)
            self._refusals.stranger(place, refused)
            raise
        self._rates.welcome(credential)
        self._rates.spend(principal.name)
        async with self._refusals.told(_method(request), principal.name):
            if not policy.allowed(principal, permission):
                raise errors.PermissionDenied(
                    f"{principal.name} may not {_method(request)}: their token lacks {permission}",
                    reason="PERMISSION_MISSING",
                    help="Ask an administrator.",
                )
        return principal

    async def _schema(self, request: web.Request) -> web.Response:
        name = request.match_info["name"]
        text = schema(name) if _SCHEMA.fullmatch(name) else None
        if text is None:
            raise errors.NotFound(f"there is no schema {name[:64]!r}", reason="SCHEMA_UNKNOWN")
        return web.Response(text=text, content_type="application/schema+json")


def _method(request: web.Request) -> str:
    """What is called, as the log tells it."""
    return f"{request.method} {request.path}"


async def _renew(context: ssl.SSLContext, files: TlsFiles, identity: tls.Source) -> None:
    """Has new connections use a certificate that has changed, within `RENEW_SECONDS`. One that cannot be used is none."""
    known = identity.current()
    while True:
        await asyncio.sleep(RENEW_SECONDS)
        now = identity.current()
        if now is not known:
            known = now
            with contextlib.suppress(ssl.SSLError, OSError):  # changed again meanwhile: the next look finds that
                context.load_cert_chain(files.cert, files.key)


def schema(name: str) -> str | None:
    """The schema of one of our facets, by its file's name."""
    file = resources.files("federation").joinpath("schemas", "openlineage", openlineage.FACET_VERSION, name)
    return file.read_text(encoding="utf-8") if file.is_file() else None


def parse(body: bytes) -> tuple[openlineage.ForeignEvent | None, ...]:
    """The events of a request: one, or a list; InvalidArgument (OPENLINEAGE_INVALID) for what is none."""
    data = _json(body)
    listed = data if isinstance(data, list) else [data]
    _check_number(len(listed))
    return tuple(map(openlineage.parse, listed))


def parse_all(texts: Collection[bytes]) -> tuple[openlineage.ForeignEvent | None, ...]:
    """Events that come one by one; as `parse`."""
    _check_number(len(texts))
    return tuple(openlineage.parse(_json(text)) for text in texts)


def _json(body: bytes) -> Any:
    if len(body) > BODY_BYTES_MAX:
        raise errors.InvalidArgument(
            f"{len(body)} bytes are more than an event may have", reason="OPENLINEAGE_INVALID", help="Leave large facets out."
        )
    try:
        return json.loads(body)
    except (ValueError, RecursionError) as error:
        raise errors.InvalidArgument(
            f"that is not JSON: {str(error)[:100]}", reason="OPENLINEAGE_INVALID", help="Send one event, or a list of them."
        ) from None


def _check_number(count: int) -> None:
    if count > EVENTS_MAX:
        raise errors.InvalidArgument(
            f"{count} events come in one request",
            reason="BATCH_TOO_LARGE",
            help=f"Send at most {EVENTS_MAX}.",
            violations={"events": f"must be at most {EVENTS_MAX}"},
        )


@web.middleware
async def _answered(request: web.Request, handler: answers.Handler) -> web.StreamResponse:
    return await answers.answered(request, handler)
