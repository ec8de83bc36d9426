"""How a run ended, judged from what is known of it. Values in, values out."""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.agent import journal
from federation.core import errors, job

NODE_LOST, PREEMPTED = "NODE_LOST", "PREEMPTED"
#: Failures that another attempt, here or elsewhere, may not meet.
RETRYABLE = frozenset(
    {
        *("COMPUTE_UNAVAILABLE", "NO_COMPUTE", "COMPUTE_LOST", "DRIVER_LOST", "LAUNCHER_LOST", "SOURCE_UNAVAILABLE"),
        *(NODE_LOST, PREEMPTED),
    }
)
#: What a launcher may give as the reason that an entrypoint failed: errors of ours that it meets inside a job and did not
#: catch. All else that is said there is ENTRYPOINT_FAILED, for whoever holds a run's token may say anything.
MET_INSIDE = frozenset(
    {
        *("INPUT_NOT_IN_PLAN", "OUTPUT_NOT_IN_PLAN", "NOT_IN_A_JOB", "FILE_NOT_FOUND", "FORMAT_UNKNOWN", "MODE_INVALID"),
        *("PATH_INVALID", "PATH_DUPLICATE", "PATH_NOT_IN_BASE", "BASE_MISSING", "WRITE_CLOSED", "WRITE_MISSING"),
        *("BUDGET_EXHAUSTED", "GRANT_CLOSED", "GRANT_EXPIRED", "STORAGE_FULL", "SOURCE_UNAVAILABLE", "UNAVAILABLE"),
        *("DEADLINE_EXCEEDED", "DATA_CORRUPT", "OBJECT_CORRUPT", "OBJECT_SWAPPED", "OBJECT_TRUNCATED", "OBJECT_MISSING"),
        *("OBJECT_SIZE_INVALID", "MANIFEST_INVALID", "MANIFEST_MISSING", "SIGNATURE_INVALID", "SEAL_INVALID", "KEY_INVALID"),
        *("KEY_MISSING", "KEY_NOT_OURS", "PME_PROFILE", "PME_PROFILE_MISSING", "COLUMN_CLASS_CLOSED"),
    }
)
#: A launcher's word that something of the job in the cluster was gone when the entrypoint failed: perhaps a node.
WORKERS_LOST = "WORKERS_LOST"
#: An exit code that says that a signal ended it: the entrypoint did not choose to fail.
_KILLED = range(129, 160)


def judge(row: journal.RunRow, state: ports.ComputeState, *, launcher_is_late: bool) -> journal.Outcome | None:
    """How a run ended by what its cluster says, for a run whose launcher has said nothing; None while it may still go well."""
    if state.state in ("PENDING", "RUNNING"):
        return None
    if row.stop_reason:
        return stopped(row)
    match state.state:
        case "SUCCEEDED":
            return _failed("LAUNCHER_LOST", "the launcher ended without committing its outputs") if launcher_is_late else None
        case "ABSENT":
            return _failed("COMPUTE_LOST", "the cluster does not know the submission any more: it was restarted")
        case "STOPPED":
            return _failed("STOPPED_OUTSIDE", "somebody stopped it on the cluster itself")
    return _failure(state)


def stopped(row: journal.RunRow) -> journal.Outcome:
    """The end of a run that was asked to stop: for its time was up, or because its job was cancelled."""
    if row.stop_reason == "DURATION_EXCEEDED":
        limit = row.start.job.request.duration_limit_seconds
        return _failed("DURATION_EXCEEDED", f"it ran for longer than its limit of {limit} s")
    return journal.Outcome(state=job.JobState.CANCELLED, reason=row.stop_reason, detail="it was stopped on request")


def exited(row: journal.RunRow, exit_code: int, reason: str, detail: str) -> journal.Outcome:
    """The end of a run whose entrypoint did not succeed, by its launcher's word."""
    if row.stop_reason:
        return stopped(row)
    known = reason if reason in MET_INSIDE or reason == WORKERS_LOST else "ENTRYPOINT_FAILED"
    said = detail or f"the entrypoint ended with exit code {exit_code}; see `fed job logs`"
    return _failed(known, said, exit_code)


def in_doubt(outcome: journal.Outcome) -> bool:
    """Whether the loss of a node may be what really ended it."""
    killed = outcome.exit_code in _KILLED and outcome.reason == "ENTRYPOINT_FAILED"
    return killed or outcome.reason in (WORKERS_LOST, "DRIVER_LOST")


def explained(outcome: journal.Outcome, nodes: tuple[ports.NodeState, ...]) -> journal.Outcome | None:
    """The outcome of a run that was `in_doubt`, once a node that it used is known to be lost; None while none is."""
    gone = sorted((node for node in nodes if node.state != "ALIVE"), key=lambda node: (node.state != PREEMPTED, node.node))
    if not gone:
        return None
    first = gone[0]
    reason = PREEMPTED if first.state == PREEMPTED else NODE_LOST
    return _failed(reason, f"its node {first.node} is gone: {first.detail or 'its cluster does not say why'}; {outcome.detail}")


def unexplained(outcome: journal.Outcome) -> journal.Outcome:
    """The outcome of a run that was `in_doubt` where no node was lost: the failure was the entrypoint's own."""
    return dataclasses.replace(outcome, reason="ENTRYPOINT_FAILED") if outcome.reason == WORKERS_LOST else outcome


def refused(error: errors.FederationError) -> journal.Outcome:
    """The outcome of a run that cannot go on because of an error."""
    retryable = error.reason in RETRYABLE or isinstance(error, errors.Unavailable)
    return journal.Outcome(state=job.JobState.FAILED, reason=error.reason, detail=str(error.message), retryable=retryable)


def lost(error: errors.FederationError) -> journal.Outcome:
    """The end of a run whose cluster has not answered for too long."""
    return _failed("COMPUTE_UNAVAILABLE", error.message)


def answer(row: journal.RunRow, outcome: journal.Outcome, exit_code: int) -> tuple[str, ...]:
    """What a launcher hears that says again how it ended: the same as the first time."""
    if outcome.state is job.JobState.SUCCEEDED or exit_code != 0:
        return outcome.versions
    raise errors.FailedPrecondition(
        f"{row.run} has ended as {outcome.state}: {outcome.detail}",
        reason=outcome.reason or "RUN_SUPERSEDED",
        help="What it wrote was dropped.",
        metadata={"run": row.run},
    )


def require_outputs(row: journal.RunRow, written: set[str]) -> None:
    """Returns when every output of the run was written to its end; FailedPrecondition (OUTPUT_MISSING) otherwise."""
    missing = sorted(output.alias for output in row.start.outputs if output.alias not in written)
    if missing:
        raise errors.FailedPrecondition(
            f"the entrypoint ended well, but wrote no {', '.join(missing)}",
            reason="OUTPUT_MISSING",
            help="Write to federation.outputs[...] and close it, or submit the job without that output.",
            metadata={"outputs": ",".join(missing)},
        )


def _failure(state: ports.ComputeState) -> journal.Outcome:
    """What a cluster says of a submission that failed."""
    if state.reason:
        return _failed(state.reason, state.message)
    if state.exit_code and state.exit_code > 0 and state.exit_code not in _KILLED:
        return _failed("ENTRYPOINT_FAILED", state.message, state.exit_code)
    return _failed("DRIVER_LOST", state.message or "its driver ended without a word")


def _failed(reason: str, detail: str, exit_code: int | None = None) -> journal.Outcome:
    return journal.Outcome(
        state=job.JobState.FAILED, reason=reason, detail=detail[:2000], exit_code=exit_code, retryable=reason in RETRYABLE
    )
