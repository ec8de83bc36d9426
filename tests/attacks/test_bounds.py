"""Too large, too many, too often; and files that end whoever reads them."""

from __future__ import annotations

import io
import json
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from federation import logs
from federation.agent import airlock
from federation.api.server import REQUEST_BYTES_MAX
from federation.cli.output import Output
from federation.client import Client
from federation.config import RateSettings
from federation.core import dataset, errors
from federation.core.screen import safe
from federation.v1 import catalog_pb2, gateway_pb2, jobs_pb2, lineage_pb2
from federation.wire import limits, methods
from federation.wire.rates import Buckets, Rates
from tests.agent.federation import Federation
from tests.wire import edge as edges


def refused(message: Any) -> errors.InvalidArgument:
    """How a request is refused for its size."""
    with pytest.raises(errors.InvalidArgument) as caught:
        limits.check(message)
    assert caught.value.violations
    return caught.value


# Sizes


def fields(descriptor: Any, seen: frozenset[str] = frozenset()) -> Iterator[Any]:
    """All fields of a message and of those in it."""
    for row in descriptor.fields:
        yield row
        if row.message_type is not None and row.message_type.full_name not in seen:
            yield from fields(row.message_type, seen | {row.message_type.full_name})


@pytest.mark.invariant("G3")
@pytest.mark.parametrize("row", methods.TABLE.values(), ids=lambda row: row.key)
def test_every_text_list_and_map_of_every_request_has_a_bound(row: methods.Method):
    """The bounds come from the descriptors, so that a new field has one before anybody has thought of it."""
    for each in fields(row.request.DESCRIPTOR):
        assert 0 < limits.elements(each) <= 1_000_000
        if each.type in (each.TYPE_STRING, each.TYPE_BYTES):
            assert 0 < limits.bound(each) <= limits.DATA_BYTES_MAX


def test_every_exception_names_a_field_that_is_there():
    """A field that was renamed must not keep a bound that nobody sees."""
    names = {
        each.full_name.removeprefix("federation.v1.")
        for row in methods.TABLE.values()
        for each in fields(row.request.DESCRIPTOR)
    }
    assert set(limits.TEXTS) | set(limits.ELEMENTS) <= names


@pytest.mark.invariant("G3")
def test_a_long_text_a_long_list_and_many_lists_are_refused_by_name():
    """A megabyte of name, a million elements, and a hundred thousand spread over many lists."""
    long_ = catalog_pb2.GetDatasetRequest(name="a" * (1 << 20))
    assert refused(long_).reason == "FIELD_TOO_LARGE"
    assert refused(long_).violations.keys() == {"name"}
    many = jobs_pb2.CreateJobRequest(request=jobs_pb2.JobRequest(sites=["a"] * 1_000_000))
    assert refused(many).violations.keys() == {"request.sites"}
    spread = gateway_pb2.ReportLineageRequest(
        report=lineage_pb2.LineageReport(inputs=[{"alias": "x", "columns": ["a"] * 5_000} for _ in range(30)])
    )
    assert "elements with all other lists" in refused(spread).message
    map_ = jobs_pb2.CreateJobRequest(request=jobs_pb2.JobRequest(env={"A": "x" * (1 << 20)}))
    assert refused(map_).violations.keys() == {"request.env"}


@pytest.mark.invariant("G3")
def test_a_nul_in_a_text_is_refused_however_small_the_request():
    """It ends a text in C, and PostgreSQL keeps it in none."""
    assert refused(catalog_pb2.GetDatasetRequest(name="a\0b")).reason == "TEXT_INVALID"


def test_what_has_more_by_name_passes():
    """A version of a million files may keep all but one of those before."""
    limits.check(gateway_pb2.CompleteWriteRequest(write="w-1", reused_paths=[f"{number}" for number in range(150_000)]))


def test_a_small_request_is_not_walked():
    """What every call pays is the request's length and a look for NULs: well under ten microseconds."""
    request = catalog_pb2.GetDatasetRequest(name="namespaces/sales/datasets/flights")
    begun = time.thread_time()
    for _ in range(2_000):
        limits.check(request)
    assert (time.thread_time() - begun) / 2_000 < 200e-6  # a bound for a busy machine; measured: 1 us


