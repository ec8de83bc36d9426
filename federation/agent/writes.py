"""New versions in the making at this site, from the first object to the manifest: a person's, a run's, or an ingest's.

Everything of a write lies under its own key generation, so that a write that does not become a version leaves nothing: its row
in the journal comes before its first object and goes after its last.
"""

from __future__ import annotations

import io
import threading
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from federation import ports
from federation.agent import catalog as agent_catalog
from federation.agent import journal, locks, uploads, versions
from federation.agent.identity import Identity
from federation.core import columns as columns_core
from federation.core import dataset, errors, ids, lineage
from federation.crypto import layout, manifest

#: A person's write to which nothing happens for this time is dropped.
ABANDONED = timedelta(hours=1)
#: A repeated question about a write that was committed is answered for this time.
REMEMBERED = timedelta(days=1)
#: Files of one stream are made known to the journal in groups: one durable write for so many.
GROUP = 256

#: Data keys by class of columns.
Deks = Mapping[str, bytes]


@dataclass(frozen=True, kw_only=True)
class Owner:
    """Whose write it is: a run's output, or a person's under a grant. Nobody else may touch it."""

    run: str = ""
    grant: str = ""
    grant_token: bytes = field(default=b"", repr=False)
    alias: str = ""
    dataset: str
    dataset_uid: str
    expire_time: datetime
    column_classes: tuple[columns_core.ColumnClass, ...] = ()


