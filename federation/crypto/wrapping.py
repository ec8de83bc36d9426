"""DEKs as rows of the catalog, and a site's keyring, which alone opens them.

A DEK is sealed twice, by AES-256-GCM with associated data that says which dataset, generation, class and site the row is of:
inside under a key made of its generation's own secret (see `shredding`), outside under the site's KEK. A row that is moved to
another place does not open there; one whose generation's secret is destroyed opens nowhere any more, whoever keeps it; and a
new KEK re-wraps the outside alone, so that the DEK does not appear.

`wrapped` is base64 of what the KEK made of nonce[12] | ciphertext[32] | tag[16].
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import os
import secrets
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from federation.core import errors, keys
from federation.core.dataset import WrappedKey
from federation.crypto import canonical, hpke, shredding, signing
from federation.crypto.secrets import Secret

DEK = 32
KEK = 32
_NONCE = 12


def seal(key: bytes, plaintext: bytes, place: bytes) -> bytes:
    """nonce[12] | ciphertext | tag[16], by AES-256-GCM with a random nonce."""
    nonce = os.urandom(_NONCE)
    return nonce + AESGCM(key).encrypt(nonce, plaintext, place)


def open_(key: bytes, sealed: bytes, place: bytes) -> bytes:
    """What was sealed; ValueError where key, bytes or place are others."""
    try:
        return AESGCM(key).decrypt(sealed[:_NONCE], sealed[_NONCE:], place)
    except InvalidTag:
        raise ValueError("it does not open") from None


@dataclass(frozen=True, kw_only=True)
class Material:
    """What a keyring holds: the tree of its generations' secrets, its signing key and its sealing key, and its KEKs by id.

    New DEKs take the `current` KEK; a connector whose KEKs live elsewhere has none here. `destroyed` are the names (dataset's
    uid, generation) of what is gone from the tree.
    """

    site: str
    tree: shredding.Tree
    signing: Secret
    sealing: Secret
    keks: Mapping[str, Secret]
    current: str = ""
    destroyed: tuple[tuple[str, str], ...] = ()

    @classmethod
    def new(cls, site: str, *, keks: bool = True) -> Material:
        """Fresh keys for a site."""
        made = cls(
            site=site,
            tree=shredding.Tree.new(),
            signing=Secret(signing.new_private()),
            sealing=Secret(hpke.new_pair()[0]),
            keks={},
        )
        return made.rotated() if keks else made

    def rotated(self) -> Material:
        """With a fresh current KEK beside those of before."""
        kek = f"kek-{secrets.token_hex(8)}"
        return dataclasses.replace(self, keks={**self.keks, kek: Secret(os.urandom(KEK))}, current=kek)

    def without(self, names: Iterable[tuple[str, str]]) -> Material:
        """With the secrets of those generations destroyed."""
        gone = tuple(names)
        tree = self.tree.without(shredding.point(*name) for name in gone)
        return dataclasses.replace(self, tree=tree, destroyed=tuple(sorted({*self.destroyed, *gone})))


class Store(Protocol):
    """Where a keyring's material is kept."""

    def material(self) -> Material:
        """The material as it is now, whoever changed it."""
        ...

    def change(self, change: Callable[[Material], Material]) -> Material:
        """Replaces the material by what the function makes of it, durably, one change after the other."""
        ...


class Keks(Protocol):
    """A site's KEKs: they seal and open, and do not come out where that can be had."""

    kind: str

    def current(self) -> str:
        """The id of the KEK that new rows are wrapped by."""
        ...

    def ids(self) -> tuple[str, ...]:
        """All that are there."""
        ...

    def seal(self, kek: str, plaintext: bytes, place: bytes) -> bytes:
        """Bytes that open with this KEK at this place alone: purpose, dataset, generation, class, site and KEK, joined."""
        ...

    def open(self, kek: str, sealed: bytes, place: bytes) -> bytes:
        """What was sealed; ValueError where it does not open, LookupError for a KEK that is not here."""
        ...

    def rotate(self) -> str:
        """Makes a new KEK the current one; its id."""
        ...

    def retire(self, kek: str) -> None:
        """Destroys a KEK that is not the current one, as surely as its place can."""
        ...


