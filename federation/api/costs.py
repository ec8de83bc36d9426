"""The service Costs: the egress ledger, line by line and summed, and the prices that it is reckoned with."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf import text_format
from google.protobuf.message import Message

from federation.api import mutations
from federation.api.calls import Call
from federation.api.pages import Listing, Pages
from federation.api.queried import queried
from federation.api.store import Store
from federation.core import errors, kinds, listing, metering
from federation.ports import Transaction
from federation.services import costs, disclosure, pricing, variance
from federation.services.disclosure import Disclosure
from federation.v1 import costs_pb2
from federation.wire import codec


class CostsServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._pages = pages_

    async def list_ledger_entries(self, request: costs_pb2.ListLedgerEntriesRequest, call: Call) -> Message:
        return await self._listed(call, request, metering.LedgerEntry)

    async def list_usage(self, request: costs_pb2.ListUsageRequest, call: Call) -> Message:
        return await self._listed(call, request, metering.UsageRecord)

    async def _listed(self, call: Call, request: Message, cls: type) -> Message:
        """Chosen by what is not told of a hidden dataset, entries are those of datasets that the caller may know of."""
        return await self._pages.stored(
            call,
            request,
            Listing(
                of=cls,
                newest_first=True,
                keep=disclosure.seen(self._store.ctx, call.principal, lambda row: f"{row.namespace}/{row.dataset}"),
                narrowing=("namespace", "dataset"),
            ),
        )

    async def summarize_costs(self, request: costs_pb2.SummarizeCostsRequest, call: Call) -> Message:
        store = self._store
        selection = await self._selection(call, request)
        rows, total = await store.run(lambda: costs.summarize(store.catalog, store.engine, request.by, selection))
        names = metering.summary_keys(request.by)
        rows = await store.read(lambda tx: costs.told(Disclosure(tx, store.ctx, call.principal), names, rows))
        return costs_pb2.SummarizeCostsResponse(
            summaries=[codec.to_message(row, costs_pb2.CostSummary) for row in rows],
            total=codec.to_message(total, costs_pb2.CostSummary),
        )

    async def export_ledger(
        self, request: costs_pb2.ExportLedgerRequest, call: Call
    ) -> AsyncIterator[costs_pb2.ExportLedgerResponse]:
        store = self._store
        await queried(store, call, text_format.MessageToString(request, as_one_line=True))
        pieces = costs.export(store.catalog, store.engine, await self._selection(call, request))
        while (piece := await store.run(lambda: next(pieces, None))) is not None:
            yield costs_pb2.ExportLedgerResponse(entries=await self._told(call, piece))

    async def _told(self, call: Call, piece: bytes) -> bytes:
        store = self._store
        return await store.read(lambda tx: costs.told_entries(Disclosure(tx, store.ctx, call.principal), piece))

    async def price_egress(self, request: costs_pb2.PriceEgressRequest, _call: Call) -> Message:
        stated = request.month_to_date_bytes if request.HasField("month_to_date_bytes") else None
        quote = await self._store.read(
            lambda tx: pricing.quote(
                tx,
                self._store.ctx,
                request.source_region,
                request.destination_region,
                request.volume_bytes,
                month_to_date_bytes=stated,
                requests=request.requests,
                account=request.account,
            )
        )
        return codec.to_message(quote)

    async def import_rate_card(self, request: costs_pb2.ImportRateCardRequest, call: Call) -> Message:
        egress, compute = (_text(name, getattr(request, name)) for name in ("egress", "compute"))

        def work(tx: Transaction) -> Message:
            stored = pricing.import_card(
                tx,
                self._store.ctx,
                call.principal,
                egress=egress,
                compute=compute,
                note=request.note,
                replace=request.replace,
            )
            return codec.to_message(pricing.info(stored, rows=False))

        return await mutations.mutate(self._store, call, request, work)

    async def get_rate_card(self, request: costs_pb2.GetRateCardRequest, _call: Call) -> Message:
        found = await self._store.read(lambda tx: pricing.get_card(tx, self._store.ctx, request.name))
        return codec.to_message(pricing.info(found))

    async def list_rate_cards(self, request: costs_pb2.ListRateCardsRequest, call: Call) -> Message:
        return await self._pages.stored(
            call,
            request,
            Listing(of=kinds.RateCardVersion, newest_first=True, show=lambda card: pricing.info(card, rows=False)),
        )

    async def summarize_variances(self, request: costs_pb2.SummarizeVariancesRequest, call: Call) -> Message:
        where, store = listing.parse(request.filter, variance.FIELDS), self._store
        rows, total = await store.read(
            lambda tx: variance.summarize(tx, request.by, where, known=Disclosure(tx, store.ctx, call.principal))
        )
        return costs_pb2.SummarizeVariancesResponse(
            variances=[codec.to_message(row, costs_pb2.Variance) for row in rows],
            total=codec.to_message(total, costs_pb2.Variance),
        )

    async def _selection(
        self, call: Call, request: costs_pb2.SummarizeCostsRequest | costs_pb2.ExportLedgerRequest
    ) -> costs.Selection:
        """What is asked for. Asked for by dataset, it is of those alone that the caller may know of."""
        asked = costs.Selection(
            where=listing.parse(request.filter, costs.FIELDS),
            from_time=codec.to_time(request.from_time) if request.HasField("from_time") else None,
            to_time=codec.to_time(request.to_time) if request.HasField("to_time") else None,
        )
        store = self._store
        return await store.read(lambda tx: costs.narrowed(tx, Disclosure(tx, store.ctx, call.principal), asked))


def _text(name: str, data: bytes) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise errors.InvalidArgument(
            f"{name} is not UTF-8 ({error.reason} at byte {error.start})",
            reason="PRICES_INVALID",
            help="Give UTF-8 CSV like federation/prices/egress.csv.",
            violations={name: "must be UTF-8"},
        ) from None
