"""A federation's queue in virtual time: jobs come, are admitted by shares, hold room, and end. Seeded, no clock, no waiting."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterable
from dataclasses import dataclass, field

from federation.core import fairshare
from federation.core.fairshare import Contender, Held, Meter, Share, Use

HALF_LIFE_SECONDS = 86400
TICK_SECONDS = 600


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job as it comes, and how long it really takes, which nobody is told before."""

    arrive_seconds: int
    seconds: int
    contender: Contender


@dataclass
class Outcome:
    """What happened: when each job started and ended, and where; when room was left idle beside a job that fits and may."""

    started: dict[str, int] = field(default_factory=dict)
    ended: dict[str, int] = field(default_factory=dict)
    sites: dict[str, str] = field(default_factory=dict)
    idle: list[int] = field(default_factory=list)


class Queue:
    """Runs jobs on sites until a time; decides at every tick in which something came or ended."""

    def __init__(self, rooms: dict[str, tuple[int, ...]], shares: Iterable[Share], *, tick_seconds: int = TICK_SECONDS) -> None:
        self._tick = tick_seconds
        self._rooms, self._free, self._shares = rooms, dict(rooms), list(shares)
        self._uses: dict[tuple[str, Meter], Use] = {}
        self._waiting: dict[str, Job] = {}
        self._held: dict[str, tuple[Held, int]] = {}
        self.outcome = Outcome()

    def run(self, jobs: Iterable[Job], until_seconds: int) -> Outcome:
        """Events in order of time, and a decision after those of each tick; a job holds its room until the tick it ends in."""
        count = itertools.count()
        events = [(job.arrive_seconds, 1, next(count), job) for job in jobs]
        heapq.heapify(events)
        while events and events[0][0] <= until_seconds:
            now = -(-events[0][0] // self._tick) * self._tick
            while events and events[0][0] <= now:
                _, is_arrival, _, job = heapq.heappop(events)
                if is_arrival:
                    self._waiting[job.contender.job] = job
                else:
                    self._end(job, now)
            for job in self._admit(now):
                heapq.heappush(events, (now + job.seconds, 0, next(count), job))
        return self.outcome

    def _admit(self, now: int) -> list[Job]:
        admission = fairshare.admit(
            [job.contender for job in self._waiting.values()],
            [held for held, _ in self._held.values()],
            list(self._free.items()),
            self._shares,
            self._uses.values(),
            now_seconds=now,
            half_life_seconds=HALF_LIFE_SECONDS,
        )
        begun = [self._start(name, position, now) for name, position in admission.admitted]
        kept = {reservation.site for reservation in admission.reserved}
        for claims in {job.contender.claims for job in self._waiting.values()}:
            open_to = [claim for claim in claims if claim.site not in kept]
            if any(all(w <= h for w, h in zip(claim.demand, self._free[claim.site], strict=True)) for claim in open_to):
                self.outcome.idle.append(now)
        return begun

    def _start(self, name: str, position: int, now: int) -> Job:
        job = self._waiting.pop(name)
        wanted = job.contender
        claim = wanted.claims[position]
        self._free[claim.site] = tuple(have - want for have, want in zip(self._free[claim.site], claim.demand, strict=True))
        assert min(self._free[claim.site]) >= 0, "more was admitted than there is"
        self._held[name] = (Held(site=claim.site, demand=claim.demand, end_seconds=now + wanted.predicted_seconds), now)
        self._charge(wanted, lambda use: use.charged(wanted.units * wanted.predicted_seconds, now, HALF_LIFE_SECONDS))
        self.outcome.started[name], self.outcome.sites[name] = now, claim.site
        return job

    def _end(self, job: Job, now: int) -> None:
        wanted = job.contender
        held, start = self._held.pop(wanted.job)
        self._free[held.site] = tuple(have + back for have, back in zip(self._free[held.site], held.demand, strict=True))
        error = wanted.units * (job.seconds - wanted.predicted_seconds)
        self._charge(wanted, lambda use: use.settled(error, start, now, HALF_LIFE_SECONDS))
        self.outcome.ended[wanted.job] = now

    def _charge(self, wanted: Contender, change) -> None:
        key = (wanted.namespace, wanted.meter)
        self._uses[key] = change(self._uses.get(key, Use(namespace=wanted.namespace, meter=wanted.meter)))
