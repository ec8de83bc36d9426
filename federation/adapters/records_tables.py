"""The columns of the record's tables, and how events become their rows. Columns are only ever added.

Every table has `position`, where a row's fact stands in the catalog's log, unique in the table; `day` (UTC), by which it is
partitioned; and `chain`, the row's link (`core/chain.py`). Times are microseconds in UTC. Money is in micro-dollars as
integers, and again in dollars as decimals, never as floats.

A table's schema version is that of its newest column. A column that is added says `since` which version it is there, and is
optional: rows from before have none. No column ever changes its type or its meaning, and a struct in a list never grows: what
is to be added becomes a column of its own. docs/record.md is printed from here.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from federation.adapters import records_chain
from federation.core import audit, bill, chain, decision, errors, events, lineage, metering, records
from federation.core.events import Event

_TIME = pa.timestamp("us", tz="UTC")
_DOLLARS = pa.decimal128(38, 12)


def _field(name: str, type_: pa.DataType, comment: str, *, optional: bool = False, since: int = 1) -> pa.Field:
    if since > 1 and not optional:
        raise AssertionError(f"column {name} was added later, so it must be optional")
    return pa.field(name, type_, nullable=optional, metadata={"comment": comment, "since": str(since)})


def _structs(*fields: tuple[str, pa.DataType]) -> pa.DataType:
    return pa.list_(pa.field("element", pa.struct([pa.field(name, type_) for name, type_ in fields])))


def _chain(since: int = 1) -> pa.Field:
    comment = (
        "Link of the row: SHA-256 of the link before and the row, see docs/record.md. Absent in rows from before the chain."
    )
    return _field(CHAIN, pa.binary(), comment, optional=True, since=since)


CHAIN = "chain"
_TEXTS = pa.list_(pa.field("element", pa.string()))
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
        _field("label", pa.string(), "Label of the job; empty for a person or a transfer.", optional=True, since=2),
        _field("payer", pa.string(), "Namespace that is charged: the job's, else the data's.", optional=True, since=2),
        _field(
            "account",
            pa.string(),
            "Billing account that the source sends from; empty for the federation's own.",
            optional=True,
            since=2,
        ),
        _field(
            "bill",
            pa.string(),
            "Provider's bill that this corrects by; empty for what is not from a bill.",
            optional=True,
            since=2,
        ),
        _field(
            "allocation",
            pa.string(),
            "Period whose bytes the bill was split by: 2026-11, 2026-11-03, 2026-11-03T04.",
            optional=True,
            since=2,
        ),
        _field("allocated_bytes", pa.int64(), "Bytes of the corrected entry in that period.", optional=True, since=2),
        _field(
            "allocated_of_bytes",
            pa.int64(),
            "Bytes of the link in that period: the ratio's denominator.",
            optional=True,
            since=2,
        ),
        _DAY,
        _chain(since=2),
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
        _chain(),
    ]
)

_USAGE = pa.schema(
    [
        _POSITION,
        _field("grant", pa.string(), "Id of the read grant that it was counted under."),
        _field("hour_time", _TIME, "Beginning of the hour."),
        _field("counter", pa.string(), "GATEWAY, which is charged, or READER, which checks it."),
        _field("namespace", pa.string(), "Namespace of the dataset that was read."),
        _field("dataset", pa.string(), "Dataset that was read."),
        _field("version", pa.int64(), "Number of the version that was read."),
        _field("alias", pa.string(), "Name of the input in its job; empty for a person."),
        _field("job", pa.string(), "Job that read; empty for a person."),
        _field("run", pa.string(), "Run that read; empty for a person."),
        _field("transfer", pa.string(), "Transfer that read; empty for a job or a person."),
        _field("source_site", pa.string(), "Site that the bytes left."),
        _field("source_region", pa.string(), "Region that the bytes left."),
        _field("destination_site", pa.string(), "Site that the bytes went to; empty for a person."),
        _field("destination_region", pa.string(), "Region that the bytes went to, or internet."),
        _field("bytes", pa.int64(), "Bytes of answers that went, or came, whole."),
        _field("aborted_bytes", pa.int64(), "Bytes of answers that ended early."),
        _field("responses", pa.int64(), "Answers that went, or came, whole."),
        _field("aborted_responses", pa.int64(), "Answers that ended early."),
        _field("retries", pa.int64(), "How often a reader asked again, because the gateway had gone away."),
        _field("cached_bytes", pa.int64(), "Bytes that a reader's memory handed out without a request."),
        _field(
            "unreceived_bytes",
            pa.int64(),
            "Bytes that a reader had asked for in answers that ended early, and did not get.",
            optional=True,
            since=2,
        ),
        _DAY,
        _chain(),
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
        _chain(since=2),
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
            since=2,
        ),
        _field("charge_usd", _DOLLARS, "The same in dollars.", optional=True, since=2),
        _field("rows", pa.int64(), "Rows of the version, where they are known.", optional=True, since=2),
        _field(
            "columns",
            _TEXTS,
            "Columns that were asked for or written; none where they are not known: maybe all.",
            optional=True,
            since=2,
        ),
        _field(
            "column_map",
            _structs(("column", pa.string()), ("source", pa.string())),
            "From which columns of inputs, by alias, those of an output are made.",
            optional=True,
            since=2,
        ),
        _DAY,
        _chain(since=2),
    ]
)


_DECISIONS = pa.schema(
    [
        _POSITION,
        _field("decision", pa.string(), "Id of the decision; later ones sort later."),
        _field("job", pa.string(), "Job that was decided about."),
        _field("namespace", pa.string(), "Namespace of the job."),
        _field("label", pa.string(), "Label of the job."),
        _field("kind", pa.string(), "Kind of the job."),
        _field("principal", pa.string(), "Who asked for the job."),
        _field("run", pa.string(), "Run that it began; empty if none."),
        _field("attempt", pa.int64(), "Attempt that it began; 0 if none."),
        _field("time", _TIME, "When it was decided."),
        _field("outcome", pa.string(), "PLACED, COPIES_FIRST, WAITING or REFUSED."),
        _field("reason", pa.string(), "Stable reason, if no run began."),
        _field("detail", pa.string(), "The same in words."),
        _field("revision", pa.int64(), "Revision of the catalog that it was made from."),
        _field("rate_card", pa.int64(), "Number of the rate card that it was priced with; 0 for the shipped one."),
        _field("site", pa.string(), "Site that was chosen; empty if none."),
        _field("region", pa.string(), "Region of the chosen site."),
        _field("gpu_type", pa.string(), "Type of GPU that was chosen."),
        _field("spot", pa.bool_(), "Whether it is one that can be taken away."),
        _field("objective_micros", pa.int64(), "What candidates were ranked by: all of its parts in sum, in micro-dollars."),
        _field("total_micros", pa.int64(), "Part of it that is money to be spent, in micro-dollars."),
        _field("compute_micros", pa.int64(), "Part: compute, in micro-dollars."),
        _field("egress_micros", pa.int64(), "Part: egress of the inputs, in micro-dollars."),
        _field("storage_micros", pa.int64(), "Part: storage of copies, in micro-dollars."),
        _field("landing_micros", pa.int64(), "Part: bringing outputs to where they are wanted, in micro-dollars."),
        _field("time_micros", pa.int64(), "Part: the value put on time, in micro-dollars."),
        _field("carbon_micros", pa.int64(), "Part: the price put on carbon, in micro-dollars."),
        _field("carbon_grams", pa.int64(), "CO2e that the run is expected to cause."),
        _field("wait_seconds", pa.int64(), "Until the site has room."),
        _field("stage_seconds", pa.int64(), "Until copies are there."),
        _field("run_seconds", pa.int64(), "How long the run is expected to take."),
        _field("egress_bytes", pa.int64(), "Bytes expected to leave a region."),
        _field("locality", pa.float64(), "Share of the input bytes at the site already, 0 to 1.", optional=True),
        _field("runner_up_site", pa.string(), "Second best site, if there was one.", optional=True),
        _field("runner_up_objective_micros", pa.int64(), "Its objective, in micro-dollars.", optional=True),
        _field("margin_micros", pa.int64(), "How much worse it was, in micro-dollars.", optional=True),
        _field("baseline_site", pa.string(), "Site with the cheapest compute, residency ignored."),
        _field(
            "baseline_egress_micros",
            pa.int64(),
            "What bringing all inputs there would cost, in micro-dollars; absent where a price is unknown.",
            optional=True,
        ),
        _field("avoided_micros", pa.int64(), "That minus the choice's egress, in micro-dollars: an estimate.", optional=True),
        _field(
            "inputs",
            _structs(
                ("alias", pa.string()),
                ("dataset", pa.string()),
                ("version", pa.int64()),
                ("way", pa.string()),
                ("source_site", pa.string()),
                ("source_region", pa.string()),
                ("destination_region", pa.string()),
                ("bytes", pa.int64()),
                ("egress_micros", pa.int64()),
                ("baseline_micros", pa.int64()),
                ("residency", _TEXTS),
            ),
            "Each input: how the choice has it, at which estimate, and the jurisdictions that bound it (none: everywhere).",
        ),
        _field(
            "candidates",
            _structs(
                ("site", pa.string()),
                ("region", pa.string()),
                ("gpu_type", pa.string()),
                ("spot", pa.bool_()),
                ("objective_micros", pa.int64()),
                ("total_micros", pa.int64()),
                ("egress_micros", pa.int64()),
                ("egress_bytes", pa.int64()),
                ("locality", pa.float64()),
                ("wait_seconds", pa.int64()),
                ("avoided", pa.string()),
            ),
            "Every way that was priced, best first; `avoided` is why an earlier attempt left there.",
        ),
        _field(
            "rejections",
            _structs(("site", pa.string()), ("reason", pa.string()), ("detail", pa.string()), ("resolvable", pa.bool_())),
            "Every site that was set aside, and why; `resolvable` is whether waiting may help.",
        ),
        _field("transfers", _TEXTS, "Transfers that bring copies first."),
        _field("supersedes", pa.string(), "The job's decision before; empty for the first."),
        _DAY,
        _chain(),
    ]
)

_AUDIT = pa.schema(
    [
        _POSITION,
        _field("time", _TIME, "When it was changed."),
        _field("kind", pa.string(), "What was changed and how, like dataset.created."),
        _field("name", pa.string(), "Resource that was changed."),
        _field("actor", pa.string(), "Who changed it; server for what happens by itself."),
        _field("request_id", pa.string(), "Request that did it; empty if none."),
        _field("body", pa.string(), "The value after, as JSON, without secrets."),
        _field("body_sha256", pa.string(), "SHA-256 of body, hex."),
        _DAY,
        _chain(),
    ]
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class RecordTable:
    """One table: what it is for, the class whose values are its rows, its columns, and the one whose day its day is.

    `value` makes a value of an event that holds one fact.
    """

    about: str
    cls: type
    schema: pa.Schema
    day_of: str
    value: Callable[[Event], Any] | None = None

    @functools.cached_property
    def version(self) -> int:
        """The schema version: that of the newest column."""
        return max(int(field.metadata[b"since"]) for field in self.schema)

    @functools.cached_property
    def bare(self) -> pa.Schema:
        """The columns without their explanations: as rows travel, so that a comment that was mended breaks no table."""
        return pa.schema([field.remove_metadata() for field in self.schema])

    @functools.cached_property
    def stored(self) -> tuple[pa.Field, ...]:
        """The columns that hold the value's fields; all others follow from them, or from where the fact stands."""
        names = {field.name for field in dataclasses.fields(self.cls)}
        return tuple(field for field in self.bare if field.name in names)


