"""Heads of the record's tables as the catalog signs them: whoever has its public key can check one, wherever it was kept."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta

from federation.core import errors
from federation.core.chain import Head, SignedHead
from federation.crypto import canonical, signing


def sign(private: bytes, head: Head, time: datetime) -> SignedHead:
    """The head with the time and the word of the private key."""
    key = signing.public_hex(private)
    bare = SignedHead(
        table=head.table, position=head.position, rows=head.rows, chain=head.chain.hex(), time=time, key=key, signature=""
    )
    return dataclasses.replace(bare, signature=signing.sign(private, statement(bare)).hex())


def is_genuine(head: SignedHead) -> bool:
    """Whether the key that a head names has signed it. Whose key that is, the caller must know."""
    try:
        signing.verify(head.key, statement(head), bytes.fromhex(head.signature))
    except (errors.Unauthenticated, ValueError):
        return False
    return True


def statement(head: SignedHead) -> bytes:
    """What is signed: each part behind its length in 4 bytes, numbers and the time (microseconds since 1970) as decimals."""
    micros = (head.time - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    return canonical.join("fed/record-head/v1", head.table, str(head.position), str(head.rows), head.chain, str(micros))
