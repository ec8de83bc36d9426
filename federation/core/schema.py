"""What a file may hold, told once by type hints: as a strict reader, as plain JSON and as JSON Schema (2020-12).

Every key is known, every value is of its kind and within its bounds; an error names the place as a JSON path. Pairs
(`tuple[tuple[str, X], ...]`) are objects in a file. Bookkeeping (`HIDDEN`) is neither written nor read.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
import math
import re
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

from federation.core import errors, site, transfer

T = TypeVar("T")
Reader = Callable[[Any], Any]

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: No count, size, amount or time of a file is larger: an exbibyte, a thousand billion dollars.
INTEGER_MAX = 2**60
#: The only whole numbers that may be below 0.
SIGNED = {"priority": 10**6, "net_bytes": 2**60, "net_micros": 2**60}
#: Fields that decide nothing, by the class that has them.
HIDDEN: Mapping[type | None, frozenset[str]] = {
    None: frozenset({"etag", "uid"}),
    site.Site: frozenset({"gateway", "sources", "signing_key", "sealing_key", "witness_error", "create_time", "update_time"}),
    transfer.Transfer: frozenset({"grant", "principal"}),
}
_UNITS = {
    "_micros": "In micro-dollars (10^-6 US dollars).",
    "_bytes": "In bytes.",
    "_seconds": "In seconds.",
    "_grams": "In grams.",
    "_time": "UTC, as RFC 3339 has it.",
}
_SHOWN_CHARS = 60


class _Wrong(Exception):
    """A value that does not fit; takes its path on the way out."""

    def __init__(self, problem: str) -> None:
        super().__init__(problem)
        self.problem = problem
        self.path: list[str] = []


def read(cls: type[T], data: Any, *, reason: str = "FILE_INVALID", source: str = "") -> T:
    """Plain JSON values as a dataclass; InvalidArgument names the JSON path, what is wrong there and what would be right."""
    try:
        return typing.cast("T", _class_reader(typing.cast("type", cls))(data))
    except _Wrong as wrong:
        path = "$" + "".join(reversed(wrong.path))
        raise errors.InvalidArgument(
            f"{source + ': ' if source else ''}{path} {wrong.problem}",
            reason=reason,
            help="The file's JSON Schema says what may stand there.",
            violations={path: wrong.problem},
        ) from None


def plain(value: Any) -> Any:
    """A value as plain JSON, as `read` takes it back: without what is hidden and without what is a default anyway."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {
            name: _plain_field(shape, getattr(value, name))
            for name, shape in _shapes(type(value)).items()
            if getattr(value, name) != shape.default
        }
    if isinstance(value, tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    return str(value) if isinstance(value, StrEnum) else value


def _plain_field(shape: _Shape, value: Any) -> Any:
    if shape.pairs is not None:
        return {key: plain(item) for key, item in value}
    return plain(value)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Shape:
    """One field of a class as a file has it. `pairs` is the hint of the values of a field that is an object in the file."""

    name: str
    hint: Any
    default: Any
    required: bool
    pairs: Any = None


@functools.cache
def _shapes(cls: type) -> Mapping[str, _Shape]:
    hints = typing.get_type_hints(cls)
    hidden = HIDDEN[None] | HIDDEN.get(cls, frozenset())
    fields = (field for field in dataclasses.fields(cls) if field.init and field.name not in hidden)
    return types.MappingProxyType({field.name: _shape(field, hints[field.name]) for field in fields})


def _shape(field: dataclasses.Field[Any], hint: Any) -> _Shape:
    inner, optional = _without_none(hint)
    default = field.default if field.default_factory is dataclasses.MISSING else field.default_factory()
    given = default is not dataclasses.MISSING
    return _Shape(
        name=field.name,
        hint=inner,
        default=default if given else None,
        required=not given and not optional,
        pairs=_pair_value(inner),
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (types.UnionType, typing.Union):
        (inner,) = (arg for arg in typing.get_args(hint) if arg is not types.NoneType)
        return inner, True
    return hint, False


def _pair_value(hint: Any) -> Any:
    """Of `tuple[tuple[str, X], ...]`: X."""
    args = typing.get_args(hint)
    if typing.get_origin(hint) is tuple and len(args) == 2 and args[1] is Ellipsis and typing.get_origin(args[0]) is tuple:
        key, value = typing.get_args(args[0])
        return value if key is str and value is not Ellipsis else None
    return None


# Reading


@functools.cache
def _class_reader(cls: type) -> Reader:
    shapes = _shapes(cls)
    readers = {name: _field_reader(shape) for name, shape in shapes.items()}
    required = [name for name, shape in shapes.items() if shape.required]
    unset = {name: None for name, shape in shapes.items() if shape.default is None and not shape.required}

    def load(data: Any) -> Any:
        if type(data) is not dict:
            raise _Wrong(f"is {_shown(data)}, it must be an object")
        values = dict(unset)
        name = ""
        try:
            for name, item in data.items():
                values[name] = readers[name](item)
        except KeyError:
            raise _unknown(name, readers) from None
        except _Wrong as wrong:
            wrong.path.append(f".{name}")
            raise
        missing = [name for name in required if name not in values]
        if missing:
            raise _Wrong(f"lacks {', '.join(missing)}")
        return cls(**values)

    return load


def _unknown(name: str, known: Mapping[str, Reader]) -> _Wrong:
    near = difflib.get_close_matches(name[:_SHOWN_CHARS], known, n=1)
    return _Wrong(f"has an unknown key {_shown(name)}" + (f"; did you mean {near[0]}?" if near else ""))


def _field_reader(shape: _Shape) -> Reader:
    read_one = _pairs_reader(shape.pairs) if shape.pairs is not None else _hint_reader(shape.name, shape.hint)
    if shape.default is not None or shape.required:
        return read_one
    return lambda data: None if data is None else read_one(data)


def _hint_reader(name: str, hint: Any) -> Reader:
    if typing.get_origin(hint) is tuple:
        return _list_reader(_hint_reader(name, typing.get_args(hint)[0]))
    if dataclasses.is_dataclass(hint):
        return _class_reader(typing.cast("type", hint))
    if hint is int:
        return _integer_reader(name)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _enum_reader(hint)
    return _SIMPLE[hint]


def _list_reader(read_one: Reader) -> Reader:
    def load(data: Any) -> Any:
        if type(data) is not list:
            raise _Wrong(f"is {_shown(data)}, it must be a list")
        items = []
        try:
            for item in data:
                items.append(read_one(item))  # noqa: PERF401 - the error must know how far it came
        except _Wrong as wrong:
            wrong.path.append(f"[{len(items)}]")
            raise
        return tuple(items)

    return load


def _pairs_reader(hint: Any) -> Reader:
    read_one = _hint_reader("", hint)

    def load(data: Any) -> Any:
        if type(data) is not dict:
            raise _Wrong(f"is {_shown(data)}, it must be an object")
        pairs = []
        for key, item in data.items():
            try:
                pairs.append((key, read_one(item)))
            except _Wrong as wrong:
                wrong.path.append(f"[{json.dumps(key[:_SHOWN_CHARS])}]")
                raise
        return tuple(sorted(pairs))

    return load


def _integer_reader(name: str) -> Reader:
    least, most = _bounds(name)

    def load(data: Any) -> int:
        if type(data) is not int:
            raise _Wrong(f"is {_shown(data)}, it must be a whole number")
        if not least <= data <= most:
            raise _Wrong(f"is {_shown(data)}, it must be {least} to {most}")
        return data

    return load


def _bounds(name: str) -> tuple[int, int]:
    return (-SIGNED[name], SIGNED[name]) if name in SIGNED else (0, INTEGER_MAX)


def _enum_reader(hint: type[StrEnum]) -> Reader:
    known = {str(member): member for member in hint}

    def load(data: Any) -> StrEnum:
        if not isinstance(data, str) or data not in known:
            raise _Wrong(f"is {_shown(data)}, it must be one of {', '.join(known)}")
        return known[data]

    return load


def _read_text(data: Any) -> str:
    if type(data) is not str:
        raise _Wrong(f"is {_shown(data)}, it must be text")
    return data


def _read_truth(data: Any) -> bool:
    if type(data) is not bool:
        raise _Wrong(f"is {_shown(data)}, it must be true or false")
    return data


def _read_float(data: Any) -> float:
    if type(data) not in (int, float) or not 0 <= data <= INTEGER_MAX or not math.isfinite(data):
        raise _Wrong(f"is {_shown(data)}, it must be a number of 0 or more")
    return float(data)


def _read_time(data: Any) -> datetime:
    try:
        found = datetime.fromisoformat(data)
        if found.tzinfo is None:
            raise _Wrong(f"is {_shown(data)}, which lacks its offset from UTC: add a Z")
        return found.astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        raise _Wrong(f"is {_shown(data)}, it must be a time such as 2026-11-22T10:00:00Z") from None


_SIMPLE: Mapping[Any, Reader] = {str: _read_text, bool: _read_truth, float: _read_float, datetime: _read_time}


def _shown(data: Any) -> str:
    """A value in a message, never too long."""
    if isinstance(data, dict | list):
        return "an object" if isinstance(data, dict) else "a list"
    if isinstance(data, int) and not isinstance(data, bool) and data.bit_length() > 200:
        return "a number of very many digits"
    text = json.dumps(data, ensure_ascii=False) if data is None or isinstance(data, str | int | float) else type(data).__name__
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."


# JSON Schema


def json_schema(cls: type, *, title: str, identifier: str) -> dict[str, Any]:
    """The JSON Schema of a file: each class once under `$defs`, with what its docstring says of it and of its fields."""
    found: dict[str, Any] = {}
    root = _reference(cls, found)
    return {
        "$schema": DIALECT,
        "$id": identifier,
        "title": title,
        **root,
        "$defs": {name: found[name] for name in sorted(found)},
    }


def properties(cls: type, names: Iterable[str], found: dict[str, Any]) -> dict[str, Any]:
    """The schema of each of these fields of a class, hidden ones too, without a word on what they are when nobody says it.

    The classes of what is in them come into `found`, to stand under `$defs`.
    """
    hints = typing.get_type_hints(cls)
    fields = {field.name: field for field in dataclasses.fields(cls)}
    made = {name: _property(cls, _shape(fields[name], hints[name]), found) for name in names}
    found.update({name: without_defaults(inner) for name, inner in found.items()})
    return {name: without_defaults(inner) for name, inner in made.items()}


def without_defaults(made: Any) -> Any:
    """A schema that does not say what holds where nothing is said."""
    if isinstance(made, dict):
        return {key: without_defaults(inner) for key, inner in made.items() if key != "default"}
    return [without_defaults(inner) for inner in made] if isinstance(made, list) else made


def _reference(cls: type, found: dict[str, Any]) -> dict[str, Any]:
    if cls.__name__ not in found:
        found[cls.__name__] = {}
        found[cls.__name__] = _object(cls, found)
    return {"$ref": f"#/$defs/{cls.__name__}"}


def _object(cls: type, found: dict[str, Any]) -> dict[str, Any]:
    shapes = _shapes(cls)
    required = [name for name, shape in shapes.items() if shape.required]
    return {
        "type": "object",
        "description": next(_sentences(cls), ""),
        "properties": {name: _property(cls, shape, found) for name, shape in shapes.items()},
        **({"required": required} if required else {}),
        "additionalProperties": False,
    }


def _property(cls: type, shape: _Shape, found: dict[str, Any]) -> dict[str, Any]:
    if shape.pairs is not None:
        made: dict[str, Any] = {"type": "object", "additionalProperties": _type("", shape.pairs, found)}
    else:
        made = _type(shape.name, shape.hint, found)
    if shape.default is None and not shape.required:
        made = {"anyOf": [made, {"type": "null"}]}
    elif shape.default is not None:
        made = {**made, "default": _plain_field(shape, shape.default)}
    told = _told(cls, shape.name)
    return {**made, "description": told} if told else made


def _type(name: str, hint: Any, found: dict[str, Any]) -> dict[str, Any]:
    if typing.get_origin(hint) is tuple:
        return {"type": "array", "items": _type(name, typing.get_args(hint)[0], found)}
    if dataclasses.is_dataclass(hint):
        return _reference(typing.cast("type", hint), found)
    if hint is int:
        least, most = _bounds(name)
        return {"type": "integer", "minimum": least, "maximum": most}
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"type": "string", "enum": [str(member) for member in hint]}
    return dict(_NAMES[hint])


_NAMES: Mapping[Any, Mapping[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    float: {"type": "number", "minimum": 0, "maximum": INTEGER_MAX},
    datetime: {"type": "string", "format": "date-time"},
}


def _told(cls: type, name: str) -> str:
    """What a class's docstring says of a field, and its unit."""
    said = [sentence for sentence in _sentences(cls) if f"`{name}`" in sentence]
    unit = next((text for end, text in _UNITS.items() if name.endswith(end)), "")
    return " ".join((*said, unit)).strip()


def _sentences(cls: type) -> Iterator[str]:
    text = " ".join((cls.__doc__ or "").split())
    yield from (part for part in re.split(r"(?<=\.) (?=[A-Z`])", text) if part)
