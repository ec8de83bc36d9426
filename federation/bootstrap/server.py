"""The wiring of a catalog server: which adapters it is made of, and what a first start leaves behind.

A first start makes the key that signs grants, the administrator's token and the tokens of the declared people; every start
declares the sites of its settings. Doing it again changes nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import gc
import importlib.util
import logging
import signal
import time
from collections.abc import Iterable
from pathlib import Path

from federation import config, logs, ports, secrecy, traces
from federation.adapters import prices
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.engine_embedded import DeltaFusionEngine
from federation.adapters.lineage_record import DeltaLineage
from federation.adapters.oidc import OidcPeople
from federation.adapters.openlineage_file import FileTransport
from federation.adapters.openlineage_http import HttpTransport
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.records_files import Place
from federation.adapters.records_links import DeltaReader
from federation.adapters.solver import HighsSolver
from federation.adapters.system import SystemClock, UlidIds
from federation.api.server import Record, Server
from federation.bootstrap import engine, policies
from federation.core import errors, kinds, policy, site
from federation.crypto import certificates, secrets, signing
from federation.services import identity, sites
from federation.services.committer import Committer
from federation.services.context import Context
from federation.services.heads import HeadKeeper
from federation.services.lineage_index import LineageIndex
from federation.services.openlineage import Emitter

_log = logging.getLogger(__name__)

_SERVER = policy.Principal(name=identity.SERVER, role=policy.Role.ADMIN)
_ADMIN = config.UserSettings(user="admin", role=policy.Role.ADMIN)
_DECLARED_FIELDS = ("region", "jurisdiction", "account", "offer", "sources")


def run(settings: config.ServerSettings) -> None:
    """Runs a server until SIGTERM or SIGINT, then lets open calls end."""
    secrecy.keep()
    logs.configure(text=config.logs_as_text())
    traces.configure("federation-server", config.environment())
    asyncio.run(_serve(make(settings)))


def make(settings: config.ServerSettings) -> Server:
    """A catalog server, ready to start."""
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    clock, ids = SystemClock(), UlidIds()
    ctx = Context(
        ids=ids,
        policies=policies.compiler(),
        rates=prices.load_rate_card(settings.rate_card) if settings.rate_card else prices.default_rate_card(),
        offers=prices.load_offer_card(settings.offer_card) if settings.offer_card else prices.default_offer_card(),
        grant_key=config.keep_secret(settings.state_dir / "grant.key", signing.new_private),
        lease_seconds=settings.lease_seconds,
        grant_seconds=settings.grant_seconds,
        key_lease_seconds=settings.key_lease_seconds,
        package_bytes_max=settings.package_bytes_max,
        token_days=settings.token_days,
        token_days_max=settings.token_days_max,
        start_time=clock.now(),
        solver=HighsSolver() if importlib.util.find_spec("highspy") else None,
        authority=_authority(settings),
        trust_domain=settings.trust_domain,
    )
    catalog = SqlCatalog(settings.database_url, clock, ids, backlog_facts_max=settings.backlog_facts_max)
    try:
        agree(catalog, ctx)
        declare(catalog, ctx, settings)
        committer = _committer(catalog, ctx, settings)
    except BaseException:
        catalog.close()
        raise
    options = Place(settings.tables_url, dict(settings.tables_options)).options
    return Server(
        catalog,
        ctx,
        settings,
        Record(
            committer=committer,
            lineage=LineageIndex(catalog, DeltaLineage(settings.tables_url, options), timer=time.monotonic),
            emitters=_emitters(catalog, settings),
            reader=DeltaReader(settings.tables_url, options),
            engine=DeltaFusionEngine(settings.tables_url, options),
            queries=engine.queries(settings.tables_url, settings.query, options),
        ),
        people=OidcPeople(settings.issuers) if settings.issuers else None,
        connections=catalog.connections,
    )


def _authority(settings: config.ServerSettings) -> certificates.Authority | None:
    """The CA that signs for sites that join; None where its key is not here."""
    if settings.ca_key is None or not settings.ca_key.exists():
        return None
    return certificates.Authority.load(settings.tls.ca.read_bytes(), config.read_secret(settings.ca_key, "CA key").encode())


def _committer(catalog: ports.Catalog, ctx: Context, settings: config.ServerSettings) -> Committer:
    """A store that could lose commits is refused; one that does not answer now is waited for, while the log keeps the facts."""
    records = DeltaRecords(settings.tables_url, dict(settings.tables_options))
    try:
        records.probe()
    except errors.Unavailable as error:
        _log.warning("the record's tables are away, the server begins without them: %s", error)
    return Committer(
        catalog,
        records,
        holder=ctx.ids.new("server"),
        retention_seconds=settings.event_days * 86_400,
        heads=HeadKeeper(catalog, records, ctx.grant_key),
    )


def _emitters(catalog: ports.Catalog, settings: config.ServerSettings) -> tuple[Emitter, ...]:
    """Those who are told of runs as OpenLineage events: what was told to each is remembered under its address."""
    told, terms = settings.openlineage, settings.openlineage.terms(settings.federation)
    ways: dict[str, ports.LineageTransport] = {}
    if told.url:
        token = config.read_secret(told.token_file, "token for lineage events").strip() if told.token_file else ""
        ways[told.url] = HttpTransport(told.url, token=token, ca=str(told.ca) if told.ca else None)
    if told.file:
        ways[str(told.file)] = FileTransport(told.file)
    return tuple(Emitter(catalog, way, terms, name=name) for name, way in ways.items())


async def _serve(made: Server) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await made.start()
    # What is there now stays until the end: the collector need not look at it again and again while somebody waits for a plan.
    gc.collect()
    gc.freeze()
    await stopping.wait()
    _log.info("server stops")
    await made.stop()
    _log.info("server ended")


def agree(catalog: ports.Catalog, ctx: Context) -> None:
    """Refuses (GRANT_KEY_DIFFERS) a key for grants that is not that of the catalog's other servers.

    Its gateways would take the grants of one of them and not those of another, and no page of a listing would lead to the next.
    """
    ours = signing.public_hex(ctx.grant_key)

    def work(tx: ports.Transaction) -> str:
        known = tx.get(kinds.Agreement, "grant_key") or tx.insert(kinds.Agreement(name="grant_key", value=ours))
        return known.value

    if catalog.write(work, actor="server") != ours:
        raise errors.FailedPrecondition(
            "this server's grant.key is not the one that the catalog's servers have",
            reason="GRANT_KEY_DIFFERS",
            help="Copy grant.key from the state folder of another server of this catalog, or restore it from its backup.",
        )


def declare(catalog: ports.Catalog, ctx: Context, settings: config.ServerSettings) -> None:
    """Brings the catalog to what the settings declare: sites, and tokens of people with their files."""
    _retire(catalog, settings)
    for user in (_ADMIN, *settings.users):
        _declare_user(catalog, user, token_file(settings.state_dir, user.user))
    for row in settings.sites:
        catalog.write(lambda tx, row=row: _declare_site(tx, ctx, row), actor="server")  # type: ignore[misc]


def token_file(state_dir: Path, user: str) -> Path:
    """Where a declared person's token lies: `admin.token`, `tokens/ada.token`."""
    return state_dir / "admin.token" if user == _ADMIN.user else state_dir / "tokens" / f"{user}.token"


