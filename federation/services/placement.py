"""The one look at the catalog that a placement is decided from, and what a placement reserves at its site."""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import dataset, ids, job, site
from federation.core import world as worlds
from federation.services import datasets, scan
from federation.services.context import Context

#: What an attempt may end with that speaks against its site for this job's next one.
SPEAKS_AGAINST_SITE = frozenset({"STORAGE_FULL", "STORE_DISHONEST"})


def world(
    tx: ports.Transaction,
    ctx: Context,
    request: job.JobRequest,
    *,
    revision: int = 0,
    excluded: tuple[tuple[str, str], ...] = (),
) -> worlds.World:
    """The world of one decision: the request's inputs with readable replicas, all sites with their loads, the month's volumes.

    `revision` is the position of the newest event that the caller knows of, 0 if it knows none. NotFound or
    FailedPrecondition (DATASET_DELETED, DATASET_EMPTY) where an input cannot be read.
    """
    return worlds.World(
        revision=revision,
        now=tx.now,
        inputs=tuple(_input(tx, spec) for spec in request.inputs),
        sites=tuple(scan.every(tx, site.Site)),
        loads=tuple(scan.every(tx, site.SiteLoad)),
        rates=ctx.rates,
        volumes=tuple(scan.every(tx, site.LinkVolume, parent=f"{tx.now:%Y-%m}")),
        output_residency=tuple(_bound(tx, spec) for spec in request.outputs),
        excluded=excluded,
    )


def _input(tx: ports.Transaction, spec: job.InputSpec) -> worlds.WorldInput:
    stored = datasets.usable_dataset(tx, ids.dataset(spec.dataset))
    version = datasets.get_version(tx, ids.VersionName(stored.name, spec.version or datasets.latest(stored)))
    where = {"version": str(version.number), "state": str(dataset.ReplicaState.AVAILABLE)}
    replicas = scan.every(tx, dataset.Replica, parent=stored.name.short, where=where)
    return worlds.WorldInput(
        alias=spec.alias,
        dataset=stored.name.short,
        version=version.number,
        # What would cross a region is ciphertext, so that is what is priced.
        bytes=version.object_bytes,
        residency=stored.residency,
        replica_sites=tuple(replica.site for replica in replicas),
    )


def _bound(tx: ports.Transaction, spec: job.OutputSpec) -> tuple[str, tuple[str, ...]]:
    stored = tx.get(dataset.Dataset, ids.dataset(spec.dataset).short)
    return spec.dataset, stored.residency if stored else ()


def excluded(tx: ports.Transaction, of: job.Job) -> tuple[tuple[str, str], ...]:
    """Sites that a job must not take again, with the reason that an earlier attempt left there."""
    if not of.attempt:
        return ()
    runs = scan.every(tx, job.Run, parent=of.job, where={"state": str(job.JobState.FAILED)})
    return tuple((run.site, run.reason) for run in runs if run.reason in SPEAKS_AGAINST_SITE)


# Capacity


def needed(request: job.JobRequest) -> job.Resources:
    """What a run takes of its site's cluster: nothing for an INGEST, which the agent does by itself."""
    return job.Resources(cpus=0) if request.kind is job.JobKind.INGEST else request.resources


def reserve(tx: ports.Transaction, request: job.JobRequest, at: str) -> None:
    """Adds a run to its site's load."""
    stored = tx.get(site.SiteLoad, at) or tx.insert(site.SiteLoad(site=at))
    tx.replace(_moved(stored, needed(request), 1))


def release(tx: ports.Transaction, request: job.JobRequest, at: str) -> None:
    """Takes a run off its site's load. Called once for each run, when it ends."""
    stored = tx.get(site.SiteLoad, at)
    if stored is None or not stored.runs:
        raise AssertionError(f"a run ended at {at}, where none was reserved")
    tx.replace(_moved(stored, needed(request), -1))


def _moved(load: site.SiteLoad, by: job.Resources, sign: int) -> site.SiteLoad:
    gpus = dict(load.gpus)
    if by.gpus:
        # A request for any type is kept under the empty type, as it was asked, so that it is given back alike.
        gpus[by.gpu_type] = gpus.get(by.gpu_type, 0) + sign * by.gpus
    return dataclasses.replace(
        load,
        cpus=load.cpus + sign * by.cpus,
        memory_bytes=load.memory_bytes + sign * by.memory_bytes,
        gpus=tuple(sorted((name, count) for name, count in gpus.items() if count)),
        runs=load.runs + sign,
    )
