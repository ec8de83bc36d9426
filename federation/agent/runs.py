"""The runs of this site, from the intent to the last word to the catalog.

Each run has a thread that looks at the run's state in the journal and does the next thing, over and over, so that going on
after a crash is the same as going on. Whatever is done is done so that doing it again changes nothing.
"""

from __future__ import annotations

import base64
import dataclasses
import json
import logging
import shlex
import threading
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from federation import failpoints, ports, traces
from federation.agent import aggregates, door, ingest, journal, locks, metering, outcomes, packages, remote, writes
from federation.agent import catalog as agent_catalog
from federation.agent.identity import Identity
from federation.core import dataset, errors, job
from federation.crypto import grants, secrets
from federation.wire import tls

_log = logging.getLogger(__name__)

#: What goes away by itself: the same call is made again.
TRANSIENT = (errors.Unavailable, errors.DeadlineExceeded, errors.Cancelled)
_DURATION = "DURATION_EXCEEDED"
#: Reasons with which the catalog has ended a run by itself: there is nobody to report to any more.
ENDED_BY_CATALOG = frozenset({"LEASE_LOST", "STOPPED_BEFORE_START"})
#: Steps of a run that are taken once, as its trace names them.
_TRACED = {
    journal.RunState.TAKEN: "begin run",
    journal.RunState.FINISHING: "commit run",
    journal.RunState.ENDED: "close run",
    journal.RunState.SUPERSEDED: "let go of run",
}


