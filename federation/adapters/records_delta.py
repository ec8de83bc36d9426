"""Ledger and lineage in Delta tables, on a disk or in S3: append-only, each batch exactly once, readable by everything.

Exactly once is Delta's application transaction: a commit holds its rows and the position of the last of them. delta-rs would
take the same transaction twice, but refuses it to a handle that has not seen the first. So the position is looked up and the
commit made on the same handle, and a refused one opens the table again and looks again. One process at a time should write.

Tables stay at reader version 1 and writer version 4 or lower, which every engine reads. delta-rs does no fsync: here, on a
disk, a commit counts once its files are on it.
"""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import unquote, urlparse

import pyarrow as pa
from deltalake import CommitProperties, DeltaTable, Transaction, write_deltalake
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError

from federation.adapters import records_links, records_migrate, records_tables
from federation.core import chain, errors
from federation.core.events import Event

#: Names the committer in Delta's application transactions. Never change it: the positions are recorded under it.
APP = "federation.committer"
#: A handle gets slower with each commit, until it is opened anew from a checkpoint.
CHECKPOINT_COMMITS = 20
#: Small files beyond one for each day that are let be before they are put together.
SMALL_FILES_MAX = 100
_ATTEMPTS = 5
_RETENTION_HOURS = 24
_CONFIGURATION = {
    "delta.appendOnly": "true",
    "delta.checkpointInterval": str(CHECKPOINT_COMMITS),
    "delta.logRetentionDuration": f"interval {_RETENTION_HOURS} hours",
    "delta.deletedFileRetentionDuration": f"interval {_RETENTION_HOURS} hours",
}