TABLES = {
    "egress_ledger": RecordTable(
        about="What left a site under each grant, what it cost, and what was avoided. A correction is a row of its own.",
        cls=metering.LedgerEntry,
        schema=_LEDGER,
        day_of="time",
    ),
    "egress_usage": RecordTable(
        about="What gateways and readers counted under each grant, by the hour: the one is charged, the other checks it.",
        cls=metering.UsageRecord,
        schema=_USAGE,
        day_of="hour_time",
    ),
    "lineage_runs": RecordTable(about="How each run ended.", cls=lineage.RunFact, schema=_RUNS, day_of="end_time"),
    "lineage_edges": RecordTable(
        about="What each run that succeeded read and wrote.", cls=lineage.Edge, schema=_EDGES, day_of="time"
    ),
    "placement_decisions": RecordTable(
        about="What was decided about each job, from which alternatives. What it came to is a join with the ledger by run.",
        cls=decision.Decision,
        schema=_DECISIONS,
        day_of="time",
    ),
    "audit": RecordTable(
        about="Every change of the catalog that no other table holds.",
        cls=audit.AuditEntry,
        schema=_AUDIT,
        day_of="time",
        value=audit.entry,
    ),
    "bill_lines": RecordTable(
        about="Lines of providers' bills for data transfer, as they were imported, each delivery apart.",
        cls=bill.BillLine,
        schema=_BILL_LINES,
        day_of="start_time",
    ),
}


