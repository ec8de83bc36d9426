"""The widgets that screens are made of, with the keys of vi beside the arrows. None reads markup in what it is given."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text
from textual.binding import Binding, BindingType
from textual.containers import ScrollableContainer
from textual.widgets import DataTable, Log, Static, Tree

from federation.browse import fitting
from federation.shown import lineage

_UP_AND_DOWN = ("up,k", "down,j", "pageup,ctrl+u", "pagedown,ctrl+d", "home,g", "end,G")


def _moves(*actions: str) -> list[BindingType]:
    """Bindings for a row or line up and down, a page up and down, the first and the last."""
    return [Binding(key, action, show=False) for key, action in zip(_UP_AND_DOWN, actions, strict=True)]


class Rows(DataTable[Text], inherit_bindings=False):
    """A table of rows, one of which has the cursor."""

    BINDINGS = [  # noqa: RUF012 - Textual's own way
        Binding("enter", "select_cursor", show=False),
        *_moves("cursor_up", "cursor_down", "page_up", "page_down", "scroll_top", "scroll_bottom"),
    ]

    def __init__(self) -> None:
        super().__init__(cursor_type="row", cell_padding=1, cursor_foreground_priority="css")

    def fill(self, fitted: fitting.Fitted, cursor: int) -> None:
        """Shows other rows, and puts the cursor on one of them. What was scrolled to stays in sight."""
        at = self.scroll_offset
        self.clear(columns=True)
        for heading, width in zip(fitted.headings, fitted.widths, strict=True):
            self.add_column(heading, width=width)
        self.add_rows(fitted.rows)
        self.move_cursor(row=cursor, animate=False, scroll=False)
        self.scroll_to(at.x, at.y, animate=False)
        self.call_after_refresh(self._scroll_cursor_into_view)


class Wide(Rows):
    """A table that may be wider than the screen."""

    BINDINGS = [  # noqa: RUF012
        Binding("less_than_sign", "scroll_left", show=False),
        Binding("greater_than_sign", "scroll_right", show=False),
    ]

    def action_scroll_right(self) -> None:
        """A good part of the screen to the right."""
        self.scroll_relative(x=self.size.width // 2, animate=False)

    def action_scroll_left(self) -> None:
        """And back."""
        self.scroll_relative(x=-self.size.width // 2, animate=False)


class Reading(ScrollableContainer, can_focus=True, inherit_bindings=False):
    """Text that may be longer than the screen."""

    BINDINGS = _moves("scroll_up", "scroll_down", "page_up", "page_down", "scroll_home", "scroll_end")

    def __init__(self) -> None:
        super().__init__()
        self.text = Static(markup=False)

    def compose(self) -> Iterable[Static]:
        """The text."""
        yield self.text


class Printed(Log, inherit_bindings=False):
    """What a job prints: its newest lines, followed for as long as one looks at the end."""

    BINDINGS = _moves("scroll_up", "scroll_down", "page_up", "page_down", "scroll_home", "scroll_end")


class Branches(Tree[str], inherit_bindings=False):
    """Lines under lines, each with the name of what it shows."""

    BINDINGS = [  # noqa: RUF012
        Binding("less_than_sign", "scroll_left", show=False),
        Binding("greater_than_sign", "scroll_right", show=False),
        Binding("enter", "select_cursor", show=False),
        Binding("space", "toggle_node", show=False),
        *_moves("cursor_up", "cursor_down", "page_up", "page_down", "scroll_home", "scroll_end"),
    ]

    def __init__(self) -> None:
        super().__init__("")
        self.show_root = False
        self.auto_expand = False
        self.guide_depth = 3

    def grow(self, roots: Sequence[lineage.Branch]) -> None:
        """Shows other trees, open to their last line; the cursor stays on the line that it was on."""
        self.clear()
        waiting = [(self.root, branch) for branch in reversed(roots)]
        while waiting:
            above, branch = waiting.pop()
            if branch.below:
                made = above.add(branch.label, branch.name, expand=True)
                waiting.extend((made, below) for below in reversed(branch.below))
            else:
                above.add_leaf(branch.label, branch.name)
        self.root.expand()
        self.call_after_refresh(self._keep_cursor)

    def _keep_cursor(self) -> None:
        line = min(max(self.cursor_line, 0), self.last_line)
        self.cursor_line = -1  # what it is on is of the tree before
        self.cursor_line = line
        if line >= 0:
            self.scroll_to_line(line, animate=False)
