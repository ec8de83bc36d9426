"""`fed replica`: where versions lie."""

from __future__ import annotations

import click

from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core.dataset import Replica

replica = noun("replica", "Where versions lie.")


@verb(replica, "list", answers=list[Replica], example="fed replica list sales/flights")
@click.argument("name", metavar="DATASET[@VERSION]")
def list_(session: Session, name: str) -> None:
    """Lists the replicas of one version, or of all versions of a dataset."""
    session.output.rows(session.client.list_replicas(name))
