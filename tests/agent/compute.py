"""Compute in memory: it runs nothing, keeps what it was given, and says of it what a test lets it say."""

from __future__ import annotations

from typing import Any

from federation import ports
from federation.core import admission, errors, site


class MemoryCompute:
    """Fills `Compute`. The test is the launcher: it takes the ticket from a submission and calls the gateway with it."""

    def __init__(self) -> None:
        self.submissions: dict[str, ports.Submission] = {}
        self.states: dict[str, ports.ComputeState] = {}
        self.stopped: list[str] = []
        self.used: dict[str, tuple[ports.NodeState, ...]] = {}
        self.away = False
        self.gpus: tuple[tuple[str, int], ...] = ()

    def submit(self, submission: ports.Submission) -> None:
        self._answer()
        self.submissions.setdefault(submission.submission_id, submission)
        self.states.setdefault(submission.submission_id, ports.ComputeState(state="RUNNING"))

    def state(self, submission_id: str) -> ports.ComputeState:
        self._answer()
        return self.states.get(submission_id, ports.ComputeState(state="ABSENT"))

    def stop(self, submission_id: str) -> None:
        self._answer()
        if self.states.get(submission_id, ports.ComputeState(state="ABSENT")).state == "RUNNING":
            self.stopped.append(submission_id)
            self.states[submission_id] = ports.ComputeState(state="STOPPED")

    def nodes(self, submission_id: str) -> tuple[ports.NodeState, ...]:
        self._answer()
        return self.used.get(submission_id, ())

    def capacity(self) -> site.Capacity:
        self._answer()
        return site.Capacity(cpus=8, memory_bytes=16 * 10**9, gpus=self.gpus)

    def examine(self) -> admission.Finding:
        return admission.Finding(
            check="compute", grade="C" if self.away else "A", detail=admission.UNASKED if self.away else "in memory"
        )

    def say(self, submission_id: str, state: str, message: str = "", **more: Any) -> None:
        """From now on this is what became of it."""
        self.states[submission_id] = ports.ComputeState(state=state, message=message, **more)

    def _answer(self) -> None:
        if self.away:
            raise errors.Unavailable("the cluster does not answer", reason="COMPUTE_UNAVAILABLE")
