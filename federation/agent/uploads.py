"""Ciphertext as it arrives: one file's bytes out of a stream of many, measured while they pass on to the store.

What came is compared with what was announced (OBJECT_MISMATCH); messages in the wrong order are refused (STREAM_INVALID).
"""

from __future__ import annotations

import hashlib
import io
import typing
from collections.abc import Iterator
from dataclasses import dataclass

from federation.core import dataset, errors
from federation.crypto import container


@dataclass(frozen=True, kw_only=True)
class Header:
    """What a file's part of a stream begins with."""

    write: str
    object_id: str
    path: str


@dataclass(frozen=True, kw_only=True)
class Trailer:
    """What it ends with: the file as the writer knows it."""

    file_bytes: int
    object_bytes: int
    object_sha256: str
    tag: str
    rows: int


Part = Header | bytes | Trailer


class Ciphertext(io.RawIOBase):
    """Reads ciphertext from pieces. Subclasses say where the pieces come from; b"" ends them."""

    def __init__(self) -> None:
        super().__init__()
        self._rest = memoryview(b"")
        self._ended = False

    def next_piece(self) -> bytes | memoryview:
        """The next bytes, b"" at the end."""
        raise NotImplementedError

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1) -> bytes:
        """At most `size` bytes, b"" at the end only; all that is left for -1 or None."""
        if size is None or size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        if not self._rest and not self._ended and size:
            self._advance()
        piece, self._rest = self._rest[:size], self._rest[size:]
        return bytes(piece)

    def readinto(self, buffer: typing.Any) -> int:
        piece = self.read(len(buffer))
        buffer[: len(piece)] = piece
        return len(piece)

    def binary(self) -> typing.BinaryIO:
        """This stream, in the type that stores take."""
        return typing.cast("typing.BinaryIO", self)

    def _advance(self) -> None:
        piece = self.next_piece()
        self._ended = not piece
        self._rest = memoryview(piece)


class Incoming(Ciphertext):
    """One file's ciphertext out of a stream of parts, from behind its header to its trailer, measured as it comes."""

    def __init__(self, parts: Iterator[Part]) -> None:
        super().__init__()
        self._parts = parts
        self._trailer: Trailer | None = None
        self._sha256 = hashlib.sha256()
        self._header = b""
        self.object_bytes = 0

    def next_piece(self) -> bytes:
        """The next bytes; skips empty messages, for only a trailer ends a file."""
        for part in self._parts:
            if isinstance(part, Trailer):
                self._trailer = part
                return b""
            if isinstance(part, Header):
                raise stream_invalid("a file began before the one before it had ended")
            if part:
                self._measure(part)
                return part
        raise mismatch("the stream ended in the middle of a file")

    @property
    def object_sha256(self) -> str:
        """SHA-256, hex, of what came so far."""
        return self._sha256.hexdigest()

    @property
    def commitment(self) -> str:
        """The key commitment, hex, that the container's header holds."""
        return self._header[container.SALT :].hex()

    def entry(self, header: Header, generation: str) -> dataset.FileEntry:
        """The file as a manifest will name it, once all of it was read and is what its trailer says."""
        trailer = self._trailer
        if trailer is None:
            raise stream_invalid("a file was not read to its end")
        _check(trailer, self)
        return dataset.FileEntry(
            path=header.path,
            file_bytes=trailer.file_bytes,
            object_id=header.object_id,
            generation=generation,
            object_bytes=self.object_bytes,
            object_sha256=self.object_sha256,
            commitment=self.commitment,
            tag=trailer.tag,
            rows=max(trailer.rows, -1),
        )

    def _measure(self, piece: bytes) -> None:
        if len(self._header) < container.HEADER:
            self._header += piece[: container.HEADER - len(self._header)]
        self._sha256.update(piece)
        self.object_bytes += len(piece)


def _check(trailer: Trailer, came: Incoming) -> None:
    if trailer.object_bytes != came.object_bytes:
        raise mismatch(f"{trailer.object_bytes} bytes of ciphertext were announced and {came.object_bytes} came")
    if trailer.object_sha256 != came.object_sha256:
        raise mismatch(f"the ciphertext's SHA-256 was announced as {trailer.object_sha256} and is {came.object_sha256}")
    if trailer.file_bytes < 0 or container.object_bytes(trailer.file_bytes) != came.object_bytes:
        raise mismatch(f"a file of {trailer.file_bytes} bytes does not make a container of {came.object_bytes}")


def mismatch(why: str) -> errors.InvalidArgument:
    """The refusal of a file that is not as announced."""
    return errors.InvalidArgument(
        f"the file was not stored: {why}",
        reason="OBJECT_MISMATCH",
        help="Send it again; if it happens again, look at the network between.",
    )


def stream_invalid(why: str) -> errors.InvalidArgument:
    """The refusal of messages in the wrong order."""
    return errors.InvalidArgument(
        f"the stream is not one of files: {why}",
        reason="STREAM_INVALID",
        help="Send for each file a header, its data, and a trailer.",
    )
