"""`fed server` and `fed agent`: one part of a federation alone, in the foreground, as a deployment runs it."""

from __future__ import annotations

from pathlib import Path

import click

from federation import config
from federation.cli.answers import Done
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


class _Agent(click.Group):
    """`fed agent` runs one; `fed agent join` is what comes before that, once."""

    example = "fed agent --config federation.yaml --site eu-1 --state /var/lib/fed"


@click.group("agent", cls=_Agent, invoke_without_command=True)
@click.option("--config", "file", type=click.Path(path_type=Path), metavar="FILE", help="The federation file.")
@click.option("--site", default="", help="The site whose agent this is.")
@_STATE
@click.pass_context
def agent(ctx: click.Context, *, file: Path | None, site: str, state: Path | None) -> None:
    """Runs a site's agent with its gateway in the foreground until SIGTERM."""
    if ctx.invoked_subcommand is not None:
        return
    if file is None or not site:
        raise click.UsageError("--config FILE and --site SITE say which agent", ctx)
    from federation.bootstrap import agent as wiring  # noqa: PLC0415 - it imports much

    read = config.federation_file(file)
    wiring.run(config.agent(read, site, state or config.state_path(read.federation)))


@verb(agent, "join", answers=Done, example="fed agent join --config federation.yaml --site eu-2 --token-file eu-2.join")
@_CONFIG
@click.option("--site", required=True, help="The site that comes in.")
@click.option("--token-file", type=click.Path(path_type=Path), required=True, help="The file (0600) of its join token.")
@_STATE
def join(session: Session, *, file: Path, site: str, token_file: Path, state: Path | None) -> None:
    """Lets a site in with the join token of `fed site invite`: makes its key, and gets its certificate."""
    from federation.local import joining  # noqa: PLC0415 - it imports much

    read = config.federation_file(file)
    settings = config.agent(read, site, state or config.state_path(read.federation))
    said = joining.join(settings, read.address, config.read_secret(token_file, "join token"))
    session.output.done("joined", f"sites/{site}", said)
