"""The columns of the ledger's and lineage's tables, and how events become their rows. Columns are only ever added.

Every table has `position`, the event that a row came from, unique in the table, and `day` (UTC), by which it is partitioned.
Times are microseconds in UTC. Money is in micro-dollars as integers, and again in dollars as decimals, never as floats.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from datetime import datetime
from decimal import Decimal
from typing import Any

import pyarrow as pa

from federation.core import errors, lineage, metering, records
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
        _field(
            "node", pa.string(), "Version, like sales/flights@3; person who put it, like users/ada; or URL of what is foreign."
        ),
        _field("manifest_digest", pa.string(), "SHA-256 of the version's manifest."),
        _field("site", pa.string(), "Site of the replica that was read or written."),
        _field("source_region", pa.string(), "Region that the bytes came from."),
        _field("destination_region", pa.string(), "Region that the bytes went to."),
        _field("bytes", pa.int64(), "Bytes that were read, as the ledger has them, or those of the version; or written."),
        _field("time", _TIME, "When."),
        _field(
            "charge_micros",
            pa.int64(),
            "What the read cost with fees for requests, in micro-dollars; null where it was not settled yet.",
            optional=True,
        ),
        _field("charge_usd", _DOLLARS, "The same in dollars.", optional=True),
        _field("rows", pa.int64(), "Rows of the version, where they are known.", optional=True),
        _field(
            "columns",
            pa.string(),
            "Columns that were asked for or written, as a JSON array; null where they are not known: maybe all.",
            optional=True,
        ),
        _field(
            "column_map",
            pa.string(),
            "From which columns of inputs those of an output are made, as a JSON array of {column, source}; null where untold.",
            optional=True,
        ),
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
    rows = [(event.position, _value(table, event)) for event in events]
    return pa.Table.from_arrays(
        [pa.array([_cell(table, field.name, *row) for row in rows], field.type) for field in table.schema], schema=table.schema
    )


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
        return _dollars(getattr(value, column.removesuffix("_usd") + "_micros"))
    found = getattr(value, column)
    # Lists as JSON text: every engine reads it, and a row stays a row of plain values.
    return found if not isinstance(found, tuple) else json.dumps(records.dump(found), ensure_ascii=False) if found else None


def _dollars(micros: int | None) -> Decimal | None:
    return None if micros is None else Decimal(micros).scaleb(-6).quantize(_TWELVE_PLACES)
