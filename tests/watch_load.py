"""People who write and people who watch, while servers die: what each did and was told, for `tests.watch_history` to judge."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator

from federation import ports
from federation.client import Client, following
from federation.core import errors, watching
from federation.core.events import Event
from federation.v1 import events_pb2
from federation.wire import changes
from tests import builders
from tests.watch_history import History, Writes

WRITERS = 3
#: No stream is followed for longer.
SECONDS = 600
#: The last thing that is written: whoever was told of it has been told of everything.
END = "namespaces/end/datasets/end"
#: What everybody follows.
WANTED = 'type = "datasets" OR type = "namespaces"'


class Load:
    """Writers and followers of one catalog. `connect` gives a client of its own to each."""

    def __init__(self, connect: Callable[[], Client], seed: int) -> None:
        self.writes = Writes()
        self.histories: list[History] = []
        self._connect = connect
        self._random = random.Random(seed)
        self._done = threading.Event()
        self._writers: list[threading.Thread] = []
        self._followers: list[threading.Thread] = []
        self._failures: list[BaseException] = []

    def start(self) -> None:
        """Begins."""
        with self._connect() as client:
            client.create_namespace(builders.namespace("load", owner=""))
            start = client.who_am_i().revision + 1
        ways = (self._follow, self._follow_in_pieces, self._follow_slowly, self._follow_by_looking)
        for way in ways:
            history = History(name=way.__name__, wanted=watching.parse(WANTED), start=start)
            self.histories.append(history)
            self._followers.append(self._thread(lambda way=way, history=history: way(history)))
        self._writers = [self._thread(lambda number=number: self._write(number)) for number in range(WRITERS)]

    def finish(self) -> None:
        """Lets writers end, writes the last thing, and waits until all have been told of it."""
        self._done.set()
        for thread in self._writers:
            thread.join(timeout=60)
        with self._connect() as client:
            client.create_namespace(builders.namespace("end"))
            client.create_dataset(builders.dataset("end/end"))
        for thread in self._followers:
            thread.join(timeout=300)
            assert not thread.is_alive(), "somebody was never told of the end"
        assert not self._failures, self._failures

    def _thread(self, work: Callable[[], None]) -> threading.Thread:
        def run() -> None:
            try:
                work()
            except BaseException as error:  # noqa: BLE001 - told by `finish`
                self._failures.append(error)

        # Daemons: a test that fails must not wait for those who wait for a server that is gone.
        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        return thread

    def _write(self, number: int) -> None:
        with self._connect() as client:
            count = 0
            while not self._done.is_set():
                count += 1
                new = builders.dataset(f"load/w{number}-{count}", description="d" * 3000)
                try:
                    client.create_dataset(new)
                    self.writes.note(new.name.resource, acknowledged=True)
                except errors.Unavailable:
                    self.writes.note(new.name.resource, acknowledged=False)

    def _follow(self, history: History) -> None:
        """As the client does by itself, reading as fast as it comes."""
        with self._connect() as client:
            self._take(history, self._answers(client, history))

    def _follow_slowly(self, history: History) -> None:
        """With a rest after each answer, so that the server's window runs away from it."""
        with self._connect() as client:
            for _ in self._each(history, self._answers(client, history)):
                if not self._done.is_set():
                    time.sleep(0.2)

    def _follow_in_pieces(self, history: History) -> None:
        """Cut by its own side, again and again, and begun anew from its bookmark."""
        while history.position < 0 or not _over(history):
            with self._connect() as client:
                stream = self._answers(client, history)
                for count, _ in enumerate(self._each(history, stream)):
                    if count > self._random.randrange(12) and not self._done.is_set():
                        break

    def _follow_by_looking(self, history: History) -> None:
        """Asks for what is there by now, and comes again later."""
        with self._connect() as client:
            while not _over(history):
                self._take(history, self._answers(client, history, until_now=True))
                time.sleep(0.3)

    def _answers(self, client: Client, history: History, *, until_now: bool = False) -> Iterator[events_pb2.WatchResponse]:
        history.streams += 1
        request = events_pb2.WatchRequest(start_revision=history.position + 1, filter=WANTED, until_now=until_now)
        return following.answers(client._connection, request, SECONDS)

    def _take(self, history: History, answers: Iterator[events_pb2.WatchResponse]) -> None:
        for _ in self._each(history, answers):
            pass

    def _each(self, history: History, answers: Iterator[events_pb2.WatchResponse]) -> Iterator[None]:
        for answer in answers:
            history.answers.append((answer.revision, tuple(map(changes.to_change, answer.events))))
            yield
            if _over(history):
                return


def whole_log(catalog: ports.Catalog) -> list[Event]:
    """Every event there is."""
    log: list[Event] = []
    while some := catalog.events(log[-1].position if log else 0):
        log += some
    return log


def _over(history: History) -> bool:
    return bool(history.answers) and any(change.name == END for change in history.answers[-1][1])