def table_of(name: str) -> RecordTable:
    """The table of that name; InvalidArgument for one that is not kept."""
    try:
        return TABLES[name]
    except KeyError:
        raise errors.InvalidArgument(
            f"there is no table {name!r}", reason="TABLE_UNKNOWN", help=f"Use one of: {', '.join(TABLES)}."
        ) from None


def pack(kind: str, values: Sequence[Any] | pa.Table) -> bytes:
    """Facts of one kind as the `data` of one event: an Arrow IPC stream of the stored columns. Values, or columns by name.

    InvalidArgument (KIND_UNPACKED) for a kind without a table to itself, (RECORD_INVALID) for columns that are not its table's.
    """
    if kind not in events.TABLE_OF_KIND:
        raise errors.InvalidArgument(f"facts of kind {kind!r} are told one by one", reason="KIND_UNPACKED")
    table = TABLES[events.TABLE_OF_KIND[kind]]
    try:
        rows = _checked(table, values) if isinstance(values, pa.Table) else _of_values(table, values)
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise errors.InvalidArgument(f"these are no facts of kind {kind}: {error}", reason="RECORD_INVALID") from error
    sink = pa.BufferOutputStream()
    # A third of the size in the log, for about the time that the log saves in writing it.
    with pa.ipc.new_stream(sink, rows.schema, options=pa.ipc.IpcWriteOptions(compression="lz4")) as writer:
        writer.write_table(rows)
    return bytes(sink.getvalue())


