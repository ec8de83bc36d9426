"""Time and identifiers, real and repeatable."""

from __future__ import annotations

import random
import secrets
import threading
import time
from datetime import UTC, datetime, timedelta

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
_RANDOM_BITS = 80
_START = datetime(2026, 1, 1, tzinfo=UTC)


def _encode(number: int) -> str:
    """128 bits as 26 characters of lower-case Crockford base 32; text order is number order."""
    return "".join(_ALPHABET[(number >> shift) & 31] for shift in range(125, -1, -5))


class SystemClock:
    """The machine's clock, in UTC."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class ManualClock:
    """A clock that stands still until it is told to go on."""

    def __init__(self, start: datetime = _START) -> None:
        self._now = start.astimezone(UTC)

    def now(self) -> datetime:
        return self._now

    def advance(self, seconds: float) -> datetime:
        """Moves the clock forward and returns the new time."""
        self._now += timedelta(seconds=seconds)
        return self._now


class UlidIds:
    """ULIDs: 48 bits of milliseconds, 80 random bits. In a process each sorts after the one before, whatever the clock does."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._last = 0

    def new(self, prefix: str) -> str:
        drawn = (time.time_ns() // 1_000_000 << _RANDOM_BITS) | secrets.randbits(_RANDOM_BITS)
        with self._lock:
            # A random step and not 1: a forked child has the same `_last` and must not make the parent's next id.
            self._last = max(drawn, self._last + 1 + secrets.randbits(40))
            return f"{prefix}-{_encode(self._last)}"


class SeededIds:
    """Identifiers that are the same in each run of a test: ordered like real ones, drawn from a seed."""

    def __init__(self, seed: int = 0) -> None:
        self._lock = threading.Lock()
        self._random = random.Random(seed)  # noqa: S311 - repeatable is the point
        self._count = 0

    def new(self, prefix: str) -> str:
        with self._lock:
            self._count += 1
            return f"{prefix}-{_encode((self._count << _RANDOM_BITS) | self._random.getrandbits(_RANDOM_BITS))}"
