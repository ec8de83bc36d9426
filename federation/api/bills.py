"""The service Bills: providers' bills taken in piece by piece, and the ledger reconciled with them in short transactions."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import AsyncIterator

from google.protobuf.message import Message

from federation import frames
from federation.api import mutations
from federation.api.calls import Call
from federation.api.pages import Listing, Pages
from federation.api.store import Store
from federation.core import bill, errors
from federation.ports import Transaction
from federation.services import bills
from federation.v1 import bills_pb2
from federation.wire import codec

#: Corrections posted in one transaction: others get in between.
_POSTINGS = 500


class BillsServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._pages = pages_

    async def import_bill(self, stream: AsyncIterator[bills_pb2.ImportBillRequest], call: Call) -> Message:
        """Each piece is in the log before the next is read; the delivery counts once all of them have come as announced."""
        head = await anext(stream, None)
        if head is None:
            raise errors.InvalidArgument(
                "nothing was delivered", reason="BILL_INVALID", help="Say what it is, then send lines."
            )
        asked = bill.Bill(
            bill="", provider=head.provider, account=head.account, month=head.month, digest=head.digest, source=head.source
        )
        actor = call.principal.name
        begun = await self._store.write(lambda tx: bills.begin(tx, self._store.ctx, call.principal, asked), actor=actor)
        if begun.version and begun.digest == asked.digest:
            return codec.to_message(begun)
        delivery, digest = bills.Delivery(begun), hashlib.sha256()
        async for piece in stream:
            digest.update(piece.lines)
            await self._store.run(lambda piece=piece: self._take(delivery, piece.lines, actor))  # type: ignore[misc]
        if digest.hexdigest() != head.digest:
            raise errors.InvalidArgument(
                f"the lines have the digest {digest.hexdigest()}, not {head.digest}",
                reason="DIGEST_MISMATCH",
                help="They were cut off or changed on the way: send them again.",
            )
        done = await self._store.write(
            lambda tx: bills.finish(tx, delivery, digest=head.digest, source=head.source, skipped_lines=head.skipped_lines),
            actor=actor,
        )
        return codec.to_message(done)

    def _take(self, delivery: bills.Delivery, data: bytes, actor: str) -> None:
        lines = delivery.numbered(frames.unpack(bill.BillLine, data))
        self._store.catalog.write(lambda tx: bills.add_lines(tx, delivery, lines), actor=actor)
        delivery.add(lines)

    async def get_bill(self, request: bills_pb2.GetBillRequest, _call: Call) -> Message:
        return codec.to_message(await self._store.read(lambda tx: bills.get(tx, request.name)))

    async def list_bills(self, request: bills_pb2.ListBillsRequest, call: Call) -> Message:
        return await self._pages.stored(call, request, Listing(of=bill.Bill, newest_first=True))

    async def reconcile_bills(self, request: bills_pb2.ReconcileBillsRequest, call: Call) -> Message:
        """Posted in pieces: what a crash leaves out is the difference that the next one posts."""
        over = request.validate_only or await mutations.answered(self._store, call, request)
        period = _period(request.period)
        found, postings = await self._store.read(
            lambda tx: bills.draft(tx, request.month, request.provider, period, request.account)
        )
        remaining = iter(() if over else postings)
        while chunk := list(itertools.islice(remaining, _POSTINGS)):
            await self._store.write(lambda tx, chunk=chunk: bills.post(tx, chunk), actor=call.principal.name)  # type: ignore[misc]

        def work(tx: Transaction) -> Message:
            return codec.to_message(bills.keep(tx, found))

        return await mutations.mutate(self._store, call, request, work)


def _period(number: bills_pb2.Period.ValueType) -> bill.Period:
    if number not in bills_pb2.Period.values():
        raise errors.InvalidArgument(
            f"{number} is no period", reason="PERIOD_INVALID", help=f"Use one of {', '.join(bills_pb2.Period.keys())}."
        )
    name = bills_pb2.Period.Name(number).removeprefix("PERIOD_")
    return bill.Period.MONTH if name == "UNSPECIFIED" else bill.Period(name)
