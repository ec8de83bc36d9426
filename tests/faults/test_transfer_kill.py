"""kill -9 of the destination's agent at every named point of a transfer: the replica comes about, whole, and is read there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from federation.core import dataset, errors
from federation.core.transfer import TransferState
from federation.local import supervisor
from tests import localfed

BIG = os.urandom(40_000_000)
POINTS = ("agent.piece_received", "agent.object_stored", "agent.transfer_stored", "agent.transfer_finished")

SCRIPT = """
import federation
data = federation.inputs["x"].open("big.bin").read()
with federation.outputs["y"].open("sum.txt", "wb") as file:
    file.write(str(sum(data)).encode())
"""


@pytest.fixture(scope="module")
def federation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[localfed.LocalFederation]:
    """Two sites, to which one death happens after the other."""
    with localfed.running(localfed.LocalFederation(folder=tmp_path_factory.mktemp("transfers") / "f")) as made:
        yield made


def _revived(fed: localfed.LocalFederation, died: Path, point: str) -> None:
    localfed.until(died.exists, 60, f"somebody to die at {point}")
    localfed.until(lambda: any(part.state == "DEAD" for part in supervisor.status(fed.layout)), 30, "its end to be seen")
    fed.up()


def _stored(fed: localfed.LocalFederation, site: str) -> dict[str, bytes]:
    root = fed.layout.site(site) / "store"
    # A walk, for a glob would mind folders that vanish before it.
    paths = [Path(folder, name) for folder, _, names in os.walk(root) if not folder.endswith("/.tmp") for name in names]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


@pytest.mark.parametrize("point", POINTS)
def test_a_transfer_survives_a_kill_at(federation: localfed.LocalFederation, tmp_path: Path, point: str) -> None:
    """The story is whole: same bytes at both sites, one replica, no orphan, and each attempt settled."""
    name, died = f"lab/{point.replace('.', '-').replace('_', '-')}", tmp_path / "died"
    federation.put(name, {"big.bin": BIG, "small.txt": b"small"})
    federation.arm("agent us-1", point, died)
    client = federation.client()
    asked = client.create_transfer(name, "us-1")
    _revived(federation, died, point)
    done = client.wait_transfer(asked.transfer, timeout=60)
    assert done.state is TransferState.SUCCEEDED, (done.reason, done.detail, federation.logs())
    assert _stored(federation, "us-1") == _stored(federation, "eu-1")
    assert {row.site for row in client.list_replicas(name)} == {"eu-1", "us-1"}
    assert federation.findings() == []


def test_a_replica_is_read_as_local_and_dropped_again_across_a_kill(tmp_path: Path) -> None:
    """Brought, read by a run at its site without a byte of egress, ended by its time, gone though its agent died dropping."""
    died, federation = tmp_path / "died", localfed.LocalFederation(folder=tmp_path / "f")
    with localfed.running(federation, FED_FAILPOINT="agent.object_removed", FED_FAILPOINT_ONCE=str(died)):
        federation.put("lab/data", {"big.bin": BIG[:5_000_000], "small.txt": b"small"})
        client = federation.client()
        asked = client.create_transfer("lab/data", "us-1", keep_seconds=1)
        assert client.wait_transfer(asked.transfer, timeout=60).state is TransferState.SUCCEEDED
        _revived(federation, died, "agent.object_removed")
        localfed.until(lambda: not _stored(federation, "us-1"), 30, "the replica to be gone")
        with pytest.raises(errors.NotFound):
            localfed.until(lambda: client.get_replica("lab/data@1", "us-1") is None, 30, "the replica's row to go")
        asked = client.create_transfer("lab/data", "us-1")
        assert client.wait_transfer(asked.transfer, timeout=60).state is TransferState.SUCCEEDED
        submitted = federation.submit(SCRIPT, inputs={"x": "lab/data"}, outputs={"y": "lab/sum"}, sites=("us-1",))
        ended = federation.succeed(submitted.job)
        assert ended.plan is not None
        assert ended.plan.choice is not None
        (read,) = ended.plan.choice.inputs
        assert (read.way, read.source_site, read.egress_micros) == ("LOCAL", "us-1", 0)
        assert client.get_replica("lab/data@1", "us-1").state is dataset.ReplicaState.AVAILABLE
        assert federation.findings() == []
