"""`fed job`: submit, plan, explain, follow."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from federation.cli import exits, jobflags, jobs, plans, rayflags, variances
from federation.cli import scatter as scatters
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import ids, units
from federation.core.job import Job, Plan, Run
from federation.core.pipeline import Pipeline


@dataclass(frozen=True, kw_only=True)
class Printed:
    """One line that a job printed."""

    line: str


job = noun("job", "Work that is sent to where its data lies.")


@verb(
    job,
    "submit",
    answers=Job | Pipeline,
    example="fed job submit --input flights=sales/flights --output model=ml/delay-model:MODEL \\\n"
    "    --gpus 1 --gpu-type A10G --working-dir . --wait -- python train.py",
)
@jobflags.options
@click.option("--dry-run", is_flag=True, help="Only tell where it would run, as `fed job plan` does.")
@click.option("--wait/--no-wait", default=False, show_default=True, help="Wait until it has ended.")
@click.option("-f", "--follow", is_flag=True, help="Print what it prints, and wait.")
@scatters.options
@rayflags.options
def submit(
    session: Session,
    *,
    described: jobflags.JobOptions,
    rays: rayflags.Said,
    scatter: scatters.Scatter,
    dry_run: bool,
    wait: bool,
    follow: bool,
) -> int:
    """Finds the best site for a job, explains the choice, and runs it there.

    With --scatter it runs once beside each part of a partitioned dataset, each run writing the outputs of its own part, and
    --reduce runs once on what they wrote, as inputs `part_1`, `part_2` and so on: a pipeline, shown by `fed pipeline show`.

    In the job, `federation.inputs["ALIAS"]` and `federation.outputs["ALIAS"]` are its data. Exits with 6 when no site may or
    can run it, and with --wait or --follow with 8 when it failed. The options of `ray job submit` work here, too; unlike
    that, this waits only if --wait or --follow is given.
    """
    request = rays.applied(described.request())
    if scatter.is_meant(request, follow=follow):
        return scatter.submit(session, request, rays.working_dir, dry_run=dry_run, wait=wait)
    if dry_run:
        return _show_plan(session, session.client.plan(request))
    started = session.client.submit(request, rays.working_dir)
    return jobs.answer(session, started, wait=wait, follow=follow)


_PLOT = click.option("--plot", type=click.Path(path_type=Path), metavar="FILE.svg", help="Draw the costs into this file, too.")


@verb(
    job,
    "plan",
    answers=Job,
    example="fed job plan --input flights=sales/flights --assume-size 1TB -- python train.py",
    formats=plans.FORMATS,
)
@jobflags.options
@_PLOT
@click.option("--assume-size", multiple=True, metavar="[ALIAS=]1TB", help="Plan as if the inputs, or one, had this size.")
@rayflags.options
def plan(
    session: Session,
    *,
    described: jobflags.JobOptions,
    rays: rayflags.Said,
    assume_size: tuple[str, ...],
    plot: Path | None,
) -> int:
    """Tells where a job would run, at what cost, and why not elsewhere. Nothing is stored or started."""
    return _show_plan(session, session.client.plan(rays.applied(described.request(assume_size))), plot)


def _show_plan(session: Session, planned: Job, plot: Path | None = None) -> int:
    """A job that was only thought of; in JSON whole, since its request says what was assumed."""
    if session.output.for_people:
        plans.answer(session.output, planned, plot)
    else:
        if plot is not None:
            plans.draw(planned, plot)
        session.output.item(planned)
    return exits.OK if planned.plan and planned.plan.choice else exits.REFUSED


@verb(job, "explain", answers=Plan, example="fed job explain j-01k9... --plot cost.svg", formats=plans.FORMATS)
@click.argument("name", metavar="JOB")
@_PLOT
def explain(session: Session, *, name: str, plot: Path | None) -> None:
    """Shows the plan that was stored with a job: why it runs where it runs, and what would have changed that."""
    plans.answer(session.output, session.client.get_job(_name(name)), plot)


@verb(job, "list", answers=list[Job], example="fed job list --filter 'state = \"RUNNING\"'")
@click.option("--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'state = \"FAILED\"'.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Show at most so many.")
def list_(session: Session, *, filter_: str, limit: int) -> None:
    """Lists jobs, newest first."""
    found = session.client.list_jobs(filter=filter_)
    session.output.rows(row for row, _ in zip(found, range(limit), strict=False))


@verb(job, "show", answers=Job, example="fed job show j-01k9... -o json")
@click.argument("name", metavar="JOB")
def show(session: Session, *, name: str) -> None:
    """Shows a job: what was asked, its state, its run."""
    found = session.client.get_job(_name(name))
    session.output.item(found, lambda: _show(session, found))


def _show(session: Session, found: Job) -> None:
    session.output.rows([found])
    request = found.request
    pairs = (
        ("entrypoint", " ".join(request.entrypoint)),
        (
            "inputs",
            ", ".join(f"{row.alias}={row.dataset}" + (f"@{row.version}" if row.version else "") for row in request.inputs),
        ),
        ("outputs", ", ".join(f"{row.alias}={row.dataset}" for row in request.outputs)),
        ("submitted by", request.principal),
        ("run", found.run),
    )
    session.output.fields((name_, value) for name_, value in (*pairs, ("dashboard", _dashboard(session, found))) if value)


def _dashboard(session: Session, found: Job) -> str:
    """Where Ray's own dashboard shows the job's newest run, for those who reach its site's network."""
    if not found.run:
        return ""
    run = session.client.get_run(found.run)
    return session.client.get_site(run.site).dashboard_of(run.submission_id)


