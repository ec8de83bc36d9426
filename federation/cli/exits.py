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
    """One exit code and what it means."""

    code: int
    meaning: str


TABLE = (
    Exit(code=OK, meaning="It is done."),
    Exit(
        code=ERROR,
        meaning="It failed for a reason without another code; `fed fsck`, `doctor` and `ledger verify` found something.",
    ),
    Exit(code=USAGE, meaning="The command or a value in it is wrong; nothing was changed."),
    Exit(code=NOT_FOUND, meaning="What was named is not there."),
    Exit(code=DENIED, meaning="The token is missing, unknown or ended, or its bearer may not do this."),
    Exit(code=CONFLICT, meaning="It is there already, or somebody else changed it first."),
    Exit(code=REFUSED, meaning="Residency, capacity or an unknown price forbids every placement (REJECTED)."),
    Exit(code=UNAVAILABLE, meaning="A part is down, or it took too long; the same command may go through later."),
    Exit(code=JOB_FAILED, meaning="What was waited for, a job or a transfer, ended as FAILED or CANCELLED."),
    Exit(code=INTERRUPTED, meaning="Ctrl-C."),
)

#: Reasons that forbid a placement, whatever kind of error brings them.
_REFUSALS = frozenset(
    (
        *("RESIDENCY_DENIED", "RESIDENCY_CONTRADICTION", "PRICE_UNKNOWN", "SITE_NOT_REQUESTED", "REPLICA_MISSING"),
        *("NO_COMPUTE", "GPU_TYPE_MISSING", "GPUS_EXHAUSTED", "CPUS_EXHAUSTED", "MEMORY_EXHAUSTED", "NO_CANDIDATE"),
    )
)

_BY_ERROR: tuple[tuple[type[errors.FederationError], int], ...] = (
    (errors.InvalidArgument, USAGE),
    (errors.NotFound, NOT_FOUND),
    (errors.PermissionDenied, DENIED),
    (errors.Unauthenticated, DENIED),
    (errors.AlreadyExists, CONFLICT),
    (errors.Conflict, CONFLICT),
    (errors.Unavailable, UNAVAILABLE),
    (errors.DeadlineExceeded, UNAVAILABLE),
)


def code_of(error: errors.FederationError) -> int:
    """The exit code for an error of ours."""
    if error.reason in _REFUSALS:
        return REFUSED
    return next((code for cls, code in _BY_ERROR if isinstance(error, cls)), ERROR)


def code_of_state(state: JobState) -> int:
    """The exit code for a job that was waited for."""
    if state is JobState.REJECTED:
        return REFUSED
    return JOB_FAILED if state in (JobState.FAILED, JobState.CANCELLED) else OK
