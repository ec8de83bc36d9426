"""The matrix of who reads what whom has written, in which state: run against real engines, told in docs/interoperability.md."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import duckdb
import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder, write_deltalake

#: Everything that a record's table may hold, and a little more: what is nested, empty, large or exact.
SCHEMA = pa.schema(
    [
        pa.field("position", pa.int64(), nullable=False),
        pa.field("name", pa.string()),
        pa.field("time", pa.timestamp("us", tz="UTC")),
        pa.field("usd", pa.decimal128(38, 12)),
        pa.field("chain", pa.binary()),
        pa.field("columns", pa.list_(pa.struct([("source", pa.string()), ("bytes", pa.int64())]))),
        pa.field("tags", pa.map_(pa.string(), pa.string())),
        pa.field("day", pa.date32()),
    ]
)
READERS = ("delta-rs", "DataFusion", "DuckDB", "Spark")
_START = datetime(2026, 11, 22, 23, 59, 59, 999_999, tzinfo=UTC)


def rows(first: int, count: int) -> pa.Table:
    """Rows with these positions, on two days."""
    return pa.Table.from_pylist([_row(position) for position in range(first, first + count)], schema=SCHEMA)


def _row(position: int) -> dict[str, Any]:
    time = _START + timedelta(seconds=position % 2)
    empty = position % 3 == 0
    return {
        "position": position,
        "name": None if empty else f"n{position % 5}",
        "time": time,
        "usd": None if empty else Decimal(10**25 + position).scaleb(-12),
        "chain": bytes([position % 256]) * 32,
        "columns": [] if empty else [{"source": "a", "bytes": 2**53 + 1}, {"source": None, "bytes": None}],
        "tags": [] if empty else [("team", "sales"), ("none", None)],
        "day": date(time.year, time.month, time.day),
    }


@dataclass(frozen=True, kw_only=True)
class Cell:
    """One look: at which place, whose table, in which state, by whom; and what came of it."""

    place: str
    writer: str
    state: str
    reader: str
    result: str


@dataclass
class Matrix:
    """Fills the cells of one place. `spark` is a session, `options` are delta-rs's, `path` is how each calls a table."""

    place: str
    spark: Any
    root: str
    options: Mapping[str, str] = field(default_factory=dict)
    hadoop_root: str = ""
    cells: list[Cell] = field(default_factory=list)

    def look(self, table: str, writer: str, state: str, count: int) -> None:
        """Everyone reads the table, which holds that many rows."""
        expected = _plain(rows(0, count))
        for reader in READERS:
            try:
                result = "yes" if _plain(self._read(table, reader)) == expected else "other rows"
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the cell's text
                result = f"{type(error).__name__}: {str(error).splitlines()[0][:80]}"
            self.cells.append(Cell(place=self.place, writer=writer, state=state, reader=reader, result=result))

    def write(self, table: str, first: int, count: int, by: str) -> None:
        """Appends rows."""
        if by == "delta-rs":
            write_deltalake(
                f"{self.root}/{table}", rows(first, count), mode="append", partition_by=["day"], storage_options=self._options()
            )
        else:
            frame = self.spark.createDataFrame(rows(first, count))
            frame.write.format("delta").mode("append").partitionBy("day").save(self._hadoop(table))

    def optimize(self, table: str, by: str) -> None:
        """Puts its files together, along a Z-order."""
        if by == "delta-rs":
            self._open(table).optimize.z_order(["position"])
        else:
            self.spark.sql(f"OPTIMIZE delta.`{self._hadoop(table)}` ZORDER BY (position)").collect()

    def checkpoint(self, table: str, by: str) -> None:
        """Writes a checkpoint."""
        if by == "delta-rs":
            self._open(table).create_checkpoint()
        else:
            java = self.spark._jvm.org.apache.spark.sql.delta.DeltaLog
            java.forTable(self.spark._jsparkSession, self._hadoop(table)).checkpoint()

    def protocol(self, table: str) -> tuple[int, int]:
        """Reader and writer version, as delta-rs sees them."""
        found = self._open(table).protocol()
        return found.min_reader_version, found.min_writer_version

    def _read(self, table: str, reader: str) -> pa.Table:
        if reader == "Spark":
            return self.spark.read.format("delta").load(self._hadoop(table)).toArrow()
        handle = self._open(table)
        if reader == "delta-rs":
            return handle.to_pyarrow_table()
        if reader == "DataFusion":
            return pa.table(QueryBuilder().register("t", handle).execute("SELECT * FROM t").read_all())
        found = handle.to_pyarrow_dataset()
        with duckdb.connect() as connection:
            connection.execute("SET TimeZone = 'UTC'")
            return connection.register("t", found).sql("SELECT * FROM t").to_arrow_table()

    def _open(self, table: str) -> DeltaTable:
        return DeltaTable(f"{self.root}/{table}", storage_options=self._options())

    def _options(self) -> dict[str, str] | None:
        return dict(self.options) or None

    def _hadoop(self, table: str) -> str:
        return f"{self.hadoop_root or self.root}/{table}"


