"""What a decision begins from, before any site is looked at: sizes, time, quota and places, of a request and its world."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from federation.core import checks, cost, errors, quota, units
from federation.core.job import JobRequest, Rejection
from federation.core.world import World, WorldInput


def terms(request: JobRequest, world: World) -> cost.Terms:
    """What the request says of time and carbon, and what its namespace has left."""
    limit = gpu_seconds_left = None
    if request.deadline_seconds:
        passed = (world.now - world.submit_time).total_seconds() if world.submit_time else 0
        limit = request.deadline_seconds - max(int(passed), 0)
    budget = world.budget
    if budget is not None and request.resources.gpus:
        spent = budget.usage.gpu_seconds + budget.usage.reserved_gpu_seconds
        gpu_seconds_left = quota.left(budget.gpu_seconds_quota, spent)
    return cost.Terms(
        request.hour_value_micros or 0, request.carbon_tonne_micros, limit, request.resources.gpus, gpu_seconds_left
    )


def egress_left(world: World) -> int | None:
    """What is left of the namespace's quota for egress; None where it has none."""
    budget = world.budget
    if budget is None:
        return None
    return quota.left(budget.egress_micros_quota, budget.usage.egress_micros + budget.usage.reserved_egress_micros)


def unknown_sites(request: JobRequest, world: World) -> Iterator[Rejection]:
    """Sites that the request names and the caller cannot see, so that they do not just vanish from the answer."""
    for name in dict.fromkeys(request.sites):
        if name not in world.site_names:
            yield Rejection(site=name, reason="SITE_UNKNOWN", detail="there is no such site")


def sized(request: JobRequest, world: World) -> tuple[World, tuple[str, ...]]:
    """The world with the sizes that the request wants assumed, and notes that name every assumption."""
    assumed = {spec.alias: spec.assumed_bytes for spec in request.inputs if spec.assumed_bytes}
    if not assumed:
        return world, ()
    notes = tuple(
        f"{item.alias}: {units.size(assumed[item.alias])} assumed, {item.dataset}@{item.version} has {units.size(item.bytes)}"
        for item in world.inputs
        if item.alias in assumed
    )
    return replace(world, inputs=tuple(_resized(item, assumed.get(item.alias)) for item in world.inputs)), notes


def _resized(item: WorldInput, assumed_bytes: int | None) -> WorldInput:
    return item if assumed_bytes is None else replace(item, bytes=assumed_bytes)


def check_volumes(inputs: Sequence[WorldInput], volumes: Sequence[int]) -> None:
    """InvalidArgument (SIZE_INVALID) for predicted reads beyond what `checks` allows for the inputs themselves."""
    for item, volume in zip(inputs, volumes, strict=True):
        if not 0 <= volume <= checks.BYTES_MAX:
            raise errors.InvalidArgument(
                f"inputs.{item.alias}: {volume} bytes would be read", reason="SIZE_INVALID", help="Check its read_percent."
            )


def localities(inputs: Sequence[WorldInput], total_bytes: int) -> dict[str, float]:
    """Site -> the share of the inputs' bytes that lie there; 1 where there are none. Only of sites that hold any."""
    there: dict[str, int] = {}
    for item in inputs:
        for name in set(item.replica_sites):
            there[name] = there.get(name, 0) + item.bytes
    return {name: volume / total_bytes if total_bytes else 1.0 for name, volume in there.items()}


def held(inputs: Sequence[WorldInput]) -> dict[str, frozenset[int]]:
    """Site -> the inputs, by position, of which it holds a replica."""
    held: dict[str, set[int]] = {}
    for i, item in enumerate(inputs):
        for name in item.replica_sites:
            held.setdefault(name, set()).add(i)
    return {name: frozenset(positions) for name, positions in held.items()}
