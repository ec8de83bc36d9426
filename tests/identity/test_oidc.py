"""People by OpenID Connect: a real provider's tokens let in whom it vouches for, and nothing that anybody forges does."""

from __future__ import annotations

import base64
import dataclasses
import hmac
import json
import threading
import time
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
from joserfc import jwk, jwt

from federation.adapters import oidc
from federation.core import errors, people
from federation.core.policy import Role
from federation.wire import https
from tests.identity.provider import CLIENT
from tests.wire.edge import Edge

pytestmark = pytest.mark.invariant("I1")

RSA = jwk.RSAKey.generate_key(2048, {"kid": "forged", "use": "sig"})


def who(edge: Edge, token: str) -> Any:
    """Who the server says the bearer is."""
    with edge.client(token) as client:
        return client.who_am_i()


def refusal(edge: Edge, token: str) -> str:
    """The reason why a token lets nobody in."""
    with pytest.raises(errors.Unauthenticated) as caught:
        who(edge, token)
    return caught.value.reason


# With the real provider


def test_a_real_provider_s_token_says_who_somebody_is(edge, provider):
    """Name, role by group, groups, jurisdiction by country, and when it ends."""
    found = who(edge, provider.id_token("ada"))
    assert (found.principal, found.role, found.jurisdiction) == ("users/ada", "ADMIN", "EU")
    assert found.groups == ("analysts", "fed-admins")
    assert found.credential == "issuers/corp"
    assert datetime.now(UTC) < found.expire_time


def test_who_has_no_special_group_is_a_user(edge, provider):
    """The usual role, which may not invite sites."""
    with edge.client(provider.id_token("bob")) as client:
        assert (client.who_am_i().role, client.who_am_i().jurisdiction) == ("USER", "US")
        with pytest.raises(errors.PermissionDenied):
            client.invite_site("eu-1")


def test_quotes_in_a_group_and_a_dot_in_a_name_are_only_text(edge, provider):
    """A country that nobody translates gives no jurisdiction."""
    found = who(edge, provider.id_token("eve.smith"))
    assert (found.principal, found.groups, found.jurisdiction) == ("users/eve--smith", ("o'brien\"*",), "")


def test_a_token_for_another_client_is_refused(edge, provider):
    """The right issuer and the right key, but not made for us."""
    assert refusal(edge, provider.id_token("ada", client="somebody-else")) == "TOKEN_INVALID"


def test_the_provider_s_claims_under_a_changed_signature_are_refused(edge, provider):
    """A bit of the signature, a bit of the claims."""
    head, body, mark = provider.id_token("ada").split(".")
    flipped = ("A" if mark[5] != "A" else "B").join((mark[:5], mark[6:]))
    assert refusal(edge, f"{head}.{body}.{flipped}") == "TOKEN_INVALID"
    claims = json.loads(base64.urlsafe_b64decode(body + "==")) | {"sub": "root"}
    assert refusal(edge, f"{head}.{_encoded(claims)}.{mark}") == "TOKEN_INVALID"


def test_api_tokens_and_signed_tokens_come_in_by_the_same_door(edge, provider):
    """Each is known by what it begins with."""
    assert who(edge, edge.tokens["admin"]).credential.startswith("tokens/t")
    assert who(edge, provider.id_token("bob")).credential == "issuers/corp"
    assert refusal(edge, "fed_invented") == "TOKEN_INVALID"
    assert refusal(edge, "neither.one") == "TOKEN_INVALID"


# Forged ones, against the keys of the real provider


def claims(at: Any, **changes: Any) -> dict[str, Any]:
    """What a good token of a provider or an issuer says, with changes; None takes one away."""
    now = int(time.time())
    good = {"iss": at.url, "aud": CLIENT, "sub": "ada", "iat": now, "exp": now + 300}
    return {key: value for key, value in (good | changes).items() if value is not None}


def forged(said: dict[str, Any], key: Any = RSA, **header: Any) -> str:
    """A token that our own key has signed."""
    head = {"alg": "RS256", "kid": "forged"} | header
    return jwt.encode(head, said, key, algorithms=[head["alg"]])


