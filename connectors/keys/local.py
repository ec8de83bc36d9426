"""A site's keys in a file that only its agent may read: `keyring.json` in a folder of its own.

Made on first use, whole and on disk or not at all; two processes that begin at once agree on one. Whoever loses the file loses
the site's data for good, and whoever reads it reads all of it: it belongs in a backup that is guarded like the data itself.
"""

from __future__ import annotations

import json
import os
import secrets
import stat
from pathlib import Path
from typing import Any

from federation.core import errors
from federation.crypto import wrapping
from federation.crypto.secrets import Secret

FILE = "keyring.json"
_FORMAT = 1


class LocalKeys(wrapping.Keyring):
    """Fills `KeyConnector` with a keyring file; FailedPrecondition (KEYRING_INVALID, KEYRING_EXPOSED) if it is unfit."""

    def __init__(self, site: str, folder: str | Path) -> None:
        super().__init__(_load_or_create(site, Path(folder)))


def _load_or_create(site: str, folder: Path) -> wrapping.Material:
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not (folder / FILE).exists():
            _create(folder, wrapping.Material.new(site))
        return _load(site, folder)
    except OSError as error:
        raise errors.FailedPrecondition(
            f"the keyring in {folder} cannot be used: {error.strerror}",
            reason="KEYRING_INVALID",
            help="Let the agent's user own the folder and its file.",
        ) from error


def _create(folder: Path, material: wrapping.Material) -> None:
    """Writes the keyring durably; does nothing when another process has come first."""
    draft = folder / f".{FILE}-{secrets.token_hex(8)}"
    fd = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(fd, "w", encoding="utf-8") as file:
            json.dump(_dump(material), file, indent=1)
            file.flush()
            os.fsync(fd)
        try:
            os.link(draft, folder / FILE)
        except FileExistsError:
            return
    finally:
        draft.unlink()
    _sync_folder(folder)


def _sync_folder(folder: Path) -> None:
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _load(site: str, folder: Path) -> wrapping.Material:
    fd = os.open(folder / FILE, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    with os.fdopen(fd, encoding="utf-8") as file:
        _check_mode(folder, stat.S_IMODE(folder.stat().st_mode), 0o022)
        _check_mode(folder / FILE, stat.S_IMODE(os.fstat(fd).st_mode), 0o077)
        try:
            material = _parse(json.load(file))
        except (ValueError, KeyError, TypeError, AttributeError):
            # The cause may quote the file, so it is not told.
            raise _invalid(folder, "is damaged", "Restore it from its backup.") from None
    if material.site != site:
        raise _invalid(folder, f"is of site {material.site}, not {site}", "Give each site a folder of its own.")
    return material


def _check_mode(path: Path, mode: int, forbidden: int) -> None:
    if mode & forbidden:
        raise errors.FailedPrecondition(
            f"{path} has mode {mode:04o}: others than its owner could use the keys",
            reason="KEYRING_EXPOSED",
            help=f"Run `chmod go-rwx {path}`, and think about who may have read it.",
        )


def _invalid(folder: Path, why: str, help_: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(f"the keyring in {folder} {why}", reason="KEYRING_INVALID", help=help_)


def _dump(material: wrapping.Material) -> dict[str, Any]:
    return {
        "format": _FORMAT,
        "site": material.site,
        "current": material.current,
        "keks": {name: kek.reveal().hex() for name, kek in material.keks.items()},
        "signing": material.signing.reveal().hex(),
        "sealing": material.sealing.reveal().hex(),
    }


def _parse(data: Any) -> wrapping.Material:
    keks = {str(name): _secret(value) for name, value in data["keks"].items()}
    if data["format"] != _FORMAT or data["current"] not in keks:
        raise ValueError("not a keyring of this format")
    signing, sealing = _secret(data["signing"]), _secret(data["sealing"])
    return wrapping.Material(site=str(data["site"]), keks=keks, current=data["current"], signing=signing, sealing=sealing)


def _secret(text: str) -> Secret:
    value = bytes.fromhex(text)
    if len(value) != wrapping.KEK:
        raise ValueError("not a key")
    return Secret(value)
