"""The rules of the contract, read from its descriptors. A new method or resource is held to them without a word here."""

from __future__ import annotations

import re
from typing import Any

import pytest
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from federation.api import calls, http
from federation.core import errors, policy
from federation.v1 import (
    agent_pb2,
    bills_pb2,
    budgets_pb2,
    catalog_pb2,
    costs_pb2,
    gateway_pb2,
    identity_pb2,
    jobs_pb2,
    keys_pb2,
    leases_pb2,
    ledger_pb2,
    lineage_pb2,
    pipelines_pb2,
    records_pb2,
    sites_pb2,
    transfers_pb2,
)
from federation.wire import methods

FILES = (catalog_pb2, sites_pb2, jobs_pb2, pipelines_pb2, transfers_pb2, costs_pb2, bills_pb2, budgets_pb2, keys_pb2)
FILES += (leases_pb2,)
FILES += (ledger_pb2, lineage_pb2, identity_pb2, records_pb2, agent_pb2, gateway_pb2)
ALL = list(methods.TABLE.values())
PEOPLE = [row for row in ALL if row.service in methods.PEOPLE]
LISTS = [row for row in PEOPLE if row.name.startswith("List")]
GETS = [row for row in PEOPLE if row.name.startswith("Get")]
UPDATES = [row for row in PEOPLE if row.name.startswith("Update")]
CREATES = [row for row in PEOPLE if row.name.startswith("Create")]
DELETES = [row for row in PEOPLE if row.name.startswith(("Delete", "Undelete", "Cancel"))]
ASKING = (
    *("Get", "List", "Find", "Search", "Explain", "Check", "Summarize", "Price", "Export", "Verify", "Query", "WhoAmI"),
    "Watch",
)

#: What is stored under a name of its own. A Link is computed from prices, a LedgerEntry is never changed: neither has an etag.
RESOURCES = [catalog_pb2.Namespace, catalog_pb2.Dataset, catalog_pb2.Version, catalog_pb2.Replica]
RESOURCES += [sites_pb2.Site, jobs_pb2.Job, jobs_pb2.Run, pipelines_pb2.Pipeline]
RESOURCES += [transfers_pb2.Transfer, transfers_pb2.ReplicationRule, bills_pb2.Bill, budgets_pb2.Budget]
#: The result of a custom method is its own message, not a resource (AIP-136).
GET_EXCEPTIONS = {"Lineage.GetLineage": "LineageGraph"}
#: A stream cannot be replayed from a record; it is made harmless by its digest instead.
UNREPLAYED = {
    "Jobs.UploadPackage": "stores a package under the SHA-256 of its bytes, so that doing it twice is doing it once",
    "Sites.JoinSite": "a join token is good for one key, and the same key gets the same certificate again",
    "Bills.ImportBill": "a delivery is known by the SHA-256 of its lines, so that the same one again changes nothing",
}


def named(rows: list[methods.Method]) -> Any:
    """One test for each method."""
    return pytest.mark.parametrize("row", rows, ids=lambda row: row.key)


def fields(message: Any) -> dict[str, FieldDescriptor]:
    """A message's fields by name."""
    return dict(message.DESCRIPTOR.fields_by_name)


def test_every_service_is_served_at_one_place():
    """People's port, agents' port or gateway: each service of the contract is in one of the lists."""
    assert {row.service for row in ALL} == {*methods.PEOPLE, *methods.AGENTS, *methods.GATEWAY}


@named(ALL)
def test_every_method_declares_a_permission_that_somebody_can_have(row):
    """At the server a permission of a role; at the gateway a grant, a run's token, or nothing for the ticket itself."""
    allowed = {"public", "grant", "token"} if row.service in methods.GATEWAY else policy.KNOWN | {policy.PUBLIC}
    assert row.permission in allowed


@named(PEOPLE)
def test_no_method_for_people_needs_what_only_agents_have(row):
    """And none can be called without a role, but those that are open to anybody."""
    assert row.permission in policy.ADMIN_PERMISSIONS | {policy.PUBLIC}


