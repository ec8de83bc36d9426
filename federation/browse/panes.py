"""Panes: each shows one side of a thing, asks for it when it is looked at, and says itself when that goes wrong.

A pane asks the client and hands what it got to a pure function of this package; it knows nothing of screens.
"""

from __future__ import annotations

import asyncio
import codecs
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text
from textual import events
from textual.app import ComposeResult
from textual.containers import Vertical
from textual.message import Message
from textual.widget import Widget
from textual.widgets import DataTable, Input, Static, Tree

from federation.browse import fitting, keys, place, widgets
from federation.browse.place import Place
from federation.core import errors
from federation.core.screen import safe
from federation.shown import lineage, shapes

#: Rows are fetched so many at a time, and more of them when the cursor comes this near to the last.
ROWS_AT_ONCE = 100
_NEAR = 20
#: A listing that somebody went through so far is no longer fetched anew at each change.
_FRESH_ROWS_MAX = 1_000
#: Of a log so many lines are shown, its last.
_LINES_MAX = 5_000
#: Before a log that broke off is begun anew.
_PAUSE_SECONDS_MIN, _PAUSE_SECONDS_MAX = 1.0, 15.0


class Pane(Vertical):
    """One side of a thing. `watched` is the filter of the changes that make it stale, '' for what nothing changes.

    `fill` asks and shows; it may be called again at any time, and cancelled.
    """

    class Opened(Message):
        """Somebody wants to see another place."""

        def __init__(self, where: Place) -> None:
            super().__init__()
            self.where = where

    class Told(Message):
        """What a pane says of itself is another thing now."""

    class More(Message):
        """The cursor came near to the last row, and there may be more."""

        def __init__(self, pane: Pane) -> None:
            super().__init__()
            self.pane = pane

    def __init__(self, heading: str, *, watched: str = "") -> None:
        super().__init__()
        self.heading = heading
        self.watched = watched
        self.filled = False
        self.busy = False
        self.refused = False
        self.again = False
        self.said = ""
        self.problem = Static(markup=False, classes="problem")
        self.problem.display = False

    @property
    def shortcuts(self) -> tuple[keys.Key, ...]:
        """What its keys are, beside those that every screen has."""
        return (keys.MOVE,)

    @property
    def body(self) -> Widget:
        """What is focused when one looks at it."""
        raise NotImplementedError

    async def fill(self) -> None:
        """Asks and shows; FederationError for what went wrong."""
        raise NotImplementedError

    def compose(self) -> ComposeResult:
        """Its body, and in its place what went wrong."""
        yield self.problem
        yield self.body

    @property
    def named(self) -> str:
        """The name of what is under the cursor, '' where nothing is."""
        return ""

    async def load(self) -> None:
        """Fills it; what goes wrong is said in its place, or below what is shown already where it may pass."""
        self.busy = True
        self.post_message(self.Told())
        try:
            await self.fill()
        except errors.FederationError as error:
            self.refused = not error.passes
            if self.refused or not self.filled:
                self.fail(error)
            else:
                self.said = safe(error.message)
        else:
            self.filled, self.refused = True, False
            self.problem.display = False
            self.body.display = True
        finally:
            self.busy = False
            self.post_message(self.Told())

    async def refill(self) -> None:
        """Fills it again, since it has changed."""
        await self.load()

    def fail(self, error: errors.FederationError) -> None:
        """Says what went wrong and what to do, in the place of what could not be shown."""
        self.said = ""
        self.problem.update(wrong(error))
        self.problem.display = True
        self.body.display = False


def wrong(error: errors.FederationError) -> Text:
    """What went wrong, as the product words it: what, the reason, the fields, what to do."""
    text = Text.assemble((safe(error.message), "bold"), "\n\n", (error.reason, "dim"))
    for field, problem in error.violations.items():
        if problem not in error.message:
            text.append(f"\n{safe(field)}: {safe(problem)}")
    if error.help:
        text.append("\n\nWhat to do: ", "bold")
        text.append(safe(error.help))
    return text


