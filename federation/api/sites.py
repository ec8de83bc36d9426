"""The service Sites: places, what they offer, and the links between their regions."""

from __future__ import annotations

from collections.abc import AsyncIterator

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from federation.api import access, mutations
from federation.api.calls import Call
from federation.api.mutations import Use
from federation.api.pages import Listing, Pages
from federation.api.store import Store
from federation.core import ids, site, whatif
from federation.crypto import certificates
from federation.ports import Transaction
from federation.services import joining, sites, world
from federation.services.disclosure import Disclosure
from federation.v1 import sites_pb2
from federation.wire import codec, tls

#: Well below what a message may hold.
_PIECE_BYTES = 512 * 1024


class SitesServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages, files: tls.Source) -> None:
        self._files = files
        self._store = store
        self._ctx = store.ctx
        self._pages = pages_

    async def create_site(self, request: sites_pb2.CreateSiteRequest, call: Call) -> Message:
        request.site.name = f"sites/{ids.segment(request.site_id, 'site_id')}"
        value = codec.to_value(request.site)
        return await self._mutate(call, request, lambda tx: sites.create_site(tx, self._ctx, value))

    async def get_site(self, request: sites_pb2.GetSiteRequest, _call: Call) -> Message:
        name = ids.child(request.name, "sites")
        return codec.to_message(await self._store.look(lambda tx: sites.get_site(tx, name)))

    async def list_sites(self, request: sites_pb2.ListSitesRequest, call: Call) -> Message:
        return await self._pages.stored(call, request, Listing(of=site.Site))

    async def update_site(self, request: sites_pb2.UpdateSiteRequest, call: Call) -> Message:
        value, mask = codec.to_value(request.site), frozenset(request.update_mask.paths)
        return await self._mutate(call, request, lambda tx: sites.update_site(tx, value, mask))

    async def delete_site(self, request: sites_pb2.DeleteSiteRequest, call: Call) -> Message:
        name = ids.child(request.name, "sites")

        def work(tx: Transaction) -> Message:
            sites.delete_site(tx, name, request.etag)
            return Empty()

        return await mutations.mutate(self._store, call, request, work)

    async def list_links(self, request: sites_pb2.ListLinksRequest, call: Call) -> Message:
        links = await self._store.read(lambda tx: sites.links(tx, self._ctx))
        return self._pages.computed(
            call,
            request,
            links,
            key=lambda link: f"{link.source_region}~{link.destination_region}",
            fields=("source_region", "destination_region"),
        )

    async def open_check(self, request: sites_pb2.OpenCheckRequest, call: Call) -> Message:
        name = ids.child(request.name, "sites")

        def work(tx: Transaction) -> Message:
            return access.message(tx, self._ctx, sites.open_check(tx, self._ctx, call.principal, name))

        return await mutations.mutate(self._store, call, request, work)

    async def invite_site(self, request: sites_pb2.InviteSiteRequest, call: Call) -> Message:
        name = ids.child(request.name, "sites")
        expire_time = codec.to_time(request.expire_time) if request.HasField("expire_time") else None
        pin = certificates.fingerprint(self._files.current().ca)

        def work(tx: Transaction) -> Message:
            stored, secret = joining.invite(tx, name, request.hosts, expire_time)
            return sites_pb2.Invitation(
                site=f"sites/{stored.site}",
                secret="" if request.validate_only else f"{secret}.{pin}",
                expire_time=codec.from_time(stored.expire_time),
                hosts=stored.hosts,
            )

        return await mutations.mutate(self._store, call, request, work, replay=mutations.shown_once("join token", "created"))

    async def join_site(self, request: sites_pb2.JoinSiteRequest, call: Call) -> Message:
        def work(tx: Transaction) -> tuple[site.Site, bytes]:
            return joining.join(tx, self._ctx, request.secret, request.csr)

        joined, certificate = await self._store.write(work, actor=call.principal.name)
        return sites_pb2.JoinSiteResponse(site=f"sites/{joined.site}", certificate=certificate, ca=self._files.current().ca)

    async def admit_site(self, request: sites_pb2.AdmitSiteRequest, call: Call) -> Message:
        name = ids.child(request.name, "sites")
        return await self._mutate(call, request, lambda tx: joining.admit(tx, name, request.grade, request.reason))

    async def export_world(self, request: sites_pb2.ExportWorldRequest, call: Call) -> AsyncIterator[Message]:
        revision = await self._store.run(self._store.catalog.revision)
        names = tuple(request.datasets)
        file = await self._store.read(
            lambda tx: world.export(tx, self._ctx, names, revision=revision, known=Disclosure(tx, self._ctx, call.principal))
        )
        pieces = whatif.pieces(file)
        while text := await self._store.run(lambda: next(pieces, "")):
            data = text.encode()
            for start in range(0, len(data), _PIECE_BYTES):
                yield sites_pb2.ExportWorldResponse(data=data[start : start + _PIECE_BYTES])

    async def _mutate(self, call: Call, request: Message, work: Use) -> Message:
        return await mutations.mutate(self._store, call, request, lambda tx: codec.to_message(work(tx)))
