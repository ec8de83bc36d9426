"""How many calls a principal may make: token buckets, one for each principal, and one for each place that strangers call from.

Shared by the catalog server and by sites' gateways, where runs are principals too.

A bucket holds `burst` calls and gets `per_second` back. Whoever is not let in spends the bucket of its place; when that is
empty, who was let in from there lately is still let in, and others wait, before any token is looked up. All is in memory and by
server or gateway: with N servers behind one address a principal has up to N times as much.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable

from federation.config import RateSettings
from federation.core import errors

#: So many buckets are kept; the one used longest ago goes first, and comes back full.
BUCKETS_MAX = 20_000


class Buckets:
    """Buckets of one size, by name."""

    def __init__(self, per_second: float, burst: int) -> None:
        self._per_second = per_second
        self._burst = float(burst)
        self._levels: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def wait(self, name: str, now: float) -> float:
        """Seconds until a bucket allows a call, from a moment in seconds on; 0 if it does now."""
        return max(0.0, (1.0 - self._level(name, now)) / self._per_second) if self._per_second else 0.0

    def take(self, name: str, now: float) -> float:
        """Takes a call out of a bucket and answers 0; or takes nothing and answers as `wait`."""
        if not self._per_second:
            return 0.0
        level = self._level(name, now)
        self._levels[name] = (level - 1.0 if level >= 1.0 else level, now)
        self._levels.move_to_end(name)
        if len(self._levels) > BUCKETS_MAX:
            self._levels.popitem(last=False)
        return max(0.0, (1.0 - level) / self._per_second)

    def _level(self, name: str, now: float) -> float:
        level, since = self._levels.get(name, (self._burst, now))
        return min(self._burst, level + max(0.0, now - since) * self._per_second)


class Rates:
    """The buckets of one server or gateway. Several threads may use them at once."""

    def __init__(self, settings: RateSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._people = Buckets(settings.calls_per_second, settings.burst)
        self._machines = Buckets(settings.agent_calls_per_second, settings.agent_burst)
        self._strangers = Buckets(settings.strangers_per_second, settings.strangers_burst)
        self._known: OrderedDict[str, None] = OrderedDict()
        self._lock = threading.Lock()

    def spend(self, name: str, *, machine: bool = False) -> None:
        """Counts a call of a person, or of a `machine`: an agent, a run; RateLimited, with when to come again, if too many."""
        with self._lock:
            wait = (self._machines if machine else self._people).take(name, self._clock())
        if wait:
            raise _limited(name, wait)

    def spend_by_place(self, place: str) -> None:
        """Counts a call that anybody may make, where it comes from; RATE_LIMITED as in `spend`."""
        with self._lock:
            wait = self._strangers.take(place, self._clock())
        if wait:
            raise _limited(f"callers from {place}", wait)

    def knock(self, place: str, credential: str) -> None:
        """Allows an attempt to authenticate; RATE_LIMITED where too many failed from there, unless the credential is known."""
        with self._lock:
            if credential and credential in self._known:
                return
            wait = self._strangers.wait(place, self._clock())
        if wait:
            raise _limited(f"callers from {place}", wait)

    def welcome(self, credential: str) -> None:
        """Remembers the digest of a credential that was good; '' is none."""
        if not credential:
            return
        with self._lock:
            self._known[credential] = None
            self._known.move_to_end(credential)
            if len(self._known) > BUCKETS_MAX:
                self._known.popitem(last=False)

    def failed(self, place: str, credential: str) -> None:
        """Counts a failed attempt to authenticate."""
        with self._lock:
            self._known.pop(credential, None)
            self._strangers.take(place, self._clock())


def _limited(who: str, seconds: float) -> errors.RateLimited:
    return errors.RateLimited(
        f"{who} called too often",
        help="Come again after the time that is told; many things at once go in one call of a batch or a stream.",
        retry_seconds=round(seconds, 3) + 0.001,
    )
