"""One transaction of the SQL catalog: its statements, alike for SQLite and PostgreSQL. Others begin and end it."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, TypeVar

import sqlalchemy as sa

from federation import ports
from federation.adapters import catalog_rows, sql_errors, sql_ground, sql_quick, sql_schema, sql_terms
from federation.adapters.catalog_rows import Row
from federation.adapters.sql_ground import Ground
from federation.core import errors, records
from federation.core.events import TABLE_OF_KIND
from federation.core.kinds import CommitterLease
from federation.core.terms import Query

T = TypeVar("T")
R = TypeVar("R")
#: Rows as tuples.
Rows = list[Any]
_NO_VALUES: Mapping[str, Any] = {}


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Statements:
    """The statements on one table that never change, built once."""

    get: sa.Select[tuple[str]]
    get_with_stamps: sa.TextClause
    insert: sa.TextClause
    replace: sa.TextClause
    replace_matching: sa.TextClause
    delete: sa.TextClause
    delete_matching: sa.TextClause


@functools.cache
def _statements(table: sa.Table) -> _Statements:
    # `key` is in WHERE alone: PostgreSQL then sees that no index on it changes.
    values = ", ".join(f'"{name}" = :{name}' for name in table.columns.keys() if name != "key")  # noqa: SIM118 - no dict
    replace = f"UPDATE {table.name} SET {values} WHERE key = :this_key"  # noqa: S608 - our own names, here and below
    delete = f"DELETE FROM {table.name} WHERE key = :this_key"  # noqa: S608
    matching = " AND etag = :this_etag"
    return _Statements(
        get=sa.select(table.c.body).where(table.c.key == sa.bindparam("this_key")),
        get_with_stamps=sa.text(
            f"SELECT body, CAST(NULL AS TEXT), CAST(NULL AS BIGINT) FROM {table.name} WHERE key = :this_key "  # noqa: S608
            f"UNION ALL SELECT CAST(NULL AS TEXT), s.* FROM ({sql_ground.STAMPS}) s"
        ),
        insert=_insert_unless_there(table),
        replace=sa.text(replace),
        replace_matching=sa.text(replace + matching),
        delete=sa.text(delete),
        delete_matching=sa.text(delete + matching),
    )


@functools.cache
def _insert_unless_there(table: sa.Table) -> sa.TextClause:
    """A refused insert changes no row, but spoils no transaction either, which on PostgreSQL an error would."""
    names = table.columns.keys()
    columns, values = ", ".join(f'"{name}"' for name in names), ", ".join(f":{name}" for name in names)
    return sa.text(f"INSERT INTO {table.name} ({columns}) VALUES ({values}) ON CONFLICT DO NOTHING")  # noqa: S608 - our own names


_ANSWER = sa.select(sql_schema.requests.c.hash, sql_schema.requests.c.answer).where(
    sql_schema.requests.c.actor == sa.bindparam("actor"), sql_schema.requests.c.key == sa.bindparam("key")
)


#: What listings and keys gave last, with the stamp of their table at the time.
Looks = dict[tuple[Any, ...], tuple[int, Any]]
#: So many of them are remembered before all are forgotten.
_LOOKS_MAX = 16_384
_UNKNOWN: Any = object()
_PARENT = "parent"


def time_text(time: datetime) -> str:
    """A time as it is stored: RFC 3339, UTC."""
    return time.astimezone(UTC).isoformat().replace("+00:00", "Z")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Occasion:
    """When, by whom and for which call a transaction is made, and where its identifiers come from.

    Of a writing one, the log may have a backlog of `backlog_facts_max` facts that the record does not hold yet.
    """

    now: datetime
    ids: ports.Ids
    actor: str = ""
    request_id: str = ""
    writable: bool = True
    backlog_facts_max: int = catalog_rows.BACKLOG_FACTS_MAX


class SqlTransaction:
    """A `ports.Transaction` on a connection that is in a transaction already.

    Events are numbered as they are emitted; `finish`, which the owner of the connection calls, leaves them to its ground.
    `begin`, where it is given, begins a reading transaction: it is called when something must be asked that is not remembered,
    and till then nothing was read but the stamps. Where what was believed by them has changed by that time, the transaction is
    given up (`sql_errors.Contention`), and whoever runs it begins it at once the next time.
    What was read by its key, of kinds that are remembered, is not asked for again: nobody else's change shows inside a
    transaction, and each of its own is known. Nor is what was read in others, as long as its table has the stamp that it had
    then: every transaction that changes a table gives it a stamp of its own, by chance and not by counting, so that one which
    is taken back leaves no stamp that another state could have.
    """

    def __init__(
        self,
        connection: sa.Connection,
        occasion: Occasion,
        *,
        looks: Looks | None = None,
        ground: Ground | None = None,
        begin: Callable[[], Ground] | None = None,
    ) -> None:
        self.now = occasion.now
        self.actor = occasion.actor
        self.request_id = occasion.request_id
        self._connection = connection
        self._way = sql_terms.Way(connection.dialect.name, self._look, self._put)
        self._ids = occasion.ids
        self._writable = occasion.writable
        self._backlog_facts_max = occasion.backlog_facts_max
        self._position: int | None = None
        self._looks = {} if looks is None else looks
        self._ground = ground or Ground()
        self._begin = begin
        #: What was believed before the transaction had begun: tables with the stamps that they had.
        self._believed: dict[str, int] = {}
        self._changed: set[str] = set()
        self._read: dict[tuple[type, str], Any] = {}
        self._emitted: list[dict[str, Any]] = []
        self._failure: errors.FederationError | None = None
        self._finished = False

    def get(self, cls: type[T], key: str) -> T | None:
        known = self._known(cls, key)
        if known is not _UNKNOWN:
            return typing.cast("T | None", known)
        body = self._body(cls, catalog_rows.text(key))
        found = None if body is None else catalog_rows.to_value(cls, body)
        self._keep(cls, {key: found})
        return found

    def _body(self, cls: type, key: str) -> str | None:
        """What lies under a key. Before a transaction has begun it comes with the stamps of that moment, and none begins."""
        statements, values = self._of(cls), {"this_key": key}
        if self._begin is None or not self._stamped(cls):
            rows = self._look(statements.get, values)
            return rows[0][0] if rows else None
        seen = self._attempt(lambda: sql_quick.rows(self._connection, statements.get_with_stamps, values), begins=False)
        self._ground = Ground(stamps={table: stamp for _, table, stamp in seen if table is not None})
        self._require_believed()
        self._stamp(cls)
        return next((body for body, *_ in seen if body is not None), None)

    def insert(self, value: T) -> T:
        stored, row = self._prepared(value)
        self._forget(type(value), row.key)
        if not self._change(self._of(type(value)).insert, _values(row)):
            raise catalog_rows.taken(type(value), row.key)
        self._index(stored, row.key)
        return stored

    def replace(self, value: T, *, etag: str = "") -> T:
        stored, row = self._prepared(value)
        self._forget(type(value), row.key)
        statements = self._of(type(value))
        statement = statements.replace_matching if etag else statements.replace
        if not self._change(statement, {**_values(row), **_this(row.key, etag)}):
            raise self._refusal(type(value), row.key)
        self._index(stored, row.key)
        return stored

    def delete(self, cls: type, key: str, *, etag: str = "") -> None:
        self._check_writable()
        self._forget(cls, key)
        statements = self._of(cls)
        if not self._change(statements.delete_matching if etag else statements.delete, _this(key, etag)):
            raise self._refusal(cls, key)
        if catalog_rows.kind_of(cls).terms:
            sql_terms.remove(self._way, cls, key)

    def find(self, cls: type[T], query: Query, *, before: int = 0, limit: int = 1000) -> tuple[tuple[int, T], ...]:
        catalog_rows.checked_findable(cls)
        catalog_rows.checked_limit(limit)
        rows = sql_terms.find(self._way, cls, query, before=before, limit=limit)
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
        catalog_rows.checked_limit(limit)
        if keys and len(keys) <= limit and not (parent or where or after):
            return self._list_keys(cls, sorted(set(keys), reverse=newest_first), limit)
        if keys or after or not self._stamped(cls):
            return self._listed(cls, parent=parent, where=where, keys=keys, after=after, limit=limit, newest_first=newest_first)
        asked = {_PARENT: parent or "", **(where or {})}
        return self._looked_up(cls, asked, limit=limit, newest_first=newest_first)

    def _looked_up(
        self, cls: type[T], asked: Mapping[str, str | tuple[str, ...]], *, limit: int, newest_first: bool
    ) -> tuple[T, ...]:
        """A listing as others have found it under this stamp, or as it is found now.

        Where it is of several parents, or values of a column, each is remembered apart: whoever asks for some of them again,
        with others, asks the database for the others alone. What its limit may have cut tells nothing of each, except of one.
        """
        split = next((name for name, wanted in asked.items() if not isinstance(wanted, str)), _PARENT)
        rest = tuple((name, wanted) for name, wanted in asked.items() if name != split)
        one = asked[split]
        apart = (one,) if isinstance(one, str) else tuple(dict.fromkeys(one))
        # A listing that its limit did not cut answers for every limit; one row is mostly the newest.
        shapes = {each: (cls, split, each, rest, newest_first, limit == 1) for each in apart}
        stamp = self._stamp(cls)
        looks = ((each, self._looks.get(shape)) for each, shape in shapes.items())
        known = {each: look[1] for each, look in looks if look is not None and look[0] == stamp}

        def ask(wanted: str | tuple[str, ...]) -> tuple[T, ...]:
            narrowed = {**asked, split: wanted}
            return self._listed(cls, parent=narrowed.pop(_PARENT), where=narrowed, limit=limit, newest_first=newest_first)

        missing = tuple(each for each in apart if each not in known)
        if missing:
            found = ask(one if isinstance(one, str) else missing)
            if len(found) == limit and (limit > 1 or len(apart) > 1):
                return found if len(missing) == len(apart) else ask(one)
            parts = {missing[0]: found} if isinstance(one, str) else _parted(cls, split, missing, found)
            for each, values in parts.items():
                known[each] = values
                self._remember_look(shapes[each], stamp, values)
        if isinstance(one, str):
            whole: tuple[T, ...] = known[one]
            return whole if len(whole) <= limit else whole[:limit]
        key = catalog_rows.kind_of(cls).key
        merged = sorted((value for each in apart for value in known[each]), key=key, reverse=newest_first)
        return tuple(merged[:limit])

    def _list_keys(self, cls: type[T], keys: Sequence[str], limit: int) -> tuple[T, ...]:
        """The values under these keys, in their order; the database is asked for all of them unless all are known."""
        known = [self._known(cls, key) for key in keys]
        if any(value is _UNKNOWN for value in known):
            there = {catalog_rows.kind_of(cls).key(value): value for value in self._listed(cls, keys=tuple(keys), limit=limit)}
            known = [there.get(key) for key in keys]
            self._keep(cls, dict(zip(keys, known, strict=True)))
        return tuple(value for value in known if value is not None)

    def _listed(self, cls: type[T], **how: Any) -> tuple[T, ...]:
        statement, values = listing(cls, **how)
        if any(isinstance(value, list) for value in values.values()):
            return catalog_rows.to_values(cls, self._run(statement, values).scalars().all())
        return catalog_rows.to_values(cls, (body for (body,) in self._look(statement, values)))

    # What is known without asking

    def _stamped(self, cls: type) -> bool:
        """Whether what others have read of a kind may be believed: not once this very transaction has changed its table."""
        kind = catalog_rows.kind_of(cls)
        return kind.remembered and kind.table not in self._changed

    def _stamp(self, cls: type) -> int:
        """The stamp of the kind's table, as this transaction sees it, which is believed from now on."""
        stamp = self._stamp_now(cls)
        if self._begin is not None:
            self._believed[catalog_rows.kind_of(cls).table] = stamp
        return stamp

    def _stamp_now(self, cls: type) -> int:
        """The stamp of the kind's table as it was last seen; all are read at once."""
        if self._ground.stamps is None:
            self._ground.stamps = self._attempt(lambda: sql_ground.stamps(self._connection))
        return self._ground.stamp(catalog_rows.kind_of(cls).table)

    def _known(self, cls: type, key: str) -> Any:
        """The value under a key, None for none, as far as it was read before: here, or elsewhere under the same stamp."""
        found = self._read.get((cls, key), _UNKNOWN)
        if found is _UNKNOWN and self._stamped(cls):
            look = self._looks.get((cls, key))
            if look is not None and look[0] == self._stamp_now(cls):
                self._stamp(cls)
                return look[1]
        return found

    def _keep(self, cls: type, found: Mapping[str, Any]) -> None:
        """Remembers what was read, for others, too."""
        if catalog_rows.kind_of(cls).remembered:
            self._read.update({(cls, key): value for key, value in found.items()})
            if self._stamped(cls):
                for key, value in found.items():
                    self._remember_look((cls, key), self._stamp(cls), value)

    def _remember_look(self, shape: tuple[Any, ...], stamp: int, found: Any) -> None:
        if len(self._looks) >= _LOOKS_MAX:
            self._looks.clear()
        self._looks[shape] = stamp, found

    def count(self, cls: type, *, where: Mapping[str, str | tuple[str, ...]]) -> int:
        table, wanted = sql_schema.TABLES[cls], catalog_rows.checked_where(cls, where)
        matching = (table.c[name].in_([value] if isinstance(value, str) else list(value)) for name, value in wanted.items())
        return int(self._run(sa.select(sa.func.count()).select_from(table).where(*matching)).scalar_one())

    def emit(self, kind: str, name: str, body: Any) -> int:
        return self._emit(kind, name, body=records.dumps(body, telling=True), data=b"", rows=1)

    def emit_rows(self, kind: str, name: str, data: bytes, rows: int) -> int:
        self._check_writable()
        if kind in TABLE_OF_KIND:
            lease = self.get(CommitterLease, TABLE_OF_KIND[kind])
            catalog_rows.check_backlog(kind, self.revision(), lease, self._backlog_facts_max)
        return self._emit(kind, name, body="", data=data, rows=catalog_rows.checked_rows(rows, data))

    def replay(self, key: str, request_hash: str) -> bytes | None:
        found = self._look(_ANSWER, {"actor": self.actor, "key": catalog_rows.text(key)})
        return catalog_rows.recorded(key, found[0][0], bytes(found[0][1]), request_hash) if found else None

    def remember(self, key: str, request_hash: str, answer: bytes) -> None:
        self._check_writable()
        values = {"actor": self.actor, "key": key, "hash": request_hash, "answer": answer, "time": time_text(self.now)}
        if not self._change(_insert_unless_there(sql_schema.requests), values):
            raise catalog_rows.remembered(key)

    def finish(self) -> None:
        """Leaves what it did to its ground. Raises what the database has complained of, even if swallowed."""
        if self._failure:
            raise self._failure
        self._ground.leave(self._changed, self._emitted, self._position)
        self._finished = True

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
        self._position = self.revision() + rows
        self._emitted.append({"position": self._position, **values})
        return self._position

    def revision(self) -> int:
        if self._position is None:
            self._position = self._ground.position
        if self._position is None:
            self._position = self._attempt(lambda: sql_ground.position(self._connection))
        return self._position

    def _of(self, cls: type) -> _Statements:
        catalog_rows.kind_of(cls)
        return _statements(sql_schema.TABLES[cls])

    def _prepared(self, value: T) -> tuple[T, Row]:
        self._check_writable()
        stored = catalog_rows.stamped(value, self._ids)
        return stored, catalog_rows.to_row(stored)

    def _forget(self, cls: type, key: str) -> None:
        """Before a change: what is known of the value, and of listings of its kind, may not be so any more."""
        self._read.pop((cls, key), None)
        kind = catalog_rows.kind_of(cls)
        if kind.remembered:
            self._changed.add(kind.table)

    def index(self, cls: type, key: str) -> None:
        """Makes anew what the value under a key is found by."""
        self._index(self.get(cls, key), key)

    def _index(self, value: Any, key: str) -> None:
        found = catalog_rows.kind_of(type(value)).terms
        if found:
            sql_terms.put(self._way, type(value), key, found(self.get, value))

    def _refusal(self, cls: type, key: str) -> errors.FederationError:
        there = self._look(self._of(cls).get, {"this_key": key})
        return catalog_rows.stale(cls, key) if there else catalog_rows.absent(cls, key)

    def _change(self, statement: sa.Executable, values: Mapping[str, Any]) -> bool:
        """Whether the statement changed its one row."""
        return self._put(statement, values)[0] == 1

    def _put(self, statement: sa.Executable, values: Mapping[str, Any]) -> tuple[int, int]:
        return self._attempt(lambda: sql_quick.change(self._connection, statement, values))

    def _run(self, statement: sa.Executable, values: Any = None) -> sa.CursorResult[Any]:
        return self._attempt(lambda: self._connection.execute(statement, values))

    def _look(self, statement: sa.Executable, values: Mapping[str, Any] = _NO_VALUES) -> Rows:
        """The rows of a statement that runs at every call."""
        return self._attempt(lambda: sql_quick.rows(self._connection, statement, values))

    def _attempt(self, act: Callable[[], R], *, begins: bool = True) -> R:
        # After a complaint the database may have ended the transaction on its own: whatever ran now would be kept at once.
        if self._failure:
            raise self._failure
        if self._finished:
            raise RuntimeError("this transaction has ended; use it inside write() or read() only")
        try:
            if begins and self._begin is not None:
                self._enter(self._begin)
            return act()
        except sa.exc.SQLAlchemyError as error:
            self._failure = sql_errors.translate(error)
            raise self._failure from error

    def _enter(self, begin: Callable[[], Ground]) -> None:
        """Begins. What was believed before must hold of the state that is seen from now on, too."""
        self._begin, self._ground = None, begin()
        if self._believed and self._ground.stamps is None:
            self._ground.stamps = sql_ground.stamps(self._connection)
        self._require_believed()

    def _require_believed(self) -> None:
        """Contention where something that was believed has changed by the moment that is seen now."""
        if any(self._ground.stamp(table) != stamp for table, stamp in self._believed.items()):
            self._failure = sql_errors.Contention("what was read has changed meanwhile")
            raise self._failure

    def _check_writable(self) -> None:
        if not self._writable:
            raise catalog_rows.read_only()


