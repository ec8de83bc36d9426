"""The service Ledger: the record's tables, proven by their chains and the heads that the catalog has signed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from google.protobuf.message import Message

from federation.api.calls import Call
from federation.api.pages import Listing, Pages
from federation.api.store import Store
from federation.core import chain, errors
from federation.ports import RecordReader
from federation.services import heads
from federation.v1 import ledger_pb2
from federation.wire import codec


class LedgerServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages, reader: RecordReader | None) -> None:
        self._store = store
        self._pages = pages_
        self._reader = reader
        self._turn = asyncio.Semaphore(1)  # following a chain keeps a processor busy: one at a time

    async def list_record_heads(self, request: ledger_pb2.ListRecordHeadsRequest, call: Call) -> Message:
        return await self._pages.stored(call, request, Listing(of=chain.SignedHead, newest_first=True))

    async def verify_table(self, request: ledger_pb2.VerifyTableRequest, _call: Call) -> AsyncIterator[Message]:
        heads.require_table(request.table)
        if self._reader is None:
            raise errors.FailedPrecondition("this server keeps no tables", reason="TABLES_ABSENT")
        async with self._turn:
            kept = await self._store.read(lambda tx: heads.stored(tx, request.table))
            found = heads.verify(self._reader, request.table, kept, {heads.public(self._store.ctx.grant_key)})
            while (step := await self._store.run(lambda: next(found, None))) is not None:
                yield codec.to_message(step, ledger_pb2.Verification)
