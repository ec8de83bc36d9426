"""Whose job goes first when not all fit: shares by weight over what was used lately, reservations for big jobs.

Use is counted in GPU-seconds, and in CPU-seconds for jobs that ask for no GPU; each is halved every half-life, so nobody pays
for ever, and nobody banks credit for ever. Values in, values out; a time is a whole number of seconds, handed in.
"""

from __future__ import annotations

import math
from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from federation.core import errors


class Meter(StrEnum):
    """What a job's use is counted in."""

    GPU = "GPU"
    CPU = "CPU"


@dataclass(frozen=True, kw_only=True)
class Share:
    """A namespace's weight: with twice another's it gets twice the GPU-seconds, while both have jobs waiting."""

    namespace: str
    weight: int = 1


@dataclass(frozen=True, kw_only=True)
class Use:
    """What a namespace has used on a meter, decayed to `at_seconds`. Not money: a measure of whose turn it is.

    A job is charged when it starts, with its units for all of its predicted seconds, and settled when it ends. Charged later,
    long jobs would count less than short ones.
    """

    namespace: str
    meter: Meter = Meter.GPU
    amount: float = 0.0
    at_seconds: int = 0

    def decayed(self, now_seconds: int, half_life_seconds: int) -> float:
        """What of it counts now."""
        return self.amount * math.exp2(-max(now_seconds - self.at_seconds, 0) / half_life_seconds)

    def charged(self, amount: float, now_seconds: int, half_life_seconds: int) -> Use:
        """The use with `amount` more from now on."""
        now = max(now_seconds, self.at_seconds)
        left = max(self.decayed(now, half_life_seconds) + amount, 0.0)
        return Use(namespace=self.namespace, meter=self.meter, amount=left, at_seconds=now)

    def settled(self, error: float, start_seconds: int, now_seconds: int, half_life_seconds: int) -> Use:
        """The use as if a job that started then had been charged `error` more, or less where it is negative."""
        return self.charged(
            error * math.exp2((start_seconds - now_seconds) / half_life_seconds), now_seconds, half_life_seconds
        )


class Claim(NamedTuple):
    """One way to run a waiting job: what it takes at a site, in the order of the resources. The first that fits is taken."""

    site: str
    demand: tuple[int, ...]


@dataclass(frozen=True, kw_only=True)
class Contender:
    """A job of the queue. `units` of `meter` are what it is charged for each second: its GPUs, or its CPUs without any."""

    job: str
    namespace: str
    claims: tuple[Claim, ...]
    predicted_seconds: int
    units: int
    meter: Meter = Meter.GPU
    priority: int = 0
    submit_seconds: int = 0


@dataclass(frozen=True, kw_only=True)
class Held:
    """Room that a running job holds until it is predicted to end. One that is overdue may end at any moment."""

    site: str
    demand: tuple[int, ...]
    end_seconds: int


@dataclass(frozen=True, kw_only=True)
class Reservation:
    """A job's right to a site's room from `start_seconds` on, when enough of what runs there is predicted to have ended."""

    job: str
    site: str
    start_seconds: int


@dataclass(frozen=True, kw_only=True)
class Admission:
    """Who goes now, turn by turn, as (job, position of a claim that fits beside the others), and what is kept for whom."""

    admitted: tuple[tuple[str, int], ...]
    reserved: tuple[Reservation, ...]