def test_a_foreign_issuer_is_refused(edge, provider):
    """It is not asked for keys: nothing listens there, and nobody tries."""
    said = claims(provider, iss="http://127.0.0.1:9/")
    assert refusal(edge, forged(said)) == "ISSUER_UNKNOWN"
    assert refusal(edge, forged(claims(provider, iss=provider.url + "/"))) == "ISSUER_UNKNOWN"
    assert refusal(edge, forged(claims(provider, iss=None))) == "ISSUER_UNKNOWN"
    assert refusal(edge, forged(claims(provider, iss=[provider.url]))) == "ISSUER_UNKNOWN"


def test_algorithm_none_is_refused(edge, provider):
    """In any spelling, with and without a signature."""
    for name in ("none", "None", "NONE", "nOnE", ""):
        bare = f"{_encoded({'alg': name})}.{_encoded(claims(provider))}."
        assert refusal(edge, bare) == "TOKEN_INVALID"
        assert refusal(edge, bare + "AAAA") == "TOKEN_INVALID"


def test_the_public_key_is_no_shared_secret(edge, provider, issuer):
    """RS/HS confusion: the provider's own public key as the secret of an HMAC."""
    _, found = https.ask(f"{provider.url}/jwks", loopback=True)
    public = jwk.import_key(found["keys"][0])
    for secret in (public.as_pem(private=False), json.dumps(found["keys"][0]).encode()):
        signed = f"{_encoded({'alg': 'HS256', 'kid': found['keys'][0].get('kid')})}.{_encoded(claims(provider))}"
        mark = base64.urlsafe_b64encode(hmac.digest(secret, signed.encode(), "sha256")).rstrip(b"=").decode()
        assert refusal(edge, f"{signed}.{mark}") == "TOKEN_INVALID"
    with pytest.raises(errors.Unauthenticated):
        oidc.OidcPeople([dataclasses.replace(issuer, algorithms=("ES256",))]).person(provider.id_token("ada"), _now())


def test_keys_that_a_token_brings_along_are_not_looked_at(edge, provider):
    """`jwk`, `jku` and `x5u` in the header: nobody listens where they point, and nobody would be asked."""
    brought = RSA.as_dict(private=False)
    with _listening({"keys": [brought]}) as (url, asked):
        for header in ({"jwk": brought}, {"jku": f"{url}/jwks"}, {"x5u": f"{url}/cert"}):
            assert refusal(edge, forged(claims(provider), **header)) == "KEY_UNKNOWN"
        assert asked == []


@pytest.mark.parametrize("kid", ["../../../dev/null", "' OR 1=1 --", "x" * 1000, "http://127.0.0.1:9/k", "é"])
def test_a_key_id_is_a_name_and_nothing_else(edge, provider, kid):
    """Injected, it finds no key."""
    assert refusal(edge, forged(claims(provider), kid=kid)) == "KEY_UNKNOWN"


@pytest.mark.parametrize("token", ["a.b.c", "..", "e30.e30.", "W10.W10.AA", "x" * 20_000 + ".a.b", "e30.e30.e30.e30.e30"])
def test_what_is_no_token_is_refused_as_one(edge, token):
    """Whatever it is, it is Unauthenticated and no failure of ours."""
    assert refusal(edge, token) in {"TOKEN_INVALID", "ISSUER_UNKNOWN", "TOKEN_MISSING"}


# With keys of our own, so that only the claims are wrong


@pytest.fixture(scope="module")
def own() -> Iterator[tuple[people.Issuer, list[str], dict[str, Any]]]:
    """An issuer whose keys are ours, what was fetched from it, and its documents."""
    documents: dict[str, Any] = {"keys": [RSA.as_dict(private=False)]}
    with _listening(documents) as (url, asked):
        documents |= {"issuer": url, "jwks_uri": f"{url}/jwks"}
        yield people.Issuer(issuer="own", url=url, audience=CLIENT, loopback=True), asked, documents


