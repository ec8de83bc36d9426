"""Keyed digests of plaintext: a writer sees that a file has not changed, a stranger with the manifest learns nothing."""

from __future__ import annotations

import hmac

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF


class Tagger:
    """HMAC-SHA256 of a file as a stream, under a key derived from the DEK of the file's generation."""

    def __init__(self, dek: bytes) -> None:
        key = HKDF(hashes.SHA256(), 32, salt=None, info=b"fed/file-tag/v1").derive(dek)
        self._hmac = hmac.new(key, digestmod="sha256")

    def update(self, data: bytes | memoryview) -> None:
        self._hmac.update(data)

    def hexdigest(self) -> str:
        """The tag of what came so far, hex."""
        return self._hmac.hexdigest()
