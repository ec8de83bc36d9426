"""Doing twice is doing once, and trying leaves no trace: every mutation, against a real server. One without its row fails."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from federation import frames
from federation.core import bill, budget, errors, keys, kinds, pipeline, policy, ratecard, records, site, transfer
from federation.core.job import JobState
from federation.crypto import hpke
from federation.services import reconcile
from federation.v1 import (
    bills_pb2,
    budgets_pb2,
    care_pb2,
    catalog_pb2,
    costs_pb2,
    identity_pb2,
    jobs_pb2,
    keys_pb2,
    leases_pb2,
    lineage_pb2,
    pipelines_pb2,
    policies_pb2,
    sites_pb2,
    transfers_pb2,
)
from federation.wire import methods
from tests import builders
from tests import records as stored
from tests.unit.core.test_openlineage import foreign
from tests.wire.edge import Edge
from tests.wire.test_contract import UNREPLAYED

PUBLIC = {name: hpke.new_pair()[1].hex() for name in ("ada", "bob")}
CUSTODIAN = PUBLIC["ada"]
FLIGHTS = "namespaces/sales/datasets/flights"
MUTATIONS = [row for row in methods.TABLE.values() if row.is_mutation]

#: Method -> a request that goes through once the edge was prepared.
REQUESTS: dict[str, Any] = {
    "Catalog.CreateNamespace": catalog_pb2.CreateNamespaceRequest(namespace_id="new"),
    "Catalog.UpdateNamespace": catalog_pb2.UpdateNamespaceRequest(
        namespace=catalog_pb2.Namespace(name="namespaces/sales", description="changed"),
        update_mask=FieldMask(paths=["description"]),
    ),
    "Catalog.SetQuota": catalog_pb2.SetQuotaRequest(name="namespaces/sales", weight=3, gpu_seconds_quota=3600),
    "Catalog.DeleteNamespace": catalog_pb2.DeleteNamespaceRequest(name="namespaces/empty"),
    "Catalog.CreateDataset": catalog_pb2.CreateDatasetRequest(parent="namespaces/sales", dataset_id="new"),
    "Catalog.UpdateDataset": catalog_pb2.UpdateDatasetRequest(
        dataset=catalog_pb2.Dataset(name=FLIGHTS, description="changed"), update_mask=FieldMask(paths=["description"])
    ),
    "Catalog.DeclassifyDataset": catalog_pb2.DeclassifyDatasetRequest(
        dataset=catalog_pb2.Dataset(name=FLIGHTS, classification=catalog_pb2.CLASSIFICATION_PUBLIC),
        update_mask=FieldMask(paths=["classification"]),
        reason="it is published",
    ),
    "Catalog.DeleteDataset": catalog_pb2.DeleteDatasetRequest(name=FLIGHTS),
    "Catalog.UndeleteDataset": catalog_pb2.UndeleteDatasetRequest(name="namespaces/sales/datasets/gone"),
    "Catalog.OpenWrite": catalog_pb2.OpenWriteRequest(name=FLIGHTS, site="eu-1"),
    "Catalog.OpenRead": catalog_pb2.OpenReadRequest(name="namespaces/sales/datasets/read", site="eu-1"),
    "Sites.CreateSite": sites_pb2.CreateSiteRequest(
        site_id="new", site=sites_pb2.Site(region="aws:eu-west-1", jurisdiction="EU")
    ),
    "Sites.UpdateSite": sites_pb2.UpdateSiteRequest(
        site=sites_pb2.Site(name="sites/us-1", sources=["s3://b/"]), update_mask=FieldMask(paths=["sources"])
    ),
    "Sites.DeleteSite": sites_pb2.DeleteSiteRequest(name="sites/us-1"),
    "Sites.OpenCheck": sites_pb2.OpenCheckRequest(name="sites/eu-1"),
    "Jobs.CreateJob": jobs_pb2.CreateJobRequest(
        request=jobs_pb2.JobRequest(namespace="sales", entrypoint=["true"], resources=jobs_pb2.Resources(cpus=1))
    ),
    "Jobs.CancelJob": jobs_pb2.CancelJobRequest(name="jobs/j-runs"),
    "Jobs.OpenLogs": jobs_pb2.OpenLogsRequest(name="jobs/j-ran"),
    "Pipelines.CreatePipeline": pipelines_pb2.CreatePipelineRequest(
        request=pipelines_pb2.PipelineRequest(
            namespace="sales",
            tasks=[
                pipelines_pb2.TaskSpec(
                    task="make",
                    request=jobs_pb2.JobRequest(
                        entrypoint=["true"], outputs=[jobs_pb2.OutputSpec(alias="out", dataset="sales/numbers")]
                    ),
                )
            ],
        )
    ),
    "Pipelines.ScatterJob": pipelines_pb2.ScatterJobRequest(
        map=jobs_pb2.JobRequest(
            namespace="sales", entrypoint=["true"], inputs=[jobs_pb2.InputSpec(alias="data", dataset="sales/parted")]
        ),
        alias="data",
    ),
    "Pipelines.CancelPipeline": pipelines_pb2.CancelPipelineRequest(name="pipelines/p-runs"),
    "Transfers.CreateTransfer": transfers_pb2.CreateTransferRequest(
        version="namespaces/sales/datasets/read/versions/1", destination_site="us-1"
    ),
    "Transfers.CancelTransfer": transfers_pb2.CancelTransferRequest(name="transfers/t-moves"),
    "Transfers.CreateReplicationRule": transfers_pb2.CreateReplicationRuleRequest(
        replication_rule_id="new", replication_rule=transfers_pb2.ReplicationRule(dataset="sales/flights", copies=1)
    ),
    "Transfers.DeleteReplicationRule": transfers_pb2.DeleteReplicationRuleRequest(name="replicationRules/old"),
    "Costs.ImportRateCard": costs_pb2.ImportRateCardRequest(
        egress=ratecard.text([builders.price_row("mars:a", "internet", "1.5")]).encode(), note="contract"
    ),
    "Lineage.ReceiveOpenLineage": lineage_pb2.ReceiveOpenLineageRequest(events=[json.dumps(foreign()).encode()]),
    "Bills.ReconcileBills": bills_pb2.ReconcileBillsRequest(month="2026-11", provider="aws"),
    "Budgets.CreateBudget": budgets_pb2.CreateBudgetRequest(
        budget_id="new", budget=budgets_pb2.Budget(scope="all", limit_micros=1_000_000)
    ),
    "Budgets.UpdateBudget": budgets_pb2.UpdateBudgetRequest(
        budget=budgets_pb2.Budget(name="budgets/old", scope="all", limit_micros=2),
        update_mask=FieldMask(paths=["limit_micros"]),
    ),
    "Policies.ApplyPolicies": policies_pb2.ApplyPoliciesRequest(
        text=builders.POLICIES.default(), cases=[records.dumps(builders.case())], note="as shipped"
    ),
    "Budgets.DeleteBudget": budgets_pb2.DeleteBudgetRequest(name="budgets/old"),
    "Keys.RotateKeys": keys_pb2.RotateKeysRequest(name="sites/eu-1", part=keys_pb2.KEY_PART_DEK),
    "Keys.CreateEscrow": keys_pb2.CreateEscrowRequest(
        escrow_id="new",
        escrow=keys_pb2.Escrow(
            site="eu-1",
            threshold=2,
            custodians=[keys_pb2.Custodian(principal=f"users/{name}", public_key=key) for name, key in PUBLIC.items()],
        ),
    ),
    "Keys.RequestOpening": keys_pb2.RequestOpeningRequest(name="escrows/old", reason="a test"),
    "Keys.ApproveOpening": keys_pb2.ApproveOpeningRequest(name="openings/e-1", sealed_share=b"sealed"),
    "Erasures.EraseVersion": leases_pb2.EraseVersionRequest(version="sales/read@1", reason="request 4711"),
    "Identity.CreateToken": identity_pb2.CreateTokenRequest(token=identity_pb2.Token(user="users/ada", role="USER")),
    "Identity.RevokeToken": identity_pb2.RevokeTokenRequest(name="tokens/told"),
    "Care.CollectVersions": care_pb2.CollectVersionsRequest(dataset="namespaces/sales/datasets/old", keep_versions=1),
    "Sites.InviteSite": sites_pb2.InviteSiteRequest(name="sites/eu-1"),
    "Sites.AdmitSite": sites_pb2.AdmitSiteRequest(name="sites/eu-1", grade="C", reason="its keyring lies on a shared disk"),
}
PACKAGE = b"the zip of a working directory"
LINES = frames.pack(bill.BillLine, [stored.bill_line()])
#: Method that bears no request_id (`test_contract.UNREPLAYED` says why) -> what is sent at that server; a list is a stream.
SENT: dict[str, Callable[[Edge], Any]] = {
    "Jobs.UploadPackage": lambda _: [
        jobs_pb2.UploadPackageRequest(digest=hashlib.sha256(PACKAGE).hexdigest(), alias="code"),
        jobs_pb2.UploadPackageRequest(data=PACKAGE),
    ],
    "Bills.ImportBill": lambda _: [
        bills_pb2.ImportBillRequest(
            provider="aws", account="111122223333", month="2026-11", digest=hashlib.sha256(LINES).hexdigest(), source="bill.csv"
        ),
        bills_pb2.ImportBillRequest(lines=LINES),
    ],
    "Sites.JoinSite": lambda edge: sites_pb2.JoinSiteRequest(
        secret=edge.call("Sites.InviteSite", REQUESTS["Sites.InviteSite"]).secret.partition(".")[0]
    ),
}


@pytest.fixture
def ready(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> Edge:
    """The server with what the requests above need. It does nothing by itself: not all of that would last."""
    monkeypatch.setattr(reconcile, "STEPS", {})
    prepare(edge)
    return edge


def prepare(edge: Edge) -> None:
    """Puts what the requests above need into a server's catalog."""

    def work(tx: Any) -> None:
        tx.insert(builders.namespace("empty"))
        tx.insert(builders.dataset("sales/gone", delete_time=builders.NOW))
        tx.insert(builders.dataset("sales/read", latest_version=1, uid="d-read"))
        tx.insert(builders.version("sales/read@1"))
        tx.insert(builders.replica("sales/read@1", "eu-1"))
        tx.insert(builders.dataset("sales/old", latest_version=2))
        for number in (1, 2):
            tx.insert(builders.version(f"sales/old@{number}", create_time=builders.NOW))
            tx.insert(builders.replica(f"sales/old@{number}", "eu-1"))
        eu = tx.get(site.Site, "eu-1")
        tx.replace(builders.site("eu-1", signing_key=eu.signing_key, heartbeat_time=tx.now), etag="")
        tx.insert(builders.job("j-runs", run="jobs/j-runs/runs/1", attempt=1, state=JobState.RUNNING))
        lease_time = tx.now + timedelta(hours=1)
        tx.insert(builders.run(1, job_="j-runs", state=JobState.RUNNING, lease_time=lease_time, start_time=tx.now))
        ended = {"state": JobState.SUCCEEDED, "end_time": tx.now}
        tx.insert(builders.job("j-ran", run="jobs/j-ran/runs/1", attempt=1, **ended))
        tx.insert(builders.run(1, job_="j-ran", **ended))
        moved = {"dataset": "sales/flights", "version": 1, "source_site": "eu-1", "destination_site": "us-1"}
        tx.insert(transfer.Transfer(transfer="t-moves", **moved))
        tx.insert(transfer.ReplicationRule(rule="old", dataset="sales/flights", create_time=tx.now))
        tx.insert(builders.dataset("sales/parted", parts=("sales/read",)))
        task = pipeline.TaskSpec(task="make", request=builders.request())
        runs = pipeline.TaskRun(task="make", state=JobState.RUNNING, job="j-runs", site="eu-1")
        asked = pipeline.PipelineRequest(namespace="sales", tasks=(task,))
        state = pipeline.PipelineState.RUNNING
        tx.insert(pipeline.Pipeline(pipeline="p-runs", request=asked, state=state, tasks=(runs,)))

        tx.insert(kinds.TokenRecord(token="told", digest="", user="eve", role=policy.Role.USER))
        tx.insert(budget.Budget(budget="old", scope="all", limit_micros=1))
        guards = tuple(keys.Custodian(principal=f"users/{name}", public_key=CUSTODIAN) for name in ("admin", "bob"))
        tx.insert(keys.Escrow(escrow="old", site="eu-1", threshold=2, custodians=guards, public_key=CUSTODIAN))
        tx.insert(keys.Opening(opening="e-1", escrow="old", site="eu-1", reason="a test", principal="users/user"))
        tx.insert(bill.Bill(bill="aws-1-2026-11", provider="aws", account="1", month="2026-11", version=1, covered_time=tx.now))

    edge.catalog.write(work)


