"""How a plan is shown: all sites with all parts, in a hundred columns, with what would change it and what went before."""

from __future__ import annotations

import pytest

from federation.cli import plans
from federation.cli.output import Output
from federation.core import job
from federation.shown import plans as words
from tests import builders


def shown(capsys: pytest.CaptureFixture[str], plan: job.Plan) -> str:
    """What is printed of a plan."""
    plans.show(Output(), builders.job(plan=plan))
    return capsys.readouterr().out


def full(at: str, **changes: object) -> job.Candidate:
    """A candidate of which no part is nothing."""
    values = {
        "region": "gcp:northamerica-northeast1",
        "compute_micros": 12_345_678_901,
        "egress_micros": 9_876_543_210,
        "storage_micros": 123_456_789,
        "landing_micros": 23_456_789,
        "time_micros": 1_234_567_890,
        "carbon_micros": 12_345_678,
        "carbon_grams": 123_456,
        "wait_seconds": 3723,
        "stage_seconds": 86_399,
        "run_seconds": 176_400,
        "gpu_type": "H100",
        "locality": 0.37,
    }
    return builders.candidate(at, **values | changes)


def test_the_table_of_sites_fits_a_hundred_columns(capsys):
    """Also where every part of the cost is there and large."""
    text = shown(capsys, builders.plan(full("us-east-prod"), full("eu-central-1")))
    (head,) = (line for line in text.splitlines() if line.startswith("#"))
    for word in ("COMPUTE", "EGRESS", "STORE", "LAND", "TOTAL", "TIME", "CARBON", "WAIT", "STAGE", "RUN", "HERE"):
        assert word in head.split()
    rows = text.splitlines()[text.splitlines().index(head) :][:3]
    assert max(map(len, rows)) <= 100
    assert "1h02m" in rows[1]


def test_a_part_that_is_nothing_everywhere_has_no_column(capsys):
    """And then there is room for the region."""
    text = shown(capsys, builders.plan(builders.candidate("eu-1"), builders.candidate("us-1", compute_micros=5)))
    (head,) = (line for line in text.splitlines() if line.startswith("#"))
    assert head.split() == ["#", "SITE", "REGION", "COMPUTE", "EGRESS", "TOTAL", "HERE"]


def test_the_choice_tells_when_it_begins_and_what_is_weighed(capsys):
    """Money that is spent and value that is only weighed are told apart."""
    text = shown(capsys, builders.plan(full("eu-1")))
    assert "begins   after 1h02m of waiting for room, 23h59m of copying; runs 2d1h" in text
    assert "time     $1,234.56789   the value put on its time, not spent" in text
    assert "carbon   $12.345678   the price put on 123,456 g CO2e, not spent" in text


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (
            job.Counterfactual(site="ewr-1", change="REPLICA_THERE", subject="sales/orders@3", saving_micros=3_120_000),
            "ewr-1 would win if sales/orders@3 had a replica there, -$3.12",
        ),
        (
            job.Counterfactual(
                site="eu-2",
                change="MORE_CAPACITY",
                subject="2 H100",
                detail="it would win if it had 2 H100 more: -$1.00",
                saving_micros=1_000_000,
            ),
            "eu-2 would win if it had 2 H100 more: -$1.00",
        ),
    ],
)
def test_what_would_have_changed_the_plan_is_a_sentence(capsys, change: job.Counterfactual, told: str):
    """With what it would save."""
    text = shown(capsys, builders.plan(builders.candidate("eu-1"), counterfactuals=(change,)))
    assert told in text.splitlines()[-1] or f"  {told}" in text.splitlines()


def test_where_no_site_can_run_it_what_would_let_one_comes_first(capsys):
    """Before all the refusals."""
    change = job.Counterfactual(
        site="eu-2",
        change="MORE_CAPACITY",
        subject="2 H100",
        detail="it could take the job, at $1.00, if it had 2 H100 more",
        saving_micros=0,
        objective_micros=1_000_000,
    )
    refused = job.Rejection(site="eu-2", reason="GPUS_EXHAUSTED", detail="2 H100 asked for, 0 free", resolvable=True)
    lines = shown(capsys, builders.plan(ranked=(), counterfactuals=(change,), rejections=(refused,))).splitlines()
    assert lines[:2] == ["no site can run it", "  eu-2 could take the job, at $1.00, if it had 2 H100 more"]
    assert "GPUS_EXHAUSTED" in lines[-1]


def test_a_copy_tells_where_from_through_where_and_for_how_long(capsys):
    """And whether it is on its way already."""
    copied = builders.input_plan(
        "flights", "us-1", "eu-1", way=job.Way.COPY, via_site="ewr-1", keep_seconds=172_800, transfer="t-1", storage_micros=5
    )
    text = shown(capsys, builders.plan(builders.candidate("eu-1", inputs=(copied,))))
    assert "copied from us-1 through ewr-1, kept 2d, under way already" in text
    assert "$0.000005" in text


def test_earlier_attempts_are_told(capsys):
    """And a site that is avoided for one says so."""
    past = job.PastAttempt(attempt=1, site="us-1", reason="LEASE_LOST", detail="not heard from")
    avoided = builders.candidate("us-1", avoided="LEASE_LOST")
    text = shown(capsys, builders.plan(builders.candidate("eu-1", compute_micros=9), avoided, attempts=(past,)))
    assert "attempt 1 at us-1 ended with LEASE_LOST: not heard from" in text
    assert "runner-up: us-1, which comes after all others because an earlier attempt ended there (LEASE_LOST)" in text


def test_equal_sites_tell_why_one_of_them_was_taken(capsys):
    """More of the input, or the name."""
    text = shown(capsys, builders.plan(builders.candidate("eu-1"), builders.candidate("us-1", locality=0.5)))
    assert "runner-up: us-1, which costs the same; more of its input lies here" in text
    text = shown(capsys, builders.plan(builders.candidate("eu-1"), builders.candidate("us-1")))
    assert "runner-up: us-1, which costs the same; the name decides" in text


def test_a_thousand_sites_do_not_fill_the_screen(capsys):
    """They are counted, by reason."""
    ranked = [builders.candidate(f"s-{i:03d}", region="aws:x", compute_micros=i) for i in range(500)]
    rejections = tuple(
        job.Rejection(site=f"r-{i:03d}", reason="NO_COMPUTE" if i % 2 else "SITE_LOST", detail="", resolvable=not i % 2)
        for i in range(500)
    )
    text = shown(capsys, builders.plan(*ranked, rejections=rejections))
    assert len(text.splitlines()) < 40
    assert "and 480 more; -o json has all" in text
    assert "set aside: 250 with SITE_LOST (waiting may help): r-000, r-002, r-004, r-006, r-008, ..." in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0s"), (59, "59s"), (60, "1m"), (61, "1m01s"), (3600, "1h"), (3900, "1h05m"), (172_800, "2d"), (180_000, "2d2h")],
)
def test_durations_are_short(seconds: int, text: str):
    """Two units at most, but for minutes with seconds."""
    assert words.span(seconds) == text


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (0, "$0.00"),
        (26, "$0.000026"),
        (999_999, "$0.999999"),
        (1_005_000, "$1.00"),
        (1_015_000, "$1.02"),
        (-2_500_000, "-$2.50"),
        (1_234_567_890, "$1,235"),
    ],
)
def test_amounts_are_short_where_there_are_dollars(micros: int, text: str):
    """Half to even, as everywhere."""
    assert words.brief(micros) == text
