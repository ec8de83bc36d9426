"""The options of `ray job submit` in `fed job submit` and `fed job plan`, with the meaning that Ray gives them.

They say what Ray's client would send to a cluster, and `core.submission` reads it, as it does for `fed ray`. What is said both
ways, like `--cpus` and `--entrypoint-num-cpus`, is a mistake, and so is what a federation does otherwise, like `--address`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import click
from click.core import ParameterSource

from federation.cli import jobs
from federation.cli.command import as_one
from federation.core import errors, submission
from federation.core.job import JobRequest

#: For each field of Ray's that one of our own options says, too: the parameter of that option.
_OURS = {
    "entrypoint_num_cpus": "cpus",
    "entrypoint_num_gpus": "gpus",
    "entrypoint_memory": "memory",
    "entrypoint_resources": "gpu_type",
    "entrypoint_label_selector": "gpu_type",
}
#: The same for metadata: what `fed.inputs` says is said by `--input`.
_OUR_DATA = {
    "inputs": ("input_texts", "assume_size"),
    "outputs": ("output_texts",),
    "column_maps": ("column_maps",),
    "column_classes": ("column_classes",),
}
#: What Ray has and a federation has otherwise: each option, and what to use instead.
REFUSED = {
    "--address": "a federation is chosen by its context: `fed --context NAME job submit ...`, or FED_TARGET",
    "--headers": "nothing travels by HTTP here: your token is the context's, or FED_TOKEN",
    "--verify": "the server's certificate is always verified, against the context's CA, or FED_CA",
    "--log-style": "`-o` chooses how an answer looks",
    "--log-color": "a pipe has no colours, and NO_COLOR=1 takes them from a terminal",
    "--verbose": "`fed job explain JOB` tells why a job runs where it runs",
}
_URI = re.compile(r"[a-zA-Z][a-zA-Z0-9+.-]*://")


class Table(click.ParamType[dict[str, Any]]):
    """A JSON object."""

    name = "json"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> dict[str, Any]:
        """The object; a usage error for other text."""
        if isinstance(value, dict):
            return value
        try:
            found = json.loads(value)
        except (ValueError, RecursionError) as error:
            self.fail(f"{value!r} is not JSON: {error}", param, ctx)
        if not isinstance(found, dict):
            self.fail(f"{value!r} is not a JSON object", param, ctx)
        return found


def _refuse(_: click.Context, param: click.Parameter, value: Any) -> None:
    if value:
        raise click.UsageError(f"{param.opts[0]} is Ray's, and not needed: {REFUSED[param.opts[0]]}")


_OPTIONS = (
    click.option(
        "--runtime-env",
        type=click.Path(path_type=Path, dir_okay=False),
        metavar="FILE",
        help="Ray's runtime_env as YAML or JSON; its working_dir is a local folder.",
    ),
    click.option("--runtime-env-json", type=Table(), metavar="JSON", help="As for Ray: its runtime_env as a JSON object."),
    click.option(
        "--working-dir", metavar="FOLDER", type=click.Path(file_okay=False), help="A folder that travels with the job."
    ),
    click.option(
        "--submission-id", "--job-id", metavar="ID", default="", help="As for Ray: your own name for the job, good once."
    ),
    click.option(
        "--metadata-json",
        type=Table(),
        metavar="JSON",
        help='As for Ray: kept with the job. {"fed.inputs": "..."} and the like say what options say; see docs/ray.md.',
    ),
    click.option("--entrypoint-num-cpus", type=float, metavar="NUMBER", help="As for Ray, rounded up, as --cpus."),
    click.option("--entrypoint-num-gpus", type=float, metavar="NUMBER", help="As for Ray, rounded up, as --gpus."),
    click.option("--entrypoint-memory", type=int, metavar="BYTES", help="As for Ray; --memory takes units."),
    click.option("--entrypoint-resources", type=Table(), metavar="JSON", help='As for Ray: {"accelerator_type:A10G": 1}.'),
    click.option(
        "--entrypoint-label-selector", type=Table(), metavar="JSON", help='As for Ray: {"ray.io/accelerator-type": "A10G"}.'
    ),
    *(
        click.option(
            *((name, "-v") if name == "--verbose" else (name,)),
            hidden=True,
            is_flag=name == "--verbose",
            expose_value=False,
            callback=_refuse,
            help=f"Ray's, refused: {instead}.",
        )
        for name, instead in REFUSED.items()
    ),
)


@dataclass(frozen=True, kw_only=True)
class Said:
    """What Ray's options said: a submission in its words, without an entrypoint, and the folder that travels with the job."""

    submission: Mapping[str, Any]
    working_dir: Path | None = None

    def applied(self, request: JobRequest) -> JobRequest:
        """The request with it."""
        return submission.applied(request, self.submission)


