"""Clients for a program that speaks for many people: one for each token, which is passed on and never its own."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

from federation.client.aio import AsyncClient

_CLIENTS_MAX = 64


class ClientPool:
    """The clients of those who have called lately. Belongs to one event loop."""

    def __init__(self, target: str, ca: bytes) -> None:
        self._target, self._ca = target, ca
        self._clients: OrderedDict[str | Callable[[], str], AsyncClient] = OrderedDict()

    async def of(self, token: str | Callable[[], str]) -> AsyncClient:
        """The client that bears this token, or what this function gives for each call."""
        client = self._clients.pop(token, None) or AsyncClient(self._target, token, self._ca)
        self._clients[token] = client
        while len(self._clients) > _CLIENTS_MAX:
            await self._clients.popitem(last=False)[1].close()
        return client

    async def close(self) -> None:
        """Ends all connections."""
        while self._clients:
            await self._clients.popitem()[1].close()
