"""Data cards: what they may hold, and which of their facts pass to what is made of a dataset. Pure."""

from __future__ import annotations

import dataclasses
import difflib
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NoReturn

from federation.core import errors
from federation.core.dataset import DataCard

TEXT_CHARS_MAX = 4000
COLUMNS_MAX = 1000
#: Datasets that are looked at to find what one inherits.
SOURCES_MAX = 10_000

FIELDS = ("origin", "licence", "consent", "known_bias", "sensitive_columns")
#: What is true of data is true of what is made of it, unless that says otherwise. Origin and licence are each one's own.
INHERITED = ("consent", "known_bias", "sensitive_columns")

NO_CARD = DataCard()


@dataclass(frozen=True, kw_only=True)
class CardFact:
    """What a dataset has from `source`, a dataset that it was made of, however many steps ago: one text or several columns."""

    field: str
    values: tuple[str, ...]
    source: str


@dataclass(frozen=True, kw_only=True)
class Explained:
    """A dataset's own card, of which datasets its versions were made by jobs, and what it inherits from those.

    `unseen` is how many of the datasets it was made of the caller may not know of; nothing of theirs is told.
    """

    dataset: str
    card: DataCard
    made_of: tuple[str, ...] = ()
    facts: tuple[CardFact, ...] = ()
    unseen: int = 0


@dataclass(frozen=True, kw_only=True)
class Known:
    """A dataset's card, and what it was made of."""

    card: DataCard
    made_of: tuple[str, ...] = ()


def declares(card: DataCard, field: str) -> bool:
    """Whether a card says something of a field, be it that there is nothing to say."""
    return bool(getattr(card, field)) or field in card.without


def inherited(name: str, look: Callable[[str], Known | None], columns: tuple[str, ...] = ()) -> tuple[CardFact, ...]:
    """What passes to a dataset from what it was made of: of each field, from the nearest that declare it on each way.

    Sensitive columns pass that it still has, by their name; all, where its columns are not known.
    """
    return tuple(fact for field in INHERITED for fact in _inherited(name, look, field, columns))


def _inherited(name: str, look: Callable[[str], Known | None], field: str, columns: tuple[str, ...]) -> Iterator[CardFact]:
    own = look(name)
    if own is None or declares(own.card, field):
        return
    seen, waiting = {name, *own.made_of}, deque(own.made_of)
    while waiting and len(seen) <= SOURCES_MAX:
        source = waiting.popleft()
        known = look(source)
        if known is None:
            continue
        if declares(known.card, field):
            values = _passing(getattr(known.card, field), columns)
            if values:
                yield CardFact(field=field, values=values, source=source)
            continue
        waiting.extend(each for each in known.made_of if each not in seen)
        seen.update(known.made_of)


def _passing(held: str | tuple[str, ...], columns: tuple[str, ...]) -> tuple[str, ...]:
    if isinstance(held, str):
        return (held,) if held else ()
    return tuple(column for column in held if not columns or _root(column) in columns)


def _root(column: str) -> str:
    """The column that a path into it begins with: `address.street` is in `address`."""
    return column.partition(".")[0]


# What it may hold


def checked(card: DataCard, columns: tuple[str, ...] = (), before: DataCard = NO_CARD) -> DataCard:
    """The card in order; InvalidArgument (CARD_INVALID) names the field that is not.

    Sensitive columns that it did not name before must be among those of the newest version, where it has any that are known:
    what was said of a column stays true of the versions that had it.
    """
    for name in FIELDS:
        held = getattr(card, name)
        if isinstance(held, str) and len(held) > TEXT_CHARS_MAX:
            _refuse(name, f"has {len(held):,} characters", f"Use at most {TEXT_CHARS_MAX:,}, and link to what is longer.")
    named = tuple(sorted({column.strip() for column in card.sensitive_columns}))
    if "" in named:
        _refuse("sensitive_columns", "names a column without a name", "Leave it out.")
    if len(named) > COLUMNS_MAX:
        _refuse("sensitive_columns", f"names {len(named):,} columns", f"Name at most {COLUMNS_MAX:,}.")
    for column in named:
        if columns and column not in (*columns, *before.sensitive_columns) and _root(column) not in columns:
            near = difflib.get_close_matches(column, columns, n=1)
            cure = f"Did you mean {near[0]!r}?" if near else f"Its newest version has {_some(columns)}."
            _refuse("sensitive_columns", f"names {column!r}, which the newest version has not", cure)
    for name in card.without:
        if name not in FIELDS:
            _refuse("without", f"names {name!r}", f"Name some of: {', '.join(FIELDS)}.")
        if getattr(card, name):
            _refuse("without", f"says that there is no {name}, and {name} says what it is", "Give one of both.")
    return dataclasses.replace(card, sensitive_columns=named, without=tuple(sorted(set(card.without))))


def _some(columns: tuple[str, ...]) -> str:
    return ", ".join(columns[:10]) + (f" and {len(columns) - 10} more" if len(columns) > 10 else "")


def _refuse(field: str, why: str, cure: str) -> NoReturn:
    raise errors.InvalidArgument(
        f"card.{field} {why}", reason="CARD_INVALID", help=cure, violations={f"dataset.card.{field}": why}
    )
