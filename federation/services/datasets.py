"""Datasets, their versions and replicas, and the keys that come with them: created, changed, committed once."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator

from federation import ports
from federation.core import card, columns, dataset, erasure, errors, ids, kinds, site
from federation.core import keys as custody
from federation.core.authorization import parties, purposes
from federation.crypto import manifest
from federation.services import access, authorization, bindings, masks, namespaces, partitions, residency, scan, sites
from federation.services.context import Context

DATASET_MUTABLE = frozenset(
    {
        *("description", "owner", "labels", "residency", "parts", "release_bytes_max"),
        *("classification", "purposes", "readers", "use_expire_time", "legal_hold", "group_size_min"),
        *("card", *(f"card.{field.name}" for field in dataclasses.fields(dataset.DataCard))),
    }
)
GROUP_SIZE_MAX = 10**9


# Datasets


def create_dataset(
    tx: ports.Transaction, ctx: Context, new: dataset.Dataset, *, origin: bindings.Origin | None = None
) -> dataset.Dataset:
    """A new dataset without a version; NotFound without its namespace, AlreadyExists when its name is taken.

    One that names `parts` is partitioned: they are datasets that are there (PARTS_INVALID otherwise). `origin` is why it is
    bound as it is, if not because whoever acts says so.
    """
    namespaces.get(tx, new.namespace)
    ids.segment(new.dataset, "dataset")
    new = checked(tx, dataclasses.replace(new, card=card.checked(new.card)))
    taken = tx.get(dataset.Dataset, new.name.short)
    if taken is not None:
        raise _taken("dataset", new.name.short, deleted=taken.delete_time is not None)
    stored = tx.insert(
        dataclasses.replace(
            new,
            owner=new.owner or tx.actor,
            latest_version=0,
            uid=ctx.ids.new("d"),
            create_time=tx.now,
            update_time=tx.now,
            delete_time=None,
        )
    )
    tx.emit("dataset.created", stored.name.resource, stored)
    if stored.residency:
        bindings.note_changed(tx, stored, origin)
    return stored


def get_dataset(tx: ports.Transaction, name: ids.DatasetName) -> dataset.Dataset:
    """One dataset, also a deleted one; NotFound when it was never there."""
    found = tx.get(dataset.Dataset, name.short)
    if found is None:
        raise authorization.absent(name)
    return found


def usable_dataset(tx: ports.Transaction, name: ids.DatasetName) -> dataset.Dataset:
    """One dataset that may be read and written; FailedPrecondition (DATASET_DELETED) for a deleted one."""
    found = get_dataset(tx, name)
    if found.delete_time is not None:
        raise errors.FailedPrecondition(
            f"dataset {name.short} is deleted",
            reason="DATASET_DELETED",
            help=f"`fed dataset undelete {name.short}` brings it back.",
            metadata={"dataset": name.short},
        )
    return found


def whole_dataset(tx: ports.Transaction, name: ids.DatasetName) -> dataset.Dataset:
    """One dataset with versions of its own; FailedPrecondition (DATASET_PARTITIONED) names the parts of one without."""
    found = usable_dataset(tx, name)
    partitions.require_whole(found)
    return found


def update_dataset(tx: ports.Transaction, given: dataset.Dataset, mask: frozenset[str]) -> dataset.Dataset:
    """Changes what the mask names; Conflict when `given.etag` is given and stale.

    A residency that forbids a site where a replica already lies is refused (RESIDENCY_VIOLATED).
    """
    stored = usable_dataset(tx, given.name)
    merged = masks.merge(stored, given, mask, DATASET_MUTABLE)
    if merged.card != stored.card:
        merged = dataclasses.replace(merged, card=card.checked(merged.card, kinds.columns_of(tx.get, stored), stored.card))
    changed = checked(tx, merged)
    _require_inherited(tx, changed)
    return put_dataset(tx, changed, etag=given.etag)


def checked(tx: ports.Transaction, given: dataset.Dataset) -> dataset.Dataset:
    """A dataset whose fields are in order: names checked, each once; InvalidArgument for what cannot be."""
    if not 0 <= given.group_size_min <= GROUP_SIZE_MAX:
        raise errors.InvalidArgument(
            f"group_size_min is {given.group_size_min}",
            reason="GROUP_SIZE_INVALID",
            help=f"Use 0 to {GROUP_SIZE_MAX}; 0 is no rule.",
            violations={"group_size_min": f"must be 0 to {GROUP_SIZE_MAX}"},
        )
    normal = dataclasses.replace(
        given,
        residency=residency.normal(given.residency),
        purposes=purposes(given.purposes),
        readers=parties(given.readers, "readers"),
    )
    return partitions.checked(tx, normal)


def _require_inherited(tx: ports.Transaction, changed: dataset.Dataset) -> None:
    """FailedPrecondition (LABEL_INHERITED) for a change that would loosen what it inherited from what it was made of."""
    known = bindings.inherited(tx, changed.name)
    looser = changed.restrictions.looser(known.restrictions)
    if looser:
        raise errors.FailedPrecondition(
            f"{changed.name.short} inherited its {', '.join(looser)} from what it was made of",
            reason="LABEL_INHERITED",
            help=f"Only a declassification loosens that: `fed dataset declassify {changed.name.short} --reason ...`.",
            metadata={"dataset": changed.name.short, "fields": ",".join(looser)},
        )


def put_dataset(
    tx: ports.Transaction, changed: dataset.Dataset, *, etag: str = "", origin: bindings.Origin | None = None
) -> dataset.Dataset:
    """Stores a changed dataset, never one whose residency its own replicas break.

    Grants that a changed residency would not have given are closed: those who read elsewhere are stopped.
    """
    outside = replica_outside(tx, changed)
    if outside is not None:
        held, where = outside
        raise errors.FailedPrecondition(
            f"{held.version.short} has a replica at {held.site} ({where}), which {', '.join(changed.residency)} forbids",
            reason="RESIDENCY_VIOLATED",
            help="Keep the residency, or write the data anew into a dataset that has it.",
            metadata={"dataset": changed.name.short, "site": held.site, "jurisdiction": where},
        )
    before = get_dataset(tx, changed.name)
    stored = tx.replace(dataclasses.replace(changed, update_time=tx.now), etag=etag)
    tx.emit("dataset.updated", stored.name.resource, stored)
    if stored.residency != before.residency:
        bindings.note_changed(tx, stored, origin)
        access.close_outside(tx, stored)
    return stored


def replica_outside(tx: ports.Transaction, bound: dataset.Dataset) -> tuple[dataset.Replica, str] | None:
    """A replica that lies where the dataset's residency forbids, with its jurisdiction; None when all is well."""
    if not bound.residency:
        return None
    forbidden = {s.site: s.jurisdiction for s in scan.every(tx, site.Site) if s.jurisdiction not in bound.residency}
    for name, where in forbidden.items():
        held = tx.list(dataset.Replica, parent=bound.name.short, where={"site": name}, limit=1)
        if held:
            return held[0], where
    return None


