"""The service Pipelines: DAGs of jobs that are placed as a whole, and jobs that are scattered over a dataset's parts."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from google.protobuf.message import Message

from federation.api import jobs, mutations
from federation.api.calls import Call
from federation.api.pages import Listing, Pages
from federation.api.store import Store
from federation.core import errors, ids
from federation.core.pipeline import Pipeline, PipelineRequest, TaskSpec
from federation.ports import Transaction
from federation.services import authorization, pipelines, scatter
from federation.v1 import pipelines_pb2
from federation.wire import codec


class PipelinesServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._ctx = store.ctx
        self._pages = pages_

    async def create_pipeline(self, request: pipelines_pb2.CreatePipelineRequest, call: Call) -> Message:
        wanted = _asked(request.request, call.principal.name)
        return await self._create(call, request, {spec.request.working_dir for spec in wanted.tasks}, lambda _: wanted)

    async def scatter_job(self, request: pipelines_pb2.ScatterJobRequest, call: Call) -> Message:
        name = call.principal.name
        map_ = jobs.asked(request.map, name)
        reduce = jobs.asked(request.reduce, name) if request.HasField("reduce") else None
        packages = {map_.working_dir, reduce.working_dir if reduce else ""}

        def expand(tx: Transaction) -> PipelineRequest:
            for spec in map_.inputs:  # whether it has parts is for those to know who may see it
                authorization.visible(tx, self._ctx, call.principal, ids.dataset_or_version(spec.dataset)[0])
            return scatter.expand(tx, map_, request.alias, reduce, request.parts_min)

        return await self._create(call, request, packages, expand)

    async def get_pipeline(self, request: pipelines_pb2.GetPipelineRequest, _call: Call) -> Message:
        name = ids.child(request.name, "pipelines")
        return codec.to_message(await self._store.read(lambda tx: pipelines.get(tx, name)))

    async def list_pipelines(self, request: pipelines_pb2.ListPipelinesRequest, call: Call) -> Message:
        return await self._pages.stored(call, request, Listing(of=Pipeline, newest_first=True))

    async def cancel_pipeline(self, request: pipelines_pb2.CancelPipelineRequest, call: Call) -> Message:
        name = ids.child(request.name, "pipelines")
        return await mutations.mutate(
            self._store, call, request, lambda tx: codec.to_message(pipelines.cancel(tx, name, request.etag))
        )

    async def _create(
        self,
        call: Call,
        request: pipelines_pb2.CreatePipelineRequest | pipelines_pb2.ScatterJobRequest,
        packages: set[str],
        asked: Callable[[Transaction], PipelineRequest],
    ) -> Message:
        """Submits, or only plans. Whether packages are there is looked up first: no transaction sees them."""
        missing = [digest for digest in sorted(packages - {""}) if not await self._has(digest)]
        revision = await self._store.run(self._store.catalog.revision)

        def work(tx: Transaction) -> Message:
            if request.validate_only:
                planned = pipelines.plan_only(tx, self._ctx, call.principal, asked(tx), revision=revision)
                return codec.to_message(planned)
            if missing:
                raise errors.FailedPrecondition(
                    f"there is no package {missing[0]}",
                    reason="PACKAGE_MISSING",
                    help="Upload the working directory first.",
                )
            return codec.to_message(pipelines.submit(tx, self._ctx, call.principal, asked(tx), revision=revision))

        return await mutations.mutate(self._store, call, request, work)

    async def _has(self, digest: str) -> bool:
        return await self._store.run(lambda: self._store.catalog.blob_bytes(digest)) is not None


def _asked(message: pipelines_pb2.PipelineRequest, principal: str) -> PipelineRequest:
    """What a caller asks for, in their own name."""
    label, namespace, parts_min = message.label, message.namespace, message.parts_min
    tasks = tuple(_task(spec, principal) for spec in message.tasks)
    return PipelineRequest(label=label, namespace=namespace, tasks=tasks, parts_min=parts_min, principal=principal)


def _task(message: pipelines_pb2.TaskSpec, principal: str) -> TaskSpec:
    spec: TaskSpec = codec.to_value(message)
    return dataclasses.replace(spec, request=jobs.asked(message.request, principal))
