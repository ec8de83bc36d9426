"""The columns of the ledger's and lineage's tables, and how events become their rows. Columns are only ever added.

Every table has `position`, the event that a row came from, unique in the table, and `day` (UTC), by which it is partitioned.
Times are microseconds in UTC. Money is in micro-dollars as integers, and again in dollars as decimals, never as floats.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from federation import frames
from federation.core import bill, errors, lineage, metering, records
from federation.core.events import Event

_TIME = pa.timestamp("us", tz="UTC")
_DOLLARS = pa.decimal128(38, 12)
_TWELVE_PLACES = Decimal(1).scaleb(-12)


def _field(name: str, type_: pa.DataType, comment: str, *, optional: bool = False) -> pa.Field:
    return pa.field(name, type_, nullable=optional, metadata={"comment": comment})


_POSITION = _field("position", pa.int64(), "Position of the event in the catalog's log; unique, ascending, with gaps.")
_DAY = _field("day", pa.date32(), "Day (UTC) of the row's time; the partition.")

_LEDGER = pa.schema(
    [
        _POSITION,
        _field("entry", pa.string(), "Id of the entry."),
        _field("grant", pa.string(), "Id of the read grant that it settles."),
        _field("time", _TIME, "When the grant was settled."),
        _field("month", pa.string(), "Billing month, like 2026-11."),
        _field("namespace", pa.string(), "Namespace of the dataset that was read."),
        _field("dataset", pa.string(), "Dataset that was read."),
        _field("version", pa.int64(), "Number of the version that was read."),
        _field("alias", pa.string(), "Name of the input in its job; empty for a person."),
        _field("job", pa.string(), "Job that read; empty for a person."),
        _field("run", pa.string(), "Run that read; empty for a person."),
        _field("attempt", pa.int64(), "Attempt of the job."),
        _field("principal", pa.string(), "Who is charged."),
        _field("source_site", pa.string(), "Site that the bytes left."),
        _field("source_region", pa.string(), "Region that the bytes left; it is billed."),
        _field("destination_site", pa.string(), "Site that the bytes went to; empty for a person."),
        _field("destination_region", pa.string(), "Region that the bytes went to, or internet."),
        _field("bytes", pa.int64(), "Bytes charged, the unsettled ones among them."),
        _field("unsettled_bytes", pa.int64(), "Bytes granted but never accounted for, because a process died."),
        _field("requests", pa.int64(), "Requests to the gateway."),
        _field("charge_micros", pa.int64(), "Charge in micro-dollars."),
        _field("charge_usd", _DOLLARS, "Charge in dollars."),
        _field("estimate_bytes", pa.int64(), "Bytes that the plan expected."),
        _field("estimate_micros", pa.int64(), "Charge that the plan expected, in micro-dollars."),
        _field("estimate_usd", _DOLLARS, "Charge that the plan expected, in dollars."),
        _field(
            "avoided_micros",
            pa.int64(),
            "What bringing the data elsewhere would have cost more, in micro-dollars.",
            optional=True,
        ),
        _field("avoided_usd", _DOLLARS, "The same in dollars.", optional=True),
        _field("month_to_date_bytes", pa.int64(), "Bytes of the month before this entry, which set its price tier."),
        _field("price_source", pa.string(), "Where the price is from."),
        _field("corrects", pa.string(), "Entry that this one corrects; empty for an original."),
        _field("transfer", pa.string(), "Transfer that read; empty for a job or a person."),
        _field("rate_card", pa.int64(), "Number of the rate card that priced it; 0 for the shipped one."),
        _field("request_micros", pa.int64(), "Fees for requests that are part of the charge, in micro-dollars."),
        _field("label", pa.string(), "Label of the job; empty for a person or a transfer."),
        _field("payer", pa.string(), "Namespace that is charged: the job's, else the data's."),
        _field("account", pa.string(), "Billing account that the source sends from; empty for the federation's own."),
        _field("bill", pa.string(), "Provider's bill that this corrects by; empty for what is not from a bill."),
        _field("allocation", pa.string(), "Period whose bytes the bill was split by: 2026-11, 2026-11-03, 2026-11-03T04."),
        _field("allocated_bytes", pa.int64(), "Bytes of the corrected entry in that period."),
        _field("allocated_of_bytes", pa.int64(), "Bytes of the link in that period: the ratio's denominator."),
        _DAY,
    ]
)

#: Money of a bill is finer than a micro-dollar: its decimals are the provider's, its integers pico-dollars.
_BILL_LINES = pa.schema(
    [
        _POSITION,
        _field("bill", pa.string(), "Bill that the line is of, like aws-111122223333-2026-11."),
        _field("version", pa.int64(), "Delivery of the bill that the line came with; the newest counts."),
        _field("line", pa.int64(), "Number of the line in its delivery."),
        _field("account", pa.string(), "Account that used it."),
        _field("usage_type", pa.string(), "The provider's word, like USE2-EUC1-AWS-Out-Bytes."),
        _field("kind", pa.string(), "USAGE, CREDIT, REFUND, DISCOUNT or TAX."),
        _field("source_region", pa.string(), "Region that the bytes left; empty where the bill does not tell."),
        _field("destination_region", pa.string(), "Region that they went to, or internet; empty where the bill does not tell."),
        _field("resource", pa.string(), "What is billed, such as a bucket."),
        _field("start_time", _TIME, "Begin of the usage."),
        _field("end_time", _TIME, "End of the usage."),
        _field("usage_bytes", pa.int64(), "Bytes billed."),
        _field("cost_picos", pa.int64(), "Cost in pico-dollars."),
        _field("cost_usd", _DOLLARS, "Cost in dollars."),
        _DAY,
    ]
)

_RUNS = pa.schema(
    [
        _POSITION,
        _field("run", pa.string(), "Id of the run."),
        _field("job", pa.string(), "Job that it was a run of."),
        _field("attempt", pa.int64(), "Attempt of the job."),
        _field("label", pa.string(), "Label of the job."),
        _field("kind", pa.string(), "Kind of the job."),
        _field("site", pa.string(), "Site that it ran at."),
        _field("region", pa.string(), "Region of the site."),
        _field("principal", pa.string(), "Who asked for it."),
        _field("state", pa.string(), "How it ended."),
        _field("reason", pa.string(), "Why, if it did not succeed."),
        _field("start_time", _TIME, "When it began to run, if it did.", optional=True),
        _field("end_time", _TIME, "When it ended."),
        _DAY,
    ]
)

_EDGES = pa.schema(
    [
        _POSITION,
        _field("run", pa.string(), "Run that read or wrote."),
        _field("direction", pa.string(), "in or out."),
        _field("alias", pa.string(), "Name of the input or output in its job."),
        _field("node", pa.string(), "Version, like sales/flights@3, or URL of what was ingested."),
        _field("manifest_digest", pa.string(), "SHA-256 of the version's manifest."),
        _field("site", pa.string(), "Site of the replica that was read or written."),
        _field("source_region", pa.string(), "Region that the bytes came from."),
        _field("destination_region", pa.string(), "Region that the bytes went to."),
        _field("bytes", pa.int64(), "Bytes that were read or written."),
        _field("time", _TIME, "When."),
        _DAY,
    ]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordTable:
    """One table: the class whose values are its rows, its columns, and which of the value's times its day is of."""

    cls: type
    schema: pa.Schema
    time: Callable[[Any], datetime]


