"""`fed job submit --scatter`: one run beside each part of a partitioned dataset, and one that takes what they made."""

from __future__ import annotations

import dataclasses
import shlex
from dataclasses import dataclass
from pathlib import Path

import click

from federation.cli import pipelines
from federation.cli.command import as_one
from federation.cli.session import Session
from federation.core import specs
from federation.core.job import JobRequest, Resources

_OPTIONS = (
    click.option("--scatter", default="", metavar="ALIAS=DATASET", help="A partitioned input: one run beside each part."),
    click.option("--reduce", default="", metavar="COMMAND", help="What takes the outputs of all parts: 'python reduce.py'."),
    click.option("--parts-min", type=click.IntRange(0), default=0, help="Parts that must succeed; all, if it is not said."),
)


@dataclass(frozen=True, kw_only=True)
class Scatter:
    """What they say; of a plain job nothing."""

    scatter: str
    reduce: str
    parts_min: int

    def is_meant(self, request: JobRequest, *, follow: bool) -> bool:
        """Whether a scattered job is; a mistake where an option of one is given to a plain job, or the other way round."""
        if not self.scatter and (self.reduce or self.parts_min):
            raise click.UsageError("--reduce and --parts-min are for --scatter ALIAS=DATASET")
        if self.scatter and follow:
            raise click.UsageError(
                "--follow is for one job; use --wait with --scatter, and `fed job logs` for each of its jobs"
            )
        if self.scatter and request.submission_id:
            raise click.UsageError("--submission-id is for one job; --scatter makes several")
        return bool(self.scatter)

    def submit(self, session: Session, request: JobRequest, working_dir: Path | None, *, dry_run: bool, wait: bool) -> int:
        """Submits it and answers; `request` has all inputs but the partitioned one. Nothing is sent or started `dry_run`."""
        if working_dir is not None and not dry_run:
            request = dataclasses.replace(request, working_dir=session.client.upload_package(working_dir).digest)
        map_, alias, gather = asked(request, self.scatter, self.reduce)
        made = session.client.scatter_job(map_, alias, gather, parts_min=self.parts_min, validate_only=dry_run)
        return pipelines.planned(session, made) if dry_run else pipelines.answer(session, made, wait=wait)


#: For a command that may scatter a job: what they say comes as `scatter`.
options = as_one("scatter", Scatter, _OPTIONS)


def asked(request: JobRequest, scatter: str, reduce: str) -> tuple[JobRequest, str, JobRequest | None]:
    """The job that is scattered, its partitioned input's alias, and the job that gathers, if there is one."""
    (spec,) = specs.inputs([scatter])
    namespace = request.namespace or spec.dataset.partition("/")[0]
    map_ = dataclasses.replace(request, inputs=(*request.inputs, spec), namespace=namespace)
    return map_, spec.alias, _reduce(map_, reduce) if reduce else None


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
