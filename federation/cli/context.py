"""`fed context`: which federation this person talks to."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import click

from federation import config
from federation.cli.answers import Done
from federation.cli.command import noun, verb
from federation.cli.session import Session
from federation.core import errors
from federation.shown import shapes

context = noun("context", "Which federation you talk to.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """A federation that this person knows: where it listens, which files let them in, whether commands talk to it."""

    context: str
    target: str
    current: bool
    ca: str
    token: str = ""
    signed_in: str = ""


_COLUMNS = (
    shapes.Column(heading="", show=lambda row: "*" if row.current else ""),
    shapes.Column(heading="CONTEXT", show=lambda row: row.context),
    shapes.Column(heading="TARGET", show=lambda row: row.target),
    shapes.Column(heading="TOKEN FILE", show=lambda row: row.signed_in or row.token or "-"),
)
_WIDE = (*_COLUMNS, shapes.Column(heading="CA FILE", show=lambda row: row.ca))
_NAME = click.argument("name", metavar="CONTEXT")


@verb(context, "list", answers=list[Known], example="fed context list")
def list_(session: Session) -> None:
    """Lists the federations that this person knows; the current one has a star."""
    known = config.contexts()
    rows = [_known(row, known) for row in known.contexts]
    session.output.rows(rows, _WIDE if session.output.format == "wide" else _COLUMNS)


@verb(context, "show", answers=Known, example="fed context show\nfed context show demo -o json")
@click.argument("name", metavar="[CONTEXT]", default="")
def show(session: Session, name: str) -> None:
    """Shows one context: the one that is named, or the one that commands talk to now."""
    session.output.item(_known(config.chosen_context(name or session.context), config.contexts()))


@verb(context, "use", answers=Known, example="fed context use demo")
@_NAME
def use(session: Session, name: str) -> None:
    """Makes a federation the one that commands talk to."""
    _tell(session, name, config.use_context(name), f"commands now talk to {name}")


@verb(
    context,
    "set",
    answers=Known,
    example="# a federation that you were given a token for\n"
    "fed context set prod --target fed.example:7400 --ca ca.crt --token-file ada.token --use\n"
    "# the same federation at another address\n"
    "fed context set prod --target fed2.example:7400",
)
@_NAME
@click.option("--target", default="", metavar="HOST:PORT", help="Where its server listens.")
@click.option("--ca", type=click.Path(path_type=Path), help="The file of its CA's certificate.")
@click.option("--token-file", type=click.Path(path_type=Path), help="The file (0600) of your token there.")
@click.option("--use", "used", is_flag=True, help="Talk to it from now on.")
def set_(session: Session, *, name: str, target: str, ca: Path | None, token_file: Path | None, used: bool) -> None:
    """Adds a context, or changes what is given of one and leaves the rest. Nobody is asked: it is written, not tried."""
    old = next((row for row in config.contexts().contexts if row.context == name), None)
    if old is None and (not target or ca is None):
        raise errors.InvalidArgument(
            f"context {name!r} is new", reason="CONTEXT_INCOMPLETE", help="Say where it is: --target HOST:PORT and --ca FILE."
        )
    base = old or config.Context(context=name, target=target, ca=_file(ca) or Path())
    made = dataclasses.replace(
        base, target=target or base.target, ca=_file(ca) or base.ca, token=_file(token_file) or base.token
    )
    _tell(session, name, config.save_context(made, use=used), f"context {name} is {made.target}")


@verb(context, "rename", answers=Known, example="fed context rename demo old-demo")
@_NAME
@click.argument("new", metavar="NEW")
def rename(session: Session, name: str, new: str) -> None:
    """Gives a context another name. If it is the current one, it stays so."""
    _tell(session, new, config.rename_context(name, new), f"context {name} is {new} now")


@verb(context, "delete", answers=Done, example="fed context delete old-demo")
@_NAME
def delete(session: Session, name: str) -> None:
    """Forgets a context. Its files stay: token, CA, and sign-in (`fed logout` gives that back first)."""
    config.delete_context(name)
    session.output.done("deleted", name, f"context {name} is forgotten")


def _tell(session: Session, name: str, known: config.Contexts, words: str) -> None:
    session.output.item(_known(known.find(name), known), lambda: session.output.say(words))


def _known(row: config.Context, known: config.Contexts) -> Known:
    return Known(
        context=row.context,
        target=row.target,
        current=row.context == known.current,
        ca=str(row.ca),
        token=str(row.token or ""),
        signed_in=str(row.signed_in or ""),
    )


def _file(path: Path | None) -> Path | None:
    """A file as a context keeps it: found from every folder."""
    return path.expanduser().absolute() if path else None
