"""What SQL transactions stand on: how far the log is and which state each table is in, as of the moment that they see.

Transactions that are committed together stand on one ground, each on what the one before it has left; what they have emitted
is gathered here and written once, before the commit.
"""

from __future__ import annotations

import dataclasses
import secrets
from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa

from federation.adapters import sql_quick, sql_schema
from federation.core import kinds

#: The name of each table with its stamp. A table whose values are numbered has the number of the newest: that is right beside
#: servers of an older release, too, which may give it no stamp.
STAMPS = " UNION ALL ".join(
    (
        'SELECT "table", stamp FROM stamps',
        *(
            f"SELECT '{kind.table}', CAST(COALESCE(MAX(key), '0') AS BIGINT) FROM {kind.table}"  # noqa: S608 - our own names
            for kind in kinds.KINDS.values()
            if kind.numbered
        ),
    )
)
_STAMPS = sa.text(STAMPS)
_NUMBERED = frozenset(kind.table for kind in kinds.KINDS.values() if kind.numbered)
_SET_STAMPS = sa.text(
    'INSERT INTO stamps ("table", stamp) VALUES (:table, :stamp) ON CONFLICT ("table") DO UPDATE SET stamp = excluded.stamp'
)
_COUNTER = sa.select(sql_schema.counters.c.value).where(sql_schema.counters.c.name == sql_schema.EVENTS)
_SET_COUNTER = sa.text(f"UPDATE counters SET value = :value WHERE name = '{sql_schema.EVENTS}'")  # noqa: S608 - our own name
_INSERT_EVENTS = sa.insert(sql_schema.events)
_STAMP_BITS = 63


def stamps(connection: sa.Connection) -> dict[str, int]:
    """The stamp of each table, as the connection sees it now."""
    return dict(sql_quick.rows(connection, _STAMPS))


def position(connection: sa.Connection) -> int:
    """Position of the newest event that the connection sees."""
    ((newest,),) = sql_quick.rows(connection, _COUNTER)
    return int(newest)


@dataclasses.dataclass
class Ground:
    """`stamps` and `position` are None until somebody asks for them."""

    stamps: dict[str, int] | None = None
    position: int | None = None
    _fresh: dict[str, int] = dataclasses.field(default_factory=dict)
    _emitted: list[Mapping[str, Any]] = dataclasses.field(default_factory=list)

    def stamp(self, table: str) -> int:
        """The stamp of a table; 0 for one that was never changed. `stamps` must be there."""
        assert self.stamps is not None, "somebody has looked"
        return self._fresh.get(table) or self.stamps.get(table, 0)

    def leave(self, changed: Iterable[str], emitted: Iterable[Mapping[str, Any]], newest: int | None) -> None:
        """What a transaction hands on to the next: the tables that it has changed get new stamps, events wait to be written."""
        self._fresh.update({table: secrets.randbits(_STAMP_BITS) for table in changed})
        self._emitted += emitted
        self.position = self.position if newest is None else newest

    def write(self, connection: sa.Connection, announcement: sa.Executable | None = None) -> None:
        """Writes what was handed on. `announcement` is said where there are events."""
        statements: list[tuple[sa.Executable, list[Mapping[str, Any]]]] = []
        if self._emitted:
            statements += [(_INSERT_EVENTS, self._emitted), (_SET_COUNTER, [{"value": self.position}])]
        if self._fresh:
            stamps: list[Mapping[str, Any]] = [
                {"table": table, "stamp": self._fresh[table]} for table in sorted(self._fresh.keys() - _NUMBERED)
            ]
            statements.append((_SET_STAMPS, stamps))
        if self._emitted and announcement is not None:
            statements.append((announcement, [{}]))
        if statements:
            sql_quick.write(connection, statements)
