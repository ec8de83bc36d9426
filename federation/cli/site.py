"""`fed site`: the places that hold replicas and run jobs."""

from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import click

from federation import config
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import errors, units
from federation.core import site as values

site = noun("site", "The places that hold replicas and run jobs.")


@verb(site, "list", answers=list[values.Site], example="fed site list")
def list_(session: Session) -> None:
    """Lists sites with their state, what they have and what they cost."""
    session.output.rows(session.client.list_sites())


@verb(
    site,
    "invite",
    answers="federation.client.values:Invitation",
    example="fed site invite eu-2 --host gateway.eu-2.example --file eu-2.join",
)
@click.argument("name", metavar="SITE")
@click.option("--region", metavar="PROVIDER:PLACE", default="", help="Declares the site as well, if it is not declared yet.")
@click.option("--jurisdiction", metavar="EU", default="", help="With --region: whose law it stands under.")
@click.option("--host", "hosts", multiple=True, metavar="HOST", help="A name or address of its gateway, for its certificate.")
@click.option("--expires-in", metavar="1h", default="", help="When the join token ends: within an hour, a day at most.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Write it to this file (0600), not to the screen.")
def invite(
    session: Session, *, name: str, region: str, jurisdiction: str, hosts: tuple[str, ...], expires_in: str, file: Path | None
) -> None:
    """Makes a join token, with which the site comes in once (`fed agent join`). It is shown once."""
    if region:
        with contextlib.suppress(errors.AlreadyExists):
            session.client.create_site(values.Site(site=name, region=region, jurisdiction=jurisdiction))
    seconds = units.parse_duration(expires_in) if expires_in else 0
    made = session.client.invite_site(name, hosts=hosts, expires_in_seconds=seconds)
    until = f"until {made.expire_time:%Y-%m-%d %H:%M} UTC"
    if file is not None:
        config.write_secret(file, made.secret.encode())
        kept = dataclasses.replace(made, secret="")
        session.output.item(kept, lambda: session.output.say(f"the join token of {name} is in {file}, {until}"))
        return

    def draw() -> None:
        session.output.line(made.secret)
        session.output.say(f"Keep it: it is shown only now, and good once, {until}.")

    session.output.item(made, draw)


@verb(site, "admit", answers=values.Site, example='fed site admit eu-2 --grade B --reason "audit of 2026-11"')
@click.argument("name", metavar="SITE")
@click.option(
    "--grade", type=click.Choice(("A", "B", "C")), required=True, help="The best it may have; A lets its tests decide."
)
@click.option("--reason", default="", help="Why it is held down.")
def admit(session: Session, *, name: str, grade: str, reason: str) -> None:
    """Holds a site's grade down, whatever its admission tests find. It never lifts what they found."""
    session.output.item(session.client.admit_site(name, grade, reason))


@verb(site, "show", answers=values.Site, example="fed site show eu-1 -o json")
@click.argument("name", metavar="SITE")
def show(session: Session, name: str) -> None:
    """Shows one site with its offers and the sources of their prices."""
    session.output.item(session.client.get_site(name))
