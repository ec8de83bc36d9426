"""The one look at the catalog that a placement is decided from, and what a placement reserves at its site."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TypeVar

from federation import ports
from federation.core import dataset, ids, job, kinds, metering, offers, prepared, profile, ratecard, site, transfer
from federation.core import world as worlds
from federation.services import authorization, budgets, datasets, pricing, quotas, scan, transfers
from federation.services.context import Context, Seen

T = TypeVar("T")


@dataclasses.dataclass(frozen=True, kw_only=True)
class View:
    """The federation as all decisions of one transaction see it: sites and loads, prices, volumes, and what live runs hold."""

    sites: tuple[site.Site, ...]
    loads: tuple[site.SiteLoad, ...]
    rates: ratecard.RateCard
    volumes: tuple[site.LinkVolume, ...]
    reservations: tuple[site.LinkReservation, ...]
    speeds: tuple[site.LinkSpeed, ...]
    occupations: tuple[worlds.Occupation, ...]
    prepared: prepared.Prepared


def view(tx: ports.Transaction, ctx: Context) -> View:
    """The federation as it is now. What a site's own offer leaves open is filled from the offer card.

    Rows are read in this very transaction; what was worked out from those that have not changed is taken from the last look.
    """
    seen = _seen(tx, ctx)
    return View(
        sites=seen.sites,
        loads=tuple(scan.every(tx, site.SiteLoad)),
        rates=seen.rates,
        volumes=seen.volumes,
        reservations=seen.reservations,
        speeds=seen.speeds,
        occupations=tuple(_occupations(tx)),
        prepared=seen.prepared,
    )


def _seen(tx: ports.Transaction, ctx: Context) -> Seen:
    """Sites, links and prices as they are now, made from the last look where that saw the same.

    A catalog answers with the same object for a row that has not changed, and values never change: so whatever is taken over is
    what would be found again. Several threads may look at once; whose answer is remembered last does not matter.
    """
    last, card, rates = ctx.sight.last, pricing.offers(tx, ctx), pricing.rates(tx, ctx)
    known = last.filled if last is not None and last.offers is card else {}
    rows = list(scan.every(tx, site.Site))
    filled = {id(row): known.get(id(row)) or (row, offers.filled(row, card)) for row in rows}
    sites = tuple(filled[id(row)][1] for row in rows)
    speeds = tuple(scan.every(tx, site.LinkSpeed))
    volumes = tuple(scan.every(tx, site.LinkVolume, parent=metering.month(tx.now)))
    reservations = tuple(scan.every(tx, site.LinkReservation))
    before = None
    if last is not None:
        sites, speeds, before = _same(sites, last.sites), _same(speeds, last.speeds), last.prepared
        volumes, reservations = _same(volumes, last.volumes), _same(reservations, last.reservations)
    ground = prepared.known(sites, rates, speeds, before)
    found = ctx.sight.last = Seen(card, rates, filled, sites, speeds, volumes, reservations, ground)
    return found


def _same(found: tuple[T, ...], before: tuple[T, ...]) -> tuple[T, ...]:
    """The tuple of the last look, if nothing in it has changed: what was computed from that very object then still holds."""
    return before if found == before else found


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
    (DATASET_DELETED, DATASET_EMPTY, VERSION_ERASED) where an input cannot be read.
    """
    seen = seen or view(tx, ctx)
    inputs = _inputs(tx, request.inputs)
    closed = _closed(tx, request.inputs, inputs)
    return worlds.World(
        revision=revision,
        now=tx.now,
        inputs=tuple(_without(item, closed) for item in inputs),
        sites=seen.sites,
        loads=seen.loads,
        rates=seen.rates,
        volumes=seen.volumes,
        output_residency=tuple(_bound(tx, spec) for spec in request.outputs),
        excluded=_excluded(tx, of),
        forbidden=(
            *authorization.forbidden_sites(tx, ctx, request, seen.sites),
            *((at, why) for (_, at), why in closed.items()),
        ),
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
    live = (job.JobState.PLACED, job.JobState.STARTING, job.JobState.RUNNING)
    for run in scan.every(tx, job.Run, where={"state": tuple(str(state) for state in live)}):
        ends = (run.start_time or run.create_time or tx.now) + timedelta(seconds=run.expected_seconds)
        yield worlds.Occupation(site=run.site, run=run.run, resources=run.held, end_time=max(ends, tx.now))


def _inputs(tx: ports.Transaction, specs: Sequence[job.InputSpec]) -> tuple[worlds.WorldInput, ...]:
    """All inputs of a request, by one query for each kind of row."""
    if not specs:
        return ()
    shorts = tuple({ids.dataset(spec.dataset).short: None for spec in specs})
    known = {row.name.short: row for row in scan.every(tx, dataset.Dataset, keys=shorts)}
    stored = [_usable(tx, known, ids.dataset(spec.dataset)) for spec in specs]
    names = [ids.VersionName(row.name, spec.version or datasets.latest(row)) for row, spec in zip(stored, specs, strict=True)]
    versions = {
        (row.namespace, row.dataset, row.number): row
        for row in scan.every(tx, dataset.Version, keys=tuple(kinds.version_key(*name.dataset, name.number) for name in names))
    }
    numbers = tuple({str(name.number): None for name in names})
    available: dict[str, str | tuple[str, ...]] = {"version": numbers, "state": str(dataset.ReplicaState.AVAILABLE)}
    replicas = _grouped(scan.every(tx, dataset.Replica, parent=shorts, where=available), lambda row: row.version.short)
    live: dict[str, str | tuple[str, ...]] = {"dataset": shorts, "version": numbers, "live": "1"}
    arriving = _grouped(scan.every(tx, transfer.Transfer, where=live), lambda row: f"{row.dataset}@{row.version}")
    looked_at = tuple({name.short: None for name in names})
    logs = _grouped(scan.every(tx, transfer.ReadLog, parent=looked_at), lambda row: f"{row.dataset}@{row.version}")
    found = []
    for spec, row, name in zip(specs, stored, names, strict=True):
        version = versions.get((*name.dataset, name.number)) or datasets.get_version(tx, name)
        datasets.check_readable(version)
        found.append(
            worlds.WorldInput(
                alias=spec.alias,
                dataset=row.name.short,
                version=version.number,
                # What would cross a region is ciphertext, so that is what is priced.
                bytes=version.object_bytes,
                residency=row.residency,
                replica_sites=tuple(replica.site for replica in replicas.get(name.short, ())),
                files=version.files,
                arriving=tuple(arriving.get(name.short, ())),
                read_logs=tuple(logs.get(name.short, ())),
            )
        )
    return tuple(found)


def _closed(
    tx: ports.Transaction, specs: Sequence[job.InputSpec], inputs: Sequence[worlds.WorldInput]
) -> dict[tuple[str, str], str]:
    """Replicas that cannot be read, by alias and site: they lack the key of a column class that the job asks for; with why."""
    found = {}
    for spec, item in zip(specs, inputs, strict=True):
        if spec.column_classes:
            version = datasets.get_version(tx, ids.VersionName(ids.dataset(item.dataset), item.version))
            for at in item.replica_sites:
                closed = datasets.closed_at(tx, version, at, spec.column_classes)
                if closed:
                    found[item.alias, at] = f"its replica of {version.name.short} has no key of column class {closed[0]}"
    return found


def _without(item: worlds.WorldInput, closed: Collection[tuple[str, str]]) -> worlds.WorldInput:
    """The input without the replicas that cannot be read."""
    left = tuple(at for at in item.replica_sites if (item.alias, at) not in closed)
    return item if left == item.replica_sites else dataclasses.replace(item, replica_sites=left)


def _usable(tx: ports.Transaction, known: Mapping[str, dataset.Dataset], name: ids.DatasetName) -> dataset.Dataset:
    found = known.get(name.short)
    # What is not there, or deleted, is refused by name.
    return found if found is not None and found.delete_time is None else datasets.usable_dataset(tx, name)


def _grouped(rows: Iterable[T], name: Callable[[T], str]) -> dict[str, list[T]]:
    found: dict[str, list[T]] = {}
    for row in rows:
        found.setdefault(name(row), []).append(row)
    return found


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
        job.PastAttempt(attempt=run.attempt, site=run.site, reason=run.reason, detail=run.detail, spot=run.spot)
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
