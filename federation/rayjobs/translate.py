"""A job of ours, with its run, as Ray's details. Values in, values out; the other way is `core.submission`."""

from __future__ import annotations

import json
import shlex
from datetime import datetime
from typing import Any

from federation.core import units
from federation.core.job import Job, JobRequest, JobState, Run

_STATUS = {
    JobState.PENDING: "PENDING",
    JobState.PLACED: "PENDING",
    JobState.STARTING: "PENDING",
    JobState.RUNNING: "RUNNING",
    JobState.SUCCEEDED: "SUCCEEDED",
    JobState.FAILED: "FAILED",
    JobState.CANCELLED: "STOPPED",
    JobState.REJECTED: "FAILED",
}


def submission_id(job: Job) -> str:
    """What Ray's clients call the job: the submitter's own word for it, else ours."""
    return job.request.submission_id or job.job


def details(job: Job, run: Run | None = None, dashboard: str = "") -> dict[str, Any]:
    """A job as Ray's JobDetails. Of environment variables the names alone are told; where it runs stands in the metadata.

    `dashboard` is where Ray's own dashboard shows its newest run.
    """
    command = job.request.entrypoint
    started = run.start_time if run is not None else None
    return {
        "type": "SUBMISSION",
        "job_id": None,
        "submission_id": submission_id(job),
        "driver_info": None,
        "status": _STATUS[job.state],
        "entrypoint": command[2] if command[:2] == ("sh", "-c") and len(command) == 3 else shlex.join(command),
        "message": _message(job),
        "error_type": job.reason or None if job.state.terminal else None,
        "start_time": _milliseconds(started or job.create_time),
        "end_time": _milliseconds(job.end_time),
        "metadata": dict(job.request.metadata) | _facts(job) | ({"fed.dashboard": dashboard} if dashboard else {}),
        "runtime_env": _runtime_env(job.request),
        "driver_agent_http_address": None,
        "driver_node_id": None,
        "driver_exit_code": run.exit_code if run is not None and job.state.terminal else None,
    }


def _message(job: Job) -> str:
    choice = job.plan.choice if job.plan is not None else None
    because = ": ".join(part for part in (job.reason, job.detail) if part)
    if job.state is JobState.SUCCEEDED:
        return "Job finished successfully."
    if job.state.terminal:
        return because or f"Job is {job.state}."
    where = f" at {choice.site} ({choice.region})" if choice is not None and job.attempt else ""
    return f"Job is {job.state}{where}." + (f" {because}" if because else "")


def _facts(job: Job) -> dict[str, str]:
    """What the federation adds to the metadata."""
    found = {"fed.job": job.job}
    choice = job.plan.choice if job.plan is not None else None
    if choice is not None and job.attempt:
        found |= {
            "fed.site": choice.site,
            "fed.region": choice.region,
            "fed.locality": f"{choice.locality:.0%}",
            "fed.estimate": units.usd(choice.total_micros),
        }
    return found


def _runtime_env(asked: JobRequest) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(asked.runtime_env) if asked.runtime_env else {}
    for name in {**found.pop("env_vars", {}), **dict(asked.env)}:
        found.setdefault("env_vars", {})[name] = "***"
    if asked.working_dir:
        found["working_dir"] = asked.working_dir
    return found


def _milliseconds(time: datetime | None) -> int | None:
    return None if time is None else int(time.timestamp() * 1000)
