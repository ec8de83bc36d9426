"""`fed cost`: what left a region, what it cost, and what was saved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import click

from federation.cli import chargebacks, variances
from federation.cli.answers import Written
from federation.cli.command import noun, verb
from federation.cli.formats import Together
from federation.cli.moments import TIMES, moment
from federation.cli.session import Session
from federation.client import focus_file
from federation.core import costpicture, errors, focus, metering, units
from federation.core import forecast as values
from federation.shown import shapes, tables, wording


@dataclass(frozen=True, kw_only=True)
class Sums(Together):
    """What the ledger sums up to: by key, and in all."""

    summaries: tuple[metering.CostSummary, ...]
    total: metering.CostSummary


cost = noun("cost", "What left a region, what it cost, and what was saved.")

_FILTER = click.option("--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'month = \"2026-11\"'.")


_FROM = click.option("--from", "from_", type=TIMES, callback=moment, help="Entered from this time (UTC) on, like 2026-11-01.")
_TO = click.option("--to", type=TIMES, callback=moment, help="Entered before this time (UTC).")


@verb(cost, "list", answers=list[metering.LedgerEntry], example="fed cost list --filter 'namespace = \"sales\"'")
@_FILTER
def list_(session: Session, filter_: str) -> None:
    """Lists ledger entries, newest first: what was read, from where to where, its charge to the micro-dollar."""
    session.output.rows(session.client.list_ledger_entries(filter=filter_))


_BY = click.option(
    "--by",
    type=click.Choice(tuple(metering.SUMMARY_KEYS)),
    default="dataset",
    show_default=True,
    help="What to sum by: payer is the namespace that is charged, namespace the data's.",
)


@verb(cost, "summary", answers=Sums, example="fed cost summary --by link")
@_BY
@_FILTER
def summary(session: Session, by: str, filter_: str) -> None:
    """Sums the ledger by one key, with the total in the last line."""
    _show(session, by, *session.client.summarize_costs(by, filter=filter_))


@verb(cost, "report", answers=Sums, example="fed cost report --by link --from 2026-11-01 --to 2026-12-01 --plot november.svg")
@_BY
@_FROM
@_TO
@_FILTER
@click.option("--plot", type=click.Path(dir_okay=False, path_type=Path), help="Also draw it, as an SVG file.")
def report(  # noqa: PLR0917 - click hands over each option by itself
    session: Session, by: str, from_: datetime | None, to: datetime | None, filter_: str, plot: Path | None
) -> None:
    """Sums what was entered in a time: charges, corrections, bytes that stayed and left, and what locality saved."""
    sums, total = session.client.summarize_costs(by, filter=filter_, from_time=from_, to_time=to)
    if plot is not None:
        plot.write_text(costpicture.svg(sums, total, by), encoding="utf-8")
        session.output.say(f"drawn to {plot}")
    _show(session, by, sums, total, saved=True)


@verb(cost, "chargeback", answers=Sums | Written, example="fed cost chargeback --month 2026-11 --file chargeback.csv")
@click.option("--month", required=True, help="Like 2026-11.")
@click.option(
    "--file",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write it to a file that ends in .csv, .parquet or .json, instead of showing it.",
)
def chargeback(session: Session, month: str, file: Path | None) -> None:
    """Says what each namespace and each person in it owes for a month: the ledger's sum, to the micro-dollar."""
    sums, total = session.client.summarize_costs("payer,principal", filter=f'month = "{month}"')
    if file is not None:
        rows = chargebacks.write(sums, month, file)
        session.output.written(file, rows, f"{rows} rows, {units.usd(total.charge_micros)} in all, written to {file}")
        return
    _show(session, "namespace, principal", sums, total)


@verb(cost, "forecast", answers=values.Forecast, example="fed cost forecast --filter 'payer = \"sales\"'")
@_FILTER
def forecast(session: Session, filter_: str) -> None:
    """Tells what this month will have cost when it is over, by which method, and how sure that is."""
    found = session.client.forecast_costs(filter=filter_)
    session.output.item(found, lambda: session.output.fields(wording.foretold(found)))


