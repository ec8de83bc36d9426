"""Which panes each place has, and what they ask: a call or two of the client each, shown in the words of the command line."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime

from rich.console import Group, RenderableType
from rich.text import Text

from federation.browse import apart, costs, fitting, gathering, gauge, governing, panes, worldmap
from federation.browse.panes import Pane
from federation.browse.place import Kind, Place
from federation.client import AsyncClient, Client
from federation.core import budget, dataset, discovery, errors, ids, job, pipeline, site, transfer, units
from federation.core.screen import safe
from federation.core.statistics import ColumnStatistics
from federation.shown import lineage, pipelines, plans, shapes, tables

#: Of a dataset with more versions the newest are asked for one by one: its listing begins with the oldest.
_LISTED_MAX = 500
_PREVIEW_ROWS = 50
_EDGES_MAX = 1_000
_CELL_CHARS_MAX = 32
#: Of jobs that wait anywhere no more are looked through for those of one site.
_WAITING_MAX = 2_000

_READ = (
    "It is a read of the data, in your name: the policy is asked, it is under a lease of the keys, it stands in the audit, and "
    "what leaves a region is charged. Columns that the data card calls sensitive are masked."
)
_READ_FILES = f"The list of files comes with the keys of the data.\n\n{_READ}\n\nPress p to read it."
_READ_ROWS = f"The first {_PREVIEW_ROWS} rows are read and shown.\n\n{_READ}\n\nPress p to read them."
_READ_FOOTER = (
    f"Schema, nulls, least and greatest values of a Parquet file are read from its footer.\n\n{_READ}\n\nPress p to read it."
)


@dataclass(frozen=True, kw_only=True)
class Clients:
    """The client on the event loop, and the one for threads, both for whoever browses; and which day it is (UTC)."""

    loop: AsyncClient
    threads: Client
    today: Callable[[], date] = lambda: datetime.now(UTC).date()


def of(where: Place, clients: Clients) -> list[Pane]:
    """The panes of a place, in their order; the first is shown first."""
    return _SIDES[where.kind](where, clients)


# Data


def _namespaces(_: Place, clients: Clients) -> list[Pane]:
    return [
        panes.TablePane(
            "Namespaces",
            lambda filter_: clients.loop.list_namespaces(filter=filter_),
            fitting.pick(dataset.Namespace, "NAME", "OWNER", "DESCRIPTION", "CREATED", "WEIGHT"),
            opens=lambda row: Place(kind=Kind.NAMESPACE, name=row.name),
            empty="There is no namespace that you may know of. fed namespace create makes one.",
            noun="namespaces",
            watched='type = "namespaces"',
        )
    ]


def _namespace(where: Place, clients: Clients) -> list[Pane]:
    async def about() -> RenderableType:
        return panes.pairs(shapes.fields(await clients.loop.get_namespace(where.name)))

    return [
        panes.TablePane(
            "Datasets",
            lambda filter_: clients.loop.list_datasets(where.name, filter=filter_),
            fitting.pick(
                dataset.Dataset, "NAME", "KIND", "RESIDENCY", "VERSION", "OWNER", "DESCRIPTION", "CLASSIFICATION", "LABELS"
            ),
            opens=_dataset_place,
            empty=f"{where.name} has no dataset that you may know of. fed dataset put makes one.",
            noun="datasets",
            watched=f'type = "datasets" AND namespace = "{where.name}"',
            filter_example='kind = "MODEL"',
        ),
        panes.TextPane("About", about, watched=f'name = "namespaces/{where.name}"'),
        *_costs_of(clients, f'payer = "{where.name}"', ("month", "dataset")),
    ]


def _dataset_place(row: dataset.Dataset) -> Place:
    return Place(kind=Kind.DATASET, name=row.name.short)


def _dataset(where: Place, clients: Clients) -> list[Pane]:
    client, name = clients.loop, ids.dataset(where.name)

    async def about() -> RenderableType:
        found, card = await asyncio.gather(client.get_dataset(where.name), client.explain_card(where.name))
        parts: list[RenderableType] = [panes.pairs(shapes.fields(found))]
        if card.made_of or card.unseen:
            others = f"{card.unseen} that you may not know of" if card.unseen else ""
            parts.append(Text(f"\nmade of {', '.join(filter(None, (*map(safe, card.made_of), others)))}"))
        if card.facts:
            parts += [Text(""), tables.table(card.facts, shapes.columns(type(card.facts[0])))]
        return Group(*parts)

    return [
        panes.TablePane(
            "Versions",
            lambda _: newest_first(client, where.name),
            fitting.pick(dataset.Version, "VERSION", "FILES", "SIZE", "ROWS", "CREATED", "MADE BY", "SIGNED BY"),
            opens=lambda row: Place(kind=Kind.VERSION, name=row.name.short),
            empty=f"It has no version yet. fed dataset put {where.name} PATH makes the first.",
            noun="versions",
            watched=f'type = "versions" AND dataset = "{where.name}"',
        ),
        panes.TextPane("About", about, watched=f'name = "{name.resource}"'),
        _map(clients, where.name),
        _lineage(clients, where.name),
        *_costs_of(clients, f'namespace = "{name.namespace}" AND dataset = "{name.dataset}"', ("month", "link")),
    ]


async def newest_first(client: AsyncClient, name: str) -> AsyncIterator[dataset.Version]:
    """The versions of a dataset, newest first: all at once where there are few, and else piece by piece as they are wanted."""
    latest = (await client.get_dataset(name)).latest_version
    if latest <= _LISTED_MAX:
        for row in reversed([row async for row in client.list_versions(name)]):
            yield row
        return
    async for found in gathering.asked(lambda number: _version_or_none(client, f"{name}@{number}"), range(latest, 0, -1)):
        if found is not None:
            yield found


async def _version_or_none(client: AsyncClient, name: str) -> dataset.Version | None:
    try:
        return await client.get_version(name)
    except errors.NotFound:
        return None


@dataclass(frozen=True, kw_only=True)
class SchemaRow:
    """A column of a version: its type, the class that it is sealed under, whether the data card calls it sensitive."""

    column: str
    type: str
    sealed: str
    sensitive: bool


_SCHEMA = (
    shapes.Column(heading="COLUMN", show=lambda v: v.column),
    shapes.Column(heading="TYPE", show=lambda v: v.type),
    shapes.Column(heading="SENSITIVE", show=lambda v: "sensitive" if v.sensitive else ""),
    shapes.Column(heading="SEALED AS", show=lambda v: v.sealed),
)


def schema(version: dataset.Version, sensitive: Iterable[str]) -> tuple[SchemaRow, ...]:
    """The columns of a version with what is to be known of each. A column with a sensitive path in it is sensitive."""
    roots = {name.partition(".")[0] for name in sensitive}
    classes = {column: row.name for row in version.column_classes for column in row.columns}
    return tuple(
        SchemaRow(column=name, type=kind, sealed=classes.get(name, "default"), sensitive=name in roots)
        for name, kind in version.columns
    )


def _version(where: Place, clients: Clients) -> list[Pane]:
    client, name = clients.loop, where.name
    of_dataset = name.rpartition("@")[0]

    async def columns(_: str) -> AsyncIterator[SchemaRow]:
        version, card = await asyncio.gather(client.get_version(name), client.explain_card(of_dataset))
        inherited = (value for fact in card.facts if fact.field == "sensitive_columns" for value in fact.values)
        for row in schema(version, (*card.card.sensitive_columns, *inherited)):
            yield row

    async def about() -> RenderableType:
        return panes.pairs(shapes.fields(await client.get_version(name)))

    return [
        panes.TablePane(
            "Columns",
            columns,
            _SCHEMA,
            name_of=lambda row: row.column,
            empty="Its files have no columns in common that are known; Files tells of each.",
            noun="columns",
        ),
        _map(clients, name),
        panes.AskedPane(
            "Files",
            lambda purpose: _files(clients, name, purpose),
            fitting.pick(dataset.FileEntry, "FILE", "SIZE", "ROWS", "STORED", "GENERATION", "SHA-256 SEALED"),
            opens=lambda row: Place(kind=Kind.FILE, name=name, part=row.path),
            noun="files",
            warning=_READ_FILES,
            purposes=lambda: _purposes(client, of_dataset),
        ),
        panes.PreviewPane(
            "Rows",
            lambda purpose: _rows(clients, name, purpose),
            warning=_READ_ROWS,
            purposes=lambda: _purposes(client, of_dataset),
        ),
        _lineage(clients, name),
        panes.TextPane("About", about),
    ]


def _file(where: Place, clients: Clients) -> list[Pane]:
    def purposes() -> Awaitable[Sequence[str]]:
        return _purposes(clients.loop, where.name.rpartition("@")[0])

    async def described(purpose: str) -> Sequence[ColumnStatistics]:
        found = await apart.run(clients.threads.describe_file, where.name, where.part, purpose=purpose)
        return found.columns

    return [
        panes.AskedPane(
            "Statistics",
            described,
            shapes.columns(ColumnStatistics),
            name_of=lambda row: row.column,
            noun="columns",
            warning=_READ_FOOTER,
            purposes=purposes,
        ),
        panes.PreviewPane(
            "Rows",
            lambda purpose: _rows(clients, where.name, purpose, where.part),
            warning=_READ_ROWS,
            purposes=purposes,
        ),
    ]


async def _purposes(client: AsyncClient, name: str) -> Sequence[str]:
    return (await client.get_dataset(name)).purposes


async def _files(clients: Clients, name: str, purpose: str) -> Sequence[dataset.FileEntry]:
    return (await apart.run(clients.threads.get_manifest, name, purpose=purpose)).files


async def _rows(clients: Clients, name: str, purpose: str, file: str = "") -> tuple[fitting.Fitted, str]:
    """The first rows of a version, or of one of its files, each cell in one line; and what was read for them."""
    found = await apart.run(clients.threads.preview, name, rows=_PREVIEW_ROWS, file=file, purpose=purpose)
    told = {key.decode(): value.decode() for key, value in (found.schema.metadata or {}).items()}
    heads = [fitting.cell(f"{field.name} {field.type}", _CELL_CHARS_MAX) for field in found.schema]
    rows = [tuple(fitting.cell(_shown(item), _CELL_CHARS_MAX) for item in row.values()) for row in found.to_pylist()]
    widths = [max(head.cell_len, *(row[at].cell_len for row in rows), 1) for at, head in enumerate(heads)]
    said = f"{'the first ' if told['fed.more'] == 'true' else ''}{len(rows)} rows of {safe(told['fed.file'])}"
    masked = json.loads(told["fed.masked"])
    said += f"; {units.size(int(told['fed.received_bytes']))} were read"
    return fitting.Fitted(headings=tuple(heads), widths=tuple(widths), rows=tuple(rows)), said + (
        f"; masked: {safe(', '.join(masked))}" if masked else ""
    )


def _shown(item: object) -> str:
    return "" if item is None else str(item)


# Places


@dataclass(frozen=True, kw_only=True)
class Located:
    """A site, and what it has of a version: its replica, and the transfer that brings one."""

    site: site.Site
    replica: dataset.Replica | None = None
    coming: transfer.Transfer | None = None


def _map(clients: Clients, name: str) -> Pane:
    """Where a version lies, or a dataset's newest, and where it is on its way to."""
    client, dataset_name = clients.loop, name.partition("@")[0]

    async def located(_: str) -> AsyncIterator[Located]:
        number = int(name.partition("@")[2] or (await client.get_dataset(name)).latest_version)
        sites = [row async for row in client.list_sites()]
        replicas, moving = {}, {}
        if number:
            replicas = {row.site: row async for row in client.list_replicas(f"{dataset_name}@{number}")}
            filter_ = f'live = "1" AND dataset = "{dataset_name}" AND version = "{number}"'
            moving = {row.destination_site: row async for row in client.list_transfers(filter=filter_)}
        rows = [Located(site=row, replica=replicas.get(row.site), coming=moving.get(row.site)) for row in sites]
        for row in sorted(rows, key=lambda row: (row.replica is None, row.coming is None)):
            yield row

    return panes.MapPane(
        "Replicas",
        located,
        _LOCATED,
        opens=lambda row: Place(kind=Kind.SITE, name=row.site.site),
        noun="sites",
        empty="There is no site.",
        watched=f'(type = "replicas" OR type = "transfers") AND dataset = "{dataset_name}"',
        draw_map=draw_located,
    )


