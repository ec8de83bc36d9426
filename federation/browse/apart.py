"""Slow work in a thread that holds nothing up: somebody who leaves, or ends the program, does not wait for it."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the work gives. Where nobody waits for that any more it goes on to its end, or ends with the process.

    `asyncio.to_thread` would not do: the end of a program waits for its threads, and a site that is away is waited for long.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T] = loop.create_future()

    def told(result: T | None, error: BaseException | None) -> None:
        if done.done():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result)  # type: ignore[arg-type]

    def thread() -> None:
        result, failed = None, None
        try:
            result = work(*args, **kwargs)
        except BaseException as error:  # noqa: BLE001 - whatever it is, whoever waits is told
            failed = error
        if not loop.is_closed():
            loop.call_soon_threadsafe(told, result, failed)

    threading.Thread(target=contextvars.copy_context().run, args=(thread,), name="apart", daemon=True).start()
    return await done
