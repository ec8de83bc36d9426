"""What a Parquet file's footer says of its columns. Values only."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class ColumnStatistics:
    """What is said of one column, over all row groups of a file; None and '' where nothing is.

    `least` and `greatest` are values as text, empty for a `masked` column, which the data card calls sensitive.
    """

    column: str
    type: str
    stored_bytes: int
    nulls: int | None = None
    least: str = ""
    greatest: str = ""
    masked: bool = False


@dataclass(frozen=True, kw_only=True)
class FileStatistics:
    """The schema of one Parquet file, with what its footer says of each column. `received_bytes` were read for it."""

    version: str
    path: str
    rows: int
    row_groups: int
    columns: tuple[ColumnStatistics, ...]
    received_bytes: int
