"""Reading through a gateway: the right bytes, few calls, no byte twice, and an error with its reason when something is off."""

from __future__ import annotations

import contextlib
import io
import pickle
import random
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.client import preview
from federation.core import errors
from federation.crypto import container
from federation.wire import data, pauses, readahead
from federation.wire.gateway import GatewayClient
from federation.wire.readahead import FileReader
from tests import wan
from tests.agent.federation import until
from tests.worker import gateway_stub

MB = 1_000_000
CONTENT = random.Random(1).randbytes(6 * MB)


def opened(gateway, files=None):
    """A version with those files."""
    gateway.stub.add_input("flights", "sales/flights@3", files or {"a.bin": CONTENT})
    return data.open_version(gateway.client, audience=data.run_audience(gateway_stub.RUN), input="flights")


class Plain:
    """A source in memory that counts what is asked of it."""

    def __init__(self, content: bytes) -> None:
        self.content = content
        self.size = len(content)
        self.asked: list[tuple[int, int]] = []

    def read_into(self, offset, target):
        self.asked.append((offset, len(target)))
        target[:] = self.content[offset : offset + len(target)]
        return len(target)


class Away:
    """A source that answers once it is back."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.back = threading.Event()

    def read_into(self, offset, target):
        del offset
        self.back.wait()
        return len(target)


@given(
    size=st.integers(0, 9 * MB),
    reads=st.lists(st.tuples(st.sampled_from(["seek", "read", "readinto"]), st.integers(0, 5 * MB)), max_size=12),
    delay=st.sampled_from([0.0, 0.25]),
)
def test_any_reads_give_what_a_file_gives(size, reads, delay):
    """Whatever is read in whatever order, near or from afar, a FileReader and a BytesIO agree."""
    content = random.Random(size).randbytes(size)
    reader, plain = FileReader(Plain(content), delay=lambda: delay), io.BytesIO(content)
    with reader:
        for what, number in reads:
            if what == "seek":
                assert reader.seek(number % (size + 1)) == plain.seek(number % (size + 1))
            elif what == "read":
                assert reader.read(number) == plain.read(number)
            else:
                mine, theirs = bytearray(number), bytearray(number)
                assert reader.readinto(mine) == plain.readinto(theirs)
                assert mine == theirs
        assert reader.tell() == plain.tell()


@pytest.mark.parametrize("piece", [4096, 65_536, MB, 3 * MB])
def test_reading_from_front_to_back_fetches_every_byte_once(piece):
    """Reading ahead costs nothing: who reads all is billed for all, once."""
    source = Plain(CONTENT)
    with FileReader(source) as reader:
        assert b"".join(iter(lambda: reader.read(piece), b"")) == CONTENT
    assert sum(length for _, length in source.asked) == len(CONTENT)


@pytest.mark.parametrize(("delay", "blocks"), [(0.0, 2), (0.25, 6)])
def test_from_afar_more_is_asked_for_ahead_but_never_more_than_twice_what_was_read(delay, blocks):
    """A line is filled for a reader that has shown to go on; one that stops early has not paid for a line full of data."""
    source = Plain(random.Random(2).randbytes(20 * MB))
    with FileReader(source, delay=lambda: delay) as reader:
        reader.read(readahead.BLOCK_BYTES_MIN)
        reader.read(1)
        read, ahead = reader._ahead._next, [block.stop - block.start for block in reader._ahead._coming]
        assert len(ahead) <= blocks
        assert sum(ahead) <= max(2 * read, readahead.BLOCKS_AHEAD * reader._ahead._block_bytes)
        if delay:
            assert sum(ahead) > readahead.BLOCKS_AHEAD * readahead.BLOCK_BYTES_MIN


@pytest.mark.parametrize("leave", [FileReader.close, lambda reader: reader.seek(-1, io.SEEK_END) and reader.read(1)])
def test_what_nobody_waits_for_any_more_is_given_up(leave):
    """A reader that is closed, or jumps, leaves no thread behind that asks a gateway for minutes, and lets its process end."""

    class Gone(Plain):
        def read_into(self, offset, target):
            return pauses.persistent(self.fail) if MB < offset < 8 * MB else super().read_into(offset, target)

        def fail(self):
            raise errors.Unavailable("restarting")

    with FileReader(Gone(random.Random(4).randbytes(9 * MB))) as reader:
        reader.read(readahead.ALIGNMENT)
        coming = [block.data for block in reader._ahead._coming]
        leave(reader)
        assert coming
        until(lambda: all(each.done() for each in coming))


@pytest.mark.parametrize("delay", [0.0, 0.25])
@pytest.mark.parametrize("piece", [65_536, 18 * MB])
def test_a_source_that_is_away_keeps_no_other_waiting(delay, piece):
    """Its readers wait for it for minutes, each with a thread that fetches ahead; readers of others do without."""
    away, content = Away(200 * MB), random.Random(3).randbytes(20 * MB)
    many = 2 * max(readahead.THREADS, readahead.FAR_THREADS)
    with ThreadPoolExecutor(1) as someone, contextlib.ExitStack() as held:
        held.callback(away.back.set)
        for _ in range(many):
            abandoned = held.enter_context(FileReader(away, delay=lambda: delay))
            abandoned._ahead._ask_ahead(0)
        with FileReader(Plain(content), delay=lambda: delay) as reader:
            got = someone.submit(lambda: b"".join(iter(lambda: reader.read(piece), b""))).result(timeout=60)
    assert got == content


def test_a_jump_fetches_the_chunks_that_it_touches_and_no_more():
    """A reader of columns pays for its columns."""
    source = Plain(CONTENT)
    with FileReader(source) as reader:
        reader.seek(3 * MB)
        assert reader.read(10) == CONTENT[3 * MB : 3 * MB + 10]
    assert source.asked == [(3 * MB - 3 * MB % readahead.ALIGNMENT, readahead.ALIGNMENT)]


def test_read_at_is_safe_for_threads():
    """Many threads read one file at once."""
    offsets = [random.Random(n).randrange(len(CONTENT)) for n in range(200)]
    with FileReader(Plain(CONTENT)) as reader, ThreadPoolExecutor(8) as threads:
        got = list(threads.map(lambda offset: reader.read_at(offset, 70_000), offsets))
    assert got == [CONTENT[offset : offset + 70_000] for offset in offsets]


def test_lines_and_text_are_read(gateway):
    """What wraps a binary file wraps this one."""
    text = "".join(f"line {n}\n" for n in range(20_000))
    version = opened(gateway, {"a.txt": text.encode()})
    with version.open("a.txt") as reader:
        assert list(io.TextIOWrapper(reader, encoding="utf-8")) == text.splitlines(keepends=True)
    with version.open("a.txt") as reader:
        assert reader.readline() == b"line 0\n"
        assert next(iter(reader)) == b"line 1\n"


def test_a_whole_file_costs_its_object_once(gateway):
    """Header, tail and chunks are each fetched once: a budget of the object's bytes is enough."""
    version = opened(gateway)
    with version.open("a.bin") as reader:
        assert reader.read() == CONTENT
    assert sum(length for _, length in gateway.stub.ranges) == version.entry("a.bin").object_bytes


