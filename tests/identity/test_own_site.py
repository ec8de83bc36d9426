"""An agent speaks for its own site and its own runs: every method, called by another site's agent."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest

from federation.adapters.catalog_memory import MemoryCatalog
from federation.adapters.system import UlidIds
from federation.core import dataset, erasure, errors, grants, job, keys, kinds, leases, site, transfer
from federation.crypto import grants as signed_grants
from federation.v1 import agent_pb2, leases_pb2, transfers_pb2
from federation.wire import methods
from tests import builders
from tests.wire import certs as certificates
from tests.wire import edge as edges
from tests.wire.edge import Edge
from tests.wire.test_lists import erased

pytestmark = pytest.mark.invariant("I3")

RUN = "jobs/j-1/runs/1"


@pytest.fixture(scope="module")
def prepared(certs: certificates.Certs) -> Iterator[Edge]:
    """At eu-1: a run, a transfer that comes, a grant to read and a replica. us-1 has nothing."""
    started = edges.start(certs, MemoryCatalog(edges.clock(), UlidIds()))
    edges.populate(started)

    def work(tx: Any) -> None:
        tx.insert(builders.dataset("sales/read", latest_version=1, uid="d-read"))
        tx.insert(builders.version("sales/read@1"))
        tx.insert(builders.replica("sales/read@1", "eu-1"))
        tx.insert(dataset.WrappedKey(generation=builders.GENERATION, site="eu-1", dataset_uid="d-read", kek="k", wrapped="ab"))
        soon = tx.now + timedelta(hours=1)
        tx.insert(keys.Escrow(escrow="own", site="eu-1", threshold=2, custodians=()))
        opened = keys.OpeningState.APPROVED
        tx.insert(
            keys.Opening(
                opening="e-1",
                escrow="own",
                site="eu-1",
                reason="a test",
                principal="users/user",
                state=opened,
                expire_time=soon,
            )
        )
        tx.insert(dataclasses.replace(erased("erased", 1), state=erasure.ErasureState.PENDING))
        tx.insert(site.SiteLoad(site="eu-1", cpus=1, runs=1))
        tx.insert(builders.job("j-1", run=RUN, attempt=1, state=job.JobState.RUNNING))
        tx.insert(builders.run(1, job_="j-1", site="eu-1", state=job.JobState.RUNNING, lease_time=soon, start_time=tx.now))
        moved = {"dataset": "sales/read", "version": 1, "source_site": "us-1", "destination_site": "eu-1"}
        tx.insert(transfer.Transfer(transfer="t-1", attempt=1, state=transfer.TransferState.RUNNING, **moved))
        tx.insert(
            kinds.GrantRecord(
                grant="a-1",
                run=RUN,
                job="j-1",
                principal="users/user",
                namespace="sales",
                dataset="read",
                version=1,
                source_site="eu-1",
                source_region="aws:eu-central-1",
                reader_region="aws:us-east-1",
                expire_time=soon,
            )
        )

    started.catalog.write(work)
    yield started
    started.stop()


def _write_grant(edge: Edge) -> bytes:
    """A person's grant to write at eu-1."""
    now = edges.clock().now()
    grant = grants.Grant(
        grant="a-w",
        access=grants.Access.WRITE,
        subject="users/user",
        site="eu-1",
        dataset="sales/flights",
        issue_time=now,
        expire_time=now + timedelta(hours=1),
    )
    return signed_grants.sign(edge.ctx.grant_key, grant)


#: Method -> a request about what is eu-1's. Those that are missing say nothing about anybody: they answer about the caller.
FOREIGN: dict[str, Any] = {
    "AcceptRun": lambda _: agent_pb2.AcceptRunRequest(run=RUN, submission_id="s"),
    "ReportRun": lambda _: agent_pb2.ReportRunRequest(run=RUN, state=6),
    "FinishRun": lambda _: agent_pb2.FinishRunRequest(run=RUN),
    "ReportUsage": lambda _: agent_pb2.ReportUsageRequest(run=RUN, usages=[agent_pb2.ReadUsage(grant="a-1")]),
    "CommitVersion": lambda edge: agent_pb2.CommitVersionRequest(
        grant=_write_grant(edge), version=agent_pb2.NewVersion(dataset="sales/flights")
    ),
    "ReportTransfer": lambda _: agent_pb2.ReportTransferRequest(
        transfer="t-1", attempt=1, state=transfers_pb2.TRANSFER_STATE_FAILED, reason="X"
    ),
    "FinishTransfer": lambda _: agent_pb2.FinishTransferRequest(transfer="t-1"),
    "ReplaceKeys": lambda _: agent_pb2.ReplaceKeysRequest(
        replacements=[
            agent_pb2.Replacement(
                previous="ab",
                key=agent_pb2.WrappedKey(
                    generation=builders.GENERATION, site="eu-1", dataset_uid="d-read", kek="k-2", wrapped="cd"
                ),
            )
        ]
    ),
    "StoreEscrow": lambda _: agent_pb2.StoreEscrowRequest(escrow="own", public_key="aa", complete=True),
    "ReadEscrow": lambda _: agent_pb2.ReadEscrowRequest(opening="e-1"),
    "FinishEscrow": lambda _: agent_pb2.FinishEscrowRequest(opening="e-1", done=True),
    "IssueLease": lambda _: agent_pb2.IssueLeaseRequest(
        nonce="ab" * 16,
        call="c",
        use=leases_pb2.LEASE_USE_READ,
        grant="a-1",
        run=RUN,
        dataset="sales/read",
        version=1,
        generations=[builders.GENERATION],
        reader_key="cd" * 32,
    ),
    "ConfirmErasure": lambda _: agent_pb2.ConfirmErasureRequest(erasure="erasures/erased", signature=b"s" * 64),
}
#: What has no word about anything of others, or is answered for each thing apart (tests below).
OF_THE_CALLER = {
    *("Register", "Heartbeat", "Work", "ListSealedVersions", "RenewCertificate", "SettleGrants", "FinishDrop"),
    "GetSealedVersion",
    *("ReportKeyring", "ReadKeys", "FinishRotation"),
    "ReadPackage",  # by the digest of its bytes: whoever knows that may have it
}


