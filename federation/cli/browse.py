"""`fed browse`: the catalog on the whole screen of a terminal."""

from __future__ import annotations

import asyncio

import click

from federation import secrecy
from federation.cli.command import verb
from federation.cli.session import Session
from federation.core import errors


@verb(None, "browse", example="fed browse\nfed browse sales/flights@3\nfed browse jobs", has_output=False)
@click.argument("name", metavar="[DATASET[@VERSION]]", default="")
def browse(session: Session, name: str) -> None:
    """Shows the catalog on the whole screen: data, replicas on a map, lineage, jobs, pipelines, costs, budgets, policies.

    It begins with all namespaces, or with what is named: sales, sales/flights, sales/flights@3, sites, sites/eu-1, jobs,
    jobs/j-01k9..., pipelines, p-01k9..., transfers, costs, budgets, budgets/ml, policies. Keys stand at the foot of the screen,
    and ? explains all of them. It shows what you may see and changes nothing; what reads data itself says so first.
    """
    try:
        from federation.browse import app, clients, place  # noqa: PLC0415 - an extra, and slow to load
    except ImportError as error:
        raise errors.FailedPrecondition(
            f"browsing needs the package {error.name!r}",
            reason="EXTRA_MISSING",
            help="pip install 'dataset-federation[browse]'",
        ) from None
    from federation.client import connect  # noqa: PLC0415 - gRPC takes a third of a second to import

    start = place.parse(name)
    if not session.output.interactive:
        raise errors.FailedPrecondition(
            "there is no terminal to browse on",
            reason="TERMINAL_MISSING",
            help="Programs read `fed dataset list -o json`, `fed search` and the like.",
        )
    secrecy.keep()  # whoever looks into data is given its keys here
    client = connect.connect_async(session.context)

    async def run() -> None:
        async with client:
            await app.Browser(clients.Clients(loop=client, threads=session.client), start).run_async()

    asyncio.run(run())
