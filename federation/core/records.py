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
import operator
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
    if value is None or isinstance(value, str | int | float | bool):
        return str(value) if isinstance(value, StrEnum) else value
    if isinstance(value, tuple | list):
        return [dump(item, telling=telling) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dumped(value, telling)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat().replace("+00:00", "Z")
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    raise TypeError(f"records cannot hold {type(value).__name__}")


def _dumped(value: Any, telling: bool) -> dict[str, Any]:
    kind: type = type(value)
    shape = _shape(kind)
    found = dict(zip(shape.plain, shape.look(value), strict=True))
    for name in shape.others:
        item = getattr(value, name)
        if item is not None:
            found[name] = dump(item, telling=telling)
    for name, as_ in shape.told if telling else ():
        found.pop(name, None)
        item = as_(getattr(value, name))
        if item is not None:
            found[name] = dump(item, telling=telling)
    return found


def dumps(value: Any, *, telling: bool = False) -> str:
    """`dump` as canonical JSON: sorted keys, no spaces, UTF-8. The same value always gives the same text."""
    return json.dumps(dump(value, telling=telling), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def load(cls: type[T], data: Any) -> T:
    """Plain JSON values to a dataclass; TypeError or ValueError where they do not fit."""
    hint: type = cls
    return typing.cast("T", _loader(hint)(data))


def loads(cls: type[T], text: str) -> T:
    """`load` from JSON text."""
    return load(cls, json.loads(text))


def made(cls: type[T], fields: dict[str, Any]) -> T:
    """A frozen dataclass with these fields and the defaults of the others, in a part of the time of its `__init__`.

    The fields become its own: nobody else may hold them. A default that it has not been given is its class's. Not for a class
    that checks itself, or that makes a default anew for each value (`makes_itself`).
    """
    value = object.__new__(cls)
    object.__setattr__(value, "__dict__", fields)
    return value


@functools.cache
def makes_itself(cls: type) -> bool:
    """Whether a dataclass does more than take its fields when it is made, so that only its own constructor may make it."""
    fields = dataclasses.fields(cls)
    anew = any(field.default_factory is not dataclasses.MISSING or not field.init for field in fields)
    return anew or hasattr(cls, "__post_init__") or hasattr(cls, "__slots__")


def getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    """What reads these attributes of an object, all at once."""
    if len(names) > 1:
        return operator.attrgetter(*names)
    return lambda value: tuple(getattr(value, name) for name in names)


class _Shape(typing.NamedTuple):
    """How values of a class are dumped, found once for each class.

    `plain` fields are JSON's own, and never None: they are taken as they are, by one `look`; `others` are dumped one by one.
    """

    plain: tuple[str, ...]
    look: Callable[[Any], tuple[Any, ...]]
    others: tuple[str, ...]
    told: tuple[tuple[str, Callable[[Any], Any]], ...]


@functools.cache
def _shape(cls: type) -> _Shape:
    hints, fields = typing.get_type_hints(cls), dataclasses.fields(cls)
    plain = tuple(field.name for field in fields if hints[field.name] in _PLAIN)
    return _Shape(
        plain,
        getter(plain),
        tuple(field.name for field in fields if hints[field.name] not in _PLAIN),
        tuple((field.name, field.metadata[_TOLD]) for field in fields if _TOLD in field.metadata),
    )


#: What JSON has itself.
_PLAIN = (str, int, float, bool)


@functools.cache
def _loader(hint: Any) -> Callable[[Any], Any]:  # noqa: PLR0911 - one return for each kind of value
    """What makes a value of a hint from plain JSON values."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (types.UnionType, typing.Union):
        (inner,) = (_loader(arg) for arg in args if arg is not types.NoneType)
        return lambda data: None if data is None else inner(data)
    if origin is tuple and len(args) == 2 and args[1] is Ellipsis:
        each = _loader(args[0])
        return lambda data: tuple(map(each, data))
    if origin is tuple:
        loaders = tuple(map(_loader, args))
        return lambda data: tuple(load_(item) for load_, item in zip(loaders, data, strict=True))
    if dataclasses.is_dataclass(hint):
        return _class_loader(typing.cast("type", hint))
    if hint is datetime:
        return lambda data: datetime.fromisoformat(data).astimezone(UTC)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return hint
    if hint is bytes:
        return lambda data: base64.b64decode(data, validate=True)
    return functools.partial(_scalar, hint)


def _scalar(hint: Any, data: Any) -> Any:
    if hint is float and isinstance(data, int):
        return float(data)
    if hint is Any or (isinstance(hint, type) and isinstance(data, hint)):
        return data
    raise TypeError(f"expected {hint}, got {type(data).__name__}")


def _class_loader(cls: type) -> Callable[[Any], Any]:
    hints, fields = typing.get_type_hints(cls), [field for field in dataclasses.fields(cls) if field.init]
    #: Of each field the type that may be taken as it is, and what loads everything else.
    known = {field.name: (hint if (hint := hints[field.name]) in _PLAIN else None, _loader(hint)) for field in fields}
    required = {field.name for field in fields if field.default is field.default_factory is dataclasses.MISSING}
    # Without a default, and `dump` has left them out if they were None.
    nones = {name: None for name in required if types.NoneType in typing.get_args(hints[name])}
    itself = makes_itself(cls)

    def loaded(data: Any) -> Any:
        found: dict[str, Any] = nones.copy()
        for name, item in data.items():
            field = known.get(name)
            if field is not None:
                found[name] = item if type(item) is field[0] else field[1](item)
        return cls(**found) if itself or not required <= found.keys() else made(cls, found)

    return loaded
