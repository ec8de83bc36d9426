"""What compute costs at a site, and which of its prices are needed."""

from __future__ import annotations

import pytest

from federation.core import cost, job
from tests import builders

TWO_TYPES = builders.site(
    "us-1", offer=builders.offer("0.04", {"T4": "0.35", "H100": "6.88"}), capacity=builders.capacity(gpus={"T4": 2, "H100": 8})
)


def micros(at=None, **asked) -> int | str:
    """The price of a request's compute, or the detail of its refusal."""
    answer = cost.compute(builders.request(**asked), at or builders.site("us-1"))
    return answer.micros if isinstance(answer, cost.Compute) else answer.detail


def test_compute_is_cpus_and_gpus_for_the_estimated_time():
    """Four CPUs at 4 cents and two H100 at $6.88 for half an hour."""
    assert micros(TWO_TYPES, cpus=4, gpus=2, gpu_type="H100", duration_seconds=1800) == 80_000 + 6_880_000


def test_micro_dollars_are_rounded_half_to_even():
    """One CPU-second at 1,800 and at 5,400 micro-dollars an hour: a half, and one and a half."""
    half = builders.site("us-1", offer=builders.offer(1800))
    one_and_a_half = builders.site("us-1", offer=builders.offer(5400))
    assert (micros(half, duration_seconds=1), micros(one_and_a_half, duration_seconds=1)) == (0, 2)


def test_what_a_job_does_not_use_needs_no_price():
    """A GPU job without CPUs runs where the CPU price is unknown, and the other way round."""
    at = builders.site("us-1", offer=builders.offer(None, {"T4": "3.60"}), capacity=builders.capacity(gpus={"T4": 1}))
    assert micros(at, cpus=0, gpus=1, gpu_type="T4", duration_seconds=1) == 1_000
    assert micros(at, cpus=0) == 0


@pytest.mark.parametrize(
    ("offer", "says"),
    [
        (builders.offer(None, {"H100": "6.88"}), "its CPU price is unknown"),
        (builders.offer("0.04", {"T4": "0.35"}), "its price of H100 is unknown"),
    ],
)
def test_an_unknown_price_is_named(offer, says: str):
    """Which one it is, and never another."""
    assert micros(builders.site("us-1", offer=offer), gpus=1, gpu_type="H100") == says


def test_any_type_is_estimated_at_the_dearest():
    """Whoever takes any GPU may get the dearest one: an estimate does not flatter, and needs the price of each."""
    assert micros(TWO_TYPES, cpus=0, gpus=1, duration_seconds=3600) == 6_880_000
    one_price = builders.site("us-1", offer=builders.offer("0.04", {"T4": "0.35"}), capacity=TWO_TYPES.capacity)
    assert micros(one_price, gpus=1) == "its price of H100 is unknown"


def test_ingestion_costs_no_compute():
    """The agent does it; no price is needed."""
    assert micros(builders.site("us-1", offer=builders.offer(None)), kind=job.JobKind.INGEST) == 0
