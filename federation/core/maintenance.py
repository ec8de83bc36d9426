"""What may be done to the record's tables by an engine, and what is refused: protocols, merges, places of exports. Pure.

delta-rs appends to these tables, so they must stay what it can append to: reader version 1 and writer version 4 at most, and
none of the properties by which another engine would raise them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from federation.core import errors

READER_VERSION_MAX = 1
WRITER_VERSION_MAX = 4
#: Properties with which a Delta engine raises a table's protocol, and the value that leaves it as it is.
PLAIN_PROPERTIES: Mapping[str, str] = {
    "delta.enableDeletionVectors": "false",
    "delta.enableRowTracking": "false",
    "delta.enableInCommitTimestamps": "false",
    "delta.enableTypeWidening": "false",
    "delta.columnMapping.mode": "none",
    "delta.checkpointPolicy": "classic",
}


def check_protocol(table: str, reader_version: int, writer_version: int, properties: Mapping[str, str]) -> None:
    """FailedPrecondition (PROTOCOL_TOO_NEW) for a table that delta-rs and older engines would not take, or not for long."""
    odd = {key: value for key, value in properties.items() if PLAIN_PROPERTIES.get(key, value).lower() != value.lower()}
    if reader_version <= READER_VERSION_MAX and writer_version <= WRITER_VERSION_MAX and not odd:
        return
    why = ", ".join(f"{key}={value}" for key, value in sorted(odd.items()))
    raise errors.FailedPrecondition(
        f"table {table} is at reader version {reader_version} and writer version {writer_version}"
        + (f", with {why}" if why else ""),
        reason="PROTOCOL_TOO_NEW",
        help=f"Tables of the record stay at {READER_VERSION_MAX} and {WRITER_VERSION_MAX} at most, which every engine reads:"
        " copy its rows into a table without these features.",
        metadata={"table": table, "reader_version": str(reader_version), "writer_version": str(writer_version)},
    )


def check_may_change(table: str, properties: Mapping[str, str]) -> None:
    """FailedPrecondition (TABLE_APPEND_ONLY) for a table whose rows are never changed."""
    if properties.get("delta.appendOnly", "false").lower() == "true":
        raise errors.FailedPrecondition(
            f"table {table} is append-only: its rows are never changed",
            reason="TABLE_APPEND_ONLY",
            help="Post a correction: a new row that names the old one.",
            metadata={"table": table},
        )


def check_merge(
    table: str, columns: Sequence[str], given: Sequence[str], on: Sequence[str], keys: Iterable[tuple[Any, ...]]
) -> None:
    """InvalidArgument (MERGE_INVALID) unless the rows are the table's, have all its columns, and keys that tell them apart."""
    if not on or set(on) - set(columns):
        raise _merge_invalid(table, f"the keys {', '.join(on) or '(none)'} are not columns of it")
    if odd := set(given) ^ set(columns):
        raise _merge_invalid(table, f"the rows have not its columns: {', '.join(sorted(odd))} are missing or unknown")
    seen: set[tuple[Any, ...]] = set()
    for key in keys:
        if None in key:
            raise _merge_invalid(table, f"a row has no value for a key: {dict(zip(on, key, strict=True))}")
        if key in seen:
            raise _merge_invalid(table, f"two rows have the same keys: {dict(zip(on, key, strict=True))}")
        seen.add(key)


def check_order(table: str, columns: Sequence[str], partitions: Sequence[str], order_by: Sequence[str]) -> None:
    """InvalidArgument (COLUMN_UNKNOWN) unless rows can be sorted by these: columns of the table that do not partition it."""
    if odd := [name for name in order_by if name not in columns or name in partitions]:
        raise errors.InvalidArgument(
            f"rows of {table} cannot be sorted by {', '.join(odd)}",
            reason="COLUMN_UNKNOWN",
            help=f"Name columns of it: {', '.join(name for name in columns if name not in partitions)}.",
            violations={"order_by": f"{', '.join(odd)}: no column, or one that partitions the table"},
        )


def check_export(path: str, root: str) -> None:
    """InvalidArgument (EXPORT_INTO_RECORD) for a path at or under the record's own root; both absolute, or URLs."""
    if f"{path.rstrip('/')}/".startswith(f"{root.rstrip('/')}/"):
        raise errors.InvalidArgument(
            f"{path} lies in the record, under {root}",
            reason="EXPORT_INTO_RECORD",
            help="Export to another place: under the record's root only its committer and its maintenance write.",
            violations={"path": "must not be under the tables' root"},
        )


def _merge_invalid(table: str, what: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"rows cannot be merged into {table}: {what}",
        reason="MERGE_INVALID",
        help="Give each row once, with every column of the table.",
        metadata={"table": table},
    )


def table_missing(table: str, root: str) -> errors.NotFound:
    """What an engine says of a table that nothing was written to yet."""
    return errors.NotFound(
        f"there is no table {table} under {root}",
        reason="TABLE_MISSING",
        help="The committer makes it at its first start; check the place.",
        metadata={"table": table},
    )


def query_too_slow(seconds: float) -> errors.DeadlineExceeded:
    """What an engine says of a query that it gave up."""
    return errors.DeadlineExceeded(
        f"the query took longer than {seconds:g} s",
        reason="QUERY_TOO_SLOW",
        help="Ask for less: fewer days (`day >= ...` reads fewer files), fewer columns; or compact the table.",
    )


def query_too_large() -> errors.ResourceExhausted:
    """What an engine says of a query that takes more memory than it may."""
    return errors.ResourceExhausted(
        "the query needs more memory than it may take",
        reason="QUERY_TOO_LARGE",
        help="Ask for less at a time, or have Spark compute it: `fed sql --engine spark`.",
    )


def export_exists(path: str) -> errors.AlreadyExists:
    """What an engine says of a place that something lies at."""
    return errors.AlreadyExists(
        f"there is something at {path}", reason="EXPORT_EXISTS", help="Choose a new place: an export overwrites nothing."
    )


def sql_invalid(message: str) -> errors.InvalidArgument:
    """What an engine says of a query that it cannot plan or compute."""
    return errors.InvalidArgument(
        f"the query cannot be answered: {message}",
        reason="SQL_INVALID",
        help="Check its tables and columns: `select * from egress_ledger limit 1` shows them.",
        violations={"sql": message},
    )
