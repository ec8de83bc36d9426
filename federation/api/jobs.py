"""The service Jobs: submit, explain, follow, cancel, and the packages of working directories."""

from __future__ import annotations

import dataclasses
import hashlib
import tempfile
from collections.abc import AsyncIterator, Iterator

from google.protobuf.message import Message

from federation.api import access, mutations
from federation.api.calls import Call
from federation.api.pages import Listing, Pages
from federation.api.store import Store
from federation.core import errors, ids, job, units
from federation.ports import Transaction
from federation.services import jobs
from federation.v1 import jobs_pb2
from federation.wire import codec

Spool = tempfile.SpooledTemporaryFile[bytes]

_PIECE_BYTES = 256 * 1024
_SPOOL_BYTES = 1024 * 1024


class JobsServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._ctx = store.ctx
        self._pages = pages_

    async def create_job(self, request: jobs_pb2.CreateJobRequest, call: Call) -> Message:
        wanted = asked(request.request, call.principal.name)
        if request.view and not request.validate_only:
            raise errors.InvalidArgument(
                "a job that is stored has its whole plan",
                reason="VIEW_NOT_PLANNING",
                help="Leave view out, or set validate_only.",
                violations={"view": "is for validate_only"},
            )
        if request.validate_only:
            # A dry run only reads: it takes no turn of those who write, and none of them waits for it.
            brief = request.view == jobs_pb2.PLAN_VIEW_BASIC
            planned = await self._store.read(lambda tx: jobs.plan_only(tx, self._ctx, call.principal, wanted, brief=brief))
            return codec.to_message(planned)
        known = not wanted.working_dir or await self._package_bytes(wanted.working_dir) is not None

        def work(tx: Transaction) -> Message:
            return codec.to_message(jobs.submit(tx, self._ctx, call.principal, wanted, package_known=known))

        return await mutations.mutate(self._store, call, request, work)

    async def get_job(self, request: jobs_pb2.GetJobRequest, _call: Call) -> Message:
        name = ids.child(request.name, "jobs")
        return codec.to_message(await self._store.look(lambda tx: jobs.get(tx, name)))

    async def list_jobs(self, request: jobs_pb2.ListJobsRequest, call: Call) -> Message:
        return await self._pages.stored(call, request, Listing(of=job.Job, newest_first=True))

    async def cancel_job(self, request: jobs_pb2.CancelJobRequest, call: Call) -> Message:
        name = ids.child(request.name, "jobs")
        return await mutations.mutate(
            self._store, call, request, lambda tx: codec.to_message(jobs.cancel(tx, name, request.etag))
        )

    async def get_run(self, request: jobs_pb2.GetRunRequest, _call: Call) -> Message:
        codec.run_job(request.name)
        return codec.to_message(await self._store.look(lambda tx: jobs.get_run(tx, request.name)))

    async def list_runs(self, request: jobs_pb2.ListRunsRequest, call: Call) -> Message:
        if request.parent == "jobs/-":
            return await self._pages.stored(call, request, Listing(of=job.Run, newest_first=True))
        parent = ids.child(request.parent, "jobs")
        return await self._pages.stored(
            call, request, Listing(of=job.Run, parent=parent, check=lambda tx: jobs.get(tx, parent))
        )

    async def open_logs(self, request: jobs_pb2.OpenLogsRequest, call: Call) -> Message:
        name = ids.child(request.name, "jobs")

        def work(tx: Transaction) -> Message:
            return access.message(tx, self._ctx, jobs.open_logs(tx, self._ctx, call.principal, name))

        return await mutations.mutate(self._store, call, request, work)

    async def upload_package(self, stream: AsyncIterator[jobs_pb2.UploadPackageRequest], call: Call) -> Message:
        with tempfile.SpooledTemporaryFile(max_size=_SPOOL_BYTES) as spool:
            digest, alias, length = await _receive(stream, spool, self._ctx.package_bytes_max)
            spool.seek(0)
            await self._store.run(lambda: self._store.catalog.put_blob(digest, _pieces(spool)))
        if alias:
            await self._store.write(lambda tx: jobs.name_package(tx, call.principal, alias, digest), actor=call.principal.name)
        return jobs_pb2.Package(digest=digest, package_bytes=length)

    async def get_package(self, request: jobs_pb2.GetPackageRequest, call: Call) -> Message:
        digest = request.digest
        if request.alias and not digest:
            digest = await self._store.read(lambda tx: jobs.named_package(tx, call.principal, request.alias))
        length = await self._package_bytes(digest)
        if length is None:
            raise errors.NotFound(
                f"there is no package {digest or '(no digest)'}", reason="PACKAGE_MISSING", help="Upload it first."
            )
        return jobs_pb2.Package(digest=digest, package_bytes=length)

    async def _package_bytes(self, digest: str) -> int | None:
        return await self._store.run(lambda: self._store.catalog.blob_bytes(digest))


def asked(message: jobs_pb2.JobRequest, principal: str) -> job.JobRequest:
    """What a caller asks for, in their own name; a number that was left out is the default, as for a value made here."""
    request: job.JobRequest = codec.to_value(message)
    defaults = job.JobRequest()
    return dataclasses.replace(
        request,
        principal=principal,
        pipeline="",
        task="",
        duration_seconds=request.duration_seconds or defaults.duration_seconds,
        max_attempts=request.max_attempts or defaults.max_attempts,
        outputs=tuple(dataclasses.replace(output, kind=output.kind or "DATA") for output in request.outputs),
    )


async def _receive(stream: AsyncIterator[jobs_pb2.UploadPackageRequest], spool: Spool, bytes_max: int) -> tuple[str, str, int]:
    """Takes a package in, as long as it stays below the limit and is what its first message says: digest, alias, length."""
    digest, alias, length, actual = "", "", 0, hashlib.sha256()
    async for part in stream:
        digest, alias = digest or part.digest, alias or part.alias
        length += len(part.data)
        if length > bytes_max:
            raise too_big(bytes_max)
        actual.update(part.data)
        spool.write(part.data)
    if digest != actual.hexdigest():
        raise errors.InvalidArgument(
            f"the package's SHA-256 is {actual.hexdigest()}, its first message said {digest or 'none'}",
            reason="DIGEST_MISMATCH",
            help="Send it again.",
            violations={"digest": "must be the SHA-256 of the data, hex"},
        )
    return digest, alias, length


def too_big(bytes_max: int) -> errors.ResourceExhausted:
    """The refusal of a package beyond the limit."""
    return errors.ResourceExhausted(
        f"the working directory's package is larger than {units.size(bytes_max)}",
        reason="WORKING_DIR_TOO_BIG",
        help="Keep data out of the working directory: put it into a dataset and read it as an input.",
        metadata={"bytes_max": str(bytes_max)},
    )


def _pieces(file: Spool) -> Iterator[bytes]:
    while piece := file.read(_PIECE_BYTES):
        yield piece
