"""The record's tables as SQL, inside this process: DataFusion reads the Delta tables that the committer writes. Read-only."""

from __future__ import annotations

import re
from collections.abc import Mapping

import pyarrow as pa
from deltalake import DeltaTable, QueryBuilder
from deltalake.exceptions import DeltaError, TableNotFoundError

from federation.adapters import records_tables
from federation.core import errors


class DeltaFusionEngine:
    """A `ports.RecordEngine` over the tables under `root`: a folder, or a URL such as `s3://bucket/prefix` and its options."""

    def __init__(self, root: str, storage_options: Mapping[str, str] | None = None) -> None:
        self._root = root.rstrip("/")
        self._options = dict(storage_options or {}) or None

    def query(self, sql: str, *, limit: int | None = None) -> pa.Table:
        builder = QueryBuilder()
        try:
            for name in records_tables.TABLES:
                if re.search(rf"\b{name}\b", sql):
                    builder.register(name, self._table(name))
            found = pa.table(builder.execute(sql).read_all())
        except (DeltaError, OSError, pa.ArrowException) as error:
            raise errors.Unavailable(
                f"the tables under {self._root} cannot be read: {error}",
                reason="TABLES_UNAVAILABLE",
                help="Check that the place is there and readable.",
            ) from error
        return found if limit is None else found.slice(0, limit)

    def _table(self, name: str) -> DeltaTable:
        try:
            return DeltaTable(f"{self._root}/{name}", storage_options=self._options)
        except TableNotFoundError:
            raise errors.NotFound(f"there is no table {name} under {self._root} yet", reason="TABLE_MISSING") from None
