"""What a site's agent must still know after a crash: its runs, tickets, writes, transfers and grants, in one SQLite file.

Each method is one transaction that is durable when it returns, so a caller writes its intent here, acts, and records the fact.
Nothing in it opens data: tickets and tokens are stored as digests, and keys as they are wrapped by the site's key connector.
"""

from __future__ import annotations

import dataclasses
import functools
import json
import sqlite3
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

from federation.core import dataset as datasets
from federation.core import errors, lineage, metering, records
from federation.core import job as jobs
from federation.core import transfer as moves
from federation.core.columns import ColumnClass

_SCHEMA = """
CREATE TABLE IF NOT EXISTS runs (
    run TEXT PRIMARY KEY, job TEXT NOT NULL, attempt INTEGER NOT NULL, start TEXT NOT NULL, state TEXT NOT NULL,
    submission_id TEXT NOT NULL, begin_time TEXT NOT NULL DEFAULT '', stop_reason TEXT NOT NULL DEFAULT '',
    outcome TEXT NOT NULL DEFAULT '', closed INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS tickets (
    digest TEXT PRIMARY KEY, run TEXT NOT NULL, nonce TEXT NOT NULL DEFAULT '', used INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE TABLE IF NOT EXISTS tokens (digest TEXT PRIMARY KEY, run TEXT NOT NULL) STRICT;
CREATE TABLE IF NOT EXISTS writes (
    write TEXT PRIMARY KEY, run TEXT NOT NULL, grant_id TEXT NOT NULL, grant_token BLOB NOT NULL, alias TEXT NOT NULL,
    dataset TEXT NOT NULL, dataset_uid TEXT NOT NULL, generation TEXT NOT NULL, key TEXT NOT NULL, state TEXT NOT NULL,
    classes TEXT NOT NULL DEFAULT '', base TEXT NOT NULL, version TEXT NOT NULL DEFAULT '', committed TEXT NOT NULL DEFAULT '',
    create_time TEXT NOT NULL, expire_time TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS writes_by_run ON writes (run);
CREATE TABLE IF NOT EXISTS objects (
    write TEXT NOT NULL, path TEXT NOT NULL, entry TEXT NOT NULL, PRIMARY KEY (write, path)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS grants (
    grant_id TEXT PRIMARY KEY, token BLOB NOT NULL, job TEXT NOT NULL, run TEXT NOT NULL, attempt INTEGER NOT NULL,
    granted_bytes INTEGER NOT NULL DEFAULT 0, counted_bytes INTEGER NOT NULL DEFAULT 0,
    unsettled_bytes INTEGER NOT NULL DEFAULT 0, requests INTEGER NOT NULL DEFAULT 0, state TEXT NOT NULL
) STRICT;
CREATE INDEX IF NOT EXISTS grants_by_job ON grants (job, attempt);
CREATE TABLE IF NOT EXISTS traffic (
    grant_id TEXT NOT NULL, reporter TEXT NOT NULL, hour TEXT NOT NULL, sequence INTEGER NOT NULL, counts TEXT NOT NULL,
    PRIMARY KEY (grant_id, reporter, hour)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transfers (
    transfer TEXT PRIMARY KEY, attempt INTEGER NOT NULL, start TEXT NOT NULL, state TEXT NOT NULL,
    keys TEXT NOT NULL DEFAULT '', failure TEXT NOT NULL DEFAULT '', update_time TEXT NOT NULL
) STRICT;
CREATE TABLE IF NOT EXISTS transfer_objects (
    transfer TEXT NOT NULL, key TEXT NOT NULL, PRIMARY KEY (transfer, key)
) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS reports (run TEXT PRIMARY KEY, report TEXT NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS drops (version TEXT PRIMARY KEY, drop_ TEXT NOT NULL) STRICT;
"""


class RunState(StrEnum):
    """How far an agent is with a run.

    TAKEN: the intent to start it is written. RUNNING: its cluster has it. FINISHING: its commit was asked for, and whether it
    came about is not known yet. ENDED: its outcome is known. SUPERSEDED: the catalog no longer counts on it.
    """

    TAKEN = "TAKEN"
    RUNNING = "RUNNING"
    FINISHING = "FINISHING"
    ENDED = "ENDED"
    SUPERSEDED = "SUPERSEDED"

    @property
    def over(self) -> bool:
        return self in (RunState.ENDED, RunState.SUPERSEDED)


