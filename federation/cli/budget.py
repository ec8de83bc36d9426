"""`fed budget`: what may be spent on egress in a month, whom to warn when, and when to stop."""

from __future__ import annotations

import click

from federation.cli.answers import Done
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import budget as values
from federation.core import errors, ids, units

budget = noun("budget", "What may be spent on egress in a month, whom to warn when, and when to stop.")


def _percents(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part.strip().removesuffix("%")) for part in text.split(",") if part.strip())
    except ValueError:
        raise errors.InvalidArgument(
            f"{text!r} are no percentages", reason="BUDGET_INVALID", help="Write them like 50,80,100."
        ) from None


@verb(
    budget,
    "create",
    answers=values.Budget,
    example="fed budget create sales --namespace sales --month-usd 500 --alert 50,80,100 --hard",
)
@click.argument("name", metavar="BUDGET")
@click.option("--namespace", default="", help="What is charged to a namespace.")
@click.option("--dataset", default="", help="Reads of a dataset.")
@click.option("--link", default="", metavar="REGION~REGION", help="What leaves one region for another, or for internet.")
@click.option("--all", "everything", is_flag=True, help="Everything.")
@click.option("--month-usd", required=True, help="Dollars for a month.")
@click.option("--alert", default="", help="Percentages at which to warn, like 50,80,100.")
@click.option("--hard", is_flag=True, help="Place nothing whose estimate would exceed it.")
def create(  # noqa: PLR0917 - click hands over each option by itself
    session: Session,
    name: str,
    namespace: str,
    dataset: str,
    link: str,
    everything: bool,
    month_usd: str,
    alert: str,
    hard: bool,
) -> None:
    """Makes a budget for a namespace, a dataset, a link or everything."""
    if sum(map(bool, (namespace, dataset, link, everything))) != 1:
        raise click.UsageError("say one of --namespace, --dataset, --link and --all")
    made = values.Budget(
        budget=name,
        scope=values.scope(namespace=namespace, dataset=dataset, link=link),
        limit_micros=units.micros(month_usd),
        alert_percents=_percents(alert),
        hard=hard,
    )
    session.output.outcome(session.client.create_budget(made))


@verb(budget, "list", answers=list[values.Budget], example="fed budget list")
def list_(session: Session) -> None:
    """Lists budgets with what this month has made of them."""
    session.output.rows(session.client.list_budgets())


@verb(budget, "show", answers=values.Budget, example="fed budget show sales")
@click.argument("name", metavar="BUDGET")
def show(session: Session, name: str) -> None:
    """Shows one budget: what is spent, what is in flight, which warnings were given."""
    session.output.item(session.client.get_budget(name))


@verb(budget, "update", answers=values.Budget, example="fed budget update sales --month-usd 800")
@click.argument("name", metavar="BUDGET")
@click.option("--month-usd", help="Dollars for a month.")
@click.option("--alert", help="Percentages at which to warn.")
@click.option("--hard/--soft", default=None, help="Whether it stops what would exceed it.")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def update(  # noqa: PLR0917 - click hands over each option by itself
    session: Session, name: str, month_usd: str | None, alert: str | None, hard: bool | None, etag: str
) -> None:
    """Changes a budget. What is not named stays."""
    if month_usd is None and alert is None and hard is None:
        raise click.UsageError("say what to change: --month-usd, --alert, --hard or --soft")
    stored = session.client.get_budget(name)
    wanted = values.Budget(
        budget=stored.budget,
        scope=stored.scope,
        limit_micros=stored.limit_micros if month_usd is None else units.micros(month_usd),
        alert_percents=stored.alert_percents if alert is None else _percents(alert),
        hard=stored.hard if hard is None else hard,
        etag=etag or stored.etag,
    )
    session.output.outcome(session.client.update_budget(wanted, ("limit_micros", "alert_percents", "hard")))


@verb(budget, "delete", answers=Done, example="fed budget delete sales")
@click.argument("name", metavar="BUDGET")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def delete(session: Session, name: str, etag: str) -> None:
    """Ends a budget."""
    session.client.delete_budget(name, etag=etag)
    session.output.done("deleted", f"budgets/{ids.child(name, 'budgets')}")