class TablePane(Pane):
    """A listing, fetched as the cursor comes near to its end.

    `source` begins it anew, by a filter if it takes one, like `filter_example`; `opens` is where a row leads, None for one that
    leads nowhere, `name_of` what it is called there. `unseen` says what was not looked at, '' for nothing.
    """

    def __init__(  # noqa: PLR0913 - all that makes one listing differ from another
        self,
        heading: str,
        source: Callable[[str], AsyncIterator[Any]],
        columns: Sequence[shapes.Column],
        *,
        opens: Callable[[Any], Place | None] | None = None,
        name_of: Callable[[Any], str] = lambda _: "",
        empty: str = "There is none.",
        noun: str = "rows",
        watched: str = "",
        filter_example: str = "",
        unseen: Callable[[], str] = lambda: "",
    ) -> None:
        super().__init__(heading, watched=watched)
        self._source = source
        self._columns = columns
        self._opens = opens
        self._unseen = unseen
        self._name_of = name_of
        self._empty = empty
        self._noun = noun
        self._found: AsyncIterator[Any] | None = None
        self._fitted: fitting.Fitted | None = None
        self.rows: widgets.Rows = widgets.Rows()
        self.values: list[Any] = []
        self.complete = False
        self.filter_example = filter_example
        self.filter = ""

    @property
    def shortcuts(self) -> tuple[keys.Key, ...]:
        """It may be opened and filtered."""
        opened = (keys.OPEN,) if self._opens else ()
        return (keys.MOVE, *opened, *((keys.FILTER,) if self.filter_example else ()), keys.COPY)

    @property
    def body(self) -> Widget:
        return self.rows

    @property
    def named(self) -> str:
        return "" if self.value is None else self._called(self.value)

    def _called(self, value: Any) -> str:
        where = self._opens(value) if self._opens else None
        return where.copied if where else self._name_of(value)

    @property
    def value(self) -> Any:
        """What the cursor is on; None in an empty table."""
        at = self.rows.cursor_row
        return self.values[at] if 0 <= at < len(self.values) else None

    async def fill(self) -> None:
        """As many rows as were there before, at least the first ones; the cursor stays on what it was on."""
        found, values, complete = self._source(self.filter), [], True
        wanted = max(ROWS_AT_ONCE, len(self.values))
        async for value in found:
            values.append(value)
            if len(values) == wanted:
                complete = False
                break
        self._found, self.complete = found, complete
        self.show(values)

    async def more(self) -> None:
        """The next rows below those that are there."""
        if self._found is None or self.complete:
            return
        found, values, complete = self._found, list(self.values), True
        wanted = len(values) + ROWS_AT_ONCE
        async for value in found:
            values.append(value)
            if len(values) == wanted:
                complete = False
                break
        if self._found is not found:  # the listing was begun anew meanwhile
            return
        self.complete, new = complete, values[len(self.values) :]
        rows = None if self._fitted is None else fitting.more(new, self._fitted)
        if rows is None:
            self.show(values)
            return
        self.values = values
        self.rows.add_rows(rows)
        self.said = self._count()

    async def refill(self) -> None:
        """As long as it is not too much to ask for again and again; beyond that it says that it has changed."""
        if len(self.values) <= _FRESH_ROWS_MAX:
            await super().refill()
            return
        self.said = f"{self._count()}; it has changed, r asks again"
        self.post_message(self.Told())

    def show(self, values: list[Any]) -> None:
        """Shows these rows."""
        kept = self.named
        self.values = values
        self.draw(kept)
        self.said = self._count()

    def _count(self) -> str:
        unseen = "; ".join(filter(None, ("" if self.complete else "more below", self._unseen())))
        if not self.values:
            told = f"Nothing matches {self.filter}" if self.filter else self._empty
        else:
            told = f"{len(self.values):,} {self._noun if len(self.values) != 1 else self._noun[:-1]}"
        return f"{told}; {unseen}" if unseen else told

    def draw(self, kept: str = "") -> None:
        """Draws them anew, in the width that there is."""
        kept = kept or self.named
        names = [self._called(value) for value in self.values]
        cursor = names.index(kept) if kept in names else min(max(self.rows.cursor_row, 0), max(len(names) - 1, 0))
        # Each cell has a blank on both sides, and the bar on the right may take two more.
        self._fitted = fitting.fit(self.values, self._columns, max(self.size.width - 4, 20))
        self.rows.fill(self._fitted, cursor)

    def on_resize(self, _: events.Resize) -> None:
        """Other columns may fit."""
        if self.filled:
            self.draw()

    def on_data_table_row_highlighted(self, event: DataTable.RowHighlighted) -> None:
        """Near the end it is time for more."""
        if not self.complete and self.values and event.cursor_row >= len(self.values) - _NEAR:
            self.post_message(self.More(self))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Where the row leads."""
        event.stop()
        where = self._opens(self.value) if self._opens and self.value is not None else None
        if where is not None:
            self.post_message(self.Opened(where))


class TextPane(Pane):
    """Something to read, as long as it may be: `draw` makes it, to be shown in whichever width there is."""

    def __init__(self, heading: str, draw: Callable[[], Awaitable[RenderableType]], *, watched: str = "") -> None:
        super().__init__(heading, watched=watched)
        self._draw = draw
        self.reading = widgets.Reading()

    @property
    def body(self) -> Widget:
        return self.reading

    async def fill(self) -> None:
        """Draws it."""
        self.reading.text.update(await self._draw())
        self.said = ""


class MapPane(TablePane):
    """A map over a table of what is on it. `draw_map` makes it of what the table has, for so many characters and lines."""

    def __init__(self, *args: Any, draw_map: Callable[[list[Any], int, int], Text], **options: Any) -> None:
        super().__init__(*args, **options)
        self._draw_map = draw_map
        self.map = Static(markup=False, classes="map")

    def compose(self) -> ComposeResult:
        """The map, and the table below it."""
        yield self.problem
        yield self.map
        yield self.rows

    def draw(self, kept: str = "") -> None:
        """Both; the map has what the table leaves, at most as high as it is wide by the shape of the earth."""
        super().draw(kept)
        table = min(len(self.values) + 1, max(self.size.height // 3, 4))
        width = max(self.size.width - 2, 20)
        height = max(min(self.size.height - table - 1, width // 5), 4)
        self.map.update(self._draw_map(self.values, width, height))

    def fail(self, error: errors.FederationError) -> None:
        super().fail(error)
        self.map.display = False

    async def fill(self) -> None:
        await super().fill()
        self.map.display = True


class TreePane(Pane):
    """Trees of lines. `opens` is where the name of one leads, if anywhere: a version's or a run's, as in lineage, to those."""

    def __init__(
        self,
        heading: str,
        grow: Callable[[], Awaitable[tuple[Sequence[lineage.Branch], str]]],
        *,
        opens: Callable[[str], Place | None] = place.of_node,
        watched: str = "",
    ) -> None:
        super().__init__(heading, watched=watched)
        self._grow = grow
        self._opens = opens
        self.branches = widgets.Branches()

    @property
    def shortcuts(self) -> tuple[keys.Key, ...]:
        """A line may lead somewhere."""
        return (keys.MOVE, keys.OPEN, keys.COPY)

    @property
    def body(self) -> Widget:
        return self.branches

    @property
    def named(self) -> str:
        node = self.branches.cursor_node
        return node.data or "" if node is not None else ""

    async def fill(self) -> None:
        """The trees, and a word on what they leave out."""
        grown, self.said = await self._grow()
        self.branches.grow(grown)

    def on_tree_node_selected(self, event: Tree.NodeSelected[str]) -> None:
        """Where the line leads."""
        event.stop()
        where = self._opens(event.node.data or "")
        if where is not None:
            self.post_message(self.Opened(where))


class LogPane(Pane):
    """What a job prints, as it prints it. `follow` gives it in pieces, until the job ends."""

    def __init__(self, heading: str, follow: Callable[[], AsyncIterator[bytes]]) -> None:
        super().__init__(heading)
        self._follow = follow
        self.printed = widgets.Printed(max_lines=_LINES_MAX)

    @property
    def body(self) -> Widget:
        return self.printed

    async def fill(self) -> None:
        """From its beginning, and on until the job ends; begun anew where its site is away for a while."""
        pause = _PAUSE_SECONDS_MIN
        while True:
            try:
                await self._print()
            except errors.FederationError as error:
                if not error.passes:
                    raise
                self._say(f"{safe(error.message)}; trying again")
            else:
                return
            await asyncio.sleep(pause)
            pause = min(2 * pause, _PAUSE_SECONDS_MAX)

    async def _print(self) -> None:
        self.printed.clear()
        self._say("nothing is printed yet; that you read it is in the audit")
        size, decoder = 0, codecs.getincrementaldecoder("utf-8")("replace")
        async for piece in self._follow():
            size += len(piece)
            self._say(f"{size:,} bytes so far; that you read it is in the audit")
            # What begins its line anew, like a bar of progress, gets a line of its own each time.
            self.printed.write(safe(decoder.decode(piece).replace("\r\n", "\n").replace("\r", "\n")))
        self._say(f"{size:,} bytes, and it has ended" if size else "It has ended and printed nothing.")

    def _say(self, text: str) -> None:
        self.said, self.filled = text, True
        self.post_message(self.Told())


class AskedPane(TablePane):
    """What is read from data itself: only once somebody has been told what that means, and wants it.

    `purposes` tells for what the data may be read: one has to be named where it is limited to any. `read` gives the rows.
    """

    class Wanted(Message):
        """Somebody wants it to be read."""

        def __init__(self, pane: Pane) -> None:
            super().__init__()
            self.pane = pane

    def __init__(
        self,
        heading: str,
        read: Callable[[str], Awaitable[Sequence[Any]]],
        columns: Sequence[shapes.Column],
        *,
        warning: str,
        purposes: Callable[[], Awaitable[Sequence[str]]],
        **options: Any,
    ) -> None:
        super().__init__(heading, _nothing, columns, **options)
        self._read = read
        self._purposes = purposes
        self._warning = warning
        self.purpose = Input(classes="purpose")
        self.purpose.display = False
        self.asked = False
        self._told = False
        self.rows.display = False

    @property
    def shortcuts(self) -> tuple[keys.Key, ...]:
        """To look, and then what a table has."""
        return super().shortcuts if self.asked else (keys.LOOK,)

    @property
    def body(self) -> Widget:
        return self.rows

    def compose(self) -> ComposeResult:
        """What it means, for which purpose, and what was read."""
        yield self.problem
        yield self.purpose
        yield self.rows

    async def fill(self) -> None:
        """Says what it means, or reads."""
        if self.asked:
            await self.read(self.purpose.value.strip())
            self.purpose.display = False
            return
        purposes = await self._purposes()
        self.purpose.display = bool(purposes)
        self.purpose.placeholder = f"for which purpose: {safe(', '.join(purposes))}"
        self.said = ""

    async def load(self) -> None:
        """As a pane does; what it means stands there until it is read. What was read is read again only if that is wanted."""
        if self.asked and self.filled and not self.again:
            return
        self.again = False
        await super().load()
        if self.asked:
            self.asked = self.filled
        elif self.filled:
            self.filled, self._told = False, True
            self.problem.update(Text(self._warning))
            self.problem.display, self.body.display = True, False

    async def read(self, purpose: str) -> None:
        """Reads, for a purpose if one is needed."""
        self.complete = True
        self.show(list(await self._read(purpose)))

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """The purpose is said, so it is wanted."""
        event.stop()
        self.ask()

    def ask(self) -> None:
        """It is wanted now; not before it was told what it means."""
        if not self._told:
            return
        if self.purpose.display and not self.purpose.value.strip():
            self.purpose.focus()
            return
        self.asked = True
        self.post_message(self.Wanted(self))


class PreviewPane(AskedPane):
    """Rows of data, as wide as they are. `preview` gives them for a purpose, with a word on them."""

    def __init__(self, heading: str, preview: Callable[[str], Awaitable[tuple[fitting.Fitted, str]]], **options: Any) -> None:
        super().__init__(heading, _none, (), **options)
        self._preview = preview
        self.rows = widgets.Wide()
        self.rows.display = False

    @property
    def shortcuts(self) -> tuple[keys.Key, ...]:
        """To look, and then to move to all sides."""
        return (keys.MOVE, keys.COLUMNS) if self.asked else (keys.LOOK,)

    async def read(self, purpose: str) -> None:
        """Reads them."""
        found, self.said = await self._preview(purpose)
        self.rows.fill(found, 0)

    def draw(self, kept: str = "") -> None:
        """Another width of the screen changes nothing."""


#: Of which nothing is listed.
_NO_ROWS: tuple[Any, ...] = ()


async def _none(_: str) -> Sequence[Any]:
    return ()


async def _nothing(_: str) -> AsyncIterator[Any]:
    for row in _NO_ROWS:
        yield row


def pairs(rows: Iterable[tuple[str, str]]) -> RenderableType:
    """Names and values, one under the other."""
    grid = Table(box=None, show_header=False, pad_edge=False)
    grid.add_column(style="bold", no_wrap=True)
    grid.add_column(overflow="fold")
    for name, value in rows:
        grid.add_row(Text(name), Text(safe(value)))  # a string would be read as markup
    return grid


def lines(parts: Iterable[Any]) -> RenderableType:
    """Lines and what is drawn between them."""
    return Group(*(Text(safe(part)) if isinstance(part, str) else part for part in parts))
