"""`fed site`: the places that hold replicas and run jobs."""

from __future__ import annotations

import click

from federation.cli.command import noun, verb
from federation.cli.session import Session

site = noun("site", "The places that hold replicas and run jobs.")


@verb(site, "list", example="fed site list")
def list_(session: Session) -> None:
    """Lists sites with their state, what they have and what they cost."""
    session.output.rows(session.client.list_sites())


@verb(site, "show", example="fed site show eu-1 -o json")
@click.argument("name", metavar="SITE")
def show(session: Session, name: str) -> None:
    """Shows one site with its offers and the sources of their prices."""
    session.output.item(session.client.get_site(name))
