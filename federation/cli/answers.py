"""What commands answer, as JSON Schema (2020-12): made from the types that they declare. Pure.

A field may come to a kind; none goes or changes its meaning within a major version. What is None is left out.
"""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any

from federation.cli import formats
from federation.core import schema
from federation.wire import codec
from federation.wire.plain import pairs_of

IDENTIFIER = "urn:federation:schema:answers:1"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Done:
    """What a command did that answers nothing else: `done` is the verb, `name` what it was done to: a resource, or a file."""

    done: str
    name: str
    detail: str = ""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Written:
    """A file that a command wrote, and how many rows it has."""

    file: str
    rows: int


def schemas(answers: Mapping[str, Any]) -> dict[str, Any]:
    """One JSON Schema for all commands: under `$defs` each kind once, under `commands` what each command answers."""
    found: dict[str, Any] = {}
    commands = {words: of(kind, found) for words, kind in sorted(answers.items())}
    return {
        "$schema": schema.DIALECT,
        "$id": IDENTIFIER,
        "title": "What the commands of fed answer with -o json",
        "commands": commands,
        "$defs": {name: found[name] for name in sorted(found)},
    }


def of(hint: Any, found: dict[str, Any], *, named: bool = True) -> dict[str, Any]:
    """The schema of one type; what it refers to comes into `found`. `named`: resources in it are told with their names."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        inner = [of(arg, found, named=named) for arg in args if arg is not types.NoneType]
        return inner[0] if len(inner) == 1 else {"anyOf": inner}
    if origin in (list, tuple):
        return _many(origin, args, found, named=named)
    if isinstance(hint, formats.Extended):
        return _object(hint, hint.kind.__doc__, found, named=True)
    if dataclasses.is_dataclass(hint):
        return _reference(typing.cast("type", hint), found, named=named)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return {"type": "string", "enum": [str(member) for member in hint]}
    return dict(_SIMPLE.get(hint, {}))


_SIMPLE: Mapping[Any, Mapping[str, Any]] = {
    str: {"type": "string"},
    bool: {"type": "boolean"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bytes: {"type": "string", "contentEncoding": "base64"},
    datetime: {"type": "string", "format": "date-time"},
    dict: {"type": "object"},
}


def _many(origin: Any, args: tuple[Any, ...], found: dict[str, Any], *, named: bool) -> dict[str, Any]:
    if origin is list or (len(args) == 2 and args[1] is Ellipsis):
        return {"type": "array", "items": of(args[0], found, named=named)}
    return {"type": "array", "prefixItems": [of(arg, found, named=named) for arg in args], "items": False}


def _reference(kind: type, found: dict[str, Any], *, named: bool) -> dict[str, Any]:
    """Each kind once; one with a resource name also without it, as it stands within a value of another kind."""
    within = "" if named or kind not in codec.NAMES else ".within"
    name = f"{kind.__module__.rpartition('.')[2]}.{kind.__name__}{within}"
    if name not in found:
        found[name] = {}
        found[name] = _object(kind, kind.__doc__, found, named=named)
    return {"$ref": f"#/$defs/{name}"}


def _object(kind: Any, doc: str | None, found: dict[str, Any], *, named: bool) -> dict[str, Any]:
    fields = formats.fields_of(kind, named=named)
    optional = {name for name, hint in fields.items() if hint is Any or types.NoneType in typing.get_args(hint)}
    pairs = pairs_of(kind.kind if isinstance(kind, formats.Extended) else kind)
    inner = formats.tells_names(kind)
    return {
        "type": "object",
        "description": " ".join((doc or "").split()),
        "properties": {
            name: {"type": "object", "additionalProperties": of(pairs[name], found, named=inner)}
            if name in pairs
            else of(hint, found, named=inner)
            for name, hint in fields.items()
        },
        "required": [name for name in fields if name not in optional],
        "additionalProperties": False,
    }
