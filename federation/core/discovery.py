"""Which datasets are found by which words, in which order, and why. Pure.

What matches in a better place comes first, whatever else matches: the name itself, words of the name, labels and owner,
columns, and last description and card; in each place whole words before beginnings; and of those alike what was created last.
So a page costs what its own rows cost, and not what all matches would cost to be weighed.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from federation.core import conditions, errors, terms
from federation.core.conditions import Shape
from federation.core.dataset import DataCard, Dataset
from federation.core.terms import Every, Query, Some, Term, Without

WORDS_MAX = 16
#: What one dataset is found by takes at most this much; of very wide tables the first columns are found.
TERMS_BYTES_MAX = 256 * 1024
#: What is told of why one dataset was found.
MATCHES_MAX = 5
TEXT_CHARS_MAX = 160

#: The letters of terms, best place first: the name, a word of it, a label or the owner, a column, the description or card.
_TITLE, _NAME, _LABEL, _COLUMN, _TOLD = "t", "n", "l", "c", "d"
_PLACES = _NAME + _LABEL + _COLUMN + _TOLD

#: What datasets may be filtered by. Not by their parts: whoever may not know of one would be told by what is found.
FIELDS: Mapping[str, Shape] = {
    "name": Shape.NAME,
    "namespace": Shape.NAME,
    "dataset": Shape.NAME,
    "kind": Shape.TEXT,
    "owner": Shape.TEXT,
    "labels": Shape.MAP,
    "columns": Shape.LIST,
    "classification": Shape.TEXT,
    "residency": Shape.LIST,
    "purposes": Shape.LIST,
    "readers": Shape.LIST,
    "legal_hold": Shape.FLAG,
    "deleted": Shape.FLAG,
    "card.origin": Shape.TEXT,
    "card.licence": Shape.TEXT,
    "card.consent": Shape.TEXT,
    "card.known_bias": Shape.TEXT,
    "card.sensitive_columns": Shape.LIST,
    "latest_version": Shape.NUMBER,
    "group_size_min": Shape.NUMBER,
    "create_time": Shape.TIME,
    "update_time": Shape.TIME,
    "use_expire_time": Shape.TIME,
}


@dataclass(frozen=True, kw_only=True)
class Span:
    """A piece of a text that was searched for, in characters: from `start` up to `end`."""

    start: int
    end: int


@dataclass(frozen=True, kw_only=True)
class Match:
    """A field in which words were found, with that of its text that shows them."""

    field: str
    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, kw_only=True)
class Found:
    """A dataset that was found, and why."""

    dataset: Dataset
    matches: tuple[Match, ...] = ()


# What a dataset is found by


def terms_of(stored: Dataset, columns: Iterable[str]) -> tuple[str, ...]:
    """All terms of a dataset whose newest version has these columns, sorted."""
    names = tuple(columns)
    kept: dict[str, None] = {}
    size = 0
    for term in _terms(stored, names):
        if term not in kept:
            size += len(term.encode()) + 1
            if size > TERMS_BYTES_MAX:
                break
            kept[term] = None
    return tuple(sorted(kept))


def _terms(stored: Dataset, columns: tuple[str, ...]) -> Iterator[str]:
    """Best first, so that what has no room is what matters least."""
    for title in (stored.dataset, stored.name.short):
        yield _TITLE + _joined(title)
    yield from conditions.facts({name: item for name, item in view(stored).items() if name != "columns"}, FIELDS)
    for place, _, text in _texts(stored, columns):
        for word in terms.parts(text):
            yield place + word.text
    yield from conditions.facts({"columns": columns}, FIELDS)


def view(stored: Dataset, columns: tuple[str, ...] = ()) -> dict[str, Any]:
    """A dataset as filters see it; `deleted` is what its `delete_time` says."""
    found = {name: getattr(stored, name) for name in FIELDS if hasattr(stored, name)}
    card = {name: getattr(stored.card, name.removeprefix("card.")) for name in FIELDS if name.startswith("card.")}
    told = {"name": stored.name.short, "kind": str(stored.kind), "classification": str(stored.classification)}
    return found | card | told | {"labels": dict(stored.labels), "columns": columns, "deleted": stored.delete_time is not None}


def _texts(stored: Dataset, columns: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Place, field and text of all that is searched, best place first."""
    yield _NAME, "name", stored.name.short
    for key, value in stored.labels:
        yield _LABEL, "labels", f"{key}={value}"
    yield _LABEL, "owner", stored.owner.rpartition("/")[2]
    for column in columns:
        yield _COLUMN, "columns", column
    yield _TOLD, "description", stored.description
    for name in DataCard.__dataclass_fields__:
        item = getattr(stored.card, name)
        for text in (item,) if isinstance(item, str) else item:
            yield _TOLD, f"card.{name}", text