class DeltaRecords:
    """A `ports.RecordSink` of Delta tables under `root`: a folder, or a URL such as `s3://bucket/prefix` and its options."""

    def __init__(self, root: str, storage_options: Mapping[str, str] | None = None) -> None:
        self._root = root.rstrip("/")
        self._options = dict(storage_options or {}) or None
        self._folder = _local(root)
        self._lock = threading.Lock()
        self._handles: dict[str, DeltaTable] = {}
        #: Table -> the position at which its head was looked up or made, and the head.
        self._heads: dict[str, tuple[int, chain.Head]] = {}

    def position(self, table: str) -> int:
        with self._lock, self._translated(table):
            return _position(self._refreshed(table))

    def head(self, table: str) -> chain.Head:
        with self._lock, self._translated(table):
            return self._head(table, self._refreshed(table))

    def append(self, table: str, events: tuple[Event, ...]) -> None:
        records_tables.table_of(table)
        with self._lock, self._translated(table):
            for _ in range(_ATTEMPTS):
                try:
                    return self._append(table, events)
                except CommitFailedError:
                    self._handles.pop(table, None)  # it has not seen what another has committed: open it again, look again
        raise errors.Unavailable(
            f"table {table} is being written by others as well",
            reason="TABLES_BUSY",
            help="Run one committer for each set of tables.",
        )

    def table(self, table: str) -> DeltaTable:
        """A handle of its own on the table's newest state, for readers."""
        with self._lock, self._translated(table):
            return self._open(table)

    def _append(self, table: str, events: tuple[Event, ...]) -> None:
        handle = self._handle(table)
        last = _position(handle)
        fresh = tuple(event for event in events if event.position > last)
        if not fresh:
            return
        head = self._head(table, handle)
        rows = records_tables.to_arrow(table, fresh, head.chain)
        before = handle.version()
        write_deltalake(handle, rows, mode="append", commit_properties=_marked(fresh[-1].position))
        self._make_durable(table, before, handle.version())
        self._heads[table] = (fresh[-1].position, records_tables.head_after(head, rows))
        if handle.version() // CHECKPOINT_COMMITS != before // CHECKPOINT_COMMITS:
            self._tidy(table)

    def _tidy(self, table: str) -> None:
        """Opens the table from its checkpoint, puts small files together and drops what nothing refers to any more."""
        handle = self._handles[table] = self._open(table)
        if _small_files(handle) <= SMALL_FILES_MAX:
            return
        before = handle.version()
        handle.optimize.compact()
        handle.vacuum(retention_hours=_RETENTION_HOURS, dry_run=False)
        handle.create_checkpoint()
        handle.cleanup_metadata()
        self._make_durable(table, before, handle.version())
        self._handles[table] = self._open(table)

    def _handle(self, table: str) -> DeltaTable:
        if table not in self._handles:
            self._handles[table] = self._open(table)
        return self._handles[table]

    def _refreshed(self, table: str) -> DeltaTable:
        handle = self._handle(table)
        handle.update_incremental()
        return handle

    def _open(self, table: str) -> DeltaTable:
        """The table, made if it is not there. Two that make it at once both succeed."""
        uri = f"{self._root}/{table}"
        try:
            handle = DeltaTable(uri, storage_options=self._options)
        except TableNotFoundError:
            handle = self._create(table, uri)
        before = handle.version()
        records_migrate.migrate(handle, table)
        self._make_durable(table, before, handle.version())
        return handle

    def _head(self, table: str, handle: DeltaTable) -> chain.Head:
        """The table's head: known from the last append, or looked up where another has written since."""
        position, known = self._heads.get(table, (-1, None))
        if known is None or position != _position(handle):
            known = records_links.last(handle, table)
            self._heads[table] = (_position(handle), known)
        return known

    def _create(self, table: str, uri: str) -> DeltaTable:
        schema = records_tables.table_of(table).schema
        if self._folder:
            self._folder.mkdir(parents=True, exist_ok=True)
        handle = DeltaTable.create(
            uri,
            schema=schema,
            mode="ignore",
            partition_by=["day"],
            description=f"{table} of the dataset federation, append-only",
            configuration=_CONFIGURATION,
            storage_options=self._options,
        )
        self._make_durable(table, -1, handle.version())
        return handle

    def _make_durable(self, table: str, before: int, version: int) -> None:
        """Brings the files of the commits after `before` onto the disk; an object store has done so by itself."""
        if not self._folder:
            return
        folder = self._folder / table
        names = [name for commit in range(before + 1, version + 1) for name in _files_of(folder, commit)]
        _sync(names)
        _sync(sorted({parent for name in names for parent in name.parents if parent.is_relative_to(self._folder)}))

    @contextmanager
    def _translated(self, table: str) -> Iterator[None]:
        """Turns what Delta and the storage raise inside into our errors; a handle that has failed is not used again."""
        try:
            yield
        except (DeltaError, OSError, pa.ArrowException) as error:
            self._handles.pop(table, None)
            raise errors.Unavailable(
                f"table {table} under {self._root} cannot be read or written: {error}",
                reason="TABLES_UNAVAILABLE",
                help="Check that the place is there and writable. Nothing is lost: the catalog holds the facts until it is.",
                metadata={"table": table},
            ) from error


def _local(root: str) -> Path | None:
    """The folder that a root is, None for an object store."""
    url = urlparse(root)
    if url.scheme == "file":
        return Path(unquote(url.path))
    return None if "://" in root else Path(root)


def _position(handle: DeltaTable) -> int:
    return handle.transaction_version(APP) or 0


def _marked(position: int) -> CommitProperties:
    # No retries inside delta-rs: it would commit beside a commit that it has not looked into.
    return CommitProperties(app_transactions=[Transaction(APP, position)], max_commit_retries=0)


def _small_files(handle: DeltaTable) -> int:
    """Files beyond the first of each day."""
    days = pa.table(handle.get_add_actions(flatten=True)).column("partition.day")
    return len(days) - len(days.unique())


def _files_of(folder: Path, commit: int) -> Iterator[Path]:
    """The files that one commit has made: data, then log, then checkpoint."""
    log = folder / "_delta_log"
    entry = log / f"{commit:020}.json"
    for line in entry.read_text().splitlines():
        if added := json.loads(line).get("add"):
            yield folder / unquote(added["path"])
    yield entry
    checkpoint = log / f"{commit:020}.checkpoint.parquet"
    if checkpoint.exists():
        yield from (checkpoint, log / "_last_checkpoint")


def _sync(paths: Iterable[Path]) -> None:
    for path in paths:
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
