"""A site's gateway over real TLS: what people, runs and other sites may do there, and what they may not."""

from __future__ import annotations

import dataclasses
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from federation.agent import journal
from federation.core import errors, job
from federation.crypto import container, hpke
from federation.services import jobs
from federation.v1 import gateway_pb2
from federation.wire import balancing, data
from federation.wire.gateway import GatewayClient
from tests.agent import federation as federations
from tests.agent.federation import Federation, launch, launched, until

BIG = os.urandom(300_000)
FLIGHTS = (job.InputSpec(alias="x", dataset="sales/flights"),)
MODEL = (job.OutputSpec(alias="y", dataset="ml/model"),)
READER = hpke.new_pair()[1]


@pytest.fixture
def flights(held: Federation, tmp_path: Path) -> Federation:
    """A federation whose data lies at us-1."""
    held.put("sales/flights", federations.write_files(tmp_path / "flights", a_csv=b"x,y\n1,2\n", b_bin=BIG), "us-1")
    return held


def reason(call: Callable[[], Any]) -> str:
    """The reason with which a call is refused."""
    with pytest.raises(errors.FederationError) as refused:
        call()
    return refused.value.reason


def header(write: str, path: str, object_id: str = "o-00000000000000000000000001") -> gateway_pb2.PutObjectsRequest:
    """The beginning of a file."""
    return gateway_pb2.PutObjectsRequest(header={"write": write, "object_id": object_id, "path": path})


def trailer(**facts: Any) -> gateway_pb2.PutObjectsRequest:
    """The end of a file."""
    return gateway_pb2.PutObjectsRequest(trailer=facts)


def piece(content: bytes) -> gateway_pb2.PutObjectsRequest:
    """Some of a file."""
    return gateway_pb2.PutObjectsRequest(data=content)


def sealed(writer: data.VersionWriter, content: bytes, number: int = 1) -> tuple[bytes, dict[str, Any], str]:
    """A file's ciphertext, what its trailer says, and its object id."""
    object_id = f"o-{number:026d}"
    sealer = container.Sealer(b"k" * 32, container.context(writer.dataset_uid, writer.generation, object_id))
    ciphertext = sealer.update(content) + sealer.finalize()
    facts = {
        "file_bytes": sealer.file_bytes,
        "object_bytes": sealer.object_bytes,
        "object_sha256": sealer.object_sha256,
        "rows": -1,
    }
    return ciphertext, facts, object_id


# A person


def test_a_person_gets_back_what_they_put(flights: Federation, tmp_path: Path) -> None:
    """Every byte, over the catalog's grants alone."""
    flights.client.get("sales/flights", tmp_path / "out")
    assert (tmp_path / "out" / "b.bin").read_bytes() == BIG
    assert (tmp_path / "out" / "a.csv").read_bytes() == b"x,y\n1,2\n"


def test_a_download_is_settled_to_the_byte(flights: Federation, tmp_path: Path) -> None:
    """The ledger has what left, at the price of the internet, and nothing unsettled."""
    flights.client.get("sales/flights", tmp_path / "out")
    (entry,) = until(lambda: list(flights.client.list_ledger_entries()))
    assert entry.bytes == sum(container.object_bytes(size) for size in (8, len(BIG)))
    assert (entry.unsettled_bytes, entry.destination_region) == (0, "internet")


def test_a_grant_opens_what_it_names_and_nothing_else(flights: Federation) -> None:
    """A read grant writes nothing, checks nothing, reads no logs, and opens nothing at another site."""
    reader = flights.gateway(flights.client.open_read("sales/flights"))
    assert reason(lambda: reader.begin_write(READER)) == "GRANT_INVALID"
    assert reason(lambda: list(reader.check_store())) == "GRANT_INVALID"
    assert reason(lambda: list(reader.read_logs())) == "GRANT_INVALID"
    access = flights.client.open_read("sales/flights")
    elsewhere = GatewayClient(str(flights.places["eu-1"].agent.address), flights.edge.certs.ca, grant=access.grant)  # type: ignore[union-attr]
    assert reason(lambda: elsewhere.open_version(READER)) == "GRANT_FOREIGN_SITE"


