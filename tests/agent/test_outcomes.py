"""How a run ended, from values alone: which reasons of a launcher are believed, and what a lost node explains."""

from __future__ import annotations

import ast
import inspect
from types import ModuleType

import pytest

from federation import ports
from federation.agent import journal, outcomes
from federation.core import job
from federation.services import jobs
from federation.wire import data
from federation.worker import cluster, environment, filesystem, session


def _reasons(module: ModuleType) -> set[str]:
    """The reasons that stand in a module's text, as it raises them."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.keyword)]
    found = [node.value.value for node in calls if node.arg == "reason" and isinstance(node.value, ast.Constant)]
    return {str(reason) for reason in found}


@pytest.mark.parametrize("module", [session, filesystem, cluster, environment, data])
def test_every_reason_that_the_worker_library_raises_is_one_that_a_job_can_meet(module: ModuleType) -> None:
    """A new one there would come out as ENTRYPOINT_FAILED until it is named here."""
    assert _reasons(module) <= outcomes.MET_INSIDE


def test_no_job_can_say_what_the_catalog_acts_upon() -> None:
    """Losses of clusters and nodes, and what the catalog says of itself, are nobody's word but theirs."""
    theirs = {"COMPUTE_UNAVAILABLE", "COMPUTE_LOST", "DRIVER_LOST", "LAUNCHER_LOST", "NODE_LOST", "PREEMPTED", "RUN_SUPERSEDED"}
    assert not outcomes.MET_INSIDE & (theirs | jobs.UNTOLD_REASONS | jobs.FINAL_REASONS)


def failed(reason: str, exit_code: int | None = None) -> journal.Outcome:
    """An end of that kind."""
    return journal.Outcome(state=job.JobState.FAILED, reason=reason, detail="it said", exit_code=exit_code)


@pytest.mark.parametrize(
    ("outcome", "doubted"),
    [
        (failed("WORKERS_LOST", 1), True),
        (failed("DRIVER_LOST"), True),
        (failed("ENTRYPOINT_FAILED", 137), True),
        (failed("ENTRYPOINT_FAILED", 1), False),
        (failed("INPUT_NOT_IN_PLAN", 1), False),
        (failed("OUTPUT_MISSING", 0), False),
        (journal.Outcome(state=job.JobState.CANCELLED, reason="CANCELLED"), False),
    ],
)
def test_only_what_a_lost_node_may_have_caused_is_doubted(outcome: journal.Outcome, doubted: bool) -> None:
    """Whatever else a run ended with is known for certain, and told at once."""
    assert outcomes.in_doubt(outcome) is doubted


def test_of_several_lost_nodes_the_preempted_one_is_told() -> None:
    """For it says most of what to do next; and of equals the first by name, so that telling it again tells the same."""
    lost, taken = (ports.NodeState(node=f"n-{i}", state=state, detail="why") for i, state in ((1, "LOST"), (2, "PREEMPTED")))
    found = outcomes.explained(failed("DRIVER_LOST"), (lost, taken))
    assert found == outcomes.explained(failed("DRIVER_LOST"), (taken, lost))
    assert found == journal.Outcome(
        state=job.JobState.FAILED, reason="PREEMPTED", detail="its node n-2 is gone: why; it said", retryable=True
    )
    assert outcomes.explained(failed("DRIVER_LOST"), (ports.NodeState(node="n-1", state="ALIVE"),)) is None
