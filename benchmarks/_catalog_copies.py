"""Catalogs of millions for `benchmarks.catalog`: the datasets that are there once more, under other names, by the database.

Words are as common among the copies as among the first; each copy has one word more in its name (`c7`), by which it is found.
Indexes of PostgreSQL are made anew at the end, as a restore makes them.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psycopg
import sqlalchemy as sa

from federation.adapters import sql_schema
from federation.core import dataset

_TABLE, _TERMS = sql_schema.TABLES[dataset.Dataset], sql_schema.TERMS[dataset.Dataset]
_KEPT = ", ".join(name for name in _TABLE.columns.keys() if name not in {"key", "body"})  # noqa: SIM118 - no dict
_ROUNDS = 50


def grow(url: str, count: int, seconds_max: float) -> int:
    """Copies all datasets until there are `count`, or so many seconds have gone by. Returns how many there are then."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() == "sqlite":
        return _grow_sqlite(parsed.database or "", count, seconds_max)
    return _grow_postgres(parsed.set(drivername="postgresql").render_as_string(hide_password=False), count, seconds_max)


def _grow_sqlite(path: str, count: int, seconds_max: float) -> int:
    begun = time.monotonic()
    name = "substr(key, instr(key, '/') + 1)"
    with sqlite3.connect(path, isolation_level=None) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        (base,) = connection.execute(f"SELECT max(number) FROM {_TERMS.name}").fetchone()
        there = base
        while there < count and time.monotonic() - begun < seconds_max:
            values = {
                "sign": f"-c{there // base}",
                "word": f" nc{there // base}",
                "some": min(base, count - there),
                "last": there,
            }
            connection.execute("BEGIN")
            connection.execute(
                f"INSERT INTO {_TABLE.name} (key, {_KEPT}, body) SELECT key || :sign, {_KEPT}, "
                f"replace(body, '\"dataset\":\"' || {name} || '\"', '\"dataset\":\"' || {name} || :sign || '\"') "
                f"FROM {_TABLE.name} WHERE key IN (SELECT key FROM {_TERMS.name} WHERE number <= :some)",
                values,
            )
            connection.execute(
                f"INSERT INTO {_TERMS.name} (key, terms) SELECT key || :sign, terms || :word "
                f"FROM {_TERMS.name} WHERE number <= :some ORDER BY number",
                values,
            )
            connection.execute(
                f"INSERT INTO {sql_schema.fts_of(_TERMS)} (rowid, terms) "
                f"SELECT number, terms FROM {_TERMS.name} WHERE number > :last",
                values,
            )
            connection.execute("COMMIT")
            there += values["some"]
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        connection.execute("ANALYZE")
    return int(there)


def _grow_postgres(url: str, count: int, seconds_max: float) -> int:
    begun = time.monotonic()
    name = "split_part(key, '/', 2)"
    with psycopg.connect(url, autocommit=True) as connection:
        connection.execute("SET synchronous_commit = off")
        connection.execute("SET maintenance_work_mem = '1GB'")
        (base,) = connection.execute(f"SELECT max(number) FROM {_TERMS.name}").fetchone() or (0,)
        there = base
        with _without_indexes(connection):
            while there < count and time.monotonic() - begun < seconds_max:
                rounds = min(_ROUNDS, -(-(count - there) // base))
                values = {"first": there // base, "last": there // base + rounds - 1, "base": base}
                copies = "generate_series(%(first)s::int, %(last)s::int) AS n"
                connection.execute(
                    f"INSERT INTO {_TABLE.name} (key, {_KEPT}, body) SELECT key || '-c' || n, {_KEPT}, "
                    f"replace(body, '\"dataset\":\"' || {name} || '\"', '\"dataset\":\"' || {name} || '-c' || n || '\"') "
                    f"FROM {copies}, (SELECT * FROM {_TABLE.name} WHERE key IN "
                    f"(SELECT key FROM {_TERMS.name} WHERE number <= %(base)s)) AS them",
                    values,
                )
                connection.execute(
                    f"INSERT INTO {_TERMS.name} (key, terms) SELECT key || '-c' || n, terms || ('''nc' || n || '''')::tsvector "
                    f"FROM {copies}, (SELECT * FROM {_TERMS.name} WHERE number <= %(base)s) AS them ORDER BY n, number",
                    values,
                )
                there += rounds * base
        connection.execute("VACUUM ANALYZE")
    return int(there)


@contextmanager
def _without_indexes(connection: psycopg.Connection[tuple[str, ...]]) -> Iterator[None]:
    """Inside, the two tables have no index but that of numbers; then those that they had."""
    constraints = connection.execute(
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint "
        "WHERE conrelid::regclass::text = %s AND contype IN ('p', 'u') OR conrelid::regclass::text = %s AND contype = 'u'",
        (_TABLE.name, _TERMS.name),
    ).fetchall()
    indexes = connection.execute(
        "SELECT indexname, indexdef FROM pg_indexes WHERE tablename IN (%s, %s) AND NOT indexname IN "
        "(SELECT conname FROM pg_constraint)",
        (_TABLE.name, _TERMS.name),
    ).fetchall()
    for table, constraint, _ in constraints:
        connection.execute(f"ALTER TABLE {table} DROP CONSTRAINT {constraint}")  # type: ignore[arg-type]
    for index, _ in indexes:
        connection.execute(f"DROP INDEX {index}")  # type: ignore[arg-type]
    yield
    for table, constraint, text in constraints:
        connection.execute(f"ALTER TABLE {table} ADD CONSTRAINT {constraint} {text}")  # type: ignore[arg-type]
    for _, text in indexes:
        connection.execute(text)  # type: ignore[arg-type]
