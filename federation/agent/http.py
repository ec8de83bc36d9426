"""An agent's HTTP port, for those who look after the site: `/metrics`, `/healthz` and `/livez`. Off unless named.

On a loopback address it speaks plain HTTP to whoever is on the machine. On any other it speaks TLS, with the site's own
certificate, and `/metrics` wants the token that lies in the settings' file (0600): figures tell how much is read where. That
the agent lives (`/livez`) and that its gateway serves (`/healthz`) it says to everybody, and no more than that. Nothing can be
changed here.
"""

from __future__ import annotations

import contextlib
import hmac
import json
import ssl
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket

from federation import config, metrics
from federation.core import errors
from federation.wire import tls

#: A caller that is silent for so long is hung up on.
_SILENCE_SECONDS = 10.0


class Listener:
    """Listens from when it is made until `stop`; `address` is where, with the real port where the settings said `:0`.

    `ready` tells whether the gateway serves. Unavailable (ADDRESS_IN_USE) where the address is taken.
    """

    def __init__(
        self,
        address: str,
        told: metrics.Agent,
        ready: Callable[[], bool],
        *,
        token: str = "",
        identity: tls.Source | None = None,
        files: config.TlsFiles | None = None,
    ) -> None:
        host, _, port = address.rpartition(":")
        try:
            self._server = _Server((host.strip("[]"), int(port)), _Handler)
        except OSError as error:
            raise errors.Unavailable(
                f"the agent cannot listen at {address}: {error.strerror}",
                reason="ADDRESS_IN_USE",
                help="Give `http_listen` another address, or end who has it.",
            ) from error
        self._server.told, self._server.ready, self._server.token = told, ready, token
        if identity is not None and files is not None:
            self._server.secure(identity, files)
        self.address = f"{host}:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, name="http", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Takes no new call."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    told: metrics.Agent
    ready: Callable[[], bool]
    token: str = ""

    def secure(self, identity: tls.Source, files: config.TlsFiles) -> None:
        """Speaks TLS from now on, with the certificate that the files have when a connection comes."""
        self._identity, self._files = identity, files
        self._known = identity.current()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._context.load_cert_chain(files.cert, files.key)

    def get_request(self) -> tuple[socket, object]:
        """A connection; its handshake happens in its own thread, so that a silent caller keeps nobody waiting."""
        connection, address = super().get_request()
        connection.settimeout(_SILENCE_SECONDS)
        if not hasattr(self, "_context"):
            return connection, address
        if (now := self._identity.current()) is not self._known:
            self._known = now
            with contextlib.suppress(ssl.SSLError, OSError):  # changed again meanwhile: the next connection finds that
                self._context.load_cert_chain(self._files.cert, self._files.key)
        return self._context.wrap_socket(connection, server_side=True, do_handshake_on_connect=False), address

    def handle_error(self, request: object, client_address: object) -> None:
        """Logs nothing about callers that went away or do not speak HTTP."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server
    server_version = "federation-agent"
    sys_version = ""
    timeout = _SILENCE_SECONDS

    def do_GET(self) -> None:
        """Answers one of the three paths."""
        match self.path.partition("?")[0]:
            case "/livez":
                self._say(200, {"status": "ALIVE"})
            case "/healthz":
                serves = self.server.ready()
                self._say(200 if serves else 503, {"status": "SERVING" if serves else "NOT_SERVING"})
            case "/metrics" if not self._known():
                self.send_response(401)
                self.send_header("www-authenticate", "Bearer")
                self.end_headers()
            case "/metrics":
                self._send(200, metrics.CONTENT_TYPE, self.server.told.render())
            case _:
                self._say(404, {"error": {"reason": "HTTP_ERROR", "message": "there are /metrics, /healthz and /livez"}})

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class's word
        """Logs nothing: a metrics scraper calls every few seconds."""

    def _known(self) -> bool:
        shown = self.headers.get("authorization", "")
        return not self.server.token or hmac.compare_digest(shown.encode(), f"Bearer {self.server.token}".encode())

    def _say(self, status: int, told: dict[str, object]) -> None:
        self._send(status, "application/json", json.dumps(told).encode())

    def _send(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