def to_arrow(name: str, told: Iterable[Event], previous: bytes = b"") -> pa.Table:
    """The facts of events as rows of the table, chained behind the link `previous`; empty for a table that has none yet.

    DataCorrupt (RECORD_INVALID) for an event whose facts are not the table's.
    """
    table = table_of(name)
    parts, positions = [], [np.empty(0, dtype=np.int64)]
    for many, group in itertools.groupby(told, key=lambda event: bool(event.data) and table.value is None):
        for part, numbers in (_unpacked(table, event) for event in group) if many else (_singles(table, tuple(group)),):
            parts.append(part)
            positions.append(numbers)
    stored = pa.concat_tables(parts) if parts else _of_values(table, ())
    rows = _completed(table, stored, np.concatenate(positions))
    linked = records_chain.linked(rows, previous or chain.genesis(name))
    return rows.set_column(rows.schema.get_field_index(CHAIN), table.bare.field(CHAIN), linked)


def head_after(head: chain.Head, rows: pa.Table) -> chain.Head:
    """The head of a table to which these rows were appended."""
    if not rows.num_rows:
        return head
    return chain.Head(
        table=head.table,
        position=rows.column("position")[-1].as_py(),
        rows=head.rows + rows.num_rows,
        chain=rows.column(CHAIN)[-1].as_py(),
    )


def _singles(table: RecordTable, group: Sequence[Event]) -> tuple[pa.Table, np.ndarray]:
    """Events of one fact each."""
    positions = np.array([event.position for event in group], dtype=np.int64)
    rows = None if table.value else _parsed(table, group)
    return rows or _of_values(table, [_value(table, event) for event in group]), positions


def _parsed(table: RecordTable, group: Sequence[Event]) -> pa.Table | None:
    """The facts' JSON as columns, without values in between; None where it is anything but plain.

    It is read as a whole, and each column is made at once. Whatever does not fit, be it wrong or only from another release, is
    left to the way by way of values, which takes fifteen times as long and knows what to make of it.
    """
    missing = {field.name for field in dataclasses.fields(table.cls) if field.default is dataclasses.MISSING}
    try:
        facts = json.loads(f"[{','.join(event.body for event in group)}]")
        if len(facts) != len(group):
            return None
        columns = []
        for field in table.stored:
            if field.nullable or field.name not in missing:
                default = None if field.name in missing else records.dump(_default(table.cls, field.name))
                cells = [fact.get(field.name, default) for fact in facts]
            else:
                cells = [fact[field.name] for fact in facts]
            told = pa.string() if pa.types.is_timestamp(field.type) else field.type
            column = pa.array(cells, told).cast(field.type)
            if column.null_count and not field.nullable:
                return None
            columns.append(column)
    except (AttributeError, KeyError, TypeError, ValueError, pa.ArrowException):
        return None
    return pa.Table.from_arrays(columns, schema=pa.schema(table.stored))


def _default(cls: type, name: str) -> Any:
    return next(field.default for field in dataclasses.fields(cls) if field.name == name)


