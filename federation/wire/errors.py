"""The one map between our errors and gRPC's: outward as a rich status (AIP-193), inward as the same error again.

Every status carries exactly one ErrorInfo with a stable reason in the domain `federation`. What was not raised on purpose
leaves as INTERNAL with a request id and nothing else: the detail is for the server's log.
"""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Iterable, Iterator

import grpc
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.message import DecodeError, Message
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from federation.core import errors

T = typing.TypeVar("T")

DOMAIN = "federation"
HELP = "help"

#: Our error -> gRPC's code. The only such table.
CODES: dict[type[errors.FederationError], grpc.StatusCode] = {
    errors.InvalidArgument: grpc.StatusCode.INVALID_ARGUMENT,
    errors.NotFound: grpc.StatusCode.NOT_FOUND,
    errors.AlreadyExists: grpc.StatusCode.ALREADY_EXISTS,
    errors.Conflict: grpc.StatusCode.ABORTED,
    errors.FailedPrecondition: grpc.StatusCode.FAILED_PRECONDITION,
    errors.PermissionDenied: grpc.StatusCode.PERMISSION_DENIED,
    errors.Unauthenticated: grpc.StatusCode.UNAUTHENTICATED,
    errors.ResourceExhausted: grpc.StatusCode.RESOURCE_EXHAUSTED,
    errors.OutOfRange: grpc.StatusCode.OUT_OF_RANGE,
    errors.Unavailable: grpc.StatusCode.UNAVAILABLE,
    errors.DeadlineExceeded: grpc.StatusCode.DEADLINE_EXCEEDED,
    errors.Cancelled: grpc.StatusCode.CANCELLED,
    errors.DataCorrupt: grpc.StatusCode.DATA_LOSS,
    errors.FederationError: grpc.StatusCode.UNKNOWN,
}
_CLASSES = {code.value[0]: cls for cls, code in CODES.items()}
_CODES_BY_NUMBER = {code.value[0]: code for code in grpc.StatusCode}
#: Of an error at the other side's certificate, which no waiting mends; and how gRPC's library says it.
CERTIFICATE_UNVERIFIED = "CERTIFICATE_UNVERIFIED"
_UNVERIFIED = "CERTIFICATE_VERIFY_FAILED"

# A status travels in HTTP/2 trailers, which peers bound to 8 KiB unless told otherwise: texts are cut to fit.
_MESSAGE_CHARS = 1000
_TEXT_CHARS = 400
_ENTRIES = 12


def code_of(error: errors.FederationError) -> grpc.StatusCode:
    """The gRPC code of an error, by its nearest class in the table."""
    return next(CODES[cls] for cls in type(error).__mro__ if cls in CODES)


def to_rich_status(error: errors.FederationError, request_id: str = "") -> status_pb2.Status:
    """The error as google.rpc.Status: ErrorInfo first, then the details that fit its kind."""
    status = status_pb2.Status(code=code_of(error).value[0], message=_cut(error.message, _MESSAGE_CHARS))
    for detail in _details(error, request_id):
        packed = AnyMessage()
        packed.Pack(detail)
        status.details.append(packed)
    return status


def internal(request_id: str) -> status_pb2.Status:
    """What a caller hears of an unexpected error: that it happened, and the id by which the server's log tells more."""
    error = errors.FederationError(
        f"the server failed in a way it did not expect (request {request_id})",
        reason="INTERNAL",
        help="Try again; if it stays, give the request id to whoever runs the server.",
    )
    status = to_rich_status(error, request_id)
    status.code = grpc.StatusCode.INTERNAL.value[0]
    return status


def from_status(status: status_pb2.Status) -> errors.FederationError:
    """The error that a rich status tells of, with reason, message, help, metadata and violations as they were."""
    info, bad, retry = error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for target in (info, bad, retry):
            if detail.Is(target.DESCRIPTOR):
                detail.Unpack(target)
    metadata = dict(info.metadata)
    of_code = _CLASSES.get(status.code, errors.FederationError)
    cls = errors.RateLimited if of_code is errors.ResourceExhausted and info.reason == errors.RATE_LIMITED else of_code
    return cls(
        status.message,
        reason=info.reason or _code_name(status.code),
        help=metadata.pop(HELP, ""),
        metadata=metadata,
        violations={violation.field: violation.description for violation in bad.field_violations},
        retry_seconds=retry.retry_delay.ToTimedelta().total_seconds() if retry.HasField("retry_delay") else None,
    )


