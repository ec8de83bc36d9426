"""What is looked at and written at every call, handed to the database's driver as they are.

SQLAlchemy takes ten times as long to wrap one run of a statement and its result as SQLite takes to answer. So what runs all the
time is compiled once, by SQLAlchemy, for the database's dialect, and then run on the very connection whose transaction this is.
For statements whose values and columns are texts and numbers, as drivers take and give them; without lists of values.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa


def rows(connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any]) -> list[Any]:
    """All rows that a statement finds, as tuples."""
    with _cursor(connection, statement, values) as cursor:
        return list(cursor.fetchall())


def change(connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any]) -> tuple[int, int]:
    """How many rows a statement has changed, and on SQLite the number of the one that it inserted last."""
    with _cursor(connection, statement, values) as cursor:
        return cursor.rowcount, getattr(cursor, "lastrowid", None) or 0


@contextmanager
def _cursor(connection: sa.Connection, statement: sa.Executable, values: Mapping[str, Any]) -> Iterator[Any]:
    """A cursor that has run the statement. What the driver complains of is raised as SQLAlchemy would raise it."""
    dialect = connection.dialect
    sql, names, fixed = _compiled(statement, dialect)
    by_name = {**fixed, **values}
    given: Any = by_name if names is None else [by_name[name] for name in names]
    driver = connection.connection
    cursor = driver.cursor()
    try:
        cursor.execute(sql, given)
        yield cursor
    except dialect.loaded_dbapi.Error as error:
        gone = dialect.is_disconnect(error, driver.dbapi_connection, cursor)
        told = sa.exc.DBAPIError.instance(
            sql, given, error, dialect.loaded_dbapi.Error, connection_invalidated=gone, dialect=dialect
        )
        if gone:
            connection.invalidate(error)
        raise told from error
    finally:
        cursor.close()


@functools.lru_cache(4096)
def _compiled(statement: Any, dialect: sa.Dialect) -> tuple[str, tuple[str, ...] | None, Mapping[str, Any]]:
    """The text of a statement, the names of its values in their order, and those that it brings along.

    Without an order where the driver takes them by name.
    """
    compiled = statement.compile(dialect=dialect)
    return str(compiled), tuple(compiled.positiontup) if compiled.positional else None, compiled.params
