"""The ledger in the words of FOCUS, the FinOps Open Cost and Usage Specification, versions 1.2 and 1.4.

FOCUS has one region for a charge: `RegionId` is the source, which is billed; both ends stand in `x_SourceRegionId` and
`x_DestinationRegionId`. A gigabyte is 10^9 bytes. All prices are those of the rate card, so that billed, effective, contracted
and list cost are one figure. Version 1.4 has `ServiceProviderName` and `HostProviderName` where 1.2 had `ProviderName` and
`PublisherName`, and says how a correction from a provider's bill was allocated.

Column names and allowed values: FOCUS 1.2 (June 2025) and 1.4, https://focus.finops.org/focus-specification/. Pure: no file is
written here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from enum import StrEnum
from typing import Any

from federation.core import bill, errors, site
from federation.core.metering import LedgerEntry

VERSIONS = ("1.2", "1.4")
#: Money and quantities have so many decimals.
SCALE = 12
GB = 10**9
_PROVIDERS = {"aws": "Amazon Web Services", "gcp": "Google Cloud", "azure": "Microsoft Azure"}


class Kind(StrEnum):
    """What a column holds: text, a decimal number, a whole number, a time or a JSON object as text."""

    STRING = "STRING"
    DECIMAL = "DECIMAL"
    INTEGER = "INTEGER"
    TIME = "TIME"
    JSON = "JSON"


@dataclass(frozen=True, kw_only=True)
class Terms:
    """What the ledger cannot know: the account that everything is billed to, where an entry names none."""

    billing_account: str = "federation"
    billing_account_name: str = "Dataset federation"


@dataclass(frozen=True)
class Column:
    """One column: its name, what it holds, how it follows from an entry, and the one version that has it, if not all."""

    name: str
    kind: Kind
    of: Callable[[LedgerEntry, Terms], Any]
    only: str = ""

    def text(self, value: Any) -> str:
        """A value as CSV has it: empty for none, decimals with their point, so that nine is not taken for a whole number."""
        if value is None:
            return ""
        if self.kind is Kind.DECIMAL:
            return f"{value:.{SCALE}f}"
        if self.kind is Kind.TIME:
            return f"{value:%Y-%m-%dT%H:%M:%SZ}"
        return str(value)


def columns(version: str) -> tuple[Column, ...]:
    """The columns of a version, FOCUS's first; InvalidArgument (FOCUS_VERSION_UNKNOWN) for one that is not in `VERSIONS`."""
    if version not in VERSIONS:
        raise errors.InvalidArgument(
            f"FOCUS {version} cannot be written", reason="FOCUS_VERSION_UNKNOWN", help=f"Use one of {', '.join(VERSIONS)}."
        )
    return tuple(column for column in _COLUMNS if column.only in ("", version))


def rows(entries: Iterable[LedgerEntry], version: str, terms: Terms) -> Iterable[Sequence[Any]]:
    """A row of values for each entry, in the order of `columns`."""
    chosen = columns(version)
    return ([column.of(entry, terms) for column in chosen] for entry in entries)


def money(micros: int | None) -> Decimal | None:
    """Micro-dollars as dollars."""
    return None if micros is None else Decimal(micros).scaleb(-6)


def is_correction(entry: LedgerEntry) -> bool:
    """Whether an entry corrects another."""
    return bool(entry.corrects)


def _provider(entry: LedgerEntry, _: Terms) -> str:
    name = entry.source_region.partition(":")[0]
    return _PROVIDERS.get(name, name)


def _charge(entry: LedgerEntry, _: Terms) -> Decimal | None:
    return money(entry.charge_micros)


def _gigabytes(entry: LedgerEntry, _: Terms) -> Decimal | None:
    return None if is_correction(entry) else Decimal(entry.bytes) / GB


def _unit(entry: LedgerEntry, _: Terms) -> str | None:
    return None if is_correction(entry) else "GB"


def _account(entry: LedgerEntry, terms: Terms) -> str:
    return entry.account or terms.billing_account


def _account_name(entry: LedgerEntry, terms: Terms) -> str:
    return entry.account or terms.billing_account_name


