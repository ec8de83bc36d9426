"""What people do to namespaces and datasets: asked of the policy, told, then done by `services.datasets`.

Who makes, changes, deletes and takes back. Names that their caller may not know of are answered like those that are not there.
"""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import authorization as values
from federation.core import dataset, errors, ids, policy
from federation.core.authorization import Action
from federation.services import authorization, datasets
from federation.services.context import Context


def update_namespace(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, given: dataset.Namespace, mask: frozenset[str]
) -> dataset.Namespace:
    """`datasets.update_namespace` by its owner or an administrator: whoever owns a namespace decides over its datasets."""
    _require_namespace(tx, principal, given.name)
    return datasets.update_namespace(tx, ctx, given, mask)


def delete_namespace(tx: ports.Transaction, principal: policy.Principal, name: str, etag: str = "") -> None:
    """`datasets.delete_namespace` by its owner or an administrator."""
    _require_namespace(tx, principal, name)
    datasets.delete_namespace(tx, name, etag)


def _require_namespace(tx: ports.Transaction, principal: policy.Principal, name: str) -> None:
    stored = datasets.get_namespace(tx, name)
    if principal.role is policy.Role.ADMIN or stored.owner in values.subject(principal).parties:
        return
    raise errors.PermissionDenied(
        f"{principal.name} may not change namespace {stored.name}, which belongs to {stored.owner or 'nobody'}",
        reason="NAMESPACE_NOT_YOURS",
        help="Ask its owner or an administrator.",
        metadata={"namespace": stored.name},
    )


def create_dataset(tx: ports.Transaction, ctx: Context, principal: policy.Principal, new: dataset.Dataset) -> dataset.Dataset:
    """`datasets.create_dataset` by those who decide over its namespace. Parts that they may not know of are not there."""
    datasets.get_namespace(tx, new.namespace)
    # Before it is told whether the name is taken. The owner that somebody writes into it gives them nothing.
    _require(tx, ctx, principal, Action.WRITE, dataclasses.replace(new, owner="", readers=()))
    for part in new.parts:
        authorization.visible(tx, ctx, principal, ids.dataset(part))
    return datasets.create_dataset(tx, ctx, new)


def update_dataset(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, given: dataset.Dataset, mask: frozenset[str]
) -> dataset.Dataset:
    """`datasets.update_dataset` by those who may write to it."""
    stored = authorization.visible(tx, ctx, principal, given.name)
    _require(tx, ctx, principal, Action.WRITE, stored)
    for part in given.parts:
        authorization.visible(tx, ctx, principal, ids.dataset(part))
    return datasets.update_dataset(tx, ctx, given, mask)


def delete_dataset(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: ids.DatasetName, etag: str = ""
) -> dataset.Dataset:
    """`datasets.delete_dataset` by those who may destroy it; what is under legal hold stays."""
    stored = authorization.visible(tx, ctx, principal, name)
    _require(tx, ctx, principal, Action.DESTROY, stored)
    return datasets.delete_dataset(tx, name, etag)


def undelete_dataset(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: ids.DatasetName, etag: str = ""
) -> dataset.Dataset:
    """`datasets.undelete_dataset` by those who may delete it, under legal hold too: what is taken back is not destroyed."""
    stored = authorization.visible(tx, ctx, principal, name)
    _require(tx, ctx, principal, Action.DESTROY, dataclasses.replace(stored, legal_hold=False))
    return datasets.undelete_dataset(tx, name, etag)


def _require(tx: ports.Transaction, ctx: Context, principal: policy.Principal, action: Action, stored: dataset.Dataset) -> None:
    authorization.require(tx, ctx, authorization.question(tx, values.subject(principal), action, stored))
