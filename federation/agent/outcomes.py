"""How a run ended, judged from what is known of it. Values in, values out."""

from __future__ import annotations

import re

from federation import ports
from federation.agent import journal
from federation.core import errors, job

#: Failures that another attempt, here or elsewhere, may not meet.
RETRYABLE = frozenset(
    {"COMPUTE_UNAVAILABLE", "NO_COMPUTE", "COMPUTE_LOST", "DRIVER_LOST", "LAUNCHER_LOST", "SOURCE_UNAVAILABLE"}
)
_EXIT_CODE = re.compile(r"exit code (-?[0-9]+)")
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
    return _by_message(state.message)


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
    return journal.Outcome(
        state=job.JobState.FAILED,
        reason=reason or "ENTRYPOINT_FAILED",
        detail=detail or f"the entrypoint ended with exit code {exit_code}; see `fed job logs`",
        exit_code=exit_code,
    )


def refused(error: errors.FederationError) -> journal.Outcome:
    """The end of a run that an error stands in the way of."""
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


def _by_message(message: str) -> journal.Outcome:
    """A cluster tells why it failed in words alone."""
    text = message.lower()
    if "runtime_env" in text or "runtime environment" in text:
        return _failed("RUNTIME_ENV_FAILED", message)
    found = _EXIT_CODE.search(text)
    if found and int(found[1]) > 0 and int(found[1]) not in _KILLED:
        return journal.Outcome(
            state=job.JobState.FAILED, reason="ENTRYPOINT_FAILED", detail=message[:2000], exit_code=int(found[1])
        )
    return _failed("DRIVER_LOST", message or "its driver ended without a word")


def _failed(reason: str, detail: str) -> journal.Outcome:
    return journal.Outcome(state=job.JobState.FAILED, reason=reason, detail=detail[:2000], retryable=reason in RETRYABLE)