def test_every_mutation_has_its_row():
    """The table above names each method that can be repeated."""
    assert {row.key for row in MUTATIONS} == set(REQUESTS)
    assert set(SENT) == set(UNREPLAYED)


def request(row: methods.Method, **changes: Any) -> Any:
    """The request of the table, with changes."""
    made = row.request()
    made.CopyFrom(REQUESTS[row.key])
    for name, value in changes.items():
        setattr(made, name, value)
    return made


def another(row: methods.Method) -> Any:
    """A different request of the same method: any other field set is another question."""
    made = request(row)
    if row.key == "Lineage.ReceiveOpenLineage":
        made.events[0] = json.dumps(foreign(eventType="FAIL")).encode()
        return made
    if row.key == "Care.CollectVersions":
        made.keep_versions += 1
        return made
    for field in made.DESCRIPTOR.fields:
        if field.name in {
            "name",
            "note",
            "namespace_id",
            "dataset_id",
            "site_id",
            "version",
            "replication_rule_id",
            "account",
            "budget_id",
        }:
            setattr(made, field.name, getattr(made, field.name) + "x")
            return made
    inner = next(field.name for field in made.DESCRIPTOR.fields if field.message_type)
    text = next(
        field.name
        for field in getattr(made, inner).DESCRIPTOR.fields
        if field.name in {"description", "label", "user", "gateway", "principal"}
    )
    setattr(getattr(made, inner), text, "other")
    return made


