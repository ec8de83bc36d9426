"""What identifiers and clocks promise, real and repeatable ones alike."""

from __future__ import annotations

import re
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from federation import ports
from federation.adapters import system
from federation.adapters.system import ManualClock, SeededIds, SystemClock, UlidIds


@pytest.mark.parametrize("ids", [UlidIds(), SeededIds(7)], ids=["ulid", "seeded"])
def test_ids_are_unique_sort_by_age_and_keep_to_their_form(ids: ports.Ids) -> None:
    """Prefix, dash, 26 characters of lower-case Crockford base 32; later ones sort later, many in one millisecond too."""
    made = [ids.new("j") for _ in range(5000)]
    assert made == sorted(set(made))
    assert all(re.fullmatch(r"j-[0-7][0-9a-hjkmnp-tv-z]{25}", one) for one in made)


def test_ids_of_many_threads_are_unique() -> None:
    """One maker serves them all."""
    ids = UlidIds()
    with ThreadPoolExecutor(8) as pool:
        made = [one for batch in pool.map(lambda _: [ids.new("x") for _ in range(500)], range(8)) for one in batch]
    assert len(set(made)) == 4000


def test_ids_go_forward_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """A corrected clock does not make new things look old."""
    ids = UlidIds()
    first = ids.new("j")
    monkeypatch.setattr(system.time, "time_ns", lambda: 0)
    assert ids.new("j") > first


def test_a_forked_child_makes_ids_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it begins with its parent's memory, and even when time stands still."""
    parent, child = UlidIds(), UlidIds()
    parent.new("j")
    child._last = parent._last
    monkeypatch.setattr(system.time, "time_ns", lambda: 0)
    assert parent.new("j") != child.new("j")


def test_a_seed_gives_the_same_ids_again() -> None:
    """And another seed gives others."""
    assert [SeededIds(1).new("j") for _ in range(2)] == [SeededIds(1).new("j")] * 2
    assert SeededIds(1).new("j") != SeededIds(2).new("j")


def test_clocks_tell_utc() -> None:
    """The manual one moves only when it is told to."""
    assert SystemClock().now().tzinfo is UTC
    clock = ManualClock(datetime(2026, 1, 1, 1, tzinfo=UTC))
    assert clock.now() == clock.now()
    assert clock.advance(1.5) == clock.now() == datetime(2026, 1, 1, 1, tzinfo=UTC) + timedelta(seconds=1.5)
