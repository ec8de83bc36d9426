"""The log of the SQL catalog: how events are read within bounds, and how its oldest part is let go of."""

from __future__ import annotations

import itertools
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from federation import failpoints
from federation.adapters import catalog_rows, sql_schema, sql_transaction
from federation.core.events import Event

_TABLE = sql_schema.events
_BYTES = (sa.func.length(_TABLE.c.body) + sa.func.length(_TABLE.c.data)).label("bytes")
_COUNTER = sql_schema.counters.c
_FLOOR = sa.select(_COUNTER.value).where(_COUNTER.name == sql_schema.FLOOR)


def floor(connection: sa.Connection) -> int:
    """Position up to which the log was trimmed."""
    position: int = connection.execute(_FLOOR).scalar_one()
    return position


def events(
    connection: sa.Connection,
    after: int,
    *,
    limit: int,
    kinds: frozenset[str],
    without: frozenset[str],
    facts_max: int,
    bytes_max: int,
) -> tuple[Event, ...]:
    """See `ports.EventLog.events`."""
    count = catalog_rows.checked_limit(limit)
    catalog_rows.check_floor(after, floor(connection))
    wanted = _wanted(min(after, catalog_rows.POSITION_MAX), kinds, without)
    if facts_max or bytes_max:  # sizes first: what is too much for the memory must not be read
        sizes = connection.execute(sa.select(_TABLE.c.rows, _BYTES).where(*wanted).order_by(_TABLE.c.position).limit(limit))
        count = catalog_rows.bounded(((row.rows, row.bytes) for row in sizes), facts_max, bytes_max)
    rows = connection.execute(sa.select(_TABLE).where(*wanted).order_by(_TABLE.c.position).limit(count)) if count else ()
    return tuple(_event(row) for row in rows)


def trim(connection: sa.Connection, until: int, before: datetime) -> int:
    """See `ports.EventLog.trim`."""
    newest = sa.select(_COUNTER.value).where(_COUNTER.name == sql_schema.EVENTS).scalar_subquery()
    oldest = sa.select(_TABLE.c.position, _TABLE.c.time).where(
        _TABLE.c.position <= min(until, catalog_rows.POSITION_MAX), _TABLE.c.position < newest
    )
    rows = connection.execute(oldest.order_by(_TABLE.c.position).limit(catalog_rows.TRIM_MAX))
    old = tuple(itertools.takewhile(lambda row: datetime.fromisoformat(row.time) < before, rows.all()))
    if old:
        last = old[-1].position
        connection.execute(sa.delete(_TABLE).where(_TABLE.c.position <= last))
        failpoints.hit("log.trimmed")
        connection.execute(sa.update(sql_schema.counters).where(_COUNTER.name == sql_schema.FLOOR), {"value": last})
    return len(old)


def forget(connection: sa.Connection, before: datetime) -> int:
    """See `ports.EventLog.forget`."""
    table = sql_schema.requests
    old = sa.select(table.c.actor, table.c.key).where(table.c.time < sql_transaction.time_text(before))
    rows = connection.execute(old.order_by(table.c.time).limit(catalog_rows.TRIM_MAX)).all()
    if rows:
        this = sa.and_(table.c.actor == sa.bindparam("old_actor"), table.c.key == sa.bindparam("old_key"))
        connection.execute(sa.delete(table).where(this), [{"old_actor": row.actor, "old_key": row.key} for row in rows])
    return len(rows)


def _wanted(after: int, kinds: frozenset[str], without: frozenset[str]) -> list[sa.ColumnElement[bool]]:
    wanted = [_TABLE.c.position > after]
    if kinds:
        wanted.append(_TABLE.c.kind.in_(sorted(kinds)))
    if without:
        wanted.append(_TABLE.c.kind.not_in(sorted(without)))
    return wanted


def _event(row: sa.Row[*tuple[Any, ...]]) -> Event:
    return Event(
        position=row.position,
        time=datetime.fromisoformat(row.time),
        kind=row.kind,
        name=row.name,
        actor=row.actor,
        request_id=row.request_id,
        body=row.body,
        rows=row.rows,
        data=bytes(row.data),
    )