TABLES = {
    "egress_ledger": RecordTable(cls=metering.LedgerEntry, schema=_LEDGER, time=lambda entry: entry.time),
    "lineage_runs": RecordTable(cls=lineage.RunFact, schema=_RUNS, time=lambda fact: fact.end_time),
    "lineage_edges": RecordTable(cls=lineage.Edge, schema=_EDGES, time=lambda edge: edge.time),
    "bill_lines": RecordTable(cls=bill.BillLine, schema=_BILL_LINES, time=lambda line: line.start_time),
}


def table_of(name: str) -> RecordTable:
    """The table of that name; InvalidArgument for one that is not kept."""
    try:
        return TABLES[name]
    except KeyError:
        raise errors.InvalidArgument(
            f"there is no table {name!r}", reason="TABLE_UNKNOWN", help=f"Use one of: {', '.join(TABLES)}."
        ) from None


def to_arrow(name: str, events: Iterable[Event]) -> pa.Table:
    """The events as rows of the table; DataCorrupt for a body that is not one of its values."""
    table = table_of(name)
    rows = [(position, value) for event in events for position, value in _values(table, event)]
    return pa.Table.from_arrays(
        [pa.array([_cell(table, field.name, *row) for row in rows], field.type) for field in table.schema], schema=table.schema
    )


def _values(table: RecordTable, event: Event) -> Iterable[tuple[int, Any]]:
    if not event.data:
        return [(event.position, _value(table, event))]
    return enumerate(frames.values(table.cls, frames.unpack(table.cls, event.data)), event.position - event.rows + 1)


def _value(table: RecordTable, event: Event) -> Any:
    try:
        return records.loads(table.cls, event.body)
    except (TypeError, ValueError) as error:
        raise errors.DataCorrupt(
            f"event {event.position} ({event.kind}) does not hold a {table.cls.__name__}: {error}",
            reason="RECORD_INVALID",
            help="The catalog was written by another release or damaged; its ledger goes no further until this is mended.",
            metadata={"position": str(event.position)},
        ) from error


def _cell(table: RecordTable, column: str, position: int, value: Any) -> Any:
    if column == "position":
        return position
    if column == "day":
        return table.time(value).date()
    if column.endswith("_usd"):
        stem = column.removesuffix("_usd")
        picos = getattr(value, f"{stem}_picos", None)
        return Decimal(picos).scaleb(-12) if picos is not None else _dollars(getattr(value, f"{stem}_micros"))
    return getattr(value, column)


def _dollars(micros: int | None) -> Decimal | None:
    return None if micros is None else Decimal(micros).scaleb(-6).quantize(_TWELVE_PLACES)
