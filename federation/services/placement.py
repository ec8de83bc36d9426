"""The one look at the catalog that a placement is decided from, and what a placement reserves at its site."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from datetime import timedelta

from federation import ports
from federation.core import dataset, ids, job, metering, offers, profile, ratecard, site, transfer
from federation.core import world as worlds
from federation.services import budgets, datasets, pricing, quotas, scan, transfers
from federation.services.context import Context


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """What every decision of one transaction sees alike: sites with their loads, prices, volumes, and what live runs hold."""

    sites: tuple[site.Site, ...]
    loads: tuple[site.SiteLoad, ...]
    rates: ratecard.RateCard
    volumes: tuple[site.LinkVolume, ...]
    reservations: tuple[site.LinkReservation, ...]
    speeds: tuple[site.LinkSpeed, ...]
    occupations: tuple[worlds.Occupation, ...]


def view(tx: ports.Transaction, ctx: Context) -> View:
    """The federation as it is now. What a site's own offer leaves open is filled from the offer card."""
    card = pricing.offers(tx, ctx)
    return View(
        sites=tuple(offers.filled(place, card) for place in scan.every(tx, site.Site)),
        loads=tuple(scan.every(tx, site.SiteLoad)),
        rates=pricing.rates(tx, ctx),
        volumes=tuple(scan.every(tx, site.LinkVolume, parent=metering.month(tx.now))),
        reservations=tuple(scan.every(tx, site.LinkReservation)),
        speeds=tuple(scan.every(tx, site.LinkSpeed)),
        occupations=tuple(_occupations(tx)),
    )


def world(
    tx: ports.Transaction,
    ctx: Context,
    request: job.JobRequest,
    *,
    revision: int = 0,
    of: job.Job | None = None,
    seen: View | None = None,
) -> worlds.World:
    """The world of one decision: the request's inputs with readable replicas, and the federation as it is.

    `revision` is the position of the newest event that the caller knows of, 0 if it knows none. `of` is the job that is placed
    again, if it is stored, and `seen` what the transaction has already looked at. NotFound or FailedPrecondition
    (DATASET_DELETED, DATASET_EMPTY) where an input cannot be read.
    """
    seen = seen or view(tx, ctx)
    return worlds.World(
        revision=revision,
        now=tx.now,
        inputs=tuple(_input(tx, spec) for spec in request.inputs),
        sites=seen.sites,
        loads=seen.loads,
        rates=seen.rates,
        volumes=seen.volumes,
        output_residency=tuple(_bound(tx, spec) for spec in request.outputs),
        excluded=_excluded(tx, of),
        reservations=seen.reservations,
        speeds=seen.speeds,
        occupations=seen.occupations,
        profile=tx.get(profile.JobProfile, f"{request.namespace}/{request.label}") if request.label else None,
        budget=quotas.budget(tx, request.namespace),
        caps=budgets.caps(tx),
        attempts=attempts(tx, of),
        submit_time=of.create_time if of else None,
    )


def _occupations(tx: ports.Transaction) -> Iterator[worlds.Occupation]:
    """What live runs hold, and when their plans expect them to end; a run that takes longer is expected to end any moment."""
    for state in (job.JobState.PLACED, job.JobState.STARTING, job.JobState.RUNNING):
        for run in scan.every(tx, job.Run, where={"state": str(state)}):
            stored = tx.get(job.Job, run.job)
            chosen = stored.plan.choice if stored and stored.plan else None
            if stored is not None:
                seconds = chosen.run_seconds if chosen else stored.request.duration_seconds
                ends = (run.start_time or run.create_time or tx.now) + timedelta(seconds=seconds)
                yield worlds.Occupation(
                    site=run.site, run=run.run, resources=run.taken(stored.request), end_time=max(ends, tx.now)
                )


def _input(tx: ports.Transaction, spec: job.InputSpec) -> worlds.WorldInput:
    stored = datasets.usable_dataset(tx, ids.dataset(spec.dataset))
    version = datasets.get_version(tx, ids.VersionName(stored.name, spec.version or datasets.latest(stored)))
    where = {"version": str(version.number), "state": str(dataset.ReplicaState.AVAILABLE)}
    replicas = scan.every(tx, dataset.Replica, parent=stored.name.short, where=where)
    live = {"dataset": stored.name.short, "version": str(version.number), "live": "1"}
    return worlds.WorldInput(
        alias=spec.alias,
        dataset=stored.name.short,
        version=version.number,
        # What would cross a region is ciphertext, so that is what is priced.
        bytes=version.object_bytes,
        residency=stored.residency,
        replica_sites=tuple(replica.site for replica in replicas),
        files=version.files,
        arriving=tuple(scan.every(tx, transfer.Transfer, where=live)),
        read_logs=tuple(scan.every(tx, transfer.ReadLog, parent=f"{stored.name.short}@{version.number}")),
    )


def _bound(tx: ports.Transaction, spec: job.OutputSpec) -> tuple[str, tuple[str, ...]]:
    stored = tx.get(dataset.Dataset, ids.dataset(spec.dataset).short)
    return spec.dataset, stored.residency if stored else ()


def _excluded(tx: ports.Transaction, of: job.Job | None) -> tuple[tuple[str, str], ...]:
    """Sites that a job must not take again, with the reason that an earlier attempt left there."""
    return tuple((past.site, past.reason) for past in attempts(tx, of) if past.reason in worlds.SPEAKS_AGAINST_SITE)


def attempts(tx: ports.Transaction, of: job.Job | None) -> tuple[job.PastAttempt, ...]:
    """What became of a job's earlier runs, first attempt first, and of copies that were to come before the next."""
    if of is None:
        return ()
    ended = [run for run in scan.every(tx, job.Run, parent=of.job) if run.state.terminal] if of.attempt else []
    ran = (
        job.PastAttempt(attempt=run.attempt, site=run.site, reason=run.reason, detail=run.detail)
        for run in sorted(ended, key=lambda run: run.attempt)
    )
    return (*ran, *transfers.past(tx, of))


# Capacity


def reserve(tx: ports.Transaction, taken: job.Resources, at: str) -> None:
    """Adds a run to its site's load."""
    stored = tx.get(site.SiteLoad, at) or tx.insert(site.SiteLoad(site=at))
    tx.replace(_moved(stored, taken, 1))


def release(tx: ports.Transaction, taken: job.Resources, at: str) -> None:
    """Takes a run off its site's load. Called once for each run, when it ends, with what it was begun with."""
    stored = tx.get(site.SiteLoad, at)
    if stored is None or not stored.runs:
        raise AssertionError(f"a run ended at {at}, where none was reserved")
    tx.replace(_moved(stored, taken, -1))


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
