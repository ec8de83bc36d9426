"""`fed sql`: the record's tables, asked in SQL: through the server, or where they lie."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from federation import config
from federation.cli import output
from federation.cli.command import verb
from federation.cli.session import Session
from federation.shown import shapes

if TYPE_CHECKING:
    import pyarrow as pa

_ROWS = 1000


@verb(
    None,
    "sql",
    answers=list[dict[str, Any]],
    example="fed sql 'select namespace, sum(charge_usd) from egress_ledger group by namespace'",
)
@click.argument("query")
@click.option("--tables", default="", metavar="FOLDER|URL", help="Where the tables lie, to ask them without a server.")
@click.option("-n", "--limit", type=click.IntRange(min=1), default=_ROWS, show_default=True, help="At most so many rows.")
@click.option("--seconds", type=click.IntRange(min=1), default=60, show_default=True, help="No longer than this.")
def sql(session: Session, *, query: str, tables: str, limit: int, seconds: int) -> None:
    """Answers a query of the record: egress_ledger, lineage_runs, lineage_edges and the other tables, read-only.

    One SELECT, WITH, VALUES or EXPLAIN in the SQL of DataFusion. Says so when there were more rows. Through the server it is
    for administrators; with --tables for whoever may read the files.
    """
    if tables:
        stream, complete = _beside(tables, query, limit, seconds)
    else:
        found = session.client.query_records(query, rows_max=limit, seconds_max=seconds)
        stream, complete = found.stream, found.complete
    show(session.output, table_of(stream))
    if not complete:
        session.output.warn("There are more rows; ask for a greater --limit.")


def _beside(tables: str, query: str, limit: int, seconds: int) -> tuple[bytes, bool]:
    from federation.bootstrap import engine as bootstrap  # noqa: PLC0415 - slow to import

    bounds = config.QuerySettings(rows_max=limit, seconds_max=seconds)
    place = tables if "://" in tables else str(Path(tables).expanduser())
    answer = bootstrap.queries(place, bounds).ask(query, rows_max=limit, bytes_max=bounds.bytes_max, seconds=seconds)
    return answer.stream, answer.complete


def table_of(stream: bytes) -> pa.Table:
    """The rows of an Arrow IPC stream."""
    import pyarrow as pa  # noqa: PLC0415 - half a second that `fed --help` does not need

    with pa.ipc.open_stream(stream) as reader:
        return reader.read_all()


def show(out: output.Output, found: pa.Table) -> None:
    """Rows in any format; their columns are what the query names."""
    rows = [{name: _plain(value) for name, value in row.items()} for row in found.to_pylist()]
    out.rows(rows, [_column(found, name) for name in found.column_names])


def _column(found: pa.Table, name: str) -> shapes.Column:
    import pyarrow as pa  # noqa: PLC0415 - as above

    type_ = found.schema.field(name).type
    is_number = pa.types.is_integer(type_) or pa.types.is_floating(type_) or pa.types.is_decimal(type_)
    return shapes.Column(heading=name, show=lambda row: "" if row[name] is None else str(row[name]), number=is_number)


def _plain(value: Any) -> Any:
    """A value as JSON has it. Decimals stay exact, as text; times are ISO, in UTC; bytes are hex."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
