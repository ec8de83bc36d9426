"""The client of a federation: a method for each of the contract's, and on top put, get, submit, wait, logs and check."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import IO, TYPE_CHECKING, Any, Self, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp

from federation import frames
from federation.client import bills, files, focus_file, following, transfer
from federation.client.connection import CALL_SECONDS, Connection
from federation.client.values import Access, Entrance, Finding, Invitation, Joined, Package, QueryResult, WhoAmI
from federation.core import (
    authorization,
    bill,
    budget,
    card,
    chain,
    collection,
    columns,
    compliance,
    dataset,
    discovery,
    erasure,
    errors,
    focus,
    forecast,
    ids,
    job,
    keys,
    leases,
    lineage,
    metering,
    openlineage,
    people,
    pipeline,
    quota,
    ratecard,
    records,
    site,
    statistics,
    trail,
    variance,
    watching,
    witness,
)
from federation.core import transfer as moving
from federation.services import residency as residency_rules
from federation.v1 import (
    audit_pb2,
    bills_pb2,
    budgets_pb2,
    care_pb2,
    catalog_pb2,
    costs_pb2,
    events_pb2,
    identity_pb2,
    jobs_pb2,
    keys_pb2,
    leases_pb2,
    ledger_pb2,
    lineage_pb2,
    pipelines_pb2,
    policies_pb2,
    records_pb2,
    sites_pb2,
    transfers_pb2,
)
from federation.wire import changes, codec

if TYPE_CHECKING:
    import pyarrow as pa

T = TypeVar("T")

PACKAGE_BYTES_MAX = 64 * 1024 * 1024
#: Who searches reads the best matches, and seldom more than those.
_SEARCH_PAGE_SIZE = 50
#: A preview's grant is good for so much.
_PREVIEW_BYTES = 64 * 1024 * 1024
#: A manifest comes with the keys and is none of the data that a grant counts.
_MANIFEST_BYTES = 1
#: A sum reads a month of tables or years of them, and a reconciliation every read of a month.
_SUMMARIZE_SECONDS = 120.0
_RECONCILE_SECONDS = 600.0


class Client:
    """Speaks for one person to one federation. Threads may share it, and a fork may inherit it.

    `target` is the catalog's `host:port`, `ca` the PEM bytes of its CA. Names are taken in both forms, `sales/flights` and
    `namespaces/sales/datasets/flights`. Every failure is an error of `federation.errors`. A mutation is done once, however
    often its call had to be repeated.
    """

    def __init__(self, target: str, token: str | Callable[[], str], ca: bytes, *, call_seconds: float = CALL_SECONDS) -> None:
        self._connection = self._connect(target, token, ca, call_seconds)

    @staticmethod
    def _connect(target: str, token: str | Callable[[], str], ca: bytes, call_seconds: float) -> Connection:
        return Connection(target, token, ca, call_seconds=call_seconds)

    def __repr__(self) -> str:
        return f"<Client {self._connection.target}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Ends the connection; a later call makes another."""
        self._connection.close()

    # Namespaces

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
            dataset.Namespace, "Catalog.GetNamespace", catalog_pb2.GetNamespaceRequest(name=_named(name, "namespaces"))
        )

    def list_namespaces(self, *, filter: str = "") -> Iterator[dataset.Namespace]:  # noqa: A002 - the contract's word
        """All namespaces, by name."""
        return self._connection.pages("Catalog.ListNamespaces", catalog_pb2.ListNamespacesRequest(filter=filter))

    def update_namespace(
        self, changed: dataset.Namespace, fields: Iterable[str] = (), *, request_id: str = ""
    ) -> dataset.Namespace:
        """Changes the named fields, or all that are filled; Conflict when `changed.etag` is given and stale."""
        request = catalog_pb2.UpdateNamespaceRequest(
            namespace=codec.to_message(changed, catalog_pb2.Namespace), update_mask=_mask(fields), request_id=request_id
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
            name=_named(name, "namespaces"),
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
        request = catalog_pb2.DeleteNamespaceRequest(name=_named(name, "namespaces"), etag=etag, request_id=request_id)
        self._connection.call("Catalog.DeleteNamespace", request)

    # Datasets, versions, replicas

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
            dataset=codec.to_message(changed, catalog_pb2.Dataset), update_mask=_mask(fields), request_id=request_id
        )
        return self._value(dataset.Dataset, "Catalog.UpdateDataset", request)

    def declassify_dataset(
        self, changed: dataset.Dataset, fields: Iterable[str], reason: str, *, request_id: str = ""
    ) -> dataset.Dataset:
        """Loosens what a dataset inherited, in the named fields; the reason is kept in the audit."""
        request = catalog_pb2.DeclassifyDatasetRequest(
            dataset=codec.to_message(changed, catalog_pb2.Dataset),
            update_mask=_mask(fields),
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
        return _access(self._connection.call("Catalog.OpenWrite", request))

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
        found, number = ids.dataset_or_version(name)
        request = catalog_pb2.OpenReadRequest(
            name=found.version(number) if number else found.resource,
            site=site,
            purpose=purpose,
            bytes_max=bytes_max,
            sensitive=sensitive,
            column_classes=column_classes,
            request_id=request_id,
        )
        return _access(self._connection.call("Catalog.OpenRead", request))

    # Sites and links

    def create_site(self, new: site.Site, *, request_id: str = "") -> site.Site:
        """Declares a site; its agent makes it READY. For administrators."""
        request = sites_pb2.CreateSiteRequest(
            site_id=new.site, site=codec.to_message(new, sites_pb2.Site), request_id=request_id
        )
        return self._value(site.Site, "Sites.CreateSite", request)

    def invite_site(
        self, name: str, *, hosts: Iterable[str] = (), expires_in_seconds: int = 0, request_id: str = ""
    ) -> Invitation:
        """A join token for a declared site, good once; `hosts` are those of its gateway. For administrators."""
        request = sites_pb2.InviteSiteRequest(name=f"sites/{ids.child(name, 'sites')}", hosts=hosts, request_id=request_id)
        if expires_in_seconds:
            request.expire_time.FromDatetime(datetime.now(UTC) + timedelta(seconds=expires_in_seconds))
        made = self._connection.call("Sites.InviteSite", request)
        return Invitation(
            site=made.site, secret=made.secret, expire_time=codec.to_time(made.expire_time), hosts=tuple(made.hosts)
        )

    def join_site(self, secret: str, csr: bytes = b"") -> Joined:
        """Comes in as a site: its name, its certificate, and the CA's. Needs no token but the join token's secret."""
        answer = self._connection.call("Sites.JoinSite", sites_pb2.JoinSiteRequest(secret=secret, csr=csr))
        return Joined(site=ids.child(answer.site, "sites"), certificate=answer.certificate, ca=answer.ca)

    def admit_site(self, name: str, grade: str, reason: str = "", *, request_id: str = "") -> site.Site:
        """Holds a site's grade down to B or C; with A its tests decide again. For administrators."""
        request = sites_pb2.AdmitSiteRequest(
            name=f"sites/{ids.child(name, 'sites')}", grade=grade, reason=reason, request_id=request_id
        )
        return self._value(site.Site, "Sites.AdmitSite", request)

    def get_site(self, name: str) -> site.Site:
        """One site."""
        return self._value(site.Site, "Sites.GetSite", sites_pb2.GetSiteRequest(name=_named(name, "sites")))

    def list_sites(self, *, filter: str = "") -> Iterator[site.Site]:  # noqa: A002
        """All sites, by name."""
        return self._connection.pages("Sites.ListSites", sites_pb2.ListSitesRequest(filter=filter))

    def update_site(self, changed: site.Site, fields: Iterable[str] = (), *, request_id: str = "") -> site.Site:
        """Changes the named declared fields, or all that are filled. For administrators."""
        request = sites_pb2.UpdateSiteRequest(
            site=codec.to_message(changed, sites_pb2.Site), update_mask=_mask(fields), request_id=request_id
        )
        return self._value(site.Site, "Sites.UpdateSite", request)

    def delete_site(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Removes a site that holds no replica and runs nothing. For administrators."""
        request = sites_pb2.DeleteSiteRequest(name=_named(name, "sites"), etag=etag, request_id=request_id)
        self._connection.call("Sites.DeleteSite", request)

    def export_world(self, datasets: Iterable[str] = ()) -> Iterator[bytes]:
        """The running federation as a world file, in pieces: all datasets, or those named. For administrators."""
        request = sites_pb2.ExportWorldRequest(datasets=list(datasets))
        for answer in self._connection.stream("Sites.ExportWorld", request):
            yield answer.data

    def list_links(self, *, filter: str = "") -> Iterator[site.Link]:  # noqa: A002
        """The links between the regions of all sites, priced at this month's volume."""
        return self._connection.pages("Sites.ListLinks", sites_pb2.ListLinksRequest(filter=filter))

    def open_check(self, name: str, *, request_id: str = "") -> Access:
        """A grant to have a site's gateway compare its store with the catalog. For administrators."""
        request = sites_pb2.OpenCheckRequest(name=_named(name, "sites"), request_id=request_id)
        return _access(self._connection.call("Sites.OpenCheck", request))

    # Jobs

    def create_job(self, request: job.JobRequest, *, validate_only: bool = False, request_id: str = "") -> job.Job:
        """Submits a job whose working directory, if it has one, was uploaded. With `validate_only` it is only planned."""
        message = jobs_pb2.CreateJobRequest(
            request=codec.to_message(request, jobs_pb2.JobRequest), validate_only=validate_only, request_id=request_id
        )
        return self._value(job.Job, "Jobs.CreateJob", message)

    def plan(self, request: job.JobRequest, *, brief: bool = False) -> job.Job:
        """Where the job would run now, with the plan that explains it. Nothing is stored.

        A `brief` plan tells of the choice and the runner-up alone, and takes less: for whoever asks for many.

        >>> flights = job.InputSpec(alias="flights", dataset="sales/flights")
        >>> planned = client.plan(job.JobRequest(inputs=(flights,), entrypoint=("python", "train.py")))
        >>> planned.plan.choice.site, planned.plan.choice.locality
        ('eu-1', 1.0)
        """
        view = jobs_pb2.PLAN_VIEW_BASIC if brief else jobs_pb2.PLAN_VIEW_FULL
        message = jobs_pb2.CreateJobRequest(
            request=codec.to_message(request, jobs_pb2.JobRequest), validate_only=True, view=view
        )
        return self._value(job.Job, "Jobs.CreateJob", message)

    def submit(self, request: job.JobRequest, working_dir: Path | None = None, *, request_id: str = "") -> job.Job:
        """Submits a job, with its working directory if it has one: sent once, whichever jobs use it.

        >>> started = client.submit(job.JobRequest(label="train", entrypoint=("python", "train.py")))
        >>> str(started.state), started.attempt
        ('PLACED', 1)
        """
        if working_dir is not None:
            request = dataclasses.replace(request, working_dir=self.upload_package(working_dir).digest)
        return self.create_job(request, request_id=request_id)

    def get_job(self, name: str) -> job.Job:
        """One job with its plan."""
        return self._value(job.Job, "Jobs.GetJob", jobs_pb2.GetJobRequest(name=_named(name, "jobs")))

    def list_jobs(self, *, filter: str = "") -> Iterator[job.Job]:  # noqa: A002
        """All jobs, newest first.

        >>> [found.request.label for found in client.list_jobs(filter='label = "train"')]
        ['train']
        """
        return self._connection.pages("Jobs.ListJobs", jobs_pb2.ListJobsRequest(filter=filter))

    def cancel_job(self, name: str, *, etag: str = "", request_id: str = "") -> job.Job:
        """Asks for a job to end; it is CANCELLED once its site has stopped it."""
        request = jobs_pb2.CancelJobRequest(name=_named(name, "jobs"), etag=etag, request_id=request_id)
        return self._value(job.Job, "Jobs.CancelJob", request)

    def get_run(self, name: str) -> job.Run:
        """One run by its full name, `jobs/J/runs/1`."""
        return self._value(job.Run, "Jobs.GetRun", jobs_pb2.GetRunRequest(name=name))

    def list_runs(self, name: str = "", *, filter: str = "") -> Iterator[job.Run]:  # noqa: A002
        """The runs of a job, first attempt first; or of all jobs, newest first: those at one site by `site = "eu-1"`."""
        parent = _named(name, "jobs") if name else "jobs/-"
        return self._connection.pages("Jobs.ListRuns", jobs_pb2.ListRunsRequest(parent=parent, filter=filter))

    def open_logs(self, name: str, *, request_id: str = "") -> Access:
        """A grant to read what a job's current run prints, at its site's gateway."""
        request = jobs_pb2.OpenLogsRequest(name=_named(name, "jobs"), request_id=request_id)
        return _access(self._connection.call("Jobs.OpenLogs", request))

    def get_package(self, digest: str = "", *, alias: str = "") -> Package:
        """Whether a working directory's package is there, by its digest or by a name that the caller gave to it.

        NotFound (PACKAGE_MISSING) when it is not.
        """
        return _package(self._connection.call("Jobs.GetPackage", jobs_pb2.GetPackageRequest(digest=digest, alias=alias)))

    def send_package(self, package: IO[bytes], *, alias: str = "") -> Package:
        """Stores the bytes of a zip as a working directory's package; `alias` is what the caller calls it from now on.

        The file is read twice: for its digest, which goes first, and to be sent.
        """
        digest = files.sha256(package)

        def requests() -> Iterator[jobs_pb2.UploadPackageRequest]:
            yield jobs_pb2.UploadPackageRequest(digest=digest, alias=alias)
            for piece in files.pieces(package):
                yield jobs_pb2.UploadPackageRequest(data=piece)

        return _package(self._connection.upload("Jobs.UploadPackage", requests))

    def upload_package(self, working_dir: Path, *, bytes_max: int = PACKAGE_BYTES_MAX) -> Package:
        """Stores a working directory's package, unless the same one is there already."""
        packed = files.pack(working_dir, bytes_max)
        with packed.file:
            with contextlib.suppress(errors.NotFound):
                return self.get_package(packed.digest)
            return self.send_package(packed.file)

    def wait(self, name: str, timeout: float | None = None, *, progress: Callable[[job.Job], None] | None = None) -> job.Job:
        """The job once it has ended, however it ended; DeadlineExceeded (JOB_UNFINISHED) after `timeout` seconds.

        `progress` hears of each change of its state.
        """
        return self._ended(
            _named(name, "jobs"),
            self.get_job,
            progress,
            timeout,
            stamp=lambda found: (found.state, found.attempt),
            unfinished=_unfinished("job", "explain"),
        )

    def logs(self, name: str, *, follow: bool = False) -> Iterator[bytes]:
        """What a job has printed; with `follow` what it goes on to print, over all its runs, until it ends."""
        if not follow:
            yield from self._connection.logs(self.open_logs(name), follow=False)
            return
        shown = ""
        for _ in following.moments(self._connection, _named(name, "jobs"), None):
            while (current := self.get_job(name)).run and current.run != shown:
                shown = current.run
                yield from self._connection.logs(self.open_logs(name), follow=True)
            if current.state.terminal:
                return

    # Pipelines

    def create_pipeline(
        self, request: pipeline.PipelineRequest, *, validate_only: bool = False, request_id: str = ""
    ) -> pipeline.Pipeline:
        """Submits a pipeline whose working directories were uploaded. With `validate_only` it is only planned."""
        message = pipelines_pb2.CreatePipelineRequest(
            request=codec.to_message(request, pipelines_pb2.PipelineRequest), validate_only=validate_only, request_id=request_id
        )
        return self._value(pipeline.Pipeline, "Pipelines.CreatePipeline", message)

    def scatter_job(
        self,
        map_: job.JobRequest,
        alias: str,
        reduce: job.JobRequest | None = None,
        *,
        parts_min: int = 0,
        validate_only: bool = False,
        request_id: str = "",
    ) -> pipeline.Pipeline:
        """Submits one run of a job for each part of its input `alias`, and a job that takes what they made.

        With `parts_min` so many parts at least must succeed; 0 for all.
        """
        message = pipelines_pb2.ScatterJobRequest(
            map=codec.to_message(map_, jobs_pb2.JobRequest),
            alias=alias,
            reduce=codec.to_message(reduce, jobs_pb2.JobRequest) if reduce is not None else None,
            parts_min=parts_min,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(pipeline.Pipeline, "Pipelines.ScatterJob", message)

    def get_pipeline(self, name: str) -> pipeline.Pipeline:
        """One pipeline with its plan and what has become of its tasks."""
        return self._value(
            pipeline.Pipeline, "Pipelines.GetPipeline", pipelines_pb2.GetPipelineRequest(name=_named(name, "pipelines"))
        )

    def list_pipelines(self, *, filter: str = "") -> Iterator[pipeline.Pipeline]:  # noqa: A002
        """All pipelines, newest first."""
        return self._connection.pages("Pipelines.ListPipelines", pipelines_pb2.ListPipelinesRequest(filter=filter))

    def cancel_pipeline(self, name: str, *, etag: str = "", request_id: str = "") -> pipeline.Pipeline:
        """Asks for a pipeline to end; it is CANCELLED once all of its jobs have ended."""
        request = pipelines_pb2.CancelPipelineRequest(name=_named(name, "pipelines"), etag=etag, request_id=request_id)
        return self._value(pipeline.Pipeline, "Pipelines.CancelPipeline", request)

    def submit_pipeline(
        self, request: pipeline.PipelineRequest, working_dirs: Mapping[str, Path] | None = None, *, request_id: str = ""
    ) -> pipeline.Pipeline:
        """Submits a pipeline with the working directories of its tasks, by task: each folder is sent once."""
        folders = working_dirs or {}
        digests = {folder: self.upload_package(folder).digest for folder in dict.fromkeys(folders.values())}
        tasks = tuple(
            dataclasses.replace(spec, request=dataclasses.replace(spec.request, working_dir=digests[folders[spec.task]]))
            if spec.task in folders
            else spec
            for spec in request.tasks
        )
        return self.create_pipeline(dataclasses.replace(request, tasks=tasks), request_id=request_id)

    def wait_pipeline(
        self, name: str, timeout: float | None = None, *, progress: Callable[[pipeline.Pipeline], None] | None = None
    ) -> pipeline.Pipeline:
        """The pipeline once it has ended, however it ended; DeadlineExceeded (PIPELINE_UNFINISHED) after `timeout` seconds.

        `progress` hears of each change of it.
        """
        return self._ended(
            _named(name, "pipelines"), self.get_pipeline, progress, timeout, unfinished=_unfinished("pipeline", "show")
        )

    # Changes

    def watch(
        self,
        filter: str = "",  # noqa: A002
        *,
        start_revision: int = 0,
        names_only: bool = False,
        until_now: bool = False,
        timeout: float | None = None,
    ) -> Iterator[watching.Change]:
        """Changes of the catalog in order, each once, from a revision on, or from now on.

        `filter` is like `type = "jobs" AND namespace = "sales"`. Goes on by itself where a connection breaks, at whichever
        server there is, until `timeout` seconds are over; with `until_now` until all that is there has been told. OutOfRange
        (REVISION_COMPACTED) where the log no longer holds what comes next.

        >>> changes = client.watch('type = "datasets" AND namespace = "research"', start_revision=1, until_now=True)
        >>> [(change.kind, change.name) for change in changes][-1]
        ('dataset.created', 'namespaces/research/datasets/returns')
        """
        request = events_pb2.WatchRequest(
            filter=filter, start_revision=start_revision, names_only=names_only, until_now=until_now
        )
        for answer in following.answers(self._connection, request, timeout):
            yield from map(changes.to_change, answer.events)

    # Transfers and replication rules

    def create_transfer(
        self,
        version: str,
        destination_site: str,
        *,
        source_site: str = "",
        keep_seconds: int = 0,
        priority: int = 0,
        bytes_per_second_max: int = 0,
        validate_only: bool = False,
        request_id: str = "",
    ) -> moving.Transfer:
        """Asks for a replica of a version, or of a dataset's newest, at a site; one that is on its way already is shared.

        From the source where that is cheapest, unless one is named. `keep_seconds` counts from its last read, 0 for always.
        """
        name, number = ids.dataset_or_version(version)
        request = transfers_pb2.CreateTransferRequest(
            version=name.version(number) if number else name.resource,
            destination_site=destination_site,
            source_site=source_site,
            keep_seconds=keep_seconds,
            priority=priority,
            bytes_per_second_max=bytes_per_second_max,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(moving.Transfer, "Transfers.CreateTransfer", request)

    def get_transfer(self, name: str) -> moving.Transfer:
        """One transfer."""
        request = transfers_pb2.GetTransferRequest(name=_named(name, "transfers"))
        return self._value(moving.Transfer, "Transfers.GetTransfer", request)

    def list_transfers(self, *, filter: str = "") -> Iterator[moving.Transfer]:  # noqa: A002
        """All transfers, newest first."""
        return self._connection.pages("Transfers.ListTransfers", transfers_pb2.ListTransfersRequest(filter=filter))

    def cancel_transfer(self, name: str, *, etag: str = "", request_id: str = "") -> moving.Transfer:
        """Gives a transfer up. What waits for it is planned again."""
        request = transfers_pb2.CancelTransferRequest(name=_named(name, "transfers"), etag=etag, request_id=request_id)
        return self._value(moving.Transfer, "Transfers.CancelTransfer", request)

    def wait_transfer(
        self, name: str, timeout: float | None = None, *, progress: Callable[[moving.Transfer], None] | None = None
    ) -> moving.Transfer:
        """The transfer once it has ended, however it ended; DeadlineExceeded (TRANSFER_UNFINISHED) after `timeout` seconds.

        `progress` hears of each change of it.
        """
        return self._ended(
            _named(name, "transfers"), self.get_transfer, progress, timeout, unfinished=_unfinished("transfer", "show")
        )

    def create_replication_rule(
        self, new: moving.ReplicationRule, *, validate_only: bool = False, request_id: str = ""
    ) -> moving.ReplicationRule:
        """Asks for a number of replicas of a dataset's newest version, from now on, at sites that a filter selects."""
        request = transfers_pb2.CreateReplicationRuleRequest(
            replication_rule_id=new.rule,
            replication_rule=codec.to_message(new, transfers_pb2.ReplicationRule),
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(moving.ReplicationRule, "Transfers.CreateReplicationRule", request)

    def get_replication_rule(self, name: str) -> moving.ReplicationRule:
        """One rule, with what keeps it from being fulfilled, if something does."""
        request = transfers_pb2.GetReplicationRuleRequest(name=_named(name, "replicationRules"))
        return self._value(moving.ReplicationRule, "Transfers.GetReplicationRule", request)

    def list_replication_rules(self, *, filter: str = "") -> Iterator[moving.ReplicationRule]:  # noqa: A002
        """All rules, by name."""
        request = transfers_pb2.ListReplicationRulesRequest(filter=filter)
        return self._connection.pages("Transfers.ListReplicationRules", request)

    def delete_replication_rule(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Ends a rule; its replicas end once nobody reads them any more."""
        request = transfers_pb2.DeleteReplicationRuleRequest(
            name=_named(name, "replicationRules"), etag=etag, request_id=request_id
        )
        self._connection.call("Transfers.DeleteReplicationRule", request)

    # Costs, lineage, identity

    def list_ledger_entries(self, *, filter: str = "") -> Iterator[metering.LedgerEntry]:  # noqa: A002
        """The egress ledger, newest first."""
        return self._connection.pages("Costs.ListLedgerEntries", costs_pb2.ListLedgerEntriesRequest(filter=filter))

    def list_usage(self, *, filter: str = "") -> Iterator[metering.UsageRecord]:  # noqa: A002
        """What was counted under grants by hour, by gateways and by readers, newest grants first."""
        return self._connection.pages("Costs.ListUsage", costs_pb2.ListUsageRequest(filter=filter))

    def summarize_variances(
        self,
        by: str,
        *,
        filter: str = "",  # noqa: A002
    ) -> tuple[tuple[variance.Variance, ...], variance.Variance]:
        """Estimates of runs that succeeded beside what was metered, by `job`, `label`, `link` or `input`, and their total."""
        answer = self._connection.call("Costs.SummarizeVariances", costs_pb2.SummarizeVariancesRequest(by=by, filter=filter))
        return tuple(codec.to_value(row) for row in answer.variances), codec.to_value(answer.total)

    def summarize_costs(
        self,
        by: str,
        *,
        filter: str = "",  # noqa: A002
        from_time: datetime | None = None,
        to_time: datetime | None = None,
    ) -> tuple[tuple[metering.CostSummary, ...], metering.CostSummary]:
        """The ledger summed by one of `metering.SUMMARY_KEYS` or several with commas, and the total."""
        request = costs_pb2.SummarizeCostsRequest(by=by, filter=filter, **_times(from_time, to_time))
        answer = self._connection.call("Costs.SummarizeCosts", request, seconds=_SUMMARIZE_SECONDS)
        return tuple(codec.to_value(row) for row in answer.summaries), codec.to_value(answer.total)

    def export_ledger(
        self,
        *,
        filter: str = "",  # noqa: A002
        from_time: datetime | None = None,
        to_time: datetime | None = None,
    ) -> Iterator[metering.LedgerEntry]:
        """The egress ledger in bulk, in the order in which it was entered."""
        request = costs_pb2.ExportLedgerRequest(filter=filter, **_times(from_time, to_time))
        for answer in self._connection.stream("Costs.ExportLedger", request):
            yield from frames.values(metering.LedgerEntry, frames.unpack(metering.LedgerEntry, answer.entries))

    def export_focus(
        self,
        path: Path,
        version: str = "1.4",
        format: str = "parquet",  # noqa: A002
        *,
        filter: str = "",  # noqa: A002
        from_time: datetime | None = None,
        to_time: datetime | None = None,
        terms: focus.Terms | None = None,
    ) -> int:
        """Writes the egress ledger as a FOCUS file (1.2 or 1.4; parquet or csv); returns how many rows it has."""
        entries = self.export_ledger(filter=filter, from_time=from_time, to_time=to_time)
        return focus_file.write(entries, path, version, format, terms or focus.Terms())

    def forecast_costs(self, *, filter: str = "", today: date | None = None) -> forecast.Forecast:  # noqa: A002
        """What this month will have cost at its end, from its days and the eight weeks before; see `core.forecast`."""
        today = today or datetime.now(UTC).date()
        begin = datetime(today.year, today.month, today.day, tzinfo=UTC) - timedelta(days=forecast.DAYS_MAX)
        first = begin.replace(day=1)
        sums, _ = self.summarize_costs("day", filter=filter, from_time=first)
        return forecast.forecast({date.fromisoformat(row.key): row.charge_micros for row in sums}, today)

    # The custody of keys

    def list_keyrings(self, *, filter: str = "") -> Iterator[keys.SiteKeyring]:  # noqa: A002
        """What the catalog knows of each site's keys. Administrators may."""
        return self._connection.pages("Keys.ListKeyrings", keys_pb2.ListKeyringsRequest(filter=filter))

    def list_key_uses(self, *, filter: str = "") -> Iterator[keys.KeyUse]:  # noqa: A002
        """What sites' keys wrap, by site and dataset."""
        return self._connection.pages("Keys.ListKeyUses", keys_pb2.ListKeyUsesRequest(filter=filter))

    def rotate_keys(self, site: str, part: str = "KEK", *, request_id: str = "") -> keys.SiteKeyring:
        """Has a site's rows re-wrapped under a new KEK (`KEK`), or new versions there share no file with older ones (`DEK`)."""
        request = keys_pb2.RotateKeysRequest(
            name=_named(site, "sites"), part=keys_pb2.KeyPart.Value(f"KEY_PART_{part}"), request_id=request_id
        )
        return self._value(keys.SiteKeyring, "Keys.RotateKeys", request)

    def create_escrow(self, new: keys.Escrow, *, request_id: str = "") -> keys.Escrow:
        """Makes a way back to a site's keys for several custodians together. Administrators may."""
        request = keys_pb2.CreateEscrowRequest(
            escrow_id=new.escrow, escrow=codec.to_message(new, keys_pb2.Escrow), request_id=request_id
        )
        return self._value(keys.Escrow, "Keys.CreateEscrow", request)

    def get_escrow(self, name: str) -> keys.Escrow:
        """One escrow, with its custodians' sealed shares."""
        return self._value(keys.Escrow, "Keys.GetEscrow", keys_pb2.GetEscrowRequest(name=_named(name, "escrows")))

    def list_escrows(self, *, filter: str = "") -> Iterator[keys.Escrow]:  # noqa: A002
        """All escrows, by name."""
        return self._connection.pages("Keys.ListEscrows", keys_pb2.ListEscrowsRequest(filter=filter))

    def request_opening(self, escrow: str, reason: str, *, request_id: str = "") -> keys.Opening:
        """Asks for an escrow to be opened. Nothing is before enough custodians have approved it."""
        request = keys_pb2.RequestOpeningRequest(name=_named(escrow, "escrows"), reason=reason, request_id=request_id)
        return self._value(keys.Opening, "Keys.RequestOpening", request)

    def get_opening(self, name: str) -> keys.Opening:
        """One opening of an escrow."""
        return self._value(keys.Opening, "Keys.GetOpening", keys_pb2.GetOpeningRequest(name=_named(name, "openings")))

    def list_openings(self, *, filter: str = "") -> Iterator[keys.Opening]:  # noqa: A002
        """All openings, newest first."""
        return self._connection.pages("Keys.ListOpenings", keys_pb2.ListOpeningsRequest(filter=filter))

    def approve_opening(self, name: str, sealed_share: bytes, *, request_id: str = "") -> keys.Opening:
        """A custodian's yes, with their share as `crypto.escrow.approve` sealed it to the site."""
        request = keys_pb2.ApproveOpeningRequest(
            name=_named(name, "openings"), sealed_share=sealed_share, request_id=request_id
        )
        return self._value(keys.Opening, "Keys.ApproveOpening", request)

    # Leases and erasures

    def list_leases(self, *, filter: str = "") -> Iterator[leases.Lease]:  # noqa: A002
        """Who was given data keys: for example of `version = "sales/flights@3"`, or by `run = "jobs/j-1/runs/1"`."""
        return self._connection.pages("Leases.ListLeases", leases_pb2.ListLeasesRequest(filter=filter))

    def erase_version(self, version: str, reason: str, *, request_id: str = "", validate_only: bool = False) -> erasure.Erasure:
        """Destroys for good what opens a version, at every site. Administrators may; with `validate_only` it is only tried."""
        request = leases_pb2.EraseVersionRequest(
            version=version, reason=reason, request_id=request_id, validate_only=validate_only
        )
        return self._value(erasure.Erasure, "Erasures.EraseVersion", request)

    def get_erasure(self, name: str) -> erasure.Erasure:
        """One erasure, by its name or its version's: who has confirmed it, and what it waits for."""
        return self._value(erasure.Erasure, "Erasures.GetErasure", leases_pb2.GetErasureRequest(name=name))

    def list_erasures(self, *, filter: str = "") -> Iterator[erasure.Erasure]:  # noqa: A002
        """All erasures, for example with `state = "PENDING"`."""
        return self._connection.pages("Erasures.ListErasures", leases_pb2.ListErasuresRequest(filter=filter))

    def get_deletion_certificate(self, name: str) -> bytes:
        """The signed certificate of a version's erasure; FailedPrecondition (ERASURE_PENDING) until it is complete."""
        request = leases_pb2.GetDeletionCertificateRequest(name=name)
        return bytes(self._connection.call("Erasures.GetDeletionCertificate", request).certificate)

    # Policies

    def get_policy_revision(self, number: int | None = None) -> authorization.PolicyRevision:
        """The policies that hold, or a revision before them; 0 is the set that is shipped."""
        request = policies_pb2.GetPolicyRevisionRequest(name=f"policies/{'-' if number is None else number}")
        return self._value(authorization.PolicyRevision, "Policies.GetPolicyRevision", request)

    def apply_policies(
        self,
        text: str,
        cases: Iterable[authorization.Case],
        *,
        note: str = "",
        etag: str = "",
        validate_only: bool = False,
        request_id: str = "",
    ) -> authorization.PolicyRevision:
        """Puts a set in force, if it is in order and decides the cases as expected. For administrators."""
        request = policies_pb2.ApplyPoliciesRequest(
            text=text,
            note=note,
            cases=[records.dumps(case) for case in cases],
            etag=etag,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(authorization.PolicyRevision, "Policies.ApplyPolicies", request)

    def explain_policy_diff(self, text: str, start: int = 0) -> tuple[list[authorization.PolicyFlip], int, int, int]:
        """Decisions that a set would change: some of them, how many were asked, of how many, and where to go on (0: done)."""
        request = policies_pb2.ExplainPolicyDiffRequest(text=text, start=start)
        found = self._connection.call("Policies.ExplainPolicyDiff", request)
        return [codec.to_value(row) for row in found.flips], found.asked, found.total, found.next_start

    def explain_policy_replay(
        self, text: str, start: int = 0, *, from_time: datetime | None = None, to_time: datetime | None = None
    ) -> tuple[list[authorization.PolicyFlip], int, int]:
        """Past decisions that a set would make otherwise: some, how many were asked, and where to go on (0: done)."""
        request = policies_pb2.ExplainPolicyReplayRequest(text=text, start=start, **_times(from_time, to_time))
        found = self._connection.call("Policies.ExplainPolicyReplay", request)
        return [codec.to_value(row) for row in found.flips], found.asked, found.next_start

    # Bills and budgets

    def import_bill(self, delivered: bills.Delivered) -> bill.Bill:
        """Takes in one delivery of a provider's bill (see `client.bills.read`). The same again changes nothing."""

        def requests() -> Iterator[bills_pb2.ImportBillRequest]:
            yield bills_pb2.ImportBillRequest(
                provider=delivered.provider,
                account=delivered.account,
                month=delivered.month,
                digest=delivered.digest,
                source=delivered.source,
                skipped_lines=delivered.skipped_lines,
            )
            for piece in delivered.pieces():
                yield bills_pb2.ImportBillRequest(lines=piece)

        found: bill.Bill = codec.to_value(self._connection.upload("Bills.ImportBill", requests))
        return found

    def get_bill(self, name: str) -> bill.Bill:
        """One bill."""
        return self._value(bill.Bill, "Bills.GetBill", bills_pb2.GetBillRequest(name=_named(name, "bills")))

    def list_bills(self, *, filter: str = "") -> Iterator[bill.Bill]:  # noqa: A002
        """All bills."""
        return self._connection.pages("Bills.ListBills", bills_pb2.ListBillsRequest(filter=filter))

    def reconcile_bills(
        self,
        month: str,
        provider: str = "aws",
        *,
        account: str = "",
        period: bill.Period = bill.Period.MONTH,
        validate_only: bool = False,
        request_id: str = "",
    ) -> bill.Reconciliation:
        """Splits a month's bills over who read and posts the differences. With `validate_only` nothing is posted."""
        request = bills_pb2.ReconcileBillsRequest(
            month=month,
            provider=provider,
            account=account,
            period=bills_pb2.Period.Value(f"PERIOD_{period}"),
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(bill.Reconciliation, "Bills.ReconcileBills", request, seconds=_RECONCILE_SECONDS)

    def create_budget(self, new: budget.Budget, *, request_id: str = "") -> budget.Budget:
        """Makes a budget. Administrators may."""
        request = budgets_pb2.CreateBudgetRequest(
            budget_id=new.budget, budget=codec.to_message(new, budgets_pb2.Budget), request_id=request_id
        )
        return self._value(budget.Budget, "Budgets.CreateBudget", request)

    def get_budget(self, name: str) -> budget.Budget:
        """One budget, with what this month has made of it."""
        return self._value(budget.Budget, "Budgets.GetBudget", budgets_pb2.GetBudgetRequest(name=_named(name, "budgets")))

    def list_budgets(self, *, filter: str = "") -> Iterator[budget.Budget]:  # noqa: A002
        """All budgets, by name, with what this month has made of them."""
        return self._connection.pages("Budgets.ListBudgets", budgets_pb2.ListBudgetsRequest(filter=filter))

    def update_budget(self, changed: budget.Budget, fields: Iterable[str] = (), *, request_id: str = "") -> budget.Budget:
        """Changes the named fields, or all that are filled; Conflict when `changed.etag` is given and stale."""
        request = budgets_pb2.UpdateBudgetRequest(
            budget=codec.to_message(changed, budgets_pb2.Budget), update_mask=_mask(fields), request_id=request_id
        )
        return self._value(budget.Budget, "Budgets.UpdateBudget", request)

    def delete_budget(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Ends a budget."""
        request = budgets_pb2.DeleteBudgetRequest(name=_named(name, "budgets"), etag=etag, request_id=request_id)
        self._connection.call("Budgets.DeleteBudget", request)

    # Prices

    def price_egress(
        self,
        source_region: str,
        destination_region: str,
        volume_bytes: int,
        *,
        month_to_date_bytes: int | None = None,
        requests: int = 0,
        account: str = "",
    ) -> ratecard.Quote:
        """What a volume would cost now, or after a stated volume of a month; a destination may be `internet`.

        >>> client.price_egress("aws:us-east-2", "internet", 10 * 2**40, month_to_date_bytes=0).charge_micros
        921510000
        """
        request = costs_pb2.PriceEgressRequest(
            source_region=source_region, destination_region=destination_region, account=account
        )
        # An unset month is what the federation has counted; a number beyond 64 bits is told as our error.
        for name, number in (
            ("volume_bytes", volume_bytes),
            ("month_to_date_bytes", month_to_date_bytes),
            ("requests", requests),
        ):
            if number is not None:
                codec.assign(request, name, number)
        return self._value(ratecard.Quote, "Costs.PriceEgress", request)

    def import_rate_card(
        self,
        *,
        egress: str = "",
        compute: str = "",
        note: str = "",
        replace: bool = False,
        validate_only: bool = False,
        request_id: str = "",
    ) -> ratecard.CardInfo:
        """Imports price rows as CSV into a new rate card; what is left empty stays as it is. For administrators."""
        request = costs_pb2.ImportRateCardRequest(
            egress=egress.encode(),
            compute=compute.encode(),
            note=note,
            replace=replace,
            validate_only=validate_only,
            request_id=request_id,
        )
        return self._value(ratecard.CardInfo, "Costs.ImportRateCard", request)

    def get_rate_card(self, name: str = "-") -> ratecard.CardInfo:
        """A rate card with its rows: by number, `-` for the one that holds, `0` for the one from before all imports."""
        request = costs_pb2.GetRateCardRequest(name=f"rateCards/{name.removeprefix('rateCards/')}")
        return self._value(ratecard.CardInfo, "Costs.GetRateCard", request)

    def list_rate_cards(self, *, filter: str = "") -> Iterator[ratecard.CardInfo]:  # noqa: A002
        """All imported rate cards, newest first, without their rows."""
        return self._connection.pages("Costs.ListRateCards", costs_pb2.ListRateCardsRequest(filter=filter))

    # The record

    def list_record_heads(self, table: str = "") -> Iterator[chain.SignedHead]:
        """Signed heads of the record's tables that the catalog keeps, newest first: of one table, or of all."""
        filter_ = f'table = "{table}"' if table else ""
        return self._connection.pages("Ledger.ListRecordHeads", ledger_pb2.ListRecordHeadsRequest(filter=filter_))

    def verify_table(self, table: str) -> Iterator[chain.Verification]:
        """Follows the chain of one of the record's tables; the last that comes is what was found. For administrators."""
        for step in self._connection.stream("Ledger.VerifyTable", ledger_pb2.VerifyTableRequest(table=table)):
            yield codec.to_value(step)

    def list_audit_entries(self, *, filter: str = "") -> Iterator[trail.AuditRow]:  # noqa: A002 - the contract's word
        """The log as people read it, newest first: who did, asked, or was refused what. For administrators and auditors."""
        return self._connection.pages("Audit.ListAuditEntries", audit_pb2.ListAuditEntriesRequest(filter=filter))

    def get_audit_entry(self, position: int) -> trail.AuditRow:
        """One entry of the log."""
        request = audit_pb2.GetAuditEntryRequest(name=f"auditEntries/{position}")
        return self._value(trail.AuditRow, "Audit.GetAuditEntry", request)

    def verify_audit(self, table: str, cosignatures: Iterable[witness.Cosignature] = ()) -> Iterator[witness.AuditVerification]:
        """Follows the chain of a table past signed heads and what witnesses co-signed; the last answer is what was found."""
        request = audit_pb2.VerifyAuditRequest(
            table=table, cosignatures=[codec.to_message(each, audit_pb2.Cosignature) for each in cosignatures]
        )
        for step in self._connection.stream("Audit.VerifyAudit", request):
            yield codec.to_value(step)

    def witness(self, site: str) -> tuple[witness.WitnessLine, ...]:
        """What a site has co-signed of the record's heads, from its own gateway and file: not from the catalog."""
        return witness.parse(transfer.read_witness(self._connection.ca, self.open_check(site)))

    def export_compliance(
        self, from_time: datetime, to_time: datetime, *, dataset: str = "", namespace: str = ""
    ) -> compliance.Report:
        """Which data was used where, by whom, for what, under which policy, and what was refused. See docs/audit.md."""
        request = audit_pb2.ExportComplianceRequest(
            from_time=codec.from_time(from_time), to_time=codec.from_time(to_time), dataset=dataset, namespace=namespace
        )
        pieces = self._connection.stream("Audit.ExportCompliance", request)
        return records.loads(compliance.Report, b"".join(piece.data for piece in pieces).decode())

    def receive_open_lineage(self, events: Iterable[bytes]) -> openlineage.Received:
        """Takes OpenLineage events of other tools, each as JSON, into lineage: all or none of them."""
        request = lineage_pb2.ReceiveOpenLineageRequest(events=events)
        received: openlineage.Received = codec.to_value(self._connection.call("Lineage.ReceiveOpenLineage", request))
        return received

    def get_lineage(
        self,
        name: str,
        *,
        direction: str = "BOTH",
        depth: int = 0,
        edges_max: int = 0,
        as_of_time: datetime | None = None,
        as_of_position: int = 0,
        continuation: str = "",
    ) -> lineage.Graph:
        """What came from what, around a dataset, a version, a run or a foreign node.

        `direction` is `upstream`, `downstream` or `both`. An answer that is not complete goes on with its `continuation`.
        """
        if direction.upper() not in lineage.Direction.__members__:
            raise errors.InvalidArgument(
                f"{direction!r} is no direction of lineage",
                reason="DIRECTION_INVALID",
                help="Use upstream, downstream or both.",
            )
        number = lineage_pb2.LineageDirection.Value(f"LINEAGE_DIRECTION_{direction.upper()}")
        request = lineage_pb2.GetLineageRequest(name=name, direction=number, continuation=continuation)
        for field, figure in (("depth", depth), ("edges_max", edges_max)):
            codec.assign(request, field, figure)
        _as_of(request, as_of_time, as_of_position)
        return self._value(lineage.Graph, "Lineage.GetLineage", request)

    def find_models(self, name: str, *, as_of_time: datetime | None = None, as_of_position: int = 0) -> lineage.Sightings:
        """Which models a version, or any version of a dataset, has gone into."""
        request = lineage_pb2.FindModelsRequest(name=name)
        _as_of(request, as_of_time, as_of_position)
        return self._value(lineage.Sightings, "Lineage.FindModels", request)

    def explain_erasure(self, name: str) -> lineage.Impact:
        """What would be lost if a version were erased; erases nothing."""
        return self._value(lineage.Impact, "Lineage.ExplainErasure", lineage_pb2.ExplainErasureRequest(name=name))

    def explain_residency(self, name: str) -> lineage.Why:
        """Why a dataset has its residency."""
        return self._value(lineage.Why, "Lineage.ExplainResidency", lineage_pb2.ExplainResidencyRequest(name=name))

    def check_lineage_index(self, *, rebuild: bool = False) -> lineage.IndexCheck:
        """Compares the answering server's index of lineage with the Delta tables. For administrators."""
        request = lineage_pb2.CheckLineageIndexRequest(rebuild=rebuild)
        return self._value(lineage.IndexCheck, "Lineage.CheckLineageIndex", request)

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

    def query_records(self, sql: str, *, rows_max: int = 0, seconds_max: int = 0) -> QueryResult:
        """One SQL query over the record's tables; at most so many rows (0: what the server allows). For administrators."""
        request = records_pb2.QueryRecordsRequest(sql=sql, rows_max=rows_max, seconds_max=seconds_max)
        pieces = list(self._connection.stream("Records.QueryRecords", request))
        return QueryResult(stream=b"".join(piece.data for piece in pieces), rows=pieces[0].rows, complete=pieces[0].complete)

    def who_am_i(self) -> WhoAmI:
        """Who the server says the caller is.

        >>> client.who_am_i().principal
        'users/user'
        """
        answer = self._connection.call("Identity.WhoAmI", identity_pb2.WhoAmIRequest())
        return WhoAmI(
            principal=answer.principal,
            role=answer.role,
            jurisdiction=answer.jurisdiction,
            groups=tuple(answer.groups),
            scopes=tuple(answer.scopes),
            credential=answer.credential,
            expire_time=codec.to_time(answer.expire_time) if answer.HasField("expire_time") else None,
            server_version=answer.server_version,
            revision=answer.revision,
            server_time=codec.to_time(answer.server_time) if answer.HasField("server_time") else None,
        )

    def create_token(
        self,
        user: str = "",
        *,
        role: str = "USER",
        jurisdiction: str = "",
        groups: Iterable[str] = (),
        scopes: Iterable[str] = (),
        expires_in_seconds: int = 0,
        request_id: str = "",
    ) -> people.Token:
        """A new token, one's own unless `user` says whose, with its secret: it is told here and nowhere else.

        It has nothing that its creator lacks, and lasts as long as the server's settings say unless told otherwise.
        """
        token = identity_pb2.Token(user=user, role=role, jurisdiction=jurisdiction, groups=groups, scopes=scopes)
        if expires_in_seconds:
            token.expire_time.GetCurrentTime()
            token.expire_time.FromDatetime(codec.to_time(token.expire_time) + timedelta(seconds=expires_in_seconds))
        request = identity_pb2.CreateTokenRequest(token=token, request_id=request_id)
        made: people.Token = codec.to_value(self._connection.call("Identity.CreateToken", request))
        return made

    def list_tokens(self, *, filter: str = "") -> Iterator[people.Token]:  # noqa: A002 - the contract's word
        """Tokens, without their secrets: one's own, for administrators and auditors everybody's."""
        return self._connection.pages("Identity.ListTokens", identity_pb2.ListTokensRequest(filter=filter))

    def revoke_token(self, name: str, *, request_id: str = "") -> people.Token:
        """Ends a token at once, and all that were made with it."""
        request = identity_pb2.RevokeTokenRequest(name=f"tokens/{ids.child(name, 'tokens')}", request_id=request_id)
        ended: people.Token = codec.to_value(self._connection.call("Identity.RevokeToken", request))
        return ended

    def find_entrance(self) -> Entrance:
        """How anybody comes in: the federation's name, its CA, and who vouches for people. Needs no token."""
        answer = self._connection.call("Identity.FindEntrance", identity_pb2.FindEntranceRequest())
        return Entrance(
            federation=answer.federation, ca=answer.ca, issuers=tuple(codec.to_value(row) for row in answer.issuers)
        )

    # What moves data

    def put(
        self,
        name: str,
        path: Path,
        *,
        site: str,
        residency: Iterable[str] = (),
        kind: dataset.DatasetKind = dataset.DatasetKind.DATA,
        column_classes: Iterable[columns.ColumnClass] = (),
        progress: transfer.Progress = lambda _: None,
    ) -> dataset.Version:
        """Encrypts a file or folder here and stores it at a site as the next version of a dataset.

        Namespace and dataset are created when absent, with `residency` and `kind`. Files that have not changed since the
        version before are not sent again. Hidden files are part of it; symbolic links, and files that cannot be read, are
        refused before anything is written.

        With `column_classes` every file is Parquet, its columns are sealed under a key for each class, and all files are sent.
        """
        asked = tuple(column_classes)
        classes = columns.checked(asked) if asked else ()
        found = files.found(path)
        self.ensure_dataset(name, site=site, residency=residency, kind=kind)
        access = self.open_write(name, site)
        return self.get_version(transfer.put(self._connection.ca, access, found, progress, classes))

    def get(
        self,
        name: str,
        folder: Path,
        *,
        site: str = "",
        overwrite: bool = False,
        purpose: str = "",
        column_classes: Iterable[str] = (),
        progress: transfer.Progress = lambda _: None,
    ) -> list[Path]:
        """Brings a version (or a dataset's newest) into a folder and decrypts it there; returns the files.

        All files come whole and authenticated, or none does. One that is there already is refused unless `overwrite`. Where
        columns are sealed by classes, those of `column_classes` come beside the class `default`, as plain Parquet.
        """
        wanted = columns.wanted(column_classes)[1:]
        access = self.open_read(name, site, purpose=purpose, column_classes=wanted)
        return transfer.get(self._connection.ca, access, folder, overwrite=overwrite, progress=progress, column_classes=wanted)

    def preview(
        self,
        name: str,
        *,
        rows: int = 20,
        columns: Iterable[str] = (),
        file: str = "",
        site: str = "",
        purpose: str = "",
        show_sensitive: bool = False,
    ) -> pa.Table:
        """The first rows of a version, or of a dataset's newest: of `file`, or of its first file with rows.

        Reads only what it needs of Parquet, CSV, TSV, JSON lines and plain text, at most 64 MiB, under a grant and a lease of
        the caller's, and meters it. Columns that the data card calls sensitive are masked, unless somebody who decides over the
        dataset wants to see them. The table's metadata tell `fed.file`, `fed.masked`, `fed.more` and `fed.received_bytes`.
        FailedPrecondition (PREVIEW_UNSUPPORTED) for a version without rows.
        """
        access = self.open_read(name, site, purpose=purpose, bytes_max=_PREVIEW_BYTES, sensitive=show_sensitive)
        return transfer.preview(
            self._connection.ca, access, rows=rows, columns=tuple(columns), path=file, masked=not show_sensitive
        )

    def get_manifest(self, name: str, *, site: str = "", purpose: str = "") -> dataset.Manifest:
        """The files of a version, or of a dataset's newest, as its site signed them.

        It is a read like `get`: asked of the policy, under a lease of the caller's, in the audit; none of the data is fetched.
        """
        access = self.open_read(name, site, purpose=purpose, bytes_max=_MANIFEST_BYTES)
        return transfer.manifest(self._connection.ca, access)

    def describe_file(
        self, name: str, file: str, *, site: str = "", purpose: str = "", show_sensitive: bool = False
    ) -> statistics.FileStatistics:
        """The schema of a version's Parquet file, with nulls, least and greatest value of each column, from its footer alone.

        It is a read as `preview` is, and masks alike. FailedPrecondition (STATISTICS_MISSING) for a file that is no Parquet, or
        whose columns are sealed by classes.
        """
        access = self.open_read(name, site, purpose=purpose, bytes_max=_PREVIEW_BYTES, sensitive=show_sensitive)
        return transfer.describe(self._connection.ca, access, path=file, masked=not show_sensitive)

    def check(self, site: str, read_objects: bool = False) -> Iterator[Finding]:
        """What is wrong between a site's store and the catalog; nothing when all is well. `read_objects` reads every byte."""
        return transfer.check(self._connection.ca, self.open_check(site), read_objects=read_objects)

    def orphans(self, site: str, *, remove: bool = False) -> Iterator[Finding]:
        """Objects in a site's store that no version names and nobody is writing; those of ours removed, if asked to."""
        if remove:
            return transfer.check(self._connection.ca, self.open_check(site), remove_orphans=True)
        return (row for row in self.check(site) if row["finding"] == "ORPHAN")

    def ensure_dataset(
        self,
        name: str,
        *,
        site: str,
        residency: Iterable[str] = (),
        kind: dataset.DatasetKind = dataset.DatasetKind.DATA,
    ) -> dataset.Dataset:
        """The dataset, made with its namespace if absent, to be written at a site.

        Makes nothing where its first version would be refused: at a site that is not there, or that its residency forbids.
        FailedPrecondition (RESIDENCY_DIFFERS) when it is there with another residency than the one that was asked for.
        """
        wanted, asked = ids.dataset(name), residency_rules.normal(residency)
        try:
            stored = self.get_dataset(wanted.short)
        except errors.NotFound:
            place = self.get_site(site)
            residency_rules.require_site(wanted.short, asked, place.site, place.jurisdiction)
            with contextlib.suppress(errors.AlreadyExists):
                self.create_namespace(dataset.Namespace(name=wanted.namespace))
            return self.create_dataset(
                dataset.Dataset(namespace=wanted.namespace, dataset=wanted.dataset, kind=kind, residency=asked)
            )
        if asked and asked != tuple(sorted(stored.residency)):
            raise errors.FailedPrecondition(
                f"{wanted.short} has the residency {', '.join(stored.residency) or 'anywhere'}, not {', '.join(asked)}",
                reason="RESIDENCY_DIFFERS",
                help=f"Leave residency out, or change it first: fed dataset update {wanted.short} --residency ...",
                metadata={"dataset": wanted.short},
            )
        return stored

    def _ended(
        self,
        name: str,
        look: Callable[[str], T],
        progress: Callable[[T], None] | None,
        timeout: float | None,
        *,
        unfinished: Callable[[Any, float], errors.DeadlineExceeded],
        stamp: Callable[[Any], object] = lambda found: found.etag,
    ) -> T:
        """What has a state, once that is a last one. `progress` hears of each look that found another `stamp`."""
        current: Any = None
        told: object = None
        with contextlib.closing(following.moments(self._connection, name, timeout)) as moments:
            for _ in moments:
                current = look(name)
                if progress and stamp(current) != told:
                    told = stamp(current)
                    progress(current)
                if current.state.terminal:
                    return current  # type: ignore[no-any-return]
        assert timeout is not None, "it is looked at again and again otherwise"
        raise unfinished(current, timeout)

    def _value(self, cls: type[T], key: str, request: Any, *, seconds: float | None = None) -> T:
        value = codec.to_value(self._connection.call(key, request, seconds=seconds))
        assert isinstance(value, cls)
        return value


def _as_of(request: Any, time_: datetime | None, position: int) -> None:
    if time_ is not None:
        request.as_of_time.CopyFrom(codec.from_time(time_))
    codec.assign(request, "as_of_position", position)


def _any_namespace(name: str) -> str:
    """The parent of a listing: one namespace, or all."""
    return "namespaces/-" if name in ("", "-", "namespaces/-") else _named(name, "namespaces")


def _named(name: str, collection: str) -> str:
    return f"{collection}/{ids.child(name, collection)}"


def _times(from_time: datetime | None, to_time: datetime | None) -> dict[str, Timestamp]:
    named = (("from_time", from_time), ("to_time", to_time))
    return {name: codec.from_time(time) for name, time in named if time is not None}


def _mask(fields: Iterable[str]) -> FieldMask:
    return FieldMask(paths=list(fields))


def _access(message: catalog_pb2.Access) -> Access:
    return Access(
        grant=message.grant,
        gateway=message.gateway,
        site=message.site,
        name=message.name,
        dataset_uid=message.dataset_uid,
        expire_time=codec.to_time(message.expire_time),
        sensitive_columns=tuple(message.sensitive_columns),
    )


def _package(message: jobs_pb2.Package) -> Package:
    return Package(digest=message.digest, package_bytes=message.package_bytes)


def _unfinished(noun: str, verb: str) -> Callable[[Any, float], errors.DeadlineExceeded]:
    """What is told of a job, a transfer or a pipeline that takes longer than its caller is ready to wait."""

    def told(current: Any, timeout: float) -> errors.DeadlineExceeded:
        name = getattr(current, noun)
        return errors.DeadlineExceeded(
            f"{noun} {name} is still {current.state} after {timeout:g} seconds",
            reason=f"{noun.upper()}_UNFINISHED",
            help=f"It goes on; wait longer, or see `fed {noun} {verb} {name}`.",
            metadata={noun: name, "state": str(current.state)},
        )

    return told
