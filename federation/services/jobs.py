"""Jobs: submitted, placed, taken by an agent, run, and ended once, whatever dies on the way.

What makes "at most one attempt commits" true: writes of the catalog run one after another, a job names its one current run, and
only that run, while live, may take a step. Whoever comes late hears RUN_SUPERSEDED, and whoever repeats hears the same answer.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta

from federation import ports
from federation.core import columns, dataset, errors, grants, ids, job, kinds, lifecycle, lineage, planner, policy, site
from federation.crypto import grants as signed
from federation.services import (
    access,
    authorization,
    cards,
    datasets,
    outputs,
    placement,
    placing,
    queue,
    requests,
    runs,
    scan,
    sites,
    transfers,
)
from federation.services.context import Context
from federation.services.disclosure import Disclosure

#: Reasons with which a run fails for good: the same would happen again.
FINAL_REASONS = frozenset({"ENTRYPOINT_FAILED", "DURATION_EXCEEDED", "DATASET_DELETED", "VERSION_ERASED"})
LEASE_LOST = "LEASE_LOST"
STOPPED_BEFORE_START = "STOPPED_BEFORE_START"
#: Reasons with which the catalog ended a run by itself, so that its agent may not know.
UNTOLD_REASONS = frozenset({LEASE_LOST, STOPPED_BEFORE_START})
#: How many leases long, and of how many runs, a site is told to stop what ended without it. Heartbeats tell it of all others.
UNTOLD_LEASES = 20
UNTOLD_MAX = 100

get = runs.get_job
get_run = runs.get


# What people ask


def plan_only(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, request: job.JobRequest, *, brief: bool = False
) -> job.Job:
    """The job as it would be placed now, stored nowhere; sizes may be assumed. `brief` tells of choice and runner-up alone."""
    authorization.require_inputs(tx, ctx, principal, request)
    complete = requests.complete(tx, principal, request, assuming=True)
    outputs.settle(tx, complete)
    seen = placement.view(tx, ctx)
    with ctx.telemetry.stage("plan"):
        world = placement.world(tx, ctx, complete, revision=tx.revision(), seen=seen)
        decision = planner.decide(complete, world, ground=seen.prepared)
        plan = decision.brief() if brief else decision.plan()
    thought = job.Job(job=ctx.ids.new("j"), request=complete, plan=plan, create_time=tx.now, update_time=tx.now)
    if plan.choice is not None:
        return dataclasses.replace(thought, state=lifecycle.next_state(thought.state, "placed"))
    reason, detail = placing.why_not(plan)
    state = thought.state if planner.waits(plan) else lifecycle.next_state(thought.state, "refused")
    return dataclasses.replace(thought, state=state, reason=reason, detail=detail)


def submit(
    tx: ports.Transaction,
    ctx: Context,
    principal: policy.Principal,
    request: job.JobRequest,
    *,
    package_known: bool = True,
) -> job.Job:
    """Stores a job and places it: PLACED, PENDING where waiting may help, or REJECTED with every site's reason.

    Its input versions are fixed and its outputs bound now. Output datasets are made unless it is REJECTED: a refusal
    changes nothing but itself. `package_known` is whether the working directory's package is there, which no transaction sees.
    """
    if request.working_dir and not package_known:
        raise errors.FailedPrecondition(
            f"there is no package {request.working_dir}", reason="PACKAGE_MISSING", help="Upload the working directory first."
        )
    authorization.require_inputs(tx, ctx, principal, request)
    complete = requests.complete(tx, principal, request, assuming=False)
    requests.require_unused(tx, complete)
    targets = outputs.settle(tx, complete)
    name = ctx.ids.new("j")
    stored = tx.insert(
        job.Job(
            job=name,
            request=complete,
            uid=name,
            create_time=tx.now,
            update_time=tx.now,
            traceparent=ctx.telemetry.trace(),
        )
    )
    position = tx.emit("job.created", f"jobs/{stored.job}", stored)
    seen = placement.view(tx, ctx)
    with ctx.telemetry.stage("plan"):
        plan = planner.plan(complete, placement.world(tx, ctx, complete, revision=position, seen=seen), ground=seen.prepared)
    if plan.choice is not None or planner.waits(plan):
        outputs.ensure(tx, ctx, targets, by=f"jobs/{stored.job}")
    return queue.offer(tx, ctx, stored, plan)


def name_package(tx: ports.Transaction, principal: policy.Principal, alias: str, digest: str) -> None:
    """Makes the caller's `alias` stand for the package `digest` from now on; jobs submitted before keep theirs."""
    _check_alias(alias)
    stored = tx.get(kinds.PackageAlias, f"{principal.name}/{alias}")
    named = kinds.PackageAlias(principal=principal.name, alias=alias, digest=digest)
    if stored is not None and stored.digest == digest:
        return
    if stored is None:
        tx.insert(named)
    else:
        tx.replace(named)
    tx.emit("package.named", f"packages/{digest}", named)


