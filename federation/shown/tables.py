"""Values as a table, one line each, under the columns of their kind. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from federation.core.screen import safe
from federation.shown import shapes


def table(values: Sequence[Any], columns: Sequence[shapes.Column]) -> Table:
    """Values as a table without lines."""
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        drawn.add_column(column.heading, justify="right" if column.number else "left", overflow="fold", no_wrap=column.number)
    for value in values:
        drawn.add_row(*(cell(column, value) for column in columns))
    return drawn


def cell(column: shapes.Column, value: Any) -> Text:
    """What a column shows of a value, with what is to be seen first in bold."""
    text = Text(safe(column.show(value)))  # as long as what was shown, so that places in it stay
    for start, end in column.emphasis(value):
        text.stylize("bold", start, end)
    return text
