"""How a call that may be repeated is repeated while its other side is away: after ever longer pauses, until patience ends."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from typing import TypeVar

from federation.core import errors

T = TypeVar("T")
Passing = tuple[type[errors.FederationError], ...]

#: How long a caller that may repeat itself goes on while the gateway is away.
PATIENCE_SECONDS = 120
_PAUSE_SECONDS = 0.1
_PAUSE_SECONDS_MAX = 2.0
_NEVER = threading.Event()
_GIVEN_UP = ContextVar("given_up", default=_NEVER)


def persistent(call: Callable[[], T], *, seconds: float = PATIENCE_SECONDS, passing: Passing = (errors.Unavailable,)) -> T:
    """The answer of a call that is safe to repeat: it is repeated while the other side is away, until patience ends.

    `passing` are the errors of ours that it is repeated after.
    """
    pauses = Pauses(seconds)
    while True:
        try:
            return call()
        except passing as error:
            pauses.wait(error)


class Pauses:
    """Ever longer pauses, up to a total that progress renews."""

    def __init__(self, seconds: float = PATIENCE_SECONDS) -> None:
        self._seconds = seconds
        self.progress()

    def progress(self) -> None:
        """Resets the total of the pauses: something came through."""
        self._pause = _PAUSE_SECONDS
        self._deadline = time.monotonic() + self._seconds

    def wait(self, error: errors.FederationError) -> None:
        """Pauses; raises the error instead where the pause would exceed the total, or nobody waits any more (`unless`)."""
        pause = self._pause + (error.retry_seconds or 0)
        if time.monotonic() + pause > self._deadline or _GIVEN_UP.get().wait(pause):
            raise error
        self._pause = min(self._pause * 2, _PAUSE_SECONDS_MAX)


@contextlib.contextmanager
def unless(given_up: threading.Event) -> Iterator[None]:
    """Within it no pause lasts longer than somebody waits for what comes of it: once the event is set, the error is raised."""
    token = _GIVEN_UP.set(given_up)
    try:
        yield
    finally:
        _GIVEN_UP.reset(token)
