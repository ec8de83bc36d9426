"""Lines on two logarithmic axes, as a self-contained SVG that reads in light and dark."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

WIDTH, HEIGHT = 720, 440
LEFT, RIGHT, TOP, BOTTOM = 70, 210, 40, 50
COLOURS = ("#3b7dd8", "#d9772b", "#2f9e62", "#b04a8c", "#8a6d1f")
Points = Sequence[tuple[float, float]]


def loglog(title: str, x_name: str, y_name: str, lines: Mapping[str, Points]) -> str:
    """One line for each name; all values above zero."""
    xs = _decades([x for points in lines.values() for x, _ in points])
    ys = _decades([y for points in lines.values() for _, y in points])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{html.escape(title)}">',
        (
            "<style>text{font:13px sans-serif;fill:#333}.grid{stroke:#8884;stroke-width:1}.line{fill:none;stroke-width:2}"
            "@media(prefers-color-scheme:dark){text{fill:#ddd}}</style>"
        ),
        f'<text x="{LEFT}" y="22" style="font-weight:bold">{html.escape(title)}</text>',
    ]
    for value in xs:
        x = _x(value, xs)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>')
        parts.append(f'<text x="{x:.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{value:,.0f}</text>')
    for value in ys:
        y = _y(value, ys)
        parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="{LEFT - 8}" y="{y + 4:.1f}" text-anchor="end">{value:g}</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{_x(x, xs):.1f},{_y(y, ys):.1f}" for x, y in points)
        parts.append(f'<polyline class="line" stroke="{colour}" points="{path}"/>')
        parts += [f'<circle cx="{_x(x, xs):.1f}" cy="{_y(y, ys):.1f}" r="3" fill="{colour}"/>' for x, y in points]
        key = TOP + 20 * number
        parts.append(f'<rect x="{WIDTH - RIGHT + 14}" y="{key}" width="14" height="4" fill="{colour}"/>')
        parts.append(f'<text x="{WIDTH - RIGHT + 34}" y="{key + 7}">{html.escape(name)}</text>')
    middle = (LEFT + WIDTH - RIGHT) / 2
    parts.append(f'<text x="{middle}" y="{HEIGHT - 10}" text-anchor="middle">{html.escape(x_name)}</text>')
    parts.append(f'<text x="16" y="{TOP - 6}">{html.escape(y_name)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _decades(values: Sequence[float]) -> list[float]:
    low, high = math.floor(math.log10(min(values))), math.ceil(math.log10(max(values)))
    return [10.0**power for power in range(low, max(high, low + 1) + 1)]


def _x(value: float, axis: Sequence[float]) -> float:
    return LEFT + _share(value, axis) * (WIDTH - LEFT - RIGHT)


def _y(value: float, axis: Sequence[float]) -> float:
    return HEIGHT - BOTTOM - _share(value, axis) * (HEIGHT - TOP - BOTTOM)


def _share(value: float, axis: Sequence[float]) -> float:
    low, high = math.log10(axis[0]), math.log10(axis[-1])
    return (math.log10(value) - low) / (high - low)
