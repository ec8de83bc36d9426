"""Names for shell completion, asked of a catalog server in one call, with as few modules loaded as can be.

The same methods as everywhere, under the caller's own token; the server looks for what begins so, and at no more than it tells.
"""

from __future__ import annotations

import importlib
import re
from dataclasses import dataclass
from typing import Any

import grpc

from federation.wire import balancing

#: How many names are told at a time.
LIMIT = 100
_SAID = re.compile(r"[A-Za-z0-9/@._:~-]*")


@dataclass(frozen=True, kw_only=True)
class Listing:
    """Where the names of one kind are listed: the method, its file of the contract, and the field of its rows.

    `field` of a row is what is told. Not `prefixed` is a listing that is computed, and told whole.
    """

    method: str
    file: str
    rows: str
    field: str = "name"
    parent: str = ""
    prefixed: bool = True


LISTINGS = {
    "namespace": Listing(method="Catalog.ListNamespaces", file="catalog", rows="namespaces"),
    "dataset": Listing(method="Catalog.ListDatasets", file="catalog", rows="datasets", parent="namespaces/-"),
    "site": Listing(method="Sites.ListSites", file="sites", rows="sites"),
    "region": Listing(method="Sites.ListSites", file="sites", rows="sites", field="region", prefixed=False),
    "job": Listing(method="Jobs.ListJobs", file="jobs", rows="jobs"),
    "pipeline": Listing(method="Pipelines.ListPipelines", file="pipelines", rows="pipelines"),
    "transfer": Listing(method="Transfers.ListTransfers", file="transfers", rows="transfers"),
    "rule": Listing(method="Transfers.ListReplicationRules", file="transfers", rows="replication_rules"),
    "budget": Listing(method="Budgets.ListBudgets", file="budgets", rows="budgets", prefixed=False),
    "bill": Listing(method="Bills.ListBills", file="bills", rows="bills"),
    "escrow": Listing(method="Keys.ListEscrows", file="keys", rows="escrows"),
    "opening": Listing(method="Keys.ListOpenings", file="keys", rows="openings"),
    "token": Listing(method="Identity.ListTokens", file="identity", rows="tokens"),
}


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where a catalog listens, the CA (PEM) that it is signed by, and what the caller shows."""

    target: str
    ca: bytes
    bearer: str


@dataclass(frozen=True, kw_only=True)
class Told:
    """Names in the order of their listing, or namespaces that end in `/`. `more`: there are more than these."""

    names: tuple[str, ...] = ()
    more: bool = False


def ask(server: Server, kind: str, begun: str, seconds: float) -> Told:
    """What there is of a kind that begins so; grpc.RpcError where the server does not tell it within so many seconds.

    Of datasets without a namespace yet, the namespaces, if they are more than can be told. `version` is versions of a dataset,
    the newest first: those that begin with `NAMESPACE/DATASET@`.
    """
    if not _SAID.fullmatch(begun):
        return Told()  # no name has such signs
    place, options = balancing.settings(server.target)
    credentials = grpc.ssl_channel_credentials(server.ca)
    with grpc.secure_channel(place, credentials, options=(("grpc.enable_http_proxy", 0), *options)) as channel:
        line = _Line(channel=channel, bearer=server.bearer, seconds=seconds)
        if kind == "version":
            return _versions(line, begun)
        found = _listed(line, LISTINGS[kind], begun)
        if kind == "dataset" and found.more and "/" not in begun:
            rooms = _listed(line, LISTINGS["namespace"], begun)
            return Told(names=tuple(f"{name}/" for name in rooms.names), more=rooms.more)
        return found


@dataclass(frozen=True, kw_only=True)
class _Line:
    """A channel to the server, what the caller shows, and how long one call may take."""

    channel: grpc.Channel
    bearer: str
    seconds: float

    def call(self, method: str, file: str, **fields: Any) -> Any:
        """The answer to a method of a file of the contract. No table of methods is loaded for it, nor other files."""
        messages = importlib.import_module(f"federation.v1.{file}_pb2")
        service, _, verb = method.partition(".")
        answer = messages.DESCRIPTOR.services_by_name[service].methods_by_name[verb].output_type.name
        request = getattr(messages, f"{verb}Request")
        send = self.channel.unary_unary(
            f"/federation.v1.{service}/{verb}",
            request_serializer=request.SerializeToString,
            response_deserializer=getattr(messages, answer).FromString,
        )
        metadata = (("authorization", f"Bearer {self.bearer}"),) if self.bearer else None
        return send(request(**fields), timeout=self.seconds, metadata=metadata)


def _listed(line: _Line, listing: Listing, begun: str) -> Told:
    fields: dict[str, Any] = {"page_size": LIMIT} | ({"parent": listing.parent} if listing.parent else {})
    if begun and listing.prefixed:
        fields["filter"] = f'name = "{begun}*"'
    answer = line.call(listing.method, listing.file, **fields)
    names = (_short(getattr(row, listing.field)) for row in getattr(answer, listing.rows))
    return Told(names=tuple(dict.fromkeys(name for name in names if name.startswith(begun))), more=bool(answer.next_page_token))


def _versions(line: _Line, begun: str) -> Told:
    name, _, number = begun.partition("@")
    namespace, _, dataset = name.partition("/")
    newest = line.call("Catalog.GetDataset", "catalog", name=f"namespaces/{namespace}/datasets/{dataset}").latest_version
    fitting = [f"{name}@{each}" for each in range(newest, 0, -1) if str(each).startswith(number)]
    return Told(names=tuple(fitting[:LIMIT]), more=len(fitting) > LIMIT)


def _short(name: str) -> str:
    """`namespaces/sales/datasets/flights` as people say it: `sales/flights`."""
    return "/".join(name.split("/")[1::2]) if "/" in name else name