@verb(
    job,
    "runs",
    answers=list[Run],
    example="""fed job runs j-01k9...
# What runs at a site.
fed job runs --filter 'site = "eu-1" AND state = "RUNNING"'""",
)
@click.argument("name", metavar="[JOB]", default="")
@click.option("--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'state = \"FAILED\"'.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Show at most so many.")
def runs(session: Session, *, name: str, filter_: str, limit: int) -> None:
    """Lists the runs of a job, one for each attempt; or those of all jobs, newest first."""
    found = session.client.list_runs(name and _name(name), filter=filter_)
    session.output.rows(row for row, _ in zip(found, range(limit), strict=False))


@verb(job, "logs", answers=list[Printed], example="fed job logs -f j-01k9...")
@click.argument("name", metavar="JOB")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
def logs(session: Session, *, name: str, follow: bool) -> None:
    """Prints what a job printed: byte by byte, or in the formats of programs a value for each line."""
    printed = session.client.logs(_name(name), follow=follow)
    if not session.output.for_people:
        for line in jobs.lines(printed):
            session.output.each(Printed(line=line))
        return
    for data in printed:
        session.output.bytes(data)


@verb(job, "variance", answers=variances.JobVariance, example="fed job variance j-01k9...")
@click.argument("name", metavar="JOB")
def variance(session: Session, *, name: str) -> None:
    """Compares a job's estimates with what was metered: each input's bytes and money, its time, and the frozen baseline."""
    found = session.client.get_job(_name(name))
    rows, total = session.client.summarize_variances("input", filter=f'job = "{found.job}"')
    variances.show_job(session.output, found, rows, total)


@verb(job, "cancel", answers=Job, example="fed job cancel j-01k9...")
@click.argument("name", metavar="JOB")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def cancel(session: Session, *, name: str, etag: str) -> None:
    """Asks for a job to end. It is CANCELLED once its site has stopped it."""
    session.output.outcome(session.client.cancel_job(_name(name), etag=etag))


@verb(job, "wait", answers=Job, example="fed job wait j-01k9... --timeout 30m")
@click.argument("name", metavar="JOB")
@click.option("--timeout", default="", metavar="30m", help="Wait no longer than this.")
def wait(session: Session, *, name: str, timeout: str) -> int:
    """Waits until a job has ended; exits with 8 when it failed, with 7 when that took too long."""
    ended = jobs.wait_for(session, session.client.get_job(_name(name)), units.parse_duration(timeout) if timeout else None)
    session.output.item(ended, lambda: jobs.tell_end(session, ended))
    return exits.code_of_state(ended.state)


def _name(text: str) -> str:
    return ids.child(text, "jobs")
