"""kill -9 of servers that write, carry, tend and trim the record, over and over: nothing is lost, and nothing is there twice.

Each round forks one server, or two that both believe to hold every lease, on one catalog and one set of tables. Threads emit
facts, one by one and by the dozen, carry them, take care of the tables, and trim the log behind them, all as often as they can.
Half of the rounds end at a random moment, half at a failpoint: inside an append, before and after its commit, in compaction, at
a checkpoint, between the trimming of the log and its commit. At the end every fact that was acknowledged is in its table, once,
as it was emitted; the chain of each table holds; and what was never acknowledged is there once or not at all.

Run: python -m tests.faults.record_campaign --kills 500
"""

from __future__ import annotations

import argparse
import collections
import functools
import os
import random
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import alembic.command  # noqa: F401 - imported before the forks, which are many
import pyarrow.dataset  # noqa: F401
import sqlalchemy.dialects.sqlite  # noqa: F401

from federation import failpoints, ports
from federation.adapters import records_delta, records_links, records_tables
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.core import chain, compaction, errors, events
from federation.services import committer
from federation.services.committer import Committer
from tests import records

POINTS = (
    *("record.created", "record.files_written", "record.committed", "record.durable", "record.checkpointed"),
    *("record.put_together", "record.compacted", "record.cleaned", "record.vacuumed", "log.trimmed"),
)
LEDGER, EDGES, AUDIT = "egress_ledger", "lineage_edges", "audit"
_SECONDS_MAX = 4.0


def main() -> int:
    """Runs the campaign, prints what it did; 1 if anything was lost or is there twice."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=500)
    parser.add_argument("--seed", type=int, default=20261128)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fed-campaign-") as folder:
        campaign = Campaign(Path(folder), options.seed)
        begun = time.monotonic()
        while campaign.killed < options.kills:
            before = campaign.killed
            campaign.round()
            if campaign.killed // 50 > before // 50:
                print(f"{campaign.killed} kills, {time.monotonic() - begun:.0f} s", flush=True)
        wrong = campaign.check()
    for line in (*campaign.told(), f"{time.monotonic() - begun:.0f} s", *(wrong or ["nothing lost, nothing twice"])):
        print(line)
    return 1 if wrong else 0


class Campaign:
    """One catalog, its tables, and those who were killed over them. The process itself opens nothing before `check`."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self._dice = random.Random(seed)
        self._rounds = 0
        self.kills: collections.Counter[str] = collections.Counter()
        self._sums: dict[str, int] = {}

    @property
    def killed(self) -> int:
        """How many processes were killed so far."""
        return sum(self.kills.values())

    def round(self) -> None:
        """Forks one server or two, and sees that they die."""
        self._rounds += 1
        count = 2 if self._dice.random() < 0.25 else 1
        points = [self._dice.choice(POINTS) if self._dice.random() < 0.5 else "" for _ in range(count)]
        begun = time.monotonic()
        children = [self._fork(number, point) for number, point in enumerate(points)]
        for child, point in zip(children, points, strict=True):
            seconds = _SECONDS_MAX if point else self._dice.uniform(0.02, 1.5)
            self.kills[self._end(child, begun + seconds, point)] += 1

    def check(self) -> list[str]:
        """What is wrong: facts that were lost, facts that are there twice, chains that do not hold."""
        acknowledged, attempted = self._journals()
        catalog = _catalog(self._folder)
        sink = DeltaRecords(str(self._folder / "tables"))
        last = Committer(catalog, sink, holder="last")
        committer.LEASE_SECONDS = -1
        last.run_once()
        self._sums["trimmed up to"] = catalog.floor()
        self._sums["revision"] = catalog.revision()
        catalog.close()
        wrong = [] if self._sums["trimmed up to"] else ["the log was never trimmed, so half of this was not tried"]
        for table in (LEDGER, EDGES, AUDIT):
            rows = sink.table(table).to_pyarrow_table().sort_by("position").to_pylist()
            told = collections.Counter(_number(table, row) for row in rows if _number(table, row) is not None)
            self._sums[f"rows of {table}"] = len(rows)
            self._sums[f"files of {table}"] = len(sink.table(table).file_uris())
            lost = acknowledged[table] - set(told)
            strange = set(told) - attempted[table]
            twice = [number for number, count in told.items() if count > 1]
            changed = [row["position"] for row in rows if not _same(table, row)]
            for name, found in (("lost", lost), ("never emitted", strange), ("twice", twice), ("changed", changed)):
                if found:
                    wrong.append(f"{table}: {len(found)} {name}, such as {sorted(found)[:5]}")
            walk = chain.Walk(table)
            for batch in records_links.links(sink.table(table), table):
                walk.take(batch)
            wrong += [f"{table}: {finding}" for finding in walk.result().findings[:5]]
        return wrong

    def told(self) -> list[str]:
        """What was done."""
        return [
            f"{self.killed} kills in {self._rounds} rounds: "
            + ", ".join(f"{name} {count}" for name, count in self.kills.most_common()),
            ", ".join(f"{name}: {count:,}" for name, count in self._sums.items()),
        ]

    def _fork(self, number: int, point: str) -> int:
        child = os.fork()
        if child:
            return child
        try:
            failpoints._ARMED, failpoints._ONCE = point, str(self._folder / f"once-{self._rounds}-{number}")
            Server(self._folder, f"{self._rounds}-{number}", self._rounds * 2 + number).run()
        finally:
            os._exit(3)  # a server of this campaign is killed, it does not end

    def _end(self, child: int, until: float, point: str) -> str:
        """Kills the child then, unless it has died at its point before; says which it was."""
        died = 0
        while not died and time.monotonic() < until:
            died, status = os.waitpid(child, os.WNOHANG)
            time.sleep(0.002)
        if not died:
            os.kill(child, signal.SIGKILL)
            _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            raise RuntimeError("a server ended by itself, see above why")
        return point if died else "at any moment"

    def _journals(self) -> tuple[dict[str, set[int]], dict[str, set[int]]]:
        acknowledged: dict[str, set[int]] = collections.defaultdict(set)
        attempted: dict[str, set[int]] = collections.defaultdict(set)
        for journal in self._folder.glob("journal-*"):
            for line in journal.read_text().splitlines(keepends=True):
                if not line.endswith("\n"):
                    continue
                what, table, first, last = line.split()
                (attempted if what == "try" else acknowledged)[table].update(range(int(first), int(last) + 1))
        return acknowledged, attempted


