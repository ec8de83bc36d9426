"""One transaction of the SQL catalog: its statements, alike for SQLite and PostgreSQL. Others begin and end it."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from federation import ports
from federation.adapters import catalog_rows, sql_errors, sql_schema, sql_terms
from federation.adapters.catalog_rows import Row
from federation.core import errors, records
from federation.core.events import TABLE_OF_KIND
from federation.core.kinds import CommitterLease
from federation.core.terms import Query

T = TypeVar("T")
_COUNT_ROWS = {"preserve_rowcount": True}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Statements:
    """The statements on one table that never change, built once."""

    get: sa.Select[tuple[str]]
    insert: sa.TextClause
    replace: sa.Update
    replace_matching: sa.Update
    delete: sa.Delete
    delete_matching: sa.Delete


@functools.cache
def _statements(table: sa.Table) -> _Statements:
    this = table.c.key == sa.bindparam("this_key")
    matching = table.c.etag == sa.bindparam("this_etag")
    return _Statements(
        get=sa.select(table.c.body).where(this),
        insert=_insert_unless_there(table),
        replace=sa.update(table).where(this).execution_options(**_COUNT_ROWS),
        replace_matching=sa.update(table).where(this, matching).execution_options(**_COUNT_ROWS),
        delete=sa.delete(table).where(this).execution_options(**_COUNT_ROWS),
        delete_matching=sa.delete(table).where(this, matching).execution_options(**_COUNT_ROWS),
    )


@functools.cache
def _insert_unless_there(table: sa.Table) -> sa.TextClause:
    """A refused insert changes no row, but spoils no transaction either, which on PostgreSQL an error would.

    As text, because SQLAlchemy compiles its own kind of this statement anew each time, which takes longer than the insert.
    """
    names = table.columns.keys()
    columns, values = ", ".join(f'"{name}"' for name in names), ", ".join(f":{name}" for name in names)
    statement = f"INSERT INTO {table.name} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING"  # noqa: S608 - our own names
    return sa.text(statement).execution_options(**_COUNT_ROWS)


_COUNTER = sa.select(sql_schema.counters.c.value).where(sql_schema.counters.c.name == sql_schema.EVENTS)
_ANSWER = sa.select(sql_schema.requests.c.hash, sql_schema.requests.c.answer).where(
    sql_schema.requests.c.actor == sa.bindparam("actor"), sql_schema.requests.c.key == sa.bindparam("key")
)
_INSERT_EVENTS = sa.insert(sql_schema.events)
_SET_COUNTER = sa.update(sql_schema.counters).where(sql_schema.counters.c.name == sql_schema.EVENTS)


def revision(connection: sa.Connection) -> int:
    """Position of the newest event that the connection sees."""
    position: int = connection.execute(_COUNTER).scalar_one()
    return position


def time_text(time: datetime) -> str:
    """A time as it is stored: RFC 3339, UTC."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


