"""The server as a process: ports, deadlines, failures, background work, packages, the agents' work stream."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest

from federation import config
from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import UlidIds
from federation.api.server import Record, Server
from federation.core import errors, job, site
from federation.v1 import agent_pb2, catalog_pb2, jobs_pb2
from federation.wire import codec, methods
from federation.wire import errors as wire_errors
from tests import builders
from tests.wire import edge as edges
from tests.wire.edge import Edge


def until(condition: Any, seconds: float = 30) -> Any:
    """What the condition gives, once it gives something."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := condition():
            return found
        time.sleep(0.02)
    raise AssertionError("it did not come to pass")


def test_the_server_tells_the_port_that_it_got(edge):
    """With `:0` in the settings the address has the real one."""
    for address in (edge.server.address, edge.server.agents_address):
        host, _, port = address.rpartition(":")
        assert host == "127.0.0.1"
        assert int(port) > 0


def test_a_port_that_is_taken_is_named(edge):
    """And not shared: two servers never answer at one address."""
    settings = config.ServerSettings(
        state_dir=edge.certs.layout.server,
        listen=edge.server.address,
        agents_listen="127.0.0.1:0",
        database_url="",
        tables_url="",
        tls=edge.certs.layout.server_tls(),
    )

    async def second() -> None:
        record = Record(committer=edges.NoCommitter(), lineage=edges.lineage_index(edge.catalog))
        await Server(edge.catalog, edge.ctx, settings, record).start()

    with pytest.raises(errors.FailedPrecondition) as caught:
        edge.run(second())
    assert caught.value.reason == "PORT_TAKEN"
    assert edge.server.address in caught.value.message


class Troubled(MemoryCatalog):
    """A catalog whose reads go wrong once it is told how."""

    trouble: Any = None

    def read(self, work: Any) -> Any:
        if self.trouble:
            self.trouble()
        return super().read(work)


@pytest.fixture
def troubled(certs) -> Iterator[Edge]:
    """A server over such a catalog."""
    started = edges.start(certs, Troubled(edges.clock(), UlidIds()))
    edges.populate(started)
    yield started
    started.stop()


FLIGHTS = catalog_pb2.GetDatasetRequest(name="sales/flights")


def test_a_bug_is_not_told_to_the_caller(troubled, caplog):
    """INTERNAL, a request id, and nothing of what was in it; the log has the whole story under the same id."""
    troubled.call("Catalog.GetDataset", FLIGHTS)

    def bug() -> None:
        raise KeyError("the secret of the house")

    troubled.catalog.trouble = bug
    with caplog.at_level("ERROR", logger="federation.api"), pytest.raises(grpc.RpcError) as caught:
        troubled.raw("Catalog.GetDataset", FLIGHTS)
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in f"{caught.value.trailing_metadata()} {caught.value.details()}"
    error = wire_errors.from_rpc_error(caught.value)
    request_id = error.message.rpartition("request ")[2].rstrip(")")
    assert request_id in caplog.text
    assert "the secret of the house" in caplog.text


def test_a_call_that_takes_too_long_ends_at_its_deadline(troubled):
    """DEADLINE_EXCEEDED, at the caller's own time."""
    troubled.call("Catalog.GetDataset", FLIGHTS)
    over = threading.Event()
    troubled.catalog.trouble = over.wait
    try:
        with pytest.raises(errors.DeadlineExceeded):
            troubled.call("Catalog.GetDataset", FLIGHTS, timeout=0.2)
    finally:
        over.set()


class Flaky(edges.NoCommitter):
    """A committer that fails at first."""

    tables = ("egress_ledger",)

    def __init__(self) -> None:
        self.calls = 0

    def tend(self, table: str) -> bool:
        return False

    def carry(self, table: str) -> int:
        self.calls += 1
        if self.calls < 3:
            raise errors.Unavailable("the tables are away")
        return 0


def test_background_work_outlives_its_failures(certs, caplog):
    """A committer that fails is logged, and called again, ever more slowly."""
    committer = Flaky()
    started = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()), committer=committer)
    try:
        until(lambda: committer.calls >= 4)
        assert "the tables are away" in caplog.text
    finally:
        started.stop()


