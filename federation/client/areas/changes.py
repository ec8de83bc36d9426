"""Changes of the catalog as they are made, and waiting by them for what ends."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

from federation.client import following
from federation.client.areas import base
from federation.core import errors, watching
from federation.v1 import events_pb2
from federation.wire import changes as wire_changes

T = TypeVar("T")


class Changes(base.Area):
    """Changes."""

    def watch(
        self,
        filter: str = "",  # noqa: A002
        *,
        start_revision: int = 0,
        names_only: bool = False,
        until_now: bool = False,
        timeout: float | None = None,
    ) -> Iterator[watching.Change]:
        """Changes of the catalog in order, each once, from a revision on, or from now on.

        `filter` is like `type = "jobs" AND namespace = "sales"`. Goes on by itself where a connection breaks, at whichever
        server there is, until `timeout` seconds are over; with `until_now` until all that is there has been told. OutOfRange
        (REVISION_COMPACTED) where the log no longer holds what comes next.

        >>> changes = client.watch('type = "datasets" AND namespace = "research"', start_revision=1, until_now=True)
        >>> [(change.kind, change.name) for change in changes][-1]
        ('dataset.created', 'namespaces/research/datasets/returns')
        """
        request = events_pb2.WatchRequest(
            filter=filter, start_revision=start_revision, names_only=names_only, until_now=until_now
        )
        for answer in following.answers(self._connection, request, timeout):
            yield from map(wire_changes.to_change, answer.events)

    def _ended(
        self,
        name: str,
        look: Callable[[str], T],
        progress: Callable[[T], None] | None,
        timeout: float | None,
        *,
        unfinished: Callable[[Any, float], errors.DeadlineExceeded],
        stamp: Callable[[Any], object] = lambda found: found.etag,
    ) -> T:
        """What has a state, once that is a last one. `progress` hears of each look that found another `stamp`."""
        current: Any = None
        told: object = None
        with contextlib.closing(following.moments(self._connection, name, timeout)) as moments:
            for _ in moments:
                current = look(name)
                if progress and stamp(current) != told:
                    told = stamp(current)
                    progress(current)
                if current.state.terminal:
                    return current  # type: ignore[no-any-return]
        assert timeout is not None, "it is looked at again and again otherwise"
        raise unfinished(current, timeout)


def unfinished(noun: str, verb: str) -> Callable[[Any, float], errors.DeadlineExceeded]:
    """What is told of a job, a transfer or a pipeline that takes longer than its caller is ready to wait."""

    def told(current: Any, timeout: float) -> errors.DeadlineExceeded:
        name = getattr(current, noun)
        return errors.DeadlineExceeded(
            f"{noun} {name} is still {current.state} after {timeout:g} seconds",
            reason=f"{noun.upper()}_UNFINISHED",
            help=f"It goes on; wait longer, or see `fed {noun} {verb} {name}`.",
            metadata={noun: name, "state": str(current.state)},
        )

    return told
