"""The one thread that writes to the database, in groups: one transaction, with one wait for the disk, serves many writers.

Callers get their answers after the commit, so what was answered is on disk. Each mutation of a group is its own: one that is
refused is undone back to where it began, and changes nothing for the others.
"""

from __future__ import annotations

import dataclasses
import functools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any, TypeVar

import sqlalchemy as sa

from federation import jitter
from federation.adapters import catalog_rows, sql_errors, sql_held, sql_quick
from federation.adapters.sql_ground import Ground

T = TypeVar("T")
_GROUP_MAX = 64
_ATTEMPTS = 8
_PAUSE_SECONDS = 0.01

Work = Callable[[sa.Connection, Ground], T]
Begin = Callable[[sa.Connection], T]


@dataclasses.dataclass
class _Mutation:
    """Work that waits for its turn. `settle` is what to tell its caller once the group has been committed."""

    work: Work[Any]
    answer: Future[Any] = dataclasses.field(default_factory=Future)
    settle: Callable[[], None] = lambda: None


class GroupWriter:
    """The one thread that writes. `begin` begins a transaction that no other writer is in.

    `announcement` is a statement that tells others of new events with the commit, where there is one.
    """

    def __init__(self, engine: sa.Engine, begin: Begin[Ground], announcement: sa.Executable | None = None) -> None:
        self._engine = engine
        self._held = sql_held.Held(engine)
        self._begin = begin
        self._announcement = announcement
        self._queue: queue.SimpleQueue[_Mutation | None] = queue.SimpleQueue()
        self._door = threading.Lock()
        self._closed = False
        self._thread = threading.Thread(target=self._serve, name="catalog-writer", daemon=True)
        self._thread.start()

    def run(self, work: Work[T]) -> T:
        """Runs the work in the writer's thread and returns when what it wrote is on disk. It may run more than once."""
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
        self._held.close()
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
        elif len(group) > 1 or isinstance(error, sql_errors.Contention):
            for mutation in group:
                self._retry(mutation)
            return
        for mutation in group:
            _fail(mutation, error)

    def _retry(self, mutation: _Mutation) -> None:
        """Alone, and again where the database gave it up for another program's sake: later and later, never in step with it."""
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                self._commit(iter((mutation,)), [])
            except BaseException as error:  # noqa: BLE001 - handed to the caller, who waits for it
                _fail(mutation, error)
                if not isinstance(error, sql_errors.Contention) or attempt == _ATTEMPTS:
                    return
                time.sleep(jitter.pause(_PAUSE_SECONDS * 2**attempt))
            else:
                return

    def _commit(self, mutations: Iterator[_Mutation], group: list[_Mutation]) -> None:
        """One transaction; `group` gets those that are in it, so that the caller knows whom to answer if it fails."""
        with sql_errors.translated(), self._held.begun(self._begin) as (connection, first):
            ground: Ground | None = first
            kept: list[_Mutation] = []
            for mutation in mutations:
                group.append(mutation)
                ground = ground or self._begin(connection)
                if kept:
                    _mark(connection, again=len(kept) > 1)
                try:
                    result = mutation.work(connection, ground)
                except BaseException as error:
                    _fail(mutation, error)
                    if isinstance(error, sql_errors.Contention) or connection.invalidated:
                        raise
                    if kept:
                        _undo(connection, error)
                    else:  # nothing was done before it
                        connection.rollback()
                        ground = None
                else:
                    mutation.settle = functools.partial(mutation.answer.set_result, result)
                    kept.append(mutation)
            if ground is not None:
                ground.write(connection, self._announcement)
                self._end(connection, kept)

    @staticmethod
    def _end(connection: sa.Connection, kept: list[_Mutation]) -> None:
        """Commits. If the database is lost in that very moment, nobody knows whether it has: then nothing is done twice."""
        try:
            connection.commit()
        except sa.exc.SQLAlchemyError as error:
            if not connection.invalidated:
                raise
            for mutation in kept:
                _fail(mutation, error)

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


def _mark(connection: sa.Connection, *, again: bool) -> None:
    """Marks where a mutation begins, in place of where the one before it did. The first of a group is undone with all of it."""
    if again:
        sql_quick.say(connection, "RELEASE SAVEPOINT mutation")
    sql_quick.say(connection, "SAVEPOINT mutation")


def _undo(connection: sa.Connection, error: BaseException) -> None:
    """SQLite ends the whole transaction by itself when, say, the disk is full: then that is the error of all of it."""
    try:
        sql_quick.say(connection, "ROLLBACK TO SAVEPOINT mutation")
    except sa.exc.SQLAlchemyError:
        raise error from None


def _fail(mutation: _Mutation, error: BaseException) -> None:
    reason = sql_errors.translate(error) if isinstance(error, sa.exc.SQLAlchemyError) else error
    mutation.settle = functools.partial(mutation.answer.set_exception, reason)
