"""Transfers and rules over the wire: what people and agents say, and what `fed` shows of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from click.testing import CliRunner, Result

from federation.cli import app, exits
from federation.client import connect
from federation.core import dataset, errors, ids
from federation.core.transfer import ReplicationRule, TransferState
from federation.services import carrying, live_transfers, retention
from federation.v1 import agent_pb2, transfers_pb2
from tests import builders
from tests.cli import answering
from tests.wire.edge import Edge

READ = "sales/read@1"
RUNNING, FAILED = transfers_pb2.TRANSFER_STATE_RUNNING, transfers_pb2.TRANSFER_STATE_FAILED


@pytest.fixture
def ready(edge: Edge) -> Edge:
    """A version of a gigabyte at eu-1, which may lie anywhere, and one that must stay in the EU."""

    def work(tx: Any) -> None:
        for name, residency in (("sales/read", ()), ("sales/kept", ("EU",))):
            tx.insert(builders.dataset(name, residency, latest_version=1, uid="u-flights", owner="users/user"))
            tx.insert(builders.version(f"{name}@1"))
            tx.insert(builders.replica(f"{name}@1", "eu-1"))
        tx.insert(builders.wrapped_key("eu-1"))
        offer = builders.offer(storage_gb_month_micros=20_000, storage_source="test")
        for name in ("eu-1", "us-1"):
            tx.replace(builders.site(name, offer=offer, heartbeat_time=tx.now), etag="")

    edge.catalog.write(work)
    return edge


def started(edge: Edge, **terms: Any) -> Any:
    """A transfer to us-1 that its agent is told to run."""
    made = edge.client("user").create_transfer("sales/read", "us-1", **terms)
    edge.catalog.write(lambda tx: live_transfers.advance(tx, edge.ctx))
    return made


def finish(edge: Edge, name: str) -> Any:
    """us-1's agent has all of it."""
    key = agent_pb2.WrappedKey(
        generation=builders.GENERATION, site="us-1", dataset_uid="u-flights", kek="kek-us-1", wrapped="44" * 60
    )
    request = agent_pb2.FinishTransferRequest(transfer=name, keys=[key], object_bytes=builders.GB)
    return edge.call("Agent.FinishTransfer", request, who="agent:us-1")


def test_a_transfer_is_asked_for_told_run_and_finished(ready: Edge) -> None:
    """By a person, the server, and the destination's agent; everybody sees how far it is."""
    client = ready.client("user")
    tried = client.create_transfer("sales/read@1", "us-1", validate_only=True)
    assert (tried.source_site, list(client.list_transfers())) == ("eu-1", [])
    made = started(ready, keep_seconds=600, priority=2)
    told = ready.call("Agent.Work", agent_pb2.WorkRequest(), who="agent:us-1")
    assert (told.start_transfer.transfer.name, told.start_transfer.transfer.attempt) == (f"transfers/{made.transfer}", 1)
    assert (told.start_transfer.gateway, told.start_transfer.dataset_uid) == ("eu-1.example:7443", "u-flights")
    report = agent_pb2.ReportTransferRequest(transfer=made.transfer, state=RUNNING, bytes_done=500, attempt=1)
    assert ready.call("Agent.ReportTransfer", report, who="agent:us-1").bytes_done == 500
    assert client.get_transfer(made.transfer).bytes_done == 500
    assert finish(ready, made.transfer).state == transfers_pb2.TRANSFER_STATE_SUCCEEDED
    assert client.wait_transfer(made.transfer, 5).state is TransferState.SUCCEEDED
    held = client.get_replica(READ, "us-1")
    assert (held.transfer, held.expire_time is not None) == (made.transfer, True)
    assert [each.transfer for each in client.list_transfers(filter='destination_site = "us-1"')] == [made.transfer]


def test_a_replica_is_dropped_by_its_site(ready: Edge) -> None:
    """Told over the stream, and forgotten when the site says that it is gone."""
    made = started(ready, keep_seconds=1)
    finish(ready, made.transfer)

    def let_go(tx: Any) -> None:
        held = carrying.replica_at(tx, ids.version(READ), "us-1")
        assert held is not None
        retention.let_go(tx, held)

    ready.catalog.write(let_go)
    told = ready.call("Agent.Work", agent_pb2.WorkRequest(), who="agent:us-1")
    assert (told.drop.version, [key.site for key in told.drop.sealed.keys]) == (READ, ["us-1"])
    ready.call("Agent.FinishDrop", agent_pb2.FinishDropRequest(version=READ), who="agent:us-1")
    with pytest.raises(errors.NotFound):
        ready.client().get_replica(READ, "us-1")
    assert [key.site for key in ready.catalog.read(lambda tx: tx.list(dataset.WrappedKey))] == ["eu-1"]


