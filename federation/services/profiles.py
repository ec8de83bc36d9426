"""What earlier runs of a job took, read and wrote, kept for the next plan: a sample for each run that succeeded.

A profile holds nothing that lineage, jobs and ledger do not hold as well: `rebuilt` makes it from them again.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from federation import ports
from federation.core import dataset, ids, job, lineage, metering, profile
from federation.services import datasets, scan


def add_run(
    tx: ports.Transaction, of: job.Job, ended: job.Run, versions: tuple[tuple[str, dataset.Version], ...] = ()
) -> profile.JobProfile | None:
    """Remembers a run that has SUCCEEDED, with the reads that are settled by now; None where there is nothing to learn from.

    `versions` are what it committed, by alias. Learned from are runs of jobs with a label that are known to have started.
    """
    if not of.request.label or of.request.kind is not job.JobKind.RAY or ended.state is not job.JobState.SUCCEEDED:
        return None
    writes = tuple(profile.AliasWritten(alias=alias, object_bytes=version.object_bytes) for alias, version in versions)
    sample = _sample(of, ended, _reads(tx, ended.run), writes)
    return _put(tx, of.request, sample) if sample else None


def add_read(tx: ports.Transaction, entry: metering.LedgerEntry) -> profile.JobProfile | None:
    """Adds what a run read of an input, once its grant is settled; None where that run is not remembered."""
    of = tx.get(job.Job, entry.job) if entry.run and not entry.transfer else None
    known = tx.get(profile.JobProfile, _key(of.request)) if of and of.request.label else None
    if of is None or known is None:
        return None
    for sample in known.samples:
        if sample.run == entry.run:
            return _put(tx, of.request, dataclasses.replace(sample, reads=_merged(sample.reads, _read(tx, entry))))
    return None


def rebuilt(tx: ports.Transaction, namespace: str, label: str) -> profile.JobProfile:
    """The profile as jobs, lineage and ledger tell it, whatever is stored; it stores nothing. Reads every job of that name."""
    where = {"label": label, "state": str(job.JobState.SUCCEEDED), "kind": str(job.JobKind.RAY)}
    jobs = (each for each in scan.every(tx, job.Job, parent=namespace, where=where) if each.request.namespace == namespace)
    samples = tuple(sample for each in jobs if (sample := _from_lineage(tx, each)))
    return profile.JobProfile(namespace=namespace, label=label, samples=_newest(samples))


def _from_lineage(tx: ports.Transaction, of: job.Job) -> profile.RunSample | None:
    run, fact = tx.get(job.Run, of.run), tx.get(lineage.RunFact, of.run)
    if run is None or fact is None:
        return None
    made = scan.every(tx, lineage.Edge, parent=of.run, where={"direction": "out"})
    writes = {edge.alias: profile.AliasWritten(alias=edge.alias, object_bytes=edge.bytes) for edge in made}
    in_order = tuple(writes[spec.alias] for spec in of.request.outputs if spec.alias in writes)
    told = dataclasses.replace(run, site=fact.site, start_time=fact.start_time, end_time=fact.end_time)
    return _sample(of, told, _reads(tx, of.run), in_order)


def _sample(
    of: job.Job, run: job.Run, reads: tuple[profile.AliasRead, ...], writes: tuple[profile.AliasWritten, ...]
) -> profile.RunSample | None:
    if run.start_time is None or run.end_time is None:
        return None  # it ended before anybody heard that it had begun: how long it ran is not known
    taken = run.taken(of.request)
    return profile.RunSample(
        run=run.run,
        site=run.site,
        gpu_type=taken.gpu_type if taken.gpus else "",
        gpus=taken.gpus,
        cpus=taken.cpus,
        seconds=round((run.end_time - run.start_time).total_seconds()),
        reads=reads,
        writes=writes,
        end_time=run.end_time,
    )


def _reads(tx: ports.Transaction, run: str) -> tuple[profile.AliasRead, ...]:
    """What is settled of a run's reads."""
    reads: tuple[profile.AliasRead, ...] = ()
    for entry in scan.every(tx, metering.LedgerEntry, where={"run": run}):
        if not entry.transfer:
            reads = _merged(reads, _read(tx, entry))
    return reads


def _read(tx: ports.Transaction, entry: metering.LedgerEntry) -> profile.AliasRead:
    """Counted bytes alone: what a dead process was granted and may not have sent says nothing about the job."""
    version = datasets.get_version(tx, ids.VersionName(ids.DatasetName(entry.namespace, entry.dataset), entry.version))
    return profile.AliasRead(
        alias=entry.alias, read_bytes=entry.bytes - entry.unsettled_bytes, version_bytes=version.object_bytes
    )


def _merged(reads: Iterable[profile.AliasRead], read: profile.AliasRead) -> tuple[profile.AliasRead, ...]:
    return tuple(sorted((*(each for each in reads if each.alias != read.alias), read), key=lambda each: each.alias))


def _put(tx: ports.Transaction, request: job.JobRequest, sample: profile.RunSample) -> profile.JobProfile:
    """Stores a sample in its place; the oldest falls out when there are too many."""
    known = tx.get(profile.JobProfile, _key(request)) or tx.insert(
        profile.JobProfile(namespace=request.namespace, label=request.label)
    )
    others = (each for each in known.samples if each.run != sample.run)
    return tx.replace(dataclasses.replace(known, samples=_newest((*others, sample))))


def _newest(samples: Iterable[profile.RunSample]) -> tuple[profile.RunSample, ...]:
    """The newest, oldest first; of one moment by name, so that the order in which they were told does not matter."""
    in_order = sorted(samples, key=lambda each: (each.end_time.timestamp() if each.end_time else 0.0, each.run))
    return tuple(in_order[-profile.SAMPLES_MAX :])


def _key(request: job.JobRequest) -> str:
    return f"{request.namespace}/{request.label}"
