"""Watching: which of the datasets that events tell of somebody may know of."""

from __future__ import annotations

from collections.abc import Iterable

from federation import ports
from federation.core import dataset, errors, policy, watching
from federation.core.policy import Principal
from federation.services import authorization
from federation.services.context import Context


def browsable(tx: ports.Transaction, ctx: Context, principal: Principal, names: Iterable[str]) -> dict[str, bool]:
    """Whether somebody may know of each of these datasets, as it is now; of one that is not there nobody may."""
    wanted = tuple(names)
    there = {stored.name.short: stored for stored in tx.list(dataset.Dataset, keys=wanted)}
    return {name: name in there and authorization.may_browse(tx, ctx, principal, there[name]) for name in wanted}


def types(principal: Principal, wanted: watching.Filter) -> frozenset[str]:
    """The types that somebody is told of: all that they may get, of those that they named.

    PermissionDenied (PERMISSION_MISSING) where they named one that they may not get.
    """
    permitted = frozenset(name for name in watching.TYPES if policy.allowed(principal, watching.permission(name)))
    if lacking := sorted((wanted.types & frozenset(watching.TYPES)) - permitted):
        missing = watching.permission(lacking[0])
        raise errors.PermissionDenied(
            f"{principal.name} may not watch {lacking[0]}: that needs {missing}",
            reason="PERMISSION_MISSING",
            help="Ask an administrator, or watch other types.",
            metadata={"permission": missing, "principal": principal.name},
        )
    return permitted
