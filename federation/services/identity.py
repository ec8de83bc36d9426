"""People's tokens. The secret is told once, when it is made; what is stored opens nothing."""

from __future__ import annotations

from datetime import timedelta

from federation import ports
from federation.core import errors, ids, kinds, policy
from federation.crypto import secrets
from federation.services import residency
from federation.services.context import Context


def create_token(  # noqa: PLR0917 - the fields of a token
    tx: ports.Transaction,
    ctx: Context,
    user: str,
    role: policy.Role,
    jurisdiction: str = "",
    ttl: timedelta | None = None,
) -> tuple[kinds.TokenRecord, str]:
    """A new token for a person (`alice` or `users/alice`) and its secret. Without `ttl` it does not end by itself."""
    del ctx
    if role is policy.Role.AGENT:
        raise errors.InvalidArgument(
            "an agent has a certificate, not a token", reason="ROLE_INVALID", help="Make a token for a USER or an ADMIN."
        )
    if ttl is not None and ttl <= timedelta(0):
        raise errors.InvalidArgument("a token cannot have ended before it begins", reason="TTL_INVALID")
    if jurisdiction:
        residency.jurisdiction(jurisdiction)
    secret = secrets.new_token()
    stored = tx.insert(
        kinds.TokenRecord(
            digest=secrets.digest(secret),
            user=ids.child(user, "users"),
            role=role,
            jurisdiction=jurisdiction,
            expire_time=None if ttl is None else tx.now + ttl,
        )
    )
    tx.emit("token.created", f"users/{stored.user}", stored)
    return stored, secret


def principal_for(tx: ports.Transaction, secret: str) -> policy.Principal:
    """Who bears this token; Unauthenticated (TOKEN_INVALID, TOKEN_EXPIRED) when nobody does."""
    record = tx.get(kinds.TokenRecord, secrets.digest(secret))
    if record is None:
        raise errors.Unauthenticated(
            "the token is not known here", reason="TOKEN_INVALID", help="Ask an administrator for one (`fed token create`)."
        )
    if record.expire_time is not None and record.expire_time <= tx.now:
        raise errors.Unauthenticated(
            f"the token of {record.user} ended at {record.expire_time:%Y-%m-%d %H:%M} UTC",
            reason="TOKEN_EXPIRED",
            help="Ask an administrator for a new one (`fed token create`).",
        )
    return policy.Principal(name=f"users/{record.user}", role=record.role, jurisdiction=record.jurisdiction)
