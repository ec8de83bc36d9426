"""Where the record's tables and the log behind them are joined: together they hold every fact of a kind, once."""

from __future__ import annotations

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


def seam(log: ports.EventLog, engine: ports.RecordEngine | None, table: str, kind: str) -> int:
    """The position where they are joined: the table holds every fact of the kind up to it, the log every one after it."""
    upto = position(engine, table)
    try:
        log.events(upto, limit=1, kinds=(kind,))
    except errors.OutOfRange as trimmed:
        # Trimmed is what all tables hold for good. Their last fact may be far below: others came after it.
        return max(position(engine, table), int(trimmed.metadata["floor"]))
    return upto
