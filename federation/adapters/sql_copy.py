"""All rows of a SQL catalog out and in, as Arrow, in one snapshot: alike for SQLite and PostgreSQL, and from one to the other.

What values are found by (`core.terms`) is made anew from them, for each database has an index of its own kind.

Writers are not kept waiting: SQLite's WAL and PostgreSQL's snapshots let the copy see one moment while they go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import sqlalchemy as sa

from federation.adapters import sql_errors, sql_postgres, sql_schema, sql_sqlite
from federation.adapters.sql_transaction import Occasion, SqlTransaction
from federation.adapters.system import UlidIds
from federation.core import errors

_ROWS = 2_000
_TYPES: tuple[tuple[type[sa.types.TypeEngine[Any]], pa.DataType], ...] = (
    (sa.LargeBinary, pa.large_binary()),
    (sa.Integer, pa.int64()),
    (sa.Text, pa.large_string()),
)

Batches = Iterator[pa.RecordBatch]


def names() -> tuple[str, ...]:
    """The tables of a catalog, in the order in which they are copied."""
    derived = {table.name for table in sql_schema.TERMS.values()}
    return (*sorted(sql_schema.metadata.tables.keys() - derived), *sorted(derived))  # the latter are made from the former


def schema(name: str) -> pa.Schema:
    """A table's columns as Arrow has them."""
    return pa.schema([pa.field(column.name, _type(column.type)) for column in _columns(name)])


def dump(url: str, take: Callable[[str, Batches], None]) -> tuple[int, int]:
    """Hands the rows of each table to `take`, all of one moment; returns that moment's revision and floor."""
    with sql_errors.translated(), _reader(url) as connection:
        # The first query begins the snapshot.
        counters: dict[str, int] = {row.name: row.value for row in connection.execute(sa.select(sql_schema.counters))}
        for name in names():
            take(name, _rows(connection, name))
        return counters[sql_schema.EVENTS], counters[sql_schema.FLOOR]


def load(url: str, give: Callable[[str], Batches], *, revision: int) -> None:
    """Fills an empty catalog, in one transaction, and lets it go on after `revision`.

    FailedPrecondition (DATABASE_NOT_EMPTY) where there is something in it: what is there is never overwritten.
    """
    with sql_errors.translated(), _writer(url) as connection:
        for name in names():
            table = sql_schema.metadata.tables[name]
            if name != sql_schema.counters.name and connection.execute(sa.select(table).limit(1)).first() is not None:
                raise not_empty(name)
        newest = connection.execute(
            sa.select(sql_schema.counters.c.value).where(sql_schema.counters.c.name == sql_schema.EVENTS)
        )
        if newest.scalar_one():
            raise not_empty(sql_schema.events.name)
        connection.execute(sa.delete(sql_schema.counters))
        derived = {table.name: cls for cls, table in sql_schema.TERMS.items()}
        for name in names():
            if name in derived:
                _index(connection, derived[name], give(name))
                continue
            insert = sa.insert(sql_schema.metadata.tables[name])
            for batch in give(name):
                if batch.num_rows:
                    connection.execute(insert, batch.to_pylist())
        ahead = sa.update(sql_schema.counters).where(sql_schema.counters.c.name == sql_schema.EVENTS)
        connection.execute(ahead, {"value": revision})


def _index(connection: sa.Connection, cls: type, batches: Batches) -> None:
    """Makes anew what values are found by, in the order in which they came."""
    tx = SqlTransaction(connection, Occasion(now=datetime.now(UTC), ids=UlidIds()))
    for batch in batches:
        for key in batch.column("key").to_pylist():
            tx.index(cls, key)


def not_empty(table: str) -> errors.FailedPrecondition:
    """A catalog is there already."""
    return errors.FailedPrecondition(
        f"the database has a catalog already: there are rows in {table}",
        reason="DATABASE_NOT_EMPTY",
        help="Name an empty database. What is there is not overwritten; put it aside by hand if nobody needs it.",
    )


@contextmanager
def _reader(url: str) -> Iterator[sa.Connection]:
    parsed = sa.make_url(url)
    on_disk = parsed.get_backend_name() == "sqlite"
    engine = (
        sql_sqlite.engine(Path(parsed.database or ""), reads_only=True)
        if on_disk
        else sql_postgres.reader(sql_postgres.engine(parsed))
    )
    try:
        with engine.connect() as connection, connection.begin():
            # Few rows at once come over a PostgreSQL connection, however large the table is.
            yield connection.execution_options(yield_per=_ROWS)
    finally:
        engine.dispose()


@contextmanager
def _writer(url: str) -> Iterator[sa.Connection]:
    parsed = sa.make_url(url)
    on_disk = parsed.get_backend_name() == "sqlite"
    engine = sql_sqlite.engine(Path(parsed.database or ""), reads_only=False) if on_disk else sql_postgres.engine(parsed)
    try:
        with engine.begin() as connection:
            yield connection
    finally:
        engine.dispose()


def _columns(name: str) -> list[sa.Column[Any]]:
    """The columns of a table that are copied: not what values are found by, for each database has an index of its own kind."""
    table, derived = sql_schema.metadata.tables[name], set(sql_schema.TERMS.values())
    return [column for column in table.columns if table not in derived or column.name != "terms"]


def _rows(connection: sa.Connection, name: str) -> Batches:
    table, shape, columns = sql_schema.metadata.tables[name], schema(name), _columns(name)
    order = [table.c.number] if "number" in table.c and table in sql_schema.TERMS.values() else table.primary_key.columns
    for part in connection.execute(sa.select(*columns).order_by(*order)).mappings().partitions(_ROWS):
        yield pa.RecordBatch.from_pylist([dict(row) for row in part], schema=shape)


def _type(type_: sa.types.TypeEngine[Any]) -> pa.DataType:
    return next(arrow for of, arrow in _TYPES if isinstance(type_, of))
