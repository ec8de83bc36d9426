"""`fed price`: what sending, computing and storing costs, where each figure is from, and how prices are imported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from federation.adapters import prices
from federation.cli import formats
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import errors, ids, offers, ratecard, units
from federation.shown import wording

price = noun("price", "What sending, computing and storing costs.")

#: A quote with what was asked, and dollars beside micro-dollars for whoever reads it.
_QUOTED = formats.extended(ratecard.Quote, source_region=str, destination_region=str, volume_bytes=int, charge_usd=str)
#: A card with its files as text.
_CARD = formats.extended(ratecard.CardInfo, egress=str, compute=str)
_FILE = click.Path(path_type=Path, dir_okay=False)


def _size(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """A size with its option's name in the error."""
    if value is None:
        return None
    try:
        found = units.parse_size(value)
    except errors.InvalidArgument as error:
        option = param.opts[0]
        raise errors.InvalidArgument(
            f"{option}: {error.message}", reason=error.reason, help=error.help, violations={option: error.message}
        ) from None
    if found > ratecard.COUNT_MAX:
        raise errors.InvalidArgument(
            f"{param.opts[0]}: {value} is more than can be priced",
            reason="SIZE_INVALID",
            help="Check the unit: TiB is 1024 GiB, EiB a million TiB.",
        )
    return found


_offline = (
    click.option("--rate-card", type=_FILE, default=None, help="Read prices from this CSV file; needs no server."),
    click.option("--shipped", is_flag=True, help="Use the prices that are shipped; needs no server."),
)


def _with_offline(function: Any) -> Any:
    for option in reversed(_offline):
        function = option(function)
    return function


@verb(
    price,
    "egress",
    answers=_QUOTED,
    example="fed price egress --from aws:us-east-2 --to internet --size 10TiB --month-to-date 4TiB",
)
@click.option("--from", "source", required=True, metavar="REGION", help="Where the bytes leave, for example aws:us-east-2.")
@click.option("--to", "destination", required=True, metavar="REGION", help="Where they go: a region, or internet.")
@click.option("--size", "volume", required=True, metavar="SIZE", callback=_size, help="How much, for example 10TiB.")
@click.option(
    "--month-to-date",
    metavar="SIZE",
    callback=_size,
    default=None,
    help="What the month has carried before. Without it: what the federation has counted; offline: nothing.",
)
@click.option("--requests", type=click.IntRange(min=0), default=0, help="How many requests it takes, where those cost.")
@click.option("--account", default="", metavar="NAME", help="The billing account whose month it counts in.")
@_with_offline
def egress(session: Session, source: str, destination: str, volume: int, **given: Any) -> None:
    """Prices a volume from one region to another: the tiers it falls into, and the date and source of each figure."""
    quote = _quote(session, source, destination, volume, **given)
    told = formats.extend(
        quote,
        source_region=source,
        destination_region=destination,
        volume_bytes=volume,
        charge_usd=units.usd(quote.charge_micros).replace("$", "").replace(",", ""),
    )
    session.output.item(told, lambda: _show_quote(session, quote, source, destination, volume))


def _show_quote(session: Session, quote: ratecard.Quote, source: str, destination: str, volume: int) -> None:
    before = f"after {units.size(quote.month_to_date_bytes)} this month"
    if quote.reserved_bytes:
        before += f" and {units.size(quote.reserved_bytes)} reserved"
    fees = f", {units.usd(quote.request_micros)} of it for requests" if quote.request_micros else ""
    session.output.line(f"{units.usd(quote.charge_micros)} for {volume:,} bytes from {source} to {destination}, {before}{fees}")
    if quote.tiers:
        session.output.rows(quote.tiers)
    session.output.fields(_origin(quote))


def _quote(
    session: Session,
    source: str,
    destination: str,
    volume: int,
    *,
    month_to_date: int | None,
    requests: int,
    account: str,
    rate_card: Path | None,
    shipped: bool,
) -> ratecard.Quote:
    if rate_card and shipped:
        raise click.UsageError("--rate-card and --shipped name different prices: give one of them")
    if not rate_card and not shipped:
        return session.client.price_egress(
            source, destination, volume, month_to_date_bytes=month_to_date, requests=requests, account=account
        )
    card = prices.load_rate_card(rate_card) if rate_card else prices.default_rate_card()
    return card.quote(source, destination, volume, month_to_date_bytes=month_to_date or 0, requests=requests, account=account)


