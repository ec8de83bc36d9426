"""The sites of an everyday decision in one tight loop: money alone, one way to compute, room enough, inputs read remotely.

It says nothing of its own: what it answers for a site is what `Decision.candidate` would, and whatever is not everyday it
leaves to that. A test holds the two together.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, Any, NamedTuple

from federation.core import cost, filters, job, site

if TYPE_CHECKING:
    from federation.core import planner

#: The filters that look at the request and not at what a site has.
_ASKED = frozenset({filters.not_requested, filters.residency_denied, filters.failed_here})

READY = site.SiteState.READY


class Everyday(NamedTuple):
    """Candidates with the keys that they are ranked by, and the sites that are left for a closer look."""

    candidates: list[tuple[tuple[bool, int, float, str], job.Candidate]]
    others: list[site.Site]


def applies(decision: planner.Decision) -> bool:
    """Whether the request asks for nothing that needs a closer look at every site."""
    request, wanted = decision.request, decision.request.resources
    return not (
        request.kind is job.JobKind.INGEST
        or decision.timed
        or request.carbon_tonne_micros
        or decision.world.budget is not None
        or any(spec.deliver_to for spec in request.outputs)
        or decision.came.hopeless
        or (wanted.gpus and (not wanted.gpu_type or request.spot is not job.Spot.NEVER))
    )


def sweep(decision: planner.Decision, concerned: tuple[filters.Filter, ...]) -> Everyday:
    """Prices what is everyday. Written out in one loop: a call for each part would cost more than the parts."""
    request, world, came = decision.request, decision.world, decision.came
    wanted = request.resources
    cpus, gpus, gpu_type, memory_bytes = wanted.cpus, wanted.gpus, wanted.gpu_type, wanted.memory_bytes
    seconds = decision.predicted(gpu_type if gpus else "").seconds
    asked = [refuses for refuses in concerned if refuses in _ASKED]
    simple = _simple_regions(decision, seconds)
    index, egress, volumes = came.index, came.egress, came.bytes
    held, avoided, arriving = decision.localities, decision.avoided, decision.ways.arriving
    nowhere = 0.0 if decision.total_bytes else 1.0
    # A run may read an input more than once: then a copy may pay, wherever storing has a price.
    repeated = not request.no_copies and any(read.bytes > read.item.bytes for read in came.reads)
    reserved, half, unit, ready = world.reserved, cost.UNIT // 2, cost.UNIT, READY
    fields = _constant(seconds, gpu_type if gpus else "")
    # A frozen dataclass is given all its fields at once: `__init__` would take three times as long.
    new, fill, kind = object.__new__, object.__setattr__, job.Candidate
    candidates: list[tuple[tuple[bool, int, float, str], job.Candidate]] = []
    others: list[site.Site] = []
    add = candidates.append
    for at in world.sites:
        offer, capacity, name, region = at.offer, at.capacity, at.site, at.region
        gpu = offer.gpu(gpu_type) if gpus else None
        if (
            at.state is not ready
            or not at.has_compute
            or at.compute_error
            or region not in simple
            or name in reserved
            or capacity.used_cpus
            or capacity.used_memory_bytes
            or capacity.used_gpus
            or capacity.cpus < cpus
            or capacity.memory_bytes < memory_bytes
            or (cpus and offer.cpu_hour_micros is None)
            or (gpus and (gpu is None or capacity.gpu_count(gpu_type) < gpus))
            or name in arriving
            or (repeated and offer.storage_gb_month_micros is not None)
            or (offer.carbon_g_per_kwh is not None and (offer.cpu_watts is not None or not cpus))
            or (asked and any(refuses(request, at, world) is not None for refuses in asked))
        ):
            others.append(at)
            continue
        hour = cpus * (offer.cpu_hour_micros or 0)
        source = offer.cpu_source if cpus else ""
        if gpu is not None:
            hour += gpus * gpu.gpu_hour_micros
            source = cost.told([source, gpu.source])
        hour *= cost.GB
        if memory_bytes and offer.memory_gb_hour_micros is not None:
            hour += memory_bytes * offer.memory_gb_hour_micros
            source = cost.told([offer.cpu_source if cpus else "", offer.memory_source, gpu.source if gpu else ""])
        micros, rest = divmod(hour * seconds, unit)
        if rest > half or (rest == half and micros & 1):
            micros += 1
        r = index[region]
        locality = held.get(name, nowhere)
        values = fields.copy()
        values["site"], values["region"], values["compute_micros"], values["compute_source"] = name, region, micros, source
        values["egress_micros"], values["egress_bytes"], values["locality"] = egress[r], volumes[r], locality
        lost = bool(avoided) and name in avoided
        if lost:
            values["avoided"] = avoided[name].reason
        candidate = new(kind)
        fill(candidate, "__dict__", values)
        add(((lost, micros + egress[r], -locality, name), candidate))
    return Everyday(candidates, others)


def _simple_regions(decision: planner.Decision, seconds: int) -> Container[str]:
    """Regions where reading remotely is the best way to have every input, and hides behind the run."""
    came, relayed = decision.came, decision.ways.relayed_regions
    if not (came.blocked or relayed or decision.world.speeds):
        return came.index
    return {
        region
        for r, region in enumerate(came.regions)
        if r not in came.blocked and came.slowest[r] <= seconds and region not in relayed
    }


def _constant(seconds: int, gpu_type: str) -> dict[str, Any]:
    """What is the same for every everyday candidate."""
    return {
        "site": "",
        "region": "",
        "inputs": (),
        "compute_micros": 0,
        "egress_micros": 0,
        "locality": 0.0,
        "compute_source": "",
        "egress_bytes": 0,
        "storage_micros": 0,
        "landing_micros": 0,
        "time_micros": 0,
        "carbon_micros": 0,
        "carbon_grams": 0,
        "wait_seconds": 0,
        "stage_seconds": 0,
        "run_seconds": seconds,
        "gpu_type": gpu_type,
        "spot": False,
        "avoided": "",
    }