class WriteState(StrEnum):
    """OPEN takes files, COMPLETE waits for its commit, COMMITTED is a version, ABORTED is to be deleted."""

    OPEN = "OPEN"
    COMPLETE = "COMPLETE"
    COMMITTED = "COMMITTED"
    ABORTED = "ABORTED"


class GrantState(StrEnum):
    """OPEN lets bytes leave, SETTLING is final and not yet told, SETTLED is told to the catalog."""

    OPEN = "OPEN"
    SETTLING = "SETTLING"
    SETTLED = "SETTLED"


class BringState(StrEnum):
    """How far an agent is with a transfer.

    TAKEN: the intent to bring it is written. STORED: all of it is here, verified, with its keys wrapped. FAILED: an attempt's
    end is known and not yet told. WAITING: it is told, and another attempt may come. GIVEN_UP: what it left is to be removed.
    """

    TAKEN = "TAKEN"
    STORED = "STORED"
    FAILED = "FAILED"
    WAITING = "WAITING"
    GIVEN_UP = "GIVEN_UP"


@dataclass(frozen=True, kw_only=True)
class Failure:
    """Why an attempt of a transfer ended and how far it had come, as the catalog is told."""

    reason: str
    detail: str
    retryable: bool
    bytes_done: int = 0
    objects_done: int = 0


@dataclass(frozen=True, kw_only=True)
class TransferRow:
    """A transfer that this agent took. `keys` are the DEKs as this site has wrapped them, once it is STORED."""

    transfer: str
    attempt: int
    start: moves.StartTransfer
    state: BringState
    keys: tuple[datasets.WrappedKey, ...]
    failure: Failure | None
    update_time: datetime


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """How a run ended, as the catalog is told. `versions` are short names, for SUCCEEDED."""

    state: jobs.JobState
    reason: str = ""
    detail: str = ""
    exit_code: int | None = None
    retryable: bool = False
    versions: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """A run that this agent took. `begin_time` is when its work began. `closed`: nothing is left to do for it."""

    run: str
    job: str
    attempt: int
    start: jobs.StartRun
    state: RunState
    submission_id: str
    begin_time: datetime | None
    stop_reason: str
    outcome: Outcome | None
    closed: bool


@dataclass(frozen=True, kw_only=True)
class WriteRow:
    """A version in the making. `run` or `grant` says whose; `base` is the version whose files it may reuse, '' for none.

    `class_keys` are the generation's for its `column_classes`. `version` is what is to be committed, once COMPLETE; `committed`
    the short name of the version that it became.
    """

    write: str
    run: str = ""
    grant: str = ""
    grant_token: bytes = b""
    alias: str = ""
    dataset: str
    dataset_uid: str
    generation: str
    key: datasets.WrappedKey
    class_keys: tuple[datasets.WrappedKey, ...] = ()
    column_classes: tuple[ColumnClass, ...] = ()
    state: WriteState = WriteState.OPEN
    base: str = ""
    version: datasets.NewVersion | None = None
    committed: str = ""
    create_time: datetime
    expire_time: datetime


@dataclass(frozen=True, kw_only=True)
class GrantRow:
    """A grant under which bytes leave this site.

    `granted_bytes` is what was allowed to leave, `counted_bytes` what is known to have left, and `unsettled_bytes` what was
    allowed before a crash and never accounted for.
    """

    grant: str
    token: bytes
    job: str
    run: str
    attempt: int
    granted_bytes: int
    counted_bytes: int
    unsettled_bytes: int
    requests: int
    state: GrantState


