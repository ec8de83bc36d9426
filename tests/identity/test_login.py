"""`fed login`: a code on another device by RFC 8628, a browser here with PKCE, refreshed and given back."""

from __future__ import annotations

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from joserfc import jwk, jwt

from federation.client import login
from federation.core import errors, people
from tests.identity.provider import Provider

KEY = jwk.RSAKey.generate_key(2048, {"kid": "k"})


class AuthorizationServer:
    """RFC 8628 and refreshing with rotation, over HTTP on loopback: what a provider with a device flow does.

    `confirm` is the person with the other device. A poll that comes before the interval is over is answered with slow_down,
    after which the interval is longer, as the RFC says; a device code is good once.
    """

    def __init__(self, *, interval: float = 0.2, expires_in: int = 60) -> None:
        self.interval, self.expires_in = interval, expires_in
        self.codes: dict[str, dict[str, Any]] = {}
        self.refresh: set[str] = set()
        self.answers: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(200, server.document())

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"])).decode()
                form = {key: values[0] for key, values in parse_qs(body).items()}
                status, answer = getattr(server, self.path.strip("/"))(form)
                server.answers.append(str(answer.get("error", status)))
                self._answer(status, answer)

            def _answer(self, status: int, answer: dict[str, Any]) -> None:
                text = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("content-length", str(len(text)))
                self.end_headers()
                self.wfile.write(text)

            def log_message(self, *_: Any) -> None:
                """Says nothing."""

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    @property
    def sign_in(self) -> people.SignIn:
        return people.SignIn(issuer="own", url=self.url, client="cli", scope="openid offline_access")

    def document(self) -> dict[str, Any]:
        return {
            "issuer": self.url,
            "token_endpoint": f"{self.url}/token",
            "device_authorization_endpoint": f"{self.url}/device",
            "revocation_endpoint": f"{self.url}/revoke",
            "authorization_endpoint": f"{self.url}/authorize",
        }

    def device(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        assert form["client_id"] == "cli"
        code, user_code = secrets.token_urlsafe(16), secrets.token_hex(4)
        self.codes[code] = {
            "user_code": user_code,
            "state": "",
            "last": 0.0,
            "interval": self.interval,
            "made": time.monotonic(),
        }
        told = {"device_code": code, "user_code": user_code, "verification_uri": f"{self.url}/activate"}
        return 200, told | {"expires_in": self.expires_in, "interval": self.interval}

    def confirm(self, user_code: str, state: str = "yes") -> None:
        next(row for row in self.codes.values() if row["user_code"] == user_code)["state"] = state

    def token(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:  # noqa: PLR0911 - one for each answer of the RFC
        if form["grant_type"] == "refresh_token":
            if form["refresh_token"] not in self.refresh:
                return 400, {"error": "invalid_grant"}
            self.refresh.discard(form["refresh_token"])
            return self._tokens()
        assert form["grant_type"] == login.DEVICE_GRANT
        row = self.codes.get(form["device_code"])
        now = time.monotonic()
        if row is None:
            return 400, {"error": "invalid_grant"}
        if now - row["made"] > self.expires_in:
            return 400, {"error": "expired_token"}
        soon, row["last"] = now - row["last"] < row["interval"] * 0.9, now
        if soon:
            row["interval"] += 5
            return 400, {"error": "slow_down"}
        if row["state"] != "yes":
            return 400, {"error": "access_denied" if row["state"] == "no" else "authorization_pending"}
        del self.codes[form["device_code"]]
        return self._tokens()

    def revoke(self, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        self.refresh.discard(form["token"])
        return 200, {}

    def _tokens(self) -> tuple[int, dict[str, Any]]:
        refresh, now = secrets.token_urlsafe(16), int(time.time())
        self.refresh.add(refresh)
        said = {"iss": self.url, "aud": "cli", "sub": "ada", "iat": now, "exp": now + 300}
        token = jwt.encode({"alg": "RS256", "kid": "k"}, said, KEY)
        return 200, {"id_token": token, "access_token": "opaque", "refresh_token": refresh, "token_type": "Bearer"}


@pytest.fixture
def server() -> Iterator[AuthorizationServer]:
    """A provider that knows the device flow."""
    made = AuthorizationServer()
    yield made
    made.http.shutdown()
    made.http.server_close()


def test_a_code_confirmed_on_another_device_signs_in(server):
    """Polled at the interval that the provider names, and not once sooner."""
    told: list[tuple[str, str]] = []

    def tell(url: str, code: str) -> None:
        told.append((url, code))
        threading.Timer(0.5, server.confirm, [code]).start()

    signed = login.by_device(server.sign_in, tell)
    assert told[0][0] == f"{server.url}/activate"
    assert signed.expire_time > datetime.now(UTC)
    assert signed.refresh_token in server.refresh
    assert "authorization_pending" in server.answers
    assert "slow_down" not in server.answers
    assert signed.bearer not in repr(signed)


def test_told_to_slow_down_it_waits_five_seconds_more_from_then_on(server):
    """RFC 8628, 3.5: at every poll that follows."""
    pauses: list[float] = []
    server.expires_in = 600
    server.interval = 30.0  # told, and kept to by the server; the clock of this test does not wait

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            row = next(iter(server.codes.values()))
            row["last"], row["state"] = 0.0, "yes"

    login.by_device(server.sign_in, lambda *_: None, sleep=sleep)
    assert server.answers == ["200", "authorization_pending", "slow_down", "200"]
    assert pauses == [30.0, 30.0, 35.0]


def test_who_says_no_is_not_asked_again(server):
    """And who says nothing is not waited for for ever."""
    with pytest.raises(errors.PermissionDenied) as caught:
        login.by_device(server.sign_in, lambda _, code: server.confirm(code, "no"))
    assert caught.value.reason == "SIGN_IN_DENIED"
    server.expires_in = 1
    with pytest.raises(errors.DeadlineExceeded) as late:
        login.by_device(server.sign_in, lambda *_: None)
    assert late.value.reason == "SIGN_IN_LATE"


def test_a_sign_in_is_kept_for_its_owner_alone_and_refreshed_before_it_ends(server, tmp_path):
    """One of several processes refreshes, for a refresh token is good once; the others read what it got."""
    signed = login.by_device(server.sign_in, lambda _, code: server.confirm(code))
    file = tmp_path / "signed-in" / "x.json"
    login.Kept(file).keep(signed)
    assert file.stat().st_mode & 0o777 == 0o600
    assert login.Kept(file).token() == signed.bearer
    soon = lambda: signed.expire_time - timedelta(seconds=1)  # noqa: E731 - a clock
    asked = len(server.answers)
    found: list[str] = []
    threads = [threading.Thread(target=lambda: found.append(login.Kept(file, now=soon).token())) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert "invalid_grant" not in server.answers[asked:]
    kept = login.Kept(file).look()
    assert login.give_back(kept)
    assert kept.refresh_token not in server.refresh
    with pytest.raises(errors.Unauthenticated) as caught:
        login.refreshed(kept)
    assert caught.value.reason == "SIGN_IN_OVER"
    login.Kept(file).forget()
    with pytest.raises(errors.Unauthenticated):
        login.Kept(file).token()


def test_a_browser_here_signs_in_at_the_real_provider(edge, provider: Provider, issuer):
    """The code flow with PKCE; what it gives lets its bearer in, and is refreshed."""
    seen: list[str] = []

    def visit(url: str) -> None:
        seen.append(url)
        back = provider.code(url, "ada")
        import urllib.request

        wrong = back.replace("state=", "state=x")
        with pytest.raises(OSError, match="400"):
            urllib.request.urlopen(wrong, timeout=30)
        urllib.request.urlopen(back, timeout=30).close()

    signed = login.by_browser(issuer.sign_in, visit)
    asked = {key: values[0] for key, values in parse_qs(urlsplit(seen[0]).query).items()}
    assert (asked["code_challenge_method"], asked["response_type"]) == ("S256", "code")
    assert len(base64.urlsafe_b64decode(asked["code_challenge"] + "=")) == hashlib.sha256().digest_size
    with edge.client(signed.bearer) as client:
        assert client.who_am_i().principal == "users/ada"
        assert client.find_entrance().issuers == (issuer.sign_in,)


def test_a_provider_without_the_device_flow_is_told_as_such(issuer):
    """With what to do instead."""
    with pytest.raises(errors.FailedPrecondition) as caught:
        login.by_device(issuer.sign_in, lambda *_: None)
    assert caught.value.reason == "DEVICE_FLOW_MISSING"
    assert "--browser" in caught.value.help


def test_a_browser_that_never_comes_back_is_not_waited_for_for_ever(server):
    """And nothing is sent to the token endpoint."""
    with pytest.raises(errors.DeadlineExceeded):
        login.by_browser(server.sign_in, lambda _: None, seconds=0.2)
    assert server.answers == []