class Writes:
    """All writes of this site."""

    def __init__(
        self,
        *,
        site: str,
        store: ports.ObjectStore,
        keys: ports.KeyConnector,
        identity: Identity,
        book: journal.Journal,
        catalog: agent_catalog.Catalog,
        opener: versions.Versions,
        clock: ports.Clock,
        ids_: ports.Ids,
    ) -> None:
        self._site = site
        self._store = store
        self._keys = keys
        self._identity = identity
        self._book = book
        self._catalog = catalog
        self._opener = opener
        self._clock = clock
        self._ids = ids_
        self._locks = locks.NamedLocks()
        self._activity = _Activity(clock)

    def begin(self, owner: Owner, *, base: str = "") -> tuple[journal.WriteRow, Deks]:
        """A new write with a key generation of its own, and that generation's DEKs by class.

        A run's output that is being written is the same write again, so that many workers write one output together;
        FailedPrecondition (WRITE_CLOSED) once it was completed.
        """
        with self._locks.hold(f"{owner.run}/{owner.alias}" if owner.run else owner.grant):
            for row in self._book.writes(run=owner.run) if owner.run else ():
                if row.alias == owner.alias and row.state is not journal.WriteState.ABORTED:
                    return self._open(row), {key.sensitivity: self._keys.unwrap(key) for key in (row.key, *row.class_keys)}
            return self._begin(owner, base)

    def _begin(self, owner: Owner, base: str) -> tuple[journal.WriteRow, Deks]:
        generation = self._ids.new("g")
        made = {
            name: self._keys.generate(generation, owner.dataset_uid, name) for name in columns_core.names(owner.column_classes)
        }
        key, *class_keys = (wrapped for _, wrapped in made.values())
        row = journal.WriteRow(
            write=self._ids.new("w"),
            run=owner.run,
            grant=owner.grant,
            grant_token=owner.grant_token,
            alias=owner.alias,
            dataset=owner.dataset,
            dataset_uid=owner.dataset_uid,
            generation=generation,
            key=key,
            class_keys=tuple(class_keys),
            column_classes=owner.column_classes,
            base=base,
            create_time=self._clock.now(),
            expire_time=owner.expire_time,
        )
        self._book.add_write(row)
        return row, {name: dek for name, (dek, _) in made.items()}

    def of(self, write: str, *, run: str = "", grant: str = "") -> journal.WriteRow:
        """A write of that run or grant; NotFound (WRITE_MISSING) for anybody else's."""
        row = self._book.write(write)
        if row is None or (row.run, row.grant) != (run, grant):
            raise errors.NotFound(
                f"there is no write {write!r} of yours at {self._site}",
                reason="WRITE_MISSING",
                help="It was dropped, or never begun: begin a new one.",
                metadata={"write": write},
            )
        return row

    def put_stream(self, parts: Iterator[uploads.Part], *, run: str = "", grant: str = "") -> tuple[int, int]:
        """Stores the files of a stream; returns how many and their bytes.

        A file that fails ends the stream; what was stored before it and is not yet known to the journal is removed again.
        """
        count = size = 0
        group: list[dataset.FileEntry] = []
        row: journal.WriteRow | None = None
        try:
            for part in parts:
                if not isinstance(part, uploads.Header):
                    raise uploads.stream_invalid("data came without a header")
                if row is None or part.write != row.write:
                    self._flush(row, group)
                    row = self._open(self.of(part.write, run=run, grant=grant))
                with self._activity.of(row.write):
                    entry = self._receive(row, part, parts, group)
                group.append(entry)
                count, size = count + 1, size + entry.object_bytes
                if len(group) == GROUP:
                    self._flush(row, group)
            self._flush(row, group)
        except BaseException:
            self._remove(row, group)
            raise
        return count, size

    def put(self, row: journal.WriteRow, object_id: str, data: uploads.Ciphertext) -> None:
        """Stores one object of a write; the journal learns of it by `add`."""
        self._store.put(layout.object_key(row.dataset_uid, row.generation, object_id), data.binary())

    def add(self, row: journal.WriteRow, entries: Iterable[dataset.FileEntry]) -> None:
        """Makes stored objects part of the write; they are removed again where it takes no more."""
        entries = list(entries)
        try:
            self._book.add_objects(row.write, entries)
        except errors.FederationError:
            self._remove(row, entries)
            raise

    def complete(
        self,
        row: journal.WriteRow,
        *,
        reused_paths: Iterable[str] = (),
        columns: Iterable[tuple[str, str]] = (),
        source: str = "",
    ) -> journal.WriteRow:
        """Ends a write: its manifest is made, signed and stored. Ending it again gives the same."""
        with self._locks.hold(row.write):
            current = self._known(row.write)
            if current.state is journal.WriteState.ABORTED:
                raise _closed(row.write)
            if current.state is journal.WriteState.OPEN:
                own = self._book.objects(row.write)
                reused = self._reusable(current, tuple(reused_paths), {entry.path for entry in own})
                data = manifest.encode(made := _manifest(current, (*own, *reused)))
                self._book.complete_write(row.write, self._version(current, made, data, columns, source), reused)
                current = self._known(row.write)
            if current.state is journal.WriteState.COMPLETE:
                self._ensure_manifest(current)
            return current

    def commit(self, row: journal.WriteRow) -> journal.WriteRow:
        """Makes a person's completed write a version of the catalog. Again is harmless."""
        with self._locks.hold(row.write):
            current = self._known(row.write)
            if current.state is journal.WriteState.COMPLETE and current.version is not None:
                self._ensure_manifest(current)
                version = self._catalog.commit_version(current.grant_token, current.version)
                self._book.commit_write(row.write, version.name.short)
            return self._known(row.write)

    def ready(self, run: str, report: lineage.LineageReport) -> tuple[journal.WriteRow, ...]:
        """The writes of a run, at most one for each output, with their manifests in the store.

        Many workers may write one output, and none of them knows when the others are done: what has files and was not completed
        is completed here, for the run has ended, with the columns that `report` has. An output without files is as if it was
        never begun.
        """
        found = []
        for row in self._book.writes(run=run):
            begun = row.state is journal.WriteState.OPEN and self._book.objects(row.write)
            if begun or row.state is journal.WriteState.COMPLETE:
                found.append(self.complete(row, columns=report.output(row.alias).columns))
        return tuple(found)

    def drop(self, write: str) -> None:
        """Ends a write that did not become a version and removes all that it stored; a committed one stays as it is.

        Whether a completed one became a version the catalog is asked, so this may raise Unavailable and is then called again.
        """
        with self._locks.hold(write):
            row = self._book.write(write)
            if row is None or row.state is journal.WriteState.COMMITTED:
                return
            keep_manifest = False
            if row.state is journal.WriteState.COMPLETE and row.version is not None:
                committed, keep_manifest = self._referenced(row.generation, row.version.manifest_digest)
                if committed:
                    self._book.commit_write(write, committed)
                    return
            if self._book.abort_write(write):
                self._erase(row, keep_manifest=keep_manifest)

    def drop_run(self, run: str) -> None:
        """Drops all writes of a run that did not become versions."""
        for row in self._book.writes(run=run):
            self.drop(row.write)

    def sweep(self) -> None:
        """Drops what nobody will complete: writes of runs that are over, of people who went away, of a dead process."""
        now = self._clock.now()
        for row in self._book.writes():
            if row.state is journal.WriteState.COMMITTED:
                if row.create_time + REMEMBERED < now:
                    self._book.forget_write(row.write)
            elif row.state is journal.WriteState.ABORTED:
                self._erase(row, keep_manifest=True)
                self._book.forget_write(row.write)
            elif self._abandoned(row, now):
                self.drop(row.write)

    def _abandoned(self, row: journal.WriteRow, now: datetime) -> bool:
        if row.run:
            run = self._book.run(row.run)
            return run is None or run.state.over
        return self._activity.rested(row, now)

    def _receive(
        self, row: journal.WriteRow, header: uploads.Header, parts: Iterator[uploads.Part], group: list[dataset.FileEntry]
    ) -> dataset.FileEntry:
        path = ids.relative_path(header.path)
        if any(entry.path == path for entry in group) or self._book.has_object(row.write, path):
            raise journal.duplicate_path(path)
        key = layout.object_key(row.dataset_uid, row.generation, header.object_id)
        incoming = uploads.Incoming(parts)
        self._store.put(key, incoming.binary())
        try:
            return incoming.entry(header, row.generation)
        except errors.FederationError:
            self._store.delete(key)
            raise

    def _flush(self, row: journal.WriteRow | None, group: list[dataset.FileEntry]) -> None:
        if row is not None and group:
            self._book.add_objects(row.write, group)
            group.clear()

    def _remove(self, row: journal.WriteRow | None, entries: Iterable[dataset.FileEntry]) -> None:
        for entry in entries:
            assert row is not None  # an entry is always of a write
            self._store.delete(layout.object_key(row.dataset_uid, row.generation, entry.object_id))

    def _open(self, row: journal.WriteRow) -> journal.WriteRow:
        if row.state is not journal.WriteState.OPEN:
            raise _closed(row.write)
        return row

    def _known(self, write: str) -> journal.WriteRow:
        row = self._book.write(write)
        if row is None:
            raise _closed(write)
        return row

    def _reusable(self, row: journal.WriteRow, paths: tuple[str, ...], taken: set[str]) -> list[dataset.FileEntry]:
        if not paths:
            return []
        before = self._opener.open(row.base).manifest if row.base else None
        base = {} if before is None or before.column_classes else {entry.path: entry for entry in before.files}
        for path in paths:
            if path in taken:
                raise journal.duplicate_path(path)
            if path not in base:
                raise errors.InvalidArgument(
                    f"{path!r} cannot be reused: {row.base or 'no base version'} does not have it",
                    reason="PATH_NOT_IN_BASE",
                    help="Begin the write with its base version, and send files that are not in it.",
                    violations={"reused_paths": path},
                )
            taken.add(path)
        return [base[path] for path in paths]

    def _version(
        self, row: journal.WriteRow, made: dataset.Manifest, data: bytes, columns: Iterable[tuple[str, str]], source: str
    ) -> dataset.NewVersion:
        digest = manifest.digest(data)
        rows = [entry.rows for entry in made.files]
        return dataset.NewVersion(
            dataset=row.dataset,
            dataset_uid=row.dataset_uid,
            manifest_digest=digest,
            signature=manifest.sign(self._identity.signing_private, row.dataset_uid, digest),
            files=len(made.files),
            total_bytes=made.total_bytes,
            object_bytes=made.object_bytes,
            rows=sum(rows) if rows and min(rows) >= 0 else -1,
            columns=tuple(sorted(columns)),
            generations=made.generations,
            keys=(row.key, *row.class_keys) if row.generation in made.generations else (),
            column_classes=row.column_classes,
            source=source,
            alias=row.alias,
        )

    def _ensure_manifest(self, row: journal.WriteRow) -> None:
        """Stores the manifest of a completed write, if a crash or a full disk kept it from being stored."""
        assert row.version is not None
        key = layout.manifest_key(row.version.manifest_digest)
        if self._store.info(key) is not None:
            return
        data = manifest.encode(_manifest(row, self._book.objects(row.write)))
        try:
            self._store.put(key, io.BytesIO(data))
        except errors.AlreadyExists:
            return  # another write with just these files came first

    def _referenced(self, generation: str, digest: str) -> tuple[str, bool]:
        """The version that has this generation, '' where none has, and whether any version has that manifest."""
        name, kept = "", False
        for sealed in self._catalog.sealed_versions():
            kept = kept or sealed.version.manifest_digest == digest
            if generation in sealed.version.generations:
                name = name or sealed.version.name.short
        return name, kept

    def _erase(self, row: journal.WriteRow, *, keep_manifest: bool) -> None:
        for info in list(self._store.list(layout.generation_prefix(row.dataset_uid, row.generation))):
            self._store.delete(info.key)
        if row.version is not None and not keep_manifest:
            self._store.delete(layout.manifest_key(row.version.manifest_digest))


