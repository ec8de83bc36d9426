"""A word that the log has grown: to whoever waits for it in this process, and on PostgreSQL in those of other servers too."""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Protocol

import sqlalchemy as sa

if TYPE_CHECKING:
    import psycopg

_log = logging.getLogger(__name__)

#: Without a word it is looked again after so long: others may have written the same file, a pooler may have eaten a NOTIFY.
_LOOK_SECONDS = 0.2
_LOOK_SECONDS_TOLD = 1.0
_CHANNEL = "federation_log"
#: Tells other servers on PostgreSQL of what the transaction has written, once it is committed.
ANNOUNCEMENT = sa.text(f"NOTIFY {_CHANNEL}")


class Signal(Protocol):
    """One thread at a time `listen`s, looks, and `wait`s: what is written in between is not missed."""

    def ring(self) -> None:
        """Tells of a commit of this process."""
        ...

    def listen(self) -> None:
        """From now on a `wait` hears of every word."""
        ...

    def wait(self, seconds: float) -> None:
        """Returns at a word, or after so many seconds at the most; it may return for nothing."""
        ...

    def close(self) -> None: ...


def of(engine: sa.Engine) -> Signal:
    """The signal of a database."""
    return _Postgres(engine.url) if engine.dialect.name == "postgresql" else _Process()


class _Process:
    """Inside one process."""

    def __init__(self) -> None:
        self._rung = threading.Event()

    def ring(self) -> None:
        self._rung.set()

    def listen(self) -> None:
        self._rung.clear()

    def wait(self, seconds: float) -> None:
        self._rung.wait(min(seconds, _LOOK_SECONDS))
        self._rung.clear()

    def close(self) -> None:
        self._rung.set()


class _Postgres:
    """LISTEN and NOTIFY, over a connection of its own. Where that cannot be had, it is looked again and again instead."""

    def __init__(self, url: sa.URL) -> None:
        self._url = url
        self._heard: psycopg.Connection | None = None
        self._closing = threading.Event()

    def ring(self) -> None:
        """The database tells this process as well."""

    def listen(self) -> None:
        import psycopg  # noqa: PLC0415 - an extra

        if self._heard is not None or self._closing.is_set():
            return
        try:
            address = self._url.set(drivername="postgresql").render_as_string(hide_password=False)
            heard = self._heard = psycopg.connect(address, autocommit=True, connect_timeout=10)
            heard.execute(f"LISTEN {_CHANNEL}")
        except psycopg.Error as error:
            self._drop()
            _log.debug("the log is looked at again and again, for nothing can be listened to: %s", error)
        if self._closing.is_set():  # in the meantime, by another thread
            self._drop()

    def wait(self, seconds: float) -> None:
        import psycopg  # noqa: PLC0415

        if self._heard is None:
            self._closing.wait(min(seconds, _LOOK_SECONDS))
            return
        try:
            for _ in self._heard.notifies(timeout=min(seconds, _LOOK_SECONDS_TOLD), stop_after=1):
                pass
        except psycopg.Error as error:
            _log.info("listening to the log broke off and is begun anew: %s", error)
            self._drop()

    def close(self) -> None:
        """Whoever waits finds the connection closed, at the latest when its look is over."""
        self._closing.set()
        self._drop()

    def _drop(self) -> None:
        heard, self._heard = self._heard, None
        if heard is not None:
            heard.close()
