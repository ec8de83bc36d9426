"""The lifecycle of a job and of its runs, as a table. ARCHITECTURE.md's diagram is printed from it.

A job's state follows its current run's; PENDING again after a run is the way of a retry.
"""

from __future__ import annotations

from federation.core import errors
from federation.core.job import JobState

S = JobState

#: state -> event -> next state. What is not here does not happen.
TRANSITIONS: dict[JobState, dict[str, JobState]] = {
    S.PENDING: {"placed": S.PLACED, "refused": S.REJECTED, "cancelled": S.CANCELLED, "failed": S.FAILED},
    S.PLACED: {"accepted": S.STARTING, "lost": S.PENDING, "failed": S.FAILED, "cancelled": S.CANCELLED},
    S.STARTING: {
        "started": S.RUNNING,
        "committed": S.SUCCEEDED,
        "lost": S.PENDING,
        "failed": S.FAILED,
        "cancelled": S.CANCELLED,
    },
    S.RUNNING: {"committed": S.SUCCEEDED, "lost": S.PENDING, "failed": S.FAILED, "cancelled": S.CANCELLED},
    S.SUCCEEDED: {},
    S.FAILED: {},
    S.CANCELLED: {},
    S.REJECTED: {},
}


def next_state(state: JobState, event: str) -> JobState:
    """The state after `event`; FailedPrecondition where the table has no such step."""
    try:
        return TRANSITIONS[state][event]
    except KeyError:
        raise errors.FailedPrecondition(
            f"a job that is {state} cannot be {event}",
            reason="STATE_CONFLICT",
            metadata={"state": str(state), "event": event},
        ) from None


def diagram() -> str:
    """The table as a Mermaid state diagram."""
    lines = ["stateDiagram-v2", "    [*] --> PENDING"]
    for state, events in TRANSITIONS.items():
        lines += [f"    {state} --> {after}: {event}" for event, after in events.items()]
        if state.terminal:
            lines.append(f"    {state} --> [*]")
    return "\n".join(lines)
