"""A map of the sites in characters: where they are, which hold a version, and what is on its way between them. Pure."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from rich.text import Text

from federation.browse import colours, earth
from federation.core import dataset, site, transfer
from federation.core.screen import safe

#: What is drawn: nobody has sites at the poles.
_NORTH, _SOUTH, _WEST, _EAST = 74.0, -56.0, -180.0, 180.0
#: A braille character is two dots wide and four high (Unicode 2800); the bit of each dot, by column and row.
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
_BLANK = 0x2800
#: Dots of the land, so thin that what is written over it can be read.
_THIN = 2


class Sign(StrEnum):
    """How a site is marked. The signs differ in shape, so that they can be told apart without colour."""

    HOLDS = "●"
    COMING = "◐"
    SUSPECT = "!"
    EMPTY = "○"
    AWAY = "\N{MULTIPLICATION SIGN}"


#: What each sign means on a map of a version, and on one of all sites; and its colour.
_MEANS = {
    Sign.HOLDS: ("holds it", "ready", f"bold {colours.GOOD}"),
    Sign.COMING: ("on its way", "gets a copy", f"bold {colours.WAITS}"),
    Sign.SUSPECT: ("damaged", "", f"bold {colours.BAD}"),
    Sign.EMPTY: ("has none", "declared", "bold"),
    Sign.AWAY: ("no answer", "no answer", f"bold {colours.BAD}"),
}


@dataclass(frozen=True, kw_only=True)
class Mark:
    """A site on the map: its name, its region, and how it is marked."""

    name: str
    region: str
    sign: Sign


@dataclass(frozen=True, kw_only=True)
class Way:
    """What moves between two regions."""

    source_region: str
    destination_region: str


def marks(
    sites: Iterable[site.Site], replicas: Iterable[dataset.Replica] | None, moving: Iterable[transfer.Transfer] = ()
) -> tuple[Mark, ...]:
    """The sites as they are marked: by the replicas of a version, or, where that is None, by how they are themselves."""
    states = None if replicas is None else {row.site: row.state for row in replicas}
    coming = {row.destination_site for row in moving if not row.state.terminal}
    return tuple(Mark(name=row.site, region=row.region, sign=_sign(row, states, coming)) for row in sites)


def _sign(row: site.Site, states: Mapping[str, dataset.ReplicaState] | None, coming: set[str]) -> Sign:
    if row.state is site.SiteState.LOST:
        return Sign.AWAY
    if states is None:
        return Sign.COMING if row.site in coming else Sign.HOLDS if row.state is site.SiteState.READY else Sign.EMPTY
    state = states.get(row.site)
    if state is dataset.ReplicaState.AVAILABLE:
        return Sign.HOLDS
    if state is dataset.ReplicaState.SUSPECT:
        return Sign.SUSPECT
    return Sign.COMING if state is dataset.ReplicaState.COPYING or row.site in coming else Sign.EMPTY


def ways(sites: Iterable[site.Site], moving: Iterable[transfer.Transfer]) -> tuple[Way, ...]:
    """The pairs of regions between which transfers are under way."""
    regions = {row.site: row.region for row in sites}
    pairs = {
        (regions[row.source_site], regions[row.destination_site]): None
        for row in moving
        if not row.state.terminal and row.source_site in regions and row.destination_site in regions
    }
    return tuple(Way(source_region=source, destination_region=destination) for source, destination in pairs)


def draw(placed: Sequence[Mark], width: int, height: int, *, moving: Sequence[Way] = (), of_version: bool = True) -> Text:
    """The map in so many characters and lines, and below it in one line more what the signs mean.

    A name stands beside its sign where there is room for it. Sites of regions whose place is not known are named in the legend.
    """
    grid = [[(chr(character), "dim") for character in row] for row in _land(width, height)]
    where = {name: _cell(point, width, height) for name, point in earth.regions().items()}
    lines: set[tuple[int, int]] = set()
    for way in moving:
        if way.source_region in where and way.destination_region in where:
            lines.update(_between(where[way.source_region], where[way.destination_region]))
    for column, row in lines:
        grid[row][column] = ("·", colours.WAITS)
    taken = {where[mark.region] for mark in placed if mark.region in where}
    by_cell: dict[tuple[int, int], list[Mark]] = {}
    for mark in placed:
        if mark.region in where:
            by_cell.setdefault(where[mark.region], []).append(mark)
    for (column, row), here in sorted(by_cell.items()):
        sign = min((mark.sign for mark in here), key=list(Sign).index)
        grid[row][column] = (sign.value, _MEANS[sign][2])
        name = ", ".join(safe(mark.name) for mark in here)
        if not _label(grid, (column, row), name, taken, lines):
            _label(grid, (column, row), name, taken, set())
    text = Text("\n").join(_joined(row) for row in grid)
    text.append("\n")
    text.append_text(_legend(placed, set(where), moving, width, of_version=of_version))
    return text


def _legend(placed: Sequence[Mark], known: set[str], moving: Sequence[Way], width: int, *, of_version: bool) -> Text:
    text = Text(no_wrap=True, overflow="ellipsis")
    for sign in Sign:
        if any(mark.sign is sign for mark in placed):
            text.append(f"{sign.value} ", _MEANS[sign][2])
            text.append(f"{_MEANS[sign][0 if of_version else 1]}  ")
    if moving:
        text.append("··· ", colours.WAITS)
        text.append("copying  ")
    unknown = [mark.name for mark in placed if mark.region not in known]
    if unknown:
        text.append(f"not on the map: {safe(', '.join(unknown))}", "dim")
    text.truncate(width, overflow="ellipsis")
    return text


@functools.lru_cache(16)
def _land(width: int, height: int) -> tuple[tuple[int, ...], ...]:
    """The land as braille characters: line by line, which dots lie between an odd and an even crossing of an outline."""
    grid = [[_BLANK] * width for _ in range(height)]
    dots = 4 * height
    for down in range(dots):
        latitude = _NORTH - (down + 0.5) * (_NORTH - _SOUTH) / dots
        for outline in earth.land():
            crossings = sorted(_crossings(outline, latitude))
            for west, east in zip(crossings[::2], crossings[1::2], strict=True):
                first, last = (round((longitude - _WEST) / (_EAST - _WEST) * 2 * width) for longitude in (west, east))
                for right in range(max(first, 0), min(last, 2 * width)):
                    if (right + down) % _THIN == 0:
                        grid[down // 4][right // 2] |= _DOTS[right % 2][down % 4]
    return tuple(map(tuple, grid))


def _crossings(outline: Sequence[earth.Point], latitude: float) -> Iterable[float]:
    for (south, west), (north, east) in zip(outline, (*outline[1:], outline[0]), strict=True):
        if (south > latitude) != (north > latitude):
            yield west + (latitude - south) / (north - south) * (east - west)


def _cell(point: earth.Point, width: int, height: int) -> tuple[int, int]:
    """Column and line of a place, within the map."""
    latitude, longitude = point
    column = int((longitude - _WEST) / (_EAST - _WEST) * width)
    row = int((_NORTH - latitude) / (_NORTH - _SOUTH) * height)
    return max(0, min(width - 1, column)), max(0, min(height - 1, row))


def _between(start: tuple[int, int], end: tuple[int, int]) -> Iterable[tuple[int, int]]:
    """The cells of a straight line, without its ends."""
    steps = max(abs(end[0] - start[0]), abs(end[1] - start[1]))
    for step in range(1, steps):
        yield tuple(round(a + (b - a) * step / steps) for a, b in zip(start, end, strict=True))  # type: ignore[misc]


Grid = list[list[tuple[str, str]]]
Cell = tuple[int, int]


def _label(grid: Grid, sign: Cell, name: str, taken: set[Cell], lines: set[Cell]) -> bool:
    """Writes a name beside its sign, to the right, to the left, below or above, where it covers no sign, name or line.

    Whether there was room.
    """
    (column, row), width = sign, len(grid[0])
    offers = ((column + 2, row), (column - len(name) - 1, row), (column + 1, row + 1), (column + 1, row - 1))
    for left, line in (*offers, (column - len(name), row + 1), (column - len(name), row - 1)):
        cells = [(at, line) for at in range(left - 1, left + len(name) + 1)]
        if 0 <= line < len(grid) and left >= 0 and left + len(name) <= width and not (taken | lines).intersection(cells[1:-1]):
            for character, (at, _) in zip(f" {name} ", cells, strict=True):
                if 0 <= at < width and (at, line) not in taken:
                    grid[line][at] = (character, "bold")
            taken.update(cells)
            return True
    return False


def _joined(row: Sequence[tuple[str, str]]) -> Text:
    runs = itertools.groupby(row, key=lambda cell: cell[1])
    return Text.assemble(*(("".join(character for character, _ in cells), style) for style, cells in runs), no_wrap=True)
