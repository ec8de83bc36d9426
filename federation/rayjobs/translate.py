"""Between Ray's Jobs API and ours: a submission as a request, a job with its run as Ray's details. Values in, values out.

What a submission says of data stands in its metadata, under names that begin with `fed.`; all other metadata stays the
submitter's. What Ray offers and a federation does not is refused by name and never ignored.
"""

from __future__ import annotations

import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from federation.core import errors, specs, units
from federation.core.job import Job, JobRequest, JobState, Resources, Run, Spot

PREFIX = "fed."
#: `gcs://_ray_pkg_0123.zip`, as Ray's client names what it has uploaded.
PACKAGE_URI = re.compile(r"gcs://([A-Za-z0-9_][A-Za-z0-9._-]{0,199}\.zip)")
#: What the shell would see in a command besides words and quotes.
_SHELL = re.compile(r"[;&|<>()$`*?\[\]{}~#!\n\\]|^\w+=")
_SUBMISSION = frozenset(
    (
        *("entrypoint", "submission_id", "job_id", "runtime_env", "metadata", "entrypoint_num_cpus", "entrypoint_num_gpus"),
        *("entrypoint_memory", "entrypoint_resources", "entrypoint_label_selector"),
    )
)
_ACCELERATOR = "accelerator_type:"
_ACCELERATOR_LABEL = "ray.io/accelerator-type"
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


def package(runtime_env: Any) -> str:
    """The name of the uploaded package that is the working directory, '' where there is none.

    InvalidArgument (RUNTIME_ENV_UNSUPPORTED) for one that lies elsewhere: no address that a caller gives is ever opened.
    """
    uri = _table("runtime_env", runtime_env).get("working_dir")
    if uri is None:
        return ""
    found = PACKAGE_URI.fullmatch(uri) if isinstance(uri, str) else None
    if found is None:
        raise _unsupported(
            f"working_dir {str(uri)[:200]!r} is not a package that was uploaded here", "Give a local folder: it is uploaded."
        )
    return found[1]


def request(submission: Any, working_dir: str) -> JobRequest:
    """What a submission (the JSON of `POST /api/jobs/`) asks for; `working_dir` is the digest of its package, or ''."""
    told = _table("the submission", submission)
    _known("the submission", told, _SUBMISSION)
    runtime_env = dict(_table("runtime_env", told.get("runtime_env")))
    runtime_env.pop("working_dir", None)
    if "py_modules" in runtime_env:
        raise _unsupported("py_modules are not taken", "Put the modules into the working directory.")
    env = _texts("runtime_env.env_vars", runtime_env.pop("env_vars", None))
    metadata = _texts("metadata", told.get("metadata"))
    wishes = {name.removeprefix(PREFIX): text for name, text in metadata.items() if name.startswith(PREFIX)}
    fields = _wished(wishes)
    data = [*fields["outputs"], *fields["inputs"]]
    return JobRequest(
        **fields,
        namespace=data[0].dataset.partition("/")[0] if data else "",
        entrypoint=_entrypoint(told.get("entrypoint")),
        resources=_resources(told),
        working_dir=working_dir,
        runtime_env=json.dumps(runtime_env, sort_keys=True) if runtime_env else "",
        env=tuple(sorted(env.items())),
        submission_id=_text("submission_id", told.get("submission_id") or told.get("job_id") or ""),
        metadata=tuple(sorted(metadata.items())),
    )


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


def _entrypoint(text: Any) -> tuple[str, ...]:
    """The command as words where it is words alone, so that earlier runs of it are found; else for the shell, as Ray has it."""
    command = _text("entrypoint", text or "")
    if not command.strip():
        raise _wrong("entrypoint", "is empty", "Give the command to run.")
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise _wrong("entrypoint", f"cannot be read: {error}", "Check its quotes.") from None
    return words if not _SHELL.search(_unquoted(command)) else ("sh", "-c", command)


def _unquoted(command: str) -> str:
    """The command without what stands in single quotes, which the shell leaves alone."""
    return re.sub(r"'[^']*'", "''", command)