class _Activity:
    """When something last happened to a write, so that a long upload is not taken for one that nobody goes on with."""

    def __init__(self, clock: ports.Clock) -> None:
        self._clock = clock
        self._begin = clock.now()
        self._lock = threading.Lock()
        self._busy: Counter[str] = Counter()
        self._last: dict[str, datetime] = {}

    @contextmanager
    def of(self, write: str) -> Iterator[None]:
        """Something happens to a write inside the block."""
        with self._lock:
            self._busy[write] += 1
        try:
            yield
        finally:
            with self._lock:
                self._busy[write] -= 1
                self._last[write] = self._clock.now()

    def rested(self, row: journal.WriteRow, now: datetime) -> bool:
        """Whether nothing has happened to a write for long, as far as this process can know."""
        with self._lock:
            last = max(row.create_time, self._begin, self._last.get(row.write, row.create_time))
            return not self._busy[row.write] and now > min(last + ABANDONED, row.expire_time)


def _manifest(row: journal.WriteRow, entries: Iterable[dataset.FileEntry]) -> dataset.Manifest:
    files = tuple(sorted(entries, key=lambda entry: entry.path))
    return dataset.Manifest(dataset_uid=row.dataset_uid, files=files, column_classes=row.column_classes)


def _closed(write: str) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"write {write} takes no more: it was completed or dropped",
        reason="WRITE_CLOSED",
        help="Begin a new one.",
        metadata={"write": write},
    )
