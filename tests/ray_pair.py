"""One pair of real Ray clusters for a whole test session, also when pytest-xdist spreads it over workers.

Each worker holds a shared lock on the session's folder for as long as it lives. A guardian waits for the exclusive one: whoever
ends last, and however (kill -9 included), the clusters end after it. A second lock gives each session on the machine a slot,
and with it addresses and ports of its own.
"""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

import pytest

from federation.local.ray_cluster import PORTS, RayCluster

Cluster = TypeVar("Cluster", bound=RayCluster)

_SLOTS = 8
_PORT_BASE = 22_000
#: Clusters that a slot has room for.
_ROOM = 4


@dataclass(frozen=True, kw_only=True)
class RayPair:
    """Two clusters: `first` has an A10G, `second` two H100, all of them logical.

    Beside the second there is room for the addresses and ports of two more.
    """

    first: RayCluster
    second: RayCluster

    @property
    def clusters(self) -> tuple[RayCluster, RayCluster]:
        return self.first, self.second


@pytest.fixture(scope="session")
def ray_pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RayPair]:
    """The session's pair, started by whoever needs it first and ended by whoever is done with it last."""
    with shared(_shared_folder(tmp_path_factory) / "ray-pair") as pair:
        yield pair


class Turns:
    """As many modules on Ray run at once as the machine has cores; the others wait, outside of what is timed.

    Each keeps a core busy by starting processes: more of them at once end no sooner, and what they wait for comes too late.
    """

    def __init__(self) -> None:
        self._turn: IO[str] | None = None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_protocol(self, item: pytest.Item, nextitem: pytest.Item | None) -> Generator[None, object, object]:
        """Takes a turn before a module's first test, and gives it back after its last."""
        if self._turn is None and item.get_closest_marker("ray") is not None:
            self._turn = _turn(item.config)
        try:
            return (yield)
        finally:
            if self._turn is not None and (nextitem is None or nextitem.path != item.path):
                self._turn.close()
                self._turn = None


def _turn(config: pytest.Config) -> IO[str]:
    """The locked file of a turn, which ends when it is closed."""
    folder = _shared_folder(config._tmp_path_factory)  # type: ignore[attr-defined] - the fixture's, before there are fixtures
    files = [folder / f"ray-turn-{number}" for number in range(os.cpu_count() or 1)]
    while (taken := _free(files)) is None:
        time.sleep(0.2)
    return taken


def _free(files: Iterable[Path]) -> IO[str] | None:
    """The first of the files that nobody holds, open and locked until it is closed; None where all are held."""
    for file in files:
        found = file.open("a")
        try:
            fcntl.flock(found, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            found.close()
        else:
            return found
    return None


def _shared_folder(factory: pytest.TempPathFactory) -> Path:
    """The folder of the whole session, whichever of its workers asks."""
    base = factory.getbasetemp()
    return base.parent if "PYTEST_XDIST_WORKER" in os.environ else base


@contextmanager
def gpus_alone(pair: RayPair) -> Iterator[None]:
    """The second cluster's GPUs, taken by no other test of the session meanwhile: what is free there decides where jobs go."""
    with (pair.first.folder.parent / "gpus").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@contextmanager
def another(
    pair: RayPair, folder: Path, number: int, kind: Callable[..., Cluster] = RayCluster, **options: Any
) -> Iterator[Cluster]:
    """One more cluster beside the pair, not yet started: the third or fourth. Who asks for one that is in use waits for it."""
    assert 3 <= number <= _ROOM
    with (pair.first.folder.parent / f"more-{number}").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        made = kind(
            name=f"more-{number}",
            folder=folder / "more",
            address_ip=f"{pair.first.address_ip.rpartition('.')[0]}.{number}",
            port_base=pair.second._port_base + (number - 2) * PORTS,
            environ=pair.first._environ,
            **options,
        )
        try:
            yield made
        finally:
            made.stop()


@contextmanager
def shared(folder: Path) -> Iterator[RayPair]:
    """The pair that lives in `folder`, for as long as the context is open somewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "users").open("a") as users, (folder / "starting").open("a") as starting:
        fcntl.flock(starting, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_SH)
        try:
            pair = _pair(folder)
            for cluster in pair.clusters:
                cluster.start()
        finally:
            fcntl.flock(starting, fcntl.LOCK_UN)
        yield pair
        fcntl.flock(users, fcntl.LOCK_UN)
        _await_guardian(users)


def _pair(folder: Path) -> RayPair:
    slot_file = folder / "slot"
    if not slot_file.exists():
        slot_file.write_text(str(_guarded_slot(folder)))
    return _clusters(folder, int(slot_file.read_text()))


def _clusters(folder: Path, slot: int) -> RayPair:
    def cluster(name: str, index: int, gpus: dict[str, int]) -> RayCluster:
        return RayCluster(
            name=name,
            folder=folder / name,
            address_ip=f"127.0.{100 + slot}.{1 + index}",
            port_base=_PORT_BASE + (_ROOM * slot + index) * PORTS,
            environ=os.environ,
            cpus=4,
            gpus=gpus,
        )

    return RayPair(first=cluster("first", 0, {"A10G": 1}), second=cluster("second", 1, {"H100": 2}))


def _guarded_slot(folder: Path) -> int:
    """Takes a free slot and hands it to a guardian, which keeps it until the clusters have ended."""
    slots = Path(tempfile.gettempdir()) / f"fed-ray-slots-{os.getuid()}"
    slots.mkdir(mode=0o700, exist_ok=True)
    slot = _free(slots / str(number) for number in range(_SLOTS))
    if slot is None:
        raise RuntimeError(f"{_SLOTS} test sessions with Ray clusters run on this machine already")
    with slot:
        number = int(Path(slot.name).name)
        _spawn_guardian(folder, number, slot.fileno())
    return number


def _spawn_guardian(folder: Path, slot: int, slot_lock: int) -> None:
    guardian = [sys.executable, "-m", "tests.ray_pair", str(folder), str(slot)]
    repository = Path(__file__).parent.parent
    # By way of a shell that goes away at once: init is to wait for it, for it outlives its maker.
    subprocess.run(
        ["sh", "-c", '"$@" &', "sh", *guardian], cwd=repository, pass_fds=(slot_lock,), start_new_session=True, check=True
    )
    deadline = time.monotonic() + 60
    while not (folder / "guarded").exists():
        if time.monotonic() > deadline:
            raise RuntimeError("the guardian of the Ray clusters did not start")
        time.sleep(0.05)


def _await_guardian(users: object) -> None:
    """Returns when the guardian has ended the clusters, or at once when others use them still."""
    time.sleep(0.5)
    fcntl.flock(users, fcntl.LOCK_SH)  # type: ignore[call-overload]


def _guard(folder: Path, slot: int) -> None:
    with (folder / "users").open("a") as users:
        (folder / "guarded").touch()
        fcntl.flock(users, fcntl.LOCK_EX)
        for cluster in _clusters(folder, slot).clusters:
            cluster.stop()
        for name in ("guarded", "slot"):
            (folder / name).unlink()


if __name__ == "__main__":
    _guard(Path(sys.argv[1]), int(sys.argv[2]))
