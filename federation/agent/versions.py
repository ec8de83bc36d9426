"""The versions that lie at this site: their manifests, checked before use, their keys, and the bytes of their objects."""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from federation import ports
from federation.agent import catalog as agent_catalog
from federation.agent.sealing import Dek
from federation.core import dataset, errors, ids
from federation.core.keys import DEFAULT
from federation.crypto import layout, manifest

#: Manifests of so many versions are kept ready; what has not been asked for longest goes first.
_KEPT = 16
#: How it is told that a row does not open, or is not there, which may have been replaced, or have come, since it was looked up.
_REPLACED = frozenset({"KEY_NOT_OURS", "KEY_INVALID", "KEY_MISSING", "COLUMN_CLASS_ABSENT"})


@dataclass(frozen=True, kw_only=True)
class Opened:
    """A version whose manifest was found to be the one that its site signed.

    `entries` are its files by generation and object id.
    """

    sealed: dataset.SealedVersion
    data: bytes
    manifest: dataset.Manifest
    entries: Mapping[tuple[str, str], dataset.FileEntry]

    @property
    def name(self) -> str:
        """`sales/flights@3`."""
        return self.sealed.version.name.short

    def entry(self, generation: str, object_id: str) -> dataset.FileEntry:
        """A file of this version; PermissionDenied (OBJECT_NOT_IN_VERSION) for an object of any other."""
        found = self.entries.get((generation, object_id))
        if found is None:
            raise errors.PermissionDenied(
                f"{self.name} has no object {object_id!r} of generation {generation!r}",
                reason="OBJECT_NOT_IN_VERSION",
                help="Read objects that the version's manifest names.",
                metadata={"version": self.name},
            )
        return found


@dataclass(frozen=True, kw_only=True)
class Range:
    """So many bytes of an object, piece by piece."""

    size: int
    pieces: Iterator[bytes]


class Versions:
    """Opens versions of this site's store."""

    def __init__(self, store: ports.ObjectStore, keys: ports.KeyConnector, catalog: agent_catalog.Catalog) -> None:
        self._store = store
        self._keys = keys
        self._catalog = catalog
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Opened] = OrderedDict()

    def open(self, name: str) -> Opened:
        """A version by its name; DataCorrupt (MANIFEST_INVALID, MANIFEST_MISSING) when its manifest is not what was signed."""
        short = ids.version(name).short
        with self._lock:
            if short in self._kept:
                self._kept.move_to_end(short)
                return self._kept[short]
        opened = self.checked(self._catalog.sealed_version(short))
        with self._lock:
            self._kept[short] = opened
            while len(self._kept) > _KEPT:
                self._kept.popitem(last=False)
        return opened

    def forget(self, name: str) -> None:
        """Opens a version anew when it is next asked for: it is being removed."""
        with self._lock:
            self._kept.pop(ids.version(name).short, None)

    def newest(self, dataset_uid: str) -> Opened | None:
        """The newest version of a dataset that lies here and may be built on, None where there is none."""
        here = (sealed for sealed in self._catalog.sealed_versions() if sealed.dataset_uid == dataset_uid)
        found = max(here, key=lambda sealed: sealed.version.number, default=None)
        return None if found is None or found.outdated else self.open(found.version.name.short)

    def checked(self, sealed: dataset.SealedVersion) -> Opened:
        """The version with its manifest read from the store, its digest compared and its signature verified."""
        digest = sealed.version.manifest_digest
        try:
            data = b"".join(self._store.read(layout.manifest_key(digest)))
        except errors.NotFound as error:
            raise errors.DataCorrupt(
                f"the manifest of {sealed.version.name.short} is not in the store of this site",
                reason="MANIFEST_MISSING",
                help="Run `fed fsck` for this site.",
                metadata={"version": sealed.version.name.short, "manifest": digest},
            ) from error
        check_manifest(data, sealed)
        decoded = manifest.decode(data)
        entries = {(entry.generation, entry.object_id): entry for entry in decoded.files}
        return Opened(sealed=sealed, data=data, manifest=decoded, entries=entries)

    def deks(self, opened: Opened, sensitivities: Iterable[str] = (DEFAULT,)) -> tuple[Dek, ...]:
        """The DEKs of these classes of each generation of the version.

        Rows that were kept at hand and do not open are looked up once more: a rotation puts others in their place, and destroys
        the KEK of those.
        DataCorrupt (KEY_MISSING) where the catalog has none for this site, FailedPrecondition (COLUMN_CLASS_ABSENT) where only
        that of a column class is not here: its key did not go along with the replica.
        """
        wanted = tuple(sensitivities)
        try:
            return tuple(self._unwrapped(opened, wanted))
        except errors.FederationError as error:
            if error.reason not in _REPLACED:
                raise
        self.forget(opened.name)
        return tuple(self._unwrapped(self.open(opened.name), wanted))

    def _unwrapped(self, opened: Opened, sensitivities: tuple[str, ...]) -> Iterator[Dek]:
        keys = {(key.generation, key.sensitivity): key for key in opened.sealed.keys}
        for generation, sensitivity in itertools.product(opened.manifest.generations, sensitivities):
            if (generation, sensitivity) not in keys:
                if (generation, DEFAULT) in keys:
                    raise errors.FailedPrecondition(
                        f"this site has no key of column class {sensitivity!r} of {opened.name}",
                        reason="COLUMN_CLASS_ABSENT",
                        help="Read it at a site that has it; the policy decides which classes go along with a replica.",
                        metadata={"version": opened.name, "class": sensitivity},
                    )
                raise errors.DataCorrupt(
                    f"{opened.name} has no key of generation {generation} at this site",
                    reason="KEY_MISSING",
                    help="Run `fed fsck` for this site.",
                    metadata={"version": opened.name, "generation": generation},
                )
            yield Dek(generation, sensitivity, self._keys.unwrap(keys[generation, sensitivity]))

    def read(self, opened: Opened, entry: dataset.FileEntry, offset: int, length: int, *, reader: str = "") -> Range:
        """A range of an object's ciphertext; `length` -1 is to its end. `reader` is told to the store (see its port)."""
        if offset < 0 or length < -1 or offset > entry.object_bytes:
            raise errors.OutOfRange(
                f"range {offset}+{length} is outside of object {entry.object_id} ({entry.object_bytes} bytes)",
                reason="RANGE_INVALID",
                metadata={"object_bytes": str(entry.object_bytes)},
            )
        wanted = entry.object_bytes - offset if length == -1 else min(length, entry.object_bytes - offset)
        if wanted == 0:
            return Range(size=0, pieces=iter(()))
        key = layout.object_key(opened.sealed.dataset_uid, entry.generation, entry.object_id)
        return Range(size=wanted, pieces=self._store.read(key, offset, wanted, reader=reader))


def check_manifest(data: bytes, sealed: dataset.SealedVersion) -> None:
    """Returns when those bytes are the manifest that the version names and its site signed.

    DataCorrupt (MANIFEST_INVALID) otherwise.
    """
    version = sealed.version
    if manifest.digest(data) != version.manifest_digest:
        raise errors.DataCorrupt(
            f"the manifest of {version.name.short} is not the one whose digest the catalog has",
            reason="MANIFEST_INVALID",
            help="Run `fed fsck` for this site.",
            metadata={"version": version.name.short, "manifest": version.manifest_digest},
        )
    manifest.verify(sealed.signing_key, sealed.dataset_uid, version.manifest_digest, version.signature)
