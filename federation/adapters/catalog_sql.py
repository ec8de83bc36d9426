"""The store of record in SQL: SQLite embedded in the server, or PostgreSQL shared by many servers, from the same tables.

Values lie as JSON beside the columns that listings need, so that a new field needs no migration.
"""

from __future__ import annotations

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import IO, Any, NamedTuple, TypeVar

import sqlalchemy as sa

from federation import ports
from federation.adapters import (
    catalog_rows,
    sql_errors,
    sql_ground,
    sql_held,
    sql_log,
    sql_migrate,
    sql_postgres,
    sql_schema,
    sql_signal,
    sql_sqlite,
    sql_transaction,
    sql_writer,
)
from federation.adapters.sql_ground import Ground
from federation.adapters.sql_transaction import Looks, Occasion, SqlTransaction
from federation.core import errors
from federation.core.events import Event

T = TypeVar("T")


#: Lends a connection on which what it is given was asked first, with the answer.
_Begun = Callable[[Callable[[sa.Connection], Any]], AbstractContextManager[tuple[sa.Connection, Any]]]


class _Database(NamedTuple):
    """How a database is written to and read from, and how a transaction that only reads begins on it."""

    writer: sql_writer.GroupWriter
    reader: sa.Engine
    begin_reading: Callable[[sa.Connection], Ground]
    #: For glances: None where they would go over a network.
    nearby: sa.Engine | None = None


