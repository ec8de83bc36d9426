"""Pauses of random length, so that those who failed together do not come back together."""

from __future__ import annotations

import random

#: Of the system, and so of each process its own after a fork; the state of the module `random` is left to the program.
_SYSTEM = random.SystemRandom()


def pause(longest: float, shortest: float = 0.0) -> float:
    """Seconds between the shortest and the longest, each as likely."""
    return _SYSTEM.uniform(shortest, longest)
