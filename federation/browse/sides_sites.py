"""Panes of sites: the map, what lies at a site and works there, and where a version lies."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from rich.console import RenderableType
from rich.text import Text

from federation.browse import fitting, gathering, panes, sides_money, sides_work, worldmap
from federation.browse.clients import Clients
from federation.browse.panes import Pane
from federation.browse.place import Kind, Place
from federation.client import AsyncClient
from federation.core import dataset, job, site, transfer, units
from federation.shown import shapes, wording

#: Of jobs that wait anywhere no more are looked through for those of one site.
_WAITING_MAX = 2_000


@dataclass(frozen=True, kw_only=True)
class Located:
    """A site, and what it has of a version: its replica, and the transfer that brings one."""

    site: site.Site
    replica: dataset.Replica | None = None
    coming: transfer.Transfer | None = None


def replicas(clients: Clients, name: str) -> Pane:
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
    shapes.Column(heading="VERIFIED", show=lambda v: wording.moment(v.replica.verify_time) or "-" if v.replica else "-"),
    shapes.Column(heading="ENDS", show=lambda v: wording.moment(v.replica.expire_time) or "-" if v.replica else "-"),
)


def all_sites(_: Place, clients: Clients) -> list[Pane]:
    """The sites, as a map and as a list, and the links between them."""
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


def of_site(where: Place, clients: Clients) -> list[Pane]:
    """A site: what lies there, what works there, what comes and goes."""
    client, at = clients.loop, f'site = "{where.name}"'
    work = _Work(client, where.name)

    async def about() -> RenderableType:
        return panes.pairs(wording.fields(await client.get_site(where.name)))

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
            lambda asked: client.list_replicas(filter=sides_money.both(at, asked)),
            fitting.pick(dataset.Replica, "VERSION", "STATE", "STORED", "VERIFIED", "ENDS", "TRANSFER"),
            opens=lambda row: Place(kind=Kind.VERSION, name=row.version.short),
            empty="Nothing lies here that you may know of.",
            noun="replicas",
            watched='type = "replicas"',
            filter_example='state = "SUSPECT"',
        ),
        sides_work.transfers_where(clients, f'destination_site = "{where.name}"', "Comes"),
        sides_work.transfers_where(clients, f'source_site = "{where.name}"', "Goes"),
        *sides_money.costs_of(clients, f'source_site = "{where.name}"', ("month", "link")),
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