@pytest.mark.invariant("G3")
def test_a_message_beyond_the_servers_bound_is_refused_by_grpc(shared_edge: edges.Edge):
    """Before it is decoded; the next call goes through."""
    huge = jobs_pb2.UploadPackageRequest(digest="0" * 64, data=bytes(REQUEST_BYTES_MAX + 1))
    with pytest.raises(grpc.RpcError) as caught:
        shared_edge.raw("Jobs.UploadPackage", huge)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert shared_edge.client().who_am_i().principal == "users/admin"


@pytest.mark.invariant("G3")
def test_a_deep_message_is_refused_and_the_server_goes_on(shared_edge: edges.Edge):
    """Nested a thousandfold, as no descriptor of ours can be: the decoder's own bound ends it."""
    deep = b""
    for _ in range(1_000):
        deep = b"\x0a" + _varint(len(deep)) + deep
    with shared_edge.channel("", agents=False) as channel, pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary("/federation.v1.Pipelines/CreatePipeline")(
            deep, timeout=30, metadata=[("authorization", f"Bearer {shared_edge.tokens['admin']}")]
        )
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "google" not in (caught.value.details() or "")
    assert shared_edge.client().who_am_i().principal == "users/admin"


def _varint(number: int) -> bytes:
    out = b""
    while number > 127:
        out += bytes([number & 127 | 128])
        number >>= 7
    return out + bytes([number])


@pytest.mark.invariant("G3")
@pytest.mark.parametrize(
    "text", ["[" * 100_000, '{"a":' * 100_000, '"' + "a" * 100, "1e" + "9" * 5_000, "NaN", "\ud800"], ids=lambda t: t[:8]
)
def test_deep_or_strange_json_is_a_refusal(shared_edge: edges.Edge, text: str):
    """In OpenLineage's events and in a job's runtime environment: never a crash."""
    event = text.encode("utf-8", "surrogatepass")
    with pytest.raises(errors.InvalidArgument):
        shared_edge.call("Lineage.ReceiveOpenLineage", lineage_pb2.ReceiveOpenLineageRequest(events=[event]))
    if "\ud800" not in text and len(text) < 60_000:
        request = jobs_pb2.JobRequest(entrypoint=["true"], runtime_env=text)
        with pytest.raises(errors.InvalidArgument):
            shared_edge.call("Jobs.CreateJob", jobs_pb2.CreateJobRequest(request=request))


# Rates


@pytest.mark.invariant("G4")
def test_a_bucket_holds_its_burst_and_fills_again():
    """Ten at once, then two a second; who waits as long as is told gets through."""
    bucket = Buckets(2, 10)
    assert [bucket.take("ann", 100.0) for _ in range(10)] == [0.0] * 10
    wait = bucket.take("ann", 100.0)
    assert wait == pytest.approx(0.5)
    assert bucket.take("bob", 100.0) == 0.0
    assert bucket.take("ann", 100.0 + wait) == 0.0
    assert bucket.take("ann", 100.0 + wait) > 0
    assert [bucket.take("ann", 1e9) for _ in range(11)].count(0.0) == 10
    assert bucket.take("ann", 0.0) >= 0  # a clock that goes back fills nothing


@pytest.mark.invariant("G4")
def test_buckets_are_bounded_in_number(monkeypatch: pytest.MonkeyPatch):
    """A million names do not fill the memory; the one used last is kept."""
    monkeypatch.setattr("federation.wire.rates.BUCKETS_MAX", 100)
    bucket = Buckets(1, 1)
    for number in range(1_000):
        bucket.take(f"users/{number}", 0.0)
    assert len(bucket._levels) == 100
    assert bucket.take("users/999", 0.0) > 0


