"""What a process of a run has received, by input and hour: counted here, and told to its gateway as it changes.

A report holds the process's totals and a number, so that reports may be lost, repeated or come out of order. It is a check on
the gateway's meter; nothing is charged by it, and nothing waits for it.
"""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable

from federation.core import errors, metering
from federation.v1 import gateway_pb2
from federation.wire import readahead

_log = logging.getLogger(__name__)

#: Totals are told so long after they changed; what ends with a file is told at once, though not more often than this.
SOON_SECONDS = 0.2
_HOUR = 3600

Send = Callable[[str, int, list[gateway_pb2.ReadCount]], None]


class Counts:
    """The totals of one process; thread-safe. `send` takes the process's name, the report's number and the totals."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._lock = threading.Lock()
        self._sending = threading.Lock()
        self._totals: dict[tuple[str, int], dict[str, int]] = {}
        self._process = (os.getpid(), secrets.token_hex(8))
        self._sequence = 0
        self._changed = False
        self._timer: threading.Timer | None = None
        self._told = 0.0
        readahead.at_rest(self.tell)

    def of(self, input: str) -> InputCounts:  # noqa: A002 - the contract's word
        """The counters of one input."""
        return InputCounts(self, input)

    def add(self, input: str, ask_seconds: int, **counts: int) -> None:  # noqa: A002
        """Adds to the counters of an input in the hour of `ask_seconds`, and sees to it that they are told soon."""
        key = (input, ask_seconds - ask_seconds % _HOUR)
        with self._lock:
            self._forget_parent()
            known = self._totals.setdefault(key, dict.fromkeys(metering.TRAFFIC_COUNTS, 0))
            for name, count in counts.items():
                known[name] += count
            self._changed = True
            if self._timer is None:
                self._timer = threading.Timer(SOON_SECONDS, self.tell)
                self._timer.daemon = True
                with contextlib.suppress(RuntimeError):  # the interpreter is ending: it is told when nobody reads any more
                    self._timer.start()

    def file_closed(self) -> None:
        """Reports at once, for the process may end any moment; or soon, if it has just reported."""
        if time.monotonic() - self._told > SOON_SECONDS:
            self.tell()

    def tell(self) -> None:
        """Reports what has changed. While the gateway is away it waits for the next change, or the end of the process."""
        with self._sending:
            with self._lock:
                self._forget_parent()
                if self._timer is not None:
                    self._timer.cancel()
                    self._timer = None
                if not self._changed:
                    return
                self._changed = False
                self._sequence += 1
                self._told = time.monotonic()
                number, counts = self._sequence, self._report()
            try:
                self._send(self._process[1], number, counts)
            except errors.FederationError as error:
                with self._lock:
                    self._changed = True
                _log.debug("what was read was not told: %s", error)

    def _report(self) -> list[gateway_pb2.ReadCount]:
        return [gateway_pb2.ReadCount(input=name, hour_seconds=hour, **counts) for (name, hour), counts in self._totals.items()]

    def _forget_parent(self) -> None:
        """Starts from zero in a forked child: its parent reports what was counted before."""
        if self._process[0] != os.getpid():
            self._process = (os.getpid(), secrets.token_hex(8))
            self._totals, self._sequence, self._changed, self._timer = {}, 0, False, None


class InputCounts:
    """Counts what is received of one input."""

    def __init__(self, counts: Counts, input: str) -> None:  # noqa: A002
        self._counts = counts
        self._input = input

    def whole(self, ask_seconds: int, size: int) -> None:
        """An answer came whole."""
        self._counts.add(self._input, ask_seconds, bytes=size, responses=1)

    def aborted(self, ask_seconds: int, size: int, unreceived: int, *, retry: bool = False) -> None:
        """An answer ended early, with `unreceived` bytes of it still to come; with `retry` they were asked for again."""
        counts = {"aborted_bytes": size, "unreceived_bytes": unreceived, "aborted_responses": 1, "retries": int(retry)}
        self._counts.add(self._input, ask_seconds, **counts)

    def cached(self, size: int) -> None:
        """Bytes were handed out from memory."""
        self._counts.add(self._input, int(time.time()), cached_bytes=size)

    def file_closed(self) -> None:
        """A file was closed."""
        self._counts.file_closed()