def test_every_permission_is_asked_for_by_some_method():
    """A permission that nothing asks for would be a promise of nothing. Metrics are asked for over HTTP."""
    assert {row.permission for row in ALL} >= policy.KNOWN - {http.METRICS_PERMISSION}


def test_the_server_refuses_a_method_without_a_permission():
    """And one with a permission that no role knows: it does not start."""
    for permission in ("", "datasets.conquer"):
        row = methods.Method(
            service="Catalog",
            name="Conquer",
            request=catalog_pb2.GetDatasetRequest,
            response=catalog_pb2.Dataset,
            permission=permission,
        )
        with pytest.raises(errors.FailedPrecondition) as caught:
            calls.check_permissions([row])
        assert caught.value.reason == "PERMISSION_UNDECLARED"


def test_the_server_refuses_a_method_that_nothing_does():
    """A servicer that lacks a function of the contract is found at the start, not at the call."""
    with pytest.raises(errors.FailedPrecondition) as caught:
        calls.generic_handlers({"Identity": object()}, entrance=None)  # type: ignore[arg-type]
    assert caught.value.reason == "METHOD_UNIMPLEMENTED"


@named(LISTS)
def test_pages_every_list_has_size_token_and_filter_and_one_repeated_field_numbered_one(row):
    """AIP-158 and 160: page_size, page_token and filter in; the values as field 1 and next_page_token out."""
    asked, answered = fields(row.request), fields(row.response)
    assert {"page_size", "page_token", "filter"} <= set(asked)
    assert set(answered) == {row.pager, "next_page_token"}
    assert answered[row.pager].number == 1
    assert answered[row.pager].message_type is not None


@named(LISTS)
def test_pages_the_field_is_named_like_the_method(row):
    """ListLedgerEntries answers with ledger_entries."""
    assert row.pager == calls.snake(row.name.removeprefix("List"))


@named(LISTS)
def test_pages_a_list_below_something_names_its_parent(row):
    """What lies below a resource is listed by its parent, at field 1."""
    nested = {"ListDatasets", "ListVersions", "ListReplicas", "ListRuns"}
    assert ("parent" in fields(row.request)) == (row.name in nested)


@named([row for row in PEOPLE if not row.name.startswith(ASKING)])
def test_mutations_every_one_can_be_repeated_and_tried(row):
    """AIP-155 and 163: request_id and validate_only in every request that changes something."""
    if row.key in UNREPLAYED:
        assert not row.is_mutation
        return
    assert {"request_id", "validate_only"} <= set(fields(row.request))


@named([row for row in PEOPLE if row.name.startswith(ASKING)])
def test_mutations_what_only_asks_has_neither(row):
    """So that the table's `is_mutation` is right about every method."""
    assert not {"request_id", "validate_only"} & set(fields(row.request))


@named([row for row in ALL if row.service in methods.AGENTS])
def test_mutations_of_agents_are_keyed_by_their_run_or_grant(row):
    """An agent's words carry no request_id: each names a run, a grant or a site, and saying it twice changes nothing."""
    assert not {"request_id", "validate_only", "site"} & set(fields(row.request))


@named(GETS)
def test_gets_answer_with_the_resource_itself(row):
    """AIP-131: GetDataset takes a name and answers with a Dataset, not with a wrapper."""
    assert row.response.DESCRIPTOR.name == GET_EXCEPTIONS.get(row.key, row.name.removeprefix("Get"))
    key = "digest" if row.key == "Jobs.GetPackage" else "name"
    assert fields(row.request)[key].number == 1


@named(CREATES)
def test_creates_answer_with_what_was_made(row):
    """AIP-133: the resource in, under the caller's id, and the resource out."""
    made = row.name.removeprefix("Create")
    assert row.response.DESCRIPTOR.name == made
    if made in {"Job", "Token", "Pipeline", "Transfer"}:  # their ids are the server's to give
        return
    assert {f"{calls.snake(made)}_id", calls.snake(made)} <= set(fields(row.request))


