"""Whose turn it is: shares by weight in virtual time, nobody starves, and quotas."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, fairshare
from federation.core.fairshare import Claim, Contender, Held, Meter, Share, Use
from tests import queue_sim

DAY = 86400
#: Of `jobs_of`: 600 * 11 / ln 12.
MEAN_SECONDS = 2656
#: CPUs and GPUs of each site.
ROOMS = {"eu-1": (128, 16), "us-1": (256, 32), "us-2": (64, 8)}


def contender(name: str, namespace: str, gpus: int = 1, seconds: int = 3600, **fields) -> Contender:
    """A job that may go to any site that is big enough for it."""
    claims = fields.pop("claims", None) or tuple(
        Claim(site=site, demand=(gpus, gpus)) for site, room in ROOMS.items() if gpus <= room[1]
    )
    return Contender(job=name, namespace=namespace, claims=claims, predicted_seconds=seconds, units=gpus, **fields)


def jobs_of(namespace: str, rnd: random.Random, count: int, *, start: int = 0, every: int = 0, sizes=(1, 1, 2, 4, 8)):
    """Jobs of mixed size, 10 minutes to 2 hours, predicted within a factor of two; every `every` seconds, or all at once."""
    found = []
    for i in range(count):
        seconds = int(600 * 12 ** rnd.random())
        wanted = contender(
            f"{namespace}-{i:05d}",
            namespace,
            rnd.choice(sizes),
            int(seconds * rnd.uniform(0.6, 1.7)),
            submit_seconds=start + i * every,
        )
        found.append(queue_sim.Job(arrive_seconds=start + i * every, seconds=seconds, contender=wanted))
    return found


def gpu_seconds(outcome: queue_sim.Outcome, jobs: list[queue_sim.Job], since: int, until: int) -> dict[str, int]:
    """GPU-seconds that each namespace had between two times."""
    found: dict[str, int] = {}
    for job in jobs:
        name = job.contender.job
        if name in outcome.started:
            start, end = max(outcome.started[name], since), min(outcome.started[name] + job.seconds, until)
            found[job.contender.namespace] = found.get(job.contender.namespace, 0) + max(end - start, 0) * job.contender.units
    return found


@pytest.mark.parametrize(
    ("seed", "weights"),
    [
        (1, {"a": 1, "b": 1}),
        (2, {"a": 3, "b": 1}),
        (3, {"a": 1, "b": 2, "c": 3}),
        (4, {"a": 5, "b": 3, "c": 2, "d": 1, "e": 1}),
    ],
)
def test_gpu_hours_are_within_five_percent_of_the_weights_under_saturation(seed, weights):
    """Two to five namespaces with a fifth more jobs than there is room for, in 4 days; predictions are wrong by up to 70 %."""
    rnd = random.Random(seed)
    sizes = {"a": (1, 1, 2, 4, 8), "b": (1, 2), "c": (4, 8, 8, 16), "d": (1,), "e": (2, 4)}
    jobs = []
    for name, weight in weights.items():
        due = 56 * weight / sum(weights.values())
        every = int(sum(sizes[name]) / len(sizes[name]) * MEAN_SECONDS / due / 1.2)
        jobs += jobs_of(name, rnd, 4 * DAY // every, every=every, sizes=sizes[name])
    outcome = queue_sim.Queue(ROOMS, [Share(namespace=name, weight=weight) for name, weight in weights.items()]).run(
        jobs, 4 * DAY
    )
    had = gpu_seconds(outcome, jobs, DAY // 2, 4 * DAY)
    waiting = {job.contender.namespace for job in jobs if job.contender.job not in outcome.started}
    assert waiting == set(weights), "not saturated, so nothing was tested"
    for name, weight in weights.items():
        share, due = had[name] / sum(had.values()), weight / sum(weights.values())
        assert abs(share / due - 1) <= 0.05, (name, share, due)


def test_nobody_starves_a_big_job_goes_before_those_that_came_long_after_it():
    """A job that wants a whole site starts within a day and a half, though small ones, its own among them, never end."""
    rnd = random.Random(7)
    small = [job for name in ("a", "b") for job in jobs_of(name, rnd, 1800, every=130, sizes=(1, 2))]
    big = [
        queue_sim.Job(arrive_seconds=DAY, seconds=3600, contender=contender(f"big-{i}", name, 32, 3600, submit_seconds=DAY))
        for i, name in enumerate(("a", "b", "c"))
    ]
    outcome = queue_sim.Queue(ROOMS, []).run(small + big, int(2.7 * DAY))
    for job in big:
        assert outcome.started[job.contender.job] - DAY <= 1.5 * DAY, job.contender.job


def test_without_a_reservation_the_big_job_would_starve():
    """What the law above is worth: the room that a big job needs is kept for it, and a small job that would take it waits."""
    held = [Held(site="us-1", demand=(30, 30), end_seconds=1000), Held(site="us-2", demand=(8, 8), end_seconds=99999)]
    free = [("eu-1", (0, 0)), ("us-1", (226, 2)), ("us-2", (56, 0))]
    big, late, quick = contender("big", "a", 32, 600), contender("late", "b", 1, 5000), contender("quick", "c", 2, 900)
    told = fairshare.admit([big, late, quick], held, free, [], [], now_seconds=0, half_life_seconds=DAY)
    assert told.reserved[0] == fairshare.Reservation(job="big", site="us-1", start_seconds=1000)
    assert [name for name, _ in told.admitted] == ["quick"]


def test_what_leaves_enough_beside_a_reservation_goes():
    """Us-1 opens with 32 GPUs for a job that wants 30: two may stay taken for as long as they like, three may not."""
    held = [Held(site="us-1", demand=(28, 28), end_seconds=1000)]
    free = [("eu-1", (0, 0)), ("us-1", (228, 4)), ("us-2", (0, 0))]
    queue = [contender("big", "a", 30, 600), contender("b1", "b", 2, 5000), contender("b2", "b", 1, 5000)]
    told = fairshare.admit(queue, held, free, [], [], now_seconds=0, half_life_seconds=DAY)
    assert [name for name, _ in told.admitted] == ["b1"]


def test_an_idle_namespaces_share_goes_to_the_others():
    """While only one asks, it has all but what ticks and big jobs leave; whoever is idle costs nobody anything."""
    jobs = jobs_of("a", random.Random(5), 2000, every=130)
    outcome = queue_sim.Queue(ROOMS, [Share(namespace="b", weight=9)], tick_seconds=300).run(jobs, 3 * DAY)
    assert gpu_seconds(outcome, jobs, DAY, 3 * DAY)["a"] >= 0.9 * 56 * 2 * DAY


def test_idling_longer_banks_no_more_credit():
    """Who comes back after 6 half-lives is ahead for a while, no longer than who comes after 3, and then has its share."""
    ahead = []
    for away in (3, 6):
        rnd = random.Random(11)
        jobs = jobs_of("a", rnd, (away + 2) * DAY // 130, every=130) + jobs_of(
            "b", rnd, 2 * DAY // 130, start=away * DAY, every=130
        )
        outcome = queue_sim.Queue(ROOMS, []).run(jobs, (away + 2) * DAY)
        first, second = (gpu_seconds(outcome, jobs, (away + day) * DAY, (away + day + 1) * DAY) for day in (0, 1))
        ahead.append(first["b"] / sum(first.values()))
        assert second["b"] / sum(second.values()) == pytest.approx(0.5, abs=0.1)
    assert ahead[1] == pytest.approx(ahead[0], abs=0.06)


def test_the_room_is_never_idle_for_a_job_that_fits():
    """Work conserving: after every decision no job is left that fits at a site which is kept for nobody."""
    rnd = random.Random(13)
    jobs = [job for name in ("a", "b", "c") for job in jobs_of(name, rnd, 300, every=900)]
    assert queue_sim.Queue(ROOMS, []).run(jobs, 10 * DAY).idle == []


def test_every_job_that_can_run_does():
    """When no more come, all have run, in every order of sizes."""
    rnd = random.Random(17)
    jobs = [job for name in ("a", "b") for job in jobs_of(name, rnd, 400, every=60, sizes=(1, 8, 32))]
    outcome = queue_sim.Queue(ROOMS, []).run(jobs, 400 * DAY)
    assert len(outcome.ended) == len(jobs)


def test_priorities_come_before_shares():
    """A namespace that has used everything still goes first with a higher priority."""
    used = [Use(namespace="a", amount=1e9, at_seconds=0)]
    queue = [contender("low", "b", 8), contender("high", "a", 8, priority=1)]
    queue = [Contender(**{**vars(job), "claims": (Claim(site="us-2", demand=(8, 8)),)}) for job in queue]
    told = fairshare.admit(queue, [], [("us-2", (64, 8))], [], used, now_seconds=0, half_life_seconds=DAY)
    assert told.admitted == (("high", 0),)


def test_jobs_without_gpus_are_measured_by_their_cpus():
    """Who used many GPU-seconds is not behind for CPUs, and the other way round."""
    used = [Use(namespace="a", meter=Meter.GPU, amount=1e6), Use(namespace="b", meter=Meter.CPU, amount=1e6)]
    claims = (Claim(site="us-2", demand=(64, 0)),)
    queue = [contender(name, name, 64, meter=Meter.CPU, claims=claims) for name in ("b", "a")]
    told = fairshare.admit(queue, [], [("us-2", (64, 8))], [], used, now_seconds=0, half_life_seconds=DAY)
    assert told.admitted == (("a", 0),)


QUEUES = st.lists(
    st.tuples(st.sampled_from("abc"), st.integers(1, 16), st.integers(1, 9000), st.integers(0, 2), st.integers(0, 3)),
    max_size=25,
)


@given(QUEUES, st.randoms(use_true_random=False), st.lists(st.tuples(st.integers(1, 8), st.integers(0, 5000)), max_size=5))
def test_the_order_of_the_queue_does_not_matter_and_nothing_is_given_twice(rows, rnd, held):
    """Shuffled jobs, sites and holders give the same admission, and it fits."""
    queue = [
        contender(f"j{i}", namespace, gpus, seconds, priority=priority, submit_seconds=submit)
        for i, (namespace, gpus, seconds, priority, submit) in enumerate(rows)
    ]
    holders = [Held(site="us-1", demand=(gpus, gpus), end_seconds=end) for gpus, end in held]
    free = [("eu-1", (5, 5)), ("us-1", (40, 9)), ("us-2", (64, 8))]
    told = fairshare.admit(queue, holders, free, [], [], now_seconds=10, half_life_seconds=DAY)
    shuffled = [rnd.sample(list(values), len(values)) for values in (queue, holders, free)]
    assert fairshare.admit(*shuffled, [], [], now_seconds=10, half_life_seconds=DAY) == told
    by_name = {job.job: job for job in queue}
    for site, room in free:
        taken = [by_name[name].claims[at].demand for name, at in told.admitted if by_name[name].claims[at].site == site]
        assert all(sum(column) <= have for column, have in zip(zip(*taken, strict=True), room, strict=False))


def test_use_halves_every_half_life_and_is_settled_as_of_the_start():
    """A job charged for 200 and ended after 100 leaves what a job charged 100 would have."""
    use = Use(namespace="a", amount=100.0, at_seconds=0)
    assert use.decayed(DAY, DAY) == 50.0
    wrong = Use(namespace="a").charged(200, 0, DAY).settled(-100, 0, DAY, DAY)
    assert wrong.amount == pytest.approx(Use(namespace="a").charged(100, 0, DAY).decayed(DAY, DAY))


@pytest.mark.parametrize(
    "wrong",
    [
        {"contenders": [contender("x", "a"), contender("x", "b")]},
        {"shares": [Share(namespace="a", weight=0)]},
        {"half_life_seconds": 0},
        {"contenders": [contender("x", "a", claims=(Claim(site="nowhere", demand=(1, 1)),))]},
        {"contenders": [contender("x", "a", seconds=-1)]},
    ],
)
def test_what_cannot_be_is_refused(wrong):
    """A job twice, a weight or half-life of nothing, a site nobody knows, a negative time."""
    asked = {"contenders": [], "shares": [], "half_life_seconds": 1, **wrong}
    free = list(ROOMS.items())
    with pytest.raises(errors.InvalidArgument) as refused:
        fairshare.admit(
            asked["contenders"], [], free, asked["shares"], [], now_seconds=0, half_life_seconds=asked["half_life_seconds"]
        )
    assert refused.value.reason == "QUEUE_INVALID"
