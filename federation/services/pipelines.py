"""Pipelines: a DAG of jobs that is placed as a whole, started task by task, and ended once, whatever dies on the way.

The stored pipeline and its jobs are all that is known: each step looks at them and does what is due, in one transaction, and
doing it again changes nothing. Nobody but a step makes a pipeline's jobs, so that each task has at most one that lives.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from datetime import datetime

from federation import ports
from federation.core import errors, ids, job, policy, tasks
from federation.core.job import JobState
from federation.core.pipeline import Pipeline, PipelinePlan, PipelineRequest, PipelineState, TaskRun, TaskSpec
from federation.services import authorization, jobs, scan
from federation.services import pipeline_plans as plans
from federation.services.context import Context

#: How many leases long a task waits for its site to come back before it is placed elsewhere, or left out.
PATIENCE_LEASES = 4
TASK_FAILED = "TASK_FAILED"
PARTS_TOO_FEW = "PARTS_TOO_FEW"
NO_SITE = "PIPELINE_NO_SITE"
_BAD = (JobState.FAILED, JobState.CANCELLED, JobState.REJECTED)


# What people ask


def plan_only(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, request: PipelineRequest, *, revision: int = 0
) -> Pipeline:
    """The pipeline as it would be placed now, stored nowhere."""
    tasks.check(request)
    for spec in request.tasks:
        authorization.require_inputs(tx, ctx, principal, spec.request)
    complete = plans.complete(tx, principal, request)
    return _rejected_or(_placed(tx, ctx, _new(tx, ctx, complete), revision))


def submit(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, request: PipelineRequest, *, revision: int = 0
) -> Pipeline:
    """Stores a pipeline, placed as a whole, and starts what needs nothing: or REJECTED, with every site's reason.

    InvalidArgument for a graph that cannot be run (see `tasks.check`) and for data that may not meet (RESIDENCY_CONTRADICTION).
    """
    planned = plan_only(tx, ctx, principal, request, revision=revision)
    stored = tx.insert(planned)
    tx.emit("pipeline.created", f"pipelines/{stored.pipeline}", stored)
    return stored if stored.state.terminal else _step(tx, ctx, stored, revision)


def get(tx: ports.Transaction, name: str) -> Pipeline:
    """One pipeline, `p-...` or `pipelines/p-...`; NotFound when it is not there."""
    key = ids.child(name, "pipelines")
    found = tx.get(Pipeline, key)
    if found is None:
        raise errors.NotFound(
            f"pipeline {key} does not exist", help="`fed pipeline list` shows what is there.", metadata={"pipeline": key}
        )
    return found


def cancel(tx: ports.Transaction, name: str, etag: str = "") -> Pipeline:
    """Asks for a pipeline and its live jobs to end; it is CANCELLED once all of them have.

    FailedPrecondition (PIPELINE_ENDED) when it ended otherwise; cancelling twice changes nothing.
    """
    stored = get(tx, name)
    if etag and etag != stored.etag:
        raise errors.Conflict(f"pipeline {stored.pipeline} has changed", help="Read it again and redo the change.")
    if stored.cancel_requested or stored.state is PipelineState.CANCELLED:
        return stored
    if stored.state.terminal:
        raise errors.FailedPrecondition(
            f"pipeline {stored.pipeline} is {stored.state} already",
            reason="PIPELINE_ENDED",
            metadata={"state": str(stored.state)},
        )
    return _kept(tx, stored, _ended(_stopped(tx, dataclasses.replace(_mirrored(tx, stored), cancel_requested=True))))


def advance(tx: ports.Transaction, ctx: Context, revision: int = 0) -> int:
    """Takes the next step of every live pipeline; returns how many it changed."""
    live = list(scan.every(tx, Pipeline, where={"live": "1"}))
    return sum(_step(tx, ctx, each, revision) != each for each in live)


# One step


def _step(tx: ports.Transaction, ctx: Context, stored: Pipeline, revision: int) -> Pipeline:
    now = _judged(_mirrored(tx, stored))
    if not _ending(now):
        now = _judged(_moved(tx, ctx, now, revision))
    if not _ending(now):
        now = _judged(_started(tx, ctx, now, revision))
    if _ending(now):
        now = _stopped(tx, now)
    return _kept(tx, stored, _ended(now))


def _ending(of: Pipeline) -> bool:
    """Whether nothing more is started: somebody asked for its end, or a task has failed."""
    return of.cancel_requested or bool(of.reason)


def _new(tx: ports.Transaction, ctx: Context, complete: PipelineRequest) -> Pipeline:
    name = ctx.ids.new("p")
    runs = tuple(TaskRun(task=spec.task) for spec in complete.tasks)
    return Pipeline(pipeline=name, request=complete, tasks=runs, uid=name, create_time=tx.now, update_time=tx.now)


def _rejected_or(planned: Pipeline) -> Pipeline:
    """The pipeline, REJECTED if its plan found no way to place it."""
    if not planned.reason:
        return planned
    over = tuple(each if each.state.terminal else dataclasses.replace(each, state=JobState.REJECTED) for each in planned.tasks)
    return dataclasses.replace(planned, state=PipelineState.REJECTED, tasks=over, end_time=planned.create_time)


def _kept(tx: ports.Transaction, before: Pipeline, now: Pipeline) -> Pipeline:
    """Stores what has changed and tells of it."""
    if now == before:
        return before
    end_time = tx.now if now.state.terminal else None
    stored = tx.replace(dataclasses.replace(now, update_time=tx.now, end_time=end_time))
    tx.emit(f"pipeline.{stored.state.lower()}", f"pipelines/{stored.pipeline}", stored)
    return stored


def _mirrored(tx: ports.Transaction, of: Pipeline) -> Pipeline:
    """The pipeline with its tasks' states taken from their jobs."""
    return dataclasses.replace(of, tasks=tuple(_mirror(tx, each) for each in of.tasks))


