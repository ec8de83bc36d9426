"""The catalog beside its peers: get, create, a page of 50, search, locate, bulk registration of files, and Watch.

Ours is a server process of its own behind TLS, tokens, policy and audit, on SQLite or PostgreSQL, with as many datasets as
asked: the first 20,000 are made one by one, the rest are copies of them under other names (`_catalog_copies`). Beside it in the
same run: a bare echo by grpc.aio over the same TLS (what any call costs in Python here), the Rucio server (REST), Feast's
registry server (gRPC). All are asked by the same closed loops, with 1 and 8 clients; errors are counted and not timed. Peers
are small (a thousand datasets) whatever ours holds. Clients are Python and share the cores.

Run: python -m benchmarks.catalog --datasets 10000 1000000 [--postgres 10000000] [--only sqlite] [--without-peers]
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg

from benchmarks import _catalog_copies, _closed_loop, catalog_search, feast_peer, rucio_peer
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import SystemClock, UlidIds
from federation.client import Client
from federation.client.connection import Connection
from federation.core import dataset
from federation.crypto import container, manifest, signing
from federation.local import procfs
from federation.v1 import catalog_pb2
from federation.wire import tls
from tests import builders, postgres

PEER_DATASETS = 1000
CLIENTS = (1, 8)
PAGE = 50
FILES = 100_000
#: Datasets that are made as others are; more are copied.
FILLED = 20_000
Act = Callable[[int], object]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--datasets", type=int, nargs="*", default=[10_000], help="sizes that SQLite and PostgreSQL are measured at"
    )
    parser.add_argument("--postgres", type=int, nargs="*", default=[], help="sizes for PostgreSQL alone")
    parser.add_argument("--calls", type=int, default=400, help="of each loop")
    parser.add_argument("--only", choices=("sqlite", "postgres"), help="ours on one of the databases alone")
    parser.add_argument("--load-seconds", type=float, default=1500, help="as many copies as fit into so long")
    parser.add_argument("--without-peers", action="store_true")
    options = parser.parse_args()
    print(f"{'':46} {'calls/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'errors':>7}")
    with tempfile.TemporaryDirectory() as folder, databases() as database:
        measure_echo(Path(folder), options.calls)
        measure = functools.partial(measure_ours, Path(folder), calls=options.calls, load_seconds=options.load_seconds)
        for size in options.datasets if options.only != "postgres" else ():
            measure(f"sqlite:///{folder}/catalog-{size}.db", "SQLite", size)
        for size in (*options.datasets, *options.postgres) if options.only != "sqlite" else ():
            measure(database(f"ours_{size}").replace("postgresql://", "postgresql+psycopg://"), "PostgreSQL", size)
        if not options.without_peers:
            for peer in (measure_rucio, measure_feast):
                peer(database(peer.__name__.removeprefix("measure_")), options.calls)
                print(f"   load {os.getloadavg()[0]:.1f}", flush=True)
    measure_manifest()


# What is measured


def measure_echo(folder: Path, calls: int) -> None:
    """400 bytes there and back."""
    with process("echo", str(folder / "pki")) as told:
        channel = tls.channel(told["target"], tls.Tls((folder / "pki" / "ca.pem").read_bytes()))
        echo = channel.unary_unary("/bench.Echo/Echo")
        body = os.urandom(400)
        loops("bare echo by grpc.aio", lambda _: echo(body, timeout=30), calls)
        channel.close()


def measure_ours(folder: Path, url: str, name: str, size: int, *, calls: int, load_seconds: float) -> None:
    """One size on one database, or less where loading it takes longer than it may."""
    store = SqlCatalog(url, SystemClock(), UlidIds())
    words = catalog_search.vocabulary()
    begun = time.perf_counter()
    store.write(lambda tx: [tx.insert(dataset.Namespace(name=f"ns{number}")) for number in range(100)])
    catalog_search.fill(store, words, min(size, FILLED))
    listed = [row.name.short for row in store.read(lambda tx: tx.list(dataset.Dataset, limit=1000))]
    some = random.Random(3).sample(listed, min(len(listed), 500))
    store.close()
    there = _catalog_copies.grow(url, size, load_seconds)
    load = os.getloadavg()[0]
    print(f"-- {name}: {there:,} datasets, loaded in {time.perf_counter() - begun:.0f} s; load {load:.1f}", flush=True)
    with process("catalog", str(folder / "pki"), url) as told:
        ca = (folder / "pki" / "ca.pem").read_bytes()
        with Client(told["target"], told["admin"], ca) as client, Client(told["target"], told["token"], ca) as user:
            for number in range(4):
                client.create_dataset(builders.dataset(f"sales/warm-{number}"))
            loops("get", lambda number: client.get_dataset(some[number % len(some)]), calls)
            loops("create", lambda number: client.create_dataset(_new(number)), calls)
            with contextlib.closing(Connection(told["target"], told["admin"], ca)) as connection:
                loops(f"page of {PAGE}", functools.partial(_page, connection), calls // 4)
            loops("search, a common word", lambda _: _first(client.search_datasets(words[5]), PAGE), calls // 4)
            loops("search, a rare word", lambda _: _first(client.search_datasets(words[4000]), PAGE), calls // 4)
            loops("locate", lambda _: list(user.list_replicas("sales/flights@1")), calls)
            measure_watch(client, told, ca)
        print(f"   memory of the server: {procfs_megabytes(told['pid']):.0f} MB")


#: Which loop it is: what is created in each has names of its own.
_ROUND = [0]


def _new(number: int) -> dataset.Dataset:
    return builders.dataset(f"sales/made-{_ROUND[0]}-{number}", description="flights of one year", owner="users/admin")


def _page(connection: Connection, number: int) -> None:
    request = catalog_pb2.ListDatasetsRequest(parent=f"namespaces/ns{number % 100}", page_size=PAGE)
    _first(connection.pages("Catalog.ListDatasets", request), PAGE)


def _first(rows: Iterator[Any], count: int) -> list[Any]:
    return list(itertools.islice(rows, count))  # and not one more, which would be on the next page


def measure_watch(client: Client, told: dict[str, Any], ca: bytes, watchers: int = 50, changes: int = 100) -> None:
    """So many watchers hear of so many datasets that are made meanwhile: changes told a second, and how late the last comes."""
    ready, heard, late = threading.Barrier(watchers + 1), [0] * watchers, [0.0] * watchers
    made: dict[str, float] = {}
    revision = client.who_am_i().revision

    def watch(place: int) -> None:
        with Client(told["target"], told["admin"], ca) as mine:
            ready.wait()
            for change in mine.watch('type = "datasets"', start_revision=revision):
                told_at = time.perf_counter()
                if (begun := made.get(change.name)) is not None:
                    late[place] = max(late[place], told_at - begun)
                    heard[place] += 1
                if heard[place] == changes:
                    return

    threads = [threading.Thread(target=watch, args=(place,), daemon=True) for place in range(watchers)]
    for thread in threads:
        thread.start()
    ready.wait()
    begun = time.perf_counter()
    for number in range(changes):
        name = f"sales/watched-{number}"
        made[builders.dataset(name).name.resource] = time.perf_counter()
        client.create_dataset(builders.dataset(name))
    for thread in threads:
        thread.join(60)
    seconds = time.perf_counter() - begun
    print(
        f"   {watchers} watchers of {changes} changes: {sum(heard) / seconds:,.0f} told/s, "
        f"{watchers * changes - sum(heard)} missed, the latest after {1000 * max(late):.0f} ms"
    )


def measure_rucio(database: str, calls: int) -> None:
    """Its datasets, and replicas of files, which are its unit where versions are ours."""
    with rucio_peer.running(database) as rucio:
        print(f"-- Rucio {rucio_peer.VERSION} on PostgreSQL, {PEER_DATASETS} datasets")
        _closed_loop.run(rucio.create, PEER_DATASETS, 4)
        counts = iter(range(1, 100))
        for clients in CLIENTS:
            start = PEER_DATASETS * (1 + next(counts))
            show(f"create, {clients} clients", _closed_loop.run(functools.partial(rucio.create, start=start), calls, clients))
        loops("get", lambda number: rucio.get(number, PEER_DATASETS), calls)
        made = _closed_loop.run(lambda number: rucio.register(number, 500), 4, 1)
        print(f"   files registered, 500 in a request: {4 * 500 / made['seconds']:,.0f}/s {made['failed'] or ''}")
        loops("locate", lambda number: rucio.locate(number, 500), calls // 4)
        print(f"   memory: {procfs_megabytes(rucio.pid, tree=True):.0f} MB")


def measure_feast(database: str, calls: int) -> None:
    """Its data sources."""
    with feast_peer.running(database) as feast:
        print(f"-- Feast {feast_peer.VERSION} registry on PostgreSQL, {PEER_DATASETS} data sources")
        feast.loop("create", PEER_DATASETS, 2)
        for clients in CLIENTS:
            start = PEER_DATASETS * (2 + clients)
            show(f"create, {clients} clients", feast.loop("create", calls // 4, clients, start=start))
        for act, count, extra in (("get", calls, {"of": PEER_DATASETS}), ("page", calls // 10, {})):
            for clients in CLIENTS:
                show(f"{act}, {clients} clients", feast.loop(act, count, clients, **extra))
        print(f"   memory: {procfs_megabytes(feast.pid, tree=True):.0f} MB")


def measure_manifest() -> None:
    """Files are registered as a signed manifest: so many in one version, encoded, hashed and signed."""
    entry = dataset.FileEntry(
        path="p",
        file_bytes=1000,
        object_id=f"o-{0:026}",
        generation=builders.GENERATION,
        object_bytes=container.object_bytes(1000),
        object_sha256=builders.SHA,
        commitment=builders.SHA,
        tag="00" * 32,
    )
    files = tuple(dataclasses.replace(entry, path=f"part-{number:06}.parquet") for number in range(FILES))
    key = signing.new_private()
    begun = time.perf_counter()
    data = manifest.encode(dataset.Manifest(dataset_uid="d-1", files=files))
    manifest.sign(key, "d-1", manifest.digest(data))
    seconds = time.perf_counter() - begun
    print(f"-- files registered: a version of {FILES:,} in {seconds:.2f} s, {FILES / seconds:,.0f} files/s")


# How


def loops(name: str, act: Act, calls: int) -> None:
    """One line for each number of clients."""
    for clients in CLIENTS:
        _ROUND[0] += 1
        show(f"{name}, {clients} clients", _closed_loop.run(act, calls, clients))


def show(name: str, told: dict[str, Any]) -> None:
    taken, failed = told["taken"], told["failed"]
    if not taken:
        print(f"   {name:43} {'-':>9} {'-':>8} {'-':>8} {failed}")
        return
    p50, p99 = (1000 * taken[int(share * (len(taken) - 1))] for share in (0.5, 0.99))
    print(f"   {name:43} {len(taken) / told['seconds']:9.0f} {p50:8.2f} {p99:8.2f} {failed or 0!s:>7}", flush=True)


@contextlib.contextmanager
def process(*words: str) -> Iterator[dict[str, Any]]:
    """A server of `_catalog_process`, as long as it is used."""
    command = [sys.executable, "-m", "benchmarks._catalog_process", *words]
    started = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert started.stdin is not None
    assert started.stdout is not None
    try:
        yield {**json.loads(started.stdout.readline()), "pid": started.pid}
    finally:
        started.stdin.close()
        started.wait(30)


@contextlib.contextmanager
def databases() -> Iterator[Callable[[str], str]]:
    """A PostgreSQL that gives an empty database for each name, by its URL without a driver."""
    with postgres.server() as server:

        def made(name: str) -> str:
            admin = server.set(drivername="postgresql")
            with psycopg.connect(admin.render_as_string(hide_password=False), autocommit=True) as connection:
                connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
            url: str = admin.set(database=name).render_as_string(hide_password=False)
            return url

        yield made


def procfs_megabytes(pid: int, *, tree: bool = False) -> float:
    """Resident memory of a process, or of it and its children."""
    wanted = {pid}
    if tree:
        for found in procfs.every():
            if Path(f"/proc/{found.pid}/stat").exists() and _parent(found.pid) in wanted:
                wanted.add(found.pid)
    total = 0
    for each in wanted:
        for line in Path(f"/proc/{each}/status").read_text().splitlines():
            if line.startswith("VmRSS"):
                total += int(line.split()[1])
    return total / 1024


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return 0


if __name__ == "__main__":
    main()
