"""`fed namespace`: rooms for datasets."""

from __future__ import annotations

import click

from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import dataset as values

namespace = noun("namespace", "Rooms for datasets: create, look at and remove them.")


@verb(namespace, "list", example="fed namespace list -o json")
def list_(session: Session) -> None:
    """Lists namespaces by name."""
    session.output.rows(session.client.list_namespaces())


@verb(namespace, "get", example="fed namespace get sales")
@click.argument("name")
def get(session: Session, name: str) -> None:
    """Shows one namespace."""
    session.output.item(session.client.get_namespace(name))


@verb(namespace, "create", example='fed namespace create sales --description "What we sold"')
@click.argument("name")
@click.option("--description", default="", help="A sentence on what it is for.")
def create(session: Session, name: str, description: str) -> None:
    """Creates a namespace."""
    session.output.outcome(session.client.create_namespace(values.Namespace(name=name, description=description)))


@verb(namespace, "update", example='fed namespace update sales --description "What we sold since 2013"')
@click.argument("name")
@click.option("--description", required=True, help="The new sentence on what it is for.")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def update(session: Session, name: str, description: str, etag: str) -> None:
    """Changes a namespace's description."""
    changed = values.Namespace(name=name, description=description, etag=etag)
    session.output.outcome(session.client.update_namespace(changed, ("description",)))


@verb(namespace, "delete", example="fed namespace delete scratch")
@click.argument("name")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def delete(session: Session, name: str, etag: str) -> None:
    """Deletes a namespace that holds no dataset."""
    session.client.delete_namespace(name, etag=etag)
    session.output.say(f"deleted {name}")
