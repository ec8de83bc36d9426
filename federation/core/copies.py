"""Copy or read: all ways in which a site can have an input, and the best of them for all inputs together.

Beside the local replica and the remote read there are the copy that is made and kept first, the copy that is under way already,
and the relay through a third region whose two legs together may be cheaper than the direct one. A copy moves the whole version,
needs a known storage price, and is only made where the input's residency allows it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import arrivals, cost, job, ratecard, records, relays, retention, search, site, transfer, units, world

#: A copy that is made for a job is kept for as long as the run is expected to take, in whole hours begun.
KEEP_STEP_SECONDS = 3600
#: Reads at the site that speak for keeping a copy. Before the first nobody knows whether another comes, and a copy that is
#: never read again is one more place to guard; it costs at most one fetch more than keeping from the first read on.
READS_MIN = 1

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RANK = {job.Way.LOCAL: 0, job.Way.REMOTE: 1, job.Way.COPY: 2}


class Had(NamedTuple):
    """One way to have one input at one site. `legs` are (source region, account, destination region, bytes)."""

    way: job.Way
    source: arrivals.Source
    legs: tuple[tuple[str, str, str, int], ...] = ()
    bytes: int = 0
    via_site: str = ""
    transfer: str = ""
    storage_micros: int = 0
    storage: int = 0
    keep_seconds: int = 0
    read: tuple[str, str, int] | None = None
    staged: tuple[tuple[str, str, int], ...] = ()
    staged_seconds: int = 0


class Chosen(NamedTuple):
    """The best choice for a site: how each input is had in the request's order, at which charge, and the time that it takes."""

    had: tuple[Had, ...]
    charges: tuple[int, ...]
    seconds: tuple[int, ...]
    reading: int
    staging: int

    @property
    def egress_bytes(self) -> int:
        return sum(volume for had in self.had for source, _, destination, volume in had.legs if source != destination)


def _storage(at: site.Site) -> int:
    return at.offer.storage_gb_month_micros or 0


