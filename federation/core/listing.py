"""The filter of a listing (AIP-160, the part of it that an index answers): `field = "value" [AND field = "value"]`. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection

from federation.core import errors

_TERM = re.compile(r'\s*([a-z_]+)\s*=\s*"((?:[^"\\]|\\["\\])*)"\s*')
_AND = re.compile(r"AND\b")


def parse(text: str, fields: Collection[str]) -> dict[str, str]:
    """The filter as field -> value; InvalidArgument (FILTER_INVALID) that names the fields for anything else."""
    where: dict[str, str] = {}
    position = 0
    while text.strip():
        term = _TERM.match(text, position)
        if not term:
            raise _invalid(text, f"cannot be read from position {position}: {text[position : position + 40]!r}", fields)
        name = term[1]
        if name not in fields:
            raise _invalid(text, f"there is no field {name!r} to filter by", fields)
        if name in where:
            raise _invalid(text, f"names {name!r} twice", fields)
        where[name] = re.sub(r"\\(.)", r"\1", term[2])
        position = term.end()
        if position == len(text):
            break
        conjunction = _AND.match(text, position)
        if not conjunction:
            raise _invalid(text, f"expected AND at position {position}: {text[position : position + 40]!r}", fields)
        position = conjunction.end()
    return where


def term(name: str, value: str) -> str:
    """One `field = "value"` with the value quoted: the inverse of `parse`, for callers that build a filter."""
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'{name} = "{quoted}"'


def render(where: dict[str, str]) -> str:
    """A filter that `parse` reads as `where`."""
    return " AND ".join(term(name, value) for name, value in where.items())


def _invalid(text: str, why: str, fields: Collection[str]) -> errors.InvalidArgument:
    known = ", ".join(sorted(fields)) or "none"
    return errors.InvalidArgument(
        f"the filter {text!r} {why}",
        reason="FILTER_INVALID",
        help=f'Write field = "value", joined by AND. Fields: {known}.',
        violations={"filter": why},
        metadata={"fields": known},
    )
