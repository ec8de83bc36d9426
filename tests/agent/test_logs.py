"""A run's log keeps its beginning and its end, in bounds, and marks what lay between."""

from __future__ import annotations

import os
import re
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from federation.agent import logs

RUN = "jobs/j-1/runs/1"
_GAP = re.compile(rb"\n\.\.\. ([0-9]+) bytes were not kept \.\.\.\n")


def test_a_short_log_is_kept_whole(tmp_path: Path) -> None:
    """In order, over several appends."""
    log = logs.Logs(tmp_path, bytes_max=1000)
    log.append(RUN, b"one\n")
    assert log.append(RUN, b"two\n") == 8
    assert b"".join(log.stream(RUN)) == b"one\ntwo\n"
    assert b"".join(log.stream("jobs/j-2/runs/1")) == b""


def test_a_reader_goes_on_from_its_position(tmp_path: Path) -> None:
    """Nothing twice, nothing left out."""
    log = logs.Logs(tmp_path, bytes_max=1000)
    log.append(RUN, b"one\n")
    first, position = log.read(RUN, 0)
    log.append(RUN, b"two\n")
    second, position = log.read(RUN, position)
    assert (first, second, log.read(RUN, position)) == (b"one\n", b"two\n", (b"", position))


def test_a_log_survives_a_restart(tmp_path: Path) -> None:
    """It goes on where it was."""
    logs.Logs(tmp_path, bytes_max=100).append(RUN, b"x" * 250)
    log = logs.Logs(tmp_path, bytes_max=100)
    log.append(RUN, b"the end")
    kept = b"".join(log.stream(RUN))
    assert kept.startswith(b"x" * 50)
    assert kept.endswith(b"the end")


@given(pieces=st.lists(st.binary(min_size=1, max_size=300).map(lambda b: b.replace(b"\n", b"_")), max_size=20))
def test_what_is_kept_is_bounded_and_the_rest_is_counted(tmp_path_factory: object, pieces: list[bytes]) -> None:
    """The first half of the limit, at least the last quarter, and between them the number of bytes that are not there."""
    folder = tmp_path_factory.mktemp("logs")  # type: ignore[attr-defined]
    log = logs.Logs(folder, bytes_max=400)
    said = b"".join(pieces)
    kept_bytes = 0
    for piece in pieces:
        kept_bytes = log.append(RUN, piece)
    kept = b"".join(log.stream(RUN))
    gap = _GAP.search(kept)
    missing = int(gap[1]) if gap else 0
    whole = _GAP.sub(b"", kept)
    assert kept_bytes == len(whole) <= 400
    assert len(whole) + missing == len(said)
    assert said.startswith(whole[:200])
    assert said.endswith(whole[-100:])


def test_old_logs_and_runs_are_forgotten(tmp_path: Path) -> None:
    """What was printed long ago goes; what was printed since stays."""
    log = logs.Logs(tmp_path, bytes_max=1000)
    log.append("jobs/j-1/runs/1", b"old")
    log.append("jobs/j-2/runs/1", b"new")
    (old,) = [path for path in tmp_path.rglob("*.log") if path.read_bytes() == b"old"]
    os.utime(old, (1000, 1000))
    assert log.forget(2000) == 1
    assert log.forget(2000) == 0
    assert b"".join(log.stream("jobs/j-1/runs/1")) == b""
    assert b"".join(log.stream("jobs/j-2/runs/1")) == b"new"
