"""What a request asks beside a place to run: time, carbon, quotas, copies, deliveries; and what the planner remembers."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given

from federation.core import checks, errors, job, plain, planner, quota, ratecard, site, transfer, units
from federation.core.world import Budget, Occupation, World
from tests import builders
from tests.builders import GB, NOW, price_row
from tests.unit.core.test_planner import requests, worlds

RELAY = ratecard.RateCard(
    rows=(
        price_row("aws:*", "internet", "0.09"),
        price_row("aws:eu-central-1", "aws:us-east-1", "0.01"),
        price_row("aws:us-east-1", "internet", "0.02"),
    )
)


def stores(name: str, **changes) -> site.Site:
    """A site whose storage has a price."""
    return builders.site(name, offer=builders.offer(storage_gb_month_micros=23_000), **changes)


def reads(percent: int = 0) -> job.JobRequest:
    """A job on `flights` that reads so much of it."""
    spec = job.InputSpec(alias="flights", dataset="sales/flights", read_percent=percent)
    return replace(builders.request(), inputs=(spec,))


def only(request: job.JobRequest, world: World, **changes) -> job.InputPlan:
    """How `us-1` has the one input."""
    plan = planner.plan(replace(request, sites=("us-1",), **changes), world)
    return plan.choice.inputs[0]


@given(requests, worlds())
def test_the_tight_loop_says_what_the_closer_look_says(request_, world):
    """For every site that is everyday, field by field."""
    decision = planner.Decision(request_, world)
    assert plain.applies(decision) or not decision.everyday
    looked_at = decision.supposed([decision.sites[candidate.site] for candidate in decision.everyday])
    assert looked_at == {candidate.site: candidate for candidate in decision.everyday}


def test_a_job_that_reads_its_input_five_times_copies_it_first():
    """500 % remotely would be five times the egress; a copy pays it once, and storage for an hour."""
    item = only(reads(500), builders.world([stores("eu-1"), stores("us-1")]))
    assert (item.way, item.bytes, item.egress_micros, item.keep_seconds) == (job.Way.COPY, GB, 20_000, 3600)
    assert item.storage_micros == 32
    assert only(reads(500), builders.world([stores("eu-1"), stores("us-1")]), no_copies=True).way is job.Way.REMOTE
    assert only(reads(500), builders.world()).way is job.Way.REMOTE


def test_a_copy_that_is_under_way_is_shared():
    """Somebody pays for it already: it costs the rest of its time, and the plan names it."""
    moving = transfer.Transfer(
        transfer="t-1",
        dataset="sales/flights",
        version=1,
        source_site="eu-1",
        destination_site="us-1",
        object_bytes=GB,
        bytes_done=GB // 2,
    )
    speed = site.LinkSpeed(source_region="aws:eu-central-1", destination_region="aws:us-east-1", bytes_per_second=10**6)
    world = builders.world(inputs=[builders.world_input(arriving=(moving,))], speeds=(speed,))
    plan = planner.plan(builders.request(sites=("us-1",)), world)
    (item,) = plan.choice.inputs
    assert (item.way, item.transfer, item.egress_micros, item.seconds) == (job.Way.COPY, "t-1", 0, 500)
    assert plan.choice.stage_seconds == 500


def test_a_relay_is_taken_where_both_legs_are_cheaper():
    """Nine cents directly; one and two through the east coast, where a replica stays for an hour."""
    rows = [stores("eu-1"), stores("us-1"), builders.site("vu-1")]
    world = builders.world(rows, [builders.world_input(total="100GB")], rates=RELAY)
    (item,) = planner.plan(builders.request(sites=("vu-1",)), world).choice.inputs
    assert (item.via_site, item.source_site, item.way) == ("us-1", "eu-1", job.Way.REMOTE)
    assert item.egress_micros == 1_000_000 + 2_000_000


@pytest.mark.parametrize("reason", ["residency", "no_copies", "storage", "small"])
def test_a_relay_keeps_the_rules(reason: str):
    """Not where the input may not lie, where copies are forbidden or storage has no price, nor for little."""
    relay = builders.site("us-1") if reason == "storage" else stores("us-1")
    residency = ("EU",) if reason == "residency" else ()
    rows = [stores("eu-1"), relay, builders.site("vu-1", jurisdiction="EU")]
    total = "9GB" if reason == "small" else "100GB"
    world = builders.world(rows, [builders.world_input(total=total, residency=residency)], rates=RELAY)
    request = builders.request(sites=("vu-1",), no_copies=reason == "no_copies")
    assert planner.plan(request, world).choice.egress_micros == builders.size(total) * 90_000 // builders.GB


def test_a_slow_link_makes_the_run_longer_and_a_copy_cheaper_where_time_counts():
    """A thousand seconds of reading hold the compute; with an hour's value the near but dear site wins."""
    speed = site.LinkSpeed(source_region="aws:eu-central-1", destination_region="aws:us-east-1", bytes_per_second=10**6)
    near = builders.site("eu-1", offer=builders.offer("4.00"))
    world = builders.world([near, builders.site("us-1")], speeds=(speed,))
    plain_plan = planner.plan(builders.request(), world)
    assert (plain_plan.choice.site, plain_plan.choice.run_seconds) == ("us-1", 1000)
    hurried = planner.plan(builders.request(hour_value_micros=100 * 10**6), world)
    assert hurried.choice.site == "eu-1"
    assert hurried.ranked[1].time_micros == 27_777_778


