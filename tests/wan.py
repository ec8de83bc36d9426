"""A distance between two parties on this machine: what one sends arrives later, as over a long line.

A `Relay` stands before an address and delays both directions of every connection without holding up what comes behind: bytes
wait in a queue with the time at which they are due. All connections of a relay share its line, which may have a width, and a
router's buffer before it. It can cut its connections, and can fall silent as a line does whose other end is gone: nothing
arrives, nothing is refused. It knows nothing of the protocol, and loses, changes or reorders nothing; TCP's own windows are not
part of it, since each side's TCP ends at the relay. In a process of its own it carries 600 to 800 MB a second, at any distance.
"""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import random
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

_PIECE_BYTES = 1 << 18
#: What is on its way in one direction of one connection, at most: half a second of 4 Gbit/s.
_BYTES_MAX = 256 << 20
#: What the router before a narrow line holds, in seconds of its width.
_ROUTER_SECONDS = 0.05
_RESET = struct.pack("ii", 1, 0)


@dataclass(frozen=True, kw_only=True)
class Line:
    """There and back in so many seconds, each way by up to `jitter_seconds` more; bytes a second each way, 0 for any."""

    rtt_seconds: float = 0.0
    jitter_seconds: float = 0.0
    bytes_per_second: int = 0


class Relay:
    """Listens at `address` for connections to `target`, and carries them over the line."""

    def __init__(self, target: str, line: Line) -> None:
        host, _, port = target.rpartition(":")
        self._target = (host, int(port))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._lock = threading.Lock()
        self._open: set[_Connection] = set()
        self._ways = (_Way(line), _Way(line))
        self._accepting = threading.Thread(target=self._accept, name="wan accept", daemon=True)
        self._accepting.start()

    def change(self, line: Line) -> None:
        """What enters from now on goes over another line."""
        for way in self._ways:
            way.line = line

    def carried(self) -> tuple[int, int]:
        """Bytes that came out of the line so far: there, and back."""
        return self._ways[0].delivered, self._ways[1].delivered

    def cut(self) -> None:
        """Resets every connection that there is; what is on its way is lost."""
        with self._lock:
            cut = list(self._open)
        for each in cut:
            each.reset()

    def silence(self) -> None:
        """From now on nothing arrives, until `speak`."""
        for way in self._ways:
            way.speaking.clear()

    def speak(self) -> None:
        """What waited since `silence` arrives."""
        for way in self._ways:
            way.speaking.set()

    def close(self) -> None:
        """Ends the listener and all connections."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._accepting.join(30)
        self._listener.close()
        self.cut()
        self.speak()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # the listener was closed
            while True:
                near = self._listener.accept()[0]
                try:
                    far = socket.create_connection(self._target)
                except OSError:
                    near.close()  # as one that is refused, as far as TCP lets a relay say so
                    continue
                connection = _Connection(near, far, self._ways, self._ended)
                with self._lock:
                    self._open.add(connection)
                connection.start()

    def _ended(self, connection: _Connection) -> None:
        with self._lock:
            self._open.discard(connection)


class _Way:
    """One direction of the line, shared by all connections."""

    def __init__(self, line: Line) -> None:
        self.line = line
        self.speaking = threading.Event()
        self.speaking.set()
        self.delivered = 0
        self._lock = threading.Lock()
        self._free_at = 0.0
        self._random = random.Random(1)

    def due(self, size: int) -> float:
        """When bytes that enter now come out. Waits for room in the router's buffer first."""
        line = self.line
        jitter = self._random.uniform(0, line.jitter_seconds) if line.jitter_seconds else 0.0
        if not line.bytes_per_second:
            return time.monotonic() + line.rtt_seconds / 2 + jitter
        while True:
            with self._lock:
                now = time.monotonic()
                full = self._free_at - now - _ROUTER_SECONDS
                if full <= 0:
                    self._free_at = max(now, self._free_at) + size / line.bytes_per_second
                    return self._free_at + line.rtt_seconds / 2 + jitter
            time.sleep(full)

    def count(self, size: int) -> None:
        """So much came out."""
        with self._lock:
            self.delivered += size


