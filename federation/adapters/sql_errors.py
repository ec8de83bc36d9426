"""What databases complain of, in our own words. Nothing of SQLAlchemy, sqlite3 or psycopg gets past here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager

import sqlalchemy as sa

from federation.core import errors

_TRY_AGAIN = "Try again; nothing was changed."
_SERIALIZATION_STATES = frozenset({"40001", "40P01"})  # serialization_failure, deadlock_detected
_FULL_STATES = frozenset({"53100"})  # disk_full
_BUSY_STATES = frozenset({"55P03", "57014"})  # lock_not_available, query_canceled


class Contention(errors.Unavailable):
    """The database gave this transaction up in favour of another: it may simply run again."""

    default_reason = "DATABASE_BUSY"


@contextmanager
def translated() -> Iterator[None]:
    """Turns what the database raises inside into our errors."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        raise translate(error) from error


def translate(error: sa.exc.SQLAlchemyError) -> errors.FederationError:
    """Our error for the database's."""
    if isinstance(error, sa.exc.TimeoutError):
        return errors.Unavailable("no database connection became free", reason="DATABASE_BUSY", help=_TRY_AGAIN)
    origin = error.orig if isinstance(error, sa.exc.DBAPIError) else None
    if isinstance(origin, sqlite3.Error):
        return _of_sqlite(origin)
    state = getattr(origin, "sqlstate", None)
    if state is not None or isinstance(error, sa.exc.OperationalError):
        return _of_server(state or "", origin)
    return errors.FederationError(f"the database refused a statement: {origin or error}", reason="DATABASE_ERROR")


def _of_sqlite(error: sqlite3.Error) -> errors.FederationError:
    code = getattr(error, "sqlite_errorcode", 0) & 0xFF  # the primary code of an extended one
    if code in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return errors.Unavailable("another process kept the catalog's database locked", reason="DATABASE_BUSY", help=_TRY_AGAIN)
    if code == sqlite3.SQLITE_FULL:
        return _full()
    if code in (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB):
        return errors.DataCorrupt(
            f"the catalog's database is damaged: {error}", reason="DATABASE_CORRUPT", help="Restore it from a backup."
        )
    if code in (sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM):
        return errors.Unavailable(
            f"the catalog's database cannot be reached: {error}",
            reason="DATABASE_UNAVAILABLE",
            help="Check that the file and its folder are there and writable by this user, and that the disk is sound.",
        )
    if "no such module: fts5" in str(error):
        return errors.FailedPrecondition(
            "this Python's SQLite has no full-text index (FTS5), which the catalog's search needs",
            reason="SQLITE_WITHOUT_FTS5",
            help="Use a Python whose SQLite was built with it, as most are, or PostgreSQL.",
        )
    return errors.FederationError(f"the database refused a statement: {error}", reason="DATABASE_ERROR")


def _of_server(state: str, origin: BaseException | None) -> errors.FederationError:
    if state in _SERIALIZATION_STATES:
        return Contention("many writers changed the same things at once", help=_TRY_AGAIN)
    if state in _BUSY_STATES:
        return errors.Unavailable("another writer kept the catalog's database locked", reason="DATABASE_BUSY", help=_TRY_AGAIN)
    if state in _FULL_STATES:
        return _full()
    if not state or state.startswith(("08", "53", "57", "25P03")):  # connection, resources, shutdown, idle timeout
        return errors.Unavailable(
            f"the catalog's database does not answer: {_first_line(origin)}",
            reason="DATABASE_UNAVAILABLE",
            help="Check that PostgreSQL runs and that the database URL is right. A change under way may have been kept.",
        )
    return errors.FederationError(f"the database refused a statement: {_first_line(origin)}", reason="DATABASE_ERROR")


def _full() -> errors.ResourceExhausted:
    return errors.ResourceExhausted(
        "the disk of the catalog's database is full", reason="STORAGE_FULL", help="Free some space; nothing was changed."
    )


def _first_line(error: BaseException | None) -> str:
    return (str(error).splitlines() or ["no reason given"])[0]
