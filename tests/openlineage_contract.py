"""OpenLineage's published contract, for tests: from the official client package, and from a checkout of the specification.

The package `openlineage-python` has a class, generated from the official schemas, for each object and facet: its fields are the
legal ones, and required where they have no default. The schemas themselves are in no package; where the variable
OPENLINEAGE_SPEC names a folder `spec` of the OpenLineage repository, events are validated by them too.
"""

from __future__ import annotations

import functools
import importlib
import json
import os
import pkgutil
import re
import types
import typing
from pathlib import Path
from typing import Any

import attr
import jsonschema
import referencing
import referencing.jsonschema
from openlineage.client import generated
from openlineage.client.generated import base

OURS = Path(__file__).parent.parent / "federation" / "schemas" / "openlineage" / "1-0-0"
SPEC = os.environ.get("OPENLINEAGE_SPEC", "")
_FACET_GROUPS = {"facets", "inputFacets", "outputFacets"}


@functools.cache
def _classes() -> dict[str, type]:
    """Every class that the official package has a schema for, by the last part of the schema's address."""
    found: dict[str, type] = {}
    for module in pkgutil.iter_modules(generated.__path__):
        members = vars(importlib.import_module(f"{generated.__name__}.{module.name}"))
        for cls in members.values():
            if isinstance(cls, type) and hasattr(cls, "_get_schema"):
                found[cls._get_schema().rpartition("/")[2]] = cls
    return found


def check(event: dict[str, Any]) -> None:
    """Raises AssertionError, with the place, where an event is not what the contract allows."""
    _check_object(event, base.RunEvent, "event")
    if SPEC:
        _check_schema(event)


def _check_object(value: Any, cls: type, where: str) -> None:
    assert isinstance(value, dict), f"{where} is no object"
    fields = {
        field.name.lstrip("_") if field.name in ("_producer", "_schemaURL") else field.name: field for field in attr.fields(cls)
    }
    spelled = {f"_{name}" if name in ("producer", "schemaURL") and issubclass(cls, base.BaseFacet) else name for name in fields}
    unknown = set(value) - spelled
    assert not unknown, f"{where} has {sorted(unknown)}, which {cls.__name__} has not"
    hints = typing.get_type_hints(cls, {**vars(typing), **vars(importlib.import_module(cls.__module__))})
    for name, field in fields.items():
        key = f"_{name}" if f"_{name}" in spelled else name
        if key not in value:
            assert field.default is not attr.NOTHING or field.init is False, f"{where} lacks {key}, which {cls.__name__} needs"
            continue
        if name in _FACET_GROUPS:
            for facet, content in value[key].items():
                _check_facet(content, f"{where}.{key}.{facet}")
        else:
            _check_type(value[key], hints.get(field.name), f"{where}.{key}")


def _check_facet(content: dict[str, Any], where: str) -> None:
    schema = content["_schemaURL"]
    assert content["_producer"]
    if "openlineage.io" not in schema:
        file = OURS / re.split(r"[:/]", schema)[-1]
        jsonschema.Draft202012Validator(json.loads(file.read_text()), registry=_registry()).validate(
            {"placement" if "Run" in file.name else "dataLocality": content}
        )
        return
    name = schema.rpartition("/")[2]
    assert name in _classes(), f"{where}: the official package has no {name}"
    _check_object(content, _classes()[name], where)


def _check_type(value: Any, hint: Any, where: str) -> None:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union else (hint,)
    problems = []
    for option in options:
        try:
            _check_one(value, option, where)
        except AssertionError as error:
            problems.append(error)
        else:
            return
    raise problems[0]


def _check_one(value: Any, hint: Any, where: str) -> None:
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if hint in (None, type(None)):
        assert value is None, where
    elif origin is list:
        assert isinstance(value, list), where
        for number, each in enumerate(value):
            _check_type(each, inner[0], f"{where}[{number}]")
    elif origin is dict:
        assert isinstance(value, dict), where
        for key, each in value.items():
            _check_type(each, inner[1], f"{where}.{key}")
    elif isinstance(hint, type) and attr.has(hint):
        _check_object(value, hint, where)
    elif isinstance(hint, type) and issubclass(hint, base.EventType):
        assert value in hint.__members__, where
    elif hint in (str, int, float, bool):
        assert isinstance(value, hint), f"{where} is {value!r}, not {hint.__name__}"
        assert not (isinstance(value, bool) and hint is not bool), where


def _registry() -> referencing.Registry:
    """What our own schemas refer to: the official ones where they are at hand, else a base that allows what every facet has."""
    if SPEC:
        return _official()
    facet = {"type": "object", "required": ["_producer", "_schemaURL"]}
    stand_in = {"$defs": dict.fromkeys(("RunFacet", "InputDatasetFacet"), facet)}
    resource = referencing.Resource.from_contents(stand_in, referencing.jsonschema.DRAFT202012)
    return referencing.Registry().with_resource("https://openlineage.io/spec/2-0-2/OpenLineage.json", resource)


@functools.cache
def _official() -> referencing.Registry:
    registry: referencing.Registry = referencing.Registry()
    for file in [Path(SPEC) / "OpenLineage.json", *(Path(SPEC) / "facets").glob("*.json")]:
        contents = json.loads(file.read_text())
        resource = referencing.Resource.from_contents(contents, referencing.jsonschema.DRAFT202012)
        registry = registry.with_resource(contents["$id"], resource)
    return registry


def _check_schema(event: dict[str, Any]) -> None:
    """By the official schemas: the event, and each official facet by the newest version of its own."""
    registry = _official()
    jsonschema.Draft202012Validator(
        {"$ref": "https://openlineage.io/spec/2-0-2/OpenLineage.json#/$defs/RunEvent"}, registry=registry
    ).validate(event)
    newest = {
        resource.contents["$id"].rpartition("/")[2]: resource.contents for resource in map(registry.__getitem__, registry)
    }
    for facets in _all_facets(event):
        for content in facets.values():
            name = content["_schemaURL"].rpartition("/")[2]
            if "openlineage.io" in content["_schemaURL"]:
                schema = newest[f"{name}.json"]
                jsonschema.Draft202012Validator({"$ref": f"{schema['$id']}#/$defs/{name}"}, registry=registry).validate(content)


def _all_facets(value: Any) -> list[dict[str, Any]]:
    if isinstance(value, list):
        return [facets for each in value for facets in _all_facets(each)]
    if not isinstance(value, dict):
        return []
    here = [content for key, content in value.items() if key in _FACET_GROUPS]
    return here + [facets for key, each in value.items() if key not in _FACET_GROUPS for facets in _all_facets(each)]
