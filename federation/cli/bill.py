"""`fed bill`: what a provider bills for moving data, and the ledger beside it."""

from __future__ import annotations

from pathlib import Path

import click

from federation.adapters import registry
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.client import bills
from federation.core import bill as values
from federation.core import errors, units
from federation.shown import shapes, tables

bill = noun("bill", "What a provider bills for moving data, and the ledger beside it.")

_PROVIDER = click.option("--provider", default="aws", show_default=True, help="Whose bill it is.")


@verb(bill, "import", answers=list[values.Bill], example="fed bill import cur-2026-11-*.parquet --provider aws")
@click.argument("files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path))
@_PROVIDER
@click.option("--account", default="", help="Refuse what is not the bill of this payer.")
def import_(session: Session, files: tuple[Path, ...], provider: str, account: str) -> None:
    """Imports one delivery of a bill: all of its FILES together. A later delivery of the same month takes its place.

    Only lines about moving data are sent to the catalog.
    """
    with bills.read(registry.load("bills", provider)(), files) as delivered:
        strange = [each.account for each in delivered if account not in ("", each.account)]
        if strange:
            raise errors.InvalidArgument(
                f"the files hold a bill of payer {strange[0]}, not of {account}",
                reason="BILL_FOREIGN",
                help="Name the files of one payer, or leave --account out.",
            )
        session.output.rows([session.client.import_bill(each) for each in delivered])


@verb(bill, "list", answers=list[values.Bill], example="fed bill list --filter 'month = \"2026-11\"'")
@click.option("--filter", "filter_", metavar="EXPRESSION", default="", help="By provider, account, month.")
def list_(session: Session, filter_: str) -> None:
    """Lists bills as they were last delivered."""
    session.output.rows(session.client.list_bills(filter=filter_))


@verb(bill, "show", answers=values.Bill, example="fed bill show aws-111122223333-2026-11")
@click.argument("name", metavar="BILL")
def show(session: Session, name: str) -> None:
    """Shows one bill: what it is for, how far it goes, and what of it can be split over runs."""
    session.output.item(session.client.get_bill(name))


@verb(bill, "reconcile", answers=values.Reconciliation, example="fed bill reconcile --month 2026-11 --dry-run")
@click.option("--month", required=True, help="Like 2026-11.")
@_PROVIDER
@click.option("--account", default="", help="Only the bill of this payer.")
@click.option(
    "--by",
    type=click.Choice([str(period).lower() for period in values.Period]),
    default="month",
    show_default=True,
    help="For how long a time the bytes of a link are put together before its bill is split by them.",
)
@click.option("--dry-run", is_flag=True, help="Show it and post nothing.")
def reconcile(  # noqa: PLR0917 - click hands over each option by itself
    session: Session, month: str, provider: str, account: str, by: str, dry_run: bool
) -> None:
    """Splits a month's bills over who read, and posts what the ledger charged otherwise as corrections.

    Doing it again posts only what has changed since. What no run explains is told as unallocated and charged to nobody.
    """
    found = session.client.reconcile_bills(
        month, provider, account=account, period=values.Period(by.upper()), validate_only=dry_run
    )
    session.output.item(found, lambda: _show(session, found, dry_run=dry_run), rows=found.links)


def _show(session: Session, found: values.Reconciliation, *, dry_run: bool) -> None:
    session.output.show(tables.table(found.links, shapes.columns(values.LinkReconciliation)))
    session.output.line()
    posted = "would be posted" if dry_run else "posted"
    session.output.line(
        f"{', '.join(found.bills)}: {units.usd(found.billed_micros)} billed for these links,"
        f" {units.usd(found.allocated_micros)} explained by runs, {units.usd(found.unallocated_micros)} unallocated;"
        f" {units.usd(found.correction_micros)} in {found.entries} corrections {posted}"
    )
