"""Namespaces: made, changed, given a share and quotas, and removed once they are empty."""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import dataset, errors, ids
from federation.services import authorization, masks
from federation.services.context import Context

MUTABLE = frozenset({"description", "owner"})
WEIGHT_MAX = 1_000_000
QUOTA_MAX = 10**15


def create(tx: ports.Transaction, ctx: Context, namespace: dataset.Namespace) -> dataset.Namespace:
    """A new, empty namespace; AlreadyExists when its name is taken."""
    if ids.segment(namespace.name, "namespace") == ids.HIDDEN:
        raise errors.InvalidArgument(
            f"no namespace can be named {ids.HIDDEN}: it stands for those that somebody may not know of",
            reason="NAME_RESERVED",
            help="Choose another name.",
            violations={"namespace_id": "is reserved"},
        )
    if tx.get(dataset.Namespace, namespace.name) is not None:
        raise errors.AlreadyExists(
            f"namespace {namespace.name} exists already", help="Choose another name.", metadata={"namespace": namespace.name}
        )
    stored = tx.insert(
        dataclasses.replace(
            namespace,
            owner=namespace.owner or tx.actor,
            # What it may take of what all share is not for whoever makes it to say: see `set_quota`.
            weight=1,
            gpu_seconds_quota=0,
            egress_micros_quota=0,
            uid=ctx.ids.new("n"),
            create_time=tx.now,
            update_time=tx.now,
        )
    )
    tx.emit("namespace.created", f"namespaces/{stored.name}", stored)
    return stored


def get(tx: ports.Transaction, name: str) -> dataset.Namespace:
    """One namespace; NotFound when it is not there."""
    key = ids.child(name, "namespaces")
    found = tx.get(dataset.Namespace, key)
    if found is None:
        raise authorization.namespace_absent(key)
    return found


def update(tx: ports.Transaction, namespace: dataset.Namespace, mask: frozenset[str]) -> dataset.Namespace:
    """Changes what the mask names; Conflict when `namespace.etag` is given and stale."""
    merged = masks.merge(get(tx, namespace.name), namespace, mask, MUTABLE)
    stored = tx.replace(dataclasses.replace(merged, update_time=tx.now), etag=namespace.etag)
    tx.emit("namespace.updated", f"namespaces/{stored.name}", stored)
    return stored


def set_quota(
    tx: ports.Transaction, name: str, *, weight: int, gpu_seconds_quota: int, egress_micros_quota: int, etag: str = ""
) -> dataset.Namespace:
    """Sets a namespace's share and its monthly quotas (0: none); InvalidArgument (QUOTA_INVALID) for what is out of range."""
    if not 1 <= weight <= WEIGHT_MAX:
        raise _quota_invalid("weight", weight, 1, WEIGHT_MAX)
    for field, value in (("gpu_seconds_quota", gpu_seconds_quota), ("egress_micros_quota", egress_micros_quota)):
        if not 0 <= value <= QUOTA_MAX:
            raise _quota_invalid(field, value, 0, QUOTA_MAX)
    changed = dataclasses.replace(
        get(tx, name),
        weight=weight,
        gpu_seconds_quota=gpu_seconds_quota,
        egress_micros_quota=egress_micros_quota,
        update_time=tx.now,
    )
    stored = tx.replace(changed, etag=etag)
    tx.emit("namespace.updated", f"namespaces/{stored.name}", stored)
    return stored


def _quota_invalid(field: str, value: int, least: int, most: int) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"{field} is {value}",
        reason="QUOTA_INVALID",
        help=f"Use {least} to {most}.",
        violations={field: f"must be {least} to {most}"},
    )


def delete(tx: ports.Transaction, name: str, etag: str = "") -> None:
    """Removes a namespace; FailedPrecondition (NAMESPACE_NOT_EMPTY) while it holds a dataset, a deleted one too."""
    stored = get(tx, name)
    held = tx.list(dataset.Dataset, parent=stored.name, limit=1)
    if held:
        raise errors.FailedPrecondition(
            f"namespace {stored.name} still holds datasets, such as {held[0].name.short}",
            reason="NAMESPACE_NOT_EMPTY",
            help="A deleted dataset can be undeleted, so it counts.",
        )
    tx.delete(dataset.Namespace, stored.name, etag=etag)
    tx.emit("namespace.deleted", f"namespaces/{stored.name}", stored)
