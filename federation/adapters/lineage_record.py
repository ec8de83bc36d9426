"""Lineage as columns, for the index: read from the Delta tables, and from events that are not in them yet, by the same way.

Reads only, and from handles of its own: the committer is not disturbed. Files that hold nothing new are not opened.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterable, Mapping

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from federation.adapters import records_tables
from federation.adapters.records_memory import MemoryRecords
from federation.adapters.records_opening import check, open_table
from federation.core import errors, lineage_graph
from federation.core.events import Event

_TEXTS = {
    "lineage_edges": (*lineage_graph.EDGE_TEXTS, *lineage_graph.EDGE_LISTS),
    "lineage_runs": lineage_graph.RUN_TEXTS,
}
_INTS = {"lineage_edges": lineage_graph.EDGE_INTS, "lineage_runs": lineage_graph.RUN_INTS}


class _Decoding:
    """What both makes of a `ports.LineageRecord` do with events."""

    def columns(self, table: str, events: Iterable[Event]) -> lineage_graph.Columns:
        return to_columns(table, records_tables.to_arrow(table, events))


class DeltaLineage(_Decoding):
    """A `ports.LineageRecord` of the Delta tables under `root`: a folder, or a URL and its options."""

    def __init__(self, root: str, storage_options: Mapping[str, str] | None = None) -> None:
        self._root = root.rstrip("/")
        self._options = dict(storage_options or {}) or None
        self._lock = threading.Lock()
        self._handles: dict[str, DeltaTable] = {}
        #: Table -> its version when it was read last, and the position of its last row then.
        self._read: dict[str, tuple[int, int]] = {}

    def read(self, table: str, after: int) -> lineage_graph.Columns:
        with self._lock:
            return to_columns(table, self._rows(table, after))

    def _rows(self, table: str, after: int) -> pa.Table:
        try:
            opened = self._opened(table)
            version, last = self._read.get(table, (-1, 0))
            if opened.version() == version and last <= after:
                return _none(table)
            found = opened.to_pyarrow_dataset().to_table(columns=_wanted(table), filter=pc.field("position") > after)
            self._read[table] = opened.version(), max(after, pc.max(found["position"]).as_py() or 0)
        except TableNotFoundError:  # before the first commit
            return _none(table)
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise errors.Unavailable(
                f"table {table} under {self._root} cannot be read: {error}",
                reason="TABLES_UNAVAILABLE",
                help="Check that the place is there and readable; lineage answers again once it is.",
                metadata={"table": table},
            ) from error
        return found

    def _opened(self, table: str) -> DeltaTable:
        """The table as it is now. A handle that fails is not used again."""
        handle = self._handles.pop(table, None)
        if handle is None:
            handle = open_table(f"{self._root}/{table}", self._options)
        else:
            handle.update_incremental()
            check(handle, table)
        self._handles[table] = handle
        return handle


class MemoryLineage(_Decoding):
    """A `ports.LineageRecord` of tables in memory."""

    def __init__(self, tables: MemoryRecords) -> None:
        self._tables = tables

    def read(self, table: str, after: int) -> lineage_graph.Columns:
        rows = self._tables.rows(table)
        return to_columns(table, rows.filter(pc.greater(rows["position"], after)))


def to_columns(table: str, rows: pa.Table) -> lineage_graph.Columns:
    """Rows of a table, in the order of their positions, as columns of numbers and numbered texts."""
    positions = _ints(rows["position"])
    if not np.all(positions[1:] > positions[:-1]):
        order = np.argsort(positions, kind="stable")
        rows, positions = rows.take(pa.array(order)), positions[order]
    return lineage_graph.Columns(
        positions,
        {
            name: _coded(rows[name]) if pa.types.is_string(rows[name].type) else _coded_lists(rows[name])
            for name in _TEXTS[table]
        },
        {name: _ints(rows[name]) for name in _INTS[table]},
    )


def _none(table: str) -> pa.Table:
    return records_tables.table_of(table).schema.empty_table()


def _wanted(table: str) -> list[str]:
    return ["position", *_TEXTS[table], *_INTS[table]]


def _coded(column: pa.ChunkedArray) -> lineage_graph.Coded:
    coded = pc.fill_null(column, "").combine_chunks().dictionary_encode()
    if isinstance(coded, pa.ChunkedArray):
        coded = coded.combine_chunks()
    return lineage_graph.Coded(coded.dictionary.to_pylist(), coded.indices.to_numpy(zero_copy_only=False).astype(np.int32))


def _coded_lists(column: pa.ChunkedArray) -> lineage_graph.Coded:
    """Lists as JSON texts; most have nothing in them, and are not looked into."""
    numbers = np.zeros(len(column), dtype=np.int32)
    texts, known = [""], {"": 0}
    filled = np.flatnonzero(pc.fill_null(pc.list_value_length(column), 0).to_numpy())
    for row, items in zip(filled.tolist(), column.take(pa.array(filled)).to_pylist(), strict=True):
        text = json.dumps(items, ensure_ascii=False)
        numbers[row] = known.setdefault(text, len(texts))
        if len(known) > len(texts):
            texts.append(text)
    return lineage_graph.Coded(texts, numbers)


def _ints(column: pa.ChunkedArray) -> lineage_graph.Ints:
    # A timestamp that another engine wrote may have another unit.
    plain = column.cast(_MICROS) if pa.types.is_timestamp(column.type) else column
    figures: lineage_graph.Ints = pc.fill_null(plain.cast(pa.int64()), lineage_graph.UNKNOWN).to_numpy().astype(np.int64)
    return figures


_MICROS = pa.timestamp("us", tz="UTC")
