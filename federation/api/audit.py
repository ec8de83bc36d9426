"""The service Audit: the log as people read it, its proof, and compliance reports. Each use of it is in the log itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from google.protobuf import text_format
from google.protobuf.message import Message

from federation.api.calls import Call
from federation.api.pages import Pages, size
from federation.api.queried import queried
from federation.api.store import Store
from federation.core import errors, trail
from federation.core.events import TABLES
from federation.ports import RecordReader
from federation.services import compliance, disclosure, heads, witness
from federation.services import trail as trails
from federation.v1 import audit_pb2
from federation.wire import codec

#: Co-signatures that one call may bring: the newest ones say what the others say.
COSIGNATURES_MAX = 1000
_PIECE_BYTES = 256 * 1024


class AuditServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages, reader: RecordReader | None) -> None:
        self._store = store
        self._pages = pages_
        self._reader = reader
        self._turn = asyncio.Semaphore(1)  # following a chain keeps a processor busy: one at a time

    async def list_audit_entries(self, request: audit_pb2.ListAuditEntriesRequest, call: Call) -> Message:
        selection, limit = trail.parse(request.filter), size(request)
        before = int(self._pages.tokens.after(call, request) or 0)
        await self._asked(call, request.filter)
        store = self._store
        rows = await store.run(lambda: trails.newest(store.catalog, store.engine, selection, before=before, limit=limit + 1))
        more = (
            {"next_page_token": self._pages.tokens.token(call, request, str(rows[limit - 1].position))} if rows[limit:] else {}
        )
        return audit_pb2.ListAuditEntriesResponse(
            audit_entries=[codec.to_message(row, audit_pb2.AuditEntry) for row in rows[:limit]], **more
        )

    async def get_audit_entry(self, request: audit_pb2.GetAuditEntryRequest, call: Call) -> Message:
        collection, _, position = request.name.rpartition("/")
        if collection not in ("", "auditEntries") or not position.isascii() or not position.isdecimal() or len(position) > 18:
            raise errors.InvalidArgument(
                f"{request.name!r} names no audit entry",
                reason="NAME_INVALID",
                help="Write auditEntries/POSITION.",
                violations={"name": "must be auditEntries/POSITION"},
            )
        await self._asked(call, request.name)
        store = self._store
        return codec.to_message(await store.run(lambda: trails.get(store.catalog, store.engine, int(position))))

    async def verify_audit(self, request: audit_pb2.VerifyAuditRequest, call: Call) -> AsyncIterator[Message]:
        heads.require_table(request.table)
        if len(request.cosignatures) > COSIGNATURES_MAX:
            raise errors.InvalidArgument(
                f"{len(request.cosignatures)} co-signatures come in one call",
                reason="BATCH_TOO_LARGE",
                help=f"Send at most {COSIGNATURES_MAX}: the newest, or verify the tables' folder.",
                violations={"cosignatures": f"must be at most {COSIGNATURES_MAX}"},
            )
        reader = self._reader
        if reader is None:
            raise errors.FailedPrecondition("this server keeps no tables", reason="TABLES_ABSENT")
        await self._asked(call, request.table)
        cosigned = tuple(map(codec.to_value, request.cosignatures))
        async with self._turn:
            kept = await self._store.read(lambda tx: heads.stored(tx, request.table))
            ours = heads.public(self._store.ctx.grant_key)
            found = witness.verify(reader, request.table, kept, {ours}, cosigned=cosigned)
            while (step := await self._store.run(lambda: next(found, None))) is not None:
                yield codec.to_message(step, audit_pb2.AuditVerification)

    async def export_compliance(self, request: audit_pb2.ExportComplianceRequest, call: Call) -> AsyncIterator[Message]:
        scope = compliance.scope(
            codec.to_time(request.from_time), codec.to_time(request.to_time), request.dataset, request.namespace
        )
        await self._asked(call, text_format.MessageToString(request, as_one_line=True))
        store, ours = self._store, heads.public(self._store.ctx.grant_key)
        async with self._turn:
            kept = await store.read(lambda tx: tuple(head for table in TABLES for head in heads.stored(tx, table)))
            made = await store.run(
                lambda: compliance.dumps(
                    compliance.report(scope, store.catalog, store.engine, self._reader, kept=kept, keys={ours})
                )
            )
        for start in range(0, len(made), _PIECE_BYTES):
            yield audit_pb2.ExportComplianceResponse(data=made[start : start + _PIECE_BYTES])

    async def _asked(self, call: Call, text: str) -> None:
        """Tells who asks, before they are answered. Audit names all data: it is for those from whom none of it is hidden."""
        store = self._store
        await store.read(lambda tx: disclosure.require_everything(tx, store.ctx, call.principal, "the audit"))
        await queried(store, call, text)
