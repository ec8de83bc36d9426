"""People's tokens. The secret is told once; what is stored opens nothing, and no token has more than its maker."""

from __future__ import annotations

import dataclasses
import hmac
from collections.abc import Iterable
from datetime import datetime, timedelta

from federation import ports
from federation.core import errors, ids, kinds, people, policy
from federation.crypto import secrets
from federation.services import residency, scan
from federation.services.context import Context

#: What made the tokens that the settings declare.
SERVER = "server"


def create_token(  # noqa: PLR0917 - the fields of a token
    tx: ports.Transaction,
    ctx: Context,
    user: str,
    role: policy.Role,
    jurisdiction: str = "",
    ttl: timedelta | None = None,
    *,
    groups: Iterable[str] = (),
    scopes: Iterable[str] = (),
    creator: policy.Principal | None = None,
) -> tuple[kinds.TokenRecord, str]:
    """A new token for a person (`alice` or `users/alice`) and its secret. It lasts `ctx.token_days` unless `ttl` says.

    `creator` is who asks for it: the token gets no permission, group, jurisdiction or time that they lack themselves. None is
    the catalog itself, which is bound by nobody.
    """
    if role is policy.Role.AGENT:
        raise errors.InvalidArgument(
            "an agent has a certificate, not a token", reason="ROLE_INVALID", help="Make a token for a USER, ADMIN or AUDITOR."
        )
    if jurisdiction:
        residency.jurisdiction(jurisdiction)
    made_with = _made_with(creator)
    if made_with and tx.get(kinds.TokenRecord, made_with) is None:
        raise _unknown()  # taken back within the moment that a look-up is good for
    secret = secrets.new_token()
    asked = kinds.TokenRecord(
        token=token_id(secret),
        digest=secrets.digest(secret),
        user=ids.child(user, "users"),
        role=role,
        jurisdiction=jurisdiction,
        groups=groups_checked(groups),
        scopes=policy.scopes_checked(scopes),
        creator=creator.name if creator else SERVER,
        made_with=made_with,
        create_time=tx.now,
        expire_time=tx.now + _life(ctx, ttl),
    )
    stored = tx.insert(_narrowed(asked, creator, given=ttl is not None) if creator else asked)
    tx.emit("token.created", f"tokens/{stored.token}", stored)
    return stored, secret


def token_id(secret: str) -> str:
    """The id of a token: the beginning of its secret's digest, so that it is found by the secret and does not contain it."""
    return f"t{secrets.digest(secret)[:24]}"


def groups_checked(groups: Iterable[str]) -> tuple[str, ...]:
    """Groups in order, each once; InvalidArgument (GROUP_INVALID) for more than can be, or one that does not print."""
    wanted = tuple(sorted(set(groups)))
    bad = [group for group in wanted if not group or len(group) > people.GROUP_CHARACTERS_MAX or not group.isprintable()]
    if bad or len(wanted) > people.GROUPS_MAX:
        raise errors.InvalidArgument(
            f"{bad[0][:80]!r} is no group" if bad else f"{len(wanted)} groups are more than a person may have",
            reason="GROUP_INVALID",
            help=f"Give at most {people.GROUPS_MAX} groups of 1 to {people.GROUP_CHARACTERS_MAX} printable characters.",
            violations={"groups": "must be few, short and printable"},
        )
    return wanted


def shown(record: kinds.TokenRecord) -> people.Token:
    """A token as people see it."""
    return people.Token(
        token=record.token,
        user=f"users/{record.user}",
        role=str(record.role),
        jurisdiction=record.jurisdiction,
        groups=record.groups,
        scopes=record.scopes,
        creator=record.creator,
        create_time=record.create_time,
        expire_time=record.expire_time,
    )


def sees_all(principal: policy.Principal) -> bool:
    """Whether somebody sees the tokens of others: administrators and auditors."""
    return principal.role in (policy.Role.ADMIN, policy.Role.AUDITOR)


def revoke_token(tx: ports.Transaction, principal: policy.Principal, name: str) -> tuple[kinds.TokenRecord, tuple[str, ...]]:
    """Ends a token and all that were made with it, and tells which; NotFound for one that the caller may not see."""
    key = ids.child(name, "tokens")
    found = tx.get(kinds.TokenRecord, key)
    if found is None or not (principal.role is policy.Role.ADMIN or f"users/{found.user}" == principal.name):
        raise errors.NotFound(
            f"token {key} does not exist", help="`fed token list` shows what is there.", metadata={"token": key}
        )
    ended = [found]
    for record in ended:  # grows while it is walked: tokens made with tokens
        ended.extend(scan.every(tx, kinds.TokenRecord, where={"made_with": record.token}))
    for record in ended:
        tx.delete(kinds.TokenRecord, record.token)
        tx.emit("token.revoked", f"tokens/{record.token}", record)
    return found, tuple(record.token for record in ended)


