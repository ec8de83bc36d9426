"""Values as plain JSON, as people and programs read them: the same for `fed ... -o json` and for models."""

from __future__ import annotations

import dataclasses
import functools
import typing
from collections.abc import Mapping
from typing import Any

from federation.core import records
from federation.wire import codec

#: Fields that are pairs of key and value, where their type says so as well, and read best as a JSON object.
PAIRS = frozenset({"labels", "columns", "env", "gpus", "keks"})


def plain(value: Any) -> Any:
    """A value as JSON has it: its fields by name, and its resource name first."""
    if not dataclasses.is_dataclass(value):
        return value
    data = _object(value)
    named = codec.NAMES.get(type(value))
    return {"name": named.build(value)} | {key: item for key, item in data.items() if key != "name"} if named else data


@functools.cache
def pairs_of(cls: type) -> Mapping[str, Any]:
    """The fields of a kind that are maps with keys of people's own (labels), each with the type of its values."""
    found = {}
    for name, hint in typing.get_type_hints(cls).items():
        args = typing.get_args(hint)
        inner = typing.get_args(args[0]) if len(args) == 2 and args[1] is Ellipsis else ()
        if name in PAIRS and len(inner) == 2 and inner[1] is not Ellipsis:
            found[name] = inner[1]
    return found


def _object(value: Any) -> dict[str, Any]:
    cls: type = type(value)
    pairs = pairs_of(cls)
    items = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    return {
        name: {key: _any(inner) for key, inner in item} if name in pairs else _any(item)
        for name, item in items
        if item is not None
    }


def _any(value: Any) -> Any:
    if dataclasses.is_dataclass(value):
        return _object(value)
    return [_any(item) for item in value] if isinstance(value, tuple | list) else records.dump(value)
