"""The best choice of a way for each input, all of them together: exact, by branch and bound.

Inputs that come over links of one pricing scope share its tiers, and those that come over one link share its speed: what one
of them takes changes what the others cost. The search proves its answer the best; where its steps do not suffice for that, it
says by which share the answer may be above the least. Of equally good choices the first in order of the ways wins, input by
input.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from typing import NamedTuple

from federation.core import ratecard


class Meter(NamedTuple):
    """A pricing scope: its tariff, the bytes that it counts already, and by what its numerators are multiplied."""

    tariff: ratecard.Tariff
    begun: int
    scale: int

    def amount(self, volume: int) -> int | None:
        """F after so many more bytes; None where that is unknown."""
        numerator = self.tariff.numerator(self.begun + volume)
        return None if numerator is None else numerator * self.scale


class Way(NamedTuple):
    """One way to have one input. `legs` are bytes by meter; `read` is bytes over a link while the run reads.

    `staged` are bytes over links, one after another, before the run, on top of `staged_seconds` that nothing shares.
    """

    fixed: int = 0
    legs: tuple[tuple[int, int], ...] = ()
    read: tuple[int, int] | None = None
    staged: tuple[tuple[int, int], ...] = ()
    staged_seconds: int = 0

    @property
    def timed(self) -> bool:
        return self.read is not None or bool(self.staged) or self.staged_seconds > 0


#: What time costs, from the seconds that reading and staging take; None where that is too late. Never less for more seconds.
Clock = Callable[[int, int], int | None]


#: Where all choices together have so few parts they are walked one by one: to set up bounds for them would take longer.
WALK_MAX = 256
#: Where there are so few parts, to see first which of them couple nothing would take longer than to walk them.
WALK_FEW = 32
#: Steps of one search, so that a hard site leaves enough for the others.
STEPS_EACH = 1_000
#: Seconds of reading, and of staging, that bounds are found for at one site.
THRESHOLDS_MAX = 32


class Budget:
    """How many steps all searches of one decision may take, and which of them that was too few for.

    `unproven` has, by the name of a search, the share by which its answer may be above the least.
    """

    def __init__(self, steps: int) -> None:
        self.left = steps
        self.unproven: dict[str, float] = {}


class Exhausted(Exception):
    """The budget is used up before any choice is found."""


class _OutOfSteps(Exception):
    """Ends a search that has used up its steps."""


class Problem(NamedTuple):
    """What is chosen from: the ways of each input, in order; what they cost together; links' bytes a second.

    So many seconds of reading are `hidden` behind the run: they cost nothing.
    """

    ways: Sequence[Sequence[Way]]
    meters: Sequence[Meter]
    speeds: Sequence[int]
    clock: Clock | None = None
    hidden: int = 0


def solve(problem: Problem, budget: Budget, name: str) -> tuple[int, ...] | None:
    """The position of the chosen way for each input; None where no choice is possible.

    Where the steps do not suffice the best choice found is answered, and noted in `budget.unproven`; Exhausted if there is
    none.
    """
    if not all(problem.ways):
        return None
    # What is set up for each way takes as long as a step.
    budget.left -= sum(map(len, problem.ways))
    if budget.left < 0:
        raise Exhausted
    timeless = problem.clock is None and not problem.speeds
    few = len(problem.ways) * math.prod(map(len, problem.ways)) if timeless else 0
    if few and few <= min(WALK_FEW, budget.left):
        budget.left -= few
        return _walked(problem, [list(range(len(problem.ways)))])
    problem = _linear(problem)
    if problem.clock is None and not problem.speeds:
        groups = _groups(problem)
        steps = sum(len(group) * math.prod(len(problem.ways[i]) for i in group) for group in groups)
        if steps <= min(WALK_MAX, budget.left):
            budget.left -= steps
            return _walked(problem, groups)
    search = _Search(problem, budget)
    try:
        return search.best()
    except _OutOfSteps:
        if search.tried is None:
            raise Exhausted from None
        budget.unproven[name] = search.above()
        return search.tried


def _groups(problem: Problem) -> list[list[int]]:
    """The inputs that share meters, each with those that it shares one with, directly or through others."""
    groups: list[tuple[set[int], list[int]]] = []
    for i, ways in enumerate(problem.ways):
        meters, together = {meter for way in ways for meter, _ in way.legs}, [i]
        apart = []
        for group in groups:
            if meters.isdisjoint(group[0]):
                apart.append(group)
            else:
                meters |= group[0]
                together += group[1]
        groups = [*apart, (meters, together)]
    return [sorted(together) for _, together in groups]


def _walked(problem: Problem, groups: list[list[int]]) -> tuple[int, ...] | None:
    """The best choice where time costs nothing, group by group, by walking all choices in their order: for few of them."""
    chosen = [0] * len(problem.ways)
    taken = _Taken(problem)
    for group in groups:
        ways = problem.ways[group[0]]
        if len(group) == 1 and not any(way.legs for way in ways):
            amounts = [way.fixed for way in ways]
            chosen[group[0]] = amounts.index(min(amounts))
            continue
        found = _walk([problem.ways[i] for i in group], taken, (), 0, None)
        if found is None:
            return None
        for i, w in zip(group, found[1], strict=True):
            chosen[i] = w
    return tuple(chosen)


def _walk(
    rows: Sequence[Sequence[Way]], taken: _Taken, begin: tuple[int, ...], total: int, best: tuple[int, tuple[int, ...]] | None
) -> tuple[int, tuple[int, ...]] | None:
    """The cheapest choice that begins with `begin`, the first of equals; `best` where none is cheaper.

    Costs only grow from input to input, so a beginning that costs as much as the best already is not followed.
    """
    for w, way in enumerate(rows[len(begin)]):
        added = taken.take(way)
        if added is not None and (best is None or total + added < best[0]):
            choice = (*begin, w)
            best = (total + added, choice) if len(choice) == len(rows) else _walk(rows, taken, choice, total + added, best)
        taken.drop(way)
    return best


def seconds(volume: int, bytes_per_second: int) -> int:
    """How long a volume takes, in whole seconds begun."""
    return -(-volume // bytes_per_second)


def _linear(problem: Problem) -> Problem:
    """The same problem, simpler: legs whose bytes all cost the same become fixed amounts, and hidden reads take no time."""
    rates: list[int | None] = []
    if problem.meters:
        rates = [_rate(meter, volume) for meter, volume in zip(problem.meters, _most(problem), strict=True)]
    hidden = _hidden(problem)
    if not rates and not any(hidden):
        return problem
    return problem._replace(ways=[[_folded(way, rates, hidden) for way in ways] for ways in problem.ways])


def _hidden(problem: Problem) -> list[bool]:
    """Links that carry all reads that could come over them while the run goes on anyway."""
    most = [0] * len(problem.speeds)
    for ways in problem.ways if most else ():
        largest: dict[int, int] = {}
        for way in ways:
            if way.read is not None and largest.get(way.read[0], 0) < way.read[1]:
                largest[way.read[0]] = way.read[1]
        for link, volume in largest.items():
            most[link] += volume
    return [volume <= problem.hidden * speed for volume, speed in zip(most, problem.speeds, strict=True)]


def _largest(ways: Sequence[Way]) -> dict[int, int]:
    """The most bytes that one input may send over each meter."""
    found: dict[int, int] = {}
    for way in ways:
        if len(way.legs) == 1:
            ((meter, volume),) = way.legs
            found[meter] = max(found.get(meter, 0), volume)
            continue
        sums: dict[int, int] = {}
        for meter, volume in way.legs:
            sums[meter] = sums.get(meter, 0) + volume
        for meter, volume in sums.items():
            found[meter] = max(found.get(meter, 0), volume)
    return found


def _rate(meter: Meter, volume: int) -> int | None:
    """What each of the next `volume` bytes costs, if all cost the same."""
    for tier in meter.tariff.tiers:
        if tier.upto_bytes is None or meter.begun < tier.upto_bytes:
            linear = tier.upto_bytes is None or meter.begun + volume <= tier.upto_bytes
            return tier.rate * meter.scale if linear else None
    return None


def _folded(way: Way, rates: Sequence[int | None], hidden: Sequence[bool]) -> Way:
    if not way.legs and way.read is None:
        return way
    fixed, legs = way.fixed, []
    for meter, volume in way.legs:
        rate = rates[meter]
        if rate is None:
            legs.append((meter, volume))
        else:
            fixed += rate * volume
    read = None if way.read is not None and hidden[way.read[0]] else way.read
    return Way(fixed, tuple(legs), read, way.staged, way.staged_seconds)


class _Bounds(NamedTuple):
    """What one way adds whatever others take: the least and the most that it costs, and the seconds that it takes alone."""

    low: int
    high: int | None
    reading: int
    staging: int


class _Threshold(NamedTuple):
    """A bound for choices that take at least so many seconds of reading and of staging.

    `rest` is what the inputs from each depth on cost at the least, by ways that need not take longer alone than such choices.
    """

    reading: int
    staging: int
    rest: list[int]


class _Search:
    """Depth first, input by input in the order of its ways, cut where what is certain is no better than what was found.

    Ways are coupled by the slowest link, by links that they share, and by tiers. If only the first is left, the least over all
    thresholds is exact: for so many seconds of reading and of staging each input takes the cheapest way that keeps to them.
    With the others it is a bound, and the tree is walked along those thresholds alone that can still beat what was found.
    """

    def __init__(self, problem: Problem, budget: Budget) -> None:
        self._problem = problem
        self._budget = budget
        self._end = max(budget.left - STEPS_EACH, 0)
        self._taken = _Taken(problem)
        self._times: dict[tuple[int, int], int | None] = {}
        most = _most(problem)
        self._bounds = [[_bounds(problem, way, most) for way in ways] for ways in problem.ways]
        self._kept = self._undominated()
        self._least: int | None = None
        self._live: list[_Threshold] = []
        #: The best choice so far, whether proven or not.
        self.tried: tuple[int, ...] | None = None

    def _clock(self, reading: int, staging: int) -> int | None:
        if self._problem.clock is None:
            return 0
        key = (reading, staging)
        if key not in self._times:
            self._times[key] = self._problem.clock(reading, staging)
        return self._times[key]

    def _undominated(self) -> list[list[int]]:
        """The ways of each input that some choice of the others may make the best.

        A way falls to another that is never dearer, takes no time that it would not take, and is the first of equals. A link
        that only one input could use takes as long as that input alone; the fewer ways are left, the more such links.
        """
        kept = [list(range(len(ways))) for ways in self._problem.ways]
        users: tuple[dict[int, int], dict[int, int]] | None = None
        while True:
            now = self._users(kept)
            if now == users:
                return kept
            users = now
            kept = [self._unbeaten(i, row, users) if len(row) > 1 else row for i, row in enumerate(kept)]

    def _users(self, kept: list[list[int]]) -> tuple[dict[int, int], dict[int, int]]:
        """How many inputs could read over each link, and how many could be staged over it."""
        reading: dict[int, int] = {}
        staging: dict[int, int] = {}
        for ways, row in zip(self._problem.ways, kept, strict=True):
            for link in {way.read[0] for w in row if (way := ways[w]).read is not None}:
                reading[link] = reading.get(link, 0) + 1
            for link in {link for w in row for link, _ in ways[w].staged}:
                staging[link] = staging.get(link, 0) + 1
        return reading, staging

    def _unbeaten(self, i: int, row: list[int], users: tuple[dict[int, int], dict[int, int]]) -> list[int]:
        ways, bounds = self._problem.ways[i], self._bounds[i]
        unbeaten: list[int] = []
        # Whoever beats another comes before it in this order, and what beats one that is beaten beats whatever that would.
        for _, _, b in sorted((bounds[w].low, bounds[w].high is None or bounds[w].high != bounds[w].low, w) for w in row):
            low, other = bounds[b].low, ways[b]
            for a in unbeaten:
                high = bounds[a].high
                cheaper = high is not None and (high < low or (high == low and a < b))
                if cheaper and _no_slower(ways[a], bounds[a], other, bounds[b], users):
                    break
            else:
                unbeaten.append(b)
        return sorted(unbeaten)

    def best(self) -> tuple[int, ...] | None:
        """Walks the tree with a first guess to cut by."""
        ways, depths = self._problem.ways, len(self._kept)
        if not ways:
            return () if self._clock(0, 0) is not None else None
        self._guess()
        live = self._live = self._thresholds()
        if not live:
            return None
        choice, found = [0] * depths, None
        stack = [(iter(self._kept[0]), 0, 0, 0, live)]
        while stack:
            rest, money, reading, staging, live = stack[-1]
            depth = len(stack) - 1
            w = next(rest, None)
            if w is None:
                stack.pop()
                if stack:
                    self._taken.drop(ways[depth - 1][choice[depth - 1]])
                continue
            self._step()
            if self._budget.left < self._end:
                raise _OutOfSteps
            way = ways[depth][w]
            added = self._taken.take(way)
            if added is not None:
                choice[depth] = w
                money += added
                reading, staging = self._taken.reading(way, reading), self._taken.staging(way, staging)
                if depth + 1 == depths:
                    time = self._clock(reading, staging)
                    if time is not None and self._better(money + time, found):
                        self._least, found = money + time, tuple(choice)
                        self.tried = found
                elif left := self._left(live, depth + 1, (money, reading, staging), found):
                    stack.append((iter(self._kept[depth + 1]), money, reading, staging, left))
                    continue
            self._taken.drop(way)
        return found

    def above(self) -> float:
        """By which share the best choice so far may be above the least."""
        least = self._least or 0
        bound = min(((self._clock(row.reading, row.staging) or 0) + row.rest[0] for row in self._live), default=least)
        return max(least - bound, 0) / max(least, 1)

    def _better(self, value: int, found: tuple[int, ...] | None) -> bool:
        return self._least is None or value < self._least or (value == self._least and found is None)

    def _left(
        self, live: list[_Threshold], depth: int, certain: tuple[int, int, int], found: tuple[int, ...] | None
    ) -> list[_Threshold]:
        """The thresholds within which what is certain may still become the best choice."""
        money, reading, staging = certain
        left = []
        for row in live:
            time = self._clock(max(row.reading, reading), max(row.staging, staging))
            if time is not None and self._better(money + time + row.rest[depth], found):
                left.append(row)
        return left

    def _step(self) -> None:
        self._budget.left -= 1

    # Thresholds

    def _thresholds(self) -> list[_Threshold]:
        """Those that may hold the best choice; on the way the choices that they suggest are tried."""
        kept = [[(self._bounds[i][w], w) for w in row] for i, row in enumerate(self._kept)]
        readings = _spread({bounds.reading for row in kept for bounds, _ in row})
        stagings = _spread({bounds.staging for row in kept for bounds, _ in row})
        found: list[_Threshold] = []
        for reading, beyond in zip(readings, [*readings[1:], None], strict=True):
            time = self._clock(reading, 0)
            if time is None:
                break
            within = [[entry for entry in row if beyond is None or entry[0].reading < beyond] for row in kept]
            if not all(within):
                continue
            cheapest = sum(min(bounds.low for bounds, _ in row) for row in within)
            if self._better(time + cheapest, None):
                found += self._staged(reading, stagings, within, cheapest)
        least = self._least
        if least is None:
            return found
        return [row for row in found if (self._clock(row.reading, row.staging) or 0) + row.rest[0] <= least]

    def _staged(
        self, reading: int, stagings: list[int], within: list[list[tuple[_Bounds, int]]], cheapest: int
    ) -> Iterator[_Threshold]:
        """The thresholds of one number of seconds of reading, where more staging makes something cheaper."""
        before = None
        for staging, beyond in zip(stagings, [*stagings[1:], None], strict=True):
            time = self._clock(reading, staging)
            if time is None or not self._better(time + cheapest, None):
                return
            self._step()
            picked = []
            for row in within:
                entry = min([(bounds.low, w) for bounds, w in row if beyond is None or bounds.staging < beyond], default=None)
                if entry is None:
                    break
                picked.append(entry)
            total = sum(low for low, _ in picked)
            if len(picked) < len(within) or (before is not None and total >= before):
                continue
            before = total
            if self._better(time + total, None):
                self._try([w for _, w in picked])
                rest = [*accumulate((low for low, _ in reversed(picked)), initial=0)]
                rest.reverse()
                yield _Threshold(reading, staging, rest)
            if total == cheapest:
                return

    def _try(self, choice: list[int]) -> None:
        """Remembers what a choice costs if it is the least so far: no less than the best, and often the same."""
        money, reading, staging = 0, 0, 0
        taken = []
        for ways, w in zip(self._problem.ways, choice, strict=True):
            added = self._taken.take(ways[w])
            taken.append(ways[w])
            if added is None:
                break
            money += added
            reading, staging = self._taken.reading(ways[w], reading), self._taken.staging(ways[w], staging)
        else:
            time = self._clock(reading, staging)
            if time is not None and self._better(money + time, None):
                self._least, self.tried = money + time, tuple(choice)
        for way in reversed(taken):
            self._taken.drop(way)

    def _guess(self) -> None:
        """Where tiers are shared: what it costs if each input takes what is cheapest at its turn."""
        if not any(way.legs for ways in self._problem.ways for way in ways):
            return
        taken, reading, staging = [], 0, 0
        for ways, row in zip(self._problem.ways, self._kept, strict=True):
            best = None
            for w in row:
                self._step()
                added = self._taken.take(ways[w])
                then = self._taken.reading(ways[w], reading), self._taken.staging(ways[w], staging)
                self._taken.drop(ways[w])
                time = self._clock(*then)
                if added is not None and time is not None and (best is None or (added + time, w) < best):
                    best = (added + time, w)
            if best is None:
                break
            taken.append(best[1])
            self._taken.take(ways[best[1]])
            reading = self._taken.reading(ways[best[1]], reading)
            staging = self._taken.staging(ways[best[1]], staging)
        for depth in reversed(range(len(taken))):
            self._taken.drop(self._problem.ways[depth][taken[depth]])
        if len(taken) == len(self._kept):
            self._try(taken)


def _spread(values: set[int]) -> list[int]:
    """0 and these values in order. Of very many only some, evenly spaced: a value between two has the bound of the lower."""
    ordered = sorted({0, *values})
    step = -(-len(ordered) // THRESHOLDS_MAX)
    return ordered[::step]


def _no_slower(way: Way, bounds: _Bounds, other: Way, others: _Bounds, users: tuple[dict[int, int], dict[int, int]]) -> bool:
    """Whether a way takes no longer than another, whatever the other inputs take."""
    if way.read is not None and way.read != other.read and (users[0][way.read[0]] > 1 or bounds.reading > others.reading):
        return False
    if not way.staged and not way.staged_seconds:
        return True
    if (way.staged, way.staged_seconds) == (other.staged, other.staged_seconds):
        return True
    return bounds.staging <= others.staging and all(users[1][link] == 1 for link, _ in way.staged)


class _Taken:
    """What the ways taken so far have put on meters and links."""

    def __init__(self, problem: Problem) -> None:
        self._meters, self._speeds = problem.meters, problem.speeds
        self._volumes = [0] * len(problem.meters)
        self._read = [0] * len(problem.speeds)
        self._staged = [0] * len(problem.speeds)
        self._staging: list[Way] = []

    def take(self, way: Way) -> int | None:
        """Adds a way; answers what it costs after the others, None where that is unknown."""
        total: int | None = way.fixed
        for meter, volume in way.legs:
            if volume:
                before = self._volumes[meter]
                self._volumes[meter] = before + volume
                paid, owed = self._meters[meter].amount(before), self._meters[meter].amount(before + volume)
                total = None if total is None or paid is None or owed is None else total + owed - paid
        if way.read is not None:
            self._read[way.read[0]] += way.read[1]
        if way.staged or way.staged_seconds:
            self._staging.append(way)
            for link, volume in way.staged:
                self._staged[link] += volume
        return total

    def drop(self, way: Way) -> None:
        """Takes the way back that was added last."""
        for meter, volume in way.legs:
            self._volumes[meter] -= volume
        if way.read is not None:
            self._read[way.read[0]] -= way.read[1]
        if way.staged or way.staged_seconds:
            self._staging.pop()
            for link, volume in way.staged:
                self._staged[link] -= volume

    def reading(self, way: Way, before: int) -> int:
        """Seconds of the slowest link, from those before the way that was added last."""
        if way.read is None:
            return before
        link = way.read[0]
        return max(before, seconds(self._read[link], self._speeds[link]))

    def staging(self, way: Way, before: int) -> int:
        """Seconds until the last copy is there, from those before the way that was added last."""
        if not way.staged and not way.staged_seconds:
            return before
        staged, speeds = self._staged, self._speeds
        return max(
            row.staged_seconds + sum(seconds(staged[link], speeds[link]) for link, _ in row.staged) for row in self._staging
        )


def _most(problem: Problem) -> list[int]:
    """The most bytes that could come over each meter."""
    most = [0] * len(problem.meters)
    for ways in problem.ways:
        for meter, volume in _largest(ways).items():
            most[meter] += volume
    return most


def _bounds(problem: Problem, way: Way, most: list[int]) -> _Bounds:
    """The least and the most that a way may add to what others cost, None where it may be unknown; and its time alone."""
    reading = 0 if way.read is None else seconds(way.read[1], problem.speeds[way.read[0]])
    if reading <= problem.hidden:
        reading = 0
    staging = way.staged_seconds
    if way.staged:
        alone: dict[int, int] = {}
        for link, volume in way.staged:
            alone[link] = alone.get(link, 0) + volume
        staging += sum(seconds(alone[link], problem.speeds[link]) for link, _ in way.staged)
    low = high = way.fixed
    known = True
    for meter, volume in _largest([way]).items() if way.legs else ():
        least, dearest = _marginals(problem.meters[meter], most[meter] - volume, volume)
        low += least
        known = known and dearest is not None
        high += dearest or 0
    return _Bounds(low, high if known else None, reading, staging)


def _marginals(meter: Meter, before_max: int, volume: int) -> tuple[int, int | None]:
    """The least and the most that a volume costs after 0 to `before_max` others.

    As a function of what went before, the price is made of straight pieces; it turns only where the volume's begin or its end
    meets the edge of a tier, so these places tell all.
    """
    edges = [tier.upto_bytes - meter.begun for tier in meter.tariff.tiers if tier.upto_bytes is not None]
    places = {0, before_max, *(e for e in edges), *(e - volume for e in edges)}
    prices = []
    for before in places:
        if 0 <= before <= before_max:
            after, base = meter.amount(before + volume), meter.amount(before)
            prices.append(None if after is None or base is None else after - base)
    known = [price for price in prices if price is not None]
    return min(known, default=0), max(known, default=0) if len(known) == len(prices) else None
