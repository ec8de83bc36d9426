"""An OpenID provider in a process of its own, on loopback, and ways for a test to sign in at it as a browser would."""

from __future__ import annotations

import contextlib
import http.client
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import parse_qs, quote, urlencode, urlsplit

from tests import tcp

#: It takes any client with any secret, and no client without one.
CLIENT = "fed-cli"
CLIENT_SECRET = "told to everybody"
#: What it tells of each person beside their name.
PEOPLE = {
    "ada": {"groups": ["analysts", "fed-admins"], "country": "DE"},
    "bob": {"groups": ["analysts"], "country": "US"},
    "eve.smith": {"groups": ["o'brien\"*"], "country": "XX"},
}


@dataclass(frozen=True, kw_only=True)
class Provider:
    """Where it listens. Its name in tokens is its URL."""

    port: int

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def code(self, authorize: str, user: str) -> str:
        """Follows an authorization URL as that person: the URL that the browser is sent back to."""
        parts = urlsplit(authorize)
        return self._post(f"{parts.path}?{parts.query}", {"sub": user})[1]

    def id_token(self, user: str, *, client: str = CLIENT) -> str:
        """A real token of that person, by the code flow."""
        asked = {"response_type": "code", "client_id": client, "redirect_uri": "http://127.0.0.1:1/", "scope": "openid"}
        back = self.code(f"{self.url}/oauth2/authorize?{urlencode(asked)}", user)
        code = parse_qs(urlsplit(back).query)["code"][0]
        form = {"grant_type": "authorization_code", "code": code, "redirect_uri": "http://127.0.0.1:1/"}
        form |= {"client_id": client, "client_secret": CLIENT_SECRET}
        status, body = self._post("/oauth2/token", form)
        assert status == 200, body
        token: str = json.loads(body)["id_token"]
        return token

    def tell(self, user: str, **claims: object) -> None:
        """Sets what it says of a person."""
        self._send("PUT", f"/users/{quote(user)}", json.dumps(claims), "application/json")

    def _post(self, path: str, form: dict[str, str]) -> tuple[int, str]:
        return self._send("POST", path, urlencode(form), "application/x-www-form-urlencoded")

    def _send(self, method: str, path: str, body: str, kind: str) -> tuple[int, str]:
        """Status, and where it sends the caller or what it answers."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        with contextlib.closing(connection):
            connection.request(method, path, body, {"content-type": kind})
            answer = connection.getresponse()
            text = answer.read().decode()
            return answer.status, answer.getheader("location") or text


@contextlib.contextmanager
def running() -> Iterator[Provider]:
    """The provider `oidc-provider-mock`, which signs with a fresh RSA key each time it starts."""
    (port,) = tcp.free_ports(1)
    process = subprocess.Popen(
        (sys.executable, "-m", "oidc_provider_mock", "--port", str(port)), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    provider = Provider(port=port)
    try:
        deadline = time.monotonic() + 60
        while True:
            try:
                for user, claims in PEOPLE.items():
                    provider.tell(user, **claims)
                break
            except OSError:
                assert process.poll() is None, "the provider has ended"
                assert time.monotonic() < deadline, "the provider does not answer"
                time.sleep(0.1)
        yield provider
    finally:
        process.terminate()
        process.wait(timeout=30)
