"""The container that every file lies in: C2SP chunked-encryption (Cobblestone-256), written as a stream, read by range.

Format, from c2sp.org/chunked-encryption v1 with AES-256-GCM and SHA-512:

    salt[24] | commitment[32] | chunk 0 | chunk 1 | ... | last chunk
    key[32], base nonce[12], commitment[32] = HKDF-Expand-SHA512(input key, label 0x00 salt context)
    chunk i = AES-256-GCM(key, base nonce XOR be96(i), 16384 bytes of plaintext; the last one 0 to 16383)

So plaintext byte p lies in chunk p >> 14, chunk k begins at byte 56 + 16400 * k, and the last chunk is always short: whoever
has authenticated it knows the length. Never returns a byte that did not authenticate.
"""

from __future__ import annotations

import hashlib
import hmac
import io
import threading
from collections.abc import Callable, Iterable
from typing import TypeAlias

from cryptography.cobblestone import Cobblestone256Encryptor
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand

from federation.core import errors
from federation.crypto import canonical

KEY = 32
CHUNK = 16384
TAG = 16
SEALED_CHUNK = CHUNK + TAG
SALT = 24
HEADER = SALT + 32
#: The format's own limit for one message.
FILE_BYTES_MAX = 1 << 52
#: Up to here an object is fetched whole at once: one round trip costs more than the bytes.
WHOLE_BYTES = 64 * 1024

_HASH: hashes.HashAlgorithm = hashes.SHA512()
_LABEL = b"c2sp.org/chunked-encryption@v1+AEAD_AES_256_GCM"

#: Bytes of an object, at once or in pieces as they come.
Fetched: TypeAlias = bytes | memoryview | Iterable[bytes]
#: Gives `length` bytes of an object from `offset`; fewer only where the object ends.
Fetch: TypeAlias = Callable[[int, int], Fetched]


