"""The cheapest remote reads of a decision's inputs in every region at once: exact, and all regions in one sweep of arrays.

Where each byte that a link could carry costs the same, or only one input would use it, every input takes what is cheapest for
itself. Where inputs would share tiers, they are chosen together (`search`). Each takes a replica in the region itself before
any other, else the least price before rounding, else the first by name. All reads of one pricing scope are charged one after
another, the largest first, so that their sum is what the whole volume costs, to the micro-dollar.
"""

from __future__ import annotations

import math
from collections.abc import Container, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import links, ratecard, search, site, world

Ints = npt.NDArray[np.int64]


class Source(NamedTuple):
    """A pricing origin that an input can be read from: region and billing account, and its first site by name."""

    region: str
    account: str
    site: str
    node: int


class Read(NamedTuple):
    """One input: its position in the request, the bytes that a run reads, and the sources that can be read now."""

    position: int
    item: world.WorldInput
    bytes: int
    sources: tuple[Source, ...]


class Unreadable(NamedTuple):
    """Why an input cannot be had in a region."""

    reason: str
    detail: str
    resolvable: bool


class Arrivals:
    """How all inputs come into each of `regions` by remote reads, and what that costs."""

    def __init__(self, seen: world.World, volumes: Sequence[int], regions: Sequence[str], budget: search.Budget) -> None:
        """`volumes` are the bytes that a run reads of each input, in the request's order."""
        self._world = seen
        self._budget = budget
        self._begun = bool(seen.volumes or seen.reservations)
        self._sources: dict[int, list[Source]] = {}
        self._charges: dict[int, list[int]] = {}
        self.regions = regions
        self.index = {region: r for r, region in enumerate(regions)}
        self.nodes: list[tuple[str, str]] = []
        self.reads = self._find_reads(volumes)
        #: Positions in the order in which reads are charged.
        self.order = sorted(
            range(len(self.reads)),
            key=lambda i: (-volumes[i], (item := seen.inputs[i]).dataset, item.version, item.alias),
        )
        self.hopeless = next((_gone(read) for read in self.reads if not read.sources), None)
        shape = (len(self.reads), len(regions))
        #: Which of its sources each input takes in each region, and what that alone would cost, rounded down.
        self.picks: npt.NDArray[np.intp] = np.zeros(shape, dtype=np.intp)
        self.shares: Ints = np.zeros(shape, dtype=np.int64)
        self.egress: list[int] = [0] * len(regions)
        self.bytes: list[int] = [0] * len(regions)
        self.slowest: list[int] = [0] * len(regions)
        self.blocked: dict[int, Unreadable] = {}
        #: Regions where inputs share tiers, so that one of them less changes what the others cost.
        self.coupled: set[int] = set()
        if self.reads and regions and self.hopeless is None:
            self._solve(volumes)

    def charges(self, r: int) -> list[int]:
        """What each input is charged in a region, in the request's order: they sum to the region's egress."""
        found = self._charges.get(r)
        if found is None:
            found = self._charges[r] = self._charge(r)
        return found

    def _charge(self, r: int) -> list[int]:
        sent: dict[int, tuple[int, int]] = {}
        found = [0] * len(self.reads)
        region, sources = self.regions[r], self.sources(r)
        into = self._world.rates.into(region)
        for i in self.order:
            source = sources[i]
            tariff = into[source.region]
            if source.region == region or tariff is None:
                continue
            before, paid = sent.get(source.node) or self._first(source.node, region, tariff)
            after = before + self.reads[i].bytes
            owed = tariff.rounded(after) or 0
            sent[source.node] = (after, owed)
            found[i] = owed - paid
        return found

    def _first(self, node: int, region: str, tariff: ratecard.Tariff) -> tuple[int, int]:
        begun = self.begun(node, region)
        return begun, (tariff.rounded(begun) or 0) if begun else 0

    def loads(self, r: int, held: Container[int]) -> dict[str, int]:
        """How long each link into a region takes for what is read over it, by its source region, where that was measured."""
        volumes: dict[str, int] = {}
        for i, read in enumerate(self.reads):
            if i not in held:
                origin = self.source(i, r).region
                volumes[origin] = volumes.get(origin, 0) + read.bytes
        measured = ((origin, self.speeds.get((origin, self.regions[r])), volume) for origin, volume in volumes.items())
        return {origin: search.seconds(volume, speed) for origin, speed, volume in measured if speed}

    def without(self, positions: Sequence[int], r: int) -> int:
        """The region's egress if these inputs were there: exact where the region is not coupled."""
        region, sources = self.regions[r], self.sources(r)
        less: dict[int, int] = {}
        for i in positions:
            node = sources[i].node
            if sources[i].region != region:
                less[node] = less.get(node, 0) + self.reads[i].bytes
        egress = self.egress[r]
        for node, volume in less.items():
            tariff, begun = self.tariff(node, region), self.begun(node, region)
            assert tariff is not None  # else the region is blocked
            last = begun + sum(read.bytes for read, source in zip(self.reads, sources, strict=True) if source.node == node)
            egress -= (tariff.rounded(last) or 0) - (tariff.rounded(last - volume) or 0)
        return egress

    def source(self, i: int, r: int) -> Source:
        """Where an input is read from in a region."""
        return self.sources(r)[i]

    def sources(self, r: int) -> list[Source]:
        """Where each input is read from in a region, in the request's order."""
        found = self._sources.get(r)
        if found is None:
            picks = self.picks[:, r].tolist()
            found = self._sources[r] = [read.sources[pick] for read, pick in zip(self.reads, picks, strict=True)]
        return found

    def tariff(self, node: int, region: str) -> ratecard.Tariff | None:
        """What a node's link into a region costs."""
        return self._world.rates.into(region)[self.nodes[node][0]]

    def begun(self, node: int, region: str) -> int:
        """What counts as sent already on a node's way into a region."""
        if not self._begun:
            return 0
        source_region, account = self.nodes[node]
        return self._world.sent_bytes(ratecard.scope(source_region, region, account))

    @cached_property
    def speeds(self) -> Mapping[tuple[str, str], int]:
        """Measured bytes a second by link."""
        return {(row.source_region, row.destination_region): row.bytes_per_second for row in self._world.speeds}

    # All regions at once

    def _find_reads(self, volumes: Sequence[int]) -> list[Read]:
        wanted = {name for item in self._world.inputs for name in item.replica_sites}
        ready = {row.site: row for row in self._world.sites if row.site in wanted and row.state is site.SiteState.READY}
        known: dict[tuple[str, str], int] = {}
        found = []
        for i, item in enumerate(self._world.inputs):
            sources: dict[tuple[str, str], Source] = {}
            for name in sorted(item.replica_sites):
                row = ready.get(name)
                if row is not None and (origin := (row.region, row.account)) not in sources:
                    sources[origin] = Source(row.region, row.account, name, known.setdefault(origin, len(known)))
            found.append(Read(i, item, volumes[i], tuple(sources.values())))
        self.nodes = list(known)
        return found

    def _solve(self, volumes: Sequence[int]) -> None:
        table = links.of(self._world.rates)
        numbers = table.between([region for region, _ in self.nodes], self.regions)
        most = sum(volumes) + max((self._world.sent_bytes(scope) for scope in self._world.scopes), default=0)
        if not table.tariffs or not links.fits(table.tiers, max(most, 1)):
            self.coupled.update(range(len(self.regions)))
            for r in range(len(self.regions)):
                self._choose_together(r)
            return
        sweep = _Sweep(self, table.tiers, numbers)
        self.picks, self.shares = sweep.picks, sweep.shares
        for r in sweep.unpriced:
            self.blocked[r] = self._unpriced(r, sweep.known[:, r])
        self.egress, self.bytes, sent = sweep.charged()
        if self._world.speeds:
            self.slowest = self._slowest(sent)
        self.coupled.update(sweep.coupled)
        for r in sweep.tangled:
            if r not in self.blocked:
                self._choose_together(r)

    def _slowest(self, sent: Ints) -> list[int]:
        """How long the slowest link of each region takes for what it carries, as far as its speed is known."""
        found, speeds = [0] * len(self.regions), self.speeds
        volumes: dict[tuple[str, int], int] = {}
        for n, r in zip(*(axis.tolist() for axis in np.nonzero(sent)), strict=True):
            link = self.nodes[n][0], r
            volumes[link] = volumes.get(link, 0) + int(sent[n, r])
        for (origin, r), volume in volumes.items():
            speed = speeds.get((origin, self.regions[r]))
            if speed:
                found[r] = max(found[r], search.seconds(volume, speed))
        return found

    def _unpriced(self, r: int, known: npt.NDArray[np.bool_]) -> Unreadable:
        """The first input, in the order of charging, that no priced link brings here."""
        i = next(i for i in self.order if not known[i])
        return unpriced(self.reads[i], self.regions[r])

    # One region

    def _choose_together(self, r: int) -> None:
        """The best joint choice for one region, in Python's integers."""
        region = self.regions[r]
        ways, meters = [], _Meters(self, region)
        for i in self.order:
            read = self.reads[i]
            ways.append([meters.way(read, source) for source in read.sources])
            if all(way is None for way in ways[-1]):
                self.blocked[r] = unpriced(read, region)
                return
        possible = [[(j, way) for j, way in enumerate(row) if way is not None] for row in ways]
        # What is in the region comes first, whatever else is free.
        for row, i in zip(possible, self.order, strict=True):
            row.sort(key=lambda entry: self.reads[i].sources[entry[0]].region != region)
        try:
            chosen = search.solve(meters.problem([[way for _, way in row] for row in possible]), self._budget, region)
        except search.Exhausted:
            self.blocked[r] = TOO_MANY_WAYS
            return
        if chosen is None:
            self.blocked[r] = unpriced(self.reads[self.order[0]], region)
            return
        self.blocked.pop(r, None)
        for i, row, c in zip(self.order, possible, chosen, strict=True):
            self.picks[i, r] = row[c][0]
        self._sources.pop(r, None)
        self._charges.pop(r, None)
        charges = self.charges(r)
        self.egress[r] = sum(charges)
        for i, charge in enumerate(charges):
            self.shares[i, r] = charge
        sent = np.zeros((len(self.nodes), len(self.regions)), dtype=object)
        for i, read in enumerate(self.reads):
            source = self.source(i, r)
            sent[source.node, r] += read.bytes
        self.bytes[r] = sum(self.reads[i].bytes for i in self.order if self.source(i, r).region != region)
        if self._world.speeds:
            self.slowest[r] = self._slowest(sent)[r]