def draw_located(rows: Sequence[Located], width: int, height: int) -> Text:
    """The map of a version."""
    sites, moving = [row.site for row in rows], [row.coming for row in rows if row.coming]
    marks = worldmap.marks(sites, [row.replica for row in rows if row.replica], moving)
    return worldmap.draw(marks, width, height, moving=worldmap.ways(sites, moving))


def _state(row: Located) -> str:
    if row.coming is not None:
        done = 100 * row.coming.bytes_done // row.coming.object_bytes if row.coming.object_bytes else 0
        return f"coming from {row.coming.source_site or '?'}, {done} %"
    return str(row.replica.state) if row.replica else "-"


_LOCATED = (
    shapes.Column(heading="SITE", show=lambda v: v.site.site),
    shapes.Column(heading="REGION", show=lambda v: v.site.region),
    shapes.Column(heading="LAW", show=lambda v: v.site.jurisdiction),
    shapes.Column(heading="REPLICA", show=_state),
    shapes.Column(heading="STORED", show=lambda v: units.size(v.replica.object_bytes) if v.replica else "-", number=True),
    shapes.Column(heading="VERIFIED", show=lambda v: shapes.moment(v.replica.verify_time) or "-" if v.replica else "-"),
    shapes.Column(heading="ENDS", show=lambda v: shapes.moment(v.replica.expire_time) or "-" if v.replica else "-"),
)


