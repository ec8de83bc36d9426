"""What happens to every call at the gateway: identify, authorize, do, map errors. One thread for each call."""

from __future__ import annotations

import logging
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import grpc
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from federation import metrics
from federation.agent import door
from federation.core import errors
from federation.crypto import secrets
from federation.wire import errors as wire_errors
from federation.wire import limits, methods, tracing
from federation.wire.rates import Rates

_log = logging.getLogger(__name__)
_PERMISSIONS = {"public", "grant", "token"}


class Entrance:
    """What every call passes: the door that identifies its caller, the limits on how often, and the metrics.

    Calls are limited by person, by run and by place.
    """

    def __init__(self, keeper: door.Door, rates: Rates, counted: metrics.Process) -> None:
        self._door = keeper
        self._rates = rates
        self.counted = counted

    def admit(self, context: grpc.ServicerContext, permission: str) -> door.Caller | None:
        """Who is calling; RateLimited where they, or their address, call too often."""
        place, metadata = context.peer().rpartition(":")[0], _metadata(context)
        if permission == "public":
            self._rates.spend_by_place(place)
            return self._door.admit(metadata, permission)
        credential = _credential(metadata)
        self._rates.knock(place, credential)
        try:
            caller = self._door.admit(metadata, permission)
        except (errors.Unauthenticated, errors.PermissionDenied):
            self._rates.failed(place, credential)
            raise
        self._rates.welcome(credential)
        if isinstance(caller, door.RunCaller):
            self._rates.spend(caller.run, machine=True)
        elif caller is not None:
            # However many grants somebody has, they have one bucket; a run elsewhere, and another site, have theirs.
            machine = caller.grant.run or caller.grant.reader_site
            self._rates.spend(machine or caller.grant.subject, machine=bool(machine))
        return caller


def generic_handler(service: str, servicer: object, entrance: Entrance) -> grpc.GenericRpcHandler:
    """Handlers for all methods of the service. `GetThing` is done by `get_thing(request, caller, context)`.

    FailedPrecondition for a method without such a function, or with a permission that the gateway does not know.
    """
    handlers = {row.name: _handler(row, servicer, entrance) for row in methods.service(service)}
    return grpc.method_handlers_generic_handler(f"federation.v1.{service}", handlers)


def _handler(row: methods.Method, servicer: object, entrance: Entrance) -> Any:
    function = getattr(servicer, re.sub(r"(?<=[a-z])(?=[A-Z])", "_", row.name).lower(), None)
    if function is None or row.permission not in _PERMISSIONS:
        raise errors.FailedPrecondition(
            f"method {row.key} has nobody who does it, or the unknown permission {row.permission!r}",
            reason="METHOD_UNIMPLEMENTED",
        )
    make = getattr(grpc, f"{row.shape}_rpc_method_handler")
    wrapped = (_streaming if row.response_stream else _unary)(row, function, entrance)
    return make(wrapped, request_deserializer=limits.reader(row.request), response_serializer=row.response.SerializeToString)


def _unary(row: methods.Method, function: Callable[..., Any], entrance: Entrance) -> Callable[..., Any]:
    def handle(request: Any, context: grpc.ServicerContext) -> Any:
        metadata, begun = _metadata(context), time.perf_counter()
        try:
            with tracing.served(row, metadata):
                caller = entrance.admit(context, row.permission)
                answer = function(_within(row, request), caller, context)
        except Exception as error:  # noqa: BLE001 - the one door through which errors leave; none is swallowed
            status = _status(error, row)
        else:
            entrance.counted.handled(row.key, "OK", time.perf_counter() - begun)
            return answer
        entrance.counted.handled(row.key, code_pb2.Code.Name(status.code), time.perf_counter() - begun)
        return context.abort_with_status(rpc_status.to_status(status))

    return handle


def _streaming(row: methods.Method, function: Callable[..., Iterable[Any]], entrance: Entrance) -> Callable[..., Iterator[Any]]:
    def handle(request: Any, context: grpc.ServicerContext) -> Iterator[Any]:
        try:
            caller = entrance.admit(context, row.permission)
            yield from function(_within(row, request), caller, context)
        except Exception as error:  # noqa: BLE001 - as above
            status = _status(error, row)
        else:
            entrance.counted.handled(row.key, "OK")
            return
        entrance.counted.handled(row.key, code_pb2.Code.Name(status.code))
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


def _credential(metadata: Iterable[tuple[str, str | bytes]]) -> str:
    """A digest of what a caller shows, '' for nothing."""
    found = dict(metadata)
    shown = found.get(door.GRANT) or found.get("authorization") or ""
    return secrets.digest(shown if isinstance(shown, str) else shown.hex()) if shown else ""


def _status(error: Exception, row: methods.Method) -> status_pb2.Status:
    if isinstance(error, errors.FederationError):
        _log.debug("%s refused: %r", row.key, error)
        return wire_errors.to_rich_status(error)
    if isinstance(error, grpc.RpcError):  # the caller went away in the middle of what it sent
        return wire_errors.to_rich_status(errors.Cancelled("the caller went away"))
    request_id = str(uuid.uuid4())
    _log.error("%s failed unexpectedly (request %s)", row.key, request_id, exc_info=error)
    return wire_errors.internal(request_id)
