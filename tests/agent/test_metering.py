"""What leaves is counted before it leaves, in quanta that survive a crash."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.agent import journal
from federation.agent import metering as meters
from federation.core import errors, grants
from federation.core.metering import Usage

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
QUANTUM = 1000


def grant(name: str = "a-1", *, bytes_max: int = 0, attempt: int = 1, job: str = "j-1") -> grants.Grant:
    """A read grant of a run."""
    return grants.Grant(
        grant=name,
        access=grants.Access.READ,
        subject="users/ada",
        site="eu-1",
        version="sales/flights@1",
        run=f"jobs/{job}/runs/{attempt}",
        attempt=attempt,
        bytes_max=bytes_max,
        issue_time=NOW,
        expire_time=NOW + timedelta(hours=1),
    )


class Site:
    """A meter over a journal on disk, that can die and come back; `told` is what the catalog heard."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.told: list[Usage] = []
        self.failing: list[errors.FederationError] = []
        self.begin()

    def begin(self) -> None:
        """As a new process begins."""
        self.book = journal.Journal(self.path)
        self.meter = meters.Meter(self.book, site="eu-1", quantum_bytes=QUANTUM, settle=self.settle, now=lambda: NOW)

    def crash(self) -> None:
        """As a killed process leaves it: nothing in memory is written."""
        self.book.close()
        self.begin()

    def settle(self, usage: Usage) -> None:
        """The catalog."""
        if self.failing:
            raise self.failing.pop()
        self.told.append(usage)

    def send(self, given: grants.Grant, *sizes: int) -> None:
        """Sends pieces of these sizes in one stream."""
        account = self.meter.open(given, b"token")
        for _ in self.meter.send(account, [b"x" * size for size in sizes]):
            pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    """A fresh site."""
    made = Site(tmp_path / "agent.db")
    yield made
    made.book.close()


def test_what_was_sent_is_what_is_settled(site: Site) -> None:
    """To the byte, with the number of requests, and nothing unsettled when nobody died."""
    site.send(grant(), 10, 990, 500)
    site.send(grant(), 7)
    usage = site.meter.settle("a-1")
    assert usage is not None
    assert (usage.sent_bytes, usage.unsettled_bytes, usage.requests) == (1507, 0, 2)
    assert site.told == [usage]


def test_a_quantum_is_on_disk_before_its_bytes_leave(site: Site) -> None:
    """At each piece that is handed on, the journal has allowed at least what has left."""
    account = site.meter.open(grant(), b"token")
    sent = 0
    for piece in site.meter.send(account, [b"x" * 300] * 20):
        sent += len(piece)
        row = site.book.grant("a-1")
        assert row is not None
        assert row.granted_bytes >= sent


def test_a_crash_hides_nothing(site: Site) -> None:
    """What was allowed and not counted is unsettled, and charged."""
    site.send(grant(), 2500)
    site.crash()
    usage = site.meter.settle("a-1")
    assert usage is not None
    assert usage.charged_bytes >= 2500
    assert usage.unsettled_bytes == usage.charged_bytes - usage.sent_bytes


def test_counters_go_on_after_a_crash(site: Site) -> None:
    """What is read after a restart is counted on top, and the unsettled bytes stay as they are."""
    site.send(grant(), 400)
    site.crash()
    row = site.book.grant("a-1")
    assert row is not None
    unsettled = row.unsettled_bytes
    site.send(grant(), 5000)
    usage = site.meter.settle("a-1")
    assert usage is not None
    assert (usage.sent_bytes - row.counted_bytes, usage.unsettled_bytes) == (5000, unsettled)


def test_a_rested_account_leaves_nothing_unsettled_in_a_crash(site: Site) -> None:
    """Folding twice without a read between gives the rest of the quantum back."""
    site.send(grant(), 400)
    site.meter.fold()
    site.meter.fold()
    site.crash()
    usage = site.meter.settle("a-1")
    assert usage is not None
    assert (usage.sent_bytes, usage.unsettled_bytes) == (400, 0)


def test_a_budget_stops_the_stream_before_it_is_passed(site: Site) -> None:
    """The refusal tells both numbers; what had left before is counted."""
    with pytest.raises(errors.ResourceExhausted) as refused:
        site.send(grant(bytes_max=1000), 600, 400, 1)
    assert refused.value.reason == "BUDGET_EXHAUSTED"
    assert "1000" in refused.value.message
    usage = site.meter.settle("a-1")
    assert usage is not None
    assert usage.sent_bytes == 1000


