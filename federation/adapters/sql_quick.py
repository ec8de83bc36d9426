"""What is looked at and written at every call, handed to the database's driver as they are.

SQLAlchemy takes ten times as long to wrap one run of a statement and its result as SQLite takes to answer. So what runs all the
time is compiled once, by SQLAlchemy, for the database's dialect, and then run on the very connection whose transaction this is.
For statements whose values and columns are texts and numbers, as drivers take and give them; without lists of values.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import sqlalchemy as sa

_NO_VALUES: Mapping[str, Any] = {}


def rows(connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any] = _NO_VALUES) -> list[Any]:
    """All rows that a statement finds, as tuples."""
    with _cursor(connection, statement, values) as cursor:
        return list(cursor.fetchall())


def change(connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any]) -> tuple[int, int]:
    """How many rows a statement has changed, and on SQLite the number of the one that it inserted last."""
    with _cursor(connection, statement, values) as cursor:
        return cursor.rowcount, getattr(cursor, "lastrowid", None) or 0


def say(connection: sa.Connection, command: str, **how: Any) -> list[Any]:
    """Gives the driver a command without values. Returns the rows that it, or on PostgreSQL the last of several, finds."""
    with _guarded(connection, command) as driver:
        cursor = driver.cursor()
        cursor.execute(command, **how)
        while getattr(cursor, "nextset", _nothing)():
            pass
        found = cursor.fetchall() if cursor.description else []
        cursor.close()
        return list(found)


def write(connection: sa.Connection, statements: Iterable[tuple[sa.Executable, Sequence[Mapping[str, Any]]]]) -> None:
    """Runs each statement with each of its values, in this order; on PostgreSQL all are under way at once."""
    with _guarded(connection, "several statements") as driver, _together(driver):
        cursor = driver.cursor()
        for statement, rows in statements:
            sql, names, fixed = _compiled(statement, connection.dialect)
            for values in rows:
                cursor.execute(sql, _given(names, {**fixed, **values}))
        cursor.close()


def _nothing() -> bool:
    return False


def _together(driver: Any) -> AbstractContextManager[Any]:
    pipeline = getattr(driver, "pipeline", None)
    return pipeline() if pipeline else nullcontext()


def _given(names: tuple[str, ...] | None, by_name: Mapping[str, Any]) -> Any:
    return by_name if names is None else [by_name[name] for name in names]


@contextmanager
def _cursor(connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any]) -> Iterator[Any]:
    """A cursor that has run the statement."""
    sql, names, fixed = _compiled(statement, connection.dialect)
    with _guarded(connection, sql) as driver:
        cursor = driver.cursor()
        try:
            cursor.execute(sql, _given(names, {**fixed, **values}))
            yield cursor
        finally:
            cursor.close()


@contextmanager
def _guarded(connection: sa.Connection, sql: str) -> Iterator[Any]:
    """The driver's connection. What the driver complains of is raised as SQLAlchemy would raise it."""
    dialect, driver = connection.dialect, connection.connection.dbapi_connection
    try:
        yield driver
    except dialect.loaded_dbapi.Error as error:
        gone = dialect.is_disconnect(error, driver, None)
        told = sa.exc.DBAPIError.instance(
            sql, None, error, dialect.loaded_dbapi.Error, connection_invalidated=gone, dialect=dialect
        )
        if gone:
            connection.invalidate(error)
        raise told from error


@functools.lru_cache(4096)
def _compiled(statement: Any, dialect: sa.Dialect) -> tuple[str, tuple[str, ...] | None, Mapping[str, Any]]:
    """The text of a statement, the names of its values in their order, and those that it brings along.

    Without an order where the driver takes them by name.
    """
    compiled = statement.compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup) if compiled.positional else None, compiled.params
