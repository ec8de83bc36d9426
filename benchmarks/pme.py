"""Columns sealed by classes against plain Parquet: the same table, written and read in memory, in turns in one run.

    python -m benchmarks.pme [--rows 1000000] [--rounds 9]

`sealed` is Parquet by Parquet Modular Encryption alone, `whole` has the container around it, as a job reads it.
`closed` reads the columns of class `default` where the others are closed, against the same columns of the plain file.
"""

from __future__ import annotations

import argparse
import io
import time
from collections.abc import Callable
from datetime import timedelta
from typing import BinaryIO, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from federation.core import columns
from federation.crypto import container, modular
from federation.wire.readahead import FileReader

UID, GENERATION = "d-people", "g-" + "0" * 26
DEKS = {"default": b"\1" * 32, "pii": b"\2" * 32}
CLASSES = columns.parse(["pii=email,ssn"])
OPEN = ["id", "amount"]


def table(rows: int) -> pa.Table:
    """Two columns that are open and two of class pii, which compress about as people's data does."""
    random = np.random.default_rng(7)
    numbers = random.integers(0, 10**9, rows)
    return pa.table(
        {
            "id": np.arange(rows),
            "amount": random.normal(size=rows),
            "email": [f"person-{number}@example.org" for number in numbers],
            "ssn": [f"{number:09}" for number in numbers],
        }
    )


def holder(*classes: str) -> modular.Keyholder:
    """Who has the DEKs of these classes."""
    return modular.Keyholder(UID, GENERATION, {name: DEKS[name] for name in classes}, lifetime=timedelta(minutes=5))


def plain(data: pa.Table) -> bytes:
    """As Parquet."""
    sink = io.BytesIO()
    pq.write_table(data, sink, row_group_size=modular.BATCH_ROWS)
    return sink.getvalue()


def sealed(data: pa.Table) -> bytes:
    """With its columns sealed."""
    sink = io.BytesIO()
    holder("default", "pii").write(data, sink, CLASSES, row_group_rows=modular.BATCH_ROWS)
    return sink.getvalue()


class Whole:
    """A sealed file in its container, read by range as a gateway's client reads it."""

    def __init__(self, content: bytes) -> None:
        self._context = container.context(UID, GENERATION, "o-" + "0" * 26)
        sealer = container.Sealer(DEKS["default"], self._context)
        self._object = sealer.update(content) + sealer.finalize()
        self._commitment = sealer.commitment

    def read(self) -> pa.Table:
        """All columns."""
        reader = container.RangedReader(
            DEKS["default"],
            self._context,
            object_bytes=len(self._object),
            commitment=self._commitment,
            fetch=lambda offset, length: self._object[offset : offset + length],
        )
        return holder("default", "pii").open(cast("BinaryIO", FileReader(reader)), CLASSES).read()


def rounds(works: dict[str, Callable[[], object]], count: int) -> dict[str, float]:
    """Seconds that each takes, the best of so many turns: what else the machine does only adds."""
    taken: dict[str, list[float]] = {name: [] for name in works}
    for _ in range(count):
        for name, work in works.items():
            begin = time.perf_counter()
            work()
            taken[name].append(time.perf_counter() - begin)
    return {name: min(each) for name, each in taken.items()}


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--rounds", type=int, default=9)
    asked = parser.parse_args()
    data = table(asked.rows)
    bare, by_class = plain(data), sealed(data)
    whole = Whole(by_class)
    assert whole.read().equals(data)
    closed = {
        "plain, open columns": lambda: pq.ParquetFile(io.BytesIO(bare)).read(columns=OPEN),
        "closed": lambda: holder("default").open(io.BytesIO(by_class), CLASSES).read(),
    }
    found = rounds(
        {
            "write plain": lambda: plain(data),
            "write sealed": lambda: sealed(data),
            "read plain": lambda: pq.ParquetFile(io.BytesIO(bare)).read(),
            "read sealed": lambda: holder("default", "pii").open(io.BytesIO(by_class), CLASSES).read(),
            "read whole": whole.read,
            **closed,
        },
        asked.rounds,
    )
    print(f"{asked.rows:,} rows, {data.nbytes / 1e6:.0f} MB in memory; plain {len(bare):,} bytes, sealed {len(by_class):,}")
    for name, floor in (
        ("write sealed", "write plain"),
        ("read sealed", "read plain"),
        ("read whole", "read plain"),
        ("closed", "plain, open columns"),
    ):
        ratio = found[floor] / found[name]
        print(f"{name:14} {found[name] * 1000:7.0f} ms   {floor:20} {found[floor] * 1000:7.0f} ms   ratio {ratio:.2f}")


if __name__ == "__main__":
    main()
