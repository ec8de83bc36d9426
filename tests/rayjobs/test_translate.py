"""A job of ours as Ray's details."""

from __future__ import annotations

from typing import Any

import pytest

from federation.core.job import Candidate, Job, JobRequest, JobState, Plan, Run
from federation.rayjobs import translate
from tests import builders

DIGEST = "a" * 64


def placed(state: JobState, **changes: Any) -> Job:
    """A job at `eu-1`, in this state."""
    choice = Candidate(
        site="eu-1", region="aws:eu-central-1", inputs=(), compute_micros=1_230_000, egress_micros=0, locality=1.0
    )
    plan = Plan(revision=7, decide_time=builders.NOW, ranked=(choice,), rejections=())
    wanted = JobRequest(
        entrypoint=("sh", "-c", "a && b"), env=(("KEY", "hunter2"),), metadata=(("owner", "alice"),), working_dir=DIGEST
    )
    fields = {"job": "j-1", "request": wanted, "state": state, "plan": plan, "attempt": 1, "create_time": builders.NOW}
    return Job(**fields | changes)


@pytest.mark.parametrize("state", list(JobState))
def test_every_state_is_one_of_rays(state: JobState) -> None:
    """And all fields are those that Ray's own client reads."""
    pytest.importorskip("ray")
    from ray.dashboard.modules.job.pydantic_models import JobDetails

    told = JobDetails(**translate.details(placed(state)))
    assert told.status.is_terminal() is state.terminal
    assert told.submission_id == "j-1"


def test_details_tell_where_it_runs_and_no_secret() -> None:
    """Values of environment variables stay here."""
    run = Run(run="jobs/j-1/runs/1", job="j-1", attempt=1, site="eu-1", exit_code=3, start_time=builders.NOW)
    told = translate.details(placed(JobState.FAILED, reason="ENTRYPOINT_FAILED", detail="exit code 3"), run)
    assert told["metadata"] == {
        "owner": "alice",
        "fed.job": "j-1",
        "fed.site": "eu-1",
        "fed.region": "aws:eu-central-1",
        "fed.locality": "100%",
        "fed.estimate": "$1.23",
    }
    assert (told["entrypoint"], told["driver_exit_code"], told["error_type"]) == ("a && b", 3, "ENTRYPOINT_FAILED")
    assert told["message"] == "ENTRYPOINT_FAILED: exit code 3"
    assert told["start_time"] == int(builders.NOW.timestamp() * 1000)
    assert "hunter2" not in str(told)
    assert told["runtime_env"] == {"env_vars": {"KEY": "***"}, "working_dir": DIGEST}


def test_the_submitters_own_id_goes_before_ours() -> None:
    """It is what they ask by."""
    own = placed(JobState.RUNNING, request=JobRequest(entrypoint=("x",), submission_id="mine"))
    assert translate.details(own)["submission_id"] == "mine"
