"""Budgets: what was charged and what is in flight in each scope, whom to warn, and what a decision may still spend.

Charges and reservations are counted for every scope, whether it has a budget or not, so that a budget made in the middle of a
month knows what was spent before it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from datetime import timedelta

from federation import ports
from federation.core import budget, dataset, errors, ids, kinds, metering, policy
from federation.services import masks, scan
from federation.services.context import Context
from federation.services.disclosure import Disclosure

MUTABLE = frozenset({"limit_micros", "alert_percents", "hard"})


# What people ask


def create(tx: ports.Transaction, ctx: Context, principal: policy.Principal, asked: budget.Budget) -> budget.Budget:
    """Makes a budget; AlreadyExists when its name is taken, NotFound for a namespace or dataset that is not there.

    Thresholds that the month has passed already are told at once.
    """
    ids.segment(asked.budget, "budget")
    budget.check(asked)
    _check_scope(tx, asked.scope)
    if tx.get(budget.Budget, asked.budget) is not None:
        raise errors.AlreadyExists(
            f"budget {asked.budget} exists already",
            help="Choose another name, or change the one that is there with `fed budget update`.",
            metadata={"budget": asked.budget},
        )
    stored = tx.insert(
        budget.Budget(
            budget=asked.budget,
            scope=asked.scope,
            limit_micros=asked.limit_micros,
            alert_percents=tuple(sorted(set(asked.alert_percents))),
            hard=asked.hard,
            principal=principal.name,
            uid=ctx.ids.new("u"),
            create_time=tx.now,
            update_time=tx.now,
        )
    )
    tx.emit("budget.created", f"budgets/{stored.budget}", stored)
    return shown(tx, stored)


def _check_scope(tx: ports.Transaction, scope: str) -> None:
    """A mistyped name would be a budget that never warns. A link needs no row: any two regions may come to be."""
    kind, _, rest = scope.partition("/")
    cls: type = {"namespaces": dataset.Namespace, "datasets": dataset.Dataset}.get(kind, type(None))
    if cls is not type(None) and tx.get(cls, rest) is None:
        raise errors.NotFound(
            f"{kind.removesuffix('s')} {rest} does not exist",
            help=f"`fed {kind.removesuffix('s')} list` shows what is there.",
            metadata={"scope": scope},
        )


def get(tx: ports.Transaction, name: str) -> budget.Budget:
    """One budget with what this month has made of it; NotFound when it is not there."""
    return shown(tx, _stored(tx, name))


def visible(tx: ports.Transaction, ctx: Context, principal: policy.Principal, name: str) -> budget.Budget:
    """As `get`; NotFound, in the same words, for a budget on what they may not know of."""
    found = tx.get(budget.Budget, ids.child(name, "budgets"))
    if found is None or not Disclosure(tx, ctx, principal).sees_scope(found.scope):
        raise _absent(name)
    return shown(tx, found)


def every(tx: ports.Transaction) -> tuple[budget.Budget, ...]:
    """All budgets, by name, with what this month has made of them."""
    return tuple(shown(tx, row) for row in scan.every(tx, budget.Budget))


def update(tx: ports.Transaction, changed: budget.Budget, mask: frozenset[str]) -> budget.Budget:
    """Changes what the mask names; Conflict when `changed.etag` is given and stale. What was told stays told."""
    merged = masks.merge(_stored(tx, changed.budget), changed, mask, MUTABLE)
    budget.check(merged)
    percents = tuple(sorted(set(merged.alert_percents)))
    stored = tx.replace(dataclasses.replace(merged, alert_percents=percents, update_time=tx.now), etag=changed.etag)
    tx.emit("budget.updated", f"budgets/{stored.budget}", stored)
    return shown(tx, stored)


def delete(tx: ports.Transaction, name: str, etag: str = "") -> None:
    """Ends a budget. What it has told stays in the log."""
    stored = _stored(tx, name)
    tx.delete(budget.Budget, stored.budget, etag=etag)
    tx.emit("budget.deleted", f"budgets/{stored.budget}", stored)


def _stored(tx: ports.Transaction, name: str) -> budget.Budget:
    found = tx.get(budget.Budget, ids.child(name, "budgets"))
    if found is None:
        raise _absent(name)
    return found


def _absent(name: str) -> errors.NotFound:
    key = ids.child(name, "budgets")
    return errors.NotFound(
        f"budget {key} does not exist", help="`fed budget list` shows what is there.", metadata={"budget": key}
    )


def shown(tx: ports.Transaction, stored: budget.Budget) -> budget.Budget:
    """The budget with what is spent and in flight this month, and the thresholds that were told."""
    month = metering.month(tx.now)
    return dataclasses.replace(
        stored,
        month=month,
        spent_micros=_spent(tx, month, stored.scope),
        reserved_micros=_reserved(tx, stored.scope),
        alerted_percents=_alerted(tx, month, stored.budget),
    )


# What is counted


def charge(tx: ports.Transaction, entry: metering.LedgerEntry) -> None:
    """Counts what an entry charges in all its scopes; corrections, too, in the month of what they correct."""
    if not entry.charge_micros:
        return
    for scope in scopes_of_entry(entry):
        stored = tx.get(budget.Spend, f"{entry.month}/{scope}")
        if stored is None:
            tx.insert(budget.Spend(scope=scope, month=entry.month, charge_micros=entry.charge_micros))
        else:
            tx.replace(dataclasses.replace(stored, charge_micros=stored.charge_micros + entry.charge_micros))


def scopes_of_entry(entry: metering.LedgerEntry) -> tuple[str, ...]:
    """The scopes that an entry is charged in."""
    return budget.scopes(
        payer=entry.payer,
        dataset=f"{entry.namespace}/{entry.dataset}",
        source_region=entry.source_region,
        destination_region=entry.destination_region,
    )


def scopes_of_grant(record: kinds.GrantRecord) -> tuple[str, ...]:
    """The scopes that a grant's read will be charged in."""
    return budget.scopes(
        payer=record.payer,
        dataset=f"{record.namespace}/{record.dataset}",
        source_region=record.source_region,
        destination_region=record.reader_region,
    )


