"""Turns: one of several servers does what one is enough for, and another goes on when it is gone."""

from __future__ import annotations

import pytest

from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import ManualClock, SeededIds
from federation.services.turns import SECONDS, Turns


@pytest.fixture
def clock() -> ManualClock:
    """One for all servers."""
    return ManualClock()


@pytest.fixture
def pair(clock: ManualClock) -> tuple[Turns, Turns]:
    """Two servers over one catalog."""
    catalog = MemoryCatalog(clock, SeededIds())
    return Turns(catalog, "one", ("sweep", "tell")), Turns(catalog, "other", ("sweep", "tell"))


def test_one_of_them_has_the_turn(pair: tuple[Turns, Turns]) -> None:
    """Whoever comes first; the other waits, however often it asks."""
    one, other = pair
    for _ in range(3):
        one.hold()
        other.hold()
    assert (one.held("sweep"), one.held("tell"), other.held("sweep"), other.held("tell")) == (True, True, False, False)


def test_a_turn_is_kept_as_long_as_its_holder_lives(pair: tuple[Turns, Turns], clock: ManualClock) -> None:
    """Renewed before it ends."""
    one, other = pair
    for _ in range(20):
        one.hold()
        other.hold()
        clock.advance(SECONDS / 2)
    assert (one.held("sweep"), other.held("sweep")) == (True, False)


def test_another_goes_on_when_its_holder_is_gone(pair: tuple[Turns, Turns], clock: ManualClock) -> None:
    """After the turn's time where it was killed, at once where it took leave; and it does not come back into its own."""
    one, other = pair
    one.hold()
    clock.advance(SECONDS)
    other.hold()
    one.hold()
    assert (one.held("sweep"), other.held("sweep")) == (False, True)
    other.release()
    one.hold()
    assert (one.held("sweep"), other.held("sweep")) == (True, False)


def test_looking_writes_nothing_while_nothing_is_due(clock: ManualClock) -> None:
    """A server that waits for its turn costs the others no turn of writing."""
    catalog = MemoryCatalog(clock, SeededIds())
    Turns(catalog, "one", ("sweep",)).hold()
    other = Turns(catalog, "other", ("sweep",))
    catalog.write = lambda *_, **__: pytest.fail("wrote")  # type: ignore[method-assign, assignment]
    other.hold()
