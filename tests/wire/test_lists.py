"""Every list, page by page, against a real server. A new List without its row fails."""

from __future__ import annotations

from typing import Any

import pytest

from federation.core import (
    bill,
    budget,
    chain,
    erasure,
    errors,
    job,
    keys,
    kinds,
    leases,
    metering,
    offers,
    pipeline,
    policy,
    ratecard,
    transfer,
)
from federation.crypto import heads
from federation.v1 import (
    audit_pb2,
    bills_pb2,
    budgets_pb2,
    catalog_pb2,
    costs_pb2,
    identity_pb2,
    jobs_pb2,
    keys_pb2,
    leases_pb2,
    ledger_pb2,
    pipelines_pb2,
    sites_pb2,
    transfers_pb2,
)
from federation.wire import methods
from tests import builders, records
from tests.wire.edge import PEOPLE, Edge

COUNT = 7

#: Method -> a request that lists `COUNT` values, once `edge` was filled.
REQUESTS: dict[str, Any] = {
    "Catalog.ListNamespaces": catalog_pb2.ListNamespacesRequest(),
    "Catalog.ListDatasets": catalog_pb2.ListDatasetsRequest(parent="namespaces/n-0"),
    "Catalog.SearchDatasets": catalog_pb2.SearchDatasetsRequest(query="d", parent="namespaces/n-0"),
    "Catalog.ListVersions": catalog_pb2.ListVersionsRequest(parent="namespaces/n-0/datasets/d-0"),
    "Catalog.ListReplicas": catalog_pb2.ListReplicasRequest(parent="namespaces/n-0/datasets/d-0/versions/-"),
    "Sites.ListSites": sites_pb2.ListSitesRequest(),
    "Sites.ListLinks": sites_pb2.ListLinksRequest(),
    "Jobs.ListJobs": jobs_pb2.ListJobsRequest(),
    "Jobs.ListRuns": jobs_pb2.ListRunsRequest(parent="jobs/j-0"),
    "Pipelines.ListPipelines": pipelines_pb2.ListPipelinesRequest(),
    "Transfers.ListTransfers": transfers_pb2.ListTransfersRequest(),
    "Transfers.ListReplicationRules": transfers_pb2.ListReplicationRulesRequest(),
    "Costs.ListLedgerEntries": costs_pb2.ListLedgerEntriesRequest(),
    "Costs.ListUsage": costs_pb2.ListUsageRequest(),
    "Costs.ListRateCards": costs_pb2.ListRateCardsRequest(),
    "Ledger.ListRecordHeads": ledger_pb2.ListRecordHeadsRequest(),
    "Bills.ListBills": bills_pb2.ListBillsRequest(),
    "Leases.ListLeases": leases_pb2.ListLeasesRequest(),
    "Erasures.ListErasures": leases_pb2.ListErasuresRequest(),
    "Budgets.ListBudgets": budgets_pb2.ListBudgetsRequest(),
    "Keys.ListKeyrings": keys_pb2.ListKeyringsRequest(),
    "Keys.ListKeyUses": keys_pb2.ListKeyUsesRequest(),
    "Keys.ListEscrows": keys_pb2.ListEscrowsRequest(),
    "Keys.ListOpenings": keys_pb2.ListOpeningsRequest(),
    "Identity.ListTokens": identity_pb2.ListTokensRequest(),
    "Audit.ListAuditEntries": audit_pb2.ListAuditEntriesRequest(filter='kind = "site.tested"'),  # a list is an entry itself
}
LISTS = [row for row in methods.TABLE.values() if row.pager]


def ledger_entry(name: str) -> metering.LedgerEntry:
    """A line of the ledger, of a read that cost nothing."""
    return metering.LedgerEntry(
        entry=name,
        grant="a-1",
        time=builders.NOW,
        month=builders.MONTH,
        namespace="sales",
        dataset="flights",
        version=1,
        alias="flights",
        job="j-0",
        run="jobs/j-0/runs/1",
        attempt=1,
        principal="users/user",
        source_site="eu-1",
        source_region="aws:eu-central-1",
        destination_site="eu-1",
        destination_region="aws:eu-central-1",
        bytes=10,
        unsettled_bytes=0,
        requests=1,
        charge_micros=0,
        estimate_bytes=10,
        estimate_micros=0,
        avoided_micros=None,
        month_to_date_bytes=0,
        price_source="test",
    )


