"""A site's keys in a file that only its agent may read (see `keyfile`), as it is or under a passphrase (see `passphrases`).

Its KEKs lie in the same file. Options: `passphrase_file`, `passphrase_fd` or `passphrase_key` (in the kernel's keyring), and
`mirror`, the folder of the second copy of what can be erased.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from connectors.keys import keyfile, passphrases
from federation.crypto import wrapping


class LocalKeys(keyfile.FileKeyring):
    """Fills `KeyConnector`, `KeyCustody` and `KeyBackup` with a keyring file."""

    def __init__(self, site: str, folder: str | Path, options: Mapping[str, str] | None = None) -> None:
        file, keks = self.opened(site, folder, options or {})
        file.begin(lambda: wrapping.Material.new(site))
        super().__init__(file, keks)

    @staticmethod
    def opened(site: str, folder: str | Path, options: Mapping[str, str]) -> tuple[keyfile.KeyFile, wrapping.Keks]:
        """Both are the file."""
        keyfile.only(options, ("passphrase_file", "passphrase_fd", "passphrase_key", "mirror"))
        protection = passphrases.of_options(options)
        file = keyfile.KeyFile(site, Path(folder), protection=protection, mirror=options.get("mirror", ""))
        return file, wrapping.OwnKeks(file, "local")
