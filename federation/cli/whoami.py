"""`fed whoami`: who the server says you are."""

from __future__ import annotations

from federation.cli.command import verb
from federation.cli.session import Session


@verb(None, "whoami", example="fed whoami", answers="federation.client.values:WhoAmI")
def whoami(session: Session) -> None:
    """Shows who the server says you are, and which server it is."""
    session.output.item(session.client.who_am_i())
