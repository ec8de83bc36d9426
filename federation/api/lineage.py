"""The service Lineage: what came from what, which models saw it, what an erasure would cost, why a dataset is bound."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

from google.protobuf.message import Message

from federation.api import http, mutations
from federation.api.calls import Call
from federation.api.store import Store
from federation.core import errors, ids
from federation.core.lineage import Direction, NodeKind, Query, is_run, node_kind
from federation.core.lineage_graph import View
from federation.core.openlineage import Terms
from federation.ports import Transaction
from federation.services import authorization, openlineage
from federation.services import lineage_queries as queries
from federation.services.lineage_index import LineageIndex
from federation.v1 import lineage_pb2
from federation.wire import codec

T = TypeVar("T")

#: How long one walk may take; what it has not seen by then, its answer names.
WALK_SECONDS = 2.0
_DIRECTIONS = {
    lineage_pb2.LINEAGE_DIRECTION_UNSPECIFIED: Direction.BOTH,
    lineage_pb2.LINEAGE_DIRECTION_UPSTREAM: Direction.UPSTREAM,
    lineage_pb2.LINEAGE_DIRECTION_DOWNSTREAM: Direction.DOWNSTREAM,
    lineage_pb2.LINEAGE_DIRECTION_BOTH: Direction.BOTH,
}


class LineageServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, index: LineageIndex, terms: Terms) -> None:
        self._store = store
        self._index = index
        self._terms = terms

    async def receive_open_lineage(self, request: lineage_pb2.ReceiveOpenLineageRequest, call: Call) -> Message:
        told = http.parse_all(request.events)

        def work(tx: Transaction) -> Message:
            return codec.to_message(openlineage.receive(tx, self._terms, call.principal.name, told))

        return await mutations.mutate(self._store, call, request, work)

    async def get_lineage(self, request: lineage_pb2.GetLineageRequest, call: Call) -> Message:
        direction = _DIRECTIONS.get(request.direction)
        if direction is None:
            raise errors.InvalidArgument(
                f"lineage knows no direction {request.direction}",
                reason="DIRECTION_INVALID",
                help="Walk UPSTREAM, DOWNSTREAM or BOTH.",
                violations={"direction": "is unknown"},
            )
        query = _query(request, direction=direction, depth=request.depth, edges_max=request.edges_max)
        return codec.to_message(
            await self._ask(
                call,
                request.name,
                lambda tx, view, position: queries.walk(
                    tx, view, position, query, continuation=request.continuation, expired=_deadline()
                ),
            )
        )

    async def find_models(self, request: lineage_pb2.FindModelsRequest, call: Call) -> Message:
        query = _query(request)
        return codec.to_message(
            await self._ask(
                call,
                request.name,
                lambda tx, view, position: queries.models(tx, view, position, query, expired=_deadline()),
            )
        )

    async def explain_erasure(self, request: lineage_pb2.ExplainErasureRequest, call: Call) -> Message:
        return codec.to_message(
            await self._ask(
                call,
                request.name,
                lambda tx, view, position: queries.impact(tx, view, position, request.name, expired=_deadline()),
            )
        )

    async def explain_residency(self, request: lineage_pb2.ExplainResidencyRequest, call: Call) -> Message:
        await self._store.read(lambda tx: self._require_seen(tx, call, request.name))
        return codec.to_message(await self._store.read(lambda tx: queries.why(tx, request.name)))

    async def check_lineage_index(self, request: lineage_pb2.CheckLineageIndexRequest, _call: Call) -> Message:
        return codec.to_message(await self._store.run(lambda: self._index.check(rebuild=request.rebuild)))

    async def _ask(self, call: Call, name: str, question: Callable[[Transaction, View, int], T]) -> T:
        """Asks the index as it is once it has caught up, and the catalog for what is true today."""

        def asked() -> T:
            view, position = self._index.view()

            def look(tx: Transaction) -> T:
                self._require_seen(tx, call, name)
                return question(tx, view, position)

            return self._store.catalog.read(look)

        return await self._store.run(asked)

    def _require_seen(self, tx: Transaction, call: Call, name: str) -> None:
        """Returns for what the caller may know of; NotFound for a dataset that is not there, or that they may not see."""
        if is_run(name) or node_kind(name) is NodeKind.PERSON:
            return
        try:
            parsed = ids.dataset_or_version(name)[0]
        except errors.InvalidArgument:
            return  # a table of somebody else's, or no name: who walks from it says so
        authorization.visible(tx, self._store.ctx, call.principal, parsed)


def _query(request: Any, **how: Any) -> Query:
    time_ = codec.to_time(request.as_of_time) if request.HasField("as_of_time") else None
    return Query(name=request.name, as_of_time=time_, as_of_position=request.as_of_position, **how)


def _deadline() -> queries.Expired:
    end = time.monotonic() + WALK_SECONDS
    return lambda: time.monotonic() > end
