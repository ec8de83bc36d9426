"""A hostile agent, a hostile run, and whoever has stolen what one of them holds."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from connectors.compute.process import ProcessCompute
from federation.core import dataset, errors, job, kinds, policy, transfer
from federation.core.grants import Access, Grant
from federation.crypto import grants as signed_grants
from federation.crypto import hpke, secrets, signing
from federation.services import datasets, jobs
from federation.v1 import agent_pb2, jobs_pb2, transfers_pb2
from federation.wire import codec
from federation.wire.gateway import GatewayClient
from tests.agent import federation as federations
from tests.agent.compute import MemoryCompute
from tests.agent.federation import Federation, Launcher, launch

FLIGHTS = (job.InputSpec(alias="x", dataset="sales/flights"),)
MODEL = (job.OutputSpec(alias="y", dataset="ml/model"),)
READER = hpke.new_pair()[1]


def reason(call: Callable[[], Any]) -> str:
    """The reason for which a call is refused; '' where it was not."""
    try:
        call()
    except errors.FederationError as error:
        return error.reason
    return ""


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, certs: Any) -> Iterator[Federation]:
    """Two sites with a dataset at us-1; the test is the launcher of every run."""
    folder = tmp_path_factory.mktemp("fed")
    started = federations.start(folder, certs, compute=lambda _: MemoryCompute(), quantum_bytes=64 * 1024)
    started.put("sales/flights", federations.write_files(folder / "data", a_csv=b"x,y\n1,2\n"), "us-1")
    yield started
    started.stop()


@pytest.fixture(scope="module")
def victim(two: Federation) -> Launcher:
    """A run at us-1 that reads and writes."""
    return launch(two, "us-1", inputs=FLIGHTS, outputs=MODEL)


def as_eu(two: Federation, key: str, request: Any) -> str:
    """How the agent of eu-1 fares with a call; '' where it gets its way."""
    return reason(lambda: two.edge.call(key, request, who="agent:eu-1"))


@pytest.mark.invariant("I3")
def test_an_agent_has_no_say_in_another_sites_run(two: Federation, victim: Launcher):
    """It cannot accept, end, fail, finish or settle it, nor tell what it has read; the run goes on as if nothing was said."""
    run = victim.row.run
    grant = signed_grants.peek(victim.row.start.inputs[0].grant)
    federations.until(lambda: two.client.get_run(run).state is job.JobState.RUNNING)
    before = (job.JobState.RUNNING, job.JobState.RUNNING)
    said = {
        "accept": ("Agent.AcceptRun", agent_pb2.AcceptRunRequest(run=run, submission_id="mine")),
        "fail": ("Agent.ReportRun", agent_pb2.ReportRunRequest(run=run, state=jobs_pb2.JOB_STATE_FAILED, reason="X")),
        "finish": ("Agent.FinishRun", agent_pb2.FinishRunRequest(run=run)),
        "reads": (
            "Agent.ReportUsage",
            agent_pb2.ReportUsageRequest(run=run, usages=[agent_pb2.ReadUsage(grant=grant.grant, traffic=[])]),
        ),
    }
    refusals = {what: as_eu(two, *call) for what, call in said.items()}
    assert refusals == {
        "accept": "RUN_FOREIGN_SITE",
        "fail": "RUN_FOREIGN_SITE",
        "finish": "RUN_FOREIGN_SITE",
        "reads": "GRANT_FOREIGN_SITE",
    }
    settle = agent_pb2.SettleGrantsRequest(settlements=[agent_pb2.Settlement(grant=grant.grant, sent_bytes=0)])
    (outcome,) = two.edge.call("Agent.SettleGrants", settle, who="agent:eu-1").outcomes
    assert (outcome.entry, outcome.reason) == ("", "GRANT_FOREIGN_SITE")
    assert (two.client.get_run(run).state, two.client.get_job(victim.row.job).state) == before
    assert victim.read("x") == {"a.csv": b"x,y\n1,2\n"}


@pytest.mark.invariant("I3")
def test_an_agent_has_no_say_in_another_sites_transfer_or_replica(two: Federation):
    """Neither a transfer that goes elsewhere nor a replica that lies elsewhere; what it does not hold it cannot drop."""
    made = two.edge.catalog.write(lambda tx: tx.insert(_transfer()))
    report = agent_pb2.ReportTransferRequest(transfer=made.transfer, state=transfers_pb2.TRANSFER_STATE_FAILED)
    assert as_eu(two, "Agent.ReportTransfer", report) == "TRANSFER_FOREIGN_SITE"
    assert (
        as_eu(two, "Agent.FinishTransfer", agent_pb2.FinishTransferRequest(transfer=made.transfer)) == "TRANSFER_FOREIGN_SITE"
    )
    two.edge.call("Agent.FinishDrop", agent_pb2.FinishDropRequest(version="sales/flights@1"), who="agent:eu-1")
    assert [row.site for row in two.client.list_replicas("sales/flights@1")] == ["us-1"]


def _transfer() -> Any:
    return transfer.Transfer(
        transfer="t-foreign",
        dataset="sales/flights",
        version=1,
        source_site="eu-1",
        destination_site="us-1",
        state=transfer.TransferState.RUNNING,
        attempt=1,
    )


@pytest.mark.invariant("I3")
def test_an_agent_gets_no_key_row_of_another_site(two: Federation):
    """It may hear that a version exists, and gets no wrapped key that is not its own."""
    sealed = two.edge.call(
        "Agent.GetSealedVersion", agent_pb2.GetSealedVersionRequest(version="sales/flights@1"), who="agent:eu-1"
    )
    assert list(sealed.keys) == []
    with two.edge.channel("agent:eu-1", agents=True) as channel:
        listed = channel.unary_stream(
            "/federation.v1.Agent/ListSealedVersions",
            request_serializer=agent_pb2.ListSealedVersionsRequest.SerializeToString,
            response_deserializer=agent_pb2.SealedVersion.FromString,
        )(agent_pb2.ListSealedVersionsRequest(), timeout=30)
        assert list(listed) == []


@pytest.mark.invariant("I3")
def test_a_region_is_what_the_catalog_says_of_the_certificates_site(two: Federation):
    """Nothing that an agent or a request says moves a site: registration names no region, a request none of a site's."""
    assert not {"region", "jurisdiction", "site"} & set(agent_pb2.RegisterRequest.DESCRIPTOR.fields_by_name)
    bound = dataset.Dataset(namespace="sales", dataset="european", residency=("EU",))
    two.edge.catalog.write(lambda tx: datasets.create_dataset(tx, two.edge.ctx, bound))
    assert reason(lambda: two.client.open_write("sales/european", "us-1")) == "RESIDENCY_DENIED"
    # The agent of us-1 says that it has written a version of it, under a grant of its own make.
    new = agent_pb2.NewVersion(dataset="sales/european", dataset_uid="d-1", manifest_digest="0" * 64)
    forged = signed_grants.sign(signing.new_private(), _grant(site="us-1", dataset="sales/european", access=Access.WRITE))
    commit = agent_pb2.CommitVersionRequest(grant=forged, version=new)
    assert reason(lambda: two.edge.call("Agent.CommitVersion", commit, who="agent:us-1")) == "GRANT_INVALID"
    assert list(two.client.list_versions("sales/european")) == []


