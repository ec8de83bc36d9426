"""The record's write path: facts a second from their durable acknowledgement into Delta, and what years of commits cost.

`sustained` has a generator, the catalog's real writer (SQLite, synchronous=FULL) and the committer in one process, as in a
server: facts are made by the thousand at a fixed rate, acknowledged once they are on the disk, and visible once Delta holds
them. Beside it one commit for each fact, as the floor. `commits` appends one small batch after another and looks at 10, 1,000
and 5,000 commits how long an append, a scan and an opening take: with our care going on beside it, and without any.

Run: python -m benchmarks.ledger_writes [sustained] [commits] [--rate 50000] [--seconds 60] [--commits 5000]
"""

from __future__ import annotations

import argparse
import collections
import contextlib
import os
import shutil
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable

from federation.adapters import records_tables
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.api import background
from federation.core.events import Event
from federation.services.committer import Committer

LEDGER = "egress_ledger"
ROWS = 1000
REGIONS = ("aws:eu-central-1", "aws:us-east-1", "gcp:europe-west4")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("parts", nargs="*", default=["sustained", "commits"])
    parser.add_argument("--rate", type=int, default=50_000, help="facts a second")
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--commits", type=int, default=5000)
    parser.add_argument("--folder", type=Path, help="where the tables are made; default: a temporary folder")
    options = parser.parse_args()
    for part in options.parts:
        with tempfile.TemporaryDirectory(dir=options.folder) as folder:
            if part == "sustained":
                sustained(Path(folder), options.rate, options.seconds)
            else:
                commits(Path(folder), options.commits)
    print(f"load {os.getloadavg()[0]:.1f}")


# -- sustained ---------------------------------------------------------------------------------------------------------------


class Watched(DeltaRecords):
    """Tells when facts became visible."""

    def __init__(self, root: str) -> None:
        super().__init__(root)
        self.waiting: collections.deque[tuple[int, float]] = collections.deque()
        self.visible: list[float] = []
        self.appends: list[float] = []

    def append(self, table: str, events: tuple[Event, ...]) -> None:
        start = time.perf_counter()
        super().append(table, events)
        now = time.perf_counter()
        self.appends.append(now - start)
        while self.waiting and self.waiting[0][0] <= events[-1].position:
            self.visible.append(now - self.waiting.popleft()[1])


def sustained(folder: Path, rate: int, seconds: int) -> None:
    catalog = SqlCatalog(f"sqlite:///{folder / 'catalog.db'}", SystemClock(), UlidIds())
    sink = Watched(str(folder / "tables"))
    committer = Committer(catalog, sink)
    committer.run_once()
    process, memory = psutil.Process(), []
    acknowledged: list[float] = []
    cpu, begun, made = process.cpu_times(), time.perf_counter(), 0
    with carried(committer):
        while (now := time.perf_counter()) - begun < seconds:
            if len(memory) <= (now - begun) // 5:
                memory.append(process.memory_info().rss >> 20)
            if now < begun + made / rate:
                time.sleep(min(begun + made / rate - now, 0.05))
                continue
            data = records_tables.pack("ledger.entry", columns(made, ROWS))
            start = time.perf_counter()
            position = catalog.write(lambda tx, data=data: tx.emit_rows("ledger.entry", "batch", data, ROWS))
            acknowledged.append(time.perf_counter() - start)
            sink.waiting.append((position, start))
            made += ROWS
        took, spent = time.perf_counter() - begun, process.cpu_times()
        behind = sum(1 for _ in sink.waiting) * ROWS
        while sink.waiting:
            time.sleep(0.05)
    used = (spent.user + spent.system - cpu.user - cpu.system) / took
    print(f"sustained: {made / took:,.0f} facts/s of {rate:,} for {took:.0f} s on {used:.2f} of {os.cpu_count()} processors")
    print(f"  acknowledged   {milliseconds(acknowledged)}")
    print(f"  visible        {milliseconds(sink.visible)}; {behind:,} were not at the end, all were soon after")
    print(f"  appends        {milliseconds(sink.appends)}, {made / len(sink.appends):,.0f} facts each")
    print(f"  memory         {' '.join(map(str, memory))} MB, each 5 s")
    files = len(sink.table(LEDGER).file_uris())
    print(f"  files          {files} after {len(sink.appends)} commits; log {(folder / 'catalog.db').stat().st_size >> 20} MB")
    rows = sink.table(LEDGER).to_pyarrow_dataset().to_table(columns=["position"]).column("position")
    assert len(rows) == len(rows.unique()) == made, "a fact is missing, or there twice"
    catalog.close()
    one_by_one(folder, 100)


