"""What left a region and what it cost, as bars in text: the ledger's sums by month, link, dataset, namespace or site. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from federation.browse import colours
from federation.core import units
from federation.core.metering import CostSummary
from federation.core.screen import safe
from federation.shown import wording

_KEY_CHARS_MAX = 34
_BAR_CHARS_MIN = 8
_CHARGED, _SAVED = "█", "░"


@dataclass(frozen=True)
class Bars:
    """A report, drawn in whichever width it is given."""

    sums: Sequence[CostSummary]
    total: CostSummary
    by: str

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """Draws it."""
        yield bars(self.sums, self.total, self.by, options.max_width)


def bars(sums: Sequence[CostSummary], total: CostSummary, by: str, width: int) -> Text:
    """A line for each sum: its key, what was charged, what left a region, and a bar of charge and what locality saved.

    Months in their order, newest first; all else dearest first. Every charge is exact; a bar is as long as its share.
    """
    if not sums:
        return Text("Nothing was read or moved that the ledger tells you of.", "dim")
    ordered = sorted(sums, key=lambda row: row.key, reverse=True) if by == "month" else sorted(sums, key=_dearest_first)
    heads = (by.upper(), "CHARGE", "LEFT A REGION")
    cells = [(_short(row.key), wording.money(row.charge_micros), units.size(row.egress_bytes)) for row in [*ordered, total]]
    cells[-1] = ("total", *cells[-1][1:])
    wide = [max(len(head), *(len(row[at]) for row in cells)) for at, head in enumerate(heads)]
    room = width - sum(wide) - 2 * len(wide)
    most = max(_weight(row) for row in ordered) or 1
    text = Text()
    text.append(f"{heads[0]:<{wide[0]}}  {heads[1]:>{wide[1]}}  {heads[2]:>{wide[2]}}", "bold")
    if room >= _BAR_CHARS_MIN:
        text.append(f"  {_CHARGED} charged {_SAVED} saved"[: room + 2], "dim")
    for row, cell in zip(ordered, cells, strict=False):
        text.append(f"\n{cell[0]:<{wide[0]}}  {cell[1]:>{wide[1]}}  {cell[2]:>{wide[2]}}  ")
        if room >= _BAR_CHARS_MIN:
            charged = _share(row.charge_micros, most, room)
            text.append(_CHARGED * charged, colours.BAD)
            text.append(_SAVED * min(_share(row.avoided_micros, most, room), room - charged), colours.GOOD)
    text.append(f"\n{cells[-1][0]:<{wide[0]}}  {cells[-1][1]:>{wide[1]}}  {cells[-1][2]:>{wide[2]}}", "bold")
    text.append(
        f"\n\nLocality saved {wording.money(total.avoided_micros)}; {units.size(total.local_bytes)} stayed in their region."
    )
    return text


def _dearest_first(row: CostSummary) -> tuple[int, str]:
    return (-row.charge_micros, row.key)


def _weight(row: CostSummary) -> int:
    return max(row.charge_micros, 0) + max(row.avoided_micros, 0)


def _share(micros: int, most: int, room: int) -> int:
    """Of `room` characters so many as the amount is of the most; one at least for what is not nothing."""
    return max(1, room * micros // most) if micros > 0 else 0


def _short(key: str) -> str:
    key = safe(key) or "(none)"
    return key if len(key) <= _KEY_CHARS_MAX else f"{key[: _KEY_CHARS_MAX - 1]}…"