def _resources(told: Mapping[str, Any]) -> Resources:
    """CPUs and GPUs whole, rounded up: a part of one is not placed beside another's."""
    gpu_type = ""
    for name, amount in _table("entrypoint_resources", told.get("entrypoint_resources")).items():
        if not name.startswith(_ACCELERATOR) or not isinstance(amount, int | float):
            raise _unsupported(f"the resource {name!r} is not placed by", f"Use {_ACCELERATOR}TYPE, CPUs, GPUs and memory.")
        gpu_type = name.removeprefix(_ACCELERATOR)
    for name, value in _texts("entrypoint_label_selector", told.get("entrypoint_label_selector")).items():
        if name != _ACCELERATOR_LABEL or not re.fullmatch(r"[A-Za-z0-9._-]+", value):
            raise _unsupported(f"the label selector {name}={value} is not placed by", f"Use {_ACCELERATOR_LABEL}=TYPE.")
        gpu_type = value
    gpus = _whole("entrypoint_num_gpus", told.get("entrypoint_num_gpus"))
    return Resources(
        cpus=_whole("entrypoint_num_cpus", told.get("entrypoint_num_cpus")) or Resources.cpus,
        gpus=gpus or (1 if gpu_type else 0),
        gpu_type=gpu_type,
        memory_bytes=_whole("entrypoint_memory", told.get("entrypoint_memory")),
    )


def _whole(field: str, number: Any) -> int:
    if number is None:
        return 0
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number) or number < 0:
        raise _wrong(field, f"{number!r} is not a number from 0 on", "Leave it out for none.")
    return math.ceil(number)


def _words(text: str) -> list[str]:
    return text.split()


#: For each name behind `fed.`: the field of a request, and how its text is read.
_WISHES: dict[str, tuple[str, Callable[[str], Any]]] = {
    "purpose": ("purpose", str),
    "label": ("label", str),
    "sites": ("sites", lambda text: tuple(_words(text))),
    "duration": ("duration_seconds", units.parse_duration),
    "time_limit": ("duration_limit_seconds", units.parse_duration),
    "deadline": ("deadline_seconds", units.parse_duration),
    "max_attempts": ("max_attempts", int),
    "priority": ("priority", int),
    "hour_value": ("hour_value_micros", lambda text: units.micros(text.removeprefix("$"))),
    "carbon_price": ("carbon_tonne_micros", lambda text: units.micros(text.removeprefix("$"))),
    "spot": ("spot", lambda text: Spot(text.upper())),
    "no_copies": ("no_copies", lambda text: {"true": True, "false": False}[text.lower()]),
}
_DATA = ("inputs", "outputs", "column_maps")


def _wished(wishes: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a request that `fed.` metadata names."""
    _known("metadata", [PREFIX + name for name in wishes], [PREFIX + name for name in (*_DATA, *_WISHES)])
    found: dict[str, Any] = {
        "inputs": specs.inputs(_words(wishes.get("inputs", ""))),
        "outputs": specs.outputs(_words(wishes.get("outputs", "")), _words(wishes.get("column_maps", ""))),
    }
    for name, text in wishes.items():
        if name in _WISHES:
            field, read = _WISHES[name]
            try:
                found[field] = read(text)
            except errors.FederationError:
                raise
            except (ValueError, KeyError):
                raise _wrong(f"metadata.{PREFIX}{name}", f"{text!r} cannot be read", "See docs/ray.md for its form.") from None
    return found


def _table(field: str, given: Any) -> Mapping[str, Any]:
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise _wrong(field, "is not a JSON object", "See Ray's Jobs API.")
    return given


def _texts(field: str, given: Any) -> dict[str, str]:
    return {name: _text(f"{field}.{name}", text) for name, text in _table(field, given).items()}


def _text(field: str, given: Any) -> str:
    if not isinstance(given, str):
        raise _wrong(field, "is not a text", "See Ray's Jobs API.")
    return given


def _known(what: str, names: Any, known: Any) -> None:
    if unknown := sorted(set(names) - set(known)):
        raise _wrong(unknown[0], f"is not known in {what}", f"Known are {', '.join(sorted(known))}.")


def _wrong(field: str, why: str, hint: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(f"{field} {why}", reason="JOB_REQUEST_INVALID", help=hint, violations={field: why})


def _unsupported(why: str, hint: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(why, reason="RUNTIME_ENV_UNSUPPORTED", help=hint)
