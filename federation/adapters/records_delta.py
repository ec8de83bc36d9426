"""Ledger and lineage in Delta tables, on a disk or in S3: append-only, each batch exactly once, readable by everything.

Exactly once is Delta's application transaction: a commit holds its rows and the position of the last of them. delta-rs would
take the same transaction twice, and put together the same files twice, if it were let to go past commits that it has not seen.
It is not: each commit here follows the very state that it was made from (no retries inside delta-rs), on the handle on which
the position was looked up. Where another was quicker, the handle is brought up to date and looked at again; the files that are
written already stay good. So two committers at once are slow, and nothing else.

Tables stay at reader version 1 and writer version 4 or lower, which every engine reads.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

import pyarrow as pa
import pyarrow.compute as pc
from deltalake import CommitProperties, DeltaTable, Transaction
from deltalake.exceptions import CommitFailedError, DeltaError, TableNotFoundError
from deltalake.transaction import AddAction, PostCommitHookProperties, RemoveAction

from federation import failpoints, jitter
from federation.adapters import records_links, records_migrate, records_tables
from federation.adapters.records_files import Place, Written
from federation.adapters.records_opening import open_table
from federation.core import chain, compaction, errors
from federation.core.events import Event

#: Names the committer in Delta's application transactions. Never change it: the positions are recorded under it.
APP = "federation.committer"
#: A handle gets slower with each commit, until it is opened anew from a checkpoint: each time so many commits have been made.
CHECKPOINT_COMMITS = 20
#: Entries of the log that a checkpoint has made needless are kept for so long, and files that were put together.
LOG_HOURS = 1
FILE_HOURS = 4
#: Between two looks for files that nothing refers to any more.
TIDY_SECONDS = 3600.0
_ATTEMPTS = 10
_PAUSE_SECONDS = 0.02
_CONFIGURATION = {
    "delta.appendOnly": "true",
    "delta.checkpointInterval": str(CHECKPOINT_COMMITS),
    "delta.dataSkippingStatsColumns": "position",
    "delta.logRetentionDuration": f"interval {LOG_HOURS} hours",
    "delta.deletedFileRetentionDuration": f"interval {FILE_HOURS} hours",
}
#: Checkpoints and cleaning are `tend`'s, beside the appends.
_NO_HOOKS = PostCommitHookProperties(create_checkpoint=False, cleanup_expired_logs=False)


class _Table:
    """What this process knows of one table. `lock` is held for an append, `care` for a step that goes on beside appends."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.lock = threading.Lock()
        self.care = threading.Lock()
        self.handle: DeltaTable | None = None
        #: Where the chain ended at the transaction of this position.
        self.head: tuple[int, chain.Head] | None = None
        self.steps: Iterator[None] | None = None
        #: The version up to which it was tended, and when files were last looked for.
        self.tended = 0
        self.tidied = 0.0


