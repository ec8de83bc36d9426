"""What a job would cost at a site: its compute, and for each input the cheapest allowed way to have it there.

Exact: money is added up in whole micro-dollars that were rounded once, half to even. A price that is not known refuses the
site by name (PRICE_UNKNOWN); nothing is guessed, and no refusal tells a price.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

from federation.core import job, ratecard, site, units, world
from federation.core.job import Rejection

T = TypeVar("T")

SECONDS_PER_HOUR = 3600


class Compute(NamedTuple):
    """The price of a job's compute at a site, with the source of each price."""

    micros: int
    source: str


def compute(request: job.JobRequest, at: site.Site) -> Compute | Rejection:
    """CPUs and GPUs for the estimated duration at the site's offer. What a job does not use needs no price."""
    if request.kind is job.JobKind.INGEST:
        return Compute(0, "")
    wanted, hour_micros, sources = request.resources, 0, []
    if wanted.cpus:
        if at.offer.cpu_hour_micros is None:
            return _price_unknown(at, "its CPU price is unknown")
        hour_micros += wanted.cpus * at.offer.cpu_hour_micros
        sources.append(at.offer.cpu_source)
    if wanted.gpus:
        offers = [(at.offer.gpu(gpu_type), gpu_type) for gpu_type in _gpu_types(wanted, at)]
        unpriced = [gpu_type for offer, gpu_type in offers if offer is None]
        priced = [offer for offer, _ in offers if offer is not None]
        if unpriced or not priced:
            return _price_unknown(at, f"its price of {', '.join(unpriced) or 'GPUs'} is unknown")
        # Whoever takes any type may get the dearest: an estimate does not flatter.
        dearest = max(priced, key=lambda offer: offer.gpu_hour_micros)
        hour_micros += wanted.gpus * dearest.gpu_hour_micros
        sources.append(dearest.source)
    micros = units.divide_half_even(hour_micros * request.duration_seconds, SECONDS_PER_HOUR)
    return Compute(micros, "; ".join(dict.fromkeys(source for source in sources if source)))


def _gpu_types(wanted: job.Resources, at: site.Site) -> tuple[str, ...]:
    """The types that the job may get at the site."""
    return (wanted.gpu_type,) if wanted.gpu_type else tuple(name for name, count in at.capacity.gpus if count)


def _price_unknown(at: site.Site, detail: str) -> Rejection:
    return Rejection(site=at.site, reason="PRICE_UNKNOWN", detail=detail)


class Unreadable(NamedTuple):
    """Why an input cannot be had in a region."""

    reason: str
    detail: str
    resolvable: bool


class Arrivals(NamedTuple):
    """How the inputs come into one region, in the request's order: from which of its sources each (-1: none), at which price.

    `blocked` says why one of them cannot, and then `total_micros` is unknown; None where all can.
    """

    picks: tuple[int, ...]
    micros: tuple[int | None, ...]
    total_micros: int | None
    blocked: Unreadable | None


class Choice(NamedTuple):
    """The cheapest of an input's sources (-1: none has a price), as long as none of them has sent anything this month.

    `first_micros` is its charge then. Where `always`, no link has tiers, and the source is the cheapest whatever was sent.
    """

    pick: int
    first_micros: int | None
    always: bool


class Turn(NamedTuple):
    """One input at its turn: its position in the request and where it can be read from, one site for each region.

    `choices` remembers what was chosen for links that cost the same.
    """

    position: int
    item: world.WorldInput
    regions: tuple[str, ...]
    sites: tuple[str, ...]
    choices: dict[tuple[ratecard.Tariff | None, ...], Choice]