def effects(edge: Edge) -> list[tuple[str, str]]:
    """What people did, without what the server does unasked."""
    events = edge.catalog.events(0)
    return [(event.kind, event.name) for event in events if event.actor.startswith("users/")]


def outcome(call: Callable[[], Any]) -> Any:
    """What a call answers, or how it is refused."""
    try:
        return call()
    except errors.FederationError as error:
        return (type(error), error.reason, error.message, dict(error.metadata))


@pytest.mark.parametrize("row", MUTATIONS, ids=lambda row: row.key)
def test_a_repeated_request_gets_the_same_answer_and_is_done_once(ready, row):
    """Same caller, same request_id: the first answer again, and not one event more."""
    sent = request(row, request_id="r-1")
    first = ready.call(row.key, sent)
    done = effects(ready)
    again = outcome(lambda: ready.call(row.key, sent))
    if row.key in {"Identity.CreateToken", "Sites.InviteSite"}:
        assert again[:2] == (errors.FailedPrecondition, "SECRET_SHOWN_ONCE")
    else:
        assert again == first
    assert effects(ready) == done


@pytest.mark.parametrize("key", SENT)
def test_what_bears_no_id_is_done_once_too(ready, key):
    """What is sent says by itself that it is the same: the same answer again, and nothing is told of it."""
    sent = SENT[key](ready)
    first = ready.call(key, sent)
    told = ready.catalog.events(0)
    assert ready.call(key, sent) == first
    assert [event.kind for event in ready.catalog.events(told[-1].position) if event.actor.partition("/")[0] != "server"] == []


