"""The service Keys: the custody of sites' keys."""

from __future__ import annotations

from google.protobuf.message import Message

from federation.api import mutations
from federation.api.calls import Call
from federation.api.mutations import Use
from federation.api.pages import Listing, Pages
from federation.api.store import Store
from federation.core import errors, ids, keys, listing
from federation.services import keys as custody
from federation.v1 import keys_pb2
from federation.wire import codec


class KeysServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._ctx = store.ctx
        self._pages = pages_

    async def list_keyrings(self, request: keys_pb2.ListKeyringsRequest, call: Call) -> Message:
        rings = await self._store.read(custody.keyrings)
        return self._pages.computed(call, request, rings, key=lambda ring: ring.site, fields=("site",))

    async def list_key_uses(self, request: keys_pb2.ListKeyUsesRequest, call: Call) -> Message:
        at = listing.parse(request.filter, ("site", "dataset")).get("site", "")
        uses = await self._store.read(lambda tx: custody.uses(tx, at))
        return self._pages.computed(
            call, request, uses, key=lambda use: f"{use.site}/{use.dataset}", fields=("site", "dataset")
        )

    async def rotate_keys(self, request: keys_pb2.RotateKeysRequest, call: Call) -> Message:
        at = ids.child(request.name, "sites")
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

    async def get_escrow(self, request: keys_pb2.GetEscrowRequest, _call: Call) -> Message:
        return codec.to_message(await self._store.read(lambda tx: custody.get_escrow(tx, request.name)))

    async def list_escrows(self, request: keys_pb2.ListEscrowsRequest, call: Call) -> Message:
        return await self._pages.stored(call, request, Listing(of=keys.Escrow))

    async def request_opening(self, request: keys_pb2.RequestOpeningRequest, call: Call) -> Message:
        return await self._mutate(
            call,
            request,
            lambda tx: custody.request_opening(tx, self._ctx, call.principal, request.name, request.reason),
        )

    async def get_opening(self, request: keys_pb2.GetOpeningRequest, _call: Call) -> Message:
        return codec.to_message(await self._store.read(lambda tx: custody.get_opening(tx, request.name)))

    async def list_openings(self, request: keys_pb2.ListOpeningsRequest, call: Call) -> Message:
        return await self._pages.stored(call, request, Listing(of=keys.Opening, newest_first=True))

    async def approve_opening(self, request: keys_pb2.ApproveOpeningRequest, call: Call) -> Message:
        return await self._mutate(
            call, request, lambda tx: custody.approve(tx, call.principal, request.name, request.sealed_share)
        )

    async def _mutate(self, call: Call, request: Message, work: Use) -> Message:
        return await mutations.mutate(self._store, call, request, lambda tx: codec.to_message(work(tx)))
