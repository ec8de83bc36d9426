"""How a run comes to be and how it ends, each of its effects once: the load at its site, its grants, its fact in lineage.

A run moves by `lifecycle.TRANSITIONS` alone, and its job's state follows it.
"""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import dataset, decision, errors, grants, ids, job, kinds, lifecycle
from federation.core.lineage import UNTOLD, LineageReport
from federation.services import (
    access,
    authorization,
    decisions,
    ledger,
    lineage,
    placement,
    profiles,
    quotas,
    retention,
    shares,
    sites,
)
from federation.services.context import Context

#: States in which a run holds its site's resources and may read and commit.
LIVE = (job.JobState.PLACED, job.JobState.STARTING, job.JobState.RUNNING)


def begin(tx: ports.Transaction, ctx: Context, placed: job.Job) -> tuple[job.Job, job.Run]:
    """The next attempt of a job at the site that its plan chose: the load is reserved and the inputs are granted."""
    chosen = placed.plan.choice if placed.plan else None
    if chosen is None:
        raise AssertionError(f"{placed.job} has no site to begin at")
    authorization.require_run(tx, ctx, placed, sites.get_site(tx, chosen.site))
    attempt = placed.attempt + 1
    name = f"jobs/{placed.job}/runs/{attempt}"
    issued = [access.issue(tx, _grant(tx, ctx, placed, chosen, spec, run=name)) for spec in chosen.inputs]
    for spec in chosen.inputs:
        read = ids.VersionName(ids.dataset(spec.dataset), spec.version)
        retention.note_read(tx, ctx, read, reader=chosen.site, source=spec.source_site)
    run = job.Run(
        run=name,
        job=placed.job,
        attempt=attempt,
        site=chosen.site,
        grants=tuple(record.grant for record in issued),
        gpu_type=chosen.gpu_type,
        spot=chosen.spot,
        lease_time=tx.now + ctx.lease,
        uid=ctx.ids.new("u"),
        create_time=tx.now,
        expected_seconds=chosen.run_seconds,
    )
    run = tx.insert(dataclasses.replace(run, held=run.taken(placed.request)))
    placement.reserve(tx, run.held, run.site)
    quotas.reserve(tx, placed, run)
    shares.charge(tx, placed, run)
    tx.emit("run.placed", run.run, run)
    state = lifecycle.next_state(placed.state, "placed")
    begun = dataclasses.replace(placed, state=state, reason="", detail="", attempt=attempt, run=name)
    return put_job(tx, decisions.tell(tx, ctx, begun, begun.plan, decision.Outcome.PLACED)), run


def _grant(
    tx: ports.Transaction, ctx: Context, placed: job.Job, chosen: job.Candidate, spec: job.InputPlan, *, run: str
) -> kinds.GrantRecord:
    name = ids.dataset(spec.dataset)
    beside = next((each.column_classes for each in placed.request.inputs if each.alias == spec.alias), ())
    return kinds.GrantRecord(
        grant=access.run_grant_id(run, spec.alias),
        access=grants.Access.READ,
        run=run,
        job=placed.job,
        attempt=placed.attempt + 1,
        principal=placed.request.principal,
        alias=spec.alias,
        namespace=name.namespace,
        dataset=name.dataset,
        version=spec.version,
        source_site=spec.source_site,
        source_region=spec.source_region,
        reader_site=chosen.site,
        reader_region=spec.destination_region,
        estimate_bytes=spec.bytes,
        estimate_micros=spec.egress_micros,
        baseline_micros=spec.baseline_micros,
        expire_time=tx.now + access.run_life(ctx, placed.request),
        payer=placed.request.namespace,
        label=placed.request.label,
        column_classes=beside,
    )


def get(tx: ports.Transaction, name: str) -> job.Run:
    """One run by its full name; NotFound when it is not there."""
    found = tx.get(job.Run, name)
    if found is None:
        raise errors.NotFound(f"run {name} does not exist", metadata={"run": name})
    return found


def get_job(tx: ports.Transaction, name: str) -> job.Job:
    """One job, `j-...` or `jobs/j-...`; NotFound when it is not there."""
    key = ids.child(name, "jobs")
    found = tx.get(job.Job, key)
    if found is None:
        raise errors.NotFound(f"job {key} does not exist", help="`fed job list` shows what is there.", metadata={"job": key})
    return found


def put_job(tx: ports.Transaction, changed: job.Job, *, etag: str = "") -> job.Job:
    """Stores a job and tells its state."""
    end_time = tx.now if changed.state.terminal else None
    stored = tx.replace(dataclasses.replace(changed, update_time=tx.now, end_time=end_time), etag=etag)
    tx.emit(f"job.{stored.state.lower()}", f"jobs/{stored.job}", stored)
    return stored


def put(tx: ports.Transaction, changed: job.Run) -> job.Run:
    """Stores a run and tells its state."""
    stored = tx.replace(changed)
    tx.emit(f"run.{stored.state.lower()}", stored.run, stored)
    return stored


def step(tx: ports.Transaction, of: job.Job, run: job.Run, event: str, **changes: object) -> job.Run:
    """One step of a live run and of its job, by the table."""
    state = lifecycle.next_state(run.state, event)
    moved = put(tx, dataclasses.replace(run, state=state, **changes))  # type: ignore[arg-type]
    put_job(tx, dataclasses.replace(of, state=lifecycle.next_state(of.state, event)))
    return moved


def end(
    tx: ports.Transaction,
    of: job.Job,
    run: job.Run,
    event: str,
    *,
    reason: str = "",
    detail: str = "",
    exit_code: int | None = None,
    versions: tuple[tuple[str, dataset.Version], ...] = (),
    report: LineageReport = UNTOLD,
) -> job.Run:
    """Ends a live run, and nothing else of its job: what it held is given back, once, because no live state follows.

    `versions` are what it committed, by alias, and `report` what its code told of columns.
    """
    ended = put(
        tx,
        dataclasses.replace(
            run,
            state=lifecycle.next_state(run.state, event),
            reason=reason,
            detail=detail,
            exit_code=exit_code,
            outputs=tuple(version.name.short for _, version in versions),
            end_time=tx.now,
        ),
    )
    placement.release(tx, ended.taken(of.request), run.site)
    quotas.release(tx, of, ended)
    shares.settle(tx, of, ended)
    access.close_run(tx, ended)
    if ended.state is not job.JobState.SUCCEEDED:
        ledger.take_back_avoided(tx, ended)
    lineage.record_run(tx, of, ended, versions, report)
    profiles.add_run(tx, of, ended, versions)
    return ended


def superseded(run: job.Run) -> errors.FailedPrecondition:
    """The refusal of what a run says after it is over: it may neither read nor commit."""
    why = f"it {run.state} with {run.reason}" if run.reason else f"it is {run.state}"
    return errors.FailedPrecondition(
        f"run {run.run} is not current any more: {why}",
        reason="RUN_SUPERSEDED",
        help="Stop it and drop what it wrote.",
        metadata={"run": run.run, "state": str(run.state)},
    )