def test_a_deadline_that_nothing_meets_is_refused_with_figures():
    """What it would take, part by part, and what is left."""
    world = builders.world(submit_time=NOW - timedelta(seconds=100))
    plan = planner.plan(builders.request(deadline_seconds=600), world)
    assert plan.choice is None
    assert not planner.waits(plan)
    assert {rejection.reason for rejection in plan.rejections} == {"DEADLINE_MISSED"}
    assert plan.rejections[0].detail == "it would take 600 s (waiting 0 s, copying 0 s, running 600 s), 500 s are left"


@pytest.mark.parametrize(
    "changes",
    [
        {"sites_": [builders.site("eu-1", state=site.SiteState.LOST)]},
        {"sites_": [builders.site("eu-1", state=site.SiteState.DECLARED)]},
        {"sites_": [builders.site("eu-1", compute_error="it does not answer")]},
        {"sites_": [builders.site("eu-1")], "loads": (builders.load("eu-1", 16),)},
        {
            "sites_": [builders.site("eu-1"), builders.site("us-1", state=site.SiteState.LOST)],
            "inputs": [builders.world_input(at=["us-1"])],
        },
    ],
    ids=["lost", "declared", "down", "full", "unreadable"],
)
def test_nobody_waits_for_a_site_that_would_be_too_late_anyway(changes: dict[str, Any]):
    """What is amiss may pass, but the time has: a job whose deadline nothing can meet ends, and does not wait for ever."""
    world = builders.world(**changes)
    request = builders.request(deadline_seconds=660)
    assert planner.waits(planner.plan(request, world))
    late = planner.plan(request, replace(world, submit_time=NOW - timedelta(seconds=61)))
    assert not planner.waits(late)
    assert late.choice is None
    assert {rejection.reason for rejection in late.rejections} == {"DEADLINE_MISSED"}


def test_waiting_for_the_near_site_is_weighed_against_going_far():
    """Five minutes of waiting are worth less than the egress; at a higher value of time they are not."""
    run = Occupation(site="eu-1", run="r", resources=job.Resources(cpus=16), end_time=NOW + timedelta(minutes=5))
    world = builders.world(inputs=[builders.world_input(total="100GB")], loads=(builders.load("eu-1", 16),), occupations=(run,))
    patient = planner.plan(builders.request(hour_value_micros=10**6), world)
    assert (patient.choice.site, patient.choice.wait_seconds) == ("eu-1", 300)
    assert planner.plan(builders.request(hour_value_micros=10**8), world).choice.site == "us-1"
    assert planner.plan(builders.request(), world).choice.site == "us-1"


