"""Pipelines, and jobs that are scattered over the parts of a dataset."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from federation.client.areas import base, changes, jobs
from federation.core import job, pipeline
from federation.v1 import jobs_pb2, pipelines_pb2
from federation.wire import codec


class Pipelines(jobs.Jobs):
    """Pipelines."""

    def create_pipeline(
        self, request: pipeline.PipelineRequest, *, validate_only: bool = False, request_id: str = ""
    ) -> pipeline.Pipeline:
        """Submits a pipeline whose working directories were uploaded. With `validate_only` it is only planned."""
        message = pipelines_pb2.CreatePipelineRequest(
            request=codec.to_message(request, pipelines_pb2.PipelineRequest), validate_only=validate_only, request_id=request_id
        )
        return self._value(pipeline.Pipeline, "Pipelines.CreatePipeline", message)

    def scatter_job(
        self,
        map_: job.JobRequest,
        alias: str,
        reduce: job.JobRequest | None = None,
        *,
        parts_min: int = 0,
        validate_only: bool = False,
        request_id: str = "",
    ) -> pipeline.Pipeline:
        """Submits one run of a job for each part of its input `alias`, and a job that takes what they made.

        With `parts_min` so many parts at least must succeed; 0 for all.
        """
        message = pipelines_pb2.ScatterJobRequest(
            map=codec.to_message(map_, jobs_pb2.JobRequest),
            alias=alias,
            reduce=codec.to_message(reduce, jobs_pb2.JobRequest) if reduce is not None else None,
            parts_min=parts_min,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(pipeline.Pipeline, "Pipelines.ScatterJob", message)

    def get_pipeline(self, name: str) -> pipeline.Pipeline:
        """One pipeline with its plan and what has become of its tasks."""
        return self._value(
            pipeline.Pipeline, "Pipelines.GetPipeline", pipelines_pb2.GetPipelineRequest(name=base.named(name, "pipelines"))
        )

    def list_pipelines(self, *, filter: str = "") -> Iterator[pipeline.Pipeline]:  # noqa: A002
        """All pipelines, newest first."""
        return self._connection.pages("Pipelines.ListPipelines", pipelines_pb2.ListPipelinesRequest(filter=filter))

    def cancel_pipeline(self, name: str, *, etag: str = "", request_id: str = "") -> pipeline.Pipeline:
        """Asks for a pipeline to end; it is CANCELLED once all of its jobs have ended."""
        request = pipelines_pb2.CancelPipelineRequest(name=base.named(name, "pipelines"), etag=etag, request_id=request_id)
        return self._value(pipeline.Pipeline, "Pipelines.CancelPipeline", request)

    def submit_pipeline(
        self, request: pipeline.PipelineRequest, working_dirs: Mapping[str, Path] | None = None, *, request_id: str = ""
    ) -> pipeline.Pipeline:
        """Submits a pipeline with the working directories of its tasks, by task: each folder is sent once."""
        folders = working_dirs or {}
        digests = {folder: self.upload_package(folder).digest for folder in dict.fromkeys(folders.values())}
        tasks = tuple(
            dataclasses.replace(spec, request=dataclasses.replace(spec.request, working_dir=digests[folders[spec.task]]))
            if spec.task in folders
            else spec
            for spec in request.tasks
        )
        return self.create_pipeline(dataclasses.replace(request, tasks=tasks), request_id=request_id)

    def wait_pipeline(
        self, name: str, timeout: float | None = None, *, progress: Callable[[pipeline.Pipeline], None] | None = None
    ) -> pipeline.Pipeline:
        """The pipeline once it has ended, however it ended; DeadlineExceeded (PIPELINE_UNFINISHED) after `timeout` seconds.

        `progress` hears of each change of it.
        """
        return self._ended(
            base.named(name, "pipelines"),
            self.get_pipeline,
            progress,
            timeout,
            unfinished=changes.unfinished("pipeline", "show"),
        )