def _sites(_: Place, clients: Clients) -> list[Pane]:
    client = clients.loop

    async def all_sites(_: str) -> AsyncIterator[Located]:
        moving = {row.destination_site: row async for row in client.list_transfers(filter='live = "1"')}
        async for row in client.list_sites():
            yield Located(site=row, coming=moving.get(row.site))

    def draw(rows: Sequence[Located], width: int, height: int) -> Text:
        sites, moving = [row.site for row in rows], [row.coming for row in rows if row.coming]
        marks = worldmap.marks(sites, None, moving)
        return worldmap.draw(marks, width, height, moving=worldmap.ways(sites, moving), of_version=False)

    return [
        panes.MapPane(
            "Map",
            all_sites,
            tuple(
                shapes.Column(heading=row.heading, show=lambda v, show=row.show: show(v.site), number=row.number)  # type: ignore[misc]
                for row in fitting.pick(
                    site.Site, "SITE", "REGION", "JURISDICTION", "STATE", "GRADE", "CPUS", "GPUS", "CPU HOUR", "PROBLEM"
                )
            ),
            opens=lambda row: Place(kind=Kind.SITE, name=row.site.site),
            empty="There is no site. fed site create declares one.",
            noun="sites",
            watched='type = "sites" OR type = "transfers"',
            draw_map=draw,
        ),
        panes.TablePane(
            "Links",
            lambda filter_: client.list_links(filter=filter_),
            fitting.pick(site.Link, "FROM", "TO", "NEXT GB", "THIS MONTH", "SPEED", "AS OF", "SOURCE"),
            name_of=lambda row: f"{row.source_region}~{row.destination_region}",
            empty="There is no link: no two sites are in different regions.",
            noun="links",
        ),
    ]


