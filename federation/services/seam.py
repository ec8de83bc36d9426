"""Where tables and log are joined: a table holds all that is its own up to a position, the log what came after."""

from __future__ import annotations

from collections.abc import Iterable

from federation import ports
from federation.core import errors


def position(engine: ports.RecordEngine | None, table: str) -> int:
    """The position up to which a table holds every fact of its own, 0 without tables."""
    if engine is None:
        return 0
    try:
        found = engine.query(f"SELECT MAX(position) AS position FROM {table}")  # noqa: S608 - our own name
    except errors.NotFound:
        return 0
    return found.column("position")[0].as_py() or 0


def seam(
    catalog: ports.Catalog,
    engine: ports.RecordEngine | None,
    table: str,
    *,
    kinds: Iterable[str] = (),
    without: Iterable[str] = (),
) -> int:
    """The position where table and log are joined. `kinds` or `without` say which events are the table's."""
    upto = position(engine, table)
    try:
        catalog.events(upto, limit=1, kinds=kinds, without=without)
    except errors.OutOfRange as trimmed:
        # Trimmed is what all tables hold for good. Their last fact may be far below: others came after it.
        return max(position(engine, table), int(trimmed.metadata["floor"]))
    return upto
