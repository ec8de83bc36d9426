"""`fed key`: the custody of sites' keys: rotation, status, escrow, and the backup of a keyring where it lies."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import click

from federation import config, secrecy
from federation.cli.answers import Done
from federation.cli.command import noun, verb
from federation.cli.formats import Together
from federation.cli.session import Session
from federation.core import errors, ids, keys
from federation.crypto import escrow as escrows
from federation.crypto import hpke


@dataclass(frozen=True, kw_only=True)
class Custody(Together):
    """Each site's keyring, and what its KEKs wrap of each dataset."""

    keyrings: tuple[keys.SiteKeyring, ...]
    uses: tuple[keys.KeyUse, ...]


key = noun("key", "The custody of sites' keys.")


@verb(key, "status", answers=Custody, example="fed key status --site eu-1")
@click.option("--site", default="", help="Only this site.")
def status(session: Session, *, site: str) -> None:
    """Shows each site's KEKs, and for each dataset which of them wraps how many rows, in which classes, and escrow."""
    at = f'site = "{ids.segment(site, "site")}"' if site else ""
    rings, uses = tuple(session.client.list_keyrings(filter=at)), tuple(session.client.list_key_uses(filter=at))

    def draw() -> None:
        session.output.rows(rings)
        session.output.rows(uses)

    session.output.item(Custody(keyrings=rings, uses=uses), draw, rows=rings)


@verb(key, "rotate", answers=keys.SiteKeyring, example="fed key rotate --site eu-1")
@click.option("--site", required=True, help="Whose keys.")
@click.option(
    "--kek", "part", flag_value="KEK", default=True, help="Re-wrap all rows under a new KEK (what happens unless --dek)."
)
@click.option("--dek", "part", flag_value="DEK", help="Seal all files of new versions anew, also those that did not change.")
def rotate(session: Session, *, site: str, part: str) -> None:
    """Makes a site's keys anew. Of a KEK's rotation no data is rewritten; the site's agent does it, and goes on after a crash.

    The old KEK is destroyed once no row names it: `fed key status` tells. Back a local keyring up anew afterwards.
    With --dek old versions stay readable as they are.
    """
    session.output.outcome(session.client.rotate_keys(site, part))


escrow = noun("escrow", "Ways back to a site's keys, for several persons together.")
key.add_command(escrow)


@verb(escrow, "keygen", answers=Done, example="fed key escrow keygen ada.key")
@click.argument("file", type=click.Path(path_type=Path))
def keygen(session: Session, *, file: Path) -> None:
    """Makes a custodian's key pair: FILE (0600) for the custodian alone, FILE.pub for whoever makes escrows."""
    secrecy.keep()
    private, public = hpke.new_pair()
    if file.exists():
        raise errors.AlreadyExists(f"{file} exists already", help="Keep it: what is sealed to it is lost without it.")
    config.write_secret(file, private.hex().encode())
    file.with_name(f"{file.name}.pub").write_text(f"{public.hex()}\n", encoding="utf-8")
    session.output.done("written", str(file), f"{file} stays with you, offline; give {file.name}.pub away")


@verb(
    escrow,
    "create",
    answers=keys.Escrow,
    example="fed key escrow create eu-way-back --site eu-1 --custodian ada=ada.key.pub --custodian bob=bob.key.pub",
)
@click.argument("name", metavar="ESCROW")
@click.option("--site", required=True, help="Whose keys.")
@click.option("--dataset", default="", help="Only this dataset's.")
@click.option("--custodian", "custodians", multiple=True, metavar="USER=FILE", help="A person and their public key; several.")
@click.option("--threshold", type=click.IntRange(2), default=2, show_default=True, help="How many must come together.")
def create(session: Session, *, name: str, site: str, dataset: str, custodians: tuple[str, ...], threshold: int) -> None:
    """Makes an escrow of a site's keys, which its agent fills from then on. No custodian alone opens it, nor the catalog."""
    asked = keys.Escrow(
        escrow=name,
        site=site,
        dataset=ids.dataset(dataset).short if dataset else "",
        threshold=threshold,
        custodians=tuple(map(_custodian, custodians)),
    )
    session.output.outcome(session.client.create_escrow(asked))


@verb(escrow, "list", answers=list[keys.Escrow], example="fed key escrow list")
def list_(session: Session) -> None:
    """Lists escrows, and who guards them."""
    session.output.rows(session.client.list_escrows())


