"""What people do to namespaces and datasets: asked of the policy, told, then done by `services.namespaces` and `datasets`.

Who makes, changes, deletes and takes back. Names that their caller may not know of are answered like those that are not there.
"""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import authorization as values
from federation.core import dataset, errors, ids, policy
from federation.core.authorization import Action
from federation.services import authorization, bindings, datasets, disclosure, namespaces
from federation.services.context import Context


def update_namespace(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, given: dataset.Namespace, mask: frozenset[str]
) -> dataset.Namespace:
    """`namespaces.update` by its owner or an administrator: whoever owns a namespace decides over its datasets."""
    _require_namespace(tx, ctx, principal, given.name)
    return namespaces.update(tx, given, mask)


def delete_namespace(tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: str, etag: str = "") -> None:
    """`namespaces.delete` by its owner or an administrator."""
    _require_namespace(tx, ctx, principal, name)
    namespaces.delete(tx, name, etag)


def _require_namespace(tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: str) -> None:
    stored = disclosure.require_namespace(tx, ctx, principal, name)
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
    disclosure.require_namespace(tx, ctx, principal, new.namespace)
    # Before it is told whether the name is taken. The owner that somebody writes into it gives them nothing.
    _require(tx, ctx, principal, Action.WRITE, dataclasses.replace(new, owner="", readers=()))
    for part in new.parts:
        authorization.visible(tx, ctx, principal, ids.dataset(part))
    _require_party(new.owner)
    return datasets.create_dataset(tx, ctx, new)


def update_dataset(
    tx: ports.Transaction, ctx: Context, principal: policy.Principal, given: dataset.Dataset, mask: frozenset[str]
) -> dataset.Dataset:
    """`datasets.update_dataset` by those who may write to it."""
    stored = authorization.visible(tx, ctx, principal, given.name)
    _require(tx, ctx, principal, Action.WRITE, stored)
    for part in given.parts:
        authorization.visible(tx, ctx, principal, ids.dataset(part))
    if given.owner != stored.owner:
        _require_party(given.owner)
    return datasets.update_dataset(tx, given, mask)


def _require_party(owner: str) -> None:
    """InvalidArgument for an owner that is no `users/...` or `groups/...`: the dataset would belong to nobody."""
    values.parties((owner,) if owner else (), "owner")


#: What a declassification may loosen.
DECLASSIFIED = frozenset({"classification", "residency", "purposes", "use_expire_time", "group_size_min"})
REASON_MAX = 500


def declassify(  # noqa: PLR0917 - the caller, what, which fields and why
    tx: ports.Transaction,
    ctx: Context,
    principal: policy.Principal,
    given: dataset.Dataset,
    mask: frozenset[str],
    reason: str,
) -> dataset.Dataset:
    """Loosens what a dataset inherited, in the fields that the mask names, and tells it with the reason.

    By somebody who decides over everything that it was made of, or by an administrator who owns neither it nor its namespace:
    whoever made it cannot do it alone. PermissionDenied (DECLASSIFY_NOT_YOURS) for all others.
    """
    stored = authorization.visible(tx, ctx, principal, given.name)
    if not mask or not mask <= DECLASSIFIED:
        raise errors.InvalidArgument(
            f"a declassification cannot change {', '.join(sorted(mask - DECLASSIFIED)) or 'nothing'}",
            reason="FIELD_MASK_INVALID",
            help=f"These can be loosened: {', '.join(sorted(DECLASSIFIED))}.",
        )
    if not 0 < len(reason.strip()) <= REASON_MAX:
        raise errors.InvalidArgument(
            f"a declassification needs a reason of at most {REASON_MAX} characters",
            reason="REASON_MISSING",
            help="Say who decided it and why: it is kept in the audit.",
            violations={"reason": "must not be empty"},
        )
    known = bindings.inherited(tx, stored.name)
    _require_declassifier(tx, ctx, principal, stored, known)
    named = {name: getattr(given, name) for name in mask}
    changed = datasets.checked(tx, dataclasses.replace(stored, **named))
    now = {name: getattr(changed, name) for name in mask}
    bindings.put_inherited(tx, dataclasses.replace(known, restrictions=dataclasses.replace(known.restrictions, **now)), known)
    made = datasets.put_dataset(tx, changed, etag=given.etag)
    told = dataset.Declassified(
        dataset=stored.name.short,
        by=principal.name,
        reason=reason.strip(),
        before=stored.restrictions,
        after=made.restrictions,
        sources=known.sources,
    )
    tx.emit("dataset.declassified", stored.name.resource, told)
    return made


def _require_declassifier(
    tx: ports.Transaction,
    ctx: Context,
    principal: policy.Principal,
    stored: dataset.Dataset,
    known: dataset.Inherited,
) -> None:
    who = values.subject(principal)
    facts = values.dataset_facts(stored, tx.get(dataset.Namespace, stored.namespace))
    if principal.role is policy.Role.ADMIN and not {principal.name, *who.parties} & set(facts.owners):
        return
    sources = [found for name in known.sources if (found := tx.get(dataset.Dataset, name)) is not None]
    for source in sources or [stored]:
        if not authorization.answer(tx, ctx, authorization.question(tx, who, Action.WRITE, source)).allowed:
            raise errors.PermissionDenied(
                f"{principal.name} may not declassify {stored.name.short}",
                reason="DECLASSIFY_NOT_YOURS",
                help="Ask whoever decides over all that it was made of, or an administrator who does not own it.",
                metadata={"dataset": stored.name.short},
            )
    for source in sources or [stored]:
        _require(tx, ctx, principal, Action.WRITE, source)


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
