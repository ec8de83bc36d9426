"""Requests made from the contract's own descriptors: random ones by a seed, and ones with a text in one field."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from federation.wire import methods

#: Numbers at which programs break.
NUMBERS = (0, 1, -1, 2, 99, 2**31 - 1, -(2**31), 2**63 - 1, -(2**63), 10**12, 253402300800)
#: Texts that are something somewhere: names that exist, names that do not, and what languages and systems make sense of.
TEXTS = (
    *("", "sales", "sales/flights", "namespaces/sales", "namespaces/sales/datasets/flights", "sales/flights@1", "eu-1"),
    *("sites/eu-1", "jobs/j-1", "jobs/j-1/runs/1", "transfers/t-1", "users/admin", "2026-11", "month", "*", "a" * 300),
    *("'; DROP TABLE jobs; --", '"', "%", "_", "\\", "../../etc/passwd", "file:///etc/passwd", "http://127.0.0.1:9/"),
    *("${jndi:ldap://x}", "{{7*7}}", "\u202e", "\x1b[31m", "\r\nX: y", "\x00", "é", "\U0001f600", "null", "NaN", "-1"),
    *(
        'label = "x"',
        'state = "RUNNING" AND label = "a"',
        "(" * 50,
        '{"a":' * 50,
        "SELECT * FROM egress_ledger",
        "a=b=c",
        "0" * 64,
    ),
)
#: What an answer must never hold: the server would have told of itself.
GIVEN_AWAY = ("Traceback", 'File "/', "site-packages", "sqlalchemy", "sqlite3", "psycopg", "root:x:", "PRIVATE KEY")
_INTEGERS = (
    *(FieldDescriptor.TYPE_INT32, FieldDescriptor.TYPE_INT64, FieldDescriptor.TYPE_UINT32, FieldDescriptor.TYPE_UINT64),
    *(FieldDescriptor.TYPE_SINT32, FieldDescriptor.TYPE_SINT64),
)
_DEPTH_MAX = 6


def is_repeated(row: FieldDescriptor) -> bool:
    """Whether a field is a list or a map, whichever release of protobuf tells it."""
    return bool(getattr(row, "is_repeated", None)) if hasattr(row, "is_repeated") else row.label == row.LABEL_REPEATED


def generate(cls: type[Message], rng: random.Random) -> Message:
    """A random message: each field is there by chance, with values that are often special."""
    message = cls()
    _fill(message, rng, 0)
    return message


def _fill(message: Any, rng: random.Random, depth: int) -> None:
    for row in message.DESCRIPTOR.fields:
        if rng.random() < 0.35 + 0.05 * depth:
            continue
        target = getattr(message, row.name)
        if row.message_type is not None and row.message_type.GetOptions().map_entry:
            for _ in range(rng.randrange(3)):
                value_row = row.message_type.fields_by_name["value"]
                key = _scalar(row.message_type.fields_by_name["key"], rng)
                if value_row.message_type is None:
                    target[key] = _scalar(value_row, rng)
        elif is_repeated(row):
            for _ in range(rng.choice((0, 1, 1, 2, 5))):
                if row.message_type is None:
                    target.append(_scalar(row, rng))
                elif depth < _DEPTH_MAX:
                    _fill(target.add(), rng, depth + 1)
        elif row.message_type is not None:
            if depth < _DEPTH_MAX:
                target.SetInParent()
                _fill(target, rng, depth + 1)
        else:
            setattr(message, row.name, _scalar(row, rng))


def _scalar(row: FieldDescriptor, rng: random.Random) -> Any:
    if row.type == row.TYPE_STRING:
        return rng.choice(TEXTS)
    if row.type == row.TYPE_BYTES:
        return rng.choice((b"", rng.randbytes(32), rng.randbytes(rng.randrange(200)), b"PAR1", b"\xff\xff\xff\xff", b"{}"))
    if row.type == row.TYPE_BOOL:
        return rng.random() < 0.5
    if row.type == row.TYPE_ENUM:
        return rng.choice([*(value.number for value in row.enum_type.values), 99])
    if row.type in (row.TYPE_DOUBLE, row.TYPE_FLOAT):
        return rng.choice((0.0, -1.0, 1e300, float("inf"), float("nan")))
    assert row.type in _INTEGERS, row.full_name
    small = row.type in (row.TYPE_INT32, row.TYPE_UINT32, row.TYPE_SINT32)
    return rng.choice([number for number in NUMBERS if not small or -(2**31) <= number < 2**31])


def with_text(cls: type[Message], text: str) -> Iterator[tuple[str, Message]]:
    """For each field of text or bytes, however deep: a message that has it there, and names that exist in the others."""
    for path in _paths(cls.DESCRIPTOR, (), frozenset()):
        message = cls()
        place: Any = message
        for row in path[:-1]:
            place = getattr(place, row.name).add() if is_repeated(row) else getattr(place, row.name)
        last = path[-1]
        value: Any = text.encode() if last.type == last.TYPE_BYTES else text
        if last.message_type is not None:  # a map of texts
            getattr(place, last.name)[text] = text
        elif is_repeated(last):
            getattr(place, last.name).append(value)
        else:
            setattr(place, last.name, value)
        yield ".".join(row.name for row in path), message


def _paths(descriptor: Any, before: tuple[FieldDescriptor, ...], seen: frozenset[str]) -> Iterator[tuple[FieldDescriptor, ...]]:
    for row in descriptor.fields:
        inner = row.message_type
        if inner is None:
            if row.type in (row.TYPE_STRING, row.TYPE_BYTES):
                yield (*before, row)
        elif inner.GetOptions().map_entry:
            if inner.fields_by_name["value"].type == row.TYPE_STRING:
                yield (*before, row)
        elif inner.full_name not in seen:
            yield from _paths(inner, (*before, row), seen | {inner.full_name})


@dataclass(kw_only=True)
class Caller:
    """Calls methods over one channel and judges how they end. `secrets` are what no answer may hold."""

    channel: grpc.Channel
    metadata: tuple[tuple[str, str | bytes], ...] = ()
    secrets: tuple[str, ...] = ()
    seconds: float = 5.0
    codes: dict[str, int] = field(default_factory=dict)

    def call(self, row: methods.Method, *requests: Message) -> str:
        """The reason of the refusal, '' for an answer. AssertionError for what no call may do: INTERNAL, UNKNOWN, a leak."""
        function = getattr(self.channel, row.shape)(
            row.path, request_serializer=row.request.SerializeToString, response_deserializer=row.response.FromString
        )
        sent: Any = iter(requests) if row.request_stream else requests[0]
        try:
            answer = function(sent, timeout=0.3 if row.name == "Work" else self.seconds, metadata=self.metadata)
            told = str(next(iter(answer), "")) if row.response_stream else str(answer)
            if row.response_stream:
                answer.cancel()
        except grpc.RpcError as error:
            status = rpc_status.from_call(error)
            told = error.details() or ""
            reason = error.code().name
            for detail in status.details if status else ():
                told += detail.value.decode("utf-8", "replace")
                if detail.Is(error_details_pb2.ErrorInfo.DESCRIPTOR):
                    info = error_details_pb2.ErrorInfo()
                    detail.Unpack(info)
                    reason = info.reason
            self._judge(row, requests, error.code(), told)
            return reason
        self._judge(row, requests, grpc.StatusCode.OK, told)
        return ""

    def _judge(self, row: methods.Method, requests: tuple[Message, ...], code: grpc.StatusCode, told: str) -> None:
        self.codes[code.name] = self.codes.get(code.name, 0) + 1
        shown = f"{row.key} answered {code.name}: {told[:400]!r}\nto {requests!r:.3000}"
        assert code not in (grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN), shown
        asked = "".join(map(str, requests))
        for secret in (*self.secrets, *GIVEN_AWAY):
            assert secret not in told or secret in asked, shown
