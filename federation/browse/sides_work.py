"""Panes of work: jobs, pipelines and transfers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence

from rich.console import RenderableType

from federation.browse import fitting, panes, sides_money
from federation.browse.clients import Clients
from federation.browse.panes import Pane
from federation.browse.place import Kind, Place
from federation.core import job, pipeline, transfer, units
from federation.shown import lineage, pipelines, plans, wording

_EDGES_MAX = 1_000


def all_jobs(where: Place, clients: Clients) -> list[Pane]:
    """The jobs, and the pipelines."""
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
        *all_pipelines(where, clients),
    ]


def all_pipelines(_: Place, clients: Clients) -> list[Pane]:
    """The pipelines."""
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


def of_pipeline(where: Place, clients: Clients) -> list[Pane]:
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
        ("created", wording.moment(found.create_time)),
        ("ended", wording.moment(found.end_time)),
    ]
    return [(name, text) for name, text in told if text]


def of_job(where: Place, clients: Clients) -> list[Pane]:
    """A job: how it stands, its plan, its runs and what the newest of them prints."""
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
        *sides_money.costs_of(clients, f'job = "{where.name}"', ("dataset", "link")),
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
        ("created", wording.moment(found.create_time)),
        ("ended", wording.moment(found.end_time)),
        ("run", found.run),
        ("pipeline", request.pipeline),
    ]
    return [(name, text) for name, text in told if text]


def _job_lineage(clients: Clients, name: str) -> Pane:
    async def grow() -> tuple[Sequence[lineage.Branch], str]:
        found = await clients.loop.get_job(name)
        if not found.run:
            return (), "It has not run yet, so nothing came of it."
        graph = await clients.loop.get_lineage(found.run, edges_max=_EDGES_MAX)
        return lineage.branches(graph, "both"), ""

    return panes.TreePane("Lineage", grow)


def all_transfers(_: Place, clients: Clients) -> list[Pane]:
    """The transfers."""
    return [transfers_where(clients, "", "Transfers")]


def transfers_where(clients: Clients, filter_: str, heading: str) -> Pane:
    """A pane of the transfers that a filter leaves."""

    def source(asked: str) -> AsyncIterator[transfer.Transfer]:
        return clients.loop.list_transfers(filter=sides_money.both(filter_, asked))

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


def of_transfer(where: Place, clients: Clients) -> list[Pane]:
    """A transfer."""

    async def about() -> RenderableType:
        return panes.pairs(wording.fields(await clients.loop.get_transfer(where.name)))

    return [panes.TextPane("About", about, watched=f'name = "transfers/{where.name}"')]
