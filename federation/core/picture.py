"""A plan as a picture: a bar for each site, made of the parts of its cost. One self-contained SVG, for light and dark pages.

Colours are those of Paul Tol's bright scheme, which people with any colour vision tell apart; what is weighed but not spent is
hatched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple
from xml.sax import saxutils

from federation.core import units
from federation.core.job import Candidate, Plan

#: More sites than these are counted, not drawn.
SITES_MAX = 30
REJECTIONS_MAX = 12
_WIDTH = 920
_LEFT = 190
_BAR_WIDTH = 500
_ROW = 34
_BAR = 18
_TOP = 112
#: A character of the text is at most so wide; there is no font to measure with.
_CHAR = 7.2


class Part(NamedTuple):
    """One part of a cost: its field, its word, its colour, and whether it is money that is spent."""

    field: str
    word: str
    colour: str
    spent: bool = True


PARTS = (
    Part("compute_micros", "compute", "#4477aa"),
    Part("egress_micros", "egress", "#ee6677"),
    Part("storage_micros", "storage of copies", "#ccbb44"),
    Part("landing_micros", "landing of outputs", "#228833"),
    Part("time_micros", "value of time", "#66ccee", spent=False),
    Part("carbon_micros", "carbon", "#aa3377", spent=False),
)

_STYLE = """
.paper{fill:#ffffff}.ink{fill:#1f2328}.soft{fill:#59636e}.line{stroke:#d1d9e0}.axis{stroke:#59636e}.hatch{stroke:#ffffff}
text{font-family:system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',sans-serif;font-size:13px}
.title{font-size:17px;font-weight:600}.small{font-size:11.5px}.bold{font-weight:600}
@media(prefers-color-scheme:dark){.paper{fill:#0d1117}.ink{fill:#f0f6fc}.soft{fill:#9198a1}.line{stroke:#3d444d}
.axis{stroke:#9198a1}.hatch{stroke:#0d1117}}
"""


def svg(plan: Plan, *, title: str = "") -> str:
    """The picture of a plan. Sites are drawn in their rank; those that were set aside are named under them."""
    rows = plan.ranked[:SITES_MAX]
    parts = [part for part in PARTS if any(getattr(row, part.field) for row in rows)]
    bottom = _TOP + _ROW * len(rows)
    rejected = list(_rejections(plan, bottom + (38 if rows else 0)))
    height = bottom + 52 + 18 * len(rejected)
    body = [
        *_head(plan, title),
        *_legend(parts),
        *(axis(_most(rows), bottom) if rows else ()),
        *(line for i, row in enumerate(rows) for line in _row(row, i, parts, _most(rows))),
        *rejected,
    ]
    return "\n".join((opening(height, _described(plan)), *body, "</svg>", ""))


def opening(height: int, described: str) -> str:
    """The head of a picture, with its styles and hatches; `described` is what a screen reader says."""
    hatches = "".join(
        f'<pattern id="{part.field}" width="6" height="6" patternUnits="userSpaceOnUse" patternTransform="rotate(45)">'
        f'<rect width="6" height="6" fill="{part.colour}"/><line x1="0" y1="0" x2="0" y2="6" stroke-width="2.5" class="hatch"/>'
        "</pattern>"
        for part in PARTS
        if not part.spent
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" viewBox="0 0 {_WIDTH} {height}" '
        f'role="img" aria-label="{escaped(described)}">\n<style>{_STYLE}</style>\n<defs>{hatches}</defs>\n'
        f'<rect width="{_WIDTH}" height="{height}" class="paper"/>'
    )


def _described(plan: Plan) -> str:
    if plan.choice is None:
        return "No site can run the job"
    return f"{plan.choice.site} is chosen of {len(plan.ranked)} sites at {units.usd(plan.choice.total_micros)}"


def _head(plan: Plan, title: str) -> Iterator[str]:
    yield text(24, 34, title or "Where it runs, and what it costs", "ink title")
    said = _described(plan)
    if plan.margin_micros is not None:
        said += f"; {plan.ranked[1].site} is next, {units.usd(plan.margin_micros)} more"
    yield text(24, 56, said, "soft")


def _legend(parts: Sequence[Part]) -> Iterator[str]:
    x = 24.0
    for part in parts:
        word = part.word if part.spent else f"{part.word} (not spent)"
        yield f'<rect x="{x:.0f}" y="74" width="13" height="13" rx="2" fill="{_fill(part)}"/>'
        yield text(x + 19, 85, word, "ink")
        x += 19 + _CHAR * len(word) + 16


def _fill(part: Part) -> str:
    return part.colour if part.spent else f"url(#{part.field})"


def _most(rows: Sequence[Candidate]) -> int:
    return max((row.objective_micros for row in rows), default=0) or 1


def axis(most: int, bottom: int, *, left: int = _LEFT, width: int = _BAR_WIDTH, top: int = _TOP) -> Iterator[str]:
    """Lines at round amounts, at most six of them."""
    step = _step(most)
    for amount in range(0, most + 1, step):
        x = left + width * amount / most
        yield f'<line x1="{x:.1f}" y1="{top - 10}" x2="{x:.1f}" y2="{bottom}" class="{"line" if amount else "axis"}"/>'
        yield text(x, bottom + 16, units.usd(amount), "soft small", anchor="middle")


def _step(most: int) -> int:
    """The smallest of 1, 2, 5, 10, 20, ... that makes at most five steps."""
    power = 1
    while True:
        for factor in (1, 2, 5):
            if factor * power * 5 >= most:
                return factor * power
        power *= 10


def _row(row: Candidate, place: int, parts: Sequence[Part], most: int) -> Iterator[str]:
    y = _TOP + _ROW * place
    yield text(24, y + 12, cut(row.site, 22), "ink bold" if place == 0 else "ink")
    yield text(24, y + 25, cut(row.region, 26), "soft small")
    x = float(_LEFT)
    for part in parts:
        micros = getattr(row, part.field)
        if micros > 0:
            width = _BAR_WIDTH * micros / most
            told = f"<title>{part.word} {units.usd(micros)}</title>"
            yield f'<rect x="{x:.2f}" y="{y}" width="{width:.2f}" height="{_BAR}" fill="{_fill(part)}">{told}</rect>'
            x += width
    yield text(x + 8, y + 13, _amount(row), "ink bold" if place == 0 else "ink")


def _amount(row: Candidate) -> str:
    """What is spent, and what is weighed beside it."""
    weighed = f" ({short_usd(row.objective_micros)} weighed)" if row.objective_micros != row.total_micros else ""
    return short_usd(row.total_micros) + weighed


def short_usd(micros: int) -> str:
    """Money to the cent, and exactly where that would be nothing."""
    if micros >= units.MICROS:
        return f"${units.divide_half_even(micros, 10_000) / 100:,.2f}"
    return units.usd(micros)


def _rejections(plan: Plan, y: int) -> Iterator[str]:
    more = len(plan.ranked) - SITES_MAX
    texts = [f"and {more} more sites that could run it"] if more > 0 else []
    if plan.rejections:
        texts.append("set aside:")
        texts += [
            f"{row.site}: {row.reason}" + (" (waiting may help)" if row.resolvable else "")
            for row in plan.rejections[:REJECTIONS_MAX]
        ]
        if len(plan.rejections) > REJECTIONS_MAX:
            texts.append(f"and {len(plan.rejections) - REJECTIONS_MAX} more")
    for i, line in enumerate(texts):
        yield text(24, y + 18 * i, cut(line, 120), "soft small")


def text(x: float, y: float, words: str, style: str, *, anchor: str = "") -> str:
    """A line of text that begins, or is centred (`anchor="middle"`), at a place."""
    where = f' text-anchor="{anchor}"' if anchor else ""
    return f'<text x="{x:.1f}" y="{y}" class="{style}"{where}>{escaped(words)}</text>'


def cut(text: str, most: int) -> str:
    """A text that has too many characters by its beginning."""
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def escaped(text: str) -> str:
    """Text as XML can hold it: it has no word for most control characters."""
    legal = "".join(c if ord(c) >= 32 and not 0xD800 <= ord(c) < 0xE000 and c not in "\ufffe\uffff" else " " for c in text)
    return saxutils.escape(legal, {'"': "&quot;"})
