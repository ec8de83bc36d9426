"""The tables of the SQL catalog: one for each kind of `core.kinds.KINDS`, and those of events, answers and blobs.

The migrations make them; a test holds that both say the same.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

from federation.core import kinds

#: Alembic's table with the revision that the database is at.
VERSION_TABLE = "schema_version"
#: The row of `counters` that holds the position of the newest event.
EVENTS = "events"
#: The row of `counters` that holds the position up to which the log was trimmed.
FLOOR = "floor"

#: The row of `counters` with the number of the oldest revision whose code may run on these tables.
OLDEST = "oldest"

metadata = sa.MetaData()

# Keys are compared byte by byte on every database, so that a listing has one order everywhere.
_Text = sa.Text().with_variant(sa.Text(collation="C"), "postgresql")
# SQLite's rowid is spelled INTEGER.
_Position = sa.BigInteger().with_variant(sa.Integer, "sqlite")


def _table_of(kind: kinds.Kind) -> sa.Table:
    """Listings run along (parent, key) or (column, key), so each filter has an index that ends with the order."""
    columns = kind.columns or {}
    return sa.Table(
        kind.table,
        metadata,
        sa.Column("key", _Text, primary_key=True),
        sa.Column("parent", _Text, nullable=False),
        *(sa.Column(name, _Text, nullable=False) for name in columns),
        sa.Column("etag", sa.Text, nullable=False),
        sa.Column("body", sa.Text, nullable=False),
        *(sa.Index(f"ix_{kind.table}_{name}", name, "key") for name in ("parent", *columns)),
    )


TABLES: dict[type, sa.Table] = {cls: _table_of(kind) for cls, kind in kinds.KINDS.items()}


def _terms_of(kind: kinds.Kind) -> sa.Table:
    """What values are found by, in the order in which they were inserted. On SQLite an FTS5 table beside it is the index."""
    name = f"{kind.table}_terms"
    terms = sa.Text().with_variant(postgresql.TSVECTOR(), "postgresql")
    return sa.Table(
        name,
        metadata,
        sa.Column("number", _Position, primary_key=True),
        sa.Column("key", _Text, nullable=False, unique=True),
        sa.Column("terms", terms, nullable=False),
        sa.Index(f"ix_{name}", "terms", postgresql_using="gin").ddl_if(dialect="postgresql"),
    )


#: What values of those kinds are found by that have terms.
TERMS: dict[type, sa.Table] = {cls: _terms_of(kind) for cls, kind in kinds.KINDS.items() if kind.terms}


def fts_of(terms: sa.Table) -> str:
    """SQLite's full-text index of such a table. It is no table of the metadata, which knows no virtual ones."""
    return f"{terms.name}_fts"


events = sa.Table(
    "events",
    metadata,
    sa.Column("position", _Position, primary_key=True, autoincrement=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Column("kind", _Text, nullable=False),
    sa.Column("name", _Text, nullable=False),
    sa.Column("actor", sa.Text, nullable=False),
    sa.Column("request_id", sa.Text, nullable=False),
    sa.Column("body", sa.Text, nullable=False),
    sa.Column("rows", sa.Integer, nullable=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
    sa.Index("ix_events_kind", "kind", "position"),
)

requests = sa.Table(
    "requests",
    metadata,
    sa.Column("actor", _Text, primary_key=True),
    sa.Column("key", _Text, primary_key=True),
    sa.Column("hash", sa.Text, nullable=False),
    sa.Column("answer", sa.LargeBinary, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
    sa.Index("ix_requests_time", "time"),
)

blobs = sa.Table(
    "blobs",
    metadata,
    sa.Column("digest", _Text, primary_key=True),
    sa.Column("bytes", sa.BigInteger, nullable=False),
    sa.Column("time", sa.Text, nullable=False),
)

blob_chunks = sa.Table(
    "blob_chunks",
    metadata,
    sa.Column("digest", _Text, primary_key=True),
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("data", sa.LargeBinary, nullable=False),
)

#: By the table of each kind that is remembered: a number that no other state of it has, or had.
stamps = sa.Table(
    "stamps",
    metadata,
    sa.Column("table", _Text, primary_key=True),
    sa.Column("stamp", sa.BigInteger, nullable=False),
)

counters = sa.Table(
    "counters",
    metadata,
    sa.Column("name", _Text, primary_key=True),
    sa.Column("value", sa.BigInteger, nullable=False),
)
