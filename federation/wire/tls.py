"""TLS and channel settings, the same on every connection of the federation. Nothing of ours speaks without TLS."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import grpc

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

#: A client's own: it looks again soon after a server was away, since a restart takes a second or two.
CHANNEL_OPTIONS: tuple[tuple[str, int], ...] = (
    *OPTIONS,
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.min_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    ("grpc.enable_http_proxy", 0),
)


def server_options(receive_bytes_max: int) -> tuple[tuple[str, int], ...]:
    """A server's options where it takes smaller messages than most. Of an option that is told twice gRPC takes the first."""
    return (("grpc.max_receive_message_length", receive_bytes_max), *SERVER_OPTIONS)


@dataclass(frozen=True)
class Tls:
    """PEM bytes: the CA that the other side must be signed by, and one's own certificate and key where one has them."""

    ca: bytes
    cert: bytes = b""
    key: bytes = field(default=b"", repr=False)


def channel(
    target: str, tls: Tls, *, metadata: Callable[[], Metadata] | None = None, own_connection: bool = False
) -> grpc.Channel:
    """A channel to `host:port`. `metadata` is asked at each call, so that a token may change while the channel lives.

    Connects at the first call. Make it in the process that uses it: a channel does not survive a fork. Channels to the same
    place share one connection, unless one is to have its own: a connection is encrypted by one core at a time.
    """
    credentials = grpc.ssl_channel_credentials(tls.ca, tls.key or None, tls.cert or None)
    options = (*CHANNEL_OPTIONS, ("grpc.use_local_subchannel_pool", int(own_connection)))
    opened = grpc.secure_channel(target, credentials, options=options)
    return grpc.intercept_channel(opened, _Bearer(metadata)) if metadata else opened


class ProcessChannel:
    """The channel of whichever process asks: made at its first call there, so its owner may be forked. Threads share it."""

    def __init__(self, target: str, tls: Tls, *, metadata: Callable[[], Metadata] | None = None) -> None:
        self._make = functools.partial(channel, target, tls, metadata=metadata)
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


def server_credentials(tls: Tls, *, require_client: bool) -> grpc.ServerCredentials:
    """A server's side. With `require_client` nobody gets in without a certificate that the CA signed."""
    return grpc.ssl_server_credentials(
        [(tls.key, tls.cert)],
        root_certificates=tls.ca if require_client else None,
        require_client_auth=require_client,
    )


@dataclass(frozen=True)
class _Details(grpc.ClientCallDetails):
    """A call's details with our metadata added; grpc reads these attributes."""

    method: str
    timeout: float | None
    metadata: Any
    credentials: grpc.CallCredentials | None
    wait_for_ready: bool | None
    compression: Any


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

    def _with(self, details: Any) -> _Details:
        return _Details(
            method=details.method,
            timeout=details.timeout,
            metadata=[*(details.metadata or ()), *self._metadata()],
            credentials=details.credentials,
            wait_for_ready=getattr(details, "wait_for_ready", None),
            compression=getattr(details, "compression", None),
        )