def test_without_credentials_nobody_gets_in(flights: Federation) -> None:
    """Neither with nothing, nor with a made-up token, nor with a grant that somebody else signed."""
    access = flights.client.open_read("sales/flights")
    ca = flights.edge.certs.ca
    assert reason(lambda: GatewayClient(access.gateway, ca).open_version(READER)) == "CREDENTIALS_MISSING"
    assert reason(lambda: GatewayClient(access.gateway, ca, token="fed_made_up").open_version(READER)) == "TOKEN_INVALID"
    forged = access.grant[:10] + bytes([access.grant[10] ^ 1]) + access.grant[11:]
    assert reason(lambda: GatewayClient(access.gateway, ca, grant=forged).open_version(READER)) == "GRANT_INVALID"


def test_an_object_of_another_version_is_refused(flights: Federation, tmp_path: Path) -> None:
    """A grant for one version never reads another's objects, though they lie side by side."""
    flights.put("sales/secret", federations.write_files(tmp_path / "secret", s_txt=b"secret"), "us-1")
    access = flights.client.open_read("sales/secret")
    other = data.open_version(flights.gateway(access), audience=data.grant_audience(access.grant)).entry("s.txt")
    request = gateway_pb2.ReadObjectRequest(object_id=other.object_id, generation=other.generation, offset=0, length=-1)
    reader = flights.gateway(flights.client.open_read("sales/flights"))
    assert reason(lambda: list(reader.read_object(request))) == "OBJECT_NOT_IN_VERSION"


def test_a_range_outside_of_the_object_is_refused(flights: Federation) -> None:
    """Before anything is counted."""
    access = flights.client.open_read("sales/flights")
    reader = flights.gateway(access)
    entry = data.open_version(reader, audience=data.grant_audience(access.grant)).entry("a.csv")

    def read(offset: int, length: int) -> bytes:
        request = gateway_pb2.ReadObjectRequest(
            object_id=entry.object_id, generation=entry.generation, offset=offset, length=length
        )
        return b"".join(reader.read_object(request))

    for offset, length in ((-1, 5), (0, -2), (entry.object_bytes + 1, 1)):
        assert reason(lambda offset=offset, length=length: read(offset, length)) == "RANGE_INVALID"
    assert len(read(0, 10**15)) == entry.object_bytes
    assert read(entry.object_bytes, 10) == b""


def test_a_closed_grant_reads_nothing_more(flights: Federation) -> None:
    """Closing it is final, and may be said again."""
    access = flights.client.open_read("sales/flights")
    reader = flights.gateway(access)
    opened = data.open_version(reader, audience=data.grant_audience(access.grant))
    assert opened.open("b.bin").read() == BIG
    closed = reader.close_grant()
    assert closed.sent_bytes >= container.object_bytes(len(BIG))
    assert reader.close_grant() == closed
    assert reason(lambda: opened.open("b.bin").read()) == "GRANT_CLOSED"
    assert reason(lambda: reader.open_version(READER)) == "GRANT_CLOSED"


# Writing


@pytest.fixture
def writer(held: Federation) -> tuple[Federation, data.VersionWriter, GatewayClient]:
    """A person's open write at eu-1."""
    held.put("sales/old", Path(__file__).parent / "__init__.py", "eu-1")
    access = held.client.open_write("sales/old", "eu-1")
    gateway = held.gateway(access)
    return held, data.VersionWriter(gateway, audience=data.grant_audience(access.grant), with_base=True), gateway


