"""A strict reader of YAML settings: every key is known, every value is of its kind, an error names key, value and cure.

Scalars are taken as they were written (`0.0480` stays `0.0480`, `no` stays `no`), so that no float and no guess comes between
the file and the value. Reads text, never a file.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NoReturn, TypeVar

import yaml

from federation.core import errors, ids, units
from federation.core.written import Written

T = TypeVar("T")

#: No file that people write has more values.
NODES_MAX = 200_000
_INTEGER = re.compile(r"-?[0-9]{1,18}")


class _Loader(yaml.BaseLoader):
    """YAML's base schema, in which every scalar is text, and without its silence about a key that comes twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        for key in keys:
            if not isinstance(key, str) or keys.count(key) > 1:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key {key!r} stands here twice" if isinstance(key, str) else "a key is not text",
                    node.start_mark,
                )
        return super().construct_mapping(node, deep)


def parse(text: str, source: str) -> Table:
    """The whole file as a table; InvalidArgument (CONFIG_INVALID) where it is none. `source` is named in errors."""
    try:
        data = yaml.load(text, Loader=_Loader)  # noqa: S506 - a subclass of BaseLoader makes nothing but text, lists and tables
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        where = f"line {place.line + 1}, column {place.column + 1}" if place else "somewhere"
        raise _error(
            source, where, f"this is not YAML: {getattr(error, 'problem', None) or error}", "Mend the file there."
        ) from None
    if data in (None, ""):
        data = {}
    if not isinstance(data, dict):
        raise _error(source, "the file", "it holds no table", "Begin with `key: value` lines.")
    return Table(data, source=source, path="")


def documents(text: str, source: str) -> tuple[Written, ...]:
    """All documents of a YAML or JSON text, each value with its line; of a list its items. Empty ones are left out.

    InvalidArgument (CONFIG_INVALID) with the line in `metadata` where it is neither.
    """
    try:
        roots = [_Writer(node).written(node) for node in yaml.compose_all(text, Loader=_Loader) if node is not None]
    except yaml.YAMLError as error:
        place = getattr(error, "problem_mark", None)
        problem = f"this is not YAML: {getattr(error, 'problem', None) or error}"
        line = place.line + 1 if place else 1
        raise _error(source, f"line {line}", problem, "Mend the file there.", line=line) from None
    except RecursionError:
        raise _error(source, "line 1", "its values are nested too deep", "Write it flatter.", line=1) from None
    several = (root.value if isinstance(root.value, tuple) else (root,) for root in roots)
    return tuple(one for each in several for one in each if one.value)


class _Writer:
    """Turns YAML's nodes into values. What an alias repeats counts each time, so that a small file cannot become a huge one."""

    def __init__(self, root: yaml.Node) -> None:
        self._left = NODES_MAX
        self._root = root

    def written(self, node: yaml.Node, line: int = 0) -> Written:
        self._left -= 1
        if self._left < 0:
            raise yaml.constructor.ConstructorError(None, None, f"it has more than {NODES_MAX:,} values", self._root.start_mark)
        line = line or node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            return Written(value=self._table(node), line=line)
        if isinstance(node, yaml.SequenceNode):
            return Written(value=tuple(self.written(item) for item in node.value), line=line)
        # JSON writes what is beyond the first plane as two halves; YAML knows no such thing.
        text = node.value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return Written(value=text, line=line, quoted=getattr(node, "style", None) is not None)

    def _table(self, node: yaml.MappingNode) -> dict[str, Written]:
        found: dict[str, Written] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise yaml.constructor.ConstructorError(None, None, "a key is not text", key.start_mark)
            if key.value in found:
                problem = f"the key {key.value!r} stands here twice"
                raise yaml.constructor.ConstructorError(None, None, problem, key.start_mark)
            found[key.value] = self.written(value, key.start_mark.line + 1)
        return found


def _error(
    source: str, path: str, problem: str, cure: str, value: str | None = None, *, line: int = 0
) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"{source}: {path}: {problem}",
        reason="CONFIG_INVALID",
        help=cure,
        metadata={"file": source, "key": path}
        | ({} if value is None else {"value": value})
        | ({"line": str(line)} if line else {}),
        violations={path: problem},
    )