class MemoryStore:
    """Material in memory."""

    def __init__(self, material: Material) -> None:
        self._material = material
        self._lock = threading.Lock()

    def material(self) -> Material:
        """See `Store`."""
        return self._material

    def change(self, change: Callable[[Material], Material]) -> Material:
        """See `Store`."""
        with self._lock:
            self._material = change(self._material)
            return self._material


class OwnKeks:
    """KEKs that lie in the material itself."""

    def __init__(self, store: Store, kind: str) -> None:
        self._store = store
        self.kind = kind

    def current(self) -> str:
        """See `Keks`."""
        return self._store.material().current

    def ids(self) -> tuple[str, ...]:
        """See `Keks`."""
        return tuple(sorted(self._store.material().keks))

    def seal(self, kek: str, plaintext: bytes, place: bytes) -> bytes:
        """See `Keks`."""
        return seal(self._store.material().keks[kek].reveal(), plaintext, place)

    def open(self, kek: str, sealed: bytes, place: bytes) -> bytes:
        """See `Keks`."""
        return open_(self._store.material().keks[kek].reveal(), sealed, place)

    def rotate(self) -> str:
        """See `Keks`."""
        return self._store.change(Material.rotated).current

    def retire(self, kek: str) -> None:
        """See `Keks`."""

        def retired(material: Material) -> Material:
            left = {name: key for name, key in material.keks.items() if name != kek}
            return dataclasses.replace(material, keks=left)

        self._store.change(retired)


