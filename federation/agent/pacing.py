"""How fast transfers may take bytes: one rate for the whole agent, and one for each transfer that states its own."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

#: A rate that rested lets so many seconds' worth pass at once.
BURST_SECONDS = 0.25


class Rate:
    """A token bucket: in any stretch of t seconds no more pass than (t + BURST_SECONDS) x the rate, and the last taken.

    It waits for nobody: it says for how long who has taken must wait. `now` is in seconds, from any start.
    """

    def __init__(self, bytes_per_second: int, now: Callable[[], float]) -> None:
        self.bytes_per_second = bytes_per_second
        self._now = now
        self._lock = threading.Lock()
        self._paid_until = float("-inf")

    def take(self, size: int) -> float:
        """Takes that many bytes; returns the seconds to wait before taking more. A rate of 0 is none."""
        if not self.bytes_per_second:
            return 0.0
        with self._lock:
            now = self._now()
            # What was taken is paid for by time; time that nobody used is kept for the length of a burst.
            self._paid_until = max(self._paid_until, now - BURST_SECONDS) + size / self.bytes_per_second
            return max(0.0, self._paid_until - now)


class Pace:
    """Keeps several rates at once. `pause` is how it waits; an exception from it ends the wait."""

    def __init__(self, rates: Iterable[Rate], pause: Callable[[float], None]) -> None:
        self._rates = tuple(rates)
        self._pause = pause

    @property
    def bytes_per_second(self) -> int:
        """The least of the rates; 0 where there is none."""
        return min((rate.bytes_per_second for rate in self._rates if rate.bytes_per_second), default=0)

    def take(self, size: int) -> None:
        """Takes that many bytes of each rate, and waits for the slowest."""
        seconds = max((rate.take(size) for rate in self._rates), default=0.0)
        if seconds:
            self._pause(seconds)
