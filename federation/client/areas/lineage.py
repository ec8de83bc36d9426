"""What came from what, and what follows from that."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any

from federation.client.areas import base
from federation.core import errors, lineage, openlineage
from federation.v1 import lineage_pb2
from federation.wire import codec


class Lineage(base.Area):
    """Lineage."""

    def receive_open_lineage(self, events: Iterable[bytes]) -> openlineage.Received:
        """Takes OpenLineage events of other tools, each as JSON, into lineage: all or none of them."""
        request = lineage_pb2.ReceiveOpenLineageRequest(events=events)
        received: openlineage.Received = codec.to_value(self._connection.call("Lineage.ReceiveOpenLineage", request))
        return received

    def get_lineage(
        self,
        name: str,
        *,
        direction: str = "BOTH",
        depth: int = 0,
        edges_max: int = 0,
        as_of_time: datetime | None = None,
        as_of_position: int = 0,
        continuation: str = "",
    ) -> lineage.Graph:
        """What came from what, around a dataset, a version, a run or a foreign node.

        `direction` is `upstream`, `downstream` or `both`. An answer that is not complete goes on with its `continuation`.
        """
        if direction.upper() not in lineage.Direction.__members__:
            raise errors.InvalidArgument(
                f"{direction!r} is no direction of lineage",
                reason="DIRECTION_INVALID",
                help="Use upstream, downstream or both.",
            )
        number = lineage_pb2.LineageDirection.Value(f"LINEAGE_DIRECTION_{direction.upper()}")
        request = lineage_pb2.GetLineageRequest(name=name, direction=number, continuation=continuation)
        for field, figure in (("depth", depth), ("edges_max", edges_max)):
            codec.assign(request, field, figure)
        _as_of(request, as_of_time, as_of_position)
        return self._value(lineage.Graph, "Lineage.GetLineage", request)

    def find_models(self, name: str, *, as_of_time: datetime | None = None, as_of_position: int = 0) -> lineage.Sightings:
        """Which models a version, or any version of a dataset, has gone into."""
        request = lineage_pb2.FindModelsRequest(name=name)
        _as_of(request, as_of_time, as_of_position)
        return self._value(lineage.Sightings, "Lineage.FindModels", request)

    def explain_erasure(self, name: str) -> lineage.Impact:
        """What would be lost if a version were erased; erases nothing."""
        return self._value(lineage.Impact, "Lineage.ExplainErasure", lineage_pb2.ExplainErasureRequest(name=name))

    def explain_residency(self, name: str) -> lineage.Why:
        """Why a dataset has its residency."""
        return self._value(lineage.Why, "Lineage.ExplainResidency", lineage_pb2.ExplainResidencyRequest(name=name))

    def check_lineage_index(self, *, rebuild: bool = False) -> lineage.IndexCheck:
        """Compares the answering server's index of lineage with the Delta tables. For administrators."""
        request = lineage_pb2.CheckLineageIndexRequest(rebuild=rebuild)
        return self._value(lineage.IndexCheck, "Lineage.CheckLineageIndex", request)


def _as_of(request: Any, time_: datetime | None, position: int) -> None:
    if time_ is not None:
        request.as_of_time.CopyFrom(codec.from_time(time_))
    codec.assign(request, "as_of_position", position)
