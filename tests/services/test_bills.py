"""Bills: one delivery takes the place of another, and reconciling makes the ledger's charges what the bill says of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import frames
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.records_memory import MemoryRecords
from federation.adapters.system import ManualClock, SeededIds
from federation.core import bill, budget, errors, metering, ratecard
from federation.core.bill import LineKind, Period
from federation.services import bills, costs, ledger, scan
from federation.services.committer import Committer
from federation.services.context import Context
from tests import builders, records

MONTH = "2026-11"
START = datetime(2026, 11, 1, tzinfo=UTC)
OHIO, FRANKFURT = "aws:us-east-2", "aws:eu-central-1"
DOLLAR = bill.PICOS


class Office:
    """A catalog with a ledger, and an administrator who brings bills."""

    def __init__(self) -> None:
        self.catalog = MemoryCatalog(ManualClock(builders.NOW), SeededIds(1))
        self.ctx = Context(ids=SeededIds(2), policies=builders.POLICIES, rates=ratecard.NO_PRICES, grant_key=b"k" * 32)

    def enter(self, *entries: metering.LedgerEntry) -> None:
        """Entries that were charged from the rate card."""
        for entry in entries:
            self.catalog.write(lambda tx, entry=entry: ledger.post(tx, entry))  # type: ignore[misc]

    def bring(self, *lines: bill.BillLine, account: str = "111122223333", **changes: object) -> bill.Bill:
        """One delivery, whole."""
        data = frames.pack(bill.BillLine, lines)
        digest = str(changes.get("digest", hash(data)))
        asked = bill.Bill(bill="", provider="aws", account=account, month=MONTH, digest=digest)
        begun = self.catalog.write(lambda tx: bills.begin(tx, self.ctx, builders.person(), asked))
        if begun.version and begun.digest == digest:
            return begun
        delivery = bills.Delivery(begun)
        table = delivery.numbered(frames.unpack(bill.BillLine, data))
        self.catalog.write(lambda tx: bills.add_lines(tx, delivery, table))
        delivery.add(table)
        return self.catalog.write(lambda tx: bills.finish(tx, delivery, digest=digest, source="cur.csv", skipped_lines=7))

    def reconcile(self, period: Period = Period.MONTH) -> bill.Reconciliation:
        """A month's bills, and the corrections that they make."""
        found, postings = self.catalog.read(lambda tx: bills.draft(tx, MONTH, "aws", period))
        self.catalog.write(lambda tx: bills.post(tx, postings))
        return self.catalog.write(lambda tx: bills.keep(tx, found))

    def ledger(self) -> list[metering.LedgerEntry]:
        """All entries."""
        return self.catalog.read(lambda tx: list(scan.every(tx, metering.LedgerEntry)))


@pytest.fixture
def office() -> Office:
    """An empty one."""
    return Office()


def line(dollars: float, gigabytes: float = 0, *, hour: int = 0, hours: int = 1, **changes: object) -> bill.BillLine:
    """A line of the bill for Ohio to Frankfurt."""
    start = START + timedelta(hours=hour)
    values = {"start_time": start, "end_time": start + timedelta(hours=hours), "usage_bytes": round(gigabytes * 10**9)}
    return records.bill_line(**values | {"cost_picos": round(dollars * DOLLAR)} | changes)


def read(number: int, gigabytes: float, *, hour: int = 0, charge: int = 0, **changes: object) -> metering.LedgerEntry:
    """A read from Ohio to Frankfurt, settled in an hour of the month."""
    values = {
        "time": START + timedelta(hours=hour, minutes=5),
        "month": MONTH,
        "source_region": OHIO,
        "destination_region": FRANKFURT,
        "bytes": round(gigabytes * 10**9),
        "charge_micros": charge,
        "run": f"jobs/j-{number}/runs/1",
    }
    return records.entry(number, **values | changes)


def test_a_bill_is_what_its_delivery_sums_to(office: Office) -> None:
    """What moved between regions, what stayed in one, what names no region, taxes: each told apart."""
    found = office.bring(
        line(2, 100),
        line(-0.5, kind=LineKind.CREDIT),
        line(1, 50, destination_region=OHIO, usage_type="USE2-DataTransfer-Regional-Bytes"),
        line(3, 10, destination_region="", usage_type="USE2-AWS-Out-Bytes"),
        line(0.25, kind=LineKind.TAX),
        line(0, 5, hour=40),
    )
    assert (found.bill, found.version, found.lines, found.skipped_lines) == ("aws-111122223333-2026-11", 1, 6, 7)
    assert (found.cost_micros, found.regional_micros, found.unknown_micros, found.tax_micros) == (
        5_750_000,
        1_000_000,
        3_000_000,
        250_000,
    )
    assert (found.regional_lines, found.unknown_lines, found.usage_bytes) == (1, 1, 105 * 10**9)
    assert found.covered_time == START + timedelta(hours=41)


