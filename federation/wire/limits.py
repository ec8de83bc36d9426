"""How large the parts of a request may be: one place for every field of every method, looked at before anybody acts upon them.

What a message may have in all is bounded by gRPC. Within it each text, each list and each map has a bound, and all lists
together have one, so that a small message cannot stand for a lot of work. Fields that need more than most are named here, with
why; use cases that want less say so themselves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from google.protobuf import descriptor
from google.protobuf.message import DecodeError, Message

from federation.core import errors

#: UTF-8 bytes of a text: a name, a token, a filter, a description.
TEXT_BYTES_MAX = 16 * 1024
#: Elements of a list or of a map.
ELEMENTS_MAX = 10_000
#: Elements of all lists and maps of one message.
ELEMENTS_IN_ALL_MAX = 100_000
#: Bytes of a field of bytes: the largest piece of data that anything of ours sends is 4 MiB.
DATA_BYTES_MAX = 8 * 1024 * 1024

#: Fields that may have more text, by their full name without the package.
TEXTS: dict[str, int] = {
    # A statement; `core.query` refuses what is longer than it reads.
    "QueryRecordsRequest.sql": 512 * 1024,
    # What a job is started with; `services.requests` refuses more than 64 KiB of it by name.
    "JobRequest.runtime_env": 512 * 1024,
    "JobRequest.entrypoint": 512 * 1024,
    "JobRequest.EnvEntry.value": 512 * 1024,
    # The type of a column may be a deep struct.
    "NewVersion.ColumnsEntry.value": 512 * 1024,
    "CompleteWriteRequest.ColumnsEntry.value": 512 * 1024,
}
#: Fields that may have more elements.
ELEMENTS: dict[str, int] = {
    # A version of a million files may differ from the one before in one.
    "CompleteWriteRequest.reused_paths": 1_000_000,
    # Some tables are very wide.
    "NewVersion.columns": 100_000,
    "CompleteWriteRequest.columns": 100_000,
    # A site tells all its runs and open grants at once.
    "HeartbeatRequest.runs": 100_000,
    "HeartbeatRequest.open_grants": 100_000,
}

_PACKAGE = "federation.v1."
#: A message shorter than this exceeds none of the bounds: an element has a byte, a text has its bytes.
_HARMLESS_BYTES = min(TEXT_BYTES_MAX, ELEMENTS_MAX)


class Malformed:
    """Stands for bytes that are no message of the method. gRPC itself would answer UNKNOWN, with names of our classes."""


def reader(cls: type[Message]) -> Callable[[bytes], Message | Malformed]:
    """A decoder of a method's requests. What cannot be decoded becomes `Malformed`, which `check` refuses."""

    def read(data: bytes) -> Message | Malformed:
        try:
            return cls.FromString(data)
        except DecodeError:
            return Malformed()

    return read


def check(request: Message | Malformed) -> None:
    """Returns for a request within its bounds; InvalidArgument names the first field that is not.

    FIELD_TOO_LARGE; TEXT_INVALID for a text with a NUL, which ends a text in C and which PostgreSQL keeps in none;
    MESSAGE_MALFORMED for bytes that are no message of the method's.
    """
    if isinstance(request, Malformed):
        raise errors.InvalidArgument(
            "the request is not a message of this method", reason="MESSAGE_MALFORMED", help="Send it as the contract says."
        )
    if request.ByteSize() > _HARMLESS_BYTES or b"\0" in request.SerializeToString():
        _walk(request, "", [ELEMENTS_IN_ALL_MAX])


def checked(stream: Iterator[Message]) -> Iterator[Message]:
    """The messages of a stream, each of them within its bounds."""
    for message in stream:
        check(message)
        yield message


async def checked_async(stream: AsyncIterator[Message]) -> AsyncIterator[Message]:
    """As `checked`, for a stream of the event loop."""
    async for message in stream:
        check(message)
        yield message


def bound(field: descriptor.FieldDescriptor) -> int:
    """How many bytes a text or data field may have, or an element of a list of those; 0 for fields of fixed size."""
    if field.type == field.TYPE_STRING:
        return TEXTS.get(_name(field), TEXT_BYTES_MAX)
    return DATA_BYTES_MAX if field.type == field.TYPE_BYTES else 0


def elements(field: descriptor.FieldDescriptor) -> int:
    """How many elements a list or map may have."""
    return ELEMENTS.get(_name(field), ELEMENTS_MAX)


def _walk(message: Message, path: str, left: list[int]) -> None:
    for field, value in message.ListFields():
        where = f"{path}{field.name}"
        if isinstance(value, (str, bytes)) or not hasattr(value, "__len__"):  # neither a list nor a map
            _one(field, value, where, left)
            continue
        _count(field, len(value), where, left)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            key, item = (field.message_type.fields_by_name[name] for name in ("key", "value"))
            for name in value:
                _one(key, name, where, left)
                _one(item, value[name], where, left)
        elif field.message_type is not None or bound(field):
            for number, each in enumerate(value):
                _one(field, each, f"{where}[{number}]", left)


def _one(field: descriptor.FieldDescriptor, value: Any, where: str, left: list[int]) -> None:
    if field.message_type is not None:
        _walk(value, f"{where}.", left)
        return
    most = bound(field)
    if not most:
        return
    if isinstance(value, str) and "\0" in value:
        raise errors.InvalidArgument(
            f"{where} has a NUL", reason="TEXT_INVALID", help="Send text.", violations={where: "must have no NUL"}
        )
    size = len(value.encode("utf-8", "surrogatepass")) if isinstance(value, str) else len(value)
    if size > most:
        raise _too_large(where, f"{size} bytes", f"{most} bytes")


def _count(field: descriptor.FieldDescriptor, count: int, where: str, left: list[int]) -> None:
    most = elements(field)
    if count > most:
        raise _too_large(where, f"{count} elements", str(most))
    if most <= ELEMENTS_MAX:  # a field that may have more by name is counted by itself
        left[0] -= count
    if left[0] < 0:
        raise _too_large(where, f"more than {ELEMENTS_IN_ALL_MAX} elements with all other lists", str(ELEMENTS_IN_ALL_MAX))


def _too_large(where: str, has: str, most: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"{where} has {has}, more than {most}",
        reason="FIELD_TOO_LARGE",
        help="Send less at once, or in several calls.",
        violations={where: f"must be at most {most}"},
    )


def _name(field: descriptor.FieldDescriptor) -> str:
    return field.full_name.removeprefix(_PACKAGE)