def taken(**said: Any) -> Said:
    """What Ray's options said, by their parameters; click.UsageError where one says what another option says, too."""
    file, text, folder = said.pop("runtime_env"), said.pop("runtime_env_json"), said.pop("working_dir")
    if file is not None and text is not None:
        raise click.UsageError("--runtime-env and --runtime-env-json exclude each other")
    runtime_env = _resolved(jobs.read_runtime_env(file) if file is not None else dict(text or {}))
    inner = runtime_env.pop("working_dir", None)
    told = {
        "runtime_env": runtime_env or None,
        "submission_id": said.pop("submission_id") or None,
        "metadata": said.pop("metadata_json"),
        **said,
    }
    found = {name: value for name, value in told.items() if value is not None}
    _check_once(found)
    return Said(submission=found, working_dir=_folder(folder if folder is not None else inner))


#: For a command that describes a job: what they say comes as `rays`.
options = as_one("rays", taken, _OPTIONS)


def _check_once(said: Mapping[str, Any]) -> None:
    """Nothing is said by an option of ours and one of Ray's at once."""
    context = click.get_current_context()
    both = [(_option(context, name), ours) for name, ours in _OURS.items() if name in said]
    for key in said.get("metadata", {}):
        name = key.removeprefix(submission.PREFIX)
        if name != key:
            both += [(f"{key} in --metadata-json", ours) for ours in _OUR_DATA.get(name, (name,))]
    for told, ours in both:
        if context.get_parameter_source(ours) not in (None, ParameterSource.DEFAULT):
            raise click.UsageError(f"{_option(context, ours)} and {told} do not go together: use one of them")


def _option(context: click.Context, name: str) -> str:
    return next(param.opts[0] for param in context.command.params if param.name == name)


def _folder(text: Any) -> Path | None:
    if text is None:
        return None
    if not isinstance(text, str) or _URI.match(text):
        _unsupported(f"the working directory {text!r} is no folder of this machine", "Name a local folder: it is uploaded.")
    return Path(text)


def _resolved(runtime_env: dict[str, Any]) -> dict[str, Any]:
    """With what is in the local files that it names, as Ray's client sends it: requirements of pip and uv, conda's YAML."""
    if "excludes" in runtime_env:
        _unsupported(
            "runtime_env.excludes is not applied",
            "Keep such files elsewhere; .git and __pycache__ are left out anyway.",
        )
    for name in ("pip", "uv"):
        if isinstance(runtime_env.get(name), str):
            runtime_env[name] = _read(runtime_env[name], name).strip().split("\n")
    conda = runtime_env.get("conda")
    if isinstance(conda, str) and Path(conda).suffix in (".yaml", ".yml"):
        runtime_env["conda"] = jobs.read_runtime_env(Path(conda))
    return runtime_env


def _read(name: str, field: str) -> str:
    try:
        return Path(name).read_text()
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidArgument(
            f"runtime_env.{field} names the file {name}, which cannot be read: {error}",
            reason="RUNTIME_ENV_INVALID",
            help="Name a file of requirements, or list them.",
        ) from None


def _unsupported(why: str, hint: str) -> NoReturn:
    raise errors.InvalidArgument(why, reason="RUNTIME_ENV_UNSUPPORTED", help=hint)