class Server:
    """What a catalog server does for the record, as fast as it can, until it is killed. Its facts have numbers of their own."""

    def __init__(self, folder: Path, name: str, number: int) -> None:
        records_delta.CHECKPOINT_COMMITS, records_delta.TIDY_SECONDS = 3, 0.2
        compaction.FAN = 4
        committer.LEASE_SECONDS = -1  # nobody's lease keeps anybody off: what holds must hold without
        self._catalog = _catalog(folder)
        self._committer = Committer(
            self._catalog, DeltaRecords(str(folder / "tables")), holder=name, batch=20, retention_seconds=0
        )
        self._journal = (folder / f"journal-{name}").open("a", buffering=1)
        self._next = number * 1_000_000
        self._dice = random.Random(number)

    def run(self) -> None:
        """Never ends."""
        self._committer.hold()
        carried = [functools.partial(self._committer.carry, table) for table in events.TABLES]
        tended = [functools.partial(self._committer.tend, table) for table in (LEDGER, EDGES, AUDIT)]
        for work in (*carried, *tended, self._committer.hold, self._committer.trim, self._emit):
            threading.Thread(target=_for_ever, args=(work,), daemon=True).start()
        time.sleep(60)

    def _emit(self) -> None:
        count = self._dice.choice((1, 2, 30))
        table = self._dice.choice((LEDGER, LEDGER, EDGES, AUDIT))
        first, self._next = self._next, self._next + count
        numbers = range(first, self._next)
        self._journal.write(f"try {table} {first} {numbers[-1]}\n")
        self._catalog.write(lambda tx: _emitted(tx, table, numbers))
        self._journal.write(f"ack {table} {first} {numbers[-1]}\n")
        time.sleep(0.003)


def _emitted(tx: ports.Transaction, table: str, numbers: range) -> None:
    if table == LEDGER and len(numbers) > 2:
        data = records_tables.pack("ledger.entry", [_entry(number) for number in numbers])
        tx.emit_rows("ledger.entry", "batch", data, len(numbers))
        return
    for number in numbers:
        if table == LEDGER:
            tx.emit("ledger.entry", f"{number}", _entry(number))
        elif table == EDGES:
            tx.emit("lineage.edge", f"{number}", records.edge(f"r-{number}", bytes=number))
        else:
            tx.emit("site.updated", f"sites/{number}", records.edge(f"r-{number}"))


def _entry(number: int):
    """On one of three days, so that files are put together of each."""
    return records.entry(number % 4320, entry=f"e-{number}", bytes=number, charge_micros=7 * number)


def _number(table: str, row: dict) -> int | None:
    """Which of our facts a row is, None for none of them."""
    if table == LEDGER:
        return int(row["entry"].removeprefix("e-"))
    if table == EDGES:
        return int(row["run"].removeprefix("r-"))
    return int(row["name"].removeprefix("sites/")) if row["kind"] == "site.updated" else None


def _same(table: str, row: dict) -> bool:
    number = _number(table, row)
    if table == LEDGER:
        return all(row[name] == value for name, value in vars_of(_entry(number)).items())
    return table == AUDIT or row["bytes"] == number


def vars_of(value: object) -> dict:
    """A value's fields."""
    return {name: getattr(value, name) for name in value.__dataclass_fields__}


def _for_ever(work: Callable[[], object]) -> None:
    while True:
        try:
            if not work():
                time.sleep(0.005)
        except errors.Unavailable:
            time.sleep(0.01)  # another was in the way
        except errors.OutOfRange:
            time.sleep(0.01)  # another has trimmed what was looked for
        except BaseException:  # noqa: BLE001 - told, and the campaign ends
            traceback.print_exc()
            os._exit(4)


def _catalog(folder: Path) -> SqlCatalog:
    return SqlCatalog(f"sqlite:///{folder / 'catalog.db'}", SystemClock(), UlidIds())


if __name__ == "__main__":
    sys.exit(main())
