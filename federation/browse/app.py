"""The program on the screen: where it is, how it comes to other places, and whether the catalog answers."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from textual.app import App
from textual.binding import Binding
from textual.screen import Screen

from federation.browse import place, screens
from federation.browse.clients import Clients
from federation.browse.place import Place
from federation.core import errors
from federation.core.screen import safe

#: The catalog is asked so often whether it is there; while it is not, in ever longer pauses up to this.
_TOUCH_SECONDS = 5.0
_PAUSE_SECONDS_MIN = 1.0
#: So long it may take to say that it is.
_ANSWER_SECONDS = 5.0


class Browser(App[None]):
    """The catalog for whoever opened it, beginning at a place."""

    ENABLE_COMMAND_PALETTE = False
    BINDINGS = [Binding("ctrl+c", "quit", show=False, priority=True)]  # noqa: RUF012 - Textual's own way
    TITLE = "fed browse"
    CSS = """
    Screen { layout: vertical; }
    .sections { height: 1; padding: 0 1; background: $panel; }
    .path { height: 1; padding: 0 1; }
    .tabs { height: 1; padding: 0 1; }
    .status { height: 1; padding: 0 1; color: $text-muted; }
    .foot { height: 1; padding: 0 1; background: $panel; }
    .problem { padding: 1 2; height: auto; }
    .map { height: auto; padding: 0 1; }
    Input { height: 1; border: none; padding: 0 1; background: $boost; }
    Input:focus { border: none; }
    ContentSwitcher { height: 1fr; }
    Pane { height: 1fr; }
    * { scrollbar-size: 1 1; }
    DataTable, Tree, Log { background: $background; background-tint: $background 0%; }
    DataTable:focus, Tree:focus, Log:focus { background-tint: $background 0%; }
    DataTable { height: 1fr; }
    DataTable > .datatable--header { background: $background; color: $text-muted; text-style: bold; }
    DataTable > .datatable--cursor { background: $primary; color: $text; text-style: none; }
    Reading { height: 1fr; padding: 0 1; }
    Reading Static { height: auto; }
    Tree, Log { height: 1fr; padding: 0 1; }
    Tree { overflow-x: hidden; }
    Help { align: center middle; }
    .help { width: 78; max-width: 100%; height: auto; max-height: 100%; padding: 1; background: $panel; }
    .help Reading { height: auto; }
    """

    def __init__(self, clients: Clients, start: Place, *, touch_seconds: float = _TOUCH_SECONDS) -> None:
        super().__init__()
        self._clients = clients
        self._start = start
        self._touch_seconds = touch_seconds
        self.connection = ""

    def on_mount(self) -> None:
        """To where it begins."""
        self.push_screen(screens.View(self._start, self._clients))
        self.run_worker(self._touch(), group="touch")

    async def _touch(self) -> None:
        """Asks again and again whether the catalog is there, tells it, and shows things anew once it is there again."""
        since: float | None = None
        pause = self._touch_seconds
        federation = ""
        while True:
            try:
                who = await asyncio.wait_for(self._clients.loop.who_am_i(), _ANSWER_SECONDS)
                if not federation:
                    federation = (await self._clients.loop.find_entrance()).federation
            except errors.PermissionDenied:  # by a token that may not ask who bears it: it was answered
                self._say("")
                since, pause = None, self._touch_seconds
            except (errors.FederationError, TimeoutError) as error:
                if isinstance(error, errors.FederationError) and not error.passes:
                    self._say(error.reason)
                    since, pause = since or time.monotonic(), self._touch_seconds
                else:
                    pause = min(_PAUSE_SECONDS_MIN if since is None else 2 * pause, self._touch_seconds)
                    since = since or time.monotonic()
                    self._say(f"no answer for {time.monotonic() - since:.0f} s")
            else:
                self._say(safe(f"{who.principal.removeprefix('users/')} at {federation}"))
                if since is not None:
                    since = None
                    self._look()
                pause = self._touch_seconds
            await asyncio.sleep(pause)

    def _say(self, text: str) -> None:
        if text != self.connection:
            self.connection = text
            if isinstance(self.screen, screens.Frame):
                self.screen.tell()

    def _look(self) -> None:
        """Asks anew for what is shown, but for data: that is read when somebody wants it."""
        if isinstance(self.screen, screens.Frame):
            self.screen.look()

    def go(self, where: Place) -> None:
        """To a place, from which `back` leads here again."""
        self.push_screen(screens.View(where, self._clients))

    def back(self) -> None:
        """To where one came from; from where it began to what is above that; from there to nowhere."""
        stack: list[Screen[Any]] = self.screen_stack
        if len(stack) > 2:
            self.pop_screen()
            return
        here = self.screen
        above = place.trail(here.where)[-2:-1] if isinstance(here, screens.View) else (self._start,)
        if above:
            self.switch_screen(screens.View(above[0], self._clients))

    def action_section(self, number: int) -> None:
        """To a section, from the beginning."""
        wanted = place.SECTIONS[number - 1]
        while len(self.screen_stack) > 2:
            self.pop_screen()
        self.switch_screen(screens.View(Place(kind=wanted), self._clients))

    def action_search(self) -> None:
        """To the search."""
        if not isinstance(self.screen, screens.Search):
            self.push_screen(screens.Search(self._clients))

    def action_explain(self) -> None:
        """All keys."""
        self.push_screen(screens.Help())
