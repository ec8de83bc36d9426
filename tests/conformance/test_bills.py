"""Readers of providers' bills: every kind of file that the provider delivers gives the same lines, to the last decimal."""

from __future__ import annotations

import csv
import gzip
import io
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pyarrow import parquet

from connectors.bills import aws
from federation import frames
from federation.adapters import registry
from federation.client import bills
from federation.core import errors, ids
from federation.core.bill import BillLine, LineKind

NEW = (
    *("bill_payer_account_id", "bill_billing_period_start_date", "line_item_usage_account_id", "line_item_line_item_type"),
    *("line_item_usage_start_date", "line_item_usage_end_date", "line_item_usage_type", "line_item_usage_amount"),
    *("line_item_currency_code", "line_item_unblended_cost", "line_item_resource_id"),
    *("product_from_region_code", "product_to_region_code", "line_item_blended_cost"),
)
LEGACY = (
    *("bill/PayerAccountId", "bill/BillingPeriodStartDate", "lineItem/UsageAccountId", "lineItem/LineItemType"),
    *("lineItem/UsageStartDate", "lineItem/UsageEndDate", "lineItem/UsageType", "lineItem/UsageAmount"),
    *("lineItem/CurrencyCode", "lineItem/UnblendedCost", "lineItem/ResourceId"),
    *("product/fromRegionCode", "product/toRegionCode", "lineItem/BlendedCost"),
)
PAYER = "111122223333"


def row(usage_type: str, amount: str = "1", cost: str = "0.02", kind: str = "Usage", **changes: str) -> list[str]:
    """A line of a report, in the order of the names above."""
    values = {
        "payer": PAYER,
        "month": "2026-11-01T00:00:00Z",
        "account": "444455556666",
        "kind": kind,
        "start": "2026-11-03T04:00:00Z",
        "end": "2026-11-03T05:00:00Z",
        "usage_type": usage_type,
        "amount": amount,
        "currency": "USD",
        "cost": cost,
        "resource": "my-bucket",
        "from": "",
        "to": "",
        "blended": "99",
    }
    return list((values | changes).values())


ROWS = [
    row("USE2-EUC1-AWS-Out-Bytes", "0.5", "0.0100000001"),
    row("USE2-EUC1-AWS-In-Bytes", "0.5", "0"),
    row("EUC1-DataTransfer-Out-Bytes", "2", "0.18", resource='a "quoted"\nbucket, with a comma'),
    row("DataTransfer-Out-Bytes", "1"),
    row("USE2-DataTransfer-Regional-Bytes", "3", "0.03"),
    row("USE2-AWS-Out-Bytes", "4", "0.08"),
    row("XYZ9-EUC1-AWS-Out-Bytes", "4", "0.08"),
    row("APX1-EUC1-AWS-Out-Bytes", "4", "0.08", **{"from": "ap-southeast-6", "to": "eu-central-1"}),
    row("BoxUsage:m5.large", "1", "0.096"),
    row("USE2-EUC1-AWS-Out-Bytes", "0", "-0.005", kind="Credit"),
    row("USE2-EUC1-AWS-Out-Bytes", "0", "-0.001", kind="EdpDiscount"),
    row("USE2-EUC1-AWS-Out-Bytes", "0", "0.0007", kind="Tax"),
    row("USE2-EUC1-AWS-Out-Bytes", "1", "0.5", kind="SavingsPlanNegation"),
    row("", "", "12", kind="Fee"),
]


def as_text(names: Sequence[str], rows: Sequence[Sequence[str]] = ROWS) -> str:
    """The report as CSV."""
    out = io.StringIO()
    csv.writer(out).writerows([names, *rows])
    return out.getvalue()


def plain_csv(folder: Path) -> Path:
    """CUR 2.0 as CSV."""
    path = folder / "cur.csv"
    path.write_text(as_text(NEW))
    return path


