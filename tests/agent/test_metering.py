"""What leaves is counted before it leaves, in quanta that survive a crash."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.agent import journal, reads
from federation.agent import metering as meters
from federation.core import errors, grants, metering
from federation.core.metering import Usage
from federation.v1 import gateway_pb2

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

    def settle(self, usages: tuple[Usage, ...]) -> dict[str, errors.FederationError]:
        """The catalog."""
        error = self.failing.pop() if self.failing else None
        if isinstance(error, errors.Unavailable):
            raise error
        if error:
            return {usage.grant: error for usage in usages}
        self.told.extend(usages)
        return {}

    def send(self, given: grants.Grant, *sizes: int) -> None:
        """Sends pieces of these sizes in one stream."""
        account = self.meter.open(given, b"token")
        for _ in self.meter.send(account, [b"x" * size for size in sizes], size=sum(sizes)):
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
    for piece in site.meter.send(account, [b"x" * 300] * 20, size=6000):
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
    stream = site.meter.send(account, [b"x" * 10] * 3, size=30)
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
    assert usage is None or sum(hour.bytes + hour.aborted_bytes for hour in usage.traffic) == usage.sent_bytes
    made.book.close()
    left = sum(step for step in steps if isinstance(step, int))
    charged = usage.charged_bytes if usage else 0
    assert left <= charged <= left + QUANTUM * steps.count("crash")


# By the hour


def hours(usage: Usage | None) -> list[tuple[int, int, int, int]]:
    """What a settlement tells of its hours: bytes and answers that went whole, bytes and answers that ended early."""
    assert usage is not None
    return [(t.bytes, t.responses, t.aborted_bytes, t.aborted_responses) for t in usage.traffic]


def test_answers_that_went_whole_are_apart_from_those_that_ended_early(site: Site) -> None:
    """Both left and both are charged; only the whole ones can be held against what a reader received."""
    site.send(grant(), 10, 990)
    account = site.meter.open(grant(), b"token")
    broken = site.meter.send(account, [b"x" * 100] * 3, size=300)
    next(broken)
    next(broken)
    broken.close()
    for _ in site.meter.send(account, [], size=0):
        pass
    usage = site.meter.settle("a-1")
    assert hours(usage) == [(1000, 2, 200, 1)]
    assert usage is not None
    assert usage.sent_bytes == 1200


def test_an_answer_counts_in_the_hour_in_which_it_was_asked_for(site: Site) -> None:
    """Both sides then count it in the same one; a clock that is far off, or none, gives way to the gateway's own."""
    account = site.meter.open(grant(), b"token")
    begin = int(NOW.timestamp())
    for ask in (begin - 1, begin, begin + metering.ASK_SECONDS_MAX, 0, begin - 7200):
        for _ in site.meter.send(account, [b"x"], size=1, ask_seconds=ask):
            pass
    usage = site.meter.settle("a-1")
    assert usage is not None
    assert [(t.hour_time, t.bytes) for t in usage.traffic] == [(NOW - timedelta(hours=1), 1), (NOW, 4)]


def test_an_answer_that_a_crash_cut_off_ended_early(site: Site) -> None:
    """What is on disk says so already while it is under way."""
    account = site.meter.open(grant(), b"token")
    stream = site.meter.send(account, [b"x" * 600] * 5, size=3000)
    for _ in range(3):
        next(stream)
    site.crash()
    usage = site.meter.settle("a-1")
    assert usage is not None
    (hour,) = usage.traffic
    assert (hour.bytes, hour.aborted_responses) == (0, 1)
    assert hour.aborted_bytes == usage.sent_bytes
    assert usage.charged_bytes >= 1800


def test_many_grants_are_settled_in_one_call_and_one_refusal_is_its_own(site: Site) -> None:
    """Those that are not known here are left out."""
    for number in range(3):
        site.send(grant(f"a-{number}", job=f"j-{number}"), 10 + number)
    assert set(site.meter.settle_all(["a-0", "a-1", "a-2", "unknown"])) == {"a-0", "a-1", "a-2"}
    assert [usage.sent_bytes for usage in site.told] == [10, 11, 12]
    assert site.meter.open_grants() == ()


def report(*counts: tuple[str, int, int]) -> list[tuple[str, metering.Traffic]]:
    """A process's totals: grant, bytes and answers."""
    return [(g, metering.Traffic(hour_time=metering.hour(NOW), bytes=size, responses=n)) for g, size, n in counts]


@given(order=st.permutations(range(6)), lost=st.sets(st.integers(0, 4)), repeated=st.integers(0, 5))
def test_reports_may_be_lost_repeated_and_reordered(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], lost: set[int], repeated: int
) -> None:
    """As long as the last report of a process comes, its totals are known, whatever became of the others."""
    book = journal.Journal(tmp_path_factory.mktemp("reads") / "agent.db")
    for number in [n for n in order if n not in lost] + [repeated]:
        reads.keep(book, "p-1", number + 1, report(("a-1", 100 * (number + 1), number + 1)))
    reads.keep(book, "p-2", 1, report(("a-1", 7, 1)))
    (total,) = book.reads("a-1")
    book.close()
    assert (total.bytes, total.responses) == (607, 7)


def test_an_input_read_under_two_names_is_one_in_a_report(site: Site) -> None:
    """By alias and by dataset: both are of the same grant, and neither hides the other."""
    reads.keep(site.book, "p-1", 1, report(("a-1", 5, 1), ("a-1", 6, 1)))
    (total,) = site.book.reads("a-1")
    assert (total.bytes, total.responses) == (11, 2)


@pytest.mark.parametrize(
    "count",
    [
        gateway_pb2.ReadCount(input="a", hour_seconds=3600, bytes=-1),
        gateway_pb2.ReadCount(input="a", hour_seconds=3600, cached_bytes=2**60),
        gateway_pb2.ReadCount(input="a", hour_seconds=3601),
        gateway_pb2.ReadCount(input="a", hour_seconds=-3600),
    ],
)
def test_what_cannot_be_counted_is_refused(count: gateway_pb2.ReadCount) -> None:
    """Negative, absurd, or in no hour."""
    with pytest.raises(errors.InvalidArgument) as refused:
        reads.traffic(count)
    assert refused.value.reason == "REPORT_INVALID"


@pytest.mark.parametrize(("reporter", "sequence"), [("", 1), ("P", 1), ("../x", 1), ("p" * 65, 1), ("p", 0)])
def test_a_report_of_nobody_is_refused(site: Site, reporter: str, sequence: int) -> None:
    """And nothing of it is kept."""
    with pytest.raises(errors.InvalidArgument):
        reads.keep(site.book, reporter, sequence, report(("a-1", 5, 1)))
    assert site.book.reads("a-1") == ()
