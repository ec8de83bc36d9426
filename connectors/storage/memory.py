"""A store in memory: for tests, and for whoever tries things out. Gone with its process."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import BinaryIO

from connectors.storage import common
from federation.ports import ObjectInfo


class MemoryStore:
    """Fills `ObjectStore` with a dictionary, which holds at most `bytes_max` if that is given."""

    def __init__(self, bytes_max: int | None = None) -> None:
        self._bytes_max = bytes_max
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __repr__(self) -> str:
        return f"<MemoryStore objects={len(self._objects)}>"

    def put(self, key: str, data: BinaryIO) -> int:
        common.key(key)
        # In pieces: a stream may give less than it has.
        content = b"".join(iter(lambda: data.read(common.PIECE), b""))
        with self._lock:
            if key in self._objects:
                raise common.taken(key)
            free = self.free_bytes()
            if free is not None and len(content) > free:
                raise common.full("in memory", f"{free} bytes are free and {len(content)} were to be stored")
            self._objects[key] = content
        return len(content)

    def read(self, key: str, offset: int = 0, length: int = -1, *, reader: str = "") -> Iterator[bytes]:  # noqa: ARG002 - no log here
        common.key(key)
        content = self._objects.get(key)
        if content is None:
            raise common.missing(key)
        end = len(content) if length < 0 else min(len(content), offset + length)
        for start in range(offset, end, common.PIECE):
            yield content[start : min(end, start + common.PIECE)]

    def info(self, key: str) -> ObjectInfo | None:
        common.key(key)
        content = self._objects.get(key)
        return None if content is None else ObjectInfo(key=key, bytes=len(content))

    def list(self, prefix: str = "") -> Iterator[ObjectInfo]:
        with self._lock:
            found = sorted((key, len(content)) for key, content in self._objects.items() if key.startswith(prefix))
        return (ObjectInfo(key=key, bytes=size) for key, size in found)

    def delete(self, key: str) -> None:
        common.key(key)
        with self._lock:
            self._objects.pop(key, None)

    def free_bytes(self) -> int | None:
        if self._bytes_max is None:
            return None
        return self._bytes_max - sum(map(len, list(self._objects.values())))

    def probe(self) -> None:
        common.probe(self, "in memory")