@verb(
    cost,
    "export",
    answers=Written,
    example="fed cost export --focus 1.4 --month 2026-11 --format parquet november.parquet",
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--focus", "version", type=click.Choice(focus.VERSIONS), default="1.4", show_default=True, help="Version of FOCUS."
)
@click.option(
    "--format", "kind", type=click.Choice(focus_file.FORMATS), default="parquet", show_default=True, help="Kind of file."
)
@_FROM
@_TO
@click.option("--month", default="", help="What counts in a billing month, like 2026-11, whenever it was entered.")
@_FILTER
@click.option("--billing-account", default=focus.Terms.billing_account, show_default=True, help="Account of what names none.")
def export(  # noqa: PLR0917 - click hands over each option by itself
    session: Session,
    file: Path,
    version: str,
    kind: str,
    from_: datetime | None,
    to: datetime | None,
    month: str,
    filter_: str,
    billing_account: str,
) -> None:
    """Writes the ledger as FOCUS, the format of cost and usage data that finance tools read. Memory does not grow with it."""
    both = " AND ".join(part for part in (filter_, f'month = "{month}"' if month else "") if part)
    terms = focus.Terms(billing_account=billing_account)
    rows = session.client.export_focus(file, version, kind, filter=both, from_time=from_, to_time=to, terms=terms)
    session.output.written(file, rows, f"{rows:,} rows of FOCUS {version} written to {file}")


def _show(
    session: Session,
    by: str,
    sums: Sequence[metering.CostSummary],
    total: metering.CostSummary,
    *,
    saved: bool = False,
) -> None:
    first = shapes.Column(heading=by.upper(), show=lambda value: "total" if value is total else value.key or "(none)")

    def draw() -> None:
        session.output.show(tables.table([*sums, total], (first, *shapes.columns(metering.CostSummary)[1:])))
        if saved:
            session.output.line()
            session.output.line(_saved(total))

    session.output.item(Sums(summaries=tuple(sums), total=total), draw, rows=sums)


@verb(cost, "usage", answers=list[metering.UsageRecord], example="fed cost usage --filter 'job = \"j-01k9...\"'")
@_FILTER
def usage(session: Session, filter_: str) -> None:
    """Lists what was counted by the hour: by the gateway that sent it (which is charged) and by the job that received it."""
    session.output.rows(session.client.list_usage(filter=filter_))


@verb(cost, "check", answers=list[metering.Agreement], example="fed cost check --filter 'job = \"j-01k9...\"'")
@_FILTER
def check(session: Session, filter_: str) -> None:
    """Holds what gateways sent against what jobs received, by run, pair of regions and hour; fails where they differ.

    Compared is what went and came whole. What ended early is apart: some of it left and never arrived. An answer that the job
    broke off may have left whole before the gateway heard of it, so that much more may have been sent than received.
    """
    found = metering.agreements(session.client.list_usage(filter=filter_))
    session.output.rows(row for row in found if row.heard)
    if differing := [row for row in found if row.heard and not row.agrees]:
        raise errors.DataCorrupt(
            f"{len(differing)} of {len(found)} sums differ, the first for {differing[0].run}: "
            f"{differing[0].sent_bytes} bytes were sent and {differing[0].received_bytes} received, "
            f"{differing[0].broken_off_bytes} more asked for and broken off",
            reason="METERS_DISAGREE",
            help="A process that was killed could not report its last reads; otherwise look into the gateway's log.",
        )


def _saved(total: metering.CostSummary) -> str:
    """What locality saved, against what bringing everything to the cheapest compute would have cost."""
    share = f"{100 * total.local_bytes / total.bytes:.1f} % of {units.size(total.bytes)}" if total.bytes else "nothing"
    saved, charged = units.usd(total.avoided_micros), units.usd(total.charge_micros)
    return f"{share} was read where it lay; locality saved {saved} beside {charged} charged"


@verb(cost, "variance", answers=variances.Sums, example="fed cost variance --by label --filter 'month = \"2026-11\"'")
@click.option(
    "--by",
    type=click.Choice(("input", "job", "label", "link")),
    default="label",
    show_default=True,
    help="What to sum by.",
)
@click.option(
    "--filter",
    "filter_",
    metavar="EXPRESSION",
    default="",
    help="For example 'label = \"train\"'; also job, namespace, month, dataset, source_region, destination_region.",
)
def variance(session: Session, by: str, filter_: str) -> None:
    """Compares the estimates of runs that succeeded with what was metered: bytes, money, time, and how far off they were.

    OFF BY is the mean of what each read or run was off by: sums can be right where each of their parts is wrong.
    """
    variances.show(session.output, by, *session.client.summarize_variances(by, filter=filter_))