def test_opening_a_file_again_fetches_nothing_again(gateway):
    """Libraries open files many times; header and end stay."""
    version = opened(gateway)
    for _ in range(5):
        with version.open("a.bin") as reader:
            reader.seek(-8, io.SEEK_END)
            assert reader.read() == CONTENT[-8:]
    assert len(gateway.stub.ranges) == 2


def test_a_small_file_is_one_call(gateway):
    """Thousands of small files take thousands of calls, not three times as many."""
    version = opened(gateway, {"small": b"hello"})
    assert version.open("small").read() == b"hello"
    assert len(gateway.stub.ranges) == 1


def test_an_empty_file_is_empty(gateway):
    """Nothing is also something that authenticates."""
    assert opened(gateway, {"empty": b""}).open("empty").read() == b""


def test_a_gateway_that_goes_away_is_asked_again_from_where_it_stopped(gateway):
    """An UNAVAILABLE in the middle of a stream costs what was not received, and no error."""
    version = opened(gateway)
    failures = iter([False, True, False, False, True, *[False] * 100])

    def fault(method):
        if method == "ReadObject.piece" and next(failures):
            raise errors.Unavailable("restarting")

    gateway.stub.fault = fault
    with version.open("a.bin") as reader:
        assert reader.read() == CONTENT