def _site(where: Place, clients: Clients) -> list[Pane]:
    client, at = clients.loop, f'site = "{where.name}"'
    work = _Work(client, where.name)

    async def about() -> RenderableType:
        return panes.pairs(shapes.fields(await client.get_site(where.name)))

    return [
        panes.TextPane("About", about, watched=f'name = "sites/{where.name}"'),
        panes.TablePane(
            "Jobs",
            work.rows,
            fitting.pick(job.Job, "LABEL", "STATE", "JOB", "BECAUSE", "CREATED", "BY", "NEEDS"),
            opens=lambda row: Place(kind=Kind.JOB, name=row.job),
            empty="Nothing runs here, and nothing waits to.",
            noun="jobs",
            watched='type = "jobs" OR type = "runs"',
            unseen=lambda: work.unseen,
        ),
        panes.TablePane(
            "Replicas",
            lambda asked: client.list_replicas(filter=_and(at, asked)),
            fitting.pick(dataset.Replica, "VERSION", "STATE", "STORED", "VERIFIED", "ENDS", "TRANSFER"),
            opens=lambda row: Place(kind=Kind.VERSION, name=row.version.short),
            empty="Nothing lies here that you may know of.",
            noun="replicas",
            watched='type = "replicas"',
            filter_example='state = "SUSPECT"',
        ),
        _transfers_pane(clients, f'destination_site = "{where.name}"', "Comes"),
        _transfers_pane(clients, f'source_site = "{where.name}"', "Goes"),
        *_costs_of(clients, f'source_site = "{where.name}"', ("month", "link")),
    ]


