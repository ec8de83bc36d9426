"""The wiring of engines over the record: of what answers queries, and of what does heavy work, embedded or by a connector."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager

from federation import config, ports
from federation.adapters import records_tables, registry
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.engine_apart import QueriesApart
from federation.adapters.engine_embedded import DeltaFusionEngine
from federation.adapters.records_files import Place
from federation.adapters.system import SystemClock, UlidIds
from federation.services.alone import Alone


@contextmanager
def alone(settings: config.ServerSettings) -> Iterator[Alone]:
    """What holds the committers of a server's catalog off the tables, by their own lease."""
    ids = UlidIds()
    catalog = SqlCatalog(settings.database_url, SystemClock(), ids)
    try:
        yield Alone(catalog, holder=ids.new("engine"))
    finally:
        catalog.close()


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
    options = Place(tables_url, storage_options).options
    if settings.kind == "embedded":
        return DeltaFusionEngine(tables_url, options)
    return engine_setup(tables_url, settings).engine(
        tables_url,
        options or {},
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
