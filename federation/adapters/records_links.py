"""Reads the chain of Delta tables: where a table's chain ends, and all rows in order of position, in bounded memory.

Never writes, and believes nothing that the table says of itself where a proof rests on it: what files claim about their rows
decides in which order they are read; if it is wrong, rows come out of order, and the chain does not hold.
"""

from __future__ import annotations

import dataclasses
import itertools
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import pyarrow.fs
import pyarrow.parquet as pq
from deltalake import DeltaTable
from deltalake.exceptions import DeltaError, TableNotFoundError

from federation.adapters import records_chain, records_tables
from federation.adapters.records_opening import open_table
from federation.core import chain, errors, events, records

#: Rows that are handed on at once.
BATCH = 10_000
#: What may wait in memory for rows that come before it; more lies in a temporary file.
WAITING_BYTES_MAX = 256 * 1024 * 1024
_NEVER = 2**63 - 1


class DeltaReader:
    """A `ports.RecordReader` of the Delta tables under `root`: a folder, or a URL and its options. Needs no catalog."""

    def __init__(self, root: str, storage_options: Mapping[str, str] | None = None) -> None:
        self._root = root.rstrip("/")
        self._options = dict(storage_options or {}) or None

    def links(self, table: str) -> Iterator[chain.Links]:
        records_tables.table_of(table)
        with _translated(table, self._root):
            handle = self._open(table)
            if handle is not None:
                yield from links(handle, table)

    def heads(self, table: str) -> Iterator[chain.SignedHead]:
        with _translated(events.AUDIT, self._root):
            handle = self._open(events.AUDIT)
            if handle is not None:
                yield from heads(handle, table)

    def _open(self, table: str) -> DeltaTable | None:
        try:
            return open_table(f"{self._root}/{table}", self._options)
        except TableNotFoundError:
            return None


@contextmanager
def _translated(table: str, root: str) -> Iterator[None]:
    """What Delta and the storage raise inside, as our errors."""
    try:
        yield
    except (DeltaError, pa.ArrowException) as error:
        raise errors.DataCorrupt(
            f"table {table} under {root} cannot be read: {error}",
            reason="TABLE_DAMAGED",
            help="Its log is damaged: restore it from a backup. What the table still proves can be told once it opens again.",
            metadata={"table": table},
        ) from error
    except OSError as error:
        raise errors.Unavailable(
            f"the tables under {root} cannot be reached: {error}", reason="TABLES_UNAVAILABLE", metadata={"table": table}
        ) from error


def last(handle: DeltaTable, table: str) -> chain.Head:
    """Where the table's chain ends: found by the statistics of its files, of which the newest one is read."""
    files = _files(handle)
    if not files.num_rows:
        return chain.Head(table=table, position=0, rows=0, chain=chain.genesis(table))
    dataset = handle.to_pyarrow_dataset()
    newest = pc.max(files.column("max.position")).as_py() if "max.position" in files.column_names else None
    if newest is None or files.column("max.position").null_count or files.column("num_records").null_count:
        positions = dataset.to_table(columns=["position"]).column("position")
        newest, rows = pc.max(positions).as_py(), len(positions)
    else:
        rows = pc.sum(files.column("num_records")).as_py()
    columns = [name for name in ("position", records_tables.CHAIN) if name in dataset.schema.names]
    (found,) = dataset.to_table(columns=columns, filter=ds.field("position") == newest).to_pylist()
    return chain.Head(table=table, position=newest, rows=rows, chain=found.get(records_tables.CHAIN) or chain.genesis(table))


def heads(handle: DeltaTable, table: str) -> Iterator[chain.SignedHead]:
    """The heads of a table that `audit` holds. What is no head is none: its row is judged by the chain."""
    wanted = (ds.field("kind") == events.HEAD_KIND) & pc.starts_with(ds.field("name"), f"recordHeads/{table}/")
    for batch in handle.to_pyarrow_dataset().to_batches(columns=["body"], filter=wanted):
        for body in batch.column("body").to_pylist():
            try:
                yield records.loads(chain.SignedHead, body)
            except (TypeError, ValueError):
                continue


def links(handle: DeltaTable, table: str, *, batch: int = BATCH) -> Iterator[chain.Links]:
    """All rows in order of position. A file that cannot be read is told as damage, and its rows are missing.

    Files are read as they are, not through a dataset of Delta's: that one takes a column's values from the log's statistics
    where these say that all are alike, and so does not see what somebody wrote into the file.
    """
    day_of = records_tables.table_of(table).day_of
    dataset = handle.to_pyarrow_dataset()
    schema = dataset.schema.remove(dataset.schema.get_field_index("day"))
    units, damage = _units(handle, dataset.filesystem)
    with tempfile.TemporaryDirectory(prefix="fed-verify-") as folder:
        waiting = _Waiting(Path(folder), batch)
        for number, unit in enumerate(units):
            try:
                rows = _conformed(_parquet(dataset.filesystem, unit.path).read_row_group(unit.group), schema)
            except (OSError, pa.ArrowException) as error:
                damage.append(_damaged(unit.path, unit.first, unit.last, error))
                continue
            damage += _wrong_day(rows, day_of, unit)
            waiting.add(rows)
            bound = units[number + 1].first if number + 1 < len(units) else _NEVER
            for ready in waiting.below(bound):
                yield _links(ready, tuple(damage))
                damage = []
    if damage:
        yield chain.Links(positions=(), rows=(), links=(), damage=tuple(damage))


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Unit:
    """What is read at once: one row group of a file, which says that its rows have positions `first` to `last`."""

    path: str
    day: date | None
    group: int
    first: int
    last: int


def _files(handle: DeltaTable) -> pa.Table:
    return pa.table(handle.get_add_actions(flatten=True))