def _mirror(tx: ports.Transaction, each: TaskRun) -> TaskRun:
    if not each.job or each.state.terminal:
        return each
    found = jobs.get(tx, each.job)
    if _impossible(found):
        # Its site will never take it: the task has no job again, and is placed anew among the sites that are left.
        return dataclasses.replace(each, job="", state=JobState.PENDING, reason=found.reason, detail=found.detail)
    return dataclasses.replace(each, state=found.state, reason=found.reason, detail=found.detail)


def _impossible(found: job.Job) -> bool:
    """Whether a job ended because no site could take it: the one that it was sent to has become impossible."""
    return found.state in (JobState.REJECTED, JobState.FAILED) and found.plan is not None and found.plan.choice is None


def _judged(of: Pipeline) -> Pipeline:
    """Decides about failed tasks: an optional one is left out; any other, or too few optional ones left, ends the pipeline."""
    if _ending(of):
        return of
    optional = {spec.task for spec in of.request.tasks if spec.optional}
    over = tuple(_left_out(each) if each.task in optional else each for each in of.tasks)
    of = dataclasses.replace(of, tasks=over)
    for each in of.tasks:
        if each.state in _BAD and not each.left_out:
            why = ": ".join(part for part in (each.reason, each.detail) if part)
            return dataclasses.replace(of, reason=TASK_FAILED, detail=f"task {each.task} is {each.state}: {why}")
    lost = [each for each in of.tasks if each.left_out]
    if len(optional) - len(lost) < of.request.parts_min:
        told = "; ".join(f"{each.task}: {each.left_out}" for each in lost)
        detail = f"{of.request.parts_min} optional tasks must succeed, and of {len(optional)} were left out {told}"
        return dataclasses.replace(of, reason=PARTS_TOO_FEW, detail=detail)
    return of


def _left_out(each: TaskRun) -> TaskRun:
    if each.state not in _BAD or each.left_out:
        return each
    return dataclasses.replace(each, left_out=": ".join(part for part in (each.reason, each.detail) if part) or str(each.state))


def _stopped(tx: ports.Transaction, of: Pipeline) -> Pipeline:
    """Ends what has not ended: jobs are asked to, tasks without a job just end."""
    return dataclasses.replace(of, tasks=tuple(_stop(tx, each) for each in of.tasks))


def _stop(tx: ports.Transaction, each: TaskRun) -> TaskRun:
    if each.state.terminal:
        return each
    if not each.job:
        return dataclasses.replace(each, state=JobState.CANCELLED)
    return dataclasses.replace(each, state=jobs.cancel(tx, each.job).state)