@pytest.mark.invariant("G4")
def test_people_and_agents_have_buckets_of_their_own():
    """What a person uses up is nobody else's."""
    rates = Rates(RateSettings(calls_per_second=1, burst=2, agent_calls_per_second=1, agent_burst=3), clock=lambda: 0.0)
    for who, machine, burst in (("users/ann", False, 2), ("agents/eu-1", True, 3)):
        for _ in range(burst):
            rates.spend(who, machine=machine)
        with pytest.raises(errors.RateLimited) as caught:
            rates.spend(who, machine=machine)
        assert (caught.value.reason, caught.value.passes) == ("RATE_LIMITED", True)
        assert caught.value.retry_seconds == pytest.approx(1.0, abs=0.01)


@pytest.mark.invariant("G4")
def test_strangers_are_held_off_by_place_and_friends_are_not():
    """After so many failures from one address nobody new is looked at; who was let in from there lately still is."""
    now = [0.0]
    rates = Rates(RateSettings(strangers_per_second=1, strangers_burst=3), clock=lambda: now[0])
    rates.welcome("ann's")
    for number in range(3):
        rates.knock("10.0.0.7", f"guess {number}")
        rates.failed("10.0.0.7", f"guess {number}")
    with pytest.raises(errors.ResourceExhausted):
        rates.knock("10.0.0.7", "guess 4")
    rates.knock("10.0.0.7", "ann's")
    rates.knock("10.0.0.8", "guess 4")
    with pytest.raises(errors.ResourceExhausted):
        rates.knock("10.0.0.7", "")
    rates.failed("10.0.0.7", "ann's")  # her token has ended: she is a stranger now
    with pytest.raises(errors.ResourceExhausted):
        rates.knock("10.0.0.7", "ann's")
    now[0] += 2.0
    rates.knock("10.0.0.7", "guess 4")


@pytest.fixture
def strict(certs: Any) -> Iterator[edges.Edge]:
    """A server with narrow limits."""
    from federation.adapters.catalog_memory import MemoryCatalog
    from federation.adapters.system import UlidIds

    narrow = RateSettings(calls_per_second=5, burst=10, strangers_per_second=1, strangers_burst=5)
    started = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()), rates=narrow)
    yield started
    started.stop()


@pytest.mark.invariant("G4")
def test_a_principal_that_calls_too_often_is_told_when_to_come_again(strict: edges.Edge):
    """RESOURCE_EXHAUSTED with RetryInfo; another principal is served meanwhile, and the SDK waits by itself."""
    whoami = methods.TABLE["Identity.WhoAmI"]

    def often() -> None:
        for _ in range(4_000):
            strict.call(whoami.key, whoami.request(), who="user")

    with pytest.raises(errors.ResourceExhausted) as caught:
        often()
    begun = time.monotonic()
    assert (caught.value.reason, caught.value.retry_seconds is not None) == ("RATE_LIMITED", True)
    assert strict.call(whoami.key, whoami.request(), who="admin").principal
    patient: Client = strict.client("user")
    for _ in range(4):
        assert patient.who_am_i().principal == "users/user"
    assert time.monotonic() - begun > 0.3
    patient.close()


@pytest.mark.invariant("G4")
def test_a_flood_of_wrong_tokens_is_not_looked_up_for_ever(strict: edges.Edge):
    """It hears RATE_LIMITED in place of TOKEN_INVALID; whoever has a good token and was here before is served."""
    whoami = methods.TABLE["Identity.WhoAmI"]
    assert strict.call(whoami.key, whoami.request(), who="admin").principal
    said = set()
    for number in range(1_200):  # so many as the machine needs to be faster than the limit
        try:
            strict.call(whoami.key, whoami.request(), who="", metadata=[("authorization", f"Bearer fed_{number}")])
        except errors.FederationError as error:
            said.add(error.reason)
        if "RATE_LIMITED" in said:
            break
    assert said == {"TOKEN_INVALID", "RATE_LIMITED"}
    assert strict.call(whoami.key, whoami.request(), who="admin").principal


def test_counting_a_call_costs_microseconds():
    """Of each call, whoever makes it."""
    rates = Rates(RateSettings(burst=10**9))
    begun = time.thread_time()
    for _ in range(5_000):
        rates.knock("10.0.0.7", "digest")
        rates.spend("users/ann")
    assert (time.thread_time() - begun) / 5_000 < 200e-6  # a bound for a busy machine; measured: 2 us


# The airlock


