"""The service Events: what changes in the catalog, told as it happens."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import AsyncIterator

from google.protobuf.message import Message

from federation.api.calls import Call
from federation.api.feed import Feed
from federation.core import watching
from federation.core.watching import Sight
from federation.v1 import events_pb2
from federation.wire import changes

#: Messages that are kept, so that many who are told of the same share one.
_MADE_MAX = 2048


class EventsServicer:
    """Each function does the method of its name."""

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._made: OrderedDict[tuple[int, bool], events_pb2.Event] = OrderedDict()

    async def watch(self, request: events_pb2.WatchRequest, call: Call) -> AsyncIterator[Message]:
        wanted = watching.parse(request.filter)
        pieces = self._feed.follow(call.principal, wanted, request.start_revision, until_now=request.until_now)
        async for piece in pieces:
            told = [self._message(one, names_only=request.names_only) for one in piece.sights]
            yield events_pb2.WatchResponse(revision=piece.revision, events=told)

    def _message(self, one: Sight, *, names_only: bool) -> events_pb2.Event:
        key = (one.revision, names_only)
        known = self._made.get(key)
        if known is None:
            known = self._made[key] = changes.to_message(one.change, names_only=names_only)
            if len(self._made) > _MADE_MAX:
                self._made.popitem(last=False)
        return known
