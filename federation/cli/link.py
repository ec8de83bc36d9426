"""`fed link`: what it costs to send bytes from one region to another."""

from __future__ import annotations

from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core.site import Link

link = noun("link", "What it costs to send bytes from one region to another.")


@verb(link, "list", answers=list[Link], example="fed link list")
def list_(session: Session) -> None:
    """Lists ordered pairs of regions with the price of the next GB at this month's volume, and its source."""
    session.output.rows(session.client.list_links())
