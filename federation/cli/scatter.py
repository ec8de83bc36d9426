"""`fed job submit --scatter`: one run beside each part of a partitioned dataset, and one that takes what they made."""

from __future__ import annotations

import dataclasses
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from federation.cli import pipelines
from federation.cli.session import Session
from federation.core import specs
from federation.core.job import JobRequest, Resources

_OPTIONS = (
    click.option("--parts-min", type=click.IntRange(0), default=0, help="Parts that must succeed; all, if it is not said."),
    click.option("--reduce", default="", metavar="COMMAND", help="What takes the outputs of all parts: 'python reduce.py'."),
    click.option("--scatter", default="", metavar="ALIAS=DATASET", help="A partitioned input: one run beside each part."),
)


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """The options that make a job a scattered one."""
    for option in _OPTIONS:
        function = option(function)
    return function


def submit(
    session: Session, request: JobRequest, working_dir: Path | None, *, scatter: str, reduce: str, parts_min: int, wait: bool
) -> int:
    """Submits it and answers; `request` has all inputs but the partitioned one."""
    if working_dir is not None:
        request = dataclasses.replace(request, working_dir=session.client.upload_package(working_dir).digest)
    map_, alias, gather = asked(request, scatter, reduce)
    made = session.client.scatter_job(map_, alias, gather, parts_min=parts_min)
    return pipelines.answer(session, made, wait=wait)


def asked(request: JobRequest, scatter: str, reduce: str) -> tuple[JobRequest, str, JobRequest | None]:
    """The job that is scattered, its partitioned input's alias, and the job that gathers, if there is one."""
    (spec,) = specs.inputs([scatter])
    namespace = request.namespace or spec.dataset.partition("/")[0]
    map_ = dataclasses.replace(request, inputs=(*request.inputs, spec), namespace=namespace)
    return map_, spec.alias, _reduce(map_, reduce) if reduce else None


def require_scatter(*, scatter: str, reduce: str, parts_min: int, follow: bool) -> None:
    """A mistake where an option of a scattered job is given to a plain one, or the other way round."""
    if not scatter and (reduce or parts_min):
        raise click.UsageError("--reduce and --parts-min are for --scatter ALIAS=DATASET")
    if scatter and follow:
        raise click.UsageError("--follow is for one job; use --wait with --scatter, and `fed job logs` for each of its jobs")


def _reduce(map_: JobRequest, command: str) -> JobRequest:
    """The job that gathers: with the same outputs, but as wholes, and without GPUs, since what it takes is small."""
    try:
        words = tuple(shlex.split(command))
    except ValueError as error:
        raise click.UsageError(f"--reduce {command!r} is not a command line: {error}") from None
    return dataclasses.replace(
        map_,
        label=f"{map_.label}-reduce" if map_.label else "",
        inputs=(),
        outputs=tuple(dataclasses.replace(row, release=False, column_map=()) for row in map_.outputs),
        entrypoint=words,
        resources=Resources(cpus=map_.resources.cpus, memory_bytes=map_.resources.memory_bytes),
    )
