"""What a federation's sites, links and prices say whatever is asked: found once for each state of them, shared by decisions.

A value like any other: made from a tuple of sites, a rate card and the links' speeds, and good for worlds that hold these very
objects and no others. So it cannot grow stale: a world that holds anything else gets one of its own. What of an older one still
holds is taken over, so that after a heartbeat of one site only that site is looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import checks, cost, lines, links, ratecard, sent, site

if TYPE_CHECKING:
    from federation.core import world

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

#: Above every figure that is counted in int64 here, so far that two of them may be added.
_MOST = 2**60
#: So many volumes have their lines before all are forgotten.
_LINES_MAX = 64
#: An amount that is not priced.
UNPRICED = -1


class Facts(NamedTuple):
    """One site, as far as only the site itself decides it."""

    alive: bool
    """It may run jobs: READY, with a cluster."""
    answers: bool
    """Its cluster answers its agent."""
    cpus: int
    """Free of what others than the federation's runs use."""
    memory_bytes: int
    cpus_there: int
    memory_bytes_there: int
    cpu_hour_micros: int
    memory_hour_micros: int
    cpu_watts: int
    carbon_g_per_kwh: int
    stores: bool
    cpu_source: str
    both_source: str
    """Of CPUs and memory."""


class Gpus(NamedTuple):
    """One type of GPU at all sites: how many are there, how many others leave free, the price of one, its watts and source."""

    there: Ints
    free: Ints
    hour_micros: Ints
    watts: Ints
    sources: list[str]


class Prepared:
    """All sites in order of their names, their figures as arrays, and the links between the regions of those that run jobs."""

    def __init__(
        self,
        sites: tuple[site.Site, ...],
        rates: ratecard.RateCard,
        speeds: tuple[site.LinkSpeed, ...],
        before: Prepared | None = None,
    ) -> None:
        self.given, self.rates, self.speed_rows = sites, rates, speeds
        known: dict[int, tuple[site.Site, Facts]] = before.facts if before is not None else {}
        self.by_name = {row.site: row for row in sites}
        checks.sites(sites, known)
        #: Site -> its facts, by the very object that they were read from.
        self.facts: dict[int, tuple[site.Site, Facts]] = {id(row): known.get(id(row)) or (row, _facts(row)) for row in sites}
        self.sites = sorted(sites, key=lambda row: row.site)
        self.index = {row.site: n for n, row in enumerate(self.sites)}
        self._fill([self.facts[id(row)][1] for row in self.sites])
        regions = sorted({row.region for row in self.alive_sites})
        self.regions: list[str] = before.regions if before is not None and before.regions == regions else regions
        self.region_index = {region: r for r, region in enumerate(regions)}
        self.region: Ints = np.array([self.region_index.get(row.region, -1) for row in self.sites], dtype=np.int64)
        #: READY site -> where what leaves it is counted: region and billing account.
        self.origins = {row.site: (row.region, row.account) for row in sites if row.state is site.SiteState.READY}
        self._speed_table: tuple[Mapping[str, int], Ints] | None
        self._gpus: dict[str, Gpus] = {}
        self._sent: sent.Sent | None = before._sent if before is not None else None
        same_links = before is not None and before.speed_rows is speeds
        if before is not None and same_links:
            self.speeds: Mapping[tuple[str, str], int] = before.speeds
            self._speed_table = before._speed_table if self.regions is before.regions else None
        else:
            checks.speeds(speeds)
            self._speed_table = None
            self.speeds = {(row.source_region, row.destination_region): row.bytes_per_second for row in speeds}
        self.columns = links.of(rates).places(regions)
        origins = sorted({(row.region, row.account) for row in sites})
        #: All origins, whether their sites can be read from now or not, and the number of each.
        self.all_origins: list[tuple[str, str]] = (
            before.all_origins if before is not None and before.all_origins == origins else origins
        )
        self.origin_rows = {origin: n for n, origin in enumerate(self.all_origins)}
        same = (
            before is not None
            and before.rates is rates
            and before.regions is self.regions
            and before.all_origins is self.all_origins
        )
        self._lines: dict[int, lines.Lines] = before._lines if before is not None and same else {}

    def _fill(self, facts: Sequence[Facts]) -> None:
        rows = list(zip(*facts, strict=True)) or [()] * len(Facts._fields)
        self.alive: Bools = np.array(rows[0], dtype=np.bool_)
        self.answers: Bools = np.array(rows[1], dtype=np.bool_)
        figures = [np.array(row, dtype=np.int64) for row in rows[2:10]]
        self.cpus, self.memory_bytes, self.cpus_there, self.memory_bytes_there = figures[:4]
        self.cpu_hour, self.memory_hour, self.cpu_watts, self.carbon = figures[4:]
        self.stores: Bools = np.array(rows[10], dtype=np.bool_)
        self.cpu_sources, self.both_sources = list(rows[11]), list(rows[12])
        #: Alive, with a price of CPUs.
        self.priced: Bools = self.alive & (self.cpu_hour >= 0)
        self.cpu_hour_most, self.memory_hour_most = (int(row.max(initial=0)) for row in (self.cpu_hour, self.memory_hour))
        self.emits = bool((self.carbon >= 0).any())
        self.alive_sites: list[site.Site] = [row for row, lives in zip(self.sites, rows[0], strict=True) if lives]
        self.names = [row.site for row in self.sites]
        self.region_names = [row.region for row in self.sites]
        places: dict[str, int] = {}
        codes = [places.setdefault(row.jurisdiction, len(places)) for row in self.sites]
        self.jurisdictions, self.jurisdiction = list(places), np.array(codes, dtype=np.int64)

    def gpus(self, gpu_type: str) -> Gpus:
        """One type of GPU at all sites; found when it is first asked for."""
        found = self._gpus.get(gpu_type)
        if found is None:
            found = self._gpus[gpu_type] = _gpus(self.sites, gpu_type)
        return found

    def sent_in(self, seen: world.World) -> sent.Sent:
        """What counts as sent already in a world; the same again while its volumes and reservations are these very objects."""
        known = self._sent
        if (
            known is None
            or known.volumes is not seen.volumes
            or known.reservations is not seen.reservations
            or known.regions is not self.regions
        ):
            known = self._sent = sent.Sent(seen.volumes, seen.reservations, self.regions)
        return known

    def lines_for(self, seen: world.World, volume: int) -> lines.Lines:
        """What a byte costs at the least on every link, for decisions that move so many bytes in all."""
        table, counted, most = links.of(self.rates), self.sent_in(seen), lines.rounded_up(volume)
        known = self._lines.get(most)
        if known is None or known.sent is not counted or known.tariffs != len(table.tariffs):
            if len(self._lines) >= _LINES_MAX:
                self._lines.clear()
            known = self._lines[most] = lines.Lines(table, self.all_origins, self.regions, counted, most)
        return known

    @cached_property
    def keepers(self) -> list[site.Site]:
        """Sites that could keep a relay's copy, by name: of each region, account and jurisdiction what stores for the least."""
        best: dict[tuple[str, str, str], tuple[int, site.Site]] = {}
        for row in self.sites if self.stores.any() else ():
            micros = row.offer.storage_gb_month_micros
            if micros is not None and row.state is site.SiteState.READY:
                place = (row.region, row.account, row.jurisdiction)
                if place not in best or micros < best[place][0]:
                    best[place] = (micros, row)
        return sorted((row for _, row in best.values()), key=lambda row: row.site)

    def speeds_from(self, origins: Sequence[str]) -> Ints:
        """Measured bytes a second from each of these regions into each of `regions`; 0 where it was not measured."""
        if self._speed_table is None:
            self._speed_table = self._tabled_speeds()
        rows, table = self._speed_table
        return table[[rows.get(origin, len(rows)) for origin in origins]]

    def _tabled_speeds(self) -> tuple[Mapping[str, int], Ints]:
        rows: dict[str, int] = {}
        for origin, _ in self.speeds:
            rows.setdefault(origin, len(rows))
        table = np.zeros((len(rows) + 1, len(self.regions)), dtype=np.int64)
        for (origin, destination), speed in self.speeds.items():
            r = self.region_index.get(destination)
            if r is not None:
                table[rows[origin], r] = speed
        return rows, table


