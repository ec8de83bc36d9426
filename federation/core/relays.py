"""Through a third region: where two legs may be cheaper than the direct one, found for all inputs and regions at once.

A relay is offered where both legs at the least that a byte may cost now are cheaper than every direct read at the most. Nothing
that could win on price is left out, save for small inputs: whether it does win is for the search, with exact prices.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction
from functools import cached_property

import numpy as np
import numpy.typing as npt

from federation.core import arrivals, links, policy, ratecard, site, world

#: Inputs below this are not relayed: a replica more to guard, and to drop again, for less than a dollar.
BYTES_MIN = 10 * 10**9

Rates = npt.NDArray[np.float64]
#: Floats are compared with so much to spare, so that rounding leaves nothing out.
_SPARE = 1 - 1e-9


class Relays:
    """For each region, and each input and source of it by number, the sites that a relay may go through."""

    def __init__(self, seen: world.World, came: arrivals.Arrivals) -> None:
        self._world, self._came = seen, came
        self._sites = came.ground.keepers
        #: Region -> (position of the input, number of its source) -> sites, in order of their names.
        self.over: dict[str, dict[tuple[int, int], list[site.Site]]] = {}
        if self._sites and came.reads and len(came.regions) and came.hopeless is None:
            self._find()

    @property
    def possible(self) -> bool:
        """Whether there is a site that could keep a copy at all."""
        return bool(self._sites)

    def _find(self) -> None:
        came, table = self._came, links.of(self._world.rates)
        middles = [row.region for row in self._sites]
        sources = [region for region, _ in came.nodes]
        most = sum(max(read.bytes, read.item.bytes) for read in came.reads)
        accounts = [row.account for row in self._sites]
        first, _ = self._rates(table, came.nodes, middles, most)
        second, _ = self._rates(table, list(zip(middles, accounts, strict=True)), came.regions, most)
        _, direct = self._rates(table, came.nodes, came.regions, most)
        first[np.array(sources)[:, None] == np.array(middles)[None, :]] = np.inf
        second[np.array(middles)[:, None] == np.array(came.regions)[None, :]] = np.inf
        nearest, cheapest = first.min(axis=1), second.min(axis=0)
        for i, read in enumerate(came.reads):
            if not read.bytes or read.item.bytes < BYTES_MIN:
                continue
            nodes = [source.node for source in read.sources]
            bound = read.bytes * direct[nodes].min(axis=0)
            whole, part = read.item.bytes, min(read.bytes, read.item.bytes)
            possible = whole * nearest[nodes][:, None] + part * cheapest[None, :] < bound[None, :] / _SPARE
            for j, r in zip(*np.nonzero(possible), strict=True):
                through = whole * first[nodes[j]] + part * second[:, r] < bound[r] / _SPARE
                self._add(i, int(j), int(r), np.nonzero(through)[0].tolist())

    @cached_property
    def least(self) -> Rates:
        """What each input costs in each region at the least, however it comes there, in micro-dollars; 0 where it never can.

        Of each link a straight line is known that its tariff is nowhere below. Whatever shares the link, what an input adds to
        all is at the least what the line says, less the line's own start.
        """
        came, regions = self._came, self._came.regions
        middles = [(row.region, row.account) for row in self._sites]
        between = [region for region, _ in middles]
        direct, first, second = (
            self._lines(came.nodes, regions),
            self._lines(came.nodes, between),
            self._lines(middles, regions),
        )
        found = np.zeros((len(came.reads), len(regions)))
        for i, read in enumerate(came.reads):
            volume = min(read.bytes, read.item.bytes) * _SPARE
            if not volume:
                continue
            nodes = [source.node for source in read.sources]
            cost = (direct[0][nodes] * volume - direct[1][nodes]).min(axis=0)
            if middles:
                through = (first[0][nodes] * volume - first[1][nodes]).min(axis=0)
                cost = np.minimum(cost, (through[:, None] + second[0] * volume - second[1]).min(axis=0))
            found[i] = np.where(np.isfinite(cost), np.maximum(cost, 0), 0)
        return found

    def _lines(self, nodes: list[tuple[str, str]], regions: Sequence[str]) -> tuple[Rates, Rates]:
        """Slope and start of a line for each link: any volume of this decision costs the slope times it, less the start."""
        table = links.of(self._world.rates)
        numbers = table.between([region for region, _ in nodes], regions)
        begun = self._came.sent.before(nodes, regions)
        most = sum(max(read.bytes, read.item.bytes) for read in self._came.reads)
        slopes, starts = np.full(numbers.shape, np.inf), np.zeros(numbers.shape)
        known: dict[tuple[int, int], tuple[float, float]] = {}
        for n, r in zip(*(axis.tolist() for axis in np.nonzero(numbers >= 0)), strict=True):
            key = int(numbers[n, r]), 0 if begun is None else int(begun[n, r])
            if key not in known:
                known[key] = _line(table.tariffs[key[0]], key[1], most)
            slopes[n, r], starts[n, r] = known[key]
        return slopes, starts

    def _add(self, i: int, j: int, r: int, through: list[int]) -> None:
        read, region = self._came.reads[i], self._came.regions[r]
        origins = {source.region for source in read.sources}
        allowed = [
            row
            for row in (self._sites[m] for m in through)
            if row.region not in origins
            and row.site not in self._world.denials
            and policy.residency_allows(read.item.residency, row.jurisdiction)
        ]
        if allowed and region not in origins:
            self.over.setdefault(region, {})[i, j] = allowed

    def _rates(
        self, table: links.Links, nodes: list[tuple[str, str]], regions: Sequence[str], most: int
    ) -> tuple[Rates, Rates]:
        """The least and the most that a byte may cost on each link now, before `most` others; infinite where it is unknown."""
        numbers = table.between([region for region, _ in nodes], regions)
        if not table.tariffs:
            nowhere = np.full(numbers.shape, np.inf)
            return nowhere, nowhere
        tiers = table.tiers
        least = tiers.rate[numbers, 0] / tiers.unit[numbers]
        dearest = least.copy()
        bent = np.nonzero(~tiers.flat[numbers] & (numbers >= 0))
        if bent[0].size:
            number = numbers[bent]
            begun = self._came.sent.before(nodes, regions)
            before = np.zeros(len(number), dtype=np.int64) if begun is None else begun[bent]
            low, high = links.begun(tiers, number, before), links.reached(tiers, number, before + most)
            width = tiers.upto.shape[1]
            rates = tiers.rate[number] / tiers.unit[number][:, None]
            tier = np.arange(width)[None, :]
            used = (tier >= low[:, None]) & (tier <= np.maximum(high, low)[:, None])
            least[bent] = np.where(used, rates, np.inf).min(axis=1)
            dearest[bent] = np.where(used, rates, -np.inf).max(axis=1)
            beyond = high >= tiers.tiers[number]
            dearest[tuple(axis[beyond] for axis in bent)] = np.inf
        least[numbers < 0] = np.inf
        dearest[numbers < 0] = np.inf
        return least, dearest


def _line(tariff: ratecard.Tariff, begun: int, most: int) -> tuple[float, float]:
    """Slope and start of a line that the price of up to `most` bytes after so many others is nowhere below."""
    paid = tariff.exact(begun)
    if paid is None:
        return math.inf, 0.0
    ends = [min(tier.upto_bytes - begun, most) for tier in tariff.tiers if tier.upto_bytes is not None]
    reached = next((t for t in tariff.tiers if t.upto_bytes is None or begun + most <= t.upto_bytes), tariff.tiers[-1])
    # Straight pieces: the line is highest above the price where one of them ends.
    prices = [(end, price - paid) for end in {most, *ends} if end > 0 and (price := tariff.exact(begun + end)) is not None]
    slope = Fraction(reached.rate, tariff.unit)
    start = max((slope * end - price for end, price in prices), default=Fraction(0))
    return float(slope), float(max(start, Fraction(0)))
