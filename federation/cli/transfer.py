"""`fed transfer`: replicas on their way from site to site."""

from __future__ import annotations

from typing import Any

import click

from federation.cli import exits
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import ids, units
from federation.core.transfer import Transfer, TransferState

transfer = noun("transfer", "Replicas on their way from site to site.")

_TIMEOUT = click.option("--timeout", default="", metavar="30m", help="Wait no longer than this.")


@verb(transfer, "start", answers=Transfer, example="fed transfer start sales/flights@3 --to us-1 --keep 7d --rate 50MB")
@click.argument("version", metavar="DATASET[@VERSION]")
@click.option("--to", "destination", required=True, metavar="SITE", help="The site that is to hold it.")
@click.option("--from", "source", default="", metavar="SITE", help="Fetch it from this site; from the cheapest otherwise.")
@click.option("--keep", default="", metavar="7d", help="Drop it once it was not read for so long; kept for good otherwise.")
@click.option("--rate", default="", metavar="50MB", help="Send at most so much a second.")
@click.option("--priority", type=int, default=0, show_default=True, help="Higher goes first.")
@click.option("--dry-run", is_flag=True, help="Only say where it would come from and at what price.")
@click.option("--wait/--no-wait", default=False, show_default=True, help="Wait until it has ended.")
def start(
    session: Session,
    *,
    version: str,
    destination: str,
    source: str,
    keep: str,
    rate: str,
    priority: int,
    dry_run: bool,
    wait: bool,
) -> int:
    """Brings a version, or a dataset's newest, to a site, encrypted on the way and verified there.

    The destination's agent fetches it. One that is on its way there already is shared, and one that is there is kept as long as
    you say. Exits with 6 where residency or an unknown price forbids it.
    """
    made = session.client.create_transfer(
        version,
        destination,
        source_site=source,
        keep_seconds=units.parse_duration(keep) if keep else 0,
        priority=priority,
        bytes_per_second_max=units.parse_size(rate) if rate else 0,
        validate_only=dry_run,
    )
    if wait and not dry_run:
        return _watch(session, made, None)
    session.output.outcome(made)
    return exits.OK


@verb(transfer, "list", answers=list[Transfer], example="fed transfer list --filter 'live = \"1\"'")
@click.option(
    "--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'live = \"1\"' or 'destination_site = \"eu-1\"'."
)
@click.option("-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Show at most so many.")
def list_(session: Session, *, filter_: str, limit: int) -> None:
    """Lists transfers, newest first."""
    found = session.client.list_transfers(filter=filter_)
    session.output.rows(row for row, _ in zip(found, range(limit), strict=False))


@verb(transfer, "show", answers=Transfer, example="fed transfer show t-01k9... -o json")
@click.argument("name", metavar="TRANSFER")
def show(session: Session, *, name: str) -> None:
    """Shows a transfer: who wants it, from where, how far it is, and what it was expected to cost."""
    session.output.item(session.client.get_transfer(_name(name)))


@verb(transfer, "watch", answers=list[Transfer], example="fed transfer watch t-01k9...")
@click.argument("name", metavar="TRANSFER")
@_TIMEOUT
def watch(session: Session, *, name: str, timeout: str) -> int:
    """Shows how far a transfer is until it has ended: a bar on a terminal, lines elsewhere, with -o json a line of JSON each.

    Exits with 8 when it failed or was cancelled, with 7 when that took too long.
    """
    return _watch(session, session.client.get_transfer(_name(name)), units.parse_duration(timeout) if timeout else None)


@verb(transfer, "cancel", answers=Transfer, example="fed transfer cancel t-01k9...")
@click.argument("name", metavar="TRANSFER")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def cancel(session: Session, *, name: str, etag: str) -> None:
    """Gives a transfer up. Jobs that wait for it are planned again, without copies."""
    session.output.outcome(session.client.cancel_transfer(_name(name), etag=etag))


def _watch(session: Session, begun: Transfer, timeout_seconds: float | None) -> int:
    out = session.output
    what = f"{begun.dataset}@{begun.version} to {begun.destination_site}"
    if not out.for_people:
        ended = session.client.wait_transfer(begun.transfer, timeout_seconds, progress=out.each)
        return _code(ended)
    if out.bars:
        with out.transfer(what, begun.object_bytes) as moved:
            ended = session.client.wait_transfer(begun.transfer, timeout_seconds, progress=_teller(moved))
    else:
        with out.waiting(what) as tell:
            ended = session.client.wait_transfer(
                begun.transfer, timeout_seconds, progress=lambda now: tell(f"{what} {now.state} {_far(now)}")
            )
    out.outcome(ended)
    return _code(ended)


def _far(now: Transfer) -> str:
    return f"{units.size(now.bytes_done)} of {units.size(now.object_bytes)}"


def _teller(moved: Any) -> Any:
    """Turns how far a transfer is into how much further it is than before."""
    shown = 0

    def tell(now: Transfer) -> None:
        nonlocal shown
        moved(now.bytes_done - shown)
        shown = now.bytes_done

    return tell


def _code(ended: Transfer) -> int:
    return exits.OK if ended.state is TransferState.SUCCEEDED else exits.JOB_FAILED


def _name(text: str) -> str:
    return ids.child(text, "transfers")
