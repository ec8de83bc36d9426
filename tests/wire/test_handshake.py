"""The certificate that a peer shows."""

from __future__ import annotations

import gc
import socket
import ssl
import warnings
from typing import Any

import pytest

from federation.wire import handshake
from tests.wire import certs as certificates
from tests.wire import edge as edges


def test_the_certificate_of_a_peer_is_the_one_of_whom_it_proves_to_be(edge: edges.Edge, certs: certificates.Certs) -> None:
    """Whoever answers, but not by that name or not by that CA, is told from one who does not answer."""
    host, _, port = edge.server.address.rpartition(":")
    context = ssl.create_default_context(cadata=certs.ca.decode())
    context.set_alpn_protocols(["h2"])
    assert "server" in handshake.certificate(host, int(port), context, host, 10).subject.rfc4514_string()
    with pytest.raises(ssl.SSLCertVerificationError, match="elsewhere"):
        handshake.certificate(host, int(port), context, "elsewhere.example", 10)


class Slow(ssl.SSLContext):
    """A context that becomes a socket's only after the other side has gone away."""

    listener: socket.socket

    def wrap_socket(self, *args: Any, **options: Any) -> ssl.SSLSocket:
        """The socket, with the listener's end at its worst moment."""
        self.listener.close()
        return super().wrap_socket(*args, **options)


def test_a_peer_that_goes_away_at_once_leaves_no_socket_behind() -> None:
    """A listener that stops resets whoever it has not taken yet, at any moment of their handshakes."""
    context = Slow(ssl.PROTOCOL_TLS_CLIENT)
    with socket.create_server(("127.0.0.1", 0)) as context.listener, warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        with pytest.raises(ConnectionError):
            handshake.certificate(*context.listener.getsockname(), context, "here", 10)
        gc.collect()
    assert [str(warning.message) for warning in told] == []