def legacy_gzip(folder: Path) -> Path:
    """The legacy report, as it is delivered by default."""
    path = folder / "report-00001.csv.gz"
    path.write_bytes(gzip.compress(as_text(LEGACY).encode()))
    return path


def _table(**kinds: Callable[[str], Any]) -> pa.Table:
    found = {}
    for n, name in enumerate(NEW):
        make = next((made for word, made in kinds.items() if name.endswith(word)), str)
        found[name] = [make(line[n]) if line[n] != "" else None for line in ROWS]
    return pa.table(found)


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def parquet_floats(folder: Path) -> Path:
    """Parquet with amounts as doubles and times as timestamps, as AWS writes it."""
    path = folder / "cur.parquet"
    parquet.write_table(_table(_date=_moment, _amount=float, _cost=float), path)
    return path


def parquet_decimals(folder: Path) -> Path:
    """Parquet that somebody has made of it, with decimals."""
    path = folder / "cur.snappy.parquet"
    parquet.write_table(_table(_date=_moment, _amount=Decimal, _cost=Decimal), path)
    return path


@pytest.mark.parametrize("make", [plain_csv, legacy_gzip, parquet_floats, parquet_decimals])
def test_every_kind_of_file_gives_the_same_lines(make: Callable[[Path], Path], tmp_path: Path) -> None:
    """Regions, kinds, bytes of 2^30 to the gigabyte, and money to the pico-dollar; what moves no data is left out."""
    with bills.read(aws.AwsBills(), [make(tmp_path)]) as (delivered,):
        (data,) = delivered.pieces()
        lines = list(frames.values(BillLine, frames.unpack(BillLine, data)))
        assert (delivered.provider, delivered.account, delivered.month) == ("aws", PAYER, "2026-11")
        assert (delivered.lines, delivered.skipped_lines) == (10, 4)
    ohio, frankfurt = "aws:us-east-2", "aws:eu-central-1"
    assert [(line.source_region, line.destination_region, line.usage_bytes, line.cost_picos, line.kind) for line in lines] == [
        (ohio, frankfurt, 2**29, 10_000_000_100, LineKind.USAGE),
        (frankfurt, "internet", 2**31, 180_000_000_000, LineKind.USAGE),
        ("aws:us-east-1", "internet", 2**30, 20_000_000_000, LineKind.USAGE),
        (ohio, ohio, 3 * 2**30, 30_000_000_000, LineKind.USAGE),
        (ohio, "", 2**32, 80_000_000_000, LineKind.USAGE),
        ("", frankfurt, 2**32, 80_000_000_000, LineKind.USAGE),
        ("aws:ap-southeast-6", frankfurt, 2**32, 80_000_000_000, LineKind.USAGE),
        (ohio, frankfurt, 0, -5_000_000_000, LineKind.CREDIT),
        (ohio, frankfurt, 0, -1_000_000_000, LineKind.DISCOUNT),
        (ohio, frankfurt, 0, 700_000_000, LineKind.TAX),
    ]
    assert (lines[0].start_time, lines[0].end_time) == (
        datetime(2026, 11, 3, 4, tzinfo=UTC),
        datetime(2026, 11, 3, 5, tzinfo=UTC),
    )
    assert {line.account for line in lines} == {"444455556666"}
    assert lines[1].resource.startswith('a "quoted"')


