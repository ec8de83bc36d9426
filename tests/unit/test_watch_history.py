"""The check of histories finds each way in which a stream can lie: a checker that cannot fail proves nothing."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import pytest

from federation.core import records, watching
from federation.core.events import Event
from federation.core.watching import Change
from tests import builders
from tests.watch_history import History, Writes, problems

LOG = [
    Event(
        position=position,
        time=builders.NOW,
        kind="dataset.created",
        name=f"namespaces/sales/datasets/d{position}",
        actor="users/ada",
        request_id="",
        body=records.dumps(builders.dataset(f"sales/d{position}")),
    )
    for position in range(1, 10)
]


def history() -> History:
    """One that is as it should be: two streams, bookmarks between."""
    told = [one.change for event in LOG if (one := watching.sight(event))]
    answers = [(2, ()), (5, tuple(told[2:5])), (7, tuple(told[5:7])), (9, tuple(told[7:]))]
    return History(name="f", wanted=watching.parse('type = "datasets"'), start=3, answers=answers, streams=2)


def test_a_history_that_is_as_promised_has_no_problems() -> None:
    """And acknowledged writes are each in the log once."""
    assert problems([history()], LOG, Writes(acknowledged=[LOG[0].name], unknown=["namespaces/x/datasets/y"])) == []


def _without(one: History) -> None:
    one.answers[1] = (5, one.answers[1][1][1:])


def _twice(one: History) -> None:
    one.answers.insert(2, one.answers[1])


def _swapped(one: History) -> None:
    one.answers[1] = (5, one.answers[1][1][::-1])


def _invented(one: History) -> None:
    one.answers.append((11, (Change(revision=11, time=builders.NOW, kind="dataset.created", type="datasets", name="x"),)))


def _altered(one: History) -> None:
    bookmark, changes = one.answers[3]
    one.answers[3] = (bookmark, (dataclasses.replace(changes[0], name="other"), *changes[1:]))


def _bookmark_ahead(one: History) -> None:
    one.answers[0] = (6, ())


def _bookmark_behind(one: History) -> None:
    one.answers[2] = (6, one.answers[2][1])


@pytest.mark.parametrize(
    "spoil", [_without, _twice, _swapped, _invented, _altered, _bookmark_ahead, _bookmark_behind], ids=lambda f: f.__name__
)
def test_each_way_in_which_a_stream_can_lie_is_found(spoil: Callable[[History], None]) -> None:
    """Left out, twice, out of order, invented, altered, bookmarks that promise too much."""
    one = history()
    spoil(one)
    assert problems([one], LOG, Writes())


def test_an_acknowledged_write_that_is_gone_or_doubled_is_found() -> None:
    """The log is checked too."""
    assert problems([], LOG, Writes(acknowledged=["namespaces/sales/datasets/gone"]))
    assert problems([], [*LOG, dataclasses.replace(LOG[0], position=10)], Writes(unknown=[LOG[0].name]))
    assert problems([], [LOG[1], LOG[0]], Writes())