def fill_files(matrix: Matrix) -> None:
    """On files each may do everything, one after the other."""
    for writer, other in (("delta-rs", "Spark"), ("Spark", "delta-rs")):
        table = f"of-{writer}"
        for first in (0, 4):
            matrix.write(table, first, 4, writer)
        matrix.look(table, writer, "written", 8)
        matrix.optimize(table, other)
        matrix.look(table, writer, f"OPTIMIZE by {other}", 8)
        matrix.write(table, 8, 4, writer)
        matrix.checkpoint(table, other)
        matrix.look(table, writer, f"appended, checkpoint by {other}", 12)
        matrix.write(table, 12, 4, other)
        matrix.optimize(table, writer)
        matrix.checkpoint(table, writer)
        matrix.look(table, writer, f"appended by {other}, OPTIMIZE and checkpoint by {writer}", 16)


def fill_s3(matrix: Matrix) -> None:
    """In S3 only delta-rs commits to a table that it writes; Spark's own are written by Spark alone."""
    for first in (0, 4):
        matrix.write("of-delta-rs", first, 4, "delta-rs")
    matrix.look("of-delta-rs", "delta-rs", "written", 8)
    matrix.optimize("of-delta-rs", "delta-rs")
    matrix.checkpoint("of-delta-rs", "delta-rs")
    matrix.write("of-delta-rs", 8, 4, "delta-rs")
    matrix.look("of-delta-rs", "delta-rs", "OPTIMIZE and checkpoint by delta-rs, appended", 12)
    for first in (0, 4):
        matrix.write("of-Spark", first, 4, "Spark")
    matrix.look("of-Spark", "Spark", "written", 8)
    matrix.optimize("of-Spark", "Spark")
    matrix.checkpoint("of-Spark", "Spark")
    matrix.look("of-Spark", "Spark", "OPTIMIZE and checkpoint by Spark", 8)


def markdown(cells: list[Cell]) -> str:
    """The cells as a table: a row for each state, a column for each reader."""
    key: Callable[[Cell], tuple[str, str, str]] = lambda cell: (cell.place, cell.writer, cell.state)  # noqa: E731
    head = f"| place | written by | state | {' | '.join(f'read by {reader}' for reader in READERS)} |"
    lines = [head, "|---" * (3 + len(READERS)) + "|"]
    for (place, writer, state), group in itertools.groupby(cells, key=key):
        lines.append(f"| {place} | {writer} | {state} | {' | '.join(cell.result for cell in group)} |")
    return "\n".join(lines)


def _plain(table: pa.Table) -> list[dict[str, Any]]:
    """Rows without the differences that are not in the data: order, and how Python shows a time zone."""
    listed = table.select(SCHEMA.names).cast(SCHEMA).to_pylist()
    return sorted(listed, key=lambda row: row["position"])
