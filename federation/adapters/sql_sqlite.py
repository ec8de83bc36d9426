"""SQLite under the catalog: one thread writes, in groups; readers have connections and snapshots of their own.

A group is one `BEGIN IMMEDIATE` transaction in which each mutation has a savepoint. Callers get their answers after the commit,
so what was answered is on disk, and one fsync serves many.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import queue
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa

from federation.adapters import catalog_rows, sql_errors
from federation.core import errors

T = TypeVar("T")
_BUSY_SECONDS = 30
_GROUP_MAX = 64
_WAL_BYTES_MAX = 64 << 20
_READERS = 8


def engine(path: Path, *, reads_only: bool) -> sa.Engine:
    """Connections to the file, which is made, for this user alone, if it is not there."""
    _make(path)
    url = sa.URL.create("sqlite", database=str(path))
    connect_args = {"timeout": _BUSY_SECONDS, "isolation_level": None, "check_same_thread": False}
    size = _READERS if reads_only else 1
    made = sa.create_engine(
        url,
        connect_args=connect_args,
        poolclass=sa.QueuePool,
        pool_size=size,
        max_overflow=size,
        pool_timeout=_BUSY_SECONDS,
        pool_use_lifo=True,
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
    # Waits for nothing, so it complains of nothing.
    connection.connection.cursor().execute("BEGIN")


def _begin_writing(connection: sa.Connection) -> None:
    connection.exec_driver_sql("BEGIN IMMEDIATE")


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


@dataclasses.dataclass
class _Mutation:
    """Work that waits for its turn. `settle` is what to tell its caller once the group has been committed."""

    work: Callable[[sa.Connection], Any]
    answer: Future[Any] = dataclasses.field(default_factory=Future)
    settle: Callable[[], None] = lambda: None


class GroupWriter:
    """The one thread that writes."""

    def __init__(self, writer: sa.Engine) -> None:
        self._engine = writer
        self._queue: queue.SimpleQueue[_Mutation | None] = queue.SimpleQueue()
        self._door = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="catalog-writer", daemon=True)
        self._thread.start()

    def run(self, work: Callable[[sa.Connection], T]) -> T:
        """Runs the work in the writer's thread and returns when what it wrote is on disk."""
        if threading.current_thread() is self._thread:
            raise catalog_rows.nested()
        mutation = _Mutation(work)
        with self._door:
            if self._closed:
                raise catalog_rows.closed()
            self._queue.put(mutation)
        result: T = mutation.answer.result()
        return result

    @property
    def pool(self) -> sa.Pool:
        """Its connections."""
        return self._engine.pool

    def close(self) -> None:
        """Does what is queued, then ends."""
        with self._door:
            if not self._closed:
                self._closed = True
                self._queue.put(None)
        self._thread.join()
        self._engine.dispose()

    def _serve(self) -> None:
        while (first := self._queue.get()) is not None:
            self._serve_group(first)

    def _serve_group(self, first: _Mutation) -> None:
        """Commits the first and what is queued behind it. Whatever happens, each caller gets an answer."""
        group: list[_Mutation] = []
        try:
            self._commit(self._behind(first), group)
        except BaseException as error:  # noqa: BLE001 - handed to the callers, who wait for it
            self._recover(first, group, error)
        for mutation in group:
            mutation.settle()

    def _recover(self, first: _Mutation, group: list[_Mutation], error: BaseException) -> None:
        """Nothing of the group was kept: each has another chance alone, so that one of them cannot spoil the others' work."""
        if not group:  # it could not even begin, nor could those that wait
            group.extend(self._behind(first))
        elif len(group) > 1:
            for mutation in group:
                self._retry(mutation)
            return
        for mutation in group:
            _fail(mutation, error)

    def _retry(self, mutation: _Mutation) -> None:
        try:
            self._commit(iter((mutation,)), [])
        except BaseException as error:  # noqa: BLE001 - handed to the caller, who waits for it
            _fail(mutation, error)

    def _commit(self, mutations: Iterator[_Mutation], group: list[_Mutation]) -> None:
        """One transaction; `group` gets those that are in it, so that the caller knows whom to answer if it fails."""
        with self._engine.begin() as connection:
            for mutation in mutations:
                group.append(mutation)
                _attempt(connection, mutation)

    def _behind(self, first: _Mutation) -> Iterator[_Mutation]:
        """The first, and what is queued behind it by the time that the one before is done."""
        yield first
        for _ in range(_GROUP_MAX - 1):
            try:
                following = self._queue.get_nowait()
            except queue.Empty:
                return
            if following is None:
                self._queue.put(None)  # the end comes after this group
                return
            yield following


def _attempt(connection: sa.Connection, mutation: _Mutation) -> None:
    """Runs one mutation in its savepoint. Its refusal is its own affair; a transaction that has gone away is everybody's."""
    connection.exec_driver_sql("SAVEPOINT mutation")
    try:
        result = mutation.work(connection)
    except BaseException as error:  # noqa: BLE001 - handed to the caller, who waits for it
        _undo(connection, error)
        _fail(mutation, error)
    else:
        connection.exec_driver_sql("RELEASE mutation")
        mutation.settle = lambda: mutation.answer.set_result(result)


def _undo(connection: sa.Connection, error: BaseException) -> None:
    """SQLite ends the whole transaction by itself when, say, the disk is full: then that is the error of all of it."""
    try:
        connection.exec_driver_sql("ROLLBACK TO mutation")
        connection.exec_driver_sql("RELEASE mutation")
    except sa.exc.SQLAlchemyError:
        raise error from None


def _fail(mutation: _Mutation, error: BaseException) -> None:
    reason = sql_errors.translate(error) if isinstance(error, sa.exc.SQLAlchemyError) else error
    mutation.settle = lambda: mutation.answer.set_exception(reason)