@pytest.mark.parametrize("row", MUTATIONS, ids=lambda row: row.key)
def test_a_request_id_is_not_used_twice_for_different_requests(ready, row):
    """Whoever repeats an id with another question made a mistake, and hears of it."""
    ready.call(row.key, request(row, request_id="r-1"))
    other = another(row)
    other.request_id = "r-1"
    with pytest.raises(errors.InvalidArgument) as caught:
        ready.call(row.key, other)
    assert caught.value.reason == "REQUEST_ID_REUSED"


@pytest.mark.parametrize("row", MUTATIONS, ids=lambda row: row.key)
def test_a_try_stores_nothing_and_takes_no_id(ready, row):
    """validate_only answers like the real thing, leaves no event, and the same request_id is then free for it."""
    before = effects(ready)
    tried = ready.call(row.key, request(row, request_id="r-1", validate_only=True))
    assert effects(ready) == before
    real = ready.call(row.key, request(row, request_id="r-1"))
    assert type(tried) is type(real)
    assert len(effects(ready)) > len(before)


@pytest.mark.parametrize("row", MUTATIONS, ids=lambda row: row.key)
def test_without_a_request_id_every_call_stands_for_itself(ready, row):
    """No id, no record: the second call is judged anew."""
    ready.call(row.key, request(row))
    assert not [key for key in recorded(ready) if key[1] == ""]


def recorded(edge: Edge) -> list[tuple[str, str]]:
    """Callers and ids of the recorded requests."""
    return list(edge.catalog._state.requests)


def test_ids_of_two_callers_are_two_ids(ready):
    """A request_id is the caller's own: another's answer is never replayed to somebody else."""
    row = methods.TABLE["Catalog.CreateNamespace"]
    ready.call(row.key, request(row, request_id="r-1"))
    with pytest.raises(errors.AlreadyExists):
        ready.call(row.key, request(row, request_id="r-1"), who="user")


