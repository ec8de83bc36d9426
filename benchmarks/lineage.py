"""Hops through lineage of 10 thousand, 100 thousand and 1 million edges, by the index and by a recursive query on the same.

The rows lie in a Delta table; the index is built from it, by the server's own adapter. SQLite and DuckDB hold the same edges in
memory, SQLite with the indexes that the query wants. A walk tells every edge that it comes to, so none of the three may stop
early. CPU time stands beside the wall time, for a busy machine.
"""

from __future__ import annotations

import argparse
import os
import random
import resource
import sqlite3
import statistics
import tempfile
import time
from datetime import UTC, datetime

import duckdb
import numpy as np
import pyarrow as pa
from deltalake import write_deltalake

from federation.adapters import records_tables
from federation.adapters.lineage_record import DeltaLineage
from federation.core import lineage, lineage_graph

SIZES = (10_000, 100_000, 1_000_000)
HOPS = (3, 5, 10, 20)
ROOTS = 25
#: A recursive query may take minutes where paths are many: it is stopped after so long, and told as more.
PATIENCE_SECONDS = 20.0
_TIME = datetime(2026, 11, 22, tzinfo=UTC)
_RECURSIVE = """
WITH RECURSIVE up(node, depth) AS (
    SELECT ?, 0
    UNION
    SELECT read.node, up.depth + 1
    FROM up JOIN edges made ON made.node = up.node AND made.direction = 'out'
            JOIN edges read ON read.run = made.run AND read.direction = 'in'
    WHERE up.depth < ?
)
SELECT count(DISTINCT node) FROM up
"""