def test_an_aborted_write_leaves_nothing(writer: tuple[Federation, data.VersionWriter, GatewayClient]) -> None:
    """No object, no finding, and no way to go on with it."""
    held, write, _ = writer
    before = held.places["eu-1"].objects()
    write.put_file("a.bin", io.BytesIO(BIG))
    assert len(held.places["eu-1"].objects()) == len(before) + 1
    write.abort()
    write.abort()
    assert held.places["eu-1"].objects() == before
    assert reason(lambda: write.put_file("b.bin", io.BytesIO(b"late"))) == "WRITE_CLOSED"
    assert reason(write.complete) == "WRITE_CLOSED"
    assert held.findings() == []


@pytest.mark.invariant("L4")
def test_who_is_outside_of_the_residency_adds_to_a_version_without_its_keys(held: Federation) -> None:
    """They send every file anew, under a key of its own; nobody hands them one that would open what lies there."""
    held.put("sales/bound", Path(__file__).parent / "__init__.py", "eu-1")
    bound = held.client.get_dataset("sales/bound")
    held.client.update_dataset(dataclasses.replace(bound, residency=("EU",)), ("residency",))
    held.edge.tokens["abroad"] = held.client.create_token("users/admin", role="ADMIN", jurisdiction="US").secret
    with held.edge.client("abroad") as abroad:
        access = abroad.open_write("sales/bound", "eu-1")
        write = data.VersionWriter(held.gateway(access), audience=data.grant_audience(access.grant), with_base=True)
        assert write.base is None
        write.put_file("new.bin", io.BytesIO(b"new"))
        assert write.complete().version.endswith("@2")


@pytest.mark.parametrize(
    "lie", [{"file_bytes": 8}, {"object_bytes": 1}, {"object_sha256": "0" * 64}, {"object_sha256": ""}, {"file_bytes": -1}]
)
def test_a_file_that_is_not_as_announced_is_not_stored(
    writer: tuple[Federation, data.VersionWriter, GatewayClient], lie: dict[str, Any]
) -> None:
    """Whichever of its facts is wrong."""
    held, write, gateway = writer
    before = held.places["eu-1"].objects()
    ciphertext, facts, object_id = sealed(write, b"content")
    sent = [header(write.write, "a", object_id), piece(ciphertext), trailer(**(facts | lie))]
    assert reason(lambda: gateway.put_objects(sent)) == "OBJECT_MISMATCH"
    assert held.places["eu-1"].objects() == before


def test_a_stream_that_breaks_off_stores_nothing(writer: tuple[Federation, data.VersionWriter, GatewayClient]) -> None:
    """Neither the file in the middle of which it ended nor, unseen, the one before."""
    held, write, gateway = writer
    before = held.places["eu-1"].objects()
    ciphertext, facts, object_id = sealed(write, b"content")
    whole = [header(write.write, "a", object_id), piece(ciphertext), trailer(**facts)]
    cut = [header(write.write, "b", "o-00000000000000000000000002"), piece(ciphertext)]
    assert reason(lambda: gateway.put_objects([*whole, *cut])) == "OBJECT_MISMATCH"
    assert held.places["eu-1"].objects() == before


def test_a_stream_that_makes_no_sense_is_refused(writer: tuple[Federation, data.VersionWriter, GatewayClient]) -> None:
    """Data without a header, a header within a file, an empty message."""
    _, write, gateway = writer
    begin = header(write.write, "a")
    for parts in (
        [piece(b"x")],
        [begin, piece(b"x"), begin],
        [begin, gateway_pb2.PutObjectsRequest()],
        [trailer(file_bytes=1)],
    ):
        assert reason(lambda parts=parts: gateway.put_objects(parts)) == "STREAM_INVALID"


