"""Two servers on one real PostgreSQL, behind one client and one agent: each dies once under load, and nobody is told wrong.

What lies where, and that a federation on PostgreSQL does all that one on SQLite does, is looked at on the way.
"""

from __future__ import annotations

import contextlib
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from deltalake import DeltaTable

from federation.adapters.catalog_sql import SqlCatalog
from federation.adapters.system import SystemClock, UlidIds
from federation.client import Client
from federation.core import errors, job
from tests import localfed, tcp
from tests.postgres import postgres_server, postgres_url  # noqa: F401 - fixtures
from tests.watch_history import problems
from tests.watch_load import Load, whole_log

COUNT = """
import time, federation
time.sleep(1.5)
numbers = federation.inputs["numbers"].pandas()
with federation.outputs["total"].open("total.txt", "w") as file:
    file.write(str(numbers.n.sum()))
"""
ROUNDS = 20
#: What is written beside the jobs, at the least.
ENOUGH = 30


class Pair:
    """A federation of one site whose catalog has two servers, `server` and another that is started here."""

    def __init__(self, folder: Path, url: str) -> None:
        ports = [f"127.0.0.1:{port}" for port in tcp.free_ports(4)]
        people, agents = ports[:2], ports[2:]
        both = {"address": ",".join(people), "agents_address": ",".join(agents)}
        own = {"database": url, "lease_seconds": "30", "rates": {"calls_per_second": 0}}
        self.fed = localfed.LocalFederation(
            folder=folder,
            compute={"eu-1": {"compute": {"kind": "process"}}},
            settings={**both, **own, "listen": people[0], "agents_listen": agents[0]},
        )
        self.fed.target = both["address"]
        self._file = folder / "other.yaml"
        text = yaml.safe_load(self.fed.file.read_text())
        text["server"] |= {"listen": people[1], "agents_listen": agents[1]}
        self._file.write_text(yaml.safe_dump(text))
        self._other: subprocess.Popen[bytes] | None = None
        self._people = people

    def start_other(self) -> None:
        """Starts the second server, in the same state folder: the key for grants is one."""
        command = (*localfed.FED, "server", "--config", str(self._file), "--state", str(self.fed.state))
        with (self.fed.layout.logs / "other.log").open("ab") as log:
            self._other = subprocess.Popen(command, stdout=log, stderr=log, env=self.fed.environment())

        def answers() -> bool:
            token, ca = self.fed.layout.admin_token.read_text().strip(), self.fed.layout.ca.read_bytes()
            with Client(self._people[1], token, ca, call_seconds=10) as client, contextlib.suppress(errors.FederationError):
                return bool(client.who_am_i())
            return False

        localfed.until(answers, 120, "the other server")

    def kill_other(self) -> None:
        """kill -9."""
        if self._other is not None:
            self._other.kill()
            self._other.wait(timeout=30)
        self._other = None


@pytest.fixture
def pair(tmp_path: Path, postgres_url: str) -> Iterator[Pair]:  # noqa: F811
    """Both servers, and the site."""
    made = Pair(tmp_path / "f", postgres_url)
    with localfed.running(made.fed):
        try:
            made.start_other()
            yield made
        finally:
            made.kill_other()


def test_two_servers_on_postgresql_die_one_after_the_other_and_nothing_is_lost_or_done_twice(
    pair: Pair,
    postgres_url: str,  # noqa: F811
    tmp_path: Path,
    long: bool,
) -> None:
    """Jobs run, people write and watch through both; each server is killed and comes back. Then every book is compared."""
    (tmp_path / "numbers.csv").write_text("n\n" + "\n".join(map(str, range(1000))))
    fed, names = pair.fed, []
    with fed.client() as client:
        client.put("lab/numbers", tmp_path / "numbers.csv", site="eu-1")
        load = Load(fed.client, seed=11)
        load.start()
        for _ in range(ROUNDS if long else 1):
            names.append(fed.submit(COUNT, inputs={"numbers": "lab/numbers"}, outputs={"total": "lab/total"}).job)
            localfed.until(lambda: client.get_job(names[-1]).state is job.JobState.RUNNING, 30, "the job to run")
            pair.kill_other()
            time.sleep(0.5)
            pair.start_other()
            names.append(fed.submit(COUNT, inputs={"numbers": "lab/numbers"}, outputs={"total": "lab/total"}).job)
            fed.kill("server")
            time.sleep(0.5)
            fed.up()
        localfed.until(lambda: len(load.writes.acknowledged) > ENOUGH, 60, "enough to be written")
        load.finish()
        _is_done_once(fed, client, names)
        _is_all_there(fed, client, names, tmp_path)
    with contextlib.closing(SqlCatalog(postgres_url, SystemClock(), UlidIds())) as catalog:
        log = whole_log(catalog)
    assert problems(load.histories, log, load.writes) == []
    assert {"version.committed", "run.succeeded", "ledger.entry", "lineage.edge"} <= {event.kind for event in log}
    assert not list(fed.layout.server.glob("*.db")), "no SQLite file was made beside PostgreSQL"


def _is_done_once(fed: localfed.LocalFederation, client: Client, names: list[str]) -> None:
    """Each job ran once, each of its reads was charged once, and Delta has each entry once."""
    for name in names:
        ended = fed.succeed(name)
        assert ended.attempt == 1, "its agent lost no lease: another server renewed it"
    entries = {entry.entry: entry for name in names for entry in fed.settled(name)}
    assert Counter(Counter(entry.run for entry in entries.values()).values()) == {1: len(names)}
    folder = str(fed.layout.server / "tables" / "egress_ledger")

    def carried() -> Counter[str]:
        if not DeltaTable.is_deltatable(folder):
            return Counter()
        return Counter(row["entry"] for row in DeltaTable(folder).to_pyarrow_table().to_pylist())

    everything = Counter(entry.entry for entry in client.list_ledger_entries())
    localfed.until(lambda: carried() == everything, 30, "the ledger in Delta")


def _is_all_there(fed: localfed.LocalFederation, client: Client, names: list[str], tmp_path: Path) -> None:
    """What a federation answers on PostgreSQL is what it answers on SQLite."""
    summaries, total = client.summarize_costs("job", filter='namespace = "lab"')
    assert {summary.key for summary in summaries} >= set(names)
    assert total.bytes > 0
    (first,) = client.list_runs(names[0])
    graph = client.get_lineage("lab/total@1", depth=1)
    assert {(edge.direction, edge.node) for edge in graph.edges if edge.run == first.run} == {
        ("in", "lab/numbers@1"),
        ("out", "lab/total@1"),
    }
    (got,) = client.get("lab/total", tmp_path / "got")
    assert got.read_text() == str(sum(range(1000)))
    assert fed.findings() == []
