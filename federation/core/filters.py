"""Which sites may not or cannot run a job, and why: one plain function for each reason.

A filter returns None for a site that passes, else the `Rejection` that people read. It never sees a price.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from federation.core import job, policy, records, site, units, world
from federation.core.job import Rejection

_NOTHING = site.SiteLoad(site="")
_NO_CAPACITY = site.Capacity()

Filter = Callable[[job.JobRequest, site.Site, world.World], Rejection | None]


def reject(
    request: job.JobRequest, at: site.Site, seen: world.World, asked: Sequence[Filter] | None = None
) -> Rejection | None:
    """Why the job cannot run at a site now, or None if it can; `asked` are those that are `concerned`, if they are known."""
    for refuses in concerned(request, seen) if asked is None else asked:
        rejection = refuses(request, at, seen)
        if rejection is not None:
            return rejection
    return None


def concerned(request: job.JobRequest, seen: world.World) -> tuple[Filter, ...]:
    """The filters that may refuse any site at all for this request, in their order: a decision asks them for every site."""
    idle: dict[Filter, bool] = {
        not_requested: not request.sites,
        residency_denied: not seen.residencies,
        policy_denied: not seen.forbidden,
        failed_here: not seen.excluded,
        gpu_type_missing: not request.resources.gpus,
    }
    every = INGEST_FILTERS if request.kind is job.JobKind.INGEST else FILTERS
    return tuple(refuses for refuses in every if not idle.get(refuses, False))


def not_requested(request: job.JobRequest, at: site.Site, _seen: world.World) -> Rejection | None:
    """The request names its sites, and this is none of them."""
    if not request.sites or at.site in request.sites:
        return None
    return Rejection(site=at.site, reason="SITE_NOT_REQUESTED", detail=f"the request allows {', '.join(request.sites)} only")


def residency_denied(_request: job.JobRequest, at: site.Site, seen: world.World) -> Rejection | None:
    """An input may not be used, or an output not be stored, in the site's jurisdiction."""
    for name, residency in seen.residencies:
        if not policy.residency_allows(residency, at.jurisdiction):
            detail = f"{name} must stay in {' or '.join(residency)}, {at.site} is in {at.jurisdiction}"
            return Rejection(site=at.site, reason="RESIDENCY_DENIED", detail=detail)
    return None


def policy_denied(_request: job.JobRequest, at: site.Site, seen: world.World) -> Rejection | None:
    """A policy forbids the job there: what it reads or writes, its purpose, or the site's grade."""
    why = seen.denials.get(at.site)
    return None if why is None else Rejection(site=at.site, reason="POLICY_DENIED", detail=why)


def failed_here(_request: job.JobRequest, at: site.Site, seen: world.World) -> Rejection | None:
    """An earlier attempt of the job left a reason not to try this site again."""
    reason = seen.exclusions.get(at.site)
    if reason is None:
        return None
    return Rejection(site=at.site, reason="ATTEMPT_FAILED_HERE", detail=f"an earlier attempt ended here with {reason}")


def never_seen(_request: job.JobRequest, at: site.Site, _seen: world.World) -> Rejection | None:
    """The site is declared, but its agent has not registered yet."""
    if at.state is not site.SiteState.DECLARED:
        return None
    return Rejection(site=at.site, reason="SITE_NOT_READY", detail="its agent has not registered yet", resolvable=True)


def no_compute(_request: job.JobRequest, at: site.Site, _seen: world.World) -> Rejection | None:
    """The site stores data and runs nothing."""
    return None if at.has_compute else Rejection(site=at.site, reason="NO_COMPUTE", detail="it has no cluster to run jobs")


def compute_down(_request: job.JobRequest, at: site.Site, _seen: world.World) -> Rejection | None:
    """The site's cluster does not answer its agent; what it can hold may be known from before."""
    if not at.compute_error:
        return None
    return Rejection(site=at.site, reason="COMPUTE_UNAVAILABLE", detail=at.compute_error, resolvable=True)


def gpu_type_missing(request: job.JobRequest, at: site.Site, _seen: world.World) -> Rejection | None:
    """The site has no GPU of the type, or none at all."""
    wanted = request.resources
    if not wanted.gpus or at.capacity.gpu_count(wanted.gpu_type) or _never_reported(at):
        return None
    has = ", ".join(name for name, count in at.capacity.gpus if count) or "no GPUs"
    return Rejection(site=at.site, reason="GPU_TYPE_MISSING", detail=f"{_gpu(wanted)} asked for, it has {has}")


def too_small(request: job.JobRequest, at: site.Site, _seen: world.World) -> Rejection | None:
    """The site could not run the job even if it were empty."""
    if _never_reported(at):
        return None
    found = short(request.resources, at, _NOTHING)
    return _refused(found, request.resources, at, "in all", resolvable=False) if found else None


def lost(_request: job.JobRequest, at: site.Site, _seen: world.World) -> Rejection | None:
    """The site has been silent for longer than its lease."""
    if at.state is not site.SiteState.LOST:
        return None
    since = f" since {at.heartbeat_time:%Y-%m-%d %H:%M:%S} UTC" if at.heartbeat_time else ""
    return Rejection(site=at.site, reason="SITE_LOST", detail=f"its agent has been silent{since}", resolvable=True)


def full(request: job.JobRequest, at: site.Site, seen: world.World) -> Rejection | None:
    """The site could run the job, but other runs, or other users of its cluster, hold too much of it now."""
    load = in_use(at, seen)
    if load is None:
        return None
    found = short(request.resources, at, load)
    return _refused(found, request.resources, at, "free", resolvable=True) if found else None