def listing(
    cls: type,
    *,
    parent: str | tuple[str, ...] = "",
    where: Mapping[str, str | tuple[str, ...]] | None = None,
    keys: tuple[str, ...] = (),
    after: str = "",
    limit: int,
    newest_first: bool = False,
) -> tuple[sa.Select[tuple[str]], dict[str, Any]]:
    """The one query of a listing, along an index, from the key `after` on; and the values in it."""
    asked = {"parent": parent, "key": keys, **catalog_rows.checked_where(cls, where)}
    narrowed = {name: value for name, value in asked.items() if value or name not in {"parent", "key"}}
    values: dict[str, Any] = {f"this_{name}": _checked(value) for name, value in narrowed.items()}
    values["this_limit"] = catalog_rows.checked_limit(limit)
    if after:
        values["after"] = after
    of_one = isinstance(parent, str) and bool(parent)
    shape = tuple((name, isinstance(value, str), of_one and value == "") for name, value in narrowed.items())
    return _listing(sql_schema.TABLES[cls], shape, after=bool(after), newest_first=newest_first), values


@functools.cache
def _listing(
    table: sa.Table, narrowed: tuple[tuple[str, bool, bool], ...], *, after: bool, newest_first: bool
) -> sa.Select[tuple[str]]:
    """Built once for each of the few shapes that are asked for: SQLAlchemy takes as long to build it as SQLite to answer.

    Of one parent's values, those in which a column is empty are found along the parent's index: SQLite does not know that most
    rows have it empty, and would go through those of all other parents.
    """
    statement = sa.select(table.c.body).limit(sa.bindparam("this_limit", type_=sa.Integer))
    for name, one, aside in narrowed:
        wanted: sa.BindParameter[Any] = sa.bindparam(f"this_{name}", expanding=not one)
        column = table.c[name]
        # SQLite walks along no index for a NOT, and PostgreSQL, which has counted, sees that it is an equality.
        equal = sa.not_((column != wanted).self_group()) if aside else column == wanted
        statement = statement.where(equal if one else column.in_(wanted))
    if after:
        begin: sa.BindParameter[str] = sa.bindparam("after")
        statement = statement.where(table.c.key < begin if newest_first else table.c.key > begin)
    return statement.order_by(table.c.key.desc() if newest_first else table.c.key)


def _parted(cls: type[T], name: str, wanted: Sequence[str], found: Iterable[T]) -> dict[str, tuple[T, ...]]:
    """What was found by what it has in a column, or as its parent."""
    kind = catalog_rows.kind_of(cls)
    of = kind.parent if name == _PARENT else (kind.columns or {})[name]
    parts: dict[str, list[T]] = {each: [] for each in wanted}
    for value in found:
        parts[of(value)].append(value)
    return {each: tuple(values) for each, values in parts.items()}


def _checked(wanted: str | tuple[str, ...]) -> str | list[str]:
    return catalog_rows.text(wanted) if isinstance(wanted, str) else [catalog_rows.text(value) for value in wanted]


def _values(row: Row) -> dict[str, Any]:
    return {"key": row.key, "parent": row.parent, **row.columns, "etag": row.etag, "body": row.body}


def _this(key: str, etag: str) -> dict[str, str]:
    return {"this_key": catalog_rows.text(key), **({"this_etag": etag} if etag else {})}