class Keyring:
    """A site's keys at work. Fills `KeyConnector` and `KeyCustody`; where material and KEKs are is the connector's affair."""

    def __init__(self, store: Store, keks: Keks) -> None:
        self._store = store
        self._keks = keks
        self.site = store.material().site

    def __repr__(self) -> str:
        return f"<{type(self).__name__} site={self.site}>"

    def generate(self, generation: str, dataset_uid: str, sensitivity: str = keys.DEFAULT) -> tuple[bytes, WrappedKey]:
        """A new DEK, and the same wrapped."""
        dek = os.urandom(DEK)
        return dek, self.wrap(dek, generation, dataset_uid, sensitivity)

    def wrap(self, dek: bytes, generation: str, dataset_uid: str, sensitivity: str = keys.DEFAULT) -> WrappedKey:
        """Wraps a DEK under its generation's secret and the current KEK; KEY_DESTROYED where that secret is gone."""
        if len(dek) != DEK:
            raise errors.InvalidArgument(f"a DEK is {DEK} bytes long, not {len(dek)}", reason="KEY_INVALID")
        row = self._blank(generation, dataset_uid, sensitivity)
        return self._outside(row, seal(self._inner_key(row), dek, _place("fed/dek-wrap/v2", row)))

    def unwrap(self, key: WrappedKey) -> bytes:
        """The DEK. PermissionDenied (KEY_NOT_OURS) for another site's row, DataCorrupt (KEY_INVALID) for a wrong one.

        FailedPrecondition (KEY_DESTROYED) where its generation's secret is gone.
        """
        inside = self._inside(key)
        try:
            return open_(self._inner_key(key), inside, _place("fed/dek-wrap/v2", key))
        except ValueError:
            raise _invalid(key) from None

    def rewrap(self, key: WrappedKey) -> WrappedKey:
        """The same row under the current KEK; itself where it is so already. The DEK does not appear."""
        current = self._keks.current()
        return key if key.kek == current else self._outside(dataclasses.replace(key, kek=current), self._inside(key))

    def inside(self, key: WrappedKey) -> bytes:
        """The DEK as its generation's secret alone seals it: what an escrow keeps, so that erasure reaches it too."""
        self._inner_key(key)
        return self._inside(key)

    def adopt(self, inside: bytes, generation: str, dataset_uid: str, sensitivity: str = keys.DEFAULT) -> WrappedKey:
        """The row of what `inside` gave, under the current KEK; DataCorrupt (KEY_INVALID) where it is of another place."""
        row = self._blank(generation, dataset_uid, sensitivity)
        try:
            open_(self._inner_key(row), inside, _place("fed/dek-wrap/v2", row))
        except ValueError:
            raise _invalid(row) from None
        return self._outside(row, inside)

    def rotate(self) -> str:
        """Makes a fresh KEK the current one; its id. Rows of before open as they did."""
        return self._keks.rotate()

    def retire(self, kek: str) -> None:
        """Destroys a KEK: rows that still name it are lost. FailedPrecondition (KEK_CURRENT) for the current one."""
        if kek == self._keks.current():
            raise errors.FailedPrecondition(
                f"{kek} is the current KEK of site {self.site}",
                reason="KEK_CURRENT",
                help="Rotate first.",
                metadata={"kek": kek},
            )
        if kek in self._keks.ids():
            self._keks.retire(kek)

    def destroy(self, dataset_uid: str, generations: Iterable[str]) -> None:
        """Destroys the generations' secrets for good, durably before it returns. Again is harmless."""
        names = tuple((dataset_uid, generation) for generation in generations)
        self._store.change(lambda material: material.without(names))

    def status(self) -> keys.ConnectorStatus:
        """What there is, by name."""
        return keys.ConnectorStatus(
            kind=self._keks.kind,
            kek=self._keks.current(),
            keks=self._keks.ids(),
            destroyed=tuple(generation for _, generation in self._store.material().destroyed),
        )

    def signing_key(self) -> bytes:
        """The site's Ed25519 private key."""
        return self._store.material().signing.reveal()

    def sealing_pair(self) -> tuple[bytes, bytes]:
        """The site's HPKE key: (private, public)."""
        private = self._store.material().sealing.reveal()
        return private, hpke.public_bytes(private)

    def _blank(self, generation: str, dataset_uid: str, sensitivity: str) -> WrappedKey:
        return WrappedKey(
            generation=generation,
            site=self.site,
            dataset_uid=dataset_uid,
            kek=self._keks.current(),
            wrapped="",
            sensitivity=sensitivity,
        )

    def _inner_key(self, row: WrappedKey) -> bytes:
        secret = self._store.material().tree.secret(shredding.point(row.dataset_uid, row.generation))
        if secret is None:
            raise errors.FailedPrecondition(
                f"the secret of generation {row.generation} was destroyed at site {self.site}: what it sealed is gone for good",
                reason="KEY_DESTROYED",
                help="It was erased; no backup brings it back.",
                metadata={"generation": row.generation, "site": self.site},
            )
        return HKDFExpand(hashes.SHA256(), KEK, _place("fed/dek-wrap-key/v2", row)).derive(secret)

    def _outside(self, row: WrappedKey, inside: bytes) -> WrappedKey:
        sealed = self._keks.seal(row.kek, inside, _kek_place(row))
        return dataclasses.replace(row, wrapped=base64.b64encode(sealed).decode())

    def _inside(self, row: WrappedKey) -> bytes:
        if row.site != self.site:
            raise self._not_ours(row)
        try:
            sealed = base64.b64decode(row.wrapped, validate=True)
            if base64.b64encode(sealed).decode() != row.wrapped:
                raise ValueError("bits that mean nothing")
            return self._keks.open(row.kek, sealed, _kek_place(row))
        except LookupError:
            raise self._not_ours(row) from None
        except (ValueError, binascii.Error):
            raise _invalid(row) from None

    def _not_ours(self, row: WrappedKey) -> errors.PermissionDenied:
        return errors.PermissionDenied(
            f"the key of generation {row.generation} is wrapped by {row.kek} of site {row.site}; {self.site} lacks it",
            reason="KEY_NOT_OURS",
            help="Ask that site's gateway to hand the data over.",
            metadata={"generation": row.generation, "site": row.site, "kek": row.kek},
        )


def _invalid(row: WrappedKey) -> errors.DataCorrupt:
    return errors.DataCorrupt(
        f"the wrapped key of generation {row.generation} does not open: the row was changed, or belongs elsewhere",
        reason="KEY_INVALID",
        help="Restore the row of the catalog; the data stays sealed until then.",
        metadata={"generation": row.generation, "site": row.site},
    )


def _place(purpose: str, row: WrappedKey) -> bytes:
    return canonical.join(purpose, row.dataset_uid, row.generation, row.sensitivity, row.site)


def _kek_place(row: WrappedKey) -> bytes:
    return canonical.join("fed/kek-wrap/v2", row.dataset_uid, row.generation, row.sensitivity, row.site, row.kek)