def test_a_refusal_that_would_stay_one_is_replayed(ready):
    """Even when the reason has gone: a caller that repeats learns what became of its first try."""
    row = methods.TABLE["Catalog.CreateDataset"]
    sent = request(row, parent="namespaces/later", request_id="r-1")
    first = outcome(lambda: ready.call(row.key, sent))
    assert first[0] is errors.NotFound
    ready.call("Catalog.CreateNamespace", catalog_pb2.CreateNamespaceRequest(namespace_id="later"))
    assert outcome(lambda: ready.call(row.key, sent)) == first
    fresh = request(row, parent="namespaces/later", request_id="r-2")
    assert ready.call(row.key, fresh).name == "namespaces/later/datasets/new"


def test_a_refused_mutation_leaves_nothing_but_its_record(ready):
    """No half of it."""
    row = methods.TABLE["Catalog.CreateDataset"]
    before = effects(ready)
    with pytest.raises(errors.NotFound):
        ready.call(row.key, request(row, parent="namespaces/nowhere", request_id="r-1"))
    assert effects(ready) == before
    assert ("users/admin", "r-1") in recorded(ready)


def test_the_secret_of_a_token_is_in_no_store(ready):
    """Neither its record nor the replay's holds it; a try does not even make one."""
    row = methods.TABLE["Identity.CreateToken"]
    secret = ready.call(row.key, request(row, request_id="r-1")).secret
    assert secret.startswith("fed_")
    kept = b"".join(answer for _, answer, _ in ready.catalog._state.requests.values())
    assert secret.encode() not in kept
    assert secret not in "".join(event.body for event in ready.catalog.events(0))
    assert ready.call(row.key, request(row, validate_only=True)).secret == ""
    tokens = ready.catalog.read(lambda tx: tx.list(kinds.TokenRecord))
    assert [token.user for token in tokens].count("ada") == 1


def test_a_new_token_lets_its_owner_in(ready):
    """As the person and in the role that it was made for."""
    made = ready.client().create_token("ada", jurisdiction="EU", expires_in_seconds=3600)
    answer = ready.client(made.secret).who_am_i()
    assert (answer.principal, answer.role, answer.jurisdiction) == ("users/ada", "USER", "EU")


@pytest.mark.parametrize("bad", ["x" * 129, "with space", "é"])
def test_a_request_id_that_is_none_is_refused(ready, bad):
    """Before anything is done."""
    row = methods.TABLE["Catalog.CreateNamespace"]
    with pytest.raises(errors.InvalidArgument) as caught:
        ready.call(row.key, request(row, request_id=bad))
    assert caught.value.reason == "REQUEST_ID_INVALID"


# Masks and etags


def test_an_update_changes_what_its_mask_names_and_nothing_else(ready):
    """The rest of the resource in the request is not looked at (AIP-134)."""
    client = ready.client()
    seen = client.get_dataset("sales/flights")
    client.update_dataset(builders.dataset("sales/flights", ("EU",), description="new", owner="users/x"), ("description",))
    now = client.get_dataset("sales/flights")
    assert (now.description, now.owner, now.residency) == ("new", seen.owner, ())
    assert now.etag != seen.etag


def test_a_mask_that_names_what_cannot_change_is_refused(ready):
    """With the fields that can."""
    for path in ("uid", "nonsense", "latest_version"):
        with pytest.raises(errors.InvalidArgument) as caught:
            ready.client().update_dataset(builders.dataset("sales/flights"), (path,))
        assert "description" in caught.value.help


def test_a_stale_etag_is_aborted(ready):
    """ABORTED, reason ETAG_MISMATCH; with the fresh one it goes through."""
    client = ready.client()
    seen = client.get_dataset("sales/flights")
    client.update_dataset(builders.dataset("sales/flights", description="one"), ("description",))
    stale = builders.dataset("sales/flights", description="two", etag=seen.etag)
    with pytest.raises(errors.Conflict) as caught:
        client.update_dataset(stale, ("description",))
    assert caught.value.reason == "ETAG_MISMATCH"
    with pytest.raises(errors.Conflict):
        client.delete_dataset("sales/flights", etag=seen.etag)
    assert client.delete_dataset("sales/flights", etag=client.get_dataset("sales/flights").etag).delete_time
