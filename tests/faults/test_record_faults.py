"""The record while its store fails, its disk is full, or two servers carry it: nothing is lost, and nothing is there twice."""

from __future__ import annotations

import random
import secrets
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation import ports
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.core import errors, kinds
from federation.services import committer
from federation.services.committer import Committer
from tests import prepared, records
from tests.conformance import s3server
from tests.postgres import postgres_server, postgres_url  # noqa: F401 - fixtures

LEDGER = "egress_ledger"
_OPTIONS = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_REGION": "us-east-1",
    "AWS_ALLOW_HTTP": "true",
    "max_retries": "1",
    "retry_timeout": "2s",
}


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[SqlCatalog]:
    """An empty catalog on the disk."""
    made = SqlCatalog(prepared.sqlite(tmp_path / "catalog.db"), SystemClock(), UlidIds())
    yield made
    made.close()


def ledger(sink: DeltaRecords) -> list[str]:
    """The entries of the ledger, in the order of their positions."""
    return sink.table(LEDGER).to_pyarrow_table().sort_by("position").column("entry").to_pylist()


def entries(count: int) -> list[str]:
    """The names of so many entries."""
    return [records.entry(number).entry for number in range(1, count + 1)]


def test_a_store_that_answers_500_now_and_then_loses_and_doubles_nothing(catalog: SqlCatalog) -> None:
    """Whether it has done what it was asked for, and only says otherwise, or not."""
    dice = random.Random(20261128)
    with s3server.honest() as honest, s3server.troubled(honest) as trouble:
        bucket = s3server.bucket(honest, f"tables-{secrets.token_hex(4)}")
        sink = DeltaRecords(bucket, _OPTIONS | {"AWS_ENDPOINT_URL": trouble.endpoint})
        carrying = Committer(catalog, sink)
        carrying.run_once()
        failures = 0
        trouble.when = lambda method, path: dice.choice(("before", "after")) if dice.random() < 0.15 else ""
        for number in range(1, 21):
            records.emit_entries(catalog, number)
            try:
                carrying.run_once()
                carrying.tend(LEDGER)
            except errors.Unavailable as error:
                assert error.reason == "TABLES_UNAVAILABLE"  # noqa: PT017 - some fail, and of those all so
                failures += 1
        trouble.when = lambda method, path: ""
        carrying.run_once()
        assert failures, "nothing was tried"
        assert ledger(sink) == entries(20)


def test_a_store_that_is_away_keeps_nobody_from_working(catalog: SqlCatalog) -> None:
    """Facts wait in the log, bulk is refused once too many do, and what waited is carried when the store is back."""
    catalog._backlog_facts_max = 50
    with s3server.honest() as honest, s3server.troubled(honest) as trouble:
        bucket = s3server.bucket(honest, f"tables-{secrets.token_hex(4)}")
        sink = DeltaRecords(bucket, _OPTIONS | {"AWS_ENDPOINT_URL": trouble.endpoint})
        carrying = Committer(catalog, sink)
        carrying.run_once()
        trouble.when = lambda method, path: "before"
        records.emit_entries(catalog, *range(1, 61))
        with pytest.raises(errors.Unavailable):
            carrying.carry(LEDGER)
        carrying.hold()
        batch = records.batch(90, 30)
        push = lambda: catalog.write(lambda tx: tx.emit_rows("ledger.entry", "batch", batch.data, 30))  # noqa: E731
        with pytest.raises(errors.ResourceExhausted) as caught:
            push()
        assert caught.value.reason == "RECORD_BACKLOG"
        trouble.when = lambda method, path: ""
        carrying.carry(LEDGER)
        carrying.hold()
        assert push() == 90
        carrying.carry(LEDGER)
        assert ledger(sink) == entries(90)


