"""Compares a site's store with what the catalog says lies there. Finds what is wrong, changes nothing."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from federation import ports
from federation.agent import catalog as agent_catalog
from federation.agent import journal, locks, versions
from federation.core import dataset, errors
from federation.crypto import container, layout, manifest

MISSING = "MISSING"
DAMAGED = "DAMAGED"
ORPHAN = "ORPHAN"
KEY_MISSING = "KEY_MISSING"
MANIFEST_INVALID = "MANIFEST_INVALID"


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that is wrong. `object` is a store key, or a generation for a key; `bytes` is what an orphan takes."""

    finding: str
    object: str
    version: str = ""
    detail: str = ""
    bytes: int = 0


@dataclass
class _Expected:
    """What the catalog says lies here: objects by store key with the version that names them first, and manifests."""

    objects: dict[str, tuple[dataset.FileEntry, str]] = field(default_factory=dict)
    manifests: set[str] = field(default_factory=set)
    generations: set[str] = field(default_factory=set)
    unreadable_datasets: set[str] = field(default_factory=set)


class Checker:
    """Checks this site's store. `locks_` are by dataset uid: a transfer makes its manifest known under it."""

    def __init__(
        self,
        *,
        store: ports.ObjectStore,
        keys: ports.KeyConnector,
        catalog: agent_catalog.Catalog,
        book: journal.Journal,
        opener: versions.Versions,
        locks_: locks.NamedLocks,
    ) -> None:
        self._store = store
        self._locks = locks_
        self._keys = keys
        self._catalog = catalog
        self._book = book
        self._opener = opener

    def check(self, *, read_objects: bool = False) -> Iterator[Finding]:
        """What is wrong, as it is found. With `read_objects` every object is read and its digest compared."""
        before, moving = self._book.writes(), self._moving()
        expected = _Expected()
        for sealed in self._catalog.sealed_versions():
            yield from self._check_version(sealed, expected)
        seen: set[str] = set()
        strangers: list[str] = []
        for info in self._store.list():
            if info.key in expected.objects:
                seen.add(info.key)
                yield from self._check_object(info, *expected.objects[info.key], read_objects=read_objects)
            elif info.key not in expected.manifests:
                strangers.append(info.key)
        yield from self._missing(expected, seen)
        yield from self._orphans(strangers, expected, before, moving)

    def remove_orphans(self) -> Iterator[Finding]:
        """Removes objects that two looks in a row have both found to be nobody's; yields each once it is gone.

        What a transfer under way may build on stays, and so do files that are not ours.
        """
        found = {row.object: row for row in self.check() if row.finding == ORPHAN}
        again = {row.object for row in self.check() if row.finding == ORPHAN} if found else set()
        for key in sorted(found.keys() & again):
            parsed = layout.parse(key)
            if parsed is None:  # somebody else's, who shares the store with us
                continue
            uid = parsed.dataset_uid if isinstance(parsed, layout.ObjectKey) else self._dataset_of(key)
            with self._locks.hold(uid):
                if uid in self._moving():
                    continue
                self._store.delete(key)
            yield found[key]

    def _check_version(self, sealed: dataset.SealedVersion, expected: _Expected) -> Iterator[Finding]:
        name, key = sealed.version.name.short, layout.manifest_key(sealed.version.manifest_digest)
        expected.manifests.add(key)
        try:
            opened = self._opener.checked(sealed)
        except errors.DataCorrupt as error:
            # Without its manifest nobody can tell which objects are this version's, so none of its dataset is called an orphan.
            expected.unreadable_datasets.add(sealed.dataset_uid)
            kind = MISSING if error.reason == "MANIFEST_MISSING" else MANIFEST_INVALID
            yield Finding(finding=kind, object=key, version=name, detail=error.message)
            return
        yield from self._check_keys(opened, expected)
        for entry in opened.manifest.files:
            object_key = layout.object_key(sealed.dataset_uid, entry.generation, entry.object_id)
            expected.objects.setdefault(object_key, (entry, name))

    def _check_keys(self, opened: versions.Opened, expected: _Expected) -> Iterator[Finding]:
        keys = {key.generation: key for key in opened.sealed.keys}
        for generation in opened.manifest.generations:
            if generation in expected.generations:
                continue
            expected.generations.add(generation)
            if generation not in keys:
                detail = "the catalog has no key of this generation for this site"
                yield Finding(finding=KEY_MISSING, object=generation, version=opened.name, detail=detail)
                continue
            try:
                self._keys.unwrap(keys[generation])
            except (errors.PermissionDenied, errors.DataCorrupt, errors.FailedPrecondition) as error:
                yield Finding(finding=KEY_MISSING, object=generation, version=opened.name, detail=error.message)

    def _check_object(
        self, info: ports.ObjectInfo, entry: dataset.FileEntry, version: str, *, read_objects: bool
    ) -> Iterator[Finding]:
        detail = ""
        if info.bytes != entry.object_bytes:
            detail = f"{entry.path!r} is {info.bytes} bytes long in the store and {entry.object_bytes} in the manifest"
        elif read_objects:
            detail = self._damage(info.key, entry)
        if detail:
            yield Finding(finding=DAMAGED, object=info.key, version=version, detail=detail)

    def _damage(self, key: str, entry: dataset.FileEntry) -> str:
        sha256, header = hashlib.sha256(), b""
        for piece in self._store.read(key):
            header = header or piece[: container.HEADER]
            sha256.update(piece)
        if header[container.SALT :].hex() != entry.commitment:
            return f"{entry.path!r} is not the object that the manifest names: it was swapped, or is not encrypted"
        if sha256.hexdigest() != entry.object_sha256:
            return f"{entry.path!r} has other bytes than the manifest says"
        return ""

    def _missing(self, expected: _Expected, seen: set[str]) -> Iterator[Finding]:
        for key, (entry, version) in expected.objects.items():
            if key not in seen:
                yield Finding(finding=MISSING, object=key, version=version, detail=f"{entry.path!r} is not in the store")

    def _moving(self) -> frozenset[str]:
        """Datasets of which something comes here, and is not a version's yet, or goes, and is not one's any more."""
        coming = {row.start.dataset_uid for row in self._book.transfers()}
        return frozenset(coming | {drop.sealed.dataset_uid for drop in self._book.drops()})

    def _dataset_of(self, key: str) -> str:
        """The dataset of a manifest that no version names; '' where it cannot be told."""
        try:
            return manifest.decode(b"".join(self._store.read(key))).dataset_uid
        except (errors.DataCorrupt, errors.NotFound):
            return ""

    def _orphans(
        self,
        strangers: list[str],
        expected: _Expected,
        before: tuple[journal.WriteRow, ...],
        moving: frozenset[str],
    ) -> Iterator[Finding]:
        """Objects that nothing names and that no write, transfer or drop before, during or after the look explains.

        What was being written meanwhile is no orphan.
        """
        if not strangers:
            return
        now = self._book.writes()
        finished = {row.write for row in before if row.state in (journal.WriteState.COMMITTED, journal.WriteState.ABORTED)}
        writing = [row for row in (*before, *now) if row.write not in finished]
        generations = {row.generation for row in writing}
        manifests = {layout.manifest_key(row.version.manifest_digest) for row in writing if row.version}
        moving = moving | self._moving()
        for key in strangers:
            match layout.parse(key):
                case layout.ObjectKey(dataset_uid=uid, generation=generation):
                    explained = generation in generations or uid in expected.unreadable_datasets | moving
                case _:
                    # What tries a store leaves a few bytes there if it is killed meanwhile.
                    explained = key.startswith(layout.PROBES) or key in manifests or self._dataset_of(key) in moving
            info = None if explained else self._store.info(key)
            if info is not None:
                detail = "no version names it, and nobody is writing it"
                yield Finding(finding=ORPHAN, object=key, detail=detail, bytes=info.bytes)
