"""Ledger and lineage in memory: the same rows as in Delta, for tests and first steps."""

from __future__ import annotations

import threading

import pyarrow as pa

from federation.adapters import records_tables
from federation.core.events import Event


class MemoryRecords:
    """A `ports.RecordSink` that forgets."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._events: dict[str, list[Event]] = {}

    def position(self, table: str) -> int:
        records_tables.table_of(table)
        with self._lock:
            return self._position(table)

    def append(self, table: str, events: tuple[Event, ...]) -> None:
        records_tables.to_arrow(table, events)  # what Delta would refuse is refused here as well
        with self._lock:
            last = self._position(table)
            self._events.setdefault(table, []).extend(event for event in events if event.position > last)

    def seal(self, table: str) -> None:
        records_tables.table_of(table)

    def tend(self, table: str) -> bool:
        records_tables.table_of(table)
        return False

    def probe(self) -> None:
        """Memory is honest."""

    def rows(self, table: str) -> pa.Table:
        """What the table holds."""
        with self._lock:
            return records_tables.to_arrow(table, self._events.get(table, ()))

    def _position(self, table: str) -> int:
        known = self._events.get(table)
        return known[-1].position if known else 0
