"""What happens to every call: request id, deadline, identify, authorize, limit, check the request, do it, map errors.

Handlers are made from the contract's descriptors. A method without a permission, or with one that nobody knows, or without a
function that does it, keeps the server from starting.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import re
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Protocol

import grpc
import grpc.aio
from google.protobuf.message import Message
from google.rpc import code_pb2, status_pb2
from grpc_status import rpc_status

from federation import logs
from federation.api.redaction import Redaction
from federation.api.refusals import Refusals
from federation.core import errors, policy
from federation.crypto import secrets
from federation.metrics import Process
from federation.wire import errors as wire_errors
from federation.wire import limits, methods, tracing
from federation.wire.rates import Rates

_log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]

#: A unary call that names no deadline gets this one: the server's threads are not for those who wait for ever.
UNARY_SECONDS_MAX = 120.0
#: The same for a call that is sent as a stream: a bill of a million lines takes a while.
UPLOAD_SECONDS_MAX = 600.0
#: Answers that something is not there leave on a grid of this time from the call's beginning: between what is not there and
#: what its caller may not see lie some ten microseconds of work, which thousands of calls would tell.
ABSENT_SECONDS = 0.005
_REQUEST_ID = re.compile(r"[\x21-\x7e]{1,128}")


@dataclass(frozen=True, kw_only=True)
class Call:
    """One call as a servicer sees it. `request_id` is empty where the caller gave none."""

    method: methods.Method
    principal: policy.Principal
    request_id: str = ""


class Door(Protocol):
    """Tells who is calling, or refuses with Unauthenticated."""

    async def admit(self, context: Context, method: methods.Method) -> policy.Principal: ...


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """What every call passes: the door that identifies its caller, the limits on how often, and what may be told in the answer.

    `refusals` writes down what is refused; `redaction` of None tells all: to agents. `counted` counts.
    """

    door: Door
    rates: Rates
    refusals: Refusals
    counted: Process
    redaction: Redaction | None = None

    def handled(self, row: methods.Method, begun: float, code: int = code_pb2.OK, reason: str = "") -> None:
        """Counts a call that was answered; what changes something is also told to the log."""
        seconds, name = time.perf_counter() - begun, str(code_pb2.Code.Name(code))
        self.counted.handled(row.key, name, None if row.response_stream else seconds)
        if row.is_mutation:
            told = {"method": row.key, "code": name, "seconds": round(seconds, 6)} | ({"reason": reason} if reason else {})
            _log.info("%s %s", row.key, name, extra=told)

    async def admit(self, context: Context, method: methods.Method) -> policy.Principal:
        """Who is calling; Unauthenticated where nobody knows, RATE_LIMITED where they call too often."""
        place, credential = _place(context.peer()), _credential(context)
        if method.permission == policy.PUBLIC:
            self.rates.spend_by_place(place)
            return policy.STRANGER
        self.rates.knock(place, credential)
        try:
            principal = await self.door.admit(context, method)
        except errors.Unauthenticated as refused:
            self.rates.failed(place, credential)
            self.refusals.stranger(place, refused)
            raise
        self.rates.welcome(credential)
        self.rates.spend(principal.name, machine=principal.role is policy.Role.AGENT)
        return principal

    async def told(self, call: Call, answer: Message, request: Any) -> Message:
        """The answer as the caller may have it."""
        return answer if self.redaction is None else await self.redaction.answer(call.principal, answer, request)

    async def refused(self, call: Call | None, error: Exception, request: Any) -> Exception:
        """The refusal as the caller may have it; unchanged where the caller is not known, for then nothing was looked up."""
        if self.redaction is None or call is None or not isinstance(error, errors.FederationError):
            return error
        return await self.redaction.refusal(call.principal, error, request)


def generic_handlers(servicers: Mapping[str, object], entrance: Entrance) -> tuple[grpc.GenericRpcHandler, ...]:
    """Handlers for all methods of these services, `service name -> servicer`. Refuses what the contract leaves undeclared."""
    made = []
    for name, servicer in servicers.items():
        rows = methods.service(name)
        check_permissions(rows)
        handlers = {row.name: _handler(row, servicer, entrance) for row in rows}
        made.append(grpc.method_handlers_generic_handler(f"federation.v1.{name}", handlers))
    return tuple(made)


def check_permissions(rows: Iterable[methods.Method]) -> None:
    """FailedPrecondition (PERMISSION_UNDECLARED) unless each method declares a permission that some role can have."""
    for row in rows:
        if row.permission not in policy.KNOWN | {policy.PUBLIC}:
            said = f"the unknown permission {row.permission!r}" if row.permission else "no permission"
            raise errors.FailedPrecondition(
                f"method {row.key} declares {said}; the server does not start",
                reason="PERMISSION_UNDECLARED",
                help="Give it `option (permission)` in protos/federation/v1 and a row in core.policy.",
                metadata={"method": row.key},
            )


def snake(name: str) -> str:
    """`CreateDataset` is done by `create_dataset`."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def _handler(row: methods.Method, servicer: object, entrance: Entrance) -> grpc.RpcMethodHandler[Any, Any]:
    function = getattr(servicer, snake(row.name), None)
    if function is None:
        raise errors.FailedPrecondition(
            f"method {row.key} has no function {snake(row.name)} in {type(servicer).__name__}", reason="METHOD_UNIMPLEMENTED"
        )
    make = getattr(grpc, f"{row.shape}_rpc_method_handler")
    wrapped = (_streaming if row.response_stream else _unary)(row, function, entrance)
    handler: grpc.RpcMethodHandler[Any, Any] = make(
        wrapped, request_deserializer=limits.reader(row.request), response_serializer=row.response.SerializeToString
    )
    return handler