def footer(table: pa.Table) -> bytes:
    """The footer of a Parquet file."""
    sink = io.BytesIO()
    pq.write_table(table, sink)
    data = sink.getvalue()
    return data[-8 - int.from_bytes(data[-8:-4], "little") : -8]


@pytest.fixture(scope="module")
def glass() -> Iterator[airlock.Airlock]:
    """One that all tests look through."""
    made = airlock.Airlock()
    yield made
    made.close()


@pytest.mark.invariant("G6")
def test_a_footer_is_read_by_another_process(glass: airlock.Airlock):
    """Rows, names and types, as pyarrow itself tells them."""
    seen = glass.parquet(footer(pa.table({"a": [1, 2], "b": ["x", "y"]})))
    assert seen == airlock.Look(rows=2, columns=(("a", "int64"), ("b", "string")))
    assert glass.csv(b"x,y\n1,2.5\n") == airlock.Look(rows=-1, columns=(("x", "int64"), ("y", "double")))
    assert glass._process is not None
    assert glass._process.pid != os.getpid()


@pytest.mark.invariant("G6")
def test_damaged_footers_end_nobody(glass: airlock.Airlock):
    """Cut, flipped, made of anything: an answer or none, and the next good one is read."""
    good = footer(pa.table({f"c{number}": [1.5, None] for number in range(20)}))
    for at in range(0, len(good), 23):
        glass.parquet(good[:at])
        glass.parquet(good[:at] + bytes([good[at] ^ 0xFF]) + good[at + 1 :])
    glass.parquet(os.urandom(10_000))
    seen = glass.parquet(good)
    assert seen is not None
    assert seen.rows == 2


@pytest.mark.invariant("G6")
@pytest.mark.parametrize("how", [signal.SIGABRT, signal.SIGSEGV, signal.SIGSTOP], ids=lambda how: how.name)
def test_a_file_that_ends_its_reader_is_one_that_cannot_be_read(how: signal.Signals, caplog: pytest.LogCaptureFixture):
    """As a plaintext footer over encrypted columns ends pyarrow (abort), or a loop without end: the agent goes on."""
    glass = airlock.Airlock()
    good = footer(pa.table({"a": [1]}))
    assert glass.parquet(good) is not None
    assert glass._process is not None
    glass._seconds = 0.5
    os.kill(glass._process.pid, how)
    time.sleep(0.1)
    assert glass.parquet(good) is None
    assert "ended the process that looked into it" in caplog.text
    glass._seconds = 20
    seen = glass.parquet(good)
    glass.close()
    assert seen is not None


@pytest.mark.invariant("G3")
def test_a_footer_that_wants_more_memory_than_there_is_gets_none():
    """The process has a bound; what would need more cannot be read."""
    glass = airlock.Airlock(memory_bytes=400 << 20)
    wide = footer(pa.table({f"column {number} {'x' * 200}": [1] for number in range(3_000)}))
    small = footer(pa.table({"a": [1]}))
    glass.parquet(wide)
    assert glass.parquet(small) == airlock.Look(rows=1, columns=(("a", "int64"),))
    assert glass.parquet(bytes(airlock.LOOK_BYTES_MAX + 1)) is None
    glass.close()


@pytest.mark.invariant("G6")
def test_the_process_can_write_no_file_and_leaves_no_core(glass: airlock.Airlock):
    """Its bounds are the kernel's."""
    glass.parquet(footer(pa.table({"a": [1]})))
    assert glass._process is not None
    told = Path(f"/proc/{glass._process.pid}/limits").read_text()
    bounds = {line[:25].strip(): line[26:].split()[:2] for line in told.splitlines()[1:]}
    assert bounds["Max core file size"] == ["0", "0"]
    assert bounds["Max file size"] == ["0", "0"]
    assert int(bounds["Max data size"][0]) <= 2 << 30


