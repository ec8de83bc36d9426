"""S3 servers for tests, on loopback: an honest one, and one that lies as some real ones do."""

from __future__ import annotations

import contextlib
import http.client
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs

import boto3
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.server import ThreadedMotoServer
from werkzeug.serving import make_server

from connectors.storage.s3 import READER_PARAMETER
from tests import tcp

_PIECE = 64 * 1024

#: moto checks no credentials; the connector still has to send some.
OPTIONS = {"key": "test", "secret": "test", "region": "us-east-1"}


@contextmanager
def honest() -> Iterator[str]:
    """The endpoint of an S3 server that honours conditional puts and ranges."""
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@contextmanager
def apart() -> Iterator[str]:
    """The endpoint of an honest server in a process of its own: for DuckDB, which keeps Python waiting while it reads."""
    (port,) = tcp.free_ports(1)
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as server:
        try:
            for _ in range(600):
                if server.poll() is None:
                    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port)):
                        break
                time.sleep(0.1)
            yield f"http://127.0.0.1:{port}"
        finally:
            server.terminate()


@dataclass(frozen=True, kw_only=True)
class Served:
    """One answer to a GET of an object: for which grant ('' for none), by whose key, how much of it went, and if all of it."""

    grant: str
    caller: str
    path: str
    bytes: int
    whole: bool


class Counting:
    """An honest server that counts what it serves, by caller: the truth that meters are held against.

    A caller is the access key that signed the request, and the grant that the request's address names, as S3's own access log
    has both. An answer is whole when all its bytes were handed to the connection before it broke.
    """

    def __init__(self) -> None:
        self.endpoint = ""
        self.served: list[Served] = []
        self._app = DomainDispatcherApplication(create_backend_app)

    def whole_bytes(self, grant: str) -> int:
        """Bytes of the answers to a grant that went whole."""
        return sum(answer.bytes for answer in self.served if answer.grant == grant and answer.whole)

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        body = self._app(environ, start_response)
        return self._counted(environ, body) if environ["REQUEST_METHOD"] == "GET" else body

    def _counted(self, environ: dict[str, Any], body: Iterable[bytes]) -> Iterator[bytes]:
        query = parse_qs(environ.get("QUERY_STRING", ""))
        credential = re.search(r"Credential=([^/,]+)/", environ.get("HTTP_AUTHORIZATION", ""))
        sent, whole = 0, False
        try:
            for data in body:
                for start in range(0, len(data), _PIECE):
                    piece = data[start : start + _PIECE]
                    sent += len(piece)
                    yield piece
            whole = True
        finally:
            close = getattr(body, "close", None)
            if close:
                close()
            self.served.append(
                Served(
                    grant=query.get(READER_PARAMETER, [""])[0],
                    caller=credential[1] if credential else "",
                    path=environ["PATH_INFO"],
                    bytes=sent,
                    whole=whole,
                )
            )


@contextmanager
def counting() -> Iterator[Counting]:
    """An honest server that counts; its `endpoint` is where it listens."""
    made = Counting()
    server = make_server("127.0.0.1", 0, made, threaded=True)
    made.endpoint = f"http://127.0.0.1:{server.port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def client(endpoint: str):
    """A boto3 client for preparing what a test needs to find."""
    return boto3.client(
        "s3", endpoint_url=endpoint, aws_access_key_id="test", aws_secret_access_key="test", region_name="us-east-1"
    )


def bucket(endpoint: str, name: str) -> str:
    """Makes a bucket and gives its url."""
    client(endpoint).create_bucket(Bucket=name)
    return f"s3://{name}"


class _Liar(BaseHTTPRequestHandler):
    """Keeps objects, but ignores If-None-Match, and Range too where the server says so."""

    protocol_version = "HTTP/1.1"

    def do_PUT(self) -> None:
        content = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.server.honours_conditions and self.headers.get("If-None-Match") and self.path in self.server.objects:
            self._answer(412, b"<Error><Code>PreconditionFailed</Code><Message>there</Message></Error>")
            return
        self.server.objects[self.path] = content
        self._answer(200)

    def do_GET(self) -> None:
        content = self.server.objects.get(self.path)
        if content is None:
            self._answer(404, b"<Error><Code>NoSuchKey</Code><Message>none</Message></Error>")
        else:
            self._answer(200, content)

    def do_HEAD(self) -> None:
        self._answer(200 if self.path in self.server.objects else 404)

    def do_DELETE(self) -> None:
        self.server.objects.pop(self.path, None)
        self._answer(204)

    def _answer(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("ETag", '"x"')
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@contextmanager
def dishonest(*, honours_conditions: bool) -> Iterator[str]:
    """The endpoint of an S3 server that answers every range with the whole object and, unless told otherwise, overwrites."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Liar)
    server.daemon_threads = True
    server.objects = {}
    server.honours_conditions = honours_conditions
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


class _Proxy(BaseHTTPRequestHandler):
    """Hands requests on to another server, as `Trouble` allows it."""

    protocol_version = "HTTP/1.1"

    def _hand_on(self) -> None:
        trouble, content = self.server.trouble, self._content()
        when = trouble.when(self.command, self.path)
        if when == "before":
            self._answer(500, [], b"<Error><Code>InternalError</Code><Message>try again</Message></Error>")
            return
        hidden = trouble.hides | {"expect", "transfer-encoding", "content-length"}
        headers = {name: value for name, value in self.headers.items() if name.lower() not in hidden}
        connection = http.client.HTTPConnection(trouble.host, timeout=30)
        connection.request(self.command, self.path, content, headers)
        answer = connection.getresponse()
        body = answer.read()
        connection.close()
        if when == "after":
            self._answer(500, [], b"<Error><Code>InternalError</Code><Message>try again</Message></Error>")
        else:
            self._answer(answer.status, answer.getheaders(), body)

    do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _hand_on  # noqa: N815 - the base class calls them so

    def _content(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "") != "chunked":
            return self.rfile.read(int(self.headers.get("Content-Length", 0)))
        content = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            content += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return content

    def _answer(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.send_response_only(status)
        for name, value in headers:
            if name.lower() not in ("transfer-encoding", "connection", "content-length"):
                self.send_header(name, value)
        length = next((value for name, value in headers if name.lower() == "content-length"), None)
        self.send_header("Content-Length", length if self.command == "HEAD" and length else str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


class Trouble:
    """What goes wrong on the way to an S3 server: `when` says of each request whether it fails `before` or `after` it was done.

    `hides` are headers that never arrive, in lower case.
    """

    def __init__(self, endpoint: str) -> None:
        self.host = endpoint.removeprefix("http://")
        self.when: Callable[[str, str], str] = lambda method, path: ""
        self.hides: frozenset[str] = frozenset()
        self.endpoint = ""


@contextmanager
def troubled(endpoint: str) -> Iterator[Trouble]:
    """A way to an S3 server on which things go wrong as they are told to."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Proxy)
    server.daemon_threads = True
    server.trouble = trouble = Trouble(endpoint)
    trouble.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield trouble
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
