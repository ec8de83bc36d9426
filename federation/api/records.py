"""The service Records: people's queries of the record's tables."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.message import Message

from federation.api.calls import Call
from federation.api.store import Store
from federation.config import QuerySettings
from federation.core import errors
from federation.ports import RecordQueries
from federation.services import disclosure
from federation.v1 import records_pb2

_PIECE_BYTES = 256 * 1024


class RecordsServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, queries: RecordQueries | None, bounds: QuerySettings) -> None:
        self._store = store
        self._queries = queries
        self._bounds = bounds

    async def query_records(self, request: records_pb2.QueryRecordsRequest, call: Call) -> AsyncIterator[Message]:
        await self._store.read(lambda tx: disclosure.require_everything(tx, self._store.ctx, call.principal, "the record"))
        queries, bounds = self._queries, self._bounds
        if queries is None:
            raise errors.FailedPrecondition(
                "this server keeps no record that could be queried", reason="RECORD_MISSING", help="Ask the one that does."
            )
        rows_max = _bounded("rows_max", request.rows_max, bounds.rows_max)
        seconds = _bounded("seconds_max", request.seconds_max, bounds.seconds_max)
        answer = await self._store.run(
            lambda: queries.ask(request.sql, rows_max=rows_max, bytes_max=bounds.bytes_max, seconds=seconds)
        )
        yield records_pb2.QueryRecordsResponse(data=answer.stream[:_PIECE_BYTES], rows=answer.rows, complete=answer.complete)
        for start in range(_PIECE_BYTES, len(answer.stream), _PIECE_BYTES):
            yield records_pb2.QueryRecordsResponse(data=answer.stream[start : start + _PIECE_BYTES])


def _bounded(name: str, asked: int, most: int) -> int:
    if asked < 0:
        raise errors.InvalidArgument(
            f"{name} is {asked}",
            reason="BOUND_INVALID",
            help="Give a positive number, or 0.",
            violations={name: "must be 0 or more"},
        )
    return min(asked, most) if asked else most