def _origin(quote: ratecard.Quote) -> list[tuple[str, str]]:
    number = f"number {quote.rate_card}" if quote.rate_card else "not imported"
    return [("rate card", number), ("as of", quote.as_of or "undated"), ("source", quote.price_source), ("scope", quote.scope)]


@verb(price, "import", answers=ratecard.CardInfo, example="fed price import contract.csv --note 'contract of 2026-11'")
@click.argument("file", metavar="[FILE]", type=_FILE, required=False)
@click.option("--compute", type=_FILE, default=None, help="Prices of CPUs, GPUs, memory and storage, as in compute.csv.")
@click.option("--note", default="", help="What this import is, for those who look it up later.")
@click.option("--replace", is_flag=True, help="Forget all rows of a file's kind that it does not bring.")
@click.option("--dry-run", is_flag=True, help="Check the files and show what the card would be; import nothing.")
def import_(  # noqa: PLR0917 - click hands over each option by itself
    session: Session, file: Path | None, compute: Path | None, note: str, replace: bool, dry_run: bool
) -> None:
    """Imports egress prices from a CSV file as a new rate card: rows of a link and date replace those that are there."""
    if file is None and compute is None:
        raise click.UsageError("give a file of egress prices, --compute with a file, or both")
    egress_text, compute_text = (prices.load_text(path) if path else "" for path in (file, compute))
    # Read here first: a wrong line is told without a server, and with the file at hand.
    if file:
        ratecard.parse(egress_text)
    if compute:
        offers.parse(compute_text)
    made = session.client.import_rate_card(
        egress=egress_text, compute=compute_text, note=note, replace=replace, validate_only=dry_run
    )
    session.output.outcome(made)
    if dry_run:
        session.output.say("nothing was imported")


@verb(price, "list", answers=list[ratecard.CardInfo], example="fed price list")
def list_(session: Session) -> None:
    """Lists the rate cards that were imported, newest first: the first one is the one that holds."""
    session.output.rows(session.client.list_rate_cards())


@verb(price, "show", answers=_CARD, example="fed price show - --csv egress > egress.csv")
@click.argument("number", metavar="NUMBER")
@click.option("--csv", "part", type=click.Choice(("egress", "compute")), default=None, help="Write these rows, as CSV.")
def show(session: Session, number: str, part: str | None) -> None:
    """Shows one rate card: by its number, - for the one that holds, 0 for the one from before all imports."""
    card = session.client.get_rate_card(number)
    if part and session.output.for_people:
        session.output.bytes(getattr(card, part))
        return
    told = [(name, value) for name, value in wording.fields(card) if name not in ("egress", "compute")]
    rows = {name: getattr(card, name).decode() for name in ("egress", "compute")}
    session.output.item(formats.extend(card, **rows), lambda: session.output.fields(told))


@verb(price, "offers", answers=list[offers.OfferRow], example="fed price offers --region aws:us-east-1")
@click.option("--region", metavar="REGION", default="", help="Only what holds in this region, after precedence.")
@click.option("--compute", type=_FILE, default=None, help="Read prices from this CSV file; needs no server.")
@click.option("--shipped", is_flag=True, help="Use the prices that are shipped; needs no server.")
def offers_(session: Session, region: str, compute: Path | None, shipped: bool) -> None:
    """Lists what CPUs, GPUs, memory and storage cost by region, with date and source, and the power they draw."""
    if compute and shipped:
        raise click.UsageError("--compute and --shipped name different prices: give one of them")
    if compute or shipped:
        card = prices.load_offer_card(compute) if compute else prices.default_offer_card()
    else:
        card = offers.parse(session.client.get_rate_card().compute.decode())
    session.output.rows(card.rows_for(ids.region(region)) if region else card.rows)
