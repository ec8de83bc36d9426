"""`fed lease`: who was given the data keys of what, when, and until when."""

from __future__ import annotations

import click

from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core.leases import Lease

lease = noun("lease", "Who was given the data keys of what, when, and until when.")


@verb(lease, "list", answers=list[Lease], example="fed lease list --version sales/flights@3")
@click.option("--version", default="", metavar="DATASET@VERSION", help="Leases on this version.")
@click.option("--run", default="", metavar="RUN", help="Leases of this run, like jobs/j-.../runs/1.")
@click.option("--filter", "filter_", default="", metavar="EXPRESSION", help="By version, dataset, run, site or principal.")
def list_(session: Session, *, version: str, run: str, filter_: str) -> None:
    """Lists leases: each was good for one use, by one process, person or site."""
    wanted = [filter_, f'version = "{version}"' if version else "", f'run = "{run}"' if run else ""]
    session.output.rows(session.client.list_leases(filter=" AND ".join(filter(None, wanted))))
