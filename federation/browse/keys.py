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


MOVE = Key(key="↑↓", word="move", says="Up and down; also k and j, PgUp and PgDn, g and G.")
OPEN = Key(key="↵", word="open", says="Opens what the cursor is on.")
PANES = Key(key="←→", word="panes", says="The pane before or after; also h and l, or Tab.")
BACK = Key(key="Esc", word="back", says="Back to where you came from, also out of what is being waited for.")
SECTIONS = Key(key="1-6", word="sections", says="Data, sites, jobs and pipelines, transfers, costs and budgets, policies.")
SEARCH = Key(key="/", word="search", says="Searches all datasets as you type.")
FILTER = Key(key="f", word="filter", says='Filters the listing, for example by state = "RUNNING".')
COPY = Key(key="y", word="copy", says="Copies the name under the cursor to your clipboard (OSC 52).")
LOOK = Key(key="p", word="look", says="Reads data, after it has said what that means.")
COLUMNS = Key(key="<>", word="columns", says="Moves what is wider than the screen to the left or right.")
NEXT = Key(key="Tab", word="next field", says="In a search: words, filter, what was found.")
ROWS = Key(key="↓", word="to what was found", says="In a search: into the rows; Enter opens one.")
RELOAD = Key(key="r", word="reload", says="Asks again. Where the catalog may be watched, changes come by themselves.")
APPLY = Key(key="↵", word="apply", says="In a filter or a purpose: takes what was typed.")
HELP = Key(key="?", word="help", says="All keys.")
QUIT = Key(key="q", word="quit", says="Ends it.")

ALL = (MOVE, OPEN, PANES, BACK, SECTIONS, SEARCH, FILTER, COPY, LOOK, COLUMNS, NEXT, ROWS, APPLY, RELOAD, HELP, QUIT)
_GAP = "  "


def line(keys: Iterable[Key], width: int, *, typing: bool = False) -> Text:
    """The keys in one line, those that fit in their order; help and the end always, but while their keys are text."""
    last = [] if typing else [HELP, QUIT]
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