def from_rpc_error(error: grpc.RpcError) -> errors.FederationError:
    """The error of our family that a failed call stands for; by its gRPC code alone where another program answered."""
    status = _status_of(error)
    if status is not None:
        return from_status(status)
    code, details = error.code(), error.details() or ""
    cls = _CLASSES.get(code.value[0], errors.FederationError)
    if cls is errors.Unavailable and _UNVERIFIED in details:
        return errors.Unavailable(
            f"the other side cannot prove who it is: {details}",
            reason=CERTIFICATE_UNVERIFIED,
            help="See that the CA is the one that signed its certificate, which must name that address and not have ended.",
        )
    if cls is errors.Unavailable:
        return errors.Unavailable(
            f"the other side does not answer: {details}",
            help="Check that it runs, its address, and that the CA is the one that signed its certificate.",
        )
    if cls is errors.DeadlineExceeded:
        return errors.DeadlineExceeded("the call took longer than its deadline", help="Try again, or allow more time.")
    return cls(details or f"the call ended as {code.name}", reason=None if code.name == cls.default_reason else code.name)


class Outgoing(Iterator[T]):
    """The messages that a call sends. Where making one raises, gRPC only says that the call failed; `error` is why."""

    def __init__(self, messages: Iterable[T]) -> None:
        self._messages = iter(messages)
        self.error: Exception | None = None

    def __next__(self) -> T:
        try:
            return next(self._messages)
        except StopIteration:
            raise
        except Exception as error:
            self.error = error
            raise


@contextlib.contextmanager
def translated(sent: Outgoing[T] | None = None) -> Iterator[None]:
    """Turns a failed call inside the block into an error of our family, or into the one that kept it from being `sent`."""
    try:
        yield
    except grpc.RpcError as error:
        if sent is not None and sent.error is not None:
            raise sent.error from None
        raise from_rpc_error(error) from error


def translated_stream(stream: Iterable[T]) -> Iterator[T]:
    """The stream's messages; a failure while it flows is an error of our family."""
    with translated():
        yield from stream


def _details(error: errors.FederationError, request_id: str) -> Iterator[Message]:
    kind, name = _subject(error)
    metadata = {key: _cut(value, _TEXT_CHARS) for key, value in list(error.metadata.items())[:_ENTRIES]}
    if error.help:
        metadata[HELP] = _cut(error.help, _TEXT_CHARS)
    yield error_details_pb2.ErrorInfo(reason=error.reason, domain=DOMAIN, metadata=metadata)
    if error.violations:
        yield error_details_pb2.BadRequest(field_violations=_violations(error))
    if isinstance(error, errors.FailedPrecondition):
        violation = error_details_pb2.PreconditionFailure.Violation(type=error.reason, subject=name)
        yield error_details_pb2.PreconditionFailure(violations=[violation])
    if isinstance(error, errors.NotFound | errors.AlreadyExists) and name:
        yield error_details_pb2.ResourceInfo(resource_type=kind, resource_name=name)
    if error.retry_seconds is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromNanoseconds(round(error.retry_seconds * 1e9))
        yield retry
    if request_id:
        yield error_details_pb2.RequestInfo(request_id=request_id)


def _violations(error: errors.FederationError) -> list[error_details_pb2.BadRequest.FieldViolation]:
    return [
        error_details_pb2.BadRequest.FieldViolation(field=_cut(field, _TEXT_CHARS), description=_cut(text, _TEXT_CHARS))
        for field, text in list(error.violations.items())[:_ENTRIES]
    ]


def _subject(error: errors.FederationError) -> tuple[str, str]:
    """What an error is about: the first thing that its metadata names, with the name of its kind."""
    kind, name = next(iter(error.metadata.items()), ("", ""))
    return kind, _cut(name, _TEXT_CHARS)


def _status_of(error: grpc.RpcError) -> status_pb2.Status | None:
    try:
        return rpc_status.from_call(typing.cast("grpc.Call", error))  # what a failed call raises is the call itself
    except (ValueError, DecodeError):  # details that contradict the code, or are not what they say: a foreign proxy's
        return None


def _code_name(number: int) -> str:
    return _CODES_BY_NUMBER.get(number, grpc.StatusCode.UNKNOWN).name


def _cut(text: str, chars: int) -> str:
    # What cannot be UTF-8 cannot be in a message; an error must leave whatever it quotes.
    text = text.encode("utf-8", "replace").decode()
    return text if len(text) <= chars else text[: chars - 1] + "…"
