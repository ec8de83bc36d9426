"""Filters as AIP-160 has them: `labels.team = "bio" AND (kind = MODEL OR NOT owner = "users/ada")`. Pure.

A filter is parsed against the fields that it may ask about, holds of a value or not, and narrows an index (`core.terms`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from operator import ge, gt, le, lt
from typing import Any, NoReturn

from federation.core import errors, terms

#: Comparisons of one filter, and parentheses and NOTs inside each other.
COMPARISONS_MAX = 100
DEPTH_MAX = 20
#: The fact that every value has.
ALL = terms.Term(terms.fact("all"))

_FIELD = re.compile(r'(-?)([A-Za-z_][A-Za-z0-9_]*)((?:\.(?:[\w-]+|"(?:[^"\\]|\\.)*"))*)')
_SEGMENT = re.compile(r'\.([\w-]+|"(?:[^"\\]|\\.)*")')
_OPERATOR = re.compile(r"<=|>=|!=|=|<|>|:")
_VALUE = re.compile(r""""((?:[^"\\]|\\.)*)"|'((?:[^'\\]|\\.)*)'|([^\s()"',]+)""")
_SPACE = re.compile(r"\s*")
_NOTHING = (None, "", ())
_ORDERED: Mapping[str, Callable[[Any, Any], bool]] = {"<": lt, "<=": le, ">": gt, ">=": ge}


class Shape(StrEnum):
    """What a field holds. Of a MAP each key is a field of its own: `labels.team`. A NAME may end in `*` for any ending."""

    TEXT = "TEXT"
    NAME = "NAME"
    LIST = "LIST"
    MAP = "MAP"
    FLAG = "FLAG"
    NUMBER = "NUMBER"
    TIME = "TIME"


#: Fields that are compared, and whose values no index lists.
_MEASURED = (Shape.NUMBER, Shape.TIME)


@dataclass(frozen=True)
class Compare:
    """One comparison. `value` is of the field's shape, None for `field:*`, which asks whether there is anything.

    With `prefix` what is compared begins with the value, and need not end there.
    """

    field: str
    operator: str
    value: str | int | bool | datetime | None
    key: str = ""
    prefix: bool = False


@dataclass(frozen=True)
class And:
    """All of them."""

    of: tuple[Condition, ...]


@dataclass(frozen=True)
class Or:
    """One of them at least."""

    of: tuple[Condition, ...]


@dataclass(frozen=True)
class Not:
    """The opposite."""

    of: Condition


Condition = Compare | And | Or | Not


def parse(text: str, fields: Mapping[str, Shape]) -> Condition | None:
    """The filter; None for an empty one. InvalidArgument (FILTER_INVALID) says what is wrong with it, and where."""
    return _Parser(text, fields).parsed() if text.strip() else None


def mentions(condition: Condition | None, field: str) -> bool:
    """Whether a filter asks about a field."""
    if condition is None or isinstance(condition, Compare):
        return condition is not None and condition.field == field
    if isinstance(condition, Not):
        return mentions(condition.of, field)
    return any(mentions(each, field) for each in condition.of)


def equalities(condition: Condition | None, fields: Collection[str]) -> tuple[dict[str, str], Condition | None]:
    """What a filter says that some fields of text equal, and what is left of it: both together are the filter."""
    parts = condition.of if isinstance(condition, And) else (condition,) if condition is not None else ()
    found: dict[str, str] = {}
    rest = []
    for each in parts:
        value = _equalled(each, fields)
        if isinstance(each, Compare) and value and not each.prefix and each.field not in found:
            found[each.field] = value
        else:
            rest.append(each)
    return found, _together(rest)


def beginning(condition: Condition | None, field: str) -> tuple[str, Condition | None]:
    """With what a filter says that a name begins ('' where it does not say), and what is left: both together are the filter."""
    parts = condition.of if isinstance(condition, And) else (condition,) if condition is not None else ()
    said = next((each for each in parts if isinstance(each, Compare) and each.prefix and _equalled(each, (field,))), None)
    return (str(said.value) if said else ""), _together([each for each in parts if each is not said])


def _equalled(part: Condition, fields: Collection[str]) -> str:
    """What a part of a filter says that one of these fields equals, or begins with; '' for all else."""
    if not isinstance(part, Compare) or part.operator not in ("=", ":") or part.field not in fields:
        return ""
    return part.value if isinstance(part.value, str) else ""


def _together(parts: list[Condition]) -> Condition | None:
    return parts[0] if len(parts) == 1 else And(tuple(parts)) if parts else None


# What holds


