"""The graph of a pipeline's tasks: checked, put in order, who feeds whom."""

from __future__ import annotations

import difflib
import graphlib
from collections.abc import Iterable, Mapping

from federation.core import columns, errors, ids, job
from federation.core.pipeline import PipelineRequest, TaskSpec

TASKS_MAX = 500
#: Tells a task which of its inputs it must go on without: a JSON object, alias -> why. Set by the pipeline.
LEFT_OUT = "PIPELINE_LEFT_OUT"


def check(request: PipelineRequest) -> None:
    """Returns for a graph that can be run; InvalidArgument names the task, the field and what is wrong with it.

    PIPELINE_EMPTY, PIPELINE_TOO_LARGE, PIPELINE_TASK_DUPLICATE, PIPELINE_TASK_UNKNOWN, PIPELINE_INPUT_INVALID,
    PIPELINE_OUTPUT_UNKNOWN, PIPELINE_INPUT_AMBIGUOUS, PIPELINE_OUTPUT_DUPLICATE, PIPELINE_TASK_INVALID, PIPELINE_PARTS_INVALID
    and PIPELINE_CYCLE.
    """
    _check_names(request)
    by_name = {spec.task: spec for spec in request.tasks}
    for spec in request.tasks:
        _check_task(spec, by_name)
    _check_outputs(request)
    _check_parts(request)
    order(request)


def order(request: PipelineRequest) -> tuple[str, ...]:
    """The tasks so that each comes after all that it needs; InvalidArgument (PIPELINE_CYCLE) names a circle."""
    sorter = graphlib.TopologicalSorter({spec.task: needs(spec) for spec in request.tasks})
    try:
        return tuple(sorter.static_order())
    except graphlib.CycleError as error:
        # graphlib tells a circle from what is needed to what needs it, with its first task again at its end.
        circle = tuple(error.args[1][:-1])
    raise errors.InvalidArgument(
        f"the pipeline goes in a circle: {' -> '.join((*circle, circle[0]))}",
        reason="PIPELINE_CYCLE",
        help="Take one of these steps away: a task cannot wait for what waits for it.",
        metadata={"tasks": ",".join(circle)},
        violations={f"tasks.{circle[0]}": "waits for itself"},
    )


def needs(spec: TaskSpec) -> tuple[str, ...]:
    """The tasks that must have ended before this one, each once."""
    return tuple(dict.fromkeys((*(row.task for row in fed(spec.request)), *spec.after)))


def fed(request: job.JobRequest) -> tuple[job.InputSpec, ...]:
    """A task's inputs that are outputs of other tasks."""
    return tuple(row for row in request.inputs if row.task)


def stored(request: job.JobRequest) -> tuple[job.InputSpec, ...]:
    """A task's inputs that are datasets."""
    return tuple(row for row in request.inputs if not row.task)


def output(spec: TaskSpec, alias: str) -> job.OutputSpec:
    """The output of that alias; the graph is a checked one."""
    return next(row for row in spec.request.outputs if row.alias == alias)


def _check_names(request: PipelineRequest) -> None:
    if not request.tasks:
        raise _wrong("tasks", "a pipeline has at least one task", "PIPELINE_EMPTY", "Describe one: what it runs and reads.")
    if len(request.tasks) > TASKS_MAX:
        told = f"{len(request.tasks)} tasks are more than {TASKS_MAX}"
        raise _wrong("tasks", told, "PIPELINE_TOO_LARGE", "Split it into several pipelines.")
    names = [ids.segment(spec.task, "task") for spec in request.tasks]
    if twice := next((name for name in names if names.count(name) > 1), ""):
        raise _wrong(f"tasks.{twice}", "two tasks have this name", "PIPELINE_TASK_DUPLICATE", "Rename one of them.")


