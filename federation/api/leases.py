"""The services Leases and Erasures: who was given a data key, and what has become of versions that must be forgotten."""

from __future__ import annotations

import time

from google.protobuf.message import Message

from federation.api import mutations
from federation.api.calls import Call
from federation.api.pages import Listing, Pages
from federation.api.store import Store
from federation.core import erasure, ids, leases
from federation.ports import Transaction
from federation.services import authorization, datasets, disclosure, erasures, lineage_queries
from federation.services.lineage_index import LineageIndex
from federation.v1 import leases_pb2
from federation.wire import codec

#: How long one walk through lineage may take; what it has not seen by then, the erasure says.
WALK_SECONDS = 2.0


def _dataset(row: leases.Lease | erasure.Erasure) -> str:
    return row.dataset


class LeasesServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._ctx = store.ctx
        self._pages = pages_

    async def list_leases(self, request: leases_pb2.ListLeasesRequest, call: Call) -> Message:
        return await self._pages.stored(
            call, request, Listing(of=leases.Lease, keep=disclosure.seen(self._ctx, call.principal, _dataset))
        )


class ErasuresServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages, index: LineageIndex) -> None:
        self._store = store
        self._ctx = store.ctx
        self._pages = pages_
        self._index = index

    async def erase_version(self, request: leases_pb2.EraseVersionRequest, call: Call) -> Message:
        view, position = await self._store.run(self._index.view)

        def work(tx: Transaction) -> Message:
            name = ids.version(request.version)
            authorization.visible(tx, self._ctx, call.principal, name.dataset, as_absent=datasets.version_absent(name))
            end = time.monotonic() + WALK_SECONDS
            found = lineage_queries.impact(tx, view, position, request.version, expired=lambda: time.monotonic() > end)
            came = erasures.Downstream(
                versions=tuple(each.node for each in found.affected),
                models=tuple(each.node for each in found.affected if each.kind == "MODEL"),
                complete=found.complete,
            )
            return codec.to_message(erasures.request(tx, self._ctx, call.principal, request.version, request.reason, came))

        return await mutations.mutate(self._store, call, request, work)

    async def get_erasure(self, request: leases_pb2.GetErasureRequest, call: Call) -> Message:
        return codec.to_message(
            await self._store.read(lambda tx: erasures.visible(tx, self._ctx, call.principal, request.name))
        )

    async def list_erasures(self, request: leases_pb2.ListErasuresRequest, call: Call) -> Message:
        return await self._pages.stored(
            call, request, Listing(of=erasure.Erasure, keep=disclosure.seen(self._ctx, call.principal, _dataset))
        )

    async def get_deletion_certificate(self, request: leases_pb2.GetDeletionCertificateRequest, call: Call) -> Message:
        data = await self._store.read(lambda tx: erasures.visible_certificate(tx, self._ctx, call.principal, request.name))
        return leases_pb2.DeletionCertificate(certificate=data)