@pytest.mark.invariant("I3")
def test_an_agent_cannot_commit_under_a_grant_of_another_site(two: Federation):
    """The catalog signed it, for another gateway."""
    opened = two.client.open_write("sales/flights", "us-1")
    commit = agent_pb2.CommitVersionRequest(grant=opened.grant, version=agent_pb2.NewVersion(dataset="sales/flights"))
    assert as_eu(two, "Agent.CommitVersion", commit) == "GRANT_FOREIGN_SITE"


@pytest.mark.invariant("I3")
def test_an_agent_cannot_wrap_keys_in_another_sites_name(two: Federation):
    """Rows for another site would let it read; rows of another dataset would let a version name what it is not."""
    grant = two.client.open_write("sales/flights", "us-1").grant
    key = dataset.WrappedKey(generation="g-" + "0" * 26, site="eu-1", dataset_uid="d-other", kek="kek-1", wrapped="AAAA")
    new = agent_pb2.NewVersion(
        dataset="sales/flights",
        dataset_uid=two.client.get_dataset("sales/flights").uid,
        manifest_digest="0" * 64,
        generations=[key.generation],
        keys=[codec.to_message(key, agent_pb2.WrappedKey)],
    )
    commit = agent_pb2.CommitVersionRequest(grant=grant, version=new)
    assert reason(lambda: two.edge.call("Agent.CommitVersion", commit, who="agent:us-1")) != ""
    assert two.edge.catalog.read(lambda tx: tx.get(dataset.WrappedKey, f"{key.generation}/eu-1")) is None


