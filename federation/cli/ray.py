"""`fed ray`: Ray's Jobs API over the federation."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from federation import config
from federation.cli.command import verb
from federation.cli.session import Session


@verb(None, "ray", example="fed ray --listen 127.0.0.1:8265", has_output=False)
@click.option("--listen", default="127.0.0.1:8265", show_default=True, metavar="HOST:PORT", help="Serve Ray's Jobs API there.")
@click.option("--cert", type=click.Path(path_type=Path), help="PEM certificate; needed beyond loopback.")
@click.option("--key", type=click.Path(path_type=Path), help="Its private key.")
def ray(session: Session, listen: str, cert: Path | None, key: Path | None) -> None:
    """Serves Ray's Jobs API, so that `ray job submit` reaches the federation and the job runs beside its data.

    Each request bears its caller's own token: RAY_AUTH_MODE=token and RAY_AUTH_TOKEN=fed_... for Ray's command line. Inputs and
    outputs stand in the metadata: `--metadata-json '{"fed.inputs": "flights=sales/flights"}'`.
    """
    from federation.rayjobs import server  # noqa: PLC0415 - an HTTP server is slow to load
    from federation.wire import listening  # noqa: PLC0415

    settings = config.client(session.context)
    at = listening.parse(listen, cert, key)
    asyncio.run(server.serve(settings.target, settings.ca, at))
