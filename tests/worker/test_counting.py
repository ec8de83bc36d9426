"""What a process has received, by input and hour: equal to what was sent, told again whole, and never in the way."""

from __future__ import annotations

import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors
from federation.v1 import gateway_pb2
from federation.wire import counting, data, objects
from tests.worker import gateway_stub

MB = 1_000_000
CONTENT = random.Random(2).randbytes(5 * MB)
HOUR = 3600


class Gateway:
    """Takes reports; refuses as long as it is away."""

    def __init__(self) -> None:
        self.reports: list[tuple[str, int, list[gateway_pb2.ReadCount]]] = []
        self.away = False

    def send(self, reporter: str, sequence: int, counts: list[gateway_pb2.ReadCount]) -> None:
        if self.away:
            raise errors.Unavailable("away")
        self.reports.append((reporter, sequence, counts))


def totals(counts: list[gateway_pb2.ReadCount]) -> dict[tuple[str, int], tuple[int, int, int]]:
    """Whole bytes, aborted bytes and retries by input and hour."""
    return {(c.input, c.hour_seconds): (c.bytes, c.aborted_bytes, c.retries) for c in counts}


def test_each_report_has_all_totals_and_a_higher_number():
    """So that any of the earlier ones may be lost."""
    gateway = Gateway()
    counts = counting.Counts(gateway.send)
    counts.of("a").whole(HOUR + 5, 100)
    counts.tell()
    counts.of("a").aborted(HOUR + 6, 7, 93, retry=True)
    counts.of("b").whole(2 * HOUR, 1)
    counts.tell()
    counts.tell()  # nothing new
    (first, second) = gateway.reports
    assert (first[1], second[1]) == (1, 2)
    assert first[0] == second[0]
    assert totals(first[2]) == {("a", HOUR): (100, 0, 0)}
    assert totals(second[2]) == {("a", HOUR): (100, 7, 1), ("b", 2 * HOUR): (1, 0, 0)}


def test_what_a_gateway_that_is_away_was_not_told_is_in_the_next_report():
    """And nobody who reads sees an error of it."""
    gateway = Gateway()
    counts = counting.Counts(gateway.send)
    gateway.away = True
    counts.of("a").whole(HOUR, 100)
    counts.tell()
    gateway.away = False
    counts.tell()
    ((_, number, last),) = gateway.reports
    assert number == 2
    assert totals(last) == {("a", HOUR): (100, 0, 0)}


def test_what_changed_is_told_soon_by_itself():
    """A process that goes on living need not close anything."""
    gateway = Gateway()
    counting.Counts(gateway.send).of("a").whole(HOUR, 100)
    deadline = time.monotonic() + 30
    while not gateway.reports and time.monotonic() < deadline:
        time.sleep(0.02)
    assert gateway.reports


def test_a_fork_counts_for_itself(monkeypatch: pytest.MonkeyPatch):
    """What its parent has counted is its parent's to tell."""
    gateway = Gateway()
    counts = counting.Counts(gateway.send)
    counts.of("a").whole(HOUR, 100)
    counts.tell()
    monkeypatch.setattr(counting.os, "getpid", lambda: 0)
    counts.of("a").whole(HOUR, 5)
    counts.tell()
    (parent, child) = gateway.reports
    assert parent[0] != child[0]
    assert totals(child[2]) == {("a", HOUR): (5, 0, 0)}


@pytest.fixture
def counted(gateway):
    """A version whose reads are counted, with its counts."""
    gateway.stub.add_input("flights", "sales/flights@3", {"a.bin": CONTENT, "b.txt": b"short"})
    counts = counting.Counts(gateway.client.report_reads)
    opened = data.open_version(
        gateway.client, audience=data.run_audience(gateway_stub.RUN), input="flights", counts=counts.of("flights")
    )
    return gateway, opened, counts


def received(gateway) -> gateway_pb2.ReadCount:
    """All that the newest report says."""
    last = gateway.stub.reports[-1].counts
    names = [field.name for field in gateway_pb2.ReadCount.DESCRIPTOR.fields if field.name not in ("input", "hour_seconds")]
    return gateway_pb2.ReadCount(**{name: sum(getattr(count, name) for count in last) for name in names})


def test_what_is_received_whole_is_what_was_sent_whole(counted):
    """To the byte, for every kind of read: all of it, jumps, a small file, the same again."""
    gateway, opened, counts = counted
    for path in ("a.bin", "b.txt", "a.bin"):
        with opened.open(path) as file:
            file.read()
    with opened.open("a.bin") as file:
        for offset in (3 * MB, 17, 4 * MB):
            file.seek(offset)
            assert file.read(1000) == CONTENT[offset : offset + 1000]
    counts.tell()
    total = received(gateway)
    assert (total.bytes, total.responses) == (sum(gateway.stub.sent), len(gateway.stub.sent))
    assert total.bytes > 9 * MB  # the second time its ends are remembered


def test_small_reads_of_one_block_are_cached(counted):
    """The first of them fetches; the others cost no request."""
    gateway, opened, counts = counted
    with opened.open("a.bin") as file:
        for _ in range(10):
            file.read(100)
    counts.tell()
    assert received(gateway).cached_bytes == 900


def test_an_answer_that_breaks_off_is_aborted_and_its_rest_a_retry(counted):
    """What had come is used and counted apart; the second answer brings the rest, whole."""
    gateway, opened, counts = counted
    pieces = iter(range(100))

    def breaks(method: str) -> None:
        if method == "ReadObject.piece" and next(pieces) == 2:
            raise errors.Unavailable("restarting")

    gateway.stub.fault = breaks
    with opened.open("a.bin") as file:
        assert file.read() == CONTENT
    counts.tell()
    total = received(gateway)
    assert (total.retries, total.aborted_responses) == (1, 1)
    assert total.bytes == sum(gateway.stub.sent)
    (entry,) = (entry for entry in opened.manifest.files if entry.path == "a.bin")
    assert total.bytes + total.aborted_bytes == entry.object_bytes
    assert total.unreceived_bytes in gateway.stub.sent  # by the second answer


def test_an_answer_that_its_reader_breaks_off_tells_what_was_still_to_come(counted):
    """For the gateway may have sent all of it by then."""
    gateway, opened, counts = counted
    fetch = objects.ObjectFetch(gateway.client, "flights", opened.entry("a.bin"), counts.of("flights"))
    with fetch.streaming(0, 3 * MB):
        assert len(fetch(0, 10)) == 10
    counts.tell()
    total = received(gateway)
    assert (total.responses, total.aborted_responses) == (0, 1)
    assert 10 <= total.aborted_bytes < 3 * MB
    assert total.aborted_bytes + total.unreceived_bytes == 3 * MB


@given(sizes=st.lists(st.integers(0, 10**12), max_size=20), hours=st.lists(st.integers(0, 10**9), min_size=1, max_size=5))
def test_totals_are_the_sum_of_what_was_counted(sizes: list[int], hours: list[int]):
    """Whatever order they come in, each in its hour."""
    gateway = Gateway()
    counts = counting.Counts(gateway.send)
    for number, size in enumerate(sizes):
        counts.of("a").whole(hours[number % len(hours)], size)
    counts.tell()
    told = gateway.reports[-1][2] if gateway.reports else []
    assert sum(count.bytes for count in told) == sum(sizes)
    assert {count.hour_seconds for count in told} <= {hour - hour % HOUR for hour in hours}
