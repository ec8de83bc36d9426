"""Writes the ledger as a FOCUS file, Parquet or CSV: in batches, so that memory stays small, and whole or not at all."""

from __future__ import annotations

import csv
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from federation.core import errors, focus
from federation.core.metering import LedgerEntry

FORMATS = ("parquet", "csv")
BATCH = 8192
_TYPES = {
    focus.Kind.STRING: pa.string(),
    focus.Kind.DECIMAL: pa.decimal128(38, focus.SCALE),
    focus.Kind.INTEGER: pa.int64(),
    focus.Kind.TIME: pa.timestamp("us", tz="UTC"),
    focus.Kind.JSON: pa.string(),
}


def write(entries: Iterable[LedgerEntry], path: Path, version: str, format_: str, terms: focus.Terms) -> int:
    """Writes entries in their order; returns how many. The file is there once it is whole; until then what was there stays.

    InvalidArgument (FORMAT_UNKNOWN) for what is neither `parquet` nor `csv`.
    """
    if format_ not in _WRITERS:
        raise errors.InvalidArgument(
            f"a FOCUS file cannot be {format_}", reason="FORMAT_UNKNOWN", help=f"Use one of {', '.join(FORMATS)}."
        )
    part = path.with_name(f".{path.name}.part")
    try:
        written = _WRITERS[format_](part, focus.columns(version), focus.rows(entries, version, terms))
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
    return written


def _schema(columns: Sequence[focus.Column]) -> pa.Schema:
    return pa.schema([pa.field(column.name, _TYPES[column.kind]) for column in columns])


def _parquet(path: Path, columns: Sequence[focus.Column], rows: Iterable[Sequence[Any]]) -> int:
    found, written = _schema(columns), 0
    with parquet.ParquetWriter(path, found, compression="zstd") as writer:
        for batch in _batches(rows):
            arrays = [pa.array(values, field.type) for field, values in zip(found, zip(*batch, strict=True), strict=True)]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=found))
            written += len(batch)
    return written


def _csv(path: Path, columns: Sequence[focus.Column], rows: Iterable[Sequence[Any]]) -> int:
    written = 0
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([column.name for column in columns])
        for row in rows:
            writer.writerow([column.text(value) for column, value in zip(columns, row, strict=True)])
            written += 1
    return written


_WRITERS: dict[str, Callable[[Path, Sequence[focus.Column], Iterable[Sequence[Any]]], int]] = {
    "parquet": _parquet,
    "csv": _csv,
}


def _batches(rows: Iterable[Sequence[Any]]) -> Iterator[list[Sequence[Any]]]:
    remaining = iter(rows)
    while batch := list(itertools.islice(remaining, BATCH)):
        yield batch