def _unary(
    row: methods.Method, function: Callable[..., Awaitable[Message]], entrance: Entrance
) -> Callable[..., Awaitable[Message]]:
    async def handle(request: Any, context: Context) -> Message:
        async with _through(row, request, context, entrance) as call:
            return await entrance.told(call, await function(_within(row, request), call), request)

    return handle


def _streaming(
    row: methods.Method, function: Callable[..., AsyncIterator[Message]], entrance: Entrance
) -> Callable[..., AsyncIterator[Message]]:
    async def handle(request: Any, context: Context) -> AsyncIterator[Message]:
        async with _through(row, request, context, entrance) as call:
            async for answer in function(_within(row, request), call):
                yield await entrance.told(call, answer, request)

    return handle


@contextlib.asynccontextmanager
async def _through(row: methods.Method, request: Any, context: Context, entrance: Entrance) -> AsyncIterator[Call]:
    """Does one call within the entrance: an error inside is mapped, told, counted, and ends the call.

    A call that is answered once has a deadline and a span; a stream may live for as long as whoever reads it.
    """
    shown_id, begun = _shown_id(request), time.perf_counter()
    logs.request_id.set(shown_id)  # of this call's own task
    call: Call | None = None
    once = not row.response_stream
    try:
        with tracing.served(row, context.invocation_metadata()) if once else contextlib.nullcontext():
            async with asyncio.timeout(_seconds_left(row, context) if once else None):
                call = await _enter(row, request, context, entrance)
                async with _allowed(call, request, entrance):
                    yield call
    except Exception as error:  # noqa: BLE001 - the one door through which errors leave; none is swallowed
        told = await entrance.refused(call, error, request)
        await _on_the_grid(told, begun)
        status = _status(told, row, shown_id)
        entrance.handled(row, begun, status.code, _reason(told))
        await _abort(context, status)
    entrance.handled(row, begun)


def _within(row: methods.Method, request: Any) -> Any:
    """The request, or each of a stream's, within the bounds of its fields."""
    if row.request_stream:
        return limits.checked_async(request)
    limits.check(request)
    return request


def _place(peer: str) -> str:
    """From which host somebody calls: gRPC's `ipv4:10.0.0.7:51234` without the port."""
    return peer.rpartition(":")[0]