def _period_start(entry: LedgerEntry, _: Terms) -> datetime:
    """An original counts in its hour; a correction in the whole month of what it corrects, whenever it was made."""
    if is_correction(entry):
        return bill.month_start(entry.month)
    return entry.time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def _period_end(entry: LedgerEntry, terms: Terms) -> datetime:
    return bill.month_end(entry.month) if is_correction(entry) else _period_start(entry, terms) + timedelta(hours=1)


def _described(entry: LedgerEntry, _: Terms) -> str:
    to = "the internet" if entry.destination_region == site.INTERNET else entry.destination_region
    if entry.bill:
        return f"Correction by bill {entry.bill} of data transfer from {entry.source_region} to {to}"
    if is_correction(entry):
        return f"Correction of the avoided cost of data transfer from {entry.source_region} to {to}"
    if entry.source_region == entry.destination_region:
        return f"Data read within {entry.source_region}"
    return f"Data transfer from {entry.source_region} to {to}"


def _place(entry: LedgerEntry, _: Terms) -> str:
    return entry.source_region.partition(":")[2] or entry.source_region


def _sku(entry: LedgerEntry, _: Terms) -> str | None:
    return f"data-transfer/{entry.source_region}~{entry.destination_region}"


def _sku_price(entry: LedgerEntry, terms: Terms) -> str | None:
    return f"{_sku(entry, terms)}/rate-card-{entry.rate_card}"


def _dataset(entry: LedgerEntry, _: Terms) -> str:
    return f"{entry.namespace}/{entry.dataset}"


def _tags(entry: LedgerEntry, terms: Terms) -> str:
    found = {"namespace": entry.payer, "dataset": _dataset(entry, terms), "principal": entry.principal, "label": entry.label}
    return _json({key: value for key, value in found.items() if value})


def _allocated_to(entry: LedgerEntry, _: Terms) -> str | None:
    if not entry.bill:
        return None
    return entry.run or (f"transfers/{entry.transfer}" if entry.transfer else entry.principal)


def _method(entry: LedgerEntry, _: Terms) -> str | None:
    return "bytes-of-link-in-period" if entry.bill else None


def _method_details(entry: LedgerEntry, _: Terms) -> str | None:
    """FOCUS's schema: `AllocatedRatio` is the entry's bytes over the link's in the period."""
    if not entry.bill:
        return None
    ratio = Decimal(entry.allocated_bytes) / entry.allocated_of_bytes if entry.allocated_of_bytes else Decimal(0)
    element = {
        "AllocatedRatio": float(round(ratio, SCALE)),
        "UsageUnit": "GB",
        "UsageQuantity": float(Decimal(entry.allocated_bytes) / GB),
    }
    return _json({"Elements": [element]})


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def _const(value: Any) -> Callable[[LedgerEntry, Terms], Any]:
    return lambda _entry, _terms: value


def _field(name: str) -> Callable[[LedgerEntry, Terms], Any]:
    """A field of the entry; empty text is no value."""
    return lambda entry, _: None if getattr(entry, name) == "" else getattr(entry, name)


def _micros(name: str) -> Callable[[LedgerEntry, Terms], Any]:
    return lambda entry, _: money(getattr(entry, name))


