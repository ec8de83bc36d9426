"""Doing twice is doing once (AIP-155), and trying is doing without a trace (AIP-163).

The key is (caller, request_id), recorded in the mutation's own transaction with a hash of the request. A repeat gets the first
answer, also where that was a refusal which would stay one; the same key with another request is refused.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any, NoReturn

from google.protobuf.message import Message
from google.rpc import status_pb2

from federation.api.calls import Call
from federation.api.store import Store
from federation.core import errors
from federation.ports import Transaction
from federation.wire import errors as wire_errors

#: Refusals that are recorded and replayed: they were decided by the request and the catalog's state, not by a passing trouble.
DETERMINISTIC = (
    errors.InvalidArgument,
    errors.NotFound,
    errors.AlreadyExists,
    errors.Conflict,
    errors.FailedPrecondition,
    errors.PermissionDenied,
)
_ANSWER, _REFUSAL = b"A", b"R"

Work = Callable[[Transaction], Message]
#: A use case: what it returns is a value of the core.
Use = Callable[[Transaction], Any]


class _Tried(Exception):
    """Carries the answer of a validate_only request out of a transaction that must not commit."""

    def __init__(self, answer: Message) -> None:
        super().__init__()
        self.answer = answer


async def mutate(
    store: Store, call: Call, request: Any, work: Work, *, replay: errors.FederationError | None = None
) -> Message:
    """The answer of `work`, done once for each (caller, request_id). With `replay` a repeat is refused with that error."""
    actor = call.principal.name
    if request.validate_only:
        return await _try(store, work, actor=actor)
    key, digest = call.request_id, request_hash(call.method.key, request)

    def once(tx: Transaction) -> Message:
        recorded = tx.replay(key, digest) if key else None
        if recorded is not None:
            return _recorded(recorded, call.method.response)
        answer = work(tx)
        if key:
            tx.remember(key, digest, _refusal(replay) if replay else _ANSWER + answer.SerializeToString())
        return answer

    try:
        return await store.write(once, actor=actor, request_id=key)
    except DETERMINISTIC as error:
        if key and error.reason != "REQUEST_ID_REUSED":
            return await _refuse(store, call, digest, error)
        raise


async def answered(store: Store, call: Call, request: Any) -> bool:
    """Whether this very request was answered before: for what acts in more transactions than the one that records it.

    InvalidArgument (REQUEST_ID_REUSED) where its id was used for another.
    """
    if not call.request_id or request.validate_only:
        return False
    key, digest, actor = call.request_id, request_hash(call.method.key, request), call.principal.name
    return await store.run(lambda: store.catalog.write(lambda tx: tx.replay(key, digest), actor=actor)) is not None


def shown_once(what: str, done: str) -> errors.FailedPrecondition:
    """What a repeat is told of something whose secret is in the first answer alone."""
    return errors.FailedPrecondition(
        f"this {what} was {done}, and its secret is shown only once",
        reason="SECRET_SHOWN_ONCE",
        help=f"Ask for another {what} with a new request_id.",
    )


def request_hash(method: str, request: Any) -> str:
    """SHA-256 (hex) of a method and its request, without the two fields that do not say what is asked."""
    bare = type(request)()
    bare.CopyFrom(request)
    bare.ClearField("request_id")
    bare.ClearField("validate_only")
    return hashlib.sha256(method.encode() + b"\0" + bare.SerializeToString(deterministic=True)).hexdigest()


async def _try(store: Store, work: Work, *, actor: str) -> Message:
    def tried(tx: Transaction) -> NoReturn:
        raise _Tried(work(tx))

    try:
        await store.run(lambda: store.audited(lambda: store.catalog.write(tried, actor=actor), actor=actor))
    except _Tried as done:
        return done.answer
    raise AssertionError("a tried transaction committed")


async def _refuse(store: Store, call: Call, digest: str, error: errors.FederationError) -> Message:
    """Records a refusal in a transaction of its own, the refused one having left no trace; the first to record wins."""

    def record(tx: Transaction) -> Message | None:
        recorded = tx.replay(call.request_id, digest)
        if recorded is not None:
            return _recorded(recorded, call.method.response)
        tx.remember(call.request_id, digest, _refusal(error))
        return None

    answer = await store.run(lambda: store.catalog.write(record, actor=call.principal.name, request_id=call.request_id))
    if answer is None:
        raise error
    return answer


def _refusal(error: errors.FederationError) -> bytes:
    status: bytes = wire_errors.to_rich_status(error).SerializeToString()
    return _REFUSAL + status


def _recorded(recorded: bytes, response: type[Message]) -> Message:
    if recorded[:1] == _REFUSAL:
        raise wire_errors.from_status(status_pb2.Status.FromString(recorded[1:]))
    return response.FromString(recorded[1:])
