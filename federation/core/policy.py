"""Who may do what: permissions by role, and residency. Deny by default; pure.

A permission is `noun.verb`, declared by each method of the contract as an option; the server refuses to start without it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
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
    permissions, or `noun.*`; empty is all that the role has. `token` names the credential, for audit.
    """

    name: str
    role: Role
    jurisdiction: str = ""
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    token: str = ""

    @property
    def site(self) -> str:
        """The site of an agent; empty for people."""
        return self.name.removeprefix("agents/") if self.role is Role.AGENT else ""


#: Permissions by role; ADMIN has those of USER too.
USER_PERMISSIONS = frozenset(
    f"{noun}.{verb}"
    for noun, verbs in {
        "namespaces": "get list create update delete",
        "datasets": "get list create update delete read write",
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
        "ledger": "list",
        "lineage": "get create",
        "server": "get",
    }.items()
    for verb in verbs.split()
)
ADMIN_PERMISSIONS = USER_PERMISSIONS | {
    *(
        "sites.create",
        "sites.update",
        "sites.delete",
        "sites.check",
        "tokens.create",
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
        "audit.list",
        "audit.get",
        "audit.verify",
    ),
}
AGENT_PERMISSIONS = frozenset({"agent.act"})
#: What an auditor has beside all that only looks: the record, the proof of it, and the checks of stores and of the index.
AUDITOR_PERMISSIONS = frozenset(
    name
    for name in ADMIN_PERMISSIONS
    if name.endswith((".get", ".list", ".verify", ".check")) or name in {"records.query", "world.export"}
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
    noun = permission.partition(".")[0]
    scoped = not principal.scopes or permission in principal.scopes or f"{noun}.*" in principal.scopes
    return scoped and permission in PERMISSIONS[principal.role]


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
