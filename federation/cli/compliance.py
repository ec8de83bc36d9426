"""`fed compliance`: which data was used where, by whom, for what and under which policy, and what was refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from federation.cli import formats
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import compliance as values
from federation.core import compliance_page, errors, trail

compliance = noun("compliance", "Reports: which data was used where, by whom, for what, and what was refused.")


@verb(
    compliance,
    "report",
    answers=values.Report,
    example="""
# A page for people, and all of it for programs
fed compliance report --from 2026-11-01 --to 2026-12-01 --html november.html
fed compliance report --from 2026-11-01 --to 2026-12-01 --dataset sales/flights -o json
""".strip(),
)
@click.option("--from", "from_", required=True, metavar="TIME", help="From when: 2026-11-01 or 2026-11-01T00:00:00Z.")
@click.option("--to", required=True, metavar="TIME", help="Until when; this moment is not in it any more.")
@click.option("--dataset", default="", metavar="DATASET", help="Only what is about this dataset.")
@click.option("--namespace", default="", metavar="NAMESPACE", help="Only what is about datasets of this namespace.")
@click.option(
    "--html",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Write a page into this file: it loads nothing from elsewhere.",
)
def report(session: Session, *, from_: str, to: str, dataset: str, namespace: str, html: Path | None) -> None:
    """Reports what the record tells of a time, and how far the record is proven. For administrators and auditors.

    With `-o json` all of it, in the form of docs/schemas/compliance.schema.json; without, the sums of it. The same record gives
    the same report.
    """
    if dataset and namespace:
        raise click.UsageError("name a --dataset or a --namespace, not both")
    with session.output.waiting("making the report"):
        made = session.client.export_compliance(trail.time_of(from_), trail.time_of(to), dataset=dataset, namespace=namespace)
    if html is not None:
        try:
            html.write_text(compliance_page.html(made), encoding="utf-8")
        except OSError as error:
            raise errors.InvalidArgument(
                f"{html} cannot be written: {error.strerror}",
                reason="FILE_UNWRITABLE",
                help="Name a file in a folder of yours.",
            ) from None
        session.output.say(f"the page is in {html}")
    session.output.item(made, lambda: None if html else session.output.fields(compliance_page.sums(made)))


@verb(compliance, "schema", answers=dict[str, Any], example="fed compliance schema")
def schema(session: Session) -> None:
    """Prints the JSON Schema (2020-12) of a report."""
    found = values.json_schema()
    session.output.item(found, lambda: session.output.line(formats.json_text(found).rstrip()))
