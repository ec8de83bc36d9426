"""What `fed` says to the shell: one table of exit codes, used by the code, by `fed help exit-codes` and by the tests."""

from __future__ import annotations

from dataclasses import dataclass

from federation.core import errors
from federation.core.job import JobState

OK = 0
ERROR = 1
USAGE = 2
NOT_FOUND = 3
DENIED = 4
CONFLICT = 5
REFUSED = 6
UNAVAILABLE = 7
JOB_FAILED = 8
INTERRUPTED = 130


@dataclass(frozen=True, kw_only=True)
class Exit:
    """One exit code, what it means, and the kinds and reasons of errors that end so. A reason goes before a kind."""

    code: int
    meaning: str
    errors: tuple[str, ...] = ()
    reasons: tuple[str, ...] = ()


TABLE = (
    Exit(code=OK, meaning="It is done."),
    Exit(
        code=ERROR,
        meaning="It failed for a reason without another code; `fed fsck`, `doctor` and `ledger verify` found something, "
        "`apply --dry-run --exit-code` a difference.",
    ),
    Exit(
        code=USAGE,
        meaning="The command or a value in it is wrong; nothing was changed.",
        errors=("InvalidArgument",),
    ),
    Exit(code=NOT_FOUND, meaning="What was named is not there.", errors=("NotFound",)),
    Exit(
        code=DENIED,
        meaning="The token is missing, unknown or ended, or its bearer may not do this.",
        errors=("PermissionDenied", "Unauthenticated"),
    ),
    Exit(
        code=CONFLICT,
        meaning="It is there already, or somebody else changed it first.",
        errors=("AlreadyExists", "Conflict"),
    ),
    Exit(
        code=REFUSED,
        meaning="Residency, capacity or an unknown price forbids every placement (REJECTED).",
        reasons=(
            *("RESIDENCY_DENIED", "RESIDENCY_CONTRADICTION", "PRICE_UNKNOWN", "SITE_NOT_REQUESTED", "REPLICA_MISSING"),
            *("NO_COMPUTE", "GPU_TYPE_MISSING", "GPUS_EXHAUSTED", "CPUS_EXHAUSTED", "MEMORY_EXHAUSTED", "NO_CANDIDATE"),
        ),
    ),
    Exit(
        code=UNAVAILABLE,
        meaning="A part is down, or it took too long; the same command may go through later.",
        errors=("Unavailable", "DeadlineExceeded"),
    ),
    Exit(code=JOB_FAILED, meaning="What was waited for, a job or a transfer, ended as FAILED or CANCELLED."),
    Exit(code=INTERRUPTED, meaning="Ctrl-C."),
)

_BY_REASON = {reason: row.code for row in TABLE for reason in row.reasons}
_BY_ERROR = {kind: row.code for row in TABLE for kind in row.errors}


def code_of(error: errors.FederationError) -> int:
    """The exit code for an error of ours: by its reason, else by the nearest of its kinds, else ERROR."""
    if error.reason in _BY_REASON:
        return _BY_REASON[error.reason]
    return next((_BY_ERROR[cls.__name__] for cls in type(error).__mro__ if cls.__name__ in _BY_ERROR), ERROR)


def code_of_state(state: JobState) -> int:
    """The exit code for a job that was waited for."""
    if state is JobState.REJECTED:
        return REFUSED
    return JOB_FAILED if state in (JobState.FAILED, JobState.CANCELLED) else OK
