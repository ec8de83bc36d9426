"""A plan as people read it: the choice with each part of its cost, the ranking, and why every other site was set aside."""

from __future__ import annotations

from federation.cli import output, shapes
from federation.cli.output import Output
from federation.core import units
from federation.core.job import Candidate, InputPlan, Job, Plan, Way


def show(out: Output, job: Job) -> None:
    """Prints the whole explanation to stdout."""
    plan = job.plan
    if plan is None:
        out.say("it has no plan yet")
        return
    if plan.choice is None:
        out.line("no site can run it")
    else:
        _choice(out, plan.choice, plan)
        _ranking(out, plan)
    if plan.rejections:
        out.line()
        out.show(output.table(plan.rejections, _REJECTIONS))
    for note in plan.notes:
        out.line(f"note: {note}")


def _choice(out: Output, choice: Candidate, plan: Plan) -> None:
    out.line(f"chosen: {choice.site} ({choice.region}), {units.usd(choice.total_micros)}")
    out.line(
        f"  compute  {units.usd(choice.compute_micros)}" + (f"   {choice.compute_source}" if choice.compute_source else "")
    )
    out.line(f"  egress   {units.usd(choice.egress_micros)}   {units.size(choice.egress_bytes)} leave a region")
    if choice.inputs:
        out.show(output.table(choice.inputs, _INPUTS))
    out.line(_margin(plan))
    if avoided := _avoided(choice, plan):
        out.line(avoided)


def _margin(plan: Plan) -> str:
    if len(plan.ranked) < 2:
        return "runner-up: none, every other site was set aside"
    first, second = plan.ranked[:2]
    margin = second.total_micros - first.total_micros
    return f"runner-up: {second.site}, dearer by {units.usd(margin)}; it would win if it were cheaper by more than that"


def _avoided(choice: Candidate, plan: Plan) -> str:
    if not plan.baseline_site:
        return ""
    if plan.baseline_site == choice.site:
        return "avoided: nothing, compute is cheapest here as well"
    if plan.baseline_egress_micros is None:
        return f"avoided: unknown, a price for bringing all inputs to {plan.baseline_site} is not known"
    avoided = plan.baseline_egress_micros - choice.egress_micros
    return f"avoided: {units.usd(avoided)}, against bringing all inputs to {plan.baseline_site}, where compute is cheapest"


def _ranking(out: Output, plan: Plan) -> None:
    if len(plan.ranked) > 1:
        out.line()
        out.show(output.table(list(enumerate(plan.ranked, 1)), _RANKING))


def _way(row: InputPlan) -> str:
    if row.way is Way.LOCAL:
        return "read in place"
    return f"read from {row.source_site}"


_INPUTS = (
    shapes.Column(heading="  INPUT", show=lambda row: f"  {row.alias}"),
    shapes.Column(heading="VERSION", show=lambda row: f"{row.dataset}@{row.version}"),
    shapes.Column(heading="HOW", show=_way),
    shapes.Column(heading="FROM", show=lambda row: row.source_region),
    shapes.Column(heading="TO", show=lambda row: row.destination_region),
    shapes.Column(heading="SIZE", show=lambda row: units.size(row.bytes), number=True),
    shapes.Column(heading="EGRESS", show=lambda row: units.usd(row.egress_micros), number=True),
    shapes.Column(heading="PRICE FROM", show=lambda row: row.price_source or "-"),
)

_RANKING = (
    shapes.Column(heading="RANK", show=lambda row: str(row[0]), number=True),
    shapes.Column(heading="SITE", show=lambda row: row[1].site),
    shapes.Column(heading="REGION", show=lambda row: row[1].region),
    shapes.Column(heading="COMPUTE", show=lambda row: units.usd(row[1].compute_micros), number=True),
    shapes.Column(heading="EGRESS", show=lambda row: units.usd(row[1].egress_micros), number=True),
    shapes.Column(heading="TOTAL", show=lambda row: units.usd(row[1].total_micros), number=True),
    shapes.Column(heading="LOCALITY", show=lambda row: f"{row[1].locality:.0%}", number=True),
)

_REJECTIONS = (
    shapes.Column(heading="SET ASIDE", show=lambda row: row.site),
    shapes.Column(heading="REASON", show=lambda row: row.reason),
    shapes.Column(heading="BECAUSE", show=lambda row: row.detail),
    shapes.Column(heading="WAITING HELPS", show=lambda row: "perhaps" if row.resolvable else "no"),
)