def delete_dataset(tx: ports.Transaction, name: ids.DatasetName, etag: str = "") -> dataset.Dataset:
    """Marks a dataset deleted and closes all grants on it, those of running jobs too.

    It is not refused because of them: whoever deletes wants the use to end. A run that still reads is stopped by its
    source's gateway and fails, a run that wants to commit to it is refused, and neither is placed again.
    """
    stored = usable_dataset(tx, name)
    deleted = tx.replace(dataclasses.replace(stored, delete_time=tx.now, update_time=tx.now), etag=etag)
    tx.emit("dataset.deleted", name.resource, deleted)
    access.close_dataset(tx, deleted)
    return deleted


def undelete_dataset(tx: ports.Transaction, name: ids.DatasetName, etag: str = "") -> dataset.Dataset:
    """Takes back a deletion; the grants that it closed stay closed."""
    stored = get_dataset(tx, name)
    if stored.delete_time is None:
        raise errors.FailedPrecondition(f"dataset {name.short} is not deleted", reason="DATASET_NOT_DELETED")
    restored = tx.replace(dataclasses.replace(stored, delete_time=None, update_time=tx.now), etag=etag)
    tx.emit("dataset.undeleted", name.resource, restored)
    return restored


# Versions and replicas


def get_version(tx: ports.Transaction, name: ids.VersionName) -> dataset.Version:
    """One version; NotFound when it is not there."""
    found = tx.get(dataset.Version, kinds.version_key(*name.dataset, name.number))
    if found is None:
        raise version_absent(name)
    return found