def test_carbon_enters_by_its_price_and_refuses_where_it_is_unknown():
    """The cleaner grid wins at a price of carbon; without a weight nobody asks."""
    green = builders.site("eu-1", offer=builders.offer("0.05", cpu_watts=10, carbon_g_per_kwh=20))
    brown = builders.site("us-1", offer=builders.offer("0.04", cpu_watts=10, carbon_g_per_kwh=900))
    unknown = builders.site("us-2", offer=builders.offer("0.01", cpu_watts=10))
    world = builders.world([green, brown, unknown], [])
    request = builders.request(duration_seconds=36_000)
    assert planner.plan(request, world).choice.site == "us-2"
    weighed = planner.plan(replace(request, carbon_tonne_micros=2_000 * 10**6), world)
    assert [(c.site, c.carbon_grams, c.carbon_micros) for c in weighed.ranked] == [("eu-1", 2, 4_000), ("us-1", 90, 180_000)]
    assert [(r.site, r.reason) for r in weighed.rejections] == [("us-2", "CARBON_UNKNOWN")]


def test_quotas_refuse_until_the_month_is_over():
    """GPU-seconds by what the run would take, egress by what it would cost; both can pass."""
    used = quota.NamespaceUsage(
        namespace="sales", month="2026-11", gpu_seconds=3000, reserved_gpu_seconds=500, egress_micros=90_000
    )
    budget = Budget(gpu_seconds_quota=4000, egress_micros_quota=100_000, usage=used)
    rows = [
        builders.site(name, offer=builders.offer("0.04", {"T4": "0.35"}), capacity=builders.capacity(gpus={"T4": 4}))
        for name in ("eu-1", "us-1")
    ]
    world = builders.world(rows, budget=budget)
    plan = planner.plan(builders.request(), world)
    assert [(r.site, r.reason, r.resolvable) for r in plan.rejections] == [("us-1", "QUOTA_EGRESS", True)]
    plan = planner.plan(builders.request(gpus=1), world)
    assert {(r.reason, r.resolvable) for r in plan.rejections} == {("QUOTA_GPU_SECONDS", True)}
    assert planner.plan(builders.request(gpus=1, duration_seconds=500, sites=("eu-1",)), world).choice.site == "eu-1"


def test_a_site_that_an_attempt_was_lost_at_comes_last_and_is_named():
    """It is the cheaper one, and still better than nothing."""
    attempts = (job.PastAttempt(attempt=1, site="eu-1", reason="LEASE_LOST"),)
    plan = planner.plan(builders.request(), builders.world(attempts=attempts))
    assert [(c.site, c.avoided) for c in plan.ranked] == [("us-1", ""), ("eu-1", "LEASE_LOST")]
    assert "eu-1 comes last: attempt 1 ended there with LEASE_LOST" in plan.notes
    assert plan.attempts == attempts
    alone = planner.plan(builders.request(sites=("eu-1",)), builders.world(attempts=attempts))
    assert alone.choice.avoided == "LEASE_LOST"


def test_an_assigned_site_stands_first_and_says_why():
    """The queue's assignment knows more than one job's plan does."""
    plan = planner.plan(builders.request(), builders.world(), at="us-1")
    assert [c.site for c in plan.ranked] == ["us-1", "eu-1"]
    assert plan.notes[-1] == "us-1 was chosen together with the other jobs that wait; alone it would be eu-1"
    assert all(len(c.inputs) == 1 for c in plan.ranked)


def test_outputs_are_priced_to_where_they_are_wanted():
    """The report goes to Europe: computing there costs no landing, and an unknown size is said."""
    out = job.OutputSpec(alias="report", dataset="sales/report", deliver_to="eu-1", assumed_bytes=10 * GB)
    plan = planner.plan(replace(builders.request(), outputs=(out,)), builders.world(inputs=[]))
    assert [(c.site, c.landing_micros) for c in plan.ranked] == [("eu-1", 0), ("us-1", 200_000)]
    unknown = planner.plan(replace(builders.request(), outputs=(replace(out, assumed_bytes=0),)), builders.world(inputs=[]))
    assert "report: its size is not known, so bringing it to eu-1 is not priced" in unknown.notes
    with pytest.raises(errors.InvalidArgument) as caught:
        planner.plan(replace(builders.request(), outputs=(replace(out, deliver_to="mars-1"),)), builders.world())
    assert caught.value.reason == "SITE_UNKNOWN"


