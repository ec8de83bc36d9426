"""A pipeline on the command line: shown, waited for, and what its end means to the shell."""

from __future__ import annotations

from federation.cli import exits, output
from federation.cli.session import Session
from federation.core.pipeline import Pipeline, PipelineState
from federation.shown import pipelines, tables


def show(out: output.Output, found: Pipeline) -> None:
    """Prints the tasks in the order in which they can run, what they cost, and what is known of better placements."""
    out.show(tables.table(pipelines.rows(found), pipelines.COLUMNS))
    for part in pipelines.explained(found.plan) if found.plan else ():
        out.line(part) if isinstance(part, str) else out.show(part)
    if found.reason:
        out.line(f"{found.reason}: {found.detail}")


def planned(session: Session, found: Pipeline) -> int:
    """Shows a pipeline that was only thought of, and gives the exit code."""
    session.output.item(found, lambda: show(session.output, found))
    return exits.REFUSED if found.state is PipelineState.REJECTED else exits.OK


def answer(session: Session, found: Pipeline, *, wait: bool) -> int:
    """Shows a submitted pipeline, waits for it if asked, and gives the exit code."""
    out = session.output
    if out.for_people:
        out.line(found.pipeline)
        show(out, found)
    if wait and not found.state.terminal:
        found = wait_for(session, found)
    if not out.for_people:
        out.item(found)
    elif found.state.terminal:
        tell_end(session, found)
    else:
        out.say(f"watch it: fed pipeline show {found.pipeline}")
    return code(found)


def code(found: Pipeline) -> int:
    """The exit code that a pipeline's state stands for."""
    if found.state is PipelineState.REJECTED:
        return exits.REFUSED
    return exits.JOB_FAILED if found.state in (PipelineState.FAILED, PipelineState.CANCELLED) else exits.OK


def wait_for(session: Session, found: Pipeline, timeout_seconds: float | None = None) -> Pipeline:
    """The pipeline once it has ended; DeadlineExceeded when that takes longer than the caller is ready to wait."""
    with session.output.waiting(_now(found)) as tell:
        return session.client.wait_pipeline(
            found.pipeline, timeout_seconds, progress=lambda now: None if now.state.terminal else tell(_now(now))
        )


def _now(found: Pipeline) -> str:
    done = sum(row.state.terminal for row in found.tasks)
    live = ", ".join(f"{row.task} at {row.site}" for row in found.tasks if row.job and not row.state.terminal)
    return f"{found.pipeline} {found.state}: {done} of {len(found.tasks)} tasks have ended" + (f"; {live}" if live else "")


def tell_end(session: Session, found: Pipeline) -> None:
    """Says how a pipeline ended, what it went without, and where to look if it did not end well."""
    because = ": ".join(part for part in (found.reason, found.detail) if part)
    session.output.say(f"{found.pipeline} {found.state}" + (f" ({because})" if because else ""))
    for row in found.tasks:
        if row.left_out:
            session.output.say(f"{row.task} was left out: {row.left_out}")
    failed = next((row for row in found.tasks if str(row.state) == "FAILED" and row.job and not row.left_out), None)
    if failed is not None:
        session.output.say(f"what to do: `fed job logs {failed.job}` shows what task {failed.task} printed")
