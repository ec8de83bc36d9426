"""From measured bytes to ledger entries and their sums."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, metering, ratecard
from tests import builders
from tests.builders import GB


def entry(grant=None, usage=None, *, rates=None, before=0) -> metering.LedgerEntry:
    """The entry that settles a grant at the builders' prices."""
    return metering.entry(
        grant or builders.grant_record(),
        usage or builders.usage(),
        rates=rates or builders.rates(),
        month_to_date_bytes=before,
        entry_id="e-1",
        time=builders.NOW,
    )


def test_a_read_across_regions_is_charged_at_the_link_s_price():
    """One GB between two regions of AWS costs two cents, and the entry says where that price is from."""
    line = entry()
    assert (line.charge_micros, line.bytes, line.price_source, line.month) == (20_000, GB, "test prices", "2026-11")
    assert (line.source_region, line.destination_region) == ("aws:eu-central-1", "aws:us-east-1")


def test_a_read_inside_a_region_is_an_entry_of_nothing():
    """It is the proof of what was saved: the bytes are told, the charge is 0, the baseline is what was avoided."""
    line = entry(builders.grant_record("eu-1", "eu-1", baseline_micros=18_626))
    assert (line.charge_micros, line.bytes, line.avoided_micros) == (0, GB, 18_626)


def test_a_download_goes_to_the_internet():
    """A person has no region: the price is that out of the provider's network."""
    assert entry(builders.grant_record("eu-1", "")).charge_micros == 90_000


def test_unsettled_bytes_are_charged_and_marked():
    """A killed worker hides nothing: what was granted and never accounted for counts as read."""
    line = entry(usage=builders.usage("600MB", "400MB"))
    assert (line.bytes, line.unsettled_bytes, line.charge_micros) == (GB, 400_000_000, 20_000)


def test_the_avoided_cost_may_be_negative_or_unknown():
    """A run that had to go farther than the rule of thumb says so; without a baseline nothing is claimed."""
    assert entry(builders.grant_record(baseline_micros=5)).avoided_micros == 5 - 20_000
    assert entry(builders.grant_record()).avoided_micros is None


def test_an_unknown_price_cannot_be_settled():
    """No charge is invented; the error names the link."""
    with pytest.raises(errors.FailedPrecondition) as caught:
        entry(rates=ratecard.NO_PRICES)
    assert caught.value.reason == "PRICE_UNKNOWN"
    assert caught.value.metadata["source_region"] == "aws:eu-central-1"


def test_a_month_is_told_in_utc():
    """Half an hour into December in Berlin is still November for the tiers."""
    assert metering.month(datetime(2026, 12, 1, 0, 30, tzinfo=timezone(timedelta(hours=1)))) == "2026-11"
    assert metering.month(datetime(2026, 12, 1, tzinfo=UTC)) == "2026-12"


TIERED = ratecard.RateCard(
    rows=(
        builders.price_row("aws:*", "aws:*", "0", upto="1GB", gb=2**30),
        builders.price_row("aws:*", "aws:*", "0.0937", upto="3GB", gb=2**30),
        builders.price_row("aws:*", "aws:*", "0.0411", gb=2**30),
    )
)


@given(st.lists(st.integers(0, 10**9), max_size=15), st.integers(0, 10**9))
def test_many_entries_sum_to_the_one_that_reads_it_all(parts: list[int], before: int):
    """However a month's bytes are cut into grants, the ledger's sum is the price of the sum."""
    lines, done = [], before
    for part in parts:
        lines.append(entry(usage=builders.usage(part), rates=TIERED, before=done))
        done += part
    whole = entry(usage=builders.usage(sum(parts)), rates=TIERED, before=before)
    total = metering.total(lines)
    assert (total.charge_micros, total.bytes, total.entries) == (whole.charge_micros, whole.bytes, len(parts))


def lines() -> list[metering.LedgerEntry]:
    """A remote read, a local one and a download."""
    return [
        entry(builders.grant_record(baseline_micros=20_000, estimate_micros=19_000)),
        entry(builders.grant_record("us-1", "us-1", baseline_micros=7_000, dataset="weather")),
        replace(entry(builders.grant_record("eu-1", "", job="")), month="2026-12"),
    ]


@pytest.mark.parametrize("by", metering.SUMMARY_KEYS)
def test_every_way_of_summing_sums_to_the_same(by: str):
    """Groups divide the ledger: nothing is counted twice or left out."""
    groups = metering.summarize(lines(), by)
    assert [group.key for group in groups] == sorted({metering.SUMMARY_KEYS[by](line) for line in lines()})
    for field in ("entries", "bytes", "local_bytes", "egress_bytes", "charge_micros", "estimate_micros", "avoided_micros"):
        assert sum(getattr(group, field) for group in groups) == getattr(metering.total(lines()), field)


def test_a_summary_tells_what_stayed_and_what_left():
    """Bytes read inside a region apart from those that were billed."""
    total = metering.total(lines(), "all")
    assert (total.key, total.local_bytes, total.egress_bytes, total.avoided_micros) == ("all", GB, 2 * GB, 7_000)


def test_an_unknown_key_is_refused_with_those_that_are_known():
    """The message lists what one could have meant."""
    with pytest.raises(errors.InvalidArgument, match="job, dataset, namespace, month, link"):
        metering.summarize([], "colour")


def test_fees_for_requests_are_part_of_the_charge_and_told_apart():
    """Counted over the month like bytes, and the entry says which rate card priced it."""
    row = replace(builders.price_row("aws:*", "aws:*", "0.02"), million_requests_micros=400_000)
    rates = ratecard.RateCard(rows=(row,), number=7)
    line = entry(usage=builders.usage(requests=3_000_000), rates=rates)
    assert (line.charge_micros, line.request_micros, line.rate_card) == (20_000 + 1_200_000, 1_200_000, 7)


def test_an_entry_names_the_transfer_that_read():
    """Jobs, people and transfers read alike; each is told."""
    assert entry(builders.grant_record(transfer="t-1")).transfer == "t-1"


def test_a_correction_takes_back_what_was_avoided_and_nothing_else():
    """Together with what it corrects it says what the run that failed has cost: the bytes and the charge stay as they are."""
    line = entry(builders.grant_record(baseline_micros=50_000, estimate_micros=19_000))
    back = metering.correction(line, time=builders.NOW)
    total = metering.total([line, back])
    assert (back.entry, back.corrects, back.grant) == ("e-1-c", "e-1", line.grant)
    assert (total.charge_micros, total.bytes, total.estimate_micros) == (20_000, GB, 19_000)
    assert total.avoided_micros == -line.charge_micros
    assert metering.correction(entry(), time=builders.NOW).avoided_micros is None