def test_a_budget_does_not_grant_more_than_it_has(site: Site) -> None:
    """A crash under a small budget leaves no more unsettled than the budget."""
    site.send(grant(bytes_max=300), 200)
    site.crash()
    usage = site.meter.settle("a-1")
    assert usage is not None
    assert usage.charged_bytes <= 300


def test_a_later_attempt_closes_the_one_before(site: Site) -> None:
    """Also in the middle of its stream."""
    account = site.meter.open(grant(), b"token")
    stream = site.meter.send(account, [b"x" * 10] * 3)
    assert next(stream)
    site.meter.open(grant("a-2", attempt=2), b"token")
    with pytest.raises(errors.FailedPrecondition) as refused:
        next(stream)
    assert refused.value.reason == "GRANT_CLOSED"


def test_a_superseded_attempt_is_refused_after_a_restart(site: Site) -> None:
    """The journal remembers which attempts have shown up."""
    site.meter.open(grant("a-2", attempt=2), b"token")
    site.crash()
    with pytest.raises(errors.FailedPrecondition) as refused:
        site.meter.open(grant("a-1", attempt=1), b"token")
    assert refused.value.reason == "GRANT_CLOSED"


def test_grants_of_one_attempt_live_beside_each_other(site: Site) -> None:
    """A run has one for each input."""
    site.send(grant("a-1"), 10)
    site.send(grant("a-2"), 10)
    site.send(grant("a-1"), 10)


def test_a_settled_grant_opens_nothing(site: Site) -> None:
    """Neither in this process nor in the next."""
    site.send(grant(), 10)
    site.meter.settle("a-1")
    for _ in range(2):
        with pytest.raises(errors.FailedPrecondition) as refused:
            site.send(grant(), 10)
        assert refused.value.reason == "GRANT_CLOSED"
        site.crash()


def test_settling_twice_tells_once(site: Site) -> None:
    """The first word counts."""
    site.send(grant(), 10)
    assert site.meter.settle("a-1") == site.meter.settle("a-1")
    assert len(site.told) == 1
    assert site.meter.settle("unknown") is None


def test_a_catalog_that_is_away_is_told_later(site: Site) -> None:
    """The account is final at once, and told when the catalog answers, also after a crash."""
    site.send(grant(), 10)
    site.failing.append(errors.Unavailable("away"))
    with pytest.raises(errors.Unavailable):
        site.meter.settle("a-1")
    with pytest.raises(errors.FailedPrecondition):
        site.send(grant(), 10)
    site.crash()
    assert site.meter.open_grants() == ("a-1",)
    site.meter.settle("a-1")
    assert [usage.sent_bytes for usage in site.told] == [10]
    assert site.meter.open_grants() == ()


def test_a_refusal_for_good_keeps_nobody_else_from_settling(site: Site) -> None:
    """A catalog that does not know the grant is not asked for ever."""
    site.send(grant(), 10)
    site.failing.append(errors.NotFound("no such grant"))
    site.meter.settle("a-1")
    assert site.meter.open_grants() == ()


def test_a_grant_under_which_nothing_was_read_is_settled_too(site: Site) -> None:
    """Zero is a fact."""
    usage = site.meter.close(grant(), b"token")
    assert (usage.sent_bytes, usage.requests) == (0, 0)
    assert site.told == [usage]


def test_threads_share_one_account_without_losing_a_byte(site: Site) -> None:
    """Many streams of one run read under the same grant."""
    threads = [threading.Thread(target=site.send, args=(grant(), *[37] * 100)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    usage = site.meter.settle("a-1")
    assert usage is not None
    assert (usage.sent_bytes, usage.requests) == (6 * 3700, 6)


@given(steps=st.lists(st.one_of(st.integers(min_value=1, max_value=4000), st.sampled_from(["crash", "fold"])), max_size=12))
def test_no_order_of_reads_and_crashes_charges_less_than_left(
    tmp_path_factory: pytest.TempPathFactory, steps: list[int | str]
) -> None:
    """Whatever happens when: what is charged covers what left, by at most a quantum for each crash more."""
    made = Site(tmp_path_factory.mktemp("meter") / "agent.db")
    for step in steps:
        if isinstance(step, int):
            made.send(grant(), step)
        elif step == "fold":
            made.meter.fold()
        else:
            made.crash()
    usage = made.meter.settle("a-1")
    made.book.close()
    left = sum(step for step in steps if isinstance(step, int))
    charged = usage.charged_bytes if usage else 0
    assert left <= charged <= left + QUANTUM * steps.count("crash")