@pytest.mark.invariant("I1")
def test_a_stolen_token_of_a_run_is_good_at_its_own_gateway_while_it_is_current_and_nowhere_else(two: Federation):
    """Not at another site's, not at the catalog, not for another run's inputs, and no more once the run is over."""
    thief_of = launch(two, "us-1", inputs=FLIGHTS, max_attempts=1)
    other = launch(two, "us-1", outputs=MODEL, max_attempts=1)
    token = other.place.agent._identity.token(other.row.run, "nonce")  # type: ignore[union-attr]
    ca = two.edge.certs.ca
    elsewhere = GatewayClient(two.places["eu-1"].agent.address, ca, token=token)  # type: ignore[union-attr]
    assert reason(lambda: elsewhere.open_version(READER, "x")) == "TOKEN_INVALID"
    two.edge.tokens["thief"] = token
    assert reason(lambda: two.edge.client("thief").who_am_i()) == "TOKEN_INVALID"
    here = GatewayClient(other.gateway.target, ca, token=token)
    assert reason(lambda: here.open_version(READER, "x")) == "INPUT_NOT_IN_PLAN"
    old = thief_of.gateway
    old.finish_attempt(1)
    assert reason(lambda: thief_of.read("x")) == "RUN_SUPERSEDED"


@pytest.mark.invariant("I1")
def test_another_runs_ticket_is_worth_nothing_twice_or_elsewhere(two: Federation):
    """Exchanged once; at another site it was never made; with another run's nonce it is somebody else's."""
    mine = launch(two, "us-1", inputs=FLIGHTS, max_attempts=1)
    ticket = mine.submission.env["FED_TICKET"]
    ca = two.edge.certs.ca
    assert reason(lambda: GatewayClient(mine.gateway.target, ca).exchange_ticket(ticket, "thief")) == "TICKET_USED"
    elsewhere = GatewayClient(two.places["eu-1"].agent.address, ca)  # type: ignore[union-attr]
    assert reason(lambda: elsewhere.exchange_ticket(ticket, "nonce")) == "TICKET_INVALID"
    # A ticket is no token and a token is no ticket.
    assert reason(lambda: GatewayClient(mine.gateway.target, ca, token=ticket).open_version(READER, "x")) == "TOKEN_INVALID"
    mine.gateway.finish_attempt(1)


@pytest.mark.invariant("D2")
def test_an_old_manifest_cannot_be_put_back(two: Federation, tmp_path: Path):
    """Version 2's name in the store with version 1's bytes: a manifest is named by its digest, which the catalog has."""
    place = two.places["us-1"]
    first = two.put("sales/rolled", federations.write_files(tmp_path / "one", a_txt=b"old price"), "us-1")
    second = two.put("sales/rolled", federations.write_files(tmp_path / "two", a_txt=b"new price"), "us-1")
    old, new = (place.file(f"manifests/{version.manifest_digest}") for version in (first, second))
    new.chmod(0o600)
    new.write_bytes(old.read_bytes())
    place.restart()
    with pytest.raises(errors.DataCorrupt) as caught:
        two.client.get("sales/rolled@2", tmp_path / "out")
    assert caught.value.reason == "MANIFEST_INVALID"
    assert not list((tmp_path / "out").rglob("a.txt"))


