"""Co-signatures of the record's heads by sites: whoever has a site's public key can check one, wherever it was kept."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta

from federation.core import errors
from federation.core.chain import SignedHead
from federation.core.witness import Cosignature
from federation.crypto import canonical, heads, signing


def sign(private: bytes, site: str, shown: Iterable[SignedHead], time: datetime) -> Cosignature:
    """The heads with the time and the word of the site's private key."""
    bare = Cosignature(site=site, key=signing.public_hex(private), time=time, heads=tuple(shown), signature="")
    return dataclasses.replace(bare, signature=signing.sign(private, statement(bare)).hex())


def is_genuine(cosignature: Cosignature) -> bool:
    """Whether the key that it names has signed it, and each of its heads is signed by the key that the head names."""
    try:
        signing.verify(cosignature.key, statement(cosignature), bytes.fromhex(cosignature.signature))
    except (errors.Unauthenticated, ValueError):
        return False
    return all(heads.is_genuine(head) for head in cosignature.heads)


def statement(cosignature: Cosignature) -> bytes:
    """What is signed: each part behind its length in 4 bytes: purpose, site, time, then each head's statement and key."""
    micros = (cosignature.time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    told = (part for head in cosignature.heads for part in (heads.statement(head), head.key))
    return canonical.join("fed/head-witness/v1", cosignature.site, str(micros), *told)