def test_a_line_that_breaks_loses_nothing_and_nothing_is_received_twice(gateway):
    """Far away, with connections reset in the middle of their streams: the file is whole, and so is the count of what came."""
    opened(gateway)
    received = preview.Tally()
    with (
        wan.far_away(gateway.target, rtt_seconds=0.03, jitter_seconds=0.005, bytes_per_second=16 * MB) as relay,
        contextlib.closing(GatewayClient(relay.address, gateway.ca, token=gateway.stub.token)) as client,
    ):
        version = data.open_version(client, audience=data.run_audience(gateway_stub.RUN), input="flights", counts=received)
        with version.open("a.bin") as reader:
            content = b""
            for cut in (True, True, False):
                content += reader.read(MB)
                if cut:
                    relay.cut()
            content += reader.read()
    assert content == CONTENT
    assert received.received == version.entry("a.bin").object_bytes


def test_a_swapped_object_is_refused(gateway):
    """Another file's ciphertext under this file's name opens nothing."""
    version = opened(gateway, {"a": b"a" * 100_000, "b": b"b" * 100_000})
    one, other = version.entry("a"), version.entry("b")
    gateway.stub.store._objects[key(gateway, one)] = gateway.stub.store._objects[key(gateway, other)]
    with pytest.raises(errors.DataCorrupt) as refused:
        version.open("a").read()
    assert refused.value.reason == "OBJECT_SWAPPED"


@pytest.mark.parametrize("where", [0.0, 0.5, 0.999])
def test_a_flipped_bit_is_found_wherever_it_is(gateway, where):
    """No changed byte reaches the caller."""
    version = opened(gateway)
    name = key(gateway, version.entry("a.bin"))
    sealed = bytearray(gateway.stub.store._objects[name])
    sealed[int(len(sealed) * where)] ^= 1
    gateway.stub.store._objects[name] = bytes(sealed)
    with pytest.raises(errors.DataCorrupt):
        version.open("a.bin").read()


def test_a_truncated_object_is_refused(gateway):
    """The last chunk is authenticated before anything is returned."""
    version = opened(gateway)
    name = key(gateway, version.entry("a.bin"))
    gateway.stub.store._objects[name] = gateway.stub.store._objects[name][: -container.SEALED_CHUNK]
    with pytest.raises(errors.DataCorrupt) as refused:
        version.open("a.bin").read(10)
    assert refused.value.reason == "OBJECT_TRUNCATED"


def test_a_manifest_that_was_tampered_with_is_refused(gateway):
    """Neither its bytes nor its dataset can be exchanged, and a pinned digest is compared."""
    opened(gateway)
    audience = data.run_audience(gateway_stub.RUN)
    with pytest.raises(errors.DataCorrupt) as refused:
        data.open_version(gateway.client, audience=audience, input="flights", manifest_digest="0" * 64)
    assert refused.value.reason == "MANIFEST_INVALID"


def test_keys_are_sealed_for_this_run_alone(gateway):
    """The same answer, heard by another run, opens nothing."""
    opened(gateway)
    with pytest.raises(errors.Unauthenticated) as refused:
        data.open_version(gateway.client, audience=data.run_audience("jobs/j-other/runs/1"), input="flights")
    assert refused.value.reason == "SEAL_INVALID"


def test_nothing_secret_is_in_a_repr(gateway):
    """Neither token nor key shows where objects are printed."""
    version = opened(gateway)
    shown = repr(version) + repr(gateway.client) + repr(version.open("a.bin"))
    assert gateway.stub.token not in shown
    assert all(dek.hex() not in shown and repr(dek) not in shown for dek in version.deks.values())


def test_a_client_travels(gateway):
    """A pickled client calls the same gateway from another process."""
    opened(gateway)
    again = pickle.loads(pickle.dumps(gateway.client))
    assert data.open_version(again, audience=data.run_audience(gateway_stub.RUN), input="flights").version == "sales/flights@3"
    again.close()


def key(gateway, entry):
    """Where a file's object lies."""
    from federation.crypto import layout

    return layout.object_key(gateway.stub.uid, entry.generation, entry.object_id)


@pytest.mark.parametrize("size", [0, 1, 127, 128, 16_383, 16_384, 2_097_152])
def test_pieces_are_read_as_the_contract_says(size):
    """The short way through a message gives what parsing it gives, for lengths of every width."""
    from federation.v1 import gateway_pb2
    from federation.wire import gateway as gateways

    message = gateway_pb2.ReadObjectResponse(data=CONTENT[:size]).SerializeToString()
    assert bytes(gateways._data(message)) == CONTENT[:size]
    unknown_field = b"\x12\x01x"
    assert bytes(gateways._data(message + unknown_field)) == CONTENT[:size]