@contextlib.contextmanager
def carried(committer: Committer) -> Iterator[None]:
    """Carries the ledger meanwhile, with the pauses that a server makes."""
    stopping = threading.Event()

    def repeat(work: Callable[[], object], seconds: float) -> None:
        while not stopping.is_set():
            begun = time.perf_counter()
            while work() is True:  # care that has more to do
                pass
            stopping.wait(max(background.REST_SECONDS, seconds - (time.perf_counter() - begun)))

    loops = (
        (lambda: committer.carry(LEDGER), background.COMMIT_SECONDS),
        (committer.hold, background.HOLD_SECONDS),
        (lambda: committer.tend(LEDGER), background.TEND_SECONDS),
    )
    threads = [threading.Thread(target=repeat, args=loop) for loop in loops]
    for thread in threads:
        thread.start()
    yield
    stopping.set()
    for thread in threads:
        thread.join()


def one_by_one(folder: Path, count: int) -> None:
    """The floor: a commit for each fact."""
    sink = DeltaRecords(str(folder / "floor"))
    event = batches(1)
    taken = [timed(lambda number=number: sink.append(LEDGER, (event(number),))) for number in range(1, count + 1)]
    print(f"one commit for each fact (floor): {count / sum(taken):,.0f} facts/s, visible {milliseconds(taken)}")


# -- commits -----------------------------------------------------------------------------------------------------------------


def commits(folder: Path, count: int) -> None:
    print(f"{'':34} {'append ms':>10} {'scan ms':>10} {'open ms':>10} {'files':>7}")
    marks = [mark for mark in (10, 1000, 5000) if mark <= count] or [count]
    with_care(folder / "care", marks)
    without_care(folder / "bare", marks)


