"""The servers of `benchmarks.catalog`, each a process of its own: our catalog server, and a bare echo by grpc.aio.

    python -m benchmarks._catalog_process catalog FOLDER DATABASE_URL
    python -m benchmarks._catalog_process echo FOLDER

Prints one line of JSON, how it is reached, and serves until its standard input ends.
"""

from __future__ import annotations

import asyncio
import gc
import json
import sys
from pathlib import Path
from typing import Any

import grpc

from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import SystemClock, UlidIds
from federation.core import dataset
from federation.wire import tls
from tests.wire import certs as certificates
from tests.wire import edge as edges


def main(kind: str, folder: Path, url: str = "") -> None:
    folder.mkdir(parents=True, exist_ok=True)
    certs = certificates.make(folder)
    (folder / "ca.pem").write_bytes(certs.ca)
    if kind == "echo":
        asyncio.run(echo(certs))
        return
    edge = edges.start(certs, SqlCatalog(url, SystemClock(), UlidIds()))
    if edge.catalog.read(lambda tx: tx.get(dataset.Dataset, "sales/flights")) is None:
        edges.populate(edge)
        edges.make_placeable(edge)
    told = {"target": edge.server.address, "token": edge.tokens["user"], "admin": edge.tokens["admin"]}
    gc.collect()
    gc.freeze()  # as a server does (`bootstrap.server`)
    print(json.dumps(told), flush=True)
    sys.stdin.read()
    edge.stop()


async def echo(certs: certificates.Certs) -> None:
    """Gives back what it gets: what any call of gRPC in Python costs here."""

    async def handle(request: bytes, _context: Any) -> bytes:
        return request

    server = grpc.aio.server(options=tls.server_options(1 << 20))
    handler = grpc.unary_unary_rpc_method_handler(handle)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench.Echo", {"Echo": handler}),))
    files = certs.layout.server_tls()
    credentials = grpc.ssl_server_credentials([(files.key.read_bytes(), files.cert.read_bytes())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    print(json.dumps({"target": f"127.0.0.1:{port}"}), flush=True)
    await asyncio.to_thread(sys.stdin.read)
    await server.stop(0.5)


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *sys.argv[3:])
