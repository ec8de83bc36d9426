"""`fed help`: what no single command can tell."""

from __future__ import annotations

from federation.cli import exits, output, shapes
from federation.cli.command import noun, verb
from federation.cli.session import Session

help = noun("help", "What no single command can tell.")  # noqa: A001 - the word that people type


@verb(help, "exit-codes", example="fed help exit-codes")
def exit_codes(session: Session) -> None:
    """Lists the exit codes of `fed` and what they mean."""
    columns = (
        shapes.Column(heading="CODE", show=lambda row: str(row.code), number=True),
        shapes.Column(heading="MEANING", show=lambda row: row.meaning),
    )
    if session.output.json:
        session.output.write_json([{"code": row.code, "meaning": row.meaning} for row in exits.TABLE])
    else:
        session.output.show(output.table(exits.TABLE, columns))


@verb(help, "environment", example="fed help environment")
def environment(session: Session) -> None:
    """Lists the environment variables that `fed` reads."""
    known = {
        "FED_CONFIG": "File of contexts instead of ~/.config/fed/config.yaml.",
        "FED_CONTEXT": "Name of the context instead of the current one.",
        "FED_TARGET": "host:port of the server instead of the context's.",
        "FED_TOKEN": "Token instead of the context's token file.",
        "FED_CA": "File of the CA's certificate instead of the context's.",
        "NO_COLOR": "Anything here: no colours.",
    }
    if session.output.json:
        session.output.write_json(known)
    else:
        session.output.fields(known.items())
