"""Reading or copying at many sites at once, where reads may keep the run waiting: one sweep of arrays over thresholds of time.

It answers for a site only what the search (`search`) would: that some way of each input is the cheapest which keeps to the best
threshold, and that together they do keep to it. Sums are floats there, so a choice that floats cannot tell from another is left
to the search, as is a site where chosen ways share a link and take longer together, or where bytes of a link differ in price.
What is told of a settled site is counted anew, in whole numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import arrivals, copies, cost, links, site

if TYPE_CHECKING:
    from federation.core import planner

Ints = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

#: Values nearer to each other than this part of them are not told apart.
_NEAR = 1e-11
#: Steps to find equally cheap ways that fit a site's links together.
_FIT_STEPS = 400
#: Prices of a byte over the common unit below this are told apart by floats, whatever volume they are multiplied by.
_PRICE_MAX = 2**44
#: Cells of one sweep: of the order of a tenth of a second, and of 30 MB.
CELLS_MAX = 4_000_000


class Pending(NamedTuple):
    """A site whose ways are still to be chosen, with its options."""

    at: site.Site
    options: list[cost.Option]
    landing: int

    @property
    def option(self) -> cost.Option:
        """The first, and where `settle` is asked the only one."""
        return self.options[0]


class Settled(NamedTuple):
    """What the best choice for a site costs and takes; `picks` are ways by input: reads from each source, then copies."""

    egress_micros: int
    egress_bytes: int
    storage_micros: int
    reading: int
    staging: int
    keep_seconds: int
    picks: list[int]


def settle(decision: planner.Decision, pending: Sequence[Pending]) -> dict[str, Settled]:
    """Those of the sites whose best choice is certain, by name."""
    came, table = decision.came, links.of(decision.world.rates)
    if not pending or not came.reads or not table.tariffs:
        return {}
    width = max(len(read.sources) for read in came.reads)
    cells = len(came.reads) * (len(came.reads) * width + 1) ** 2
    most = decision.total_bytes + sum(read.bytes for read in came.reads)
    most += came.sent.most
    if (
        cells > CELLS_MAX
        or not (table.tiers.comparable and int(table.tiers.price.max()) < _PRICE_MAX)
        or not links.fits(table.tiers, max(most, 1))
    ):
        return {}
    found: dict[str, Settled] = {}
    step = max(CELLS_MAX // cells, 1)
    for first in range(0, len(pending), step):
        found |= _Sweep(decision, pending[first : first + step], width).settled()
    return found


def had(decision: planner.Decision, at: site.Site, settled: Settled) -> dict[int, list[copies.Had]]:
    """The ways that were picked for a site, by input."""
    found = {}
    for read, pick in zip(decision.came.reads, settled.picks, strict=True):
        copied, j = divmod(pick, len(read.sources))
        if at.site in read.item.replica_sites:
            way = copies.local(read, arrivals.Source(at.region, at.account, at.site, -1))
        elif copied:
            way = decision.ways.copy(read, read.sources[j], at, settled.keep_seconds)
        else:
            way = decision.ways.remote(read, read.sources[j], at.region)
        found[read.position] = [way]
    return found


class _Sweep:
    """Arrays over input x way x site; ways are reads from each source, then copies from each."""

    def __init__(self, decision: planner.Decision, pending: Sequence[Pending], width: int) -> None:
        self._decision, self._pending, self._width = decision, pending, width
        came = self._came = decision.came
        self._tiers = links.of(decision.world.rates).tiers
        reads = came.reads
        self._node = np.array(
            [[s.node for s in read.sources] + [read.sources[0].node] * (width - len(read.sources)) for read in reads]
        )
        self._there: Bools = np.array([[j < len(read.sources) for j in range(width)] for read in reads])
        self._part: Ints = np.array([read.bytes for read in reads], dtype=np.int64)
        self._whole: Ints = np.array([read.item.bytes for read in reads], dtype=np.int64)
        self._local = np.zeros((len(reads), len(pending)), dtype=np.bool_)
        for k, row in enumerate(pending):
            for i in decision.held.get(row.at.site, ()):
                self._local[i, k] = True
        self._keep = [copies.keep_seconds([row.option]) for row in pending]
        self._hidden: Ints = np.array([row.option.seconds for row in pending], dtype=np.int64)
        self._sources()

    def _sources(self) -> None:
        """What each node's link into each site costs and carries."""
        came, tiers = self._came, self._tiers
        regions = [row.at.region for row in self._pending]
        self._numbers = links.of(self._decision.world.rates).between([region for region, _ in came.nodes], regions)
        self._here: Bools = np.array([[origin == region for region in regions] for origin, _ in came.nodes])
        columns = [came.index[region] for region in regions]
        self._begun: Ints = np.zeros(self._numbers.shape, dtype=np.int64) if came.before is None else came.before[:, columns]
        reach = np.zeros(len(came.nodes), dtype=np.int64)
        largest = np.broadcast_to(np.maximum(self._part, self._whole)[:, None], self._there.shape)
        np.add.at(reach, self._node[self._there], largest[self._there])
        low = links.begun(tiers, self._numbers, self._begun)
        high = links.reached(tiers, self._numbers, self._begun + reach[:, None])
        straight = ((high <= low) & (low < tiers.tiers[self._numbers])) | (tiers.flat[self._numbers])
        priced = self._numbers >= 0
        #: Sites all of whose links have one price for every byte that could come, or none.
        self._straight = (straight | ~priced | self._here).all(axis=0)
        last = np.minimum(low, tiers.upto.shape[1] - 1)
        price = tiers.price[self._numbers, last] / tiers.price_unit
        self._price = np.where(self._here, 0.0, np.where(priced, price, np.inf))
        speeds = came.speeds
        self._speed: Ints = np.array(
            [[speeds.get((origin, region), 0) for region in regions] for origin, _ in came.nodes], dtype=np.int64
        )

    def settled(self) -> dict[str, Settled]:
        """The sites that are certain, with their figures."""
        money, seconds = self._ways()
        reading, staging = self._thresholds(seconds)
        with np.errstate(invalid="ignore"):
            value = self._time(reading, staging) + self._least(money, seconds, reading, staging)
        flat = value.reshape(len(value), -1)
        best = flat.argmin(axis=1)
        rows = np.arange(len(best))
        least = flat[rows, best]
        n, m = np.divmod(best, value.shape[2])
        at_most, staged = reading[rows, n], staging[rows, m]
        picks, certain = self._picked(money, seconds, at_most, staged)
        near = value <= (least * (1 + _NEAR))[:, None, None]
        other = (reading != at_most[:, None])[:, :, None] | (staging != staged[:, None])[:, None, :]
        certain &= self._straight & np.isfinite(least) & ~(near & other).any(axis=(1, 2))
        return self._told(picks, certain, at_most, staged)

    def _ways(self) -> tuple[Floats, Ints]:
        """What each way costs, infinite where there is none, and the seconds that it takes alone: reading, or staging."""
        node = self._node
        price, speed = self._price[node], self._speed[node]
        price[~self._there] = np.inf
        monthly = [row.at.offer.storage_gb_month_micros for row in self._pending]
        no_copies = self._decision.request.no_copies
        kept = np.array(
            [
                np.inf if micros is None or no_copies else micros * keep / (cost.GB * cost.MONTH_SECONDS)
                for micros, keep in zip(monthly, self._keep, strict=True)
            ]
        )
        with np.errstate(invalid="ignore"):
            read = price * self._part[:, None, None]
            copy = price * self._whole[:, None, None] + (kept[None, :] * self._whole[:, None])[:, None, :]
        money = np.nan_to_num(np.concatenate([read, copy], axis=1), nan=np.inf, posinf=np.inf)
        known = np.maximum(speed, 1)
        taken = [np.where(speed > 0, -(-volume[:, None, None] // known), 0) for volume in (self._part, self._whole)]
        taken[0][taken[0] <= self._hidden] = 0
        if not self._decision.terms.hour_value and self._decision.terms.limit is None:
            # The time of staging costs nothing.
            taken[1][:] = 0
        seconds = np.concatenate(taken, axis=1)
        here = np.broadcast_to(self._local[:, None, :], money.shape)
        money[here], seconds[here] = np.inf, 0
        money[:, 0][self._local] = 0
        seconds[~np.isfinite(money)] = 0
        return money, seconds

    def _thresholds(self, seconds: Ints) -> tuple[Ints, Ints]:
        """Seconds of reading and of staging, sorted, by site."""
        width, count = self._width, seconds.shape[2]
        nothing = np.zeros((count, 1), dtype=np.int64)
        both = [seconds[:, :width], seconds[:, width:]]
        reading, staging = (np.sort(np.concatenate([part.reshape(-1, count).T, nothing], axis=1), axis=1) for part in both)
        return _narrow(reading), _narrow(staging)

    def _time(self, reading: Ints, staging: Ints) -> Floats:
        """What compute, time and carbon cost, in micro-dollars, by site and thresholds; infinite where it is too late."""
        terms, options = self._decision.terms, [row.option for row in self._pending]
        grams = [row.at.offer.carbon_g_per_kwh or 0 for row in self._pending]
        seconds = [o.hour + (o.watts or 0) * gram * terms.tonne for o, gram in zip(options, grams, strict=True)]
        a_second = np.array(seconds, dtype=np.float64)
        run = np.maximum(reading, self._hidden[:, None])
        wait = np.array([option.wait for option in options], dtype=np.int64)
        total = run[:, :, None] + (staging + wait[:, None])[:, None, :]
        value = (a_second[:, None] * run)[:, :, None] + float(terms.hour_value * cost.GB) * total
        if terms.limit is not None:
            value[total > terms.limit] = np.inf
        if terms.gpu_seconds_left is not None:
            value[terms.gpus * run > terms.gpu_seconds_left] = np.inf
        return np.asarray(value / cost.UNIT, dtype=np.float64)

    def _least(self, money: Floats, seconds: Ints, reading: Ints, staging: Ints) -> Floats:
        """What the inputs cost at the least within each threshold of each site."""
        width = self._width
        total = np.zeros((len(reading), reading.shape[1], staging.shape[1]))
        for one, taken in zip(money, seconds, strict=True):
            read, copy = np.full(reading.shape, np.inf), np.full(staging.shape, np.inf)
            for j in range(width):
                np.minimum(read, np.where(taken[j][:, None] <= reading, one[j][:, None], np.inf), out=read)
                k = width + j
                np.minimum(copy, np.where(taken[k][:, None] <= staging, one[k][:, None], np.inf), out=copy)
            total += np.minimum(read[:, :, None], copy[:, None, :])
        return total

    def _picked(self, money: Floats, seconds: Ints, reading: Ints, staging: Ints) -> tuple[npt.NDArray[np.intp], Bools]:
        """The cheapest way of each input within its site's threshold, the first of equals, and where that is certain."""
        width = self._width
        within = np.concatenate([seconds[:, :width] <= reading, seconds[:, width:] <= staging], axis=1)
        allowed = np.where(within, money, np.inf)
        least = allowed.min(axis=1)
        same = allowed == least[:, None, :]
        near = (allowed <= (least * (1 + _NEAR))[:, None, :]) & ~same
        order = np.arange(width)[None, :, None] + np.where(self._here[self._node], 0, width)
        order = np.concatenate([order, order + 2 * width], axis=1)
        order = np.where(same, order, 4 * width)
        picks, certain = order.argmin(axis=1), ~near.any(axis=(0, 1))
        for k in np.nonzero(certain & self._straight & ~self._keeps(picks, reading, staging))[0].tolist():
            terms, hour = self._decision.terms, self._pending[k].option.hour
            # Only where more time always costs more is what keeps to the thresholds better than all that does not.
            if terms.hour_value or (terms.limit is None and hour):
                self._fit(picks, order, k, (int(reading[k]), int(staging[k])))
        return picks, certain

    def _keeps(self, picks: npt.NDArray[np.intp], reading: Ints, staging: Ints) -> Bools:
        """Sites where what was picked keeps to the thresholds with the links shared."""
        took = self._took(picks)
        keeps = (took[0] <= reading) | (took[0] <= self._hidden)
        if self._decision.terms.hour_value or self._decision.terms.limit is not None:
            keeps &= took[1] <= staging
        return np.asarray(keeps, dtype=np.bool_)

    def _took(self, picks: npt.NDArray[np.intp]) -> list[Ints]:
        """Seconds of reading and of staging of what was picked, by site."""
        copied, node, volume = self._moved(picks)
        columns = np.broadcast_to(np.arange(picks.shape[1]), picks.shape)
        return [self._slowest(node, columns, np.where(copied == way, volume, 0)) for way in (0, 1)]

    def _moved(self, picks: npt.NDArray[np.intp]) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Ints]:
        """Whether each input is copied, from which node, and how many bytes that moves."""
        copied, picked = np.divmod(picks, self._width)
        volume = np.where(copied == 1, self._whole[:, None], self._part[:, None])
        volume[self._local] = 0
        return copied, np.take_along_axis(self._node, picked, axis=1), volume

    def _fit(self, picks: npt.NDArray[np.intp], order: npt.NDArray[Any], k: int, limits: tuple[int, int]) -> None:
        """Picks the first of equally cheap ways that together keep to a site's thresholds, if they are found in a few steps."""
        width, turn = self._width, self._came.order
        free_staging = not self._decision.terms.hour_value and self._decision.terms.limit is None
        most = (max(limits[0], int(self._hidden[k])), None if free_staging else limits[1])
        ranks = order[:, :, k].tolist()
        ways = [sorted((rank, w) for w, rank in enumerate(ranks[i]) if rank < 4 * width) for i in turn]
        loads: dict[tuple[int, str], int] = {}
        chosen: list[tuple[int, tuple[int, str], int]] = []
        n = 0
        for _ in range(_FIT_STEPS):
            depth = len(chosen)
            if depth == len(turn):
                for i, row, (place, _, _) in zip(turn, ways, chosen, strict=True):
                    picks[i, k] = row[place][1]
                return
            if n == len(ways[depth]):
                if not chosen:
                    return
                n, link, volume = chosen.pop()
                loads[link] -= volume
                n += 1
                continue
            i, w = turn[depth], ways[depth][n][1]
            copied, j = divmod(w, width)
            node = int(self._node[i, j])
            link = copied, self._came.nodes[node][0]
            volume = 0 if self._local[i, k] else int((self._whole if copied else self._part)[i])
            speed, limit, load = int(self._speed[node, k]), most[copied], loads.get(link, 0) + volume
            if speed and limit is not None and load > limit * speed:
                n += 1
                continue
            loads[link] = load
            chosen.append((n, link, volume))
            n = 0

    def _told(self, picks: npt.NDArray[np.intp], certain: Bools, reading: Ints, staging: Ints) -> dict[str, Settled]:
        """Exact figures of what was picked, where it keeps to its thresholds with the links shared."""
        copied, node, volume = self._moved(picks)
        columns, picked = np.broadcast_to(np.arange(picks.shape[1]), picks.shape), picks % self._width
        kept, took = self._local | (copied == 0), self._took(picks)
        certain = certain & self._keeps(picks, reading, staging)
        sent = np.zeros(self._numbers.shape, dtype=np.int64)
        np.add.at(sent, (node, columns), volume)
        sent[self._here] = 0
        owed = self._owed(sent)
        egress, moved = owed.sum(axis=0).tolist(), sent.sum(axis=0).tolist()
        storage = self._storage(~kept)
        found = {}
        lengths = [len(read.sources) for read in self._came.reads]
        rows = zip(self._pending, certain.tolist(), took[0].tolist(), took[1].tolist(), strict=True)
        for k, (row, settled, slowest, staged) in enumerate(rows):
            if settled:
                chosen = [
                    way * length + j
                    for way, j, length in zip(copied[:, k].tolist(), picked[:, k].tolist(), lengths, strict=True)
                ]
                found[row.at.site] = Settled(egress[k], moved[k], storage[k], slowest, staged, self._keep[k], chosen)
        return found

    def _slowest(self, node: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], volume: Ints) -> Ints:
        """How long the slowest measured link into each site takes; accounts of one region share its links."""
        names = [region for region, _ in self._came.nodes]
        first = np.array([names.index(name) for name in names])
        load = np.zeros(self._numbers.shape, dtype=np.int64)
        np.add.at(load, (first[node], columns), volume)
        taken = np.where(self._speed > 0, -(-load // np.maximum(self._speed, 1)), 0)
        return np.asarray(taken.max(axis=0), dtype=np.int64)

    def _owed(self, sent: Ints) -> Ints:
        """What each node is charged for what it sends to each site, to the micro-dollar."""
        n, k = np.nonzero(sent)
        number, begun, volume = self._numbers[n, k], self._begun[n, k], sent[n, k]
        unit = self._tiers.unit[number]
        after, before = (links.value(self._tiers, number, amount) for amount in (begun + volume, begun))
        owed = np.zeros(sent.shape, dtype=np.int64)
        owed[n, k] = links.half_even(after[0], after[1], unit) - links.half_even(before[0], before[1], unit)
        return owed

    def _storage(self, copied: Bools) -> list[int]:
        """What keeping the copies costs at each site; each is rounded alone."""
        found, known = [0] * len(self._pending), dict[tuple[int, int, int], int]()
        sizes = self._whole.tolist()
        for i, k in zip(*(axis.tolist() for axis in np.nonzero(copied)), strict=True):
            key = (sizes[i], self._keep[k], self._pending[k].at.offer.storage_gb_month_micros or 0)
            if key not in known:
                known[key] = cost.storage_micros(*key)
            found[k] += known[key]
        return found


def _narrow(thresholds: Ints) -> Ints:
    """Each row's different values, in as few columns as suffice; shorter rows are filled up with their last value."""
    new = np.ones(thresholds.shape, dtype=np.bool_)
    new[:, 1:] = thresholds[:, 1:] != thresholds[:, :-1]
    place = new.cumsum(axis=1) - 1
    found = np.repeat(thresholds[:, -1:], int(place.max()) + 1, axis=1)
    np.put_along_axis(found, place, thresholds, axis=1)
    return found