class SqlTransaction:
    """A `ports.Transaction` on a connection that is in a transaction already.

    Events are numbered as they are emitted and written by `finish`, which the owner of the connection calls before the commit.
    What was read by its key, of kinds that are remembered, is not asked for again: nobody else's change shows inside a
    transaction, and each of its own is known.
    """

    def __init__(
        self,
        connection: sa.Connection,
        *,
        now: datetime,
        ids: ports.Ids,
        actor: str = "",
        request_id: str = "",
        writable: bool = True,
        backlog_facts_max: int = catalog_rows.BACKLOG_FACTS_MAX,
    ) -> None:
        self.now = now
        self.actor = actor
        self.request_id = request_id
        self._connection = connection
        self._dialect = connection.dialect.name
        self._ids = ids
        self._writable = writable
        self._backlog_facts_max = backlog_facts_max
        self._position: int | None = None
        self._read: dict[tuple[type, str], Any] = {}
        self._emitted: list[dict[str, Any]] = []
        self._failure: errors.FederationError | None = None
        self._finished = False

    def get(self, cls: type[T], key: str) -> T | None:
        if (cls, key) in self._read:
            known: T | None = self._read[cls, key]
            return known
        body = self._run(self._of(cls).get, {"this_key": catalog_rows.text(key)}).scalar_one_or_none()
        found = None if body is None else catalog_rows.to_value(cls, body)
        if catalog_rows.kind_of(cls).remembered:
            self._read[cls, key] = found
        return found

    def insert(self, value: T) -> T:
        stored, row = self._prepared(value)
        self._read.pop((type(value), row.key), None)
        if not self._change(self._of(type(value)).insert, _values(row)):
            raise catalog_rows.taken(type(value), row.key)
        self._index(stored, row.key)
        return stored

    def replace(self, value: T, *, etag: str = "") -> T:
        stored, row = self._prepared(value)
        self._read.pop((type(value), row.key), None)
        statements = self._of(type(value))
        statement = statements.replace_matching if etag else statements.replace
        # `key` is in WHERE alone: PostgreSQL then sees that no index on it changes.
        values = {name: item for name, item in _values(row).items() if name != "key"}
        if not self._change(statement, {**values, **_this(row.key, etag)}):
            raise self._refusal(type(value), row.key)
        self._index(stored, row.key)
        return stored

    def delete(self, cls: type, key: str, *, etag: str = "") -> None:
        self._check_writable()
        self._read.pop((cls, key), None)
        statements = self._of(cls)
        if not self._change(statements.delete_matching if etag else statements.delete, _this(key, etag)):
            raise self._refusal(cls, key)
        if catalog_rows.kind_of(cls).terms:
            sql_terms.remove(self._run, self._dialect, cls, key)

    def find(self, cls: type[T], query: Query, *, before: int = 0, limit: int = 1000) -> tuple[tuple[int, T], ...]:
        catalog_rows.checked_findable(cls)
        catalog_rows.checked_limit(limit)
        rows = sql_terms.find(self._run, self._dialect, cls, query, before=before, limit=limit)
        return tuple((number, catalog_rows.to_value(cls, body)) for number, body in rows)

    def list(
        self,
        cls: type[T],
        *,
        parent: str | tuple[str, ...] = "",
        where: Mapping[str, str | tuple[str, ...]] | None = None,
        keys: tuple[str, ...] = (),
        after: str = "",
        limit: int = 1000,
        newest_first: bool = False,
    ) -> tuple[T, ...]:
        statement = listing(cls, parent=parent, where=where, keys=keys, after=after, limit=limit, newest_first=newest_first)
        alone = catalog_rows.kind_of(cls).remembered and 0 < len(keys) <= limit and not (parent or where or after)
        if alone and all((cls, key) in self._read for key in keys):
            known = ((key, self._read[cls, key]) for key in sorted(set(keys), reverse=newest_first))
            return tuple(value for _, value in known if value is not None)
        found = tuple(catalog_rows.to_value(cls, body) for body in self._run(statement).scalars())
        if alone:
            there = {catalog_rows.kind_of(cls).key(value): value for value in found}
            self._read.update({(cls, key): there.get(key) for key in keys})
        return found

    def emit(self, kind: str, name: str, body: Any) -> int:
        return self._emit(kind, name, body=records.dumps(body, telling=True), data=b"", rows=1)

    def emit_rows(self, kind: str, name: str, data: bytes, rows: int) -> int:
        self._check_writable()
        if kind in TABLE_OF_KIND:
            lease = self.get(CommitterLease, TABLE_OF_KIND[kind])
            catalog_rows.check_backlog(kind, self._newest(), lease, self._backlog_facts_max)
        return self._emit(kind, name, body="", data=data, rows=catalog_rows.checked_rows(rows, data))

    def replay(self, key: str, request_hash: str) -> bytes | None:
        found = self._run(_ANSWER, {"actor": self.actor, "key": catalog_rows.text(key)}).one_or_none()
        return None if found is None else catalog_rows.recorded(key, found.hash, bytes(found.answer), request_hash)

    def remember(self, key: str, request_hash: str, answer: bytes) -> None:
        self._check_writable()
        values = {"actor": self.actor, "key": key, "hash": request_hash, "answer": answer, "time": time_text(self.now)}
        if not self._change(_insert_unless_there(sql_schema.requests), values):
            raise catalog_rows.remembered(key)

    def finish(self) -> bool:
        """Writes the emitted events; whether there are any. Raises what the database has complained of, even if swallowed."""
        if self._failure:
            raise self._failure
        if self._emitted:
            self._run(_INSERT_EVENTS, self._emitted)
            self._run(_SET_COUNTER, {"value": self._position})
        self._finished = True
        return bool(self._emitted)

    def _emit(self, kind: str, name: str, *, body: str, data: bytes, rows: int) -> int:
        self._check_writable()
        values = {
            "time": time_text(self.now),
            "kind": catalog_rows.text(kind),
            "name": catalog_rows.text(name),
            "actor": catalog_rows.text(self.actor),
            "request_id": catalog_rows.text(self.request_id),
            "body": catalog_rows.text(body),
            "rows": rows,
            "data": data,
        }
        self._position = self._newest() + rows
        self._emitted.append({"position": self._position, **values})
        return self._position

    def _newest(self) -> int:
        """Position of the newest event, those of this transaction among them."""
        if self._position is None:
            self._position = int(self._run(_COUNTER).scalar_one())
        return self._position

    def _of(self, cls: type) -> _Statements:
        catalog_rows.kind_of(cls)
        return _statements(sql_schema.TABLES[cls])

    def _prepared(self, value: T) -> tuple[T, Row]:
        self._check_writable()
        stored = catalog_rows.stamped(value, self._ids)
        return stored, catalog_rows.to_row(stored)

    def _index(self, value: Any, key: str) -> None:
        found = catalog_rows.kind_of(type(value)).terms
        if found:
            sql_terms.put(self._run, self._dialect, type(value), key, found(self.get, value))

    def _refusal(self, cls: type, key: str) -> errors.FederationError:
        there = self._run(self._of(cls).get, {"this_key": key}).scalar_one_or_none()
        return catalog_rows.absent(cls, key) if there is None else catalog_rows.stale(cls, key)

    def _change(self, statement: sa.Executable, values: Mapping[str, Any]) -> bool:
        """Whether the statement changed its one row."""
        return self._run(statement, values).rowcount == 1

    def _run(self, statement: sa.Executable, values: Any = None) -> sa.CursorResult[Any]:
        # After a complaint the database may have ended the transaction on its own: whatever ran now would be kept at once.
        if self._failure:
            raise self._failure
        if self._finished:
            raise RuntimeError("this transaction has ended; use it inside write() or read() only")
        try:
            return self._connection.execute(statement, values)
        except sa.exc.SQLAlchemyError as error:
            self._failure = sql_errors.translate(error)
            raise self._failure from error

    def _check_writable(self) -> None:
        if not self._writable:
            raise catalog_rows.read_only()


