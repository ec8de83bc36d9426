"""`fed ledger`: the record's tables: what they hold, how far they are signed, and the proof that nothing was changed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import click

from federation.cli import exits, formats
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import chain, errors, metering, records
from federation.core.events import TABLES
from federation.shown import shapes

ledger = noun("ledger", "The record: its tables, and the proof that no row was changed or cut.")

_VERIFIED = formats.many(formats.extended(chain.Verification, intact=bool))
_TABLE = click.option("--table", type=click.Choice(TABLES), default=None, help="Only this one.")


@verb(ledger, "list", answers=list[metering.LedgerEntry], example="fed ledger list --filter 'dataset = \"flights\"'")
@click.option("--filter", "filter_", metavar="EXPRESSION", default="", help="For example 'month = \"2026-11\"'.")
def list_(session: Session, filter_: str) -> None:
    """Lists entries of the egress ledger, newest first, as `fed cost list` does; corrections are entries of their own."""
    session.output.rows(session.client.list_ledger_entries(filter=filter_))


@verb(
    ledger,
    "verify",
    answers=_VERIFIED,
    example="fed ledger verify --tables s3://bucket/federation --key 3b6a27bc... --heads heads.json",
)
@_TABLE
@click.option("--tables", "root", metavar="URL", default="", help="Read the tables at this folder or URL; needs no server.")
@click.option(
    "--key", "keys", multiple=True, metavar="HEX", help="With --tables: the catalog's public key; as often as it had one."
)
@click.option(
    "--heads",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default=None,
    help="With --tables: heads that were kept elsewhere, as `fed ledger heads -o json` prints them.",
)
@click.pass_context
def verify(
    ctx: click.Context, session: Session, *, table: str | None, root: str, keys: tuple[str, ...], file: Path | None
) -> None:
    """Follows the chain of each table from its first row, and compares it with what the catalog has signed.

    PROVEN: a signed head vouches for every row up to there. CONSISTENT: each row follows from the one before up to there, but
    no head covers it yet. What is wrong is told with the position after which it is, and the command ends with code 1.
    """
    if not root and (keys or file):
        raise click.UsageError("--key and --heads go with --tables: a server knows its own")
    found = []
    for name in (table,) if table else TABLES:
        with session.output.waiting(f"reading {name}") as tell:
            for step in _offline(root, name, keys, file) if root else session.client.verify_table(name):
                if session.output.bars:
                    tell(f"reading {name}: {step.rows:,} rows, up to position {step.last_position:,}")
        found.append(step)
    if not session.output.for_people:
        session.output.rows([formats.extend(each, intact=each.intact) for each in found])
    else:
        session.output.rows(found)
        for each in found:
            for wrong in each.findings:
                session.output.line(f"{each.table}: {wrong.reason}: {wrong.detail}")
        if not any(each.heads for each in found):
            session.output.say("no signed head was compared: whoever can write the tables could have written them anew")
    if not all(each.intact for each in found):
        ctx.exit(exits.ERROR)


def _offline(root: str, table: str, keys: tuple[str, ...], file: Path | None) -> Iterator[chain.Verification]:
    from federation.adapters.records_links import DeltaReader  # noqa: PLC0415 - it takes its time to import
    from federation.services import heads  # noqa: PLC0415 - likewise

    return heads.verify(DeltaReader(root), table, read_heads(file) if file else (), keys)


def read_heads(file: Path) -> tuple[chain.SignedHead, ...]:
    """Heads from a file; InvalidArgument (HEADS_INVALID) for one that holds none."""
    try:
        return tuple(records.load(chain.SignedHead, item) for item in json.loads(file.read_text()))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise errors.InvalidArgument(
            f"{file} holds no heads: {error}",
            reason="HEADS_INVALID",
            help="Write it with `fed ledger heads -o json`.",
            violations={"--heads": "must be a file of heads"},
        ) from error


@verb(ledger, "heads", answers=list[chain.SignedHead], example="fed ledger heads -o json > heads.json")
@_TABLE
def heads_(session: Session, table: str | None) -> None:
    """Lists signed heads, newest first: how far each table had come when. Kept elsewhere, they prove the tables without us."""
    session.output.rows(session.client.list_record_heads(table or ""))


@verb(
    ledger,
    "tables",
    answers="list[federation.adapters.records_docs:ColumnInfo]",
    example="fed ledger tables --table placement_decisions",
)
@_TABLE
def tables(session: Session, table: str | None) -> None:
    """Lists the columns of the tables: type, unit, and what they mean. Needs no server."""
    from federation.adapters import records_docs  # noqa: PLC0415 - it takes its time to import

    told = [each for each in records_docs.columns() if table in (None, each.table)]
    session.output.rows(
        told,
        (
            shapes.Column(heading="TABLE", show=lambda v: v.table),
            shapes.Column(heading="COLUMN", show=lambda v: v.column),
            shapes.Column(heading="TYPE", show=lambda v: v.type + (", optional" if v.optional else "")),
            shapes.Column(heading="UNIT", show=lambda v: v.unit),
            shapes.Column(heading="SINCE", show=lambda v: str(v.since), number=True),
            shapes.Column(heading="MEANING", show=lambda v: v.meaning),
        ),
    )
