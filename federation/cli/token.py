"""`fed token`: what people show to be let in."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from federation import config
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import ids, people, units

token = noun("token", "What people show to be let in.")


@verb(token, "create", answers=people.Token, example="fed token create ada --jurisdiction EU --expires-in 30d --file ada.token")
@click.argument("user", default="")
@click.option(
    "--role", type=click.Choice(("USER", "ADMIN", "AUDITOR")), default="USER", show_default=True, help="What they may do."
)
@click.option("--jurisdiction", default="", metavar="EU", help="Where they are; needed to take home data with a residency.")
@click.option("--group", "groups", multiple=True, metavar="GROUP", help="A group that they are in. Repeat it for more.")
@click.option(
    "--scope", "scopes", multiple=True, metavar="NOUN.VERB", help="A permission, or `NOUN.*`; all of the role without any."
)
@click.option("--expires-in", metavar="30d", default="", help="When it ends; if this is not given, when the server says.")
@click.option(
    "--file", "file", type=click.Path(path_type=Path), help="Write the secret to this file (0600), not to the screen."
)
def create(
    session: Session,
    *,
    user: str,
    role: str,
    jurisdiction: str,
    groups: tuple[str, ...],
    scopes: tuple[str, ...],
    expires_in: str,
    file: Path | None,
) -> None:
    """Creates a token: your own, or an administrator's for USER. It has nothing that you lack. The secret is shown once."""
    seconds = units.parse_duration(expires_in) if expires_in else 0
    made = session.client.create_token(
        user, role=role, jurisdiction=jurisdiction, groups=groups, scopes=scopes, expires_in_seconds=seconds
    )
    until = f", until {made.expire_time:%Y-%m-%d %H:%M} UTC" if made.expire_time else ""
    if file is not None:
        config.write_secret(file, made.secret.encode())
        kept = dataclasses.replace(made, secret="")
        session.output.item(
            kept, lambda: session.output.say(f"the token of {made.user} is in {file}{until} (tokens/{made.token})")
        )
        return

    def draw() -> None:
        session.output.line(made.secret)
        session.output.say(f"Keep it: it is shown only now. It is tokens/{made.token}{until}.")

    session.output.item(made, draw)


@verb(token, "list", answers=list[people.Token], example="fed token list -o json")
@click.option("--user", default="", help="Only that person's, for administrators and auditors.")
def list_(session: Session, *, user: str) -> None:
    """Lists your tokens, without their secrets; administrators and auditors see everybody's."""
    session.output.rows(session.client.list_tokens(filter=f'user = "{ids.child(user, "users")}"' if user else ""))


@verb(token, "revoke", answers=people.Token, example="fed token revoke t1f0c9a")
@click.argument("name", metavar="TOKEN")
def revoke(session: Session, *, name: str) -> None:
    """Ends a token at once, and all that were made with it."""
    ended = session.client.revoke_token(name)
    session.output.item(ended)
