"""AWS Cost and Usage Reports as a bill: CSV (plain or gzip) and Parquet, by legacy names and by those of CUR 2.0.

What is billed for moving data is known by its usage type (AWS CUR user guide, "Understanding data transfer charges"):
`USE2-EUC1-AWS-Out-Bytes` left us-east-2 for eu-central-1, `EUC1-DataTransfer-Out-Bytes` left for the internet,
`EUC1-DataTransfer-Regional-Bytes` went between zones. `...-In-Bytes` is not charged and left out. `USE2-AWS-Out-Bytes` (VPC
peering) does not tell where to. Amounts are in gigabytes of 2^30 bytes. What is paid is the unblended cost; discounts, credits
and refunds are lines of their own.
"""

from __future__ import annotations

import gzip
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyarrow import csv, parquet

from federation import frames, ports
from federation.core import bill, errors, site

PROVIDER = "aws"
GB_BYTES = 2**30
#: Lines that are looked at together.
BATCH = 65_536
_BLOCK_BYTES = 4 << 20

#: Region by billing code: "AWS Region billing codes", AWS Global Infrastructure user guide (read 2026-11), as far as two
#: independent listings of it agree; of the newest regions they do not, so those stay unknown here and are named as such.
#: us-east-1 has no code in usage types of one region; eu-west-1 is EU there and EUW1 in newer ones.
REGIONS = {
    "": "us-east-1",
    "USE1": "us-east-1",
    "USE2": "us-east-2",
    "USW1": "us-west-1",
    "USW2": "us-west-2",
    "UGW1": "us-gov-west-1",
    "UGE1": "us-gov-east-1",
    "CAN1": "ca-central-1",
    "CAN2": "ca-west-1",
    "MXC1": "mx-central-1",
    "SAE1": "sa-east-1",
    "EU": "eu-west-1",
    "EUW1": "eu-west-1",
    "EUW2": "eu-west-2",
    "EUW3": "eu-west-3",
    "EUC1": "eu-central-1",
    "EUC2": "eu-central-2",
    "EUN1": "eu-north-1",
    "EUS1": "eu-south-1",
    "EUS2": "eu-south-2",
    "ILC1": "il-central-1",
    "MES1": "me-south-1",
    "MEC1": "me-central-1",
    "AFS1": "af-south-1",
    "APE1": "ap-east-1",
    "APN1": "ap-northeast-1",
    "APN2": "ap-northeast-2",
    "APN3": "ap-northeast-3",
    "APS1": "ap-southeast-1",
    "APS2": "ap-southeast-2",
    "APS3": "ap-south-1",
    "APS4": "ap-southeast-3",
    "APS5": "ap-south-2",
    "APS6": "ap-southeast-4",
    "APS7": "ap-southeast-5",
}
_CODE = r"[A-Z]{2,3}[A-Z0-9]?[0-9]?"
_TRANSFER = re.compile(rf"(?:(?P<code>{_CODE})-)?DataTransfer-(?P<what>Out|Regional)-Bytes")
_BETWEEN = re.compile(rf"(?:(?P<first>{_CODE})-)?(?:(?P<second>{_CODE})-)?AWS-Out-Bytes")
_KEPT = r"(^|-)(AWS-Out-Bytes|DataTransfer-(Out|Regional)-Bytes)$"

#: What is needed of a line: our word, the legacy name, the name in CUR 2.0.
_NAMES = {
    "payer": ("bill/PayerAccountId", "bill_payer_account_id"),
    "month": ("bill/BillingPeriodStartDate", "bill_billing_period_start_date"),
    "account": ("lineItem/UsageAccountId", "line_item_usage_account_id"),
    "type": ("lineItem/LineItemType", "line_item_line_item_type"),
    "start": ("lineItem/UsageStartDate", "line_item_usage_start_date"),
    "end": ("lineItem/UsageEndDate", "line_item_usage_end_date"),
    "usage_type": ("lineItem/UsageType", "line_item_usage_type"),
    "amount": ("lineItem/UsageAmount", "line_item_usage_amount"),
    "currency": ("lineItem/CurrencyCode", "line_item_currency_code"),
    "cost": ("lineItem/UnblendedCost", "line_item_unblended_cost"),
}
_OPTIONAL = {
    "resource": ("lineItem/ResourceId", "line_item_resource_id"),
    "from": ("product/fromRegionCode", "product_from_region_code"),
    "to": ("product/toRegionCode", "product_to_region_code"),
}
#: What a line item's type is here; all others, such as fees and commitments, are no charge for moving data.
_KINDS = {
    "Usage": bill.LineKind.USAGE,
    "Credit": bill.LineKind.CREDIT,
    "Refund": bill.LineKind.REFUND,
    "EdpDiscount": bill.LineKind.DISCOUNT,
    "PrivateRateDiscount": bill.LineKind.DISCOUNT,
    "BundledDiscount": bill.LineKind.DISCOUNT,
    "Discount": bill.LineKind.DISCOUNT,
    "Tax": bill.LineKind.TAX,
}


