"""Bytes a second of `client.put` and of an ingest, against `cp` and SHA-256 of the same files in the same run.

The floor is what any keeper of files does at least: copy them and know their digest (`cp -r`, then SHA-256 of each file by
hashlib, one after the other). A put encrypts here, sends over TLS on loopback to the site's gateway, which hashes and stores;
an ingest is encrypted by the agent where it lies. Both sync their objects to the disk; so does the floor at its end. Each
round gets files that nobody has seen, and a dataset of its own.

Run: python -m benchmarks.put_ingest [--megabytes 1000]
"""

from __future__ import annotations

import argparse
import hashlib
import os
import random
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from federation.client import Client
from federation.core import job
from tests import localfed

MB = 1_000_000
#: Bytes of each file of a kind, and the part of the data that is of that kind.
KINDS = {"few big files": (125 * MB, 1.0), "many small files": (100_000, 0.2)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--megabytes", type=int, default=1000, help="of the big files; the small ones are a fifth of it")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        federation = localfed.LocalFederation(
            folder=folder / "f", compute={"us-1": None}, sources=(f"file:{folder}/lake",), settings={"lease_seconds": "60"}
        )
        with localfed.running(federation), federation.client() as client:
            for kind, (file_bytes, share) in KINDS.items():
                report(kind, *measure(client, folder, file_bytes, int(options.megabytes * share) * MB, options.rounds))


def measure(client: Client, folder: Path, file_bytes: int, total: int, rounds: int) -> tuple[int, int, dict[str, list[float]]]:
    """Files, bytes, and seconds of each way."""
    lake = folder / "lake"
    taken: dict[str, list[float]] = {}
    ways: dict[str, Callable[[str], None]] = {
        "cp + sha256 (floor)": lambda _: floor(lake, folder / "copy"),
        "put": lambda name: put(client, name, lake),
        "ingest": lambda name: ingest(client, name, lake),
    }
    for turn in range(rounds):
        shutil.rmtree(lake, ignore_errors=True)
        count = fill(lake, file_bytes, total, seed=turn)
        for way, work in ways.items():
            begin = time.perf_counter()
            work(f"bench/{way.split()[0]}-{file_bytes}-{turn}")
            taken.setdefault(way, []).append(time.perf_counter() - begin)
        shutil.rmtree(folder / "copy")
    return count, total, taken


def fill(lake: Path, file_bytes: int, total: int, seed: int) -> int:
    """Random files, written to the disk; returns how many."""
    rng = random.Random(seed)
    lake.mkdir()
    count = total // file_bytes
    for number in range(count):
        (lake / f"{number:06}.bin").write_bytes(rng.randbytes(file_bytes))
    os.sync()
    return count


def floor(lake: Path, copy: Path) -> None:
    subprocess.run(["cp", "-r", lake, copy], check=True)
    for path in sorted(copy.iterdir()):
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
    os.sync()


def put(client: Client, name: str, lake: Path) -> None:
    client.put(name, lake, site="us-1")


def ingest(client: Client, name: str, lake: Path) -> None:
    request = job.JobRequest(
        kind=job.JobKind.INGEST,
        outputs=(job.OutputSpec(alias="data", dataset=name),),
        sites=("us-1",),
        ingest_from=lake.as_uri(),
    )
    ended = client.wait(client.submit(request).job, 600)
    assert ended.state is job.JobState.SUCCEEDED, ended


def report(kind: str, count: int, total: int, taken: dict[str, list[float]]) -> None:
    print(f"{kind}: {count} files, {total:,} bytes, median of {len(taken['put'])}; load {os.getloadavg()[0]:.1f}")
    base = statistics.median(taken["cp + sha256 (floor)"])
    for way, seconds in taken.items():
        middle = statistics.median(seconds)
        print(f"  {way:<22}{total / middle / 1e6:>8.0f} MB/s{count / middle:>10.0f} files/s{base / middle:>8.2f} of the floor")


if __name__ == "__main__":
    main()
