"""Mutations a second of the SQLite catalog, by 1 and 8 clients, against raw sqlite3 doing one insert in each transaction.

The floor has the same durability (WAL, synchronous=FULL), the same bytes, one connection and no Python between the inserts;
each mutation of the catalog is a value with its indexes, an event and a recorded answer.

Run: python -m benchmarks.catalog_writes
"""

from __future__ import annotations

import argparse
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from federation import ports
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import SystemClock, UlidIds
from federation.core import dataset, records


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mutations", type=int, default=2000, help="of each measurement")
    parser.add_argument("--rounds", type=int, default=3, help="measurements of each kind, taken in turn; the median is shown")
    parser.add_argument("--folder", type=Path, help="where the databases are made; default: a temporary folder")
    options = parser.parse_args()
    kinds: dict[str, Callable[[Path, int], list[float]]] = {
        "raw sqlite3, 1 insert in 1 transaction (floor)": floor,
        "catalog, 1 client": lambda path, count: catalog(path, count, clients=1),
        "catalog, 8 clients": lambda path, count: catalog(path, count, clients=8),
    }
    rates: dict[str, list[float]] = {name: [] for name in kinds}
    waits: dict[str, list[float]] = {name: [] for name in kinds}
    for _ in range(options.rounds):
        for name, measure in kinds.items():
            with tempfile.TemporaryDirectory(dir=options.folder) as folder:
                start = time.perf_counter()
                waits[name] += measure(Path(folder) / "catalog.db", options.mutations)
                rates[name].append(options.mutations / (time.perf_counter() - start))
    show(rates, waits)


def value(number: int) -> dataset.Dataset:
    return dataset.Dataset(
        namespace="sales", dataset=f"d{number:09}", owner="alice", description="flights of one year", uid=f"d-{number:026}"
    )


def floor(path: Path, count: int) -> list[float]:
    """A table with a key and a body, one connection, one transaction for each insert."""
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("CREATE TABLE datasets (key TEXT PRIMARY KEY, body TEXT NOT NULL)")
    rows = [(f"sales/d{number:09}", records.dumps(value(number))) for number in range(count)]

    def insert(number: int) -> None:
        connection.execute("INSERT INTO datasets VALUES (?, ?)", rows[number])

    taken = [timed(insert, number) for number in range(count)]
    connection.close()
    return taken


def catalog(path: Path, count: int, *, clients: int) -> list[float]:
    """What creating a dataset by RPC does: look for a recorded answer, insert, emit, record the answer."""
    store = SqlCatalog(f"sqlite:///{path}", SystemClock(), UlidIds())

    def create(number: int) -> None:
        def work(tx: ports.Transaction) -> None:
            tx.replay(f"r{number}", "hash")
            stored = tx.insert(value(number))
            tx.emit("dataset.created", stored.name.resource, stored)
            tx.remember(f"r{number}", "hash", b"answer")

        store.write(work, actor="users/alice", request_id=f"r{number}")

    with ThreadPoolExecutor(clients) as pool:
        taken = list(pool.map(lambda number: timed(create, number), range(count)))
    assert store.revision() == count
    store.close()
    return taken


def timed(act: Callable[[int], None], number: int) -> float:
    start = time.perf_counter()
    act(number)
    return time.perf_counter() - start


def show(rates: dict[str, list[float]], waits: dict[str, list[float]]) -> None:
    base = statistics.median(next(iter(rates.values())))
    print(f"{'':48} {'mutations/s':>12} {'of floor':>9} {'p50 ms':>8} {'p99 ms':>8} {'worst ms':>9}")
    for name, of in rates.items():
        rate = statistics.median(of)
        taken = sorted(waits[name])
        p50, p99, worst = (1000 * taken[int(share * (len(taken) - 1))] for share in (0.5, 0.99, 1))
        print(f"{name:48} {rate:12.0f} {rate / base:8.2f}x {p50:8.2f} {p99:8.2f} {worst:9.1f}")


if __name__ == "__main__":
    main()
