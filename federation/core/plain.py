"""The sites of an everyday decision, all at once in arrays: money alone, one way to compute, room enough, inputs read remotely.

It only saves time: for each site it answers what `Decision.candidate` would, and leaves whatever is not everyday to that. A
test holds the two together.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import cost, filters, job, links, policy

if TYPE_CHECKING:
    from federation.core import planner

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

_ZERO: Ints = np.zeros(1, dtype=np.int64)
_FILL = job.Candidate.__dict__["__dict__"].__set__
#: Longer runs are counted in Python's integers.
_SECONDS_MAX = 2**33


class Spent(NamedTuple):
    """Where a run has a price, and what it costs there, by the number of the site."""

    priced: Bools
    compute: Ints


class Everyday:
    """The everyday sites, in the order of their names: what each would cost, whether there is room, and how they rank.

    All in arrays: values for people are made when they are asked for. A decision needs two of them, and to make a hundred takes
    longer than to find the two.
    """

    def __init__(self, decision: planner.Decision, compute: Ints, egress: Ints, *, barred: Bools, able: Bools) -> None:
        # It keeps nothing of the decision, which keeps it: in a ring they would wait for the garbage collector.
        self.compute = compute
        #: Sites that would be candidates if they had room, and what they would be ranked by.
        self.able, self.objective = able, compute + egress
        self._left = _left(decision)
        self._fits = able & _suffices(decision.request.resources, self._left)
        #: Numbers of the candidates, in the order of rank.
        self.ranked = _ranked(decision, np.nonzero(self._fits)[0], self.objective)
        #: Numbers of the sites that are refused for what the sites are or the request says: why is for a closer look.
        self.barred = np.nonzero(barred)[0].tolist()
        #: Numbers of the sites that are left for a closer look.
        self.rest = np.nonzero(~(able | barred))[0].tolist()

    def candidates(self, decision: planner.Decision, most: int | None = None) -> list[job.Candidate]:
        """The candidates, or so many of them at most, in the order of rank."""
        return candidates(decision, self.ranked[:most], self.compute)

    def refusals(self, decision: planner.Decision) -> list[job.Rejection]:
        """Why the sites that lack nothing but room are refused."""
        return _refusals(decision, np.nonzero(self.able & ~self._fits)[0], self._left)


def sweep(decision: planner.Decision) -> Everyday | None:
    """All everyday sites; None where the request asks for something that needs a closer look at every site."""
    spent = decision.spent
    most = max(decision.came.egress, default=0)
    if spent is None or most >= links.BEYOND:
        return None
    ground, came = decision.ground, decision.came
    priced, compute = spent
    # One more: sites in regions without a cluster are at -1, and not able.
    egress = np.array([*came.egress, 0], dtype=np.int64)[ground.region]
    open_ = possible(decision)
    able = open_ & priced & _simple(decision)[ground.region]
    _leave(decision, able, egress)
    return Everyday(decision, compute, egress, barred=~open_, able=able)


def possible(decision: planner.Decision) -> Bools:
    """Sites that are not refused for what they are, or for what the request or the law says."""
    ground, wanted = decision.ground, decision.request.resources
    found = ground.alive & ground.answers & _allowed(decision)
    return found & (ground.gpus(wanted.gpu_type).there > 0) if wanted.gpus else found


def fitting(decision: planner.Decision, among: Bools) -> npt.NDArray[np.intp]:
    """The numbers of those of these sites that have room."""
    return np.nonzero(among & _suffices(decision.request.resources, _left(decision)))[0]


def applies(decision: planner.Decision) -> bool:
    """Whether the request asks for nothing that needs a closer look at every site."""
    request, wanted, left = decision.request, decision.request.resources, decision.terms.gpu_seconds_left
    return not (
        request.kind is job.JobKind.INGEST
        or decision.timed
        or request.carbon_tonne_micros
        or left is not None
        or any(spec.deliver_to for spec in request.outputs)
        or decision.came.hopeless
        or not wanted.cpus
        or (wanted.gpus and (not wanted.gpu_type or request.spot is not job.Spot.NEVER))
    )


def _gpu_type(decision: planner.Decision) -> str:
    wanted = decision.request.resources
    return wanted.gpu_type if wanted.gpus else ""


def spent(decision: planner.Decision) -> Spent | None:
    """What a run costs at all sites, rounded half to even; None where int64 could not hold it, or the request asks for more."""
    if not applies(decision):
        return None
    ground, wanted = decision.ground, decision.request.resources
    seconds = decision.predicted(_gpu_type(decision)).seconds
    priced, hour, most, parts = ground.priced, wanted.cpus * ground.cpu_hour, wanted.cpus * ground.cpu_hour_most, None
    if wanted.gpus:
        gpus = ground.gpus(wanted.gpu_type)
        priced = priced & (gpus.hour_micros >= 0) & (gpus.there > 0)
        hour = hour + wanted.gpus * gpus.hour_micros
        most += wanted.gpus * int(gpus.hour_micros.max(initial=0))
    dearest = ground.memory_hour_most
    if wanted.memory_bytes and dearest:
        if wanted.memory_bytes * dearest >= links.BEYOND:
            return None
        whole, parts = np.divmod(wanted.memory_bytes * ground.memory_hour, cost.GB)
        hour = hour + whole
        most += int(whole.max(initial=0))
    if seconds >= _SECONDS_MAX or most * max(seconds, 1) >= links.BEYOND:
        return None
    if parts is None:
        return Spent(priced, links.half_even(_ZERO, hour * seconds, cost.HOUR))
    whole, rest = np.divmod(hour * seconds, cost.HOUR)
    return Spent(priced, links.half_even(whole, rest * cost.GB + parts * seconds, cost.UNIT))


def _simple(decision: planner.Decision) -> Bools:
    """Regions where reading remotely is the best way to have every input, and hides behind the run; the last is none."""
    came, relayed = decision.came, decision.ways.relayed_regions
    found = np.ones(len(came.regions) + 1, dtype=np.bool_)
    found[-1] = False
    if came.blocked:
        found[list(came.blocked)] = False
    if decision.world.speeds:
        found[:-1] &= np.array(came.slowest, dtype=np.int64) <= decision.predicted(_gpu_type(decision)).seconds
    if relayed:
        found[[came.index[region] for region in relayed]] = False
    return found


def _allowed(decision: planner.Decision) -> Bools:
    """Sites that the request names, where law and earlier attempts let it run."""
    ground, request, seen = decision.ground, decision.request, decision.world
    found = np.ones(len(ground.sites), dtype=np.bool_)
    if seen.residencies:
        legal = [
            all(policy.residency_allows(residency, name) for _, residency in seen.residencies) for name in ground.jurisdictions
        ]
        found = np.array(legal, dtype=np.bool_)[ground.jurisdiction]
    if request.sites:
        named = [n for name in request.sites if (n := ground.index.get(name)) is not None]
        keep = np.zeros(len(found), dtype=np.bool_)
        keep[named] = True
        found = found & keep
    for name in (*seen.exclusions, *seen.denials):
        if name in ground.index:
            found[ground.index[name]] = False
    return found


def _leave(decision: planner.Decision, able: Bools, egress: Ints) -> None:
    """Takes from `able` what needs a closer look: where copies arrive or may pay, or the quota for egress is used up."""
    ground, request = decision.ground, decision.request
    for name in decision.ways.arriving:
        if name in ground.index:
            able[ground.index[name]] = False
    # A run may read an input more than once: then a copy may pay, wherever storing has a price.
    if not request.no_copies and any(read.bytes > read.item.bytes for read in decision.came.reads):
        able &= ~ground.stores
    if decision.egress_left is not None:
        able &= (egress <= max(decision.egress_left, 0)) | (egress == 0)


def _left(decision: planner.Decision) -> tuple[Ints, Ints, Ints]:
    """GPUs of the type, CPUs and bytes of memory that neither others use nor our runs have reserved, at each site."""
    ground, wanted = decision.ground, decision.request.resources
    cpus, memory_bytes = ground.cpus, ground.memory_bytes
    gpus = ground.gpus(wanted.gpu_type).free if wanted.gpus else cpus
    held = [load for load in decision.world.loads if load.site in ground.index]
    if held:
        places = np.array([ground.index[load.site] for load in held], dtype=np.intp)
        cpus = cpus.copy()
        cpus[places] -= np.array([load.cpus for load in held], dtype=np.int64)
        if wanted.memory_bytes:
            memory_bytes = memory_bytes.copy()
            memory_bytes[places] -= [load.memory_bytes for load in held]
        if wanted.gpus:
            gpus, types = gpus.copy(), ("", wanted.gpu_type)
            gpus[places] -= [sum(count for name, count in load.gpus if name in types) for load in held]
    return gpus, cpus, memory_bytes


def _suffices(wanted: job.Resources, left: tuple[Ints, Ints, Ints]) -> Bools:
    gpus, cpus, memory_bytes = left
    found = cpus >= wanted.cpus
    if wanted.memory_bytes:
        found &= memory_bytes >= wanted.memory_bytes
    if wanted.gpus:
        found &= gpus >= wanted.gpus
    return found


def _refusals(decision: planner.Decision, full: npt.NDArray[np.intp], left: tuple[Ints, Ints, Ints]) -> list[job.Rejection]:
    """Why these sites have no room."""
    ground, wanted = decision.ground, decision.request.resources
    gpus = ground.gpus(wanted.gpu_type).there if wanted.gpus else ground.cpus_there
    there = _amounts(wanted, (gpus, ground.cpus_there, ground.memory_bytes_there), full)
    names = [ground.names[n] for n in full.tolist()]
    return filters.no_room(wanted, zip(names, there, _amounts(wanted, left, full), strict=True))


def _amounts(wanted: job.Resources, parts: tuple[Ints, Ints, Ints], full: npt.NDArray[np.intp]) -> Iterable[filters.Amounts]:
    """How much there is at these sites: nothing where more is in use, or of what is not asked for, so that many are alike."""
    nothing = [0] * len(full)
    asked = zip(parts, (wanted.gpus, wanted.cpus, wanted.memory_bytes), strict=True)
    gpus, cpus, memory_bytes = (np.maximum(part[full], 0).tolist() if count else nothing for part, count in asked)
    return zip(gpus, cpus, memory_bytes, strict=True)


def _ranked(decision: planner.Decision, chosen: npt.NDArray[np.intp], objective: Ints) -> npt.NDArray[np.intp]:
    """These sites in the order of `planner.rank`: they come in the order of their names."""
    ground = decision.ground
    local = np.full(len(ground.sites), 0.0 if decision.total_bytes else -1.0)
    for name, locality in decision.localities.items():
        if name in ground.index:
            local[ground.index[name]] = -locality
    keys = [local[chosen], objective[chosen]]
    if decision.avoided:
        lost = np.zeros(len(ground.sites), dtype=np.bool_)
        lost[[ground.index[name] for name in decision.avoided if name in ground.index]] = True
        keys.append(lost[chosen])
    return chosen[np.lexsort(keys)]


def candidates(decision: planner.Decision, ranked: npt.NDArray[np.intp], compute: Ints) -> list[job.Candidate]:
    """The sites as candidates. One loop, written out: a call for each part would cost more than the parts."""
    ground, came, wanted = decision.ground, decision.came, decision.request.resources
    nowhere, held, avoided = 0.0 if decision.total_bytes else 1.0, decision.localities, decision.avoided
    sources = ground.both_sources if wanted.memory_bytes else ground.cpu_sources
    gpu_type = _gpu_type(decision)
    seconds = decision.predicted(gpu_type).seconds
    grams = _grams(decision, ranked, seconds)
    numbers, regions = ranked.tolist(), ground.region[ranked].tolist()
    names = [ground.names[n] for n in numbers]
    fields: list[dict[str, Any]] = [
        {
            "site": name,
            "region": region,
            "inputs": (),
            "compute_micros": micros,
            "egress_micros": egress,
            "locality": locality,
            "compute_source": source,
            "egress_bytes": volume,
            "run_seconds": seconds,
        }
        for name, region, micros, egress, locality, source, volume in zip(
            names,
            [ground.region_names[n] for n in numbers],
            compute[ranked].tolist(),
            [came.egress[r] for r in regions],
            [held.get(name, nowhere) for name in names],
            [sources[n] for n in numbers],
            [came.bytes[r] for r in regions],
            strict=True,
        )
    ]
    if gpu_type:
        own = ground.gpus(gpu_type).sources
        for n, values in zip(numbers, fields, strict=True):
            values["gpu_type"], values["compute_source"] = gpu_type, cost.told([sources[n], own[n]])
    if grams is not None:
        for n, values in zip(numbers, fields, strict=True):
            values["carbon_grams"] = grams[n]
    for values in fields if avoided else ():
        if values["site"] in avoided:
            values["avoided"] = avoided[values["site"]].reason
    # As `records.made` does it, without a call for each.
    found = list(map(object.__new__, itertools.repeat(job.Candidate, len(fields))))
    list(map(_FILL, found, fields))
    return found


def _grams(decision: planner.Decision, ranked: npt.NDArray[np.intp], seconds: int) -> dict[int, int] | None:
    """Grams of CO2e of the run at each of these sites; None where nobody knows any. Alike ones are reckoned once."""
    ground, wanted = decision.ground, decision.request.resources
    if not ground.emits or not (ground.carbon[ranked] >= 0).any():
        return None
    watts = np.where(ground.cpu_watts >= 0, wanted.cpus * ground.cpu_watts, -1)
    if wanted.gpus:
        gpus = ground.gpus(wanted.gpu_type)
        watts = np.where((watts >= 0) & (gpus.watts >= 0), watts + wanted.gpus * gpus.watts, -1)
    known: dict[tuple[int, int], int] = {}
    found: dict[int, int] = {}
    for n, drawn, intensity in zip(ranked.tolist(), watts[ranked].tolist(), ground.carbon[ranked].tolist(), strict=True):
        grams = known.get((drawn, intensity))
        if grams is None:
            grams = known[drawn, intensity] = cost.grams(drawn, seconds, intensity) if min(drawn, intensity) >= 0 else 0
        found[n] = grams
    return found
