"""`fed dataset erase`, `fed dataset erasure` and `fed dataset certificate`: versions that must be forgotten, and the proof."""

from __future__ import annotations

from pathlib import Path

import click

from federation.cli.answers import Done
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import erasure as values
from federation.crypto import erasure as signed

erasure = noun("erasure", "Erasures of versions: which sites have confirmed, and what each waits for.")
certificate = noun("certificate", "Deletion certificates: signed proof that nothing opens a version any more.")


@click.argument("version", metavar="DATASET@VERSION")
@click.option("--reason", required=True, help="Why; the certificate and the audit tell it.")
@click.option("--dry-run", is_flag=True, help="Only say what would happen: sites, and what was made of it.")
def erase(session: Session, *, version: str, reason: str, dry_run: bool) -> None:
    """Destroys a version's keys at every site, for good. No backup brings it back.

    Nobody is given it from now on. What was made of it stays, and is listed. A certificate follows once every site has
    confirmed and the last lease has run out.
    """
    found = session.client.erase_version(version, reason, validate_only=dry_run)
    session.output.outcome(found)


@verb(erasure, "list", answers=list[values.Erasure], example="fed dataset erasure list")
@click.option("--filter", "filter_", default="", metavar="EXPRESSION", help="For example 'state = \"PENDING\"'.")
def list_(session: Session, *, filter_: str) -> None:
    """Lists erasures."""
    session.output.rows(session.client.list_erasures(filter=filter_))


@verb(erasure, "show", answers=values.Erasure, example="fed dataset erasure show sales/flights@3")
@click.argument("name", metavar="ERASURE|DATASET@VERSION")
def show(session: Session, *, name: str) -> None:
    """Shows one erasure: its sites, what it waits for, and what was made of the version."""
    found = session.client.get_erasure(name)

    def draw() -> None:
        session.output.item(found)
        session.output.rows(found.sites)

    session.output.item(found, draw)


@verb(certificate, "get", answers=Done, example="fed dataset certificate get sales/flights@3 flights-3.json")
@click.argument("name", metavar="ERASURE|DATASET@VERSION")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
def get(session: Session, *, name: str, file: Path) -> None:
    """Writes the deletion certificate of an erasure that is CERTIFIED into a file."""
    file.write_bytes(session.client.get_deletion_certificate(name))
    session.output.done("written", str(file), f"the certificate is in {file}")


@verb(certificate, "verify", answers=values.Deletion, example="fed dataset certificate verify flights-3.json --key 6f1c...")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--key", default="", metavar="HEX", help="The catalog's public key; without it the file's own is told.")
def verify(session: Session, *, file: Path, key: str) -> None:
    """Checks a deletion certificate without the catalog: its signature, each site's, and that every lease had run out."""
    data = file.read_bytes()
    deletion = signed.verify(data, key)
    if not key:
        session.output.say(f"signed by {signed.signer(data)}: compare that with the catalog's key, or give it with --key")

    def draw() -> None:
        session.output.item(deletion.erasure)
        session.output.rows(deletion.erasure.sites)
        session.output.rows(deletion.leases)

    session.output.item(deletion, draw)
