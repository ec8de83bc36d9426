"""Arrow IPC streams that come from others, opened only if what they decode to is as large as they are.

A record batch may be compressed, and then a few bytes stand for gigabytes. Nobody of ours sends such: each batch's own header
is looked at, and one that says that it is compressed is refused before it is decoded. Without compression a batch is its bytes.
"""

from __future__ import annotations

import struct

import pyarrow as pa

#: Field numbers in Arrow's format (format/Message.fbs): a message's header, a record batch's compression.
_HEADER = 2
_COMPRESSION = 3
_KINDS = ("schema", "record batch")


def open_stream(data: bytes) -> pa.RecordBatchStreamReader:
    """A reader over those bytes; pyarrow's ArrowInvalid for compressed batches, dictionaries, and what is no stream."""
    messages = pa.ipc.MessageReader.open_stream(pa.BufferReader(data))
    while True:
        try:
            message = messages.read_next_message()
        except StopIteration:
            break
        if message.type not in _KINDS:
            raise pa.ArrowInvalid(f"the stream has a {message.type}, which none of ours has")
        if message.type == "record batch" and _is_compressed(message.metadata.to_pybytes()):
            raise pa.ArrowInvalid("the stream is compressed, which none of ours is")
    return pa.ipc.open_stream(data)


def _is_compressed(metadata: bytes) -> bool:
    try:
        message = struct.unpack_from("<I", metadata)[0]
        at = message + _field(metadata, message, _HEADER)
        return bool(_field(metadata, at + struct.unpack_from("<I", metadata, at)[0], _COMPRESSION))
    except struct.error:
        raise pa.ArrowInvalid("a message of the stream has no header") from None


def _field(data: bytes, table: int, number: int) -> int:
    """Where a field of a flatbuffer's table lies, from the table on; 0 where it is not there."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    if 4 + 2 * number >= struct.unpack_from("<H", data, vtable)[0]:
        return 0
    return int(struct.unpack_from("<H", data, vtable + 4 + 2 * number)[0])
