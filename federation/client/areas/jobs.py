"""Jobs, their runs and logs, and the packages that they bring."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

from federation.client import files, following
from federation.client.areas import base, changes
from federation.client.values import Access, Package
from federation.core import errors, job
from federation.v1 import jobs_pb2
from federation.wire import codec


class Jobs(changes.Changes):
    """Jobs."""

    def create_job(self, request: job.JobRequest, *, validate_only: bool = False, request_id: str = "") -> job.Job:
        """Submits a job whose working directory, if it has one, was uploaded. With `validate_only` it is only planned."""
        message = jobs_pb2.CreateJobRequest(
            request=codec.to_message(request, jobs_pb2.JobRequest), validate_only=validate_only, request_id=request_id
        )
        return self._value(job.Job, "Jobs.CreateJob", message)

    def plan(self, request: job.JobRequest, *, brief: bool = False) -> job.Job:
        """Where the job would run now, with the plan that explains it. Nothing is stored.

        A `brief` plan tells of the choice and the runner-up alone, and takes less: for whoever asks for many.

        >>> flights = job.InputSpec(alias="flights", dataset="sales/flights")
        >>> planned = client.plan(job.JobRequest(inputs=(flights,), entrypoint=("python", "train.py")))
        >>> planned.plan.choice.site, planned.plan.choice.locality
        ('eu-1', 1.0)
        """
        view = jobs_pb2.PLAN_VIEW_BASIC if brief else jobs_pb2.PLAN_VIEW_FULL
        message = jobs_pb2.CreateJobRequest(
            request=codec.to_message(request, jobs_pb2.JobRequest), validate_only=True, view=view
        )
        return self._value(job.Job, "Jobs.CreateJob", message)

    def submit(self, request: job.JobRequest, working_dir: Path | None = None, *, request_id: str = "") -> job.Job:
        """Submits a job, with its working directory if it has one: sent once, whichever jobs use it.

        >>> started = client.submit(job.JobRequest(label="train", entrypoint=("python", "train.py")))
        >>> str(started.state), started.attempt
        ('PLACED', 1)
        """
        if working_dir is not None:
            request = dataclasses.replace(request, working_dir=self.upload_package(working_dir).digest)
        return self.create_job(request, request_id=request_id)

    def get_job(self, name: str) -> job.Job:
        """One job with its plan."""
        return self._value(job.Job, "Jobs.GetJob", jobs_pb2.GetJobRequest(name=base.named(name, "jobs")))

    def list_jobs(self, *, filter: str = "") -> Iterator[job.Job]:  # noqa: A002
        """All jobs, newest first.

        >>> [found.request.label for found in client.list_jobs(filter='label = "train"')]
        ['train']
        """
        return self._connection.pages("Jobs.ListJobs", jobs_pb2.ListJobsRequest(filter=filter))

    def cancel_job(self, name: str, *, etag: str = "", request_id: str = "") -> job.Job:
        """Asks for a job to end; it is CANCELLED once its site has stopped it."""
        request = jobs_pb2.CancelJobRequest(name=base.named(name, "jobs"), etag=etag, request_id=request_id)
        return self._value(job.Job, "Jobs.CancelJob", request)

    def get_run(self, name: str) -> job.Run:
        """One run by its full name, `jobs/J/runs/1`."""
        return self._value(job.Run, "Jobs.GetRun", jobs_pb2.GetRunRequest(name=name))

    def list_runs(self, name: str = "", *, filter: str = "") -> Iterator[job.Run]:  # noqa: A002
        """The runs of a job, first attempt first; or of all jobs, newest first: those at one site by `site = "eu-1"`."""
        parent = base.named(name, "jobs") if name else "jobs/-"
        return self._connection.pages("Jobs.ListRuns", jobs_pb2.ListRunsRequest(parent=parent, filter=filter))

    def open_logs(self, name: str, *, request_id: str = "") -> Access:
        """A grant to read what a job's current run prints, at its site's gateway."""
        request = jobs_pb2.OpenLogsRequest(name=base.named(name, "jobs"), request_id=request_id)
        return base.access(self._connection.call("Jobs.OpenLogs", request))

    def get_package(self, digest: str = "", *, alias: str = "") -> Package:
        """Whether a working directory's package is there, by its digest or by a name that the caller gave to it.

        NotFound (PACKAGE_MISSING) when it is not.
        """
        return _package(self._connection.call("Jobs.GetPackage", jobs_pb2.GetPackageRequest(digest=digest, alias=alias)))

    def send_package(self, package: IO[bytes], *, alias: str = "") -> Package:
        """Stores the bytes of a zip as a working directory's package; `alias` is what the caller calls it from now on.

        The file is read twice: for its digest, which goes first, and to be sent.
        """
        digest = files.sha256(package)

        def requests() -> Iterator[jobs_pb2.UploadPackageRequest]:
            yield jobs_pb2.UploadPackageRequest(digest=digest, alias=alias)
            for piece in files.pieces(package):
                yield jobs_pb2.UploadPackageRequest(data=piece)

        return _package(self._connection.upload("Jobs.UploadPackage", requests))

    def upload_package(self, working_dir: Path, *, bytes_max: int = files.PACKAGE_BYTES_MAX) -> Package:
        """Stores a working directory's package, unless the same one is there already."""
        packed = files.pack(working_dir, bytes_max)
        with packed.file:
            with contextlib.suppress(errors.NotFound):
                return self.get_package(packed.digest)
            return self.send_package(packed.file)

    def wait(self, name: str, timeout: float | None = None, *, progress: Callable[[job.Job], None] | None = None) -> job.Job:
        """The job once it has ended, however it ended; DeadlineExceeded (JOB_UNFINISHED) after `timeout` seconds.

        `progress` hears of each change of its state.
        """
        return self._ended(
            base.named(name, "jobs"),
            self.get_job,
            progress,
            timeout,
            stamp=lambda found: (found.state, found.attempt),
            unfinished=changes.unfinished("job", "explain"),
        )

    def logs(self, name: str, *, follow: bool = False) -> Iterator[bytes]:
        """What a job has printed; with `follow` what it goes on to print, over all its runs, until it ends."""
        if not follow:
            yield from self._connection.logs(self.open_logs(name), follow=False)
            return
        shown = ""
        for _ in following.moments(self._connection, base.named(name, "jobs"), None):
            while (current := self.get_job(name)).run and current.run != shown:
                shown = current.run
                yield from self._connection.logs(self.open_logs(name), follow=True)
            if current.state.terminal:
                return


def _package(message: jobs_pb2.Package) -> Package:
    return Package(digest=message.digest, package_bytes=message.package_bytes)
