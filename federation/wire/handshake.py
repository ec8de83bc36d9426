"""A handshake alone: by which certificate whoever answers at an address proves to be who they should be."""

from __future__ import annotations

import socket
import ssl

from cryptography import x509


def certificate(host: str, port: int, context: ssl.SSLContext, name: str, seconds: float) -> x509.Certificate:
    """The certificate by which whoever answers at `host` and `port` proves to be `name`.

    The socket is one of TLS before it is connected. Python cannot close one that is made of a connection which the other side
    gives up at that moment: `ssl.SSLSocket` raises while it is being made.

    Raises:
        OSError: nobody answers there within `seconds`, or whoever does cannot prove to be `name` (`ssl.SSLError`).
    """
    failure = OSError(f"{host} has no address")
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        with context.wrap_socket(socket.socket(family, kind, protocol), server_hostname=name) as connection:
            connection.settimeout(seconds)
            try:
                connection.connect(address)
            except ssl.SSLError:
                raise
            except OSError as error:
                failure = error
                continue
            return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")
    raise failure
