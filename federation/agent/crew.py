"""A few threads that do many named things, step by step, the most urgent first."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

#: Does the next thing; returns the seconds until it is to be called again, None when nothing is left to do.
Step = Callable[[], float | None]

_JOIN_SECONDS = 10.0


@dataclass(kw_only=True)
class _Task:
    """One named thing. `again`: it was woken while it ran."""

    step: Step
    priority: int
    number: int
    due: float
    running: bool = False
    again: bool = False


class Crew:
    """Calls steps. Nothing of one name is done twice at the same time; a step does not raise."""

    def __init__(self, name: str, size: int) -> None:
        self._changed = threading.Condition()
        self._tasks: dict[str, _Task] = {}
        self._closing = False
        self._count = 0
        self._threads = [threading.Thread(target=self._work, name=f"{name} {n}", daemon=True) for n in range(size)]
        for thread in self._threads:
            thread.start()

    def wake(self, name: str, step: Step, *, priority: int = 0) -> None:
        """Has the thing's next step called as soon as may be, also where it waits or is being done."""
        with self._changed:
            self._count += 1
            task = self._tasks.setdefault(name, _Task(step=step, priority=priority, number=self._count, due=0.0))
            task.step, task.priority, task.due, task.again = step, priority, 0.0, task.running
            self._changed.notify()

    def stop(self) -> None:
        """Calls no more steps, and waits for those that are being done."""
        with self._changed:
            self._closing = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join(timeout=_JOIN_SECONDS)

    def _work(self) -> None:
        while (name := self._next()) is not None:
            pause = self._tasks[name].step()
            with self._changed:
                task = self._tasks[name]
                task.running = False
                if task.again:
                    task.again, task.due = False, 0.0
                elif pause is None:
                    del self._tasks[name]
                else:
                    task.due = time.monotonic() + pause
                self._changed.notify()

    def _next(self) -> str | None:
        with self._changed:
            while not self._closing:
                now = time.monotonic()
                idle = [(name, task) for name, task in self._tasks.items() if not task.running]
                due = [(-task.priority, task.number, name) for name, task in idle if task.due <= now]
                if due:
                    name = min(due)[2]
                    self._tasks[name].running = True
                    return name
                self._changed.wait(min((task.due - now for _, task in idle), default=None))
        return None