def holds(condition: Condition, view: Mapping[str, Any]) -> bool:
    """Whether the filter holds of a value whose fields are these. What is empty or absent equals nothing."""
    if isinstance(condition, And):
        return all(holds(each, view) for each in condition.of)
    if isinstance(condition, Or):
        return any(holds(each, view) for each in condition.of)
    if isinstance(condition, Not):
        return not holds(condition.of, view)
    if condition.operator == "!=":
        return not _compares(condition, "=", view.get(condition.field))
    return _compares(condition, condition.operator, view.get(condition.field))


def _compares(asked: Compare, operator: str, found: Any) -> bool:
    if isinstance(found, Mapping):
        found = found.get(asked.key)
    if found in _NOTHING:
        return False
    if asked.value is None:
        return True
    if operator in _ORDERED:
        return _ORDERED[operator](found, asked.value)
    if asked.prefix:
        return str(found).startswith(str(asked.value))
    return asked.value in found if isinstance(found, tuple) else bool(found == asked.value)


# What an index knows


def facts(view: Mapping[str, Any], fields: Mapping[str, Shape]) -> list[str]:
    """The terms for all that `narrowing` may ask an index for, of a value whose fields are these."""
    found = [ALL.text]
    for name, item in view.items():
        inner = ((f"{name}.{key}", each) for key, each in item.items()) if fields[name] is Shape.MAP else ((name, item),)
        for path, each in inner:
            if each in _NOTHING:
                continue
            found.append(terms.fact(path))
            if fields[name] not in _MEASURED:
                found.extend(terms.fact(path, _told(one)) for one in (each if isinstance(each, tuple) else (each,)))
    return found


def narrowing(condition: Condition | None) -> terms.Query | None:
    """What an index can be asked for that holds of all that the filter holds of, and of as little else as it can tell."""
    return None if condition is None else _narrowed(condition)[0]


def _narrowed(condition: Condition) -> tuple[terms.Query | None, bool]:
    """The question, and whether it is the filter's own: only such a one may be turned round."""
    if isinstance(condition, Compare):
        return _narrowed_comparison(condition)
    if isinstance(condition, Not):
        asked, exact = _narrowed(condition.of)
        return (terms.Without(ALL, asked), True) if asked is not None and exact else (None, False)
    found = [_narrowed(each) for each in condition.of]
    asked_of = tuple(asked for asked, _ in found if asked is not None)
    exact = all(each for _, each in found)
    if isinstance(condition, And):
        return (terms.Every(asked_of) if asked_of else None), exact
    return (terms.Some(asked_of), exact) if len(asked_of) == len(found) else (None, False)


def _narrowed_comparison(asked: Compare) -> tuple[terms.Query | None, bool]:
    if isinstance(asked.value, datetime) or (isinstance(asked.value, int) and not isinstance(asked.value, bool)):
        return None, False  # measured, and not listed
    if asked.prefix:
        return None, False  # an index has names whole
    path = f"{asked.field}.{asked.key}" if asked.key else asked.field
    term = terms.Term(terms.fact(path, None if asked.value is None else _told(asked.value)))
    return (terms.Without(ALL, term), True) if asked.operator == "!=" else (term, True)


def _told(value: str | int | bool | datetime) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


# Reading


