"""Values by the thousand: frozen dataclasses as Arrow batches and back, by their type hints; for the wire and for the log.

Text, whole numbers, floats, yes or no, and times in UTC microseconds; a field that may be None is a nullable column. An enum is
its text. Columns stand in the order of the fields.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from enum import StrEnum
from typing import Any, TypeVar

import pyarrow as pa

from federation.core import errors
from federation.crypto import arrow

T = TypeVar("T")

_TYPES: dict[type, pa.DataType] = {
    str: pa.string(),
    int: pa.int64(),
    float: pa.float64(),
    bool: pa.bool_(),
    datetime: pa.timestamp("us", tz="UTC"),
}


@functools.cache
def schema(cls: type) -> pa.Schema:
    """The columns of a class; TypeError for a field that no column can hold."""
    return pa.schema([_column(name, hint) for name, hint in _hints(cls).items()])


def pack(cls: type, values: Sequence[Any]) -> bytes:
    """Values as one Arrow IPC stream."""
    columns = [pa.array([getattr(value, field.name) for value in values], field.type) for field in schema(cls)]
    return to_bytes(pa.RecordBatch.from_arrays(columns, schema=schema(cls)))


def to_bytes(batch: pa.RecordBatch | pa.Table) -> bytes:
    """A batch or table as one Arrow IPC stream."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, batch.schema) as writer:
        writer.write(batch)
    return sink.getvalue().to_pybytes()  # type: ignore[no-any-return]


def unpack(cls: type, data: bytes) -> pa.Table:
    """What `pack` made, as a table; InvalidArgument (FRAME_INVALID) for bytes that are not of this class."""
    try:
        found = arrow.open_stream(data).read_all()
        found.validate(full=True)
        columns = ", ".join(f"{field.name} {field.type}" for field in found.schema)
    except (pa.ArrowException, OSError, ValueError) as error:  # a name that is no UTF-8 shows when it is asked for
        raise _invalid(cls, str(error)) from None
    wanted = schema(cls)
    if found.schema.names != wanted.names or found.schema.types != wanted.types:
        raise _invalid(cls, f"its columns are {columns}")
    for field in wanted:
        if not field.nullable and found.column(field.name).null_count:
            raise _invalid(cls, f"{field.name} has nulls")
    return found.cast(wanted)


def values(cls: type[T], table: pa.Table) -> Iterator[T]:
    """The rows of a table as values."""
    of: type = cls
    enums = {name: hint for name, hint in _hints(of).items() if isinstance(hint, type) and issubclass(hint, StrEnum)}
    for batch in table.select(schema(of).names).to_batches():
        for row in batch.to_pylist():
            row.update({name: hint(row[name]) for name, hint in enums.items()})
            yield cls(**row)


def batches(cls: type, rows: Iterable[Any], size: int) -> Iterator[bytes]:
    """Values packed by so many."""
    held: list[Any] = []
    for row in rows:
        held.append(row)
        if len(held) == size:
            yield pack(cls, held)
            held = []
    if held:
        yield pack(cls, held)


def _column(name: str, hint: Any) -> pa.Field:
    optional = typing.get_origin(hint) in (types.UnionType, typing.Union)
    inner = next(arg for arg in typing.get_args(hint) if arg is not types.NoneType) if optional else hint
    if isinstance(inner, type) and issubclass(inner, StrEnum):
        inner = str
    if inner not in _TYPES:
        raise TypeError(f"{name}: no column holds {hint}")
    return pa.field(name, _TYPES[inner], nullable=optional)


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}


def _invalid(cls: type, problem: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"the data does not hold {cls.__name__} rows: {problem}",
        reason="FRAME_INVALID",
        help="The sender may be of another version than this side.",
    )
