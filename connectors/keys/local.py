"""A site's keys in a file that only its agent may read (see `keyfile`), as it is or under a passphrase (see `passphrases`)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from connectors.keys import keyfile
from federation.crypto import wrapping


class LocalKeys(wrapping.Keyring):
    """Fills `KeyConnector` and `KeyCustody` with a keyring file."""

    def __init__(self, site: str, folder: str | Path, options: Mapping[str, str] | None = None) -> None:
        del options
        store = keyfile.KeyFile(site, Path(folder), fresh=lambda: wrapping.Material.new(site))
        super().__init__(store, wrapping.OwnKeks(store, "local"))
