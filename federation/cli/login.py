"""`fed login` and `fed logout`: in with the organisation's own accounts, and out again."""

from __future__ import annotations

import dataclasses
import webbrowser
from pathlib import Path

import click

from federation import config
from federation.cli.answers import Done
from federation.cli.command import verb
from federation.cli.session import Session
from federation.core import errors, people


@verb(None, "login", answers="federation.client.values:WhoAmI", example="fed login --server fed.example:7400 --ca ca.crt")
@click.option("--server", "target", metavar="HOST:PORT", default="", help="A federation that you do not know yet.")
@click.option("--ca", type=click.Path(path_type=Path), help="The file of its CA.")
@click.option("--issuer", default="", help="Whom to sign in with, where there is more than one.")
@click.option("--browser", is_flag=True, help="With a browser on this machine, and not by a code on any device.")
def login(session: Session, *, target: str, ca: Path | None, issuer: str, browser: bool) -> None:
    """Signs you in with an issuer that the federation trusts. What it gives is kept for you alone, and refreshed."""
    from federation.client import Client  # noqa: PLC0415 - gRPC takes a third of a second to import
    from federation.client import login as signing_in  # noqa: PLC0415 - as above

    known = _context(session, target, ca)
    with Client(known.target, "", known.ca.read_bytes()) as stranger:
        entrance = stranger.find_entrance()
    sign_in = _chosen(entrance.issuers, issuer)
    if browser:
        signed = signing_in.by_browser(sign_in, lambda url: _visit(session, url))
    else:
        signed = signing_in.by_device(sign_in, lambda url, code: session.output.say(f"Open {url} and enter the code {code}"))
    name = known.context or entrance.federation
    file = config.config_path().parent / "signed-in" / f"{name}.json"
    kept = signing_in.Kept(file)
    kept.keep(signed)
    with Client(known.target, kept.token, known.ca.read_bytes()) as person:
        who = person.who_am_i()
    config.save_context(dataclasses.replace(known, context=name, signed_in=file))
    said = f"you are {who.principal} ({who.role}) at {known.target}, context {name}"
    session.output.item(who, lambda: session.output.say(said))


@verb(None, "logout", answers=Done, example="fed logout")
def logout(session: Session) -> None:
    """Forgets the sign-in of the current context, here and at its issuer."""
    from federation.client import login as signing_in  # noqa: PLC0415 - gRPC takes a third of a second to import

    known = config.chosen_context(session.context)
    if known.signed_in is None:
        session.output.done("signed out", known.context, "nobody is signed in")
        return
    kept = signing_in.Kept(known.signed_in)
    try:
        told = signing_in.give_back(kept.look())
    except errors.FederationError as error:
        told = False
        session.output.say(f"the issuer was not told: {error.message}")
    kept.forget()
    config.save_context(dataclasses.replace(known, signed_in=None), use=False)
    said = "signed out" if told else "signed out here; what was issued ends by itself"
    session.output.done("signed out", known.context, said)


def _context(session: Session, target: str, ca: Path | None) -> config.Context:
    """The federation to sign in at: a new one that is named whole, or the chosen one."""
    if not target:
        return config.chosen_context(session.context)
    if ca is None:
        raise errors.InvalidArgument(
            "a server is known by its CA", reason="CA_MISSING", help="Get the CA's file by a way that you trust: --ca FILE."
        )
    return config.Context(context=session.context, target=target, ca=ca.expanduser().absolute())


def _chosen(issuers: tuple[people.SignIn, ...], wanted: str) -> people.SignIn:
    found = [row for row in issuers if wanted in ("", row.issuer)]
    if len(found) != 1:
        names = ", ".join(row.issuer for row in issuers) or "none"
        raise errors.NotFound(
            f"no issuer {wanted!r} is known there" if wanted else f"one issuer is to be chosen of: {names}",
            reason="ISSUER_UNKNOWN",
            help=f"Known are: {names}. Choose with --issuer, or use an API token (`fed token create`).",
        )
    return found[0]


def _visit(session: Session, url: str) -> None:
    session.output.say(f"Open {url}")
    webbrowser.open(url)
