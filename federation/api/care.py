"""The service Care: old versions that nobody needs any more are collected."""

from __future__ import annotations

import time

from google.protobuf.message import Message

from federation.api import mutations
from federation.api.calls import Call
from federation.api.store import Store
from federation.core import ids, lineage
from federation.core.collection import Rule
from federation.core.lineage_graph import View
from federation.ports import Transaction
from federation.services import collection, lineage_queries
from federation.services.lineage_index import LineageIndex
from federation.v1 import care_pb2
from federation.wire import codec

#: How long all walks through lineage for one answer may take.
WALK_SECONDS = 5.0


class CareServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, index: LineageIndex) -> None:
        self._store = store
        self._index = index

    async def collect_versions(self, request: care_pb2.CollectVersionsRequest, call: Call) -> Message:
        name = ids.dataset(request.dataset)
        rule = Rule(
            keep_versions=request.keep_versions or 1,
            keep_seconds=request.keep_seconds,
            even_if_models=request.even_if_models,
        )
        view, position = await self._store.run(self._index.view)

        def work(tx: Transaction) -> Message:
            end = time.monotonic() + WALK_SECONDS
            judged = collection.collect(
                tx, self._store.ctx, call.principal, name, rule, lambda version: _models(tx, view, position, version, end)
            )
            return care_pb2.CollectVersionsResponse(
                versions=[codec.to_message(row, care_pb2.CollectedVersion) for row in judged]
            )

        return await mutations.mutate(self._store, call, request, work)


def _models(tx: Transaction, view: View, position: int, version: str, end: float) -> tuple[str, ...]:
    """Models that lie somewhere; where lineage could not be walked to its end, that there may be more."""
    query = lineage.Query(name=version)
    found = lineage_queries.models(tx, view, position, query, expired=lambda: time.monotonic() > end)
    live = tuple(row.model for row in found.models if row.sites and not row.gone)
    return live if found.complete else (*live, "perhaps more than could be looked at")
