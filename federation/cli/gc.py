"""`fed gc`: old versions and orphaned objects that nobody needs any more; told, and let go of when asked to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from federation.cli.command import verb
from federation.cli.session import Session
from federation.core import collection, units
from federation.shown import shapes

if TYPE_CHECKING:
    from federation.client import Finding


@dataclass(frozen=True, kw_only=True)
class Item:
    """One thing that was looked at, `version` or `orphan`: `kept` says why it stays, '' that it goes."""

    kind: str
    name: str
    sites: tuple[str, ...]
    bytes: int
    kept: str
    detail: str


_EXAMPLE = """\
fed gc --dataset sales/flights --keep 3 --younger-than 30d
# Objects that no version names
fed gc --orphans --site eu-1 --delete
"""
_COLUMNS = (
    shapes.Column(heading="KIND", show=lambda row: row.kind),
    shapes.Column(heading="NAME", show=lambda row: row.name),
    shapes.Column(heading="SITES", show=lambda row: ", ".join(row.sites)),
    shapes.Column(heading="BYTES", show=lambda row: units.size(row.bytes)),
    shapes.Column(heading="KEPT", show=lambda row: row.kept or "-"),
    shapes.Column(heading="WHY", show=lambda row: row.detail or "-"),
)


@verb(
    None,
    "gc",
    answers=list[Item],
    example="fed gc --dataset sales/flights --keep 3 --younger-than 30d\nfed gc --orphans --site eu-1 --delete",
)
@click.option("--dataset", "datasets", multiple=True, metavar="DATASET", help="Old versions of this dataset; may be repeated.")
@click.option("--namespace", "namespaces", multiple=True, metavar="NAMESPACE", help="Old versions of all datasets in it.")
@click.option("--keep", type=click.IntRange(1), default=1, show_default=True, help="Keep so many of the newest versions.")
@click.option("--younger-than", default="30d", show_default=True, metavar="TIME", help="Keep versions that are younger.")
@click.option("--even-if-models", is_flag=True, help="Let go also of what models that still exist were made from.")
@click.option("--orphans", is_flag=True, help="Objects in stores that no version names and nobody is writing.")
@click.option("--site", "sites", multiple=True, help="With --orphans: only at this site; may be repeated.")
@click.option("--delete", is_flag=True, help="Let go of them; without it they are only told.")
@click.option("--all", "everything", is_flag=True, help="Show what stays as well, and why.")
def gc(  # noqa: PLR0913 - click hands over each option by itself
    session: Session,
    *,
    datasets: tuple[str, ...],
    namespaces: tuple[str, ...],
    keep: int,
    younger_than: str,
    even_if_models: bool,
    orphans: bool,
    sites: tuple[str, ...],
    delete: bool,
    everything: bool,
) -> None:
    """Shows what nobody needs any more, and how many bytes that is; lets go of it with --delete.

    Of versions the newest stay, young ones, those under legal hold, with a lease, read or about to be, wanted by a rule, and
    those that models were made from. What goes is dropped at every site; catalog and lineage still say what it was. Events,
    recorded answers and logs of runs go by themselves (docs/operations.md).
    """
    if not (datasets or namespaces or orphans):
        raise click.UsageError("say of what: --dataset, --namespace or --orphans")
    rule = collection.Rule(keep_versions=keep, keep_seconds=units.parse_duration(younger_than), even_if_models=even_if_models)
    found: list[Item] = []
    with session.output.waiting("letting go" if delete else "looking"):
        for name in (*datasets, *_of(session, namespaces)):
            judged = session.client.collect_versions(name, rule, validate_only=not delete)
            found += [_version(row) for row in judged]
        for site in (sites or tuple(row.site for row in session.client.list_sites())) if orphans else ():
            strangers = session.client.orphans(site, remove=delete)
            found += [_orphan(site, row) for row in strangers]
    shown = [row for row in found if everything or not row.kept]
    if shown or not session.output.for_people:
        session.output.rows(shown, _COLUMNS)
    going = [row for row in found if not row.kept]
    size = units.size(sum(row.bytes for row in going))
    session.output.say(f"{len(going)} {'were let go of' if delete else 'would go'}, {size}; {len(found) - len(going)} stay")


def _version(row: collection.Judged) -> Item:
    return Item(kind="version", name=row.version, sites=row.sites, bytes=row.object_bytes, kept=row.kept, detail=row.detail)


def _orphan(site: str, row: Finding) -> Item:
    return Item(kind="orphan", name=row["object"], sites=(site,), bytes=row["bytes"], kept="", detail=row["detail"])


def _of(session: Session, namespaces: tuple[str, ...]) -> list[str]:
    return [row.name.short for name in namespaces for row in session.client.list_datasets(name)]