class Ways:
    """All ways of a decision's inputs, site by site."""

    def __init__(self, request: job.JobRequest, seen: world.World, came: arrivals.Arrivals) -> None:
        self._request, self._world, self._came = request, seen, came
        self._relays = found = relays.Relays(seen, came)
        #: Whether any site could keep a copy that a relay goes through.
        self.keepers = found.possible and not request.no_copies
        self._over_regions = found.over if self.keepers else {}
        self.arriving = _arriving(seen)

    @property
    def least(self) -> npt.NDArray[np.float64]:
        """What each input costs in each region at the least, however it comes there, in micro-dollars."""
        return self._relays.least

    @property
    def relayed_regions(self) -> Mapping[str, object]:
        """Regions that some input might come into through a third one for less."""
        return self._over_regions

    def copied(self, at: site.Site, came: arrivals.Arrivals, r: int) -> bool:
        """Whether a copy at the site might be cheaper than reading: one is under way, or a run reads more than the version."""
        if at.site in self.arriving:
            return True
        if self._request.no_copies or at.offer.storage_gb_month_micros is None:
            return False
        return any(
            read.bytes > read.item.bytes and at.site not in read.item.replica_sites and came.source(i, r).region != at.region
            for i, read in enumerate(came.reads)
        )

    def of(self, read: arrivals.Read, at: site.Site, keep_seconds: int) -> list[Had]:
        """Every allowed way to have one input at a site, in the order in which equals are taken."""
        if at.site in read.item.replica_sites:
            return [local(read, arrivals.Source(at.region, at.account, at.site, -1))]
        found = [self.remote(read, source, at.region) for source in read.sources]
        found += self._under_way(read, at)
        if not self._request.no_copies:
            if at.offer.storage_gb_month_micros is not None:
                found += [self.copy(read, source, at, keep_seconds) for source in read.sources]
            for (i, j), through in self._over_regions.get(at.region, {}).items():
                if i == read.position:
                    found += [had for over in through for had in self._over(read, read.sources[j], over, at, keep_seconds)]
        return sorted(
            found,
            key=lambda had: (bool(had.via_site), _RANK[had.way], not had.transfer, _away(had), had.source.site, had.via_site),
        )

    def remote(self, read: arrivals.Read, source: arrivals.Source, region: str) -> Had:
        """Read from another site while the run goes on."""
        return Had(
            job.Way.REMOTE,
            source,
            ((source.region, source.account, region, read.bytes),),
            read.bytes,
            read=self._timed(source.region, region, read.bytes),
        )

    def copy(self, read: arrivals.Read, source: arrivals.Source, at: site.Site, keep_seconds: int) -> Had:
        """Copied before the run, and kept."""
        whole = read.item.bytes
        staged = self._timed(source.region, at.region, whole)
        return Had(
            job.Way.COPY,
            source,
            ((source.region, source.account, at.region, whole),),
            whole,
            storage_micros=cost.storage_micros(whole, keep_seconds, _storage(at)),
            storage=whole * keep_seconds * _storage(at),
            keep_seconds=keep_seconds,
            staged=(staged,) if staged else (),
        )

    def _under_way(self, read: arrivals.Read, at: site.Site) -> list[Had]:
        """A transfer to the site that somebody else pays for: it costs only the time until it is there."""
        found = []
        for moving in self.arriving.get(at.site, {}).get(read.position, ()):
            origin = next((row for row in self._world.sites if row.site == moving.source_site), None)
            region = origin.region if origin else ""
            speed = self._came.speeds.get((region, at.region))
            rest = max((moving.object_bytes or read.item.bytes) - moving.bytes_done, 0)
            source = arrivals.Source(region, origin.account if origin else "", moving.source_site, -1)
            left = search.seconds(rest, speed) if speed else 0
            found.append(
                Had(
                    job.Way.COPY,
                    source,
                    bytes=read.item.bytes,
                    transfer=moving.transfer,
                    keep_seconds=moving.keep_seconds,
                    staged_seconds=left,
                )
            )
        return found

    def _over(
        self, read: arrivals.Read, source: arrivals.Source, over: site.Site, at: site.Site, keep_seconds: int
    ) -> list[Had]:
        """Through another site, which gets a replica of its own: from there read remotely, or copied on."""
        middle = arrivals.Source(over.region, over.account, over.site, -1)
        first = self.copy(read, source, over, keep_seconds)
        seconds = [self.remote(read, middle, at.region)]
        if at.offer.storage_gb_month_micros is not None:
            seconds.append(self.copy(read, middle, at, keep_seconds))
        return [
            second._replace(
                source=source,
                legs=first.legs + second.legs,
                via_site=over.site,
                storage_micros=first.storage_micros + second.storage_micros,
                storage=first.storage + second.storage,
                keep_seconds=keep_seconds,
                staged=first.staged + second.staged,
            )
            for second in seconds
        ]

    def _timed(self, source: str, destination: str, volume: int) -> tuple[str, str, int] | None:
        return (source, destination, volume) if (source, destination) in self._came.speeds else None


def local(read: arrivals.Read, here: arrivals.Source) -> Had:
    """Read from the site's own replica."""
    return Had(job.Way.LOCAL, here, bytes=read.bytes)


def _away(had: Had) -> bool:
    return bool(had.legs) and had.legs[0][0] != had.legs[0][2]


def _arriving(seen: world.World) -> dict[str, dict[int, list[transfer.Transfer]]]:
    """Destination site -> position of the input -> live transfers that bring it there, the first by name first.

    One whose source cannot be read now does not get on.
    """
    found: dict[str, dict[int, list[transfer.Transfer]]] = {}
    for i, item in enumerate(seen.inputs):
        for moving in sorted(item.arriving, key=lambda moving: moving.transfer):
            if moving.state.terminal or moving.destination_site in item.replica_sites:
                continue
            source = next((row for row in seen.sites if row.site == moving.source_site), None)
            if source is not None and source.state is site.SiteState.READY:
                found.setdefault(moving.destination_site, {}).setdefault(i, []).append(moving)
    return found


def keep_seconds(options: Iterable[cost.Option]) -> int:
    """How long a copy that is made for a run is kept: as long as the longest option may run."""
    longest = max((cost.run_seconds(option) or option.seconds for option in options), default=0)
    return max(1, math.ceil(longest / KEEP_STEP_SECONDS)) * KEEP_STEP_SECONDS