#: Why a region is refused whose best choice is not proven within the bounds of one decision.
TOO_MANY_WAYS = Unreadable(
    "CHOICE_TOO_LARGE", "its inputs share tiers of more links than can be compared; give the job fewer inputs", False
)


def unpriced(read: Read, region: str) -> Unreadable:
    """No link that has a price brings an input into a region."""
    name = f"{read.item.dataset}@{read.item.version}"
    ways = ", ".join(f"{source} to {region}" for source in dict.fromkeys(source.region for source in read.sources))
    return Unreadable("PRICE_UNKNOWN", f"the egress price of {ways} is unknown ({name})", False)


def _gone(read: Read) -> Unreadable:
    """No replica of an input can be read by anybody."""
    item, name = read.item, f"{read.item.dataset}@{read.item.version}"
    if not item.replica_sites:
        return Unreadable("REPLICA_MISSING", f"{name} has no replica", False)
    return Unreadable("REPLICA_MISSING", f"no replica of {name} can be read now ({', '.join(item.replica_sites)})", True)


def sent_before(seen: world.World, nodes: Sequence[tuple[str, str]], regions: Sequence[str]) -> Ints | None:
    """Bytes that each origin's scope into each region counts already; None where nothing counts anywhere."""
    if not (seen.volumes or seen.reservations):
        return None
    origins: dict[str, list[int]] = {}
    for n, (region, account) in enumerate(nodes):
        origins.setdefault(f"{account}/{region}" if account else region, []).append(n)
    found = np.zeros((len(nodes), len(regions)), dtype=np.int64)
    for scope in seen.scopes:
        origin, _, destination = scope.partition("~")
        for n in origins.get(origin, ()):
            if destination == site.INTERNET:
                provider = nodes[n][0].partition(":")[0]
                found[n, [region.partition(":")[0] != provider for region in regions]] = seen.sent_bytes(scope)
            else:
                here = [r for r, region in enumerate(regions) if region == destination]
                found[n, here] = seen.sent_bytes(scope)
    return found if found.any() else None