def test_a_version_that_is_read_again_and_again_is_kept():
    """An hour between reads, a month's storage for the price of a read: the third read makes a copy, and says so."""
    times = tuple(NOW - timedelta(hours=hours) for hours in (2, 1))
    log = transfer.ReadLog(dataset="sales/flights", version=1, site="us-1", times=times, reads=2)
    world = builders.world([stores("eu-1"), stores("us-1")], [builders.world_input(read_logs=(log,))])
    plan = planner.plan(builders.request(sites=("us-1",)), world)
    (item,) = plan.choice.inputs
    assert (item.way, item.egress_micros) == (job.Way.COPY, 20_000)
    assert item.keep_seconds > 3600
    assert plan.choice.storage_micros == item.storage_micros > 0
    assert any(note.startswith("flights: copied and kept") for note in plan.notes)
    assert only(builders.request(), builders.world([stores("eu-1"), stores("us-1")])).way is job.Way.REMOTE


def test_what_no_tier_prices_together_is_refused():
    """Each input alone fits into the one tier that is known; together they do not."""
    card = ratecard.RateCard(rows=(price_row("aws:*", "internet", "0.09", upto="10GB"),))
    inputs = [builders.world_input(name, total="6GB") for name in ("a", "b")]
    rows = [builders.site("eu-1"), builders.site("vu-1")]
    request = builders.request(sites=("vu-1",))
    assert planner.plan(request, builders.world(rows, inputs[:1], rates=card)).choice.site == "vu-1"
    plan = planner.plan(request, builders.world(rows, inputs, rates=card))
    assert [r.reason for r in plan.rejections if r.site == "vu-1"] == ["PRICE_UNKNOWN"]


def test_volumes_beyond_64_bits_are_still_exact():
    """Half an exbyte at a dear rate: counted in Python's integers, to the micro-dollar."""
    card = ratecard.RateCard(rows=(price_row("aws:*", "aws:*", "90.000001"),))
    plan = planner.plan(
        builders.request(sites=("us-1",)), builders.world(inputs=[builders.world_input(total=2**59)], rates=card)
    )
    assert plan.choice.egress_micros == units.divide_half_even(2**59 * 90_000_001, 10**9)


@pytest.mark.parametrize(
    "changes",
    [
        {"volumes": (site.LinkVolume(scope="aws:a~internet", month="2026-11", sent_bytes=-1),)},
        {"speeds": (site.LinkSpeed(source_region="aws:a", destination_region="aws:b", bytes_per_second=0),)},
        {"sites": (builders.site("eu-1"), builders.site("eu-1"))},
        {"sites": (builders.site("eu-1", offer=builders.offer(-1)),)},
        {"sites": (builders.site("eu-1", offer=builders.offer(10**15)),)},
        {
            "sites": (
                builders.site(
                    "eu-1",
                    offer=builders.offer(
                        gpus=(
                            replace(site.GpuOffer(type="T4", gpu_hour_micros=1, source=""), preemptions_per_hour=float("nan")),
                        )
                    ),
                ),
            )
        },
    ],
)
def test_an_absurd_world_is_refused_by_name(changes: dict):
    """What cannot be is not planned with."""
    with pytest.raises(errors.InvalidArgument) as caught:
        planner.plan(builders.request(), replace(builders.world(), **changes))
    assert caught.value.reason == "WORLD_INVALID"


def test_a_world_that_is_too_large_is_refused_before_any_work():
    """Sites and inputs, each by name."""
    many = (builders.site("eu-1"),) * (checks.SITES_MAX + 1)
    with pytest.raises(errors.InvalidArgument, match="sites") as caught:
        planner.plan(builders.request(), replace(builders.world(), sites=many))
    assert caught.value.reason == "WORLD_TOO_LARGE"
    inputs = (builders.world_input(),) * (checks.INPUTS_MAX + 1)
    with pytest.raises(errors.InvalidArgument, match="inputs"):
        planner.plan(builders.request(), replace(builders.world(), inputs=inputs))