def lease(nonce: str) -> leases.Lease:
    """A lease of flights."""
    return leases.Lease(
        lease=leases.name(nonce),
        use=leases.Use.READ,
        site="eu-1",
        dataset="sales/flights",
        dataset_uid="d-1",
        version=1,
        generations=(builders.GENERATION,),
        sensitivities=("default",),
        principal="users/user",
        reader_key="00" * 32,
        nonce=nonce,
        call="call",
        issue_time=builders.NOW,
        expire_time=builders.NOW,
    )


def erased(name: str, number: int) -> erasure.Erasure:
    """An erasure that is complete."""
    return erasure.Erasure(
        erasure=name,
        dataset="n-0/d-0",
        dataset_uid="d-0",
        version=number + 1,
        manifest_digest="00" * 32,
        reason="a test",
        principal="users/root",
        state=erasure.ErasureState.CERTIFIED,
        generations=(),
        sites=(),
    )


@pytest.fixture(scope="module")
def filled(shared_edge: Edge) -> Edge:
    """The server with several of everything."""

    def work(tx: Any) -> None:
        for number in range(COUNT):
            tx.insert(builders.namespace(f"n-{number}"))
            tx.insert(builders.dataset(f"n-0/d-{number}", owner="users/even" if number % 2 == 0 else "users/odd"))
            tx.insert(builders.version(f"n-0/d-0@{number + 1}"))
            tx.insert(builders.replica(f"n-0/d-0@{number + 1}", "eu-1"))
            tx.insert(builders.site(f"s-{number}"))
            state = job.JobState.SUCCEEDED
            tx.insert(builders.job(f"j-{number}", state=state, reason="", end_time=builders.NOW))
            tx.insert(builders.run(number + 1, job_="j-0", state=state))
            moved = {"dataset": "n-0/d-0", "version": 1, "source_site": "eu-1", "destination_site": f"s-{number}"}
            done = {"state": transfer.TransferState.SUCCEEDED, "end_time": builders.NOW}
            tx.insert(transfer.Transfer(transfer=f"t-{number}", **moved, **done))
            tx.insert(transfer.ReplicationRule(rule=f"r-{number}", dataset="n-0/d-0"))
            asked = pipeline.PipelineRequest(label="test", namespace="n-0")
            ended = pipeline.PipelineState.SUCCEEDED
            tx.insert(pipeline.Pipeline(pipeline=f"p-{number}", request=asked, state=ended, end_time=builders.NOW))
            tx.insert(ledger_entry(f"l-{number}"))
            tx.insert(records.usage_record(grant=f"a-{number}"))
            head = chain.Head(table="audit", position=number + 1, rows=1, chain=bytes(32))
            tx.insert(heads.sign(bytes(32), head, builders.NOW))
            tx.insert(budget.Budget(budget=f"b-{number}", scope="all", limit_micros=1))
            tx.insert(builders.wrapped_key("eu-1", f"g-{number}", dataset_uid=f"uid-{number}"))
            tx.insert(keys.Escrow(escrow=f"k-{number}", site="eu-1", threshold=2, custodians=()))
            tx.insert(keys.Opening(opening=f"e-{number}", escrow="k-0", site="eu-1", reason="a test", principal="users/user"))
            tx.insert(bill.Bill(bill=f"aws-{number}-2026-11", provider="aws", account=f"{number}", month="2026-11"))
            tx.insert(lease(f"{number:032x}"))
            tx.emit("site.tested", f"sites/s-{number}", None)
            tx.insert(erased(f"e-{number}", number))
            if number >= len(PEOPLE):  # who have one already
                tx.insert(kinds.TokenRecord(token=f"t-{number}", digest="", user="ada", role=policy.Role.USER))
            egress, compute = ratecard.text(builders.rates().rows), offers.text(())
            tx.insert(kinds.RateCardVersion(number=number + 1, egress=egress, compute=compute, digest=f"{number}"))

    shared_edge.catalog.write(work)
    return shared_edge


def test_every_list_has_its_row():
    """The table above names each method that answers in pages."""
    assert {row.key for row in LISTS} == set(REQUESTS)


def ask(edge: Edge, row: methods.Method, **changes: Any) -> Any:
    """One page of a list."""
    request = row.request()
    request.CopyFrom(REQUESTS[row.key])
    for name, value in changes.items():
        setattr(request, name, value)
    return edge.call(row.key, request)


