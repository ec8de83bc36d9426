"""What every area of the client has: its connection, and what is read from messages and written to them alike."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from federation.client.connection import Connection
from federation.client.values import Access
from federation.core import ids
from federation.v1 import catalog_pb2
from federation.wire import codec

T = TypeVar("T")


class Area:
    """Some of the methods of a client, over its connection."""

    _connection: Connection

    def _value(self, cls: type[T], key: str, request: Any, *, seconds: float | None = None) -> T:
        value = codec.to_value(self._connection.call(key, request, seconds=seconds))
        assert isinstance(value, cls)
        return value


def named(name: str, collection: str) -> str:
    """The resource's full name, of either form."""
    return f"{collection}/{ids.child(name, collection)}"


def versioned(name: str) -> str:
    """The full name of a version, or of a dataset where no version is named: its newest is meant."""
    found, number = ids.dataset_or_version(name)
    return found.version(number) if number else found.resource


def times(from_time: datetime | None, to_time: datetime | None) -> dict[str, Timestamp]:
    """The bounds that are given, as the fields of a request."""
    bounds = (("from_time", from_time), ("to_time", to_time))
    return {name: codec.from_time(time) for name, time in bounds if time is not None}


def mask(fields: Iterable[str]) -> FieldMask:
    """Which fields an update means; none for all that are filled."""
    return FieldMask(paths=list(fields))


def access(message: catalog_pb2.Access) -> Access:
    """A grant as the catalog gave it."""
    return Access(
        grant=message.grant,
        gateway=message.gateway,
        site=message.site,
        name=message.name,
        dataset_uid=message.dataset_uid,
        expire_time=codec.to_time(message.expire_time),
        sensitive_columns=tuple(message.sensitive_columns),
    )