def _unpacked(table: RecordTable, event: Event) -> tuple[pa.Table, np.ndarray]:
    """An event of many facts: the last of them stands at its position."""
    try:
        with pa.ipc.open_stream(event.data) as reader:
            rows = _checked(table, reader.read_all())
        if rows.num_rows != event.rows:
            raise ValueError(f"it has {rows.num_rows} rows, not {event.rows}")
    except (TypeError, ValueError, pa.ArrowException) as error:
        raise _invalid(table, event, error) from error
    return rows, np.arange(event.position - event.rows + 1, event.position + 1)


def _checked(table: RecordTable, rows: pa.Table) -> pa.Table:
    """Columns as the table has them; those that another release did not know yet are empty. ValueError where that cannot be."""
    strange = set(rows.column_names) - {field.name for field in table.stored}
    if strange:
        raise ValueError(f"there is no column {', '.join(sorted(strange))}")
    columns = []
    for field in table.stored:
        if field.name in rows.column_names:
            column = rows.column(field.name)
            column = column if column.type == field.type else column.cast(field.type)
        else:
            column = pa.chunked_array([pa.nulls(rows.num_rows, field.type)])
        if column.null_count and not field.nullable:
            raise ValueError(f"column {field.name} is not filled")
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=pa.schema(table.stored))


def _of_values(table: RecordTable, values: Sequence[Any]) -> pa.Table:
    """Values as their stored columns."""
    columns = []
    for field in table.stored:
        cells = [getattr(value, field.name) for value in values]
        columns.append(pa.array([_nested(cell) for cell in cells] if pa.types.is_nested(field.type) else cells, field.type))
    return pa.Table.from_arrays(columns, schema=pa.schema(table.stored))


def _nested(cell: Any) -> Any:
    """Values inside a value, as Arrow takes them."""
    if dataclasses.is_dataclass(cell):
        return {field.name: _nested(getattr(cell, field.name)) for field in dataclasses.fields(cell)}
    return [_nested(item) for item in cell] if isinstance(cell, tuple) else cell


def _completed(table: RecordTable, stored: pa.Table, positions: np.ndarray) -> pa.Table:
    """The rows with what follows from them; their links are still empty."""
    columns = []
    for field in table.schema:
        if field.name in stored.column_names:
            column: Any = stored.column(field.name)
        elif field.name == "position":
            column = pa.array(positions)
        elif field.name == "day":
            column = stored.column(table.day_of).cast(pa.date32(), safe=False)
        elif field.name == CHAIN:
            column = pa.nulls(stored.num_rows, field.type)
        else:
            column = _dollars(stored, field.name.removesuffix("_usd"))
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=table.bare)


def _dollars(stored: pa.Table, stem: str) -> pa.ChunkedArray:
    """Micro-dollars, or a bill's pico-dollars, as dollars: the same integers, read as decimals of six or twelve places."""
    fine = f"{stem}_picos" in stored.column_names
    type_ = pa.decimal128(38, 12 if fine else 6)
    whole = stored.column(f"{stem}_picos" if fine else f"{stem}_micros")
    return pa.chunked_array([_read_as_decimals(chunk, type_) for chunk in whole.chunks], type_).cast(_DOLLARS)


def _read_as_decimals(whole: pa.Array, type_: pa.DataType) -> pa.Array:
    integers = pc.fill_null(whole, 0).to_numpy(zero_copy_only=False)
    # Decimals are integers of 16 bytes, the low half first; the high half of a small one is its sign all over.
    lying = np.column_stack((integers, integers >> 63))
    made = pa.Array.from_buffers(type_, len(whole), [None, pa.py_buffer(lying)])
    return pc.if_else(whole.is_valid(), made, None) if whole.null_count else made


def _value(table: RecordTable, event: Event) -> Any:
    if table.value is not None:
        return table.value(event)
    try:
        return records.loads(table.cls, event.body)
    except (TypeError, ValueError) as error:
        raise _invalid(table, event, error) from error


def _invalid(table: RecordTable, event: Event, error: Exception) -> errors.DataCorrupt:
    return errors.DataCorrupt(
        f"event {event.position} ({event.kind}) does not hold a {table.cls.__name__}: {error}",
        reason="RECORD_INVALID",
        help="The catalog was written by another release or damaged; its ledger goes no further until this is mended.",
        metadata={"position": str(event.position)},
    )