class SqlCatalog:
    """A `ports.Catalog` in a database, which is brought up to date when it is opened.

    `url` is `sqlite:///PATH` or `postgresql+psycopg://...`. Threads may share it, and
    processes may open the same database.
    """

    def __init__(
        self, url: str, clock: ports.Clock, ids: ports.Ids, *, backlog_facts_max: int = catalog_rows.BACKLOG_FACTS_MAX
    ) -> None:
        self._clock = clock
        self._ids = ids
        self._backlog_facts_max = backlog_facts_max
        self._looks: Looks = {}
        self._closed = False
        self._writer, self._reader, self._begin_reading, self._nearby = _open(url)
        self._glances = None if self._nearby is None else sql_held.Held(self._nearby)
        self._glancing = threading.Lock()
        self._signal = sql_signal.of(self._reader)
        self._pooled = functools.partial(sql_held.begun, self._reader)

    def write(self, work: Callable[[ports.Transaction], T], *, actor: str = "", request_id: str = "") -> T:
        def mutate(connection: sa.Connection, ground: Ground) -> T:
            occasion = Occasion(
                now=self._clock.now(),
                ids=self._ids,
                actor=actor,
                request_id=request_id,
                backlog_facts_max=self._backlog_facts_max,
            )
            tx = SqlTransaction(connection, occasion, looks=self._looks, ground=ground)
            result = work(tx)
            tx.finish()
            return result

        written = self._writer.run(mutate)
        self._signal.ring()
        return written

    def read(self, work: Callable[[ports.Transaction], T]) -> T:
        """What is remembered is not asked for: such a look is one question, whether it has changed, and no transaction.

        Where something has changed by the time that a transaction is needed after all, it is looked again from the first.
        """
        try:
            return self._looked(self._pooled, self._remembered, work)
        except sql_errors.Contention:
            return self._looked(self._pooled, self._begin_reading, work)

    def glance(self, work: Callable[[ports.Transaction], T]) -> T:
        if self._glances is None or not self._glancing.acquire(blocking=False):
            raise catalog_rows.must_wait()
        try:
            return self._looked(self._glances.begun, self._remembered, work)
        finally:
            self._glancing.release()

    def events(
        self,
        after: int,
        *,
        limit: int = 1000,
        kinds: Iterable[str] = (),
        without: Iterable[str] = (),
        facts_max: int = 0,
        bytes_max: int = 0,
    ) -> tuple[Event, ...]:
        wanted, unwanted = frozenset(kinds), frozenset(without)
        return self._read(
            lambda connection: sql_log.events(
                connection, after, limit=limit, kinds=wanted, without=unwanted, facts_max=facts_max, bytes_max=bytes_max
            )
        )

    def revision(self) -> int:
        with self._reading(self._pooled, sql_ground.position) as (_, position):
            return position

    def wait(self, after: int, seconds: float) -> int:
        deadline = time.monotonic() + seconds
        while True:
            self._signal.listen()
            newest, left = self.revision(), deadline - time.monotonic()
            if newest > after or left <= 0:
                return newest
            self._signal.wait(left)

    def floor(self) -> int:
        return self._read(sql_log.floor)

    def trim(self, until: int, before: datetime) -> int:
        return self._write(lambda connection: sql_log.trim(connection, until, before))

    def forget(self, before: datetime) -> int:
        return self._write(lambda connection: sql_log.forget(connection, before))

    def put_blob(self, digest: str, chunks: Iterable[bytes]) -> int:
        with catalog_rows.spooled(digest, chunks) as (file, size):
            self._write(lambda connection: _store_blob(connection, digest, size, file, self._clock.now()))
            return size

    def get_blob(self, digest: str) -> Iterator[bytes]:
        size = self.blob_bytes(digest)
        if size is None:
            raise catalog_rows.blob_absent(digest)
        # A piece at a time, each from a transaction of its own: a slow reader holds no connection, and a blob never changes.
        return (self._read(functools.partial(_chunk, digest, number)) for number in range(-(-size // catalog_rows.CHUNK_BYTES)))

    def blob_bytes(self, digest: str) -> int | None:
        table = sql_schema.blobs
        statement = sa.select(table.c.bytes).where(table.c.digest == catalog_rows.text(digest))
        return self._read(lambda connection: connection.execute(statement).scalar_one_or_none())

    def connections(self) -> tuple[tuple[str, str, int], ...]:
        """What its pools hold now: pool, state (`used` or `idle`), how many."""
        pools = {"read": self._reader.pool, "write": self._writer.pool}
        return tuple(
            (name, state, count)
            for name, pool in pools.items()
            if isinstance(pool, sa.QueuePool)
            for state, count in (("used", pool.checkedout()), ("idle", pool.checkedin()))
        )

    def close(self) -> None:
        self._closed = True
        self._signal.close()
        self._writer.close()
        self._reader.dispose()
        if self._glances is not None and self._nearby is not None:
            with self._glancing:
                self._glances.close()
            self._nearby.dispose()

    def _write(self, work: Callable[[sa.Connection], T]) -> T:
        return self._writer.run(lambda connection, _: work(connection))

    def _read(self, work: Callable[[sa.Connection], T]) -> T:
        with self._reading(self._pooled, self._begin_reading) as (connection, _):
            return work(connection)

    def _looked(self, begun: _Begun, begin: Callable[[sa.Connection], Ground], work: Callable[[ports.Transaction], T]) -> T:
        with self._reading(begun, begin) as (connection, ground):
            tx = SqlTransaction(
                connection,
                Occasion(now=self._clock.now(), ids=self._ids, writable=False),
                looks=self._looks,
                ground=ground,
                begin=None if connection.in_transaction() else lambda: self._begin_reading(connection),
            )
            found = work(tx)
            tx.finish()
            return found

    @staticmethod
    def _remembered(connection: sa.Connection) -> Ground:
        return Ground(stamps=sql_ground.stamps(connection))

    @contextlib.contextmanager
    def _reading(self, begun: _Begun, begin: Callable[[sa.Connection], T]) -> Iterator[tuple[sa.Connection, T]]:
        """A connection and what `begin` found on it. What has begun is ended."""
        if self._closed:
            raise catalog_rows.closed()
        with sql_errors.translated(), begun(begin) as (connection, found):
            try:
                yield connection, found
            finally:
                if not connection.invalidated:
                    connection.commit()  # and no rollback, at which drivers forget the statements that they have prepared


def schema(url: str) -> str:
    """At which revision of its tables a database is, which is opened for a look and not changed.

    Unavailable where it does not answer; FailedPrecondition (DATABASE_EMPTY, DATABASE_OLDER, DATABASE_NEWER) where it is not at
    this release's.
    """
    parsed = _parse(url)
    on_disk = parsed.get_backend_name() == "sqlite"
    if on_disk and not Path(parsed.database or "").exists():
        raise sql_migrate.empty()
    engine = sql_sqlite.engine(Path(parsed.database or ""), reads_only=True) if on_disk else _postgres(parsed)
    try:
        return sql_migrate.revision(engine)
    finally:
        engine.dispose()


def make(url: str) -> None:
    """Makes an empty catalog in a database, or brings the one that is there up to date."""
    made = _open(url)
    made.writer.close()
    for engine in (made.reader, made.nearby):
        if engine is not None:
            engine.dispose()


def _open(url: str) -> _Database:
    """A database that is up to date."""
    parsed = _parse(url)
    if parsed.get_backend_name() == "sqlite":
        path = Path(parsed.database or "")
        engine = sql_sqlite.engine(path, reads_only=False)
        _migrate(engine)
        reader, nearby = sql_sqlite.engine(path, reads_only=True), sql_sqlite.engine(path, reads_only=True, waits=False)
        return _Database(sql_writer.GroupWriter(engine, sql_sqlite.begin), reader, sql_sqlite.begin, nearby)
    engine = _postgres(parsed)
    _migrate(engine)
    engine.dispose()
    shared = sql_postgres.connections(parsed)
    writer = sql_writer.GroupWriter(shared, sql_postgres.begin_writing, sql_signal.ANNOUNCEMENT)
    return _Database(writer, shared, sql_postgres.begin_reading)


def _migrate(engine: sa.Engine) -> None:
    try:
        sql_migrate.upgrade(engine)
    except BaseException:
        engine.dispose()
        raise


def _postgres(url: sa.URL) -> sa.Engine:
    try:
        return sql_postgres.engine(url)
    except ModuleNotFoundError as error:
        raise errors.FailedPrecondition(
            f"PostgreSQL needs the package {error.name!r}",
            reason="PACKAGE_MISSING",
            help="Install it: pip install 'dataset-federation[postgres]'.",
        ) from error


def _parse(url: str) -> sa.URL:
    """The URL, if it names a database of ours. It is not repeated in the error: it may hold a password."""
    try:
        parsed = sa.make_url(url)
    except sa.exc.ArgumentError:
        parsed = None
    backend = parsed.get_backend_name() if parsed else ""
    on_disk = backend == "sqlite" and parsed is not None and parsed.database not in (None, "", ":memory:")
    if parsed is None or not (on_disk or backend == "postgresql"):
        raise errors.InvalidArgument(
            "the catalog's database URL names neither a SQLite file nor a PostgreSQL database",
            reason="DATABASE_URL_INVALID",
            help="Write sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE.",
        )
    return parsed


def _store_blob(connection: sa.Connection, digest: str, size: int, file: IO[bytes], now: datetime) -> None:
    """Stores the pieces of a blob, unless it is there already. May run again, so it begins at the file's beginning."""
    blobs, chunks = sql_schema.blobs, sql_schema.blob_chunks
    with sql_errors.translated():
        if connection.execute(sa.select(blobs.c.digest).where(blobs.c.digest == digest)).one_or_none():
            return
        file.seek(0)
        for number, data in enumerate(catalog_rows.pieces(file)):
            connection.execute(sa.insert(chunks), {"digest": digest, "number": number, "data": data})
        values = {"digest": digest, "bytes": size, "time": sql_transaction.time_text(now)}
        connection.execute(sa.insert(blobs), values)


def _chunk(digest: str, number: int, connection: sa.Connection) -> bytes:
    table = sql_schema.blob_chunks
    statement = sa.select(table.c.data).where(table.c.digest == digest, table.c.number == number)
    return bytes(connection.execute(statement).scalar_one())
