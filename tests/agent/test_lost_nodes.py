"""Nodes of a real Ray cluster die under what runs on them, one of them taken back by its provider: what is said, and what next.

A cluster of a head and two nodes of its own; all that dies dies in one fixture, for Ray takes seconds to be sure of a death.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from connectors.compute.ray import RayCompute
from federation.agent import runs
from federation.core import job
from federation.core import site as sites
from federation.local import procfs
from federation.local.ray_cluster import OBJECT_STORE_BYTES, RayCluster
from tests import tcp
from tests.agent import federation as federations
from tests.agent.compute import MemoryCompute
from tests.agent.federation import Federation, until
from tests.ray_pair import RayPair, another, ray_pair  # noqa: F401 - a fixture
from tests.wire import certs as certificates

pytestmark = pytest.mark.ray

NOTICE = "the provider takes it back"
#: The driver is on the head, which stays; its actor sits on the node of the A10G.
HAS_AN_ACTOR_ELSEWHERE = """
import pathlib, sys, time, ray
ray.init(logging_level="ERROR")
@ray.remote(num_cpus=0, resources={"accelerator_type:A10G": 0.001})
class Elsewhere:
    def work(self, marker):
        pathlib.Path(marker).touch()
        time.sleep(600)
ray.get(Elsewhere.remote().work.remote(sys.argv[1]))
"""
#: The driver is on a node itself.
SITS_THERE = "import pathlib, sys, time; pathlib.Path(sys.argv[1]).touch(); time.sleep(600)"
FAILS_BY_ITSELF = "import sys; sys.exit('no convergence')"


class PatientCluster(RayCluster):
    """One that is patient with nodes that start.

    It is sure of a node's death as late as Ray is by itself, after fifteen seconds: a busy machine lets a live node, the head
    too, be silent for three.
    """

    def _environment(self) -> dict[str, str]:
        return super()._environment() | {"RAY_raylet_start_wait_time_s": "120"}

    def ray(self, *words: str, log: Path) -> subprocess.Popen[bytes]:
        """A `ray` command of this cluster, in a session of its own."""
        with log.open("ab") as out:
            return subprocess.Popen(
                (sys.executable, "-m", "ray.scripts.scripts", *words),
                env=self._environment(),
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
            )

    @property
    def gcs(self) -> str:
        return f"{self.address_ip}:{self._port_base}"


@dataclasses.dataclass
class Node:
    """A node of its own process session, beside the head."""

    cluster: PatientCluster
    gpu: str
    address_ip: str
    process: subprocess.Popen[bytes] = dataclasses.field(init=False)
    node: str = ""

    def start(self) -> None:
        """Begins to start it."""
        flags = ("--dashboard-agent-listen-port", "--dashboard-agent-grpc-port", "--runtime-env-agent-port")
        ports = [word for pair in zip(flags, map(str, tcp.free_ports(3)), strict=True) for word in pair]
        self.process = self.cluster.ray(
            *("start", "--block", "--disable-usage-stats", "--address", self.cluster.gcs),
            *("--node-ip-address", self.address_ip, *ports, "--min-worker-port", "0", "--max-worker-port", "0"),
            *("--num-cpus", "1", "--num-gpus", "1", "--resources", json.dumps({f"accelerator_type:{self.gpu}": 1})),
            # Nodes of one machine that start at once would else take the same names for their sockets.
            *("--temp-dir", f"{self.cluster._temp_folder()}-{self.gpu}"),
            *("--memory", str(10**9), "--object-store-memory", str(OBJECT_STORE_BYTES // 2)),
            log=self.cluster.folder / f"{self.gpu}.log",
        )

    def drain(self) -> None:
        """Tells its cluster that the provider takes it back in a second; a provider waits for no answer."""
        done = self.cluster.ray(
            *("drain-node", "--address", self.cluster.gcs, "--node-id", self.node, "--reason", "DRAIN_NODE_REASON_PREEMPTION"),
            *("--reason-message", NOTICE, "--deadline-remaining-seconds", "1"),
            log=self.cluster.folder / "drain.log",
        )
        assert done.wait(60) == 0, (self.cluster.folder / "drain.log").read_text()

    def kill(self) -> None:
        """Kills all its processes at once, as a machine that loses its power does."""
        for process in procfs.every():
            if process.session == self.process.pid:
                procfs.send(process.pid, signal.SIGKILL)
        self.process.wait(30)
        shutil.rmtree(f"{self.cluster._temp_folder()}-{self.gpu}", ignore_errors=True)


@dataclasses.dataclass
class Lost:
    """What came of it: the federation, the nodes that died, and the jobs that were there."""

    fed: Federation
    killed: Node
    preempted: Node
    jobs: dict[str, job.Job]

    def after(self, name: str) -> job.Job:
        """A job, once it has been planned again or has ended."""
        made = self.jobs[name].job

        def found() -> job.Job | None:
            seen = self.fed.client.get_job(made)
            return seen if seen.attempt > 1 or seen.state.terminal else None

        again = until(found, 120)
        assert isinstance(again, job.Job)
        return again


@pytest.fixture(scope="module")
def cluster(ray_pair: RayPair, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PatientCluster]:  # noqa: F811
    """A head with an L4, which outlives all."""
    with another(ray_pair, tmp_path_factory.mktemp("ray"), 4, kind=PatientCluster, cpus=2, gpus={"L4": 1}) as made:
        made.start()
        yield made


@pytest.fixture(scope="module")
def lost(cluster: PatientCluster, certs: certificates.Certs, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lost]:
    """eu-1 is that cluster; us-1 has the same GPUs, dearer. The node of the A10G is killed, that of the H100 preempted."""
    folder = tmp_path_factory.mktemp("lost")
    prefix = cluster.address_ip.rpartition(".")[0]
    nodes = [Node(cluster, "A10G", f"{prefix}.11"), Node(cluster, "H100", f"{prefix}.12")]
    for node in nodes:
        node.start()
    other = MemoryCompute()
    other.gpus = (("A10G", 1), ("H100", 1))

    def compute(root: Path) -> MemoryCompute | RayCompute:
        return RayCompute(cluster.address, cluster.token_file) if "eu-1" in root.parts else other

    # As patient with a busy cluster as the agents of a federation are.
    fed = federations.start(folder / "fed", certs, compute=compute, pace=runs.Pace(poll_seconds=0.1))
    try:
        _offer(fed)
        known = until(lambda: _nodes(cluster, 2), 120)
        for node in nodes:
            node.node = known[node.address_ip]
        until(lambda: len(fed.client.get_site("eu-1").capacity.gpus) == 3, 60)
        jobs = {
            "driver on the killed": _submit(fed, SITS_THERE, folder / "1", "A10G"),
            "driver on the preempted": _submit(fed, SITS_THERE, folder / "2", "H100", spot=job.Spot.ALLOWED),
            "actor on the killed": _submit(fed, HAS_AN_ACTOR_ELSEWHERE, folder / "3", "L4"),
        }
        until(lambda: all((folder / name).exists() for name in "123"), 120)
        jobs["by itself"] = _submit(fed, FAILS_BY_ITSELF, folder / "4", "")
        nodes[1].drain()
        time.sleep(1)  # until the time is over that the provider had given
        for node in nodes:
            node.kill()
        yield Lost(fed=fed, killed=nodes[0], preempted=nodes[1], jobs=jobs)
    finally:
        fed.stop()
        for node in nodes:
            node.kill()


def _nodes(cluster: PatientCluster, count: int) -> dict[str, str]:
    """Ray's ids of the nodes beside the head by address, once there are so many."""
    rows = RayCompute(cluster.address, cluster.token_file)._listed("nodes")
    found = {row["node_ip"]: row["node_id"] for row in rows if not row["is_head_node"]}
    return found if len(found) == count else {}