_FULL = """
import random, resource, sys
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.core import errors
from federation.services.committer import Committer
from tests import records

dice = random.Random(3)
catalog = SqlCatalog(sys.argv[1], SystemClock(), UlidIds())

class FullDisk(DeltaRecords):
    # Whatever this process writes while it appends is cut off after so many bytes, as by a disk without room for more.
    def append(self, table, events):
        hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
        resource.setrlimit(resource.RLIMIT_FSIZE, (dice.choice((1, 300, 3000, 9000, 20000, hard)), hard))
        try:
            super().append(table, events)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

committer = Committer(catalog, FullDisk(sys.argv[2]))
committer.run_once()
failures = set()
for number in range(1, 41):
    records.emit_entries(catalog, number)
    try:
        committer.carry("egress_ledger")
    except errors.Unavailable as error:
        failures.add(error.reason)
print(*failures)
"""


def test_a_full_disk_loses_and_doubles_nothing(catalog: SqlCatalog, tmp_path: Path) -> None:
    """Data that was cut off, a log entry that was cut off, and what fits after all: the next one has room again."""
    root = tmp_path / "tables"
    command = [sys.executable, "-c", _FULL, f"sqlite:///{tmp_path / 'catalog.db'}", str(root)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.stdout.split() == ["TABLES_UNAVAILABLE"], done.stderr
    sink = DeltaRecords(str(root))
    Committer(catalog, sink).run_once()
    assert ledger(sink) == entries(40)
    assert not [path for path in root.rglob("part-*") if not path.stat().st_size]


def test_two_servers_on_one_database_take_turns(postgres_url: str, tmp_path: Path) -> None:  # noqa: F811
    """Only the holder of a table's lease carries it; one that gives it up, or is heard of no more, is replaced."""
    catalogs = [SqlCatalog(postgres_url, SystemClock(), UlidIds()) for _ in range(2)]
    first, second = (Committer(one, DeltaRecords(str(tmp_path)), holder=name) for one, name in zip(catalogs, "ab", strict=True))
    records.emit_entries(catalogs[0], 1, 2)
    assert [first.run_once(), second.run_once()] == [2, 0]
    first.release()
    records.emit_entries(catalogs[1], 3)
    assert [first.carry(LEDGER), second.run_once()] == [0, 1]
    assert ledger(DeltaRecords(str(tmp_path))) == entries(3)
    for one in catalogs:
        one.close()


def test_two_that_both_believe_to_hold_a_lease_double_nothing(
    catalog: SqlCatalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A holder that slept longer than its lease goes on where it was, beside its successor: the table itself is the fence."""
    monkeypatch.setattr(committer, "LEASE_SECONDS", -1)  # nobody's lease keeps anybody off
    carriers = [Committer(catalog, DeltaRecords(str(tmp_path / "tables")), holder=name, batch=3) for name in "ab"]
    stopping = threading.Event()

    def work(carrying: Committer) -> None:
        while True:
            last = stopping.is_set()
            try:
                carrying.run_once()
                carrying.tend(LEDGER)
            except errors.Unavailable as error:
                assert error.reason == "TABLES_BUSY"  # noqa: PT017 - told to come back, which it does
                continue
            if last:
                return

    threads = [threading.Thread(target=work, args=(carrying,)) for carrying in carriers]
    for thread in threads:
        thread.start()
    for number in range(1, 61):
        records.emit_entries(catalog, number)
    stopping.set()
    for thread in threads:
        thread.join()
    assert ledger(DeltaRecords(str(tmp_path / "tables"))) == entries(60)


def test_a_lease_that_ran_out_is_taken_over_where_its_holder_was(catalog: SqlCatalog, tmp_path: Path) -> None:
    """From the table's own position, whatever was written down last."""
    sink = DeltaRecords(str(tmp_path / "tables"))
    records.emit_entries(catalog, 1, 2)
    Committer(catalog, sink, holder="dead").run_once()

    def expire(tx: ports.Transaction) -> None:
        for lease in tx.list(kinds.CommitterLease):
            tx.replace(kinds.CommitterLease(table=lease.table, holder=lease.holder, expire_time=tx.now))

    catalog.write(expire)
    records.emit_entries(catalog, 3)
    assert Committer(catalog, DeltaRecords(str(tmp_path / "tables")), holder="next").run_once() == 1
    assert ledger(sink) == entries(3)
