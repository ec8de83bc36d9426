"""Traces across gRPC: a call's span on either side, and the metadata by which both belong to one trace.

A trace begins with what a person does. What processes ask each other unasked (heartbeats, streams of work) begins none, and
what moves data or logs piece by piece has no spans of its own: there would be thousands for one file.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import grpc

from federation import traces
from federation.wire import methods

#: Calls that are many and say little.
_QUIET = frozenset({"Gateway.AppendLogs", "Gateway.ReportReads", "Agent.Heartbeat"})
_BY_PATH = {row.path: row for row in methods.TABLE.values()}


def served(row: methods.Method, metadata: Iterable[tuple[str, Any]] | None) -> AbstractContextManager[Any]:
    """A span around answering a call: below the caller's, or the first of a trace where a person changes something."""
    if not traces.on() or row.response_stream or row.key in _QUIET:
        return nullcontext()
    parent = traces.valid(dict(metadata or ()).get(traces.HEADER))
    if not parent and not (row.is_mutation and row.service in methods.PEOPLE):
        return nullcontext()
    return traces.span(row.key, parent=parent, kind="SERVER", rpc_method=row.key, rpc_system="grpc")


class Calls(
    grpc.UnaryUnaryClientInterceptor,
    grpc.UnaryStreamClientInterceptor,
    grpc.StreamUnaryClientInterceptor,
    grpc.StreamStreamClientInterceptor,
):
    """Adds the current trace to each call of a channel, with a span for those that are answered at once."""

    def intercept_unary_unary(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._intercept(continuation, details, request)

    def intercept_unary_stream(self, continuation: Any, details: Any, request: Any) -> Any:
        return self._intercept(continuation, details, request)

    def intercept_stream_unary(self, continuation: Any, details: Any, request_iterator: Any) -> Any:
        return self._intercept(continuation, details, request_iterator)

    def intercept_stream_stream(self, continuation: Any, details: Any, request_iterator: Any) -> Any:
        return self._intercept(continuation, details, request_iterator)

    def _intercept(self, continuation: Any, details: Any, request: Any) -> Any:
        current = traces.current()
        if not current:
            return continuation(details, request)
        row = _BY_PATH.get(details.method)
        if row is None or row.response_stream or row.key in _QUIET:
            return continuation(Details(details, [(traces.HEADER, current)]), request)
        begun = traces.begin(row.key, kind="CLIENT", rpc_method=row.key, rpc_system="grpc")
        call = continuation(Details(details, [(traces.HEADER, traces.traceparent(begun))]), request)
        call.add_done_callback(lambda done: traces.end(begun, "" if done.code() is grpc.StatusCode.OK else done.code().name))
        return call


class Details(grpc.ClientCallDetails):
    """A call's details with more metadata; grpc reads these attributes."""

    def __init__(self, details: Any, more: Iterable[tuple[str, str | bytes]]) -> None:
        self.method = details.method
        self.timeout = details.timeout
        self.metadata = (*(details.metadata or ()), *more)
        self.credentials = details.credentials
        self.wait_for_ready = getattr(details, "wait_for_ready", None)
        self.compression = getattr(details, "compression", None)