def _ended(of: Pipeline) -> Pipeline:
    """The state that follows from those of its tasks."""
    if all(each.state.terminal for each in of.tasks):
        stopped = of.cancel_requested and any(each.state in _BAD and not each.left_out for each in of.tasks)
        state = PipelineState.FAILED if of.reason else PipelineState.CANCELLED if stopped else PipelineState.SUCCEEDED
        return dataclasses.replace(of, state=state)
    begun = any(each.job for each in of.tasks)
    return dataclasses.replace(of, state=PipelineState.RUNNING if begun else of.state)


# Placing


def _placed(tx: ports.Transaction, ctx: Context, of: Pipeline, revision: int) -> Pipeline:
    """Places what has not begun, as a whole with what runs; `reason` says why it cannot be. Optional tasks without a site go.

    Changes nothing that is stored. Raises what `pipeline_plans.bounds` raises.
    """
    excluded, fixed = _failed_at(tx, of), {each.task: each.site for each in of.tasks if each.job}
    while True:
        at = plans.look(tx, ctx, _rest(tx, of), revision=revision, fixed=fixed, excluded=excluded)
        options = plans.options(tx, ctx, at)
        without = {found.task: found for found in plans.unplaceable(options)}
        if not without:
            return _arranged(tx, ctx, of, at, options)
        required = [spec.task for spec in of.request.tasks if spec.task in without and not spec.optional]
        if required:
            return _refused(tx, of, without[required[0]], revision)
        of = _judged(dataclasses.replace(of, tasks=tuple(_without_site(each, without) for each in of.tasks)))
        if of.reason:
            return of


def _without_site(each: TaskRun, without: dict[str, plans.Option]) -> TaskRun:
    if each.task not in without:
        return each
    told = "; ".join(f"{row.site}: {row.detail}" for row in without[each.task].rejections)
    return dataclasses.replace(each, state=JobState.REJECTED, reason="NO_SITE", detail=told)


def _refused(tx: ports.Transaction, of: Pipeline, found: plans.Option, revision: int) -> Pipeline:
    told = "; ".join(f"{row.site}: {row.detail}" for row in found.rejections)
    plan = of.plan or PipelinePlan(revision=revision, decide_time=tx.now)
    plan = dataclasses.replace(plan, rejections=plans.rejected(found))
    detail = f"no site can run task {found.task}: {told or 'the federation has no site'}"
    return dataclasses.replace(of, plan=plan, reason=NO_SITE, detail=detail)


def _arranged(tx: ports.Transaction, ctx: Context, of: Pipeline, at: plans.Look, options: dict[str, plans.Option]) -> Pipeline:
    if not options:
        return of
    try:
        made = plans.place(tx, ctx, at, options)
    except errors.FailedPrecondition as refused:
        return dataclasses.replace(of, reason=refused.reason, detail=refused.message)
    sites = {row.task: row.site for row in made.tasks}
    moved = tuple(_moves(of, options, sites))
    runs = tuple(dataclasses.replace(each, site=sites.get(each.task, each.site)) for each in of.tasks)
    return dataclasses.replace(of, plan=_merged(of.plan, made, fixed=frozenset(at.fixed), notes=moved), tasks=runs)


def _moves(of: Pipeline, options: dict[str, plans.Option], sites: dict[str, str]) -> Iterator[str]:
    """Says of each task that goes elsewhere than was planned why."""
    for each in of.tasks:
        at = sites.get(each.task)
        if at is not None and each.site and each.site != at:
            why = next((f": {row.detail}" for row in options[each.task].rejections if row.site == each.site), "")
            yield f"{each.task} goes to {at} instead of {each.site}{why}"


def _merged(before: PipelinePlan | None, made: PipelinePlan, *, fixed: frozenset[str], notes: tuple[str, ...]) -> PipelinePlan:
    """The plan with the rest of it made anew. What has begun keeps what it was planned at, and adds to cost and bound alike."""
    if before is None:
        return made
    anew = {row.task: row for row in made.tasks if row.task not in fixed}
    kept = [anew.pop(row.task, row) for row in before.tasks]
    rows = (*kept, *anew.values())
    cost = sum(row.own_micros + row.handover_micros for row in rows)
    told = tuple(dict.fromkeys((*before.notes, *notes, *made.notes)))[-plans.NOTES_MAX :]
    gap = made.cost_micros - made.bound_micros
    return dataclasses.replace(
        made, tasks=rows, cost_micros=cost, bound_micros=cost - gap, separate_micros=before.separate_micros, notes=told
    )


