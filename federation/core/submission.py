"""A submission in the words of Ray's Jobs API, as a request of ours. Pure.

What a submission says of data stands in its metadata, under names that begin with `fed.`; all other metadata stays the
submitter's. What Ray offers and a federation does not is refused by name and never ignored. `fed ray` reads by it what Ray's
clients send, and `fed job submit` what people say with the options of `ray job submit`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import shlex
from collections.abc import Callable, Mapping
from typing import Any

from federation.core import errors, specs, units
from federation.core.job import JobRequest, Resources, Spot

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
    blank = JobRequest(entrypoint=_entrypoint(told.get("entrypoint")), working_dir=working_dir)
    return applied(blank, {name: value for name, value in told.items() if name != "entrypoint"})


def applied(base: JobRequest, submission: Any) -> JobRequest:
    """A request, changed in what a submission without its entrypoint says, and left alone in all else.

    It belongs to the namespace of its first output, else of its first input. A variable that the request has, too, keeps the
    request's value.
    """
    told = _table("the submission", submission)
    _known("the submission", told, _SUBMISSION)
    runtime_env = dict(_table("runtime_env", told.get("runtime_env")))
    runtime_env.pop("working_dir", None)
    if "py_modules" in runtime_env:
        raise _unsupported("py_modules are not taken", "Put the modules into the working directory.")
    env = _texts("runtime_env.env_vars", runtime_env.pop("env_vars", None))
    metadata = _texts("metadata", told.get("metadata"))
    wishes = {name.removeprefix(PREFIX): text for name, text in metadata.items() if name.startswith(PREFIX)}
    changed = dataclasses.replace(
        base,
        **_wished(wishes),
        resources=_resources(base.resources, told),
        runtime_env=json.dumps(runtime_env, sort_keys=True) if runtime_env else base.runtime_env,
        env=tuple(sorted((env | dict(base.env)).items())),
        submission_id=_text("submission_id", told.get("submission_id") or told.get("job_id") or base.submission_id),
        metadata=tuple(sorted((dict(base.metadata) | metadata).items())),
    )
    return dataclasses.replace(changed, namespace=specs.home(changed.inputs, changed.outputs))


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


def _resources(base: Resources, told: Mapping[str, Any]) -> Resources:
    """CPUs and GPUs whole, rounded up: a part of one is not placed beside another's. A type of GPU alone means one of it."""
    gpu_type = _accelerator(told) or base.gpu_type
    gpus = _whole("entrypoint_num_gpus", told.get("entrypoint_num_gpus")) or base.gpus
    return Resources(
        cpus=_whole("entrypoint_num_cpus", told.get("entrypoint_num_cpus")) or base.cpus,
        gpus=gpus or (1 if gpu_type else 0),
        gpu_type=gpu_type,
        memory_bytes=_whole("entrypoint_memory", told.get("entrypoint_memory")) or base.memory_bytes,
    )


def _accelerator(told: Mapping[str, Any]) -> str:
    """The type of GPU that the custom resources or the labels name, '' where they name none; refuses two different ones."""
    found: dict[str, None] = {}
    for name, amount in _table("entrypoint_resources", told.get("entrypoint_resources")).items():
        if not name.startswith(_ACCELERATOR) or isinstance(amount, bool) or not isinstance(amount, int | float):
            raise _unsupported(f"the resource {name!r} is not placed by", f"Use {_ACCELERATOR}TYPE, CPUs, GPUs and memory.")
        found[name.removeprefix(_ACCELERATOR)] = None
    for name, value in _texts("entrypoint_label_selector", told.get("entrypoint_label_selector")).items():
        if name != _ACCELERATOR_LABEL or not re.fullmatch(r"[A-Za-z0-9._-]+", value):
            raise _unsupported(f"the label selector {name}={value} is not placed by", f"Use {_ACCELERATOR_LABEL}=TYPE.")
        found[value] = None
    if len(found) > 1:
        raise _unsupported(f"{' and '.join(found)} are asked for at once", "Name one type of GPU.")
    return next(iter(found), "")


def _whole(field: str, number: Any) -> int:
    if number is None:
        return 0
    if isinstance(number, bool) or not isinstance(number, int | float) or not math.isfinite(number) or number < 0:
        raise _wrong(field, f"{number!r} is not a number from 0 on", "Leave it out for none.")
    return math.ceil(number)


def _words(text: str) -> list[str]:
    return text.split()


#: For each name behind `fed.`: the field of a request, and how its text is read.
WISHES: dict[str, tuple[str, Callable[[str], Any]]] = {
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
_OF_OUTPUTS = ("outputs", "column_maps", "column_classes")
_DATA = ("inputs", *_OF_OUTPUTS)


def _wished(wishes: Mapping[str, str]) -> dict[str, Any]:
    """The fields of a request that `fed.` metadata names."""
    _known("metadata", [PREFIX + name for name in wishes], [PREFIX + name for name in (*_DATA, *WISHES)])
    found: dict[str, Any] = {}
    if "inputs" in wishes:
        found["inputs"] = specs.inputs(_words(wishes["inputs"]))
    if wishes.keys() & set(_OF_OUTPUTS):
        found["outputs"] = specs.outputs(*(_words(wishes.get(name, "")) for name in _OF_OUTPUTS))
    for name, text in wishes.items():
        if name in WISHES:
            field, read = WISHES[name]
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
