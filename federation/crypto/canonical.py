"""One unambiguous way to put several values into one string of bytes: what is bound, signed or used as associated data."""

from __future__ import annotations


def join(*parts: str | bytes) -> bytes:
    """Each part behind its length in 4 bytes, big-endian, so that no two lists of parts give the same bytes."""
    encoded = (part.encode() if isinstance(part, str) else part for part in parts)
    return b"".join(len(part).to_bytes(4, "big") + part for part in encoded)


def split(joined: bytes) -> tuple[bytes, ...]:
    """The parts that `join` put together; ValueError for anything else."""
    parts, at = [], 0
    while at < len(joined):
        size = int.from_bytes(joined[at : at + 4], "big")
        at += 4 + size
        if at > len(joined):
            raise ValueError("cut short")
        parts.append(joined[at - size : at])
    return tuple(parts)
