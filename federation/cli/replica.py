"""`fed replica`: where versions lie."""

from __future__ import annotations

import click

from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core.dataset import Replica

replica = noun("replica", "Where versions lie.")


@verb(
    replica,
    "list",
    answers=list[Replica],
    example="""fed replica list sales/flights
# All that lies at a site.
fed replica list --filter 'site = "eu-1"'""",
)
@click.argument("name", metavar="[DATASET[@VERSION]]", default="")
@click.option("--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'state = \"SUSPECT\"'.")
def list_(session: Session, name: str, filter_: str) -> None:
    """Lists the replicas of one version, of all versions of a dataset, or of all datasets that you may know of."""
    session.output.rows(session.client.list_replicas(name, filter=filter_))