def named_package(tx: ports.Transaction, principal: policy.Principal, alias: str) -> str:
    """The digest of the package that the caller calls so; NotFound (PACKAGE_MISSING) where they call none so."""
    _check_alias(alias)
    stored = tx.get(kinds.PackageAlias, f"{principal.name}/{alias}")
    if stored is None:
        raise errors.NotFound(f"you have no package {alias!r}", reason="PACKAGE_MISSING", help="Upload it first.")
    return stored.digest


def _check_alias(alias: str) -> None:
    if not ids.PACKAGE_ALIAS.fullmatch(alias):
        raise errors.InvalidArgument(
            f"{alias!r} cannot name a package",
            reason="NAME_INVALID",
            help="Use 1 to 200 of letters, digits, '.', '_' and '-', beginning with a letter, a digit or '_'.",
            violations={"alias": f"must match {ids.PACKAGE_ALIAS.pattern}"},
        )


def cancel(tx: ports.Transaction, name: str, etag: str = "") -> job.Job:
    """Asks for a job to end. At once where no agent has it; else its site stops it, or its lease runs out.

    FailedPrecondition (JOB_ENDED) when it ended otherwise; cancelling twice changes nothing.
    """
    stored = get(tx, name)
    if etag and etag != stored.etag:
        raise errors.Conflict(f"job {stored.job} has changed", help="Read it again and redo the change.")
    if stored.cancel_requested or stored.state is job.JobState.CANCELLED:
        return stored
    if stored.state.terminal:
        raise errors.FailedPrecondition(
            f"job {stored.job} is {stored.state} already", reason="JOB_ENDED", metadata={"state": str(stored.state)}
        )
    asked = dataclasses.replace(stored, cancel_requested=True)
    if stored.state is job.JobState.PENDING:
        # What it waited for is no reason any more.
        return placing.end_job(tx, dataclasses.replace(asked, reason="", detail="", transfers=()), "cancelled")
    if stored.state is job.JobState.PLACED:
        # No agent has taken it: if one is about to, it hears RUN_SUPERSEDED and drops it.
        detail = "cancelled before its site took it"
        runs.end(tx, stored, get_run(tx, stored.run), "cancelled", reason=STOPPED_BEFORE_START, detail=detail)
        return placing.end_job(tx, asked, "cancelled")
    return runs.put_job(tx, asked)


def open_logs(tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: str) -> grants.Grant:
    """Lets a person read what a job's newest run printed, at that run's site.

    PermissionDenied (LOGS_HIDDEN) for a job whose data they may not know of: it may print whatever it reads.
    """
    stored = get(tx, name)
    if not Disclosure(tx, ctx, principal).sees_job(stored.request):
        raise errors.PermissionDenied(
            f"{principal.name} may not read what job {stored.job} prints: it is about data that they may not know of",
            reason="LOGS_HIDDEN",
            help="Ask whoever submitted it.",
            metadata={"job": stored.job},
        )
    if not stored.run:
        raise errors.FailedPrecondition(
            f"job {stored.job} is {stored.state} and has not run",
            reason="LOGS_NOT_YET",
            help=f"`fed job explain {stored.job}` says why.",
        )
    run = get_run(tx, stored.run)
    sites.require_ready(sites.get_site(tx, run.site))
    given = grants.Grant(
        grant=ctx.ids.new("a"),
        access=grants.Access.LOGS,
        subject=principal.name,
        site=run.site,
        run=run.run,
        attempt=run.attempt,
        issue_time=tx.now,
        expire_time=tx.now + ctx.grant_life,
    )
    tx.emit("logs.opened", run.run, given)
    return given


