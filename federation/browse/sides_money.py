"""Panes of money: what was spent, by what, and the budgets that bound it."""

from __future__ import annotations

from collections.abc import Iterable

from rich.console import RenderableType

from federation.browse import costs, fitting, gauge, panes
from federation.browse.clients import Clients
from federation.browse.panes import Pane
from federation.browse.place import Kind, Place
from federation.core import budget, errors
from federation.shown import shapes, wording


def both(*filters: str) -> str:
    """The conditions of several filters in one; empty ones say nothing."""
    return " AND ".join(filter(None, filters))


def costs_of(clients: Clients, filter_: str, keys: Iterable[str]) -> list[Pane]:
    """A pane for each key that the ledger is summed by, of all of it or of what the filter leaves."""
    return [_costs_by(clients, filter_, by, f"Costs by {by}" if filter_ else by.capitalize()) for by in keys]


def _costs_by(clients: Clients, filter_: str, by: str, heading: str) -> Pane:
    async def drawn() -> RenderableType:
        sums, total = await clients.loop.summarize_costs(by, filter=filter_)
        return costs.Bars(sums, total, by)

    return panes.TextPane(heading, drawn)


def all_costs(where: Place, clients: Clients) -> list[Pane]:
    """What was spent, by each key, and the budgets."""
    month, *others = costs_of(clients, "", ("month", "link", "namespace", "dataset", "site", "payer"))
    return [month, *all_budgets(where, clients), *others]


#: What a budget's charges change with: they are posted as runs and transfers end, and tell nobody themselves.
_SPENT = 'type = "budgets" OR type = "runs" OR type = "transfers"'


def all_budgets(_: Place, clients: Clients) -> list[Pane]:
    """The budgets."""
    return [
        panes.TablePane(
            "Budgets",
            lambda filter_: clients.loop.list_budgets(filter=filter_),
            (
                *fitting.pick(budget.Budget, "BUDGET"),
                shapes.Column(heading="SPENT OF IT", show=gauge.short),
                *fitting.pick(budget.Budget, "SPENT", "LIMIT", "SCOPE", "STOPS", "IN FLIGHT", "ALERTS", "MONTH", "BY"),
            ),
            opens=lambda row: Place(kind=Kind.BUDGET, name=row.budget),
            empty="There is no budget that you may know of. fed budget create makes one.",
            noun="budgets",
            watched=_SPENT,
            filter_example='scope = "all"',
        )
    ]


def of_budget(where: Place, clients: Clients) -> list[Pane]:
    """A budget: how much of it is spent, and on what."""
    client = clients.loop

    async def spent() -> RenderableType:
        found = await client.get_budget(where.name)
        try:
            told = await client.forecast_costs(filter=budget.ledger_filter(found.scope), today=clients.today())
        except errors.PermissionDenied as error:
            return gauge.Gauge(found, unknown=error.message)
        return gauge.Gauge(found, told)

    async def about() -> RenderableType:
        return panes.pairs(wording.fields(await client.get_budget(where.name)))

    def costs_by(by: str) -> Pane:
        async def drawn() -> RenderableType:
            found = await client.get_budget(where.name)
            told = both(f'month = "{found.month}"' if by != "month" else "", budget.ledger_filter(found.scope))
            sums, total = await client.summarize_costs(by, filter=told)
            return costs.Bars(sums, total, by)

        return panes.TextPane(f"By {by}", drawn)

    return [
        panes.TextPane("Spent", spent, watched=_SPENT),
        *(costs_by(by) for by in ("dataset", "link", "payer", "month")),
        panes.TextPane("About", about, watched=f'name = "budgets/{where.name}"'),
    ]
