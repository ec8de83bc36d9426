"""What compute costs at a site, and which of its prices are needed."""

from __future__ import annotations

import pytest

from federation.core import cost, job, site
from tests import builders

TWO_TYPES = builders.site(
    "us-1", offer=builders.offer("0.04", {"T4": "0.35", "H100": "6.88"}), capacity=builders.capacity(gpus={"T4": 2, "H100": 8})
)


def micros(at=None, **asked) -> int | str:
    """The price of a request's cheapest option, or the detail of its refusal."""
    request = builders.request(**asked)
    answer = cost.options(request, at or builders.site("us-1"), lambda _: request.duration_seconds)
    if isinstance(answer, job.Rejection):
        return answer.detail
    return min(cost.compute_micros(option, cost.run_seconds(option)) for option in answer)


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


def test_any_type_gets_the_type_that_is_best():
    """Each type that suffices alone is an option; one without a price is none, and does not refuse the site."""
    assert micros(TWO_TYPES, cpus=0, gpus=1, duration_seconds=3600) == 350_000
    one_price = builders.site("us-1", offer=builders.offer("0.04", {"H100": "6.88"}), capacity=TWO_TYPES.capacity)
    assert micros(one_price, cpus=0, gpus=1, duration_seconds=3600) == 6_880_000


def test_several_types_at_once_are_estimated_at_the_dearest():
    """Nine of two and eight GPUs can only be a mixture: an estimate does not flatter, and needs the price of each."""
    assert micros(TWO_TYPES, cpus=0, gpus=9, duration_seconds=3600) == 9 * 6_880_000
    one_price = builders.site("us-1", offer=builders.offer("0.04", {"T4": "0.35"}), capacity=TWO_TYPES.capacity)
    assert micros(one_price, gpus=9) == "its price of H100 is unknown"


def test_memory_with_a_price_of_its_own_is_paid_by_the_gb_hour():
    """64 GB for half an hour at half a cent; without that price memory is in the CPUs'."""
    asked = {"cpus": 0, "memory_bytes": 64 * 10**9, "duration_seconds": 1800}
    assert micros(builders.site("us-1", offer=builders.offer(memory_gb_hour_micros=5_000)), **asked) == 160_000
    assert micros(**asked) == 0


SPOT = builders.site(
    "us-1",
    offer=builders.offer(
        "0.00",
        gpus=(
            site.GpuOffer(type="T4", gpu_hour_micros=10**6, source="t", spot_gpu_hour_micros=400_000, preemptions_per_hour=0.5),
        ),
    ),
    capacity=builders.capacity(gpus={"T4": 8}),
)


def test_a_spot_run_is_expected_to_begin_again_after_each_preemption():
    """(e^(l T) - 1) / l: two hours at one preemption in two take 3.44 hours; a long run is cheaper on demand."""
    option = cost.Option("T4", True, 0, 7200, 0.5, None, "")
    assert cost.run_seconds(option) == 12_372
    assert micros(SPOT, gpus=1, spot=job.Spot.ALLOWED, duration_seconds=7200) == 12_372 * 400_000 // 3600 + 1
    assert micros(SPOT, gpus=1, spot=job.Spot.ALLOWED, duration_seconds=40_000) == 40_000 * 10**6 // 3600
    assert micros(SPOT, gpus=1, duration_seconds=7200) == 2_000_000


def test_without_preemptions_spot_takes_no_longer():
    """The limit of the formula for a rate of nothing, and next to nothing."""
    for rate in (0.0, 1e-13):
        assert cost.run_seconds(cost.Option("T4", True, 0, 7200, rate, None, "")) == 7200


def test_a_run_that_would_never_get_through_is_none():
    """A year at one preemption a minute."""
    assert cost.run_seconds(cost.Option("T4", True, 0, 366 * 86400, 60.0, None, "")) is None


def test_spot_alone_refuses_a_site_without_a_spot_market():
    """And names what has none."""
    assert micros(TWO_TYPES, gpus=1, gpu_type="T4", spot=job.Spot.ONLY) == "only spot was asked for, it has no spot price of T4"


def test_carbon_is_power_times_hours_times_the_grid_times_its_price():
    """1,000 W for two hours at 300 g/kWh are 600 g: six cents at $100 a tonne."""
    option = cost.Option("", False, 0, 7200, 0.0, 1000, "")
    terms = cost.Terms(tonne=100 * 10**6)
    assert cost.carbon(option, cost.span(option), terms, 300) == (600, 60_000)


def test_ingestion_costs_no_compute():
    """The agent does it; no price is needed."""
    assert micros(builders.site("us-1", offer=builders.offer(None)), kind=job.JobKind.INGEST) == 0
