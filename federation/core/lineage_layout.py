"""Where the boxes of a layered graph go: left to right, few crossings, short and smooth connections. Pure geometry.

The way of Sugiyama, Tagawa and Toda (1981): layers by longest paths, long connections cut into pieces by corners of their own,
each layer put in order by the barycentres of its neighbours, and heights by least squares in that order, which is isotonic
regression and found exactly by pooling adjacent violators.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

_SWEEPS = 8
_SETTLINGS = 10
_CORNER = 12.0


@dataclass(frozen=True, kw_only=True)
class Placed:
    """The boxes' centres by name, each connection's points from box to box, and how much room it takes."""

    centres: Mapping[str, tuple[float, float]]
    ways: Sequence[tuple[tuple[float, float], ...]]
    width: float
    height: float


def place(
    sizes: Mapping[str, tuple[float, float]], links: Sequence[tuple[str, str]], *, rooms: Mapping[str, float], between: float
) -> Placed:
    """Places boxes of those sizes (width, height). `rooms` is what each wants free at its right, `between` that below.

    Circles are fine: some of their links then run backwards.
    """
    ranks = _ranks(list(sizes), links)
    chains, layers = _chained(list(sizes), links, ranks)
    neighbours = _neighbours(chains)
    layers = _ordered(layers, neighbours)
    height_of = {name: height for name, (_, height) in sizes.items()}
    heights = _settled(layers, neighbours, height_of, between)
    lefts, x, room = [], 0.0, 0.0
    for layer in layers:
        wide = max((sizes[name][0] for name in layer if name in sizes), default=_CORNER)
        lefts.append((x + room, wide))
        x += room + wide
        room = max((rooms[name] for name in layer if name in rooms), default=_CORNER)
    column = {name: rank for rank, layer in enumerate(layers) for name in layer}
    top = min((heights[name] - height_of.get(name, 0) / 2 for name in heights), default=0.0)
    centres = {name: (lefts[column[name]][0] + lefts[column[name]][1] / 2, heights[name] - top) for name in heights}
    bottom = max((y + height_of.get(name, 0) / 2 for name, (_, y) in centres.items()), default=0.0)
    ways = [_way(chain, centres, sizes) for chain in chains]
    return Placed(centres={name: centres[name] for name in sizes}, ways=ways, width=x, height=bottom)


def _ranks(names: list[str], links: Sequence[tuple[str, str]]) -> dict[str, int]:
    """The layer of each: as many as the longest way that leads to it; what nothing leads to stands beside what it leads to."""
    follows: dict[str, list[str]] = {name: [] for name in names}
    open_ = dict.fromkeys(names, 0)
    for source, target in links:
        if source != target:
            follows[source].append(target)
            open_[target] += 1
    ranks: dict[str, int] = {}
    best = dict.fromkeys(names, 0)
    ready = [name for name in names if not open_[name]]
    waiting = [name for name in names if open_[name]]
    while len(ranks) < len(names):
        if not ready:  # a circle: it is cut where the first of it stands
            ready.append(next(name for name in waiting if name not in ranks))
        name = ready.pop(0)
        if name in ranks:
            continue
        ranks[name] = best[name]
        for target in follows[name]:
            if target in ranks:
                continue
            best[target] = max(best[target], ranks[name] + 1)
            open_[target] -= 1
            if not open_[target]:
                ready.append(target)
    led_to = {target for source, target in links if source != target}
    for name in names:
        after = [ranks[target] for target in follows[name] if ranks[target] > ranks[name]]
        if name not in led_to and after:
            ranks[name] = min(after) - 1
    return ranks


def _chained(
    names: list[str], links: Sequence[tuple[str, str]], ranks: Mapping[str, int]
) -> tuple[list[list[str]], list[list[str]]]:
    """Each link as a chain from layer to layer, with corners where it passes one; and the layers, corners among them."""
    layers: list[list[str]] = [[] for _ in range(max(ranks.values(), default=-1) + 1)]
    for name in names:
        layers[ranks[name]].append(name)
    chains = []
    for number, (source, target) in enumerate(links):
        step = 1 if ranks[target] > ranks[source] else -1
        chain = [source]
        for rank in range(ranks[source] + step, ranks[target], step):
            corner = f"\0{number}:{rank}"
            layers[rank].append(corner)
            chain.append(corner)
        chains.append([*chain, target])
    return chains, layers


def _neighbours(chains: list[list[str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for chain in chains:
        for one, other in itertools.pairwise(chain):
            found.setdefault(one, []).append(other)
            found.setdefault(other, []).append(one)
    return found


def _ordered(layers: list[list[str]], neighbours: Mapping[str, list[str]]) -> list[list[str]]:
    """The layers in the order with the fewest crossings that some sweeps to and fro come across."""
    best, fewest = layers, _crossings(layers, neighbours)
    current = [list(layer) for layer in layers]
    for sweep in range(_SWEEPS):
        if not fewest:
            break
        ranks = range(1, len(current)) if sweep % 2 == 0 else range(len(current) - 2, -1, -1)
        for rank in ranks:
            beside = current[rank - 1 if sweep % 2 == 0 else rank + 1]
            place_of = {name: place for place, name in enumerate(beside)}
            current[rank] = _by_barycentre(current[rank], neighbours, place_of)
        crossings = _crossings(current, neighbours)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in current], crossings
    return best


def _by_barycentre(layer: list[str], neighbours: Mapping[str, list[str]], place_of: Mapping[str, int]) -> list[str]:
    """By the mean place of each one's neighbours beside; one without keeps its own."""
    keys = {}
    for place_, name in enumerate(layer):
        places = [place_of[other] for other in neighbours.get(name, ()) if other in place_of]
        keys[name] = sum(places) / len(places) if places else float(place_)
    return sorted(layer, key=lambda name: keys[name])