class _Work:
    """The jobs of a site: those with a run there that has not ended, and below them those that wait for it."""

    def __init__(self, client: AsyncClient, site_name: str) -> None:
        self._client = client
        self._site = site_name
        self.unseen = ""

    async def rows(self, _: str) -> AsyncIterator[job.Job]:
        """Running, then starting, then placed ones, each newest first; of those that wait the newest are looked through."""
        self.unseen = ""
        for state in (job.JobState.RUNNING, job.JobState.STARTING, job.JobState.PLACED):
            runs = self._client.list_runs(filter=f'site = "{self._site}" AND state = "{state}"')
            async for found in gathering.asked(lambda run: self._client.get_job(run.job), runs):
                yield found
        looked_at = 0
        async for waiting in self._client.list_jobs(filter=f'state = "{job.JobState.PENDING}"'):
            if looked_at == _WAITING_MAX:
                self.unseen = f"of those that wait the newest {_WAITING_MAX:,} were looked at"
                return
            looked_at += 1
            if waiting.waits_for(self._site):
                yield waiting


def _and(*filters: str) -> str:
    return " AND ".join(filter(None, filters))


# Work


def _jobs(where: Place, clients: Clients) -> list[Pane]:
    return [
        panes.TablePane(
            "Jobs",
            lambda filter_: clients.loop.list_jobs(filter=filter_),
            fitting.pick(job.Job, "LABEL", "STATE", "SITE", "JOB", "BECAUSE", "CREATED", "BY", "ESTIMATE"),
            opens=lambda row: Place(kind=Kind.JOB, name=row.job),
            empty="There is no job yet. fed job submit starts one.",
            noun="jobs",
            watched='type = "jobs"',
            filter_example='state = "RUNNING"',
        ),
        *_pipelines(where, clients),
    ]


