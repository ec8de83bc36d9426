"""Frozen dataclasses to JSON and back, by their type hints: how values are stored, evented and exported.

Knows: str, int, float, bool, None, bytes (base64), datetime (RFC 3339, UTC), StrEnum, tuple[X, ...], tuple[A, B], X | None,
nested dataclasses.

A field that the stored text lacks takes its default, so that adding a field needs no migration.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import json
import types
import typing
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, TypeVar

T = TypeVar("T")
_TOLD = "told"


def told(as_: Callable[[Any], Any]) -> Mapping[str, Any]:
    """Metadata of a field that may hold a secret: what is told of its value wherever it is not stored to be used."""
    return {_TOLD: as_}


def dump(value: Any, *, telling: bool = False) -> Any:
    """A dataclass to plain JSON values; what is None is left out. `telling` shows fields as `told` says: without secrets."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        pairs = (
            (f.name, _shown(f, getattr(value, f.name)) if telling else getattr(value, f.name))
            for f in dataclasses.fields(value)
        )
        return {name: dump(item, telling=telling) for name, item in pairs if item is not None}
    if isinstance(value, tuple | list):
        return [dump(item, telling=telling) for item in value]
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, StrEnum):
        return str(value)
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    if value is None or isinstance(value, str | int | float | bool):
        return value
    raise TypeError(f"records cannot hold {type(value).__name__}")


def _shown(field: dataclasses.Field[Any], item: Any) -> Any:
    return field.metadata[_TOLD](item) if _TOLD in field.metadata else item


def dumps(value: Any, *, telling: bool = False) -> str:
    """`dump` as canonical JSON: sorted keys, no spaces, UTF-8. The same value always gives the same text."""
    return json.dumps(dump(value, telling=telling), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def load(cls: type[T], data: Any) -> T:
    """Plain JSON values to a dataclass; TypeError or ValueError where they do not fit."""
    return typing.cast("T", _load(cls, data))


def loads(cls: type[T], text: str) -> T:
    """`load` from JSON text."""
    return load(cls, json.loads(text))


@functools.cache
def _hints(cls: type) -> dict[str, Any]:
    return typing.get_type_hints(cls)


@functools.cache
def _nones(cls: type) -> types.MappingProxyType[str, None]:
    """The fields without a default that may be None: `dump` has left them out if they were."""
    required = (f.name for f in dataclasses.fields(cls) if f.init and f.default is f.default_factory is dataclasses.MISSING)
    hints = _hints(cls)
    return types.MappingProxyType({name: None for name in required if types.NoneType in typing.get_args(hints[name])})


def _load(hint: Any, data: Any) -> Any:  # noqa: PLR0911 - one return for each kind of value
    origin = typing.get_origin(hint)
    if origin in (types.UnionType, typing.Union):
        if data is None:
            return None
        (inner,) = (arg for arg in typing.get_args(hint) if arg is not types.NoneType)
        return _load(inner, data)
    if origin is tuple:
        args = typing.get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            return tuple(_load(args[0], item) for item in data)
        return tuple(_load(arg, item) for arg, item in zip(args, data, strict=True))
    if dataclasses.is_dataclass(hint):
        hints = _hints(typing.cast("type", hint))
        known = {f.name for f in dataclasses.fields(hint) if f.init}
        values = {name: _load(hints[name], item) for name, item in data.items() if name in known}
        return hint(**{**_nones(typing.cast("type", hint)), **values})  # type: ignore[operator]
    if hint is datetime:
        return datetime.fromisoformat(data).astimezone(UTC)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint(data)
    if hint is bytes:
        return base64.b64decode(data, validate=True)
    if hint is float and isinstance(data, int):
        return float(data)
    if hint is Any or (isinstance(hint, type) and isinstance(data, hint)):
        return data
    raise TypeError(f"expected {hint}, got {type(data).__name__}")
