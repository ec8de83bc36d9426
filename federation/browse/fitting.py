"""Tables in the width that there is: the columns that fit, in their order, each as wide as what it shows. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rich.text import Text

from federation.browse import colours
from federation.core.screen import safe
from federation.shown import shapes, tables

#: Between two columns.
GAP = 2
#: One column takes no more than this, however long its text is.
_CHARS_MAX = 44
#: What is no longer than this is a name, a state or a time: shown whole or not at all. Longer texts may be cut, not to less.
_WHOLE_CHARS = 28
_CUT_CHARS_MIN = 10
#: What a cell shows where there is nothing to show.
_NOTHING = ("", "-")


@dataclass(frozen=True, kw_only=True)
class Fitted:
    """A table as it is drawn: headings and cells, each cut to its column's width.

    `columns` are those that are shown, `blank` those that are not because no row has anything in them.
    """

    headings: tuple[Text, ...]
    widths: tuple[int, ...]
    rows: tuple[tuple[Text, ...], ...]
    columns: tuple[shapes.Column, ...] = ()
    blank: tuple[shapes.Column, ...] = ()


def pick(kind: type, *headings: str) -> tuple[shapes.Column, ...]:
    """Columns of a kind by their headings, what matters most first: what stands last goes first where there is no room."""
    known = {column.heading: column for column in shapes.columns(kind, wide=True)}
    return tuple(known[heading] for heading in headings)


def fit(values: Sequence[Any], columns: Sequence[shapes.Column], width: int) -> Fitted:
    """The values under those columns that have room, the first before the later ones.

    A column in which no row has anything is left out. A long text may be cut to what is left; numbers, names and times are
    shown whole or not at all: half of one is another one.
    """
    cells = [[_line(tables.cell(column, value)) for column in columns] for value in values]
    chosen: list[tuple[int, int]] = []
    blank: list[shapes.Column] = []
    left = width
    for at, column in enumerate(columns):
        if cells and all(row[at].plain in _NOTHING for row in cells):
            blank.append(column)
            continue
        natural = max((row[at].cell_len for row in cells), default=0)
        wanted = max(len(column.heading), natural if column.number else min(natural, _CHARS_MAX))
        room = left - (GAP if chosen else 0)
        if wanted <= room:
            given = wanted
        elif not column.number and wanted > _WHOLE_CHARS and room >= max(_CUT_CHARS_MIN, len(column.heading)):
            given = room
        else:
            continue
        chosen.append((at, given))
        left = room - given
    return Fitted(
        headings=tuple(_cut(Text(columns[at].heading), given, columns[at]) for at, given in chosen),
        widths=tuple(given for _, given in chosen),
        rows=tuple(tuple(_cut(row[at], given, columns[at]) for at, given in chosen) for row in cells),
        columns=tuple(columns[at] for at, _ in chosen),
        blank=tuple(blank),
    )


def more(values: Sequence[Any], fitted: Fitted) -> tuple[tuple[Text, ...], ...] | None:
    """The cells of further values under the same columns; None where these must be chosen anew, for the values to be shown."""
    if any(column.show(value) not in _NOTHING for column in fitted.blank for value in values):
        return None
    under = tuple(zip(fitted.columns, fitted.widths, strict=True))
    rows = [[_line(tables.cell(column, value)) for column, _ in under] for value in values]
    if not all(_may_be(cell, *at) for row in rows for cell, at in zip(row, under, strict=True)):
        return None
    return tuple(tuple(_cut(cell, width, column) for cell, (column, width) in zip(row, under, strict=True)) for row in rows)


def _may_be(cell: Text, column: shapes.Column, width: int) -> bool:
    """Whether a cell may be shown in that width: whole, or cut where it is a long text."""
    return cell.cell_len <= width or (not column.number and cell.cell_len > _WHOLE_CHARS)


def cell(text: str, width: int) -> Text:
    """A text of anybody's in one line of at most so many characters."""
    line = _line(Text(safe(text)))
    line.truncate(width, overflow="ellipsis")
    return line


def _line(text: Text) -> Text:
    """What a cell has, in one line."""
    if "\n" in text.plain or "\t" in text.plain:
        return Text(" ".join(text.plain.split()))
    return text


#: States that are seen first, by colour as well as by their word.
_STATES = {
    **dict.fromkeys(("RUNNING", "STARTING"), colours.UNDER_WAY),
    **dict.fromkeys(("SUCCEEDED", "READY", "AVAILABLE"), colours.GOOD),
    **dict.fromkeys(("PENDING", "PLACED", "COPYING", "DECLARED"), colours.WAITS),
    **dict.fromkeys(("FAILED", "REJECTED", "LOST", "SUSPECT"), colours.BAD),
}


def _cut(text: Text, width: int, column: shapes.Column) -> Text:
    cut = text.copy()
    cut.stylize(_STATES.get(cut.plain, ""))
    cut.truncate(width, overflow="ellipsis")
    cut.justify = "right" if column.number else "left"
    return cut
