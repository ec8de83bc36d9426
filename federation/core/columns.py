"""Column classes: which columns of a version's files are sealed together, under a key of their own. Values and rules only."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from federation.core import errors, keys

CLASSES_MAX = 16
#: Columns of one class, and of all of a version.
COLUMNS_MAX = 1000
_CLASS = re.compile(r"[a-z][a-z0-9-]{0,30}")


@dataclass(frozen=True, kw_only=True)
class ColumnClass:
    """Columns that are sealed together, under one DEK. A nested column is named by its root."""

    name: str
    columns: tuple[str, ...]


def parse(texts: Sequence[str]) -> tuple[ColumnClass, ...]:
    """Classes as people write them: `pii=email,ssn`, one for each text; InvalidArgument (COLUMN_CLASS_INVALID) for others."""
    found: dict[str, tuple[str, ...]] = {}
    for text in texts:
        name, mark, rest = text.partition("=")
        columns = tuple(column.strip() for column in rest.split(","))
        if not mark or not all(columns):
            raise _invalid(text, "it is not written CLASS=COLUMN,COLUMN")
        if name in found:
            raise _invalid(text, f"class {name!r} is there twice")
        found[name] = columns
    return checked(ColumnClass(name=name, columns=columns) for name, columns in found.items())


def texts(classes: Iterable[ColumnClass]) -> tuple[str, ...]:
    """Classes as `parse` reads them."""
    return tuple(f"{one.name}={','.join(one.columns)}" for one in classes)


def checked(classes: Iterable[ColumnClass]) -> tuple[ColumnClass, ...]:
    """The classes in order of their names, once each is well-formed and no column has two."""
    ordered = tuple(sorted(classes, key=lambda one: one.name))
    if not 0 < len(ordered) <= CLASSES_MAX:
        raise _invalid(f"{len(ordered)} classes", f"there are 1 to {CLASSES_MAX}")
    if sum(len(one.columns) for one in ordered) > COLUMNS_MAX:
        raise _invalid(ordered[0].name, f"all classes together have more than {COLUMNS_MAX} columns")
    owner: dict[str, str] = {}
    for index, one in enumerate(ordered):
        if name(one.name) == keys.DEFAULT or (index and ordered[index - 1].name == one.name):
            raise _invalid(one.name, f"it is {keys.DEFAULT!r}, which is all other columns, or there twice")
        if not one.columns:
            raise _invalid(one.name, "it has no column")
        for column in one.columns:
            if column in owner:
                raise _invalid(column, f"the column is in {owner[column]!r} and in {one.name!r}")
            if not sealable(column):
                raise _invalid(column, "a column's name has none of : ; , . in it and no space around it")
            owner[column] = one.name
    return ordered


def name(text: str) -> str:
    """`text`, if it can name a class, `default` too."""
    if not _CLASS.fullmatch(text):
        raise _invalid(text, "a class is named in lower case, by letters, digits and -, up to 31 characters")
    return text


def wanted(names: Iterable[str]) -> tuple[str, ...]:
    """The classes that somebody asks for, `default` always and first, the others once each in order."""
    return (keys.DEFAULT, *sorted({name(each) for each in names} - {keys.DEFAULT}))


def names(classes: Iterable[ColumnClass]) -> tuple[str, ...]:
    """All classes that files have DEKs of: `default` and these."""
    return (keys.DEFAULT, *(one.name for one in classes))


def sealable(column: str) -> bool:
    """Whether Parquet's settings can name a column: one that they cannot would lie there in plaintext."""
    return bool(column) and column == column.strip() and not set(column) & set(":;,.")


def require_known(of: str, classes: Iterable[ColumnClass], asked: Iterable[str]) -> None:
    """InvalidArgument (COLUMN_CLASS_UNKNOWN) when one that was asked for is none of the version's."""
    known = names(classes)
    unknown = sorted(set(asked) - set(known))
    if unknown:
        raise errors.InvalidArgument(
            f"{of} has no column class {unknown[0]!r}; it has {', '.join(known)}",
            reason="COLUMN_CLASS_UNKNOWN",
            help=f"`fed version show {of}` tells its classes.",
            violations={"column_classes": unknown[0]},
        )


def _invalid(what: str, why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"{what!r} is no column class: {why}",
        reason="COLUMN_CLASS_INVALID",
        help="Write for example pii=email,ssn.",
        violations={"column_classes": why},
    )