# What agents are told


def instructions(tx: ports.Transaction, ctx: Context, at: str) -> tuple[job.StartRun | job.StopRun, ...]:
    """All that is due now at a site: runs to start, also those that its agent may have forgotten, and runs to stop.

    Asking changes nothing. A run is named again until it is over, so an agent acts on each name once.
    """
    due: list[job.StartRun | job.StopRun] = []
    for state in runs.LIVE:
        for run in scan.every(tx, job.Run, where={"site": at, "state": str(state)}):
            stored = get(tx, run.job)
            reason = _stop_reason(tx, stored, run)
            due.append(job.StopRun(run=run.run, reason=reason) if reason else _start(tx, ctx, stored, run))
    due += [job.StopRun(run=run.run, reason=run.reason) for run in _untold(tx, ctx, at)]
    return tuple(due)


def _stop_reason(tx: ports.Transaction, stored: job.Job, run: job.Run) -> str:
    if stored.cancel_requested:
        return "CANCELLED"
    return "DURATION_EXCEEDED" if _overdue(tx, stored, run) else ""


def _overdue(tx: ports.Transaction, stored: job.Job, run: job.Run) -> bool:
    limit = stored.request.duration_limit_seconds
    return bool(limit and run.start_time and run.start_time + timedelta(seconds=limit) <= tx.now)


def _untold(tx: ports.Transaction, ctx: Context, at: str) -> Iterator[job.Run]:
    """Runs that the catalog ended by itself a short while ago, of which their site may not know yet."""
    since = tx.now - UNTOLD_LEASES * ctx.lease
    for state in (job.JobState.FAILED, job.JobState.CANCELLED):
        where = {"site": at, "state": str(state)}
        for run in tx.list(job.Run, where=where, limit=UNTOLD_MAX, newest_first=True):
            if run.reason in UNTOLD_REASONS and run.end_time and run.end_time >= since:
                yield run


def _start(tx: ports.Transaction, ctx: Context, stored: job.Job, run: job.Run) -> job.StartRun:
    chosen = stored.plan.choice if stored.plan else None
    reader = sites.get_site(tx, run.site)
    return job.StartRun(
        job=stored,
        run=run,
        inputs=tuple(_input(tx, ctx, run, spec, reader) for spec in chosen.inputs) if chosen else (),
        outputs=tuple(_output(tx, spec) for spec in stored.request.outputs),
    )


def _input(tx: ports.Transaction, ctx: Context, run: job.Run, spec: job.InputPlan, reader: site.Site) -> job.InputAssignment:
    record = tx.get(kinds.GrantRecord, access.run_grant_id(run.run, spec.alias))
    if record is None:
        raise AssertionError(f"{run.run} was placed without a grant for {spec.alias}")
    source = sites.get_site(tx, spec.source_site)
    uid = datasets.get_dataset(tx, ids.dataset(spec.dataset)).uid
    grant = access.run_grant(ctx, record, run=run, dataset_uid=uid, source=source, reader=reader)
    return job.InputAssignment(
        plan=spec,
        grant=signed.sign(ctx.grant_key, grant),
        gateway=source.gateway,
        signing_key=source.signing_key,
        dataset_uid=uid,
    )


def _output(tx: ports.Transaction, spec: job.OutputSpec) -> job.OutputAssignment:
    target = datasets.get_dataset(tx, ids.dataset(spec.dataset))
    return job.OutputAssignment(alias=spec.alias, dataset=target.name.short, dataset_uid=target.uid)


# What agents say


def accept_run(tx: ports.Transaction, ctx: Context, at: str, name: str, submission_id: str) -> job.Run:
    """The site's agent takes a run: from here on it will start it. Taking it twice changes nothing but the lease."""
    stored, run = _current(tx, at, name)
    lease_time = tx.now + ctx.lease
    if run.state is not job.JobState.PLACED:
        return tx.replace(dataclasses.replace(run, lease_time=lease_time))
    return runs.step(tx, stored, run, "accepted", submission_id=submission_id, lease_time=lease_time)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunReport:
    """An agent's word on a run: that it is RUNNING, or how it ended. `retryable` says that another attempt may do better."""

    state: job.JobState
    reason: str = ""
    detail: str = ""
    exit_code: int | None = None
    retryable: bool = False


