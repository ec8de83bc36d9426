"""kill -9 of the committer at random moments: the ledger in Delta holds every event, once."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.services.committer import Committer
from tests import records

LEDGER = "egress_ledger"

# Small batches, so that a kill has many commits to hit; a line for each, so that the machine's load does not choose the moment.
_COMMITTER = """
import sys
from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.records_delta import DeltaRecords
from federation.adapters.system import SystemClock, UlidIds
from federation.services.committer import Committer
class Loud(DeltaRecords):
    def append(self, table, events):
        super().append(table, events)
        print("committed", flush=True)
committer = Committer(SqlCatalog(sys.argv[1], SystemClock(), UlidIds()), Loud(sys.argv[2]), batch=3)
print("ready", flush=True)
while True:
    committer.run_once()
"""


@pytest.mark.timeout(900)
def test_a_committer_that_is_killed_loses_and_doubles_nothing(tmp_path: Path, long: bool) -> None:
    """Six times at random moments (a hundred with --long), while entries go on being written."""
    url, root = f"sqlite:///{tmp_path / 'catalog.db'}", tmp_path / "tables"
    moments = random.Random(20261122)
    catalog = SqlCatalog(url, SystemClock(), UlidIds())
    total = 0
    for _ in range(100 if long else 6):
        total = _emit(catalog, total, 60)
        _run_and_kill(url, root, commits=moments.randrange(12), seconds=moments.uniform(0, 0.04))
    total = _emit(catalog, total, 1)
    sink = DeltaRecords(str(root))
    before = sink.position(LEDGER)
    Committer(catalog, sink).run_once()
    found = sink.table(LEDGER).to_pyarrow_table().sort_by("position").to_pydict()
    catalog.close()
    assert found["position"] == list(range(1, total + 1))
    assert found["charge_micros"] == [records.entry(number).charge_micros for number in range(1, total + 1)]
    assert before > 0, "the killed ones must have got somewhere, or nothing was tried"


def _emit(catalog: SqlCatalog, total: int, count: int) -> int:
    """Emits the next ledger entries; returns how many there are now."""
    records.emit_entries(catalog, *range(total + 1, total + count + 1))
    return total + count


def _run_and_kill(url: str, root: Path, *, commits: int, seconds: float) -> None:
    """Lets a committer work for so many commits and then so long, which is about one commit more."""
    process = subprocess.Popen([sys.executable, "-c", _COMMITTER, url, str(root)], stdout=subprocess.PIPE, text=True)
    with process:
        assert process.stdout.readline() == "ready\n"
        for _ in range(commits):
            assert process.stdout.readline() == "committed\n"
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait(30)
    assert process.returncode == -signal.SIGKILL, "it was to be killed, not to fail"