class Journal:
    """The agent's durable memory. Thread-safe; one connection behind one lock."""

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = threading.RLock()
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._db.row_factory = sqlite3.Row
        self._db.execute("PRAGMA journal_mode=WAL")
        self._db.execute("PRAGMA synchronous=FULL")
        self._db.execute("PRAGMA busy_timeout=30000")
        self._db.executescript(_SCHEMA)
        path.chmod(0o600)

    def close(self) -> None:
        """Closes the file; every later call fails."""
        with self._lock:
            self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, _translated():
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # a full disk may have rolled it back already
                    self._db.execute("ROLLBACK")
                raise

    def _all(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def _one(self, sql: str, *values: Any) -> sqlite3.Row | None:
        rows = self._all(sql, *values)
        return rows[0] if rows else None

    # Runs

    def take_run(self, start: jobs.StartRun, submission_id: str) -> bool:
        """Writes the intent to start a run; False when it is known already."""
        with self._transaction() as db:
            added = db.execute(
                "INSERT OR IGNORE INTO runs (run, job, attempt, start, state, submission_id) VALUES (?, ?, ?, ?, ?, ?)",
                (start.run.run, start.job.job, start.run.attempt, records.dumps(start), RunState.TAKEN, submission_id),
            )
            return added.rowcount == 1

    def run(self, name: str) -> RunRow | None:
        """A run by its full name."""
        row = self._one("SELECT * FROM runs WHERE run = ?", name)
        return _run(row) if row else None

    def open_runs(self) -> tuple[RunRow, ...]:
        """Runs for which something is left to do, oldest first."""
        return tuple(_run(row) for row in self._all("SELECT * FROM runs WHERE closed = 0 ORDER BY rowid"))

    def move_run(self, name: str, state: RunState, *, unless: Iterable[RunState] = ()) -> bool:
        """Sets a run's state; False, and nothing changes, where it is over already or in one of `unless`."""
        barred = {RunState.ENDED, RunState.SUPERSEDED, *unless}
        with self._transaction() as db:
            marks = ", ".join("?" * len(barred))
            changed = db.execute(f"UPDATE runs SET state = ? WHERE run = ? AND state NOT IN ({marks})", (state, name, *barred))  # noqa: S608 - only marks
            return changed.rowcount == 1

    def submit_run(self, name: str) -> bool:
        """Records that the cluster has the run; False where it is over already."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE runs SET state = ? WHERE run = ? AND state = ?", (RunState.RUNNING, name, RunState.TAKEN)
            )
            return changed.rowcount == 1

    def begin_run(self, name: str, now: datetime) -> bool:
        """Records when the work of a run began; the first time stays, False for a later one and where it is over already."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE runs SET begin_time = ? WHERE run = ? AND begin_time = '' AND state NOT IN (?, ?)",
                (_text(now), name, RunState.ENDED, RunState.SUPERSEDED),
            )
            return changed.rowcount == 1

    def ask_stop(self, name: str, reason: str) -> None:
        """Records that a run is to be stopped; the first reason stays."""
        with self._transaction() as db:
            db.execute("UPDATE runs SET stop_reason = ? WHERE run = ? AND stop_reason = ''", (reason, name))

    def end_run(self, name: str, outcome: Outcome, *, closed: bool = False) -> bool:
        """Records how a run ended; the first word counts, False for a later one."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE runs SET state = ?, outcome = ?, closed = ? WHERE run = ? AND state NOT IN (?, ?)",
                (RunState.ENDED, records.dumps(outcome), int(closed), name, RunState.ENDED, RunState.SUPERSEDED),
            )
            return changed.rowcount == 1

    def close_run(self, name: str) -> None:
        """Records that nothing is left to do for a run. Its tickets and tokens end with it."""
        with self._transaction() as db:
            db.execute("UPDATE runs SET closed = 1 WHERE run = ?", (name,))
            db.execute("DELETE FROM reports WHERE run = ?", (name,))

    def forget_runs(self, before: datetime) -> int:
        """Forgets runs that are closed and began before a time, with their tickets, tokens and settled grants; how many."""
        with self._transaction() as db:
            old = [
                row["run"]
                for row in db.execute("SELECT run, begin_time FROM runs WHERE closed = 1 AND begin_time <> ''")
                if datetime.fromisoformat(row["begin_time"]) < before
            ]
            for run in old:
                db.execute("DELETE FROM tickets WHERE run = ?", (run,))
                db.execute("DELETE FROM tokens WHERE run = ?", (run,))
                settled = "SELECT grant_id FROM grants WHERE run = ? AND state = ?"
                db.execute(f"DELETE FROM traffic WHERE grant_id IN ({settled})", (run, GrantState.SETTLED))  # noqa: S608
                db.execute("DELETE FROM grants WHERE run = ? AND state = ?", (run, GrantState.SETTLED))
                db.execute("DELETE FROM runs WHERE run = ?", (run,))
        return len(old)

    # What runs tell of columns

    def add_report(self, run: str, report: lineage.LineageReport) -> None:
        """Puts what a process of a run tells to what the others have told; telling it twice is telling it once."""
        with self._transaction() as db:
            row = db.execute("SELECT report FROM reports WHERE run = ?", (run,)).fetchone()
            merged = (records.loads(lineage.LineageReport, row["report"]) if row else lineage.LineageReport()).merged(report)
            db.execute("INSERT OR REPLACE INTO reports (run, report) VALUES (?, ?)", (run, records.dumps(merged)))

    def report(self, run: str) -> lineage.LineageReport:
        """What all processes of a run have told."""
        row = self._one("SELECT report FROM reports WHERE run = ?", run)
        return records.loads(lineage.LineageReport, row["report"]) if row else lineage.LineageReport()

    # Tickets and tokens

    def add_ticket(self, digest: str, run: str) -> None:
        """Makes a ticket known; adding it again changes nothing."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO tickets (digest, run) VALUES (?, ?)", (digest, run))

    def ticket_run(self, digest: str) -> str:
        """The run that a ticket is for; '' for an unknown ticket."""
        row = self._one("SELECT run FROM tickets WHERE digest = ?", digest)
        return str(row["run"]) if row else ""

    def use_ticket(self, digest: str, nonce: str, token_digest: str) -> bool:
        """Exchanges a ticket for a token, once: False when it was used with another nonce."""
        with self._transaction() as db:
            row = db.execute("SELECT * FROM tickets WHERE digest = ?", (digest,)).fetchone()
            if row is None or (row["used"] and row["nonce"] != nonce):
                return False
            db.execute("UPDATE tickets SET used = 1, nonce = ? WHERE digest = ?", (nonce, digest))
            db.execute("INSERT OR IGNORE INTO tokens (digest, run) VALUES (?, ?)", (token_digest, row["run"]))
            return True

    def token_run(self, digest: str) -> RunRow | None:
        """The run whose token has this digest."""
        row = self._one("SELECT runs.* FROM tokens JOIN runs USING (run) WHERE tokens.digest = ?", digest)
        return _run(row) if row else None

    # Writes

    def add_write(self, row: WriteRow) -> None:
        """Makes a write known, before anything of it is stored."""
        with self._transaction() as db:
            db.execute(
                "INSERT INTO writes (write, run, grant_id, grant_token, alias, dataset, dataset_uid, generation, key, state,"
                " classes, base, create_time, expire_time) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    *(row.write, row.run, row.grant, row.grant_token, row.alias, row.dataset, row.dataset_uid, row.generation),
                    *(
                        records.dumps(row.key),
                        row.state,
                        _classes(row),
                        row.base,
                        _text(row.create_time),
                        _text(row.expire_time),
                    ),
                ),
            )

    def write(self, name: str) -> WriteRow | None:
        """A write by its id."""
        row = self._one("SELECT * FROM writes WHERE write = ?", name)
        return _write(row) if row else None

    def writes(self, *, run: str = "") -> tuple[WriteRow, ...]:
        """All writes that are known, of one run if it is named, oldest first."""
        rows = self._all("SELECT * FROM writes WHERE ? IN ('', run) ORDER BY rowid", run)
        return tuple(_write(row) for row in rows)

    def add_objects(self, write: str, entries: Iterable[datasets.FileEntry]) -> None:
        """Adds stored files to an open write, all or none.

        FailedPrecondition (WRITE_CLOSED) when it is no longer open, InvalidArgument (PATH_DUPLICATE) for a path that it has.
        """
        with self._transaction() as db:
            row = db.execute("SELECT state FROM writes WHERE write = ?", (write,)).fetchone()
            if row is None or row["state"] != WriteState.OPEN:
                raise errors.FailedPrecondition(f"write {write} takes no more files", reason="WRITE_CLOSED")
            for entry in entries:
                try:
                    db.execute(
                        "INSERT INTO objects (write, path, entry) VALUES (?, ?, ?)", (write, entry.path, records.dumps(entry))
                    )
                except sqlite3.IntegrityError:
                    raise duplicate_path(entry.path) from None

    def has_object(self, write: str, path: str) -> bool:
        """Whether a write has a file of that path."""
        return self._one("SELECT 1 FROM objects WHERE write = ? AND path = ?", write, path) is not None

    def objects(self, write: str) -> tuple[datasets.FileEntry, ...]:
        """The files of a write, in path order."""
        rows = self._all("SELECT entry FROM objects WHERE write = ? ORDER BY path", write)
        return tuple(records.loads(datasets.FileEntry, row["entry"]) for row in rows)

    def complete_write(self, write: str, version: datasets.NewVersion, reused: Iterable[datasets.FileEntry] = ()) -> bool:
        """OPEN to COMPLETE, with what is to be committed and the files that it takes over; False from any other state."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE writes SET state = ?, version = ? WHERE write = ? AND state = ?",
                (WriteState.COMPLETE, records.dumps(version), write, WriteState.OPEN),
            )
            if changed.rowcount == 1:
                rows = [(write, entry.path, records.dumps(entry)) for entry in reused]
                db.executemany("INSERT INTO objects (write, path, entry) VALUES (?, ?, ?)", rows)
            return changed.rowcount == 1

    def commit_write(self, write: str, committed: str) -> None:
        """Records which version a write became."""
        with self._transaction() as db:
            db.execute("UPDATE writes SET state = ?, committed = ? WHERE write = ?", (WriteState.COMMITTED, committed, write))

    def abort_write(self, write: str) -> bool:
        """Ends a write that is not committed; False when it is, or is not known."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE writes SET state = ? WHERE write = ? AND state != ?", (WriteState.ABORTED, write, WriteState.COMMITTED)
            )
            return changed.rowcount == 1

    def rekey(self, rewrap: Callable[[datasets.WrappedKey], datasets.WrappedKey]) -> None:
        """Replaces the wrapped keys of all that is not a version yet by what the function makes of them."""
        with self._transaction() as db:
            for row in db.execute(
                "SELECT * FROM writes WHERE state IN (?, ?)", (WriteState.OPEN, WriteState.COMPLETE)
            ).fetchall():
                known = _write(row)
                changed = dataclasses.replace(known, key=rewrap(known.key), class_keys=tuple(map(rewrap, known.class_keys)))
                version = known.version
                told = records.dumps(dataclasses.replace(version, keys=tuple(map(rewrap, version.keys)))) if version else ""
                db.execute(
                    "UPDATE writes SET key = ?, classes = ?, version = ? WHERE write = ?",
                    (records.dumps(changed.key), _classes(changed), told, known.write),
                )
            for row in db.execute("SELECT transfer, keys FROM transfers WHERE keys != ''").fetchall():
                kept = [rewrap(records.loads(datasets.WrappedKey, key)) for key in json.loads(row["keys"])]
                told = json.dumps([records.dumps(key) for key in kept])
                db.execute("UPDATE transfers SET keys = ? WHERE transfer = ?", (told, row["transfer"]))

    def forget_write(self, write: str) -> None:
        """Removes a write of which nothing is left in the store, or all of which is a version's."""
        with self._transaction() as db:
            db.execute("DELETE FROM objects WHERE write = ?", (write,))
            db.execute("DELETE FROM writes WHERE write = ?", (write,))

    # Transfers

    def take_transfer(self, start: moves.StartTransfer, now: datetime) -> bool:
        """Writes the intent to bring a version, or to go on under a later attempt; False when that attempt is known.

        What was stored by an earlier attempt stays known.
        """
        of = start.transfer
        with self._transaction() as db:
            changed = db.execute(
                "INSERT INTO transfers (transfer, attempt, start, state, update_time) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (transfer) DO UPDATE SET attempt = excluded.attempt, start = excluded.start,"
                " state = excluded.state, failure = '', update_time = excluded.update_time"
                " WHERE excluded.attempt > transfers.attempt",
                (of.transfer, of.attempt, records.dumps(start), BringState.TAKEN, _text(now)),
            )
            return changed.rowcount == 1

    def transfer(self, name: str) -> TransferRow | None:
        """A transfer by its id."""
        row = self._one("SELECT * FROM transfers WHERE transfer = ?", name)
        return _transfer(row) if row else None

    def transfers(self) -> tuple[TransferRow, ...]:
        """All transfers of which something is left to do, or to be removed; oldest first."""
        return tuple(_transfer(row) for row in self._all("SELECT * FROM transfers ORDER BY rowid"))

    def store_transfer(self, row: TransferRow, keys: tuple[datasets.WrappedKey, ...], now: datetime) -> bool:
        """TAKEN to STORED, with the keys; False when another attempt has begun, or it was given up."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE transfers SET state = ?, keys = ?, update_time = ? WHERE transfer = ? AND attempt = ? AND state = ?",
                (
                    *(BringState.STORED, json.dumps([records.dumps(key) for key in keys]), _text(now)),
                    *(row.transfer, row.attempt, BringState.TAKEN),
                ),
            )
            return changed.rowcount == 1

    def move_transfer(self, row: TransferRow, state: BringState, now: datetime, failure: Failure | None = None) -> bool:
        """Sets the state of an attempt; False when another has begun, or it was given up."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE transfers SET state = ?, failure = ?, update_time = ?"
                " WHERE transfer = ? AND attempt = ? AND state != ?",
                (
                    *(state, records.dumps(failure) if failure else "", _text(now)),
                    *(row.transfer, row.attempt, BringState.GIVEN_UP),
                ),
            )
            return changed.rowcount == 1

    def give_up_transfer(self, name: str, now: datetime) -> bool:
        """Records that what a transfer left is to be removed, whatever its attempt; False when it is not known."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE transfers SET state = ?, update_time = ? WHERE transfer = ?", (BringState.GIVEN_UP, _text(now), name)
            )
            return changed.rowcount == 1

    def forget_transfer(self, name: str, attempt: int) -> bool:
        """Removes a transfer of which nothing is left to do; False, and nothing changes, when a later attempt has begun."""
        with self._transaction() as db:
            gone = db.execute("DELETE FROM transfers WHERE transfer = ? AND attempt = ?", (name, attempt)).rowcount == 1
            if gone:
                db.execute("DELETE FROM transfer_objects WHERE transfer = ?", (name,))
            return gone

    def add_transfer_objects(self, name: str, keys: Iterable[str]) -> None:
        """Records objects that a transfer has stored, or found, and verified."""
        rows = [(name, key) for key in keys]
        if rows:
            with self._transaction() as db:
                db.executemany("INSERT OR IGNORE INTO transfer_objects (transfer, key) VALUES (?, ?)", rows)

    def transfer_objects(self, name: str) -> frozenset[str]:
        """The store keys of what a transfer has verified."""
        return frozenset(row["key"] for row in self._all("SELECT key FROM transfer_objects WHERE transfer = ?", name))

    # Drops

    def take_drop(self, drop: moves.DropReplica) -> None:
        """Writes the intent to remove a replica; again changes nothing."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO drops (version, drop_) VALUES (?, ?)", (drop.version, records.dumps(drop)))

    def drops(self) -> tuple[moves.DropReplica, ...]:
        """Replicas that are to be removed, oldest first."""
        rows = self._all("SELECT drop_ FROM drops ORDER BY rowid")
        return tuple(records.loads(moves.DropReplica, row["drop_"]) for row in rows)

    def forget_drop(self, version: str) -> None:
        """Records that a replica is gone."""
        with self._transaction() as db:
            db.execute("DELETE FROM drops WHERE version = ?", (version,))

    # Grants

    def open_grant(self, grant: str, *, token: bytes, run: str, attempt: int) -> GrantRow:
        """The account of a grant, made at its first use."""
        values = (grant, token, run.partition("/runs/")[0], run, attempt, GrantState.OPEN)
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO grants (grant_id, token, job, run, attempt, state) VALUES (?, ?, ?, ?, ?, ?)", values
            )
            return _grant(db.execute("SELECT * FROM grants WHERE grant_id = ?", (grant,)).fetchone())

    def newest_attempt(self, row: GrantRow) -> int:
        """The highest attempt of the grant's job that has shown a grant here; 0 for a person's grant."""
        found = self._one("SELECT max(attempt) AS newest FROM grants WHERE job = ? AND job != ''", row.job)
        return int(found["newest"] or 0) if found else 0

    def grant(self, grant: str) -> GrantRow | None:
        """The account of a grant."""
        row = self._one("SELECT * FROM grants WHERE grant_id = ?", grant)
        return _grant(row) if row else None

    def unsettled_grants(self) -> tuple[GrantRow, ...]:
        """Accounts that are not settled yet, oldest first."""
        rows = self._all("SELECT * FROM grants WHERE state != ? ORDER BY rowid", GrantState.SETTLED)
        return tuple(_grant(row) for row in rows)

    def count(
        self,
        grant: str,
        *,
        granted_bytes: int,
        counted_bytes: int,
        requests: int,
        traffic: Iterable[metering.Traffic] = (),
    ) -> None:
        """Sets the counters of a grant that is open, `traffic` being those of its hours; a settled one keeps what was told."""
        with self._transaction() as db:
            changed = db.execute(
                "UPDATE grants SET granted_bytes = ?, counted_bytes = ?, requests = ? WHERE grant_id = ? AND state = ?",
                (granted_bytes, counted_bytes, requests, grant, GrantState.OPEN),
            )
            if changed.rowcount == 1:
                rows = [(grant, _text(counted.hour_time), records.dumps(counted)) for counted in traffic]
                db.executemany(
                    "INSERT INTO traffic (grant_id, reporter, hour, sequence, counts) VALUES (?, '', ?, 0, ?)"
                    " ON CONFLICT (grant_id, reporter, hour) DO UPDATE SET counts = excluded.counts",
                    rows,
                )

    def report_reads(self, reporter: str, sequence: int, counts: Iterable[tuple[str, metering.Traffic]]) -> None:
        """Keeps what a process of a run says to have received so far, by grant and hour. An older report changes nothing."""
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO traffic (grant_id, reporter, hour, sequence, counts) VALUES (?, ?, ?, ?, ?)"
                " ON CONFLICT (grant_id, reporter, hour) DO UPDATE SET sequence = excluded.sequence, counts = excluded.counts"
                " WHERE excluded.sequence > traffic.sequence",
                [(grant, reporter, _text(each.hour_time), sequence, records.dumps(each)) for grant, each in counts],
            )

    def traffic(self, grant: str) -> tuple[metering.Traffic, ...]:
        """What this site's gateway has sent under a grant, by hour."""
        rows = self._all("SELECT counts FROM traffic WHERE grant_id = ? AND reporter = '' ORDER BY hour", grant)
        return tuple(records.loads(metering.Traffic, row["counts"]) for row in rows)

    def reads(self, grant: str) -> tuple[metering.Traffic, ...]:
        """What all processes of a run say to have received under a grant, by hour."""
        rows = self._all("SELECT counts FROM traffic WHERE grant_id = ? AND reporter != ''", grant)
        return metering.by_hour(records.loads(metering.Traffic, row["counts"]) for row in rows)

    def reporters(self, grant: str) -> int:
        """How many processes have reported on a grant."""
        row = self._one(
            "SELECT count(DISTINCT reporter) AS reporters FROM traffic WHERE grant_id = ? AND reporter != ''", grant
        )
        return int(row["reporters"]) if row else 0

    def write_off(self) -> None:
        """Marks as unsettled what a process that is gone was granted and did not count.

        Called once, before anything is served.
        """
        with self._transaction() as db:
            db.execute("UPDATE grants SET unsettled_bytes = granted_bytes - counted_bytes WHERE state = ?", (GrantState.OPEN,))

    def settle_grant(self, grant: str, state: GrantState) -> None:
        """OPEN to SETTLING to SETTLED; never back."""
        before = GrantState.OPEN if state is GrantState.SETTLING else GrantState.SETTLING
        with self._transaction() as db:
            db.execute("UPDATE grants SET state = ? WHERE grant_id = ? AND state = ?", (state, grant, before))


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except sqlite3.OperationalError as error:
        raise errors.ResourceExhausted(
            f"the agent's journal cannot be written: {error}",
            reason="STORAGE_FULL",
            help="Make room on the disk of the agent's state folder.",
        ) from error


