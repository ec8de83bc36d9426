"""`fed server` and `fed agent`: one part of a federation alone, in the foreground, as a deployment runs it."""

from __future__ import annotations

from pathlib import Path

import click

from federation import config
from federation.cli.command import verb
from federation.cli.session import Session

_CONFIG = click.option(
    "--config", "file", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The federation file."
)
_STATE = click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state folder.")


@verb(None, "server", example="fed server --config federation.yaml --state /var/lib/fed", has_output=False)
@_CONFIG
@_STATE
def server(session: Session, file: Path, state: Path | None) -> None:
    """Runs the catalog server in the foreground until SIGTERM."""
    del session
    from federation.bootstrap import server as wiring  # noqa: PLC0415 - it imports everything

    read = config.federation_file(file)
    wiring.run(config.server(read, state or config.state_path(read.federation)))


@verb(None, "agent", example="fed agent --config federation.yaml --site eu-1 --state /var/lib/fed", has_output=False)
@_CONFIG
@click.option("--site", required=True, help="The site whose agent this is.")
@_STATE
def agent(session: Session, file: Path, site: str, state: Path | None) -> None:
    """Runs a site's agent with its gateway in the foreground until SIGTERM."""
    del session
    from federation.bootstrap import agent as wiring  # noqa: PLC0415 - it imports much

    read = config.federation_file(file)
    wiring.run(config.agent(read, site, state or config.state_path(read.federation)))
