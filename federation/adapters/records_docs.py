"""The columns of the record's tables in words, for people: printed from the schemas, so that they cannot say anything else.

`python -m federation.adapters.records_docs docs/record.md` writes them anew between the marks of that page.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from federation.adapters import records_tables

BEGIN, END = "<!-- tables -->", "<!-- end of tables -->"
#: Endings of names, and the unit that they tell.
_UNITS = {
    "_micros": "micro-dollars",
    "_usd": "US dollars",
    "_bytes": "bytes",
    "_seconds": "seconds",
    "_grams": "grams",
    "_rows": "rows",
}


@dataclass(frozen=True, kw_only=True)
class ColumnInfo:
    """One column as people read of it. `since` is the version of the table's schema that has it first."""

    table: str
    column: str
    type: str
    unit: str
    optional: bool
    since: int
    meaning: str


def columns() -> Iterator[ColumnInfo]:
    """Every column of every table, in their order."""
    for name, table in records_tables.TABLES.items():
        for field in table.schema:
            yield ColumnInfo(
                table=name,
                column=field.name,
                type=_type(field.type),
                unit=_unit(field.name, field.type),
                optional=field.nullable,
                since=int(field.metadata[b"since"]),
                meaning=field.metadata[b"comment"].decode(),
            )


def markdown() -> str:
    """All tables with their columns, as they stand in docs/record.md."""
    lines: list[str] = []
    for name, table in records_tables.TABLES.items():
        lines += [
            f"### `{name}`",
            "",
            f"{table.about} Schema version {table.version}; the day is that of `{table.day_of}`.",
            "",
        ]
        lines += ["| column | type | unit | since | meaning |", "|---|---|---|---|---|"]
        for each in columns():
            if each.table == name:
                type_ = f"{each.type}, optional" if each.optional else each.type
                lines.append(f"| `{each.column}` | {type_} | {each.unit} | {each.since} | {each.meaning} |")
        lines.append("")
    return "\n".join(lines)


def main(path: Path) -> None:
    """Writes the tables anew into a page, between its marks."""
    head, _, rest = path.read_text().partition(BEGIN)
    path.write_text(f"{head}{BEGIN}\n\n{markdown()}\n{END}{rest.partition(END)[2]}")


def _type(type_: pa.DataType) -> str:
    """A type in Delta's words."""
    if pa.types.is_list(type_):
        return f"array of {_type(type_.value_type)}"
    if pa.types.is_struct(type_):
        return f"struct({', '.join(f'{field.name} {_type(field.type)}' for field in type_)})"
    if pa.types.is_decimal(type_):
        return f"decimal({type_.precision},{type_.scale})"
    words = {pa.int64(): "long", pa.float64(): "double", pa.bool_(): "boolean", pa.date32(): "date"}
    return words.get(type_) or ("timestamp" if pa.types.is_timestamp(type_) else str(type_))


def _unit(name: str, type_: pa.DataType) -> str:
    if pa.types.is_timestamp(type_):
        return "UTC, microseconds"
    if pa.types.is_date(type_):
        return "UTC"
    if not pa.types.is_integer(type_) and not pa.types.is_decimal(type_):
        return ""
    return next((unit for ending, unit in _UNITS.items() if f"_{name}".endswith(ending)), "")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