class Reads:
    """The cheapest ways to have a decision's inputs at each site. Lives for one decision and remembers what it found by region.

    All reads of one pricing scope share the month's tiers: they are priced one after another, the largest input first, so that
    their sum is exactly what the whole volume costs, whatever the order in which the request names its inputs. Each takes the
    replica that is cheapest at its turn: one in the region itself, else the least price before rounding, else the first name.
    """

    def __init__(self, seen: world.World) -> None:
        self._world = seen
        self._total_bytes = sum(item.bytes for item in seen.inputs)
        ready = {row.site: row.region for row in seen.sites if row.state is site.SiteState.READY}
        self._turns = [_turn(i, item, ready) for i, item in enumerate(seen.inputs)]
        self._in_turn = sorted(self._turns, key=lambda t: (-t.item.bytes, t.item.dataset, t.item.version, t.item.alias))
        self._local = _held(seen.inputs)
        self._begun = frozenset(row.scope.partition("~")[0] for row in seen.volumes)
        self._fixed = [_fixed_fields(item) for item in seen.inputs]
        self._arrivals: dict[str, Arrivals] = {}
        self._plans: dict[str, tuple[job.InputPlan, ...]] = {}

    def into(self, region: str) -> Arrivals:
        """The cheapest way of every input into a region."""
        found = self._arrivals.get(region)
        if found is None:
            found = self._arrivals[region] = self._arrive(region)
        return found

    def measure_against(self, region: str) -> None:
        """Every input plan made from now on carries what bringing its input to this region would cost."""
        for fixed, micros in zip(self._fixed, self.into(region).micros, strict=True):
            fixed["baseline_micros"] = micros
        self._plans.clear()

    def locality(self, at: site.Site) -> float:
        """Share of the inputs' bytes that lie at the site; 1 where there is nothing to read."""
        if not self._total_bytes:
            return 1.0
        held = self._local.get(at.site)
        return sum(self._world.inputs[i].bytes for i in held) / self._total_bytes if held else 0.0

    def plans(self, at: site.Site) -> tuple[job.InputPlan, ...] | Rejection:
        """How each input is had at a site, in the request's order, or why one of them cannot be."""
        blocked = self.into(at.region).blocked
        if blocked is not None:
            return Rejection(site=at.site, reason=blocked.reason, detail=blocked.detail, resolvable=blocked.resolvable)
        plans = self._plans.get(at.region)
        if plans is None:
            plans = self._plans[at.region] = self._remote(at.region)
        held = self._local.get(at.site)
        if held is None:
            return plans
        return tuple([_here(plan, at.site) if i in held else plan for i, plan in enumerate(plans)])

    def _arrive(self, region: str) -> Arrivals:
        links = self._world.rates.into(region)
        meters = _Meters(self._world, region, self._begun)
        picks = [-1] * len(self._turns)
        micros: list[int | None] = [None] * len(self._turns)
        blocked = None
        for turn in self._in_turn:
            if region in turn.regions:
                picks[turn.position] = turn.regions.index(region)
                micros[turn.position] = 0
                continue
            tariffs = tuple([links[source] for source in turn.regions])
            choice = turn.choices.get(tariffs)
            if choice is None or not (choice.always or meters.untouched(turn.regions)):
                choice = meters.cheapest(turn, tariffs)
            pick = choice.pick
            if pick < 0:
                blocked = blocked or _unreadable(turn, region)
                continue
            picks[turn.position] = pick
            micros[turn.position] = meters.take(turn, choice, tariffs[pick])
        total_micros = None if blocked else sum(charge or 0 for charge in micros)
        return Arrivals(tuple(picks), tuple(micros), total_micros, blocked)

    def _remote(self, region: str) -> tuple[job.InputPlan, ...]:
        found, links = self.into(region), self._world.rates.into(region)
        plans = []
        for turn, fixed, pick, micros in zip(self._turns, self._fixed, found.picks, found.micros, strict=True):
            source_region = turn.regions[pick]
            tariff = links[source_region]
            assert tariff is not None  # else the region is blocked
            plan = made(job.InputPlan, fixed)
            fields = plan.__dict__
            fields["source_site"] = turn.sites[pick]
            fields["source_region"] = source_region
            fields["destination_region"] = region
            fields["egress_micros"] = micros
            fields["price_source"] = tariff.source
            plans.append(plan)
        return tuple(plans)