def _failed_at(tx: ports.Transaction, of: Pipeline) -> dict[str, tuple[tuple[str, str], ...]]:
    """Sites that have become impossible for a task, and why, by what became of the jobs that were sent there."""
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    for state in (JobState.REJECTED, JobState.FAILED):
        for past in scan.every(tx, job.Job, where={"pipeline": of.pipeline, "state": str(state)}):
            if _impossible(past):
                task = past.request.task
                found[task] = (*found.get(task, ()), (past.request.sites[0], past.reason))
    return found


def _rest(tx: ports.Transaction, of: Pipeline) -> PipelineRequest:
    """The tasks that have not ended, with inputs at the versions that earlier tasks committed, and without those left out."""
    runs = {each.task: each for each in of.tasks}
    specs = {spec.task: spec for spec in of.request.tasks}
    left = tuple(_fed(tx, spec, runs, specs) for spec in of.request.tasks if not runs[spec.task].state.terminal)
    return dataclasses.replace(of.request, tasks=left)


def _fed(tx: ports.Transaction, spec: TaskSpec, runs: dict[str, TaskRun], specs: dict[str, TaskSpec]) -> TaskSpec:
    inputs = []
    for row in spec.request.inputs:
        before = runs.get(row.task)
        if before is None or not before.state.terminal:
            inputs.append(row)
        elif before.state is JobState.SUCCEEDED:
            inputs.append(_bound(tx, row, specs[row.task], before))
    after = tuple(name for name in spec.after if not runs[name].state.terminal)
    return dataclasses.replace(spec, request=dataclasses.replace(spec.request, inputs=tuple(inputs)), after=after)


def _bound(tx: ports.Transaction, row: job.InputSpec, maker: TaskSpec, before: TaskRun) -> job.InputSpec:
    """The input at the version that its task has committed."""
    target = ids.dataset(tasks.output(maker, row.output).dataset)
    run = jobs.get_run(tx, jobs.get(tx, before.job).run)
    made = next(name for name in map(ids.version, run.outputs) if name.dataset == target)
    return dataclasses.replace(row, dataset=target.short, version=made.number, task="", output="")


# Starting


def _started(tx: ports.Transaction, ctx: Context, of: Pipeline, revision: int) -> Pipeline:
    """Makes a job of each task whose inputs are there; where a planned site is out, places the rest again first."""
    due = _due(of)
    if not due:
        return of
    try:
        options = _options(tx, ctx, of, due, revision)
        if not all(each.site in options[each.task].costs for each in due):
            of = _placed(tx, ctx, of, revision)
    except errors.FederationError as refused:
        return dataclasses.replace(of, reason=refused.reason, detail=refused.message)
    if of.reason:
        return of
    rest = {spec.task: spec for spec in _rest(tx, of).tasks}
    begun = {each.task: _start(tx, ctx, of, rest[each.task], each) for each in _due(of)}
    return dataclasses.replace(of, tasks=tuple(begun.get(each.task, each) for each in of.tasks))


def _due(of: Pipeline) -> list[TaskRun]:
    """Tasks without a job, all of whose needs have ended."""
    over = {each.task for each in of.tasks if each.state.terminal}
    needs = {spec.task: tasks.needs(spec) for spec in of.request.tasks}
    return [each for each in of.tasks if not each.job and not each.state.terminal and over.issuperset(needs[each.task])]


def _options(tx: ports.Transaction, ctx: Context, of: Pipeline, due: list[TaskRun], revision: int) -> dict[str, plans.Option]:
    """Where the tasks whose inputs all exist could run now."""
    names = {each.task for each in due}
    specs = tuple(spec for spec in _rest(tx, of).tasks if spec.task in names)
    at = plans.look(tx, ctx, dataclasses.replace(of.request, tasks=specs), revision=revision, excluded=_failed_at(tx, of))
    return plans.options(tx, ctx, at)


