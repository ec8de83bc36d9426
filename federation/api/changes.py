"""A word to everybody in this process who waits for the catalog to change."""

from __future__ import annotations

import asyncio
import contextlib


class Changes:
    """Take an `event` before you look, look, then wait for it: what changed in between is not missed."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def event(self) -> asyncio.Event:
        """Is set at the next change."""
        return self._event

    def notify(self) -> None:
        """Wakes all that wait. Called on the event loop."""
        woken, self._event = self._event, asyncio.Event()
        woken.set()


async def wait(event: asyncio.Event, seconds: float) -> None:
    """Returns when the event is set, or after some seconds: other processes change the catalog without a word to us."""
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(event.wait(), seconds)
