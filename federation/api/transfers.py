"""The service Transfers: replicas on their way between sites, and the rules by which people ask for them."""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from federation.api import mutations
from federation.api.calls import Call
from federation.api.mutations import Use
from federation.api.pages import Listing, Pages
from federation.api.store import Store
from federation.core import ids, transfer
from federation.ports import Transaction
from federation.services import disclosure, rules, transfers
from federation.v1 import transfers_pb2
from federation.wire import codec

#: What is not told of a transfer whose dataset is hidden.
_NARROWING = ("dataset", "version", "rule")


def _dataset(row: transfer.Transfer | transfer.ReplicationRule) -> str:
    return row.dataset


class TransfersServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._ctx = store.ctx
        self._pages = pages_

    async def create_transfer(self, request: transfers_pb2.CreateTransferRequest, call: Call) -> Message:
        destination = ids.child(request.destination_site, "sites")
        source = ids.child(request.source_site, "sites") if request.source_site else ""

        def work(tx: Transaction) -> transfer.Transfer:
            return transfers.create(
                tx,
                self._ctx,
                call.principal,
                request.version,
                destination,
                source=source,
                keep_seconds=request.keep_seconds,
                priority=request.priority,
                bytes_per_second_max=request.bytes_per_second_max,
            )

        return await self._mutate(call, request, work)

    async def get_transfer(self, request: transfers_pb2.GetTransferRequest, _call: Call) -> Message:
        return codec.to_message(await self._store.read(lambda tx: transfers.get(tx, request.name)))

    async def list_transfers(self, request: transfers_pb2.ListTransfersRequest, call: Call) -> Message:
        return await self._pages.stored(
            call,
            request,
            Listing(
                of=transfer.Transfer,
                newest_first=True,
                keep=disclosure.seen(self._ctx, call.principal, _dataset),
                narrowing=_NARROWING,
            ),
        )

    async def cancel_transfer(self, request: transfers_pb2.CancelTransferRequest, call: Call) -> Message:
        return await self._mutate(call, request, lambda tx: transfers.cancel(tx, request.name, request.etag))

    async def create_replication_rule(self, request: transfers_pb2.CreateReplicationRuleRequest, call: Call) -> Message:
        request.replication_rule.name = f"replicationRules/{ids.segment(request.replication_rule_id, 'replication_rule_id')}"
        asked = codec.to_value(request.replication_rule)
        return await self._mutate(call, request, lambda tx: rules.create(tx, self._ctx, call.principal, asked))

    async def get_replication_rule(self, request: transfers_pb2.GetReplicationRuleRequest, call: Call) -> Message:
        return codec.to_message(await self._store.read(lambda tx: rules.visible(tx, self._ctx, call.principal, request.name)))

    async def list_replication_rules(self, request: transfers_pb2.ListReplicationRulesRequest, call: Call) -> Message:
        return await self._pages.stored(
            call, request, Listing(of=transfer.ReplicationRule, keep=disclosure.seen(self._ctx, call.principal, _dataset))
        )

    async def delete_replication_rule(self, request: transfers_pb2.DeleteReplicationRuleRequest, call: Call) -> Message:
        def work(tx: Transaction) -> Message:
            rules.visible(tx, self._ctx, call.principal, request.name)
            rules.delete(tx, request.name, request.etag)
            return Empty()

        return await mutations.mutate(self._store, call, request, work)

    async def _mutate(self, call: Call, request: Message, work: Use) -> Message:
        return await mutations.mutate(self._store, call, request, lambda tx: codec.to_message(work(tx)))
