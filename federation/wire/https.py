"""JSON over HTTPS, from and to places that the settings name: bounded in size and time, and no redirect is followed.

For OpenID providers. Plain HTTP is for a provider on this machine that the settings allow it to, and for nobody else.
"""

from __future__ import annotations

import contextlib
import http.client
import ipaddress
import json
import socket
import ssl
import threading
from collections.abc import Mapping
from typing import Any
from urllib.parse import SplitResult, urlencode, urlsplit

from federation.core import errors

SECONDS = 5.0
BYTES_MAX = 512 * 1024


def checked(url: str, *, loopback: bool = False) -> SplitResult:
    """The parts of a URL that may be fetched: https, or http to this very machine with `loopback`.

    InvalidArgument (URL_INVALID) for any other.
    """
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = SplitResult("", "", "", "", ""), None
    plain = parts.scheme == "http" and loopback and is_loopback(parts.hostname or "")
    safe = parts.hostname and not parts.username and not parts.password and not parts.fragment and port != 0
    if not (safe and (parts.scheme == "https" or plain)):
        raise errors.InvalidArgument(
            f"{url[:200]!r} is not an https URL",
            reason="URL_INVALID",
            help="Write https://HOST/PATH. Plain http is for a provider on 127.0.0.1 alone, with `loopback: true`.",
        )
    return parts


def is_loopback(host: str) -> bool:
    """Whether a host is this machine and no other, without asking any name server."""
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


def ask(
    url: str,
    *,
    form: Mapping[str, str] | None = None,
    ca: str | None = None,
    loopback: bool = False,
    seconds: float = SECONDS,
    bytes_max: int = BYTES_MAX,
) -> tuple[int, dict[str, Any]]:
    """Status and JSON object of a GET, or of a POST of a form. `ca` is a PEM file of the only CAs to trust.

    Unavailable (PROVIDER_UNAVAILABLE) where no such answer comes in time. Takes `seconds` in all, however slowly it drips.
    """
    parts = checked(url, loopback=loopback)
    path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
    connection = _connection(parts, ca, seconds)
    ended = threading.Event()

    def end() -> None:
        ended.set()
        with contextlib.suppress(OSError, AttributeError):
            connection.sock.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(seconds, end)
    timer.daemon = True
    timer.start()
    try:
        headers = {"accept": "application/json"}
        if form is None:
            connection.request("GET", path, headers=headers)
        else:
            headers["content-type"] = "application/x-www-form-urlencoded"
            connection.request("POST", path, urlencode(form), headers)
        answer = connection.getresponse()
        body = answer.read(bytes_max + 1)
        if ended.is_set():
            raise TimeoutError
        return answer.status, _object(url, body, bytes_max)
    except (OSError, http.client.HTTPException) as error:
        why = f"it took more than {seconds:g} s" if ended.is_set() else str(error) or type(error).__name__
        raise unavailable(url, why) from error
    finally:
        timer.cancel()
        connection.close()


def discover(url: str, *, ca: str = "", loopback: bool = False) -> dict[str, Any]:
    """An issuer's discovery document; Unavailable where there is none, or one that speaks for another issuer."""
    place = f"{url.rstrip('/')}/.well-known/openid-configuration"
    status, found = ask(place, ca=ca or None, loopback=loopback)
    if status != 200 or found.get("issuer") != url:
        raise unavailable(place, f"HTTP {status}, for the issuer {str(found.get('issuer'))[:100]!r}")
    return found


def unavailable(url: str, why: str) -> errors.Unavailable:
    """The refusal where a provider gives no usable answer."""
    return errors.Unavailable(
        f"{url[:200]} gives no answer that can be used: {why}",
        reason="PROVIDER_UNAVAILABLE",
        help="Check that the provider runs and that its address in the settings is right.",
    )


def _connection(parts: SplitResult, ca: str | None, seconds: float) -> http.client.HTTPConnection:
    assert parts.hostname is not None
    if parts.scheme == "http":
        return http.client.HTTPConnection(parts.hostname, parts.port, timeout=seconds)
    context = ssl.create_default_context(cafile=ca)
    return http.client.HTTPSConnection(parts.hostname, parts.port, timeout=seconds, context=context)


def _object(url: str, body: bytes, bytes_max: int) -> dict[str, Any]:
    if len(body) > bytes_max:
        raise unavailable(url, f"it is longer than {bytes_max} bytes")
    try:
        found = json.loads(body) if body else {}
    except (ValueError, RecursionError):
        raise unavailable(url, "it is not JSON") from None
    if not isinstance(found, dict):
        raise unavailable(url, "it is not a JSON object")
    return found
