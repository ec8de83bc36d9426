"""One job placed: planned in the world as it is, and the plan followed, to a run, to copies that come first, or to waiting."""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import decision, errors, job, lifecycle, planner, units
from federation.services import decisions, placement, runs, transfers
from federation.services.context import Context

WAITING_FOR_CAPACITY = "WAITING_FOR_CAPACITY"
INPUTS_STAGING = "INPUTS_STAGING"
QUEUED = "QUEUED"
#: Rejections of a site that has room for a job when others have ended.
FULL_REASONS = frozenset({"GPUS_EXHAUSTED", "CPUS_EXHAUSTED", "MEMORY_EXHAUSTED"})
CAPACITY_REASONS = FULL_REASONS | {QUEUED}


def think(
    tx: ports.Transaction,
    ctx: Context,
    waiting: job.Job,
    *,
    revision: int = 0,
    seen: placement.View | None = None,
    at: str = "",
) -> job.Plan:
    """The plan of a stored job as of now; `at` is the site that was chosen for it among many jobs.

    Why no site can take it is not explained once more where it is what the job's own plan says.
    """
    seen = seen or placement.view(tx, ctx)
    with ctx.telemetry.stage("plan"):
        world = placement.world(tx, ctx, waiting.request, revision=revision, of=waiting, seen=seen)
        decision = planner.decide(transfers.asked_again(tx, waiting), world, ground=seen.prepared)
        refused = None if decision.ranked else decision.plan(explain=False)
        return refused if refused and says_no_more(waiting, refused) else decision.plan(at=at)


def says_no_more(waiting: job.Job, plan: job.Plan) -> bool:
    """Whether a plan chooses and refuses what a job's own plan does: then the job may keep that one."""
    before = waiting.plan
    return before is not None and before.rejections == plan.rejections and _chosen(before) == _chosen(plan)


def refuse(tx: ports.Transaction, ctx: Context, waiting: job.Job, refused: errors.FederationError) -> job.Job:
    """Ends a job that nothing can be planned for any more: an input was deleted, or residencies now exclude each other."""
    return _refuse(tx, ctx, dataclasses.replace(waiting, reason=refused.reason, detail=refused.message), None)


def ready(plan: job.Plan) -> bool:
    """Whether a run can begin now as planned: there is room, and all that is to be copied first is there."""
    choice = plan.choice
    return choice is not None and not choice.wait_seconds and not any(_copied(item) for item in choice.inputs)


def follow(tx: ports.Transaction, ctx: Context, waiting: job.Job, plan: job.Plan) -> job.Job:
    """Does what a plan says. A waiting job is looked at each second: a plan that says no more than before changes nothing."""
    if ready(plan):
        placed, _ = runs.begin(tx, ctx, dataclasses.replace(waiting, plan=plan, transfers=()))
        return placed
    choice = plan.choice
    if choice is None:
        reason, detail = why_not(plan)
        if not planner.waits(plan):
            return _refuse(tx, ctx, dataclasses.replace(waiting, plan=plan, reason=reason, detail=detail), plan)
        return wait(tx, ctx, waiting, plan, reason, detail=detail)
    if choice.wait_seconds:
        detail = f"{choice.site} is expected to have room in {units.duration(choice.wait_seconds)}"
        return wait(tx, ctx, waiting, plan, WAITING_FOR_CAPACITY, detail=detail)
    names = transfers.stage(tx, ctx, waiting, plan)
    detail = f"it waits for {len(names)} transfer{'s' if len(names) > 1 else ''} of its inputs"
    return wait(tx, ctx, waiting, plan, INPUTS_STAGING, detail=detail, names=names)


def wait(
    tx: ports.Transaction,
    ctx: Context,
    waiting: job.Job,
    plan: job.Plan,
    reason: str,
    *,
    detail: str,
    names: tuple[str, ...] = (),
) -> job.Job:
    """Leaves a job PENDING with a reason; stored only where it says something new, a decision only where the reason is."""
    before = waiting.plan
    # A site's figures in the detail of a rejection move all the time; who waits in the queue is told why as it changes.
    told = reason != QUEUED or waiting.detail == detail
    # Full and queued behind others are one state to who waits: at a busy site each run that ends would rewrite them all.
    if before is not None and waiting.reason != reason and {waiting.reason, reason} <= CAPACITY_REASONS:
        return waiting
    if says_no_more(waiting, plan) and told and (waiting.reason, waiting.transfers) == (reason, names):
        return waiting
    left = dataclasses.replace(waiting, plan=plan, reason=reason, detail=detail, transfers=names)
    known = before is not None and (waiting.reason, _chosen(before), waiting.transfers) == (reason, _chosen(plan), names)
    if not known:
        outcome = decision.Outcome.COPIES_FIRST if names else decision.Outcome.WAITING
        left = decisions.tell(tx, ctx, left, plan, outcome)
    return runs.put_job(tx, left)


def why_not(plan: job.Plan) -> tuple[str, str]:
    """The reason that all sites share, or NO_SITE, and each site's own detail, those that may pass by waiting first."""
    told = sorted(plan.rejections, key=lambda rejection: not rejection.resolvable)
    reasons = {rejection.reason for rejection in told if rejection.resolvable} or {rejection.reason for rejection in told}
    detail = "; ".join(f"{rejection.site}: {rejection.detail}" for rejection in told)
    return (reasons.pop() if len(reasons) == 1 else "NO_SITE"), detail or "the federation has no site"


def end_job(tx: ports.Transaction, ending: job.Job, event: str) -> job.Job:
    """Ends a job by an event of the lifecycle table, where no run of it has to end too."""
    return runs.put_job(tx, dataclasses.replace(ending, state=lifecycle.next_state(ending.state, event)))


def _refuse(tx: ports.Transaction, ctx: Context, ending: job.Job, plan: job.Plan | None) -> job.Job:
    return end_job(tx, decisions.tell(tx, ctx, ending, plan, decision.Outcome.REFUSED), _refusal(ending))


def _refusal(waiting: job.Job) -> str:
    """The event that ends a job which cannot be planned any more: `refused` if it never ran, `failed` if it did."""
    return "failed" if waiting.attempt else "refused"


def _copied(item: job.InputPlan) -> bool:
    """Whether the plan copies the input first, to the site itself or to a relay on the way."""
    return item.way is job.Way.COPY or bool(item.via_site)


def _chosen(plan: job.Plan) -> str:
    return plan.choice.site if plan.choice else ""