def admit(
    contenders: Sequence[Contender],
    held: Sequence[Held],
    free: Sequence[tuple[str, tuple[int, ...]]],
    shares: Sequence[Share],
    used: Iterable[Use],
    *,
    now_seconds: int,
    half_life_seconds: int,
) -> Admission:
    """Turn after turn the first job of whoever has used least for its weight, until nothing more fits.

    Higher priorities come before shares; within a namespace older jobs come first. Who is admitted is charged at once, for the
    turns that follow. A namespace's first job that fits nowhere reserves the site where it will fit first, of those that nobody
    has reserved; others may use that site meanwhile if they end before, or leave enough (EASY backfilling, Lifka 1995). It is
    charged here as if it ran, so that its namespace's later jobs wait until the others have caught up with it: so the namespace
    falls behind by what the job will use and no more, its turn comes first, and its reservation before all others. No job waits
    for ever behind smaller ones of its priority, not even its own namespace's.

    A namespace without a share has weight 1; `free` is what each site has left.
    InvalidArgument (QUEUE_INVALID): a job twice, a weight or a half-life below 1, a claim at a site without free room given.
    """
    _check(contenders, free, shares, half_life_seconds)
    sites = {name: _Site(room, name, held, now_seconds) for name, room in sorted(free)}
    turns = _Turns(
        contenders, shares, [(use.namespace, use.meter, use.decayed(now_seconds, half_life_seconds)) for use in used]
    )
    admitted: list[tuple[str, int]] = []
    reserved: list[Reservation] = []
    filling = _Filling(sites, now_seconds)
    blocked: set[tuple[str, Meter]] = set()
    while (job := turns.next()) is not None:
        if (position := filling.place(job)) is not None:
            admitted.append((job.job, position))
            turns.charge(job)
        elif (job.namespace, job.meter) not in blocked:
            blocked.add((job.namespace, job.meter))
            reserved.extend(_reserve(job, sites))
            turns.charge(job)
    return Admission(admitted=tuple(admitted), reserved=tuple(reserved))


class _Filling:
    """Sites as they fill up. Room only shrinks: what had none has none for the rest, and long queues ask for few things."""

    def __init__(self, sites: dict[str, _Site], now_seconds: int) -> None:
        self._sites, self._now = sites, now_seconds
        self._hopeless: set[tuple[Claim, ...]] = set()

    def place(self, job: Contender) -> int | None:
        """Takes the room of a job's first claim that fits and leaves every reservation possible; its position, or None."""
        if job.claims in self._hopeless:
            return None
        end = self._now + job.predicted_seconds
        for position, claim in enumerate(job.claims):
            if self._sites[claim.site].fits(claim.demand, end):
                self._sites[claim.site].take(claim.demand, end)
                return position
        if not any(self._sites[claim.site].roomy(claim.demand) for claim in job.claims):
            self._hopeless.add(job.claims)
        return None


def _reserve(job: Contender, sites: dict[str, _Site]) -> list[Reservation]:
    """The earliest room for a job at a site that nobody has reserved; none where it could never fit."""
    found = []
    for position, claim in enumerate(job.claims):
        opening = None if sites[claim.site].reserved else sites[claim.site].opens(claim.demand)
        if opening is not None:
            found.append((opening[0], position, claim.site, opening[1]))
    if not found:
        return []
    start, _, name, spare = min(found)
    sites[name].reserve(start, spare)
    return [Reservation(job=job.job, site=name, start_seconds=start)]


class _Site:
    """A site's room while jobs are admitted: what is free, when more will be, and from when on it is kept."""

    def __init__(self, free: tuple[int, ...], name: str, held: Sequence[Held], now_seconds: int) -> None:
        self._free = free
        self._ends = [(max(one.end_seconds, now_seconds), one.demand) for one in held if one.site == name]
        self._kept_from = 0
        self._spare: tuple[int, ...] = ()
        self.reserved = False

    def roomy(self, demand: tuple[int, ...]) -> bool:
        """Whether there is room now, whoever it is kept for."""
        return _within(demand, self._free)

    def fits(self, demand: tuple[int, ...], end_seconds: int) -> bool:
        """Whether there is room now, and a reservation stays possible."""
        if not self.roomy(demand):
            return False
        return not self.reserved or end_seconds <= self._kept_from or _within(demand, self._spare)

    def take(self, demand: tuple[int, ...], end_seconds: int) -> None:
        self._free = _minus(self._free, demand)
        self._ends.append((end_seconds, demand))
        if self.reserved and end_seconds > self._kept_from:
            self._spare = _minus(self._spare, demand)

    def opens(self, demand: tuple[int, ...]) -> tuple[int, tuple[int, ...]] | None:
        """When a demand that does not fit now will, and what is left beside it then; None where it never does."""
        room, ends = self._free, sorted(self._ends)
        for position, (end, back) in enumerate(ends):
            room = tuple(map(sum, zip(room, back, strict=True)))
            last = position + 1 == len(ends) or ends[position + 1][0] > end
            if last and _within(demand, room):
                return end, _minus(room, demand)
        return None

    def reserve(self, start_seconds: int, spare: tuple[int, ...]) -> None:
        self.reserved, self._kept_from, self._spare = True, start_seconds, spare


