"""SQLite under the catalog: writers take turns by `BEGIN IMMEDIATE`; readers have connections and snapshots of their own."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import time
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from federation.adapters import sql_quick
from federation.adapters.sql_ground import Ground
from federation.core import errors

_BUSY_SECONDS = 30
_WAL_BYTES_MAX = 64 << 20
_READERS = 8


def engine(path: Path, *, reads_only: bool, waits: bool = True) -> sa.Engine:
    """Connections to the file, which is made, for this user alone, if it is not there. Some wait for no lock of others."""
    _make(path)
    url = sa.URL.create("sqlite", database=str(path))
    connect_args = {"timeout": _BUSY_SECONDS if waits else 0, "isolation_level": None, "check_same_thread": False}
    size = _READERS if reads_only else 1
    made = sa.create_engine(
        url,
        connect_args=connect_args,
        poolclass=sa.QueuePool,
        pool_size=size,
        max_overflow=size,
        pool_timeout=_BUSY_SECONDS,
        pool_use_lifo=True,
        pool_reset_on_return=None,  # whoever takes one ends its transaction
    )
    sa.event.listen(made, "connect", _prepare_reader if reads_only else _prepare_writer)
    # The driver begins nothing by itself (isolation_level None): a transaction is what is written here.
    sa.event.listen(made, "begin", _begin_reading if reads_only else _begin_writing)
    return made


def _make(path: Path) -> None:
    """The file holds wrapped keys and token digests, so nobody else reads it, nor the -wal and -shm that take its mode.

    One that is there is not opened, not even to look: closing it again would drop the locks that SQLite holds on it for the
    whole process (fcntl), and another process could then take our log away as nobody's, with what was committed to it.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    except OSError as error:
        raise errors.Unavailable(
            f"the catalog's database {path} cannot be opened: {error.strerror}",
            reason="DATABASE_UNAVAILABLE",
            help="Check that its folder exists and is writable by this user.",
        ) from error


def _prepare_writer(connection: sqlite3.Connection, _: Any) -> None:
    _to_wal(connection)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute(f"PRAGMA journal_size_limit = {_WAL_BYTES_MAX}")
    connection.execute("PRAGMA trusted_schema = OFF")


def _prepare_reader(connection: sqlite3.Connection, _: Any) -> None:
    connection.execute("PRAGMA query_only = ON")
    connection.execute("PRAGMA trusted_schema = OFF")


def _begin_reading(connection: sa.Connection) -> None:
    sql_quick.say(connection, "BEGIN")


def _begin_writing(connection: sa.Connection) -> None:
    sql_quick.say(connection, "BEGIN IMMEDIATE")


def _to_wal(connection: sqlite3.Connection) -> None:
    """WAL stays in the file once it is set. Two processes that set it at once are told 'locked' without the busy timeout."""
    deadline = time.monotonic() + _BUSY_SECONDS
    while connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
        try:
            connection.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & 0xFF != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def begin(connection: sa.Connection) -> Ground:
    """Begins a transaction as its engine does. What it stands on is asked for when it is needed: it costs no round trip."""
    connection.begin()
    return Ground()
