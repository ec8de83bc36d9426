"""Reads a pipeline from YAML: every key is known, every name leads somewhere, an error names file, task, key and cure."""

from __future__ import annotations

import dataclasses
import json
import shlex
from dataclasses import dataclass
from pathlib import Path

from federation import strict
from federation.cli import jobs
from federation.core import columns, errors, ids, tasks, units
from federation.core.job import InputSpec, JobRequest, OutputSpec, Resources, Spot
from federation.core.pipeline import PipelineRequest, TaskSpec

_PIPELINE = ("pipeline", "namespace", "working_dir", "parts_min", "tasks")
_TASK = (
    *("run", "inputs", "outputs", "after", "optional", "sites", "env", "runtime_env", "working_dir", "label"),
    *("cpus", "gpus", "gpu_type", "memory", "duration", "time_limit", "max_attempts"),
    *("priority", "deadline", "hour_value_usd", "carbon_tonne_usd", "spot", "no_copies", "purpose"),
)
_INPUT = ("from", "read_percent", "column_classes")
_OUTPUT = ("dataset", "kind", "assume", "deliver_to", "release", "count", "column_classes")


@dataclass(frozen=True, kw_only=True)
class PipelineFile:
    """A pipeline as a file describes it. `working_dirs` are the folders that travel with tasks, by task."""

    request: PipelineRequest
    working_dirs: dict[str, Path]