def test_files_of_one_delivery_are_one_bill_and_each_payer_and_month_has_its_own(tmp_path: Path) -> None:
    """Chunks are put together; a consolidated export is taken apart."""
    first, second = tmp_path / "a.csv", tmp_path / "b.csv"
    first.write_text(as_text(NEW, [row("USE2-EUC1-AWS-Out-Bytes")]))
    october = {"month": "2026-10-01T00:00:00Z", "start": "2026-10-31T22:00:00Z", "end": "2026-10-31T23:00:00Z"}
    second.write_text(
        as_text(
            NEW,
            [
                row("USE2-EUC1-AWS-Out-Bytes"),
                row("USE2-EUC1-AWS-Out-Bytes", payer="9"),
                row("EUC1-DataTransfer-Out-Bytes", **october),
            ],
        )
    )
    with bills.read(aws.AwsBills(), [first, second]) as delivered:
        assert [(each.account, each.month, each.lines) for each in delivered] == [
            (PAYER, "2026-10", 1),
            (PAYER, "2026-11", 2),
            ("9", "2026-11", 1),
        ]
        assert {each.source for each in delivered} == {"a.csv, b.csv"}
        digests = [each.digest for each in delivered]
    with bills.read(aws.AwsBills(), [first, second]) as again:
        assert [each.digest for each in again] == digests


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("cur.csv", "a,b\n1,2\n", "it lacks the columns bill_payer_account_id"),
        ("cur.csv", as_text(NEW, [row("USE2-EUC1-AWS-Out-Bytes", currency="EUR")]), "EUR"),
        ("cur.csv", as_text(NEW, [row("USE2-EUC1-AWS-Out-Bytes", "many")]), "an amount cannot be read"),
        ("cur.csv", as_text(NEW, [row("USE2-EUC1-AWS-Out-Bytes", start="yesterday")]), "a time of its usage"),
        ("cur.csv", "", "cannot be read"),
        ("cur.csv.gz", "not gzip", "cannot be read"),
        ("cur.parquet", "not parquet", "cannot be read"),
        ("cur.xlsx", "", "its name ends in none"),
    ],
)
def test_what_is_no_report_is_refused_with_the_file(tmp_path: Path, name: str, content: str, said: str) -> None:
    """And what is wrong with it."""
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(errors.InvalidArgument, match=said) as caught, bills.read(aws.AwsBills(), [path]):
        pass
    assert caught.value.reason == "BILL_INVALID"
    assert name in caught.value.message


def test_a_report_without_lines_is_refused(tmp_path: Path) -> None:
    """It would replace a bill with nothing."""
    path = tmp_path / "cur.csv"
    path.write_text(as_text(NEW, []))
    with pytest.raises(errors.InvalidArgument) as caught, bills.read(aws.AwsBills(), [path]):
        pass
    assert caught.value.reason == "BILL_EMPTY"


@pytest.mark.parametrize(
    ("usage_type", "ends"),
    [
        ("USE1-USW2-AWS-Out-Bytes", ("aws:us-east-1", "aws:us-west-2")),
        ("EU-USE1-AWS-Out-Bytes", ("aws:eu-west-1", "aws:us-east-1")),
        ("APS3-EU-AWS-Out-Bytes", ("aws:ap-south-1", "aws:eu-west-1")),
        ("EU-DataTransfer-Out-Bytes", ("aws:eu-west-1", "internet")),
        ("DataTransfer-Regional-Bytes", ("aws:us-east-1", "aws:us-east-1")),
        ("EUC1-AWS-Out-Bytes", ("aws:eu-central-1", "")),
        ("AWS-Out-Bytes", ("", "")),
        ("USE1-USW2-AWS-In-Bytes", ("", "")),
        ("USE2-CloudFront-Out-Bytes", ("", "")),
    ],
)
def test_a_usage_type_names_its_link(usage_type: str, ends: tuple[str, str]) -> None:
    """As far as it does; an unknown code names no region."""
    assert aws.link(usage_type) == ends


def test_every_code_leads_to_a_region() -> None:
    """In the federation's spelling, none twice but for the two that AWS itself writes in two ways."""
    assert all(ids.REGION.fullmatch(f"aws:{name}") for name in aws.REGIONS.values())
    assert len(set(aws.REGIONS.values())) == len(aws.REGIONS) - 2


def test_the_reader_is_found_by_the_providers_name() -> None:
    """Like every connector; another provider is another file."""
    assert registry.load("bills", "aws") is aws.AwsBills
    with pytest.raises(errors.InvalidArgument, match="aws"):
        registry.load("bills", "nobody")