def _parquet(filesystem: pa.fs.FileSystem, path: str) -> pq.ParquetFile:
    return pq.ParquetFile(filesystem.open_input_file(path))


def _units(handle: DeltaTable, filesystem: pa.fs.FileSystem) -> tuple[list[_Unit], list[chain.Finding]]:
    """All row groups by their first position, and the files that cannot be opened."""
    units: list[_Unit] = []
    damage = []
    for file in _files(handle).to_pylist():
        path, day = file["path"], file.get("partition.day")
        try:
            units += _groups(path, day, _parquet(filesystem, path))
        except (OSError, pa.ArrowException) as error:
            damage.append(_damaged(path, file.get("min.position") or 0, file.get("max.position") or 0, error))
    return sorted(units, key=lambda unit: (unit.first, unit.last)), damage


def _groups(path: str, day: date | None, file: pq.ParquetFile) -> Iterator[_Unit]:
    """The row groups of a file, by the statistics that stand in the file itself."""
    leaves = [file.metadata.schema.column(number).path for number in range(file.metadata.num_columns)]
    for group in range(file.metadata.num_row_groups):
        told = file.metadata.row_group(group).column(leaves.index("position")).statistics if "position" in leaves else None
        if told is not None and told.has_min_max:
            first, last = told.min, told.max
        else:  # whoever wrote this file kept none
            positions = file.read_row_group(group, columns=["position"]).column("position")
            first, last = pc.min(positions).as_py() or 0, pc.max(positions).as_py() or 0
        yield _Unit(path=path, day=day, group=group, first=first, last=last)


def _conformed(rows: pa.Table, schema: pa.Schema) -> pa.Table:
    """The rows with the table's columns: those that came after this file was written are empty."""
    columns = [
        rows.column(field.name).cast(field.type) if field.name in rows.column_names else pa.nulls(rows.num_rows, field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, names=schema.names)


def _damaged(path: str, first: int, last: int, error: Exception) -> chain.Finding:
    return chain.Finding(
        reason=str(chain.Wrong.FILE_DAMAGED),
        after_position=max(first - 1, 0),
        position=last,
        detail=f"{path} with positions {first} to {last} cannot be read: {error}",
    )


def _wrong_day(rows: pa.Table, day_of: str, unit: _Unit) -> list[chain.Finding]:
    """The first row that lies under another day than its own: no link covers the day, since it follows from the time."""
    days = rows.column(day_of).cast(pa.date32(), safe=False)
    wrong = rows.column("position").filter(pc.fill_null(pc.not_equal(days, pa.scalar(unit.day, pa.date32())), True))
    if not len(wrong):
        return []
    position = pc.min(wrong).as_py()
    return [
        chain.Finding(
            reason=str(chain.Wrong.DAY_WRONG),
            after_position=position - 1,
            position=position,
            detail=f"the row at {position} lies under {unit.day}, which is not the day of its {day_of}",
        )
    ]


def _links(rows: pa.Table, damage: tuple[chain.Finding, ...]) -> chain.Links:
    there = records_tables.CHAIN in rows.column_names
    return chain.Links(
        positions=rows.column("position").to_pylist(),
        rows=records_chain.canonical(rows),
        links=rows.column(records_tables.CHAIN).to_pylist() if there else [None] * rows.num_rows,
        damage=damage,
    )


def _sorted(rows: pa.Table) -> pa.Table:
    """Rows in order of position; mostly they are already."""
    positions = rows.column("position").to_numpy()
    in_order = bool((positions[1:] > positions[:-1]).all())
    return (rows if in_order else rows.sort_by("position")).combine_chunks()


class _Run:
    """Rows in order of position, of which some were handed on already."""

    def __init__(self, rows: pa.Table, *, spilled: bool) -> None:
        self.rows = rows
        self.spilled = spilled
        self.positions: np.ndarray = rows.column("position").combine_chunks().to_numpy()
        self.at = 0

    def upto(self, bound: int) -> pa.Table:
        """The next rows, up to that position."""
        start, self.at = self.at, int(np.searchsorted(self.positions, bound, side="right"))
        return self.rows.slice(start, self.at - start)


class _Waiting:
    """Rows that were read and wait for others to come before them: few, unless compaction has put far positions together."""

    def __init__(self, folder: Path, batch: int) -> None:
        self._folder = folder
        self._batch = batch
        self._runs: list[_Run] = []
        self._files = itertools.count()

    def add(self, rows: pa.Table) -> None:
        """Takes rows in any order."""
        ordered = _sorted(rows)
        held = sum(run.rows.nbytes for run in self._runs if not run.spilled)
        spilled = held + ordered.nbytes > WAITING_BYTES_MAX
        self._runs.append(_Run(self._spill(ordered) if spilled else ordered, spilled=spilled))

    def below(self, bound: int) -> Iterator[pa.Table]:
        """All rows below a position, in order, a batch at a time."""
        while live := [run for run in self._runs if run.at < len(run.positions) and run.positions[run.at] < bound]:
            share = max(self._batch // len(live), 1)
            upto = min(int(run.positions[min(run.at + share, len(run.positions)) - 1]) for run in live)
            parts = [run.upto(min(upto, bound - 1)) for run in live]
            yield _sorted(pa.concat_tables(parts)) if len(parts) > 1 else parts[0]
        self._runs = [run for run in self._runs if run.at < len(run.positions)]

    def _spill(self, rows: pa.Table) -> pa.Table:
        """The same rows, lying in a file: the system keeps of it in memory what it has room for."""
        path = self._folder / f"{next(self._files)}.arrow"
        with pa.OSFile(str(path), "wb") as file, pa.ipc.new_file(file, rows.schema) as writer:
            writer.write_table(rows)
        return pa.ipc.open_file(pa.memory_map(str(path))).read_all()
