"""TLS and channel settings, the same on every connection of the federation. Nothing of ours speaks without TLS.

Certificates are read from their files again when these change: new connections have the new ones, old connections live on.
"""

from __future__ import annotations

import functools
import logging
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, Protocol

import grpc
from cryptography import x509

from federation import traces
from federation.core import errors
from federation.crypto import certificates
from federation.wire import balancing, tracing

_log = logging.getLogger(__name__)

#: Metadata of one call: lower-case keys; a key that ends in `-bin` has bytes.
Metadata = Sequence[tuple[str, str | bytes]]

MESSAGE_BYTES_MAX = 64 * 1024 * 1024

#: Both sides of every connection. Keepalive finds a peer that vanished without a word within half a minute.
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.max_receive_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_send_message_length", MESSAGE_BYTES_MAX),
    ("grpc.max_metadata_size", 64 * 1024),
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
)

#: A server's own: it accepts such pings, and refuses a port that another process holds instead of sharing it.
SERVER_OPTIONS: tuple[tuple[str, int], ...] = (
    *OPTIONS,
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 0),
    ("grpc.so_reuseport", 0),
)

#: A client's own: it looks again soon after a server was away, since a restart takes a second or two. What gRPC names the least
#: backoff is how long one connection may take to be made, its handshakes included: across an ocean these take a second.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    *OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 10_000),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),
)

#: What may come over one connection for data before it is taken: 64 MiB are 170 MB a second at 250 ms, since gRPC tells the
#: other side late. It bounds the memory of a connection whose reader is slower than its line, over all of its calls together.
DATA_WINDOW_BYTES = 64 * 1024 * 1024


def server_options(receive_bytes_max: int) -> tuple[tuple[str, int], ...]:
    """A server's options where it takes smaller messages than most. Of an option that is told twice gRPC takes the first."""
    return (("grpc.max_receive_message_length", receive_bytes_max), *SERVER_OPTIONS)


@dataclass(frozen=True)
class Tls:
    """PEM bytes: the CA that the other side must be signed by, and one's own certificate and key where one has them."""

    ca: bytes
    cert: bytes = b""
    key: bytes = field(default=b"", repr=False)


def expiry(identity: Tls) -> datetime:
    """When its certificate ends."""
    return x509.load_pem_x509_certificate(identity.cert).not_valid_after_utc


class Source(Protocol):
    """Where a TLS identity comes from."""

    def current(self) -> Tls: ...


@dataclass(frozen=True)
class Fixed:
    """An identity that does not change."""

    tls: Tls

    def current(self) -> Tls:
        """It."""
        return self.tls


class Files:
    """An identity in three PEM files, read again when one of them changes. Threads may share it.

    Files that cannot be used together, as between the writing of one and of the next, leave the identity as it was and are
    logged; the first reading refuses them with InvalidArgument (TLS_INVALID).
    """

    def __init__(self, ca: Path, cert: Path, key: Path) -> None:
        self._paths = (ca, cert, key)
        self._lock = threading.Lock()
        self._stamp = self._stamps()
        self._tls = self._read()

    def __repr__(self) -> str:
        return f"<Files {self._paths[1]}>"

    def current(self) -> Tls:
        """The identity as the files have it now, or as they last had one that can be used."""
        with self._lock:
            stamp = self._stamps()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._tls = self._read()
                    _log.info("the certificate in %s has changed and is used from now on", self._paths[1])
                except errors.InvalidArgument as error:
                    _log.error("the certificate stays as it was: %s", error)
            return self._tls

    def _read(self) -> Tls:
        try:
            ca, cert, key = (path.read_bytes() for path in self._paths)
        except OSError as error:
            raise errors.InvalidArgument(
                f"{error.filename} cannot be read: {error.strerror}", reason="TLS_INVALID", help="Put the file there."
            ) from None
        certificates.require_pair(cert, key, ca)
        return Tls(ca, cert, key)

    def _stamps(self) -> tuple[tuple[int, int, int] | None, ...]:
        return tuple(map(_stamp, self._paths))


def _stamp(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def channel(
    target: str,
    tls: Tls,
    *,
    metadata: Callable[[], Metadata] | None = None,
    own_connection: bool = False,
    repeatable: Iterable[str] = (),
    window_bytes: int = 0,
) -> grpc.Channel:
    """A channel to `host:port`, or several (see `balancing`). `metadata` is asked at each call: a token may change meanwhile.

    Connects at the first call. Make it in the process that uses it: a channel does not survive a fork. Channels to the same
    place share one connection, unless one is to have its own: a connection is encrypted by one core at a time.
    """
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key or None, tls.cert or None)
    place, options = balancing.settings(target, repeatable)
    own = ("grpc.use_local_subchannel_pool", int(own_connection))
    window = (("grpc.http2.lookahead_bytes", window_bytes), ("grpc.http2.bdp_probe", 0)) if window_bytes else ()
    opened = grpc.secure_channel(place, credentials, options=(*CHANNEL_OPTIONS, own, *window, *options))
    if traces.on():
        opened = grpc.intercept_channel(opened, tracing.Calls())
    return grpc.intercept_channel(opened, _Bearer(metadata)) if metadata else opened


class ProcessChannel:
    """The channel of whichever process asks: made at its first call there, so its owner may be forked. Threads share it."""

    def __init__(
        self,
        target: str,
        tls: Tls,
        *,
        metadata: Callable[[], Metadata] | None = None,
        repeatable: Iterable[str] = (),
        window_bytes: int = 0,
    ) -> None:
        self._make = functools.partial(
            channel, target, tls, metadata=metadata, repeatable=tuple(repeatable), window_bytes=window_bytes
        )
        self._lock = threading.Lock()
        self._made: tuple[int, grpc.Channel] | None = None

    def get(self) -> grpc.Channel:
        """This process's channel."""
        with self._lock:
            if self._made is None or self._made[0] != os.getpid():
                self._made = (os.getpid(), self._make())
            return self._made[1]

    def close(self) -> None:
        """Ends this process's channel; the next `get` makes another."""
        with self._lock:
            made, self._made = self._made, None
        if made is not None and made[0] == os.getpid():
            made[1].close()


def server_credentials(source: Source, *, require_client: bool) -> grpc.ServerCredentials:
    """A server's side, asked for its certificate at each new connection.

    With `require_client` nobody gets in without a certificate that the CA signed.
    """
    known = [source.current()]

    def changed() -> grpc.ServerCertificateConfiguration | None:
        now = source.current()
        if now is known[0]:
            return None
        known[0] = now
        return _server_certificate(now, require_client=require_client)

    first = _server_certificate(known[0], require_client=require_client)
    # Its stub knows nothing of None, which grpc takes as "as before".
    return grpc.dynamic_ssl_server_credentials(first, changed, require_client_authentication=require_client)  # type: ignore[arg-type]


def _server_certificate(tls: Tls, *, require_client: bool) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(tls.key, tls.cert)], root_certificates=tls.ca if require_client else None
    )


class _Bearer(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds metadata to each call of a channel."""

    def __init__(self, metadata: Callable[[], Metadata]) -> None:
        self._metadata = metadata

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._with(details), request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return continuation(self._with(details), request)

    def intercept_stream_unary(self, continuation: Any, details: Any, request_iterator: Any) -> Any:
        return continuation(self._with(details), request_iterator)

    def intercept_stream_stream(self, continuation: Any, details: Any, request_iterator: Any) -> Any:
        return continuation(self._with(details), request_iterator)

    def _with(self, details: Any) -> tracing.Details:
        return tracing.Details(details, self._metadata())
