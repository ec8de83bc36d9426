"""Why datasets are bound: who declared a residency, from which inputs it was inherited, what was released. Kept as it happens.

A dataset itself says what binds it now. These facts are written in the transaction that changes it.
"""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import dataset, ids, policy
from federation.core.lineage import Binding, Cause, ResidencyFact
from federation.services import scan


@dataclasses.dataclass(frozen=True, kw_only=True)
class Origin:
    """Why a dataset gets another residency: by whom, and from which inputs, () where somebody simply declares it."""

    by: str
    inputs: tuple[Binding, ...] = ()


def facts(tx: ports.Transaction, name: ids.DatasetName) -> tuple[ResidencyFact, ...]:
    """Every change of what binds a dataset, oldest first."""
    return tuple(scan.every(tx, ResidencyFact, parent=name.short))


def note_changed(tx: ports.Transaction, stored: dataset.Dataset, origin: Origin | None) -> None:
    """Keeps that a dataset's residency has changed: it was inherited, or declared by the transaction's actor."""
    inputs = origin.inputs if origin else ()
    by = origin.by if origin else tx.actor
    _keep(tx, stored, cause=Cause.INHERITED if inputs else Cause.DECLARED, by=by, inputs=inputs)


def note_inherited(tx: ports.Transaction, stored: dataset.Dataset, origin: Origin) -> None:
    """Keeps that a dataset inherits from further inputs, where that does not change its residency."""
    known = {binding for fact in facts(tx, stored.name) for binding in fact.inputs if fact.cause is Cause.INHERITED}
    if not known.issuperset(origin.inputs):
        _keep(tx, stored, cause=Cause.INHERITED, by=origin.by, inputs=origin.inputs)


def note_released(tx: ports.Transaction, stored: dataset.Dataset, told: dataset.Release, inputs: tuple[Binding, ...]) -> None:
    """Keeps that a version was let out of what binds its inputs."""
    _keep(
        tx,
        stored,
        cause=Cause.RELEASED,
        by=told.run,
        inputs=inputs,
        version=told.version,
        bytes=told.bytes,
        bytes_max=told.bytes_max,
    )


def inherited(tx: ports.Transaction, name: ids.DatasetName) -> dataset.Inherited:
    """What a dataset has inherited, and from which."""
    found = tx.get(dataset.Inherited, name.short)
    return found or dataset.Inherited(dataset=name.short, restrictions=dataset.NO_RESTRICTIONS)


def inherit(tx: ports.Transaction, name: ids.DatasetName, restrictions: dataset.Restrictions, sources: tuple[str, ...]) -> None:
    """Keeps that a dataset is made of others: their restrictions are added to what it inherited before."""
    known = inherited(tx, name)
    both = (known.restrictions, restrictions)
    residency = policy.binding((name.short, row.residency) for row in both)
    changed = dataclasses.replace(
        known,
        restrictions=dataclasses.replace(dataset.strictest(both), residency=residency),
        sources=tuple(sorted({*known.sources, *sources})),
    )
    put_inherited(tx, changed, known)


def put_inherited(tx: ports.Transaction, changed: dataset.Inherited, known: dataset.Inherited) -> None:
    """Stores what a dataset inherits from now on; an event tells of it where that has changed."""
    if changed == known:
        return
    stored = tx.replace(changed) if known.etag else tx.insert(changed)
    tx.emit("labels.inherited", ids.dataset(stored.dataset).resource, stored)


def _keep(tx: ports.Transaction, stored: dataset.Dataset, *, cause: Cause, by: str, **told: object) -> None:
    name = stored.name
    last = tx.list(ResidencyFact, parent=name.short, limit=1, newest_first=True)
    fact = ResidencyFact(
        dataset=name.short,
        number=last[0].number + 1 if last else 1,
        cause=cause,
        residency=stored.residency,
        by=by,
        time=tx.now,
        **told,  # type: ignore[arg-type]
    )
    tx.emit(f"residency.{cause.lower()}", name.resource, tx.insert(fact))
