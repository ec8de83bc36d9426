"""People and what lets them in: API tokens as they are shown, issuers that vouch for people, and whom their claims stand for.

Pure. Nothing here checks a signature: claims come from `ports.People`, which has.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from federation.core import errors, ids
from federation.core.policy import Principal, Role

#: Signatures that can be allowed: each is checked with a public key. A shared secret (HS256) or nothing (none) proves nobody.
ALGORITHMS = ("ES256", "ES384", "ES512", "Ed25519", "EdDSA", "PS256", "PS384", "PS512", "RS256", "RS384", "RS512")
#: Names that no issuer can give: they are the federation's own.
RESERVED = frozenset({"admin"})
GROUPS_MAX = 200
GROUP_CHARACTERS_MAX = 256
#: A name in which single dots may stand between parts: `ada.lovelace` is the user `ada--lovelace`, and nobody else is.
_DOTTED = re.compile(r"[a-z][a-z0-9]*([-.][a-z0-9]+)*")


@dataclass(frozen=True, kw_only=True)
class Token:
    """An API token as people see it. `user` and `creator` are principals, `users/alice`; `secret` is told once."""

    token: str
    user: str
    role: str
    jurisdiction: str = ""
    groups: tuple[str, ...] = ()
    scopes: tuple[str, ...] = ()
    creator: str = ""
    create_time: datetime | None = None
    expire_time: datetime | None = None
    secret: str = field(default="", repr=False)


@dataclass(frozen=True, kw_only=True)
class SignIn:
    """How people sign in with an issuer: what `fed login` needs to know. Nothing in it is secret.

    Neither is `client_secret`: some providers ask public clients, such as programs on people's machines, for one all the same.
    """

    issuer: str
    url: str
    client: str
    bearer: str = "id_token"
    scope: str = "openid"
    client_secret: str = ""


@dataclass(frozen=True, kw_only=True)
class Issuer:
    """An OpenID provider that vouches for people. Everything about it stands in the settings, nothing in a token decides it.

    `url` is compared with `iss` letter by letter, `audience` must be in `aud`, `algorithms` are those of `ALGORITHMS` that its
    keys may sign with. The user's name is the claim `user_claim` without `user_suffix`, behind `user_prefix`. The first row of
    `roles` whose value is in `role_claim` gives the role, else `role`, and None refuses whoever has no row. A jurisdiction is
    `jurisdiction_claim` as `jurisdictions` translate it where there are any, else `jurisdiction`.
    Clocks may differ by `leeway_seconds`; a token that lasts longer than `life_seconds_max` is refused, for it cannot be taken
    back. `ca` is a PEM file of the only CAs that its server is known by; `loopback` allows plain http on this machine.
    """

    issuer: str
    url: str
    audience: str
    client: str = ""
    client_secret: str = ""
    algorithms: tuple[str, ...] = ("RS256",)
    bearer: str = "id_token"
    scope: str = "openid"
    user_claim: str = "sub"
    user_suffix: str = ""
    user_prefix: str = ""
    groups_claim: str = "groups"
    role_claim: str = "groups"
    roles: tuple[tuple[str, Role], ...] = ()
    role: Role | None = Role.USER
    jurisdiction_claim: str = ""
    jurisdiction: str = ""
    jurisdictions: tuple[tuple[str, str], ...] = ()
    leeway_seconds: int = 30
    life_seconds_max: int = 86_400
    ca: str = ""
    loopback: bool = False

    @property
    def sign_in(self) -> SignIn:
        """What people are told of it."""
        client = self.client or self.audience
        return SignIn(
            issuer=self.issuer,
            url=self.url,
            client=client,
            bearer=self.bearer,
            scope=self.scope,
            client_secret=self.client_secret,
        )


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """Whom a server's settings let in, as the log tells it (`server.configured`) whenever they have changed.

    Nobody asks the catalog before they hold, so they are an administrative act of whoever writes the federation file. `signs`
    says that the catalog's own CA certifies sites.
    """

    issuers: tuple[Issuer, ...]
    trust_domain: str
    signs: bool
    token_days_max: int


def person(issuer: Issuer, claims: Mapping[str, Any]) -> Principal:
    """Whom checked claims stand for; Unauthenticated (CLAIM_INVALID, ROLE_MISSING) where they stand for nobody here."""
    expire = claims["exp"]
    if expire - claims["iat"] > issuer.life_seconds_max:
        raise _invalid(issuer, f"it lasts longer than {issuer.life_seconds_max} s")
    return Principal(
        name=f"users/{_user(issuer, claims)}",
        role=_role(issuer, claims),
        jurisdiction=_jurisdiction(issuer, claims),
        groups=_texts(issuer, claims, issuer.groups_claim),
        token=f"issuers/{issuer.issuer}",
        expire_time=datetime.fromtimestamp(expire, UTC),
    )


def _user(issuer: Issuer, claims: Mapping[str, Any]) -> str:
    given = claims.get(issuer.user_claim)
    if issuer.user_claim == "email" and claims.get("email_verified") is not True:
        raise _invalid(issuer, "its e-mail address is not verified")
    if not isinstance(given, str) or not given.endswith(issuer.user_suffix):
        raise _invalid(issuer, f"its {issuer.user_claim} is no name that ends with {issuer.user_suffix!r}")
    bare = given.removesuffix(issuer.user_suffix)
    name = issuer.user_prefix + bare.replace(".", "--")
    if not _DOTTED.fullmatch(bare) or not ids.SEGMENT.fullmatch(name) or name in RESERVED:
        raise _invalid(issuer, f"its {issuer.user_claim} {given[:100]!r} cannot be the name of a user here")
    return name


def _role(issuer: Issuer, claims: Mapping[str, Any]) -> Role:
    has = _texts(issuer, claims, issuer.role_claim)
    found = next((role for value, role in issuer.roles if value in has), issuer.role)
    if found is None:
        raise errors.Unauthenticated(
            f"{issuer.url} vouches for this person, who has no role here",
            reason="ROLE_MISSING",
            help=f"Ask for a group that has one; they are the {issuer.role_claim} that the settings name.",
        )
    return found


def _jurisdiction(issuer: Issuer, claims: Mapping[str, Any]) -> str:
    """Where the issuer says that somebody is; '' where it says what nobody translates: nothing that is bound opens then."""
    if not issuer.jurisdiction_claim:
        return issuer.jurisdiction
    given = claims.get(issuer.jurisdiction_claim, "")
    known = dict(issuer.jurisdictions)
    if not isinstance(given, str):
        raise _invalid(issuer, f"its {issuer.jurisdiction_claim} is no text")
    if known:
        return known.get(given, "")
    return given if re.fullmatch(r"[A-Z][A-Z0-9-]{0,31}", given) else ""


def _texts(issuer: Issuer, claims: Mapping[str, Any], claim: str) -> tuple[str, ...]:
    """A claim that is a text or a list of them. One that cannot be taken whole is refused: a group may be what forbids."""
    given = claims.get(claim, ()) if claim else ()
    listed = (given,) if isinstance(given, str) else given
    if not isinstance(listed, list | tuple) or len(listed) > GROUPS_MAX:
        raise _invalid(issuer, f"its {claim} is no list of at most {GROUPS_MAX}")
    for one in listed:
        if not isinstance(one, str) or not 0 < len(one) <= GROUP_CHARACTERS_MAX or not one.isprintable():
            raise _invalid(issuer, f"its {claim} has an entry that is no short printable text")
    return tuple(sorted(set(listed)))


def _invalid(issuer: Issuer, why: str) -> errors.Unauthenticated:
    return errors.Unauthenticated(
        f"the token of {issuer.url} lets nobody in: {why}",
        reason="CLAIM_INVALID",
        help="The settings of this issuer and what it tells of people must fit each other.",
    )
