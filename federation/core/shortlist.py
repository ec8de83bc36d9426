"""The short list: the two best sites of an everyday decision, by bounds, with exact prices only of the regions that could win.

What all reads into a region cost at the least is found for all regions at once, as floats below the exact figure. Then regions
are priced exactly, the one with the least bound first, until no other can come before the two best. It only saves
time: its two sites are the first two of all, and where that is not certain it answers None. A test holds it to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from federation.core import arrivals, lines, links, plain

if TYPE_CHECKING:
    from federation.core import planner

Floats = npt.NDArray[np.float64]

#: So many regions are priced one by one; with more of them to price, all at once takes less.
REGIONS_MAX = 8
#: Floats are compared with this part of them to spare.
_SPARE = 1e-9


def leading(decision: planner.Decision, spent: plain.Spent | None) -> list[int] | None:
    """The numbers of the two best sites in the order of rank, of fewer if there are fewer; None where all must be compared."""
    bounds = decision.bounds
    if spent is None or bounds is None or _particular(decision):
        return None
    ground = decision.ground
    possible = plain.possible(decision)
    if (possible & ~spent.priced).any():
        return None
    fits = plain.fitting(decision, possible)
    if not len(fits):
        return None
    regions = ground.region[fits]
    least = spent.compute[fits] + bounds.least[regions]
    order = np.argsort(least, kind="stable")
    best: list[tuple[int, float, int]] = []
    for k, bound in zip(order.tolist(), least[order].tolist(), strict=True):
        if len(best) == 2 and bound > best[1][0]:
            break
        n = int(fits[k])
        egress = bounds.exact(int(regions[k]))
        if egress is None:
            return None
        best = sorted([*best, (int(spent.compute[n]) + egress, -decision.locality(ground.sites[n]), n)])[:2]
    return [n for _, _, n in best]


def _particular(decision: planner.Decision) -> bool:
    """Whether some site may need a closer look, or come after dearer ones."""
    return bool(
        decision.world.caps
        or decision.avoided
        or decision.egress_left is not None
        or any(item.arriving for item in decision.world.inputs)
        or (decision.ground.keepers and not decision.request.no_copies)
    )


class Bounds:
    """What all reads into each region cost at the least; and exactly, region by region, where that is asked for."""

    def __init__(self, came: arrivals.Arrivals, under: lines.Lines, tiers: links.Tiers, seconds: int) -> None:
        """A region whose reads would take longer than the run's `seconds` is not priced: waiting costs, too."""
        self._came, self._under, self._flat, self._seconds, self._asked = came, under, tiers.flat, seconds, 0
        self._known: dict[int, int | None] = {}
        self._rows = [came.ground.origin_rows[node] for node in came.nodes]
        width, rows = max(len(read.sources) for read in came.reads), self._rows
        # Short rows repeat their first source: the least of all is the same.
        links_ = [
            [rows[s.node] for s in (*read.sources, *read.sources[:1] * (width - len(read.sources)))] for read in came.reads
        ]
        from_ = np.array(links_, dtype=np.intp)
        volumes = np.array([read.bytes for read in came.reads], dtype=np.float64)
        #: Where every byte of a link costs the same on all of them, which source each input takes in each region.
        self._picks: npt.NDArray[np.intp] | None = None
        if tiers.all_flat:
            # The first of the least priced, and what is in the region itself before all others.
            prices = under.price.take(from_, axis=0)
            self._picks = prices.argmin(axis=1)
            per_byte = np.maximum(prices.min(axis=1), 0)
            bound: Floats = volumes @ per_byte
            bound[per_byte.max(axis=0) >= links.BEYOND] = np.inf
        else:
            bound = volumes @ under.slope.take(from_, axis=0).min(axis=1) - self._slack()
        # What is charged for a link is the difference of two rounded figures.
        self.least: Floats = np.maximum(bound * (1 - _SPARE) / tiers.price_unit - len(rows) - 1, 0)

    def _slack(self) -> Floats:
        """By how much all links into a region may cost less than their slopes say: none of them costs less than nothing."""
        reach = [0] * len(self._rows)
        for read in self._came.reads:
            for source in read.sources:
                reach[source.node] += read.bytes
        free = self._under.slope.take(self._rows, axis=0) * np.array(reach, dtype=np.float64)[:, None]
        slack: Floats = np.minimum(self._under.slack.take(self._rows, axis=0), free).sum(axis=0)
        return slack

    def exact(self, r: int) -> int | None:
        """A region's egress in micro-dollars, and how it comes about in `Arrivals`; None where a closer look is needed."""
        if r not in self._known:
            self._asked += 1
            self._known[r] = self._exact(r) if self._asked <= REGIONS_MAX else None
        return self._known[r]

    def _exact(self, r: int) -> int | None:
        came = self._came
        if self._picks is not None:
            if not np.isfinite(self.least[r]):
                return None
            came.take(r, self._picks[:, r].tolist())
            return came.egress[r] if came.slowest[r] <= self._seconds else None
        alive = self._alive(r)
        if alive is None:
            return None
        if all(len(row) == 1 for row in alive):
            came.take(r, [row[0] for row in alive])
        else:
            came.choose(r, alive)
        certain = r not in came.blocked and not came.doubtful and came.slowest[r] <= self._seconds
        return came.egress[r] if certain else None

    def _alive(self, r: int) -> list[list[int]] | None:
        """The sources of each input that may be its best in a region; None where one has none whose price is sure."""
        region = self._came.regions[r]
        under = self._under
        slope, slack, high = (row[:, r].take(self._rows).tolist() for row in (under.slope, under.slack, under.high))
        found = []
        for read in self._came.reads:
            nodes = [source.node for source in read.sources]
            row = [j for j, source in enumerate(read.sources) if source.region == region][:1]
            if not row:
                bar = min([high[n] for n in nodes]) * read.bytes
                if bar == np.inf:
                    return None
                bar += bar * _SPARE
                row = [j for j, n in enumerate(nodes) if slope[n] * read.bytes - slack[n] <= bar]
                if len(row) > 1 and self._alike([nodes[j] for j in row], r, slope, high):
                    row = row[:1]
                if len(row) == 1 and high[nodes[row[0]]] == np.inf:
                    return None
            found.append(row)
        return found

    def _alike(self, nodes: list[int], r: int, slope: list[float], high: list[float]) -> bool:
        """Whether every byte costs the same on all of these links: by one tariff, or by several that are flat and equal."""
        if any(slope[n] != high[n] for n in nodes):
            return False
        rows = [self._rows[n] for n in nodes]
        numbers = {int(self._under.numbers[row, r]) for row in rows}
        if len(numbers) == 1:
            return True
        return all(self._flat[n] for n in numbers) and len({int(self._under.price[row, r]) for row in rows}) == 1
