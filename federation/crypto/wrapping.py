"""DEKs wrapped by a site's KEK: AES-256-GCM whose associated data says which dataset, generation, class and site the row is of.

A row that is moved to another place does not open there. `wrapped` is base64 of nonce[12] | ciphertext[32] | tag[16].
"""

from __future__ import annotations

import base64
import binascii
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from federation.core import errors
from federation.core.dataset import WrappedKey
from federation.crypto import canonical, hpke, signing
from federation.crypto.secrets import Secret

DEK = 32
KEK = 32
_NONCE = 12
#: The one sensitivity class there is.
_CLASS = "default"


def wrap(kek: bytes, kek_id: str, dek: bytes, *, generation: str, dataset_uid: str, site: str) -> WrappedKey:
    """The DEK as a row of the catalog."""
    if len(dek) != DEK:
        raise errors.InvalidArgument(f"a DEK is {DEK} bytes long, not {len(dek)}", reason="KEY_INVALID")
    nonce = os.urandom(_NONCE)
    sealed = AESGCM(kek).encrypt(nonce, dek, _place(dataset_uid, generation, site, kek_id))
    wrapped = base64.b64encode(nonce + sealed).decode()
    return WrappedKey(generation=generation, site=site, dataset_uid=dataset_uid, kek=kek_id, wrapped=wrapped)


def unwrap(kek: bytes, key: WrappedKey) -> bytes:
    """The DEK; DataCorrupt (KEY_INVALID) when the row was changed, moved or cut."""
    try:
        sealed = base64.b64decode(key.wrapped, validate=True)
        return AESGCM(kek).decrypt(sealed[:_NONCE], sealed[_NONCE:], _place(key.dataset_uid, key.generation, key.site, key.kek))
    except (InvalidTag, ValueError, binascii.Error):
        raise errors.DataCorrupt(
            f"the wrapped key of generation {key.generation} does not open: the row was changed, or belongs elsewhere",
            reason="KEY_INVALID",
            help="Restore the row of the catalog; the data stays sealed until then.",
            metadata={"generation": key.generation, "site": key.site},
        ) from None


def _place(dataset_uid: str, generation: str, site: str, kek_id: str) -> bytes:
    return canonical.join("fed/dek-wrap/v1", dataset_uid, generation, _CLASS, site, kek_id)


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a site's keyring holds: KEKs by id (new DEKs take the current one), its signing key and its sealing key."""

    site: str
    keks: Mapping[str, Secret]
    current: str
    signing: Secret
    sealing: Secret

    @classmethod
    def new(cls, site: str) -> Material:
        """Fresh keys for a site."""
        kek_id = f"kek-{secrets.token_hex(8)}"
        keks = {kek_id: Secret(os.urandom(KEK))}
        signing_key, sealing_key = Secret(signing.new_private()), Secret(hpke.new_pair()[0])
        return cls(site=site, keks=keks, current=kek_id, signing=signing_key, sealing=sealing_key)


class Keyring:
    """A site's keys at work, in memory. Fills `KeyConnector`; where the material is kept is a connector's affair."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self.site = material.site

    def __repr__(self) -> str:
        return f"<{type(self).__name__} site={self.site} keks={len(self._material.keks)}>"

    def generate(self, generation: str, dataset_uid: str) -> tuple[bytes, WrappedKey]:
        """A new DEK, and the same wrapped."""
        dek = os.urandom(DEK)
        return dek, self.wrap(dek, generation, dataset_uid)

    def wrap(self, dek: bytes, generation: str, dataset_uid: str) -> WrappedKey:
        """Wraps a DEK under the current KEK."""
        current = self._material.current
        kek = self._material.keks[current].reveal()
        return wrap(kek, current, dek, generation=generation, dataset_uid=dataset_uid, site=self.site)

    def unwrap(self, key: WrappedKey) -> bytes:
        """The DEK; PermissionDenied (KEY_NOT_OURS) for another site's row, DataCorrupt (KEY_INVALID) for a wrong one."""
        kek = self._material.keks.get(key.kek)
        if key.site != self.site or kek is None:
            raise errors.PermissionDenied(
                f"the key of generation {key.generation} is wrapped by {key.kek} of site {key.site}; {self.site} lacks it",
                reason="KEY_NOT_OURS",
                help="Ask that site's gateway to hand the data over.",
                metadata={"generation": key.generation, "site": key.site, "kek": key.kek},
            )
        return unwrap(kek.reveal(), key)

    def signing_key(self) -> bytes:
        """The site's Ed25519 private key."""
        return self._material.signing.reveal()

    def sealing_pair(self) -> tuple[bytes, bytes]:
        """The site's HPKE key: (private, public)."""
        private = self._material.sealing.reveal()
        return private, hpke.public_bytes(private)
