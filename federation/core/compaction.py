"""Which small files of a table are put together next. Pure: files in, the files of one bounded step out.

Files of one day hold rows of their own stretch of positions. What is put together lies side by side in that order, so that the
result is sorted as well, and can be written while it is read. While a day is open its files grow by steps of some sixteen, so
that each row is written a few times and not once more with every commit; a day that is over comes to as few files as may be.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date

#: So many neighbours of one size class become one file.
FAN = 16
#: Upper bounds of the size classes, in bytes: a commit's file, sixteen of them, and so on.
CLASSES = (256 * 1024, 4 * 1024 * 1024, 64 * 1024 * 1024)
#: The most files, and bytes, of one step: appends share the processor with it.
STEP_FILES_MAX = 64
STEP_BYTES_MAX = 128 * 1024 * 1024


@dataclass(frozen=True, kw_only=True)
class DataFile:
    """One file of a table: the day of its rows, and their first position."""

    path: str
    day: date
    first: int
    rows: int
    bytes: int


def plan(files: Iterable[DataFile]) -> tuple[DataFile, ...]:
    """The files to be put together next, in order of position; none when all is well. All of one day."""
    by_day = itertools.groupby(sorted(files, key=lambda file: (file.day, file.first)), key=lambda file: file.day)
    days = [tuple(group) for _, group in by_day]
    if not days:
        return ()
    *over, today = days
    return _grown(today) or next((step for day in over if (step := _final(day))), ())


def _grown(day: tuple[DataFile, ...]) -> tuple[DataFile, ...]:
    """The first run of neighbours with enough files of one class; smaller ones among them go along."""
    for least, bound in itertools.pairwise((0, *CLASSES)):
        for small, run in itertools.groupby(day, key=lambda file, bound=bound: file.bytes < bound):  # type: ignore[misc]
            step = _bounded(tuple(run)) if small else ()
            if sum(file.bytes >= least for file in step) >= FAN:
                return step
    return ()


def _final(day: tuple[DataFile, ...]) -> tuple[DataFile, ...]:
    """The first neighbours that fit into one file. What is half as big as a file may be is left alone."""
    for small, run in itertools.groupby(day, key=lambda file: file.bytes < STEP_BYTES_MAX // 2):
        step = _bounded(tuple(run)) if small else ()
        if len(step) > 1:
            return step
    return ()


def _bounded(run: tuple[DataFile, ...]) -> tuple[DataFile, ...]:
    """As much of a run, from its beginning, as one step may take."""
    sums = itertools.accumulate(file.bytes for file in run)
    return tuple(file for file, total in zip(run[:STEP_FILES_MAX], sums, strict=False) if total <= STEP_BYTES_MAX)
