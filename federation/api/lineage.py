"""The service Lineage: which versions came from which."""

from __future__ import annotations

from google.protobuf.message import Message

from federation.api.calls import Call
from federation.api.store import Store
from federation.core import errors
from federation.core.lineage import Direction
from federation.services import lineage
from federation.v1 import lineage_pb2
from federation.wire import codec

DEPTH_DEFAULT = 10
DEPTH_MAX = 100
_DIRECTIONS = {
    lineage_pb2.LINEAGE_DIRECTION_UNSPECIFIED: Direction.BOTH,
    lineage_pb2.LINEAGE_DIRECTION_UPSTREAM: Direction.UPSTREAM,
    lineage_pb2.LINEAGE_DIRECTION_DOWNSTREAM: Direction.DOWNSTREAM,
    lineage_pb2.LINEAGE_DIRECTION_BOTH: Direction.BOTH,
}


class LineageServicer:
    """Does the one method of the service."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def get_lineage(self, request: lineage_pb2.GetLineageRequest, _call: Call) -> Message:
        direction = _DIRECTIONS.get(request.direction)
        if direction is None or not 0 <= request.depth <= DEPTH_MAX:
            raise errors.InvalidArgument(
                f"direction {request.direction} or depth {request.depth} is not one that lineage knows",
                reason="LINEAGE_QUERY_INVALID",
                help=f"Walk UPSTREAM, DOWNSTREAM or BOTH, 1 to {DEPTH_MAX} hops.",
                violations={"depth": f"must be 0 to {DEPTH_MAX}"} if direction else {"direction": "is unknown"},
            )
        depth = request.depth or DEPTH_DEFAULT
        graph = await self._store.read(lambda tx: lineage.walk(tx, request.name, direction, depth))
        return codec.to_message(graph)