def test_a_path_is_written_once(writer: tuple[Federation, data.VersionWriter, GatewayClient]) -> None:
    """In one stream, and over several."""
    held, write, gateway = writer
    first, second = sealed(write, b"one", 1), sealed(write, b"two", 2)
    both = [part for c, f, o in (first, second) for part in (header(write.write, "a", o), piece(c), trailer(**f))]
    assert reason(lambda: gateway.put_objects(both)) == "PATH_DUPLICATE"
    gateway.put_objects(both[:3])
    assert reason(lambda: gateway.put_objects(both[3:])) == "PATH_DUPLICATE"
    assert len(held.places["eu-1"].objects("objects/")) == 2


@pytest.mark.parametrize("path", ["/etc/passwd", "../up", "a/../b", "", "a//b", "a\\b"])
def test_a_path_that_leads_elsewhere_is_refused(
    writer: tuple[Federation, data.VersionWriter, GatewayClient], path: str
) -> None:
    """Before anything of the file is stored."""
    _, write, gateway = writer
    ciphertext, facts, object_id = sealed(write, b"content")
    parts = [header(write.write, path, object_id), piece(ciphertext), trailer(**facts)]
    assert reason(lambda: gateway.put_objects(parts)) == "PATH_INVALID"
    parts[0] = header(write.write, "a\x00b", object_id)
    assert reason(lambda: gateway.put_objects(parts)) == "TEXT_INVALID"


def test_nobody_writes_into_anothers_write(writer: tuple[Federation, data.VersionWriter, GatewayClient]) -> None:
    """Its id is not enough."""
    held, write, _ = writer
    other = held.gateway(held.client.open_write("sales/old", "eu-1"))
    assert reason(lambda: other.complete_write(gateway_pb2.CompleteWriteRequest(write=write.write))) == "WRITE_MISSING"
    assert reason(lambda: other.put_objects([header(write.write, "a")])) == "WRITE_MISSING"
    assert reason(lambda: other.abort_write(write.write)) == "WRITE_MISSING"


def test_a_version_keeps_unchanged_files_of_the_one_before(held: Federation, tmp_path: Path) -> None:
    """They are not sent again and lie in the store once."""
    folder = federations.write_files(tmp_path / "f", a_csv=b"x\n1\n", b_bin=BIG)
    held.put("sales/flights", folder, "eu-1")
    (folder / "a.csv").write_bytes(b"x\n2\n")
    second = held.put("sales/flights", folder, "eu-1")
    assert (second.number, second.files, len(second.generations)) == (2, 2, 2)
    assert len(held.places["eu-1"].objects("objects/")) == 3
    held.client.get("sales/flights", tmp_path / "out")
    assert (tmp_path / "out" / "b.bin").read_bytes() == BIG
    assert held.findings() == []


def test_a_path_that_the_base_lacks_cannot_be_reused(writer: tuple[Federation, data.VersionWriter, GatewayClient]) -> None:
    """The manifest names only what is there."""
    _, write, gateway = writer
    request = gateway_pb2.CompleteWriteRequest(write=write.write, reused_paths=["nowhere"])
    assert reason(lambda: gateway.complete_write(request)) == "PATH_NOT_IN_BASE"


def test_completing_twice_makes_one_version(writer: tuple[Federation, data.VersionWriter, GatewayClient]) -> None:
    """A lost answer is asked for again, also of an agent that was restarted meanwhile."""
    held, write, gateway = writer
    write.put_file("a.bin", io.BytesIO(b"content"))
    first = write.complete()
    held.places["eu-1"].restart()
    gateway.close()
    assert write.complete() == first
    assert [version.number for version in held.client.list_versions("sales/old")] == [1, 2]


def test_a_write_goes_on_after_a_restart(writer: tuple[Federation, data.VersionWriter, GatewayClient]) -> None:
    """What was stored before is part of the version."""
    held, write, gateway = writer
    write.put_file("a.bin", io.BytesIO(b"before"))
    held.places["eu-1"].restart()
    gateway.close()
    write.put_file("b.bin", io.BytesIO(b"after"))
    assert write.complete().files == 2
    assert held.findings() == []


# Runs


