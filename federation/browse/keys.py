"""The keys, and the line at the foot of the screen that shows them. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rich.text import Text


@dataclass(frozen=True, kw_only=True)
class Key:
    """One key, as it is shown: a word for the foot of the screen, a sentence for the help."""

    key: str
    word: str
    says: str


MOVE = Key(
    key="↑↓", word="move", says="One row up or down; also k and j. PgUp, PgDn, g and G for pages, the first and the last."
)
OPEN = Key(key="↵", word="open", says="Opens what the cursor is on.")
PANES = Key(key="←→", word="panes", says="The pane before or after; also h and l, or Tab.")
BACK = Key(key="Esc", word="back", says="Back to where you came from, also while something is being waited for.")
SEARCH = Key(key="/", word="search", says="Searches all datasets as you type: names, labels, owners, columns, descriptions.")
FILTER = Key(key="f", word="filter", says='Filters the listing as AIP-160 has it, for example state = "RUNNING".')
COPY = Key(key="y", word="copy", says="Copies the name under the cursor into your terminal's clipboard (OSC 52).")
LOOK = Key(
    key="p", word="look", says="Reads data after you were told what that means: it is a read, in your name, in the audit."
)
SECTIONS = Key(key="1-5", word="sections", says="Data, sites, jobs, transfers, costs.")
RELOAD = Key(key="r", word="reload", says="Asks again. What is shown is kept fresh by itself where the catalog may be watched.")
COLUMNS = Key(key="<>", word="columns", says="Moves a wide table of rows to the left or right.")
NEXT = Key(key="Tab", word="next field", says="In a search: from the words to the filter and to what was found.")
ROWS = Key(key="↓", word="to what was found", says="In a search: into the rows; Enter opens the one under the cursor.")
HELP = Key(key="?", word="help", says="All keys.")
QUIT = Key(key="q", word="quit", says="Ends it.")

ALL = (MOVE, OPEN, PANES, BACK, SECTIONS, SEARCH, FILTER, COPY, LOOK, COLUMNS, NEXT, ROWS, RELOAD, HELP, QUIT)
_GAP = "  "


def line(keys: Iterable[Key], width: int) -> Text:
    """The keys in one line, those that fit in their order; help and the end always."""
    last = [HELP, QUIT]
    shown: list[Key] = []
    for key in keys:
        if key not in last and len(_plain([*shown, key, *last])) <= width:
            shown.append(key)
    text = Text(no_wrap=True)
    for key in (*shown, *last):
        if text:
            text.append(_GAP)
        text.append(key.key, "bold")
        text.append(f" {key.word}")
    return text


def _plain(keys: Iterable[Key]) -> str:
    return _GAP.join(f"{key.key} {key.word}" for key in keys)