def listing(
    cls: type,
    *,
    parent: str | tuple[str, ...],
    where: Mapping[str, str | tuple[str, ...]] | None,
    keys: tuple[str, ...] = (),
    after: str,
    limit: int,
    newest_first: bool,
) -> sa.Select[tuple[str]]:
    """The one query of a listing: along an index, from the key `after` on."""
    wanted = catalog_rows.checked_where(cls, where)
    table = sql_schema.TABLES[cls]
    statement = sa.select(table.c.body).limit(catalog_rows.checked_limit(limit))
    if parent:
        statement = statement.where(_any_of(table.c.parent, parent))
    if keys:
        statement = statement.where(_any_of(table.c.key, keys))
    for name, value in wanted.items():
        statement = statement.where(_any_of(table.c[name], value))
    if after:
        statement = statement.where(table.c.key < after if newest_first else table.c.key > after)
    return statement.order_by(table.c.key.desc() if newest_first else table.c.key)


def _any_of(column: sa.Column[str], wanted: str | tuple[str, ...]) -> sa.ColumnElement[bool]:
    if isinstance(wanted, str):
        return column == catalog_rows.text(wanted)
    return column.in_([catalog_rows.text(value) for value in wanted])


def _values(row: Row) -> dict[str, Any]:
    return {"key": row.key, "parent": row.parent, **row.columns, "etag": row.etag, "body": row.body}


def _this(key: str, etag: str) -> dict[str, str]:
    return {"this_key": catalog_rows.text(key), **({"this_etag": etag} if etag else {})}
