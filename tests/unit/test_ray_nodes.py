"""Which of a Ray cluster's nodes may be what ended a submission, by the rows of its state API."""

from __future__ import annotations

from typing import Any

import pytest

from connectors.compute import ray

ENDED_MS = 1_000_000_000


def row(**changes: Any) -> dict[str, Any]:
    """A node that died as the submission ended, as Ray 2.60 tells it."""
    died = "Unexpected termination: health check failed due to missing too many heartbeats"
    values = {"node_id": "n-1", "is_head_node": False, "state": "DEAD", "state_message": died, "end_time_ms": ENDED_MS}
    return values | changes


@pytest.mark.parametrize(
    ("node", "matters"),
    [
        (row(), True),
        (row(state="ALIVE", state_message=None, end_time_ms=0), True),
        (row(end_time_ms=ENDED_MS + 20_000), True),  # Ray was sure of it only later
        (row(end_time_ms=ENDED_MS - 301_000), False),
        (row(state_message="Terminated due to idle (no Ray activity)"), False),
        (row(is_head_node=True, state="ALIVE", state_message=None, end_time_ms=0), False),
    ],
)
def test_a_node_that_was_outlived_or_idle_or_is_the_head_explains_nothing(node: dict[str, Any], matters: bool) -> None:
    """A submission that failed long after a loss, or beside a node that was given back, has failed for something else."""
    assert ray._may_matter(node, ENDED_MS - ray._OUTLIVED_SECONDS * 1000) is matters


@pytest.mark.parametrize(
    ("message", "state"),
    [
        ("Terminated due to preemption: spot interruption notice", "PREEMPTED"),
        ("Terminated due to preemption", "PREEMPTED"),
        ("Unexpected termination: health check failed due to missing too many heartbeats", "LOST"),
        ("Expected termination: received SIGTERM", "LOST"),
        (None, "LOST"),
    ],
)
def test_a_dead_node_is_preempted_only_where_ray_says_so(message: str | None, state: str) -> None:
    """The words are those of Ray's `compose_state_message`."""
    found = ray._node_state(row(state_message=message))
    assert (found.node, found.state, found.detail) == ("n-1", state, message or "")
