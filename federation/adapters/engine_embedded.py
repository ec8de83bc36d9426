"""Computes over the record's tables inside a Python process: DataFusion, which comes with delta-rs, needs nothing beside it.

Its commits are safe beside the committer's: delta-rs puts a commit's file only where none is, on a disk as in an object store
with conditional puts, and looks into what came between. So putting files together here needs no lease.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

from federation.adapters import records_tables
from federation.adapters.records_opening import open_table
from federation.core import errors, maintenance, query
from federation.ports import Compaction, Exported, ExportFormat, Merged

#: What DataFusion's plan holds where a statement would do more than answer.
_EFFECTS = ("Dml:", "CopyTo:", "Create", "Drop", "SetVariable:", "Prepare:", "Execute:", "Deallocate:", "Transaction")
#: Columns that DataFusion hands over as views are handed on as what they view.
_VIEWS = {pa.string_view(): pa.string(), pa.binary_view(): pa.binary()}
#: What DataFusion says when its bound on memory is reached.
_TOO_LARGE = "Resources exhausted"
#: What it says when the query itself cannot be computed: a cast that fails, a division by zero.
_FAILS = ("Execution error", "Arrow error", "Divide by zero", "Cast error")


class DeltaFusionEngine:
    """A `ports.RecordEngine` over the tables under `root`: a folder, or a URL such as `s3://bucket/prefix` and its options.

    With `memory_bytes` a query that would take more fails (ResourceExhausted, QUERY_TOO_LARGE). `query`'s `seconds` are looked
    at whenever DataFusion hands over rows; where strangers ask, `engine_apart` ends a query that hands over none.
    """

    def __init__(
        self,
        root: str,
        storage_options: Mapping[str, str] | None = None,
        *,
        tables: Iterable[str] = tuple(records_tables.TABLES),
        memory_bytes: int | None = None,
    ) -> None:
        self._tables = frozenset(tables)
        self._root = str(Path(root).resolve()) if "://" not in root else root.rstrip("/")
        self._options = dict(storage_options or {}) or None
        self._memory_bytes = memory_bytes

    def query(self, sql: str, *, limit: int | None = None, seconds: float | None = None) -> pa.Table:
        until = None if seconds is None else time.monotonic() + seconds
        with self._translated():
            schema, batches = self._execute(sql)
            found: list[pa.RecordBatch] = []
            left = limit
            for batch in batches:
                if until is not None and time.monotonic() > until:
                    raise maintenance.query_too_slow(seconds or 0)
                found.append(batch if left is None else batch.slice(0, left))
                if left is not None:
                    left -= found[-1].num_rows
                    if not left:
                        break
            return pa.Table.from_batches(found, schema)

    def export(self, sql: str, path: str, format: ExportFormat) -> Exported:  # noqa: A002 - the port's word
        if "://" in path:
            raise errors.InvalidArgument(
                f"{path} is no file",
                reason="EXPORT_NOT_A_FILE",
                help="Name a file here, or let Spark export: `--engine spark`.",
            )
        target = Path(path).resolve()
        maintenance.check_export(str(target), _folder(self._root) or self._root)
        if target.exists():
            raise maintenance.export_exists(path)
        unfinished = target.with_name(f".{target.name}.unfinished")
        try:
            with self._translated():
                schema, batches = self._execute(sql)
                rows = _write(schema, batches, unfinished, format)
            unfinished.rename(target)
        finally:
            unfinished.unlink(missing_ok=True)
        return Exported(path=path, rows=rows, bytes=target.stat().st_size)

    def compact(self, table: str, *, order_by: tuple[str, ...] = ()) -> Compaction:
        with self._translated():
            handle = self._open_plain(table)
            columns = [field.name for field in handle.schema().fields]
            maintenance.check_order(table, columns, handle.metadata().partition_columns, order_by)
            done = handle.optimize.z_order(order_by) if order_by else handle.optimize.compact()
            added, removed = (
                json.loads(done[key]) if isinstance(done[key], str) else done[key] for key in ("filesAdded", "filesRemoved")
            )
            self._sync()
            return Compaction(
                table=table,
                version=handle.version(),
                files_added=done["numFilesAdded"],
                files_removed=done["numFilesRemoved"],
                bytes_added=added["totalSize"],
                bytes_removed=removed["totalSize"],
            )

    def merge(self, table: str, rows: pa.Table, on: tuple[str, ...]) -> Merged:
        with self._translated():
            handle = self._open_plain(table)
            maintenance.check_may_change(table, handle.metadata().configuration)
            columns = [field.name for field in handle.schema().fields]
            keys = zip(*(rows.column(key).to_pylist() for key in on if key in rows.column_names), strict=True)
            maintenance.check_merge(table, columns, rows.column_names, on, keys)
            same = " AND ".join(f"old.{_quoted(key)} = new.{_quoted(key)}" for key in on)
            others = [name for name in columns if name not in on]
            differs = " OR ".join(f"(old.{_quoted(name)} IS DISTINCT FROM new.{_quoted(name)})" for name in others)
            merger = handle.merge(rows, same, source_alias="new", target_alias="old")
            if others:
                merger = merger.when_matched_update_all(predicate=differs)
            done = merger.when_not_matched_insert_all().execute()
            self._sync()
            return Merged(
                table=table,
                version=handle.version(),
                rows_inserted=done["num_target_rows_inserted"],
                rows_updated=done["num_target_rows_updated"],
            )

    def close(self) -> None:
        """Nothing is left running between two calls."""

    def _execute(self, sql: str) -> tuple[pa.Schema, Iterator[pa.RecordBatch]]:
        """The answer as it comes. What the words let pass and the plan shows to be no query is refused as well."""
        asked = query.parse(sql)
        builder = QueryBuilder()
        if self._memory_bytes is not None:
            builder.execute(f"SET datafusion.runtime.memory_limit = '{self._memory_bytes // 1024}K'").read_all()
        missing: errors.NotFound | None = None
        for table in sorted(asked.names & self._tables):
            try:
                builder.register(table, self._open(table))
            except errors.NotFound as error:  # it may be the name of a column: the plan will tell
                missing = error
        try:
            _check_plan(builder, asked.sql)
            reader = pa.RecordBatchReader.from_stream(builder.execute(asked.sql))
        except DeltaError as error:
            if missing is not None:
                raise missing from error
            raise maintenance.sql_invalid(str(error).splitlines()[0]) from error
        schema = pa.schema([field.with_type(_VIEWS.get(field.type, field.type)) for field in reader.schema])
        return schema, (batch.cast(schema) for batch in reader)

    def _sync(self) -> None:
        """Brings a commit onto the disk; delta-rs does not, and an object store has done so by itself."""
        if _folder(self._root):
            os.sync()

    def _open(self, table: str) -> DeltaTable:
        try:
            return open_table(f"{self._root}/{table}", self._options)
        except TableNotFoundError:
            raise maintenance.table_missing(table, self._root) from None

    def _open_plain(self, table: str) -> DeltaTable:
        """A table that may be committed to: one that everything else that does so can still read."""
        handle = self._open(table)
        protocol = handle.protocol()
        maintenance.check_protocol(
            table, protocol.min_reader_version, protocol.min_writer_version, handle.metadata().configuration
        )
        return handle

    @contextmanager
    def _translated(self) -> Iterator[None]:
        """Turns what delta-rs, DataFusion and the storage raise inside into our errors."""
        try:
            yield
        except (DeltaError, OSError, pa.ArrowException) as error:
            if _TOO_LARGE in str(error):
                raise maintenance.query_too_large() from error
            if any(mark in str(error) for mark in _FAILS):
                raise maintenance.sql_invalid(str(error).splitlines()[0]) from error
            raise errors.Unavailable(
                f"tables under {self._root} cannot be read or written: {error}",
                reason="TABLES_UNAVAILABLE",
                help="Check that the place is there; the same call may go through later.",
            ) from error


def _check_plan(builder: QueryBuilder, sql: str) -> None:
    """Refuses what would do more than answer, by DataFusion's own plan of it."""
    if sql.split(None, 1)[0].upper() == "EXPLAIN":
        return  # what is explained is a query by its words, and DataFusion explains no explanation
    plan = pa.table(builder.execute(f"EXPLAIN {sql}").read_all()).to_pylist()
    logical = next((row["plan"] for row in plan if row["plan_type"] == "logical_plan"), "")
    if any(line.strip().startswith(_EFFECTS) for line in logical.splitlines()):
        raise errors.InvalidArgument(
            "the statement would change something", reason="SQL_NOT_A_QUERY", help="The record is only read here."
        )


_WRITERS: Mapping[str, Callable[..., Any]] = {"parquet": pyarrow.parquet.ParquetWriter, "csv": pyarrow.csv.CSVWriter}


def _write(schema: pa.Schema, batches: Iterable[pa.RecordBatch], path: Path, format_: ExportFormat) -> int:
    rows = 0
    with _WRITERS[format_](str(path), schema) as writer:
        for batch in batches:
            writer.write_batch(batch)
            rows += batch.num_rows
    return rows


def _folder(root: str) -> str | None:
    """The folder that a root is, None for an object store."""
    url = urlparse(root)
    return unquote(url.path) if url.scheme in ("", "file") else None


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
