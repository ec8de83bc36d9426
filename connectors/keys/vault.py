"""A site's keys with Vault or OpenBao: its KEK is a transit key that never comes out, its keyring file is under a key in KV.

What Vault can truly destroy decides what lies where. A transit key costs a call for each use and is one of thousands if there
is one for each generation, and Vault's own snapshots bring it back. So the generations' secrets are the site's own file's (see
`keyfile`), sealed under a key that lives in one version of a KV-v2 secret. Each change takes a new key and destroys the
version of the old one, which Vault does for good: an old copy of the file opens nothing, nor does an old snapshot of Vault
without it.

Options: `address`, `token_file` (read again when Vault refuses the token), `ca`, `namespace`, `transit` and `kv` (mounts),
`key` (of transit), `path` (in KV), `mirror`. KEK ids name the key's version: `fed-eu-1:v3`. Documented for OpenBao 2 and Vault
1.14 and later: https://openbao.org/api-docs/secret/transit/, https://openbao.org/api-docs/secret/kv/kv-v2/.
"""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import hvac
import hvac.exceptions
import requests

from connectors.keys import keyfile
from federation.core import errors
from federation.crypto import canonical, wrapping
from federation.crypto.secrets import Secret

T = TypeVar("T")

TIMEOUT_SECONDS = 10


class VaultKeys(keyfile.FileKeyring):
    """Fills `KeyConnector`, `KeyCustody` and `KeyBackup` with a Vault."""

    def __init__(self, site: str, folder: str | Path, options: Mapping[str, str]) -> None:
        file, keks = self.opened(site, folder, options)
        file.begin(lambda: wrapping.Material.new(site, keks=False))
        super().__init__(file, keks)

    @staticmethod
    def opened(site: str, folder: str | Path, options: Mapping[str, str]) -> tuple[keyfile.KeyFile, wrapping.Keks]:
        """The file's key is among the Vault's secrets, the KEK in its transit engine."""
        server = Server(options)
        protection = KvProtection(server, options.get("kv", "secret"), options.get("path", f"fed/{site}/keyring"))
        file = keyfile.KeyFile(site, Path(folder), protection=protection, mirror=options.get("mirror", ""))
        return file, TransitKeks(server, options.get("transit", "transit"), options.get("key", f"fed-{site}"))


class Server:
    """A Vault as it is talked to: errors of its become ours here."""

    def __init__(self, options: Mapping[str, str]) -> None:
        keyfile.only(
            options,
            ("address", "token_file", "ca", "namespace", "transit", "kv", "key", "path", "mirror"),
            needed=("address", "token_file"),
        )
        self._token_file = Path(options["token_file"])
        self.address = options["address"]
        self._client = hvac.Client(
            url=self.address,
            token=self._token(),
            verify=options.get("ca", True),
            namespace=options.get("namespace"),
            timeout=TIMEOUT_SECONDS,
            allow_redirects=False,
        )

    def ask(self, call: Callable[[Any], T]) -> T:
        """What the call on the client gives; KEYS_UNAVAILABLE, KEYS_DENIED, KEYS_REFUSED."""
        try:
            return self.look(call)
        except (LookupError, ValueError) as error:
            raise errors.FailedPrecondition(
                f"{self.address} does not do as it is asked: {error}",
                reason="KEYS_REFUSED",
                help="See that the mounts are there: transit, and KV of version 2.",
            ) from None

    def look(self, call: Callable[[Any], T]) -> T:
        """As `ask`, but LookupError for what is not there, and ValueError for what is wrong."""
        try:
            try:
                return call(self._client.secrets)
            except hvac.exceptions.Forbidden:
                # Tokens end, and whoever renews them writes them into the file.
                self._client.token = self._token()
                return call(self._client.secrets)
        except (hvac.exceptions.Forbidden, hvac.exceptions.Unauthorized):
            raise errors.PermissionDenied(
                f"{self.address} refuses the token in {self._token_file}",
                reason="KEYS_DENIED",
                help="Give it a policy as docs/keys.md has it, and see that it is renewed.",
            ) from None
        except hvac.exceptions.InvalidPath:
            raise LookupError("a path is not there") from None
        except hvac.exceptions.InvalidRequest as error:
            raise ValueError(str(error)) from None
        except (hvac.exceptions.VaultError, requests.RequestException) as error:
            raise errors.Unavailable(
                f"{self.address} does not answer: {type(error).__name__}",
                reason="KEYS_UNAVAILABLE",
                help="See whether it is there and unsealed; the agent asks again.",
                metadata={"address": self.address},
            ) from None

    def _token(self) -> str:
        try:
            return self._token_file.read_text(encoding="utf-8").strip()
        except OSError as error:
            raise errors.FailedPrecondition(
                f"the token file {self._token_file} cannot be read: {error.strerror}",
                reason="KEYS_DENIED",
                help="Let Vault's agent write its token there.",
            ) from None


