"""The methods of the contract as one table, read from the descriptors: both servers and both clients are driven by it.

What a method is follows from its shape (AIP-155, 158): a request with `request_id` changes something and may be repeated,
a response with `next_page_token` is a page. Nothing is told twice.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor, message, message_factory

from federation.v1 import (
    agent_pb2,
    bills_pb2,
    budgets_pb2,
    care_pb2,
    catalog_pb2,
    costs_pb2,
    events_pb2,
    gateway_pb2,
    identity_pb2,
    jobs_pb2,
    keys_pb2,
    leases_pb2,
    ledger_pb2,
    lineage_pb2,
    options_pb2,
    pipelines_pb2,
    policies_pb2,
    records_pb2,
    sites_pb2,
    transfers_pb2,
)

#: What people call, at the server's port for people.
PEOPLE = (
    *("Catalog", "Sites", "Jobs", "Pipelines", "Transfers", "Costs", "Bills", "Budgets", "Keys"),
    *("Ledger", "Lineage", "Identity", "Records", "Leases", "Erasures", "Policies", "Care", "Events"),
)
#: What sites' agents call, at the port that wants their certificate.
AGENTS = ("Agent",)
#: What a site serves itself.
GATEWAY = ("Gateway",)

_FILES = (
    *(
        catalog_pb2,
        sites_pb2,
        jobs_pb2,
        pipelines_pb2,
        transfers_pb2,
        costs_pb2,
        bills_pb2,
        budgets_pb2,
        care_pb2,
        keys_pb2,
        ledger_pb2,
        lineage_pb2,
        identity_pb2,
        agent_pb2,
        gateway_pb2,
        leases_pb2,
        records_pb2,
        policies_pb2,
        events_pb2,
    ),
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One method. `pager` is the repeated field of a page, empty where the answer is none; `permission` is what it asks for."""

    service: str
    name: str
    request: type[message.Message]
    response: type[message.Message]
    request_stream: bool = False
    response_stream: bool = False
    pager: str = ""
    is_mutation: bool = False
    permission: str = ""

    @property
    def key(self) -> str:
        """`Catalog.GetDataset`."""
        return f"{self.service}.{self.name}"

    @property
    def path(self) -> str:
        """`/federation.v1.Catalog/GetDataset`, as HTTP/2 carries it."""
        return f"/federation.v1.{self.service}/{self.name}"

    @property
    def shape(self) -> str:
        """The way in which messages flow, in the word of gRPC's API: `unary_unary`, `unary_stream`, `stream_unary`."""
        return f"{'stream' if self.request_stream else 'unary'}_{'stream' if self.response_stream else 'unary'}"


def service(name: str) -> tuple[Method, ...]:
    """The methods of one service, in the contract's order."""
    return tuple(method for method in TABLE.values() if method.service == name)


def _services() -> Iterable[descriptor.ServiceDescriptor]:
    for file in _FILES:
        yield from file.DESCRIPTOR.services_by_name.values()


def _pager(response: descriptor.Descriptor) -> str:
    if "next_page_token" not in response.fields_by_name:
        return ""
    return next(field.name for field in response.fields if field.name != "next_page_token")


def _method(found: Any) -> Method:
    return Method(
        service=found.containing_service.name,
        name=found.name,
        request=message_factory.GetMessageClass(found.input_type),
        response=message_factory.GetMessageClass(found.output_type),
        request_stream=found.client_streaming,
        response_stream=found.server_streaming,
        pager=_pager(found.output_type),
        is_mutation="request_id" in found.input_type.fields_by_name,
        permission=found.GetOptions().Extensions[options_pb2.permission],
    )


#: Every method, by `Service.Method`.
TABLE: dict[str, Method] = {row.key: row for found in _services() for row in map(_method, found.methods)}