def duplicate_path(path: str) -> errors.InvalidArgument:
    """The refusal of a second file of one path."""
    return errors.InvalidArgument(
        f"the new version has a file {path!r} already",
        reason="PATH_DUPLICATE",
        help="Write each path once.",
        violations={"path": "is taken"},
    )


def _text(time: datetime) -> str:
    return time.astimezone(UTC).isoformat()


def _time(text: str) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _run(row: sqlite3.Row) -> RunRow:
    return RunRow(
        run=row["run"],
        job=row["job"],
        attempt=row["attempt"],
        start=_start(row["start"]),
        state=RunState(row["state"]),
        submission_id=row["submission_id"],
        begin_time=_time(row["begin_time"]),
        stop_reason=row["stop_reason"],
        outcome=records.loads(Outcome, row["outcome"]) if row["outcome"] else None,
        closed=bool(row["closed"]),
    )


@functools.lru_cache(maxsize=256)
def _start(text: str) -> jobs.StartRun:
    """A run's instruction never changes, and every call of its workers looks at it."""
    return records.loads(jobs.StartRun, text)


def _classes(row: WriteRow) -> str:
    """Column classes and their keys as one text, '' for none."""
    if not row.column_classes:
        return ""
    return json.dumps([[records.dumps(each) for each in rows] for rows in (row.column_classes, row.class_keys)])


