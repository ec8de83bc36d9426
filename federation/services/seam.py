"""Where the record's tables and the log behind them are joined: together they hold every fact of a kind, once."""

from __future__ import annotations

from collections.abc import Iterable

from federation import ports
from federation.core import errors


def position(engine: ports.RecordEngine | None, table: str) -> int:
    """The position up to which a table holds every fact that is its own; 0 without tables."""
    if engine is None:
        return 0
    try:
        found = engine.query(f"SELECT MAX(position) AS position FROM {table}")  # noqa: S608 - our own name
    except errors.NotFound:
        return 0
    return found.column("position")[0].as_py() or 0


def seam(log: ports.EventLog, engine: ports.RecordEngine | None, table: str, *kinds: str, without: Iterable[str] = ()) -> int:
    """The position where they are joined: the table holds every fact up to it, the log every one after it.

    Of these `kinds`, or of all but those `without`: of those that are the table's.
    """
    upto = position(engine, table)
    try:
        log.events(upto, limit=1, kinds=kinds, without=without)
    except errors.OutOfRange as trimmed:
        # Trimmed is what all tables hold for good. Their last fact may be far below: others came after it.
        return max(position(engine, table), int(trimmed.metadata["floor"]))
    return upto
