"""Namespaces, datasets, their versions and replicas, and grants to read and write them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from federation.client.areas import base
from federation.client.values import Access
from federation.core import card, collection, dataset, discovery, ids, quota
from federation.v1 import care_pb2, catalog_pb2
from federation.wire import codec

#: Who searches reads the best matches, and seldom more than those.
_SEARCH_PAGE_SIZE = 50


class Catalog(base.Area):
    """Namespaces, datasets, versions, replicas."""

    def create_namespace(self, new: dataset.Namespace, *, request_id: str = "") -> dataset.Namespace:
        """Creates a namespace; AlreadyExists when its name is taken.

        >>> client.create_namespace(dataset.Namespace(name="research")).owner
        'users/user'
        """
        request = catalog_pb2.CreateNamespaceRequest(
            namespace_id=new.name, namespace=codec.to_message(new, catalog_pb2.Namespace), request_id=request_id
        )
        return self._value(dataset.Namespace, "Catalog.CreateNamespace", request)

    def get_namespace(self, name: str) -> dataset.Namespace:
        """One namespace."""
        return self._value(
            dataset.Namespace, "Catalog.GetNamespace", catalog_pb2.GetNamespaceRequest(name=base.named(name, "namespaces"))
        )

    def list_namespaces(self, *, filter: str = "") -> Iterator[dataset.Namespace]:  # noqa: A002 - the contract's word
        """All namespaces, by name."""
        return self._connection.pages("Catalog.ListNamespaces", catalog_pb2.ListNamespacesRequest(filter=filter))

    def update_namespace(
        self, changed: dataset.Namespace, fields: Iterable[str] = (), *, request_id: str = ""
    ) -> dataset.Namespace:
        """Changes the named fields, or all that are filled; Conflict when `changed.etag` is given and stale."""
        request = catalog_pb2.UpdateNamespaceRequest(
            namespace=codec.to_message(changed, catalog_pb2.Namespace), update_mask=base.mask(fields), request_id=request_id
        )
        return self._value(dataset.Namespace, "Catalog.UpdateNamespace", request)

    def set_quota(
        self,
        name: str,
        *,
        weight: int = 1,
        gpu_seconds_quota: int = 0,
        egress_micros_quota: int = 0,
        etag: str = "",
        request_id: str = "",
    ) -> dataset.Namespace:
        """Sets a namespace's share of full sites and what its jobs may spend in a month (0: no limit). Administrators may."""
        request = catalog_pb2.SetQuotaRequest(
            name=base.named(name, "namespaces"),
            weight=weight,
            gpu_seconds_quota=gpu_seconds_quota,
            egress_micros_quota=egress_micros_quota,
            etag=etag,
            request_id=request_id,
        )
        return self._value(dataset.Namespace, "Catalog.SetQuota", request)

    def summarize_usage(self, month: str = "") -> tuple[quota.NamespaceUsage, ...]:
        """What the jobs of each namespace have taken in a month (`2026-11`; by default this one) and have reserved."""
        answer = self._connection.call("Catalog.SummarizeUsage", catalog_pb2.SummarizeUsageRequest(month=month))
        return tuple(codec.to_value(row) for row in answer.usages)

    def delete_namespace(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Deletes a namespace that holds no dataset."""
        request = catalog_pb2.DeleteNamespaceRequest(name=base.named(name, "namespaces"), etag=etag, request_id=request_id)
        self._connection.call("Catalog.DeleteNamespace", request)

    def create_dataset(self, new: dataset.Dataset, *, request_id: str = "") -> dataset.Dataset:
        """Creates a dataset without a version; its namespace must be there.

        >>> made = client.create_dataset(dataset.Dataset(namespace="research", dataset="returns", residency=("EU",)))
        >>> made.name.short, made.residency
        ('research/returns', ('EU',))
        """
        request = catalog_pb2.CreateDatasetRequest(
            parent=f"namespaces/{new.namespace}",
            dataset_id=new.dataset,
            dataset=codec.to_message(new, catalog_pb2.Dataset),
            request_id=request_id,
        )
        return self._value(dataset.Dataset, "Catalog.CreateDataset", request)

    def get_dataset(self, name: str) -> dataset.Dataset:
        """One dataset, also a deleted one."""
        return self._value(
            dataset.Dataset, "Catalog.GetDataset", catalog_pb2.GetDatasetRequest(name=ids.dataset(name).resource)
        )

    def list_datasets(
        self,
        namespace: str = "",
        *,
        filter: str = "",  # noqa: A002
        show_deleted: bool = False,
    ) -> Iterator[dataset.Dataset]:
        """The datasets of a namespace, or of all, by name.

        >>> [row.name.short for row in client.list_datasets()]
        ['research/returns', 'sales/flights']
        """
        request = catalog_pb2.ListDatasetsRequest(parent=_any_namespace(namespace), filter=filter, show_deleted=show_deleted)
        return self._connection.pages("Catalog.ListDatasets", request)

    def search_datasets(
        self,
        query: str = "",
        *,
        namespace: str = "",
        filter: str = "",  # noqa: A002
        show_deleted: bool = False,
    ) -> Iterator[discovery.Found]:
        """Datasets that have each of the words, or one that begins so, best matches first; without words all, newest first.

        They are looked for in name, labels, owner, columns, description and card. Pages are fetched as they are needed, so the
        first few cost no more than one look.

        >>> [found.dataset.name.short for found in client.search_datasets("retu")]
        ['research/returns']
        """
        request = catalog_pb2.SearchDatasetsRequest(
            parent=_any_namespace(namespace),
            query=query,
            filter=filter,
            show_deleted=show_deleted,
            page_size=_SEARCH_PAGE_SIZE,
        )
        return self._connection.pages("Catalog.SearchDatasets", request)

    def explain_card(self, name: str) -> card.Explained:
        """A dataset's data card, of which datasets its versions were made, and what it inherits from those."""
        return self._value(
            card.Explained, "Catalog.ExplainCard", catalog_pb2.ExplainCardRequest(name=ids.dataset(name).resource)
        )

    def update_dataset(self, changed: dataset.Dataset, fields: Iterable[str] = (), *, request_id: str = "") -> dataset.Dataset:
        """Changes the named fields, or all that are filled; Conflict when `changed.etag` is given and stale."""
        request = catalog_pb2.UpdateDatasetRequest(
            dataset=codec.to_message(changed, catalog_pb2.Dataset), update_mask=base.mask(fields), request_id=request_id
        )
        return self._value(dataset.Dataset, "Catalog.UpdateDataset", request)

    def declassify_dataset(
        self, changed: dataset.Dataset, fields: Iterable[str], reason: str, *, request_id: str = ""
    ) -> dataset.Dataset:
        """Loosens what a dataset inherited, in the named fields; the reason is kept in the audit."""
        request = catalog_pb2.DeclassifyDatasetRequest(
            dataset=codec.to_message(changed, catalog_pb2.Dataset),
            update_mask=base.mask(fields),
            reason=reason,
            request_id=request_id,
        )
        return self._value(dataset.Dataset, "Catalog.DeclassifyDataset", request)

    def delete_dataset(self, name: str, *, etag: str = "", request_id: str = "") -> dataset.Dataset:
        """Marks a dataset deleted: nothing reads or writes it any more."""
        request = catalog_pb2.DeleteDatasetRequest(name=ids.dataset(name).resource, etag=etag, request_id=request_id)
        return self._value(dataset.Dataset, "Catalog.DeleteDataset", request)

    def undelete_dataset(self, name: str, *, etag: str = "", request_id: str = "") -> dataset.Dataset:
        """Takes back a deletion."""
        request = catalog_pb2.UndeleteDatasetRequest(name=ids.dataset(name).resource, etag=etag, request_id=request_id)
        return self._value(dataset.Dataset, "Catalog.UndeleteDataset", request)

    def get_version(self, name: str) -> dataset.Version:
        """One version."""
        return self._value(
            dataset.Version, "Catalog.GetVersion", catalog_pb2.GetVersionRequest(name=ids.version(name).resource)
        )

    def list_versions(self, name: str, *, filter: str = "") -> Iterator[dataset.Version]:  # noqa: A002
        """The versions of a dataset, oldest first."""
        request = catalog_pb2.ListVersionsRequest(parent=ids.dataset(name).resource, filter=filter)
        return self._connection.pages("Catalog.ListVersions", request)

    def get_replica(self, name: str, site: str) -> dataset.Replica:
        """The replica of a version at a site."""
        request = catalog_pb2.GetReplicaRequest(name=ids.version(name).replica(ids.child(site, "sites")))
        return self._value(dataset.Replica, "Catalog.GetReplica", request)

    def list_replicas(self, name: str = "", *, filter: str = "") -> Iterator[dataset.Replica]:  # noqa: A002
        """The replicas of a version, of all versions of a dataset, or of all datasets: those at one site by `site = "eu-1"`."""
        parent = ids.EVERY_VERSION
        if name:
            found, number = ids.dataset_or_version(name.removesuffix("/versions/-"))
            parent = f"{found.resource}/versions/{number or '-'}"
        return self._connection.pages("Catalog.ListReplicas", catalog_pb2.ListReplicasRequest(parent=parent, filter=filter))

    def open_write(self, name: str, site: str, *, request_id: str = "") -> Access:
        """A grant to write one new version of a dataset at a site's gateway."""
        request = catalog_pb2.OpenWriteRequest(name=ids.dataset(name).resource, site=site, request_id=request_id)
        return base.access(self._connection.call("Catalog.OpenWrite", request))

    def open_read(
        self,
        name: str,
        site: str = "",
        *,
        purpose: str = "",
        bytes_max: int = 0,
        sensitive: bool = False,
        column_classes: Iterable[str] = (),
        request_id: str = "",
    ) -> Access:
        """A grant to read a version, or a dataset's newest, at a site that holds it: the cheapest, if none is named.

        With `bytes_max` it is good for so many bytes at most. `sensitive` asks to be shown sensitive columns by name, which
        those may who decide over the dataset. It opens `column_classes` beside `default`.
        """
        request = catalog_pb2.OpenReadRequest(
            name=base.versioned(name),
            site=site,
            purpose=purpose,
            bytes_max=bytes_max,
            sensitive=sensitive,
            column_classes=column_classes,
            request_id=request_id,
        )
        return base.access(self._connection.call("Catalog.OpenRead", request))

    def collect_versions(
        self,
        dataset_name: str,
        rule: collection.Rule,
        *,
        request_id: str = "",
        validate_only: bool = False,
    ) -> tuple[collection.Judged, ...]:
        """Lets a dataset's old versions go, by a rule; what was decided of each. With `validate_only` none goes."""
        request = care_pb2.CollectVersionsRequest(
            dataset=ids.dataset(dataset_name).resource,
            keep_versions=rule.keep_versions,
            keep_seconds=rule.keep_seconds,
            even_if_models=rule.even_if_models,
            request_id=request_id,
            validate_only=validate_only,
        )
        return tuple(map(codec.to_value, self._connection.call("Care.CollectVersions", request).versions))


def _any_namespace(name: str) -> str:
    """The parent of a listing: one namespace, or all."""
    return "namespaces/-" if name in ("", "-", "namespaces/-") else base.named(name, "namespaces")