@verb(escrow, "openings", answers=list[keys.Opening], example="fed key escrow openings")
def openings(session: Session) -> None:
    """Lists who asked for which escrow to be opened, why, and who approved."""
    session.output.rows(session.client.list_openings())


@verb(
    escrow,
    "request",
    answers=keys.Opening,
    example="fed key escrow request eu-way-back --reason 'the KMS key of eu-1 was deleted'",
)
@click.argument("name", metavar="ESCROW")
@click.option("--reason", required=True, help="Why; the log keeps it.")
def request(session: Session, *, name: str, reason: str) -> None:
    """Asks for an escrow to be opened. Nothing is opened before its custodians approve, within a day."""
    session.output.outcome(session.client.request_opening(name, reason))


@verb(escrow, "open", answers=keys.Opening, example="fed key escrow open e-01jd4x --key ada.key")
@click.argument("name", metavar="OPENING")
@click.option("--key", "file", required=True, type=click.Path(path_type=Path), help="Your custodian's key.")
@click.option("--as", "user", default="", help="As which custodian, if the token is not named so.")
def open_(session: Session, *, name: str, file: Path, user: str) -> None:
    """Approves an opening with your share, sealed to the site alone. With the last share needed the site gets its keys back."""
    secrecy.keep()
    opening = session.client.get_opening(name)
    found = session.client.get_escrow(opening.escrow)
    principal = f"users/{user}" if user else session.client.who_am_i().principal
    own = next((each for each in found.custodians if each.principal == principal), None)
    if own is None:
        raise errors.PermissionDenied(
            f"{principal} is no custodian of escrow {found.escrow}", reason="NOT_CUSTODIAN", help="Ask one of its custodians."
        )
    private = bytes.fromhex(config.read_secret(file, "custodian's key").strip())
    session.output.outcome(session.client.approve_opening(name, escrows.approve(found, opening, own, private)))


_CONFIG = click.option(
    "--config", "settings", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The federation file."
)
_STATE = click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state folder.")
_PASSPHRASE = click.option(
    "--passphrase-file",
    required=True,
    type=click.Path(path_type=Path),
    help="The file (0600) with the backup's passphrase.",
)


@verb(
    key,
    "backup",
    answers=Done,
    example="fed key backup eu-1.backup --config fed.yaml --site eu-1 --passphrase-file p",
)
@click.argument("file", type=click.Path(path_type=Path))
@_CONFIG
@click.option("--site", required=True, help="Whose keyring.")
@_STATE
@_PASSPHRASE
def backup(session: Session, *, file: Path, settings: Path, site: str, state: Path | None, passphrase_file: Path) -> None:
    """Writes a backup of a site's keyring, where it lies. It holds nothing that can be erased: the mirror has that."""
    from federation.bootstrap import keys as wiring  # noqa: PLC0415 - it imports much

    secrecy.keep()
    config.write_secret(file, wiring.backup(_agent(settings, site, state), passphrase_file))
    session.output.done("written", str(file), f"{file} and the keyring's mirror together restore it")


@verb(
    key,
    "restore",
    answers=Done,
    example="fed key restore eu-1.backup --config fed.yaml --site eu-1 --passphrase-file p",
)
@click.argument("file", type=click.Path(path_type=Path, exists=True))
@_CONFIG
@click.option("--site", required=True, help="Whose keyring.")
@_STATE
@_PASSPHRASE
@click.option("--forget", is_flag=True, help="Without the mirror: the site is itself again, and opens nothing of before.")
def restore(
    session: Session, *, file: Path, settings: Path, site: str, state: Path | None, passphrase_file: Path, forget: bool
) -> None:
    """Restores a site's keyring from a backup and its mirror, while its agent does not run. What was erased stays erased."""
    from federation.bootstrap import keys as wiring  # noqa: PLC0415 - it imports much

    secrecy.keep()
    wiring.restore(_agent(settings, site, state), file.read_bytes(), passphrase_file, forget=forget)
    session.output.done("restored", f"sites/{site}/keyring", f"the keyring of {site} is restored")


def _agent(settings: Path, site: str, state: Path | None) -> config.AgentSettings:
    read = config.federation_file(settings)
    return config.agent(read, site, state or config.state_path(read.federation))


def _custodian(text: str) -> keys.Custodian:
    user, mark, path = text.partition("=")
    if not mark:
        raise errors.InvalidArgument(f"{text!r} is not USER=FILE", help="Write for example ada=ada.key.pub.")
    public = Path(path).read_text(encoding="utf-8").strip()
    return keys.Custodian(principal=f"users/{user.removeprefix('users/')}", public_key=public)
