"""Signing in with an OpenID provider, as `fed login` does: by a code on another device (RFC 8628), or a browser here (PKCE).

What the provider gives is kept in one file (0600), refreshed when it is about to end, and given back at `fed logout`.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hashlib
import http.server
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Self
from urllib.parse import parse_qs, urlencode, urlsplit

from federation import config
from federation.core import errors, people, records
from federation.wire import https

DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
#: Tells a person where to go, and which code to type there.
Tell = Callable[[str, str], None]
Sleep = Callable[[float], None]

_INTERVAL_SECONDS = 5.0
_SLOWER_SECONDS = 5.0
_DEVICE_SECONDS_MAX = 1800.0
_BROWSER_SECONDS = 300.0
#: A token is refreshed when it has less time left than this.
_EARLY = timedelta(seconds=60)
_PAGE = b"<!doctype html><title>fed</title><p>You are signed in. This window may be closed."


@dataclass(frozen=True, kw_only=True)
class SignedIn:
    """What a provider has given: the bearer that the server is shown, until when, and what a new one is had for."""

    sign_in: people.SignIn
    bearer: str = field(repr=False)
    refresh_token: str = field(default="", repr=False)
    expire_time: datetime


def by_device(sign_in: people.SignIn, tell: Tell, *, sleep: Sleep = time.sleep) -> SignedIn:
    """Signs in on any device that has a browser: `tell` is told the address and the code, and the provider asked until done.

    FailedPrecondition (DEVICE_FLOW_MISSING) where the provider knows no such flow, PermissionDenied (SIGN_IN_DENIED),
    DeadlineExceeded (SIGN_IN_LATE).
    """
    found = _discovered(sign_in)
    place = found.get("device_authorization_endpoint")
    if not isinstance(place, str):
        raise errors.FailedPrecondition(
            f"{sign_in.url} knows no sign-in by device", reason="DEVICE_FLOW_MISSING", help="Use `fed login --browser`."
        )
    status, begun = _post(place, sign_in, {"scope": sign_in.scope})
    if status != 200 or not all(isinstance(begun.get(key), str) for key in ("device_code", "user_code", "verification_uri")):
        raise _refused(sign_in, begun, status)
    tell(str(begun.get("verification_uri_complete") or begun["verification_uri"]), begun["user_code"])
    pause = max(float(begun.get("interval", _INTERVAL_SECONDS)), 0.0)
    waited, most = 0.0, min(float(begun.get("expires_in", _DEVICE_SECONDS_MAX)), _DEVICE_SECONDS_MAX)
    while waited < most:
        sleep(pause)
        waited += max(pause, 0.01)
        asked = {"grant_type": DEVICE_GRANT, "device_code": begun["device_code"]}
        try:
            status, answer = _post(str(found["token_endpoint"]), sign_in, asked)
        except errors.Unavailable:
            pause *= 2  # RFC 8628, 3.5: after a time-out, slower
            continue
        if status == 200:
            return _signed_in(sign_in, answer)
        match answer.get("error"):
            case "authorization_pending":
                pass
            case "slow_down":
                pause += _SLOWER_SECONDS
            case "expired_token":
                break
            case _:
                raise _refused(sign_in, answer, status)
    raise errors.DeadlineExceeded("nobody confirmed the code in time", reason="SIGN_IN_LATE", help="Begin again: `fed login`.")


def by_browser(sign_in: people.SignIn, visit: Callable[[str], None], *, seconds: float = _BROWSER_SECONDS) -> SignedIn:
    """Signs in with a browser on this machine: `visit` opens an address there; its answer comes to a port of ours on loopback.

    The code is bound to this process by PKCE (RFC 7636, S256), the answer by `state`, the ID token by `nonce`.
    """
    found = _discovered(sign_in)
    verifier, state, nonce = (secrets.token_urlsafe(32) for _ in range(3))
    with _Callback(state) as callback:
        asked = {
            "response_type": "code",
            "client_id": sign_in.client,
            "redirect_uri": callback.url,
            "scope": sign_in.scope,
            "state": state,
            "nonce": nonce,
            "code_challenge": _unpadded(hashlib.sha256(verifier.encode()).digest()),
            "code_challenge_method": "S256",
        }
        place = str(found["authorization_endpoint"])
        https.checked(place, loopback=_loopback(sign_in))
        visit(f"{place}{'&' if '?' in place else '?'}{urlencode(asked)}")
        code = callback.wait(seconds)
    form = {"grant_type": "authorization_code", "code": code, "redirect_uri": callback.url, "code_verifier": verifier}
    status, answer = _post(str(found["token_endpoint"]), sign_in, form)
    if status != 200:
        raise _refused(sign_in, answer, status)
    if "id_token" in answer and _claims(str(answer["id_token"])).get("nonce") != nonce:
        raise _refused(sign_in, {"error": "the ID token is of another sign-in"}, status)
    return _signed_in(sign_in, answer)


def refreshed(old: SignedIn) -> SignedIn:
    """A new bearer; Unauthenticated (SIGN_IN_OVER) where the provider gives none any more."""
    over = errors.Unauthenticated("the sign-in is over", reason="SIGN_IN_OVER", help="Sign in again: `fed login`.")
    if not old.refresh_token:
        raise over
    form = {"grant_type": "refresh_token", "refresh_token": old.refresh_token, "scope": old.sign_in.scope}
    status, answer = _post(str(_discovered(old.sign_in)["token_endpoint"]), old.sign_in, form)
    if status != 200 or old.sign_in.bearer not in answer:
        raise over
    return _signed_in(old.sign_in, {"refresh_token": old.refresh_token} | answer)


def give_back(old: SignedIn) -> bool:
    """Asks the provider to forget the sign-in (RFC 7009), where it can; whether it has."""
    place = _discovered(old.sign_in).get("revocation_endpoint")
    if not isinstance(place, str) or not old.refresh_token:
        return False
    status, _ = _post(place, old.sign_in, {"token": old.refresh_token, "token_type_hint": "refresh_token"})
    return status == 200


class Kept:
    """A sign-in in its file. `token` is what a client shows at each call, refreshed by whoever of many processes is first."""

    def __init__(self, path: Path, *, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._path = path
        self._now = now
        self._lock = threading.Lock()
        self._read: SignedIn | None = None

    def __repr__(self) -> str:
        return f"<Kept {self._path}>"

    def keep(self, signed_in: SignedIn) -> None:
        """Writes it (0600), whole."""
        config.write_secret(self._path, json.dumps(records.dump(signed_in)).encode())
        self._read = signed_in

    def look(self) -> SignedIn:
        """What is in the file; Unauthenticated (SIGN_IN_OVER) without one."""
        if not self._path.exists():
            raise errors.Unauthenticated("nobody is signed in", reason="SIGN_IN_OVER", help="Sign in: `fed login`.")
        return records.load(SignedIn, json.loads(config.read_secret(self._path, "sign-in")))

    def token(self) -> str:
        """A bearer that has some time left."""
        with self._lock:
            if self._read is None or self._ends(self._read):
                self._read = self._fresh()
            return self._read.bearer

    def forget(self) -> None:
        """Takes the file away."""
        self._path.unlink(missing_ok=True)
        self._read = None

    def _fresh(self) -> SignedIn:
        found = self.look()
        if not self._ends(found):
            return found
        with self._alone():
            found = self.look()  # another process may have been first, and have used the refresh token up
            if self._ends(found):
                found = refreshed(found)
                self.keep(found)
            return found

    def _ends(self, signed_in: SignedIn) -> bool:
        return signed_in.expire_time - self._now() < _EARLY

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        with self._path.with_suffix(".lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


class _Callback:
    """A port on loopback to which the provider sends the browser back, once."""

    def __init__(self, state: str) -> None:
        self._answered = threading.Event()
        self._found: dict[str, str] = {}
        callback = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                given = {key: values[0] for key, values in parse_qs(urlsplit(self.path).query).items()}
                good = secrets.compare_digest(given.get("state", "").encode(), state.encode())
                self.send_response(200 if good else 400)
                self.send_header("content-type", "text/html")
                self.end_headers()
                self.wfile.write(_PAGE if good else b"")
                if good and not callback._answered.is_set():
                    callback._found = given
                    callback._answered.set()

            def log_message(self, *_: Any) -> None:
                """Says nothing: the code is in the path."""

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.1}, daemon=True)
        self.url = f"http://127.0.0.1:{self._server.server_port}/callback"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def wait(self, seconds: float) -> str:
        """The code; DeadlineExceeded (SIGN_IN_LATE), PermissionDenied (SIGN_IN_DENIED)."""
        if not self._answered.wait(seconds):
            raise errors.DeadlineExceeded("nobody signed in in time", reason="SIGN_IN_LATE", help="Begin again: `fed login`.")
        if "code" not in self._found:
            raise errors.PermissionDenied(f"the provider said {self._found.get('error', 'no')!r}", reason="SIGN_IN_DENIED")
        return self._found["code"]


def _discovered(sign_in: people.SignIn) -> dict[str, Any]:
    return https.discover(sign_in.url, loopback=_loopback(sign_in))


def _post(url: str, sign_in: people.SignIn, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
    known = {"client_id": sign_in.client} | ({"client_secret": sign_in.client_secret} if sign_in.client_secret else {})
    return https.ask(url, form=form | known, loopback=_loopback(sign_in))


def _loopback(sign_in: people.SignIn) -> bool:
    """Plain HTTP where the server says that the provider is on this machine: what is sent stays here."""
    return https.is_loopback(urlsplit(sign_in.url).hostname or "")


def _signed_in(sign_in: people.SignIn, answer: dict[str, Any]) -> SignedIn:
    bearer = answer.get(sign_in.bearer)
    if not isinstance(bearer, str):
        raise _refused(sign_in, {"error": f"it gave no {sign_in.bearer}"}, 200)
    expire = _claims(bearer).get("exp")
    if not isinstance(expire, int | float):
        raise _refused(sign_in, {"error": f"its {sign_in.bearer} is no signed token"}, 200)
    refresh_token = answer.get("refresh_token")
    return SignedIn(
        sign_in=sign_in,
        bearer=bearer,
        refresh_token=refresh_token if isinstance(refresh_token, str) else "",
        expire_time=datetime.fromtimestamp(expire, UTC),
    )


def _claims(token: str) -> dict[str, Any]:
    """What a token says, unchecked: to know when it ends. The server checks it."""
    with contextlib.suppress(ValueError, IndexError):
        body = token.split(".")[1]
        found = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
        if isinstance(found, dict):
            return found
    return {}


def _refused(sign_in: people.SignIn, answer: dict[str, Any], status: int) -> errors.PermissionDenied:
    said = str(answer.get("error_description") or answer.get("error") or f"HTTP {status}")[:200]
    return errors.PermissionDenied(f"{sign_in.url} refuses the sign-in: {said}", reason="SIGN_IN_DENIED")


def _unpadded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