def test_an_agent_that_fails_is_told_to_give_up_what_was_cancelled(ready: Edge) -> None:
    """Another site's agent may not speak of it, and a state that there is not is refused."""
    made = started(ready)
    failed = agent_pb2.ReportTransferRequest(transfer=made.transfer, state=FAILED, reason="SOURCE_UNAVAILABLE", retryable=True)
    with pytest.raises(errors.PermissionDenied):
        ready.call("Agent.ReportTransfer", failed, who="agent:eu-1")
    with pytest.raises(errors.InvalidArgument):
        ready.call("Agent.ReportTransfer", agent_pb2.ReportTransferRequest(transfer=made.transfer), who="agent:us-1")
    answer = ready.call("Agent.ReportTransfer", failed, who="agent:us-1")
    assert (answer.state, answer.reason) == (transfers_pb2.TRANSFER_STATE_PENDING, "SOURCE_UNAVAILABLE")
    ready.client().cancel_transfer(made.transfer)
    told = ready.call("Agent.Work", agent_pb2.WorkRequest(), who="agent:us-1")
    assert (told.stop_transfer.transfer, told.stop_transfer.reason) == (made.transfer, "CANCELLED")


def test_rules_are_made_listed_and_ended(ready: Edge) -> None:
    """Names in both forms."""
    client = ready.client("user")
    made = client.create_replication_rule(ReplicationRule(rule="two", dataset="sales/read", copies=2))
    assert (made.reason, made.principal) == ("COPIES_ARRIVING", "users/user")
    assert client.get_replication_rule("replicationRules/two").rule == "two"
    assert [each.rule for each in client.list_replication_rules(filter='dataset = "sales/read"')] == ["two"]
    client.delete_replication_rule("two")
    assert list(client.list_replication_rules()) == []


@pytest.fixture
def fed(ready: Edge, monkeypatch):
    """Types a `fed` command as that user."""
    monkeypatch.setattr(connect, "connect", lambda _context: ready.client("user"))

    def run(*words: str, code: int = exits.OK) -> Result:
        result = CliRunner().invoke(app.fed, list(words))
        assert result.exit_code == code, result.output
        answering.check(words, result.stdout)
        return result

    return run


def test_fed_transfer_starts_shows_watches_and_cancels(ready: Edge, fed) -> None:
    """Each way that a person types it; a watch in JSON is a line for each change, in a pipe plain lines."""
    tried = json.loads(fed("transfer", "start", "sales/read", "--to", "us-1", "--dry-run", "-o", "json").stdout)
    assert (tried["source_site"], tried["estimate_micros"]) == ("eu-1", 18_626)
    words = ("transfer", "start", "sales/read@1", "--to", "us-1", "--from", "eu-1", "--keep", "7d", "--rate", "50MB")
    made = json.loads(fed(*words, "--priority", "3", "-o", "json").stdout)
    assert (made["keep_seconds"], made["bytes_per_second_max"], made["priority"]) == (604_800, 50_000_000, 3)
    name = made["transfer"] if "transfer" in made else made["name"].removeprefix("transfers/")
    assert name in fed("transfer", "list", "--filter", 'live = "1"').stdout
    assert "us-1" in fed("transfer", "show", name).stdout
    fed("transfer", "watch", name, "--timeout", "1", code=exits.UNAVAILABLE)
    assert "cancelled by users/user" in fed("transfer", "cancel", f"transfers/{name}").stdout
    lines = [
        json.loads(line) for line in fed("transfer", "watch", "-o", "json", name, code=exits.JOB_FAILED).stdout.splitlines()
    ]
    assert [line["state"] for line in lines] == ["CANCELLED"]
    assert "sales/read@1 to us-1 CANCELLED 0 B of 1.0 GB" in fed("transfer", "watch", name, code=exits.JOB_FAILED).stderr
    fed("transfer", "start", "sales/kept", "--to", "us-1", code=exits.REFUSED)
    fed("transfer", "show", "t-none", code=exits.NOT_FOUND)


def test_fed_rule_and_where_a_dataset_lies(ready: Edge, fed) -> None:
    """The rule with what it lacks; the dataset with its replicas and their end."""
    shown = fed(
        "rule", "create", "two", "sales/kept", "--copies", "2", "--sites", 'jurisdiction = "EU"', "--lifetime", "30d"
    ).stdout
    assert "RULE_UNSATISFIABLE" in shown
    assert "30 d" in fed("rule", "list").stdout
    assert json.loads(fed("rule", "show", "two", "-o", "json").stdout)["lifetime_seconds"] == 30 * 86_400
    fed("rule", "delete", "two")
    fed("rule", "show", "two", code=exits.NOT_FOUND)
    made = started(ready, keep_seconds=3600)
    finish(ready, made.transfer)
    replicas = json.loads(fed("dataset", "show", "sales/read", "-o", "json").stdout)["replicas"]
    assert [(each["site"], "expire_time" in each) for each in replicas] == [("eu-1", False), ("us-1", True)]
    assert "ENDS" in fed("dataset", "show", "sales/read").stdout
