"""Brings stored state on, whatever died: repeated each second by any server, with no memory of its own."""

from __future__ import annotations

from collections.abc import Callable

from federation import ports
from federation.core import job, kinds, site
from federation.services import (
    access,
    authorization,
    budgets,
    erasures,
    jobs,
    live_transfers,
    pipelines,
    queue,
    refusals,
    retention,
    rules,
    runs,
    scan,
    sites,
)
from federation.services.context import Context


def sweep(tx: ports.Transaction, ctx: Context, *, revision: int = 0) -> int:
    """All steps in one transaction; returns how many things they changed. A server takes them one by one: see `STEPS`."""
    return sum(step(tx, ctx, revision) for step in STEPS.values())


def _silent_sites(tx: ports.Transaction, ctx: Context, _revision: int) -> int:
    ready = scan.every(tx, site.Site, where={"state": str(site.SiteState.READY)})
    silent = [place for place in ready if place.heartbeat_time is None or ctx.silent(place.heartbeat_time, tx.now)]
    for place in silent:
        sites.lose(tx, place)
    return len(silent)


def _ended_leases(tx: ports.Transaction, ctx: Context, _revision: int) -> int:
    live = [run for state in runs.LIVE for run in scan.every(tx, job.Run, where={"state": str(state)})]
    ended = [run for run in live if run.lease_time is None or ctx.silent(run.lease_time - ctx.lease, tx.now)]
    for run in ended:
        jobs.lose_run(tx, ctx, run)
    return len(ended)


def _ended_grants(tx: ports.Transaction, _ctx: Context, _revision: int) -> int:
    ended = [record for record in scan.every(tx, kinds.GrantRecord, where={"closed": ""}) if record.expire_time <= tx.now]
    for record in ended:
        access.close(tx, record)
    return len(ended)


#: The steps of a sweep, each in a transaction of its own, so that trouble with one keeps none of the others. The order matters:
#: no job is planned onto a site that has just fallen silent, copies that have come are seen by the jobs that wait for them,
#: and pipelines make their next jobs before the queue is placed.
STEPS: dict[str, Callable[[ports.Transaction, Context, int], int]] = {
    "silent sites": _silent_sites,
    "ended leases": _ended_leases,
    "transfers": lambda tx, ctx, _: live_transfers.advance(tx, ctx),
    "rules": lambda tx, ctx, _: rules.advance(tx, ctx),
    "replicas": lambda tx, _ctx, _: retention.expire(tx),
    "pipelines": pipelines.advance,
    "queue": queue.place,
    "ended grants": _ended_grants,
    "reservations": lambda tx, ctx, _: access.give_back(tx, ctx),
    "unseen": lambda tx, ctx, _: authorization.tell_unseen(tx, ctx),
    "strangers": lambda tx, ctx, _: refusals.tell_strangers(tx, ctx),
    "erasures": lambda tx, ctx, _: erasures.certify(tx, ctx),
    "budgets": lambda tx, _ctx, _: budgets.alert(tx),
}

#: Steps that look at much: a server leaves them out for a while when nothing has changed since they found nothing to do.
COSTLY = frozenset({"queue", "rules", "replicas"})

#: Steps that tell what this server alone knows: each server takes them. The others are taken by the one whose turn it is.
OWN = frozenset({"unseen", "strangers"})
TURN = "reconcile"

#: Steps whose events the server's log tells as well, with the kind of those events.
TOLD = {"budgets": "budget.alert"}
