"""`fed version`: the immutable states of a dataset."""

from __future__ import annotations

import click

from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core.dataset import Version

version = noun("version", "The immutable states of a dataset.")


@verb(version, "list", answers=list[Version], example="fed version list sales/flights")
@click.argument("dataset", metavar="DATASET")
def list_(session: Session, dataset: str) -> None:
    """Lists the versions of a dataset, oldest first."""
    session.output.rows(session.client.list_versions(dataset))


@verb(version, "show", answers=Version, example="fed version show sales/flights@3")
@click.argument("name", metavar="VERSION")
def show(session: Session, name: str) -> None:
    """Shows one version with its manifest's digest, its signature and its columns."""
    session.output.item(session.client.get_version(name))
