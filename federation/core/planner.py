"""Where a job runs: request and world in, plan out. Pure; every site that the world holds is ranked or rejected with a reason.

The cheapest total wins, then the higher locality, then the name, so that the order of sites and inputs does not matter.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace

from federation.core import cost, errors, filters, policy, site, units
from federation.core.job import Candidate, JobKind, JobRequest, Plan, Rejection
from federation.core.world import World, WorldInput

#: No dataset and no price reaches an exbibyte; what claims to is a mistake.
BYTES_MAX = 2**60
COUNT_MAX = 10**6
DURATION_SECONDS_MAX = 366 * 86400


def plan(request: JobRequest, world: World) -> Plan:
    """The best placement of a job in a world, everything it was compared with, and what it is compared to.

    InvalidArgument for what no site could answer: absurd sizes (SIZE_INVALID, RESOURCES_INVALID, DURATION_INVALID), inputs
    whose residencies exclude each other (RESIDENCY_CONTRADICTION), an ingestion that names no site (SITE_REQUIRED).
    """
    _check_request(request)
    world, notes = _sized(request, world)
    _check_inputs(world)
    policy.binding(world.residencies)
    reads = cost.Reads(world)
    computes = {at.site: cost.compute(request, at) for at in world.sites}
    baseline_site, baseline_micros = _baseline(request, world, reads, computes)
    answers = [filters.reject(request, at, world) or _candidate(at, computes[at.site], reads) for at in world.sites]
    ranked = sorted((answer for answer in answers if isinstance(answer, Candidate)), key=_rank)
    rejections = [answer for answer in answers if isinstance(answer, Rejection)]
    if ranked and baseline_micros is None:
        notes = (*notes, f"the baseline is unknown: no priced way brings all inputs to the cheapest compute ({baseline_site})")
    return Plan(
        revision=world.revision,
        decide_time=world.now,
        ranked=tuple(ranked),
        rejections=tuple(sorted((*rejections, *_unknown_sites(request, world)), key=lambda rejection: rejection.site)),
        baseline_site=baseline_site,
        baseline_egress_micros=baseline_micros,
        notes=notes,
    )


def waits(plan_: Plan) -> bool:
    """Whether a plan without a choice may get one by waiting: some site refused for a reason that can pass."""
    return plan_.choice is None and any(rejection.resolvable for rejection in plan_.rejections)


def _rank(candidate: Candidate) -> tuple[int, float, str]:
    return (candidate.total_micros, -candidate.locality, candidate.site)


def _candidate(at: site.Site, compute: cost.Compute | Rejection, reads: cost.Reads) -> Candidate | Rejection:
    if isinstance(compute, Rejection):
        return compute
    inputs = reads.plans(at)
    if isinstance(inputs, Rejection):
        return inputs
    fields = {
        "site": at.site,
        "region": at.region,
        "inputs": inputs,
        "compute_micros": compute.micros,
        "egress_micros": reads.into(at.region).total_micros,
        "locality": reads.locality(at),
        "compute_source": compute.source,
    }
    return cost.made(Candidate, fields)


def _unknown_sites(request: JobRequest, world: World) -> Iterator[Rejection]:
    """Sites that the request names and the caller cannot see, so that they do not just vanish from the answer."""
    for name in dict.fromkeys(request.sites):
        if name not in world.site_names:
            yield Rejection(site=name, reason="SITE_UNKNOWN", detail="there is no such site")


def _baseline(
    request: JobRequest, world: World, reads: cost.Reads, computes: Mapping[str, cost.Compute | Rejection]
) -> tuple[str, int | None]:
    """Site and egress of the rule of thumb that a placement is measured against: bring everything to the cheapest compute.

    At the same prices, ignoring residency and capacity. Of equally cheap sites the one with the least egress, so that no
    saving is claimed that a lucky rule of thumb would have had too.
    """
    if request.kind is JobKind.INGEST:
        return "", 0
    alive = [at for at in world.sites if at.state is site.SiteState.READY and at.has_compute]
    priced = [
        (compute.micros, at)
        for at in alive
        if isinstance(compute := computes[at.site], cost.Compute) and not filters.gpu_type_missing(request, at, world)
    ]
    if not priced:
        return "", None
    least = min(micros for micros, _ in priced)
    best = min((at for micros, at in priced if micros == least), key=lambda at: (*_unknown_last(reads, at), at.site))
    reads.measure_against(best.region)
    return best.site, reads.into(best.region).total_micros


def _unknown_last(reads: cost.Reads, at: site.Site) -> tuple[bool, int]:
    micros = reads.into(at.region).total_micros
    return (micros is None, micros or 0)


def _sized(request: JobRequest, world: World) -> tuple[World, tuple[str, ...]]:
    """The world with the sizes that the request wants assumed, and notes that name every assumption."""
    assumed = {spec.alias: spec.assumed_bytes for spec in request.inputs if spec.assumed_bytes}
    notes = [
        f"{item.alias}: {units.size(assumed[item.alias])} assumed, {item.dataset}@{item.version} has {units.size(item.bytes)}"
        for item in world.inputs
        if item.alias in assumed
    ]
    if request.kind is JobKind.RAY and request.duration_seconds == JobRequest.duration_seconds:
        notes.append(f"a run of {request.duration_seconds} s is assumed, the default")
    if not assumed:
        return world, tuple(notes)
    return replace(world, inputs=tuple(_resized(item, assumed.get(item.alias)) for item in world.inputs)), tuple(notes)


def _resized(item: WorldInput, assumed_bytes: int | None) -> WorldInput:
    return item if assumed_bytes is None else replace(item, bytes=assumed_bytes)


def _check_request(request: JobRequest) -> None:
    wanted = request.resources
    for name, count, most in (
        ("cpus", wanted.cpus, COUNT_MAX),
        ("gpus", wanted.gpus, COUNT_MAX),
        ("memory_bytes", wanted.memory_bytes, BYTES_MAX),
    ):
        if not 0 <= count <= most:
            raise _absurd(f"resources.{name}", count, most, "RESOURCES_INVALID")
    if not 0 <= request.duration_seconds <= DURATION_SECONDS_MAX:
        raise _absurd("duration_seconds", request.duration_seconds, DURATION_SECONDS_MAX, "DURATION_INVALID")
    for spec in request.inputs:
        if not 0 <= spec.assumed_bytes <= BYTES_MAX:
            raise _absurd(f"inputs.{spec.alias}.assumed_bytes", spec.assumed_bytes, BYTES_MAX, "SIZE_INVALID")
    if request.kind is JobKind.INGEST and not request.sites:
        raise errors.InvalidArgument(
            "an ingestion must name its site",
            reason="SITE_REQUIRED",
            help="Name the site where the files already lie.",
            violations={"sites": "must name a site"},
        )


def _check_inputs(world: World) -> None:
    for item in world.inputs:
        if not 0 <= item.bytes <= BYTES_MAX:
            raise _absurd(f"inputs.{item.alias}.bytes", item.bytes, BYTES_MAX, "SIZE_INVALID")


def _absurd(name: str, value: int, most: int, reason: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"{name} is {value}", reason=reason, help=f"Use 0 to {most}.", violations={name: f"must be 0 to {most}"}
    )
