"""The screens: one that shows a place by its panes, one that searches, one that explains the keys."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterable
from typing import TYPE_CHECKING, Any, ClassVar

from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen, Screen
from textual.timer import Timer
from textual.widgets import ContentSwitcher, Input, Static

from federation.browse import keys, panes, place, sides, widgets
from federation.browse.clients import Clients
from federation.browse.panes import Pane
from federation.browse.place import Kind, Place
from federation.core import errors
from federation.core.screen import safe

if TYPE_CHECKING:
    from federation.browse.app import Browser

#: Changes that come together are shown together; where an answer takes long, so many times as long passes before the next.
_TOGETHER_SECONDS = 0.2
_REST = 4.0
#: Between two looks where the catalog may not be watched.
_LOOK_SECONDS = 5.0
_BELOW = " \N{SINGLE RIGHT-POINTING ANGLE QUOTATION MARK} "
#: So long after the last letter it is searched.
TYPED_SECONDS = 0.15


class Frame(Screen[None]):
    """What every screen has: the sections above, a line on what is shown, and the keys at the foot."""

    app: Browser

    #: Nothing is focused before what is shown is there.
    AUTO_FOCUS = ""
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "back", show=False),
        Binding("q", "app.quit", show=False),
        Binding("question_mark", "app.explain", show=False),
        Binding("slash", "app.search", show=False),
        Binding("y", "copy", show=False),
        Binding("r", "reload", show=False),
        *(Binding(str(number), f"app.section({number})", show=False) for number in range(1, len(place.SECTIONS) + 1)),
    ]

    def __init__(self) -> None:
        super().__init__()
        self.sections = Static(markup=False, classes="sections")
        self.path = Static(markup=False, classes="path")
        self.tabs = Static(markup=False, classes="tabs")
        self.status = Static(markup=False, classes="status")
        self.foot = Static(markup=False, classes="foot")

    def heads(self) -> Iterable[Static]:
        """What stands above."""
        return (self.sections, self.path, self.tabs)

    @property
    def pane(self) -> Pane:
        """The pane that is looked at."""
        raise NotImplementedError

    def tell(self) -> None:
        """Says anew what is shown, and which keys there are."""
        width = self.app.size.width
        pane = self.pane
        self.status.update(Text("loading …" if pane.busy and not pane.filled else pane.said, no_wrap=True, overflow="ellipsis"))
        self.foot.update(keys.line(self.shortcuts(), width - 2, typing=isinstance(self.focused, Input)))
        self.sections.update(sections(self.section, self.app.connection, width - 2))

    @property
    def section(self) -> Kind:
        """The section that is marked."""
        return Kind.DATA

    def shortcuts(self) -> Iterable[keys.Key]:
        """The keys of this screen, what matters most first."""
        return (*self.pane.shortcuts, keys.BACK, keys.SEARCH, keys.SECTIONS, keys.RELOAD)

    def on_resize(self, _: events.Resize) -> None:
        """The lines have another width."""
        self.tell()

    def on_descendant_focus(self, _: events.DescendantFocus) -> None:
        """Other keys do something."""
        self.tell()

    def on_pane_told(self, event: Pane.Told) -> None:
        """A pane says another thing of itself."""
        event.stop()
        self.tell()

    def on_pane_opened(self, event: Pane.Opened) -> None:
        """To another place."""
        event.stop()
        self.app.go(event.where)

    def on_pane_more(self, event: Pane.More) -> None:
        """The next rows, unless they are on their way."""
        event.stop()
        if isinstance(event.pane, panes.TablePane) and not event.pane.busy:
            self.run_worker(self._more(event.pane), group="more", exclusive=True)

    async def _more(self, pane: panes.TablePane) -> None:
        try:
            await pane.more()
        except errors.FederationError as error:
            pane.said = safe(error.message)
        self.tell()

    def action_copy(self) -> None:
        """The name under the cursor, or of the place."""
        name = self.pane.named or self.copied
        if name:
            self.app.copy_to_clipboard(name)
            self.pane.said = safe(f"copied {name}")
            self.tell()

    @property
    def copied(self) -> str:
        """The name of what the screen shows."""
        return ""

    def action_back(self) -> None:
        """To where one came from; what is waited for is left."""
        self.app.back()

    def look(self) -> None:
        """Asks for what is shown."""
        raise NotImplementedError

    def action_reload(self) -> None:
        """Asks again."""
        self.look()


class View(Frame):
    """A place: one of its panes at a time, which is kept fresh while it is looked at."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("right,l,tab", "pane(1)", show=False),
        Binding("left,h,shift+tab", "pane(-1)", show=False),
        Binding("f", "filter", show=False),
        Binding("p", "look", show=False),
    ]

    def __init__(self, where: Place, clients: Clients) -> None:
        super().__init__()
        self.where = where
        self._clients = clients
        self._panes = sides.of(where, clients)
        self._at = 0
        self._filter = Input(classes="filter")
        self._filter.display = False

    def compose(self) -> ComposeResult:
        """Heads, the pane that is looked at, and the foot."""
        yield from self.heads()
        yield self._filter
        with ContentSwitcher(initial="pane-0"):
            for number, pane in enumerate(self._panes):
                pane.id = f"pane-{number}"
                yield pane
        yield self.status
        yield self.foot

    @property
    def pane(self) -> Pane:
        return self._panes[self._at]

    @property
    def section(self) -> Kind:
        return self.where.section

    @property
    def copied(self) -> str:
        return self.where.copied

    def shortcuts(self) -> Iterable[keys.Key]:
        if isinstance(self.focused, Input):
            return (keys.APPLY, keys.BACK)
        own = self.pane.shortcuts
        several = (keys.PANES,) if len(self._panes) > 1 else ()
        return (*own, *several, keys.BACK, keys.SEARCH, keys.SECTIONS, keys.RELOAD)

    def tell(self) -> None:
        super().tell()
        width = self.app.size.width - 2
        self.path.update(path(self.where, width))
        self.tabs.update(tabs([pane.heading for pane in self._panes], self._at, width))
        self.tabs.display = len(self._panes) > 1

    def on_screen_resume(self) -> None:
        """Looked at, for the first time or again."""
        self.look()

    def on_screen_suspend(self) -> None:
        """Nobody looks: nothing is watched."""
        self.workers.cancel_node(self)

    def look(self) -> None:
        """Fills the pane that is looked at, and keeps it fresh."""
        self.query_one(ContentSwitcher).current = self.pane.id
        self.set_focus(self.pane.body if self.pane.body.display else None)
        self.run_worker(self._fresh(self.pane), group="fresh", exclusive=True)
        self.tell()

    async def _fresh(self, pane: Pane) -> None:
        """Fills a pane, and fills it anew whenever the catalog tells of a change that makes it stale.

        The revision is asked for first: what changes after it is told, so nothing is missed between the answer and the stream.
        """
        client, failed = self._clients.loop, False
        while True:
            revision = 0
            if pane.watched:
                with contextlib.suppress(errors.FederationError):  # its own question says what is wrong
                    revision = (await client.who_am_i()).revision
            await pane.load()
            if pane.filled and self.pane is pane and pane.body.display and self.focused is None:
                pane.body.focus()
            if not pane.watched or pane.refused:
                return
            if not revision or failed:
                await asyncio.sleep(_LOOK_SECONDS)
                failed = False
                continue
            changes = client.watch(pane.watched, start_revision=revision + 1, names_only=True)
            failed = not await _follow(changes, pane)

    def action_reload(self) -> None:
        """Asks again, also for data that was read before: it is wanted by name."""
        self.pane.again = True
        self.look()

    def action_pane(self, step: int) -> None:
        """Another pane, the first after the last."""
        self._at = (self._at + step) % len(self._panes)
        self._filter.display = False
        self.look()

    def action_look(self) -> None:
        """Reads data, where that is what the pane is for."""
        if isinstance(self.pane, panes.AskedPane) and not self.pane.asked:
            self.pane.ask()

    def on_asked_pane_wanted(self, event: panes.AskedPane.Wanted) -> None:
        """It is wanted: it is read."""
        event.stop()
        self.look()

    def action_filter(self) -> None:
        """The line for a filter."""
        if isinstance(self.pane, panes.TablePane) and self.pane.filter_example:
            self._filter.placeholder = f"filter, for example {self.pane.filter_example}"
            self._filter.value = self.pane.filter
            self._filter.display = True
            self._filter.focus()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Filters by what was typed; by nothing if nothing was."""
        if event.input is self._filter and isinstance(self.pane, panes.TablePane):
            self._filter.display = False
            self.pane.filter = event.value.strip()
            self.pane.values = []
            self.look()

    def action_back(self) -> None:
        """Out of the filter first."""
        if self._filter.display and self.focused is self._filter:
            self._filter.display = False
            self.pane.body.focus()
            return
        super().action_back()


async def _follow(changes: AsyncIterator[Any], pane: Pane) -> bool:
    """Fills the pane anew after each change, until the stream ends; whether it can be begun anew at once."""
    changed = asyncio.Event()

    async def refill() -> None:
        took = 0.0
        while True:
            await changed.wait()
            await asyncio.sleep(max(_TOGETHER_SECONDS, _REST * took))
            changed.clear()
            began = time.monotonic()
            await pane.refill()
            took = time.monotonic() - began

    async with asyncio.TaskGroup() as group:
        refilling = group.create_task(refill())
        try:
            async for _ in changes:
                changed.set()
        except errors.OutOfRange:  # the log has let go of what comes next, or was put back: list anew, and watch from there
            return True
        except errors.FederationError:
            return False
        finally:
            refilling.cancel()
    return False


class Search(Frame):
    """Datasets by words and a filter, as they are typed. An answer to what was typed before is not shown."""

    def __init__(self, clients: Clients) -> None:
        super().__init__()
        self._clients = clients
        self.words = Input(placeholder="words of names, labels, owners, columns, descriptions", classes="words")
        self.filter = Input(placeholder='filter, for example labels.team = "ops" AND -columns:email', classes="filter")
        self._typed: Timer | None = None
        self._found = panes.TablePane(
            "Search",
            lambda _: clients.loop.search_datasets(self.words.value.strip(), filter=self.filter.value.strip()),
            sides.FOUND,
            opens=lambda row: Place(kind=Kind.DATASET, name=row.dataset.name.short),
            empty="Nothing that you may know of has all of these words.",
            noun="datasets",
        )

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("down", "rows", show=False),
        Binding("enter", "rows", show=False),
        Binding("tab", "next", show=False),
        Binding("shift+tab", "next", show=False),
    ]

    def compose(self) -> ComposeResult:
        """What is typed, and what is found."""
        yield from self.heads()
        yield self.words
        yield self.filter
        yield self._found
        yield self.status
        yield self.foot

    @property
    def pane(self) -> Pane:
        return self._found

    def shortcuts(self) -> Iterable[keys.Key]:
        typing = isinstance(self.focused, Input)
        return (keys.NEXT, keys.ROWS, keys.BACK) if typing else (*self.pane.shortcuts, keys.NEXT, keys.BACK)

    def tell(self) -> None:
        super().tell()
        self.path.update(Text("Search", "bold"))
        self.tabs.display = False

    def on_mount(self) -> None:
        """Ready to be typed into."""
        self.words.focus()
        self.look()

    def on_input_changed(self, event: Input.Changed) -> None:
        """Searches, once nothing more is typed for a moment."""
        event.stop()
        if self._typed is not None:
            self._typed.stop()
        self._typed = self.set_timer(TYPED_SECONDS, self.look)

    def look(self) -> None:
        """Searches by what stands there now; an earlier search is given up."""
        self._found.values = []
        self.run_worker(self._found.load(), group="search", exclusive=True)

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """To what was found."""
        event.stop()
        self.action_rows()

    def action_rows(self) -> None:
        """From what is typed to what was found."""
        self._found.rows.focus()

    def action_next(self) -> None:
        """From words to filter to rows."""
        order = [self.words, self.filter, self._found.rows]
        at = order.index(self.focused) if self.focused in order else 0
        order[(at + 1) % len(order)].focus()


class Help(ModalScreen[None]):
    """All keys, with what each does."""

    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark,enter", "dismiss", show=False)]

    def compose(self) -> ComposeResult:
        """A table of them."""
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_column(style="bold", no_wrap=True)
        table.add_column(overflow="fold")
        for key in keys.ALL:
            table.add_row(Text(key.key), Text(key.says))
        reading = widgets.Reading()
        reading.text.update(table)
        yield Vertical(Static("Keys", markup=False, classes="path"), reading, classes="help")

    def on_mount(self) -> None:
        """It may be longer than the screen."""
        self.query_one(widgets.Reading).focus()


def sections(marked: Kind, connection: str, width: int) -> Text:
    """The sections with their keys, and at the right how the catalog is reached, if there is room."""
    text = Text(no_wrap=True)
    for number, kind in enumerate(place.SECTIONS, 1):
        text.append(f" {number} {kind} ", "reverse bold" if kind is marked else "")
    room = width - text.cell_len - 1
    if room > 3:
        said = Text(connection)
        said.truncate(room, overflow="ellipsis")
        text.append(" " * (room + 1 - said.cell_len))
        text.append_text(said)
    return text


def path(where: Place, width: int) -> Text:
    """The way to a place, word by word."""
    words = [safe(place.word(step)) for step in place.trail(where)]
    text = Text("".join(f"{word}{_BELOW}" for word in words[:-1]), "dim", no_wrap=True)
    text.append(words[-1], "bold not dim")
    text.truncate(width, overflow="ellipsis")
    return text


def tabs(headings: list[str], at: int, width: int) -> Text:
    """The panes' headings, the present one marked; where they have no room, those around it."""
    first = 0
    while first < at and sum(len(heading) + 2 for heading in headings[first : at + 1]) > width:
        first += 1
    text = Text(no_wrap=True)
    for number, heading in enumerate(headings[first:], first):
        text.append(f" {heading} ", "reverse" if number == at else "")
    text.truncate(width, overflow="ellipsis")
    return text
