"""A budget as a gauge in text: what is spent, in flight and expected of its month, and where the limit is. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text

from federation.browse import colours
from federation.core.budget import Budget
from federation.core.forecast import Forecast
from federation.core.screen import safe
from federation.shown import wording

_SPENT, _IN_FLIGHT, _EXPECTED, _LEFT, _LIMIT = "█", "▓", "░", "·", "│"
_SHORT_CHARS = 10
_BAR_CHARS_MIN = 20


@dataclass(frozen=True)
class Gauge:
    """A budget with what is expected of its month, drawn in whichever width it is given. `unknown` is why that is not told."""

    budget: Budget
    expected: Forecast | None = None
    unknown: str = ""

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        """Draws it."""
        yield drawn(self, options.max_width)


def short(budget: Budget) -> str:
    """Ten characters of a bar and the percentage: a full bar is the limit or more."""
    filled = min(_SHORT_CHARS, _SHORT_CHARS * max(budget.spent_micros, 0) // budget.limit_micros)
    share = 100 * budget.spent_micros / budget.limit_micros
    return f"{_SPENT * filled}{_LEFT * (_SHORT_CHARS - filled)} {share:5.1f} %"


def drawn(gauge: Gauge, width: int) -> Text:
    """The bar, which is as long as the most of limit, spent and expected, what its parts are, and the thresholds."""
    budget, expected = gauge.budget, gauge.expected
    text = Text()
    text.append(f"{safe(budget.scope)}", "bold")
    text.append(f"  {budget.month}{', no run begins that would exceed it' if budget.hard else ', it only warns'}\n\n", "dim")
    text.append_text(bar(gauge, max(width - 2, _BAR_CHARS_MIN)))
    share = 100 * budget.spent_micros / budget.limit_micros
    lines = [
        (_SPENT, "spent", f"{wording.money(budget.spent_micros)}, {share:.1f} %"),
        (_IN_FLIGHT, "in flight", wording.money(budget.reserved_micros)),
    ]
    if expected is not None and expected.expected_micros is not None:
        lines.append((_EXPECTED, "expected", f"{wording.money(expected.expected_micros)} when the month is over"))
    lines.append((_LIMIT, "limit", wording.money(budget.limit_micros)))
    for sign, name, told in lines:
        text.append(f"\n{sign} {name:<10} {told}")
    for percent in budget.alert_percents:
        at = wording.money(budget.limit_micros * percent // 100)
        text.append(
            f"\n  {percent:>4} %     {at}, {'was told' if percent in budget.alerted_percents else 'is told when it is spent'}"
        )
    if expected is not None:
        sure = [pair for pair in wording.foretold(expected) if pair[0] in ("80 percent between", "method", "note")]
        text.append("\n\nHow sure that is\n", "bold")
        text.append("\n".join(f"{name:<20}{told}" for name, told in sure))
    elif gauge.unknown:
        text.append(f"\n\nWhat the month will cost is not told: {safe(gauge.unknown)}", "dim")
    return text


def bar(gauge: Gauge, width: int) -> Text:
    """Spent, in flight, expected beyond both, and what is left up to the limit, which is marked; each as long as its share."""
    budget = gauge.budget
    spent, taken = max(budget.spent_micros, 0), max(budget.spent_micros + budget.reserved_micros, 0)
    expected = max((gauge.expected.expected_micros if gauge.expected else None) or 0, taken)
    most = max(budget.limit_micros, expected)
    limit = min(width * budget.limit_micros // most, width - 1)
    over = taken > budget.limit_micros
    text = Text()
    for at in range(width):
        if at == limit:
            text.append(_LIMIT, "bold")
        elif at < _cells(spent, most, width):
            text.append(_SPENT, colours.BAD if over else colours.GOOD)
        elif at < _cells(taken, most, width):
            text.append(_IN_FLIGHT, colours.UNDER_WAY)
        elif at < _cells(expected, most, width):
            text.append(_EXPECTED, colours.BAD if expected > budget.limit_micros else colours.WAITS)
        else:
            text.append(_LEFT, "dim")
    return text


def _cells(micros: int, most: int, width: int) -> int:
    """Of a width so many characters as the amount is of the most; one at least for what is not nothing."""
    return max(1, width * micros // most) if micros > 0 else 0
