"""`fed job`: submit, plan, explain, follow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from federation.cli import exits, jobs, plans
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import ids, units

job = noun("job", "Work that is sent to where its data lies.")

_OPTIONS = (
    click.argument("entrypoint", nargs=-1, required=True, type=click.UNPROCESSED),
    click.option("--label", default="", metavar="NAME", help="A word for people."),
    click.option(
        "--env", multiple=True, metavar="KEY=VALUE", help="An environment variable of the job; no secrets: Ray shows it."
    ),
    click.option(
        "--runtime-env", type=click.Path(path_type=Path), help="Ray's runtime_env as YAML or JSON, without working_dir."
    ),
    click.option("--working-dir", type=click.Path(path_type=Path), help="A folder that travels with the job."),
    click.option("--max-attempts", type=click.IntRange(1, 20), default=3, show_default=True, help="Tries, if a site is lost."),
    click.option("--time-limit", default="", metavar="1h", help="End a run that takes longer."),
    click.option("--duration", default="10m", show_default=True, help="How long you think it runs; compute is priced by it."),
    click.option("--site", "sites", multiple=True, help="Consider only this site; repeat for several."),
    click.option("--memory", default="", metavar="2GiB", help="Memory that it needs."),
    click.option("--gpu-type", default="", metavar="A10G", help="Type of GPU; any type without it."),
    click.option("--gpus", type=click.IntRange(0), default=0, help="GPUs that it needs."),
    click.option("--cpus", type=click.IntRange(0), default=1, show_default=True, help="CPUs that it needs."),
    click.option(
        "--output", "output_texts", multiple=True, metavar="[ALIAS=]DATASET[:MODEL]", help="A dataset that it writes."
    ),
    click.option("--input", "input_texts", multiple=True, metavar="[ALIAS=]DATASET[@N]", help="A dataset that it reads."),
)


def _describes_a_job(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that `submit` and `plan` share."""
    for option in _OPTIONS:
        function = option(function)
    return function


@verb(
    job,
    "submit",
    example="fed job submit --input flights=sales/flights --output model=ml/delay-model:MODEL \\\n"
    "    --gpus 1 --gpu-type A10G --working-dir . --wait -- python train.py",
)
@_describes_a_job
@click.option("--wait/--no-wait", default=False, show_default=True, help="Wait until it has ended.")
@click.option("--follow", is_flag=True, help="Print what it prints, and wait.")
def submit(
    session: Session,
    *,
    input_texts: tuple[str, ...],
    output_texts: tuple[str, ...],
    working_dir: Path | None,
    wait: bool,
    follow: bool,
    **options: Any,
) -> int:
    """Finds the best site for a job, explains the choice, and runs it there.

    In the job, `federation.inputs["ALIAS"]` and `federation.outputs["ALIAS"]` are its data. Exits with 6 when no site may or
    can run it, and with --wait or --follow with 8 when it failed.
    """
    request = jobs.request(inputs_=jobs.inputs(input_texts), outputs_=jobs.outputs(output_texts), **options)
    started = session.client.submit(request, working_dir)
    return jobs.answer(session, started, wait=wait, follow=follow)


@verb(job, "plan", example="fed job plan --input flights=sales/flights --assume-size 1TB -- python train.py")
@_describes_a_job
@click.option("--assume-size", multiple=True, metavar="[ALIAS=]1TB", help="Plan as if the inputs, or one, had this size.")
def plan(
    session: Session,
    *,
    input_texts: tuple[str, ...],
    output_texts: tuple[str, ...],
    working_dir: Path | None,
    assume_size: tuple[str, ...],
    **options: Any,
) -> int:
    """Tells where a job would run, at what cost, and why not elsewhere. Nothing is stored or started."""
    del working_dir  # what travels with a job changes no plan
    inputs = jobs.inputs(input_texts, assume_size)
    request = jobs.request(inputs_=inputs, outputs_=jobs.outputs(output_texts), **options)
    planned = session.client.plan(request)
    if session.output.json:
        session.output.item(planned)
    else:
        plans.show(session.output, planned)
    return exits.OK if planned.plan and planned.plan.choice else exits.REFUSED


@verb(job, "explain", example="fed job explain j-01k9...")
@click.argument("name", metavar="JOB")
def explain(session: Session, *, name: str) -> None:
    """Shows the plan that was stored with a job: why it runs where it runs."""
    found = session.client.get_job(_name(name))
    if session.output.json:
        session.output.item(found.plan) if found.plan else session.output.write_json(None)
    else:
        plans.show(session.output, found)


@verb(job, "list", example="fed job list --filter 'state = \"RUNNING\"'")
@click.option("--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'state = \"FAILED\"'.")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Show at most so many.")
def list_(session: Session, *, filter_: str, limit: int) -> None:
    """Lists jobs, newest first."""
    found = session.client.list_jobs(filter=filter_)
    session.output.rows(row for row, _ in zip(found, range(limit), strict=False))


@verb(job, "show", example="fed job show j-01k9... -o json")
@click.argument("name", metavar="JOB")
def show(session: Session, *, name: str) -> None:
    """Shows a job: what was asked, its state, its run."""
    found = session.client.get_job(_name(name))
    if session.output.json:
        session.output.item(found)
        return
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
    session.output.fields((name_, value) for name_, value in pairs if value)


@verb(job, "runs", example="fed job runs j-01k9...")
@click.argument("name", metavar="JOB")
def runs(session: Session, *, name: str) -> None:
    """Lists the runs of a job: one for each attempt."""
    session.output.rows(session.client.list_runs(_name(name)))


@verb(job, "logs", example="fed job logs -f j-01k9...", has_output=False)
@click.argument("name", metavar="JOB")
@click.option("-f", "--follow", is_flag=True, help="Go on until the job has ended.")
def logs(session: Session, *, name: str, follow: bool) -> None:
    """Prints what a job printed, byte by byte."""
    for data in session.client.logs(_name(name), follow=follow):
        session.output.bytes(data)


@verb(job, "cancel", example="fed job cancel j-01k9...")
@click.argument("name", metavar="JOB")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def cancel(session: Session, *, name: str, etag: str) -> None:
    """Asks for a job to end. It is CANCELLED once its site has stopped it."""
    session.output.outcome(session.client.cancel_job(_name(name), etag=etag))


@verb(job, "wait", example="fed job wait j-01k9... --timeout 30m")
@click.argument("name", metavar="JOB")
@click.option("--timeout", default="", metavar="30m", help="Wait no longer than this.")
def wait(session: Session, *, name: str, timeout: str) -> int:
    """Waits until a job has ended; exits with 8 when it failed, with 7 when that took too long."""
    ended = jobs.wait_for(session, session.client.get_job(_name(name)), units.parse_duration(timeout) if timeout else None)
    if session.output.json:
        session.output.item(ended)
    else:
        jobs.tell_end(session, ended)
    return exits.code_of_state(ended.state)


def _name(text: str) -> str:
    return ids.child(text, "jobs")
