"""Who may do what: permissions by role, and residency. Deny by default; pure.

A permission is `noun.verb`, declared by each method of the contract as an option; the server refuses to start without it.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from itertools import combinations

from federation.core import errors


class Role(StrEnum):
    """ADMIN runs the federation, USER uses it, AUDITOR looks at everything and changes nothing, AGENT is a site's agent."""

    ADMIN = "ADMIN"
    USER = "USER"
    AUDITOR = "AUDITOR"
    AGENT = "AGENT"


@dataclass(frozen=True, kw_only=True)
class Principal:
    """Who is calling. `name` is `users/alice` or `agents/eu-1`; `jurisdiction` is where an administrator says a person is.

    `groups` are those that the identity provider or the token names (`analysts`). `scopes` narrow what a token is good for:
    permissions, or `noun.*`; empty is all that the role has. `token` names the credential, for audit: `tokens/t1f…` or
    `issuers/corp`, and `expire_time` is when that ends, None for one that does not end by itself.
    """

    name: str
    role: Role
    jurisdiction: str = ""
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    token: str = ""
    expire_time: datetime | None = None

    @property
    def site(self) -> str:
        """The site of an agent; empty for people."""
        return self.name.removeprefix("agents/") if self.role is Role.AGENT else ""


#: Who calls what is `PUBLIC`, whatever they showed: nobody that anything is allowed to.
STRANGER = Principal(name="strangers", role=Role.USER, scopes=("none",))


#: What a method asks for that anybody may call: it needs no principal.
PUBLIC = "public"
#: Permissions by role; ADMIN has those of USER too.
USER_PERMISSIONS = frozenset(
    f"{noun}.{verb}"
    for noun, verbs in {
        "namespaces": "get list create update delete",
        "datasets": "get list create update declassify delete read write",
        "versions": "get list delete",
        "replicas": "get list create",
        "transfers": "get list cancel",
        "rules": "get list create delete",
        "pipelines": "get list create cancel",
        "prices": "get list",
        "sites": "get list",
        "links": "list",
        "jobs": "get list create cancel logs",
        "costs": "get list",
        "bills": "get list",
        "budgets": "get list",
        "leases": "list",
        "erasures": "get list",
        "ledger": "list",
        "events": "get",
        "lineage": "get create",
        "escrows": "get approve",
        "policies": "get",
        "server": "get",
        "tokens": "create list delete",
    }.items()
    for verb in verbs.split()
)
ADMIN_PERMISSIONS = USER_PERMISSIONS | {
    *(
        "sites.create",
        "sites.update",
        "sites.delete",
        "sites.check",
        "keys.list",
        "keys.rotate",
        "escrows.create",
        "escrows.list",
        "escrows.open",
        "sites.invite",
        "sites.admit",
        "prices.create",
        "world.export",
        "lineage.check",
        "quotas.update",
        "ledger.verify",
        "bills.create",
        "bills.reconcile",
        "budgets.create",
        "budgets.update",
        "budgets.delete",
        "records.query",
        "versions.erase",
        "policies.apply",
        "policies.diff",
        "policies.replay",
        "metrics.list",
    ),
}
AGENT_PERMISSIONS = frozenset({"agent.act"})
#: What an auditor has beside all that only looks: the record, and the proof of it.
AUDITOR_PERMISSIONS = frozenset(
    name for name in ADMIN_PERMISSIONS if name.endswith((".get", ".list")) or name in ("ledger.verify", "records.query")
)
PERMISSIONS: dict[Role, frozenset[str]] = {
    Role.ADMIN: ADMIN_PERMISSIONS,
    Role.USER: USER_PERMISSIONS,
    Role.AUDITOR: AUDITOR_PERMISSIONS,
    Role.AGENT: AGENT_PERMISSIONS,
}
KNOWN = ADMIN_PERMISSIONS | AGENT_PERMISSIONS


def allowed(principal: Principal, permission: str) -> bool:
    """Whether the principal's role has the permission, and the scopes of its token, if there are any, leave it."""
    return permission in effective(principal.role, principal.scopes)


@functools.lru_cache(maxsize=4096)
def effective(role: Role, scopes: tuple[str, ...] = ()) -> frozenset[str]:
    """The permissions of a role that scopes leave; all of them where there is no scope."""
    held = PERMISSIONS[role]
    return held if not scopes else frozenset(name for name in held if name in scopes or f"{name.partition('.')[0]}.*" in scopes)


def scopes_checked(scopes: Iterable[str]) -> tuple[str, ...]:
    """Scopes in order, each once; InvalidArgument (SCOPE_UNKNOWN) for one that is neither a permission nor `noun.*` of one."""
    wanted = tuple(sorted(set(scopes)))
    people = USER_PERMISSIONS | ADMIN_PERMISSIONS
    nouns = {name.partition(".")[0] for name in people}
    unknown = [scope for scope in wanted if scope not in people and scope.removesuffix(".*") not in nouns - {scope}]
    if unknown:
        raise errors.InvalidArgument(
            f"{unknown[0]!r} is no scope of a token",
            reason="SCOPE_UNKNOWN",
            help=f"Write a permission such as datasets.read, or datasets.* for all of a noun: {', '.join(sorted(nouns))}.",
            violations={"token.scopes": "must be permissions or `noun.*`"},
        )
    return wanted


def residency_allows(residency: Iterable[str], jurisdiction: str) -> bool:
    """Whether data of this residency may be stored or used in a jurisdiction. An empty residency allows every one."""
    wanted = tuple(residency)
    return not wanted or jurisdiction in wanted


def strictest(residencies: Iterable[tuple[str, ...]]) -> tuple[str, ...] | None:
    """What binds data that is made from several: the jurisdictions that all of them allow, () where none restricts.

    None means that they contradict each other: no jurisdiction is allowed by all.
    """
    result: set[str] | None = None
    for residency in residencies:
        if residency:
            result = set(residency) if result is None else result & set(residency)
    if result is None:
        return ()
    return tuple(sorted(result)) or None


def binding(residencies: Iterable[tuple[str, tuple[str, ...]]]) -> tuple[str, ...]:
    """`strictest` of named residencies (`("input sales/orders", ("EU",))`).

    InvalidArgument (RESIDENCY_CONTRADICTION) names those that contradict each other: two where two suffice, else all.
    """
    named = tuple((name, residency) for name, residency in residencies if residency)
    allowed_by_all = strictest(residency for _, residency in named)
    if allowed_by_all is not None:
        return allowed_by_all
    pairs = (pair for pair in combinations(named, 2) if strictest(residency for _, residency in pair) is None)
    culprits = next(pairs, named)
    raise errors.InvalidArgument(
        "no jurisdiction is allowed by " + " and ".join(f"{name} ({', '.join(residency)})" for name, residency in culprits),
        reason="RESIDENCY_CONTRADICTION",
        help="Use them in separate jobs, or have their owners widen a residency.",
        metadata={name: ",".join(residency) for name, residency in culprits},
    )
