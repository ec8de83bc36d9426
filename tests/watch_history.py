"""What streams have told, written down as it came, and the check of it against the log and against what writers were told.

The guarantees are etcd's: ordered, unique, complete, resumable, bookmarkable; and, since every change is acknowledged only once
it is durable, nothing that was acknowledged is missing from the log.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from federation.core import watching
from federation.core.events import Event
from federation.core.watching import Change, Filter


@dataclass
class History:
    """What one follower was told, over all of its streams. `start` is the first revision that it asked for."""

    name: str
    wanted: Filter
    start: int
    #: In the order in which they came: `(bookmark, changes before it)`.
    answers: list[tuple[int, tuple[Change, ...]]] = field(default_factory=list)
    streams: int = 0

    @property
    def changes(self) -> list[Change]:
        return [change for _, changes in self.answers for change in changes]

    @property
    def position(self) -> int:
        """The last bookmark, which is where the next stream goes on from."""
        return self.answers[-1][0] if self.answers else self.start - 1


@dataclass
class Writes:
    """What writers sent: names with what was acknowledged, and names of which nobody knows. Threads may share it."""

    acknowledged: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def note(self, name: str, *, acknowledged: bool) -> None:
        """Writes one down."""
        with self._lock:
            (self.acknowledged if acknowledged else self.unknown).append(name)


def problems(histories: Iterable[History], log: Sequence[Event], writes: Writes) -> list[str]:
    """Everything that is not as it was promised; [] where all is."""
    found = _of_writes(log, writes)
    for history in histories:
        found += [f"{history.name}: {problem}" for problem in _of_one(history, log)]
    return found


def _of_writes(log: Sequence[Event], writes: Writes) -> list[str]:
    positions = [event.position for event in log]
    counts = Counter(event.name for event in log if event.kind == "dataset.created")
    found = [f"{name} was acknowledged, and is there {counts[name]} times" for name in writes.acknowledged if counts[name] != 1]
    found += [f"{name} was sent once, and is there {counts[name]} times" for name in writes.unknown if counts[name] > 1]
    if positions != sorted(set(positions)):
        found.append("the log itself is not in order")
    return found


def _of_one(history: History, log: Sequence[Event]) -> list[str]:
    found: list[str] = []
    told = history.changes
    revisions = [change.revision for change in told]
    if revisions != sorted(revisions):
        found.append("not in order")
    if len(set(revisions)) != len(revisions):
        found.append(f"told twice: {sorted({one for one in revisions if revisions.count(one) > 1})[:5]}")
    wanted = {
        one.revision: one.change
        for event in log
        if history.start <= event.position <= history.position
        and (one := watching.sight(event))
        and history.wanted.matches(one)
    }
    if missing := sorted(set(wanted) - set(revisions)):
        found.append(f"left out: {missing[:5]} of {len(missing)}")
    if foreign := sorted(set(revisions) - set(wanted)):
        found.append(f"never happened, or not wanted: {foreign[:5]} of {len(foreign)}")
    found += [f"told otherwise than it was written: {one.revision}" for one in told if one != wanted.get(one.revision, one)]
    return found + _of_bookmarks(history)


def _of_bookmarks(history: History) -> list[str]:
    """A bookmark says that everything up to it was told: nothing at or below it comes later, nothing beyond it came before."""
    found, position = [], history.start - 1
    for bookmark, changes in history.answers:
        if bookmark < position:
            found.append(f"bookmark {bookmark} is behind {position}")
        found += [f"{one.revision} came after bookmark {position}" for one in changes if one.revision <= position]
        found += [f"{one.revision} came with bookmark {bookmark}" for one in changes if one.revision > bookmark]
        position = max(position, bookmark)
    return found