def test_a_ticket_is_exchanged_once(flights: Federation) -> None:
    """The same nonce again is a lost answer; another one is somebody who should not have the ticket."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS, outputs=MODEL)
    ticket = launcher.submission.env["FED_TICKET"]
    stranger = GatewayClient(launcher.gateway.target, flights.edge.certs.ca)
    again = stranger.exchange_ticket(ticket, "nonce")
    assert (again.run, again.attempt) == (launcher.row.run, 1)
    assert [(b.alias, b.dataset, b.version, b.remote) for b in again.inputs] == [("x", "sales/flights", 1, False)]
    assert reason(lambda: stranger.exchange_ticket(ticket, "other")) == "TICKET_USED"
    assert reason(lambda: stranger.exchange_ticket("fed_unknown", "nonce")) == "TICKET_INVALID"
    assert reason(lambda: stranger.exchange_ticket(ticket, "")) == "TICKET_INVALID"


def test_no_secret_but_the_ticket_travels_with_a_submission(flights: Federation) -> None:
    """What the cluster is told is the ticket, where to call, and whom to trust."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS, env=(("MODE", "fast"),))
    env = dict(launcher.submission.env)
    assert set(env) == {"FED_GATEWAY", "FED_CA", "FED_TICKET", "FED_RUN", "FED_LOG_BYTES_MAX", "MODE"}
    assert launcher.submission.entrypoint == "python -m federation.worker.launch -- true"


def test_a_run_reads_its_inputs_by_every_name_they_have(flights: Federation) -> None:
    """By alias, by dataset, by version."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS)
    for name in ("x", "sales/flights", "sales/flights@1", "namespaces/sales/datasets/flights"):
        assert launcher.read(name)["b.bin"] == BIG


def test_an_input_that_is_not_in_the_plan_is_refused(flights: Federation, tmp_path: Path) -> None:
    """Though it lies at the site; the refusal names what is in the plan."""
    flights.put("sales/secret", federations.write_files(tmp_path / "s", s_txt=b"secret"), "us-1")
    launcher = launch(flights, "us-1", inputs=FLIGHTS, outputs=MODEL)
    for name in ("sales/secret", "sales/flights@2", "y", "", "../x"):
        with pytest.raises(errors.PermissionDenied) as refused:
            launcher.read(name)
        assert refused.value.reason == "INPUT_NOT_IN_PLAN"
        assert "x=sales/flights@1" in refused.value.message
    assert reason(lambda: launcher.write("sales/secret")) == "OUTPUT_NOT_IN_PLAN"


def test_a_remote_read_goes_through_two_gateways(flights: Federation) -> None:
    """The reader's site hands on what the source sends; the source meters it by region pair."""
    launcher = launch(flights, "eu-1", inputs=FLIGHTS)
    assert launcher.row.start.inputs[0].plan.way is job.Way.REMOTE
    assert launcher.read("x") == {"a.csv": b"x,y\n1,2\n", "b.bin": BIG}
    launcher.gateway.finish_attempt(0)
    (entry,) = until(lambda: list(flights.client.list_ledger_entries()))
    assert (entry.source_region, entry.destination_region) == ("aws:us-east-1", "aws:eu-central-1")
    assert entry.bytes >= container.object_bytes(len(BIG))
    assert entry.charge_micros > 0


def test_a_sites_grant_hands_no_key_to_anybody_else(flights: Federation) -> None:
    """Who steals the grant of a remote read gets no DEK from the source."""
    launcher = launch(flights, "eu-1", inputs=FLIGHTS)
    thief = GatewayClient(launcher.row.start.inputs[0].gateway, flights.edge.certs.ca, grant=launcher.row.start.inputs[0].grant)
    assert reason(lambda: thief.open_version(READER)) == "READER_KEY_FOREIGN"