def version_absent(name: ids.VersionName) -> errors.NotFound:
    """What is said of a version that is not there, and of one that its caller may not know of."""
    return _absent("version", name.short, f"`fed version list {name.dataset.short}` shows what is there.")


def readable_version(tx: ports.Transaction, name: ids.VersionName) -> dataset.Version:
    """One version that may be read; FailedPrecondition (VERSION_ERASED, VERSION_COLLECTED) for one that nobody has any more."""
    found = get_version(tx, name)
    check_readable(found)
    return found


def check_readable(found: dataset.Version) -> None:
    """Returns for a version that may be read; refuses as `readable_version`."""
    if found.erase_time is not None:
        raise version_erased(found.name)
    if found.collect_time is not None:
        raise errors.FailedPrecondition(
            f"{found.name.short} was old, and was let go of at {found.collect_time:%Y-%m-%d %H:%M} UTC",
            reason="VERSION_COLLECTED",
            help=f"Use another version: `fed version list {found.name.dataset.short}` shows them.",
            metadata={"version": found.name.short},
        )


def version_erased(name: ids.VersionName) -> errors.FailedPrecondition:
    """The refusal of what was erased, for good."""
    return errors.FailedPrecondition(
        f"{name.short} was erased",
        reason="VERSION_ERASED",
        help=f"Use another version: `fed version list {name.dataset.short}` shows them.",
        metadata={"version": name.short},
    )


def get_replica(tx: ports.Transaction, name: ids.VersionName, at: str) -> dataset.Replica:
    """The replica of a version at a site; NotFound when there is none."""
    found = tx.get(dataset.Replica, f"{kinds.version_key(*name.dataset, name.number)}/{at}")
    if found is None:
        raise replica_absent(name, at)
    return found


def replica_absent(name: ids.VersionName, at: str) -> errors.NotFound:
    """What is said of a replica that is not there, and of one that its caller may not know of."""
    return _absent("replica", f"{name.short} at {at}", f"`fed replica list {name.dataset.short}` shows where it lies.")


def latest(stored: dataset.Dataset) -> int:
    """The number of the newest version; FailedPrecondition (DATASET_EMPTY) before the first."""
    if not stored.latest_version:
        raise errors.FailedPrecondition(
            f"dataset {stored.name.short} has no version yet",
            reason="DATASET_EMPTY",
            help=f"Write one: `fed dataset put {stored.name.short} PATH --site SITE`.",
            metadata={"dataset": stored.name.short},
        )
    return stored.latest_version


def commit_version(tx: ports.Transaction, ctx: Context, new: dataset.NewVersion, at: str, run: str = "") -> dataset.Version:
    """Makes what a site stored and signed the next version of its dataset, with its replica there and its keys.

    Refused when the dataset is deleted or another of the same name, when its residency forbids the site, when the
    signature is not the site's, and when a generation has no key that the site can unwrap.
    """
    stored = whole_dataset(tx, ids.dataset(new.dataset))
    source = sites.get_site(tx, at)
    _require_same(stored, new)
    residency.require_site(stored.name.short, stored.residency, at, source.jurisdiction)
    manifest.verify(source.signing_key, new.dataset_uid, new.manifest_digest, new.signature)
    if new.column_classes:
        columns.checked(new.column_classes)
    _require_unerased(tx, stored, new)
    take_keys(tx, new.generations, new.keys, dataset_uid=new.dataset_uid, at=at)
    version = tx.insert(_version(tx, ctx, stored, new, at=at, run=run))
    replica = tx.insert(new_replica(tx, ctx, version, at))
    changed = tx.replace(dataclasses.replace(stored, latest_version=version.number, update_time=tx.now))
    tx.emit("version.committed", version.name.resource, version)
    tx.emit("replica.created", version.name.replica(at), replica)
    tx.emit("dataset.updated", changed.name.resource, changed)
    return version