class _Connection:
    """Two sockets and the four threads that carry between them."""

    def __init__(self, near: socket.socket, far: socket.socket, ways: tuple[_Way, _Way], ended: Any) -> None:
        self._sockets = (near, far)
        self._ended = ended
        self._left = 2
        self._lock = threading.Lock()
        for each in self._sockets:
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        there, back = ways
        # A connection is made by one round trip before its first byte.
        begin = time.monotonic() + there.line.rtt_seconds * 1.5
        self._carriers = (_Carrier(near, far, there, begin, self._over), _Carrier(far, near, back, 0.0, self._over))

    def start(self) -> None:
        for each in self._carriers:
            each.start()

    def reset(self) -> None:
        for each in self._sockets:
            with contextlib.suppress(OSError):
                each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RDWR)
        for carrier in self._carriers:
            carrier.stop()

    def _over(self) -> None:
        with self._lock:
            self._left -= 1
            last = not self._left
        if last:
            for each in self._sockets:
                each.close()
            self._ended(self)


class _Carrier:
    """One direction of one connection: a thread that takes, and one that hands out when it is time."""

    def __init__(self, source: socket.socket, sink: socket.socket, way: _Way, begin: float, over: Any) -> None:
        self._source = source
        self._sink = sink
        self._way = way
        self._begin = begin
        self._over = over
        self._changed = threading.Condition()
        self._waiting: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self._stopped = False

    def start(self) -> None:
        threading.Thread(target=self._take, name="wan take", daemon=True).start()
        threading.Thread(target=self._hand_out, name="wan hand out", daemon=True).start()

    def stop(self) -> None:
        """Drops what is on its way."""
        with self._changed:
            self._stopped = True
            self._waiting.clear()
            self._changed.notify_all()

    def _take(self) -> None:
        last = self._begin
        content = b"?"
        while content:
            try:
                content = self._source.recv(_PIECE_BYTES)
            except OSError:
                content = b""
            last = max(last, self._way.due(len(content)))  # nothing overtakes
            with self._changed:
                self._changed.wait_for(lambda: self._bytes < _BYTES_MAX or self._stopped)
                if self._stopped:
                    return
                self._waiting.append((last, content))
                self._bytes += len(content)
                self._changed.notify_all()

    def _hand_out(self) -> None:
        try:
            while (content := self._next()) is not None:
                self._sink.sendall(content)
                self._way.count(len(content))
            self._sink.shutdown(socket.SHUT_WR)
        except OSError:
            with contextlib.suppress(OSError):  # its sender hears of it as of a reset
                self._source.shutdown(socket.SHUT_RD)
            self.stop()
        self._over()

    def _next(self) -> bytes | None:
        """The next bytes, at their time; None at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting or self._stopped)
            if self._stopped:
                return None
            due, content = self._waiting[0]
        while (left := due - time.monotonic()) > 0 and not self._stopped:
            time.sleep(min(left, 0.1))
        while not self._way.speaking.wait(0.1) and not self._stopped:
            pass
        with self._changed:
            if self._stopped:
                return None
            self._waiting.popleft()
            self._bytes -= len(content)
            self._changed.notify_all()
        return content or None


@contextlib.contextmanager
def far_away(target: str, **line: Any) -> Iterator[Relay]:
    """A relay before the target, in this process; the words are a Line's."""
    relay = Relay(target, Line(**line))
    try:
        yield relay
    finally:
        relay.close()


class Remote:
    """Relays in a process of their own, so that they take nothing from the interpreter of whoever measures."""

    def __init__(self) -> None:
        spawn = multiprocessing.get_context("spawn")
        self._here, there = spawn.Pipe()
        self._process = spawn.Process(target=_relays, args=(there,), daemon=True)
        self._process.start()

    def open(self, target: str, line: Line) -> str:
        """The address of a new relay."""
        self._here.send(("open", target, dataclasses.asdict(line)))
        return str(self._here.recv())

    def change(self, line: Line) -> None:
        """All relays have this line from now on."""
        self._here.send(("change", "", dataclasses.asdict(line)))
        self._here.recv()

    def close(self) -> None:
        """Ends all of them."""
        self._here.send(("end",))
        self._process.join(30)


def _relays(pipe: Connection) -> None:
    relays: list[Relay] = []
    while (asked := pipe.recv())[0] != "end":
        line = Line(**asked[2])
        if asked[0] == "open":
            relays.append(Relay(asked[1], line))
        for each in relays:
            each.change(line)
        pipe.send(relays[-1].address)
    for each in relays:
        each.close()