def report_run(tx: ports.Transaction, ctx: Context, at: str, name: str, told: RunReport) -> job.Run:
    """An agent says that a run has started, failed or was stopped. Saying the same twice changes nothing.

    A run that SUCCEEDED stays so, whatever its process did afterwards: the answer says it.
    """
    run = _of_site(tx, at, name)
    if run.state is job.JobState.SUCCEEDED or (run.state.terminal and (run.state, run.reason) == (told.state, told.reason)):
        return run
    stored, run = _current(tx, at, name)
    if told.state is job.JobState.RUNNING:
        return run if run.state is told.state else _started(tx, ctx, stored, run)
    if told.state is job.JobState.CANCELLED and not stored.cancel_requested and _overdue(tx, stored, run):
        # It was stopped because it took too long, which nobody asked for by hand.
        told = dataclasses.replace(told, state=job.JobState.FAILED, reason="DURATION_EXCEEDED", retryable=False)
    if told.state is job.JobState.CANCELLED:
        return _stopped(tx, stored, run, told)
    if told.state is job.JobState.FAILED:
        return _failed(tx, ctx, stored, run, told)
    raise errors.InvalidArgument(
        f"an agent cannot report that a run is {told.state}",
        reason="STATE_INVALID",
        help="Report RUNNING, FAILED or CANCELLED.",
    )


def _started(tx: ports.Transaction, ctx: Context, stored: job.Job, run: job.Run) -> job.Run:
    return runs.step(tx, stored, run, "started", start_time=tx.now, lease_time=tx.now + ctx.lease)


def _stopped(tx: ports.Transaction, stored: job.Job, run: job.Run, told: RunReport) -> job.Run:
    ended = runs.end(tx, stored, run, "cancelled", reason=told.reason, detail=told.detail)
    placing.end_job(tx, dataclasses.replace(stored, reason=told.reason, detail=told.detail), "cancelled")
    return ended


def _failed(tx: ports.Transaction, ctx: Context, stored: job.Job, run: job.Run, told: RunReport) -> job.Run:
    """The run has failed; its job tries again, or fails with it, or is cancelled if somebody had asked for that anyway."""
    ended = runs.end(tx, stored, run, "failed", reason=told.reason, detail=told.detail, exit_code=told.exit_code)
    if told.reason == "COMPUTE_UNAVAILABLE":
        _believe(tx, run.site, told.detail)
    after = dataclasses.replace(stored, reason=told.reason, detail=told.detail)
    if not told.retryable or told.reason in FINAL_REASONS:
        placing.end_job(tx, after, "failed")
    elif stored.cancel_requested:
        placing.end_job(tx, after, "cancelled")
    elif stored.attempt >= stored.request.max_attempts:
        placing.end_job(tx, after, "failed")
    else:
        queue.again(tx, ctx, placing.end_job(tx, after, "lost"))
    return ended


def _believe(tx: ports.Transaction, at: str, detail: str) -> None:
    """Marks the site's cluster as down at once: else the job would use up its attempts there until the next heartbeat."""
    error = detail or "its cluster does not answer"
    stored = tx.replace(dataclasses.replace(sites.get_site(tx, at), compute_error=error, update_time=tx.now))
    tx.emit("site.updated", f"sites/{at}", stored)


def lose_run(tx: ports.Transaction, ctx: Context, run: job.Run) -> job.Run:
    """Gives up a run whose site let its lease run out: it neither reads nor commits any more, and its job is planned again."""
    stored = get(tx, run.job)
    detail = f"site {run.site} has not been heard from since the run's lease ended"
    told = RunReport(state=job.JobState.FAILED, reason=LEASE_LOST, detail=detail, retryable=True)
    return _stopped(tx, stored, run, told) if stored.cancel_requested else _failed(tx, ctx, stored, run, told)


