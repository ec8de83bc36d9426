"""`fed mcp`: the federation for agents of people (GenAI), over the Model Context Protocol."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from federation import config, secrecy
from federation.cli.command import verb
from federation.cli.session import Session
from federation.core import errors
from federation.wire import listening


@verb(None, "mcp", example="fed mcp\nfed mcp --listen 127.0.0.1:7420 --may-submit", has_output=False)
@click.option("--listen", default="", metavar="HOST:PORT", help="Serve HTTP at /mcp there, each request by its own token.")
@click.option("--cert", type=click.Path(path_type=Path), help="PEM certificate for HTTP; needed beyond loopback.")
@click.option("--key", type=click.Path(path_type=Path), help="Its private key.")
@click.option("--may-submit", is_flag=True, help="Offer submit_job, which asks the person each time.")
def mcp(session: Session, listen: str, cert: Path | None, key: Path | None, may_submit: bool) -> None:
    """Serves the catalog's tools to an agent: on stdin and stdout as you, or by HTTP as each caller.

    An agent finds datasets, asks where a job would run and what it would cost, and reads costs and lineage. It can do what you
    may do, and nothing more; policy and audit are the catalog's.
    """
    from federation.client import connect  # noqa: PLC0415 - gRPC takes a third of a second to import

    try:
        from federation.mcp import server  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise errors.FailedPrecondition(
            f"MCP needs the package {error.name!r}", reason="EXTRA_MISSING", help="pip install 'dataset-federation[mcp]'"
        ) from None
    secrecy.keep()  # whoever previews is given data keys here
    settings = config.client(session.context)
    callers = server.Callers(settings.target, settings.ca, "" if listen else connect.bearer(settings))
    made = server.make(callers, may_submit=may_submit)
    if not listen:
        asyncio.run(made.run_stdio_async())
        return
    asyncio.run(server.serve_http(made, listening.parse(listen, cert, key)))