def test_lines_are_facts_of_the_log_and_rows_of_the_table(office: Office) -> None:
    """Many in one event, numbered, each with its bill and version; the committer carries them like all others."""
    office.bring(line(2, 100), line(1, 50))
    (event,) = office.catalog.events(0, kinds=("bill.lines",))
    assert event.rows == 2
    sink = MemoryRecords()
    Committer(office.catalog, sink).run_once()
    rows = sink.rows("bill_lines").to_pylist()
    assert [(row["bill"], row["version"], row["line"], row["position"]) for row in rows] == [
        ("aws-111122223333-2026-11", 1, 1, event.position - 1),
        ("aws-111122223333-2026-11", 1, 2, event.position),
    ]
    assert [str(row["cost_usd"]) for row in rows] == ["2.000000000000", "1.000000000000"]


def test_the_same_delivery_again_changes_nothing_and_a_newer_one_takes_its_place(office: Office) -> None:
    """Known by its digest; the old one's sums go, its lines stay in the record."""
    office.bring(line(2, 100))
    before = office.catalog.revision()
    assert office.bring(line(2, 100)).version == 1
    assert office.catalog.revision() == before
    found = office.bring(line(2, 100), line(1, 50))
    assert (found.version, found.lines, found.cost_micros) == (2, 2, 3_000_000)
    charges = office.catalog.read(lambda tx: list(scan.every(tx, bill.LinkCharge)))
    assert [(charge.version, charge.cells[0][2]) for charge in charges] == [(2, 150 * 10**9)]


def test_a_delivery_that_broke_off_counts_for_nothing_and_shares_its_number_with_none(office: Office) -> None:
    """Its lines are in the record under a version that no bill ever had."""
    office.bring(line(2, 100))
    asked = bill.Bill(bill="", provider="aws", account="111122223333", month=MONTH, digest="broken")
    begun = office.catalog.write(lambda tx: bills.begin(tx, office.ctx, builders.person(), asked))
    assert (begun.version, begun.deliveries) == (1, 2)
    found = office.bring(line(9, 100))
    assert (found.version, found.deliveries) == (3, 3)
    late = bills.Delivery(begun)
    with pytest.raises(errors.Conflict, match="overtaken"):
        office.catalog.write(lambda tx: bills.finish(tx, late, digest="broken", source="", skipped_lines=0))


@pytest.mark.parametrize(
    "changes",
    [
        {"source_region": "us-east-2"},
        {"kind": "FEE"},
        {"usage_bytes": -1},
        {"end_time": START},
        {"start_time": START - timedelta(hours=1)},
    ],
)
def test_lines_that_cannot_be_are_refused(office: Office, changes: dict[str, object]) -> None:
    """Before anything of them is kept."""
    with pytest.raises(errors.InvalidArgument) as caught:
        office.bring(line(1, 1, **changes))
    assert caught.value.reason == "BILL_INVALID"
    assert office.catalog.events(0, kinds=("bill.lines",)) == ()


def test_what_is_no_frame_of_lines_is_refused() -> None:
    """Other columns, nulls, and bytes that are no Arrow at all."""
    for data in (b"nonsense", frames.to_bytes(pa.table({"x": [1]})), frames.pack(bill.Read, [])):
        with pytest.raises(errors.InvalidArgument) as caught:
            frames.unpack(bill.BillLine, data)
        assert caught.value.reason == "FRAME_INVALID"


def test_the_ledger_is_brought_to_the_bill(office: Office) -> None:
    """Two runs, charged two cents a gigabyte; the bill says one and a half for twice the bytes: half is ours."""
    office.enter(read(1, 75, charge=1_500_000, avoided_micros=100), read(2, 25, charge=500_000))
    office.bring(line(3, 200))
    found = office.reconcile()
    (link,) = found.links
    assert (link.billed_bytes, link.metered_bytes, link.billed_micros) == (200 * 10**9, 100 * 10**9, 3_000_000)
    assert (link.charged_micros, link.allocated_micros, link.unallocated_micros) == (2_000_000, 1_500_000, 1_500_000)
    assert (link.correction_micros, link.entries) == (-500_000, 2)
    assert (link.bytes_error, round(link.cost_error or 0, 3)) == (-0.5, 0.333)
    made = [entry for entry in office.ledger() if entry.bill]
    assert [(entry.corrects, entry.charge_micros, entry.allocated_of_bytes) for entry in made] == [
        (records.entry(1).entry, -375_000, 200 * 10**9),
        (records.entry(2).entry, -125_000, 200 * 10**9),
    ]
    _, total = costs.summarize(office.catalog, None, "link")
    assert (total.charge_micros, total.correction_micros) == (1_500_000, -500_000)


