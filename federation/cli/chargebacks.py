"""What each namespace and person owes for a month, as a file: CSV, Parquet or JSON, exact to the micro-dollar."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from decimal import Decimal
from pathlib import Path

from federation.core import errors, focus
from federation.core.metering import CostSummary

_Cell = str | int | Decimal
_MONEY = ("charge", "correction", "estimate", "avoided")
_COLUMNS = ("month", "namespace", "principal", "egress_bytes", "local_bytes", "requests")


def write(sums: Sequence[CostSummary], month: str, path: Path) -> int:
    """Writes sums by payer and principal; returns how many. InvalidArgument (FORMAT_UNKNOWN) for another ending."""
    if path.suffix not in _WRITERS:
        raise errors.InvalidArgument(
            f"{path.name} ends in none of {', '.join(_WRITERS)}", reason="FORMAT_UNKNOWN", help="Name it like november.csv."
        )
    rows = [_row(row, month) for row in sums]
    _WRITERS[path.suffix](rows, path)
    return len(rows)


def _row(row: CostSummary, month: str) -> dict[str, _Cell]:
    payer, principal = row.keys
    values: tuple[_Cell, ...] = (month, payer, principal, row.egress_bytes, row.local_bytes, row.requests)
    money: dict[str, _Cell] = {f"{name}_usd": Decimal(getattr(row, f"{name}_micros")).scaleb(-6) for name in _MONEY}
    return dict(zip(_COLUMNS, values, strict=True)) | money


def _csv(rows: Sequence[dict[str, _Cell]], path: Path) -> None:
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, _names())
        writer.writeheader()
        writer.writerows(
            {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in row.items()} for row in rows
        )


def _json(rows: Sequence[dict[str, _Cell]], path: Path) -> None:
    """Money as text: a number in JSON would become a float on the way."""
    plain = [{name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in row.items()} for row in rows]
    path.write_text(json.dumps(plain, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _parquet(rows: Sequence[dict[str, _Cell]], path: Path) -> None:
    import pyarrow as pa  # noqa: PLC0415 - takes a while to import; `fed --help` needs none
    from pyarrow import parquet  # noqa: PLC0415

    kinds = [pa.string()] * 3 + [pa.int64()] * 3 + [pa.decimal128(38, focus.SCALE)] * len(_MONEY)
    columns = [pa.array([row[name] for row in rows], kind) for name, kind in zip(_names(), kinds, strict=True)]
    parquet.write_table(pa.table(dict(zip(_names(), columns, strict=True))), path)


def _names() -> list[str]:
    return [*_COLUMNS, *(f"{name}_usd" for name in _MONEY)]


_WRITERS: dict[str, Callable[[Sequence[dict[str, _Cell]], Path], None]] = {
    ".csv": _csv,
    ".parquet": _parquet,
    ".json": _json,
}