def rows(edges: int, seed: int = 7) -> pa.Table:
    """A federation's history: each run reads three versions, mostly recent ones, and makes one."""
    rng = np.random.default_rng(seed)
    runs, sources = edges // 4, max(20, edges // 1000)
    run = np.repeat(np.arange(runs), 4)
    out = np.tile([False, False, False, True], runs)
    reach = max(50, edges // 500)
    read = np.maximum(0, sources + run - 1 - rng.integers(0, reach, len(run)))
    node = np.where(out, sources + run, read)
    names = pa.array([f"ns{i % 40}/dataset-{i % 4001}@{i // 4001 + 1}" for i in range(runs + sources)])
    digests = pa.array([f"{i:064x}" for i in range(runs + sources)])
    regions = pa.array(["aws:eu-central-1", "aws:us-east-1", "gcp:europe-west4"])
    site = rng.integers(0, 3, len(run))
    count = len(run)
    schema = records_tables.TABLES["lineage_edges"].schema
    known = {
        "position": np.arange(1, count + 1),
        "run": pa.array([f"jobs/j-{i:026d}/runs/1" for i in range(runs)]).take(pa.array(run)),
        "direction": pa.array(["in", "out"]).take(pa.array(out.astype(np.int32))),
        "alias": pa.array(["a", "b", "c", "out"]).take(pa.array(np.tile([0, 1, 2, 3], runs))),
        "node": names.take(pa.array(node)),
        "manifest_digest": digests.take(pa.array(node)),
        "site": pa.array(["eu-1", "us-1", "gcp-1"]).take(pa.array(site)),
        "source_region": regions.take(pa.array(site)),
        "destination_region": regions.take(pa.array(np.roll(site, 1))),
        "bytes": rng.integers(1, 10**9, count),
        "time": pa.array([_TIME] * count, pa.timestamp("us", tz="UTC")),
        "charge_micros": rng.integers(0, 10**5, count),
        "rows": rng.integers(0, 10**6, count),
        "day": pa.array([_TIME.date()] * count),
    }
    rest = {field.name: pa.nulls(count, field.type) for field in schema if field.name not in known}
    return pa.Table.from_pydict(known | rest, schema=schema)


def built(folder: str) -> tuple[lineage_graph.LineageGraph, dict[str, float]]:
    """The index from the Delta table, and what each part of that took."""
    began = time.perf_counter()
    columns = DeltaLineage(folder).read("lineage_edges", 0)
    read, cpu = time.perf_counter(), time.process_time()
    made = lineage_graph.LineageGraph()
    made.add_edges(columns)
    made.view()
    return made, {"read": read - began, "build": time.perf_counter() - read, "cpu": time.process_time() - cpu}


def walked(view: lineage_graph.View, roots: list[str], hops: int) -> tuple[list[float], list[float], list[int]]:
    """Milliseconds, those of CPU, and edges of a walk upstream from each root."""
    query = lineage.Query(name="", direction=lineage.Direction.UPSTREAM, depth=hops, edges_max=10**9)
    times, cpus, sizes = [], [], []
    for root in roots:
        began, cpu = time.perf_counter(), time.process_time()
        found = view.walk([view.node(root)], [], query)
        times.append(1000 * (time.perf_counter() - began))
        cpus.append(1000 * (time.process_time() - cpu))
        sizes.append(len(found.edges))
    return times, cpus, sizes


class SqlitePeer:
    """The edges in SQLite, in memory, with the indexes that the query wants."""

    name = "SQLite"

    def __init__(self, table: pa.Table) -> None:
        self._db = sqlite3.connect(":memory:")
        self._db.execute("CREATE TABLE edges (run TEXT, direction TEXT, node TEXT)")
        columns = (table[name].to_pylist() for name in ("run", "direction", "node"))
        self._db.executemany("INSERT INTO edges VALUES (?, ?, ?)", zip(*columns, strict=True))
        self._db.execute("CREATE INDEX by_node ON edges (node, direction, run)")
        self._db.execute("CREATE INDEX by_run ON edges (run, direction, node)")
        self._db.execute("ANALYZE")

    def ask(self, root: str, hops: int) -> float | None:
        """Milliseconds; None where patience ended."""
        end = time.perf_counter() + PATIENCE_SECONDS
        self._db.set_progress_handler(lambda: int(time.perf_counter() > end), 100_000)
        began = time.perf_counter()
        try:
            self._db.execute(_RECURSIVE, (root, hops)).fetchall()
        except sqlite3.OperationalError:
            return None
        return 1000 * (time.perf_counter() - began)


class DuckPeer:
    """The edges in DuckDB, in memory."""

    name = "DuckDB"

    def __init__(self, table: pa.Table) -> None:
        self._db = duckdb.connect()
        self._db.register("given", table.select(["run", "direction", "node"]))
        self._db.execute("CREATE TABLE edges AS SELECT * FROM given")

    def ask(self, root: str, hops: int) -> float | None:
        began = time.perf_counter()
        self._db.execute(_RECURSIVE, (root, hops)).fetchall()
        return 1000 * (time.perf_counter() - began)


def asked(peer: SqlitePeer | DuckPeer, roots: list[str], hops: int) -> str:
    """The median over a few roots, as many as patience allows."""
    times, end = [], time.perf_counter() + PATIENCE_SECONDS
    for root in roots[:5]:
        took = peer.ask(root, hops)
        if took is None:
            return f"> {PATIENCE_SECONDS:.0f} s"
        times.append(took)
        if time.perf_counter() > end:
            break
    return f"{statistics.median(times):,.1f}"


def measure(edges: int, hops: tuple[int, ...]) -> None:
    """One size."""
    table = rows(edges)
    with tempfile.TemporaryDirectory() as folder:
        write_deltalake(f"{folder}/lineage_edges", table, partition_by=["day"])
        made, took = built(folder)
    view, rng = made.view(), random.Random(1)
    names = table.filter(pa.compute.equal(table["direction"], "out"))["node"].to_pylist()
    roots = rng.sample(names[len(names) // 2 :], ROOTS)
    print(
        f"\n{edges:,} edges: read from Delta {took['read']:.2f} s, built {took['build']:.2f} s (CPU {took['cpu']:.2f} s),"
        f" {made.memory_bytes / edges:.0f} B an edge ({made.memory_bytes / 1e6:.0f} MB)"
    )
    peers: list[SqlitePeer | DuckPeer] = [SqlitePeer(table), DuckPeer(table)]
    print(
        "| hops | edges told (median) | index p50 ms | index max ms | CPU p50 ms | CPU max ms | SQLite p50 ms | DuckDB p50 ms |"
    )
    print(
        "|-----:|--------------------:|-------------:|-------------:|-----------:|-----------:|--------------:|--------------:|"
    )
    for depth in hops:
        times, cpus, sizes = walked(view, roots, depth)
        theirs = " | ".join(asked(peer, roots, depth) for peer in peers)
        figures = (statistics.median(times), max(times), statistics.median(cpus), max(cpus))
        mine = " | ".join(f"{figure:.2f}" for figure in figures)
        print(f"| {depth} | {statistics.median(sizes):,.0f} | {mine} | {theirs} |", flush=True)
    told = view.walk([view.node(roots[0])], [], lineage.Query(name="", depth=10, edges_max=2000))
    began = time.perf_counter()
    values = view.values(told.edges)
    print(f"an answer of {len(values):,} edges as values: {1000 * (time.perf_counter() - began):.1f} ms")


def main() -> None:
    """Runs it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, nargs="*", default=SIZES)
    parser.add_argument("--hops", type=int, nargs="*", default=HOPS)
    chosen = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f}")
    for edges in chosen.edges:
        measure(edges, tuple(chosen.hops))
    print(f"\npeak memory of the whole run, peers included: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:,.0f} MB")


if __name__ == "__main__":
    main()
