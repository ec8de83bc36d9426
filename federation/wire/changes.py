"""Changes of the catalog to messages and back: their value is of one of several kinds."""

from __future__ import annotations

from typing import Any

from federation.core import errors
from federation.core.watching import Change
from federation.v1 import events_pb2
from federation.wire import codec

_VALUE: Any = events_pb2.Event.DESCRIPTOR.oneofs_by_name["value"]
_FIELDS: dict[str, str] = {field.message_type.full_name: field.name for field in _VALUE.fields}


def to_message(change: Change, *, names_only: bool = False) -> events_pb2.Event:
    """The message of a change; a value that cannot be sent is left out: its name is told all the same."""
    made = events_pb2.Event(revision=change.revision, kind=change.kind, type=change.type, name=change.name, actor=change.actor)
    made.time.CopyFrom(codec.from_time(change.time))
    if change.value is not None and not names_only:
        try:
            value = codec.to_message(change.value)
        except errors.InvalidArgument:
            return made
        getattr(made, _FIELDS[value.DESCRIPTOR.full_name]).CopyFrom(value)
    return made


def to_change(message: events_pb2.Event) -> Change:
    """The change that a message tells of; a value that this release does not know is left out."""
    name = message.WhichOneof("value")
    value = None
    if name is not None:
        try:
            value = codec.to_value(getattr(message, name))
        except errors.InvalidArgument:
            value = None  # of a newer release: an enum that this one does not know
    return Change(
        revision=message.revision,
        time=codec.to_time(message.time),
        kind=message.kind,
        type=message.type,
        name=message.name,
        actor=message.actor,
        value=value,
    )
