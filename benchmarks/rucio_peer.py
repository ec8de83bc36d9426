"""The Rucio server as a peer, from PyPI, in an environment of its own: `python -m benchmarks.rucio_peer` makes it and tries it.

It runs under gunicorn with 2 processes of 4 threads on PostgreSQL, with memcached where this machine has one (it says so). Its
REST answers are asked for by plain HTTP on kept connections, which costs a client less than gRPC over TLS.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import _peers
from tests import postgres, tcp

VERSION = "41.5.1"
WANTED = (f"rucio=={VERSION}", "gunicorn", "psycopg[binary]<=3.2.13")
CACHE = Path("~/.cache/dataset-federation/rucio")
_READY_SECONDS = 60
_MAKE = (
    "from rucio.db.sqla.util import build_database, create_base_vo, create_root_account; "
    "build_database(); create_base_vo(); create_root_account()"
)
_LOGGING = """
[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = plain
[logger_root]
level = WARN
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = plain
[formatter_plain]
format = %(message)s
"""


class Rucio:
    """A running server. Each thread has a connection of its own."""

    def __init__(self, port: int, pid: int) -> None:
        self.pid = pid
        self._port = port
        self._local = threading.local()
        self._token = ""
        self._token = self._asked("GET", "/auth/userpass", headers=_LOGIN)[0]["x-rucio-auth-token"]

    def prepare(self) -> None:
        """Two sites for replicas, and the scope that all names are in."""
        for rse in ("EU", "US"):
            self.ask("POST", f"/rses/{rse}", {"deterministic": True})
            protocol = {
                "hostname": f"{rse.lower()}.example",
                "port": 443,
                "prefix": "/",
                "impl": "rucio.rse.protocols.gfal.Default",
                "domains": {"wan": {"read": 1, "write": 1, "delete": 1}, "lan": {"read": 1, "write": 1, "delete": 1}},
            }
            self.ask("POST", f"/rses/{rse}/protocols/https", protocol)
        self.ask("POST", "/accounts/root/scopes/bench")

    def create(self, number: int, start: int = 0) -> None:
        """A dataset."""
        self.ask("POST", f"/dids/bench/d{start + number}", {"type": "DATASET", "statuses": {}, "meta": {}, "rules": []})

    def get(self, number: int, of: int) -> None:
        """A dataset, read."""
        self.ask("GET", f"/dids/bench/d{number % of}?dynamic_depth=FILE")

    def register(self, number: int, files: int, rse: str = "EU") -> None:
        """Files of one request, with their replicas."""
        rows = [{"scope": "bench", "name": f"f{number}-{each}", "bytes": 1000, "adler32": "0cc737eb"} for each in range(files)]
        self.ask("POST", "/replicas", {"rse": rse, "files": rows, "ignore_availability": False})

    def locate(self, number: int, of: int) -> None:
        """Where a file lies. Not sorted by place: that would fetch a database of addresses at each call."""
        wanted = {"dids": [{"scope": "bench", "name": f"f0-{number % of}"}], "all_states": False}
        self.ask("POST", "/replicas/list?sort=random", wanted)

    def ask(self, method: str, path: str, body: Any = None) -> bytes:
        """The answer to one request; RuntimeError for a refusal."""
        return self._asked(method, path, body, {"X-Rucio-Auth-Token": self._token})[1]

    def _asked(self, method: str, path: str, body: Any = None, headers: Any = None) -> tuple[dict[str, str], bytes]:
        connection = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=60)
            connection.connect()
            connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            connection.request(method, path, None if body is None else json.dumps(body), headers or {})
            answer = connection.getresponse()
            data = answer.read()
        except (OSError, http.client.HTTPException):
            self._local.connection = None
            raise
        if answer.status >= 400:
            raise RuntimeError(f"HTTP {answer.status}: {data[:200]!r}")
        return {name.lower(): value for name, value in answer.getheaders()}, data


_LOGIN = {"X-Rucio-Account": "root", "X-Rucio-Username": "ddmlab", "X-Rucio-Password": "secret"}


@contextlib.contextmanager
def running(database: str) -> Iterator[Rucio]:
    """A server on an empty PostgreSQL database (its URL without a driver), as long as it is used."""
    python = _peers.environment(CACHE, VERSION, *WANTED)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home, port = Path(folder), tcp.free_ports(1)[0]
        _configure(python, home, port, database)
        environ = {**os.environ, "RUCIO_HOME": str(home)}  # noqa: TID251 - not ours to configure
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("CREATE SCHEMA IF NOT EXISTS dev")
        subprocess.run([str(python), "-c", _MAKE], env=environ, check=True, stdout=subprocess.DEVNULL)
        if cache := shutil.which("memcached"):
            stack.callback(_peers.end, subprocess.Popen([cache, "-l", "127.0.0.1", "-u", "nobody"]))
        server = subprocess.Popen(
            [str(python.with_name("gunicorn")), "-w", "2", "--threads", "4", "-b", f"127.0.0.1:{port}", _APP],
            env=environ,
            stdout=(home / "log" / "server.log").open("w"),
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        stack.callback(_peers.end, server)
        _await(port)
        made = Rucio(port, server.pid)
        made.prepare()
        yield made


_APP = "rucio.web.rest.main:application"


def _configure(python: Path, home: Path, port: int, database: str) -> None:
    (home / "etc").mkdir()
    (home / "log").mkdir()
    url = database.replace("postgresql://", "postgresql+psycopg://").replace("%", "%%")  # both files are of configparser
    (site,) = (python.parents[1] / "lib").glob("python*/site-packages")
    (home / "etc" / "alembic.ini").write_text(
        f"[alembic]\nscript_location = {site}/rucio/db/sqla/migrate_repo/\nsqlalchemy.url = {url}\n" + _LOGGING
    )
    (home / "etc" / "rucio.cfg").write_text(
        f"""[common]
logdir = {home}/log
loglevel = WARNING
[client]
rucio_host = http://127.0.0.1:{port}
auth_host = http://127.0.0.1:{port}
auth_type = userpass
username = ddmlab
password = secret
account = root
[database]
default = {url}
schema = dev
[bootstrap]
userpass_identity = ddmlab
userpass_pwd = secret
userpass_email = bench@example.com
[alembic]
cfg = {home}/etc/alembic.ini
[policy]
permission = generic
schema = generic
"""
    )


def _await(port: int) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError, http.client.HTTPException):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/ping")
            if connection.getresponse().status == 200:
                return
        time.sleep(0.3)
    raise TimeoutError("Rucio's server did not answer")


if __name__ == "__main__":
    with (
        postgres.server() as server_,
        running(server_.set(drivername="postgresql").render_as_string(hide_password=False)) as rucio,
    ):
        rucio.create(0)
        rucio.get(0, 1)
        rucio.register(0, 10)
        rucio.locate(3, 10)
        print(f"Rucio {VERSION} answers")