def principal_for(tx: ports.Transaction, secret: str) -> policy.Principal:
    """Whose token this is; Unauthenticated (TOKEN_INVALID, TOKEN_EXPIRED) for one that is unknown or over."""
    digest = secrets.digest(secret)
    record = tx.get(kinds.TokenRecord, token_id(secret))
    if record is None or not hmac.compare_digest(record.digest, digest):
        raise _unknown()
    if record.expire_time is not None and record.expire_time <= tx.now:
        raise expired(record.user, record.expire_time)
    return policy.Principal(
        name=f"users/{record.user}",
        role=record.role,
        jurisdiction=record.jurisdiction,
        groups=record.groups,
        scopes=record.scopes,
        token=f"tokens/{record.token}",
        expire_time=record.expire_time,
    )


def expired(user: str, at: datetime) -> errors.Unauthenticated:
    """The refusal of a credential whose time is over."""
    return errors.Unauthenticated(
        f"the token of {user} ended at {at:%Y-%m-%d %H:%M} UTC",
        reason="TOKEN_EXPIRED",
        help="Sign in again with `fed login`, or ask for a new token (`fed token create`).",
    )


def _unknown() -> errors.Unauthenticated:
    return errors.Unauthenticated(
        "the token is not known here", reason="TOKEN_INVALID", help="Sign in with `fed login`, or ask for a token."
    )


def _life(ctx: Context, ttl: timedelta | None) -> timedelta:
    most = timedelta(days=ctx.token_days_max)
    life = timedelta(days=ctx.token_days) if ttl is None else ttl
    if life <= timedelta(0):
        raise errors.InvalidArgument("a token cannot have ended before it begins", reason="TTL_INVALID")
    if life > most:
        raise errors.InvalidArgument(
            f"a token lasts {most.days} days at most here",
            reason="TTL_INVALID",
            help="Ask for a shorter life, and for another token when it ends.",
            violations={"token.expire_time": f"must be within {most.days} days"},
        )
    return life


def _made_with(creator: policy.Principal | None) -> str:
    """The API token that the creator showed; empty for who signed in otherwise."""
    collection, _, token = (creator.token if creator else "").partition("/")
    return token if collection == "tokens" else ""


def _narrowed(asked: kinds.TokenRecord, creator: policy.Principal, *, given: bool) -> kinds.TokenRecord:
    """What was asked for within what its creator has; PermissionDenied (TOKEN_EXCEEDS_CREATOR) where it is more.

    What was left open comes from the creator: scopes always, groups and jurisdiction where the token is their own.
    `given` says that its time was asked for, which is then refused rather than cut.
    """
    own = f"users/{asked.user}" == creator.name
    unbound = creator.role is policy.Role.ADMIN and not creator.scopes
    groups = asked.groups or (creator.groups if own else ())
    jurisdiction = asked.jurisdiction or (creator.jurisdiction if own else "")
    scopes = asked.scopes or creator.scopes
    until = asked.expire_time
    if _made_with(creator) and creator.expire_time is not None and until is not None and until > creator.expire_time:
        if given:
            raise _exceeds(f"their own token ends at {creator.expire_time:%Y-%m-%d %H:%M} UTC")
        until = creator.expire_time
    if not own and creator.role is not policy.Role.ADMIN:
        raise _exceeds("it would be somebody else's")
    more = policy.effective(asked.role, scopes) - policy.effective(creator.role, creator.scopes)
    if more:
        raise _exceeds(f"they may not {min(more)} themselves")
    if not unbound and not set(groups) <= set(creator.groups):
        raise _exceeds(f"they are not in {min(set(groups) - set(creator.groups))!r} themselves")
    if not unbound and jurisdiction not in ("", creator.jurisdiction):
        raise _exceeds(f"they are not in {jurisdiction} themselves")
    return dataclasses.replace(asked, groups=groups, jurisdiction=jurisdiction, scopes=scopes, expire_time=until)


def _exceeds(why: str) -> errors.PermissionDenied:
    return errors.PermissionDenied(
        f"a token gives nobody more than who makes it has: {why}",
        reason="TOKEN_EXCEEDS_CREATOR",
        help="Ask for less, or ask an administrator.",
    )
