"""Collects old versions: their replicas are dropped at every site; their rows stay in the catalog and in lineage.

A version stays while somebody needs it: a legal hold, a lease of its keys, a read or a job under way, a replication rule, or a
model that was made from it. Whoever asks must be allowed to destroy the dataset.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from federation import ports
from federation.core import authorization as values
from federation.core import dataset, ids, job, leases, policy
from federation.core.authorization import Action
from federation.core.collection import Judged, Kept, Rule
from federation.services import authorization, retention, rules, scan
from federation.services.context import Context

#: The models that still exist and were made from a version, by its resource name.
Models = Callable[[str], tuple[str, ...]]

_WAITING = (job.JobState.PENDING, job.JobState.PLACED, job.JobState.STARTING, job.JobState.RUNNING)


def collect(  # noqa: PLR0917 - a use case's transaction, context and caller, and what is asked
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: ids.DatasetName, rule: Rule, models: Models
) -> tuple[Judged, ...]:
    """Lets go of a dataset's old versions, newest first; of each version that lies somewhere, what was decided.

    NotFound for a dataset that the caller may not know of, POLICY_DENIED for who may not destroy it.
    """
    stored = authorization.visible(tx, ctx, principal, name)
    if not stored.legal_hold:
        asked = authorization.question(tx, values.subject(principal), Action.DESTROY, stored)
        authorization.require(tx, ctx, asked)
    wanted = _wanted_by_jobs(tx, name)
    versions = sorted(scan.every(tx, dataset.Version, parent=name.short), key=lambda row: -row.number)
    judged = []
    for place, version in enumerate(versions):
        replicas = _replicas(tx, version)
        if not replicas:
            continue
        kept, detail = rule.spares(place, version.create_time, tx.now), ""
        if kept is None:
            kept, detail = _kept(tx, stored, version, replicas, wanted)
        if kept is None and not rule.even_if_models and (seen := models(version.name.resource)):
            kept, detail = Kept.MODEL, f"made from it: {', '.join(seen[:3])}{' and others' if len(seen) > 3 else ''}"
        if kept is None:
            _let_go(tx, version, replicas)
        judged.append(
            Judged(
                version=version.name.short,
                create_time=version.create_time,
                object_bytes=sum(held.object_bytes or version.object_bytes for held in replicas),
                sites=tuple(sorted(held.site for held in replicas)),
                kept=str(kept or ""),
                detail=detail,
            )
        )
    return tuple(judged)


def _let_go(tx: ports.Transaction, version: dataset.Version, replicas: list[dataset.Replica]) -> None:
    """Closes the version to all readers, and tells its sites to drop it."""
    stored = tx.replace(dataclasses.replace(version, collect_time=tx.now))
    tx.emit("version.collected", stored.name.resource, stored)
    for held in replicas:
        retention.let_go(tx, held)


def _replicas(tx: ports.Transaction, version: dataset.Version) -> list[dataset.Replica]:
    rows = scan.every(tx, dataset.Replica, parent=version.name.dataset.short, where={"version": str(version.number)})
    return [held for held in rows if held.state is not dataset.ReplicaState.DELETING]


def _kept(
    tx: ports.Transaction,
    stored: dataset.Dataset,
    version: dataset.Version,
    replicas: list[dataset.Replica],
    wanted: dict[int, str],
) -> tuple[Kept | None, str]:
    """The first reason to keep a version that the rule would collect; models made from it are looked at elsewhere."""
    if stored.legal_hold:
        return Kept.LEGAL_HOLD, "the dataset is under legal hold"
    held_keys = scan.every(tx, leases.Lease, where={"version": version.name.short})
    until = max((lease.expire_time for lease in held_keys if lease.expire_time > tx.now), default=None)
    if until is not None:
        return Kept.LEASED, f"a lease of its keys lasts until {until:%Y-%m-%d %H:%M:%S} UTC"
    if version.number in wanted:
        return Kept.IN_USE, f"jobs/{wanted[version.number]} reads it, or is about to"
    for held in replicas:
        if why := retention.in_use(tx, held):
            return Kept.IN_USE, f"{why} at {held.site}"
        if rules.wants(tx, held):
            return Kept.WANTED, f"a replication rule wants it at {held.site}"
    return None, ""


def _wanted_by_jobs(tx: ports.Transaction, name: ids.DatasetName) -> dict[int, str]:
    """Versions that jobs which are not over have as inputs, each with one of them."""
    rows = (row for state in _WAITING for row in scan.every(tx, job.Job, where={"state": str(state)}))
    return {spec.version: row.job for row in rows for spec in row.request.inputs if spec.dataset == name.short}
