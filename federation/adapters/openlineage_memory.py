"""OpenLineage events kept in memory: for tests and first steps."""

from __future__ import annotations


class MemoryTransport:
    """A `ports.LineageTransport`; `events` are those that came, in order."""

    def __init__(self) -> None:
        self.events: list[str] = []

    def send(self, events: tuple[str, ...]) -> None:
        self.events.extend(events)
