"""Panes of data: namespaces, datasets, versions and files, what they ask and how it is shown."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.text import Text

from federation.browse import apart, fitting, gathering, panes, sides_money, sides_sites
from federation.browse.clients import Clients
from federation.browse.panes import Pane
from federation.browse.place import Kind, Place
from federation.client import AsyncClient
from federation.core import dataset, errors, ids, units
from federation.core.screen import safe
from federation.core.statistics import ColumnStatistics
from federation.shown import lineage, shapes, tables, wording

#: Of a dataset with more versions the newest are asked for one by one: its listing begins with the oldest.
_LISTED_MAX = 500
_PREVIEW_ROWS = 50
_EDGES_MAX = 1_000
_CELL_CHARS_MAX = 32
_READ = (
    "It is a read of the data, in your name: the policy is asked, it is under a lease of the keys, it stands in the audit, and "
    "what leaves a region is charged. Columns that the data card calls sensitive are masked."
)
_READ_FILES = f"The list of files comes with the keys of the data.\n\n{_READ}\n\nPress p to read it."
_READ_ROWS = f"The first {_PREVIEW_ROWS} rows are read and shown.\n\n{_READ}\n\nPress p to read them."
_READ_FOOTER = (
    f"Schema, nulls, least and greatest values of a Parquet file are read from its footer.\n\n{_READ}\n\nPress p to read it."
)


def all_namespaces(_: Place, clients: Clients) -> list[Pane]:
    """The namespaces."""
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


def of_namespace(where: Place, clients: Clients) -> list[Pane]:
    """A namespace: its datasets, and what it spent."""

    async def about() -> RenderableType:
        return panes.pairs(wording.fields(await clients.loop.get_namespace(where.name)))

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
        *sides_money.costs_of(clients, f'payer = "{where.name}"', ("month", "dataset")),
    ]


def _dataset_place(row: dataset.Dataset) -> Place:
    return Place(kind=Kind.DATASET, name=row.name.short)


def of_dataset(where: Place, clients: Clients) -> list[Pane]:
    """A dataset: its versions, where they lie, what they came from and what they cost."""
    client, name = clients.loop, ids.dataset(where.name)

    async def about() -> RenderableType:
        found, card = await asyncio.gather(client.get_dataset(where.name), client.explain_card(where.name))
        parts: list[RenderableType] = [panes.pairs(wording.fields(found))]
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
        sides_sites.replicas(clients, where.name),
        _lineage(clients, where.name),
        *sides_money.costs_of(clients, f'namespace = "{name.namespace}" AND dataset = "{name.dataset}"', ("month", "link")),
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


def of_version(where: Place, clients: Clients) -> list[Pane]:
    """A version: its columns, files and first rows, which are read only when somebody says so."""
    client, name = clients.loop, where.name
    of_dataset = name.rpartition("@")[0]

    async def columns(_: str) -> AsyncIterator[SchemaRow]:
        version, card = await asyncio.gather(client.get_version(name), client.explain_card(of_dataset))
        inherited = (value for fact in card.facts if fact.field == "sensitive_columns" for value in fact.values)
        for row in schema(version, (*card.card.sensitive_columns, *inherited)):
            yield row

    async def about() -> RenderableType:
        return panes.pairs(wording.fields(await client.get_version(name)))

    return [
        panes.TablePane(
            "Columns",
            columns,
            _SCHEMA,
            name_of=lambda row: row.column,
            empty="Its files have no columns in common that are known; Files tells of each.",
            noun="columns",
        ),
        sides_sites.replicas(clients, name),
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


def of_file(where: Place, clients: Clients) -> list[Pane]:
    """A file of a version: what its footer says, and its first rows."""

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


def _lineage(clients: Clients, name: str) -> Pane:
    async def grow() -> tuple[Sequence[lineage.Branch], str]:
        graph = await clients.loop.get_lineage(name, edges_max=_EDGES_MAX)
        said = "" if graph.complete else f"more lies beyond {safe(', '.join(graph.frontier[:3]))}: fed lineage show {name}"
        return lineage.branches(graph, "both"), said

    return panes.TreePane("Lineage", grow)
