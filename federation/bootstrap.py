"""The only wiring: which adapters and connectors a server or an agent is made of, and what a first start leaves behind.

A server's first start makes the key that signs grants, the administrator's token and the tokens of the declared people; every
start declares the sites of its settings. Doing it again changes nothing.
"""

from __future__ import annotations

import asyncio
import dataclasses
import importlib.util
import logging
import signal
import threading
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path

from federation import config, logs, ports
from federation.adapters import prices, records_tables, registry
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.engine_apart import QueriesApart
from federation.adapters.engine_embedded import DeltaFusionEngine
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.solver import HighsSolver
from federation.adapters.system import SystemClock, UlidIds
from federation.agent.agent import Agent
from federation.api.server import Server
from federation.core import errors, kinds, policy, site
from federation.crypto import secrets, signing
from federation.services import sites
from federation.services.committer import Committer
from federation.services.context import Context

_log = logging.getLogger(__name__)

_ADMIN = config.UserSettings(user="admin", role=policy.Role.ADMIN)
_DECLARED_FIELDS = ("region", "jurisdiction", "account", "offer", "sources")


def server(settings: config.ServerSettings) -> Server:
    """A catalog server, ready to start."""
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    clock, ids = SystemClock(), UlidIds()
    ctx = Context(
        ids=ids,
        rates=prices.load_rate_card(settings.rate_card) if settings.rate_card else prices.default_rate_card(),
        offers=prices.load_offer_card(settings.offer_card) if settings.offer_card else prices.default_offer_card(),
        grant_key=config.keep_secret(settings.state_dir / "grant.key", signing.new_private),
        lease_seconds=settings.lease_seconds,
        grant_seconds=settings.grant_seconds,
        package_bytes_max=settings.package_bytes_max,
        start_time=clock.now(),
        solver=HighsSolver() if importlib.util.find_spec("highspy") else None,
    )
    catalog = SqlCatalog(settings.database_url, clock, ids)
    try:
        declare(catalog, ctx, settings)
    except BaseException:
        catalog.close()
        raise
    return Server(
        catalog,
        ctx,
        settings,
        Committer(catalog, DeltaRecords(settings.tables_url)),
        queries=queries(settings.tables_url, settings.query),
    )


def queries(
    tables_url: str, settings: config.QuerySettings, storage_options: Mapping[str, str] | None = None
) -> ports.RecordQueries:
    """What answers people's queries of the record."""
    return QueriesApart(tables_url, storage_options, memory_bytes=settings.memory_bytes, at_once=settings.at_once)


def engine(
    tables_url: str,
    settings: config.EngineSettings,
    storage_options: Mapping[str, str] | None = None,
    *,
    alone: Callable[[str], AbstractContextManager[object]] | None = None,
) -> ports.RecordEngine:
    """The engine for heavy work over the record. `alone` holds a table's committer off, for engines whose commits need it."""
    if settings.kind == "embedded":
        return DeltaFusionEngine(tables_url, storage_options)
    return engine_setup(tables_url, settings).engine(
        tables_url,
        storage_options or {},
        tables=tuple(records_tables.TABLES),
        master=settings.master,
        remote=settings.remote,
        memory_bytes=settings.memory_bytes,
        alone=alone,
    )


def engine_setup(tables_url: str, settings: config.EngineSettings) -> ports.EngineSetup:
    """How the engine of a connector is had on this machine."""
    made: ports.EngineSetup = registry.load("engines", settings.kind)(
        env=config.environment(),
        cache=config.cache_path() / "jars",
        jars_dir=settings.jars_dir,
        coordinates=settings.coordinates,
        s3=tables_url.startswith(("s3:", "s3a:")),
    )
    return made


def agent(settings: config.AgentSettings) -> Agent:
    """A site's agent, ready to run."""
    settings.state_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    storage, keys, compute = settings.storage, settings.keys, settings.compute
    return Agent(
        settings,
        store=registry.load("storage", storage.kind)(storage.url, dict(storage.options)),
        sources={
            row.prefix: registry.load("sources", row.kind)({"prefix": row.prefix, **dict(row.options)})
            for row in settings.sources
        },
        keys=registry.load("keys", keys.kind)(settings.site, keys.folder),
        compute=registry.load("compute", compute.kind)(compute.address, compute.token_file) if compute else None,
        clock=SystemClock(),
        ids=UlidIds(),
    )


def _source(row: config.SourceSettings) -> ports.SourceReader:
    made: ports.SourceReader = registry.load("sources", row.kind)({**dict(row.options), "prefix": row.prefix})
    return made


def run_server(settings: config.ServerSettings) -> None:
    """Runs a server until SIGTERM or SIGINT, then lets open calls end."""
    logs.configure()
    asyncio.run(_serve(server(settings)))


def run_agent(settings: config.AgentSettings) -> None:
    """Runs an agent until SIGTERM or SIGINT; runs on the cluster go on without it."""
    logs.configure()
    made = agent(settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: threading.Thread(target=made.stop, name="stop").start())
    _log.info("agent starts", extra={"site": settings.site})
    made.run()
    _log.info("agent ended", extra={"site": settings.site})


async def _serve(made: Server) -> None:
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await made.start()
    await stopping.wait()
    _log.info("server stops")
    await made.stop()
    _log.info("server ended")


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
    record = kinds.TokenRecord(digest=secrets.digest(secret), user=user.user, role=user.role, jurisdiction=user.jurisdiction)

    def work(tx: ports.Transaction) -> None:
        stored = tx.get(kinds.TokenRecord, record.digest)
        if stored is None:
            tx.emit("token.created", f"users/{user.user}", tx.insert(record))
        elif dataclasses.replace(stored, etag="") != record:
            tx.emit("token.updated", f"users/{user.user}", tx.replace(record))

    catalog.write(work, actor="server")


def _retire(catalog: ports.Catalog, settings: config.ServerSettings) -> None:
    """Takes back the tokens of people who are declared no more."""
    declared = {user.user for user in settings.users}
    for file in _token_files(settings.state_dir / "tokens"):
        if file.stem in declared:
            continue
        digest = secrets.digest(file.read_text().strip())

        def work(tx: ports.Transaction, digest: str = digest, user: str = file.stem) -> None:
            stored = tx.get(kinds.TokenRecord, digest)
            if stored is not None:
                tx.delete(kinds.TokenRecord, digest)
                tx.emit("token.deleted", f"users/{user}", stored)

        catalog.write(work, actor="server")
        file.unlink()


def _token_files(folder: Path) -> Iterable[Path]:
    return sorted(folder.glob("*.token")) if folder.is_dir() else ()


def _declare_site(tx: ports.Transaction, ctx: Context, row: site.Site) -> None:
    stored = tx.get(site.Site, row.site)
    if stored is None:
        sites.create_site(tx, ctx, row)
        return
    changed = frozenset(name for name in _DECLARED_FIELDS if getattr(stored, name) != getattr(row, name))
    if not changed:
        return
    try:
        sites.update_site(tx, ctx, row, changed)
    except errors.FailedPrecondition as error:
        raise errors.FailedPrecondition(
            f"the settings change {', '.join(sorted(changed))} of site {row.site}: {error.message}",
            reason=error.reason,
            help="Take the change back, or declare another site.",
            metadata=error.metadata,
        ) from error