def _joined(text: str) -> str:
    return "".join(word.text for word in terms.words(text))[: terms.WORD_CHARS_MAX]


# What is asked


def words(text: str) -> tuple[str, ...]:
    """The words of a search; InvalidArgument (SEARCH_TOO_LONG) for too many. Signs between them are nothing."""
    found = tuple(dict.fromkeys(word.text for word in terms.words(text)))
    if len(found) > WORDS_MAX:
        raise errors.InvalidArgument(
            f"a search of {len(found)} words",
            reason="SEARCH_TOO_LONG",
            help=f"Say at most {WORDS_MAX}, and use a filter for what is known exactly.",
            violations={"query": f"at most {WORDS_MAX} words"},
        )
    return found


def queries(text: str, narrowed: Query | None = None) -> tuple[Query, ...]:
    """What an index is asked for one after the other, best matches first; what one question finds, no other does.

    Of each place, and those before it, first what has all words whole, then what has words that begin so: an index streams the
    former. Without words there is one question, by `narrowed`.
    """
    asked = words(text)
    if not asked:
        return (narrowed or conditions.ALL,)
    # Narrowed before anything is left out: else an index would first look for what is left of two sets that are nearly alike.
    within = (narrowed,) if narrowed is not None else ()
    title = Term(_TITLE + _joined(text))
    ranked: list[Query] = [Every((title, *within))]
    better: tuple[Query, ...] = (title,)
    for last in range(1, len(_PLACES) + 1):
        whole, begun = (_each(asked, _PLACES[:last], prefix=prefix) for prefix in (False, True))
        ranked.append(Without(Every((whole, *within)), Some(better)))
        ranked.append(Without(Every((begun, *within)), Some((*better, whole))))
        better = (title, begun)
    return tuple(ranked)


def widest(text: str, narrowed: Query | None = None) -> Query:
    """One question that finds what any of the `queries` finds."""
    asked = words(text)
    if not asked:
        return narrowed or conditions.ALL
    within = (narrowed,) if narrowed is not None else ()
    return Every((Some((Term(_TITLE + _joined(text)), _each(asked, _PLACES, prefix=True))), *within))


def rank(asked: tuple[Query, ...], found_by: tuple[str, ...]) -> int:
    """Which of the `queries` finds what has these terms, which are sorted; the last one, where an index has older terms."""
    return next((number for number, query in enumerate(asked) if terms.holds(query, found_by)), len(asked) - 1)


def _each(asked: tuple[str, ...], places: str, *, prefix: bool) -> Query:
    """That each of the words is a word in one of these places, or begins one."""
    found = [tuple(Term(place + word, prefix=prefix) for place in places) for word in asked]
    return Every(tuple(each[0] if len(each) == 1 else Some(each) for each in found))


# Why


def matches(stored: Dataset, columns: Iterable[str], text: str) -> tuple[Match, ...]:
    """Where the words stand, best place first, in a few fields at most; the whole name, where that was written as one word."""
    asked = words(text)
    found: list[Match] = []
    for _, field, told in _texts(stored, columns) if asked else ():
        spans = _spans(told, asked)
        if spans:
            found.append(_shown(field, told, spans))
        if len(found) == MATCHES_MAX:
            break
    name = stored.name.short
    return tuple(found) if found or not asked else (_shown("name", name, [Span(start=0, end=len(name))]),)


def _spans(text: str, asked: tuple[str, ...]) -> list[Span]:
    lowered = text.lower()
    if text.isascii() and not any(each in lowered for each in asked):
        return []  # most texts of most matches: not worth being parted into words
    found: dict[int, int] = {}
    for word in terms.parts(text):
        if word.text.startswith(asked):
            longest = max(len(each) for each in asked if word.text.startswith(each))
            # Where folding has changed how many letters there are, all of the word is shown.
            same = len(word.text) == word.end - word.start
            end = word.start + longest if same else word.end
            found[word.start] = max(end, found.get(word.start, 0))
    return [Span(start=start, end=end) for start, end in sorted(found.items())]


def _shown(field: str, text: str, spans: list[Span]) -> Match:
    """A long text is cut to where its first word stands."""
    if len(text) <= TEXT_CHARS_MAX:
        return Match(field=field, text=text, spans=tuple(spans))
    first = max(0, min(spans[0].start - TEXT_CHARS_MAX // 4, len(text) - TEXT_CHARS_MAX))
    last = first + TEXT_CHARS_MAX
    head, tail = "…" if first else "", "…" if last < len(text) else ""
    shift = len(head) - first
    within = (Span(start=each.start + shift, end=min(each.end, last) + shift) for each in spans if each.start < last)
    return Match(field=field, text=head + text[first:last] + tail, spans=tuple(within))