def object_bytes(file_bytes: int) -> int:
    """Length of the container of a file of that length."""
    if not 0 <= file_bytes <= FILE_BYTES_MAX:
        raise _size_invalid(f"a file of {file_bytes} bytes does not fit a container")
    return HEADER + file_bytes + TAG * (file_bytes // CHUNK + 1)


def file_bytes(object_bytes: int) -> int:
    """Length of the file in a container of that length; DataCorrupt (OBJECT_SIZE_INVALID) for a length no container has."""
    full, rest = divmod(object_bytes - HEADER, SEALED_CHUNK)
    if full < 0 or rest < TAG or full * CHUNK > FILE_BYTES_MAX:
        raise _size_invalid(f"no encrypted object is {object_bytes} bytes long")
    return full * CHUNK + rest - TAG


def context(dataset_uid: str, generation: str, object_id: str) -> bytes:
    """What binds a container to its place: no object opens as another one, of this dataset or any other."""
    return canonical.join("fed/obj/v1", dataset_uid, generation, object_id)


def check_key(key: bytes, context: bytes, header: bytes, commitment: str) -> None:
    """Returns when that key is the one of the container that begins with that header and that commitment (hex).

    DataCorrupt (OBJECT_SWAPPED, OBJECT_CORRUPT) otherwise. Nothing is decrypted.
    """
    _derive(key, context, header, bytes.fromhex(commitment))


class Sealer:
    """Encrypts one file as a stream. After `finalize` it tells what the manifest needs of the object.

    `commitment` and `object_sha256` are hex; all facts are empty until then.
    """

    def __init__(self, key: bytes, context: bytes) -> None:
        self._encryptor = Cobblestone256Encryptor(key, context)
        self._sha256 = hashlib.sha256()
        self._header = b""
        self._file_bytes = 0
        self._object_bytes = 0
        self.commitment = ""
        self.object_sha256 = ""
        self.object_bytes = 0
        self.file_bytes = 0

    def update(self, data: bytes | memoryview) -> bytes:
        """The next bytes of the container; what does not fill a chunk is held back."""
        self._file_bytes += len(data)
        return self._emit(self._encryptor.update(data))

    def finalize(self) -> bytes:
        """The last bytes of the container. An object without them is refused by every reader."""
        sealed = self._emit(self._encryptor.finalize())
        self.commitment = self._header[SALT:].hex()
        self.object_sha256 = self._sha256.hexdigest()
        self.object_bytes = self._object_bytes
        self.file_bytes = self._file_bytes
        return sealed

    def _emit(self, sealed: bytes) -> bytes:
        if len(self._header) < HEADER:
            self._header += sealed[: HEADER - len(self._header)]
        self._sha256.update(sealed)
        self._object_bytes += len(sealed)
        return sealed


class RangedReader:
    """Reads any range of a file out of its container, through `fetch`. May be used by many threads at once.

    `object_bytes` and `commitment` (hex) are those of the signed manifest. The first read compares the object's header with the
    pinned commitment and authenticates the last chunk, before anything is trusted or returned. DataCorrupt says what was wrong:
    OBJECT_SIZE_INVALID, OBJECT_TRUNCATED, OBJECT_SWAPPED (another object, or plaintext), or OBJECT_CORRUPT with the chunk's
    number.
    """

    def __init__(self, key: bytes, context: bytes, *, object_bytes: int, commitment: str, fetch: Fetch) -> None:
        if len(key) != KEY:
            raise errors.InvalidArgument(f"a DEK is {KEY} bytes long, not {len(key)}", reason="KEY_INVALID")
        #: Bytes of plaintext; a claim until the first read, which authenticates it.
        self.size = file_bytes(object_bytes)
        self._key = key
        self._context = context
        self._object_bytes = object_bytes
        self._commitment = bytes.fromhex(commitment)
        self._fetch = fetch
        self._tail_chunk = self.size // CHUNK
        self._opened: _Opened | None = None
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<RangedReader size={self.size} commitment={self._commitment.hex()[:8]}>"

    def read_at(self, offset: int, length: int) -> bytes:
        """At most `length` bytes of plaintext from `offset`; fewer where the file ends."""
        # A BytesIO that alone owns its bytes lets them be written in place and hands them out without a copy: for megabytes,
        # three times as fast as a bytearray turned into bytes.
        buffer = io.BytesIO(bytes(max(0, min(length, self.size - offset))))
        with buffer.getbuffer() as target:
            self.read_into(offset, target)
        return buffer.getvalue()

    def read_into(self, offset: int, target: memoryview) -> int:
        """Fills `target` (writable bytes) from `offset`; returns how many bytes of plaintext there were."""
        if offset < 0:
            raise errors.InvalidArgument(f"offset {offset} lies before the file", reason="RANGE_INVALID")
        opened = self._opened or self._open()
        end = min(offset + len(target), self.size)
        if offset >= end:
            return 0
        tail_start = self._tail_chunk * CHUNK
        if end > tail_start:
            begin = max(offset, tail_start)
            target[begin - offset : end - offset] = opened.tail[begin - tail_start : end - tail_start]
        if offset < tail_start:
            stop = min(end, tail_start)
            self._read_chunks(opened, offset, target[: stop - offset])
        return end - offset

    def _read_chunks(self, opened: _Opened, offset: int, target: memoryview) -> None:
        """Fills the whole target out of full chunks, each as soon as it has come."""
        first, skip = divmod(offset, CHUNK)
        count = -(-(skip + len(target)) // CHUNK)
        start, length = HEADER + first * SEALED_CHUNK, count * SEALED_CHUNK
        fill, rest, came = _Fill(opened, offset, target), b"", 0
        for piece in opened.whole_range(start, length) or _pieces(self._fetch(start, length)):
            came += len(piece)
            view = memoryview(piece)
            if rest:
                cut = SEALED_CHUNK - len(rest)
                rest, view = rest + view[:cut], view[cut:]
                if len(rest) < SEALED_CHUNK:
                    continue
                fill.add(memoryview(rest))
            whole = len(view) - len(view) % SEALED_CHUNK
            fill.add(view[:whole])
            rest = bytes(view[whole:])
        _check_length(start, length, came)

    def _open(self) -> _Opened:
        with self._lock:
            if self._opened is None:
                whole = self._fetched(0, self._object_bytes) if self._object_bytes <= WHOLE_BYTES else b""
                header = whole[:HEADER] or self._fetched(0, HEADER)
                aead = _derive(self._key, self._context, header, self._commitment)
                tail_offset = HEADER + self._tail_chunk * SEALED_CHUNK
                tail = whole[tail_offset:] or self._fetched(tail_offset, self._object_bytes - tail_offset)
                self._opened = _Opened(*aead, self._tail_chunk, tail, whole)
            return self._opened

    def _fetched(self, offset: int, length: int) -> bytes:
        sealed = b"".join(_pieces(self._fetch(offset, length)))
        _check_length(offset, length, len(sealed))
        return sealed


class _Opened:
    """A container whose header and last chunk have been found good: its derived key at work."""

    def __init__(self, key: bytes, base_nonce: bytes, tail_chunk: int, tail: bytes, whole: bytes) -> None:
        self._aead = AESGCM(key)
        self._base = int.from_bytes(base_nonce, "big")
        self.whole = whole
        self.tail = self.open(tail_chunk, tail)

    def whole_range(self, offset: int, length: int) -> tuple[memoryview, ...]:
        """Sealed bytes, if the object was fetched whole; nothing otherwise."""
        return (memoryview(self.whole)[offset : offset + length],) if self.whole else ()

    def open(self, chunk: int, sealed: bytes | memoryview) -> bytes:
        """The plaintext of one chunk."""
        try:
            return self._aead.decrypt((self._base ^ chunk).to_bytes(12, "big"), sealed, None)
        except InvalidTag:
            raise _corrupt(chunk) from None

    def open_into(self, first: int, sealed: memoryview, target: memoryview) -> None:
        """The plaintext of a run of full chunks, in place.

        One thread: a chunk takes OpenSSL about 3 microseconds, and handing the interpreter lock around that often makes
        two threads slower than one.
        """
        decrypt_into, base, chunk = self._aead.decrypt_into, self._base, first
        try:
            for chunk in range(first, first + len(target) // CHUNK):
                at = chunk - first
                decrypt_into(
                    (base ^ chunk).to_bytes(12, "big"),
                    sealed[at * SEALED_CHUNK : (at + 1) * SEALED_CHUNK],
                    None,
                    target[at * CHUNK : (at + 1) * CHUNK],
                )
        except InvalidTag:
            raise _corrupt(chunk) from None


class _Fill:
    """Puts the plaintext of consecutive chunks where it belongs in a target: edges by way of a copy, the rest in place."""

    def __init__(self, opened: _Opened, offset: int, target: memoryview) -> None:
        self._opened = opened
        self._chunk, self._skip = divmod(offset, CHUNK)
        self._target = target

    def add(self, sealed: memoryview) -> None:
        """The next chunks, a whole number of them."""
        if sealed and self._skip:
            self._edge(sealed[:SEALED_CHUNK])
            sealed = sealed[SEALED_CHUNK:]
        full = min(len(sealed) // SEALED_CHUNK, len(self._target) // CHUNK)
        self._opened.open_into(self._chunk, sealed, self._target[: full * CHUNK])
        self._chunk += full
        self._target = self._target[full * CHUNK :]
        if self._target and len(sealed) > full * SEALED_CHUNK:
            self._edge(sealed[full * SEALED_CHUNK :])

    def _edge(self, sealed: memoryview) -> None:
        plain = memoryview(self._opened.open(self._chunk, sealed))[self._skip : self._skip + len(self._target)]
        self._target[: len(plain)] = plain
        self._target = self._target[len(plain) :]
        self._chunk, self._skip = self._chunk + 1, 0


def _pieces(fetched: Fetched) -> Iterable[bytes | memoryview]:
    return (fetched,) if isinstance(fetched, bytes | bytearray | memoryview) else fetched


def _check_length(offset: int, expected: int, actual: int) -> None:
    if actual != expected:
        raise errors.DataCorrupt(
            f"the store gave {actual} instead of {expected} bytes at offset {offset} of the object",
            reason="OBJECT_TRUNCATED",
            help="Run `fed fsck` at the site that stores it.",
            metadata={"offset": str(offset), "expected_bytes": str(expected), "actual_bytes": str(actual)},
        )


def _derive(key: bytes, context: bytes, header: bytes, pinned: bytes) -> tuple[bytes, bytes]:
    """The container's AES key and base nonce, once header, key and manifest agree on the commitment."""
    salt, commitment = header[:SALT], header[SALT:]
    if not hmac.compare_digest(commitment, pinned):
        raise errors.DataCorrupt(
            "the object is not the one that the manifest names: it was swapped, or is not encrypted at all",
            reason="OBJECT_SWAPPED",
            help="Run `fed fsck` at the site that stores it.",
        )
    derived = HKDFExpand(_HASH, 76, _LABEL + b"\0" + salt + context).derive(key)
    if not hmac.compare_digest(derived[44:], pinned):
        raise errors.DataCorrupt(
            "the object's header does not fit its key: its salt was changed, or the key is another generation's",
            reason="OBJECT_CORRUPT",
            help="Run `fed fsck` at the site that stores it.",
            metadata={"part": "header"},
        )
    return derived[:32], derived[32:44]


def _corrupt(chunk: int) -> errors.DataCorrupt:
    return errors.DataCorrupt(
        f"chunk {chunk} of the object does not authenticate: its bytes were changed",
        reason="OBJECT_CORRUPT",
        help="Run `fed fsck` at the site that stores it.",
        metadata={"part": "chunk", "chunk": str(chunk), "offset": str(HEADER + chunk * SEALED_CHUNK)},
    )


def _size_invalid(message: str) -> errors.DataCorrupt:
    return errors.DataCorrupt(message, reason="OBJECT_SIZE_INVALID", help="Run `fed fsck` at the site that stores it.")
