"""The service Catalog: namespaces, datasets, versions, replicas, and grants to reach them."""

from __future__ import annotations

import time
from collections.abc import Callable

from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message

from federation.api import access, calls, mutations
from federation.api.calls import Call
from federation.api.mutations import Use
from federation.api.pages import Listing, Pages, size
from federation.api.store import Store
from federation.core import conditions, dataset, errors, ids, quota
from federation.core import discovery as found_by
from federation.ports import Transaction
from federation.services import authorization, cards, datasets, disclosure, discovery, governance, namespaces, personal, quotas
from federation.services.disclosure import Disclosure
from federation.v1 import catalog_pb2
from federation.wire import codec


class CatalogServicer:
    """Each function does the method of its name."""

    def __init__(self, store: Store, pages_: Pages) -> None:
        self._store = store
        self._ctx = store.ctx
        self._pages = pages_

    async def create_namespace(self, request: catalog_pb2.CreateNamespaceRequest, call: Call) -> Message:
        request.namespace.name = f"namespaces/{ids.segment(request.namespace_id, 'namespace_id')}"
        value = codec.to_value(request.namespace)
        return await self._mutate(call, request, lambda tx: namespaces.create(tx, self._ctx, value))

    async def get_namespace(self, request: catalog_pb2.GetNamespaceRequest, call: Call) -> Message:
        name = ids.child(request.name, "namespaces")
        return codec.to_message(
            await self._store.look(lambda tx: disclosure.require_namespace(tx, self._ctx, call.principal, name))
        )

    async def list_namespaces(self, request: catalog_pb2.ListNamespacesRequest, call: Call) -> Message:
        def keeping(tx: Transaction) -> Callable[[dataset.Namespace], bool]:
            known = Disclosure(tx, self._ctx, call.principal)
            return lambda row: known.sees_namespace(row.name)

        return await self._pages.stored(call, request, Listing(of=dataset.Namespace, keep=keeping))

    async def update_namespace(self, request: catalog_pb2.UpdateNamespaceRequest, call: Call) -> Message:
        value, mask = codec.to_value(request.namespace), frozenset(request.update_mask.paths)
        return await self._mutate(
            call, request, lambda tx: governance.update_namespace(tx, self._ctx, call.principal, value, mask)
        )

    async def set_quota(self, request: catalog_pb2.SetQuotaRequest, call: Call) -> Message:
        name = ids.child(request.name, "namespaces")
        return await self._mutate(
            call,
            request,
            lambda tx: namespaces.set_quota(
                tx,
                name,
                weight=request.weight,
                gpu_seconds_quota=request.gpu_seconds_quota,
                egress_micros_quota=request.egress_micros_quota,
                etag=request.etag,
            ),
        )

    async def summarize_usage(self, request: catalog_pb2.SummarizeUsageRequest, call: Call) -> Message:
        def look(tx: Transaction) -> tuple[quota.NamespaceUsage, ...]:
            known = Disclosure(tx, self._ctx, call.principal)
            return tuple(row for row in quotas.usages(tx, request.month) if known.sees_namespace(row.namespace))

        rows = await self._store.read(look)
        return catalog_pb2.SummarizeUsageResponse(usages=[codec.to_message(row, catalog_pb2.NamespaceUsage) for row in rows])

    async def delete_namespace(self, request: catalog_pb2.DeleteNamespaceRequest, call: Call) -> Message:
        name = ids.child(request.name, "namespaces")

        def work(tx: Transaction) -> Message:
            governance.delete_namespace(tx, self._ctx, call.principal, name, request.etag)
            return Empty()

        return await mutations.mutate(self._store, call, request, work)

    async def create_dataset(self, request: catalog_pb2.CreateDatasetRequest, call: Call) -> Message:
        name = ids.DatasetName(ids.child(request.parent, "namespaces"), ids.segment(request.dataset_id, "dataset_id"))
        request.dataset.name = name.resource
        value = codec.to_value(request.dataset)
        return await self._mutate(call, request, lambda tx: governance.create_dataset(tx, self._ctx, call.principal, value))

    async def get_dataset(self, request: catalog_pb2.GetDatasetRequest, call: Call) -> Message:
        name = ids.dataset(request.name)
        return codec.to_message(await self._store.look(lambda tx: authorization.visible(tx, self._ctx, call.principal, name)))

    async def list_datasets(self, request: catalog_pb2.ListDatasetsRequest, call: Call) -> Message:
        every = request.parent in ("", "namespaces/-")
        parent = "" if every else ids.child(request.parent, "namespaces")
        prefix, asked = conditions.beginning(conditions.parse(request.filter, found_by.FIELDS), "name")
        exact, rest = conditions.equalities(asked, ("kind", "owner"))

        def keep(tx: Transaction) -> Callable[[dataset.Dataset], bool]:
            fits, sees = discovery.fitting(tx, rest), authorization.browser(tx, self._ctx, call.principal)
            return lambda stored: fits(stored) and sees(stored)

        return await self._pages.stored(
            call,
            request,
            Listing(
                of=dataset.Dataset,
                parent=parent,
                where=exact | ({} if request.show_deleted else {"deleted": ""}),
                check=lambda tx: every or disclosure.require_namespace(tx, self._ctx, call.principal, parent),
                keep=keep,
                prefix=prefix,
            ),
        )

    async def search_datasets(self, request: catalog_pb2.SearchDatasetsRequest, call: Call) -> Message:
        begun = time.perf_counter()
        parent = "" if request.parent in ("", "namespaces/-") else ids.child(request.parent, "namespaces")
        asked = discovery.Search(text=request.query, namespace=parent, filter=request.filter, deleted=request.show_deleted)
        limit, after = size(request), self._pages.tokens.after(call, request)
        found, following = await self._store.read(
            lambda tx: discovery.search(tx, self._ctx, call.principal, asked, after=after, limit=limit)
        )
        if not found:
            # What is hidden takes a little longer to be left out than what is not there takes to be missed.
            await calls.until_the_grid(begun)
        more = {"next_page_token": self._pages.tokens.token(call, request, following)} if following else {}
        return catalog_pb2.SearchDatasetsResponse(
            found=[codec.to_message(row, catalog_pb2.FoundDataset) for row in found], **more
        )

    async def explain_card(self, request: catalog_pb2.ExplainCardRequest, call: Call) -> Message:
        name = ids.dataset(request.name)
        return codec.to_message(await self._store.read(lambda tx: cards.explain(tx, self._ctx, call.principal, name)))

    async def update_dataset(self, request: catalog_pb2.UpdateDatasetRequest, call: Call) -> Message:
        value, mask = codec.to_value(request.dataset), frozenset(request.update_mask.paths)
        return await self._mutate(
            call, request, lambda tx: governance.update_dataset(tx, self._ctx, call.principal, value, mask)
        )

    async def declassify_dataset(self, request: catalog_pb2.DeclassifyDatasetRequest, call: Call) -> Message:
        value, mask = codec.to_value(request.dataset), frozenset(request.update_mask.paths)
        return await self._mutate(
            call,
            request,
            lambda tx: governance.declassify(tx, self._ctx, call.principal, value, mask, request.reason),
        )

    async def delete_dataset(self, request: catalog_pb2.DeleteDatasetRequest, call: Call) -> Message:
        name = ids.dataset(request.name)
        return await self._mutate(
            call, request, lambda tx: governance.delete_dataset(tx, self._ctx, call.principal, name, request.etag)
        )

    async def undelete_dataset(self, request: catalog_pb2.UndeleteDatasetRequest, call: Call) -> Message:
        name = ids.dataset(request.name)
        return await self._mutate(
            call, request, lambda tx: governance.undelete_dataset(tx, self._ctx, call.principal, name, request.etag)
        )

    async def get_version(self, request: catalog_pb2.GetVersionRequest, call: Call) -> Message:
        name = ids.version(request.name)

        def look(tx: Transaction) -> dataset.Version:
            authorization.visible(tx, self._ctx, call.principal, name.dataset, as_absent=datasets.version_absent(name))
            return datasets.get_version(tx, name)

        return codec.to_message(await self._store.look(look))

    async def list_versions(self, request: catalog_pb2.ListVersionsRequest, call: Call) -> Message:
        name = ids.dataset(request.parent)
        return await self._pages.stored(
            call,
            request,
            Listing(
                of=dataset.Version,
                parent=name.short,
                check=lambda tx: authorization.visible(tx, self._ctx, call.principal, name),
            ),
        )

    async def get_replica(self, request: catalog_pb2.GetReplicaRequest, call: Call) -> Message:
        head, _, site = request.name.rpartition("/replicas/")
        name, site = ids.version(head), ids.segment(site, "site")

        def look(tx: Transaction) -> dataset.Replica:
            absent = datasets.replica_absent(name, site)
            authorization.visible(tx, self._ctx, call.principal, name.dataset, as_absent=absent)
            return datasets.get_replica(tx, name, site)

        return codec.to_message(await self._store.look(look))

    async def list_replicas(self, request: catalog_pb2.ListReplicasRequest, call: Call) -> Message:
        if request.parent == ids.EVERY_VERSION:
            keep = disclosure.seen(self._ctx, call.principal, lambda row: row.version.dataset.short)
            return await self._pages.stored(call, request, Listing(of=dataset.Replica, keep=keep))
        every = request.parent.endswith("/versions/-")
        name, number = ids.dataset_or_version(request.parent.removesuffix("/versions/-"))
        version = ids.VersionName(name, number or 0)

        def check(tx: Transaction) -> None:
            absent = datasets.version_absent(version) if number else None
            authorization.visible(tx, self._ctx, call.principal, name, as_absent=absent)
            if number:
                datasets.get_version(tx, version)

        return await self._pages.stored(
            call,
            request,
            Listing(
                of=dataset.Replica,
                parent=name.short,
                where={} if every or number is None else {"version": str(number)},
                check=check,
            ),
        )

    async def open_write(self, request: catalog_pb2.OpenWriteRequest, call: Call) -> Message:
        name, site = ids.dataset(request.name), ids.child(request.site, "sites")

        def work(tx: Transaction) -> Message:
            return access.message(tx, self._ctx, personal.open_write(tx, self._ctx, call.principal, name, site))

        return await mutations.mutate(self._store, call, request, work)

    async def open_read(self, request: catalog_pb2.OpenReadRequest, call: Call) -> Message:
        name, number = ids.dataset_or_version(request.name)
        wanted = personal.Reading(
            number=number or 0,
            site=ids.child(request.site, "sites") if request.site else "",
            purpose=request.purpose,
            bytes_max=_positive(request.bytes_max),
            sensitive=request.sensitive,
            column_classes=tuple(request.column_classes),
        )

        def work(tx: Transaction) -> Message:
            grant = personal.open_read(tx, self._ctx, call.principal, name, wanted)
            answer = access.message(tx, self._ctx, grant)
            answer.sensitive_columns.extend(sorted(cards.sensitive(tx, datasets.get_dataset(tx, name))))
            return answer

        return await mutations.mutate(self._store, call, request, work)

    async def _mutate(self, call: Call, request: Message, work: Use) -> Message:
        return await mutations.mutate(self._store, call, request, lambda tx: codec.to_message(work(tx)))


def _positive(bytes_max: int) -> int:
    """A bound of bytes, 0 for none; InvalidArgument (BYTES_INVALID) for what bounds nothing."""
    if bytes_max < 0:
        raise errors.InvalidArgument(
            f"bytes_max {bytes_max} is negative",
            reason="BYTES_INVALID",
            help="Say how many bytes are to be read at most, or 0.",
            violations={"bytes_max": "must not be negative"},
        )
    return bytes_max
