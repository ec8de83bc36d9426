"""Feast's registry server as a peer (Python and gRPC, as ours): `python -m benchmarks.feast_peer` installs it and tries it.

Its registry lies in PostgreSQL; it serves without TLS, on every interface whatever it is told, and is ended as soon as it was
measured. Its client needs its environment, so the loops run there, by the code that measures ours.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks import _peers
from tests import postgres, tcp

VERSION = "0.67.0"
WANTED = (f"feast[grpcio]=={VERSION}", "psycopg[binary]", "sqlalchemy>2")
CACHE = Path("~/.cache/dataset-federation/feast")
WORKER = Path(__file__).with_name("_feast_worker.py")
_READY_SECONDS = 120


class Feast:
    """A running server and a client of it."""

    def __init__(self, pid: int, worker: subprocess.Popen[str]) -> None:
        self.pid = pid
        self._worker = worker

    def loop(self, act: str, count: int, clients: int, **extra: Any) -> dict[str, Any]:
        """What `_closed_loop.run` tells of one of `create`, `get`, `page`."""
        assert self._worker.stdin is not None
        assert self._worker.stdout is not None
        self._worker.stdin.write(json.dumps({"act": act, "count": count, "clients": clients, "extra": extra}) + "\n")
        self._worker.stdin.flush()
        told: dict[str, Any] = json.loads(self._worker.stdout.readline())
        return told


@contextlib.contextmanager
def running(database: str) -> Iterator[Feast]:
    """A server on an empty PostgreSQL database (its URL without a driver), as long as it is used."""
    python = _peers.environment(CACHE, VERSION, *WANTED)
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        home, port = Path(folder), tcp.free_ports(1)[0]
        url = database.replace("postgresql://", "postgresql+psycopg://")
        (home / "feature_store.yaml").write_text(
            f"project: bench\nprovider: local\nregistry: {{registry_type: sql, path: '{url}', cache_ttl_seconds: 0}}\n"
            "online_store: {type: sqlite, path: online.db}\nentity_key_serialization_version: 3\n"
        )
        environ = {**os.environ, "FEAST_USAGE": "False"}  # noqa: TID251 - not ours to configure
        log = stack.enter_context((home / "server.log").open("w"))
        server = subprocess.Popen(
            [str(python.with_name("feast")), "serve_registry", "-p", str(port)],
            cwd=home,
            env=environ,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        stack.callback(_peers.end, server)
        _await(port, home / "server.log")
        worker = subprocess.Popen(
            # -P: this folder has a `queue.py`, which must not come before Python's own.
            [str(python), "-P", str(WORKER), str(WORKER.parent), f"127.0.0.1:{port}"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            env=environ,
        )
        stack.callback(_peers.end, worker)
        assert worker.stdout is not None
        if worker.stdout.readline().strip() != "ready":
            raise RuntimeError((home / "server.log").read_text()[-2000:])
        yield Feast(server.pid, worker)


def _await(port: int, log: Path) -> None:
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.3)
    raise TimeoutError(f"Feast's registry server did not answer: {log.read_text()[-2000:]}")


if __name__ == "__main__":
    with (
        postgres.server() as server_,
        running(server_.set(drivername="postgresql").render_as_string(hide_password=False)) as feast,
    ):
        print(
            {act: feast.loop(act, 3, 1, **extra)["failed"] for act, extra in (("create", {}), ("get", {"of": 3}), ("page", {}))}
        )
