"""What stored values are found by: words of their text and facts about them, as terms; and questions over terms. Pure.

A term is one word of letters and digits that every full-text index keeps as it is: this module alone decides what a word is, so
that all databases find alike. Its first letter says where it stands.
"""

from __future__ import annotations

import bisect
import hashlib
import itertools
import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

#: Longer words are found by their beginning.
WORD_CHARS_MAX = 64
# What is written without spaces is found character by character: kana, Han, Thai.
_ALONE = "\u0e00-\u0e7f\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WORD = re.compile(rf"[{_ALONE}]|[^\W_{_ALONE}]+")
_HUMP = re.compile(r"(?<=[^\W\d_A-Z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
# All facts begin alike for as long as indexes keep beginnings apart: nobody asks for the beginning of a fact.
_FACT = "factfact"
_FACT_BYTES = 5


class Word(NamedTuple):
    """A word of a text, folded, and where it stands there."""

    text: str
    start: int
    end: int


@dataclass(frozen=True)
class Term:
    """That a value has a term, or with `prefix` one that begins so."""

    text: str
    prefix: bool = False


@dataclass(frozen=True)
class Every:
    """That all of these hold."""

    of: tuple[Query, ...]


@dataclass(frozen=True)
class Some:
    """That one of these holds."""

    of: tuple[Query, ...]


@dataclass(frozen=True)
class Without:
    """That the first holds and the second does not. There is no other negation: an index has to begin somewhere."""

    kept: Query
    unwanted: Query


Query = Term | Every | Some | Without


def folded(text: str) -> str:
    """Without case, accents and other marks, and in the plain form of its letters: `Orléans` is `orleans`."""
    if text.isascii() and text.isalnum():
        return text.lower()
    plain = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text.casefold()).casefold())
    plain = plain.lower()  # Cherokee folds to capitals
    return "".join(char for char in plain if char.isalnum())


def words(text: str) -> Iterator[Word]:
    """The words of a text in order; whatever is neither letter nor digit parts them: `dep_delay` is two."""
    for found in _WORD.finditer(text):
        plain = folded(found.group())
        # Folding makes characters that stand alone of some that do not: of half-width kana, of circled numbers.
        for word in (plain,) if plain.isascii() else _WORD.findall(plain):
            if word:
                yield Word(text=word[:WORD_CHARS_MAX], start=found.start(), end=found.end())


def parts(text: str) -> Iterator[Word]:
    """The words, and after each what it is composed of: `PassengerCount` is also `passenger` and `count`."""
    for word in words(text):
        yield word
        if text[word.start : word.end] == word.text:
            continue  # there is no capital in it
        humps = [word.start, *(word.start + at.start() for at in _HUMP.finditer(text[word.start : word.end])), word.end]
        if len(humps) > 2:
            for start, end in itertools.pairwise(humps):
                yield Word(text=folded(text[start:end])[:WORD_CHARS_MAX], start=start, end=end)


def fact(field: str, value: str | None = None) -> str:
    """The term for a fact: that a field has this value, or without one that it has any.

    Of any text there is a term, of fixed length: a digest. Facts that collide (one in 2^40) are told apart by whoever reads
    the value itself.
    """
    told = field if value is None else f"{field}={value}"
    return _FACT + hashlib.blake2b(told.encode(), digest_size=_FACT_BYTES).hexdigest()


def holds(query: Query, terms: Sequence[str]) -> bool:
    """Whether a value with these terms, which are sorted, is what is asked for."""
    if isinstance(query, Term):
        at = bisect.bisect_left(terms, query.text)
        return at < len(terms) and (terms[at].startswith(query.text) if query.prefix else terms[at] == query.text)
    if isinstance(query, Every):
        return all(holds(each, terms) for each in query.of)
    if isinstance(query, Some):
        return any(holds(each, terms) for each in query.of)
    return holds(query.kept, terms) and not holds(query.unwanted, terms)
