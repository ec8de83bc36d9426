"""Where a program of ours listens for HTTP: what `HOST:PORT` says, and that no token travels there in the clear."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

from federation.core import errors
from federation.wire import https

_BEARER = "bearer "


@dataclass(frozen=True, kw_only=True)
class Listening:
    """An address, and the files (PEM) of the certificate that it is served with; None for plain HTTP, on loopback alone."""

    host: str
    port: int
    cert: Path | None = None
    key: Path | None = None

    def tls(self) -> ssl.SSLContext | None:
        """What it is served with: TLS 1.2 or newer, or None."""
        if self.cert is None:
            return None
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(self.cert, self.key)
        return context


def parse(text: str, cert: Path | None = None, key: Path | None = None) -> Listening:
    """`127.0.0.1:7420` as an address; FailedPrecondition (TLS_MISSING) beyond loopback without a certificate."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdecimal():
        raise errors.InvalidArgument(f"{text!r} is not host:port", help="Write for example 127.0.0.1:7420.")
    host = host.strip("[]")
    if cert is None and not https.is_loopback(host):
        raise errors.FailedPrecondition(
            f"tokens would travel to {host} in the clear",
            reason="TLS_MISSING",
            help="Give --cert and --key, or listen on loopback.",
        )
    return Listening(host=host, port=int(port), cert=cert, key=key)


def port_taken(address: str, error: OSError | None = None) -> errors.FailedPrecondition:
    """The refusal to listen at an address that cannot be had; `error` says why, where that is known."""
    why = f": {error.strerror}" if error is not None else ""
    return errors.FailedPrecondition(
        f"cannot listen on {address}{why}",
        reason="PORT_TAKEN",
        help="Another process may hold it; see who listens there, or choose another address.",
        metadata={"address": address},
    )


def bearer(authorization: str) -> str:
    """The token of an `Authorization` header; Unauthenticated (TOKEN_MISSING) where there is none."""
    if authorization.lower().startswith(_BEARER):
        return authorization[len(_BEARER) :].strip()
    raise errors.Unauthenticated(
        "the call bears no token",
        reason="TOKEN_MISSING",
        help="Sign in with `fed login`, or send `Authorization: Bearer fed_...` (`fed token create`).",
    )
