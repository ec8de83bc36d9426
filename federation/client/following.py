"""Following the catalog: a stream of its changes that goes on by itself when it breaks, and waiting by it for one thing."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Generator
from typing import TYPE_CHECKING

from federation.core import errors
from federation.v1 import events_pb2

if TYPE_CHECKING:
    from federation.client.connection import Connection

_KEY = "Events.Watch"
#: Before a stream that broke is begun anew: longer and longer, until it tells something again.
_PAUSE_SECONDS_MIN = 0.05
_PAUSE_SECONDS_MAX = 2.0
#: Between two looks where nothing can be watched: short at first, so that what is soon over is soon told.
_LOOK_SECONDS_MAX = 0.5


def answers(
    connection: Connection, request: events_pb2.WatchRequest, seconds: float | None = None
) -> Generator[events_pb2.WatchResponse]:
    """What the stream tells, over as many streams as it takes: nothing twice, nothing left out. Ends after so many seconds.

    `request.start_revision` moves along. OutOfRange (REVISION_COMPACTED) where the log has let go of what comes next.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    pause = _PAUSE_SECONDS_MIN
    while (left := _left(deadline)) is None or left > 0:
        told = False
        with contextlib.closing(connection.stream(_KEY, request, seconds=left, persistent=False)) as stream:
            try:
                for answer in stream:
                    told, pause = True, _PAUSE_SECONDS_MIN
                    request.start_revision = answer.revision + 1
                    yield answer
                if request.until_now:
                    return
            except errors.DeadlineExceeded:
                if deadline is not None:
                    return
            except errors.Unauthenticated:
                # A sign-in that ended while it was watched: the token that is shown next may be a fresh one.
                if not told:
                    raise
            except errors.FederationError as error:
                if not error.passes:
                    raise
        left = _left(deadline)
        connection.pause(pause if left is None else max(0.0, min(pause, left)))
        pause = min(pause * 2, _PAUSE_SECONDS_MAX)


def moments(connection: Connection, name: str, seconds: float | None) -> Generator[None]:
    """When to look at a resource: once at the beginning, and again whenever it may have changed, for so many seconds.

    What changes after a look is told. Where it cannot be watched (an older server, a token whose scopes do not reach so far),
    it is time to look again and again.
    """
    deadline = None if seconds is None else time.monotonic() + seconds
    request = events_pb2.WatchRequest(filter=f'name = "{name}"', names_only=True)
    looked = False
    # Whatever keeps from watching: the look that follows works, or says what is wrong.
    with contextlib.suppress(errors.FederationError):
        for _ in answers(connection, request, seconds):
            looked = True
            yield
    pause = _PAUSE_SECONDS_MIN
    while (left := _left(deadline)) is None or left > 0 or not looked:
        looked = True
        yield
        connection.pause(pause if left is None else max(0.0, min(pause, left)))
        pause = min(pause * 1.3, _LOOK_SECONDS_MAX)


def _left(deadline: float | None) -> float | None:
    return None if deadline is None else deadline - time.monotonic()