def _offer(fed: Federation) -> None:
    """Prices of all GPUs; those of us-1 are twice as high, on the spot market too."""
    for name, dollars in (("eu-1", 1), ("us-1", 2)):
        gpus = tuple(
            sites.GpuOffer(type=gpu, gpu_hour_micros=dollars * 10**6, spot_gpu_hour_micros=dollars * 10**5, source="test")
            for gpu in ("A10G", "H100", "L4")
        )
        offer = sites.Offer(cpu_hour_micros=40_000, cpu_source="test", gpus=gpus)
        fed.client.update_site(dataclasses.replace(fed.client.get_site(name), offer=offer), ["offer"])


def _submit(fed: Federation, script: str, marker: Path, gpu: str, spot: job.Spot = job.Spot.NEVER) -> job.Job:
    made = fed.submit(
        *("python", "-c", script, str(marker)),
        resources=job.Resources(cpus=1, gpus=1 if gpu else 0, gpu_type=gpu),
        spot=spot,
        sites=() if gpu else ("eu-1",),
        max_attempts=2,
    )
    assert made.plan
    assert made.plan.choice
    assert (made.plan.choice.site, made.plan.choice.spot) == ("eu-1", spot is job.Spot.ALLOWED)
    return made


def test_a_job_whose_drivers_node_dies_is_lost_and_planned_again(lost: Lost) -> None:
    """NODE_LOST with the node's id and Ray's word on it; the job goes elsewhere, remembering."""
    again = lost.after("driver on the killed")
    assert again.plan
    (past,) = again.plan.attempts
    assert (past.reason, past.site, past.spot) == ("NODE_LOST", "eu-1", False)
    assert lost.killed.node in past.detail
    assert "Unexpected termination" in past.detail
    assert (again.attempt, again.plan.choice and again.plan.choice.site) == (2, "us-1")


def test_a_job_whose_spot_node_is_taken_back_is_preempted(lost: Lost) -> None:
    """PREEMPTED with the provider's notice; spot at that site is not taken again, which is told."""
    again = lost.after("driver on the preempted")
    assert again.plan
    (past,) = again.plan.attempts
    assert (past.reason, past.site, past.spot) == ("PREEMPTED", "eu-1", True)
    assert lost.preempted.node in past.detail
    assert NOTICE in past.detail
    assert "eu-1 on demand alone: attempt 1 was preempted there" in again.plan.notes
    assert [row.site for row in again.plan.ranked if row.avoided or (row.site == "eu-1" and row.spot)] == []


def test_a_driver_that_fails_for_its_actors_node_is_not_blamed(lost: Lost) -> None:
    """The driver raises seconds before Ray is sure; it is NODE_LOST all the same, with the node of the actor."""
    lost.after("actor on the killed")
    first = lost.fed.client.get_run(f"jobs/{lost.jobs['actor on the killed'].job}/runs/1")
    assert first.reason == "NODE_LOST"
    assert lost.killed.node in first.detail


def test_an_entrypoint_that_fails_by_itself_meanwhile_has_failed(lost: Lost) -> None:
    """Nodes that died under others are no excuse."""
    ended = lost.after("by itself")
    assert (ended.state, ended.reason, ended.attempt) == (job.JobState.FAILED, "ENTRYPOINT_FAILED", 1)