class _Meters:
    """The meters of one region's search, made as they are met."""

    def __init__(self, of: Arrivals, region: str) -> None:
        self._of, self._region = of, region
        self._found: dict[int, tuple[int, ratecard.Tariff]] = {}

    def way(self, read: Read, source: Source) -> search.Way | None:
        """A remote read as the search sees it; None where it has no price."""
        if source.region == self._region:
            return search.Way()
        tariff = self._of.tariff(source.node, self._region)
        if tariff is None:
            return None
        meter, _ = self._found.setdefault(source.node, (len(self._found), tariff))
        return search.Way(legs=((meter, read.bytes),))

    def problem(self, ways: list[list[search.Way]]) -> search.Problem:
        """The search over these ways, all amounts over one common unit."""
        unit = math.lcm(*(tariff.unit for _, tariff in self._found.values()))
        meters = [
            search.Meter(tariff, self._of.begun(node, self._region), unit // tariff.unit)
            for node, (_, tariff) in self._found.items()
        ]
        return search.Problem(ways, meters, ())


class _Sweep:
    """The separate choice of each input in all regions, in arrays over input x source x region."""

    def __init__(self, of: Arrivals, tiers: links.Tiers, numbers: npt.NDArray[np.int32]) -> None:
        self._of, self._tiers, self._numbers = of, tiers, numbers
        self._priced = numbers >= 0
        self._all_priced = bool(self._priced.all())
        width = max(len(read.sources) for read in of.reads)
        # Short rows are filled up with a node of their own, and marked: what is not there has no price.
        self._node = np.array(
            [[s.node for s in read.sources] + [read.sources[0].node] * (width - len(read.sources)) for read in of.reads]
        )
        self._there = np.array([[j < len(read.sources) for j in range(width)] for read in of.reads])
        self._volume: Ints = np.array([read.bytes for read in of.reads], dtype=np.int64)
        self._here = np.zeros(numbers.shape, dtype=np.bool_)
        for n, (region, _) in enumerate(of.nodes):
            if region in of.index:
                self._here[n, of.index[region]] = True
        self._rows, self._columns = np.arange(len(of.reads))[:, None], np.arange(len(of.regions))[None, :]
        self._begun = sent_before(of._world, of.nodes, of.regions)
        self.tangled: list[int] = []
        self.coupled: list[int] = []
        self._rate, self._unit = self._rates()
        self._choose()

    def _rates(self) -> tuple[Ints, Ints]:
        """The price of a byte on each link, as a numerator and its unit; `_bent` are links that have no one price."""
        tiers, numbers = self._tiers, self._numbers
        unit = tiers.unit.take(numbers)
        flat = None if tiers.all_flat else tiers.flat[numbers] | ~self._priced
        if flat is None or flat.all():
            self._bent = None
            return tiers.rate[:, 0].take(numbers), unit
        reach = np.zeros(len(self._of.nodes), dtype=np.int64)
        np.add.at(reach, self._node[self._there], np.broadcast_to(self._volume[:, None], self._there.shape)[self._there])
        begun = self._begun if self._begun is not None else np.zeros(numbers.shape, dtype=np.int64)
        self._reach = reach
        low = links.begun(tiers, numbers, begun)
        high = links.reached(tiers, numbers, begun + reach[:, None])
        straight = flat | ((high <= low) & (low < tiers.tiers[numbers]))
        self._bent = None if straight.all() else ~straight
        return tiers.rate[numbers, np.minimum(low, tiers.upto.shape[1] - 1)], unit

    def _choose(self) -> None:
        rate = self._rate if self._all_priced else np.where(self._priced, self._rate, 0)
        cost = rate[self._node] * self._volume[:, None, None]
        missing = None if self._all_priced else ~self._priced[self._node]
        ragged = not self._there.all()
        if ragged:
            absent = np.broadcast_to(~self._there[:, :, None], cost.shape)
            missing = absent if missing is None else missing | absent
        if self._bent is not None:
            missing = self._bend(cost, missing)
        if missing is not None:
            cost[missing] = links.BEYOND
        cost[self._here[self._node]] = -1
        if ragged:
            cost[absent] = links.BEYOND
        self.picks = self._least(cost)
        least = cost[self._rows, self.picks, self._columns]
        self.known = least < links.BEYOND
        self.unpriced = [] if missing is None else np.nonzero(~self.known.all(axis=0))[0].tolist()
        self._taken = self._node[self._rows, self.picks]
        # Only a bound for those who ask what a change could save: floats do, rounded down.
        self.shares = (np.maximum(least, 0) / self._unit[self._taken, self._columns]).astype(np.int64)

    def _least(self, cost: Ints) -> npt.NDArray[np.intp]:
        """The position of the least price; the first of equals. Units differ where providers count by different GB."""
        if self._tiers.one_unit:
            return np.asarray(cost.argmin(axis=1), dtype=np.intp)
        unit, paid = self._unit[self._node], cost > 0
        price = cost / unit
        picks = price.argmin(axis=1)
        close = price <= (price.min(axis=1) * (1 + 1e-9))[:, None, :]
        for i, r in zip(*np.nonzero((close & paid).sum(axis=1) > 1), strict=True):
            # Floats cannot tell these apart, so they are compared by cross-multiplying.
            rivals = np.nonzero(close[i, :, r])[0].tolist()
            best = rivals[0]
            for j in rivals[1:]:
                if int(cost[i, j, r]) * int(unit[i, best, r]) < int(cost[i, best, r]) * int(unit[i, j, r]):
                    best = j
            picks[i, r] = best
        return np.asarray(picks, dtype=np.intp)

    def _bend(self, cost: Ints, missing: npt.NDArray[np.bool_] | None) -> npt.NDArray[np.bool_] | None:
        """Prices across edges of tiers, and which regions are tangled: where inputs with a choice may share such a link."""
        assert self._bent is not None
        begun = self._begun if self._begun is not None else np.zeros(self._numbers.shape, dtype=np.int64)
        bent = self._bent[self._node] & self._there[:, :, None]
        i, j, r = np.nonzero(bent)
        node = self._node[i, j]
        number, before, volume = self._numbers[node, r], begun[node, r], self._volume[i]
        cost[i, j, r], known = self._between(number, before, volume)
        if not known.all():
            missing = np.zeros(cost.shape, dtype=np.bool_) if missing is None else missing.copy()
            missing[i[~known], j[~known], r[~known]] = True
        users = np.bincount(self._node[self._there], minlength=len(self._of.nodes))
        shared = bent & (users[self._node] > 1)[:, :, None]
        if not shared.any():
            return missing
        many = users[node] > 1
        dead = self._dominated(cost, missing, (i[many], j[many], r[many]), begun)
        alive = ~dead if missing is None else ~(dead | missing)
        columns = np.broadcast_to(np.arange(len(self._of.regions)), cost.shape)
        rows = np.broadcast_to(self._node[:, :, None], cost.shape)
        left = np.zeros(self._numbers.shape, dtype=np.int64)
        np.add.at(left, (rows[alive], columns[alive]), 1)
        shared &= alive & (left[rows, columns] > 1)
        self.tangled = np.nonzero((shared.any(axis=1) & (alive.sum(axis=1) > 1)).any(axis=0))[0].tolist()
        self.coupled = np.nonzero(shared.any(axis=(0, 1)))[0].tolist()
        return dead if missing is None else dead | missing

    def _between(self, number: npt.NDArray[np.int32], before: Ints, volume: Ints) -> tuple[Ints, npt.NDArray[np.bool_]]:
        """What volumes cost after others, as numerators, and whether it is known."""
        whole, rest, known = links.value(self._tiers, number, before)
        more_whole, more_rest, more_known = links.value(self._tiers, number, before + volume)
        return (more_whole - whole) * self._tiers.unit[number] + more_rest - rest, known & more_known

    def _dominated(
        self,
        cost: Ints,
        missing: npt.NDArray[np.bool_] | None,
        shared: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp]],
        begun: Ints,
    ) -> npt.NDArray[np.bool_]:
        """Sources that are never the best, whatever others send: at the least dearer than another at the most."""
        i, j, r = shared
        node, tiers = self._node[i, j], self._tiers
        number, before, volume = self._numbers[node, r], begun[node, r], self._volume[i]
        reach = before + self._reach[node]
        last, end_known = self._between(number, reach - volume, volume)
        low, high = links.begun(tiers, number, before), links.reached(tiers, number, reach)
        tier = np.arange(tiers.upto.shape[1])[None, :]
        used = (tier >= low[:, None]) & (tier <= np.maximum(high, low)[:, None])
        least = np.where(used, tiers.rate[number], links.BEYOND).min(axis=1) * volume
        most = np.where(used, tiers.rate[number], 0).max(axis=1) * volume
        first = cost[i, j, r]
        unit = self._unit[self._node]
        lows = cost / unit
        highs = lows.copy()
        per = tiers.unit[number]
        lows[i, j, r] = np.where(tiers.bowed[number] & end_known, np.minimum(first, last), least) / per
        highs[i, j, r] = np.where(end_known, most / per, np.inf)
        if missing is not None:
            lows[missing] = np.inf
            highs[missing] = np.inf
        here = self._here[self._node]
        lows[here] = highs[here] = -1.0
        if not self._there.all():
            gone = np.broadcast_to(~self._there[:, :, None], cost.shape)
            lows[gone] = highs[gone] = np.inf
        # Floats: what is only a little dearer stays.
        return np.asarray(lows > highs.min(axis=1)[:, None, :] * (1 + 1e-9), dtype=np.bool_)

    def charged(self) -> tuple[list[int], list[int], Ints]:
        """Each region's egress in micro-dollars and in bytes, and what each node sends into each region."""
        count = len(self._of.regions)
        flat = np.zeros(self._numbers.size, dtype=np.int64)
        np.add.at(flat, (self._taken * count + self._columns).ravel(), np.repeat(self._volume, count))
        sent = flat.reshape(self._numbers.shape)
        leaving = np.where(self._here if self._all_priced else self._here | ~self._priced, 0, sent)
        n, r = np.nonzero(leaving)
        number, volume = self._numbers[n, r], leaving[n, r]
        if self._begun is None:
            owed = self._rounded(number, volume)
        else:
            before = self._begun[n, r]
            owed = self._rounded(number, before + volume) - self._rounded(number, before)
        known = self._known(number, volume if self._begun is None else before + volume)
        if known is not None and not known.all():
            # Each alone has a price, all together go beyond the last tier that is known: perhaps another choice does not.
            self.tangled = sorted({*self.tangled, *r[~known].tolist()})
            self.coupled = sorted({*self.coupled, *r[~known].tolist()})
        charged = np.zeros(self._numbers.shape, dtype=np.int64)
        charged[n, r] = owed
        return charged.sum(axis=0).tolist(), leaving.sum(axis=0).tolist(), sent

    def _known(self, number: npt.NDArray[np.int32], volume: Ints) -> npt.NDArray[np.bool_] | None:
        """Whether volumes end in a tier that has a price; None where all do."""
        return None if self._tiers.all_flat else links.value(self._tiers, number, volume)[2]

    def _rounded(self, number: npt.NDArray[np.int32], volume: Ints) -> Ints:
        whole, rest, _ = links.value(self._tiers, number, volume)
        return links.half_even(whole, rest, self._tiers.unit[number])
