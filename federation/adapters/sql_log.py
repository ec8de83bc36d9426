"""The log of the SQL catalog: how events are read within bounds, and how its oldest part is let go of."""

from __future__ import annotations

import functools
import itertools
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from federation import failpoints
from federation.adapters import catalog_rows, sql_quick, sql_schema, sql_transaction
from federation.core.events import Event

_TABLE = sql_schema.events
_SIZES = (_TABLE.c.rows, sa.func.length(_TABLE.c.body) + sa.func.length(_TABLE.c.data))
_COUNTER = sql_schema.counters.c
_FLOOR = sa.select(_COUNTER.value).where(_COUNTER.name == sql_schema.FLOOR)


def floor(connection: sa.Connection) -> int:
    """Position up to which the log was trimmed."""
    ((position,),) = sql_quick.rows(connection, _FLOOR)
    return int(position)


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
    values = {"after": min(after, catalog_rows.POSITION_MAX), "this_limit": count}
    if facts_max or bytes_max:  # sizes first: what is too much for the memory must not be read
        sizes = sql_quick.rows(connection, _statement(kinds, without, _SIZES), values)
        values["this_limit"] = catalog_rows.bounded(sizes, facts_max, bytes_max)
    if not values["this_limit"]:
        return ()
    return tuple(_event(*row) for row in sql_quick.rows(connection, _statement(kinds, without, tuple(_TABLE.c)), values))


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


@functools.cache
def _statement(
    kinds: frozenset[str], without: frozenset[str], columns: tuple[sa.ColumnElement[Any], ...]
) -> sa.Select[tuple[Any, ...]]:
    """Built once for each of the few sets of kinds that are asked for."""
    of, limit = _TABLE.c.kind, sa.bindparam("this_limit", type_=sa.Integer)
    wanted = [_TABLE.c.position > sa.bindparam("after")]
    if kinds:
        wanted.append(of.in_(map(sa.literal, sorted(kinds))))
    if without:
        wanted.append(of.not_in(map(sa.literal, sorted(without))))
    return sa.select(*columns).where(*wanted).order_by(_TABLE.c.position).limit(limit)


def _event(  # noqa: PLR0917 - the columns of the table, in their order
    position: int, time: str, kind: str, name: str, actor: str, request_id: str, body: str, rows: int, data: bytes
) -> Event:
    return Event(
        position=position,
        time=datetime.fromisoformat(time),
        kind=kind,
        name=name,
        actor=actor,
        request_id=request_id,
        body=body,
        rows=rows,
        data=bytes(data),
    )
