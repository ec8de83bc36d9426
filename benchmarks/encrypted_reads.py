"""Encrypted reads through `fed://` against the same reads of plain files through the same file system, gateway and transport.

    python -m benchmarks.encrypted_reads [--megabytes 200] [--rounds 15]

The floor is the same code with one difference: its objects are the plain files, and its source copies where ours decrypts.
Gateway and reader are processes of their own, over TLS on loopback, which is much faster than any link between sites: the
share of decryption is as large here as it can be. Rounds alternate; a ratio is that of the best quarters.
"""

from __future__ import annotations

import argparse
import io
import multiprocessing
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from federation.core import dataset
from federation.crypto import layout, manifest
from federation.wire import data, objects
from federation.worker import environment, session
from federation.worker.filesystem import FedFileSystem

sys.path.insert(0, str(Path(__file__).parent.parent))
from tests.worker import gateway_stub

TARGETS = {"zstd Parquet": 0.90, "opaque": 0.90, "uncompressed Parquet": 0.75}


class PlainObject:
    """The floor: what is fetched is what is read, by the same steps out of the same stream."""

    def __init__(self, entry: dataset.FileEntry, fetch: objects.ObjectFetch) -> None:
        self.size, self.delay = entry.object_bytes, fetch.delay
        self._fetch = fetch

    def read_into(self, offset: int, target: memoryview) -> int:
        with self._fetch.streaming(offset, offset + len(target)):
            for start, stop in objects.steps(offset, len(target)):
                target[start:stop] = self._fetch(offset + start, stop - start)
        return len(target)


class PlainVersion(data.OpenedVersion):
    """A version whose objects were never encrypted."""

    def _source(self, entry):
        return PlainObject(entry, objects.ObjectFetch(self.gateway, self.input, entry))


def files(megabytes: int) -> dict[str, bytes]:
    rows = megabytes * 1_000_000 // 40
    rng = np.random.default_rng(1)
    table = pa.table(
        {
            "orderkey": np.arange(rows),
            "price": np.round(rng.gamma(2.0, 20_000, rows), 2),
            "quantity": rng.integers(1, 50, rows),
            "shipdate": pa.array(rng.integers(8000, 10500, rows).astype("int32")).cast(pa.date32()),
            "comment": pa.array([f"{a:x} {b:x}" for a, b in rng.integers(0, 1 << 20, (rows, 2))]),
        }
    )
    return {
        "zstd.parquet": parquet(table, "zstd"),
        "plain.parquet": parquet(table, "none"),
        "opaque.bin": random.Random(1).randbytes(megabytes * 1_000_000),
    }


def parquet(table: pa.Table, compression: str) -> bytes:
    sink = io.BytesIO()
    pa.parquet.write_table(
        table, sink, compression=compression, row_group_size=500_000, use_dictionary=["quantity", "shipdate"]
    )
    return sink.getvalue()


def serve(folder: Path, megabytes: int, pipe) -> None:
    """A gateway with each file twice: encrypted as the input `sealed`, plain as `bare`."""
    stub = gateway_stub.GatewayStub()
    content = files(megabytes)
    stub.add_input("sealed", "bench/sealed@1", content)
    stub.add_input("bare", "bench/bare@1", dict.fromkeys(content, b""))
    entries = {entry.path: entry for entry in manifest.decode(stub.inputs["bare"].manifest).files}
    for path, plain in content.items():
        entry = entries[path]
        stub.store._objects[layout.object_key(stub.uid, entry.generation, entry.object_id)] = plain
    with gateway_stub.serving(folder, stub) as served:
        pipe.send((served.target, served.ca, stub.token, {path: len(plain) for path, plain in content.items()}))
        pipe.recv()


def bare_version(opened: data.OpenedVersion, sizes: dict[str, int]) -> PlainVersion:
    """The plain objects behind the same classes. Their lengths are no container's, so no manifest could name them."""
    entries = tuple(
        dataset.FileEntry(**{**vars(entry), "object_bytes": sizes[entry.path], "file_bytes": sizes[entry.path]})
        for entry in opened.manifest.files
    )
    plain = dataset.Manifest(dataset_uid=opened.manifest.dataset_uid, files=entries)
    return PlainVersion(gateway=opened.gateway, input=opened.input, version=opened.version, manifest=plain, deks=opened.deks)


def read_opaque(fs: FedFileSystem, root: str) -> None:
    with fs.open(f"{root}/opaque.bin") as file:
        while file.read(1 << 20):
            pass


def read_table(fs: FedFileSystem, path: str) -> None:
    pa.parquet.read_table(path, filesystem=fs)


WORK: dict[str, Callable[[FedFileSystem, str], None]] = {
    "opaque": read_opaque,
    "zstd Parquet": lambda fs, root: read_table(fs, f"{root}/zstd.parquet"),
    "uncompressed Parquet": lambda fs, root: read_table(fs, f"{root}/plain.parquet"),
}


def measure(fs: FedFileSystem, forget: Callable[[], None], rounds: int) -> dict[str, tuple[float, float]]:
    """Seconds (sealed, bare) of each kind of work."""
    taken: dict[tuple[str, str], list[float]] = {}
    for _ in range(rounds):
        for name, work in WORK.items():
            for root in ("bench/sealed", "bench/bare"):
                forget()
                begin = time.perf_counter()
                work(fs, root)
                taken.setdefault((name, root), []).append(time.perf_counter() - begin)
    # The first round warms up. Of the others the best quarter counts: what is left out is what else the machine did.
    best = {key: statistics.mean(sorted(times[1:])[: max(1, len(times) // 4)]) for key, times in taken.items()}
    return {name: (best[name, "bench/sealed"], best[name, "bench/bare"]) for name in WORK}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    here, there = multiprocessing.get_context("spawn").Pipe()
    with tempfile.TemporaryDirectory() as folder:
        server = multiprocessing.get_context("spawn").Process(target=serve, args=(Path(folder), options.megabytes, there))
        server.start()
        try:
            target, ca, token, sizes = here.recv()
            inputs = tuple(environment.Binding(alias=name, dataset=f"bench/{name}", version=1) for name in ("sealed", "bare"))
            connection = environment.Connection(gateway=target, run=gateway_stub.RUN, ca=ca, token=token, inputs=inputs)
            opened = session.of(connection)

            def forget() -> None:
                sealed = opened.version("bench/sealed")
                opened._opened["bench/sealed"] = data.OpenedVersion(
                    gateway=sealed.gateway,
                    input=sealed.input,
                    version=sealed.version,
                    manifest=sealed.manifest,
                    deks=sealed.deks,
                )
                opened._opened["bench/bare"] = bare_version(opened.version("bench/bare"), sizes)

            report(measure(FedFileSystem(connection=connection), forget, options.rounds), sizes)
        finally:
            here.send("end")
            server.join()


def report(medians: dict[str, tuple[float, float]], sizes: dict[str, int]) -> None:
    of = {"opaque": "opaque.bin", "zstd Parquet": "zstd.parquet", "uncompressed Parquet": "plain.parquet"}
    print(f"{'work':<22}{'bytes':>12}{'plain MB/s':>12}{'fed:// MB/s':>13}{'ratio':>8}{'aim':>7}")
    for name, (sealed, bare) in medians.items():
        size = sizes[of[name]]
        speeds = f"{size / bare / 1e6:>12.0f}{size / sealed / 1e6:>13.0f}"
        print(f"{name:<22}{size:>12,}{speeds}{bare / sealed:>8.2f}{TARGETS[name]:>7.2f}")


if __name__ == "__main__":
    main()
