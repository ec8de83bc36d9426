"""`fed events`: what changes in the catalog, as it happens."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from federation.cli.command import verb
from federation.cli.session import Session
from federation.core import errors
from federation.core.watching import TYPES, Change

if TYPE_CHECKING:
    from federation.client import Client

#: How far back the newest events are looked for.
_BACK = 10_000


@verb(None, "events", answers=list[Change], example="fed events --follow --type jobs --type runs")
@click.option("-f", "--follow", is_flag=True, help="Go on as more happens, until you press Ctrl-C.")
@click.option(
    "--filter",
    "filter_",
    default="",
    metavar="EXPRESSION",
    help="For example 'within = \"jobs/j-01k9...\"'.",
)
@click.option(
    "--type", "types", multiple=True, metavar="TYPE", type=click.Choice(TYPES), help=f"Only these: {', '.join(TYPES)}."
)
@click.option("--from", "start", type=click.IntRange(1), metavar="REVISION", help="Begin with this revision.")
@click.option(
    "-n", "--limit", type=click.IntRange(1), default=50, show_default=True, help="Without --from: the newest so many."
)
def events(session: Session, *, follow: bool, filter_: str, types: tuple[str, ...], start: int | None, limit: int) -> None:
    """Shows what has changed in the catalog: the newest events, or those from a revision on; with --follow also what comes.

    Each is shown once and in order, also over restarts of the server. Events that the log no longer holds are refused with the
    revision to begin with.
    """
    wanted = " AND ".join(filter(None, (" OR ".join(f'type = "{name}"' for name in types), filter_)))
    if follow:
        for change in session.client.watch(wanted, start_revision=start or 0, names_only=session.output.for_people):
            session.output.each(change)
        return
    if start is None:
        session.output.rows(deque(newest(session.client, wanted), limit))
    else:
        session.output.rows(session.client.watch(wanted, start_revision=start, until_now=True))


def newest(client: Client, wanted: str, *, names_only: bool = False) -> Iterator[Change]:
    """The events of the last revisions, as far back as the log goes."""
    start = max(1, client.who_am_i().revision - _BACK)
    try:
        yield from client.watch(wanted, start_revision=start, names_only=names_only, until_now=True)
    except errors.OutOfRange as error:
        if error.reason != "REVISION_COMPACTED":
            raise
        oldest = int(error.metadata["compact_revision"]) + 1
        yield from client.watch(wanted, start_revision=oldest, names_only=names_only, until_now=True)
