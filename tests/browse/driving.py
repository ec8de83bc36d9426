"""The program driven by its keys, without a terminal, and what then stands on its screen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

from textual.pilot import Pilot

from federation.browse import app, place
from federation.browse.clients import Clients
from federation.client import AsyncClient
from tests.wire.edge import Edge

#: A loaded machine takes its time; what is right comes sooner.
PATIENCE_SECONDS = 30.0


@dataclass(kw_only=True)
class Driver:
    """Somebody at the keys."""

    browser: app.Browser
    pilot: Pilot[None]

    @property
    def lines(self) -> list[str]:
        """The screen, line by line."""
        return [strip.text for strip in self.browser.screen._compositor.render_strips()]

    @property
    def text(self) -> str:
        """The screen."""
        return "\n".join(self.lines)

    async def sees(self, *words: str, without: str = "") -> str:
        """Waits until all of the words stand on the screen, and the others do not; returns it."""
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            await self.pilot.pause(0.06)
            text = self.text
            if all(word in text for word in words) and not (without and without in text):
                return text
            assert time.monotonic() < deadline, f"{words} without {without!r} did not come; there is\n{text}"

    async def press(self, *keys: str) -> None:
        """Presses keys."""
        await self.pilot.press(*keys)

    async def type(self, text: str) -> None:
        """Types a text."""
        names = {" ": "space", '"': "quotation_mark", "=": "equals_sign", "-": "minus", ".": "full_stop"}
        await self.pilot.press(*(names.get(letter, letter) for letter in text))


def browse(
    edge: Edge,
    work: Callable[[Driver], Awaitable[Any]],
    start: str = "",
    *,
    who: str = "admin",
    size: tuple[int, int] = (80, 24),
    client: type[AsyncClient] = AsyncClient,
    touch_seconds: float = 5.0,
) -> Any:
    """What the work gives that drives a browser, beginning at a place, as somebody."""

    async def main() -> Any:
        threads = edge.client(who)
        async with client(edge.server.address, edge.tokens.get(who, who), edge.certs.ca) as loop:
            clients = Clients(loop=loop, threads=threads, today=lambda: edge.catalog.read(lambda tx: tx.now).date())
            browser = app.Browser(clients, place.parse(start), touch_seconds=touch_seconds)
            async with browser.run_test(size=size) as pilot:
                return await work(Driver(browser=browser, pilot=pilot))

    return asyncio.run(main())