NOW = int(time.time())


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"aud": "other"}, "TOKEN_INVALID"),
        ({"aud": ["other", "another"]}, "TOKEN_INVALID"),
        ({"aud": [CLIENT, "other"]}, "TOKEN_INVALID"),  # made for many, and not said for whom
        ({"aud": None}, "TOKEN_INVALID"),
        ({"exp": NOW - 3600}, "TOKEN_EXPIRED"),
        ({"exp": None}, "TOKEN_INVALID"),
        ({"exp": "never"}, "TOKEN_INVALID"),
        ({"nbf": NOW + 86_400}, "TOKEN_INVALID"),
        ({"iat": NOW + 86_400}, "TOKEN_INVALID"),
        ({"iat": None}, "TOKEN_INVALID"),
        ({"exp": NOW + 10**8}, "CLAIM_INVALID"),
        ({"sub": "admin"}, "CLAIM_INVALID"),
        ({"sub": "Ada"}, "CLAIM_INVALID"),
        ({"sub": 'ada" || true'}, "CLAIM_INVALID"),
        ({"sub": "ada--lovelace"}, "CLAIM_INVALID"),
        ({"sub": None}, "CLAIM_INVALID"),
        ({"sub": ["ada"]}, "TOKEN_INVALID"),
        ({"groups": "analysts\n"}, "CLAIM_INVALID"),
        ({"groups": [f"g{n}" for n in range(201)]}, "CLAIM_INVALID"),
        ({"groups": {"a": 1}}, "CLAIM_INVALID"),
    ],
)
def test_a_claim_that_does_not_hold_is_refused(own, changes, reason):
    """Signed by the right key, in each of these ways not good here."""
    issuer, _, _ = own
    with pytest.raises(errors.Unauthenticated) as caught:
        oidc.OidcPeople([issuer]).person(forged(claims(issuer, **changes)), _now())
    assert caught.value.reason == reason


def test_the_same_claims_unchanged_let_somebody_in(own):
    """Else the test above could not fail. A token for many is good where it says that it was made for our client."""
    issuer, _, _ = own
    door = oidc.OidcPeople([issuer])
    assert door.person(forged(claims(issuer)), _now()).name == "users/ada"
    assert door.person(forged(claims(issuer, aud=[CLIENT, "x"], azp=CLIENT)), _now()).name == "users/ada"


def test_an_issuer_that_gives_no_role_lets_nobody_in(own):
    """`role: NONE` in the settings: only those whose group has a role come in."""
    issuer = dataclasses.replace(own[0], role=None, roles=(("crew", Role.AUDITOR),))
    door = oidc.OidcPeople([issuer])
    assert door.person(forged(claims(issuer, groups=["crew"])), _now()).role is Role.AUDITOR
    with pytest.raises(errors.Unauthenticated) as caught:
        door.person(forged(claims(issuer)), _now())
    assert caught.value.reason == "ROLE_MISSING"


def test_an_address_counts_only_once_it_is_verified(own):
    """And only within the domain that the settings name."""
    issuer = dataclasses.replace(own[0], user_claim="email", user_suffix="@corp.example", user_prefix="corp-")
    door = oidc.OidcPeople([issuer])
    good = claims(issuer, email="ada.lovelace@corp.example", email_verified=True)
    assert door.person(forged(good), _now()).name == "users/corp-ada--lovelace"
    for changed in ({"email_verified": False}, {"email_verified": "true"}, {"email": "ada@corp.example.evil"}):
        with pytest.raises(errors.Unauthenticated):
            door.person(forged(good | changed), _now())


def test_keys_are_fetched_once_and_unknown_ids_do_not_make_anybody_fetch(own):
    """A thousand invented key ids cost one look; a key that the issuer has added is found once the pause is over."""
    issuer, asked, documents = own
    ticks = [0.0]
    door = oidc.OidcPeople([issuer], timer=lambda: ticks[0])
    door.person(forged(claims(issuer)), _now())
    before = len(asked)
    added = jwk.RSAKey.generate_key(2048, {"kid": "added"})
    fresh = forged(claims(issuer), added, kid="added")
    for number in range(50):
        with pytest.raises(errors.Unauthenticated):
            door.person(forged(claims(issuer), kid=f"k{number}"), _now())
    assert len(asked) == before
    documents["keys"] = [*documents["keys"], added.as_dict(private=False)]
    ticks[0] += oidc.AGAIN_SECONDS
    assert door.person(fresh, _now()).name == "users/ada"
    assert len(asked) == before + 2
    documents["keys"] = documents["keys"][:1]