class _Parser:
    """Recursive descent over AIP-160's grammar, in which OR binds closer than AND, and things beside each other are ANDed."""

    def __init__(self, text: str, fields: Mapping[str, Shape]) -> None:
        self._text = text
        self._fields = fields
        self._at = 0
        self._comparisons = 0

    def parsed(self) -> Condition:
        found = self._all(0)
        if self._rest():
            self._fail(f"expected AND or the end at position {self._at}: {self._rest()[:40]!r}")
        return found

    def _all(self, depth: int) -> Condition:
        if depth > DEPTH_MAX:
            self._fail(f"nests deeper than {DEPTH_MAX}")
        found = [self._any(depth)]
        while self._rest() and not self._rest().startswith(")"):
            self._word("AND")
            found.append(self._any(depth))
        return found[0] if len(found) == 1 else And(tuple(found))

    def _any(self, depth: int) -> Condition:
        found = [self._one(depth)]
        while self._word("OR"):
            found.append(self._one(depth))
        return found[0] if len(found) == 1 else Or(tuple(found))

    def _one(self, depth: int) -> Condition:
        if self._word("NOT") or self._sign("-("):
            return Not(self._one(depth + 1)) if depth < DEPTH_MAX else self._fail(f"nests deeper than {DEPTH_MAX}")
        if self._rest().startswith("("):
            self._at += 1
            found = self._all(depth + 1)
            if not self._rest().startswith(")"):
                self._fail(f"lacks a closing parenthesis at position {self._at}")
            self._at += 1
            return found
        return self._comparison()

    def _comparison(self) -> Condition:
        self._comparisons += 1
        if self._comparisons > COMPARISONS_MAX:
            self._fail(f"has more than {COMPARISONS_MAX} comparisons")
        self._rest()
        found = _FIELD.match(self._text, self._at)
        if not found:
            self._fail(f"cannot be read from position {self._at}: {self._text[self._at : self._at + 40]!r}")
        name, keys = self._field(found[2], [_unquoted(key) for key in _SEGMENT.findall(found[3])])
        self._at = found.end()
        compared = self._compared(name, keys)
        return Not(compared) if found[1] else compared

    def _field(self, name: str, keys: list[str]) -> tuple[str, list[str]]:
        """The longest name that there is a field of; what is left are keys."""
        while keys and name not in self._fields:
            name = f"{name}.{keys.pop(0)}"
        if name not in self._fields:
            self._fail(f"there is no field {name!r} to filter by")
        return name, keys

    def _compared(self, name: str, keys: list[str]) -> Compare:
        shape = self._fields[name]
        operator, raw, quoted = self._operator(name)
        if shape is Shape.MAP and not keys and operator == ":":
            return Compare(name, ":", None, raw)
        if len(keys) != (1 if shape is Shape.MAP else 0):
            self._fail(f"{name!r} is asked for as {name + '.KEY' if shape is Shape.MAP else name}")
        if operator in _ORDERED and shape not in _MEASURED:
            self._fail(f"{name!r} has no order: use =, != or :")
        if shape is Shape.LIST and operator not in (":", "="):
            self._fail(f"{name!r} has several values: use : , and NOT before it for the opposite")
        value = None if operator == ":" and raw == "*" and not quoted else self._value(name, shape, raw)
        if shape is Shape.NAME and isinstance(value, str) and value.endswith("*") and value != "*":
            return Compare(name, operator, value.removesuffix("*"), prefix=True)
        return Compare(name, operator, value, keys[0] if keys else "")

    def _operator(self, name: str) -> tuple[str, str, bool]:
        self._rest()
        operator = _OPERATOR.match(self._text, self._at)
        if not operator:
            self._fail(f"{name!r} needs =, !=, <, <=, >, >= or : at position {self._at}")
        self._at = operator.end()
        self._rest()
        value = _VALUE.match(self._text, self._at)
        if not value:
            self._fail(f"{name!r} needs a value at position {self._at}")
        self._at = value.end()
        quoted = value[3] is None
        return operator[0], _unescaped(value[1] or value[2] or "") if quoted else value[3], quoted

    def _value(self, name: str, shape: Shape, raw: str) -> str | int | bool | datetime:
        if shape is Shape.FLAG:
            return raw == "true" if raw in ("true", "false") else self._fail(f"{name!r} is true or false, not {raw!r}")
        if shape is Shape.NUMBER:
            return int(raw) if re.fullmatch(r"-?\d{1,18}", raw) else self._fail(f"{name!r} is a whole number, not {raw!r}")
        if shape is Shape.TIME:
            return self._time(name, raw)
        return raw

    def _time(self, name: str, raw: str) -> datetime:
        try:
            found = datetime.fromisoformat(raw)
        except ValueError:
            self._fail(f'{name!r} is a time such as 2026-11-28 or "2026-11-28T12:00:00Z", not {raw!r}')
        return found if found.tzinfo else found.replace(tzinfo=UTC)

    def _rest(self) -> str:
        found = _SPACE.match(self._text, self._at)
        self._at = found.end() if found else self._at
        return self._text[self._at :]

    def _word(self, word: str) -> bool:
        if not re.match(rf"{word}(?=[\s(-]|$)", self._rest()):
            return False
        self._at += len(word)
        return True

    def _sign(self, sign: str) -> bool:
        """A minus before a parenthesis, of which only the minus is taken."""
        if not self._rest().startswith(sign):
            return False
        self._at += 1
        return True

    def _fail(self, why: str) -> NoReturn:
        known = ", ".join(f"{name}.KEY" if shape is Shape.MAP else name for name, shape in sorted(self._fields.items()))
        raise errors.InvalidArgument(
            f"the filter {self._text[:200]!r} {why}",
            reason="FILTER_INVALID",
            help=f'Write field = "value", with AND, OR, NOT and parentheses. Fields: {known}.',
            violations={"filter": why},
            metadata={"fields": known},
        )


def _unquoted(segment: str) -> str:
    return _unescaped(segment[1:-1]) if segment.startswith('"') else segment


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text)