def _require_same(stored: dataset.Dataset, new: dataset.NewVersion) -> None:
    if stored.uid != new.dataset_uid:
        raise errors.FailedPrecondition(
            f"dataset {stored.name.short} is not the one this version was written for",
            reason="DATASET_REPLACED",
            help="Write the version again.",
            metadata={"dataset": stored.name.short, "uid": stored.uid, "given_uid": new.dataset_uid},
        )
    if min(new.files, new.total_bytes, new.object_bytes) < 0 or (new.files and not new.generations):
        raise errors.InvalidArgument(
            f"a version of {new.files} files, {new.total_bytes} bytes and {len(new.generations)} key generations cannot be",
            reason="VERSION_INVALID",
        )


def _require_unerased(tx: ports.Transaction, stored: dataset.Dataset, new: dataset.NewVersion) -> None:
    """No version reuses files of one that was erased while it was written."""
    for gone in scan.every(tx, erasure.Erasure, where={"dataset": stored.name.short}):
        if set(gone.generations).intersection(new.generations):
            raise version_erased(ids.VersionName(stored.name, gone.version))


def closed_at(tx: ports.Transaction, version: dataset.Version, at: str, classes: Iterable[str]) -> tuple[str, ...]:
    """Those of a version's column classes that a site cannot open: it has no key of them."""
    wanted = tuple(classes)
    if not wanted:
        return ()
    held = [{row.sensitivity for row in keys_at(tx, generation, at)} for generation in version.generations]
    return tuple(each for each in wanted if any(each not in have for have in held))


def class_closed_at(version: dataset.Version, at: str, closed: str) -> errors.FailedPrecondition:
    """The refusal of a column class at a site that holds the version without that class's key."""
    return errors.FailedPrecondition(
        f"site {at} holds {version.name.short} without the key of column class {closed!r}",
        reason="COLUMN_CLASS_ABSENT",
        help="Read it at a site that has it; the policy decides which classes go along with a replica.",
        metadata={"version": version.name.short, "site": at, "class": closed},
    )


def take_keys(
    tx: ports.Transaction, generations: Iterable[str], keys: Iterable[dataset.WrappedKey], *, dataset_uid: str, at: str
) -> None:
    """Stores a site's keys of generations and classes that are new to it, and requires one for each generation."""
    given: dict[str, list[dataset.WrappedKey]] = {}
    for key in keys:
        given.setdefault(key.generation, []).append(key)
    for generation in generations:
        known = keys_at(tx, generation, at)
        there = {key.sensitivity for key in known}
        found = (*known, *(key for key in given.get(generation, ()) if key.sensitivity not in there))
        if not found:
            raise errors.FailedPrecondition(
                f"site {at} has no key of generation {generation}",
                reason="KEY_MISSING",
                help="Send the wrapped key of each new generation with the version.",
                metadata={"generation": generation, "site": at},
            )
        for key in found:
            if (key.site, key.dataset_uid) != (at, dataset_uid):
                raise errors.InvalidArgument(
                    f"the key of generation {generation} is for {key.dataset_uid} at {key.site}, not for {dataset_uid} at {at}",
                    reason="KEY_FOREIGN",
                    metadata={"generation": generation, "site": at},
                )
            if key.sensitivity not in there:
                _insert_key(tx, key)


def _insert_key(tx: ports.Transaction, key: dataset.WrappedKey) -> None:
    ring = tx.get(custody.SiteKeyring, key.site)
    if ring is not None and key.kek in ring.retired:
        raise errors.FailedPrecondition(
            f"{key.kek} of site {key.site} is retired, and what it wraps would be lost",
            reason="KEK_RETIRED",
            help="Try again: the site's agent has the key re-wrapped by now.",
            metadata={"kek": key.kek, "site": key.site},
        )
    tx.insert(dataclasses.replace(key, create_time=key.create_time or tx.now))
    for escrow in tx.list(custody.Escrow, where={"site": key.site}):
        if not escrow.behind:
            tx.replace(dataclasses.replace(escrow, behind=True))