def _pipelines(_: Place, clients: Clients) -> list[Pane]:
    return [
        panes.TablePane(
            "Pipelines",
            lambda filter_: clients.loop.list_pipelines(filter=filter_),
            fitting.pick(pipeline.Pipeline, "LABEL", "STATE", "TASKS", "SITES", "COST", "PIPELINE", "BECAUSE", "CREATED", "BY"),
            opens=lambda row: Place(kind=Kind.PIPELINE, name=row.pipeline),
            empty="There is no pipeline yet. fed pipeline submit starts one.",
            noun="pipelines",
            watched='type = "pipelines"',
            filter_example='state = "RUNNING"',
        )
    ]


def _pipeline(where: Place, clients: Clients) -> list[Pane]:
    """Its tasks as a table and as the DAG that they are; a task with a job leads there."""
    client, within = clients.loop, f'within = "pipelines/{where.name}"'

    async def rows(_: str) -> AsyncIterator[pipelines.Row]:
        for row in pipelines.rows(await client.get_pipeline(where.name)):
            yield row

    async def grow() -> tuple[Sequence[lineage.Branch], str]:
        found = await client.get_pipeline(where.name)
        return pipelines.branches(found), f"{found.state}; each task stands below the last one that it waits for"

    async def plan() -> RenderableType:
        found = await client.get_pipeline(where.name)
        told = ("It has no plan yet.",) if found.plan is None else pipelines.explained(found.plan)
        because = ": ".join(filter(None, (found.reason, found.detail)))
        return panes.lines((*((because, "") if because else ()), *told))

    async def about() -> RenderableType:
        return panes.pairs(pipeline_fields(await client.get_pipeline(where.name)))

    def job_of(name: str) -> Place | None:
        return Place(kind=Kind.JOB, name=name.removeprefix("jobs/")) if name else None

    return [
        panes.TablePane(
            "Tasks",
            rows,
            _TASKS,
            opens=lambda row: job_of(row.run.job),
            name_of=lambda row: row.task,
            noun="tasks",
            watched=within,
        ),
        panes.TreePane("Graph", grow, opens=job_of, watched=within),
        panes.TextPane("Plan", plan, watched=within),
        panes.TextPane("About", about, watched=within),
    ]


#: What has become of each task first.
_TASKS = tuple(
    column
    for heading in ("TASK", "STATE", "SITE", "AFTER", "OWN COST", "HANDED OVER", "BECAUSE", "JOB", "REGION")
    for column in pipelines.COLUMNS
    if column.heading == heading
)


def pipeline_fields(found: pipeline.Pipeline) -> list[tuple[str, str]]:
    """A pipeline in short: what became of it, what was asked, at which cost."""
    told = [
        ("pipeline", found.pipeline),
        ("state", f"{found.state}{', its end is asked for' if found.cancel_requested and not found.state.terminal else ''}"),
        ("because", ": ".join(filter(None, (found.reason, found.detail)))),
        ("tasks", f"{sum(row.state.terminal for row in found.tasks)} of {len(found.tasks)} have ended"),
        ("estimate", units.usd(found.plan.cost_micros) if found.plan and found.plan.tasks else ""),
        ("label", found.request.label),
        ("namespace", found.request.namespace),
        ("submitted by", found.request.principal),
        ("optional tasks that must succeed", str(found.request.parts_min or "")),
        ("created", shapes.moment(found.create_time)),
        ("ended", shapes.moment(found.end_time)),
    ]
    return [(name, text) for name, text in told if text]


def _job(where: Place, clients: Clients) -> list[Pane]:
    client, within = clients.loop, f'within = "jobs/{where.name}"'

    async def state() -> RenderableType:
        return panes.pairs(job_fields(await client.get_job(where.name)))

    async def plan() -> RenderableType:
        found = await client.get_job(where.name)
        return panes.lines(("It has no plan yet.",) if found.plan is None else plans.explained(found.plan))

    return [
        panes.TextPane("State", state, watched=within),
        panes.TextPane("Plan", plan, watched=within),
        panes.TablePane(
            "Runs",
            lambda _: client.list_runs(where.name),
            fitting.pick(job.Run, "RUN", "STATE", "SITE", "EXIT CODE", "STARTED", "ENDED", "BECAUSE", "OUTPUTS"),
            name_of=lambda row: row.run,
            empty="It has not run yet.",
            noun="runs",
            watched=within,
        ),
        panes.LogPane("Log", lambda: client.logs(where.name, follow=True)),
        _job_lineage(clients, where.name),
        *_costs_of(clients, f'job = "{where.name}"', ("dataset", "link")),
    ]


