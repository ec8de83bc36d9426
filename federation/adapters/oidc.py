"""People by OpenID Connect: tokens checked with joserfc against the keys of issuers that the settings name, and of nobody else.

Nothing in a token decides where keys come from: `iss` chooses among the configured issuers by equality, `kid` among that
issuer's keys, and `jku`, `x5u`, `jwk` and `x5c` are not looked at. Keys come by the issuer's discovery document, are kept for a
while, and are fetched anew for a key that is not known, but seldom: who invents key ids causes no fetch.
"""

from __future__ import annotations

import base64
import json
import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from joserfc import errors as jose_errors
from joserfc import jwk, jwt

from federation.core import errors, people
from federation.core.policy import Principal
from federation.wire import https

_log = logging.getLogger(__name__)

TOKEN_BYTES_MAX = 16 * 1024
KEYS_MAX = 100
#: Keys are fetched anew after so many seconds, used on for so many while the issuer is away, and never fetched more often
#: than so, whatever anybody sends.
FRESH_SECONDS = 300.0
STALE_SECONDS = 3600.0
AGAIN_SECONDS = 15.0
_RSA_BITS_MIN = 2048
_TYPES = ("jwt", "at+jwt", "application/at+jwt")
_KEY_TYPES = {"RS": "RSA", "PS": "RSA", "ES": "EC", "Ed": "OKP"}

Key = jwk.RSAKey | jwk.ECKey | jwk.OKPKey
Timer = Callable[[], float]


class OidcPeople:
    """The port `People`. Threads may share it."""

    def __init__(self, issuers: Sequence[people.Issuer], *, timer: Timer = time.monotonic) -> None:
        self._issuers = {row.url: _Keys(row, timer) for row in issuers}

    def __repr__(self) -> str:
        return f"<OidcPeople {', '.join(self._issuers) or 'nobody'}>"

    def sign_ins(self) -> tuple[people.SignIn, ...]:
        return tuple(keys.issuer.sign_in for keys in self._issuers.values())

    def person(self, token: str, now: datetime) -> Principal:
        header, claimed = _peek(token)
        keys = self._issuers.get(str(claimed.get("iss", "")))
        if keys is None:
            raise _invalid("its issuer is none that this federation trusts", reason="ISSUER_UNKNOWN")
        issuer = keys.issuer
        algorithm = header.get("alg")
        if algorithm not in issuer.algorithms:
            raise _invalid(f"it is signed with {str(algorithm)[:20]!r}, and {', '.join(issuer.algorithms)} is allowed")
        if "typ" in header and str(header["typ"]).lower() not in _TYPES:
            raise _invalid("it is a token of another kind")
        key = keys.find(header.get("kid"), algorithm)
        try:
            checked = jwt.decode(token, key, algorithms=[algorithm])
            _registry(issuer, now).validate(checked.claims)
        except jose_errors.ExpiredTokenError:
            raise _invalid("its time is over", reason="TOKEN_EXPIRED") from None
        except (jose_errors.JoseError, ValueError, TypeError) as error:
            raise _invalid(str(error)[:200] or type(error).__name__) from None
        _require_party(issuer, checked.claims)
        return people.person(issuer, checked.claims)


@dataclass(frozen=True, kw_only=True)
class _Fetched:
    """The keys of an issuer, and when they came."""

    keys: tuple[Key, ...]
    at: float