def _check_task(spec: TaskSpec, by_name: Mapping[str, TaskSpec]) -> None:
    path = f"tasks.{spec.task}"
    if spec.request.kind is not job.JobKind.RAY:
        raise _wrong(path, f"{spec.request.kind} cannot be a task", "PIPELINE_TASK_INVALID", "Ingest before, on its own.")
    if any(name == LEFT_OUT for name, _ in spec.request.env):
        raise _wrong(f"{path}.env", f"{LEFT_OUT} is set by the pipeline", "PIPELINE_TASK_INVALID", "Choose another name.")
    for name in spec.after:
        _known(f"{path}.after", name, by_name)
    for row in spec.request.inputs:
        _check_input(f"{path}.inputs.{row.alias}", row, by_name)


def _check_input(path: str, row: job.InputSpec, by_name: Mapping[str, TaskSpec]) -> None:
    if bool(row.dataset) == bool(row.task) or bool(row.task) != bool(row.output):
        told = "an input is either a dataset or an output of a task"
        raise _wrong(path, told, "PIPELINE_INPUT_INVALID", "Write NAMESPACE/DATASET or TASK.OUTPUT.")
    if row.task:
        written = {made.alias: made for made in _known(path, row.task, by_name).request.outputs}
        if row.output not in written:
            told = f"task {row.task} has no output {row.output!r}"
            raise _wrong(path, told, "PIPELINE_OUTPUT_UNKNOWN", _choices(row.output, written, f"outputs of {row.task}"))
        sealed = columns.names(written[row.output].column_classes)
        if unknown := sorted(set(row.column_classes) - set(sealed)):
            told = f"{row.task}.{row.output} has no column class {unknown[0]!r}"
            raise _wrong(f"{path}.column_classes", told, "COLUMN_CLASS_UNKNOWN", _choices(unknown[0], sealed, "classes"))
        return
    name = ids.dataset(row.dataset).short
    for other in by_name.values():
        made = [each.alias for each in other.request.outputs if ids.dataset(each.dataset).short == name]
        if made and not row.version:
            raise _wrong(
                path,
                f"{name} is written by task {other.task} of this pipeline, so its latest version is not one thing",
                "PIPELINE_INPUT_AMBIGUOUS",
                f"Write {other.task}.{made[0]} for what the task makes, or {name}@N for a version that is there.",
            )


def _known(path: str, name: str, by_name: Mapping[str, TaskSpec]) -> TaskSpec:
    found = by_name.get(name)
    if found is None:
        raise _wrong(path, f"there is no task {name!r}", "PIPELINE_TASK_UNKNOWN", _choices(name, by_name, "tasks"))
    return found


def _choices(given: str, known: Iterable[str], what: str) -> str:
    names = sorted(known)
    near = difflib.get_close_matches(given, names, n=1)
    return f"Did you mean {near[0]!r}?" if near else f"There are these {what}: {', '.join(names[:20]) or 'none'}."


def _check_outputs(request: PipelineRequest) -> None:
    writers: dict[str, str] = {}
    for spec in request.tasks:
        for row in spec.request.outputs:
            name = ids.dataset(row.dataset).short
            first = writers.setdefault(name, spec.task)
            if first != spec.task:
                path = f"tasks.{spec.task}.outputs.{row.alias}"
                told = f"{name} is written by task {first} too"
                raise _wrong(path, told, "PIPELINE_OUTPUT_DUPLICATE", "Give each task a dataset of its own to write to.")


def _check_parts(request: PipelineRequest) -> None:
    optional = sum(spec.optional for spec in request.tasks)
    if not 0 <= request.parts_min <= optional:
        told = f"{request.parts_min} optional tasks cannot succeed, there are {optional}"
        raise _wrong("parts_min", told, "PIPELINE_PARTS_INVALID", f"Ask for 0 to {optional}, or make more tasks optional.")


def _wrong(path: str, told: str, reason: str, hint: str) -> errors.InvalidArgument:
    task = path.split(".")[1] if path.startswith("tasks.") else ""
    return errors.InvalidArgument(
        f"{path}: {told}", reason=reason, help=hint, metadata={"task": task} if task else {}, violations={path: told}
    )
