"""A replica through two agents, every object verified, beside plain copies of the same files on the same disk.

    python -m benchmarks.replication [--megabytes 512] [--rounds 5]

The transfer goes over TLS on loopback from one process to another, is measured against the signed manifest before anything is
visible, is metered, journaled and resumable. Its peers do none of that: `cp` copies in the kernel and forces each file to disk
as a store must; `read+sha256+write` is what a verifying copier such as rclone does. They have a transfer's number of threads.
A transfer's time is the catalog's, from its start to its end, without the wait for its turn. Rounds alternate; the best quarter
counts.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent import futures
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
from federation.agent import fetching
from tests import localfed

#: Name, and how many files of how many bytes a megabyte of data makes.
SHAPES = {"one large file": 1 << 40, "files of 16 MiB": 16 << 20, "files of 256 KiB": 256 << 10}
PIECE = 1 << 20


def write_files(folder: Path, total: int, each: int) -> None:
    folder.mkdir()
    for number in range(max(1, total // each)):
        (folder / f"{number:06}.bin").write_bytes(os.urandom(min(each, total)))


def synced(target: Path) -> None:
    descriptor = os.open(target, os.O_RDONLY)
    os.fsync(descriptor)
    os.close(descriptor)


def copy(source: Path, target: Path) -> None:
    shutil.copyfile(source, target)
    synced(target)


def verified_copy(source: Path, target: Path) -> None:
    sha256 = hashlib.sha256()
    with source.open("rb", buffering=0) as reader, target.open("wb", buffering=0) as writer:
        while piece := reader.read(PIECE):
            sha256.update(piece)
            writer.write(piece)
        os.fsync(writer.fileno())
    sha256.hexdigest()


def timed_copy(one: Callable[[Path, Path], None], objects: Path, folder: Path) -> float:
    """Seconds to copy all objects of a store with so many threads as a transfer has lanes."""
    target = folder / "copy"
    target.mkdir()
    begin = time.perf_counter()
    with futures.ThreadPoolExecutor(fetching.Terms().lanes) as pool:
        files = [path for path in objects.rglob("*") if path.is_file()]
        list(pool.map(lambda path: one(path, target / path.name), files))
    seconds = time.perf_counter() - begin
    shutil.rmtree(target)
    return seconds


def timed_transfer(fed: localfed.LocalFederation, name: str) -> float:
    """Seconds of a transfer from eu-1 to us-1; the replica ends at once, so that the next one begins from nothing."""
    client = fed.client()
    asked = client.create_transfer(name, "us-1", keep_seconds=1)
    done = client.wait_transfer(asked.transfer, timeout=600)
    if str(done.state) != "SUCCEEDED" or done.reason:
        raise SystemExit(f"the transfer ended as {done.state}: {done.reason} {done.detail}")
    assert done.start_time is not None
    assert done.end_time is not None
    store = fed.layout.site("us-1") / "store"
    # Unlike a glob, a walk does not mind that folders vanish before it.
    localfed.until(lambda: not any(files for _, _, files in os.walk(store)), 120, "the replica to be dropped")
    return (done.end_time - done.start_time).total_seconds()


def measure(fed: localfed.LocalFederation, shape: str, total: int, rounds: int) -> dict[str, float]:
    """Best seconds of each way to copy one shape of data."""
    dataset = f"bench/{shape.replace(' ', '-').lower()}"
    folder = fed.folder / "data"
    write_files(folder, total, SHAPES[shape])
    fed.client().put(dataset, folder, site="eu-1")
    shutil.rmtree(folder)
    uid = fed.client().get_dataset(dataset).uid
    objects = fed.layout.site("eu-1") / "store" / "objects" / uid
    ways: dict[str, Callable[[], float]] = {
        "transfer": lambda: timed_transfer(fed, dataset),
        "cp": lambda: timed_copy(copy, objects, fed.folder),
        "read+sha256+write": lambda: timed_copy(verified_copy, objects, fed.folder),
    }
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            os.sync()
            taken[name].append(way())
    return {name: statistics.mean(sorted(times)[: max(1, len(times) // 4)]) for name, times in taken.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--shape", choices=list(SHAPES), action="append")
    options = parser.parse_args()
    total = options.megabytes << 20
    with tempfile.TemporaryDirectory() as folder:
        fed = localfed.LocalFederation(folder=Path(folder) / "f", compute={"eu-1": None, "us-1": None})
        with localfed.running(fed):
            print(f"{'data':<20}{'transfer MB/s':>15}{'cp MB/s':>10}{'copier MB/s':>13}{'of cp':>8}{'of copier':>11}")
            for shape in options.shape or SHAPES:
                best = measure(fed, shape, total, options.rounds)
                speeds = [total / best[name] / 1e6 for name in ("transfer", "cp", "read+sha256+write")]
                ratios = f"{speeds[0] / speeds[1]:>8.2f}{speeds[0] / speeds[2]:>11.2f}"
                print(f"{shape:<20}{speeds[0]:>15.0f}{speeds[1]:>10.0f}{speeds[2]:>13.0f}{ratios}", flush=True)


if __name__ == "__main__":
    main()