class DeltaRecords:
    """A `ports.RecordSink` of Delta tables under `root`: a folder, or a URL such as `s3://bucket/prefix` and its options."""

    def __init__(self, root: str, storage_options: Mapping[str, str] | None = None) -> None:
        self._place = Place(root, storage_options)
        self._tables = {name: _Table(name) for name in records_tables.TABLES}
        self._honest = threading.Event()

    def position(self, table: str) -> int:
        with self._appending(table) as known:
            handle = self._handle(known)
            handle.update_incremental()
            return _position(handle)

    def head(self, table: str) -> chain.Head:
        with self._appending(table) as known:
            handle = self._handle(known)
            handle.update_incremental()
            return self._head(known, handle)

    def append(self, table: str, events: tuple[Event, ...]) -> None:
        with self._appending(table) as known:
            handle = self._handle(known)
            last = -1
            for _ in _attempts(table):
                if last != _position(handle):
                    last = _position(handle)
                    fresh = tuple(event for event in events if event.position > last)
                    if not fresh:
                        return
                    before = self._head(known, handle)
                    rows = records_tables.to_arrow(table, fresh, before.chain)
                    head = fresh[-1].position, records_tables.head_after(before, rows)
                    added = [_added(file) for file in self._write(table, rows)]
                    failpoints.hit("record.files_written")
                if self._commit(known, handle, added, position=head[0]):
                    known.head = head
                    return

    def seal(self, table: str) -> None:
        with self._appending(table) as known:
            handle = self._handle(known)
            for _ in _attempts(table):
                if self._commit(known, handle, [], position=_position(handle)):
                    return

    def tend(self, table: str) -> bool:
        known = self._known(table)
        if not known.care.acquire(blocking=False):
            return False
        try:
            with self._translated(known):
                handle = known.handle
                if known.steps is None and handle and handle.version() >= known.tended + CHECKPOINT_COMMITS:
                    known.steps = self._steps(known)
                steps, known.steps = known.steps, None  # one that fails is not gone on with
                if steps is None or next(steps, True):
                    return False
                known.steps = steps
                return True
        finally:
            known.care.release()

    def probe(self) -> None:
        if not self._honest.is_set():
            self._place.probe()
            self._honest.set()

    def position_of(self, handle: DeltaTable) -> int:
        """The position of the last event that a table has, as it is at a handle's version."""
        return _position(handle)

    def table(self, table: str) -> DeltaTable:
        """A handle of its own on the table's newest state, for readers."""
        known = self._known(table)
        with self._translated(known):
            return self._open(known)

    def _known(self, table: str) -> _Table:
        records_tables.table_of(table)
        return self._tables[table]

    @contextmanager
    def _appending(self, table: str) -> Iterator[_Table]:
        known = self._known(table)
        with known.lock, self._translated(known):
            yield known

    # -- commits -------------------------------------------------------------------------------------------------------------

    def _commit(
        self, known: _Table, handle: DeltaTable, actions: Sequence[AddAction | RemoveAction], *, position: int | None = None
    ) -> bool:
        """Makes one commit that follows the handle's state, and counts once this returns; False where another was quicker."""
        before = handle.version()
        transactions = None if position is None else [Transaction(APP, position)]
        try:
            handle.create_write_transaction(
                list(actions),
                mode="append",
                schema=handle.schema(),
                partition_by=["day"],
                commit_properties=CommitProperties(app_transactions=transactions, max_commit_retries=0),
                post_commithook_properties=_NO_HOOKS,
            )
        except CommitFailedError:
            time.sleep(jitter.pause(_PAUSE_SECONDS))  # never in step with the other
            handle.update_incremental()
            return False
        failpoints.hit("record.committed")
        self._place.make_durable(known.name, before, before + 1)
        failpoints.hit("record.durable")
        handle.update_incremental()
        return True

    def _write(self, table: str, rows: pa.Table) -> tuple[Written, ...]:
        """The rows as files, one for each day."""
        schema = _stored(rows.schema)
        days = rows.column("day").unique().to_pylist()
        parts = (rows if len(days) == 1 else rows.filter(pc.equal(rows.column("day"), day)) for day in days)
        return tuple(
            self._place.write(table, day, part.select(schema.names).to_batches(), schema)
            for day, part in zip(days, parts, strict=True)
        )

    def _head(self, known: _Table, handle: DeltaTable) -> chain.Head:
        """The table's head: known from the last append, or looked up where another has written since."""
        position = _position(handle)
        if known.head is None or known.head[0] != position:
            known.head = (position, records_links.last(handle, known.name))
        return known.head[1]

    # -- handles -------------------------------------------------------------------------------------------------------------

    def _handle(self, known: _Table) -> DeltaTable:
        if known.handle is None:
            known.handle = self._open(known)
            # Nobody knows whether whoever made the newest commits came to bring them onto the disk.
            self._place.make_durable(known.name, known.handle.version() - CHECKPOINT_COMMITS, known.handle.version())
        return known.handle

    def _open(self, known: _Table) -> DeltaTable:
        """The table, made if it is not there, with the columns of this release. Two that make it at once both succeed."""
        self.probe()
        uri = self._place.uri(known.name)
        try:
            handle = open_table(uri, self._place.options)
        except TableNotFoundError:
            self._place.prepare()
            handle = self._create(uri, known.name, records_tables.table_of(known.name).schema)
            failpoints.hit("record.created")
        before = handle.version()
        records_migrate.migrate(handle, known.name)
        self._place.make_durable(known.name, before - 1, handle.version())
        return handle

    def _create(self, uri: str, name: str, schema: pa.Schema) -> DeltaTable:
        return DeltaTable.create(
            uri,
            schema=schema,
            mode="ignore",
            partition_by=["day"],
            description=f"{name} of the dataset federation, append-only",
            configuration=_CONFIGURATION,
            storage_options=self._place.options,
        )

    @contextmanager
    def _translated(self, known: _Table) -> Iterator[None]:
        """Turns what Delta and the storage raise inside into our errors; a handle that has failed is not used again."""
        try:
            yield
        except (DeltaError, OSError, pa.ArrowException) as error:
            known.handle = known.head = known.steps = None
            raise errors.Unavailable(
                f"table {known.name} under {self._place.root} cannot be read or written: {error}",
                reason="TABLES_UNAVAILABLE",
                help="Check that the place is there, writable and not full. Nothing is lost: the catalog holds the facts.",
                metadata={"table": known.name},
            ) from error

    # -- care ----------------------------------------------------------------------------------------------------------------

    def _steps(self, known: _Table) -> Iterator[None]:
        """All that is due, a bounded step at a time: checkpoint, small files put together, what is needless thrown away."""
        handle = self._checkpointed(known)
        yield
        while files := compaction.plan(file for file in _files(handle) if file.rows):
            self._compact(known, handle, files)
            failpoints.hit("record.compacted")
            yield
        if time.monotonic() - known.tidied > TIDY_SECONDS or not known.tidied:
            handle = self._checkpointed(known)  # the log is cut up to here
            handle.cleanup_metadata()
            failpoints.hit("record.cleaned")
            yield
            handle.vacuum(retention_hours=FILE_HOURS, dry_run=False, full=True)
            failpoints.hit("record.vacuumed")
            known.tidied = time.monotonic()

    def _checkpointed(self, known: _Table) -> DeltaTable:
        """A handle from a checkpoint that is made here; appends go on from such a one as well."""
        handle = self._open(known)
        handle.create_checkpoint()
        failpoints.hit("record.checkpointed")
        self._place.make_durable(known.name, handle.version() - 1, handle.version())
        handle, fresh = self._open(known), self._open(known)
        known.tended = handle.version()
        with known.lock:
            if known.handle is not None:
                fresh.update_incremental()
                known.handle = fresh
        return handle

    def _compact(self, known: _Table, handle: DeltaTable, files: tuple[compaction.DataFile, ...]) -> None:
        """Puts files together. Appends wait for the commit alone, not for the writing."""
        schema = _stored(pa.schema(handle.schema().to_arrow()))
        batches = (_as(schema, batch) for file in files for batch in self._place.read(known.name, file.path))
        written = self._place.write(known.name, files[0].day, batches, schema)
        if written.rows != sum(file.rows for file in files):
            raise errors.DataCorrupt(
                f"{len(files)} files of table {known.name} hold {written.rows} rows, not those that its log tells of",
                reason="TABLE_DAMAGED",
                help="Run `fed ledger verify` to see what is wrong, and restore the table.",
                metadata={"table": known.name},
            )
        failpoints.hit("record.put_together")
        actions: list[AddAction | RemoveAction] = [_added(written, changes=False), *(_removed(file) for file in files)]
        with known.lock:
            for _ in _attempts(known.name):
                handle.update_incremental()
                there = {file.path for file in _files(handle)}
                if not there.issuperset(file.path for file in files):
                    return  # another has put them together, or this commit was made after all though it seemed to fail
                if self._commit(known, handle, actions):
                    return


