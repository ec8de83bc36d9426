"""Data cards of datasets that jobs made: what they were made of, and which facts they inherit from there."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable

from federation import ports
from federation.core import card, dataset, ids, job, kinds
from federation.core.policy import Principal
from federation.services import authorization, bindings
from federation.services.context import Context


def note_made(tx: ports.Transaction, request: job.JobRequest, versions: Iterable[tuple[str, dataset.Version]]) -> None:
    """Keeps that a run has made these versions of its inputs. In the transaction that commits them."""
    inputs = {ids.dataset(spec.dataset).short for spec in request.inputs}
    for _, version in versions:
        known = bindings.inherited(tx, version.name.dataset)
        made_of = tuple(sorted({*known.made_of, *inputs} - {version.name.dataset.short}))
        bindings.put_inherited(tx, dataclasses.replace(known, made_of=made_of), known)


def explain(tx: ports.Transaction, ctx: Context, principal: Principal, name: ids.DatasetName) -> card.Explained:
    """A dataset's card with what it inherits, as far as the caller may know of where that is from."""
    stored = authorization.visible(tx, ctx, principal, name)
    sees = authorization.browser(tx, ctx, principal)
    look = _looking(tx, sees)
    sources = bindings.inherited(tx, name).made_of
    seen = tuple(each for each in sources if look(each) is not None)
    return card.Explained(
        dataset=name.short,
        card=stored.card,
        made_of=seen,
        facts=card.inherited(name.short, look, kinds.columns_of(tx.get, stored)),
        unseen=len(sources) - len(seen),
    )


def sensitive(tx: ports.Transaction, stored: dataset.Dataset) -> frozenset[str]:
    """Columns of a dataset that are sensitive, by its own card or by those of what it was made of, seen or not."""
    facts = card.inherited(stored.name.short, _looking(tx, lambda _: True), kinds.columns_of(tx.get, stored))
    found = {column for fact in facts if fact.field == "sensitive_columns" for column in fact.values}
    return frozenset(found | set(stored.card.sensitive_columns))


def _looking(tx: ports.Transaction, sees: Callable[[dataset.Dataset], bool]) -> Callable[[str], card.Known | None]:
    def look(name: str) -> card.Known | None:
        stored = tx.get(dataset.Dataset, name)
        if stored is None or not sees(stored):
            return None
        return card.Known(card=stored.card, made_of=bindings.inherited(tx, stored.name).made_of)

    return look