class TransitKeks:
    """Fills `wrapping.Keks` with the versions of one transit key. Bytes go as base64; the place is the associated data."""

    kind = "vault"

    def __init__(self, server: Server, mount: str, name: str) -> None:
        self._server = server
        self._mount = mount
        self._name = name
        try:
            server.look(lambda api: api.transit.read_key(name, mount_point=mount))
        except LookupError:
            server.ask(lambda api: api.transit.create_key(name, key_type="aes256-gcm96", mount_point=mount))

    def current(self) -> str:
        """See `Keks`."""
        return self._id(self._describe()["latest_version"])

    def ids(self) -> tuple[str, ...]:
        """See `Keks`."""
        return tuple(self._id(version) for version in sorted(int(each) for each in self._describe()["keys"]))

    def seal(self, kek: str, plaintext: bytes, place: bytes) -> bytes:
        """See `Keks`."""
        answer = self._server.ask(
            lambda api: api.transit.encrypt_data(
                self._name,
                plaintext=_text(plaintext),
                associated_data=_text(place),
                key_version=self._version(kek),
                mount_point=self._mount,
            )
        )
        return base64.b64decode(answer["data"]["ciphertext"].rpartition(":")[2])

    def open(self, kek: str, sealed: bytes, place: bytes) -> bytes:
        """See `Keks`."""
        ciphertext = f"vault:v{self._version(kek)}:{_text(sealed)}"
        try:
            answer = self._server.look(
                lambda api: api.transit.decrypt_data(
                    self._name, ciphertext=ciphertext, associated_data=_text(place), mount_point=self._mount
                )
            )
        except ValueError:
            if kek not in self.ids():
                raise LookupError(kek) from None
            raise
        return base64.b64decode(answer["data"]["plaintext"])

    def rotate(self) -> str:
        """See `Keks`."""
        self._server.ask(lambda api: api.transit.rotate_key(self._name, mount_point=self._mount))
        return self.current()

    def retire(self, kek: str) -> None:
        """See `Keks`. Transit trims from the oldest on; a version that has an older one is left until that goes."""
        least = self._version(kek) + 1
        if any(self._version(each) < self._version(kek) for each in self.ids()):
            raise errors.FailedPrecondition(
                f"an older version than {kek} is still there", reason="KEK_IN_USE", help="Retire the oldest first."
            )
        for bound in ("min_encryption_version", "min_decryption_version"):
            self._configure(**{bound: least})
        self._server.ask(lambda api: api.transit.trim_key(self._name, min_version=least, mount_point=self._mount))

    def _configure(self, **bounds: int) -> None:
        self._server.ask(lambda api: api.transit.update_key_configuration(self._name, mount_point=self._mount, **bounds))

    def _describe(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self._server.ask(lambda api: api.transit.read_key(self._name, mount_point=self._mount))[
            "data"
        ]
        return found

    def _id(self, version: int) -> str:
        return f"{self._name}:v{version}"

    def _version(self, kek: str) -> int:
        found = re.fullmatch(re.escape(self._name) + r":v([1-9][0-9]{0,8})", kek)
        if found is None:
            raise LookupError(kek)
        return int(found[1])


class KvProtection:
    """Fills `keyfile.Protection` with a key in KV, a new version for each change; older ones are destroyed after it."""

    def __init__(self, server: Server, mount: str, path: str) -> None:
        self._server = server
        self._mount = mount
        self._path = path
        self._version = 0
        self._key = Secret(b"")

    def begin(self) -> None:
        """See `keyfile.Protection`."""
        key = os.urandom(wrapping.KEK)
        answer = self._server.ask(
            lambda api: api.kv.v2.create_or_update_secret(self._path, {"key": _text(key)}, mount_point=self._mount)
        )
        self._version, self._key = answer["data"]["version"], Secret(key)

    def seal(self, plaintext: bytes, place: bytes) -> dict[str, Any]:
        """See `keyfile.Protection`."""
        sealed = wrapping.seal(self._key.reveal(), plaintext, _bound(place, self._version))
        return {"protection": "vault", "version": self._version, "sealed": _text(sealed)}

    def open(self, sealed: Mapping[str, Any], place: bytes) -> bytes:
        """See `keyfile.Protection`."""
        version = int(sealed["version"])
        if sealed["protection"] != "vault":
            raise ValueError("not sealed under a key in Vault")
        if version != self._version:
            self._key, self._version = self._read(version), version
        return wrapping.open_(self._key.reveal(), base64.b64decode(sealed["sealed"], validate=True), _bound(place, version))

    def settle(self, sealed: Mapping[str, Any]) -> None:
        """See `keyfile.Protection`."""
        answer = self._server.ask(lambda api: api.kv.v2.read_secret_metadata(self._path, mount_point=self._mount))
        rows = answer["data"]["versions"].items()
        old = [int(number) for number, row in rows if int(number) != sealed["version"] and not row["destroyed"]]
        if old:
            self._server.ask(lambda api: api.kv.v2.destroy_secret_versions(self._path, old, mount_point=self._mount))

    def _read(self, version: int) -> Secret:
        try:
            answer = self._server.look(
                lambda api: api.kv.v2.read_secret_version(
                    self._path, version=version, mount_point=self._mount, raise_on_deleted_version=True
                )
            )
        except LookupError:
            raise ValueError("the key was destroyed") from None
        return Secret(base64.b64decode(answer["data"]["data"]["key"]))


def _bound(place: bytes, version: int) -> bytes:
    return canonical.join(place, str(version))


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
