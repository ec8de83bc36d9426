"""A pipeline as people read it: its tasks in order and as a tree, what each costs, what was proven, and what it saves. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from rich.table import Table
from rich.text import Text

from federation.core import tasks, units
from federation.core.pipeline import Pipeline, PipelinePlan, TaskPlan, TaskRun
from federation.core.screen import safe
from federation.shown import shapes, tables
from federation.shown.lineage import Branch


@dataclass(frozen=True, kw_only=True)
class Row:
    """One task as it is shown: what it waits for, where it is planned, and what has become of it."""

    task: str
    needs: tuple[str, ...]
    planned: TaskPlan | None
    run: TaskRun

    @property
    def state(self) -> str:
        """What has become of it, in a word or two."""
        return "left out" if self.run.left_out else str(self.run.state)

    @property
    def because(self) -> str:
        """Why it is so."""
        return self.run.left_out or ": ".join(part for part in (self.run.reason, self.run.detail) if part)


def rows(found: Pipeline) -> list[Row]:
    """The tasks, each after what it needs."""
    planned = {row.task: row for row in found.plan.tasks} if found.plan else {}
    runs = {row.task: row for row in found.tasks}
    specs = {spec.task: spec for spec in found.request.tasks}
    return [
        Row(task=name, needs=tasks.needs(specs[name]), planned=planned.get(name), run=runs[name])
        for name in tasks.order(found.request)
    ]


def branches(found: Pipeline) -> list[Branch]:
    """The tasks as trees, each once: below the last of those that it needs, which names the others. Each has its job's name."""
    listed = rows(found)
    at = {row.task: number for number, row in enumerate(listed)}
    grown: dict[str, list[Branch]] = {"": []}
    for row in reversed(listed):
        *others, last = sorted(row.needs, key=lambda name: at[name]) or [""]
        below = tuple(reversed(grown.get(row.task, [])))
        name = f"jobs/{row.run.job}" if row.run.job else ""
        grown.setdefault(last, []).append(Branch(label=_line(row, others), name=name, below=below))
    return grown[""][::-1]


def _line(row: Row, others: list[str]) -> Text:
    """`report  PENDING at eu-2  also after clean  $0.02 + $0.009`: what it costs itself, and what it is handed."""
    label = Text.assemble((safe(row.task), "bold"), f"  {row.state}", f" at {safe(row.run.site)}" if row.run.site else "")
    if others:
        label.append(f"  also after {safe(', '.join(others))}", "dim")
    if row.planned is not None:
        handed = f" + {units.usd(row.planned.handover_micros)}" if row.planned.handover_micros else ""
        label.append(f"  {units.usd(row.planned.own_micros)}{handed}")
    if row.because:
        label.append(f"  {safe(row.because)}", "dim")
    return label


def explained(plan: PipelinePlan) -> Iterator[str | Table]:
    """What the whole costs, what is proven of that, what placing each task by itself would cost, why sites were set aside."""
    if plan.tasks:
        yield f"cost: {units.usd(plan.cost_micros)}, {_proof(plan)}"
        yield _apart(plan)
    if plan.rejections:
        yield ""
        yield tables.table(plan.rejections, _REJECTIONS)
    yield from (f"note: {note}" for note in plan.notes)


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


def _money(micros: int | None) -> str:
    return "-" if micros is None else units.usd(micros)


COLUMNS = (
    shapes.Column(heading="TASK", show=lambda row: row.task),
    shapes.Column(heading="AFTER", show=lambda row: ", ".join(row.needs) or "-"),
    shapes.Column(heading="SITE", show=lambda row: row.run.site or "-"),
    shapes.Column(heading="REGION", show=lambda row: row.planned.region if row.planned else "-"),
    shapes.Column(heading="OWN COST", show=lambda row: _money(row.planned and row.planned.own_micros), number=True),
    shapes.Column(heading="HANDED OVER", show=lambda row: _money(row.planned and row.planned.handover_micros), number=True),
    shapes.Column(heading="STATE", show=lambda row: row.state),
    shapes.Column(heading="JOB", show=lambda row: row.run.job or "-"),
    shapes.Column(heading="BECAUSE", show=lambda row: row.because),
)

_REJECTIONS = (
    shapes.Column(heading="TASK", show=lambda row: row.task),
    shapes.Column(heading="SET ASIDE", show=lambda row: row.site),
    shapes.Column(heading="REASON", show=lambda row: row.reason),
    shapes.Column(heading="BECAUSE", show=lambda row: row.detail),
    shapes.Column(heading="WAITING HELPS", show=lambda row: "perhaps" if row.resolvable else "no"),
)
