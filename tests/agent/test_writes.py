"""Writes that nobody goes on with are dropped, and no others."""

from __future__ import annotations

import dataclasses
import io
from datetime import timedelta
from pathlib import Path

import pytest

from federation.adapters.system import ManualClock
from federation.agent import writes
from federation.wire import data
from tests.agent.federation import Federation, Place


@pytest.fixture
def place(held: Federation) -> Place:
    """A site whose agent's writes are judged by a clock that the test moves."""
    found = held.places["eu-1"]
    assert found.agent is not None
    clock = ManualClock(found.agent._clock.now())
    found.agent._writer._clock = clock
    found.agent._writer._activity = writes._Activity(clock)
    return found


def begun(held: Federation) -> data.VersionWriter:
    """A person's write at eu-1 with one file."""
    held.client.put("sales/flights", Path(__file__), site="eu-1")
    access = held.client.open_write("sales/flights", "eu-1")
    writer = data.VersionWriter(held.gateway(access), audience=data.grant_audience(access.grant))
    writer.put_file("a.bin", io.BytesIO(b"content"))
    return writer


def test_a_write_that_nobody_goes_on_with_is_dropped(held: Federation, place: Place) -> None:
    """An hour after the last file, with all that it stored."""
    writer = begun(held)
    agent = place.agent
    assert agent is not None
    agent._writer.sweep()
    assert len(place.objects("objects/")) == 2
    agent._writer._clock.advance(writes.ABANDONED.total_seconds() + 60)  # type: ignore[attr-defined]
    agent._writer.sweep()
    assert len(place.objects("objects/")) == 1
    with pytest.raises(Exception, match="WRITE_CLOSED"):
        writer.complete()


def test_a_long_upload_is_not_taken_for_an_abandoned_one(held: Federation, place: Place) -> None:
    """Each file counts as a sign of life."""
    writer = begun(held)
    agent = place.agent
    assert agent is not None
    for number in range(3):
        agent._writer._clock.advance(writes.ABANDONED.total_seconds() - 60)  # type: ignore[attr-defined]
        agent._writer.sweep()
        writer.put_file(f"{number}.bin", io.BytesIO(b"more"))
    assert writer.complete().files == 4


def test_a_completed_write_whose_commit_was_not_heard_of_is_kept_if_it_was_made(held: Federation, place: Place) -> None:
    """The catalog is asked before anything is deleted."""
    writer = begun(held)
    version = writer.complete().version
    row = place.book.write(writer.write)
    assert row is not None
    with place.book._transaction() as db:  # as if the agent had died before it heard the answer
        db.execute("UPDATE writes SET state = 'COMPLETE', committed = '' WHERE write = ?", (writer.write,))
    assert place.agent is not None
    place.agent._writer.drop(writer.write)
    assert place.book.write(writer.write) == dataclasses.replace(row, committed=version)
    assert held.findings() == []


def test_a_completed_write_that_was_never_committed_is_dropped_with_its_manifest(held: Federation, place: Place) -> None:
    """Nothing names it."""
    writer = begun(held)
    before = place.objects("manifests/")
    agent = place.agent
    assert agent is not None
    row = place.book.write(writer.write)
    assert row is not None
    agent._writer.complete(row)
    assert len(place.objects("manifests/")) == len(before) + 1
    writer.abort()
    assert place.objects("manifests/") == before
    assert held.findings() == []


def test_an_answer_to_a_repeated_question_is_kept_for_a_day(held: Federation, place: Place) -> None:
    """Then the journal forgets the write, and the version stays."""
    writer = begun(held)
    writer.complete()
    agent = place.agent
    assert agent is not None
    agent._writer._clock.advance((writes.REMEMBERED + timedelta(minutes=1)).total_seconds())  # type: ignore[attr-defined]
    agent._writer.sweep()
    assert place.book.write(writer.write) is None
    assert held.findings() == []
