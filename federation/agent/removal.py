"""Takes objects away from this site's store, but none that something else here still needs.

One object may belong to many versions, for a version reuses the files of the one before that have not changed. What is needed
is read from the manifests of all other versions here and of all transfers under way, never counted; a manifest that cannot be
read keeps all objects of its generations.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from federation import failpoints, ports
from federation.agent import catalog as agent_catalog
from federation.agent import journal, locks, spool, versions
from federation.core import dataset, errors, transfer
from federation.crypto import layout, manifest


@dataclass(frozen=True, kw_only=True)
class _Needed:
    """What stays: objects by key, whole generations, manifests by digest."""

    objects: frozenset[str]
    generations: frozenset[str]
    manifests: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class _Holding:
    """A version, here or on its way, with its manifest; None for one that cannot be read: all of its generations stay."""

    digest: str
    generations: tuple[str, ...]
    made: dataset.Manifest | None


class Removal:
    """Removes replicas, and what transfers left. `locks_` are by dataset uid: a transfer makes its manifest known under it."""

    def __init__(
        self,
        *,
        store: ports.ObjectStore,
        book: journal.Journal,
        catalog: agent_catalog.Catalog,
        opener: versions.Versions,
        spooled: spool.Spool,
        locks_: locks.NamedLocks,
    ) -> None:
        self._store = store
        self._book = book
        self._catalog = catalog
        self._opener = opener
        self._spool = spooled
        self._locks = locks_

    def drop(self, ordered: transfer.DropReplica) -> None:
        """Removes a replica's objects and its manifest, and tells the catalog. Doing it again is doing it once.

        Nothing happens where the catalog has a replica here that is not being dropped: the answer to an earlier word that it is
        gone was lost, and it has come again since. Unavailable (VERSION_IN_USE) while a new version that may reuse its files is
        being written here.
        """
        sealed = ordered.sealed
        name, uid = sealed.version.name.short, sealed.dataset_uid
        with self._locks.hold(uid):
            self._require_unused(name)
            transfers, others = self._others(uid)
            if any(other.version.name.short == name for other in others):
                return
            self._opener.forget(name)
            digest = sealed.version.manifest_digest
            needed = self._needed(uid, sealed.version.generations, transfers, others)
            self._remove(uid, digest, sealed.version.generations, self._stored(digest), needed)
            self._opener.forget(name)  # it may have been opened once more before its manifest was gone
            self._catalog.finish_drop(ordered.version)

    def clear(self, row: journal.TransferRow) -> None:
        """Removes what a transfer has stored that did not become a replica."""
        uid = row.start.dataset_uid
        with self._locks.hold(uid):
            data = self._spool.manifest(row.transfer)
            if data is not None:
                made = manifest.decode(data)
                needed = self._needed(uid, made.generations, *self._others(uid, without=row.transfer))
                self._remove(uid, manifest.digest(data), made.generations, made, needed)

    def _remove(
        self, uid: str, digest: str, generations: tuple[str, ...], made: dataset.Manifest | None, needed: _Needed
    ) -> None:
        for key in self._keys(uid, generations, made):
            found = layout.parse(key)
            assert isinstance(found, layout.ObjectKey)
            if key not in needed.objects and found.generation not in needed.generations:
                self._store.delete(key)
                failpoints.hit("agent.object_removed")
        # The manifest goes last: it says what is still to be removed.
        if digest not in needed.manifests:
            self._store.delete(layout.manifest_key(digest))

    def _keys(self, uid: str, generations: tuple[str, ...], made: dataset.Manifest | None) -> Iterator[str]:
        """The objects of a manifest; of one that is gone or damaged, all that lies in its generations."""
        if made is not None:
            yield from dict.fromkeys(layout.object_key(uid, each.generation, each.object_id) for each in made.files)
            return
        for generation in generations:
            for info in list(self._store.list(layout.generation_prefix(uid, generation))):
                if isinstance(layout.parse(info.key), layout.ObjectKey):
                    yield info.key

    def _others(self, uid: str, *, without: str = "") -> tuple[list[_Holding], list[dataset.SealedVersion]]:
        """What transfers under way will need, and the versions that lie here and are not being dropped.

        In this order: a transfer ends here only when its version is one of those, so none is missed between the two looks.
        """
        rows = [row for row in self._book.transfers() if row.transfer != without and row.start.dataset_uid == uid]
        live = [row.transfer for row in rows if row.state is not journal.BringState.GIVEN_UP]
        kept = [data for data in map(self._spool.manifest, live) if data is not None]  # before it has one it relies on nothing
        transfers = [_holding(manifest.digest(data), manifest.decode(data)) for data in kept]
        return transfers, [sealed for sealed in self._catalog.sealed_versions() if sealed.dataset_uid == uid]

    def _needed(
        self, uid: str, generations: Iterable[str], transfers: list[_Holding], others: list[dataset.SealedVersion]
    ) -> _Needed:
        asked = frozenset(generations)
        holdings = [*transfers, *(self._held(sealed, asked) for sealed in others)]
        objects = {
            layout.object_key(uid, entry.generation, entry.object_id)
            for holding in holdings
            for entry in (holding.made.files if holding.made and asked.intersection(holding.generations) else ())
            if entry.generation in asked
        }
        unreadable = {generation for holding in holdings if holding.made is None for generation in holding.generations}
        return _Needed(
            objects=frozenset(objects),
            generations=frozenset(unreadable),
            manifests=frozenset(holding.digest for holding in holdings),
        )

    def _held(self, sealed: dataset.SealedVersion, asked: frozenset[str]) -> _Holding:
        """What a version at this site needs; its manifest is read only where it may share objects with what goes."""
        version = sealed.version
        shared = asked.intersection(version.generations)
        if not shared:
            return _Holding(digest=version.manifest_digest, generations=(), made=None)
        try:
            return _holding(version.manifest_digest, self._opener.checked(sealed).manifest)
        except errors.DataCorrupt:
            return _Holding(digest=version.manifest_digest, generations=version.generations, made=None)

    def _require_unused(self, name: str) -> None:
        for row in self._book.writes():
            if row.base == name and row.state in (journal.WriteState.OPEN, journal.WriteState.COMPLETE):
                raise errors.Unavailable(
                    f"write {row.write} may reuse files of {name}, which is to be removed",
                    reason="VERSION_IN_USE",
                    help="It is removed when the write has ended.",
                    retry_seconds=5,
                )

    def _stored(self, digest: str) -> dataset.Manifest | None:
        """A manifest as it lies in the store; None where it is gone or is another."""
        try:
            data = b"".join(self._store.read(layout.manifest_key(digest)))
        except errors.NotFound:
            return None
        return manifest.decode(data) if manifest.digest(data) == digest else None


def _holding(digest: str, made: dataset.Manifest) -> _Holding:
    return _Holding(digest=digest, generations=made.generations, made=made)