_S, _D, _I, _T, _J = Kind.STRING, Kind.DECIMAL, Kind.INTEGER, Kind.TIME, Kind.JSON
_COLUMNS = (
    Column("BilledCost", _D, _charge),
    Column("BillingAccountId", _S, _account),
    Column("BillingAccountName", _S, _account_name),
    Column("BillingAccountType", _S, _const("Account")),
    Column("BillingCurrency", _S, _const("USD")),
    Column("BillingPeriodStart", _T, lambda entry, _: bill.month_start(entry.month)),
    Column("BillingPeriodEnd", _T, lambda entry, _: bill.month_end(entry.month)),
    Column("ChargeCategory", _S, _const("Usage")),
    Column("ChargeClass", _S, lambda entry, _: "Correction" if is_correction(entry) else None),
    Column("ChargeDescription", _S, _described),
    Column("ChargeFrequency", _S, _const("Usage-Based")),
    Column("ChargePeriodStart", _T, _period_start),
    Column("ChargePeriodEnd", _T, _period_end),
    # There are no commitments; rules on quantities look at their status all the same.
    Column("CommitmentDiscountStatus", _S, _const(None)),
    Column("ConsumedQuantity", _D, _gigabytes),
    Column("ConsumedUnit", _S, _unit),
    Column("ContractedCost", _D, _charge),
    Column("EffectiveCost", _D, _charge),
    # The ledger belongs to no invoice. (Version 1.2 has one rule that null fails and one that every value fails.)
    Column("InvoiceId", _S, _const(None)),
    Column("InvoiceIssuerName", _S, _provider),
    Column("ListCost", _D, _charge),
    Column("PricingCategory", _S, _const("Standard")),
    Column("PricingCurrency", _S, _const("USD")),
    Column("PricingCurrencyEffectiveCost", _D, _charge),
    Column("PricingQuantity", _D, _gigabytes),
    Column("PricingUnit", _S, _unit),
    Column("ProviderName", _S, _provider, "1.2"),
    Column("PublisherName", _S, _provider, "1.2"),
    Column("ServiceProviderName", _S, _provider, "1.4"),
    Column("HostProviderName", _S, _provider, "1.4"),
    Column("RegionId", _S, _place),
    Column("RegionName", _S, _place),
    Column("ResourceId", _S, _dataset),
    Column("ResourceName", _S, _dataset),
    Column("ResourceType", _S, _const("Dataset")),
    Column("ServiceCategory", _S, _const("Networking")),
    Column("ServiceName", _S, _const("Data transfer")),
    Column("ServiceSubcategory", _S, _const("Network Connectivity")),
    Column("SkuId", _S, _sku),
    Column("SkuMeter", _S, _const("Data transfer out")),
    Column("SkuPriceId", _S, _sku_price),
    Column("SubAccountId", _S, _field("payer")),
    Column("SubAccountName", _S, _field("payer")),
    Column("SubAccountType", _S, lambda entry, _: "Namespace" if entry.payer else None),
    Column("Tags", _J, _tags),
    Column("AllocatedMethodId", _S, _method, "1.4"),
    Column("AllocatedMethodDetails", _J, _method_details, "1.4"),
    Column("AllocatedResourceId", _S, _allocated_to, "1.4"),
    Column("AllocatedResourceName", _S, _allocated_to, "1.4"),
    Column("x_LedgerEntryId", _S, _field("entry")),
    Column("x_LedgerTime", _T, lambda entry, _: entry.time.astimezone(UTC)),
    Column("x_CorrectsEntryId", _S, _field("corrects")),
    Column("x_BillId", _S, _field("bill")),
    Column("x_AllocationPeriod", _S, _field("allocation")),
    Column("x_SourceRegionId", _S, _field("source_region")),
    Column("x_DestinationRegionId", _S, _field("destination_region")),
    Column("x_SourceSiteId", _S, _field("source_site")),
    Column("x_DestinationSiteId", _S, _field("destination_site")),
    Column("x_JobId", _S, _field("job")),
    Column("x_JobName", _S, _field("label")),
    Column("x_RunId", _S, _field("run")),
    Column("x_Attempt", _I, _field("attempt")),
    Column("x_TransferId", _S, _field("transfer")),
    Column("x_PrincipalId", _S, _field("principal")),
    Column("x_DatasetId", _S, _dataset),
    Column("x_DatasetVersion", _I, _field("version")),
    Column("x_Bytes", _I, _field("bytes")),
    Column("x_UnsettledBytes", _I, _field("unsettled_bytes")),
    Column("x_Requests", _I, _field("requests")),
    Column("x_RequestCost", _D, _micros("request_micros")),
    Column("x_EstimatedBytes", _I, _field("estimate_bytes")),
    Column("x_EstimatedCost", _D, _micros("estimate_micros")),
    Column("x_AvoidedCost", _D, _micros("avoided_micros")),
    Column("x_PriceSheetId", _S, lambda entry, _: f"rateCards/{entry.rate_card}"),
    Column("x_PriceSource", _S, _field("price_source")),
)
