"""The cheapest remote reads of a decision's inputs in every region at once: exact, and all regions in one sweep of arrays.

Where each byte that a link could carry costs the same, or only one input would use it, every input takes what is cheapest for
itself. Where inputs would share tiers, they are chosen together (`search`). Each takes a replica in the region itself before
any other, else the least price before rounding, else the first by name. All reads of one pricing scope are charged one after
another, the largest first, so that their sum is what the whole volume costs, to the micro-dollar.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Mapping, Sequence
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import links, prepared, ratecard, search, world

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: What a byte costs that is there already: less than nothing, so that it is taken before any that costs nothing.
_HERE = -1
_ALL = np.ones((1, 1), dtype=np.bool_)
#: Neither bytes sent nor micro-dollars paid.
_NONE = (0, 0)
_FREE = search.Way()
_ZEROS: Ints = np.zeros(1, dtype=np.int64)
#: Floats nearer to each other than this part of them are not told apart.
_NEAR = 1e-9


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
    """How all inputs come into each region that runs jobs by remote reads, and what that costs; into none if it is `idle`."""

    def __init__(
        self,
        seen: world.World,
        ground: prepared.Prepared,
        volumes: Sequence[int],
        budget: search.Budget,
        *,
        idle: bool = False,
    ) -> None:
        """`volumes` are the bytes that a run reads of each input, in the request's order."""
        self._world = seen
        #: Bytes that are read in all.
        self.volume = sum(volumes)
        self.ground = ground
        self._budget = budget
        #: What counts as sent already in the world.
        self.sent = ground.sent_in(seen)
        regions: Sequence[str] = [] if idle else ground.regions
        self.regions = regions
        self.index: Mapping[str, int] = {} if idle else ground.region_index
        self.nodes: list[tuple[str, str]] = []
        self.reads = self._find_reads(volumes)
        #: Of these bytes, what counts before the next one from each node into each region; None where nothing does.
        self.before = self.sent.before(self.nodes, regions)
        #: Positions in the order in which reads are charged.
        self.order = sorted(
            range(len(self.reads)),
            key=lambda i: (-volumes[i], (item := seen.inputs[i]).dataset, item.version, item.alias),
        )
        self.hopeless = next((_gone(read) for read in self.reads if not read.sources), None)
        #: The links within a region, by their place among all.
        self.here = [n * len(regions) + r for n, (name, _) in enumerate(self.nodes) if (r := self.index.get(name)) is not None]
        self._whole = False
        self._forget()

    def _forget(self) -> None:
        """Starts with no region solved."""
        shape, regions = (len(self.reads), len(self.regions)), self.regions
        self._sources: dict[int, list[Source]] = {}
        self._charges: dict[int, list[int]] = {}
        #: Which of its sources each input takes in each region.
        self.picks: npt.NDArray[np.intp] = np.zeros(shape, dtype=np.intp)
        self._shares: Callable[[], Ints] = lambda: np.zeros(shape, dtype=np.int64)
        self._together: dict[int, list[int]] = {}
        self._solved: dict[object, tuple[int, ...] | None] = {}
        self._like: dict[object, str] = {}
        self.egress: list[int] = [0] * len(regions)
        self.bytes: list[int] = [0] * len(regions)
        self.slowest: list[int] = [0] * len(regions)
        self.blocked: dict[int, Unreadable] = {}
        #: Regions where inputs share tiers, so that one of them less changes what the others cost.
        self.coupled: set[int] = set()

    def solve(self) -> None:
        """Finds the reads into all regions at once, if that is not done yet; some may have been asked for alone before."""
        if not self._whole:
            self._whole = True
            self._forget()
            if self.reads and self.regions and self.hopeless is None:
                self._solve()

    @property
    def solved(self) -> bool:
        """Whether all regions are known."""
        return self._whole

    @property
    def doubtful(self) -> bool:
        """Whether some search could not prove its answer."""
        return bool(self._budget.unproven)

    @cached_property
    def priced(self) -> tuple[links.Tiers, npt.NDArray[np.int32]] | None:
        """All tariffs, and which of them each node's link into each region has; None where int64 could not hold the amounts."""
        table = links.of(self._world.rates)
        numbers = table.between([region for region, _ in self.nodes], self.regions, self.ground.columns)
        if not table.tariffs:
            return None
        tiers = table.tiers
        return (tiers, numbers) if tiers.comparable and links.fits(tiers, max(self.volume + self.sent.most, 1)) else None

    @cached_property
    def shares(self) -> Ints:
        """What each input alone would cost in each region, rounded down; what it is charged where all were chosen together."""
        shares = self._shares()
        for r, charges in self._together.items():
            shares[:, r] = charges
        return shares

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
        into, reads = self._world.rates.into(region), self.reads
        for i in self.order:
            origin, _, _, node = sources[i]
            tariff = into[origin]
            if origin == region or tariff is None:
                continue
            before, paid = sent.get(node) or (_NONE if self.before is None else self._first(node, region, tariff))
            after = before + reads[i].bytes
            owed = tariff.rounded(after) or 0
            sent[node] = (after, owed)
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
        return 0 if self.before is None else int(self.before[node, self.index[region]])

    @property
    def speeds(self) -> Mapping[tuple[str, str], int]:
        """Measured bytes a second by link."""
        return self.ground.speeds

    # All regions at once

    def _find_reads(self, volumes: Sequence[int]) -> list[Read]:
        ready, known = self.ground.origins, dict[tuple[str, str], int]()
        place, new = known.setdefault, tuple.__new__
        found = []
        for i, (item, volume) in enumerate(zip(self._world.inputs, volumes, strict=True)):
            sources: dict[tuple[str, str], Source] = {}
            for name in sorted(item.replica_sites):
                origin = ready.get(name)
                if origin is not None and origin not in sources:
                    sources[origin] = new(Source, (*origin, name, place(origin, len(known))))
            found.append(Read(i, item, volume, tuple(sources.values())))
        self.nodes = list(known)
        return found

    def _solve(self) -> None:
        if self.priced is None:
            self.coupled.update(range(len(self.regions)))
            for r in range(len(self.regions)):
                self.choose(r, [range(len(read.sources)) for read in self.reads])
            return
        sweep = _Sweep(self, *self.priced)
        self.picks, self._shares = sweep.picks, sweep.shares
        for r in sweep.unpriced:
            self.blocked[r] = self._unpriced(r, sweep.known[:, r])
        self.egress, self.bytes, sent = sweep.charged()
        if self._world.speeds:
            self.slowest = self._slowest(sent)
        self.coupled.update(sweep.coupled)
        for r in sweep.tangled:
            if r not in self.blocked:
                self.choose(r, sweep.alive(r))

    def _slowest(self, sent: Ints) -> list[int]:
        """How long the slowest link of each region takes for what it carries, as far as its speed is known."""
        origins: dict[str, int] = {}
        rows = [origins.setdefault(region, len(origins)) for region, _ in self.nodes]
        loads = sent
        if len(origins) < len(rows):
            # Accounts of one region share its links.
            loads = np.zeros((len(origins), len(self.regions)), dtype=np.int64)
            np.add.at(loads, rows, sent)
        speeds = self.ground.speeds_from(list(origins))
        taken = np.where(speeds > 0, -(-loads // np.maximum(speeds, 1)), 0)
        slowest: list[int] = taken.max(axis=0).tolist()
        return slowest

    def _unpriced(self, r: int, known: npt.NDArray[np.bool_]) -> Unreadable:
        """The first input, in the order of charging, that no priced link brings here."""
        i = next(i for i in self.order if not known[i])
        return unpriced(self.reads[i], self.regions[r])

    # One region

    def take(self, r: int, picks: Sequence[int]) -> None:
        """Settles from which of its sources each input is read into a region."""
        self.picks[:, r] = picks
        self._sources.pop(r, None)
        self._charges.pop(r, None)
        self.egress[r] = sum(self.charges(r))
        region = self.regions[r]
        self.bytes[r] = sum(
            [read.bytes for read, (origin, *_) in zip(self.reads, self.sources(r), strict=True) if origin != region]
        )
        if self._world.speeds:
            self.slowest[r] = max(self.loads(r, ()).values(), default=0)

    def choose(self, r: int, alive: Sequence[Sequence[int]]) -> None:
        """The best joint choice for one region, in Python's integers, of the sources of each input that may be the best."""
        region, picked = self.regions[r], self._apart(r, alive)
        possible: list[list[tuple[int, search.Way]]] = []
        meters, together = _Meters(self, region), [i for i in self.order if i not in picked]
        for i in together:
            read = self.reads[i]
            row = [(j, way) for j in alive[i] if (way := meters.way(read, read.sources[j])) is not None]
            if not row:
                self.blocked[r] = unpriced(read, region)
                return
            # What is in the region comes first, whatever else is free.
            row.sort(key=lambda entry: read.sources[entry[0]].region != region)
            possible.append(row)
        try:
            chosen = self._solved_like(meters.problem([[way for _, way in row] for row in possible]), region)
        except search.Exhausted:
            self.blocked[r] = TOO_MANY_WAYS
            return
        if chosen is None:
            self.blocked[r] = unpriced(self.reads[self.order[0]], region)
            return
        self.blocked.pop(r, None)
        picked |= {i: row[c][0] for i, row, c in zip(together, possible, chosen, strict=True)}
        self.take(r, [picked[i] for i in range(len(picked))])
        self._together[r] = self.charges(r)

    def _apart(self, r: int, alive: Sequence[Sequence[int]]) -> dict[int, int]:
        """Inputs that leave nothing to choose, each with its source: its only one, over a link that no choice shares."""
        region = self.regions[r]
        several = {self.reads[i].sources[j].node for i, row in enumerate(alive) if len(row) > 1 for j in row}
        found: dict[int, int] = {}
        volumes: dict[int, int] = {}
        for i, row in enumerate(alive):
            if len(row) == 1 and (source := self.reads[i].sources[row[0]]).node not in several:
                found[i] = row[0]
                if source.region != region:
                    volumes[source.node] = volumes.get(source.node, 0) + self.reads[i].bytes
        for node, volume in volumes.items():
            tariff = self.tariff(node, region)
            if tariff is None or tariff.rounded(self.begun(node, region) + volume) is None:
                return {}
        return found

    def _solved_like(self, problem: search.Problem, region: str) -> tuple[int, ...] | None:
        """The search's answer for a region; regions with the same problem share the answer of the first."""
        key = (
            tuple(tuple((way.fixed, way.legs) for way in ways) for ways in problem.ways),
            tuple((id(meter.tariff), meter.begun) for meter in problem.meters),
        )
        if key not in self._solved:
            self._solved[key] = search.solve(problem, self._budget, region)
            self._like[key] = region
        elif (above := self._budget.unproven.get(self._like[key])) is not None:
            self._budget.unproven[region] = above
        return self._solved[key]


#: Why a region is refused whose best choice is not proven within the bounds of one decision.
TOO_MANY_WAYS = Unreadable(
    "CHOICE_TOO_LARGE", "its inputs share tiers of more links than can be compared; give the job fewer inputs", False
)


def unpriced(read: Read, region: str) -> Unreadable:
    """Why an input cannot be had in a region: no link that leads there has a price."""
    name = f"{read.item.dataset}@{read.item.version}"
    ways = ", ".join(f"{source} to {region}" for source in dict.fromkeys(source.region for source in read.sources))
    return Unreadable("PRICE_UNKNOWN", f"the egress price of {ways} is unknown ({name})", False)


def _gone(read: Read) -> Unreadable:
    """Why an input cannot be had anywhere: none of its replicas can be read."""
    item, name = read.item, f"{read.item.dataset}@{read.item.version}"
    if not item.replica_sites:
        return Unreadable("REPLICA_MISSING", f"{name} has no replica", False)
    return Unreadable("REPLICA_MISSING", f"no replica of {name} can be read now ({', '.join(item.replica_sites)})", True)


class _Meters:
    """The meters of one region's search, made as they are met."""

    def __init__(self, of: Arrivals, region: str) -> None:
        self._of, self._region, self._into = of, region, of._world.rates.into(region)
        self._found: dict[int, tuple[int, ratecard.Tariff]] = {}

    def way(self, read: Read, source: Source) -> search.Way | None:
        """A remote read as the search sees it; None where it has no price."""
        if source.region == self._region:
            return _FREE
        tariff = self._into[source.region]
        if tariff is None:
            return None
        meter, _ = self._found.setdefault(source.node, (len(self._found), tariff))
        return search.Way(0, ((meter, read.bytes),))

    def problem(self, ways: list[list[search.Way]]) -> search.Problem:
        """The search over these ways, all amounts over one common unit."""
        unit = math.lcm(*(tariff.unit for _, tariff in self._found.values()))
        meters = [
            search.Meter(tariff, self._of.begun(node, self._region), unit // tariff.unit)
            for node, (_, tariff) in self._found.items()
        ]
        return search.Problem(ways, meters, ())


class _Sweep:
    """The separate choice of each input in all regions, in arrays over input x source x region.

    Where every byte that may come over a link costs the same, sources are compared by the price of a byte, in whole numbers
    over one unit. Other links are *bent*: what a byte costs there depends on how many come, and if inputs share one on all.
    """

    def __init__(self, of: Arrivals, tiers: links.Tiers, numbers: npt.NDArray[np.int32]) -> None:
        # It keeps nothing of `of`, which keeps it: in a ring they would wait for the garbage collector.
        self._tiers, self._numbers = tiers, numbers
        self._lengths = lengths = [len(read.sources) for read in of.reads]
        width = max(lengths)
        # Short rows are filled up with a node of their own, and marked: what is not there has no price.
        self._node = np.array(
            [[s.node for s in read.sources] + [read.sources[0].node] * (width - len(read.sources)) for read in of.reads]
        )
        self._absent = None if min(lengths) == width else np.arange(width)[None, :] >= np.array(lengths)[:, None]
        self._volume: Ints = np.array([read.bytes for read in of.reads], dtype=np.int64)
        self._here = of.here
        self._columns = np.arange(len(of.regions))
        self._begun = of.before
        self.tangled: list[int] = []
        self.coupled: list[int] = []
        self._alive: npt.NDArray[np.bool_] | None = None
        price = tiers.begins_at.take(numbers)
        if self._here:
            price.put(self._here, _HERE)
        least = self._lowest(price) if tiers.all_flat else self._bend(price)
        self.picks = least.argmin(axis=1)
        self.known = _ALL
        self.unpriced: list[int] = []
        if least.max() >= links.BEYOND:
            self.known = least.min(axis=1) < links.BEYOND
            self.unpriced = np.nonzero(~self.known.all(axis=0))[0].tolist()
        if self._alive is not None:
            self._pick_bent()
        self._taken = self._node.take(self.picks + np.arange(0, self._node.size, width)[:, None])
        #: The link that each input takes into each region, by its place among all.
        self._links = self._taken * len(self._columns) + self._columns

    def alive(self, r: int) -> list[list[int]]:
        """The sources of each input that may be its best in a region."""
        if self._alive is None:
            return [list(range(length)) for length in self._lengths]
        return [np.nonzero(row)[0].tolist() for row in self._alive[:, :, r]]

    def _lowest(self, price: Ints) -> Ints:
        """What a byte of each input costs from each of its sources; nothing for those of which no byte is read."""
        found = price.take(self._node, axis=0)
        if not self._volume.all():
            empty = self._volume == 0
            found[empty] = np.where(found[empty] < links.BEYOND, np.minimum(found[empty], 0), links.BEYOND)
        if self._absent is not None:
            found[self._absent] = links.BEYOND
        return found

    # Bent links

    def _bend(self, price: Ints) -> Ints:
        """`_lowest` without the sources that are never the best, whatever others send; finds where inputs share bent links."""
        tiers, numbers = self._tiers, self._numbers
        reach = np.zeros(len(numbers), dtype=np.int64)
        volumes = self._volume[:, None] if self._absent is None else np.where(self._absent, 0, self._volume[:, None])
        np.add.at(reach, self._node, volumes)
        at = ((numbers >= 0) & ~tiers.flat.take(numbers) & (price != _HERE)).ravel().nonzero()[0]
        number, before = numbers.take(at), _ZEROS if self._begun is None else self._begun.take(at)
        upto, prices, tiers_there = (row.take(number, axis=0) for row in (tiers.upto, tiers.price, tiers.tiers))
        first = (upto <= before[:, None]).sum(axis=1)
        last = (upto < (before + reach.take(at // numbers.shape[1]))[:, None]).sum(axis=1)
        straight = (last <= first) & (first < tiers_there)
        tier = np.arange(tiers.upto.shape[1])
        known = (upto < before[:, None]).sum(axis=1) < tiers_there
        # At the very end of the last tier nothing more has a price, but nothing has.
        first = np.minimum(first, tiers_there - 1)
        used = (tier >= first[:, None]) & (tier <= np.minimum(np.maximum(first, last), tiers_there - 1)[:, None])
        price.put(at, np.where(known, np.where(used, prices, links.BEYOND).min(axis=1), links.BEYOND))
        if straight.all():
            return self._lowest(price)
        bent = np.zeros(numbers.shape, dtype=np.bool_)
        bent.put(at, ~straight)
        high = price.copy()
        high.put(at, np.where(known & (last < tiers_there), np.where(used, prices, 0).max(axis=1), links.BEYOND))
        lows, highs = self._lowest(price), self._lowest(high)
        alive = (lows <= highs.min(axis=1)[:, None, :]) & (lows < links.BEYOND)
        bent_here = bent.take(self._node, axis=0)
        self._money = self._amounts(lows, highs, alive, bent_here & (alive.sum(axis=1) > 1)[:, None, :], reach)
        self._several = alive.sum(axis=1) > 1
        self._share(alive, bent_here & alive)
        self._alive, self._bent = alive, bent_here
        return np.where(alive, lows, links.BEYOND)

    def _amounts(self, lows: Ints, highs: Ints, alive: Bools, open_: Bools, reach: Ints) -> npt.NDArray[np.float64]:
        """What each source costs each input that shares it with none; takes those from `alive` that another always beats."""
        tiers, columns = self._tiers, self._columns
        scale, here = self._volume[:, None, None] / tiers.price_unit, lows == _HERE
        money = np.where(here, -1.0, lows * scale)
        at = (open_ & alive).ravel().nonzero()[0]
        if not len(at):
            return money
        most = np.where(here, -1.0, np.where(highs < links.BEYOND, highs * scale, np.inf))
        link = (self._node[:, :, None] * len(columns) + columns).take(at)
        node, volume = link // len(columns), self._volume.take(at // money[0].size)
        number, before = self._numbers.take(link), _ZEROS if self._begun is None else self._begun.take(link)
        # Right at the begin of what may come, and at its end.
        both, both_known = self._between(
            np.stack((number, number)), np.stack((before + 0 * volume, before + reach.take(node) - volume)), volume
        )
        (first, last), (known, end_known) = both, both_known
        per, alone = tiers.unit.take(number), np.bincount(self._node.ravel(), minlength=len(reach)).take(node) == 1
        least, exact = money.copy(), first / per
        low = np.where(tiers.bowed.take(number) & end_known, np.minimum(first, last) / per, money.take(at))
        money.put(at, np.where(known, exact, np.inf))
        least.put(at, np.where(known, np.where(alone, exact, low), np.inf))
        most.put(at, np.where(alone & known, exact, most.take(at)))
        # Floats: what is only a little dearer stays.
        bar = np.where(alive, most, np.inf).min(axis=1)
        beaten = least > (bar + np.abs(bar) * _NEAR)[:, None, :]
        alive &= ~beaten & np.isfinite(least)
        return money

    def _share(self, alive: Bools, bent: Bools) -> None:
        """Regions where inputs may share a bent link, and those of them where one of these inputs has a choice."""
        at, columns = bent.ravel().nonzero()[0], self._columns
        link = (self._node[:, :, None] * len(columns) + columns).take(at)
        # Inputs on the straight part of a link do not bend it: all bytes that could come are in `reach`.
        several = np.bincount(link).take(link) > 1
        if not several.any():
            return
        at, r = at[several], link[several] % len(columns)
        self.coupled = sorted(set(r.tolist()))
        choice = self._several.take(at // alive[0].size * len(columns) + r)
        self.tangled = sorted(set(r[choice].tolist()))

    def _pick_bent(self) -> None:
        """Where an input may choose a bent link of its own, the least amount decides; near ones are for the search."""
        assert self._alive is not None
        i, r = np.nonzero((self._bent & self._alive).any(axis=1) & self._several)
        if not len(i):
            return
        money = np.where(self._alive[i, :, r], self._money[i, :, r], np.inf)
        self.picks[i, r] = money.argmin(axis=1)
        least = money.min(axis=1)
        near = (least > 0) & ((money <= (least * (1 + _NEAR))[:, None]).sum(axis=1) > 1)
        self.tangled = sorted({*self.tangled, *r[near].tolist()})

    def _between(self, number: npt.NDArray[np.int32], before: Ints | None, volume: Ints) -> tuple[Ints, Bools]:
        """What volumes cost after others, or as the first, as numerators, and whether it is known."""
        unit = self._tiers.unit.take(number)
        if before is None:
            whole, rest, known = links.value(self._tiers, number, volume)
            return whole * unit + rest, known
        wholes, rests, all_known = links.value(self._tiers, np.stack((number, number)), np.stack((before, before + volume)))
        return (wholes[1] - wholes[0]) * unit + rests[1] - rests[0], all_known[0] & all_known[1]

    # What was taken

    def shares(self) -> Ints:
        """What each input alone would cost in each region, rounded down."""
        number = self._numbers.take(self._links)
        if self._tiers.all_flat:
            unit = self._tiers.one_unit or self._tiers.unit.take(number)
            amount = self._tiers.first.take(number) * self._volume[:, None] // unit
            return np.where(self.known, amount, 0) if self.unpriced else amount
        paid = (number >= 0) & self.known
        before = None if self._begun is None else self._begun.take(self._links)
        amount, known = self._between(number, before, np.broadcast_to(self._volume[:, None], number.shape))
        return np.where(paid & known, amount // self._tiers.unit.take(number), 0)

    def charged(self) -> tuple[list[int], list[int], Ints]:
        """Each region's egress in micro-dollars and in bytes, and what each node sends into each region."""
        count = len(self._columns)
        flat = np.zeros(self._numbers.size, dtype=np.int64)
        np.add.at(flat, self._links.ravel(), self._volume.repeat(count))
        sent = flat.reshape(self._numbers.shape)
        leaving = sent.copy()
        if self._here:
            leaving.put(self._here, 0)
        if self.unpriced:
            leaving[self._numbers < 0] = 0
        used = leaving.ravel().nonzero()[0]
        number, volume, r = self._numbers.take(used), leaving.take(used), used % count
        before = None if self._begun is None else self._begun.take(used)
        owed, known = self._rounded(number, volume if before is None else before + volume)
        if before is not None:
            owed -= self._rounded(number, before)[0]
        if not known.all():
            known = np.broadcast_to(known, r.shape)
            # Each alone has a price, all together go beyond the last tier that is known: perhaps another choice does not.
            self.tangled = sorted({*self.tangled, *r[~known].tolist()})
            self.coupled = sorted({*self.coupled, *r[~known].tolist()})
        egress = np.zeros(count, dtype=np.int64)
        np.add.at(egress, r, owed)
        return egress.tolist(), leaving.sum(axis=0).tolist(), sent

    def _rounded(self, number: npt.NDArray[np.int32], volume: Ints) -> tuple[Ints, Bools]:
        whole, rest, known = links.value(self._tiers, number, volume)
        return links.half_even(whole, rest, self._tiers.one_unit or self._tiers.unit[number]), known