def test_inputs_that_share_too_many_tiers_are_compared_as_far_as_time_allows():
    """A hundred inputs over four links near their edges: what is not proven the best says by how much it may be above it."""
    places = ["aws:a", "gcp:b", "vultr:c", "azure:d"]
    rows = [builders.site(f"s{n}", place) for n, place in enumerate(places)] + [builders.site("far", "oci:e")]
    card = ratecard.RateCard(
        rows=tuple(
            row
            for n, place in enumerate(places)
            for row in (
                price_row(f"{place[: place.index(':')]}:*", "internet", f"0.{n + 1:02d}", upto=(300 + n) * GB),
                price_row(f"{place[: place.index(':')]}:*", "internet", "0.12"),
            )
        )
    )
    inputs = [builders.world_input(f"i{n}", [f"s{k}" for k in range(4)], (n * 7919) % 97 * 10**8 + n) for n in range(100)]
    plan = planner.plan(builders.request(sites=("far",)), builders.world(rows, inputs, rates=card))
    assert plan.choice.site == "far"
    (said,) = (note for note in plan.notes if "above the least" in note)
    assert said.startswith("far: the best of the ways that could be compared in time")


def spot_market(name: str, spot: int, **changes) -> site.Site:
    """A site that sells one T4 at a dollar an hour, and at `spot` micro-dollars where it may be taken away."""
    gpu = site.GpuOffer(type="T4", gpu_hour_micros=10**6, source="t", spot_gpu_hour_micros=spot)
    return builders.site(name, offer=builders.offer(gpus=(gpu,)), capacity=builders.capacity(gpus={"T4": 1}), **changes)


def past(reason: str, *, spot: bool, at: str = "eu-1", attempt: int = 1) -> job.PastAttempt:
    """An attempt that ended."""
    return job.PastAttempt(attempt=attempt, site=at, reason=reason, spot=spot)


def chosen(spot: job.Spot, *attempts: job.PastAttempt, dear: int = 900_000) -> job.Plan:
    """The plan of a job that wants one GPU, where eu-1's spot is cheap and us-1's dear; both sell on demand at one price."""
    request = replace(builders.request(cpus=0, gpus=1), inputs=(), spot=spot)
    world = builders.world([spot_market("eu-1", 300_000), spot_market("us-1", dear)], inputs=[], attempts=attempts)
    return planner.plan(request, world)


def test_spot_that_was_taken_away_is_not_taken_again_but_on_demand_there_is_fair():
    """Neither comes last: the other site's spot wins while it is cheaper, and this site on demand where it is not."""
    assert (chosen(job.Spot.ALLOWED).choice.site, chosen(job.Spot.ALLOWED).choice.spot) == ("eu-1", True)
    again = chosen(job.Spot.ALLOWED, past("PREEMPTED", spot=True))
    assert [(row.site, row.spot, row.avoided) for row in again.ranked] == [("us-1", True, ""), ("eu-1", False, "")]
    assert "eu-1 on demand alone: attempt 1 was preempted there" in again.notes
    both = chosen(job.Spot.ALLOWED, past("PREEMPTED", spot=True), past("PREEMPTED", spot=True, at="us-1", attempt=2))
    assert [(row.site, row.spot, row.avoided) for row in both.ranked] == [("eu-1", False, ""), ("us-1", False, "")]


def test_where_only_spot_will_do_a_preempted_site_comes_last():
    """There is no other way to compute there, so the site is avoided as after any loss."""
    again = chosen(job.Spot.ONLY, past("PREEMPTED", spot=True))
    assert [(row.site, row.spot, row.avoided) for row in again.ranked] == [("us-1", True, ""), ("eu-1", True, "PREEMPTED")]


@pytest.mark.parametrize(
    "attempt", [past("PREEMPTED", spot=False), past("NODE_LOST", spot=True), past("NODE_LOST", spot=False)]
)
def test_a_lost_node_speaks_against_its_site_whatever_the_market(attempt):
    """Only spot that was taken back says nothing of the machines that are paid in full."""
    again = chosen(job.Spot.ALLOWED, attempt)
    assert [(row.site, row.avoided) for row in again.ranked] == [("us-1", ""), ("eu-1", attempt.reason)]


def test_a_site_that_lost_more_than_its_spot_still_comes_last():
    """What was learnt of it later is not forgotten for what came first."""
    again = chosen(job.Spot.ALLOWED, past("LEASE_LOST", spot=False), past("PREEMPTED", spot=True, attempt=2))
    assert [(row.site, row.spot, row.avoided) for row in again.ranked] == [("us-1", True, ""), ("eu-1", False, "LEASE_LOST")]
