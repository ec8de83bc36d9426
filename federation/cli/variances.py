"""Estimates beside what was metered, as people read them: `fed job variance` and `fed cost variance`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from federation.cli.formats import Together
from federation.cli.output import Output
from federation.core import units
from federation.core.job import Job, JobState
from federation.core.variance import Variance
from federation.shown import plans, shapes, tables


@dataclass(frozen=True, kw_only=True)
class Sums(Together):
    """Estimates beside what was metered: by key, and in all."""

    variances: tuple[Variance, ...]
    total: Variance


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """Where all inputs would have been brought, and for how much, as it was priced when the job was placed."""

    baseline_site: str
    baseline_egress_micros: int | None


@dataclass(frozen=True, kw_only=True)
class JobVariance(Together):
    """A job's estimates beside what was metered: of each input, in all, and the baseline that was frozen."""

    job: str
    inputs: tuple[Variance, ...]
    total: Variance
    baseline: Baseline


def show(out: Output, heading: str, rows: Sequence[Variance], total: Variance) -> None:
    """Sums by one key, with the total in the last line."""
    drawn = tables.table([*rows, total], _columns(heading, [*rows, total]))
    out.item(Sums(variances=tuple(rows), total=total), lambda: out.show(drawn), rows=rows)


def show_job(out: Output, found: Job, rows: Sequence[Variance], total: Variance) -> None:
    """One job: each input, the whole, and the baseline that was frozen when it was placed."""
    plan = found.plan
    frozen = Baseline(
        baseline_site=plan.baseline_site if plan else "", baseline_egress_micros=plan.baseline_egress_micros if plan else None
    )
    told = JobVariance(job=found.job, inputs=tuple(rows), total=total, baseline=frozen)
    out.item(told, lambda: _draw(out, found, rows, total), rows=rows)


def _draw(out: Output, found: Job, rows: Sequence[Variance], total: Variance) -> None:
    plan = found.plan
    baseline = plan.baseline_egress_micros if plan else None
    if found.state is not JobState.SUCCEEDED:
        out.say(f"{found.job} is {found.state}: estimates are compared once it has succeeded")
        return
    out.show(tables.table([*rows, total], _columns("input", [*rows, total])))
    out.line(f"time: {plans.span(total.estimate_seconds)} estimated, {plans.span(total.run_seconds)} taken")
    if plan and plan.baseline_site and baseline is not None:
        out.line(f"baseline: {units.usd(baseline)}, bringing all inputs to {plan.baseline_site}, as it was priced then")
        out.line(f"avoided: {units.usd(baseline - total.charge_micros)} against that")


def _columns(heading: str, rows: Sequence[Variance]) -> list[shapes.Column]:
    timed = any(row.estimate_seconds for row in rows[:-1])
    time = (
        shapes.Column(heading="EST. TIME", show=lambda row: plans.span(row.estimate_seconds), number=True),
        shapes.Column(heading="TIME", show=lambda row: plans.span(row.run_seconds), number=True),
        shapes.Column(heading="OFF BY", show=lambda row: f"{row.time_error:.0%}", number=True),
    )
    return [
        shapes.Column(heading=heading.upper(), show=lambda row: row.key or "total"),
        shapes.Column(heading="RUNS", show=lambda row: f"{row.runs:,}", number=True),
        shapes.Column(heading="EST. READ", show=lambda row: units.size(row.estimate_bytes), number=True),
        shapes.Column(heading="READ", show=lambda row: units.size(row.metered_bytes), number=True),
        shapes.Column(heading="OFF BY", show=lambda row: f"{row.bytes_error:.0%}", number=True),
        shapes.Column(heading="EST. COST", show=lambda row: plans.brief(row.estimate_micros), number=True),
        shapes.Column(heading="CHARGE", show=lambda row: plans.brief(row.charge_micros), number=True),
        shapes.Column(heading="OFF BY", show=lambda row: f"{row.cost_error:.0%}", number=True),
        *(time if timed else ()),
    ]
