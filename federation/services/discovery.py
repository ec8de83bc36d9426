"""Searching for datasets: asked of the index place by place, filtered, and without what the caller may not know of."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from federation import ports
from federation.core import conditions, dataset, discovery, kinds, terms
from federation.core.discovery import Found
from federation.core.policy import Principal
from federation.services import authorization, disclosure
from federation.services.context import Context

#: What an index finds: datasets with their numbers.
Rows = tuple[tuple[int, dataset.Dataset], ...]
#: Datasets that one page looks at, at most, to find those that its caller may see.
LOOKED_AT_MAX = 5000


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched for: words of the text, within a namespace if one is named, that a filter (AIP-160) holds of."""

    text: str = ""
    namespace: str = ""
    filter: str = ""
    deleted: bool = False


def search(
    tx: ports.Transaction, ctx: Context, principal: Principal, asked: Search, *, after: str = "", limit: int
) -> tuple[list[Found], str]:
    """At most `limit` datasets, best matches first, and where to go on, '' at the end.

    Fewer, or none, where so many had to be left out that the look would take long: it goes on all the same. NotFound for a
    namespace that is not there; InvalidArgument for a filter that cannot be read and for too many words.
    """
    if asked.namespace:
        disclosure.require_namespace(tx, ctx, principal, asked.namespace)
    condition = conditions.parse(asked.filter, discovery.FIELDS)
    fits, sees = fitting(tx, condition), authorization.browser(tx, ctx, principal)
    kept: list[dataset.Dataset] = []
    last = after
    places = _matching(tx, asked, _narrowed(asked, condition), after, limit + 1)
    for looked_at, (place, stored) in enumerate(places):
        if looked_at == LOOKED_AT_MAX:
            return _found(tx, kept, asked.text), last
        if fits(stored) and sees(stored):
            if len(kept) == limit:
                return _found(tx, kept, asked.text), last
            kept.append(stored)
        last = place
    return _found(tx, kept, asked.text), ""


def fitting(tx: ports.Transaction, condition: conditions.Condition | None) -> Callable[[dataset.Dataset], bool]:
    """Whether a filter holds of a dataset: an index only knows of which it may."""
    if condition is None:
        return lambda _: True
    wide = conditions.mentions(condition, "columns")
    return lambda stored: conditions.holds(condition, discovery.view(stored, kinds.columns_of(tx.get, stored) if wide else ()))


def _narrowed(asked: Search, condition: conditions.Condition | None) -> terms.Query | None:
    narrowed = [conditions.narrowing(condition)]
    if asked.namespace:
        narrowed.append(terms.Term(terms.fact("namespace", asked.namespace)))
    found = tuple(each for each in narrowed if each is not None)
    return terms.Every(found) if found else None


def _kept(query: terms.Query, asked: Search) -> terms.Query:
    """Without what is deleted, unless that is wanted: few are, and an index is slow to find again what nearly all have."""
    return query if asked.deleted else terms.Without(query, terms.Term(terms.fact("deleted", "true")))


def _matching(
    tx: ports.Transaction, asked: Search, narrowed: terms.Query | None, after: str, batch: int
) -> Iterator[tuple[str, dataset.Dataset]]:
    """Datasets with their places, `QUESTION:NUMBER`, from behind a place on.

    The widest question is asked first: most words are rare, and what few there are, are put in order here, without asking all
    the questions. Both ways give the same places.
    """
    queries = tuple(_kept(query, asked) for query in discovery.queries(asked.text, narrowed))
    first, number = map(int, after.split(":")) if after else (0, 0)
    if len(queries) > 1:
        rows = tx.find(dataset.Dataset, _kept(discovery.widest(asked.text, narrowed), asked), limit=batch)
        authorization.prepare(tx, (stored for _, stored in rows))
        if len(rows) < batch:
            yield from _ranked(tx, rows, queries, first, number)
            return
    for question in range(first, len(queries)):
        before = number if question == first else 0
        while True:
            rows = tx.find(dataset.Dataset, queries[question], before=before, limit=batch)
            authorization.prepare(tx, (stored for _, stored in rows))
            for before, stored in rows:
                yield f"{question}:{before}", stored
            if len(rows) < batch:
                break


def _ranked(
    tx: ports.Transaction, rows: Rows, queries: tuple[terms.Query, ...], first: int, number: int
) -> Iterator[tuple[str, dataset.Dataset]]:
    """All that is found at all, as the questions would find it, from behind the place of a question and a number on."""
    _read_newest(tx, [stored for _, stored in rows])
    ranked = []
    for at, stored in rows:
        question = discovery.rank(queries, discovery.terms_of(stored, kinds.columns_of(tx.get, stored)))
        if question > first or (question == first and (not number or at < number)):
            ranked.append((question, -at, stored))
    for question, at, stored in sorted(ranked, key=lambda row: row[:2]):
        yield f"{question}:{-at}", stored


def _read_newest(tx: ports.Transaction, stored: Sequence[dataset.Dataset]) -> None:
    """Reads at once the newest versions of datasets, whose columns are looked at."""
    newest = tuple(kinds.newest_key(each) for each in stored if each.latest_version)
    if newest:
        tx.list(dataset.Version, keys=newest, limit=len(newest))


def _found(tx: ports.Transaction, kept: list[dataset.Dataset], text: str) -> list[Found]:
    """Each with where the words stand in it."""
    if not text:
        return [Found(dataset=stored) for stored in kept]
    _read_newest(tx, kept)
    return [Found(dataset=stored, matches=discovery.matches(stored, kinds.columns_of(tx.get, stored), text)) for stored in kept]