@pytest.mark.invariant("G6")
def test_an_ingest_of_a_hostile_parquet_file_goes_through_without_columns(fed: Federation):
    """Its bytes are somebody's data whatever its footer says; that it cannot be read is told by -1 rows and no columns."""
    from federation.core import job

    incoming = fed.places["us-1"].root / "incoming" / "hostile"
    incoming.mkdir(parents=True)
    bad = b"PAR1" + os.urandom(300)
    (incoming / "bad.parquet").write_bytes(bad + len(bad[4:]).to_bytes(4, "little") + b"PAR1")
    request = job.JobRequest(
        kind=job.JobKind.INGEST,
        ingest_from=f"file://{incoming}",
        outputs=(job.OutputSpec(alias="out", dataset="sales/hostile"),),
        sites=("us-1",),
        max_attempts=1,
    )
    done = fed.client.wait(fed.client.submit(request).job, timeout=30)
    assert done.state is job.JobState.SUCCEEDED, done.detail
    (version,) = fed.client.list_versions("sales/hostile")
    assert (version.files, version.rows, version.columns) == (1, -1, ())


# Logs and terminals

#: What a name, a message or a log may hold to say what was never said.
INJECTIONS = (
    'x\n{"level": "info", "message": "all is well"}',
    "x\r\n2026-11-28 admin logged in",
    '", "level": "info", "x": "',
    "\x1b[2J\x1b[1;1Hgone",
    "\x1b]0;title\x07",
    "\u2028next\u2029",
    "\x9b31mred",
    "a\0b",
    "\u202egnp.exe",
)


@pytest.mark.invariant("G7")
@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_a_log_line_is_one_line_of_json_whatever_it_tells(text: str):
    """Message, extra and traceback: one object, one line, nothing that steers a terminal."""
    try:
        raise ValueError(text)
    except ValueError:
        record = logging.getLogger("federation.x").makeRecord(
            "federation.x", logging.ERROR, __file__, 1, "refused %s", (text,), sys.exc_info(), extra={"subject": text}
        )
    line = logs.JsonLines().format(record)
    assert len(line.splitlines()) == 1
    assert all(ord(c) >= 32 and not 0x7F <= ord(c) < 0xA0 for c in line)
    told = json.loads(line)
    assert told["level"] == "error"
    assert told["message"] == f"refused {text}"
    assert told["subject"] == text


@pytest.mark.invariant("G7")
@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
def test_what_fed_shows_steers_no_terminal(text: str, capsys: pytest.CaptureFixture[str]):
    """Tables, fields, errors with their reason and violations, JSON: what is not text is shown as a replacement."""
    output = Output()
    output.fields([("name", text)])
    output.say(text)
    output.error(errors.InvalidArgument(text, help=text, violations={text: text}))
    value = dataset.Dataset(namespace="sales", dataset="flights", owner=text, description=text, labels=(("team", text),))
    for form in ("table", "wide", "json", "jsonl", "yaml", "csv", "name"):
        output.format, output.kind = form, dataset.Dataset
        output.rows([value])
        output.error(errors.InvalidArgument(text, help=text))
    shown = "".join(capsys.readouterr())
    assert not [c for c in shown if c not in "\n\t" and (ord(c) < 32 or 0x7F <= ord(c) < 0xA0)]
    assert not [c for c in shown if c in "\u202e\u2066\u2067"]
    assert safe(text).isprintable() or "\n" in safe(text)


@pytest.mark.invariant("G5")
def test_no_reflection_and_no_channelz_on_any_port(shared_edge: edges.Edge):
    """Nobody is told what there is to call, nor what is being called."""
    services = (
        "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
    )
    for who, agents in (("", False), ("agent:eu-1", True)):
        with shared_edge.channel(who, agents=agents) as channel:
            for path in (*services, "grpc.channelz.v1.Channelz/GetServers"):
                with pytest.raises(grpc.RpcError) as caught:
                    channel.unary_unary(f"/{path}")(b"", timeout=30)
                assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.invariant("G1")
def test_the_server_listens_where_it_was_told_and_calls_nobody(shared_edge: edges.Edge):
    """Three ports, each of the settings; a socket that waits at a port of ours is not called back."""
    for address in (shared_edge.server.address, shared_edge.server.agents_address, shared_edge.server.http_address):
        host, _, port = address.rpartition(":")
        assert host == "127.0.0.1"
        socket.create_connection((host, int(port)), timeout=30).close()