class AwsBills:
    """A `ports.BillReader` of Cost and Usage Reports."""

    def read(self, paths: Sequence[Path]) -> Iterator[ports.BillPiece]:
        for path in paths:
            try:
                for batch in _batches(path):
                    yield from _pieces(path, batch)
            except (pa.ArrowException, OSError, EOFError, gzip.BadGzipFile, UnicodeDecodeError) as error:
                raise _invalid(path, str(error)) from error


def link(usage_type: str) -> tuple[str, str]:
    """Source and destination region of a usage type, empty where it does not tell or its code is not known."""
    found = _TRANSFER.fullmatch(usage_type)
    if found:
        source = _region(found["code"] or "")
        return source, site.INTERNET if found["what"] == "Out" else source
    found = _BETWEEN.fullmatch(usage_type)
    if not found:
        return "", ""
    if not found["second"]:
        return (_region(found["first"]), "") if found["first"] else ("", "")
    return _region(found["first"]), _region(found["second"])


def _region(code: str) -> str:
    name = REGIONS.get(code, "")
    return f"{PROVIDER}:{name}" if name else ""


# Files


def _batches(path: Path) -> Iterator[pa.Table]:
    """The columns that are needed, as text, under our words."""
    suffixes = path.suffixes
    if suffixes[-1:] == [".parquet"]:
        yield from _parquet_batches(path)
    elif suffixes[-1:] == [".csv"] or suffixes[-2:] == [".csv", ".gz"]:
        yield from _csv_batches(path)
    else:
        raise _invalid(path, "its name ends in none of .csv, .csv.gz and .parquet")


def _csv_batches(path: Path) -> Iterator[pa.Table]:
    with pa.input_stream(str(path), compression="detect") as stream:
        header = csv.open_csv(stream, read_options=csv.ReadOptions(block_size=_BLOCK_BYTES)).schema.names
    names = _columns(path, header)
    text = dict.fromkeys(names.values(), pa.string())
    with pa.input_stream(str(path), compression="detect") as stream:
        reader = csv.open_csv(
            stream,
            read_options=csv.ReadOptions(block_size=_BLOCK_BYTES),
            # A field in quotes may hold line breaks; empty text is empty and no null.
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types=text, include_columns=list(names.values()), null_values=[]),
        )
        for batch in reader:
            yield pa.table({ours: batch.column(theirs) for ours, theirs in names.items()})


def _parquet_batches(path: Path) -> Iterator[pa.Table]:
    with parquet.ParquetFile(path) as file:
        names = _columns(path, file.schema_arrow.names)
        for batch in file.iter_batches(BATCH, columns=list(names.values())):
            yield pa.table({ours: batch.column(theirs) for ours, theirs in names.items()})


def _columns(path: Path, header: Sequence[str]) -> dict[str, str]:
    """Our words -> the names that the file has for them."""
    there = set(header)
    found = {ours: next((name for name in names if name in there), "") for ours, names in (_NAMES | _OPTIONAL).items()}
    missing = [_NAMES[ours][1] for ours, name in found.items() if not name and ours in _NAMES]
    if missing:
        raise _invalid(path, f"it lacks the columns {', '.join(missing)}")
    return {ours: name for ours, name in found.items() if name}


# Lines


def _pieces(path: Path, rows: pa.Table) -> Iterator[ports.BillPiece]:
    """The lines of a batch by payer and month."""
    text = {name: _text(rows[name]) for name in rows.schema.names if name not in ("amount", "cost", "start", "end", "month")}
    moving = pc.match_substring_regex(text["usage_type"], _KEPT)
    kept = pc.and_(moving, pc.is_in(text["type"], pa.array(list(_KINDS))))
    months = pc.utf8_slice_codeunits(_text(rows["month"]), 0, 7)
    owners = pa.table({"payer": text["payer"], "month": months, "kept": kept})
    for owner in owners.group_by(["payer", "month"]).aggregate([("kept", "sum"), ("kept", "count")]).to_pylist():
        ours = pc.and_(pc.equal(text["payer"], owner["payer"]), pc.equal(months, owner["month"]))
        chosen = pc.and_(ours, kept)
        of = {name: column.filter(chosen) for name, column in text.items()}
        of |= {name: rows[name].filter(chosen) for name in ("amount", "cost", "start", "end")}
        count = owner["kept_sum"] or 0
        lines = _lines(path, of) if count else frames.schema(bill.BillLine).empty_table()
        yield ports.BillPiece(
            provider=PROVIDER,
            account=owner["payer"],
            month=owner["month"],
            lines=lines,
            skipped=owner["kept_count"] - count,
        )


