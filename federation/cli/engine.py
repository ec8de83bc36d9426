"""`fed engine`: heavy work over the record's tables, inside this process or on Spark: what it needs, and what it does."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from federation.cli import exits, sql
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import analyses, units
from federation.shown import shapes, tables

if TYPE_CHECKING:
    from federation import ports
    from federation.config import EngineSettings

engine = noun("engine", "Heavy work over the record's tables: what its engine needs, and what it does.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that an engine needs: which version was found where, or, with no version, what to do to have it."""

    part: str
    version: str = ""
    where: str = ""
    to_do: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Setup:
    """Whether Spark can be used, and what it needs for that."""

    usable: bool
    parts: tuple[Part, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fetched:
    """Jars that were fetched into a folder."""

    folder: str
    files: tuple[str, ...]
    bytes: int


_PATH = click.Path(path_type=Path)
_PARTS = (
    shapes.Column(heading="PART", show=lambda part: part.part),
    shapes.Column(heading="VERSION", show=lambda part: part.version or "missing"),
    shapes.Column(heading="WHERE", show=lambda part: part.where or "-"),
    shapes.Column(heading="WHAT TO DO", show=lambda part: part.to_do or "-"),
)


def _spark(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say how Spark is had."""
    for option in (
        click.option("--master", default="", metavar="MASTER", help="Where Spark runs: local[*], spark://host:port, k8s://..."),
        click.option("--remote", default="", metavar="sc://HOST:PORT", help="A Spark Connect server, instead."),
        click.option("--jars-dir", type=_PATH, help="The folder of Delta Lake's jars, in a closed network."),
        click.option("--memory", default="", metavar="SIZE", help="What its driver may take, such as 4 GB."),
        click.option("--config", "file", type=_PATH, metavar="FILE", help="A federation file, whose `server.engine` says so."),
    ):
        function = option(function)
    return function


def _place(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that say where the tables lie, and by which engine they are worked on."""
    for option in (
        click.option(
            "--tables", default="", metavar="FOLDER|URL", help="Where the record's tables lie; else those of --config."
        ),
        click.option("--state", type=_PATH, metavar="DIR", help="The state folder of --config's federation."),
        click.option(
            "--engine", "kind", default="", metavar="KIND", help="embedded, or spark; else that of --config, or embedded."
        ),
    ):
        function = option(function)
    return function


@verb(engine, "check", answers=Setup, example="fed engine check --jars-dir /opt/delta-jars")
@click.option("--s3", is_flag=True, help="Also what Spark needs to read tables in S3.")
@click.option("--start", is_flag=True, help="Start Spark as well, and see that it answers.")
@_spark
def check(session: Session, *, s3: bool, start: bool, **how: Any) -> int:
    """Tells which Java, Spark and jars are found, in which versions, and what to do about what is missing.

    Exits with 0 when Spark can be used and with 1 when it cannot.
    """
    from federation.bootstrap import engine as bootstrap  # noqa: PLC0415 - slow to import

    settings = _settings("spark", **how)
    place = "s3://" if s3 else ""
    parts = () if settings.remote else bootstrap.engine_setup(place, settings).check()
    usable = all(part.version for part in parts)
    if start and usable:
        parts = (*parts, _started(settings))
    told = tuple(Part(**dataclasses.asdict(part)) for part in parts)

    def draw() -> None:
        session.output.show(tables.table(told, _PARTS))
        session.output.say("Spark can be used." if usable else "Spark cannot be used yet.")

    session.output.item(Setup(usable=usable, parts=told), draw, rows=told)
    return exits.OK if usable else exits.ERROR


@verb(engine, "fetch", answers=Fetched, example="fed engine fetch /media/stick/delta-jars --s3")
@click.argument("folder", type=_PATH, required=False)
@click.option("--s3", is_flag=True, help="Also the jars to read tables in S3.")
@_spark
def fetch(session: Session, *, folder: Path | None, s3: bool, **how: Any) -> None:
    """Fetches Delta Lake's jars from Maven Central: to where Spark is started from, or into a folder to carry away."""
    from federation.bootstrap import engine as bootstrap  # noqa: PLC0415 - as above

    with session.output.waiting("fetching jars"):
        found = bootstrap.engine_setup("s3://" if s3 else "", _settings("spark", **how)).fetch(folder)
    size = sum(path.stat().st_size for path in found)
    told = Fetched(folder=str(found[0].parent), files=tuple(path.name for path in found), bytes=size)
    session.output.item(told, lambda: session.output.line(f"{len(found)} jars, {units.size(size)}, in {told.folder}"))


@verb(
    engine,
    "run",
    answers="federation.ports:Exported",
    example="fed engine run chargeback --tables s3://bucket/tables --engine spark",
)
@click.argument("analysis", type=click.Choice(tuple(analyses.ALL)))
@click.option("--export", type=str, default="", metavar="PATH", help="Write the answer there instead of showing it.")
@click.option(
    "--as", "format_", type=click.Choice(("parquet", "csv")), default="parquet", show_default=True, help="How to write it."
)
@_place
@_spark
def run(session: Session, *, analysis: str, export: str, format_: ports.ExportFormat, **how: Any) -> None:
    """Computes over all years: chargeback by namespace and month, what went over links, who read which versions."""
    with _engine(**how) as made:
        if not export:
            session.output.kind = list[dict[str, Any]]
            sql.show(session.output, made.query(analyses.named(analysis)))
            return
        session.output.item(made.export(analyses.named(analysis), export, format_))


@verb(
    engine,
    "export",
    answers="federation.ports:Exported",
    example="fed engine export 'select * from egress_ledger' ledger.parquet --tables tables",
)
@click.argument("query")
@click.argument("path")
@click.option(
    "--as", "format_", type=click.Choice(("parquet", "csv")), default="parquet", show_default=True, help="How to write it."
)
@_place
@_spark
def export(session: Session, *, query: str, path: str, format_: ports.ExportFormat, **how: Any) -> None:
    """Writes the answer of a query to a new file, or on Spark a folder of files: for what is too large to show."""
    with _engine(**how) as made:
        session.output.item(made.export(query, path, format_))


@verb(
    engine,
    "compact",
    answers="federation.ports:Compaction",
    example="fed engine compact egress_ledger --tables tables --order-by namespace",
)
@click.argument("table")
@click.option("--order-by", default="", metavar="COLUMNS", help="Sort rows along a Z-order of these columns, by commas.")
@_place
@_spark
def compact(session: Session, *, table: str, order_by: str, **how: Any) -> None:
    """Puts a table's small files together. No row changes; beside the embedded engine the committer may go on.

    Spark does so to tables in a folder while no server runs: with --config it holds their committer off, else it is refused.
    """
    columns = tuple(name.strip() for name in order_by.split(",") if name.strip())
    with _engine(**how) as made:
        session.output.item(made.compact(table, order_by=columns))


@contextmanager
def _engine(*, tables: str, state: Path | None, kind: str, file: Path | None, **how: Any) -> Iterator[ports.RecordEngine]:
    """An engine for one command: over tables anywhere, or over those of a federation, whose committer it can hold off."""
    from federation import config  # noqa: PLC0415 - as above
    from federation.bootstrap import engine as bootstrap  # noqa: PLC0415 - as above

    if bool(tables) == bool(file):
        raise click.UsageError("say where the tables lie: either --tables FOLDER|URL or --config FILE")
    settings = _settings(kind, file=file, **how)
    with ExitStack() as stack:
        options: dict[str, str] = {}
        alone = None
        if file:
            read = config.federation_file(file)
            server = config.server(read, state or config.state_path(read.federation))
            tables, options = server.tables_url, dict(server.tables_options)
            alone = stack.enter_context(bootstrap.alone(server)) if settings.kind != "embedded" else None
        made = bootstrap.engine(tables, settings, options, alone=alone)
        stack.callback(made.close)
        yield made


def _settings(kind: str, *, master: str, remote: str, jars_dir: Path | None, memory: str, file: Path | None) -> EngineSettings:
    """What the file says, and before it what the command says."""
    from federation import config  # noqa: PLC0415 - as above

    found = config.federation_file(file).engine if file else config.EngineSettings()
    return dataclasses.replace(
        found,
        kind=kind or found.kind,
        master=master or found.master,
        remote=remote or ("" if master else found.remote),
        jars_dir=jars_dir.expanduser().absolute() if jars_dir else found.jars_dir,
        memory_bytes=units.parse_size(memory) if memory else found.memory_bytes,
    )


def _started(settings: EngineSettings) -> ports.EnginePart:
    from federation import ports  # noqa: PLC0415 - as above
    from federation.bootstrap import engine as bootstrap  # noqa: PLC0415 - as above

    made = bootstrap.engine("", settings)
    try:
        made.query("SELECT 1 AS one")
    finally:
        made.close()
    return ports.EnginePart(part="session", version="started", where=settings.remote or settings.master)