class _Turns:
    """The order of turns: priorities first, then the least use for its weight, then age, then the name."""

    def __init__(
        self, contenders: Sequence[Contender], shares: Sequence[Share], used: Iterable[tuple[str, Meter, float]]
    ) -> None:
        self._weight = {share.namespace: share.weight for share in shares}
        self._standing: dict[tuple[str, Meter], float] = {}
        self._all = dict.fromkeys(Meter, 0.0)
        for namespace, meter, amount in used:
            self._add(namespace, meter, amount)
        self._queues: dict[int, dict[tuple[str, Meter], deque[Contender]]] = {}
        for job in sorted(contenders, key=lambda one: (one.submit_seconds, one.job)):
            lines = self._queues.setdefault(job.priority, {})
            lines.setdefault((job.namespace, job.meter), deque()).append(job)
        self._levels = sorted(self._queues, reverse=True)
        self._order: list[tuple[str, Meter]] | None = None

    def next(self) -> Contender | None:
        """Whose turn it is; None when everybody had theirs."""
        while self._levels:
            lines = self._queues[self._levels[0]]
            if self._order is None:
                self._order = sorted((line for line, jobs in lines.items() if jobs), key=self._rank, reverse=True)
            while self._order:
                if jobs := lines[self._order[-1]]:
                    return jobs.popleft()
                self._order.pop()
            self._levels.pop(0)
            self._order = None
        return None

    def charge(self, job: Contender) -> None:
        """What the job will use counts for the turns to come."""
        self._add(job.namespace, job.meter, float(job.units * job.predicted_seconds))
        self._order = None

    def _add(self, namespace: str, meter: Meter, amount: float) -> None:
        self._standing[namespace, meter] = self._standing.get((namespace, meter), 0.0) + amount
        self._all[meter] += amount

    def _rank(self, line: tuple[str, Meter]) -> tuple[float, str, str]:
        # As a share of all use on the meter, so that GPU-seconds and CPU-seconds compare.
        share = self._standing.get(line, 0.0) / max(self._all[line[1]], 1.0)
        return share / self._weight.get(line[0], 1), line[0], line[1]


def _within(demand: tuple[int, ...], room: tuple[int, ...]) -> bool:
    return all(want <= have for want, have in zip(demand, room, strict=True))


def _minus(room: tuple[int, ...], demand: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(have - want for have, want in zip(room, demand, strict=True))


def _check(
    contenders: Sequence[Contender],
    free: Sequence[tuple[str, tuple[int, ...]]],
    shares: Sequence[Share],
    half_life_seconds: int,
) -> None:
    known = {name for name, _ in free}
    twice = sorted(name for name, count in Counter(job.job for job in contenders).items() if count > 1)
    if twice:
        raise _invalid(f"the job {twice[0]} is there twice", "Name each job once.")
    if half_life_seconds < 1:
        raise _invalid(f"a half-life of {half_life_seconds} s", "Use at least one second.")
    for share in shares:
        if share.weight < 1:
            raise _invalid(f"{share.namespace} has weight {share.weight}", "Use a whole weight of at least 1.")
    for job in contenders:
        for claim in job.claims:
            if claim.site not in known:
                raise _invalid(f"{job.job} has a claim at {claim.site}, which has no room", "Give what is free at each site.")
        if job.predicted_seconds < 0 or job.units < 0:
            raise _invalid(f"{job.job} is predicted {job.predicted_seconds} s with {job.units} units", "Use 0 or more.")


def _invalid(message: str, help_: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(message, reason="QUEUE_INVALID", help=help_)
