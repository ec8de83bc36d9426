"""S3 servers for tests, on loopback: an honest one, and one that lies as some real ones do."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import boto3
from moto.server import ThreadedMotoServer

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
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
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
