"""Values as plain JSON, as people and programs read them: the same for `fed ... -o json` and for models."""

from __future__ import annotations

import dataclasses
from typing import Any

from federation.core import records
from federation.wire import codec

#: Fields that are pairs of key and value, and read best as a JSON object.
PAIRS = frozenset({"labels", "columns", "env", "gpus", "keks"})


def plain(value: Any) -> Any:
    """A value as JSON has it: its fields by name, and its resource name first."""
    if not dataclasses.is_dataclass(value):
        return value
    data = _objects(records.dump(value))
    named = codec.NAMES.get(type(value))
    return {"name": named.build(value)} | {key: item for key, item in data.items() if key != "name"} if named else data


def _objects(data: Any) -> Any:
    if isinstance(data, dict):
        return {key: _object(item) if key in PAIRS else _objects(item) for key, item in data.items()}
    return [_objects(item) for item in data] if isinstance(data, list) else data


def _object(data: Any) -> Any:
    if isinstance(data, list) and all(isinstance(item, list) and len(item) == 2 for item in data):
        return dict(data)
    return _objects(data)
