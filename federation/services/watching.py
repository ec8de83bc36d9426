"""Watching: what of that which events tell of somebody may know, and which types they may watch."""

from __future__ import annotations

from collections.abc import Iterable

from federation import ports
from federation.core import errors, policy, watching
from federation.core.policy import Principal
from federation.core.watching import Subject
from federation.services.context import Context
from federation.services.disclosure import Disclosure


def known(tx: ports.Transaction, ctx: Context, principal: Principal, asked: Iterable[Subject]) -> dict[Subject, bool]:
    """Whether somebody may know of each of these, as it is now."""
    told = Disclosure(tx, ctx, principal)
    ways = {"dataset": told.sees, "namespace": told.sees_namespace, "scope": told.sees_scope}
    return {subject: ways[subject.kind](subject.name) for subject in asked}


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
