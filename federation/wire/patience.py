"""How long an HTTP listener waits for a connection to ask something."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

#: How long a connection may be open before the head of a request has come over it, and how often that is looked at.
FIRST_REQUEST_SECONDS = 30.0
LOOK_SECONDS = 5.0


class Patience:
    """Closes connections over which no request comes: aiohttp waits for the first one for ever, and for later ones not."""

    def __init__(self) -> None:
        self._heard: set[object] = set()

    @property
    def middleware(self) -> Middleware:
        """The outermost of an application: it notes that a request's head has come."""

        @web.middleware
        async def noted(request: web.Request, handler: Handler) -> web.StreamResponse:
            self._heard.add(request.protocol)
            return await handler(request)

        return noted

    async def watch(self, runner: web.AppRunner) -> None:
        """Looks until it is cancelled."""
        silent: dict[Any, float] = {}
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now, there = time.monotonic(), runner.server.connections if runner.server else []
            self._heard.intersection_update(there)
            silent = {each: silent.get(each, now) for each in there if each not in self._heard}
            for each in [each for each, since in silent.items() if now - since >= FIRST_REQUEST_SECONDS]:
                each.force_close()