def of(seen: world.World, before: Prepared | None = None) -> Prepared:
    """What a world's sites, links and prices say: what is known where that is of these very ones, else made now."""
    return known(seen.sites, seen.rates, seen.speeds, before)


def known(
    sites: tuple[site.Site, ...], rates: ratecard.RateCard, speeds: tuple[site.LinkSpeed, ...], before: Prepared | None
) -> Prepared:
    """What was prepared before, if it is of these very objects; else what they say, with what of it still holds."""
    if before is not None and before.given is sites and before.rates is rates and before.speed_rows is speeds:
        return before
    return Prepared(sites, rates, speeds, before)


def _facts(at: site.Site) -> Facts:
    offer, capacity = at.offer, at.capacity
    cpu_source = cost.told([offer.cpu_source])
    priced_memory = offer.memory_gb_hour_micros is not None
    return Facts(
        at.state is site.SiteState.READY and at.has_compute,
        not at.compute_error,
        _bounded(capacity.cpus - capacity.used_cpus),
        _bounded(capacity.memory_bytes - capacity.used_memory_bytes),
        _bounded(capacity.cpus),
        _bounded(capacity.memory_bytes),
        UNPRICED if offer.cpu_hour_micros is None else offer.cpu_hour_micros,
        offer.memory_gb_hour_micros or 0,
        UNPRICED if offer.cpu_watts is None else offer.cpu_watts,
        UNPRICED if offer.carbon_g_per_kwh is None else offer.carbon_g_per_kwh,
        offer.storage_gb_month_micros is not None,
        cpu_source,
        cost.told([cpu_source, offer.memory_source]) if priced_memory else cpu_source,
    )


def _bounded(value: int) -> int:
    return min(max(value, -_MOST), _MOST)


def _gpus(sites: Sequence[site.Site], gpu_type: str) -> Gpus:
    there, free, hours, watts, sources = [], [], [], [], []
    for at in sites:
        offer, count = at.offer.gpu(gpu_type), at.capacity.gpu_count(gpu_type)
        # Of those that others use without a type being known, each may be one of these.
        used = sum(number for name, number in at.capacity.used_gpus if name in ("", gpu_type))
        there.append(_bounded(count))
        free.append(_bounded(count - used))
        hours.append(UNPRICED if offer is None else offer.gpu_hour_micros)
        watts.append(UNPRICED if offer is None or offer.watts is None else offer.watts)
        sources.append("" if offer is None else offer.source)
    counts = [np.array(row, dtype=np.int64) for row in (there, free, hours, watts)]
    return Gpus(counts[0], counts[1], counts[2], counts[3], sources)