def _crossings(layers: list[list[str]], neighbours: Mapping[str, list[str]]) -> int:
    """How many pairs of connections between neighbouring layers cross."""
    total = 0
    for layer, following in itertools.pairwise(layers):
        place_of = {name: place for place, name in enumerate(following)}
        ends: list[int] = []
        for name in layer:
            for end in sorted(place_of[other] for other in neighbours.get(name, ()) if other in place_of):
                total += len(ends) - bisect.bisect_right(ends, end)
                bisect.insort(ends, end)
    return total


def _settled(
    layers: list[list[str]], neighbours: Mapping[str, list[str]], height_of: Mapping[str, float], between: float
) -> dict[str, float]:
    """Heights of all centres: each layer drawn towards its neighbours' means, by turns, in its order and without overlap."""
    heights: dict[str, float] = {}
    offsets = []
    for layer in layers:
        y, mine = 0.0, []
        for above, name in zip([None, *layer], layer, strict=False):
            if above is not None:
                gap = between if name in height_of and above in height_of else between / 2
                y += (height_of.get(above, 0.0) + height_of.get(name, 0.0)) / 2 + gap
            mine.append(y)
        offsets.append(mine)
        heights |= {name: at - mine[-1] / 2 for name, at in zip(layer, mine, strict=True)}
    for turn in range(_SETTLINGS):
        ranks = range(len(layers)) if turn % 2 == 0 else range(len(layers) - 1, -1, -1)
        for rank in ranks:
            layer = layers[rank]
            wanted = [_mean([heights[other] for other in neighbours.get(name, ())], heights[name]) for name in layer]
            fitted = _isotonic([want - offset for want, offset in zip(wanted, offsets[rank], strict=True)])
            heights |= {name: fit + offset for name, fit, offset in zip(layer, fitted, offsets[rank], strict=True)}
    return heights


def _mean(values: Sequence[float], otherwise: float) -> float:
    return sum(values) / len(values) if values else otherwise


def _isotonic(values: Iterable[float]) -> list[float]:
    """The rising sequence nearest to those values, by least squares."""
    pools: list[tuple[float, int]] = []
    for value in values:
        pools.append((value, 1))
        while len(pools) > 1 and pools[-2][0] > pools[-1][0]:
            (one, many), (other, more) = pools[-2:]
            pools[-2:] = [((one * many + other * more) / (many + more), many + more)]
    return [value for value, count in pools for _ in range(count)]


def _way(
    chain: list[str], centres: Mapping[str, tuple[float, float]], sizes: Mapping[str, tuple[float, float]]
) -> tuple[tuple[float, float], ...]:
    """From the side of one box to the side of the other, by the corners between."""
    (x, y), (end_x, end_y) = centres[chain[0]], centres[chain[-1]]
    sign = 1 if end_x >= x else -1
    begin, end = sizes[chain[0]][0] / 2 * sign, sizes[chain[-1]][0] / 2 * sign
    return ((x + begin, y), *(centres[corner] for corner in chain[1:-1]), (end_x - end, end_y))


def fanned(
    placed: Placed, sizes: Mapping[str, tuple[float, float]], links: Sequence[tuple[str, str]], *, apart: float
) -> Placed:
    """The same with the ends of links spread along the sides of their boxes, at most `apart`, in the order of their heights."""
    ways = [list(way) for way in placed.ways]
    for end, beside in ((0, 1), (-1, -2)):
        at: dict[str, list[int]] = {}
        for number, link in enumerate(links):
            at.setdefault(link[end], []).append(number)
        for name, numbers in at.items():
            # By the height of the next point; where that is the same, by where the link comes from.
            numbers.sort(key=lambda number: (ways[number][beside][1], placed.centres[links[number][-1 - end]][1]))
            step = min(apart, (sizes[name][1] - apart) / max(len(numbers) - 1, 1))
            for place_, number in enumerate(numbers):
                x, y = ways[number][end]
                ways[number][end] = (x, y + step * (place_ - (len(numbers) - 1) / 2))
    return replace(placed, ways=[tuple(way) for way in ways])
