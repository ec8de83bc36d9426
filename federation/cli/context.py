"""`fed context`: which federation this person talks to."""

from __future__ import annotations

import click

from federation import config
from federation.cli import shapes
from federation.cli.command import noun, verb
from federation.cli.session import Session

context = noun("context", "Which federation you talk to.")


@verb(context, "list", example="fed context list")
def list_(session: Session) -> None:
    """Lists the federations that this person knows."""
    known = config.contexts()
    if session.output.json:
        rows = [
            {"context": row.context, "target": row.target, "current": row.context == known.current} for row in known.contexts
        ]
        session.output.write_json(rows)
        return
    columns = (
        shapes.Column(heading="", show=lambda row: "*" if row.context == known.current else ""),
        shapes.Column(heading="CONTEXT", show=lambda row: row.context),
        shapes.Column(heading="TARGET", show=lambda row: row.target),
        shapes.Column(heading="TOKEN FILE", show=lambda row: str(row.signed_in or row.token or "-")),
    )
    session.output.rows(known.contexts, columns)


@verb(context, "use", example="fed context use demo")
@click.argument("name")
def use(session: Session, name: str) -> None:
    """Makes a federation the one that commands talk to."""
    config.use_context(name)
    if session.output.json:
        session.output.write_json({"current": name})
    session.output.say(f"commands now talk to {name}")