def with_care(root: Path, marks: list[int]) -> None:
    sink, stopping = DeltaRecords(str(root)), threading.Event()

    def care() -> None:
        while not stopping.is_set():
            if not sink.tend(LEDGER):
                time.sleep(0.05)

    event, taken = batches(), []
    thread = threading.Thread(target=care)
    thread.start()
    for number in range(1, marks[-1] + 1):
        taken.append(timed(lambda number=number: sink.append(LEDGER, (event(number),))))
        if number in marks:
            look("with care", root, number, statistics.median(taken[-20:]))
    stopping.set()
    thread.join()
    tenth = max(len(taken) // 10, 1)
    first, last = (sorted(part)[int(0.95 * (tenth - 1))] * 1000 for part in (taken[:tenth], taken[-tenth:]))
    print(f"p95 of the first {tenth} appends {first:.0f} ms, of the last {last:.0f} ms: {last / first:.2f} times (aim: 1.5)")


def without_care(root: Path, marks: list[int]) -> None:
    """No checkpoint and no compaction. Checkpoints are made on the way, or this would take hours, and taken away to measure."""
    sink, event = DeltaRecords(str(root)), batches()
    for number in range(1, marks[-1] + 1):
        sink.append(LEDGER, (event(number),))
        if number % 50 == 0:
            sink.table(LEDGER).create_checkpoint()
            sink = DeltaRecords(str(root))
        if number in marks:
            bare = root.parent / f"bare-{number}"
            shutil.copytree(root, bare)
            for checkpoint in (bare / LEDGER / "_delta_log").glob("*checkpoint*"):
                checkpoint.unlink()
            look("without (floor)", bare, number, appended_to(bare, [event(number + more) for more in (1, 2, 3)]))
            shutil.rmtree(bare)


def appended_to(root: Path, events: list[Event]) -> float:
    """How long an append takes to a table that others have written, once it is open."""
    sink = DeltaRecords(str(root))
    sink.position(LEDGER)
    return statistics.median(timed(lambda event=event: sink.append(LEDGER, (event,))) for event in events)


def look(name: str, root: Path, number: int, appended: float) -> None:
    uri = str(root / LEDGER)
    opened = statistics.median(timed(lambda: DeltaTable(uri)) for _ in range(3))
    table = DeltaTable(uri)
    scanned = timed(lambda: pc.sum(table.to_pyarrow_dataset().to_table(columns=["charge_micros"]).column("charge_micros")))
    told = (appended * 1000, scanned * 1000, opened * 1000)
    print(
        f"{name + f', {number:,} commits':34} " + " ".join(f"{value:10.1f}" for value in told) + f" {len(table.file_uris()):7,}"
    )


# -- facts -------------------------------------------------------------------------------------------------------------------


def columns(first: int, count: int) -> pa.Table:
    """Ledger entries as a busy federation has them: names that are all different, and few places and datasets."""
    numbers = pa.array(np.arange(first, first + count))
    names = pc.binary_join_element_wise("e-", pc.utf8_lpad(numbers.cast(pa.string()), 26, "0"), "")
    jobs = pc.binary_join_element_wise("j-", pc.divide(numbers, 100).cast(pa.string()), "")
    moved = np.random.default_rng(first).integers(1, 10**9, count)
    zero, one = np.zeros(count, dtype=np.int64), np.ones(count, dtype=np.int64)
    nothing = constant("", count)
    values = {
        "entry": names,
        "grant": names,
        "time": pa.array(np.full(count, time.time_ns() // 1000)).cast(pa.timestamp("us", tz="UTC")),
        "month": constant("2026-11", count),
        "namespace": constant("sales", count),
        "dataset": constant("flights", count),
        "version": one,
        "alias": constant("flights", count),
        "job": jobs,
        "run": jobs,
        "attempt": one,
        "principal": constant("users/alice", count),
        "source_site": constant("eu-1", count),
        "source_region": pa.array(REGIONS).take(pa.array(moved % 3)),
        "destination_site": constant("us-1", count),
        "destination_region": pa.array(REGIONS).take(pa.array(moved % 2)),
        "bytes": moved,
        "unsettled_bytes": zero,
        "requests": moved % 50,
        "charge_micros": moved // 50,
        "estimate_bytes": moved,
        "estimate_micros": moved // 50,
        "avoided_micros": moved // 25,
        "month_to_date_bytes": np.cumsum(moved),
        "price_source": constant("aws 2026-11-01", count),
        "corrects": nothing,
        "transfer": nothing,
        "rate_card": zero,
        "request_micros": zero,
    }
    return pa.table(values)


def constant(text: str, count: int) -> pa.Array:
    return pa.array([text]).take(pa.array(np.zeros(count, dtype=np.int32)))


def batches(rows: int = 100) -> Callable[[int], Event]:
    """The event of the batch of that number, made beforehand as far as it can be."""
    data = records_tables.pack("ledger.entry", columns(0, rows))
    values: dict[str, Any] = {
        "time": SystemClock().now(),
        "kind": "ledger.entry",
        "name": "batch",
        "actor": "",
        "request_id": "",
        "body": "",
    }
    return lambda number: Event(position=number * rows, rows=rows, data=data, **values)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def milliseconds(taken: list[float]) -> str:
    ordered = sorted(taken)
    p50, p99, worst = (1000 * ordered[int(share * (len(ordered) - 1))] for share in (0.5, 0.99, 1))
    return f"p50 {p50:.0f} ms, p99 {p99:.0f} ms, worst {worst:.0f} ms"


if __name__ == "__main__":
    main()
