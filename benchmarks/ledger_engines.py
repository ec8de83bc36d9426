"""Monthly chargeback over the ledger: the embedded engine against Spark, at 1, 10 and 50 million rows, and where they cross.

Both answer the same SQL (`core/analyses.py`: by namespace and month, with corrections) over the same Delta table, which
delta-rs has written: three years, three days of each month, a file of at most 2 million rows for each. Columns that the
question does not read are the same in all rows. Spark runs on this machine (`local[*]`); its start is told apart, since a
cluster that is there already does not pay it. Answers are compared to the micro-dollar before anything is shown.

Run: python -m benchmarks.ledger_engines [--rows 1000000 10000000 50000000]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from deltalake import DeltaTable, write_deltalake

from federation import config, ports
from federation.adapters import records_tables
from federation.bootstrap import engine as bootstrap
from federation.core import analyses, errors

LEDGER = "egress_ledger"
ROWS = (1_000_000, 10_000_000, 50_000_000)
_MONTHS = tuple((year, month) for year in (2024, 2025, 2026) for month in range(1, 13))
_DAYS = (5, 15, 25)
_BATCH = 2_000_000
_NAMESPACES = 200
_CORRECTED = 0.002


@dataclass(frozen=True)
class Times:
    """Seconds of one engine at one size: its first answer, and the best of those after it."""

    rows: int
    first: float
    best: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", type=int, nargs="*", default=list(ROWS), help="sizes of the ledger")
    parser.add_argument("--rounds", type=int, default=3, help="answers of each engine at each size, taken in turn")
    parser.add_argument("--folder", type=Path, help="where the tables are made; default: a temporary folder")
    parser.add_argument("--memory", type=int, default=4, help="GiB that Spark's driver may take")
    options = parser.parse_args()
    print(f"load {os.getloadavg()[0]:.1f} at the start")
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        spark, began = _spark(Path(folder), options.memory)
        measured: dict[str, list[Times]] = {"embedded": [], "Spark": []}
        for rows in options.rows:
            root = Path(folder) / str(rows)
            seconds = write(root, rows)
            size = sum(path.stat().st_size for path in root.rglob("*.parquet"))
            print(f"{rows:,} rows written in {seconds:.0f} s, {size / 1e6:,.0f} MB, load {os.getloadavg()[0]:.1f}", flush=True)
            for name, times in compare(root, spark, options.rounds).items():
                measured[name].append(Times(rows=rows, first=times[0], best=min(times[1:] or times)))
        show(measured, began)


def write(root: Path, rows: int) -> float:
    """Writes a ledger of that many rows; the seconds that it took."""
    began = time.perf_counter()
    random = np.random.default_rng(rows)
    days = [date(year, month, day) for year, month in _MONTHS for day in _DAYS]
    path = str(root / LEDGER)
    schema = records_tables.table_of(LEDGER).schema
    DeltaTable.create(path, schema, partition_by=["day"], configuration={"delta.appendOnly": "true"})
    position = 0
    for number, day in enumerate(days):
        left = rows * (number + 1) // len(days) - rows * number // len(days)
        while left:
            count = min(left, _BATCH)
            write_deltalake(path, batch(schema, random, day, position, count), mode="append")
            position, left = position + count, left - count
    return time.perf_counter() - began


def batch(schema: pa.Schema, random: np.random.Generator, day: date, position: int, count: int) -> pa.Table:
    """Rows of one day: namespaces as uneven as in life, charges to the micro-dollar, two in a thousand of them corrections."""
    namespaces = pa.array([f"team-{number:03}" for number in range(_NAMESPACES)])
    charge = random.integers(0, 5_000_000, count)
    corrected = random.random(count) < _CORRECTED
    charge[corrected] *= -1
    micros = pa.array(charge, pa.int64())
    avoided = pa.array(random.integers(0, 9_000_000, count), pa.int64(), mask=random.random(count) < 0.5)
    known = {
        "position": pa.array(np.arange(position + 1, position + count + 1), pa.int64()),
        "namespace": namespaces.take(pa.array((random.random(count) ** 3 * _NAMESPACES).astype(np.int32))),
        "month": _same(f"{day:%Y-%m}", pa.string(), count),
        "time": _same(datetime(day.year, day.month, day.day, 12, tzinfo=UTC), pa.timestamp("us", tz="UTC"), count),
        "bytes": pa.array(random.integers(0, 10**10, count), pa.int64()),
        "charge_micros": micros,
        "charge_usd": _dollars(micros),
        "avoided_micros": avoided,
        "corrects": pa.array(np.where(corrected, "e-00000000000000000000000001", "")),
        "day": _same(day, pa.date32(), count),
    }
    return pa.Table.from_arrays(
        [known.get(row.name, _same(_DEFAULTS.get(row.type), row.type, count)) for row in schema], schema=schema
    )


_DEFAULTS = {
    pa.string(): "the same",
    pa.int64(): 1,
    pa.decimal128(38, 12): 0,
    pa.binary(): b"\0" * 32,
    pa.binary(32): b"\0" * 32,
}


def _same(value: object, type_: pa.DataType, count: int) -> pa.Array:
    return pa.repeat(pa.scalar(value, type_), count)


def _dollars(micros: pa.Array) -> pa.Array:
    return pc.divide(pc.cast(micros, pa.decimal128(26, 0)), pa.scalar(10**6, pa.decimal128(7, 0))).cast(pa.decimal128(38, 12))


def compare(root: Path, spark: ports.RecordEngine | None, rounds: int) -> dict[str, list[float]]:
    """Seconds of each answer of each engine, in turns; what they answer must be the same."""
    engines = {"embedded": bootstrap.engine(str(root), config.EngineSettings())}
    if spark is not None:
        spark._root = str(root)  # type: ignore[attr-defined] # one JVM for all sizes
        engines["Spark"] = spark
    times: dict[str, list[float]] = {name: [] for name in engines}
    answers: dict[str, pa.Table] = {}
    for _ in range(rounds):
        for name, engine in engines.items():
            answers[name], seconds = _timed(lambda engine=engine: engine.query(analyses.CHARGEBACK))
            times[name].append(seconds)
    first, *others = (answer.to_pylist() for answer in answers.values())
    if any(other != first for other in others):
        raise SystemExit("the engines do not agree")
    return times


def _timed(work: Callable[[], pa.Table]) -> tuple[pa.Table, float]:
    began = time.perf_counter()
    return work(), time.perf_counter() - began


def _spark(folder: Path, memory: int) -> tuple[ports.RecordEngine | None, float]:
    """Spark, started, and the seconds that it took; None where it cannot be had."""
    settings = config.EngineSettings(kind="spark", memory_bytes=memory * 1024**3)
    began = time.perf_counter()
    try:
        made = bootstrap.engine(str(folder), settings)
        made.query("SELECT 1 AS one")
    except errors.FederationError as error:
        print(f"without Spark: {error}")
        return None, 0.0
    return made, time.perf_counter() - began


def show(measured: dict[str, list[Times]], start_seconds: float) -> None:
    """The table, Spark's start, and from which size on Spark is the faster one."""
    print("\n| rows | engine | first answer | best after it |\n|---:|---|---:|---:|")
    for name, times in measured.items():
        for row in times:
            print(f"| {row.rows:,} | {name} | {row.first:.2f} s | {row.best:.2f} s |")
    embedded, spark = measured["embedded"], measured["Spark"]
    if not spark:
        return
    print(f"\nSpark's start with its first, empty answer: {start_seconds:.1f} s")
    for what, extra in (("a session that is there", 0.0), ("a session that must start", start_seconds)):
        print(f"crossover for {what}: {crossover(embedded, spark, extra)}")


def crossover(embedded: list[Times], spark: list[Times], extra: float) -> str:
    """The size from which on Spark is faster, on the lines through the first and the last size; or that there is none."""
    if len(embedded) < 2:
        return "needs two sizes"
    rows = embedded[-1].rows - embedded[0].rows
    slope_embedded = (embedded[-1].best - embedded[0].best) / rows
    slope_spark = (spark[-1].best - spark[0].best) / rows
    gap = spark[0].best + extra - embedded[0].best
    if gap <= 0:
        return f"below {embedded[0].rows:,} rows"
    if slope_spark >= slope_embedded:
        return (
            f"none on this machine: each million rows more takes the embedded engine {slope_embedded * 1e6:.3f} s"
            f" and Spark {slope_spark * 1e6:.3f} s"
        )
    return f"at about {embedded[0].rows + gap / (slope_embedded - slope_spark):,.0f} rows"


if __name__ == "__main__":
    main()