@pytest.mark.invariant("P4")
def test_a_grant_that_was_not_signed_here_tells_nothing_of_what_is_there(two: Federation, caplog: pytest.LogCaptureFixture):
    """A forged grant for a dataset that exists and for one that does not are refused in the same words, and logged."""
    said = []
    for name in ("sales/flights", "sales/nothing"):
        forged = signed_grants.sign(signing.new_private(), _grant(site="us-1", version=f"{name}@1"))
        gateway = GatewayClient(two.places["us-1"].agent.address, two.edge.certs.ca, grant=forged)  # type: ignore[union-attr]
        with pytest.raises(errors.Unauthenticated) as caught:
            gateway.open_version(READER, "")
        said.append((caught.value.reason, caught.value.message, caught.value.help))
    assert said[0] == said[1]
    told = [row.getMessage() for row in caplog.records if row.name == "federation.agent.calls"]
    assert sum("Gateway.OpenVersion refused to ipv4:127.0.0.1:" in text and "GRANT_INVALID" in text for text in told) == 2


def _grant(**fields: Any) -> Grant:
    now = datetime.now(UTC)
    usual = {"grant": "g-forged", "access": Access.READ, "subject": "users/eve", "bytes_max": 1 << 40}
    return Grant(**{**usual, "issue_time": now, "expire_time": now + timedelta(hours=1), **fields})


@pytest.mark.invariant("G2")
def test_a_job_is_no_deputy_for_its_agents_files(fed: Federation, tmp_path: Path):
    """A working directory with a way to the agent's state is refused, and a job's paths are its own datasets' alone."""
    assert any(isinstance(place.compute, ProcessCompute) for place in fed.places.values())
    folder = federations.write_files(tmp_path / "work", main_py=b"print(1)")
    (folder / "keys").symlink_to(fed.places["us-1"].settings.keys.folder)
    assert reason(lambda: fed.client.submit(job.JobRequest(entrypoint=("true",)), working_dir=folder)) != ""
    (folder / "keys").unlink()
    script = (
        "import federation\n"
        "fs = federation.filesystem()\n"
        "for path in ('sales/../../../etc/passwd', 'file:///etc/passwd', '/etc/passwd', 'simplecache::file:///etc/passwd'):\n"
        "    try:\n"
        "        print('LEAK', fs.cat_file(path)[:20])\n"
        "    except Exception as error:\n"
        "        print('refused', type(error).__name__)\n"
    )
    (folder / "main.py").write_text(script)
    request = job.JobRequest(entrypoint=("python", "main.py"), sites=("us-1",), max_attempts=1)
    done = fed.client.wait(fed.client.submit(request, working_dir=folder).job, timeout=60)
    said = fed.logs(done)
    assert done.state is job.JobState.SUCCEEDED, said
    assert (said.count("refused"), "LEAK" in said) == (4, False)


@pytest.mark.invariant("I2")
def test_a_scoped_token_does_what_its_scopes_say_alone(edge: Any):
    """A token for one permission, or for one noun; the role's other permissions are not lent to it."""
    narrow = policy.Principal(name="users/ann", role=policy.Role.ADMIN, scopes=("datasets.get", "sites.*"))
    held = {permission for permission in policy.KNOWN if policy.allowed(narrow, permission)}
    assert held == {"datasets.get"} | {name for name in policy.ADMIN_PERMISSIONS if name.startswith("sites.")}


@pytest.mark.invariant("I2")
def test_a_token_is_stored_as_a_digest(edge: Any):
    """Whoever reads the catalog's rows can call with none of them."""
    secret = edge.tokens["admin"]
    rows = edge.catalog.read(lambda tx: repr(list(tx.list(kinds.TokenRecord, limit=100))))
    assert secrets.digest(secret) in rows
    assert secret not in rows


@pytest.mark.invariant("L4")
def test_who_is_superseded_reads_nothing_more(two: Federation):
    """The grant of a run that was given up is closed with it."""
    launcher = launch(two, "us-1", inputs=FLIGHTS, max_attempts=1)
    run = two.client.get_run(launcher.row.run)
    two.edge.catalog.write(lambda tx: jobs.lose_run(tx, two.edge.ctx, run))
    federations.until(lambda: two.places["us-1"].book.run(launcher.row.run).state.over)  # type: ignore[union-attr]
    assert reason(lambda: launcher.read("x")) == "RUN_SUPERSEDED"
