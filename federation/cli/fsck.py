"""`fed fsck`: every byte that the catalog promises is there, and nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import click

from federation.cli import exits
from federation.cli.command import verb
from federation.cli.session import Session
from federation.shown import shapes

_COLUMNS = (
    shapes.Column(heading="SITE", show=lambda row: row.site),
    shapes.Column(heading="FINDING", show=lambda row: row.finding),
    shapes.Column(heading="OBJECT", show=lambda row: row.object),
    shapes.Column(heading="VERSION", show=lambda row: row.version or "-"),
    shapes.Column(heading="DETAIL", show=lambda row: row.detail),
)


@dataclass(frozen=True, kw_only=True)
class Found:
    """One thing that is wrong at a site: ORPHAN, MISSING, DAMAGED, KEY_MISSING or MANIFEST_INVALID."""

    site: str
    finding: str
    object: str
    version: str
    detail: str
    bytes: int


@verb(None, "fsck", answers=list[Found], example="fed fsck --site eu-1 --quick")
@click.option("--site", "sites", multiple=True, help="Check only this site; repeat for several.")
@click.option("--quick", is_flag=True, help="Compare lengths only; digests need every byte to be read.")
def fsck(session: Session, sites: tuple[str, ...], quick: bool) -> int:
    """Compares each site's store with the catalog: orphaned, missing and damaged objects. Prints nothing when all is well.

    Exits with 1 when something was found.
    """
    findings: list[Found] = []
    for name in sites or tuple(row.site for row in session.client.list_sites()):
        with session.output.waiting(f"checking {name}"):
            findings += [Found(site=name, **row) for row in session.client.check(name, read_objects=not quick)]
    if findings or not session.output.for_people:
        session.output.rows(findings, _COLUMNS)
    return exits.ERROR if findings else exits.OK