def _attempts(table: str) -> Iterator[None]:
    """Some attempts, and then Unavailable: whoever else writes is in the way all the time."""
    yield from [None] * _ATTEMPTS
    raise errors.Unavailable(
        f"table {table} is being written by others as well",
        reason="TABLES_BUSY",
        help="One committer for each table is meant: see who else writes there.",
        metadata={"table": table},
    )


def _position(handle: DeltaTable) -> int:
    return handle.transaction_version(APP) or 0


def _stored(schema: pa.Schema) -> pa.Schema:
    """The columns that lie in files: the day is in their path."""
    return pa.schema([field for field in schema if field.name != "day"])


def _as(schema: pa.Schema, batch: pa.RecordBatch) -> pa.RecordBatch:
    """A batch with the columns of the table as it is now: those that came after it was written are empty."""
    names = batch.schema.names
    columns = [
        batch.column(field.name).cast(field.type) if field.name in names else pa.nulls(len(batch), field.type)
        for field in schema
    ]
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _files(handle: DeltaTable) -> list[compaction.DataFile]:
    """The table's files; one that another engine has written without statistics tells no rows and is let be."""
    told = pa.table(handle.get_add_actions(flatten=True)).to_pylist()
    return [
        compaction.DataFile(
            path=row["path"],
            day=row["partition.day"],
            first=row.get("min.position") or 0,
            rows=row.get("num_records") or 0,
            bytes=row["size_bytes"],
        )
        for row in told
    ]


def _added(file: Written, *, changes: bool = True) -> AddAction:
    stats = {
        "numRecords": file.rows,
        "minValues": {"position": file.first},
        "maxValues": {"position": file.last},
        "nullCount": {"position": 0},
    }
    return AddAction(file.path, file.bytes, {"day": str(file.day)}, int(file.time * 1000), changes, json.dumps(stats))


def _removed(file: compaction.DataFile) -> RemoveAction:
    """A file that another has taken the rows of: no row goes, so that an append-only table allows it."""
    return RemoveAction(file.path, False, int(time.time() * 1000), file.bytes, {"day": str(file.day)})