def test_a_second_time_posts_nothing_and_a_newer_bill_only_the_difference(office: Office) -> None:
    """Corrections of corrections are further entries; no entry is ever changed."""
    office.enter(read(1, 100, charge=2_000_000))
    office.bring(line(3, 100))
    assert office.reconcile().correction_micros == 1_000_000
    first = office.ledger()
    assert (office.reconcile().correction_micros, office.reconcile().entries) == (0, 0)
    assert office.ledger() == first
    office.bring(line(3, 100), line(-0.4, kind=LineKind.REFUND, hours=720))
    assert office.reconcile().correction_micros == -400_000
    assert [(entry.entry, entry.charge_micros) for entry in office.ledger()][1:] == [
        (f"{records.entry(1).entry}-b1", 1_000_000),
        (f"{records.entry(1).entry}-b2", -400_000),
    ]


def test_a_month_that_is_not_over_is_corrected_as_far_as_it_is_billed(office: Office) -> None:
    """What was read after the bill's last hour is let be until a later delivery covers it."""
    office.enter(read(1, 100, hour=3, charge=2_000_000), read(2, 100, hour=300, charge=2_000_000))
    office.bring(line(3, 100, hour=2, hours=22))
    assert (office.reconcile().entries, office.reconcile().charged_micros) == (1, 2_000_000)
    office.bring(line(3, 100, hour=2, hours=22), line(4, 100, hour=290, hours=24))
    assert office.reconcile().correction_micros == 500_000 + 1_500_000


def test_a_link_that_no_bill_mentions_is_told_and_let_be(office: Office) -> None:
    """Another account may pay for it."""
    office.enter(read(1, 100, charge=2_000_000), read(2, 1, charge=90_000, destination_region="internet"))
    office.bring(line(2, 100))
    found = office.reconcile()
    assert [(link.destination_region, link.billed, link.charged_micros) for link in found.links] == [
        (FRANKFURT, True, 2_000_000),
        ("internet", False, 90_000),
    ]
    assert found.entries == 0


def test_without_a_bill_nothing_is_reconciled(office: Office) -> None:
    """With what to do."""
    with pytest.raises(errors.NotFound) as caught:
        office.reconcile()
    assert caught.value.reason == "BILL_MISSING"


def test_corrections_count_in_budgets_of_their_month(office: Office) -> None:
    """They are charges like others."""
    office.enter(read(1, 100, charge=2_000_000))
    office.bring(line(3, 100))
    office.reconcile()
    spent = office.catalog.read(lambda tx: tx.get(budget.Spend, f"{MONTH}/all"))
    assert spent is not None
    assert spent.charge_micros == 3_000_000


reads = st.lists(st.tuples(st.integers(0, 300), st.integers(0, 10**11), st.integers(0, 10**7)), max_size=6)
deliveries = st.lists(
    st.lists(st.tuples(st.integers(0, 300), st.integers(0, 10**11), st.integers(-(10**12), 10**13)), min_size=1, max_size=6),
    min_size=1,
    max_size=3,
)


@settings(max_examples=40)
@given(reads, deliveries, st.lists(st.sampled_from(Period), min_size=3, max_size=3))
def test_charges_and_corrections_and_what_nobody_explains_are_the_bill(metered, delivered, periods):
    """After every delivery and every reconciliation, whatever the periods; and doing it twice is doing it once."""
    office = Office()
    office.enter(*(read(n, 0, hour=hour, bytes=size, charge=micros) for n, (hour, size, micros) in enumerate(metered, 1)))
    for rows, period in zip(delivered, periods, strict=False):
        office.bring(*(line(0, hour=hour, usage_bytes=size, cost_picos=picos) for hour, size, picos in rows), line(0, hour=719))
        found = office.reconcile(period)
        entries = office.ledger()
        assert sum(entry.charge_micros for entry in entries) + found.unallocated_micros == found.billed_micros
        assert office.reconcile(period).entries == 0
        for by in metering.SUMMARY_KEYS:
            rows_of, total = costs.summarize(office.catalog, None, by)
            assert total == metering.total(entries)
            assert metering.together(rows_of) == total
