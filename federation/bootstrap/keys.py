"""The wiring of a keyring's backup and restore, at the site where it lies."""

from __future__ import annotations

from pathlib import Path

from federation import config
from federation.adapters import registry


def backup(settings: config.AgentSettings, passphrase_file: Path) -> bytes:
    """A backup of the site's keyring."""
    keys = settings.keys
    made = registry.load("keys", keys.kind)(settings.site, keys.folder, dict(keys.options))
    data: bytes = made.back_up(passphrase_file)
    return data


def restore(settings: config.AgentSettings, data: bytes, passphrase_file: Path, *, forget: bool) -> None:
    """Makes the site's keyring anew from a backup and its mirror."""
    keys = settings.keys
    connector = registry.load("keys", keys.kind)
    connector.restore(settings.site, keys.folder, dict(keys.options), data, passphrase_file, forget=forget)  # type: ignore[attr-defined]