class Table:
    """One table of the file. Each reading method names the key; `only` refuses the keys that nobody reads."""

    def __init__(self, data: dict[str, Any], *, source: str, path: str) -> None:
        self._data = data
        self._source = source
        self._path = path

    def __contains__(self, key: str) -> bool:
        return key in self._data

    def __iter__(self) -> Iterator[str]:
        return iter(self._data)

    def keys(self) -> Iterator[str]:
        """The keys as they stand in the file."""
        yield from self._data

    def refuse(self, key: str, problem: str, cure: str) -> NoReturn:
        """Raises CONFIG_INVALID for a key of this table."""
        value = self._data.get(key)
        raise _error(self._source, self.path(key), problem, cure, value if isinstance(value, str) else None)

    def path(self, key: str) -> str:
        """The key's full path: `sites[0].offer.cpu_hour_usd`."""
        return f"{self._path}.{key}".lstrip(".") if key else self._path or "the file"

    def only(self, known: Iterable[str]) -> Table:
        """This table, if it holds no key but these."""
        allowed = sorted(known)
        for key in self._data:
            if key not in allowed:
                near = difflib.get_close_matches(key, allowed, n=1)
                cure = f"Did you mean {near[0]!r}?" if near else f"Write one of: {', '.join(allowed)}."
                self.refuse(key, "no such key is known here", cure)
        return self

    def text(self, key: str, default: str | None = None) -> str:
        """The value as text; without a default the key must be there and not empty."""
        value = self._data.get(key, "")
        if not isinstance(value, str):
            self.refuse(key, "one value belongs here, not a list or a table", f"Write `{key}: VALUE`.")
        if value:
            return value
        if default is None:
            self.refuse(key, "it is missing", f"Add `{key}: VALUE` to {self.path('')}.")
        return default

    def integer(self, key: str, default: int | None = None, *, at_least: int = 0, at_most: int | None = None) -> int:
        """A whole number."""
        value = self.text(key, None if default is None else str(default))
        if not _INTEGER.fullmatch(value) or int(value) < at_least:
            self.refuse(
                key, f"{value!r} is not a whole number of {at_least} or more", f"Write a whole number, at least {at_least}."
            )
        if at_most is not None and int(value) > at_most:
            self.refuse(key, f"{value} is more than {at_most}", f"Write a whole number, {at_least} to {at_most}.")
        return int(value)

    def size(self, key: str, default: int) -> int:
        """A number of bytes, with a unit if the file has one."""
        return self.read(key, units.parse_size, str(default))

    def choice(self, key: str, allowed: Iterable[str], default: str | None = None) -> str:
        """One of the allowed words."""
        value = self.text(key, default)
        words = sorted(allowed)
        if value not in words:
            self.refuse(key, f"{value!r} is not one of {', '.join(words)}", f"Write one of: {', '.join(words)}.")
        return value

    def segment(self, key: str) -> str:
        """A legal name."""
        return self.read(key, lambda value: ids.segment(value, key))

    def read(self, key: str, parse_: Callable[[str], T], default: str | None = None) -> T:
        """The value through one of the core's parsers, whose complaint becomes ours."""
        value = self.text(key, default)
        try:
            return parse_(value)
        except errors.InvalidArgument as error:
            self.refuse(key, error.message, error.help or "Write it as the documentation shows.")

    def micros(self, key: str) -> int | None:
        """Dollars as a decimal number, in micro-dollars; None where the key is absent: an unknown price is no price."""
        if key not in self._data:
            return None
        value = self.text(key)
        try:
            amount = units.micros(value)
        except errors.InvalidArgument as error:
            self.refuse(key, error.message, 'Write dollars as a decimal number in quotes, for example "0.0480".')
        if amount < 0:
            self.refuse(key, f"{value!r} is below zero", "Write what the provider charges, zero or more.")
        return amount

    def table(self, key: str) -> Table:
        """A table inside; an empty one where the key is absent."""
        value = self._data.get(key) or {}
        if not isinstance(value, dict):
            self.refuse(key, "a table belongs here", f"Write `{key}: {{...}}`.")
        return Table(value, source=self._source, path=self.path(key))

    def tables(self, key: str) -> list[Table]:
        """A list of tables; an empty one where the key is absent."""
        value = self._data.get(key) or []
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.refuse(key, "a list of tables belongs here", f"Write `{key}:` and under it `- name: value` items.")
        return [Table(item, source=self._source, path=f"{self.path(key)}[{number}]") for number, item in enumerate(value)]

    def is_table(self, key: str) -> bool:
        """Whether the key holds a table."""
        return isinstance(self._data.get(key), dict)

    def list_of_texts(self, key: str) -> list[str]:
        """A list of texts; one text alone is a list of it, and nothing where the key is absent."""
        value = self._data.get(key) or []
        listed = [value] if isinstance(value, str) else value
        if not isinstance(listed, list) or not all(isinstance(item, str) for item in listed):
            self.refuse(key, "a list of texts belongs here", f"Write `{key}: [ONE, TWO]`.")
        return listed

    def flag(self, key: str) -> bool:
        """`true` or `false`; false where the key is absent."""
        return self.choice(key, ("true", "false"), "false") == "true"

    def texts(self) -> dict[str, str]:
        """All values of this table as text, by key."""
        return {key: self.text(key, "") for key in self._data}
