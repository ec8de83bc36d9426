"""A bill is split over who read: exactly, by bytes, and what nobody explains is named."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import bill, errors
from tests import records

START = int(datetime(2026, 11, 1, tzinfo=UTC).timestamp())
HOUR = bill.HOUR_SECONDS
DOLLAR = bill.PICOS


def cell(hour: int = 0, used: int = 0, dollars: float = 0, hours: int = 1) -> tuple[int, int, int, int]:
    """What is billed for some hours of the month."""
    return START + hour * HOUR, START + (hour + hours) * HOUR, used, round(dollars * DOLLAR)


def read(name: str, size: int, hour: int = 0, charge: int = 0) -> bill.Read:
    """A read in an hour of the month."""
    return bill.Read(entry=name, seconds=START + hour * HOUR + 60, bytes=size, charge_micros=charge)


cells = st.lists(
    st.tuples(st.integers(0, 719), st.integers(0, 10**13), st.integers(-(10**15), 10**16), st.sampled_from((1, 24, 720))).map(
        lambda row: (START + row[0] * HOUR, START + (row[0] + row[3]) * HOUR, row[1], row[2])
    ),
    max_size=12,
)
reads = st.lists(st.tuples(st.integers(0, 719), st.integers(0, 10**13)), max_size=12).map(
    lambda rows: [read(f"l-{n}", size, hour) for n, (hour, size) in enumerate(rows)]
)


@given(cells, reads, st.sampled_from(bill.Period))
def test_the_parts_are_the_whole(billed, metered, period):
    """Shares and what is unallocated sum to the bill, to the micro-dollar; who read nothing bears nothing."""
    found = bill.split(billed, metered, period)
    assert sum(share.micros for share in found.shares) + found.unallocated_micros == found.total_micros
    # Each span is rounded once.
    assert abs(found.total_micros * 10**6 - sum(picos for *_, picos in billed)) <= 500_000 * max(len(billed), 1)
    assert {share.entry for share in found.shares} <= {row.entry for row in metered if row.bytes}


@given(st.integers(-(10**15), 10**15), st.lists(st.integers(0, 10**12), min_size=1, max_size=20))
def test_a_remainder_goes_to_the_largest_and_no_part_is_a_micro_off(total, weights):
    """The sum is exact, and every part is within one of what it would be without rounding."""
    parts = bill.largest_remainder(total, weights)
    assert sum(parts) == total
    whole = sum(weights)
    if whole:
        assert all(abs(part * whole - total * weight) < whole for part, weight in zip(parts, weights, strict=True))


def test_a_link_that_the_federation_has_for_itself_is_split_by_bytes():
    """Three to one, and nothing is left."""
    found = bill.split([cell(used=4000, dollars=8)], [read("l-1", 3000), read("l-2", 1000)], bill.Period.HOUR)
    assert [(share.entry, share.micros, share.bytes, share.of_bytes) for share in found.shares] == [
        ("l-1", 6_000_000, 3000, 4000),
        ("l-2", 2_000_000, 1000, 4000),
    ]
    assert found.unallocated_micros == 0


def test_what_others_moved_over_the_same_link_is_not_charged_to_us():
    """A quarter of the bill's bytes are ours, so a quarter of its money is."""
    found = bill.split([cell(used=4000, dollars=8)], [read("l-1", 1000)], bill.Period.MONTH)
    assert (found.shares[0].micros, found.unallocated_micros, found.unallocated_bytes) == (2_000_000, 6_000_000, 3000)


def test_where_the_meter_counted_more_than_the_bill_all_of_the_bill_is_split():
    """And no more than all of it."""
    found = bill.split([cell(used=1000, dollars=8)], [read("l-1", 1500), read("l-2", 500)], bill.Period.HOUR)
    assert [share.micros for share in found.shares] == [6_000_000, 2_000_000]
    assert found.unallocated_micros == 0


def test_by_the_hour_each_hour_has_its_own_readers():
    """An hour in which nobody read stays unallocated; by the month the same money has an owner."""
    billed = [cell(0, 1000, 2), cell(5, 1000, 2)]
    by_hour = bill.split(billed, [read("l-1", 2000, 0)], bill.Period.HOUR)
    assert (by_hour.shares[0].micros, by_hour.unallocated_micros) == (2_000_000, 2_000_000)
    by_month = bill.split(billed, [read("l-1", 2000, 0)], bill.Period.MONTH)
    assert (by_month.shares[0].micros, by_month.unallocated_micros) == (4_000_000, 0)


def test_a_credit_for_the_month_follows_the_bytes_of_the_month():
    """It has none of its own; a third is ours although we read in one hour only."""
    billed = [cell(0, 1000, 3), cell(1, 2000, 6), cell(0, 0, -3, hours=720)]
    found = bill.split(billed, [read("l-1", 1000, 0)], bill.Period.HOUR)
    assert found.shares[0].micros == 3_000_000 - 1_000_000
    assert found.unallocated_micros == 6_000_000 - 2_000_000


def test_money_without_any_bytes_is_nobodys():
    """A fee that no bytes explain."""
    found = bill.split([cell(dollars=5)], [], bill.Period.MONTH)
    assert (found.shares, found.unallocated_micros) == ((), 5_000_000)


def test_a_correction_refers_to_what_it_corrects_and_moves_no_bytes():
    """The baseline stays frozen: what is charged more was avoided less."""
    line = records.entry(1, avoided_micros=500, charge_micros=20_000, bytes=10**9)
    share = bill.Share(entry=line.entry, period="2026-11", bytes=10**9, of_bytes=4 * 10**9, micros=25_000)
    made = bill.correction(
        line, share, number=2, diff_micros=5_000, bills="aws-1-2026-11", source="aws-1-2026-11 version 1", time=records.TIME
    )
    assert (made.entry, made.corrects, made.bill, made.allocation) == (
        f"{line.entry}-b2",
        line.entry,
        "aws-1-2026-11",
        "2026-11",
    )
    assert (made.charge_micros, made.avoided_micros, made.bytes, made.estimate_micros) == (5_000, -5_000, 0, 0)
    assert (made.allocated_bytes, made.allocated_of_bytes, made.month) == (10**9, 4 * 10**9, line.month)
    assert (
        line.charge_micros + line.avoided_micros
        == line.charge_micros + made.charge_micros + line.avoided_micros + made.avoided_micros
    )


@pytest.mark.parametrize("month", ["2026-13", "2026-1", "november", "", "2026-11-01"])
def test_what_is_no_month_is_refused(month):
    """With how to write one."""
    with pytest.raises(errors.InvalidArgument, match="is not a month"):
        bill.month_start(month)


def test_a_month_ends_where_the_next_begins():
    """Leap years, too."""
    assert bill.month_end("2026-12") == datetime(2027, 1, 1, tzinfo=UTC)
    assert bill.month_end("2028-02") == datetime(2028, 3, 1, tzinfo=UTC)