@dataclass(frozen=True, kw_only=True)
class Pace:
    """How often things are looked at, and how long they are waited for.

    `node_lost_seconds` is how long a cluster may need to see that a node is gone: Ray asks five times, 3 s apart.
    """

    poll_seconds: float = 1.0
    wait_seconds_max: float = 5.0
    submit_tries: int = 6
    launcher_seconds: float = 20.0
    compute_lost_seconds: float = 120.0
    node_lost_seconds: float = 45.0


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What runs are made with. `credentials` has the CA that a launcher needs to call home."""

    site: str
    clock: ports.Clock
    identity: Identity
    book: journal.Journal
    catalog: agent_catalog.Catalog
    compute: ports.Compute | None
    packages: packages.Packages
    meter: metering.Meter
    remotes: remote.Remotes
    writer: writes.Writes
    ingester: ingest.Ingester
    counter: aggregates.Counter
    credentials: tls.Source
    log_bytes_max: int
    pace: Pace = Pace()


class Runs:
    """Takes, watches and ends the runs of this site."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._book = parts.book
        self._gateway = ""
        self._locks = locks.NamedLocks()
        self._guard = threading.Lock()
        self._drives: dict[str, _Drive] = {}
        #: Runs of which the catalog was told that they run. Telling it again, after a restart, changes nothing.
        self._told: set[str] = set()
        self._closing = threading.Event()

    def start(self, gateway: str) -> None:
        """Goes on with all runs that are not done. `gateway` is where their launchers call."""
        self._gateway = gateway
        for row in self._book.open_runs():
            self._wake(row.run)

    def stop(self) -> None:
        """Lets go of all runs where they are; they go on at the next start."""
        self._closing.set()
        with self._guard:
            drives = list(self._drives.values())
        for drive in drives:
            drive.wake.set()
        for drive in drives:
            drive.thread.join(timeout=10)
        self._parts.ingester.close()
        self._parts.counter.close()

    def names(self) -> tuple[str, ...]:
        """Runs that this agent holds, and whose leases it wants renewed."""
        return tuple(row.run for row in self._book.open_runs() if row.state is not journal.RunState.SUPERSEDED)

    def reserved(self) -> dict[str, job.Resources]:
        """What each run that this agent holds has reserved of the cluster."""
        rows = self._book.open_runs()
        return {row.run: row.start.run.taken(row.start.job.request) for row in rows}

    def take(self, start: job.StartRun) -> None:
        """Takes an instruction to start a run; one that was taken before changes nothing."""
        if self._book.take_run(start, f"fed-{start.job.job}-{start.run.attempt}"):
            for given in self._local(start):
                token = grants.peek(given.grant)
                self._book.open_grant(token.grant, token=given.grant, run=token.run, attempt=token.attempt)
        self._wake(start.run.run)

    def ask_stop(self, instruction: job.StopRun) -> None:
        """Takes an instruction to stop a run, also one that never came here."""
        if instruction.reason in ENDED_BY_CATALOG:
            self.supersede(instruction.run)
            return
        row = self._book.run(instruction.run)
        if row is None or row.closed:
            self._parts.catalog.report_run(instruction.run, job.JobState.CANCELLED, reason=instruction.reason)
            return
        self._book.ask_stop(instruction.run, instruction.reason or "CANCELLED")
        self._wake(instruction.run)

    def supersede(self, run: str) -> None:
        """Takes the catalog's word that a run is no longer current.

        One that is just committing hears it from the commit itself.
        """
        if self._book.move_run(run, journal.RunState.SUPERSEDED, unless=[journal.RunState.FINISHING]):
            _log.warning("%s was superseded", run)
            self._wake(run)

    def begun(self, run: str) -> None:
        """Takes the first word of a run's launcher: what it runs is about to start."""
        if self._book.begin_run(run, self._parts.clock.now()):
            self._wake(run)

    def finish(self, run: str, *, exit_code: int, reason: str = "", detail: str = "") -> tuple[str, ...]:
        """Takes the launcher's word on how the entrypoint ended; returns the versions that were committed.

        Again is answered alike.
        """
        with self._locks.hold(run):
            row = self._row(run)
            if row.state is journal.RunState.SUPERSEDED:
                raise door.superseded(row)
            if row.outcome is not None:
                return outcomes.answer(row, row.outcome, exit_code)
            if exit_code != 0:
                self._end(run, outcomes.exited(row, exit_code, reason, detail))
                return ()
            if not self._book.move_run(run, journal.RunState.FINISHING):
                raise door.superseded(self._row(run))
            return self._commit(self._row(run))

    # The thread of a run

    def _wake(self, run: str) -> None:
        with self._guard:
            if self._closing.is_set():
                return
            drive = self._drives.get(run)
            if drive is None:
                drive = self._drives[run] = _Drive(run, self._drive)
                drive.thread.start()
        drive.wake.set()

    def _drive(self, drive: _Drive) -> None:
        while not self._closing.is_set():
            pause = self._careful_step(drive)
            if pause is None:
                with self._guard:
                    self._drives.pop(drive.run, None)
                return
            drive.wake.wait(pause)
            drive.wake.clear()

    def _careful_step(self, drive: _Drive) -> float | None:
        try:
            pause = self._step(drive)
        except TRANSIENT as error:
            _log.info("%s waits: %s", drive.run, error)
        except Exception as error:  # noqa: BLE001 - the thread's last resort: a run must not vanish with its thread
            _log.exception("%s met an unexpected error", drive.run)
            detail = f"the agent failed in a way it did not expect: {type(error).__name__}"
            self._end(
                drive.run, journal.Outcome(state=job.JobState.FAILED, reason="AGENT_FAILED", detail=detail, retryable=True)
            )
        else:
            drive.failures = 0
            return pause
        drive.failures += 1
        return agent_catalog.backoff(drive.failures, seconds_max=self._parts.pace.wait_seconds_max)

    def _step(self, drive: _Drive) -> float | None:
        """Does the next thing for a run; returns the seconds until the one after, None when nothing is left to do."""
        row = self._row(drive.run)
        if row.closed:
            return None
        with self._traced(row):
            return self._next(row, drive)

    def _traced(self, row: journal.RunRow) -> AbstractContextManager[Any]:
        """A span of the job's trace around a step that is taken once; repeated looks at a running run have none."""
        name = _TRACED.get(row.state)
        of = row.start.job
        if name is None or not of.traceparent:
            return nullcontext()
        return traces.span(name, parent=of.traceparent, fed_job=of.job, fed_run=row.run, fed_site=self._parts.site)

    def _next(self, row: journal.RunRow, drive: _Drive) -> float | None:
        match row.state:
            case journal.RunState.TAKEN:
                self._begin(row)
            case journal.RunState.RUNNING if row.start.job.request.kind is job.JobKind.INGEST:
                self._ingest(row)
            case journal.RunState.RUNNING:
                return self._watch(row, drive)
            case journal.RunState.FINISHING:
                self._try_commit(row)
            case journal.RunState.ENDED:
                return self._tell(row, drive)
            case journal.RunState.SUPERSEDED:
                self._let_go(row)
        return 0

    def _begin(self, row: journal.RunRow) -> None:
        if row.stop_reason:
            self._end(row.run, outcomes.stopped(row))
            return
        try:
            self._parts.catalog.accept_run(row.run, row.submission_id)
            failpoints.hit("agent.after_intent")
            if row.start.job.request.kind is job.JobKind.RAY:
                self._submit(row)
            else:
                self._book.begin_run(row.run, self._parts.clock.now())
                self._tell_running(self._row(row.run))
        except TRANSIENT:
            raise
        except errors.FederationError as error:
            self._refused(row.run, error)
            return
        failpoints.hit("agent.running")
        self._book.submit_run(row.run)

    def _tell_running(self, row: journal.RunRow) -> None:
        """Says that a run's work has begun, if it has: before anything is said of its end, which counts from there."""
        if row.begin_time is None or row.run in self._told:
            return
        try:
            self._parts.catalog.report_run(row.run, job.JobState.RUNNING)
        except errors.FailedPrecondition:
            if self._row(row.run).state in (journal.RunState.TAKEN, journal.RunState.RUNNING):  # else it ended meanwhile
                raise
        self._told.add(row.run)

    def _submit(self, row: journal.RunRow) -> None:
        compute = self._parts.compute
        if compute is None:
            raise errors.FailedPrecondition(f"site {self._parts.site} has no cluster", reason="NO_COMPUTE")
        ticket = self._parts.identity.ticket(row.run)
        self._book.add_ticket(secrets.digest(ticket), row.run)
        submission = self._submission(row, ticket)
        for attempt in range(1, self._parts.pace.submit_tries):
            try:
                with traces.span("submit to cluster"):
                    return compute.submit(submission)
            except errors.Unavailable as error:
                _log.info("%s could not be submitted yet: %s", row.run, error)
                if self._closing.wait(agent_catalog.backoff(attempt, seconds_max=self._parts.pace.wait_seconds_max)):
                    raise
        try:
            with traces.span("submit to cluster"):
                return compute.submit(submission)
        except errors.Unavailable as error:
            raise errors.FailedPrecondition(error.message, reason="COMPUTE_UNAVAILABLE", help=error.help) from error

    def _submission(self, row: journal.RunRow, ticket: str) -> ports.Submission:
        request = row.start.job.request
        taken = row.start.run.taken(request)
        folder = self._parts.packages.folder(request.working_dir) if request.working_dir else ""
        command = " ".join(shlex.quote(word) for word in request.entrypoint)
        own = {
            "FED_GATEWAY": self._gateway,
            "FED_CA": base64.b64encode(self._parts.credentials.current().ca).decode(),
            "FED_TICKET": ticket,
            "FED_RUN": row.run,
            "FED_LOG_BYTES_MAX": str(self._parts.log_bytes_max),
        }
        if trace := traces.current() or row.start.job.traceparent:
            own["FED_TRACEPARENT"] = trace
        return ports.Submission(
            submission_id=row.submission_id,
            # Not this agent's own Python: the cluster's, or that of the job's runtime environment.
            entrypoint=f"python -m federation.worker.launch -- {command}",
            working_dir=str(folder),
            runtime_env=_runtime_env(request.runtime_env),
            env={**dict(request.env), **own},
            cpus=taken.cpus,
            gpus=taken.gpus,
            gpu_type=taken.gpu_type,
            memory_bytes=taken.memory_bytes,
            metadata={
                **dict(request.metadata),
                "job": row.start.job.job,
                "run": row.run,
                "label": request.label,
                "inputs": ",".join(f"{given.plan.alias}={given.plan.dataset}" for given in row.start.inputs),
            },
        )

    def _watch(self, row: journal.RunRow, drive: _Drive) -> float:
        compute, pace = self._parts.compute, self._parts.pace
        assert compute is not None
        try:
            self._tell_running(row)
        except TRANSIENT:
            raise
        except errors.FederationError as error:
            self._refused(row.run, error)
            return 0
        try:
            if self._overdue(row):
                self._book.ask_stop(row.run, _DURATION)
                row = self._row(row.run)
            if row.stop_reason:
                compute.stop(row.submission_id)
            state = compute.state(row.submission_id)
        except errors.Unavailable as error:
            if drive.lasted("unavailable", self._parts.clock) < pace.compute_lost_seconds:
                raise
            self._end(row.run, outcomes.lost(error))
            return 0
        drive.forget("unavailable")
        waited = drive.lasted("succeeded", self._parts.clock) if state.state == "SUCCEEDED" else 0.0
        outcome = outcomes.judge(row, state, launcher_is_late=waited > pace.launcher_seconds)
        if outcome is None:
            return pace.poll_seconds
        with self._locks.hold(row.run):  # a launcher that is just being answered has the first word
            if self._row(row.run).state is journal.RunState.RUNNING:
                self._end(row.run, outcome)
        return 0

    def _overdue(self, row: journal.RunRow) -> bool:
        limit = row.start.job.request.duration_limit_seconds
        begun = row.begin_time
        return bool(limit and begun and self._parts.clock.now() - begun > timedelta(seconds=limit))

    def _ingest(self, row: journal.RunRow) -> None:
        def stopping() -> bool:
            current = self._row(row.run)
            return self._closing.is_set() or bool(current.stop_reason) or current.state.over or self._overdue(current)

        try:
            done = self._parts.ingester.ingest(row, stopping)
        except errors.FederationError as error:
            self._refused(row.run, error)
            return
        if done:
            self._book.move_run(row.run, journal.RunState.FINISHING)
        elif self._overdue(row):
            self._book.ask_stop(row.run, _DURATION)
            self._end(row.run, outcomes.stopped(self._row(row.run)))
        elif self._row(row.run).stop_reason:
            self._end(row.run, outcomes.stopped(self._row(row.run)))

    def _try_commit(self, row: journal.RunRow) -> None:
        with self._locks.hold(row.run):
            row = self._row(row.run)
            if row.state is journal.RunState.FINISHING:
                try:
                    self._commit(row)
                except TRANSIENT:
                    raise
                except errors.FederationError as error:
                    _log.warning("%s was not committed: %s", row.run, error)

    def _commit(self, row: journal.RunRow) -> tuple[str, ...]:
        """Settles what the run read and commits what it wrote, in the catalog's one transaction. The run's lock is held."""
        self._settle(row)
        try:
            self._tell_running(row)
            report = self._book.report(row.run)
            ready = self._parts.writer.ready(row.run, report)
            outcomes.require_outputs(row, {write.alias for write in ready})
            outputs = tuple(self._counted(row, write) for write in ready)
            _, versions = self._parts.catalog.finish_run(row.run, outputs, report)
        except TRANSIENT:
            raise
        except errors.FederationError as error:
            self._refused(row.run, error)
            raise
        failpoints.hit("agent.after_commit")
        names = tuple(version.name.short for version in versions)
        by_alias = dict(zip((output.alias for output in row.start.outputs), names, strict=False))
        for write in ready:
            self._book.commit_write(write.write, by_alias.get(write.alias, ""))
        self._end(row.run, journal.Outcome(state=job.JobState.SUCCEEDED, exit_code=0, versions=names))
        return names

    def _counted(self, row: journal.RunRow, write: journal.WriteRow) -> dataset.NewVersion:
        """What is to be committed, with the size of its smallest group where the job says which column counts."""
        if write.version is None:
            raise AssertionError(f"{write.write} is ready and has no version")
        column = next((spec.count_column for spec in row.start.job.request.outputs if spec.alias == write.alias), "")
        if not column:
            return write.version
        return dataclasses.replace(write.version, group_size=self._parts.counter.smallest(write, column))

    def _tell(self, row: journal.RunRow, drive: _Drive) -> float:
        """Says how a run ended, unless its commit has said so, and removes what it leaves behind."""
        outcome = self._explained(row, drive)
        if outcome is None:
            return self._parts.pace.poll_seconds
        if outcome.exit_code is None:  # not by its launcher's word: something of it may still run
            self._stop(row)
        self._parts.writer.drop_run(row.run)
        self._settle(row)
        if outcome.state is not job.JobState.SUCCEEDED:
            try:
                self._tell_running(row)
                self._parts.catalog.report_run(
                    row.run,
                    outcome.state,
                    reason=outcome.reason,
                    detail=outcome.detail,
                    exit_code=outcome.exit_code,
                    retryable=outcome.retryable,
                )
            except TRANSIENT:
                raise
            except errors.FederationError as error:  # it was superseded meanwhile: nobody wants to know any more
                _log.warning("the catalog did not take that %s %s: %s", row.run, outcome.state, error)
        self._close(row)
        return 0

    def _explained(self, row: journal.RunRow, drive: _Drive) -> journal.Outcome | None:
        """How a run ended, once its cluster knows whether a node of it was lost; None until then.

        A driver often meets the loss of a worker's node many seconds before the cluster is sure of it.
        """
        outcome, compute = row.outcome, self._parts.compute
        assert outcome is not None
        if compute is None or not outcomes.in_doubt(outcome):
            return outcome
        late = drive.lasted("in doubt", self._parts.clock) > self._parts.pace.node_lost_seconds
        try:
            nodes = compute.nodes(row.submission_id)
        except errors.Unavailable:
            if not late:
                raise
            nodes = ()
        found = outcomes.explained(outcome, nodes)
        if found is None and nodes and not late:
            return None
        return found or outcomes.unexplained(outcome)

    def _let_go(self, row: journal.RunRow) -> None:
        """Stops a run that is no longer current, and removes what it leaves behind."""
        self._stop(row)
        self._parts.writer.drop_run(row.run)
        self._settle(row)
        self._close(row)

    def _close(self, row: journal.RunRow) -> None:
        self._report_reads(row)
        self._book.close_run(row.run)
        self._told.discard(row.run)

    def _report_reads(self, row: journal.RunRow) -> None:
        """Tells what the run's processes say to have received. It charges nobody, so a refusal keeps nothing open."""
        grants_ = [grants.peek(given.grant).grant for given in row.start.inputs]
        reads = {grant: counted for grant in grants_ if (counted := self._book.reads(grant))}
        try:
            if reads:
                self._parts.catalog.report_usage(row.run, reads)
        except TRANSIENT:
            raise
        except errors.FederationError as error:
            _log.warning("the catalog did not take what %s has read: %s", row.run, error)

    def _stop(self, row: journal.RunRow) -> None:
        if self._parts.compute is None or row.start.job.request.kind is not job.JobKind.RAY:
            return
        try:
            self._parts.compute.stop(row.submission_id)
        except errors.Unavailable as error:  # its token opens nothing any more, wherever it may still run
            _log.warning("%s could not be stopped: %s", row.run, error)

    def _settle(self, row: journal.RunRow) -> None:
        """Settles the grants of a run: those of this site for certain, those of others as far as they answer.

        What others do not hear from here they hear from the catalog.
        """
        for given in row.start.inputs:
            if given.plan.source_site == self._parts.site:
                self._parts.meter.settle(grants.peek(given.grant).grant)
                continue
            try:
                self._parts.remotes.close_grant(given)
            except errors.FederationError as error:
                _log.info("the grant of %s for %s is settled later: %s", row.run, given.plan.alias, error)

    def _refused(self, run: str, error: errors.FederationError) -> None:
        """Ends a run with an error that will not go away by itself, or as superseded if that is what the catalog says."""
        if error.reason == "RUN_SUPERSEDED":
            self._book.move_run(run, journal.RunState.SUPERSEDED)
            self._wake(run)
        else:
            self._end(run, outcomes.refused(error))

    def _end(self, run: str, outcome: journal.Outcome) -> None:
        if self._book.end_run(run, outcome):
            _log.info("%s ended: %s %s", run, outcome.state, outcome.reason)
        self._wake(run)

    def _local(self, start: job.StartRun) -> tuple[job.InputAssignment, ...]:
        return tuple(given for given in start.inputs if given.plan.source_site == self._parts.site)

    def _row(self, run: str) -> journal.RunRow:
        row = self._book.run(run)
        if row is None:
            raise errors.NotFound(f"{run} was never taken by this site", metadata={"run": run})
        return row


def _runtime_env(text: str) -> Mapping[str, Any]:
    try:
        found = json.loads(text) if text else {}
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise errors.InvalidArgument(
            "the runtime environment is not a JSON object", reason="RUNTIME_ENV_FAILED", help="See Ray's runtime_env."
        )
    return found


class _Drive:
    """A run's thread, what wakes it, and since when things have been as they are."""

    def __init__(self, run: str, drive: Callable[[_Drive], None]) -> None:
        self.run = run
        self.wake = threading.Event()
        self.failures = 0
        self.thread = threading.Thread(target=drive, args=(self,), name=f"run {run}", daemon=True)
        self._since: dict[str, float] = {}

    def lasted(self, what: str, clock: ports.Clock) -> float:
        """Seconds for which something has been the case, counted from the first time it was asked."""
        now = clock.now().timestamp()
        return now - self._since.setdefault(what, now)

    def forget(self, what: str) -> None:
        """Ends counting: it is no longer the case."""
        self._since.pop(what, None)
