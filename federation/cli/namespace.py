"""`fed namespace`: rooms for datasets."""

from __future__ import annotations

import click

from federation.cli.answers import Done
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import dataset as values
from federation.core import units
from federation.core.quota import NamespaceUsage

namespace = noun("namespace", "Rooms for datasets: create, look at and remove them.")


@verb(namespace, "list", answers=list[values.Namespace], example="fed namespace list -o json")
def list_(session: Session) -> None:
    """Lists namespaces by name."""
    session.output.rows(session.client.list_namespaces())


@verb(namespace, "show", answers=values.Namespace, example="fed namespace show sales")
@click.argument("name", metavar="NAMESPACE")
def show(session: Session, name: str) -> None:
    """Shows one namespace."""
    session.output.item(session.client.get_namespace(name))


@verb(namespace, "create", answers=values.Namespace, example='fed namespace create sales --description "What we sold"')
@click.argument("name", metavar="NAMESPACE")
@click.option("--description", default="", help="A sentence on what it is for.")
def create(session: Session, name: str, description: str) -> None:
    """Creates a namespace."""
    session.output.outcome(session.client.create_namespace(values.Namespace(name=name, description=description)))


@verb(
    namespace, "update", answers=values.Namespace, example='fed namespace update sales --description "What we sold since 2013"'
)
@click.argument("name", metavar="NAMESPACE")
@click.option("--description", required=True, help="The new sentence on what it is for.")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def update(session: Session, name: str, description: str, etag: str) -> None:
    """Changes a namespace's description."""
    changed = values.Namespace(name=name, description=description, etag=etag)
    session.output.outcome(session.client.update_namespace(changed, ("description",)))


@verb(
    namespace,
    "quota",
    answers=values.Namespace,
    example="fed namespace quota research --weight 2 --gpu-hours 500 --egress-usd 200",
)
@click.argument("name", metavar="NAMESPACE")
@click.option("--weight", type=int, help="Its share of saturated sites, relative to other namespaces'.")
@click.option("--gpu-hours", type=float, help="Hours of one GPU that its jobs may take in a month; 0 for no limit.")
@click.option("--egress-usd", help="Dollars of egress that its jobs may cause in a month; 0 for no limit.")
def quota(session: Session, name: str, weight: int | None, gpu_hours: float | None, egress_usd: str | None) -> None:
    """Sets what a namespace's jobs may take of what all share. What is not named stays."""
    stored = session.client.get_namespace(name)
    changed = session.client.set_quota(
        name,
        weight=stored.weight if weight is None else weight,
        gpu_seconds_quota=stored.gpu_seconds_quota if gpu_hours is None else round(gpu_hours * 3600),
        egress_micros_quota=stored.egress_micros_quota if egress_usd is None else units.micros(egress_usd),
        etag=stored.etag,
    )
    session.output.outcome(changed)


@verb(namespace, "usage", answers=list[NamespaceUsage], example="fed namespace usage --month 2026-11")
@click.option("--month", default="", help="Like 2026-11; this month by default.")
def usage(session: Session, month: str) -> None:
    """Shows what the jobs of each namespace have taken in a month, and what they have reserved."""
    session.output.rows(session.client.summarize_usage(month))


@verb(namespace, "delete", answers=Done, example="fed namespace delete scratch")
@click.argument("name", metavar="NAMESPACE")
@click.option("--etag", default="", help="Refuse if it changed since this etag was read.")
def delete(session: Session, name: str, etag: str) -> None:
    """Deletes a namespace that holds no dataset."""
    session.client.delete_namespace(name, etag=etag)
    session.output.done("deleted", f"namespaces/{name.removeprefix('namespaces/')}")
