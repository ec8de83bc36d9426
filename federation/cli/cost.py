"""`fed cost`: what left a region, what it cost, and what was saved."""

from __future__ import annotations

import click

from federation.cli import output, shapes, variances
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import errors, metering

cost = noun("cost", "What left a region, what it cost, and what was saved.")

_FILTER = click.option("--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'month = \"2026-11\"'.")


@verb(cost, "list", example="fed cost list --filter 'namespace = \"sales\"'")
@_FILTER
def list_(session: Session, filter_: str) -> None:
    """Lists ledger entries, newest first: what was read, from where to where, its charge to the micro-dollar."""
    session.output.rows(session.client.list_ledger_entries(filter=filter_))


@verb(cost, "summary", example="fed cost summary --by link")
@click.option(
    "--by",
    type=click.Choice(("job", "dataset", "link", "month", "namespace")),
    default="dataset",
    show_default=True,
    help="What to sum by.",
)
@_FILTER
def summary(session: Session, by: str, filter_: str) -> None:
    """Sums the ledger by one key, with the total in the last line."""
    sums, total = session.client.summarize_costs(by, filter=filter_)
    if session.output.json:
        session.output.write_json({"summaries": [shapes.plain(row) for row in sums], "total": shapes.plain(total)})
        return
    first = shapes.Column(heading=by.upper(), show=lambda value: value.key or "total")
    session.output.show(output.table([*sums, total], (first, *shapes.columns(metering.CostSummary)[1:])))


@verb(cost, "usage", example="fed cost usage --filter 'job = \"j-01k9...\"'")
@_FILTER
def usage(session: Session, filter_: str) -> None:
    """Lists what was counted by the hour: by the gateway that sent it (which is charged) and by the job that received it."""
    session.output.rows(session.client.list_usage(filter=filter_))


@verb(cost, "check", example="fed cost check --filter 'job = \"j-01k9...\"'")
@_FILTER
def check(session: Session, filter_: str) -> None:
    """Holds what gateways sent against what jobs received, by run, pair of regions and hour; fails where they differ.

    Compared is what went and came whole. What ended early is apart: some of it left and never arrived.
    """
    found = metering.agreements(session.client.list_usage(filter=filter_))
    session.output.rows(row for row in found if row.heard)
    if differing := [row for row in found if row.heard and not row.agrees]:
        raise errors.DataCorrupt(
            f"{len(differing)} of {len(found)} sums differ, the first for {differing[0].run}: "
            f"{differing[0].sent_bytes} bytes were sent and {differing[0].received_bytes} received",
            reason="METERS_DISAGREE",
            help="A process that was killed could not report its last reads; otherwise look into the gateway's log.",
        )


@verb(cost, "variance", example="fed cost variance --by label --filter 'month = \"2026-11\"'")
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
