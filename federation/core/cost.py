"""What a job's compute costs at a site: one option for each GPU type and market, with its time, its wait and its carbon.

Exact: amounts are whole numerators over `UNIT`, rounded once, half to even. A price that is not known refuses the site by name
(PRICE_UNKNOWN); nothing is guessed, and no refusal tells a price.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

from federation.core import job, quota, site, units
from federation.core.job import Rejection

HOUR = 3600
GB = 10**9
#: Amounts that are kept before rounding are whole multiples of one micro-dollar over this.
UNIT = HOUR * GB
#: What providers bill a month of storage by: 730 hours.
MONTH_SECONDS = 730 * HOUR
#: No run is expected to take longer, preemptions included.
RUN_SECONDS_MAX = 10 * 366 * 24 * HOUR
#: Joules in a kilowatt-hour.
_KWH = 3_600_000

ANY = ""


class Option(NamedTuple):
    """One way to compute at a site. `hour` is what an hour of everything costs, times `GB`, so that memory's share is exact.

    `seconds` is the run without what it waits for reads; `watts` is None where a figure is missing.
    """

    gpu_type: str
    spot: bool
    hour: int
    seconds: int
    preemptions_per_hour: float
    watts: int | None
    source: str
    wait: int = 0


def options(request: job.JobRequest, at: site.Site, seconds: Callable[[str], int]) -> list[Option] | Rejection:
    """Every way to compute at a site, by GPU type, on demand before spot. What a job does not use needs no price.

    `seconds` tells the run time that is predicted on a GPU type. A request for any type may get each that the site has enough
    of; only where one type alone does not suffice it gets several (`ANY`), and is estimated at the dearest: an estimate does
    not flatter.
    """
    if request.kind is job.JobKind.INGEST:
        return [Option(ANY, False, 0, 0, 0.0, 0, "")]
    wanted, offer = request.resources, at.offer
    hour, sources = 0, []
    if wanted.cpus:
        if offer.cpu_hour_micros is None:
            return price_unknown(at, "its CPU price is unknown")
        hour += wanted.cpus * offer.cpu_hour_micros * GB
        sources.append(offer.cpu_source)
    if wanted.memory_bytes and offer.memory_gb_hour_micros is not None:
        hour += wanted.memory_bytes * offer.memory_gb_hour_micros
        sources.append(offer.memory_source)
    watts = 0 if not wanted.cpus else None if offer.cpu_watts is None else wanted.cpus * offer.cpu_watts
    if not wanted.gpus:
        return [Option(ANY, False, hour, seconds(ANY), 0.0, watts, told(sources))]
    return _gpu_options(request, at, Option(ANY, False, hour, 0, 0.0, watts, told(sources)), seconds)


def _gpu_options(
    request: job.JobRequest, at: site.Site, base: Option, seconds: Callable[[str], int]
) -> list[Option] | Rejection:
    wanted = request.resources
    types = gpu_types(wanted, at)
    unpriced = [name for name in types if at.offer.gpu(name) is None]
    offers = [offer for name in types if (offer := at.offer.gpu(name)) is not None]
    if not offers or (unpriced and not _one_suffices(wanted, at)):
        return price_unknown(at, f"its price of {', '.join(unpriced) or 'GPUs'} is unknown")
    found = [
        option._replace(seconds=seconds(offer.type))
        for offer in offers
        for option in _markets(request.spot, wanted.gpus, offer, base)
    ]
    if not found:
        named = wanted.gpu_type or "its GPUs"
        return Rejection(
            site=at.site, reason="SPOT_UNAVAILABLE", detail=f"only spot was asked for, it has no spot price of {named}"
        )
    return found if _one_suffices(wanted, at) else _mixed(found, seconds(ANY))


def gpu_types(wanted: job.Resources, at: site.Site) -> list[str]:
    """The types that the job may get at the site: those that suffice alone; all that are there where none does."""
    if wanted.gpu_type:
        return [wanted.gpu_type]
    return sorted(name for name, count in at.capacity.gpus if count >= wanted.gpus) or sorted(
        name for name, count in at.capacity.gpus if count
    )


def _one_suffices(wanted: job.Resources, at: site.Site) -> bool:
    return bool(wanted.gpu_type) or any(count >= wanted.gpus for _, count in at.capacity.gpus)


def _markets(spot: job.Spot, gpus: int, offer: site.GpuOffer, base: Option) -> list[Option]:
    """On demand and spot, as far as the request allows and the site sells them."""
    watts = None if base.watts is None or offer.watts is None else base.watts + gpus * offer.watts
    source = told([base.source, offer.source])
    found = []
    if spot is not job.Spot.ONLY:
        hour = base.hour + gpus * offer.gpu_hour_micros * GB
        found.append(Option(offer.type, False, hour, 0, 0.0, watts, source))
    if spot is not job.Spot.NEVER and offer.spot_gpu_hour_micros is not None:
        hour = base.hour + gpus * offer.spot_gpu_hour_micros * GB
        found.append(Option(offer.type, True, hour, 0, offer.preemptions_per_hour, watts, source))
    return found


def _mixed(found: list[Option], seconds: int) -> list[Option]:
    """Options with GPUs of several types at once: on each market with the price, the power and the preemptions of the worst."""
    mixed = []
    for spot in dict.fromkeys(option.spot for option in found):
        same = [option for option in found if option.spot is spot]
        dearest = max(same, key=lambda option: option.hour)
        watts = None if any(o.watts is None for o in same) else max(o.watts or 0 for o in same)
        often = max(option.preemptions_per_hour for option in same)
        mixed.append(dearest._replace(gpu_type=ANY, seconds=seconds, watts=watts, preemptions_per_hour=often))
    return mixed


def run_seconds(option: Option, reading: int = 0) -> int | None:
    """How long a run is expected to take that cannot end before its reads have: None where it is not expected to end.

    GPUs on the spot market are taken away at a rate of l an hour, at any moment alike, and the run begins again: of T hours it
    needs (e^(l T) - 1) / l until it gets through (the expected time to the first gap of T in a Poisson process; Ross,
    Introduction to Probability Models, 3.4). What a run that was cut off had read is not counted again.
    """
    hours = max(option.seconds, reading)
    rate = option.preemptions_per_hour / HOUR
    if not option.spot or rate * hours < 1e-12:
        return hours
    if rate * hours > 100:
        return None
    expected = math.ceil(math.expm1(rate * hours) / rate)
    return expected if expected <= RUN_SECONDS_MAX else None


def compute_micros(option: Option, seconds: int) -> int:
    """What an option costs for so long."""
    return units.divide_half_even(option.hour * seconds, UNIT)


class Terms(NamedTuple):
    """What the request says of time and carbon, and what is left: `limit` seconds to its deadline, GPU-seconds of quota."""

    hour_value: int = 0
    tonne: int = 0
    limit: int | None = None
    gpus: int = 0
    gpu_seconds_left: int | None = None


class Span(NamedTuple):
    """When things happen, in seconds: waiting for room, staging copies, running."""

    wait: int
    stage: int
    run: int

    @property
    def total(self) -> int:
        return self.wait + self.stage + self.run


def span(option: Option, reading: int = 0, staging: int = 0) -> Span | None:
    """The time that an option takes; None where it never ends."""
    run = run_seconds(option, reading)
    return None if run is None else Span(option.wait, staging, run)


def objective(option: Option, taken: Span, terms: Terms, carbon_g_per_kwh: int | None) -> int:
    """Compute, time and carbon before rounding, in micro-dollars over `UNIT`: what options are compared by."""
    total = option.hour * taken.run + terms.hour_value * GB * taken.total
    if terms.tonne:
        total += (option.watts or 0) * taken.run * (carbon_g_per_kwh or 0) * terms.tonne
    return total


def late(taken: Span, terms: Terms) -> bool:
    """Whether it would end after the deadline."""
    return terms.limit is not None and taken.total > terms.limit


def over_quota(taken: Span, terms: Terms) -> bool:
    """Whether the namespace has not so many GPU-seconds left."""
    return quota.exceeded(terms.gpus * taken.run, terms.gpu_seconds_left)


class Clock:
    """What time costs at a site, over `UNIT`: compute, the value of time and carbon, by the best option for it."""

    def __init__(self, found: list[Option], terms: Terms, carbon_g_per_kwh: int | None) -> None:
        self._found, self._terms, self._carbon = found, terms, carbon_g_per_kwh

    def best(self, reading: int, staging: int) -> tuple[Option, Span]:
        """The best option for these seconds of reading and staging; there is one."""
        found = list(self._possible(reading, staging))
        _, n = min((objective(option, taken, self._terms, self._carbon), n) for n, (option, taken) in enumerate(found))
        return found[n]

    def objective(self, reading: int, staging: int) -> int | None:
        """What the best option costs; None where all are too late or beyond the quota."""
        values = [objective(option, taken, self._terms, self._carbon) for option, taken in self._possible(reading, staging)]
        return min(values, default=None)

    def soonest(self, reading: int, staging: int) -> int | None:
        """The least time, so dear that nothing else counts: how soon it could be at all."""
        spans = [taken for option in self._found if (taken := span(option, reading, staging)) is not None]
        return min((taken.total for taken in spans), default=0) * 10**30 if spans else None

    def _possible(self, reading: int, staging: int) -> Iterator[tuple[Option, Span]]:
        for option in self._found:
            taken = span(option, reading, staging)
            if taken is not None and not late(taken, self._terms) and not over_quota(taken, self._terms):
                yield option, taken


def time_micros(taken: Span, terms: Terms) -> int:
    """What the time is worth."""
    return units.divide_half_even(terms.hour_value * taken.total, HOUR) if terms.hour_value else 0


def carbon(option: Option, taken: Span, terms: Terms, carbon_g_per_kwh: int | None) -> tuple[int, int]:
    """Grams of CO2e, 0 where a figure is missing, and what they weigh in micro-dollars."""
    if option.watts is None or carbon_g_per_kwh is None:
        return 0, 0
    gram_joules = option.watts * taken.run * carbon_g_per_kwh
    weighed = units.divide_half_even(gram_joules * terms.tonne, _KWH * 10**6) if terms.tonne else 0
    return grams(option.watts, taken.run, carbon_g_per_kwh), weighed


def grams(watts: int, seconds: int, carbon_g_per_kwh: int) -> int:
    """Grams of CO2e of so much power for so long."""
    return units.divide_half_even(watts * seconds * carbon_g_per_kwh, _KWH)


def carbon_unknown(request: job.JobRequest, at: site.Site, found: list[Option]) -> Rejection | None:
    """The site cannot say what it emits, and the request weighs it. Options without a figure are no options then."""
    if not request.carbon_tonne_micros or request.kind is job.JobKind.INGEST:
        return None
    if at.offer.carbon_g_per_kwh is None:
        missing = "the carbon intensity of its grid"
    elif not any(option.watts is not None for option in found):
        missing = "the power of what the job would use"
    else:
        return None
    return Rejection(
        site=at.site, reason="CARBON_UNKNOWN", detail=f"carbon has a price in the request, and {missing} is unknown"
    )


def storage_micros(volume: int, seconds: int, gb_month_micros: int) -> int:
    """What keeping so many bytes for so long costs."""
    return units.divide_half_even(volume * seconds * gb_month_micros, GB * MONTH_SECONDS)


def price_unknown(at: site.Site, detail: str) -> Rejection:
    """The refusal of a site whose price nobody knows."""
    return Rejection(site=at.site, reason="PRICE_UNKNOWN", detail=detail)


def told(sources: list[str]) -> str:
    """Sources of prices, each once."""
    return "; ".join(dict.fromkeys(part for source in sources for part in source.split("; ") if part))