def test_keys_that_are_too_old_are_not_used_while_the_issuer_is_away(own):
    """For an hour they are; then who signed in waits for the issuer, and nobody is let in unproven."""
    issuer, _, documents = own
    ticks = [0.0]
    door = oidc.OidcPeople([issuer], timer=lambda: ticks[0])
    token = forged(claims(issuer))
    door.person(token, _now())
    kept, documents["issuer"] = documents["issuer"], "https://somebody.else"
    try:
        ticks[0] += oidc.FRESH_SECONDS + 1
        door.person(token, _now())
        ticks[0] += oidc.STALE_SECONDS
        with pytest.raises(errors.Unavailable) as caught:
            door.person(token, _now())
        assert caught.value.reason == "ISSUER_UNAVAILABLE"
    finally:
        documents["issuer"] = kept


def test_a_set_of_keys_with_secrets_and_short_keys_in_it_gives_none_of_them(own):
    """`oct` keys, keys for encryption, RSA below 2048 bits: none of them checks a signature."""
    issuer, _, documents = own
    kept = documents["keys"]
    with warnings.catch_warnings(action="ignore"):
        short = jwk.RSAKey.generate_key(1024, {"kid": "short"})
    secret = jwk.OctKey.generate_key(256, {"kid": "secret"})
    sealing = jwk.RSAKey.generate_key(2048, {"kid": "sealing"})
    documents["keys"] = [
        short.as_dict(private=False),
        secret.as_dict(private=True),
        sealing.as_dict(private=False) | {"use": "enc"},
    ]
    try:
        # Whoever knows the public set has the secret in it: its signature must prove nothing.
        for key, name, algorithm in ((short, "short", "RS256"), (secret, "secret", "HS256"), (sealing, "sealing", "RS256")):
            door = oidc.OidcPeople([dataclasses.replace(issuer, algorithms=("RS256",))])
            with pytest.raises(errors.Unauthenticated), warnings.catch_warnings(action="ignore"):
                door.person(_signed(claims(issuer), key, name, algorithm), _now())
    finally:
        documents["keys"] = kept


# How keys are fetched


def test_what_is_fetched_is_bounded_and_no_redirect_is_followed():
    """Too long, too slow, elsewhere, not JSON: each is Unavailable."""
    with _listening({"keys": []}) as (url, asked):
        assert https.ask(f"{url}/jwks", loopback=True)[0] == 200
        with pytest.raises(errors.Unavailable, match="longer"):
            https.ask(f"{url}/long", loopback=True)
        with pytest.raises(errors.Unavailable, match="took more"):
            https.ask(f"{url}/slow", loopback=True, seconds=0.5)
        asked.clear()
        assert https.ask(f"{url}/moved", loopback=True)[0] == 302
        assert asked == ["/moved"]
        with pytest.raises(errors.Unavailable, match="not JSON"):
            https.ask(f"{url}/text", loopback=True)


@pytest.mark.parametrize(
    "url",
    [
        *("http://issuer.example/", "http://127.0.0.1.evil.example/", "http://10.0.0.1/", "file:///etc/passwd", "ftp://x/"),
        *("https://user:pass@x/", "https:///x", "https://x:99999/", "https://x/#a", "", "issuer.example"),
    ],
)
def test_only_https_is_fetched_and_http_from_this_machine_alone(url):
    """Also where loopback is allowed; and a loopback address is none where it is not."""
    for loopback in (False, True):
        with pytest.raises(errors.InvalidArgument):
            https.checked(url, loopback=loopback)
    with pytest.raises(errors.InvalidArgument):
        https.checked("http://127.0.0.1:1/")


def _now() -> datetime:
    return datetime.now(UTC)


def _encoded(said: dict[str, Any]) -> str:
    return base64.urlsafe_b64encode(json.dumps(said).encode()).rstrip(b"=").decode()


def _signed(said: dict[str, Any], key: Any, kid: str, algorithm: str) -> str:
    return jwt.encode({"alg": algorithm, "kid": kid}, said, key, algorithms=[algorithm])


@contextmanager
def _listening(documents: dict[str, Any]) -> Iterator[tuple[str, list[str]]]:
    """A provider's documents over HTTP on loopback, and the paths that were asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            body = json.dumps(documents).encode()
            if self.path == "/long":
                body = b" " * (https.BYTES_MAX + 2)
            if self.path == "/text":
                body = b"<html>"
            self.send_response(302 if self.path == "/moved" else 200)
            if self.path == "/moved":
                self.send_header("location", "/jwks")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.path == "/slow":
                for _ in range(100):
                    time.sleep(0.1)
                    try:
                        self.wfile.write(b" ")
                    except OSError:
                        return
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()
        server.server_close()
