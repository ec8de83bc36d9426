"""The uncaught error of ours that a job's process died of, written into a file for the launcher to report.

The launcher names a file in the entrypoint's environment. Each process that has dealings with the gateway writes there as it
ends, or clears what another has left, so that the last to end has the last word: an error that somebody caught is no reason.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from federation.core import errors

#: The name of the variable that holds the file's path.
VARIABLE = "FED_LAST_WORD"


class LastWord(NamedTuple):
    """An error's stable reason, and its message with what to do about it."""

    reason: str
    detail: str


def leave(variables: Mapping[str, str]) -> None:
    """Has this process leave its last word where its environment names a place for that; again changes nothing."""
    if variables.get(VARIABLE):
        _at_exit(variables[VARIABLE])


def read(path: Path) -> LastWord | None:
    """Reads what a process left; None where the file is missing or not of this module."""
    try:
        reason, detail = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, TypeError):
        return None
    return LastWord(str(reason), str(detail))


@functools.cache
def _at_exit(path: str) -> None:
    atexit.register(_write, Path(path))


def _write(path: Path) -> None:
    # The interpreter keeps here what nobody caught, whoever has replaced `sys.excepthook` meanwhile (Ray does).
    uncaught = getattr(sys, "last_value", None)
    ours = next((error for error in _causes(uncaught) if isinstance(error, errors.FederationError)), None)
    with contextlib.suppress(OSError):
        path.write_text(json.dumps([ours.reason, str(ours)]) if ours else "", encoding="utf-8")


def _causes(error: object) -> Iterator[BaseException]:
    """An exception and what it was raised from. Ray keeps as `cause` what was raised in a task of its own."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        one = waiting.pop(0)
        if isinstance(one, BaseException) and id(one) not in seen:
            seen.add(id(one))
            yield one
            waiting += [one.__cause__, getattr(one, "cause", None)]
