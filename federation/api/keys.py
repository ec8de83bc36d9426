"""The service Keys: the custody of sites' keys."""

from __future__ import annotations

from google.protobuf.message import Message

from federation.api import mutations, pages
from federation.api.calls import Call
from federation.api.mutations import Use
from federation.api.pages import Pages
from federation.api.store import Store
from federation.core import errors, ids, keys
from federation.ports import Transaction
from federation.services import keys as custody
from federation.v1 import keys_pb2
from federation.wire import codec


class KeysServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._ctx = store.ctx
        self._pages = pages_

    async def list_keyrings(self, request: keys_pb2.ListKeyringsRequest, _call: Call) -> Message:
        at = ids.child(request.site, "sites") if request.site else ""
        rings, uses = await self._store.read(lambda tx: custody.keyrings(tx, at))
        return keys_pb2.ListKeyringsResponse(
            keyrings=[codec.to_message(ring, keys_pb2.SiteKeyring) for ring in rings],
            uses=[codec.to_message(use, keys_pb2.KeyUse) for use in uses],
        )

    async def rotate_keys(self, request: keys_pb2.RotateKeysRequest, call: Call) -> Message:
        at = ids.child(request.site, "sites")
        rotate = {keys_pb2.KEY_PART_KEK: custody.rotate_kek, keys_pb2.KEY_PART_DEK: custody.rotate_dek}.get(request.part)
        if rotate is None:
            raise errors.InvalidArgument(
                "it is not said what is to be made anew", help="Name the part: KEK or DEK.", violations={"part": "is missing"}
            )
        return await self._mutate(call, request, lambda tx: rotate(tx, at))

    async def create_escrow(self, request: keys_pb2.CreateEscrowRequest, call: Call) -> Message:
        request.escrow.name = f"escrows/{request.escrow_id}"
        asked: keys.Escrow = codec.to_value(request.escrow)
        return await self._mutate(call, request, lambda tx: custody.create_escrow(tx, call.principal, asked))

    async def list_escrows(self, request: keys_pb2.ListEscrowsRequest, call: Call) -> Message:
        return await pages.stored(self._store, self._pages, call, request, keys.Escrow)

    async def create_opening(self, request: keys_pb2.CreateOpeningRequest, call: Call) -> Message:
        return await self._mutate(
            call,
            request,
            lambda tx: custody.create_opening(tx, self._ctx, call.principal, request.escrow, request.reason),
        )

    async def get_opening(self, request: keys_pb2.GetOpeningRequest, _call: Call) -> Message:
        def look(tx: Transaction) -> Message:
            opening = custody.get_opening(tx, request.name)
            return keys_pb2.OpeningView(
                opening=codec.to_message(opening, keys_pb2.Opening),
                escrow=codec.to_message(custody.get_escrow(tx, opening.escrow), keys_pb2.Escrow),
            )

        return await self._store.read(look)

    async def list_openings(self, request: keys_pb2.ListOpeningsRequest, call: Call) -> Message:
        return await pages.stored(self._store, self._pages, call, request, keys.Opening, newest_first=True)

    async def approve_opening(self, request: keys_pb2.ApproveOpeningRequest, call: Call) -> Message:
        return await self._mutate(
            call, request, lambda tx: custody.approve(tx, call.principal, request.name, request.sealed_share)
        )

    async def _mutate(self, call: Call, request: Message, work: Use) -> Message:
        return await mutations.mutate(self._store, call, request, lambda tx: codec.to_message(work(tx)))
