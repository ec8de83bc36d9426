"""The way of every call to the gateway: who, may they, do it, map errors. One thread a call."""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from google.rpc import status_pb2
from grpc_status import rpc_status

from federation.agent import door
from federation.core import errors
from federation.wire import errors as wire_errors
from federation.wire import limits, methods

_log = logging.getLogger(__name__)
_PERMISSIONS = {"public", "grant", "token"}


def generic_handler(service: str, servicer: object, entrance: door.Door) -> grpc.GenericRpcHandler:
    """Handlers for all methods of the service. `GetThing` is done by `get_thing(request, caller, context)`.

    FailedPrecondition for a method that nobody does, or whose permission the gateway does not know.
    """
    handlers = {row.name: _handler(row, servicer, entrance) for row in methods.service(service)}
    return grpc.method_handlers_generic_handler(f"federation.v1.{service}", handlers)


def _handler(row: methods.Method, servicer: object, entrance: door.Door) -> Any:
    function = getattr(servicer, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", row.name).lower(), None)
    if function is None or row.permission not in _PERMISSIONS:
        raise errors.FailedPrecondition(
            f"method {row.key} has nobody who does it, or the unknown permission {row.permission!r}",
            reason="METHOD_UNIMPLEMENTED",
        )
    make = getattr(grpc, f"{row.shape}_rpc_method_handler")
    wrapped = (_streaming if row.response_stream else _unary)(row, function, entrance)
    return make(wrapped, request_deserializer=limits.reader(row.request), response_serializer=row.response.SerializeToString)


def _unary(row: methods.Method, function: Callable[..., Any], entrance: door.Door) -> Callable[..., Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        try:
            caller = entrance.admit(_metadata(context), row.permission)
            return function(_within(row, request), caller, context)
        except Exception as error:  # noqa: BLE001 - the one door through which errors leave; none is swallowed
            status = _status(error, row)
        return context.abort_with_status(rpc_status.to_status(status))

    return handle


def _streaming(
    row: methods.Method, function: Callable[..., Iterable[Any]], entrance: door.Door
) -> Callable[..., Iterator[Any]]:
    def handle(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            caller = entrance.admit(_metadata(context), row.permission)
            yield from function(_within(row, request), caller, context)
        except Exception as error:  # noqa: BLE001 - as above
            status = _status(error, row)
        else:
            return
        context.abort_with_status(rpc_status.to_status(status))

    return handle


def _within(row: methods.Method, request: Any) -> Any:
    """The request, or each of a stream's, within the bounds of its fields."""
    if row.request_stream:
        return limits.checked(request)
    limits.check(request)
    return request


def _metadata(context: grpc.ServicerContext) -> list[tuple[str, str | bytes]]:
    return [(key, value) for key, value in context.invocation_metadata()]


def _status(error: Exception, row: methods.Method) -> status_pb2.Status:
    if isinstance(error, errors.FederationError):
        _log.debug("%s refused: %r", row.key, error)
        return wire_errors.to_rich_status(error)
    if isinstance(error, grpc.RpcError):  # the caller went away in the middle of what it sent
        return wire_errors.to_rich_status(errors.Cancelled("the caller went away"))
    request_id = str(uuid.uuid4())
    _log.error("%s failed unexpectedly (request %s)", row.key, request_id, exc_info=error)
    return wire_errors.internal(request_id)
