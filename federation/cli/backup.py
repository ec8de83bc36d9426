"""`fed backup` and `fed restore`: a server's catalog and record, where it runs."""

from __future__ import annotations

from pathlib import Path

import click

from federation import config, secrecy
from federation.cli.command import verb
from federation.cli.session import Session
from federation.core import backup as contents

_BACKUP = """\
fed backup --config federation.yaml --passphrase-file backup.pass /mnt/backups/2026-11-28
# Check one, every byte of it
fed backup --config federation.yaml --passphrase-file backup.pass --verify /mnt/backups/2026-11-28
"""
_RESTORE = "fed restore --config federation.yaml --passphrase-file backup.pass /mnt/backups/2026-11-28"
_CONFIG = click.option(
    "--config", "file", required=True, type=click.Path(path_type=Path), metavar="FILE", help="The federation file."
)
_STATE = click.option("--state", type=click.Path(path_type=Path), metavar="DIR", help="The state folder.")
_PASSPHRASE = click.option(
    "--passphrase-file", type=click.Path(path_type=Path), metavar="FILE", help="The file (0600) of its passphrase."
)


@verb(
    None,
    "backup",
    answers=contents.Summary,
    example="fed backup --config federation.yaml --passphrase-file backup.pass /mnt/backups/2026-11-28",
)
@click.argument("path", type=click.Path(path_type=Path))
@_CONFIG
@_STATE
@_PASSPHRASE
@click.option("--verify", is_flag=True, help="Make none: check the one that is there, every byte of it.")
def backup(session: Session, *, path: Path, file: Path, state: Path | None, passphrase_file: Path | None, verify: bool) -> None:
    """Copies catalog and record into the new folder PATH, while the server serves; nothing in it is ever overwritten.

    It holds the catalog's database of one moment and the record's tables from just before; what those lack is carried again
    after a restore. Its manifest has each file's digest and is signed by the catalog. With a passphrase all of it is encrypted
    and has the server's own secrets; without one those are left out. Sites' stores are not in it, nor their keyrings, which
    `fed key backup` keeps.
    """
    from federation.bootstrap import backup as wiring  # noqa: PLC0415 - it imports what servers do

    secrecy.keep()
    passphrase = _passphrase(passphrase_file)
    with session.output.waiting("comparing" if verify else "copying"):
        made = wiring.verify(path, passphrase) if verify else wiring.make(_settings(file, state), path, passphrase)
    session.output.item(contents.summary(str(path), made))


@verb(
    None,
    "restore",
    answers="federation.bootstrap.backup:Restored",
    example="fed restore --config federation.yaml --passphrase-file backup.pass /mnt/backups/2026-11-28",
)
@click.argument("path", type=click.Path(path_type=Path))
@_CONFIG
@_STATE
@_PASSPHRASE
@click.option("--key", default="", help="The catalog's public key (hex), which must have signed it.")
@click.option("--keep-tables", is_flag=True, help="The record's tables are there and whole: keep them.")
def restore(
    session: Session,
    *,
    path: Path,
    file: Path,
    state: Path | None,
    passphrase_file: Path | None,
    key: str,
    keep_tables: bool,
) -> None:
    """Puts a backup back into an empty database and an empty place for tables. No server may run meanwhile.

    All of it is verified before anything is written. Versions that were erased after the backup are in the catalog again, and
    stay erased: no site has their keys any more. `fed fsck` names them; erase them again, so that the catalog knows. With
    --keep-tables, tables that survived are kept, and it is told what they know and the catalog does not.
    """
    from federation.bootstrap import backup as wiring  # noqa: PLC0415 - as above

    secrecy.keep()
    with session.output.waiting("restoring"):
        done = wiring.restore(_settings(file, state), path, _passphrase(passphrase_file), key=key, keep_tables=keep_tables)
    session.output.item(done)


def _settings(file: Path, state: Path | None) -> config.ServerSettings:
    read = config.federation_file(file)
    return config.server(read, state or config.state_path(read.federation))


def _passphrase(file: Path | None) -> bytes:
    return config.read_secret(file, "passphrase").strip().encode() if file else b""
