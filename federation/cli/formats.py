"""Answers in the formats that programs read: JSON, JSON lines, YAML, CSV, names. Plain values in, text out. Pure.

JSON and YAML have the same shape; YAML is quoted so that versions 1.1 and 1.2 read the same from it. CSV (RFC 4180) has a
column for each field of the kind that is answered, nested ones with dots (`request.resources.cpus`); lists and maps are JSON in
their cell, what has no value is an empty cell. The columns come from the kind, and not from the rows that happen to be there.
"""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import re
import types
import typing
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from federation.core.screen import safe, safe_json
from federation.wire import codec
from federation.wire.plain import plain

#: For people; the second has more columns.
PEOPLE = ("table", "wide")
#: For programs.
PROGRAMS = ("json", "jsonl", "yaml", "csv", "name")
ALL = (*PEOPLE, *PROGRAMS)

#: What a spreadsheet would take for a formula, unless it is a number.
_FORMULA = re.compile(r"[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?")
#: Text that no version of YAML takes for anything else.
_YAML_WORD = re.compile(r"[A-Za-z_/][A-Za-z0-9_./@:+-]*")
_YAML_WORDS_TAKEN = frozenset(("y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan"))


class Together:
    """Base of what a command puts together of several values: each is told in it as it would be alone, by its name."""


@dataclasses.dataclass(frozen=True)
class Extended:
    """A kind that a command tells more of than its own fields: `fields` are those, with their types."""

    kind: type
    fields: tuple[tuple[str, Any], ...]


@dataclasses.dataclass(frozen=True)
class Extension:
    """A value with more fields than its own, as a command tells it."""

    value: Any
    fields: Mapping[str, Any]


def extended(kind: type, **fields: Any) -> Any:
    """A kind with more fields, for the declaration of a command that answers so."""
    return Extended(kind, tuple(fields.items()))


def extend(value: Any, **fields: Any) -> Extension:
    """A value with those fields."""
    return Extension(value, fields)


def many(kind: Any) -> Any:
    """Many of a kind: `list` of it, also of one that is no class."""
    return types.GenericAlias(list, (kind,))


def json_text(data: Any) -> str:
    """JSON, indented."""
    return safe_json(json.dumps(data, indent=2, ensure_ascii=False)) + "\n"


def json_line(data: Any) -> str:
    """JSON on one line."""
    return safe_json(json.dumps(data, ensure_ascii=False)) + "\n"


def yaml_text(data: Any, *, explicit_start: bool = False) -> str:
    """YAML without references, tags and text that could be read as something else."""
    import yaml  # noqa: PLC0415 - few ask for it, and it is slow to load

    class Dumper(yaml.SafeDumper):
        def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - yaml's signature
            return True

    def text(dumper: Any, value: str) -> Any:
        plainly = _YAML_WORD.fullmatch(value) and not value.endswith(":") and value.lower() not in _YAML_WORDS_TAKEN
        return dumper.represent_scalar("tag:yaml.org,2002:str", value, style=None if plainly else '"')

    Dumper.add_representer(str, text)
    form: dict[str, Any] = {"sort_keys": False, "allow_unicode": True, "width": 10**9, "explicit_start": explicit_start}
    return safe(str(yaml.dump(data, Dumper=Dumper, **form)))


def csv_header(paths: Sequence[str]) -> str:
    """The line of names."""
    return _csv_line(paths)


def csv_row(data: Any, paths: Sequence[str]) -> str:
    """One line of values, in the order of the names."""
    return _csv_line([_cell(_at(data, path)) for path in paths])


def csv_paths(kind: Any) -> tuple[str, ...]:
    """The columns of a kind: its fields, nested ones with dots. Empty where the kind is not told by its type."""
    found: list[str] = []
    for member in members(kind):
        found += [path for path in _paths(member, "", ()) if path not in found]
    return tuple(found)


def paths_of(rows: Iterable[Any]) -> tuple[str, ...]:
    """The columns of rows whose kind is told by nothing else: of a query, for example."""
    return tuple(dict.fromkeys(key for row in rows for key in (row if isinstance(row, Mapping) else {"value": row})))


def name_of(value: Any) -> str:
    """The resource name of a value; of what has none its first field, or the name of the resource that stands there."""
    data = told(value)
    if not isinstance(data, Mapping):
        return safe(_text(data))
    if "name" in data:
        return safe(_text(data["name"]))
    if dataclasses.is_dataclass(value) and not isinstance(value, Extension):
        return name_of(getattr(value, next(iter(data))))
    return safe(_text(next(iter(data.values()), "")))


def members(kind: Any) -> tuple[Any, ...]:
    """What a kind consists of: of `A | B` both, of others the one."""
    return typing.get_args(kind) if typing.get_origin(kind) in (types.UnionType, typing.Union) else (kind,)


def _paths(kind: Any, prefix: str, above: tuple[type, ...]) -> list[str]:
    found = []
    for name, hint in fields_of(kind, named=not above).items():
        inner = next((item for item in members(hint) if item is not types.NoneType), hint)
        if dataclasses.is_dataclass(inner) and inner not in above:
            found += _paths(inner, f"{prefix}{name}.", () if tells_names(kind) else (*above, typing.cast("type", inner)))
        else:
            found.append(prefix + name)
    return found


def tells_names(kind: Any) -> bool:
    """Whether the values in a value of this kind are told by their names."""
    return isinstance(kind, Extended) or (isinstance(kind, type) and issubclass(kind, Together))


def fields_of(kind: Any, *, named: bool = True) -> dict[str, Any]:
    """The fields of a kind as `plain` gives them, with their types: `named`, the resource name first, if there is one."""
    if isinstance(kind, Extended):
        return fields_of(kind.kind) | dict(kind.fields)
    if not dataclasses.is_dataclass(kind):
        return {}
    hints = typing.get_type_hints(kind)
    names = [field.name for field in dataclasses.fields(kind)]
    first = {"name": str} if named and kind in codec.NAMES else {}
    return first | {name: hints[name] for name in names if name not in first}


def told(value: Any) -> Any:
    """A value as plain JSON; many of them as a list."""
    if isinstance(value, list | tuple):
        return [told(item) for item in value]
    if isinstance(value, Mapping):
        return {key: told(item) for key, item in value.items()}
    if isinstance(value, Extension):
        return told(value.value) | told(value.fields)
    if isinstance(value, Together):
        pairs = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(typing.cast("Any", value)))
        return {name: told(item) for name, item in pairs if item is not None}
    return plain(value)


def _at(data: Any, path: str) -> Any:
    """What stands at a path; a key that has dots itself, as a query may name it, goes first."""
    if not isinstance(data, Mapping):
        return data
    if path in data:
        return data[path]
    head, _, rest = path.partition(".")
    return _at(data[head], rest) if rest and isinstance(data.get(head), Mapping) else None


def _text(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | dict):
        return json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return str(value)


def _cell(value: Any) -> str:
    """A cell; text that a spreadsheet would run as a formula has a ' before it."""
    if isinstance(value, str) and _FORMULA.match(value) and not _NUMBER.fullmatch(value):
        return f"'{value}"
    return _text(value)


def _csv_line(cells: Sequence[str]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(cells)
    return safe(line.getvalue())