def job_fields(found: job.Job) -> list[tuple[str, str]]:
    """A job in short: what became of it, what was asked, where and at which cost."""
    request, choice = found.request, found.plan.choice if found.plan else None
    inputs = (f"{row.alias}={row.dataset}" + (f"@{row.version}" if row.version else "") for row in request.inputs)
    told = [
        ("state", f"{found.state}{', its end is asked for' if found.cancel_requested and not found.state.terminal else ''}"),
        ("because", ": ".join(filter(None, (found.reason, found.detail)))),
        ("site", f"{choice.site} ({choice.region})" if choice else ""),
        ("estimate", units.usd(choice.total_micros) if choice else ""),
        ("attempt", str(found.attempt or "")),
        ("label", request.label),
        ("entrypoint", " ".join(request.entrypoint)),
        ("inputs", ", ".join(inputs)),
        ("outputs", ", ".join(f"{row.alias}={row.dataset}" for row in request.outputs)),
        ("purpose", request.purpose),
        ("namespace", request.namespace),
        ("submitted by", request.principal),
        ("waits for", ", ".join(f"transfers/{name}" for name in found.transfers)),
        ("created", shapes.moment(found.create_time)),
        ("ended", shapes.moment(found.end_time)),
        ("run", found.run),
        ("pipeline", request.pipeline),
    ]
    return [(name, text) for name, text in told if text]


def _transfers(_: Place, clients: Clients) -> list[Pane]:
    return [_transfers_pane(clients, "", "Transfers")]


def _transfers_pane(clients: Clients, filter_: str, heading: str) -> Pane:
    def source(asked: str) -> AsyncIterator[transfer.Transfer]:
        return clients.loop.list_transfers(filter=_and(filter_, asked))

    return panes.TablePane(
        heading,
        source,
        fitting.pick(transfer.Transfer, "VERSION", "FROM", "TO", "STATE", "DONE", "TRANSFER", "BECAUSE", "ESTIMATE", "FOR"),
        opens=lambda row: Place(kind=Kind.TRANSFER, name=row.transfer),
        empty="There is no transfer.",
        noun="transfers",
        watched='type = "transfers"',
        filter_example='state = "RUNNING"',
    )


def _transfer(where: Place, clients: Clients) -> list[Pane]:
    async def about() -> RenderableType:
        return panes.pairs(shapes.fields(await clients.loop.get_transfer(where.name)))

    return [panes.TextPane("About", about, watched=f'name = "transfers/{where.name}"')]


# Lineage and money


def _lineage(clients: Clients, name: str) -> Pane:
    async def grow() -> tuple[Sequence[lineage.Branch], str]:
        graph = await clients.loop.get_lineage(name, edges_max=_EDGES_MAX)
        said = "" if graph.complete else f"more lies beyond {safe(', '.join(graph.frontier[:3]))}: fed lineage show {name}"
        return lineage.branches(graph, "both"), said

    return panes.TreePane("Lineage", grow)


def _job_lineage(clients: Clients, name: str) -> Pane:
    async def grow() -> tuple[Sequence[lineage.Branch], str]:
        found = await clients.loop.get_job(name)
        if not found.run:
            return (), "It has not run yet, so nothing came of it."
        graph = await clients.loop.get_lineage(found.run, edges_max=_EDGES_MAX)
        return lineage.branches(graph, "both"), ""

    return panes.TreePane("Lineage", grow)


