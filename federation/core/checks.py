"""What no world and no request may say: refused by name before anything is decided, in time that grows with size alone."""

from __future__ import annotations

import math
from collections.abc import Container, Iterator, Mapping, Sequence

from federation.core import errors, job, site, world

#: No dataset and no price reaches an exbibyte; what claims to is a mistake.
BYTES_MAX = 2**60
COUNT_MAX = 10**6
DURATION_SECONDS_MAX = 366 * 86400
PERCENT_MAX = 10**6
#: A million dollars: for an hour of one GPU, for an hour of somebody's time, for a tonne of carbon.
MICROS_MAX = 10**12
SITES_MAX = 10_000
INPUTS_MAX = 1_000
#: More often than once a minute is no offer.
PREEMPTIONS_MAX = 60.0
WATTS_MAX = 10**5


def request(asked: job.JobRequest) -> None:
    """InvalidArgument (RESOURCES_INVALID, DURATION_INVALID, SIZE_INVALID, AMOUNT_INVALID, SITE_REQUIRED) names the field."""
    for name, value, most, reason in _figures(asked):
        if not 0 <= value <= most:
            raise _absurd(name, value, most, reason)
    if asked.kind is job.JobKind.INGEST and not asked.sites:
        raise errors.InvalidArgument(
            "an ingestion must name its site",
            reason="SITE_REQUIRED",
            help="Name the site where the files already lie.",
            violations={"sites": "must name a site"},
        )


def _figures(asked: job.JobRequest) -> Iterator[tuple[str, int, int, str]]:
    wanted = asked.resources
    yield "resources.cpus", wanted.cpus, COUNT_MAX, "RESOURCES_INVALID"
    yield "resources.gpus", wanted.gpus, COUNT_MAX, "RESOURCES_INVALID"
    yield "resources.memory_bytes", wanted.memory_bytes, BYTES_MAX, "RESOURCES_INVALID"
    yield "duration_seconds", asked.duration_seconds, DURATION_SECONDS_MAX, "DURATION_INVALID"
    yield "deadline_seconds", asked.deadline_seconds, 10 * DURATION_SECONDS_MAX, "DURATION_INVALID"
    yield "hour_value_micros", asked.hour_value_micros or 0, MICROS_MAX, "AMOUNT_INVALID"
    yield "carbon_tonne_micros", asked.carbon_tonne_micros, MICROS_MAX, "AMOUNT_INVALID"
    for spec in asked.inputs:
        yield f"inputs.{spec.alias}.assumed_bytes", spec.assumed_bytes, BYTES_MAX, "SIZE_INVALID"
        yield f"inputs.{spec.alias}.read_percent", spec.read_percent, PERCENT_MAX, "SIZE_INVALID"
    for out in asked.outputs:
        yield f"outputs.{out.alias}.assumed_bytes", out.assumed_bytes, BYTES_MAX, "SIZE_INVALID"


def look(seen: world.World) -> None:
    """InvalidArgument (WORLD_TOO_LARGE, WORLD_INVALID, SIZE_INVALID) names what is too much, or absurd, of one decision."""
    for what, count, most in (("sites", len(seen.sites), SITES_MAX), ("inputs", len(seen.inputs), INPUTS_MAX)):
        if count > most:
            raise errors.InvalidArgument(
                f"the world has {count:,} {what}", reason="WORLD_TOO_LARGE", help=f"At most {most:,} {what} are compared."
            )
    for item in seen.inputs:
        if not 0 <= item.bytes <= BYTES_MAX:
            raise _absurd(f"inputs.{item.alias}.bytes", item.bytes, BYTES_MAX, "SIZE_INVALID")


def sites(given: Sequence[site.Site], known: Container[int]) -> None:
    """InvalidArgument (WORLD_INVALID) for two of one name, and for an offer that cannot be; `known` objects are sound."""
    if len({at.site for at in given}) != len(given):
        raise _impossible("two sites have one name", "Give each site once.")
    for at in given:
        if id(at) not in known and not _sound(at.offer):
            raise _impossible(f"the offer of {at.site} has a figure that cannot be", "Prices, watts and grams are 0 or more.")


def sent(counted: Mapping[str, int]) -> None:
    """InvalidArgument (WORLD_INVALID) for a volume that no pricing scope has carried."""
    for scope, volume in counted.items():
        if not 0 <= volume <= BYTES_MAX:
            raise _impossible(f"{scope} has sent {volume} bytes", f"Use 0 to {BYTES_MAX}.")


def speeds(given: Sequence[site.LinkSpeed]) -> None:
    """InvalidArgument (WORLD_INVALID) for a speed that no link has."""
    for speed in given:
        if not 0 < speed.bytes_per_second <= BYTES_MAX:
            link = f"{speed.source_region} to {speed.destination_region}"
            raise _impossible(f"{link} carries {speed.bytes_per_second} bytes a second", "Leave out what was not measured.")


def _sound(offer: site.Offer) -> bool:
    """Whether every figure of an offer is one that could be meant."""
    return (
        (offer.cpu_hour_micros is None or 0 <= offer.cpu_hour_micros <= MICROS_MAX)
        and (offer.storage_gb_month_micros is None or 0 <= offer.storage_gb_month_micros <= MICROS_MAX)
        and (offer.memory_gb_hour_micros is None or 0 <= offer.memory_gb_hour_micros <= MICROS_MAX)
        and (offer.cpu_watts is None or 0 <= offer.cpu_watts <= WATTS_MAX)
        and (offer.carbon_g_per_kwh is None or 0 <= offer.carbon_g_per_kwh <= WATTS_MAX)
        and (not offer.gpus or all(_sound_gpu(gpu) for gpu in offer.gpus))
    )


def _sound_gpu(gpu: site.GpuOffer) -> bool:
    return (
        0 <= gpu.gpu_hour_micros <= MICROS_MAX
        and (gpu.spot_gpu_hour_micros is None or 0 <= gpu.spot_gpu_hour_micros <= MICROS_MAX)
        and math.isfinite(gpu.preemptions_per_hour)
        and 0 <= gpu.preemptions_per_hour <= PREEMPTIONS_MAX
        and (gpu.watts is None or 0 <= gpu.watts <= WATTS_MAX)
    )


def _impossible(what: str, help_: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(what, reason="WORLD_INVALID", help=help_)


def _absurd(name: str, value: int, most: int, reason: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"{name} is {value}", reason=reason, help=f"Use 0 to {most}.", violations={name: f"must be 0 to {most}"}
    )