def _declare_user(catalog: ports.Catalog, user: config.UserSettings, file: Path) -> None:
    """The file comes first: a token that is in the catalog and in no file would open a door that nobody sees."""
    secret = config.keep_secret(file, lambda: secrets.new_token().encode()).decode().strip()
    record = kinds.TokenRecord(
        token=identity.token_id(secret),
        digest=secrets.digest(secret),
        user=user.user,
        role=user.role,
        jurisdiction=user.jurisdiction,
        groups=user.groups,
        creator=identity.SERVER,
    )

    def work(tx: ports.Transaction) -> None:
        stored = tx.get(kinds.TokenRecord, record.token)
        if stored is None:
            made = tx.insert(dataclasses.replace(record, create_time=tx.now))
            tx.emit("token.created", f"tokens/{made.token}", made)
        elif dataclasses.replace(stored, etag="", create_time=None) != record:
            changed = tx.replace(dataclasses.replace(record, create_time=stored.create_time))
            tx.emit("token.updated", f"tokens/{changed.token}", changed)

    catalog.write(work, actor="server")


def _retire(catalog: ports.Catalog, settings: config.ServerSettings) -> None:
    """Takes back the tokens of people who are declared no more."""
    declared = {user.user for user in settings.users}
    for file in _token_files(settings.state_dir / "tokens"):
        if file.stem in declared:
            continue
        token = identity.token_id(file.read_text().strip())

        def work(tx: ports.Transaction, token: str = token) -> None:
            if tx.get(kinds.TokenRecord, token) is not None:
                identity.revoke_token(tx, _SERVER, token)

        catalog.write(work, actor="server")
        file.unlink()


def _token_files(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.token")) if folder.is_dir() else ()


def _declare_site(tx: ports.Transaction, ctx: Context, row: site.Site) -> None:
    stored = tx.get(site.Site, row.site)
    if stored is None:
        sites.create_site(tx, ctx, row, joined=True)
        return
    changed = frozenset(name for name in _DECLARED_FIELDS if getattr(stored, name) != getattr(row, name))
    if not changed:
        return
    try:
        sites.update_site(tx, row, changed)
    except errors.FailedPrecondition as error:
        raise errors.FailedPrecondition(
            f"the settings change {', '.join(sorted(changed))} of site {row.site}: {error.message}",
            reason=error.reason,
            help="Take the change back, or declare another site.",
            metadata=error.metadata,
        ) from error
