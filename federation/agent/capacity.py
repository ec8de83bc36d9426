"""What a site's cluster has, and what is used of it by others than this site's runs; looked up in a thread of its own."""

from __future__ import annotations

import dataclasses
import threading
from collections import Counter
from collections.abc import Callable, Iterable

from federation import ports
from federation.core import errors, job, site

#: Between two looks at a cluster that does not answer.
RETRY_SECONDS = 5.0

#: The runs that the site holds and what each of them has reserved, by name.
Own = dict[str, job.Resources]


class CapacityWatch:
    """Looks at a cluster now and then. A cluster that hangs must not cost the site its lease, so nobody waits for a look.

    What others use is only believed when two looks in a row saw it while the site's own runs were the same: a cluster's report
    lags a few seconds behind the start and the end of a run, and a site must not seem full with what it has just finished.
    """

    def __init__(self, compute: ports.Compute | None, own: Callable[[], Own], *, look_seconds: float = 10.0) -> None:
        self._compute = compute
        self._own = own
        self._look_seconds = look_seconds
        self._known = (site.Capacity(), "its cluster has not answered yet" if compute else "")
        self._before: tuple[Own, site.Capacity] | None = None
        self._looked = threading.Event()

    def refresh(self, closing: threading.Event) -> None:
        """Looks until `closing`; while the cluster does not answer, what was last known of it stays."""
        while self._compute is not None:
            try:
                self._known = (self.seen(self._compute.capacity()), "")
            except errors.Unavailable as error:
                self._known = (self._known[0], error.message[:1000])
            self._looked.set()
            if closing.wait(RETRY_SECONDS if self._known[1] else self._look_seconds):
                return

    def seen(self, capacity: site.Capacity) -> site.Capacity:
        """A fresh report, with what others use instead of what is used in all."""
        own = self._own()
        others = _of_others(capacity, own.values())
        before, self._before = self._before, (own, others)
        if before is None or before[0] != own:
            return dataclasses.replace(others, used_cpus=0, used_memory_bytes=0, used_gpus=())
        return _least(before[1], others)

    def look(self) -> tuple[site.Capacity, str]:
        """Capacity, and why the cluster does not answer, '' when it does."""
        return self._known

    def wait(self, seconds: float) -> None:
        """Returns when the first look is over, or after the time."""
        if self._compute is not None:
            self._looked.wait(seconds)


def _of_others(capacity: site.Capacity, own: Iterable[job.Resources]) -> site.Capacity:
    """What is used beyond what the site's runs have reserved.

    Of CPUs and memory nothing is told while a run of the site lives: its own tasks, such as Ray Data's, use more than it has
    reserved, and a cluster does not say whose they are.
    """
    held: Counter[str] = Counter()
    runs = tuple(own)
    for resources in runs:
        held[resources.gpu_type] += resources.gpus
    spare = held[""]
    used: dict[str, int] = {}
    for name, count in capacity.used_gpus:
        beyond = max(count - held[name] if name else count, 0)
        taken = min(beyond, spare)  # a run that takes any type may hold one of these
        spare -= taken
        if beyond > taken:
            used[name] = beyond - taken
    return dataclasses.replace(
        capacity,
        used_cpus=0 if runs else capacity.used_cpus,
        used_memory_bytes=0 if runs else capacity.used_memory_bytes,
        used_gpus=tuple(sorted(used.items())),
    )


def _least(before: site.Capacity, after: site.Capacity) -> site.Capacity:
    """What both reports agree is used."""
    seen = dict(before.used_gpus)
    gpus = {name: min(count, seen.get(name, 0)) for name, count in after.used_gpus}
    return dataclasses.replace(
        after,
        used_cpus=min(before.used_cpus, after.used_cpus),
        used_memory_bytes=min(before.used_memory_bytes, after.used_memory_bytes),
        used_gpus=tuple(sorted((name, count) for name, count in gpus.items() if count)),
    )