def reserve(tx: ports.Transaction, record: kinds.GrantRecord, sign: int) -> None:
    """Adds what a grant has reserved to its scopes, or takes it off again."""
    if not record.reserved_micros:
        return
    for scope in scopes_of_grant(record):
        stored = tx.get(budget.Reserve, scope) or tx.insert(budget.Reserve(scope=scope))
        reserved_micros = stored.reserved_micros + sign * record.reserved_micros
        if reserved_micros < 0:
            raise AssertionError(f"{record.grant} gives back what {scope} does not hold")
        tx.replace(dataclasses.replace(stored, reserved_micros=reserved_micros))


# What it binds


def caps(tx: ports.Transaction) -> tuple[budget.Cap, ...]:
    """All hard budgets, with what is spent and in flight this month."""
    month = metering.month(tx.now)
    return tuple(
        budget.Cap(
            budget=row.budget,
            scope=row.scope,
            limit_micros=row.limit_micros,
            spent_micros=_spent(tx, month, row.scope),
            reserved_micros=_reserved(tx, row.scope),
        )
        for row in scan.every(tx, budget.Budget, where={"hard": "1"})
    )


def require(tx: ports.Transaction, scopes: Iterable[str], estimate_micros: int) -> None:
    """Refuses (FailedPrecondition, BUDGET_EXHAUSTED) a read that a hard budget has no room for."""
    if estimate_micros <= 0:
        return
    within = frozenset(scopes)
    for cap in caps(tx):
        if cap.scope in within and cap.spent_micros + cap.reserved_micros + estimate_micros > cap.limit_micros:
            raise budget.exhausted(cap, estimate_micros)


def alert(tx: ports.Transaction) -> int:
    """Emits an event for each threshold that was reached, once a month; returns how many.

    Also those of last month for what is still settled or corrected in it.
    """
    return sum(1 for row in scan.every(tx, budget.Budget) for _ in _told(tx, row))


def _told(tx: ports.Transaction, row: budget.Budget) -> Iterator[budget.Alert]:
    for month in _months(tx):
        spent = _spent(tx, month, row.scope)
        if not spent:
            continue
        for percent in budget.crossed(row.limit_micros, row.alert_percents, spent, _alerted(tx, month, row.budget)):
            found = budget.Alert(
                budget=row.budget,
                month=month,
                percent=percent,
                scope=row.scope,
                spent_micros=spent,
                limit_micros=row.limit_micros,
                time=tx.now,
            )
            tx.emit("budget.alert", f"budgets/{row.budget}", tx.insert(found))
            yield found


def _months(tx: ports.Transaction) -> tuple[str, str]:
    return metering.month(tx.now), metering.month(tx.now.replace(day=1) - timedelta(days=1))


def _spent(tx: ports.Transaction, month: str, scope: str) -> int:
    found = tx.get(budget.Spend, f"{month}/{scope}")
    return found.charge_micros if found else 0


def _reserved(tx: ports.Transaction, scope: str) -> int:
    found = tx.get(budget.Reserve, scope)
    return found.reserved_micros if found else 0


def _alerted(tx: ports.Transaction, month: str, name: str) -> tuple[int, ...]:
    return tuple(row.percent for row in scan.every(tx, budget.Alert, parent=f"{month}/{name}"))
