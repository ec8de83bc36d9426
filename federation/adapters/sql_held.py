"""A connection that is held from one use to the next: to take it from a pool and give it back takes longer than a look."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

import sqlalchemy as sa

T = TypeVar("T")


class Held:
    """One connection of an engine, for one use at a time; opened when it is first needed."""

    def __init__(self, engine: sa.Engine) -> None:
        self._engine = engine
        self._connection: sa.Connection | None = None

    @contextmanager
    def begun(self, begin: Callable[[sa.Connection], T]) -> Iterator[tuple[sa.Connection, T]]:
        """The connection, and what `begin` found, which asks it first. A transaction that is not ended is rolled back.

        Where the connection was lost while it lay idle, that shows then, and nothing has happened yet: it begins on a new one.
        """
        connection, self._connection = self._connection or self._engine.connect(), None
        try:
            try:
                found = begin(connection)
            except sa.exc.DBAPIError as error:
                if not error.connection_invalidated:
                    raise
                connection.close()
                self._engine.dispose()  # those that lay beside it are of no more use
                connection = self._engine.connect()
                found = begin(connection)
            yield connection, found
            if not connection.invalidated:
                connection.rollback()
                self._connection = connection
        finally:
            if self._connection is None:
                connection.close()

    def close(self) -> None:
        """Gives the connection back."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()


@contextmanager
def begun(engine: sa.Engine, begin: Callable[[sa.Connection], T]) -> Iterator[tuple[sa.Connection, T]]:
    """The same with one of the engine's connections, which is given back."""
    held = Held(engine)
    try:
        with held.begun(begin) as found:
            yield found
    finally:
        held.close()
