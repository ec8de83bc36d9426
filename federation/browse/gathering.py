"""What is asked for one by one, a few at once, and no further than somebody reads on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from typing import TypeVar

K = TypeVar("K")
T = TypeVar("T")
_AT_ONCE = 25


async def asked(ask: Callable[[K], Awaitable[T]], about: Iterable[K] | AsyncIterator[K]) -> AsyncIterator[T]:
    """The answer about each, in order."""
    batch: list[K] = []
    async for each in about if isinstance(about, AsyncIterator) else _one_by_one(about):
        batch.append(each)
        if len(batch) == _AT_ONCE:
            for found in await asyncio.gather(*map(ask, batch)):
                yield found
            batch.clear()
    for found in await asyncio.gather(*map(ask, batch)):
        yield found


async def _one_by_one(about: Iterable[K]) -> AsyncIterator[K]:
    for each in about:
        yield each