#: GPUs of the type that was asked for, CPUs and bytes of memory.
Amounts = tuple[int, int, int]


def no_room(wanted: job.Resources, rows: Iterable[tuple[str, Amounts, Amounts]]) -> list[Rejection]:
    """What `too_small` or `full` say of sites that have so much, of which so much is left, which does not suffice."""
    refused, told = [], dict[tuple[Amounts, Amounts], dict[str, Any]]()
    for name, there, left in rows:
        said = told.get((there, left))
        if said is None:
            never = _short_of(wanted, there)
            found = never or _short_of(wanted, left)
            assert found is not None
            said = told[there, left] = _refusal(found, wanted, "in all" if never else "free", resolvable=never is None)
        fields = said.copy()
        fields["site"] = name
        refused.append(records.made(Rejection, fields))
    return refused


#: In this order, so that a site's first reason is its strongest. What no waiting changes comes before what waiting may: else a
#: forbidden site that happens to be lost would keep a job waiting for it. What rests on a report (compute, capacity) comes
#: after the agent has registered; of a cluster that does not answer, what it last reported is judged, if it ever did: else a
#: job that no site could ever run would wait for it. Residency and policy come early, and prices are only looked up for sites
#: that pass all of these: the price of a forbidden site must not leak.
FILTERS: tuple[Filter, ...] = (
    not_requested,
    residency_denied,
    policy_denied,
    failed_here,
    never_seen,
    no_compute,
    gpu_type_missing,
    too_small,
    compute_down,
    lost,
    full,
)

#: Ingestion is done by the site's agent alone, so compute does not matter.
INGEST_FILTERS: tuple[Filter, ...] = (not_requested, residency_denied, policy_denied, failed_here, never_seen, lost)


#: Reasons that a site gives which has not enough of something.
EXHAUSTED = frozenset({"GPUS_EXHAUSTED", "CPUS_EXHAUSTED", "MEMORY_EXHAUSTED"})


def no_type_free(request: job.JobRequest, at: site.Site) -> Rejection:
    """GPUs are free at the site, but of no one type as many as the job asks for."""
    detail = f"{_gpu(request.resources)} asked for, of no one type are so many free"
    return Rejection(site=at.site, reason="GPUS_EXHAUSTED", detail=detail, resolvable=True)


def in_use(at: site.Site, seen: world.World) -> site.SiteLoad | None:
    """What runs have reserved at a site and what others use of its cluster, together; None for nothing."""
    load, capacity = seen.reserved.get(at.site), at.capacity
    if not (capacity.used_cpus or capacity.used_memory_bytes or capacity.used_gpus):
        return load
    gpus = dict(load.gpus) if load else {}
    for name, count in capacity.used_gpus:
        gpus[name] = gpus.get(name, 0) + count
    load = load or _NOTHING
    return site.SiteLoad(
        site=at.site,
        cpus=load.cpus + capacity.used_cpus,
        memory_bytes=load.memory_bytes + capacity.used_memory_bytes,
        gpus=tuple(gpus.items()),
    )


def short(wanted: job.Resources, at: site.Site, load: site.SiteLoad) -> tuple[str, int] | None:
    """The first of GPUs, CPUs and memory of which the site has less than the job asks for: the reason, and what is left."""
    gpus = gpus_left(wanted.gpu_type, at.capacity, load) if wanted.gpus else 0
    return _short_of(wanted, (gpus, at.capacity.cpus - load.cpus, at.capacity.memory_bytes - load.memory_bytes))


def _short_of(wanted: job.Resources, left: tuple[int, int, int]) -> tuple[str, int] | None:
    gpus, cpus, memory_bytes = left
    if wanted.gpus and gpus < wanted.gpus:
        return "GPUS_EXHAUSTED", max(gpus, 0)
    if cpus < wanted.cpus:
        return "CPUS_EXHAUSTED", max(cpus, 0)
    if wanted.memory_bytes and memory_bytes < wanted.memory_bytes:
        return "MEMORY_EXHAUSTED", max(memory_bytes, 0)
    return None


def _refused(found: tuple[str, int], wanted: job.Resources, at: site.Site, having: str, *, resolvable: bool) -> Rejection:
    return records.made(Rejection, {"site": at.site, **_refusal(found, wanted, having, resolvable=resolvable)})


def _refusal(found: tuple[str, int], wanted: job.Resources, having: str, *, resolvable: bool) -> dict[str, Any]:
    """A refusal without its site."""
    reason, left = found
    if reason == "MEMORY_EXHAUSTED":
        asked, told = f"{units.size(wanted.memory_bytes)} of memory", units.size(left)
    else:
        asked, told = _gpu(wanted) if reason == "GPUS_EXHAUSTED" else f"{wanted.cpus} CPUs", str(left)
    return {"reason": reason, "detail": f"{asked} asked for, {told} {having}", "resolvable": resolvable}


def _never_reported(at: site.Site) -> bool:
    """The cluster does not answer, and has not said yet what it has."""
    return bool(at.compute_error) and at.capacity == _NO_CAPACITY


def gpus_left(gpu_type: str, capacity: site.Capacity, load: site.SiteLoad) -> int:
    """GPUs of the type that no run holds. A run that takes any type may hold one of this, so it counts against each."""
    if not gpu_type:
        return capacity.gpu_count("") - sum(count for _, count in load.gpus)
    held = sum(count for name, count in load.gpus if name in ("", gpu_type))
    return capacity.gpu_count(gpu_type) - held


def _gpu(wanted: job.Resources) -> str:
    return f"{wanted.gpus} {wanted.gpu_type or 'GPUs of any type'}"
