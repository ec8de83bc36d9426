"""The client of a federation for asyncio: the methods of `Client`, awaited, and what they list by `async for`.

Printed from `areas` by `make aio`. How it works is told in `loop.py`.
"""

# ruff: noqa: A002, ASYNC109 - the words of the contract, and of `Client`
from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from datetime import date, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING

from federation.client import bills, files, transfer
from federation.client.client import Client
from federation.client.loop import LoopClient
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
    focus,
    forecast,
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
    site,
    statistics,
    trail,
    variance,
    watching,
    witness,
)
from federation.core import transfer as moving

if TYPE_CHECKING:
    import pyarrow as pa


class AsyncClient(LoopClient):
    """Speaks for one person to one federation, on an event loop. Everything else is as `Client` says."""

    async def create_namespace(self, new: dataset.Namespace, *, request_id: str = "") -> dataset.Namespace:
        """Creates a namespace; AlreadyExists when its name is taken."""
        return await self._call(Client.create_namespace, new, request_id=request_id)

    async def get_namespace(self, name: str) -> dataset.Namespace:
        """One namespace."""
        return await self._call(Client.get_namespace, name)

    def list_namespaces(self, *, filter: str = "") -> AsyncIterator[dataset.Namespace]:
        """All namespaces, by name."""
        return self._iterate(Client.list_namespaces, filter=filter)

    async def update_namespace(
        self, changed: dataset.Namespace, fields: Iterable[str] = (), *, request_id: str = ""
    ) -> dataset.Namespace:
        """Changes the named fields, or all that are filled; Conflict when `changed.etag` is given and stale."""
        return await self._call(Client.update_namespace, changed, fields, request_id=request_id)

    async def set_quota(
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
        return await self._call(
            Client.set_quota,
            name,
            weight=weight,
            gpu_seconds_quota=gpu_seconds_quota,
            egress_micros_quota=egress_micros_quota,
            etag=etag,
            request_id=request_id,
        )

    async def summarize_usage(self, month: str = "") -> tuple[quota.NamespaceUsage, ...]:
        """What the jobs of each namespace have taken in a month (`2026-11`; by default this one) and have reserved."""
        return await self._call(Client.summarize_usage, month)

    async def delete_namespace(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Deletes a namespace that holds no dataset."""
        return await self._call(Client.delete_namespace, name, etag=etag, request_id=request_id)

    async def create_dataset(self, new: dataset.Dataset, *, request_id: str = "") -> dataset.Dataset:
        """Creates a dataset without a version; its namespace must be there."""
        return await self._call(Client.create_dataset, new, request_id=request_id)

    async def get_dataset(self, name: str) -> dataset.Dataset:
        """One dataset, also a deleted one."""
        return await self._call(Client.get_dataset, name)

    def list_datasets(
        self, namespace: str = "", *, filter: str = "", show_deleted: bool = False
    ) -> AsyncIterator[dataset.Dataset]:
        """The datasets of a namespace, or of all, by name."""
        return self._iterate(Client.list_datasets, namespace, filter=filter, show_deleted=show_deleted)

    def search_datasets(
        self, query: str = "", *, namespace: str = "", filter: str = "", show_deleted: bool = False
    ) -> AsyncIterator[discovery.Found]:
        """Datasets that have each of the words, or one that begins so, best matches first; without words all, newest first.

        They are looked for in name, labels, owner, columns, description and card. Pages are fetched as they are needed, so the
        first few cost no more than one look.
        """
        return self._iterate(Client.search_datasets, query, namespace=namespace, filter=filter, show_deleted=show_deleted)

    async def explain_card(self, name: str) -> card.Explained:
        """A dataset's data card, of which datasets its versions were made, and what it inherits from those."""
        return await self._call(Client.explain_card, name)

    async def update_dataset(
        self, changed: dataset.Dataset, fields: Iterable[str] = (), *, request_id: str = ""
    ) -> dataset.Dataset:
        """Changes the named fields, or all that are filled; Conflict when `changed.etag` is given and stale."""
        return await self._call(Client.update_dataset, changed, fields, request_id=request_id)

    async def declassify_dataset(
        self, changed: dataset.Dataset, fields: Iterable[str], reason: str, *, request_id: str = ""
    ) -> dataset.Dataset:
        """Loosens what a dataset inherited, in the named fields; the reason is kept in the audit."""
        return await self._call(Client.declassify_dataset, changed, fields, reason, request_id=request_id)

    async def delete_dataset(self, name: str, *, etag: str = "", request_id: str = "") -> dataset.Dataset:
        """Marks a dataset deleted: nothing reads or writes it any more."""
        return await self._call(Client.delete_dataset, name, etag=etag, request_id=request_id)

    async def undelete_dataset(self, name: str, *, etag: str = "", request_id: str = "") -> dataset.Dataset:
        """Takes back a deletion."""
        return await self._call(Client.undelete_dataset, name, etag=etag, request_id=request_id)

    async def get_version(self, name: str) -> dataset.Version:
        """One version."""
        return await self._call(Client.get_version, name)

    def list_versions(self, name: str, *, filter: str = "") -> AsyncIterator[dataset.Version]:
        """The versions of a dataset, oldest first."""
        return self._iterate(Client.list_versions, name, filter=filter)

    async def get_replica(self, name: str, site: str) -> dataset.Replica:
        """The replica of a version at a site."""
        return await self._call(Client.get_replica, name, site)

    def list_replicas(self, name: str = "", *, filter: str = "") -> AsyncIterator[dataset.Replica]:
        """The replicas of a version, of all versions of a dataset, or of all datasets: those at one site by `site = "eu-1"`."""
        return self._iterate(Client.list_replicas, name, filter=filter)

    async def open_write(self, name: str, site: str, *, request_id: str = "") -> Access:
        """A grant to write one new version of a dataset at a site's gateway."""
        return await self._call(Client.open_write, name, site, request_id=request_id)

    async def open_read(
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
        return await self._call(
            Client.open_read,
            name,
            site,
            purpose=purpose,
            bytes_max=bytes_max,
            sensitive=sensitive,
            column_classes=column_classes,
            request_id=request_id,
        )

    async def collect_versions(
        self, dataset_name: str, rule: collection.Rule, *, request_id: str = "", validate_only: bool = False
    ) -> tuple[collection.Judged, ...]:
        """Lets a dataset's old versions go, by a rule; what was decided of each. With `validate_only` none goes."""
        return await self._call(Client.collect_versions, dataset_name, rule, request_id=request_id, validate_only=validate_only)

    async def create_site(self, new: site.Site, *, request_id: str = "") -> site.Site:
        """Declares a site; its agent makes it READY. For administrators."""
        return await self._call(Client.create_site, new, request_id=request_id)

    async def invite_site(
        self, name: str, *, hosts: Iterable[str] = (), expires_in_seconds: int = 0, request_id: str = ""
    ) -> Invitation:
        """A join token for a declared site, good once; `hosts` are those of its gateway. For administrators."""
        return await self._call(
            Client.invite_site, name, hosts=hosts, expires_in_seconds=expires_in_seconds, request_id=request_id
        )

    async def join_site(self, secret: str, csr: bytes = b"") -> Joined:
        """Comes in as a site: its name, its certificate, and the CA's. Needs no token but the join token's secret."""
        return await self._call(Client.join_site, secret, csr)

    async def admit_site(self, name: str, grade: str, reason: str = "", *, request_id: str = "") -> site.Site:
        """Holds a site's grade down to B or C; with A its tests decide again. For administrators."""
        return await self._call(Client.admit_site, name, grade, reason, request_id=request_id)

    async def get_site(self, name: str) -> site.Site:
        """One site."""
        return await self._call(Client.get_site, name)

    def list_sites(self, *, filter: str = "") -> AsyncIterator[site.Site]:
        """All sites, by name."""
        return self._iterate(Client.list_sites, filter=filter)

    async def update_site(self, changed: site.Site, fields: Iterable[str] = (), *, request_id: str = "") -> site.Site:
        """Changes the named declared fields, or all that are filled. For administrators."""
        return await self._call(Client.update_site, changed, fields, request_id=request_id)

    async def delete_site(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Removes a site that holds no replica and runs nothing. For administrators."""
        return await self._call(Client.delete_site, name, etag=etag, request_id=request_id)

    def export_world(self, datasets: Iterable[str] = ()) -> AsyncIterator[bytes]:
        """The running federation as a world file, in pieces: all datasets, or those named. For administrators."""
        return self._iterate(Client.export_world, datasets)

    def list_links(self, *, filter: str = "") -> AsyncIterator[site.Link]:
        """The links between the regions of all sites, priced at this month's volume."""
        return self._iterate(Client.list_links, filter=filter)

    async def open_check(self, name: str, *, request_id: str = "") -> Access:
        """A grant to have a site's gateway compare its store with the catalog. For administrators."""
        return await self._call(Client.open_check, name, request_id=request_id)

    def watch(
        self,
        filter: str = "",
        *,
        start_revision: int = 0,
        names_only: bool = False,
        until_now: bool = False,
        timeout: float | None = None,
    ) -> AsyncIterator[watching.Change]:
        """Changes of the catalog in order, each once, from a revision on, or from now on.

        `filter` is like `type = "jobs" AND namespace = "sales"`. Goes on by itself where a connection breaks, at whichever
        server there is, until `timeout` seconds are over; with `until_now` until all that is there has been told. OutOfRange
        (REVISION_COMPACTED) where the log no longer holds what comes next.
        """
        return self._iterate(
            Client.watch, filter, start_revision=start_revision, names_only=names_only, until_now=until_now, timeout=timeout
        )

    async def create_job(self, request: job.JobRequest, *, validate_only: bool = False, request_id: str = "") -> job.Job:
        """Submits a job whose working directory, if it has one, was uploaded. With `validate_only` it is only planned."""
        return await self._call(Client.create_job, request, validate_only=validate_only, request_id=request_id)

    async def plan(self, request: job.JobRequest, *, brief: bool = False) -> job.Job:
        """Where the job would run now, with the plan that explains it. Nothing is stored.

        A `brief` plan tells of the choice and the runner-up alone, and takes less: for whoever asks for many.
        """
        return await self._call(Client.plan, request, brief=brief)

    async def submit(self, request: job.JobRequest, working_dir: Path | None = None, *, request_id: str = "") -> job.Job:
        """Submits a job, with its working directory if it has one: sent once, whichever jobs use it."""
        return await self._thread(Client.submit, request, working_dir, request_id=request_id)

    async def get_job(self, name: str) -> job.Job:
        """One job with its plan."""
        return await self._call(Client.get_job, name)

    def list_jobs(self, *, filter: str = "") -> AsyncIterator[job.Job]:
        """All jobs, newest first."""
        return self._iterate(Client.list_jobs, filter=filter)

    async def cancel_job(self, name: str, *, etag: str = "", request_id: str = "") -> job.Job:
        """Asks for a job to end; it is CANCELLED once its site has stopped it."""
        return await self._call(Client.cancel_job, name, etag=etag, request_id=request_id)

    async def get_run(self, name: str) -> job.Run:
        """One run by its full name, `jobs/J/runs/1`."""
        return await self._call(Client.get_run, name)

    def list_runs(self, name: str = "", *, filter: str = "") -> AsyncIterator[job.Run]:
        """The runs of a job, first attempt first; or of all jobs, newest first: those at one site by `site = "eu-1"`."""
        return self._iterate(Client.list_runs, name, filter=filter)

    async def open_logs(self, name: str, *, request_id: str = "") -> Access:
        """A grant to read what a job's current run prints, at its site's gateway."""
        return await self._call(Client.open_logs, name, request_id=request_id)

    async def get_package(self, digest: str = "", *, alias: str = "") -> Package:
        """Whether a working directory's package is there, by its digest or by a name that the caller gave to it.

        NotFound (PACKAGE_MISSING) when it is not.
        """
        return await self._call(Client.get_package, digest, alias=alias)

    async def send_package(self, package: IO[bytes], *, alias: str = "") -> Package:
        """Stores the bytes of a zip as a working directory's package; `alias` is what the caller calls it from now on.

        The file is read twice: for its digest, which goes first, and to be sent.
        """
        return await self._thread(Client.send_package, package, alias=alias)

    async def upload_package(self, working_dir: Path, *, bytes_max: int = files.PACKAGE_BYTES_MAX) -> Package:
        """Stores a working directory's package, unless the same one is there already."""
        return await self._thread(Client.upload_package, working_dir, bytes_max=bytes_max)

    async def wait(
        self, name: str, timeout: float | None = None, *, progress: Callable[[job.Job], None] | None = None
    ) -> job.Job:
        """The job once it has ended, however it ended; DeadlineExceeded (JOB_UNFINISHED) after `timeout` seconds.

        `progress` hears of each change of its state.
        """
        return await self._call(Client.wait, name, timeout, progress=progress)

    def logs(self, name: str, *, follow: bool = False) -> AsyncIterator[bytes]:
        """What a job has printed; with `follow` what it goes on to print, over all its runs, until it ends."""
        return self._iterate(Client.logs, name, follow=follow)

    async def create_pipeline(
        self, request: pipeline.PipelineRequest, *, validate_only: bool = False, request_id: str = ""
    ) -> pipeline.Pipeline:
        """Submits a pipeline whose working directories were uploaded. With `validate_only` it is only planned."""
        return await self._call(Client.create_pipeline, request, validate_only=validate_only, request_id=request_id)

    async def scatter_job(
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
        return await self._call(
            Client.scatter_job, map_, alias, reduce, parts_min=parts_min, validate_only=validate_only, request_id=request_id
        )

    async def get_pipeline(self, name: str) -> pipeline.Pipeline:
        """One pipeline with its plan and what has become of its tasks."""
        return await self._call(Client.get_pipeline, name)

    def list_pipelines(self, *, filter: str = "") -> AsyncIterator[pipeline.Pipeline]:
        """All pipelines, newest first."""
        return self._iterate(Client.list_pipelines, filter=filter)

    async def cancel_pipeline(self, name: str, *, etag: str = "", request_id: str = "") -> pipeline.Pipeline:
        """Asks for a pipeline to end; it is CANCELLED once all of its jobs have ended."""
        return await self._call(Client.cancel_pipeline, name, etag=etag, request_id=request_id)

    async def submit_pipeline(
        self, request: pipeline.PipelineRequest, working_dirs: Mapping[str, Path] | None = None, *, request_id: str = ""
    ) -> pipeline.Pipeline:
        """Submits a pipeline with the working directories of its tasks, by task: each folder is sent once."""
        return await self._call(Client.submit_pipeline, request, working_dirs, request_id=request_id)

    async def wait_pipeline(
        self, name: str, timeout: float | None = None, *, progress: Callable[[pipeline.Pipeline], None] | None = None
    ) -> pipeline.Pipeline:
        """The pipeline once it has ended, however it ended; DeadlineExceeded (PIPELINE_UNFINISHED) after `timeout` seconds.

        `progress` hears of each change of it.
        """
        return await self._call(Client.wait_pipeline, name, timeout, progress=progress)

    async def create_transfer(
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
        return await self._call(
            Client.create_transfer,
            version,
            destination_site,
            source_site=source_site,
            keep_seconds=keep_seconds,
            priority=priority,
            bytes_per_second_max=bytes_per_second_max,
            validate_only=validate_only,
            request_id=request_id,
        )

    async def get_transfer(self, name: str) -> moving.Transfer:
        """One transfer."""
        return await self._call(Client.get_transfer, name)

    def list_transfers(self, *, filter: str = "") -> AsyncIterator[moving.Transfer]:
        """All transfers, newest first."""
        return self._iterate(Client.list_transfers, filter=filter)

    async def cancel_transfer(self, name: str, *, etag: str = "", request_id: str = "") -> moving.Transfer:
        """Gives a transfer up. What waits for it is planned again."""
        return await self._call(Client.cancel_transfer, name, etag=etag, request_id=request_id)

    async def wait_transfer(
        self, name: str, timeout: float | None = None, *, progress: Callable[[moving.Transfer], None] | None = None
    ) -> moving.Transfer:
        """The transfer once it has ended, however it ended; DeadlineExceeded (TRANSFER_UNFINISHED) after `timeout` seconds.

        `progress` hears of each change of it.
        """
        return await self._call(Client.wait_transfer, name, timeout, progress=progress)

    async def create_replication_rule(
        self, new: moving.ReplicationRule, *, validate_only: bool = False, request_id: str = ""
    ) -> moving.ReplicationRule:
        """Asks for a number of replicas of a dataset's newest version, from now on, at sites that a filter selects."""
        return await self._call(Client.create_replication_rule, new, validate_only=validate_only, request_id=request_id)

    async def get_replication_rule(self, name: str) -> moving.ReplicationRule:
        """One rule, with what keeps it from being fulfilled, if something does."""
        return await self._call(Client.get_replication_rule, name)

    def list_replication_rules(self, *, filter: str = "") -> AsyncIterator[moving.ReplicationRule]:
        """All rules, by name."""
        return self._iterate(Client.list_replication_rules, filter=filter)

    async def delete_replication_rule(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Ends a rule; its replicas end once nobody reads them any more."""
        return await self._call(Client.delete_replication_rule, name, etag=etag, request_id=request_id)

    def list_ledger_entries(self, *, filter: str = "") -> AsyncIterator[metering.LedgerEntry]:
        """The egress ledger, newest first."""
        return self._iterate(Client.list_ledger_entries, filter=filter)

    def list_usage(self, *, filter: str = "") -> AsyncIterator[metering.UsageRecord]:
        """What was counted under grants by hour, by gateways and by readers, newest grants first."""
        return self._iterate(Client.list_usage, filter=filter)

    async def summarize_variances(
        self, by: str, *, filter: str = ""
    ) -> tuple[tuple[variance.Variance, ...], variance.Variance]:
        """Estimates of runs that succeeded beside what was metered, by `job`, `label`, `link` or `input`, and their total."""
        return await self._call(Client.summarize_variances, by, filter=filter)

    async def summarize_costs(
        self, by: str, *, filter: str = "", from_time: datetime | None = None, to_time: datetime | None = None
    ) -> tuple[tuple[metering.CostSummary, ...], metering.CostSummary]:
        """The ledger summed by one of `metering.SUMMARY_KEYS` or several with commas, and the total."""
        return await self._call(Client.summarize_costs, by, filter=filter, from_time=from_time, to_time=to_time)

    def export_ledger(
        self, *, filter: str = "", from_time: datetime | None = None, to_time: datetime | None = None
    ) -> AsyncIterator[metering.LedgerEntry]:
        """The egress ledger in bulk, in the order in which it was entered."""
        return self._iterate(Client.export_ledger, filter=filter, from_time=from_time, to_time=to_time)

    async def export_focus(
        self,
        path: Path,
        version: str = "1.4",
        format: str = "parquet",
        *,
        filter: str = "",
        from_time: datetime | None = None,
        to_time: datetime | None = None,
        terms: focus.Terms | None = None,
    ) -> int:
        """Writes the egress ledger as a FOCUS file (1.2 or 1.4; parquet or csv); returns how many rows it has."""
        return await self._thread(
            Client.export_focus, path, version, format, filter=filter, from_time=from_time, to_time=to_time, terms=terms
        )

    async def forecast_costs(self, *, filter: str = "", today: date | None = None) -> forecast.Forecast:
        """What this month will have cost at its end, from its days and the eight weeks before; see `core.forecast`."""
        return await self._call(Client.forecast_costs, filter=filter, today=today)

    async def price_egress(
        self,
        source_region: str,
        destination_region: str,
        volume_bytes: int,
        *,
        month_to_date_bytes: int | None = None,
        requests: int = 0,
        account: str = "",
    ) -> ratecard.Quote:
        """What a volume would cost now, or after a stated volume of a month; a destination may be `internet`."""
        return await self._call(
            Client.price_egress,
            source_region,
            destination_region,
            volume_bytes,
            month_to_date_bytes=month_to_date_bytes,
            requests=requests,
            account=account,
        )

    async def import_rate_card(
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
        return await self._call(
            Client.import_rate_card,
            egress=egress,
            compute=compute,
            note=note,
            replace=replace,
            validate_only=validate_only,
            request_id=request_id,
        )

    async def get_rate_card(self, name: str = "-") -> ratecard.CardInfo:
        """A rate card with its rows: by number, `-` for the one that holds, `0` for the one from before all imports."""
        return await self._call(Client.get_rate_card, name)

    def list_rate_cards(self, *, filter: str = "") -> AsyncIterator[ratecard.CardInfo]:
        """All imported rate cards, newest first, without their rows."""
        return self._iterate(Client.list_rate_cards, filter=filter)

    async def import_bill(self, delivered: bills.Delivered) -> bill.Bill:
        """Takes in one delivery of a provider's bill (see `client.bills.read`). The same again changes nothing."""
        return await self._thread(Client.import_bill, delivered)

    async def get_bill(self, name: str) -> bill.Bill:
        """One bill."""
        return await self._call(Client.get_bill, name)

    def list_bills(self, *, filter: str = "") -> AsyncIterator[bill.Bill]:
        """All bills."""
        return self._iterate(Client.list_bills, filter=filter)

    async def reconcile_bills(
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
        return await self._call(
            Client.reconcile_bills,
            month,
            provider,
            account=account,
            period=period,
            validate_only=validate_only,
            request_id=request_id,
        )

    async def create_budget(self, new: budget.Budget, *, request_id: str = "") -> budget.Budget:
        """Makes a budget. Administrators may."""
        return await self._call(Client.create_budget, new, request_id=request_id)

    async def get_budget(self, name: str) -> budget.Budget:
        """One budget, with what this month has made of it."""
        return await self._call(Client.get_budget, name)

    def list_budgets(self, *, filter: str = "") -> AsyncIterator[budget.Budget]:
        """All budgets, by name, with what this month has made of them."""
        return self._iterate(Client.list_budgets, filter=filter)

    async def update_budget(self, changed: budget.Budget, fields: Iterable[str] = (), *, request_id: str = "") -> budget.Budget:
        """Changes the named fields, or all that are filled; Conflict when `changed.etag` is given and stale."""
        return await self._call(Client.update_budget, changed, fields, request_id=request_id)

    async def delete_budget(self, name: str, *, etag: str = "", request_id: str = "") -> None:
        """Ends a budget."""
        return await self._call(Client.delete_budget, name, etag=etag, request_id=request_id)

    def list_keyrings(self, *, filter: str = "") -> AsyncIterator[keys.SiteKeyring]:
        """What the catalog knows of each site's keys. Administrators may."""
        return self._iterate(Client.list_keyrings, filter=filter)

    def list_key_uses(self, *, filter: str = "") -> AsyncIterator[keys.KeyUse]:
        """What sites' keys wrap, by site and dataset."""
        return self._iterate(Client.list_key_uses, filter=filter)

    async def rotate_keys(self, site: str, part: str = "KEK", *, request_id: str = "") -> keys.SiteKeyring:
        """Has a site's rows re-wrapped under a new KEK (`KEK`), or new versions there share no file with older ones (`DEK`)."""
        return await self._call(Client.rotate_keys, site, part, request_id=request_id)

    async def create_escrow(self, new: keys.Escrow, *, request_id: str = "") -> keys.Escrow:
        """Makes a way back to a site's keys for several custodians together. Administrators may."""
        return await self._call(Client.create_escrow, new, request_id=request_id)

    async def get_escrow(self, name: str) -> keys.Escrow:
        """One escrow, with its custodians' sealed shares."""
        return await self._call(Client.get_escrow, name)

    def list_escrows(self, *, filter: str = "") -> AsyncIterator[keys.Escrow]:
        """All escrows, by name."""
        return self._iterate(Client.list_escrows, filter=filter)

    async def request_opening(self, escrow: str, reason: str, *, request_id: str = "") -> keys.Opening:
        """Asks for an escrow to be opened. Nothing is before enough custodians have approved it."""
        return await self._call(Client.request_opening, escrow, reason, request_id=request_id)

    async def get_opening(self, name: str) -> keys.Opening:
        """One opening of an escrow."""
        return await self._call(Client.get_opening, name)

    def list_openings(self, *, filter: str = "") -> AsyncIterator[keys.Opening]:
        """All openings, newest first."""
        return self._iterate(Client.list_openings, filter=filter)

    async def approve_opening(self, name: str, sealed_share: bytes, *, request_id: str = "") -> keys.Opening:
        """A custodian's yes, with their share as `crypto.escrow.approve` sealed it to the site."""
        return await self._call(Client.approve_opening, name, sealed_share, request_id=request_id)

    def list_leases(self, *, filter: str = "") -> AsyncIterator[leases.Lease]:
        """Who was given data keys: for example of `version = "sales/flights@3"`, or by `run = "jobs/j-1/runs/1"`."""
        return self._iterate(Client.list_leases, filter=filter)

    async def erase_version(
        self, version: str, reason: str, *, request_id: str = "", validate_only: bool = False
    ) -> erasure.Erasure:
        """Destroys for good what opens a version, at every site. Administrators may; with `validate_only` it is only tried."""
        return await self._call(Client.erase_version, version, reason, request_id=request_id, validate_only=validate_only)

    async def get_erasure(self, name: str) -> erasure.Erasure:
        """One erasure, by its name or its version's: who has confirmed it, and what it waits for."""
        return await self._call(Client.get_erasure, name)

    def list_erasures(self, *, filter: str = "") -> AsyncIterator[erasure.Erasure]:
        """All erasures, for example with `state = "PENDING"`."""
        return self._iterate(Client.list_erasures, filter=filter)

    async def get_deletion_certificate(self, name: str) -> bytes:
        """The signed certificate of a version's erasure; FailedPrecondition (ERASURE_PENDING) until it is complete."""
        return await self._call(Client.get_deletion_certificate, name)

    async def get_policy_revision(self, number: int | None = None) -> authorization.PolicyRevision:
        """The policies that hold, or a revision before them; 0 is the set that is shipped."""
        return await self._call(Client.get_policy_revision, number)

    async def apply_policies(
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
        return await self._call(
            Client.apply_policies, text, cases, note=note, etag=etag, validate_only=validate_only, request_id=request_id
        )

    async def explain_policy_diff(self, text: str, start: int = 0) -> tuple[list[authorization.PolicyFlip], int, int, int]:
        """Decisions that a set would change: some of them, how many were asked, of how many, and where to go on (0: done)."""
        return await self._call(Client.explain_policy_diff, text, start)

    async def explain_policy_replay(
        self, text: str, start: int = 0, *, from_time: datetime | None = None, to_time: datetime | None = None
    ) -> tuple[list[authorization.PolicyFlip], int, int]:
        """Past decisions that a set would make otherwise: some, how many were asked, and where to go on (0: done)."""
        return await self._call(Client.explain_policy_replay, text, start, from_time=from_time, to_time=to_time)

    def list_record_heads(self, table: str = "") -> AsyncIterator[chain.SignedHead]:
        """Signed heads of the record's tables that the catalog keeps, newest first: of one table, or of all."""
        return self._iterate(Client.list_record_heads, table)

    def verify_table(self, table: str) -> AsyncIterator[chain.Verification]:
        """Follows the chain of one of the record's tables; the last that comes is what was found. For administrators."""
        return self._iterate(Client.verify_table, table)

    def list_audit_entries(self, *, filter: str = "") -> AsyncIterator[trail.AuditRow]:
        """The log as people read it, newest first: who did, asked, or was refused what. For administrators and auditors."""
        return self._iterate(Client.list_audit_entries, filter=filter)

    async def get_audit_entry(self, position: int) -> trail.AuditRow:
        """One entry of the log."""
        return await self._call(Client.get_audit_entry, position)

    def verify_audit(
        self, table: str, cosignatures: Iterable[witness.Cosignature] = ()
    ) -> AsyncIterator[witness.AuditVerification]:
        """Follows the chain of a table past signed heads and what witnesses co-signed; the last answer is what was found."""
        return self._iterate(Client.verify_audit, table, cosignatures)

    async def witness(self, site: str) -> tuple[witness.WitnessLine, ...]:
        """What a site has co-signed of the record's heads, from its own gateway and file: not from the catalog."""
        return await self._call(Client.witness, site)

    async def export_compliance(
        self, from_time: datetime, to_time: datetime, *, dataset: str = "", namespace: str = ""
    ) -> compliance.Report:
        """Which data was used where, by whom, for what, under which policy, and what was refused. See docs/audit.md."""
        return await self._call(Client.export_compliance, from_time, to_time, dataset=dataset, namespace=namespace)

    async def query_records(self, sql: str, *, rows_max: int = 0, seconds_max: int = 0) -> QueryResult:
        """One SQL query over the record's tables; at most so many rows (0: what the server allows). For administrators."""
        return await self._call(Client.query_records, sql, rows_max=rows_max, seconds_max=seconds_max)

    async def receive_open_lineage(self, events: Iterable[bytes]) -> openlineage.Received:
        """Takes OpenLineage events of other tools, each as JSON, into lineage: all or none of them."""
        return await self._call(Client.receive_open_lineage, events)

    async def get_lineage(
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
        return await self._call(
            Client.get_lineage,
            name,
            direction=direction,
            depth=depth,
            edges_max=edges_max,
            as_of_time=as_of_time,
            as_of_position=as_of_position,
            continuation=continuation,
        )

    async def find_models(self, name: str, *, as_of_time: datetime | None = None, as_of_position: int = 0) -> lineage.Sightings:
        """Which models a version, or any version of a dataset, has gone into."""
        return await self._call(Client.find_models, name, as_of_time=as_of_time, as_of_position=as_of_position)

    async def explain_erasure(self, name: str) -> lineage.Impact:
        """What would be lost if a version were erased; erases nothing."""
        return await self._call(Client.explain_erasure, name)

    async def explain_residency(self, name: str) -> lineage.Why:
        """Why a dataset has its residency."""
        return await self._call(Client.explain_residency, name)

    async def check_lineage_index(self, *, rebuild: bool = False) -> lineage.IndexCheck:
        """Compares the answering server's index of lineage with the Delta tables. For administrators."""
        return await self._call(Client.check_lineage_index, rebuild=rebuild)

    async def who_am_i(self) -> WhoAmI:
        """Who the server says the caller is."""
        return await self._call(Client.who_am_i)

    async def create_token(
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
        return await self._call(
            Client.create_token,
            user,
            role=role,
            jurisdiction=jurisdiction,
            groups=groups,
            scopes=scopes,
            expires_in_seconds=expires_in_seconds,
            request_id=request_id,
        )

    def list_tokens(self, *, filter: str = "") -> AsyncIterator[people.Token]:
        """Tokens, without their secrets: one's own, for administrators and auditors everybody's."""
        return self._iterate(Client.list_tokens, filter=filter)

    async def revoke_token(self, name: str, *, request_id: str = "") -> people.Token:
        """Ends a token at once, and all that were made with it."""
        return await self._call(Client.revoke_token, name, request_id=request_id)

    async def find_entrance(self) -> Entrance:
        """How anybody comes in: the federation's name, its CA, and who vouches for people. Needs no token."""
        return await self._call(Client.find_entrance)

    async def put(
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
        return await self._thread(
            Client.put, name, path, site=site, residency=residency, kind=kind, column_classes=column_classes, progress=progress
        )

    async def get(
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
        return await self._thread(
            Client.get,
            name,
            folder,
            site=site,
            overwrite=overwrite,
            purpose=purpose,
            column_classes=column_classes,
            progress=progress,
        )

    async def preview(
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
        return await self._thread(
            Client.preview,
            name,
            rows=rows,
            columns=columns,
            file=file,
            site=site,
            purpose=purpose,
            show_sensitive=show_sensitive,
        )

    async def get_manifest(self, name: str, *, site: str = "", purpose: str = "") -> dataset.Manifest:
        """The files of a version, or of a dataset's newest, as its site signed them.

        It is a read like `get`: asked of the policy, under a lease of the caller's, in the audit; none of the data is fetched.
        """
        return await self._thread(Client.get_manifest, name, site=site, purpose=purpose)

    async def describe_file(
        self, name: str, file: str, *, site: str = "", purpose: str = "", show_sensitive: bool = False
    ) -> statistics.FileStatistics:
        """The schema of a version's Parquet file, with nulls, least and greatest value of each column, from its footer alone.

        It is a read as `preview` is, and masks alike. FailedPrecondition (STATISTICS_MISSING) for a file that is no Parquet, or
        whose columns are sealed by classes.
        """
        return await self._thread(Client.describe_file, name, file, site=site, purpose=purpose, show_sensitive=show_sensitive)

    def check(self, site: str, read_objects: bool = False) -> AsyncIterator[Finding]:
        """What is wrong between a site's store and the catalog; nothing when all is well. `read_objects` reads every byte."""
        return self._iterate_thread(Client.check, site, read_objects)

    def orphans(self, site: str, *, remove: bool = False) -> AsyncIterator[Finding]:
        """Objects in a site's store that no version names and nobody is writing; those of ours removed, if asked to."""
        return self._iterate(Client.orphans, site, remove=remove)

    async def ensure_dataset(
        self, name: str, *, site: str, residency: Iterable[str] = (), kind: dataset.DatasetKind = dataset.DatasetKind.DATA
    ) -> dataset.Dataset:
        """The dataset, made with its namespace if absent, to be written at a site.

        Makes nothing where its first version would be refused: at a site that is not there, or that its residency forbids.
        FailedPrecondition (RESIDENCY_DIFFERS) when it is there with another residency than the one that was asked for.
        """
        return await self._call(Client.ensure_dataset, name, site=site, residency=residency, kind=kind)
