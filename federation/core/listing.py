"""The filter of a listing (AIP-160, the part of it that an index answers): `field = "value" [AND field = "value"]`. Pure.

Every listing of stored values may be asked by `name` as well, whole or by how it begins: `name = "j-01k9*"`.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from federation.core import errors

_TERM = re.compile(r'\s*([a-z_]+)\s*=\s*"((?:[^"\\]|\\["\\])*)"\s*')
_AND = re.compile(r"AND\b")
_NAME = re.compile(r"[\x21-\x7e]+")
#: No name has it, and it comes behind all that names have.
_LAST = "\U0010ffff"


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


@dataclass(frozen=True)
class Stretch:
    """The keys of a listing that begin with `prefix`, in order or the newest first. They lie beside each other."""

    prefix: str = ""
    newest_first: bool = False

    def after(self, key: str) -> str:
        """Where a page begins that shall begin after a key: there, or where the stretch does."""
        if not self.prefix:
            return key
        if self.newest_first:
            edge = self.prefix + _LAST
            return min(key, edge) if key else edge
        return max(key, self.prefix[:-1] + chr(ord(self.prefix[-1]) - 1) + _LAST)

    def holds(self, key: str) -> bool:
        """Whether a key is of the stretch."""
        return key.startswith(self.prefix)

    def ends_before(self, key: str) -> bool:
        """Whether nothing of the stretch can come after a key, nor is it the key."""
        return not self.holds(key) and ((key < self.prefix) if self.newest_first else (key > self.prefix))


def named(text: str) -> tuple[str, str]:
    """What a `name` in a filter asks for: (name, '') for a whole one, ('', prefix) for `PREFIX*`.

    InvalidArgument (FILTER_INVALID) where no name can be so.
    """
    bare = text.removesuffix("*")
    if not _NAME.fullmatch(bare):
        raise _invalid(f'name = "{text}"', "is of no name", ("name",))
    return ("", bare) if bare != text else (bare, "")


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