def walk(edge: Edge, row: methods.Method, **changes: Any) -> list[str]:
    """The names on all pages, one after the other."""
    names, token = [], ""
    while True:
        page = ask(edge, row, page_token=token, **changes)
        names += [value.name for value in getattr(page, row.pager)]
        token = page.next_page_token
        if not token:
            return names


@pytest.mark.parametrize("row", LISTS, ids=lambda row: row.key)
def test_pages_walked_one_by_one_are_the_whole_list(filled, row):
    """In the same order, nothing twice, nothing missing; the empty token is the only end."""
    whole = [value.name for value in getattr(ask(filled, row, page_size=1000), row.pager)]
    assert len(whole) >= COUNT - 3  # links are computed from the regions of the sites
    assert len(set(whole)) == len(whole)
    for size in (1, 3, len(whole)):
        assert walk(filled, row, page_size=size) == whole


@pytest.mark.parametrize("row", LISTS, ids=lambda row: row.key)
def test_a_list_without_a_size_has_one(filled, row):
    """0 is the default, a size beyond the greatest is the greatest."""
    assert walk(filled, row) == walk(filled, row, page_size=2**31 - 1)


@pytest.mark.parametrize("row", LISTS, ids=lambda row: row.key)
def test_a_negative_size_is_refused(filled, row):
    """Negative is wrong, not a default."""
    with pytest.raises(errors.InvalidArgument) as caught:
        ask(filled, row, page_size=-1)
    assert caught.value.reason == "PAGE_SIZE_INVALID"
    assert "page_size" in caught.value.violations


@pytest.mark.parametrize("row", LISTS, ids=lambda row: row.key)
def test_a_token_that_was_touched_is_refused(filled, row):
    """One flipped letter, a cut end, another alphabet, nonsense: none of them is followed."""
    token = ask(filled, row, page_size=1).next_page_token
    flipped = token[:-2] + ("A" if token[-2] != "A" else "B") + token[-1:]
    for bad in (flipped, token[:-4], token + "AAAA", "nonsense", "é", "AAAA", "=" * 8):
        with pytest.raises(errors.InvalidArgument) as caught:
            ask(filled, row, page_size=1, page_token=bad)
        assert caught.value.reason == "PAGE_TOKEN_INVALID"


@pytest.mark.parametrize("row", LISTS, ids=lambda row: row.key)
def test_a_token_is_good_for_its_own_listing_alone(filled, row):
    """With another filter, or in another method, it is refused; with another size it goes on."""
    token = ask(filled, row, page_size=1).next_page_token
    assert ask(filled, row, page_size=2, page_token=token)
    other = next(each for each in LISTS if each is not row)
    with pytest.raises(errors.InvalidArgument, match="page_token"):
        ask(filled, other, page_token=token)
    with pytest.raises(errors.InvalidArgument):
        ask(filled, row, page_token=token, filter='state = "READY"')


def test_a_token_does_not_pass_to_another_caller(filled):
    """What one person may list says nothing about another."""
    token = ask(filled, methods.TABLE["Catalog.ListNamespaces"], page_size=1).next_page_token
    request = catalog_pb2.ListNamespacesRequest(page_size=1, page_token=token)
    with pytest.raises(errors.InvalidArgument, match="page_token"):
        filled.call("Catalog.ListNamespaces", request, who="user")


@pytest.mark.parametrize("row", LISTS, ids=lambda row: row.key)
def test_a_filter_that_cannot_be_read_names_the_fields(filled, row):
    """The refusal tells what could have been asked."""
    with pytest.raises(errors.InvalidArgument) as caught:
        ask(filled, row, filter="nonsense = 1")
    assert caught.value.reason == "FILTER_INVALID"
    assert "Fields:" in caught.value.help


def test_a_filter_keeps_what_it_says_over_all_pages(filled):
    """By one field or two, page by page."""
    row = methods.TABLE["Catalog.ListDatasets"]
    even = [f"namespaces/n-0/datasets/d-{number}" for number in range(0, COUNT, 2)]
    assert walk(filled, row, page_size=1, filter='owner = "users/even"') == even
    assert walk(filled, row, page_size=1, filter='kind = "DATA" AND owner = "users/even"') == even
    assert walk(filled, row, filter='kind = "MODEL" AND owner = "users/even"') == []


