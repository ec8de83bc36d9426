"""What values are found by, in SQL: FTS5 on SQLite, tsvector with GIN on PostgreSQL. Both keep terms as they are given.

Terms are one letter or more of the alphabets and digits (`core.terms`), so neither index's own idea of a word comes in, and
both find alike. Matches come in the order of their numbers, newest first, as far as they are wanted: no rank is reckoned.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import sqlalchemy as sa

from federation.adapters import sql_schema
from federation.core.terms import Every, Query, Some, Term, Without


class Way(NamedTuple):
    """How statements run within a transaction: of which dialect they are, how rows are looked at, how they are changed.

    Of a change is told how many rows it changed, and on SQLite the number of the one that it inserted.
    """

    dialect: str
    look: Callable[[sa.Executable, Mapping[str, Any]], list[Any]]
    change: Callable[[sa.Executable, Mapping[str, Any]], tuple[int, int]]


#: Above all numbers.
_END = 2**63 - 1
#: Of the newest, how many are looked at where the database thinks that there it finds enough.
_TRIED_MAX = 20_000


def put(way: Way, cls: type, key: str, terms: Sequence[str]) -> None:
    """Keeps what the value under a key is found by. What has not changed is not written."""
    statements = _statements(sql_schema.TERMS[cls])
    if way.dialect == "postgresql":
        way.change(statements.upsert, {"key": key, "terms": " ".join(f"'{term}'" for term in terms)})
        return
    text = " ".join(terms)
    known = way.look(statements.known, {"key": key})
    if not known:
        _, number = way.change(statements.insert, {"key": key, "terms": text})
    elif known[0][1] == text:
        return
    else:
        ((number, before),) = known
        way.change(statements.unindex, {"number": number, "terms": before})
        way.change(statements.update, {"number": number, "terms": text})
    way.change(statements.index, {"number": number, "terms": text})


def remove(way: Way, cls: type, key: str) -> None:
    """The value under the key is not found any more."""
    statements = _statements(sql_schema.TERMS[cls])
    if way.dialect != "postgresql":
        ((number, before),) = way.look(statements.known, {"key": key})
        way.change(statements.unindex, {"number": number, "terms": before})
    way.change(statements.delete, {"key": key})


def find(way: Way, cls: type, query: Query, *, before: int, limit: int) -> list[tuple[int, str]]:
    """Number and body of the newest values that are asked for."""
    statements = _statements(sql_schema.TERMS[cls])
    values = {"before": before or _END, "limit": limit}
    if way.dialect == "postgresql":
        return _find_postgresql(way, statements, {"query": _tsquery(query), **values}, limit)
    return way.look(statements.find_sqlite, {"query": _fts5(query), **values})


def _find_postgresql(way: Way, statements: _Statements, values: dict[str, Any], limit: int) -> list[Any]:
    """What is common is soon found among the newest; what is rare, the index finds.

    GIN gives all that match at once, in no order. Going through the newest ends as soon as there are enough, if there are. The
    database has counted common words, but does not know which are common together, nor which among the newest: where it would
    rather go through them, it is taken at its word for so many and no more.
    """
    if any("Backward" in line for (line,) in way.look(statements.plan, values)):
        found = way.look(statements.find_among, {"among": _TRIED_MAX, **values})
        if len(found) == limit:
            return found
    return way.look(statements.find_by_index, values)


class _Statements:
    """The statements on one table of terms, built once."""

    def __init__(self, terms: sa.Table, values: sa.Table) -> None:
        table, fts = terms.name, sql_schema.fts_of(terms)
        self.known = sa.text(f"SELECT number, terms FROM {table} WHERE key = :key")  # noqa: S608 - our own names, here and below
        self.insert = sa.text(f"INSERT INTO {table} (key, terms) VALUES (:key, :terms)")  # noqa: S608
        self.update = sa.text(f"UPDATE {table} SET terms = :terms WHERE number = :number")  # noqa: S608
        self.delete = sa.text(f"DELETE FROM {table} WHERE key = :key")  # noqa: S608
        self.index = sa.text(f"INSERT INTO {fts} (rowid, terms) VALUES (:number, :terms)")  # noqa: S608
        self.unindex = sa.text(f"INSERT INTO {fts} ({fts}, rowid, terms) VALUES ('delete', :number, :terms)")  # noqa: S608
        self.upsert = sa.text(
            f"INSERT INTO {table} AS known (key, terms) VALUES (:key, CAST(:terms AS tsvector)) "  # noqa: S608
            "ON CONFLICT (key) DO UPDATE SET terms = EXCLUDED.terms WHERE known.terms <> EXCLUDED.terms"
        )
        joined = (
            f"SELECT t.number, v.body FROM {{}} t JOIN {values.name} v ON v.key = t.key ORDER BY t.number DESC LIMIT :limit"  # noqa: S608
        )
        newest = f"SELECT number, key, terms FROM {table} WHERE number < :before ORDER BY number DESC LIMIT :among"  # noqa: S608
        matching = f"SELECT number, key FROM ({newest}) n WHERE n.terms @@ CAST(:query AS tsquery)"  # noqa: S608
        self.find_among = sa.text(joined.format(f"({matching})"))
        matching = f"SELECT number, key FROM {table} WHERE terms @@ CAST(:query AS tsquery) AND number < :before"  # noqa: S608
        newest = "ORDER BY number DESC LIMIT :limit"
        self.plan = sa.text(f"EXPLAIN {matching} {newest}")
        # Materialized: else the limit would make the planner think that few rows are to be looked at.
        first = f"(SELECT number, key FROM m {newest})"  # noqa: S608
        self.find_by_index = sa.text(f"WITH m AS MATERIALIZED ({matching}) {joined.format(first)}")
        # CROSS JOIN: the index comes first, whatever SQLite thinks of the tables' sizes.
        self.find_sqlite = sa.text(
            f"SELECT t.number, v.body FROM {fts} f CROSS JOIN {table} t ON t.number = f.rowid "  # noqa: S608
            f"CROSS JOIN {values.name} v ON v.key = t.key "
            f"WHERE {fts} MATCH :query AND f.rowid < :before ORDER BY f.rowid DESC LIMIT :limit"
        )


@functools.cache
def _statements(terms: sa.Table) -> _Statements:
    values = next(sql_schema.TABLES[cls] for cls, table in sql_schema.TERMS.items() if table is terms)
    return _Statements(terms, values)


def _fts5(query: Query) -> str:
    if isinstance(query, Term):
        return f'"{query.text}"*' if query.prefix else f'"{query.text}"'
    if isinstance(query, Without):
        return f"({_fts5(query.kept)} NOT {_fts5(query.unwanted)})"
    return "(" + {Every: " AND ", Some: " OR "}[type(query)].join(map(_fts5, query.of)) + ")"


def _tsquery(query: Query) -> str:
    if isinstance(query, Term):
        return f"'{query.text}':*" if query.prefix else f"'{query.text}'"
    if isinstance(query, Without):
        return f"({_tsquery(query.kept)} & !{_tsquery(query.unwanted)})"
    return "(" + {Every: " & ", Some: " | "}[type(query)].join(map(_tsquery, query.of)) + ")"