def test_every_method_is_looked_at_here():
    """A new method of the agents' service is in one of the tables, or this fails."""
    assert {row.name for row in methods.service("Agent")} == FOREIGN.keys() | OF_THE_CALLER


def state(edge: Edge) -> tuple[Any, ...]:
    """What eu-1 has, as the catalog knows it; its transfer apart, which the server itself brings on."""
    return edge.catalog.read(
        lambda tx: (
            tx.get(job.Run, RUN),
            tx.get(kinds.GrantRecord, "a-1"),
            tx.get(site.Site, "eu-1"),
            tx.list(dataset.Replica, where={"site": "eu-1"}),
            tx.list(dataset.Version),
            tx.list(dataset.WrappedKey, where={"site": "eu-1"}),
            tx.list(leases.Lease),
            tx.get(keys.Escrow, "own"),
            tx.get(keys.Opening, "e-1"),
        )
    )


@pytest.mark.parametrize("name", sorted(FOREIGN))
def test_an_agent_says_nothing_of_another_site_s_things(prepared, name):
    """Refused, and nothing is changed."""
    before = state(prepared)
    with pytest.raises(errors.FederationError) as caught:
        prepared.call(f"Agent.{name}", FOREIGN[name](prepared), who="agent:us-1")
    assert not isinstance(caught.value, errors.Unavailable)
    assert caught.value.reason != "INTERNAL"
    assert state(prepared) == before


def test_the_same_words_of_the_site_itself_are_heard(prepared):
    """Else the test above could not fail: its own agent may have its run."""
    prepared.call("Agent.AcceptRun", FOREIGN["AcceptRun"](prepared), who="agent:eu-1")


def test_a_version_is_told_with_the_caller_s_keys_and_no_others(prepared):
    """Whoever asks gets what is wrapped for their own site: for us-1 that is nothing."""
    request = agent_pb2.GetSealedVersionRequest(version="sales/read@1")
    keys = {who: prepared.call("Agent.GetSealedVersion", request, who=f"agent:{who}").keys for who in ("eu-1", "us-1")}
    assert [key.site for key in keys["eu-1"]] == ["eu-1"]
    assert list(keys["us-1"]) == []


def test_a_heartbeat_renews_no_other_site_s_runs_and_closes_no_other_s_grants(prepared):
    """A run that is not the caller's counts as superseded, and its lease stays as it was."""
    before = state(prepared)
    request = agent_pb2.HeartbeatRequest(runs=[RUN])
    answer = prepared.call("Agent.Heartbeat", request, who="agent:us-1")
    assert (list(answer.current_runs), list(answer.superseded_runs)) == ([], [RUN])
    assert state(prepared) == before


def test_a_grant_is_settled_by_its_source_alone(prepared):
    """Another's word on what left is refused, by name."""
    before = state(prepared)
    settlement = agent_pb2.Settlement(grant="a-1", sent_bytes=10**12)
    answer = prepared.call("Agent.SettleGrants", agent_pb2.SettleGrantsRequest(settlements=[settlement]), who="agent:us-1")
    assert [bool(row.reason) for row in answer.outcomes] == [True]
    assert state(prepared) == before


def test_another_site_s_replica_is_not_dropped(prepared):
    """What an agent says it has dropped is its own."""
    before = state(prepared)
    # It has none of that version, so that it has already done what it says: said again, it is no error.
    prepared.call("Agent.FinishDrop", agent_pb2.FinishDropRequest(version="sales/read@1"), who="agent:us-1")
    assert state(prepared) == before


def test_a_list_of_sealed_versions_and_the_work_are_the_caller_s(prepared):
    """us-1 has nothing, and is told nothing."""
    assert prepared.call("Agent.ListSealedVersions", agent_pb2.ListSealedVersionsRequest(), who="agent:us-1") is None
    assert prepared.call("Agent.ListSealedVersions", agent_pb2.ListSealedVersionsRequest(), who="agent:eu-1") is not None
