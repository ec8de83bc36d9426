"""`fed pipeline`: jobs that feed each other, placed as a whole."""

from __future__ import annotations

from pathlib import Path

import click

from federation.cli import pipeline_file, pipelines
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import ids, units
from federation.core.pipeline import Pipeline

pipeline = noun("pipeline", "Jobs that feed each other, placed as a whole.")

_FILE = click.argument("file", metavar="FILE", type=click.Path(path_type=Path))


@verb(pipeline, "submit", answers=Pipeline, example="fed pipeline submit pipeline.yaml --wait")
@_FILE
@click.option("--dry-run", is_flag=True, help="Only plan it: nothing is stored or started.")
@click.option("--wait/--no-wait", default=False, show_default=True, help="Wait until it has ended.")
def submit(session: Session, *, file: Path, dry_run: bool, wait: bool) -> int:
    """Reads a pipeline from YAML, places its tasks as a whole, and runs each as soon as what it needs is there.

    Exits with 6 when no site may or can run one of its tasks, and with --wait with 8 when it failed.
    """
    found = pipeline_file.read(file)
    if dry_run:
        return pipelines.planned(session, session.client.create_pipeline(found.request, validate_only=True))
    made = session.client.submit_pipeline(found.request, found.working_dirs)
    return pipelines.answer(session, made, wait=wait)


@verb(pipeline, "plan", answers=Pipeline, example="fed pipeline plan pipeline.yaml")
@_FILE
def plan(session: Session, *, file: Path) -> int:
    """Tells where each task would run, what the whole would cost, and what is proven of it. Nothing is stored or started."""
    return pipelines.planned(session, session.client.create_pipeline(pipeline_file.read(file).request, validate_only=True))


@verb(pipeline, "list", answers=list[Pipeline], example="fed pipeline list --filter 'state = \"RUNNING\"'")
@click.option("--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'state = \"FAILED\"'.")
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Show at most so many.")
def list_(session: Session, *, filter_: str, limit: int) -> None:
    """Lists pipelines, newest first."""
    found = session.client.list_pipelines(filter=filter_)
    session.output.rows(row for row, _ in zip(found, range(limit), strict=False))


@verb(pipeline, "show", answers=Pipeline, example="fed pipeline show p-01k9...")
@click.argument("name", metavar="PIPELINE")
def show(session: Session, *, name: str) -> None:
    """Shows a pipeline: its tasks in order, where each runs at what cost, and what has become of it."""
    found = session.client.get_pipeline(_name(name))

    def draw() -> None:
        session.output.rows([found])
        session.output.line()
        pipelines.show(session.output, found)

    session.output.item(found, draw)


@verb(pipeline, "cancel", answers=Pipeline, example="fed pipeline cancel p-01k9...")
@click.argument("name", metavar="PIPELINE")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def cancel(session: Session, *, name: str, etag: str) -> None:
    """Asks for a pipeline and its live jobs to end. It is CANCELLED once all of them have."""
    session.output.outcome(session.client.cancel_pipeline(_name(name), etag=etag))


@verb(pipeline, "wait", answers=Pipeline, example="fed pipeline wait p-01k9... --timeout 30m")
@click.argument("name", metavar="PIPELINE")
@click.option("--timeout", default="", metavar="30m", help="Wait no longer than this.")
def wait(session: Session, *, name: str, timeout: str) -> int:
    """Waits until a pipeline has ended; exits with 8 when it failed, with 7 when that took too long."""
    found = session.client.get_pipeline(_name(name))
    ended = pipelines.wait_for(session, found, units.parse_duration(timeout) if timeout else None)
    session.output.item(ended, lambda: pipelines.tell_end(session, ended))
    return pipelines.code(ended)


def _name(text: str) -> str:
    return ids.child(text, "pipelines")
