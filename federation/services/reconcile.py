"""Brings stored state on, whatever died: repeated each second by any server, with no memory of its own."""

from __future__ import annotations

from federation import ports
from federation.core import job, kinds, site
from federation.services import access, jobs, runs, scan, sites
from federation.services.context import Context


def sweep(tx: ports.Transaction, ctx: Context, *, revision: int = 0) -> int:
    """Silent sites are LOST, runs without a lease are given up, waiting jobs are planned, grants that are over are closed.

    Returns how many things it changed. The order matters: a job is not planned onto a site that has just fallen silent.
    """
    return _silent_sites(tx, ctx) + _ended_leases(tx, ctx) + _waiting_jobs(tx, ctx, revision) + _ended_grants(tx)


def _silent_sites(tx: ports.Transaction, ctx: Context) -> int:
    ready = scan.every(tx, site.Site, where={"state": str(site.SiteState.READY)})
    silent = [place for place in ready if place.heartbeat_time is None or ctx.silent(place.heartbeat_time, tx.now)]
    for place in silent:
        sites.lose(tx, place)
    return len(silent)


def _ended_leases(tx: ports.Transaction, ctx: Context) -> int:
    live = [run for state in runs.LIVE for run in scan.every(tx, job.Run, where={"state": str(state)})]
    ended = [run for run in live if run.lease_time is None or ctx.silent(run.lease_time - ctx.lease, tx.now)]
    for run in ended:
        jobs.lose_run(tx, ctx, run)
    return len(ended)


def _waiting_jobs(tx: ports.Transaction, ctx: Context, revision: int) -> int:
    waiting = list(scan.every(tx, job.Job, where={"state": str(job.JobState.PENDING)}))
    return sum(jobs.place(tx, ctx, each, revision=revision) != each for each in waiting)


def _ended_grants(tx: ports.Transaction) -> int:
    ended = [record for record in scan.every(tx, kinds.GrantRecord, where={"closed": ""}) if record.expire_time <= tx.now]
    for record in ended:
        access.close(tx, record)
    return len(ended)
