"""The ledger in FOCUS's words: which columns each version has, and what each says."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest

from federation.core import bill, errors, focus
from tests import records


def row(entry: Any, version: str = "1.4") -> dict[str, Any]:
    """One entry's values by column."""
    (values,) = focus.rows([entry], version, focus.Terms())
    return dict(zip([column.name for column in focus.columns(version)], values, strict=True))


def corrected() -> Any:
    """A correction from a bill: a fifth of the link."""
    line = records.entry(1, run="jobs/j-1/runs/1", payer="research", avoided_micros=9)
    share = bill.Share(entry=line.entry, period="2026-11", bytes=10**9, of_bytes=5 * 10**9, micros=1)
    return bill.correction(line, share, number=1, diff_micros=-1_200, bills="aws-1-2026-11", source="bill", time=line.time)


def test_versions_differ_in_who_provides_and_in_allocation():
    """1.4 dropped ProviderName and PublisherName; allocation came with 1.3."""
    names = {version: {column.name for column in focus.columns(version)} for version in focus.VERSIONS}
    assert names["1.2"] - names["1.4"] == {"ProviderName", "PublisherName"}
    assert names["1.4"] - names["1.2"] == {
        *("ServiceProviderName", "HostProviderName"),
        *("AllocatedMethodId", "AllocatedMethodDetails", "AllocatedResourceId", "AllocatedResourceName"),
    }
    with pytest.raises(errors.InvalidArgument, match=r"1\.2, 1\.4"):
        focus.columns("1.3")


def test_every_other_column_is_pascal_case_or_custom():
    """FOCUS's own begin with a capital, ours with x_; none is there twice."""
    for version in focus.VERSIONS:
        names = [column.name for column in focus.columns(version)]
        assert len(names) == len(set(names))
        assert all(name[0].isupper() or name.startswith("x_") for name in names)
        assert not any("_" in name.removeprefix("x_") for name in names)


def test_the_source_is_the_region_and_the_pair_stands_beside():
    """The source is billed."""
    found = row(records.entry(1))
    assert (found["RegionId"], found["x_SourceRegionId"], found["x_DestinationRegionId"]) == (
        "eu-central-1",
        "aws:eu-central-1",
        "aws:us-east-1",
    )
    assert found["ServiceProviderName"] == found["InvoiceIssuerName"] == "Amazon Web Services"


def test_money_and_gigabytes_are_exact_decimals():
    """A gigabyte is 10^9 bytes; CSV writes decimals with a point, so that nine is no whole number."""
    found = row(records.entry(bytes=9 * 10**9, charge_micros=1))
    assert (found["BilledCost"], found["PricingQuantity"]) == (Decimal("0.000001"), 9)
    columns = {column.name: column for column in focus.columns("1.4")}
    assert columns["PricingQuantity"].text(found["PricingQuantity"]) == "9.000000000000"
    assert columns["BillingPeriodStart"].text(found["BillingPeriodStart"]) == "2026-11-01T00:00:00Z"
    assert columns["InvoiceId"].text(None) == ""


def test_an_original_is_charged_in_its_hour():
    """From the full hour to the next, in UTC."""
    found = row(records.entry(1))
    assert (found["ChargePeriodStart"], found["ChargePeriodEnd"]) == (
        datetime(2026, 11, 22, 23, tzinfo=UTC),
        datetime(2026, 11, 23, 0, tzinfo=UTC),
    )
    assert found["ChargeClass"] is None


def test_a_correction_says_how_it_was_allocated():
    """FOCUS's schema for the method's details, and the month that it is for."""
    found = row(corrected())
    assert (found["ChargeClass"], found["BilledCost"], found["PricingQuantity"]) == ("Correction", Decimal("-0.0012"), None)
    assert (found["AllocatedMethodId"], found["AllocatedResourceId"]) == ("bytes-of-link-in-period", "jobs/j-1/runs/1")
    assert json.loads(found["AllocatedMethodDetails"]) == {
        "Elements": [{"AllocatedRatio": 0.2, "UsageUnit": "GB", "UsageQuantity": 1.0}]
    }
    assert (found["ChargePeriodStart"], found["ChargePeriodEnd"]) == (
        datetime(2026, 11, 1, tzinfo=UTC),
        datetime(2026, 12, 1, tzinfo=UTC),
    )
    assert (found["x_CorrectsEntryId"], found["x_BillId"]) == (records.entry(1).entry, "aws-1-2026-11")


def test_a_read_at_home_costs_nothing_and_is_there():
    """It is the proof of what was saved."""
    found = row(records.entry(destination_region="aws:eu-central-1", charge_micros=0, avoided_micros=20_000))
    assert (found["BilledCost"], found["x_AvoidedCost"]) == (0, Decimal("0.02"))
    assert found["ChargeDescription"] == "Data read within aws:eu-central-1"