def _write(row: sqlite3.Row) -> WriteRow:
    column_classes, class_keys = json.loads(row["classes"]) if row["classes"] else ((), ())
    return WriteRow(
        write=row["write"],
        run=row["run"],
        grant=row["grant_id"],
        grant_token=row["grant_token"],
        alias=row["alias"],
        dataset=row["dataset"],
        dataset_uid=row["dataset_uid"],
        generation=row["generation"],
        key=records.load(datasets.WrappedKey, json.loads(row["key"])),
        class_keys=tuple(records.loads(datasets.WrappedKey, each) for each in class_keys),
        column_classes=tuple(records.loads(ColumnClass, each) for each in column_classes),
        state=WriteState(row["state"]),
        base=row["base"],
        version=records.loads(datasets.NewVersion, row["version"]) if row["version"] else None,
        committed=row["committed"],
        create_time=datetime.fromisoformat(row["create_time"]),
        expire_time=datetime.fromisoformat(row["expire_time"]),
    )


def _transfer(row: sqlite3.Row) -> TransferRow:
    keys = json.loads(row["keys"]) if row["keys"] else []
    return TransferRow(
        transfer=row["transfer"],
        attempt=row["attempt"],
        start=records.loads(moves.StartTransfer, row["start"]),
        state=BringState(row["state"]),
        keys=tuple(records.loads(datasets.WrappedKey, key) for key in keys),
        failure=records.loads(Failure, row["failure"]) if row["failure"] else None,
        update_time=datetime.fromisoformat(row["update_time"]),
    )


def _grant(row: sqlite3.Row) -> GrantRow:
    return GrantRow(
        grant=row["grant_id"],
        token=row["token"],
        job=row["job"],
        run=row["run"],
        attempt=row["attempt"],
        granted_bytes=row["granted_bytes"],
        counted_bytes=row["counted_bytes"],
        unsettled_bytes=row["unsettled_bytes"],
        requests=row["requests"],
        state=GrantState(row["state"]),
    )