def _credential(context: Context) -> str:
    """A digest of the token that a caller shows, '' for none; a certificate is the connection's, and TLS has looked at it."""
    shown = dict(context.invocation_metadata() or ()).get("authorization", "")
    return secrets.digest(shown) if isinstance(shown, str) and shown else ""


async def _enter(row: methods.Method, request: Any, context: Context, entrance: Entrance) -> Call:
    principal = await entrance.admit(context, row)
    given = getattr(request, "request_id", "")
    return Call(method=row, principal=principal, request_id=given if _REQUEST_ID.fullmatch(given) else "")


@contextlib.asynccontextmanager
async def _allowed(call: Call, request: Any, entrance: Entrance) -> AsyncIterator[None]:
    """Lets a call be done if its caller may make it. Refusals, now and while it is done, are written down before they leave."""
    async with entrance.refusals.told(call.method.key, call.principal.name, call.request_id):
        _require_permission(call.principal, call.method.permission, call.method.key)
        if not call.request_id and bool(getattr(request, "request_id", "")):
            raise errors.InvalidArgument(
                "request_id is not 1 to 128 printable ASCII characters without spaces",
                reason="REQUEST_ID_INVALID",
                help="Use a UUID.",
                violations={"request_id": "must match [!-~]{1,128}"},
            )
        yield


def _require_permission(principal: policy.Principal, permission: str, method: str) -> None:
    """PermissionDenied (PERMISSION_MISSING) unless a caller's role and token let them call a method."""
    if permission == policy.PUBLIC or policy.allowed(principal, permission):
        return
    scoped = permission in policy.PERMISSIONS[principal.role]
    lacks = "its token lacks" if scoped else f"role {principal.role} lacks"
    raise errors.PermissionDenied(
        f"{principal.name} may not call {method}: {lacks} {permission}",
        reason="PERMISSION_MISSING",
        help="Ask an administrator.",
        metadata={"permission": permission, "principal": principal.name},
    )


def _shown_id(request: Any) -> str:
    given = getattr(request, "request_id", "")
    return given if _REQUEST_ID.fullmatch(given) else str(uuid.uuid4())


def _seconds_left(row: methods.Method, context: Context) -> float:
    most, left = UPLOAD_SECONDS_MAX if row.request_stream else UNARY_SECONDS_MAX, context.time_remaining()
    if left is not None and left <= 0:
        raise TimeoutError
    return most if left is None else min(left, most)


async def _on_the_grid(error: Exception, begun: float) -> None:
    """Delays a NotFound until a fixed moment, so that its time does not tell a hidden name from a missing one."""
    if isinstance(error, errors.NotFound):
        await until_the_grid(begun)


async def until_the_grid(begun: float) -> None:
    """Waits until a whole number of ABSENT_SECONDS has gone by since the call began, by `time.perf_counter`."""
    await asyncio.sleep(ABSENT_SECONDS - (time.perf_counter() - begun) % ABSENT_SECONDS)


def _reason(error: Exception) -> str:
    return error.reason if isinstance(error, errors.FederationError) else type(error).__name__


def _status(error: Exception, row: methods.Method, request_id: str) -> status_pb2.Status:
    if isinstance(error, errors.FederationError):
        _log.debug("%s refused: %r (request %s)", row.key, error, request_id)
        return wire_errors.to_rich_status(error, request_id)
    if isinstance(error, TimeoutError):
        late = errors.DeadlineExceeded(
            f"{row.key} was not done by its deadline",
            help="Send it again with the same request_id: what was done is not done twice.",
        )
        return wire_errors.to_rich_status(late, request_id)
    _log.error("%s failed unexpectedly (request %s)", row.key, request_id, exc_info=error)
    return wire_errors.internal(request_id)


async def _abort(context: Context, rich: status_pb2.Status) -> NoReturn:
    status = rpc_status.to_status(rich)
    await context.abort(status.code, status.details, status.trailing_metadata or ())
    raise AssertionError("abort returned")