class _Meters:
    """What each source has sent into one region this month, moving on with each read that is taken."""

    def __init__(self, seen: world.World, region: str, begun: frozenset[str]) -> None:
        """`begun` are the source regions that had sent anything this month before."""
        self._world = seen
        self._region = region
        self._begun = begun
        self._sent: dict[str, tuple[int, int]] = {}

    def untouched(self, regions: tuple[str, ...]) -> bool:
        """Whether none of the regions has sent anything this month, before or in this decision."""
        return self._sent.keys().isdisjoint(regions) and self._begun.isdisjoint(regions)

    def cheapest(self, turn: Turn, tariffs: tuple[ratecard.Tariff | None, ...]) -> Choice:
        """Chooses among an input's sources, and remembers the choice for whenever it must come out the same."""
        offers = [
            (price, i)
            for i, tariff in enumerate(tariffs)
            if tariff is not None and (price := self._marginal(turn.regions[i], tariff, turn.item.bytes)) is not None
        ]
        pick = min(offers)[1] if offers else -1
        chosen = tariffs[pick] if offers else None
        always = all(tariff is None or tariff.flat for tariff in tariffs)
        choice = Choice(pick, chosen.rounded(turn.item.bytes) if chosen else None, always)
        if always or self.untouched(turn.regions):
            turn.choices[tariffs] = choice
        return choice

    def take(self, turn: Turn, choice: Choice, tariff: ratecard.Tariff | None) -> int:
        """Counts a read from another region and returns its charge."""
        assert tariff is not None  # else it had not been chosen
        source_region, volume = turn.regions[choice.pick], turn.item.bytes
        meter = self._sent.get(source_region)
        if meter is None and choice.first_micros is not None and source_region not in self._begun:
            self._sent[source_region] = (volume, choice.first_micros)
            return choice.first_micros
        sent, paid = meter or self._begin(source_region, tariff)
        owed = tariff.rounded(sent + volume)
        assert owed is not None  # likewise
        self._sent[source_region] = (sent + volume, owed)
        return owed - paid

    def _marginal(self, source_region: str, tariff: ratecard.Tariff, volume: int) -> float | None:
        if tariff.flat:
            return tariff.marginal(0, volume)
        meter = self._sent.get(source_region)
        return tariff.marginal(meter[0] if meter else self._month_to_date(source_region), volume)

    def _begin(self, source_region: str, tariff: ratecard.Tariff) -> tuple[int, int]:
        sent = self._month_to_date(source_region)
        return sent, tariff.rounded(sent) or 0

    def _month_to_date(self, source_region: str) -> int:
        return self._world.sent_bytes(ratecard.scope(source_region, self._region))


def made(cls: type[T], fields: dict[str, Any]) -> T:
    """A frozen dataclass from its fields, in a third of the time of its `__init__`; a plan makes about a thousand."""
    value = object.__new__(cls)
    value.__dict__.update(fields)
    return value


def _here(plan: job.InputPlan, at: str) -> job.InputPlan:
    """The same, read from the site's own replica."""
    local = made(job.InputPlan, plan.__dict__)
    local.__dict__["way"] = job.Way.LOCAL
    local.__dict__["source_site"] = at
    return local


def _turn(position: int, item: world.WorldInput, ready: Mapping[str, str]) -> Turn:
    """Sources in order of their sites' names, those that can be read now."""
    first: dict[str, str] = {}
    for name in sorted(item.replica_sites):
        if name in ready:
            first.setdefault(ready[name], name)
    return Turn(position, item, tuple(first), tuple(first.values()), {})


def _fixed_fields(item: world.WorldInput) -> dict[str, Any]:
    """What an input's plan says wherever it is read."""
    return {
        "alias": item.alias,
        "dataset": item.dataset,
        "version": item.version,
        "way": job.Way.REMOTE,
        "bytes": item.bytes,
        "baseline_micros": None,
    }


def _held(inputs: Sequence[world.WorldInput]) -> dict[str, frozenset[int]]:
    """Site -> the inputs, by position, of which it holds a replica."""
    held: dict[str, set[int]] = {}
    for i, item in enumerate(inputs):
        for name in item.replica_sites:
            held.setdefault(name, set()).add(i)
    return {name: frozenset(positions) for name, positions in held.items()}


def _unreadable(turn: Turn, region: str) -> Unreadable:
    item, name = turn.item, f"{turn.item.dataset}@{turn.item.version}"
    if not item.replica_sites:
        return Unreadable("REPLICA_MISSING", f"{name} has no replica", False)
    if not turn.regions:
        return Unreadable("REPLICA_MISSING", f"no replica of {name} can be read now ({', '.join(item.replica_sites)})", True)
    links = ", ".join(f"{source} to {region}" for source in turn.regions)
    return Unreadable("PRICE_UNKNOWN", f"the egress price of {links} is unknown ({name})", False)