def test_a_remote_read_stops_at_its_budget(flights: Federation) -> None:
    """With both numbers, whether the reader wants to stop or not; what left before is charged."""
    launcher = launch(flights, "eu-1", inputs=FLIGHTS)

    def read_and_read() -> None:
        for _ in range(30):
            launcher.read("x")

    with pytest.raises(errors.ResourceExhausted) as refused:
        read_and_read()
    assert refused.value.reason == "BUDGET_EXHAUSTED"
    assert int(refused.value.metadata["sent_bytes"]) <= int(refused.value.metadata["bytes_max"])


def test_an_output_is_committed_when_the_run_has_ended_well(flights: Federation, tmp_path: Path) -> None:
    """Written by several workers, completed by nobody, one version at the end."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS, outputs=MODEL)
    launcher.write("y", **{"part-0": b"zero"})
    launcher.write("ml/model", **{"part-1": b"one"})
    assert launcher.gateway.finish_attempt(0) == ("ml/model@1",)
    flights.client.get("ml/model", tmp_path / "out")
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"part-0", "part-1"}
    assert flights.client.wait(launcher.row.job, timeout=60).state is job.JobState.SUCCEEDED


def test_the_end_of_a_run_may_be_told_again(flights: Federation) -> None:
    """Also to an agent that was restarted after the commit."""
    launcher = launch(flights, "us-1", outputs=MODEL)
    launcher.write("y", model=b"weights")
    assert launcher.gateway.finish_attempt(0) == ("ml/model@1",)
    assert launcher.gateway.finish_attempt(0) == ("ml/model@1",)
    flights.places["us-1"].restart()
    launcher.gateway.close()
    assert launcher.gateway.finish_attempt(0) == ("ml/model@1",)
    assert len(list(flights.client.list_versions("ml/model"))) == 1
    assert flights.findings() == []


def test_a_run_that_failed_leaves_nothing(flights: Federation) -> None:
    """What it wrote goes, its job fails with the exit code, and the word stays."""
    launcher = launch(flights, "us-1", outputs=MODEL, max_attempts=1)
    launcher.write("y", model=b"weights")
    assert launcher.gateway.finish_attempt(3, detail="it said no") == ()
    ended = flights.client.wait(launcher.row.job, timeout=60)
    assert (ended.state, ended.reason, ended.detail) == (job.JobState.FAILED, "ENTRYPOINT_FAILED", "it said no")
    assert flights.client.get_run(launcher.row.run).exit_code == 3
    assert reason(lambda: launcher.gateway.finish_attempt(0)) == "ENTRYPOINT_FAILED"
    until(lambda: len(flights.places["us-1"].objects("objects/")) == 2)
    assert flights.findings() == []


def test_a_run_that_wrote_no_output_fails_by_name(flights: Federation) -> None:
    """Also one that began and wrote nothing."""
    launcher = launch(flights, "us-1", outputs=MODEL, max_attempts=1)
    launcher.write("y")
    assert reason(lambda: launcher.gateway.finish_attempt(0)) == "OUTPUT_MISSING"
    assert flights.client.wait(launcher.row.job, timeout=60).reason == "OUTPUT_MISSING"


def test_a_superseded_attempt_can_neither_read_nor_commit(flights: Federation) -> None:
    """And the one that took its place can do both; nothing is left of the first."""
    first = launch(flights, "us-1", inputs=FLIGHTS, outputs=MODEL)
    first.write("y", model=b"first")
    lost = flights.client.get_run(first.row.run)
    flights.edge.catalog.write(lambda tx: jobs.lose_run(tx, flights.edge.ctx, lost))
    second = launched(flights, "us-1", f"jobs/{first.row.job}/runs/2")
    until(lambda: flights.places["us-1"].book.run(first.row.run).closed)  # type: ignore[union-attr]
    assert reason(lambda: first.read("x")) == "RUN_SUPERSEDED"
    assert reason(lambda: first.write("y", late=b"late")) == "RUN_SUPERSEDED"
    assert reason(lambda: first.gateway.finish_attempt(0)) == "RUN_SUPERSEDED"
    assert first.submission.submission_id in flights.places["us-1"].compute.stopped  # type: ignore[union-attr]
    assert second.read("x")["b.bin"] == BIG
    second.write("y", model=b"second")
    assert second.gateway.finish_attempt(0) == ("ml/model@1",)
    assert flights.findings() == []


def test_a_superseded_attempt_hears_it_from_the_commit_at_the_latest(flights: Federation) -> None:
    """Before any heartbeat has told its agent: the catalog decides."""
    first = launch(flights, "us-1", outputs=MODEL)
    first.write("y", model=b"first")
    lost = flights.client.get_run(first.row.run)
    flights.edge.catalog.write(lambda tx: jobs.lose_run(tx, flights.edge.ctx, lost))
    assert reason(lambda: first.gateway.finish_attempt(0)) == "RUN_SUPERSEDED"
    until(lambda: len(flights.places["us-1"].objects("objects/")) == 2)
    assert list(flights.client.list_versions("ml/model")) == []


def test_a_token_holds_at_its_own_site_alone(flights: Federation) -> None:
    """The other site's gateway does not know it."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS)
    token = launcher.place.agent._identity.token(launcher.row.run, "nonce")  # type: ignore[union-attr]
    elsewhere = GatewayClient(flights.places["eu-1"].agent.address, flights.edge.certs.ca, token=token)  # type: ignore[union-attr]
    assert reason(lambda: elsewhere.open_version(READER, "x")) == "TOKEN_INVALID"