@named(UPDATES)
def test_updates_have_a_mask_and_a_resource_with_an_etag(row):
    """AIP-134 and 154: what to change, and the state that it was seen in."""
    asked = fields(row.request)
    assert asked["update_mask"].message_type.full_name == FieldMask.DESCRIPTOR.full_name
    resource = asked[row.name.removeprefix("Update").lower()]
    assert resource.number == 1
    assert "etag" in resource.message_type.fields_by_name
    assert row.response.DESCRIPTOR.full_name == resource.message_type.full_name


@named(DELETES)
def test_deletes_can_name_the_state_that_they_saw(row):
    """AIP-154: an etag goes with whatever ends something."""
    assert {"name", "etag"} <= set(fields(row.request))


@pytest.mark.parametrize("resource", RESOURCES, ids=lambda r: r.DESCRIPTOR.name)
def test_resources_have_name_uid_etag_and_create_time(resource):
    """AIP-148: the name first, and the standard fields by their standard names."""
    found = fields(resource)
    assert found["name"].number == 1
    assert {"uid", "etag"} <= set(found)
    assert found["create_time"].message_type.full_name == Timestamp.DESCRIPTOR.full_name


def messages() -> list[Any]:
    """All messages of the contract."""
    return [message for file in FILES for message in file.DESCRIPTOR.message_types_by_name.values()]


@pytest.mark.parametrize("message", messages(), ids=lambda m: m.name)
def test_times_are_timestamps_and_are_named_so(message):
    """AIP-142: a field that ends in `time` is a Timestamp, and every Timestamp's name ends in `time`."""
    for field in message.fields:
        kind = field.message_type
        is_time = kind is not None and kind.full_name == Timestamp.DESCRIPTOR.full_name
        assert is_time == bool(re.search(r"(^|_)time$", field.name)), field.full_name


@pytest.mark.parametrize("message", messages(), ids=lambda m: m.name)
def test_money_is_whole_micro_dollars(message):
    """And sizes are whole bytes: no field of either is a float."""
    for field in message.fields:
        if field.name.endswith(("_micros", "bytes")) and field.type != FieldDescriptor.TYPE_BYTES:
            assert field.type == FieldDescriptor.TYPE_INT64, field.full_name


@pytest.mark.parametrize("enum", [e for f in FILES for e in f.DESCRIPTOR.enum_types_by_name.values()], ids=lambda e: e.name)
def test_enums_begin_with_unspecified_and_carry_their_name(enum):
    """AIP-126: value 0 says that nothing was said."""
    prefix = calls.snake(enum.name).upper()
    assert enum.values[0].name == f"{prefix}_UNSPECIFIED"
    assert enum.values[0].number == 0
    assert all(value.name.startswith(f"{prefix}_") for value in enum.values)


@named([row for row in ALL if row.request_stream or row.response_stream])
def test_streams_carry_bytes_work_or_findings_never_a_resource_list(row):
    """What is listed has pages; what flows is data, instructions, or what a site holds."""
    flowing = row.response if row.response_stream else row.request
    assert flowing.DESCRIPTOR.name in {
        "Instruction",
        "SealedVersion",
        "ReadPackageResponse",
        "UploadPackageRequest",
        "ReadObjectResponse",
        "PutObjectsRequest",
        "AppendLogsRequest",
        "ReadLogsResponse",
        "CheckStoreResponse",
        "ExportWorldResponse",
        "QueryRecordsResponse",
        "Verification",
        "ExportLedgerResponse",
        "ImportBillRequest",
        "WatchResponse",
    }


@named(ALL)
def test_no_request_says_who_is_calling(row):
    """The caller is the connection's, or the token's: no request has a field that could claim otherwise."""
    assert not {"principal", "actor", "caller", "subject"} & set(fields(row.request))