def _costs_of(clients: Clients, filter_: str, keys: Iterable[str]) -> list[Pane]:
    """A pane for each key that the ledger is summed by, of all of it or of what the filter leaves."""
    return [_costs_by(clients, filter_, by, f"Costs by {by}" if filter_ else by.capitalize()) for by in keys]


def _costs_by(clients: Clients, filter_: str, by: str, heading: str) -> Pane:
    async def drawn() -> RenderableType:
        sums, total = await clients.loop.summarize_costs(by, filter=filter_)
        return costs.Bars(sums, total, by)

    return panes.TextPane(heading, drawn)


def _costs(where: Place, clients: Clients) -> list[Pane]:
    month, *others = _costs_of(clients, "", ("month", "link", "namespace", "dataset", "site", "payer"))
    return [month, *_budgets(where, clients), *others]


#: What a budget's charges change with: they are posted as runs and transfers end, and tell nobody themselves.
_SPENT = 'type = "budgets" OR type = "runs" OR type = "transfers"'


def _budgets(_: Place, clients: Clients) -> list[Pane]:
    return [
        panes.TablePane(
            "Budgets",
            lambda filter_: clients.loop.list_budgets(filter=filter_),
            (
                *fitting.pick(budget.Budget, "BUDGET"),
                shapes.Column(heading="SPENT OF IT", show=gauge.short),
                *fitting.pick(budget.Budget, "SPENT", "LIMIT", "SCOPE", "STOPS", "IN FLIGHT", "ALERTS", "MONTH", "BY"),
            ),
            opens=lambda row: Place(kind=Kind.BUDGET, name=row.budget),
            empty="There is no budget that you may know of. fed budget create makes one.",
            noun="budgets",
            watched=_SPENT,
            filter_example='scope = "all"',
        )
    ]


def _budget(where: Place, clients: Clients) -> list[Pane]:
    client = clients.loop

    async def spent() -> RenderableType:
        found = await client.get_budget(where.name)
        try:
            told = await client.forecast_costs(filter=budget.ledger_filter(found.scope), today=clients.today())
        except errors.PermissionDenied as error:
            return gauge.Gauge(found, unknown=error.message)
        return gauge.Gauge(found, told)

    async def about() -> RenderableType:
        return panes.pairs(shapes.fields(await client.get_budget(where.name)))

    def costs_by(by: str) -> Pane:
        async def drawn() -> RenderableType:
            found = await client.get_budget(where.name)
            told = _and(f'month = "{found.month}"' if by != "month" else "", budget.ledger_filter(found.scope))
            sums, total = await client.summarize_costs(by, filter=told)
            return costs.Bars(sums, total, by)

        return panes.TextPane(f"By {by}", drawn)

    return [
        panes.TextPane("Spent", spent, watched=_SPENT),
        *(costs_by(by) for by in ("dataset", "link", "payer", "month")),
        panes.TextPane("About", about, watched=f'name = "budgets/{where.name}"'),
    ]


_SIDES: dict[Kind, Callable[[Place, Clients], list[Pane]]] = {
    Kind.DATA: _namespaces,
    Kind.NAMESPACE: _namespace,
    Kind.DATASET: _dataset,
    Kind.VERSION: _version,
    Kind.FILE: _file,
    Kind.SITES: _sites,
    Kind.SITE: _site,
    Kind.JOBS: _jobs,
    Kind.JOB: _job,
    Kind.TRANSFERS: _transfers,
    Kind.TRANSFER: _transfer,
    Kind.COSTS: _costs,
    Kind.PIPELINES: _pipelines,
    Kind.PIPELINE: _pipeline,
    Kind.BUDGETS: _budgets,
    Kind.BUDGET: _budget,
    Kind.POLICIES: governing.section,
    Kind.REVISION: governing.revision,
    Kind.POLICY: governing.policy,
}

FOUND = fitting.pick(discovery.Found, "NAME", "KIND", "FOUND IN", "DESCRIPTION", "OWNER")
