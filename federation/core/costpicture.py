"""A cost report as a picture: a bar for each key, what was charged and what locality saved. In the style of `core.picture`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from federation.core import picture, units
from federation.core.metering import CostSummary

ROWS_MAX = 30
_LEFT = 300
_BAR_WIDTH = 420
_ROW = 30
_BAR = 16
_TOP = 112
_CHARGED, _AVOIDED = "#ee6677", "#228833"


def svg(sums: Sequence[CostSummary], total: CostSummary, by: str, *, title: str = "") -> str:
    """The picture of a report: by day and month in their order, else the dearest first. More than `ROWS_MAX` are told together.

    A month that is credited more than it is charged has no bar, only its figure.
    """
    ordered = list(sums) if by in ("day", "month") else sorted(sums, key=lambda row: (-_weight(row), row.key))
    rows = ordered[-ROWS_MAX:] if by in ("day", "month") else ordered[:ROWS_MAX]
    left_out = len(ordered) - len(rows)
    most = max((_weight(row) for row in rows), default=0) or 1
    bottom = _TOP + _ROW * len(rows)
    height = bottom + (62 if left_out else 40)
    said = f"{units.usd(total.charge_micros)} charged for {units.size(total.egress_bytes)} that left a region; locality saved "
    said += f"{units.usd(total.avoided_micros)}"
    body = [
        picture.text(24, 34, title or f"Egress by {by}", "ink title"),
        picture.text(24, 56, said, "soft"),
        *_legend(),
        *(picture.axis(most, bottom, left=_LEFT, width=_BAR_WIDTH, top=_TOP) if rows else ()),
        *(line for n, row in enumerate(rows) for line in _row(row, n, most)),
        *([picture.text(24, bottom + 40, f"and {left_out} more", "soft small")] if left_out else ()),
    ]
    return "\n".join((picture.opening(height, said), *body, "</svg>", ""))


def _weight(row: CostSummary) -> int:
    return max(row.charge_micros, 0) + max(row.avoided_micros, 0)


def _legend() -> Iterator[str]:
    x = 24
    for word, colour in (("charged", _CHARGED), ("saved by locality (not spent)", _AVOIDED)):
        yield f'<rect x="{x}" y="74" width="13" height="13" rx="2" fill="{colour}"/>'
        yield picture.text(x + 19, 85, word, "ink")
        x += 110


def _row(row: CostSummary, place: int, most: int) -> Iterator[str]:
    y = _TOP + _ROW * place
    yield picture.text(24, y + 13, picture.cut(row.key or "(none)", 38), "ink")
    x = float(_LEFT)
    for micros, colour, word in ((row.charge_micros, _CHARGED, "charged"), (row.avoided_micros, _AVOIDED, "saved")):
        if micros > 0:
            width = _BAR_WIDTH * micros / most
            told = f"<title>{word} {units.usd(micros)}</title>"
            yield f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_BAR}" fill="{colour}">{told}</rect>'
            x += width
    saved = f" (saved {picture.short_usd(row.avoided_micros)})" if row.avoided_micros else ""
    yield picture.text(x + 8, y + 13, picture.short_usd(row.charge_micros) + saved, "ink small")