def test_a_silent_site_is_lost_without_anyone_asking(edge):
    """The sweep runs each second."""

    def silence(tx: Any) -> None:
        tx.replace(dataclasses.replace(tx.get(site.Site, "us-1"), heartbeat_time=builders.NOW.replace(year=2020)))

    edge.catalog.write(silence)
    until(lambda: edge.client().get_site("us-1").state is site.SiteState.LOST)


def test_stopping_twice_is_stopping_once(certs):
    """And a stop ends open work streams, within its grace."""
    started = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()))
    edges.populate(started)
    with started.channel("agent:eu-1", agents=True) as channel:
        stream = work(channel)
        begun = time.monotonic()
        started.run(started.server.stop(50))
        with pytest.raises((StopIteration, grpc.RpcError)):
            next(stream)
        assert time.monotonic() - begun < 40
    started.run(started.server.wait())
    started.stop()


# Packages


def upload(edge: Edge, digest: str, *parts: bytes) -> Any:
    """Sends a package in parts."""
    head = jobs_pb2.UploadPackageRequest(digest=digest)
    return edge.call("Jobs.UploadPackage", [head, *(jobs_pb2.UploadPackageRequest(data=part) for part in parts)], who="user")


def test_a_package_is_stored_under_its_digest_and_read_by_agents(edge):
    """In pieces in, in pieces out, the same bytes; sending it twice stores it once."""
    data = b"zip" * 100_000
    digest = hashlib.sha256(data).hexdigest()
    for _ in range(2):
        assert upload(edge, digest, data[:1000], data[1000:]).package_bytes == len(data)
    assert edge.client().get_package(digest).package_bytes == len(data)
    with edge.channel("agent:eu-1", agents=True) as channel:
        method = methods.TABLE["Agent.ReadPackage"]
        call = channel.unary_stream(
            method.path, request_serializer=method.request.SerializeToString, response_deserializer=method.response.FromString
        )
        assert b"".join(r.data for r in call(agent_pb2.ReadPackageRequest(digest=digest), timeout=30)) == data


def test_a_package_that_is_not_what_it_says_is_refused(edge):
    """Another digest, or none."""
    for digest in (hashlib.sha256(b"other").hexdigest(), ""):
        with pytest.raises(errors.InvalidArgument) as caught:
            upload(edge, digest, b"data")
        assert caught.value.reason == "DIGEST_MISMATCH"


def test_a_package_beyond_the_limit_is_refused_while_it_comes(edge):
    """RESOURCE_EXHAUSTED, before the rest is taken in; nothing of it is kept."""
    piece = b"x" * (512 * 1024)
    digest = hashlib.sha256(piece * 40).hexdigest()

    def refused() -> errors.FederationError | None:
        """The refusal; None where the stream was reset under what was still being sent, before it was read."""
        with pytest.raises((errors.ResourceExhausted, errors.Unavailable)) as caught:
            upload(edge, digest, *([piece] * 40))
        return caught.value if isinstance(caught.value, errors.ResourceExhausted) else None

    assert until(refused).reason == "WORKING_DIR_TOO_BIG"
    with pytest.raises(errors.NotFound):
        edge.client().get_package(digest)


# The agents' service


def work(channel: grpc.Channel) -> Any:
    """An agent's open work stream."""
    method = methods.TABLE["Agent.Work"]
    call = channel.unary_stream(
        method.path, request_serializer=method.request.SerializeToString, response_deserializer=method.response.FromString
    )
    return call(agent_pb2.WorkRequest(), timeout=30)


def submit(edge: Edge, at: str = "eu-1") -> job.Job:
    """A job that runs at that site."""

    def place(tx: Any) -> None:
        eu = tx.get(site.Site, at)
        tx.replace(dataclasses.replace(eu, offer=builders.offer()))

    edge.catalog.write(place)
    request = job.JobRequest(namespace="sales", entrypoint=("true",), sites=(at,))
    return edge.client("user").submit(request)


def test_work_comes_at_once_and_each_piece_once(edge):
    """A job that is submitted while the stream is open reaches its site's agent, well before the next look, and not twice."""
    got: list[Any] = []
    with edge.channel("agent:eu-1", agents=True) as channel:
        stream = work(channel)

        thread = threading.Thread(target=lambda: got.extend(_quietly(stream)))
        thread.start()
        submitted = submit(edge)
        until(lambda: got)
        time.sleep(1.5)  # a look and a half: what was sent is not sent again
        stream.cancel()
        thread.join()
    (instruction,) = got
    assert instruction.start.run.name == submitted.run
    assert instruction.start.job.request.principal == "users/user"