def test_a_run_calls_its_gateway_inside_by_the_name_that_others_know(flights: Federation) -> None:
    """Whatever the place is called there: what listens at it must prove to be that name, and nobody else."""
    place = flights.places["us-1"]
    assert place.agent is not None
    near = place.agent.address
    place.settings = dataclasses.replace(place.settings, gateway=near, gateway_inside=near)
    place.restart()
    launcher = launch(flights, "us-1", inputs=FLIGHTS)
    assert launcher.submission.env["FED_GATEWAY"] == balancing.inside(near, near) == f"127.0.0.1@{near}"
    assert launcher.read("x")["b.bin"] == BIG
    stranger = GatewayClient(balancing.inside(near, "elsewhere.example:1"), flights.edge.certs.ca)
    assert reason(lambda: stranger.append_logs([b""])) == "UNAVAILABLE"


# Logs


def test_what_a_run_prints_is_read_back_and_followed(flights: Federation) -> None:
    """By a grant, in order, and with `follow` until the run has ended."""
    launcher = launch(flights, "us-1")
    launcher.gateway.append_logs([b"one\n", b"two\n"])
    assert b"".join(flights.client.logs(launcher.row.job)) == b"one\ntwo\n"
    access = flights.client.open_logs(launcher.row.job)
    followed = flights.gateway(access).read_logs(follow=True)
    assert next(followed) == b"one\ntwo\n"
    launcher.gateway.append_logs([b"three\n"])
    assert next(followed) == b"three\n"
    launcher.gateway.finish_attempt(0)
    assert list(followed) == []


def test_the_journal_holds_no_token_and_no_ticket(flights: Federation) -> None:
    """A thief of the state folder calls nobody with it."""
    launcher = launch(flights, "us-1", inputs=FLIGHTS, outputs=MODEL)
    launcher.write("y", model=b"weights")
    ticket = launcher.submission.env["FED_TICKET"].encode()
    token = launcher.place.agent._identity.token(launcher.row.run, "nonce").encode()  # type: ignore[union-attr]
    state = launcher.place.settings.state_dir
    for path in state.rglob("*"):
        content = path.read_bytes() if path.is_file() else b""
        assert ticket not in content
        assert token not in content
    assert isinstance(launcher.place.book, journal.Journal)