def _lines(path: Path, of: dict[str, Any]) -> pa.Table:
    currencies = set(of["currency"].unique().to_pylist())
    if currencies != {"USD"}:
        raise _invalid(path, f"it bills in {', '.join(sorted(currencies))}; only USD can be reconciled")
    rows = len(of["usage_type"])
    types = of["usage_type"].unique().to_pylist()
    links = {usage_type: link(usage_type) for usage_type in types}
    source = _mapped(of["usage_type"], {usage_type: ends[0] for usage_type, ends in links.items()})
    destination = _mapped(of["usage_type"], {usage_type: ends[1] for usage_type, ends in links.items()})
    # Newer reports tell the regions beside the usage type: taken where that does not say.
    source = _filled(source, of.get("from"))
    destination = _filled(destination, of.get("to"))
    found = {
        "bill": pa.array([""] * rows),
        "version": pa.array([0] * rows, pa.int64()),
        "line": pa.array([0] * rows, pa.int64()),
        "account": of["account"],
        "usage_type": of["usage_type"],
        "kind": _mapped(of["type"], {name: str(kind) for name, kind in _KINDS.items()}),
        "source_region": source,
        "destination_region": destination,
        "resource": of.get("resource", pa.array([""] * rows)),
        "start_time": _time(path, of["start"]),
        "end_time": _time(path, of["end"]),
        "usage_bytes": _scaled(path, of["amount"], GB_BYTES),
        "cost_picos": _scaled(path, of["cost"], bill.PICOS),
    }
    schema = frames.schema(bill.BillLine)
    return pa.table([_whole(found[field.name]).cast(field.type) for field in schema], schema=schema)


def _mapped(column: Any, values: dict[str, str]) -> Any:
    keys = pa.array(list(values))
    return pc.take(pa.array(list(values.values())), pc.index_in(column, keys))


def _filled(known: Any, told: Any) -> Any:
    if told is None:
        return known
    named = pc.if_else(pc.equal(told, ""), "", pc.binary_join_element_wise(PROVIDER, told, ":"))
    return pc.if_else(pc.equal(known, ""), named, known)


def _text(column: Any) -> Any:
    return pc.fill_null(_whole(column).cast(pa.string()), "")


def _whole(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _time(path: Path, column: Any) -> Any:
    column = _whole(column)
    if pa.types.is_timestamp(column.type):
        return (
            column.cast(pa.timestamp("us", tz="UTC"))
            if column.type.tz
            else column.cast(pa.timestamp("us")).cast(pa.timestamp("us", tz="UTC"))
        )
    try:
        return pc.strptime(pc.utf8_slice_codeunits(column, 0, 19), "%Y-%m-%dT%H:%M:%S", "us").cast(pa.timestamp("us", tz="UTC"))
    except pa.ArrowInvalid as error:
        raise _invalid(path, f"a time of its usage cannot be read: {error}") from None


def _scaled(path: Path, column: Any, factor: int) -> Any:
    """Decimal amounts times a factor, to whole numbers, half to even; floats count as the decimals that they show."""
    column = _whole(column)
    try:
        if pa.types.is_floating(column.type):
            column = column.cast(pa.decimal128(38, 12))
        if not pa.types.is_decimal(column.type):
            column = pc.if_else(pc.equal(_text(column), ""), "0", _text(column)).cast(pa.decimal128(38, 12))
        product = pc.multiply(column.cast(pa.decimal256(38, 12)), pa.scalar(factor, pa.int64()).cast(pa.decimal256(19, 0)))
        return pc.fill_null(pc.round(product, 0, "half_to_even").cast(pa.decimal256(76, 0), safe=False).cast(pa.int64()), 0)
    except pa.ArrowInvalid as error:
        raise _invalid(path, f"an amount cannot be read: {error}") from None


def _invalid(path: Path, problem: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"{path.name} cannot be read as a Cost and Usage Report: {problem}",
        reason="BILL_INVALID",
        help="Export a Cost and Usage Report as CSV or Parquet, with hourly lines if it can be.",
        metadata={"file": path.name},
    )