def _quietly(stream: Any) -> Any:
    try:
        yield from stream
    except grpc.RpcError:
        return


def test_a_new_stream_is_told_everything_that_is_due_again(edge):
    """What an agent missed while it was away is there when it comes back."""
    submitted = submit(edge)
    for _ in range(2):
        with edge.channel("agent:eu-1", agents=True) as channel:
            assert next(work(channel)).start.run.name == submitted.run


def test_a_site_hears_of_its_own_work_alone(edge):
    """The site is the certificate's."""
    submit(edge)
    with pytest.raises(errors.DeadlineExceeded):
        edge.call("Agent.Work", agent_pb2.WorkRequest(), who="agent:us-1", timeout=1.5)


def test_a_run_goes_from_its_assignment_to_its_end(edge):
    """Accept, report, finish, over the wire; cancelled is told by a stop."""
    submitted = submit(edge)
    accepted = agent_pb2.AcceptRunRequest(run=submitted.run, submission_id="s-1")
    assert edge.call("Agent.AcceptRun", accepted, who="agent:eu-1").state == jobs_pb2.JOB_STATE_STARTING
    report = agent_pb2.ReportRunRequest(run=submitted.run, state=jobs_pb2.JOB_STATE_RUNNING)
    assert edge.call("Agent.ReportRun", report, who="agent:eu-1").state == jobs_pb2.JOB_STATE_RUNNING
    with pytest.raises(errors.PermissionDenied):
        edge.call("Agent.ReportRun", report, who="agent:us-1")
    finish = agent_pb2.FinishRunRequest(run=submitted.run)
    for _ in range(2):
        assert edge.call("Agent.FinishRun", finish, who="agent:eu-1").run.state == jobs_pb2.JOB_STATE_SUCCEEDED
    assert edge.client().wait(submitted.job, 5).state is job.JobState.SUCCEEDED


def test_a_cancelled_run_is_told_to_stop(edge):
    """By an instruction on the stream."""
    submitted = submit(edge)
    edge.call("Agent.AcceptRun", agent_pb2.AcceptRunRequest(run=submitted.run, submission_id="s"), who="agent:eu-1")
    with edge.channel("agent:eu-1", agents=True) as channel:
        stream = work(channel)
        next(stream)
        edge.client("user").cancel_job(submitted.job)
        stop = next(stream).stop
        stream.cancel()
    assert (stop.run, stop.reason) == (submitted.run, "CANCELLED")


def test_a_site_registers_with_its_own_name_whatever_it_says(edge):
    """And is told the key that grants are signed with, and its terms."""
    request = agent_pb2.RegisterRequest(gateway="127.0.0.1:1", signing_key="11" * 32, sealing_key="22" * 32)
    request.findings.extend(codec.to_message(row) for row in builders.findings())
    request.agent_time.GetCurrentTime()
    answer = edge.call("Agent.Register", request, who="agent:us-1")
    assert (answer.site.name, answer.site.gateway) == ("sites/us-1", "127.0.0.1:1")
    assert answer.lease_seconds == edge.ctx.lease_seconds
    assert len(bytes.fromhex(answer.grant_key)) == 32


def test_a_state_that_is_none_of_a_run_is_refused(edge):
    """Unspecified, or a number of another version."""
    submitted = submit(edge)
    for number in (0, 99):
        report = agent_pb2.ReportRunRequest(run=submitted.run, state=number)
        with pytest.raises(errors.InvalidArgument):
            edge.call("Agent.ReportRun", report, who="agent:eu-1")


def test_a_grant_that_the_catalog_did_not_sign_commits_nothing(edge):
    """Garbage, and a grant of another key."""
    new = agent_pb2.CommitVersionRequest(grant=b"garbage", version=agent_pb2.NewVersion(dataset="sales/flights"))
    with pytest.raises(errors.Unauthenticated) as caught:
        edge.call("Agent.CommitVersion", new, who="agent:eu-1")
    assert caught.value.reason == "GRANT_INVALID"


def test_an_unknown_package_is_found_out_at_submission(edge):
    """Not hours later at the site."""
    request = job.JobRequest(namespace="sales", entrypoint=("true",), working_dir="0" * 64)
    with pytest.raises(errors.FailedPrecondition) as caught:
        edge.client().create_job(request)
    assert caught.value.reason == "PACKAGE_MISSING"
