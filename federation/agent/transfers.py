"""The transfers to this site, from the intent to the replica, and the replicas that it drops.

Each has its place in the journal, and a step does the next thing for what stands there, over and over, so that going on after a
crash is the same as going on. What a transfer has stored becomes a replica by FinishTransfer alone; of one that is given up
everything is removed again that nothing else here needs.
"""

from __future__ import annotations

import io
import itertools
import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from federation import failpoints, ports
from federation.agent import catalog as agent_catalog
from federation.agent import crew, fetching, journal, locks, remote, removal, versions
from federation.agent.fetching import TRANSIENT
from federation.core import columns, dataset, errors, ids, job, transfer
from federation.core.keys import DEFAULT
from federation.crypto import container, layout, manifest

_log = logging.getLogger(__name__)

#: Transfers and drops that are done at the same time; the catalog starts no more transfers at a site than it thinks right.
CREW = 8
#: What a transfer that failed has stored is kept so long for another attempt.
KEPT = timedelta(days=1)
_DROP_PRIORITY = 1 << 40
_WAIT_SECONDS_MAX = 30.0
#: Progress that stands still is told only so often.
_QUIET_TELLS = 10
#: Refusals that another attempt may not meet: it has a new grant, and asks again.
_MAY_PASS = frozenset({"GRANT_EXPIRED", "GRANT_CLOSED", "BUDGET_EXHAUSTED", "READER_UNPROVEN", "READER_KEY_FOREIGN"})
#: Of errors that pass by themselves, those that are not the catalog's silence: an attempt ends with them.
_NOT_THE_CATALOG = frozenset({"SOURCE_UNAVAILABLE", "STORE_UNAVAILABLE"})


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What transfers are made with. `fetch` has the store, the spool and the ways to other sites."""

    clock: ports.Clock
    keys: ports.KeyConnector
    catalog: agent_catalog.Catalog
    opener: versions.Versions
    fetch: fetching.Parts


class Transfers:
    """Takes, runs and ends the transfers to this site."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._book = parts.fetch.book
        self._store = parts.fetch.store
        self._spool = parts.fetch.spool
        self._datasets = locks.NamedLocks()
        self._removal = removal.Removal(
            store=self._store,
            book=self._book,
            catalog=parts.catalog,
            opener=parts.opener,
            spooled=self._spool,
            locks_=self._datasets,
        )
        self._guard = threading.Lock()
        self._closing = threading.Event()
        self._active: dict[str, threading.Event] = {}
        self._failures: dict[str, int] = {}
        self._counts: dict[str, tuple[int, int]] = {}
        self._crew: crew.Crew | None = None

    def start(self) -> None:
        """Goes on with all that is not done."""
        rows = self._book.transfers()
        self._spool.keep(row.transfer for row in rows)
        self._crew = crew.Crew("transfer", CREW)
        for row in rows:
            self._wake(row)
        for drop in self._book.drops():
            self._wake_drop(drop)

    def stop(self) -> None:
        """Lets go of all of it where it is; it goes on at the next start."""
        self._closing.set()
        with self._guard:
            for stopping in self._active.values():
                stopping.set()
        if self._crew is not None:
            self._crew.stop()

    def take(self, start: transfer.StartTransfer) -> None:
        """Takes an instruction to bring a version; one that was taken before changes nothing."""
        name, now = start.transfer.transfer, self._parts.clock.now()
        new = self._book.take_transfer(start, now)
        row = self._book.transfer(name)
        assert row is not None
        if new:
            self._interrupt(name)
        elif row.state is journal.BringState.WAITING and row.attempt == start.transfer.attempt:
            # The catalog counts on an attempt that ended here: what it has heard of that will be asked first.
            self._book.move_transfer(row, journal.BringState.TAKEN, now)
        self._wake(row)

    def ask_stop(self, instruction: transfer.StopTransfer) -> None:
        """Takes an instruction to give a transfer up, also one that never came here."""
        if self._book.give_up_transfer(instruction.transfer, self._parts.clock.now()):
            self._interrupt(instruction.transfer)
            row = self._book.transfer(instruction.transfer)
            if row is not None:
                self._wake(row)

    def drop(self, ordered: transfer.DropReplica) -> None:
        """Takes an instruction to remove a replica."""
        self._book.take_drop(ordered)
        self._wake_drop(ordered)

    def sweep(self) -> None:
        """Gives up what failed, and was not taken up again for long."""
        now = self._parts.clock.now()
        for row in self._book.transfers():
            if row.state is journal.BringState.WAITING and row.update_time + KEPT < now:
                self.ask_stop(transfer.StopTransfer(transfer=row.transfer, reason="ABANDONED"))

    # Steps

    def _wake(self, row: journal.TransferRow) -> None:
        name = row.transfer
        self._call(f"transfer {name}", lambda: self._step(name), priority=row.start.transfer.priority)

    def _wake_drop(self, ordered: transfer.DropReplica) -> None:
        self._call(f"drop {ordered.version}", lambda: self._drop(ordered), priority=_DROP_PRIORITY)

    def _call(self, name: str, work: Callable[[], float | None], *, priority: int) -> None:
        if self._crew is not None:
            self._crew.wake(name, lambda: self._careful(name, work), priority=priority)

    def _careful(self, name: str, work: Callable[[], float | None]) -> float | None:
        try:
            pause = work()
        except Exception as error:  # noqa: BLE001 - a step's last resort: a transfer must not vanish with its thread
            if self._closing.is_set():
                return None
            level = logging.INFO if isinstance(error, TRANSIENT) else logging.ERROR
            _log.log(level, "%s waits: %r", name, error, exc_info=None if isinstance(error, errors.FederationError) else error)
            self._failures[name] = failures = self._failures.get(name, 0) + 1
            return agent_catalog.backoff(failures, seconds_max=_WAIT_SECONDS_MAX)
        self._failures.pop(name, None)
        return pause

    def _step(self, name: str) -> float | None:
        """Does the next thing for a transfer; None when nothing is left to do for now."""
        row = self._book.transfer(name)
        if row is None or row.state is journal.BringState.WAITING or self._closing.is_set():
            return None
        match row.state:
            case journal.BringState.TAKEN:
                self._try(row, self._bring)
            case journal.BringState.STORED:
                self._try(row, self._finish)
            case journal.BringState.FAILED:
                self._tell_failure(row)
            case journal.BringState.GIVEN_UP:
                self._clear(row)
        return 0

    def _drop(self, ordered: transfer.DropReplica) -> None:
        self._removal.drop(ordered)
        self._book.forget_drop(ordered.version)

    def _try(self, row: journal.TransferRow, work: Callable[[journal.TransferRow], None]) -> None:
        """Does a piece of a transfer's work; an error ends the attempt; one that says that the catalog is away is raised."""
        try:
            work(row)
        except errors.FederationError as error:
            silent = isinstance(error, TRANSIENT) and error.reason not in _NOT_THE_CATALOG
            if silent and error.reason != "TRANSFER_STOPPED":
                raise
            if not silent:
                self._fail(row, error)
        except Exception as error:  # noqa: BLE001 - logged and told: an attempt ends with it, the agent does not
            if not self._closing.is_set():
                _log.exception("transfer %s met an unexpected error", row.transfer)
                detail = f"the agent failed in a way it did not expect: {type(error).__name__}"
                self._fail(row, errors.Unavailable(detail, reason="AGENT_FAILED"))

    def _bring(self, row: journal.TransferRow) -> None:
        stopping = self._activate(row.transfer)
        try:
            start = row.start
            if not self._heard(row, start.transfer.bytes_done, start.transfer.objects_done):
                return
            given = assignment(start)
            handed = self._open(given, columns.wanted(start.transfer.column_classes), stopping)
            made = self._checked(start, handed)
            with self._datasets.hold(start.dataset_uid):  # from here on nobody removes what it needs
                self._spool.put_manifest(row.transfer, handed.data)
            self._fetch(row, given, made, stopping)
            self._put_manifest(handed)
            keys = self._wrapped(given, columns.wanted(start.transfer.column_classes), handed, made)
            if self._book.store_transfer(row, keys, self._parts.clock.now()):
                failpoints.hit("agent.transfer_stored")
        finally:
            with self._guard:
                self._active.pop(row.transfer, None)

    def _open(self, given: job.InputAssignment, sensitivities: tuple[str, ...], stopping: threading.Event) -> remote.Handed:
        """The version as its source hands it over, asked for until patience ends."""
        waited, failures = 0.0, 0
        while True:
            try:
                return self._parts.fetch.remotes.open(given, sensitivities)
            except TRANSIENT as error:
                if waited >= self._parts.fetch.terms.patience_seconds:
                    raise fetching.source_unavailable(given, error) from error
                failures += 1
                pause = agent_catalog.backoff(failures, seconds_max=5.0)
            if stopping.wait(pause):
                raise errors.Cancelled("the transfer was stopped", reason="TRANSFER_STOPPED")
            waited += pause

    def _checked(self, start: transfer.StartTransfer, handed: remote.Handed) -> dataset.Manifest:
        """The manifest, if it is the very one that the catalog knows, signed by the site that wrote it.

        The source's own word on who signed it is not enough.
        """
        versions.check_manifest(handed.data, self._parts.catalog.sealed_version(handed.version))
        made = manifest.decode(handed.data)
        if made.dataset_uid != start.dataset_uid:
            raise errors.DataCorrupt(
                f"the manifest of {handed.version} is of dataset {made.dataset_uid}, not of {start.dataset_uid}",
                reason="MANIFEST_INVALID",
            )
        return made

    def _fetch(
        self, row: journal.TransferRow, given: job.InputAssignment, made: dataset.Manifest, stopping: threading.Event
    ) -> None:
        fetch = fetching.Fetch(
            self._parts.fetch,
            transfer=row.transfer,
            given=given,
            manifest=made,
            bytes_per_second_max=row.start.transfer.bytes_per_second_max,
            stopping=stopping,
        )
        fetch.require_room()
        told, quiet = (-1, -1), 0

        def tell() -> None:
            nonlocal told, quiet
            counts = fetch.progress.counts()
            quiet += 1
            if counts != told or quiet >= _QUIET_TELLS:
                told, quiet = counts, 0
                self._tell(row, *counts)

        try:
            fetch.run(tell)
        finally:
            self._counts[row.transfer] = fetch.progress.counts()

    def _tell(self, row: journal.TransferRow, bytes_done: int, objects_done: int) -> None:
        """Tells progress; a catalog that is away hears of it later, one that does not want it any more ends it."""
        try:
            wanted = self._heard(row, bytes_done, objects_done)
        except TRANSIENT as error:
            _log.debug("progress of %s was not heard: %s", row.transfer, error)
            return
        if not wanted:
            raise errors.Cancelled(f"transfer {row.transfer} is not wanted any more", reason="TRANSFER_STOPPED")

    def _heard(self, row: journal.TransferRow, bytes_done: int, objects_done: int) -> bool:
        """Reports progress; whether the catalog still counts on this attempt."""
        answer = self._parts.catalog.report_transfer(row.start, bytes_done=bytes_done, objects_done=objects_done)
        if answer.state is transfer.TransferState.RUNNING and answer.attempt == row.attempt:
            return True
        self._obey(row, answer)
        return False

    def _obey(self, row: journal.TransferRow, answer: transfer.Transfer) -> None:
        """Follows the catalog where it says otherwise of a transfer than this agent's journal."""
        if answer.state.terminal:
            self._book.give_up_transfer(row.transfer, self._parts.clock.now())
        else:
            self._book.move_transfer(row, journal.BringState.WAITING, self._parts.clock.now())

    def _put_manifest(self, handed: remote.Handed) -> None:
        key = layout.manifest_key(handed.manifest_digest)
        if self._store.info(key) is None:
            try:
                self._store.put(key, io.BytesIO(handed.data))
            except errors.AlreadyExists:
                return  # another version here has just these files

    def _wrapped(
        self, given: job.InputAssignment, sensitivities: tuple[str, ...], handed: remote.Handed, made: dataset.Manifest
    ) -> tuple[dataset.WrappedKey, ...]:
        """The DEKs of each generation, wrapped for this site, once `default`'s was seen to be the one of an object that came.

        Those of column classes are the source's word, which it has signed: nothing outside of a Parquet file tells them.
        """
        deks = {(each.generation, each.sensitivity): each.dek for each in self._parts.fetch.remotes.deks(given, handed)}
        samples = {entry.generation: entry for entry in made.files}
        missing = sorted(set(itertools.product(samples, sensitivities)) - set(deks))
        if missing:
            raise errors.DataCorrupt(
                f"the source handed over no key of generation {missing[0][0]}, class {missing[0][1]}",
                reason="KEY_MISSING",
                help="Run `fed fsck` for the source.",
                metadata={"generation": missing[0][0], "class": missing[0][1]},
            )
        for entry in samples.values():
            self._check_key(made.dataset_uid, entry, deks[entry.generation, DEFAULT])
        return tuple(
            self._parts.keys.wrap(deks[generation, name], generation, made.dataset_uid, name)
            for generation in sorted(samples)
            for name in sensitivities
        )

    def _check_key(self, uid: str, entry: dataset.FileEntry, dek: bytes) -> None:
        key = layout.object_key(uid, entry.generation, entry.object_id)
        header = b"".join(self._store.read(key, 0, container.HEADER))
        try:
            container.check_key(dek, container.context(uid, entry.generation, entry.object_id), header, entry.commitment)
        except errors.DataCorrupt as error:
            raise errors.DataCorrupt(
                f"the key that the source handed over for generation {entry.generation} does not open {entry.path!r}",
                reason="KEY_INVALID",
                help="Run `fed fsck` for the source.",
                metadata={"generation": entry.generation},
            ) from error

    def _finish(self, row: journal.TransferRow) -> None:
        self._settle(row)
        stored = self._spool.manifest(row.transfer)
        of = row.start.transfer
        object_bytes = manifest.decode(stored).object_bytes if stored is not None else of.object_bytes
        try:
            answer = self._parts.catalog.finish_transfer(row.transfer, row.keys, object_bytes)
        except errors.FailedPrecondition as error:
            if error.reason != "TRANSFER_SUPERSEDED":
                raise
            self._book.give_up_transfer(row.transfer, self._parts.clock.now())
            return
        failpoints.hit("agent.transfer_finished")
        if answer.state is transfer.TransferState.SUCCEEDED:
            self._forget(row)
        else:
            self._obey(row, answer)

    def _tell_failure(self, row: journal.TransferRow) -> None:
        assert row.failure is not None
        self._settle(row)
        try:
            answer = self._parts.catalog.report_transfer(row.start, failure=row.failure)
        except TRANSIENT:
            raise
        except errors.FederationError as error:  # it is not known any more, or not this site's
            _log.warning("the catalog did not take that transfer %s failed: %s", row.transfer, error)
            self._book.give_up_transfer(row.transfer, self._parts.clock.now())
            return
        self._obey(row, answer)

    def _clear(self, row: journal.TransferRow) -> None:
        """Removes what a transfer that was given up has left."""
        self._removal.clear(row)
        self._settle(row)
        self._forget(row)

    def _forget(self, row: journal.TransferRow) -> None:
        # The row goes first: without it the spool's folder is removed at the next start.
        if self._book.forget_transfer(row.transfer, row.attempt):
            self._spool.clear(row.transfer)
            self._counts.pop(row.transfer, None)

    def _settle(self, row: journal.TransferRow) -> None:
        """Asks the source to settle what it sent; what it does not hear from here it hears from the catalog."""
        try:
            self._parts.fetch.remotes.close_grant(assignment(row.start))
        except errors.FederationError as error:
            _log.info("the grant of transfer %s is settled later: %s", row.transfer, error)

    def _fail(self, row: journal.TransferRow, error: errors.FederationError) -> None:
        of = row.start.transfer
        why = failure(error, *self._counts.get(row.transfer, (of.bytes_done, of.objects_done)))
        _log.warning("transfer %s failed: %s %s", row.transfer, why.reason, why.detail)
        self._book.move_transfer(row, journal.BringState.FAILED, self._parts.clock.now(), why)

    def _activate(self, name: str) -> threading.Event:
        with self._guard:
            stopping = self._active[name] = threading.Event()
            if self._closing.is_set():
                stopping.set()
            return stopping

    def _interrupt(self, name: str) -> None:
        with self._guard:
            if name in self._active:
                self._active[name].set()


def assignment(start: transfer.StartTransfer) -> job.InputAssignment:
    """A transfer as something to be read from another site, which it is until it is here."""
    of = start.transfer
    return job.InputAssignment(
        plan=job.InputPlan(
            alias=of.transfer,
            dataset=ids.dataset(of.dataset).short,
            version=of.version,
            way=job.Way.COPY,
            source_site=of.source_site,
            source_region="",
            destination_region="",
            bytes=of.object_bytes,
            egress_micros=of.estimate_micros,
        ),
        grant=start.grant,
        gateway=start.gateway,
        signing_key=start.signing_key,
        dataset_uid=start.dataset_uid,
    )


def failure(error: errors.FederationError, bytes_done: int = 0, objects_done: int = 0) -> journal.Failure:
    """Why an attempt ended and how far it came, and whether another one may do better."""
    return journal.Failure(
        reason=error.reason,
        detail=error.message,
        retryable=isinstance(error, TRANSIENT) or error.reason in _MAY_PASS,
        bytes_done=bytes_done,
        objects_done=objects_done,
    )