def keys_at(tx: ports.Transaction, generation: str, at: str) -> tuple[dataset.WrappedKey, ...]:
    """The rows of a generation at a site, one for each class. A site without them cannot read it."""
    return tuple(scan.every(tx, dataset.WrappedKey, parent=generation, where={"site": at}))


def _version(
    tx: ports.Transaction, ctx: Context, stored: dataset.Dataset, new: dataset.NewVersion, *, at: str, run: str
) -> dataset.Version:
    return dataset.Version(
        namespace=stored.namespace,
        dataset=stored.dataset,
        number=stored.latest_version + 1,
        manifest_digest=new.manifest_digest,
        signature=new.signature,
        signed_by=at,
        files=new.files,
        total_bytes=new.total_bytes,
        object_bytes=new.object_bytes,
        rows=new.rows,
        columns=new.columns,
        generations=new.generations,
        run=run,
        source=new.source,
        # Of what a person puts nobody knows what its columns count.
        group_size=new.group_size if run else None,
        column_classes=new.column_classes,
        uid=ctx.ids.new("v"),
        create_time=tx.now,
    )


def new_replica(tx: ports.Transaction, ctx: Context, version: dataset.Version, at: str) -> dataset.Replica:
    """The replica of a version that a site has just stored and verified, not stored yet."""
    return dataset.Replica(
        namespace=version.namespace,
        dataset=version.dataset,
        number=version.number,
        site=at,
        object_bytes=version.object_bytes,
        verify_time=tx.now,
        uid=ctx.ids.new("r"),
        create_time=tx.now,
    )


def sealed_version(tx: ports.Transaction, name: ids.VersionName, at: str) -> dataset.SealedVersion:
    """A version with the key that its manifest is signed with and those of its DEKs that are wrapped for this site."""
    return _sealed(tx, get_version(tx, name), get_dataset(tx, name.dataset).uid, at)


def sealed_versions(tx: ports.Transaction, at: str) -> Iterator[dataset.SealedVersion]:
    """All versions of which a site holds a replica; those of deleted datasets too, whose objects still lie there.

    A replica that is being dropped is not told: nothing may be built on its objects any more.
    """
    for replica in scan.every(tx, dataset.Replica, where={"site": at}):
        if replica.state is dataset.ReplicaState.DELETING:
            continue
        yield sealed_version(tx, replica.version, at)


def _sealed(tx: ports.Transaction, version: dataset.Version, uid: str, at: str) -> dataset.SealedVersion:
    rows = tuple(row for generation in version.generations for row in keys_at(tx, generation, at))
    signer = sites.get_site(tx, version.signed_by)
    return dataset.SealedVersion(
        version=version,
        dataset_uid=uid,
        signing_key=signer.signing_key,
        keys=rows,
        outdated=_outdated(tx, version, at),
    )


def _outdated(tx: ports.Transaction, version: dataset.Version, at: str) -> bool:
    """Whether one of its generations is older than the site's last rotation of DEKs, by the oldest wrapped row at any site."""
    ring = tx.get(custody.SiteKeyring, at)
    if ring is None or ring.dek_time is None:
        return False
    rows = (row for generation in version.generations for row in tx.list(dataset.WrappedKey, parent=generation))
    return any(row.create_time is not None and row.create_time <= ring.dek_time for row in rows)


def _absent(what: str, name: str, hint: str) -> errors.NotFound:
    return errors.NotFound(f"{what} {name} does not exist", help=hint, metadata={what: name})


def _taken(what: str, name: str, *, deleted: bool = False) -> errors.AlreadyExists:
    hint = f"It is deleted; `fed dataset undelete {name}` brings it back." if deleted else "Choose another name."
    return errors.AlreadyExists(f"{what} {name} exists already", help=hint, metadata={what: name})