def _start(tx: ports.Transaction, ctx: Context, of: Pipeline, spec: TaskSpec, each: TaskRun) -> TaskRun:
    """The task with its job; without one, REJECTED, where what it needs is not there any more."""
    asker = policy.Principal(name=of.request.principal, role=policy.Role.USER, groups=spec.request.groups)
    request = dataclasses.replace(spec.request, sites=(each.site,), pipeline=of.pipeline, task=each.task, env=_env(of, spec))
    try:
        # Refused here, before anything is stored: a refusal in mid-submission would leave half a job behind.
        jobs.plan_only(tx, ctx, asker, request)
    except errors.FederationError as refused:
        return dataclasses.replace(each, state=JobState.REJECTED, reason=refused.reason, detail=refused.message)
    made = jobs.submit(tx, ctx, asker, request)
    state = JobState.PENDING if _impossible(made) else made.state
    return dataclasses.replace(each, job=made.job, state=state, reason=made.reason, detail=made.detail)


def _env(of: Pipeline, spec: TaskSpec) -> tuple[tuple[str, str], ...]:
    """The task's environment; where it reads what optional tasks make, it hears which inputs it must go on without, and why."""
    asked = next(each for each in of.request.tasks if each.task == spec.task)
    optional = {each.task for each in of.request.tasks if each.optional}
    rows = [row for row in tasks.fed(asked.request) if row.task in optional]
    if not rows:
        return spec.request.env
    out = {each.task: each.left_out for each in of.tasks}
    told = {row.alias: out[row.task] for row in rows if out[row.task]}
    return tuple(sorted((*spec.request.env, (tasks.LEFT_OUT, json.dumps(told, sort_keys=True)))))


# Waiting too long


def _moved(tx: ports.Transaction, ctx: Context, of: Pipeline, revision: int) -> Pipeline:
    """Gives up waiting for a site that stays away: the task goes elsewhere, or, if enough others succeeded, is left out."""
    for each in of.tasks:
        if each.job and each.state is JobState.PENDING and _waited(tx, ctx, each):
            try:
                of = _elsewhere(tx, ctx, of, each, revision)
            except errors.FederationError as refused:
                return dataclasses.replace(of, reason=refused.reason, detail=refused.message)
    return of


def _waited(tx: ports.Transaction, ctx: Context, each: TaskRun) -> bool:
    waiting = jobs.get(tx, each.job)
    since: datetime | None = waiting.create_time
    if waiting.run:
        since = jobs.get_run(tx, waiting.run).end_time or since
    return since is None or since + PATIENCE_LEASES * ctx.lease <= tx.now


def _elsewhere(tx: ports.Transaction, ctx: Context, of: Pipeline, each: TaskRun, revision: int) -> Pipeline:
    option = _options(tx, ctx, of, [each], revision)[each.task]
    if each.site in option.costs and not option.waits:
        return of  # its site is well, and only busy
    if not option.waits and option.costs:
        freed = dataclasses.replace(each, job="", state=JobState.PENDING)
        placed = _placed(tx, ctx, _with(of, freed), revision)
        now = next(row for row in placed.tasks if row.task == each.task)
        if placed.reason or now.site == each.site:
            return of
        jobs.cancel(tx, each.job)
        return placed
    if not _dispensable(of, each):
        return of
    jobs.cancel(tx, each.job)
    why = option.waits.get(each.site) or next((row for row in option.rejections if row.site == each.site), None)
    told = f"{why.reason}: {why.detail}" if why else "no site can take it"
    return _with(of, dataclasses.replace(each, state=JobState.CANCELLED, left_out=told))


def _dispensable(of: Pipeline, each: TaskRun) -> bool:
    """Whether the pipeline can do without a task, because enough other optional ones have succeeded."""
    optional = {spec.task for spec in of.request.tasks if spec.optional}
    done = sum(row.state is JobState.SUCCEEDED for row in of.tasks if row.task in optional)
    return each.task in optional and 0 < of.request.parts_min <= done


def _with(of: Pipeline, changed: TaskRun) -> Pipeline:
    return dataclasses.replace(of, tasks=tuple(changed if row.task == changed.task else row for row in of.tasks))