def finish_run(
    tx: ports.Transaction,
    ctx: Context,
    at: str,
    name: str,
    given: tuple[dataset.NewVersion, ...],
    *,
    report: lineage.LineageReport = lineage.UNTOLD,
) -> tuple[job.Run, tuple[dataset.Version, ...]]:
    """Commits all outputs of a run and ends it as SUCCEEDED, in one transaction, or does nothing.

    FailedPrecondition (OUTPUT_MISSING) names a declared output that was not written. The same word again is answered alike.
    `report` is what the run's code told of the columns that it read and wrote.
    """
    run = _of_site(tx, at, name)
    if run.state is job.JobState.SUCCEEDED:
        return run, tuple(datasets.get_version(tx, ids.version(short)) for short in run.outputs)
    stored, run = _current(tx, at, name)
    lifecycle.next_state(run.state, "committed")
    ordered = _matched(stored.request, given)
    versions = tuple((alias, datasets.commit_version(tx, ctx, new, at, run=run.run)) for alias, new in ordered)
    outputs.release(tx, ctx, stored.request, run.run, versions)
    cards.note_made(tx, stored.request, versions)
    _deliver(tx, ctx, stored, versions, at)
    ended = runs.end(tx, stored, run, "committed", exit_code=0, versions=versions, report=report)
    placing.end_job(tx, stored, "committed")
    return ended, tuple(version for _, version in versions)


def _deliver(
    tx: ports.Transaction, ctx: Context, of: job.Job, versions: tuple[tuple[str, dataset.Version], ...], at: str
) -> None:
    """Sends outputs to where the request wants them in the end."""
    wanted = {spec.alias: spec.deliver_to for spec in of.request.outputs if spec.deliver_to}
    for alias, version in versions:
        if alias in wanted:
            transfers.deliver(tx, ctx, of, version, at=at, to=wanted[alias])


def _matched(request: job.JobRequest, given: tuple[dataset.NewVersion, ...]) -> list[tuple[str, dataset.NewVersion]]:
    """Each declared output with what was written for it, in the request's order; raises where one is missing or too many."""
    declared = {spec.alias: spec.dataset for spec in request.outputs}
    written = {new.alias: new for new in given}
    for new in given:
        if declared.get(new.alias) != ids.dataset(new.dataset).short or len(written) < len(given):
            raise errors.InvalidArgument(
                f"the run did not declare the output {new.alias or '(no alias)'}={new.dataset}, or gave it twice",
                reason="OUTPUT_NOT_IN_PLAN",
                help=f"Declared: {', '.join(f'{alias}={name}' for alias, name in declared.items()) or 'none'}.",
            )
    missing = [alias for alias in declared if alias not in written]
    if missing:
        raise errors.FailedPrecondition(
            f"the run ended without writing its output {', '.join(missing)}",
            reason="OUTPUT_MISSING",
            help=f"Write it in the job: federation.outputs[{missing[0]!r}].",
            metadata={"outputs": ",".join(missing)},
        )
    for spec in request.outputs:
        if written[spec.alias].column_classes != spec.column_classes:
            raise errors.FailedPrecondition(
                f"the output {spec.alias} is sealed by other column classes than the job declares",
                reason="COLUMN_CLASS_INVALID",
                help=f"Declared: {' '.join(columns.texts(spec.column_classes)) or 'none'}.",
                metadata={"output": spec.alias},
            )
    return [(alias, written[alias]) for alias in declared]


def _of_site(tx: ports.Transaction, at: str, name: str) -> job.Run:
    run = get_run(tx, name)
    if run.site != at:
        raise errors.PermissionDenied(
            f"run {name} is at site {run.site}, not at {at}", reason="RUN_FOREIGN_SITE", metadata={"run": name, "site": at}
        )
    return run


def _current(tx: ports.Transaction, at: str, name: str) -> tuple[job.Job, job.Run]:
    """A run that may take a step, with its job; FailedPrecondition (RUN_SUPERSEDED) for one that is over."""
    run = _of_site(tx, at, name)
    stored = get(tx, run.job)
    if run.state.terminal or stored.run != run.run:
        raise runs.superseded(run)
    return stored, run
