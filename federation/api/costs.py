"""The service Costs: the egress ledger, line by line and summed."""

from __future__ import annotations

from google.protobuf.message import Message

from federation.api import pages
from federation.api.calls import Call
from federation.api.pages import Pages
from federation.api.store import Store
from federation.core import kinds, listing, metering
from federation.services import ledger
from federation.v1 import costs_pb2
from federation.wire import codec


class CostsServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._pages = pages_

    async def list_ledger_entries(self, request: costs_pb2.ListLedgerEntriesRequest, call: Call) -> Message:
        return await pages.stored(self._store, self._pages, call, request, metering.LedgerEntry, newest_first=True)

    async def summarize_costs(self, request: costs_pb2.SummarizeCostsRequest, _call: Call) -> Message:
        where = listing.parse(request.filter, kinds.KINDS[metering.LedgerEntry].columns or ())
        rows, total = await self._store.read(lambda tx: ledger.summarize(tx, request.by, where))
        return costs_pb2.SummarizeCostsResponse(
            summaries=[codec.to_message(row, costs_pb2.CostSummary) for row in rows],
            total=codec.to_message(total, costs_pb2.CostSummary),
        )