@pytest.mark.parametrize(
    ("key", "prefix", "whole"),
    [
        ("Catalog.ListNamespaces", "n-", "n-1"),
        ("Catalog.ListDatasets", "n-0/d-", "n-0/d-1"),
        ("Jobs.ListJobs", "j-", "j-1"),
        ("Transfers.ListTransfers", "t-", None),
        ("Sites.ListSites", "s", None),
    ],
)
def test_a_listing_begins_and_ends_where_names_begin_so(filled, key, prefix, whole):
    """`name = "PREFIX*"` is all of the listing that begins so, in its order, in pages of any size; a whole name is one."""
    row = methods.TABLE[key]
    parent = {"parent": "namespaces/-"} if key == "Catalog.ListDatasets" else {}
    every = walk(filled, row, **parent)
    short = [name.replace("/datasets/", "/").partition("/")[2] for name in every]
    wanted = [name for name, said in zip(every, short, strict=True) if said.startswith(prefix)]
    for page_size in (1, 3, 50):
        assert walk(filled, row, page_size=page_size, filter=f'name = "{prefix}*"', **parent) == wanted
    if whole is not None:
        assert len(wanted) > 1
        assert walk(filled, row, filter=f'name = "{whole}"', **parent) == [every[short.index(whole)]]
    assert walk(filled, row, filter='name = "nowhere*"', **parent) == []


def test_jobs_and_ledger_entries_come_newest_first(filled):
    """People look for what happened last."""
    jobs = walk(filled, methods.TABLE["Jobs.ListJobs"], page_size=2)
    assert jobs == sorted(jobs, reverse=True)
    entries = walk(filled, methods.TABLE["Costs.ListLedgerEntries"], page_size=2)
    assert entries == sorted(entries, reverse=True)


def test_all_datasets_are_listed_below_the_dash(filled):
    """`namespaces/-` is every namespace (AIP-159)."""
    row = methods.TABLE["Catalog.ListDatasets"]
    assert "namespaces/sales/datasets/flights" in walk(filled, row, parent="namespaces/-", page_size=2)


def test_what_lies_and_runs_at_a_site_is_listed_below_the_dash(filled):
    """Replicas of all datasets and runs of all jobs, narrowed by site as by anything else, in pages; runs newest first."""
    replicas, runs = methods.TABLE["Catalog.ListReplicas"], methods.TABLE["Jobs.ListRuns"]
    every = {"parent": "namespaces/-/datasets/-/versions/-"}
    of_one = walk(filled, replicas)
    here = walk(filled, replicas, filter='site = "eu-1"', page_size=2, **every)
    assert [name for name in here if name.startswith("namespaces/n-0/datasets/d-0/")] == of_one
    assert walk(filled, replicas, filter='site = "nowhere"', **every) == []
    ended = walk(filled, runs, parent="jobs/-", filter='site = "eu-1" AND state = "SUCCEEDED"', page_size=2)
    assert [name for name in ended if name.startswith("jobs/j-0/")] == walk(filled, runs)[::-1]
    assert walk(filled, runs, parent="jobs/-", filter='site = "us-1"') == []


@pytest.mark.parametrize(
    ("key", "parent"),
    [
        ("Catalog.ListDatasets", "namespaces/nowhere"),
        ("Catalog.SearchDatasets", "namespaces/nowhere"),
        ("Catalog.ListVersions", "namespaces/n-0/datasets/nowhere"),
        ("Catalog.ListReplicas", "namespaces/n-0/datasets/nowhere/versions/-"),
        ("Catalog.ListReplicas", "namespaces/n-0/datasets/d-0/versions/99"),
        ("Jobs.ListRuns", "jobs/nowhere"),
    ],
)
def test_a_parent_that_is_not_there_is_not_found(filled, key, parent):
    """An empty answer would look like an empty parent."""
    with pytest.raises(errors.NotFound):
        ask(filled, methods.TABLE[key], parent=parent)


def test_replicas_of_one_version_are_its_own(filled):
    """With a number in the parent only that version's."""
    parent = "namespaces/n-0/datasets/d-0/versions/3"
    found = walk(filled, methods.TABLE["Catalog.ListReplicas"], parent=parent)
    assert found == [f"{parent}/replicas/eu-1"]
