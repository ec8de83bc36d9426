"""Who is calling: people by API token or an issuer's signed token, agents by the certificate of their connection."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime

from federation import ports
from federation.api.calls import Context
from federation.api.store import Store
from federation.core import errors, ids, policy
from federation.crypto import certificates, secrets
from federation.services import identity, joining, sites
from federation.wire import listening, methods

_SAN_KEYS = ("x509_uri_san", "x509_subject_alternative_name")
_PEM_KEY = "x509_pem_cert"
#: Of an API token; what begins otherwise is a signed token of an issuer.
_PREFIX = "fed_"
_CACHE_SECONDS = 3.0
_CACHE_TOKENS_MAX = 10_000
#: Signed tokens are checked by threads of their own: one that waits for an issuer's keys keeps nobody from the catalog.
_CHECKERS = 2
_BEFORE_ADMISSION = frozenset({"Register", "RenewCertificate"})
_ADMITTED_SECONDS = 1.0


class PeopleDoor:
    """API tokens by their SHA-256, signed tokens by their issuer's keys.

    What was found is good for `_CACHE_SECONDS`, never past the credential's own end, and is forgotten at once by the server
    where a token is taken back: other servers of the same catalog refuse it within that time.
    """

    def __init__(self, store: Store, people: ports.People | None = None) -> None:
        self._store = store
        self._people = people
        self._seen: dict[str, tuple[float, policy.Principal]] = {}
        self._checkers = ThreadPoolExecutor(max_workers=_CHECKERS, thread_name_prefix="door")

    async def admit(self, context: Context, method: methods.Method) -> policy.Principal:
        del method
        return await self.principal(bearer(dict(context.invocation_metadata() or ())))

    async def principal(self, secret: str) -> policy.Principal:
        """Whose token that is; Unauthenticated for one that is not valid."""
        digest = secrets.digest(secret)
        until, principal = self._seen.get(digest, (0.0, None))
        if principal is not None and until > time.monotonic():
            return principal
        principal, now = await self._look(secret)
        if len(self._seen) >= _CACHE_TOKENS_MAX:
            self._seen.clear()
        self._seen[digest] = (time.monotonic() + _good_for(principal, now), principal)
        return principal

    def forget(self, tokens: Collection[str]) -> None:
        """Looks these tokens (by name) up again when they are shown next."""
        names = {f"tokens/{token}" for token in tokens}
        self._seen = {digest: row for digest, row in self._seen.items() if row[1].token not in names}

    def close(self) -> None:
        """Ends the threads that check."""
        self._checkers.shutdown(wait=False, cancel_futures=True)

    async def _look(self, secret: str) -> tuple[policy.Principal, datetime]:
        people = self._people
        if people is None or secret.startswith(_PREFIX):
            return await self._store.look(lambda tx: (identity.principal_for(tx, secret), tx.now))
        now = await self._store.look(lambda tx: tx.now)
        found = await asyncio.get_running_loop().run_in_executor(self._checkers, lambda: people.person(secret, now))
        return found, now


def _good_for(principal: policy.Principal, now: datetime) -> float:
    """For how many seconds the result of a look-up may be used."""
    if principal.expire_time is None:
        return _CACHE_SECONDS
    return min(_CACHE_SECONDS, (principal.expire_time - now).total_seconds())


class AgentsDoor:
    """Certificates. TLS has checked that the CA signed it; what is read here is whose it is, in which trust domain.

    A site that its admission test keeps out can be tested again, and nothing else; one that has joined anew, with another
    certificate, answers to that alone. Who was admitted, with which certificate, is believed for a second.
    """

    def __init__(self, store: Store, trust_domain: str) -> None:
        self._store = store
        self._uri = certificates.agent_uri(trust_domain, "")
        self._admitted: dict[str, tuple[float, bytes]] = {}

    async def admit(self, context: Context, method: methods.Method) -> policy.Principal:
        peer = context.auth_context()
        site, shown = agent_site(peer, self._uri), b"".join(peer.get(_PEM_KEY, ()))
        principal = policy.Principal(name=f"agents/{site}", role=policy.Role.AGENT)
        if method.name in _BEFORE_ADMISSION:
            await self._store.look(lambda tx: joining.require_current(tx, site, shown))
            return principal
        until, known = self._admitted.get(site, (0.0, b""))
        if until <= time.monotonic() or known != shown:
            await self._store.look(lambda tx: _require_admitted(tx, site, shown))
            self._admitted[site] = (time.monotonic() + _ADMITTED_SECONDS, shown)
        return principal


def _require_admitted(tx: ports.Transaction, site: str, shown: bytes) -> None:
    sites.require_admitted(sites.get_site(tx, site))
    joining.require_current(tx, site, shown)


def bearer(metadata: Mapping[str, str | bytes]) -> str:
    """The token of `authorization: Bearer ...`; Unauthenticated (TOKEN_MISSING) where there is none."""
    value = metadata.get("authorization", "")
    return listening.bearer(value if isinstance(value, str) else "")


def agent_site(peer: Mapping[str, Iterable[bytes]], uri: str) -> str:
    """The site that a client certificate names behind `uri`; Unauthenticated (CERTIFICATE_INVALID) unless exactly one."""
    names = {name.decode("ascii", "replace") for key in _SAN_KEYS for name in peer.get(key, ())}
    sites = [name.removeprefix(uri) for name in names if name.startswith(uri)]
    if len(sites) != 1 or not ids.SEGMENT.fullmatch(sites[0]):
        raise errors.Unauthenticated(
            "the certificate does not name one site's agent",
            reason="CERTIFICATE_INVALID",
            help=f"It needs one URI SAN {uri}SITE.",
        )
    return sites[0]
