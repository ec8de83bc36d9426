"""kill -9 at every named point of a job's way, and at random ones: every job ends as it should, each fact is there once.

All of it happens to one federation, one death after the other, and after each the story of all jobs so far is told whole.
"""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from deltalake import DeltaTable

from federation.core import job
from federation.local import supervisor
from tests import localfed

POINTS = ("server.before_assignment", "agent.after_intent", "agent.running", "agent.after_commit", "server.after_commit")
#: The point, and what else dies with the process that reaches it.
DEATHS = (
    *((point, "") for point in POINTS),
    ("server.before_assignment", "agent eu-1"),
    ("agent.after_intent", "server"),
    ("agent.running", "server"),
    ("agent.after_commit", "server"),
)

SCRIPT = """
import time, federation
rows = federation.inputs["numbers"].open("numbers.csv").read().decode().split()
time.sleep(float({seconds}))
with federation.outputs["total"].open("total.txt", "wb") as file:
    file.write(str(sum(map(int, rows))).encode())
"""


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[localfed.LocalFederation]:
    """Two sites, and the numbers at one of them."""
    made = localfed.LocalFederation(folder=tmp_path_factory.mktemp("kill") / "f", settings={"lease_seconds": "4"})
    with localfed.running(made):
        made.put("lab/numbers", {"numbers.csv": "\n".join(map(str, range(1000))).encode()})
        yield made


@pytest.fixture(scope="module")
def names() -> list[str]:
    """All jobs that were submitted so far."""
    return []


def _submit(fed: localfed.LocalFederation, names: list[str], seconds: float = 1) -> str:
    wanted = {"inputs": {"numbers": "lab/numbers"}, "outputs": {"total": "lab/total"}, "sites": ("eu-1",)}
    names.append(fed.submit(SCRIPT.format(seconds=seconds), **wanted).job)
    return names[-1]


def _check_story(fed: localfed.LocalFederation, names: list[str]) -> None:
    """Every job has succeeded by exactly one run; ledger and lineage hold each fact once, here and in Delta; no orphans."""
    client = fed.client()
    for name in names:
        ended = fed.wait_job(name)
        assert ended.state is job.JobState.SUCCEEDED, (ended.reason, ended.detail, fed.logs())
        runs = list(client.list_runs(name))
        assert Counter(run.state for run in runs)[job.JobState.SUCCEEDED] == 1
    versions = list(client.list_versions("lab/total"))
    assert sorted(version.run for version in versions) == sorted(ended.run for ended in map(client.get_job, names))
    reads = localfed.until(lambda: _settled(fed, names), 60, "all grants of the jobs to be settled")
    assert all(count == 1 for count in Counter(entry.grant for entry in reads).values())
    localfed.until(
        lambda: _in_delta(fed, "egress_ledger") == Counter(e.entry for e in client.list_ledger_entries()),
        60,
        "the ledger in Delta",
    )
    made = {version.run for version in versions}
    edges = localfed.until(lambda: _lineage(fed, made), 60, "lineage in Delta")
    assert set(edges.values()) == {1}
    assert {run for run, direction, _ in edges if direction == "out" and not run.startswith("puts/")} == made
    assert client.check_lineage_index().same
    assert fed.findings() == []


def _settled(fed: localfed.LocalFederation, names: list[str]) -> list:
    """The ledger entries, once each job's successful run has its own."""
    client = fed.client()
    entries = list(client.list_ledger_entries())
    runs = {client.get_job(name).run for name in names}
    return entries if runs <= {entry.run for entry in entries} else []


def _lineage(fed: localfed.LocalFederation, runs: set[str]) -> Counter:
    """The edges in Delta, once those of all the runs are there."""
    edges = _in_delta(fed, "lineage_edges", "run", "direction", "alias")
    return edges if runs <= {run for run, *_ in edges} else Counter()


def _in_delta(fed: localfed.LocalFederation, table: str, *columns: str) -> Counter:
    folder = fed.layout.server / "tables" / table
    rows = DeltaTable(str(folder)).to_pyarrow_table().to_pylist() if DeltaTable.is_deltatable(str(folder)) else []
    if not columns:
        return Counter(row["entry"] for row in rows)
    return Counter(tuple(row[column] for column in columns) for row in rows)


@pytest.mark.parametrize(("point", "also"), DEATHS, ids=[f"{point}+{also}" if also else point for point, also in DEATHS])
def test_a_job_survives_a_kill_at(
    federation: localfed.LocalFederation, names: list[str], tmp_path: Path, point: str, also: str
):
    """Whoever reaches the point dies there, and where it says so its counterpart too; after a restart the story is whole."""
    died = tmp_path / "died"
    federation.arm("server" if point.startswith("server.") else "agent eu-1", point, died)
    _submit(federation, names)
    localfed.until(died.exists, 60, f"somebody to die at {point}")
    localfed.until(lambda: any(part.state == "DEAD" for part in supervisor.status(federation.layout)), 30, "its end to be seen")
    if also:
        federation.kill(also)
    federation.up()
    _check_story(federation, names)


def test_jobs_survive_kills_at_random_moments(federation: localfed.LocalFederation, names: list[str], long: bool):
    """Server, agent or both die at seeded random moments while jobs come and go."""
    rng = random.Random(11)
    for _ in range(40 if long else 4):
        _submit(federation, names, seconds=rng.uniform(0, 1.5))
        time.sleep(rng.uniform(0, 2.5))
        federation.kill(*rng.choice([("server",), ("agent eu-1",), ("server", "agent eu-1")]))
        federation.up()
    _check_story(federation, names)


def test_a_superseded_attempt_can_neither_read_nor_commit(federation: localfed.LocalFederation, names: list[str]):
    """An agent that comes back after its lease finds its run replaced; what the old attempt still tries is refused."""
    name = _submit(federation, names, seconds=8)
    client = federation.client()
    localfed.until(lambda: client.get_job(name).state is job.JobState.RUNNING, 60, "the job to run")
    federation.kill("agent eu-1")
    localfed.until(lambda: client.get_job(name).state is job.JobState.PENDING, 60, "the lease to run out")
    federation.up()
    _check_story(federation, names)
    first, *_, last = client.list_runs(name)
    assert (first.state, first.reason) == (job.JobState.FAILED, "LEASE_LOST")
    assert last.attempt == client.get_job(name).attempt > first.attempt