def read(path: Path) -> PipelineFile:
    """The pipeline of a file; InvalidArgument for what it cannot be, with the key's path, such as `tasks.train.inputs.data`.

    CONFIG_INVALID for what is not as documented, and the reasons of `tasks.check` for a graph that cannot be run.
    """
    try:
        text = path.read_text()
    except FileNotFoundError:
        raise errors.NotFound(f"there is no file {path}", reason="FILE_MISSING", help="Check its name.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise errors.InvalidArgument(f"{path} cannot be read: {error}", reason="FILE_UNREADABLE") from None
    found = parse(text, str(path), path.resolve().parent)
    try:
        tasks.check(found.request)
    except errors.InvalidArgument as error:
        raise errors.InvalidArgument(
            f"{path}: {error.message}",
            reason=error.reason,
            help=error.help,
            metadata={**error.metadata, "file": str(path)},
            violations=error.violations,
        ) from None
    return found


def parse(text: str, source: str, folder: Path) -> PipelineFile:
    """The pipeline of a text; names are not looked up. `folder` is what relative paths begin at."""
    table = strict.parse(text, source).only(_PIPELINE)
    listed = table.table("tasks")
    specs, folders = [], {}
    for name in listed:
        task = listed.table(name).only(_TASK)
        specs.append(_task(ids.segment(name, "task"), task, folder))
        given = task.text("working_dir", "") or table.text("working_dir", "")
        if given:
            folders[name] = folder / given
    request = PipelineRequest(
        label=table.text("pipeline", ""),
        namespace=table.text("namespace", ""),
        tasks=tuple(specs),
        parts_min=table.integer("parts_min", 0),
    )
    return PipelineFile(request=request, working_dirs=folders)


def _task(name: str, table: strict.Table, folder: Path) -> TaskSpec:
    after = tuple(table.list_of_texts("after"))
    return TaskSpec(task=name, request=_request(table, folder), after=after, optional=table.flag("optional"))


def _request(table: strict.Table, folder: Path) -> JobRequest:
    inputs, outputs = table.table("inputs"), table.table("outputs")
    runtime_env = table.text("runtime_env", "")
    request = JobRequest(
        label=table.text("label", ""),
        inputs=tuple(_input(inputs, alias) for alias in inputs),
        outputs=tuple(_output(outputs, alias) for alias in outputs),
        resources=_resources(table),
        sites=tuple(table.list_of_texts("sites")),
        entrypoint=_entrypoint(table),
        runtime_env=_runtime_env(folder / runtime_env) if runtime_env else "",
        env=tuple(sorted(table.table("env").texts().items())),
        duration_seconds=table.read("duration", units.parse_duration, "10m"),
        duration_limit_seconds=table.read("time_limit", units.parse_duration, "0s"),
        max_attempts=table.integer("max_attempts", 3, at_least=1),
    )
    return dataclasses.replace(
        request,
        priority=table.integer("priority", 0, at_least=-(10**9)),
        deadline_seconds=table.read("deadline", units.parse_duration, "0s"),
        hour_value_micros=table.micros("hour_value_usd"),
        carbon_tonne_micros=table.micros("carbon_tonne_usd") or 0,
        spot=Spot(table.choice("spot", tuple(Spot), str(Spot.NEVER))),
        no_copies=table.flag("no_copies"),
        purpose=table.text("purpose", ""),
    )


def _runtime_env(path: Path) -> str:
    """As JSON; the folder that travels with a task is named beside it."""
    data = jobs.read_runtime_env(path)
    if "working_dir" in data:
        raise errors.InvalidArgument(
            f"{path} names a working_dir", reason="RUNTIME_ENV_INVALID", help="Name it in the pipeline: `working_dir: FOLDER`."
        )
    return json.dumps(data, sort_keys=True)


def _resources(table: strict.Table) -> Resources:
    gpu_type = table.text("gpu_type", "")
    return Resources(
        cpus=table.integer("cpus", 1),
        gpus=table.integer("gpus", 1 if gpu_type else 0),
        gpu_type=gpu_type,
        memory_bytes=table.size("memory", 0),
    )


def _entrypoint(table: strict.Table) -> tuple[str, ...]:
    """A command line, or its words as a list."""
    words = table.list_of_texts("run")
    if not words:
        table.refuse("run", "it is missing", "Say what the task runs: `run: python train.py`.")
    if len(words) > 1:
        return tuple(words)
    try:
        return tuple(shlex.split(words[0]))
    except ValueError as error:
        table.refuse("run", f"{words[0]!r} is not a command line: {error}", "Close its quotes, or write a list of words.")


def _input(table: strict.Table, alias: str) -> InputSpec:
    """`NAMESPACE/DATASET[@N]` or `TASK.OUTPUT`, alone or under `from`."""
    inner, key, percent = table, alias, 0
    classes: tuple[str, ...] = ()
    if table.is_table(alias):
        inner, key = table.table(alias).only(_INPUT), "from"
        percent = inner.integer("read_percent", 0)
        if "column_classes" in inner:
            classes = columns.wanted(inner.list_of_texts("column_classes"))[1:]
    return inner.read(key, lambda text: dataclasses.replace(_source(alias, text, percent), column_classes=classes))


def _source(alias: str, text: str, percent: int) -> InputSpec:
    ids.alias(alias)
    if "/" in text:
        name, number = ids.dataset_or_version(text)
        return InputSpec(alias=alias, dataset=name.short, version=number or 0, read_percent=percent)
    task, dot, output = text.partition(".")
    if not dot:
        raise errors.InvalidArgument(
            f"{text!r} is neither a dataset nor an output of a task",
            reason="NAME_INVALID",
            help="Write NAMESPACE/DATASET, NAMESPACE/DATASET@N or TASK.OUTPUT.",
        )
    return InputSpec(alias=alias, dataset="", task=ids.segment(task, "task"), output=ids.alias(output), read_percent=percent)


def _output(table: strict.Table, alias: str) -> OutputSpec:
    """`NAMESPACE/DATASET`, or a table with more to say of it."""
    ids.alias(alias)
    if not table.is_table(alias):
        return OutputSpec(alias=alias, dataset=table.read(alias, lambda text: ids.dataset(text).short))
    inner = table.table(alias).only(_OUTPUT)
    return OutputSpec(
        alias=alias,
        dataset=inner.read("dataset", lambda text: ids.dataset(text).short),
        kind=inner.choice("kind", ("DATA", "MODEL"), "DATA"),
        deliver_to=inner.text("deliver_to", ""),
        assumed_bytes=inner.size("assume", 0),
        release=inner.flag("release"),
        count_column=inner.text("count", ""),
        column_classes=_classes(inner.table("column_classes")),
    )


def _classes(table: strict.Table) -> tuple[columns.ColumnClass, ...]:
    """`pii: [email, ssn]` for each class; () without any."""
    found = [columns.ColumnClass(name=name, columns=tuple(table.list_of_texts(name))) for name in table]
    return columns.checked(found) if found else ()
