"""Who is calling: people by bearer token, agents by the certificate that their connection was made with."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping

from federation.api.calls import Context
from federation.api.store import Store
from federation.core import errors, ids, policy
from federation.crypto import secrets
from federation.services import identity

#: URI SAN of an agent's certificate, before the site's name.
AGENT_URI = "spiffe://federation/agents/"
_SAN_KEYS = ("x509_uri_san", "x509_subject_alternative_name")
_BEARER = "bearer "
_CACHE_SECONDS = 3.0
_CACHE_TOKENS_MAX = 10_000


class PeopleDoor:
    """Tokens, by their SHA-256. A look-up is good for a few seconds, so that a token that is taken back ends soon."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, tuple[float, policy.Principal]] = {}

    async def admit(self, context: Context) -> policy.Principal:
        return await self.principal(bearer(dict(context.invocation_metadata() or ())))

    async def principal(self, secret: str) -> policy.Principal:
        """Whose token that is; Unauthenticated for nobody's."""
        digest = secrets.digest(secret)
        until, principal = self._seen.get(digest, (0.0, None))
        if principal is not None and until > time.monotonic():
            return principal
        principal = await self._store.read(lambda tx: identity.principal_for(tx, secret))
        if len(self._seen) >= _CACHE_TOKENS_MAX:
            self._seen.clear()
        self._seen[digest] = (time.monotonic() + _CACHE_SECONDS, principal)
        return principal


class AgentsDoor:
    """Certificates. TLS has checked that the CA signed it; what is read here is whose it is."""

    async def admit(self, context: Context) -> policy.Principal:
        return policy.Principal(name=f"agents/{agent_site(context.auth_context())}", role=policy.Role.AGENT)


def bearer(metadata: Mapping[str, str | bytes]) -> str:
    """The token of `authorization: Bearer ...`; Unauthenticated (TOKEN_MISSING) where there is none."""
    value = metadata.get("authorization", "")
    if isinstance(value, str) and value.lower().startswith(_BEARER):
        return value[len(_BEARER) :].strip()
    raise errors.Unauthenticated(
        "the call bears no token",
        reason="TOKEN_MISSING",
        help="Send metadata `authorization: Bearer fed_...`; an administrator makes tokens with `fed token create`.",
    )


def agent_site(peer: Mapping[str, Iterable[bytes]]) -> str:
    """The site that a client certificate names; Unauthenticated (CERTIFICATE_INVALID) unless it names exactly one."""
    names = {name.decode("ascii", "replace") for key in _SAN_KEYS for name in peer.get(key, ())}
    sites = [name.removeprefix(AGENT_URI) for name in names if name.startswith(AGENT_URI)]
    if len(sites) != 1 or not ids.SEGMENT.fullmatch(sites[0]):
        raise errors.Unauthenticated(
            "the certificate does not name one site's agent",
            reason="CERTIFICATE_INVALID",
            help=f"It needs one URI SAN {AGENT_URI}SITE.",
        )
    return sites[0]