class _Keys:
    """The keys of one issuer. One thread fetches at a time; the others wait for what it brings."""

    def __init__(self, issuer: people.Issuer, timer: Timer) -> None:
        self.issuer = issuer
        self._timer = timer
        self._lock = threading.Lock()
        self._fetched: _Fetched | None = None
        self._tried = float("-inf")

    def find(self, kid: object, algorithm: str) -> Key:
        """The issuer's key of that id for that algorithm; Unauthenticated (KEY_UNKNOWN) where there is none."""
        found = self._among(self._current(), kid, algorithm)
        if found is None:
            found = self._among(self._current(wanted=True), kid, algorithm)
        if found is None:
            raise _invalid("no key of its issuer has signed it", reason="KEY_UNKNOWN")
        return found

    def _among(self, keys: tuple[Key, ...], kid: object, algorithm: str) -> Key | None:
        fitting = [key for key in keys if _fits(key, algorithm)]
        if kid is None:
            return fitting[0] if len(fitting) == 1 else None
        return next((key for key in fitting if key.as_dict(private=False).get("kid") == kid), None)

    def _current(self, *, wanted: bool = False) -> tuple[Key, ...]:
        """Keys that may be used; fetched where they are old, or `wanted` for another one, if that was not tried just now."""
        with self._lock:
            now = self._timer()
            age = now - self._fetched.at if self._fetched else float("inf")
            if (wanted or age >= FRESH_SECONDS) and now - self._tried >= AGAIN_SECONDS:
                self._tried = now
                self._refresh(age)
            if self._fetched is None or self._timer() - self._fetched.at >= STALE_SECONDS:
                raise errors.Unavailable(
                    f"the keys of {self.issuer.url} cannot be had now",
                    reason="ISSUER_UNAVAILABLE",
                    help="Try again soon; API tokens (`fed_...`) go on without the issuer.",
                    retry_seconds=AGAIN_SECONDS,
                )
            return self._fetched.keys

    def _refresh(self, age: float) -> None:
        try:
            self._fetched = _Fetched(keys=self._fetch(), at=self._timer())
        except errors.FederationError as error:
            _log.warning("keys of %s stay as they are (%s old): %s", self.issuer.url, f"{age:.0f} s", error)

    def _fetch(self) -> tuple[Key, ...]:
        found = https.discover(self.issuer.url, ca=self.issuer.ca, loopback=self.issuer.loopback)
        url = str(found.get("jwks_uri", ""))
        status, body = https.ask(url, ca=self.issuer.ca or None, loopback=self.issuer.loopback)
        if status != 200 or not isinstance(body.get("keys"), list):
            raise https.unavailable(url, f"HTTP {status}, and no list of keys")
        return tuple(key for key in map(_key, body["keys"][:KEYS_MAX]) if key is not None)


def _key(data: Any) -> Key | None:
    """A public key that may check signatures, or None: secrets, keys for encryption, and short ones are left out."""
    if not isinstance(data, dict) or data.get("kty") not in ("RSA", "EC", "OKP") or data.get("use", "sig") != "sig":
        return None
    if data["kty"] == "RSA" and len(str(data.get("n", ""))) * 6 < _RSA_BITS_MIN:
        return None
    try:
        key = jwk.import_key({name: value for name, value in data.items() if name not in ("x5u", "x5c", "x5t")})
    except (jose_errors.JoseError, ValueError, TypeError, KeyError):
        return None
    return key if isinstance(key, jwk.RSAKey | jwk.ECKey | jwk.OKPKey) else None


def _fits(key: Key, algorithm: str) -> bool:
    told = key.as_dict(private=False).get("alg")
    return key.key_type == _KEY_TYPES[algorithm[:2]] and told in (None, algorithm)


def _registry(issuer: people.Issuer, now: datetime) -> jwt.JWTClaimsRegistry:
    return jwt.JWTClaimsRegistry(
        now=int(now.timestamp()),
        leeway=issuer.leeway_seconds,
        iss={"essential": True, "value": issuer.url},
        aud={"essential": True, "value": issuer.audience},
        exp={"essential": True},
        iat={"essential": True},
    )


def _require_party(issuer: people.Issuer, claims: dict[str, Any]) -> None:
    """An ID token for many says for whom it was made, which must be the client that people sign in with here."""
    many = issuer.bearer == "id_token" and isinstance(claims["aud"], list) and len(claims["aud"]) > 1
    if many and claims.get("azp") != issuer.sign_in.client:
        raise _invalid("it was made for another client")


def _peek(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims as they stand, unchecked: good for choosing an issuer and nothing else."""
    pieces = token.split(".")
    if len(token) > TOKEN_BYTES_MAX or len(pieces) != 3:
        raise _invalid("it is no signed token")
    try:
        header, claims = (json.loads(base64.urlsafe_b64decode(piece + "=" * (-len(piece) % 4))) for piece in pieces[:2])
    except (ValueError, RecursionError):
        raise _invalid("it is no signed token") from None
    if not isinstance(header, dict) or not isinstance(claims, dict):
        raise _invalid("it is no signed token")
    return header, claims


def _invalid(why: str, *, reason: str = "TOKEN_INVALID") -> errors.Unauthenticated:
    return errors.Unauthenticated(f"the token lets nobody in: {why}", reason=reason, help="Sign in again with `fed login`.")
