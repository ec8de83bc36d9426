"""What would have made other sites win: a replica there, more capacity, a cheaper hour, a cheaper link; and by how much.

Every answer is exact: in the world with that one change the site is the choice, at just that much less than the choice costs
now. Where no site can take the job it is what would let one: a replica there, or more capacity. Where what was found for the
decision does not tell, a few of the likeliest changes are decided anew. Of sites that residency forbids, or that the caller may
not see, nothing is told: they are neither among the candidates nor among those that are refused for want of room or of a way.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from federation.core import cost, filters, ratecard, records, site, units
from federation.core.job import Candidate, Counterfactual

if TYPE_CHECKING:
    from federation.core import planner
    from federation.core.world import WorldInput

Ints = npt.NDArray[np.int64]

TOLD_MAX = 10
#: Of those that would save something, so many at most: the rest tells how near the nearest losers came.
_SAVING_MAX = 5
_NEAREST = 2
_TRIED_MAX = 8
#: Sites that might take a job with more room, where none can now: a job that waits is planned each second.
_ENABLING_MAX = 3
#: So many decisions may be made anew.
_ANEW_MAX = 2
#: Why money has set a site aside, and why else one is refused that would be a candidate with a replica, perhaps.
_SET_ASIDE = frozenset({"BUDGET_EXHAUSTED", "QUOTA_EGRESS"})
_WAY_MISSING = _SET_ASIDE | {"DEADLINE_MISSED", "PRICE_UNKNOWN"}
#: Why a site is refused of which it may be told, where none can take the job, that more would do.
_LACKING = filters.EXHAUSTED | {"GPU_TYPE_MISSING"}


def find(decision: planner.Decision, ranked: Sequence[Candidate]) -> tuple[Counterfactual, ...]:
    """At most ten, the best: first what would save most, then by how little the nearest sites lost.

    Where there are no candidates, those that would let a site take the job, the cheapest first.
    """
    if not ranked:
        enabling = [*_replicas_anew(decision, ranked, None), *_capacities(decision, _lacking(decision), None)]
        return tuple(sorted(enabling, key=lambda found: (found.objective_micros, found.site, found.subject)))
    if ranked[0].avoided:
        return ()
    goal = ranked[0].objective_micros
    full = [row.site for row in decision.rejections if row.reason in filters.EXHAUSTED]
    full += [candidate.site for candidate in ranked[1:] if candidate.wait_seconds]
    saving = [*_replicas(decision, ranked, goal), *_replicas_anew(decision, ranked, goal), *_capacities(decision, full, goal)]
    saving.sort(key=lambda found: (-found.saving_micros, found.site, found.change, found.subject))
    nearest = [
        found
        for loser in ranked[1 : 1 + _NEAREST]
        if not loser.avoided
        for found in (_cheaper_hour(decision, loser, goal), _cheaper_link(decision, ranked, loser, goal))
        if found is not None
    ]
    return (*saving[: min(_SAVING_MAX, TOLD_MAX - len(nearest))], *nearest)


# A replica there


def _replicas(decision: planner.Decision, ranked: Sequence[Candidate], goal: int) -> Iterator[Counterfactual]:
    """Sites that would win with one more replica, where reading remotely is the best way for all inputs."""
    came = decision.came
    if came.blocked or not came.reads or len(ranked) < 2:
        # A replica could open a region that has no priced way now: `_replicas_anew`.
        return
    columns = decision.columns
    costs = decision.objectives
    gains = _gains(decision, ranked, columns)
    hopes = gains - (costs - goal)[None, :]
    hopes[:, 0] = -1
    if len(decision.everyday) < len(ranked) or decision.avoided:
        plain = decision.plain_sites
        hopes[:, [k for k, candidate in enumerate(ranked) if candidate.site not in plain or candidate.avoided]] = -1
    found, alikes = 0, _alikes(decision)
    tried = [(i, k) for i, k in _likeliest(hopes) if alikes[i][0] == i and int(columns[k]) not in came.coupled]
    if not tried:
        return
    # What each candidate might cost at the least, a row for each that is tried; itself as dear as the choice is now.
    less = [gains[i] if len(alikes[i]) == 1 else gains[alikes[i]].sum(axis=0) for i, _ in tried]
    others, own = costs - np.stack(less), (np.arange(len(tried)), [k for _, k in tried])
    leasts, others[own] = others[own].tolist(), goal
    let_in = _set_aside_least(decision)
    for (i, k), least, rival in zip(tried, leasts, others.min(axis=1).tolist(), strict=True):
        if rival <= least:
            # Even at the least that it might cost there, another site could be as cheap.
            continue
        loser, r, alike = ranked[k], int(columns[k]), alikes[i]
        there = loser.objective_micros - loser.egress_micros + came.without(alike, r)
        if there < goal and rival > there and (let_in is None or let_in > there):
            yield _replica_there(decision.world.inputs[i], loser.site, there, goal)
            found += 1
            if found == _SAVING_MAX:
                return


def _replicas_anew(decision: planner.Decision, ranked: Sequence[Candidate], goal: int | None) -> Iterator[Counterfactual]:
    """Sites that `_replicas` says nothing of: where time or carbon counts, copies are weighed, or no way was good enough."""
    world, judged = decision.world, frozenset[str]() if decision.came.blocked else decision.plain_sites
    names = [candidate.site for candidate in ranked[1:] if candidate.site not in judged and not candidate.avoided]
    names += [row.site for row in decision.rejections if row.reason in _WAY_MISSING]
    leasts = ((decision.least_with_all(decision.sites[name]), name) for name in names)
    hopeful = sorted((least, name) for least, name in leasts if least is not None and _better(least, goal))
    if not hopeful:
        return
    versions = dict.fromkeys(map(tuple, _alikes(decision)))
    largest = sorted(versions, key=lambda alike: -sum(world.inputs[i].bytes for i in alike))
    pairs = [
        (n, alike, name)
        for _, name in hopeful
        for n, alike in enumerate(alike for alike in largest if name not in world.inputs[alike[0]].replica_sites)
    ]
    steps = decision.steps_left
    # The largest that is not there, at the cheapest sites first.
    for _, alike, name in sorted(pairs, key=lambda pair: pair[0])[:_ANEW_MAX]:
        if steps <= 0:
            return
        choice, steps = decision.with_replica(alike, decision.sites[name], steps)
        if choice is not None and choice.site == name and _better(choice.objective_micros, goal):
            yield _replica_there(world.inputs[alike[0]], name, choice.objective_micros, goal)


def _replica_there(item: WorldInput, name: str, there: int, goal: int | None) -> Counterfactual:
    subject = f"{item.dataset}@{item.version}"
    return _told(name, "REPLICA_THERE", subject, f"{subject} had a replica there", there=there, goal=goal)


def _set_aside(decision: planner.Decision) -> Iterator[site.Site]:
    """Sites that a budget or the quota for egress has set aside: cheaper reads could let them in."""
    return (decision.sites[row.site] for row in decision.rejections if row.reason in _SET_ASIDE)


def _set_aside_least(decision: planner.Decision) -> int | None:
    """What those would cost at the least, if all inputs were there; None where there are none, or nobody was compared so."""
    swept, ground = decision.swept, decision.ground
    if swept is None:
        return None
    return min((int(swept.compute[ground.index[at.site]]) for at in _set_aside(decision)), default=None)


def _likeliest(hopes: Ints) -> list[tuple[int, int]]:
    """The pairs of input and candidate that could save most, of those that could save anything."""
    flat = hopes.ravel()
    some = np.nonzero(flat > 0)[0]
    best = some[np.argsort(-flat[some], kind="stable")[:_TRIED_MAX]]
    return [divmod(n, hopes.shape[1]) for n in best.tolist()]


def _gains(decision: planner.Decision, ranked: Sequence[Candidate], columns: Ints) -> Ints:
    """What each input can cost less at each candidate at the most: its share and the rounding, or all that the site costs."""
    came = decision.came
    gains = came.shares.take(columns, axis=1).astype(decision.objectives.dtype, copy=False) + 2
    if came.coupled or len(decision.everyday) < len(ranked):
        plain = decision.plain_sites if len(decision.everyday) < len(ranked) else None
        for k, (candidate, r) in enumerate(zip(ranked, columns.tolist(), strict=True)):
            if r in came.coupled or (plain is not None and candidate.site not in plain):
                gains[:, k] = candidate.objective_micros
    return gains


def _alikes(decision: planner.Decision) -> list[list[int]]:
    """For each input those that are the same version: one replica serves them all."""
    inputs, same = decision.world.inputs, dict[tuple[str, int], list[int]]()
    for i, item in enumerate(inputs):
        same.setdefault((item.dataset, item.version), []).append(i)
    return [same[item.dataset, item.version] for item in inputs]


# More capacity


def _lacking(decision: planner.Decision) -> list[str]:
    """The sites that have too little of something, where a run would cost least."""
    names = [row.site for row in decision.rejections if row.reason in _LACKING]
    leasts = ((decision.least_with_all(decision.sites[name]), name) for name in names)
    return [name for _, name in sorted((least, name) for least, name in leasts if least is not None)[:_ENABLING_MAX]]


def _capacities(decision: planner.Decision, names: Sequence[str], goal: int | None) -> Iterator[Counterfactual]:
    """Of sites, those that would win if they had more of the one thing that is short, each with what is least dear."""
    hopeful = [name for name in names[:_TRIED_MAX] if not _hopeless(decision, name, goal)]
    found: dict[str, tuple[int, str]] = {}
    # Of each site one way to be wider at a time.
    for wider in itertools.zip_longest(*(_wider(decision, decision.sites[name]) for name in hopeful)):
        subjects = {at.site: subject for subject, at in filter(None, wider)}
        for name, there in _objectives_at(decision, [at for _, at in filter(None, wider)], goal).items():
            if _better(there, goal):
                found[name] = min(found.get(name, (there, subjects[name])), (there, subjects[name]))
    for name, (there, subject) in found.items():
        yield _told(name, "MORE_CAPACITY", subject, f"it had {subject} more", there=there, goal=goal)


def _hopeless(decision: planner.Decision, name: str, goal: int | None) -> bool:
    """Whether the site would cost too much with all the room there could be; False where only a closer look would tell."""
    swept, n = decision.swept, decision.ground.index[name]
    return swept is not None and bool(swept.able[n]) and not _better(int(swept.objective[n]), goal)


def _objectives_at(decision: planner.Decision, wider: Sequence[site.Site], goal: int | None) -> dict[str, int]:
    """What sites with more room would be ranked by; without those that would be no candidates, come last, or be too dear."""
    swept, index, found, others = decision.swept, decision.ground.index, dict[str, int](), list[site.Site]()
    for at in wider:
        if swept is None or not swept.able[index[at.site]] or decision.world.caps:
            others.append(at)
            continue
        # Nothing but room was missing, so the sweep has what it costs.
        load = filters.in_use(at, decision.world) or site.SiteLoad(site=at.site)
        if at.site not in decision.avoided and filters.short(decision.request.resources, at, load) is None:
            found[at.site] = int(swept.objective[index[at.site]])
    there = decision.supposed(others, goal) if others else {}
    return found | {name: row.objective_micros for name, row in there.items() if not row.avoided}


def _wider(decision: planner.Decision, at: site.Site) -> Iterator[tuple[str, site.Site]]:
    """The site with just enough more of what it is short of; of GPUs of each type that it has a price of."""
    wanted, capacity = decision.request.resources, at.capacity
    load = filters.in_use(at, decision.world) or site.SiteLoad(site=at.site)
    short = filters.short(wanted, at, load)
    if wanted.gpus and (short is None or short[0] == "GPUS_EXHAUSTED"):
        for offer in at.offer.gpus:
            if wanted.gpu_type not in ("", offer.type):
                continue
            missing = wanted.gpus - filters.gpus_left(offer.type, capacity, load)
            if missing > 0:
                gpus = dict(capacity.gpus) | {offer.type: capacity.gpu_count(offer.type) + missing}
                yield f"{missing} {offer.type}", replace(at, capacity=replace(capacity, gpus=tuple(gpus.items())))
    elif short is not None and short[0] == "CPUS_EXHAUSTED":
        missing = wanted.cpus - (capacity.cpus - load.cpus)
        yield f"{missing} CPUs", replace(at, capacity=replace(capacity, cpus=capacity.cpus + missing))
    elif short is not None:
        missing = wanted.memory_bytes - (capacity.memory_bytes - load.memory_bytes)
        wider = replace(capacity, memory_bytes=capacity.memory_bytes + missing)
        yield f"{missing} bytes of memory", replace(at, capacity=wider)


# A cheaper hour


def _cheaper_hour(decision: planner.Decision, loser: Candidate, goal: int) -> Counterfactual | None:
    """By how much an hour of what the loser would use must be cheaper for it to win, to the micro-dollar."""
    wanted, at = decision.request.resources, decision.sites[loser.site]
    count = wanted.gpus or wanted.cpus
    if (wanted.gpus and not loser.gpu_type) or not count or not loser.run_seconds:
        return None
    what = f"{loser.gpu_type} on the spot market" if loser.spot else loser.gpu_type or "CPU"
    less = -(-(loser.objective_micros - goal + 1) * cost.HOUR // (count * loser.run_seconds))
    for by in (less, less + -(-cost.HOUR // (count * loser.run_seconds))):
        objective = _objective_with(decision, at, loser, by, count)
        if objective is not None and objective < goal:
            condition = f"an hour of {what} were {units.usd(by)} cheaper"
            return _told(loser.site, "CHEAPER_COMPUTE", units.usd(by), condition, there=objective, goal=goal)
    return None


def _objective_with(decision: planner.Decision, at: site.Site, loser: Candidate, by: int, count: int) -> int | None:
    """What the loser would be ranked by if what it computes on were so much cheaper an hour; None where that is too much."""
    options = decision.options(at)
    if loser.site in decision.plain_sites and isinstance(options, list):
        # Nothing but the price of its one option is different then.
        (option,) = options
        left = _price(at, loser) - by
        compute = cost.compute_micros(option._replace(hour=option.hour - count * by * cost.GB), loser.run_seconds)
        return loser.objective_micros - loser.compute_micros + compute if left >= 0 else None
    cheaper = _with_price(at, loser, by)
    there = decision.supposed([cheaper], decision.ranked[0].objective_micros).get(at.site) if cheaper else None
    return None if there is None else there.objective_micros


def _price(at: site.Site, loser: Candidate) -> int:
    """What an hour of what the loser computes on costs now."""
    gpu = at.offer.gpu(loser.gpu_type) if loser.gpu_type else None
    return gpu.gpu_hour_micros if gpu else at.offer.cpu_hour_micros or 0


def _with_price(at: site.Site, loser: Candidate, by: int) -> site.Site | None:
    """The site with what the loser computes on so much cheaper; None where that is more than its price."""
    offer = at.offer
    if not loser.gpu_type:
        left = (offer.cpu_hour_micros or 0) - by
        return replace(at, offer=replace(offer, cpu_hour_micros=left)) if left >= 0 else None
    gpus = []
    for gpu in offer.gpus:
        if gpu.type != loser.gpu_type:
            gpus.append(gpu)
            continue
        left = ((gpu.spot_gpu_hour_micros or 0) if loser.spot else gpu.gpu_hour_micros) - by
        if left < 0:
            return None
        gpus.append(replace(gpu, spot_gpu_hour_micros=left) if loser.spot else replace(gpu, gpu_hour_micros=left))
    return replace(at, offer=replace(offer, gpus=tuple(gpus)))


# A cheaper link


def _cheaper_link(
    decision: planner.Decision, ranked: Sequence[Candidate], loser: Candidate, goal: int
) -> Counterfactual | None:
    """By how much a GB over the loser's dearest link must be cheaper, where only its own region uses that price."""
    came, region = decision.came, loser.region
    r = came.index.get(region, -1)
    if r < 0 or loser.site not in decision.plain_sites or r in came.coupled or not loser.egress_micros or decision.ways.keepers:
        return None
    first = next(candidate for candidate in ranked if candidate.region == region)
    if first is not loser or any(at.region == region for at in _set_aside(decision)):
        return None
    by_origin: dict[str, int] = {}
    for source, charge in zip(came.sources(r), came.charges(r), strict=True):
        origin = source.region
        by_origin[origin] = by_origin.get(origin, 0) + charge
    most = max(by_origin.values())
    origin = min(name for name, charge in by_origin.items() if charge == most)
    tariff = decision.world.rates.tariff(origin, region)
    if tariff is None or not tariff.flat or ratecard.destination_class(origin, region) != region:
        return None
    gb_micros, gb_bytes = tariff.listed[0]
    volume = sum(read.bytes for read, source in zip(came.reads, came.sources(r), strict=True) if source.region == origin)
    by = -(-(loser.objective_micros - goal + 1 + len(came.nodes)) * gb_bytes // volume)
    if by > gb_micros:
        return None
    egress = _egress_with(decision, r, origin, gb_micros - by, gb_bytes)
    there = None if egress is None else loser.objective_micros - loser.egress_micros + egress
    if there is None or there >= goal:
        return None
    condition = f"a GB from {origin} to {region} were {units.usd(by)} cheaper"
    return _told(loser.site, "CHEAPER_EGRESS", f"{origin} to {region}", condition, there=there, goal=goal)


def _egress_with(decision: planner.Decision, r: int, origin: str, gb_micros: int, gb_bytes: int) -> int | None:
    """The region's egress if its link from an origin had that price; None where another input would come that way then."""
    came, region = decision.came, decision.came.regions[r]
    sent: dict[int, int] = {}
    egress = came.egress[r]
    for read, source, charge in zip(came.reads, came.sources(r), came.charges(r), strict=True):
        if source.region == origin:
            sent[source.node] = sent.get(source.node, 0) + read.bytes
            egress -= charge
        elif gb_micros * read.bytes < (charge + 2) * gb_bytes and any(other.region == origin for other in read.sources):
            return None
    for node, volume in sent.items():
        begun = came.begun(node, region)
        owed, paid = (units.divide_half_even(gb_micros * amount, gb_bytes) for amount in (begun + volume, begun))
        egress += owed - paid
    return egress


def _better(there: int, goal: int | None) -> bool:
    """Whether that would be cheaper than the choice; without a choice everything is."""
    return goal is None or there < goal


def _told(name: str, change: str, subject: str, condition: str, *, there: int, goal: int | None) -> Counterfactual:
    saving = 0 if goal is None else goal - there
    detail = f"it could take the job, at {units.usd(there)}, if {condition}"
    if goal is not None:
        detail = f"it would win if {condition}: -{units.usd(saving)}"
    fields = {"site": name, "change": change, "subject": subject, "saving_micros": saving, "objective_micros": there}
    return records.made(Counterfactual, fields | {"detail": detail})
