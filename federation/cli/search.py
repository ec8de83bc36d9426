"""`fed search`: datasets by words of their name, labels, owner, columns, description and card."""

from __future__ import annotations

import itertools

import click

from federation.cli.command import verb
from federation.cli.session import Session
from federation.core.discovery import Found


@verb(
    None, "search", answers=list[Found], example="fed search flights delay --filter 'labels.team = \"ops\" AND -columns:email'"
)
@click.argument("words", nargs=-1)
@click.option("--namespace", default="", help="Only in this namespace.")
@click.option(
    "--filter",
    "filter_",
    metavar="EXPRESSION",
    default="",
    help="What else must hold, as AIP-160 has it: field = value, labels.KEY = value, columns:NAME, create_time > 2026-01-01, "
    "with AND, OR, NOT and parentheses.",
)
@click.option("-n", "--limit", type=click.IntRange(1), default=25, show_default=True, help="At most so many.")
@click.option("--show-deleted", is_flag=True, help="Find deleted ones too.")
def search(session: Session, *, words: tuple[str, ...], namespace: str, filter_: str, limit: int, show_deleted: bool) -> None:
    """Finds datasets that have each of the words, or one that begins so; all of them, newest first, without words.

    Best first: the name itself, words of the name, labels and owner, columns, description and card. Only what you may know of.
    """
    found = session.client.search_datasets(" ".join(words), namespace=namespace, filter=filter_, show_deleted=show_deleted)
    best = list(itertools.islice(found, limit + 1))
    session.output.rows(best[:limit])
    if len(best) > limit:
        session.output.warn(f"There are more than {limit}: say more words, or give a greater --limit.")
