"""A pipeline as people read it: each task with its site and its share of the cost, what was proven, and what it saves."""

from __future__ import annotations

from dataclasses import dataclass

from federation.cli import exits, output
from federation.cli.session import Session
from federation.core import tasks, units
from federation.core.pipeline import Pipeline, PipelinePlan, PipelineState, TaskPlan, TaskRun
from federation.shown import shapes, tables


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task as it is shown: what it waits for, where it is planned, and what has become of it."""

    task: str
    needs: tuple[str, ...]
    planned: TaskPlan | None
    run: TaskRun


def show(out: output.Output, found: Pipeline) -> None:
    """Prints the tasks in the order in which they can run, what they cost, and what is known of better placements."""
    out.show(tables.table(rows(found), _ROWS))
    if found.plan is not None:
        _plan(out, found.plan)
    if found.reason:
        out.line(f"{found.reason}: {found.detail}")


def rows(found: Pipeline) -> list[Row]:
    """The tasks, each after what it needs."""
    planned = {row.task: row for row in found.plan.tasks} if found.plan else {}
    runs = {row.task: row for row in found.tasks}
    specs = {spec.task: spec for spec in found.request.tasks}
    return [
        Row(task=name, needs=tasks.needs(specs[name]), planned=planned.get(name), run=runs[name])
        for name in tasks.order(found.request)
    ]


def _plan(out: output.Output, plan: PipelinePlan) -> None:
    if plan.tasks:
        out.line(f"cost: {units.usd(plan.cost_micros)}, {_proof(plan)}")
        out.line(_apart(plan))
    if plan.rejections:
        out.line()
        out.show(tables.table(plan.rejections, _REJECTIONS))
    for note in plan.notes:
        out.line(f"note: {note}")


def _proof(plan: PipelinePlan) -> str:
    how = plan.method.lower()
    if plan.proven:
        return f"proven to be the least ({how})"
    gap = (plan.cost_micros - plan.bound_micros) / max(1, plan.cost_micros)
    return f"the best that was found ({how}); proven: none is below {units.usd(plan.bound_micros)}, {gap:.2%} less"


def _apart(plan: PipelinePlan) -> str:
    if plan.separate_micros is None:
        return "each task by itself: a later one would find no site"
    saved = plan.separate_micros - plan.cost_micros
    return f"each task by itself: {units.usd(plan.separate_micros)}" + (f", {units.usd(saved)} more" if saved > 0 else "")


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


def _because(row: Row) -> str:
    return row.run.left_out or ": ".join(part for part in (row.run.reason, row.run.detail) if part)


def _money(micros: int | None) -> str:
    return "-" if micros is None else units.usd(micros)


_ROWS = (
    shapes.Column(heading="TASK", show=lambda row: row.task),
    shapes.Column(heading="AFTER", show=lambda row: ", ".join(row.needs) or "-"),
    shapes.Column(heading="SITE", show=lambda row: row.run.site or "-"),
    shapes.Column(heading="REGION", show=lambda row: row.planned.region if row.planned else "-"),
    shapes.Column(heading="OWN COST", show=lambda row: _money(row.planned and row.planned.own_micros), number=True),
    shapes.Column(heading="HANDED OVER", show=lambda row: _money(row.planned and row.planned.handover_micros), number=True),
    shapes.Column(heading="STATE", show=lambda row: "left out" if row.run.left_out else str(row.run.state)),
    shapes.Column(heading="JOB", show=lambda row: row.run.job or "-"),
    shapes.Column(heading="BECAUSE", show=_because),
)

_REJECTIONS = (
    shapes.Column(heading="TASK", show=lambda row: row.task),
    shapes.Column(heading="SET ASIDE", show=lambda row: row.site),
    shapes.Column(heading="REASON", show=lambda row: row.reason),
    shapes.Column(heading="BECAUSE", show=lambda row: row.detail),
    shapes.Column(heading="WAITING HELPS", show=lambda row: "perhaps" if row.resolvable else "no"),
)
