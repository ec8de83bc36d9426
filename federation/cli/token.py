"""`fed token`: what people show to be let in."""

from __future__ import annotations

from pathlib import Path

import click

from federation import config
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import units

token = noun("token", "What people show to be let in.")


@verb(token, "create", example="fed token create ada --jurisdiction EU --expires-in 30d --file ada.token")
@click.argument("user")
@click.option("--role", type=click.Choice(("USER", "ADMIN")), default="USER", show_default=True, help="What they may do.")
@click.option("--jurisdiction", default="", metavar="EU", help="Where they are; needed to take home data with a residency.")
@click.option("--expires-in", metavar="30d", default="", help="When it ends; never, if this is not given.")
@click.option(
    "--file", "file", type=click.Path(path_type=Path), help="Write the secret to this file (0600), not to the screen."
)
def create(session: Session, *, user: str, role: str, jurisdiction: str, expires_in: str, file: Path | None) -> None:
    """Creates a token for a person. The secret is shown now and never again."""
    seconds = units.parse_duration(expires_in) if expires_in else 0
    made = session.client.create_token(user, role=role, jurisdiction=jurisdiction, expires_in_seconds=seconds)
    if file is not None:
        config.write_secret(file, made.secret.encode())
        session.output.say(f"the token of {made.user} is in {file}")
    elif session.output.json:
        session.output.write_json({"user": made.user, "role": made.role, "secret": made.secret})
    else:
        session.output.line(made.secret)
        session.output.say("Keep it: it is shown only now.")