class Joint:
    """The best choice of ways at one site, with compute and its time: exact."""

    def __init__(self, seen: world.World, came: arrivals.Arrivals, at: site.Site, ways: dict[int, list[Had]]) -> None:
        """`ways` are those of each input by position."""
        self._world, self._came, self._at, self._ways = seen, came, at, ways
        self._scopes: dict[str, tuple[int, ratecard.Tariff]] = {}
        self._links: dict[tuple[str, str], int] = {}
        self._possible = {i: [had for had in row if self._priced(had)] for i, row in ways.items()}
        self._unit = math.lcm(cost.UNIT, cost.GB * cost.MONTH_SECONDS, *(tariff.unit for _, tariff in self._scopes.values()))

    def unpriced(self) -> int | None:
        """The first input in the order of charging that no priced way brings here."""
        return next((i for i in self._came.order if not self._possible[i]), None)

    def choose(self, clock: Callable[[int, int], int | None], hidden: int, budget: search.Budget) -> Chosen | None:
        """The best of all; None where nothing is possible. `clock` tells what time costs, over `cost.UNIT`.

        So many seconds of reading are `hidden` behind the run.
        """
        order, scale = self._came.order, self._unit // cost.UNIT

        def timed(reading: int, staging: int) -> int | None:
            told = clock(reading, staging)
            return None if told is None else told * scale

        meters = [
            search.Meter(tariff, self._world.sent_bytes(scope), self._unit // tariff.unit)
            for scope, (_, tariff) in self._scopes.items()
        ]
        ways = [[self._way(had) for had in self._possible[i]] for i in order]
        speeds = [self._came.speeds[link] for link in self._links]
        picked = search.solve(search.Problem(ways, meters, speeds, timed, hidden), budget, self._at.site)
        if picked is None:
            return None
        return self._told({i: self._possible[i][w] for i, w in zip(order, picked, strict=True)})

    def only(self) -> Chosen:
        """The choice where each input has one way, which is priced."""
        return self._told({i: row[0] for i, row in self._possible.items()})

    def _priced(self, had: Had) -> bool:
        """Whether each leg has a price; those that have are given their meters."""
        for origin, account, destination, _ in had.legs:
            if origin == destination:
                continue
            tariff = self._world.rates.tariff(origin, destination)
            if tariff is None:
                return False
            self._scopes.setdefault(ratecard.scope(origin, destination, account), (len(self._scopes), tariff))
        return True

    def _way(self, had: Had) -> search.Way:
        legs = tuple(
            (self._scopes[ratecard.scope(origin, destination, account)][0], volume)
            for origin, account, destination, volume in had.legs
            if origin != destination
        )
        return search.Way(
            fixed=had.storage * (self._unit // (cost.GB * cost.MONTH_SECONDS)),
            legs=legs,
            read=(self._link(had.read), had.read[2]) if had.read else None,
            staged=tuple((self._link(leg), leg[2]) for leg in had.staged),
            staged_seconds=had.staged_seconds,
        )

    def _link(self, leg: tuple[str, str, int]) -> int:
        return self._links.setdefault(leg[:2], len(self._links))

    def _told(self, chosen: dict[int, Had]) -> Chosen:
        """The choice with each input's charge, in the order of charging, and each link's time."""
        sent: dict[str, int] = {}
        charges = [0] * len(chosen)
        loads: dict[tuple[bool, str, str], int] = {}
        for i in self._came.order:
            had = chosen[i]
            for origin, account, destination, volume in had.legs:
                if origin != destination:
                    scope = ratecard.scope(origin, destination, account)
                    before = sent.get(scope, self._world.sent_bytes(scope))
                    charges[i] += self._scopes[scope][1].charge(before, volume) or 0
                    sent[scope] = before + volume
            for staged, legs in ((False, (had.read,) if had.read else ()), (True, had.staged)):
                for origin, destination, volume in legs:
                    loads[staged, origin, destination] = loads.get((staged, origin, destination), 0) + volume
        taken = {key: search.seconds(volume, self._came.speeds[key[1:]]) for key, volume in loads.items()}
        staging = [had.staged_seconds + sum(taken[True, a, b] for a, b, _ in had.staged) for _, had in sorted(chosen.items())]
        reading = [taken[False, *had.read[:2]] if had.read else 0 for _, had in sorted(chosen.items())]
        return Chosen(
            had=tuple(had for _, had in sorted(chosen.items())),
            charges=tuple(charges),
            seconds=tuple(max(one, other) for one, other in zip(staging, reading, strict=True)),
            reading=max(reading, default=0),
            staging=max(staging, default=0),
        )


def planned(  # noqa: PLR0917 - one input's plan, part by part
    read: arrivals.Read, had: Had, charge: int, seconds: int, at: site.Site, baseline: int | None, source: str
) -> job.InputPlan:
    """What a plan says of one input."""
    fields: dict[str, Any] = {
        "alias": read.item.alias,
        "dataset": read.item.dataset,
        "version": read.item.version,
        "way": had.way,
        "source_site": had.source.site,
        "source_region": had.source.region,
        "destination_region": at.region,
        "bytes": had.bytes,
        "egress_micros": charge,
        "price_source": source,
        "baseline_micros": baseline,
        "storage_micros": had.storage_micros,
        "keep_seconds": had.keep_seconds,
        "via_site": had.via_site,
        "transfer": had.transfer,
        "seconds": seconds,
    }
    return records.made(job.InputPlan, fields)


class Fetches:
    """What it would cost on top to fetch the whole of what a choice reads remotely, one input after another."""

    def __init__(self, choice: job.Candidate, seen: world.World, sites: Mapping[str, site.Site]) -> None:
        self._world, self._sites = seen, sites
        self._sent: dict[str, int] = {}
        for item in choice.inputs:
            if item.way is not job.Way.LOCAL and not item.transfer and not item.via_site:
                scope = self._scope(item)
                self._sent[scope] = self._sent.get(scope, seen.sent_bytes(scope)) + item.bytes

    def more(self, item: job.InputPlan, read: world.WorldInput) -> int | None:
        """Micro-dollars for the bytes that the run does not read; None for what is not read over a priced link."""
        if item.way is not job.Way.REMOTE or item.via_site or item.source_region == item.destination_region:
            return None
        tariff = self._world.rates.tariff(item.source_region, item.destination_region)
        rest = max(read.bytes - item.bytes, 0)
        return tariff.charge(self._sent[self._scope(item)], rest) if tariff else None

    def made(self, item: job.InputPlan, read: world.WorldInput, more: int, keep_seconds: int, at: site.Site) -> job.InputPlan:
        """The input fetched and kept, and what it sends counted."""
        self._sent[self._scope(item)] += max(read.bytes - item.bytes, 0)
        return replace(
            item,
            way=job.Way.COPY,
            bytes=read.bytes,
            egress_micros=item.egress_micros + more,
            storage_micros=cost.storage_micros(read.bytes, keep_seconds, _storage(at)),
            keep_seconds=keep_seconds,
        )

    def _scope(self, item: job.InputPlan) -> str:
        return ratecard.scope(item.source_region, item.destination_region, self._sites[item.source_site].account)


def kept(
    item: job.InputPlan, read: world.WorldInput, at: site.Site, fetch_micros: int, now: datetime
) -> tuple[int, str] | None:
    """For how long a remote read is better kept as a copy (0: always), and why; None where reading is.

    Decided by `retention` from the reads of this version that were seen at the site.
    """
    if item.way is not job.Way.REMOTE or at.offer.storage_gb_month_micros is None or read.bytes == 0:
        return None
    log = next((row for row in read.read_logs if row.site == at.site), None)
    if log is None or len(log.times) < READS_MIN:
        return None
    rate = Fraction(read.bytes * at.offer.storage_gb_month_micros, cost.GB * cost.MONTH_SECONDS)
    terms = retention.Terms(fetch_micros=fetch_micros, storage_micros_per_second=rate)
    times = sorted(int((time - _EPOCH).total_seconds()) for time in log.times)
    then = max(int((now - _EPOCH).total_seconds()), times[-1])
    if item.bytes >= read.bytes:
        decision = retention.keep(terms, retention.replay(terms, [*times, then]))
        return (decision.keep_seconds or 0, decision.why) if decision.keep_seconds != 0 else None
    holding = retention.empty(terms, times[0])
    part = Fraction(item.bytes, read.bytes)
    for time in times:
        _, holding = retention.step(terms, holding, time, part)
    does, holding = retention.step(terms, holding, then, part)
    if does is not retention.Read.FETCH:
        return None
    end = retention.expires(terms, holding)
    told = f"reads of {units.size(item.bytes)} have come to the price of the whole"
    return (0 if end is None else end - then, told)
