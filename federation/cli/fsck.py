"""`fed fsck`: every byte that the catalog promises is there, and nothing else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from federation.cli import exits, output, shapes
from federation.cli.command import verb
from federation.cli.session import Session

if TYPE_CHECKING:
    from federation.client import Finding

_COLUMNS = (
    shapes.Column(heading="SITE", show=lambda row: row[0]),
    shapes.Column(heading="FINDING", show=lambda row: row[1]["finding"]),
    shapes.Column(heading="OBJECT", show=lambda row: row[1]["object"]),
    shapes.Column(heading="VERSION", show=lambda row: row[1]["version"] or "-"),
    shapes.Column(heading="DETAIL", show=lambda row: row[1]["detail"]),
)


@verb(None, "fsck", example="fed fsck --site eu-1 --quick")
@click.option("--site", "sites", multiple=True, help="Check only this site; repeat for several.")
@click.option("--quick", is_flag=True, help="Compare lengths only; digests need every byte to be read.")
def fsck(session: Session, sites: tuple[str, ...], quick: bool) -> int:
    """Compares each site's store with the catalog: orphaned, missing and damaged objects. Prints nothing when all is well.

    Exits with 1 when something was found.
    """
    findings: list[tuple[str, Finding]] = []
    for name in sites or tuple(row.site for row in session.client.list_sites()):
        with session.output.waiting(f"checking {name}"):
            findings += [(name, row) for row in session.client.check(name, read_objects=not quick)]
    if session.output.json:
        session.output.write_json([{"site": name, **row} for name, row in findings])
    elif findings:
        session.output.show(output.table(findings, _COLUMNS))
    return exits.ERROR if findings else exits.OK
