"""The life of one transfer: started, paused and tried again, ended; each of its effects once.

A live transfer is PENDING while it waits for its turn, and RUNNING while its destination's agent fetches under the read grant
of its present attempt. It ends once; whatever is said of it afterwards is answered with how it ended.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import datetime, timedelta

from federation import ports
from federation.core import dataset, errors, grants, ids, kinds, policy, ratecard, site, transfer
from federation.core.transfer import TransferState
from federation.crypto import grants as signed
from federation.crypto import hpke
from federation.services import access, datasets, pricing, scan, sites
from federation.services.context import Context

#: So many attempts may fail before a transfer does.
ATTEMPTS_MAX = 5
#: The wait after the first failure; it doubles with each further one.
BACKOFF_SECONDS = 5
BACKOFF_SECONDS_MAX = 300
#: What a link is taken to carry, until it was measured, where a grant's life is concerned.
SLOW_BYTES_PER_SECOND = 1_000_000
#: A measurement that took this long weighs as much as all before it.
_SPEED_SECONDS = 60
#: Of less the time is that of setting up and telling, not of carrying.
MEASURED_BYTES_MIN = 4 * 1024 * 1024


@dataclasses.dataclass(frozen=True, kw_only=True)
class Source:
    """A site that a version can be fetched from now, and what that costs at the month's marginal tier."""

    place: site.Site
    micros: int


# Rows and events


def get(tx: ports.Transaction, name: str) -> transfer.Transfer:
    """One transfer, `t-...` or `transfers/t-...`; NotFound when it is not there."""
    key = ids.child(name, "transfers")
    found = tx.get(transfer.Transfer, key)
    if found is None:
        raise errors.NotFound(
            f"transfer {key} does not exist", help="`fed transfer list` shows what is there.", metadata={"transfer": key}
        )
    return found


def put(tx: ports.Transaction, changed: transfer.Transfer, event: str = "") -> transfer.Transfer:
    """Stores a changed transfer and tells its state, or what happened to it."""
    stored = tx.replace(changed)
    tx.emit(f"transfer.{event or stored.state.lower()}", f"transfers/{stored.transfer}", stored)
    return stored


def live(tx: ports.Transaction, version: ids.VersionName, at: str) -> transfer.Transfer | None:
    """The one transfer that is bringing a version to a site now, if one is."""
    where = {"version": str(version.number), "destination_site": at, "live": "1"}
    return next(iter(tx.list(transfer.Transfer, parent=version.dataset.short, where=where, limit=1)), None)


def version_name(of: transfer.Transfer) -> ids.VersionName:
    """The version that a transfer brings."""
    return ids.VersionName(ids.dataset(of.dataset), of.version)


def replica_at(tx: ports.Transaction, version: ids.VersionName, at: str) -> dataset.Replica | None:
    """The replica of a version at a site, in whatever state."""
    return tx.get(dataset.Replica, f"{kinds.version_key(*version.dataset, version.number)}/{at}")


def readable_at(tx: ports.Transaction, version: ids.VersionName, at: str) -> bool:
    """Whether a site holds a replica of a version that may be read."""
    held = replica_at(tx, version, at)
    return held is not None and held.state is dataset.ReplicaState.AVAILABLE


# Sources and prices


def holders(tx: ports.Transaction, version: ids.VersionName) -> tuple[site.Site, ...]:
    """Sites with a readable replica, also those that do not answer now, by name."""
    where = {"version": str(version.number), "state": str(dataset.ReplicaState.AVAILABLE)}
    rows = scan.every(tx, dataset.Replica, parent=version.dataset.short, where=where)
    found = (tx.get(site.Site, row.site) for row in rows)
    return tuple(place for place in found if place is not None)


def price(tx: ports.Transaction, ctx: Context, source: site.Site, destination: site.Site, volume: int) -> int | None:
    """What sending a volume costs now, after the month's bytes and all that is reserved; None where the price is unknown."""
    counted = pricing.month(tx, ratecard.scope(source.region, destination.region, source.account))
    sent = counted.sent_bytes + counted.reserved_bytes
    found = pricing.rates(tx, ctx).price(source.region, destination.region, sent, volume)
    return None if found is None else found.micros


def sources(
    tx: ports.Transaction, ctx: Context, version: dataset.Version, destination: site.Site, *, failed: Iterable[str] = ()
) -> tuple[Source, ...]:
    """Sites that the version can be fetched from now, best first: least often failed, cheapest, by name.

    FailedPrecondition says why there is none: REPLICA_MISSING, SITE_NOT_READY or PRICE_UNKNOWN.
    """
    held = [place for place in holders(tx, version.name) if place.site != destination.site]
    ready = [place for place in held if place.state is site.SiteState.READY]
    if not ready:
        raise _unreachable(version, held)
    tried = list(failed)
    priced = [(micros, p) for p in ready if (micros := price(tx, ctx, p, destination, version.object_bytes)) is not None]
    if not priced:
        raise unpriced(version, ready, destination)
    ordered = sorted(priced, key=lambda each: (tried.count(each[1].site), each[0], each[1].site))
    return tuple(Source(place=place, micros=micros) for micros, place in ordered)


def _unreachable(version: dataset.Version, held: list[site.Site]) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(
        f"no site that answers can send {version.name.short}" + (f"; {held[0].site} is {held[0].state}" if held else ""),
        reason="SITE_NOT_READY" if held else "REPLICA_MISSING",
        help=f"`fed replica list {version.name.dataset.short}` shows where it lies.",
        metadata={"version": version.name.short},
    )


def unpriced(version: dataset.Version, places: Iterable[site.Site], destination: site.Site) -> errors.FailedPrecondition:
    """The refusal of a transfer over links that no rate card prices."""
    regions = ", ".join(sorted({place.region for place in places}))
    return errors.FailedPrecondition(
        f"no price is known for sending {version.object_bytes} bytes from {regions} to {destination.region}",
        reason="PRICE_UNKNOWN",
        help="Add the price to the rate card; an unknown price is never taken for zero.",
        metadata={"version": version.name.short, "region": regions},
    )


# Whether it may go on


def forbidden(tx: ports.Transaction, of: transfer.Transfer) -> tuple[str, str] | None:
    """Reason and detail why a transfer may not go on: its dataset is gone, or residency forbids the destination; else None."""
    stored = tx.get(dataset.Dataset, of.dataset)
    if stored is None or stored.delete_time is not None:
        return "DATASET_DELETED", f"dataset {of.dataset} is deleted"
    wanted = tx.get(dataset.Version, kinds.version_key(*ids.dataset(of.dataset), of.version))
    if wanted is not None and wanted.erase_time is not None:
        return "VERSION_ERASED", f"{wanted.name.short} was erased"
    place = tx.get(site.Site, of.destination_site)
    if place is None:
        return "SITE_DELETED", f"site {of.destination_site} does not exist any more"
    if policy.residency_allows(stored.residency, place.jurisdiction):
        return None
    allowed = ", ".join(stored.residency)
    return "RESIDENCY_DENIED", f"{of.dataset} may be stored in {allowed} only, and site {place.site} is in {place.jurisdiction}"


def due_time(of: transfer.Transfer) -> datetime | None:
    """When a PENDING transfer may be tried again; None: at once."""
    failures = len(of.failed_sources)
    if not failures or of.update_time is None:
        return None
    seconds = min(BACKOFF_SECONDS * 2 ** (failures - 1), BACKOFF_SECONDS_MAX)
    return of.update_time + timedelta(seconds=seconds)


# Its steps


def start(tx: ports.Transaction, ctx: Context, waiting: transfer.Transfer) -> transfer.Transfer:
    """The next attempt, from the site that it names or, if that cannot send or has failed, from the best that can.

    It takes along the column classes that its source can open itself. FailedPrecondition where nothing can send it now:
    nothing is changed then.
    """
    version = datasets.get_version(tx, version_name(waiting))
    destination = sites.get_site(tx, waiting.destination_site)
    able = sources(tx, ctx, version, destination, failed=waiting.failed_sources)
    named = (each for each in able if each.place.site == waiting.source_site and not waiting.failed_sources)
    chosen = next(named, able[0])
    life = _grant_life(tx, ctx, waiting, chosen.place, destination)
    closed = datasets.closed_at(tx, version, chosen.place.site, waiting.column_classes)
    waiting = dataclasses.replace(waiting, column_classes=tuple(each for each in waiting.column_classes if each not in closed))
    record = access.issue(tx, _grant_record(waiting, version, chosen, destination, tx.now + life))
    running = dataclasses.replace(
        waiting,
        state=TransferState.RUNNING,
        reason="",
        detail="",
        source_site=chosen.place.site,
        estimate_micros=chosen.micros,
        attempt=waiting.attempt + 1,
        grant=record.grant,
        start_time=tx.now,
        update_time=tx.now,
    )
    return put(tx, running)


def _grant_record(
    of: transfer.Transfer, version: dataset.Version, source: Source, destination: site.Site, expire_time: datetime
) -> kinds.GrantRecord:
    attempt = of.attempt + 1
    return kinds.GrantRecord(
        grant=access.run_grant_id(f"transfers/{of.transfer}/attempts/{attempt}", ""),
        access=grants.Access.READ,
        transfer=of.transfer,
        attempt=attempt,
        principal=of.principal,
        namespace=version.namespace,
        dataset=version.dataset,
        version=version.number,
        source_site=source.place.site,
        source_region=source.place.region,
        account=source.place.account,
        reader_site=destination.site,
        reader_region=destination.region,
        # What an earlier attempt has brought is not fetched again.
        estimate_bytes=max(0, version.object_bytes - of.bytes_done),
        estimate_micros=source.micros,
        expire_time=expire_time,
        column_classes=of.column_classes,
    )


def _grant_life(
    tx: ports.Transaction, ctx: Context, of: transfer.Transfer, source: site.Site, destination: site.Site
) -> timedelta:
    """Twice as long as it is expected to take, and no shorter than any grant."""
    measured = tx.get(site.LinkSpeed, f"{source.region}~{destination.region}")
    speed = measured.bytes_per_second if measured else SLOW_BYTES_PER_SECOND
    if of.bytes_per_second_max:
        speed = min(speed, of.bytes_per_second_max)
    return timedelta(seconds=max(ctx.grant_seconds, 2 * of.object_bytes // max(speed, 1)))


def pause(tx: ports.Transaction, running: transfer.Transfer, reason: str, detail: str, *, failed: bool) -> transfer.Transfer:
    """Back to PENDING, to be started again: its grant is closed; `failed` counts the attempt against its source."""
    close_grant(tx, running)
    failures = (*running.failed_sources, running.source_site) if failed else running.failed_sources
    waiting = dataclasses.replace(
        running, state=TransferState.PENDING, reason=reason, detail=detail, failed_sources=failures, update_time=tx.now
    )
    return put(tx, waiting)


def say(tx: ports.Transaction, waiting: transfer.Transfer, reason: str, detail: str) -> bool:
    """Notes why a PENDING transfer does not start; returns whether that is news."""
    if (waiting.reason, waiting.detail) == (reason, detail):
        return False
    put(tx, dataclasses.replace(waiting, reason=reason, detail=detail))
    return True


def end(
    tx: ports.Transaction, ending: transfer.Transfer, state: TransferState, reason: str = "", detail: str = ""
) -> transfer.Transfer:
    """Ends a live transfer: what it held is given back, once, because no live state follows."""
    close_grant(tx, ending)
    return put(
        tx,
        dataclasses.replace(ending, state=state, reason=reason, detail=detail, update_time=tx.now, end_time=tx.now),
    )


def close_grant(tx: ports.Transaction, of: transfer.Transfer) -> None:
    """Closes the grant of the present attempt: nothing opens under it any more, and its source settles it."""
    record = tx.get(kinds.GrantRecord, of.grant) if of.grant else None
    if record is not None:
        access.close(tx, record)


def instruction(tx: ports.Transaction, ctx: Context, running: transfer.Transfer) -> transfer.StartTransfer:
    """What its destination is told to do. The same for the same attempt, whenever it is asked for."""
    record = tx.get(kinds.GrantRecord, running.grant)
    if record is None:
        raise AssertionError(f"{running.transfer} runs without a grant")
    source, reader = sites.get_site(tx, running.source_site), sites.get_site(tx, running.destination_site)
    uid = datasets.get_dataset(tx, ids.dataset(running.dataset)).uid
    grant = grants.Grant(
        grant=record.grant,
        access=grants.Access.READ,
        subject=f"agents/{reader.site}",
        site=source.site,
        dataset=running.dataset,
        dataset_uid=uid,
        version=version_name(running).short,
        reader_site=reader.site,
        reader_region=record.reader_region,
        reader_sealing_key=hpke.fingerprint(bytes.fromhex(reader.sealing_key)),
        reader_signing_key=reader.signing_key,
        bytes_max=0 if record.source_region == record.reader_region else ctx.budget_bytes(running.object_bytes),
        issue_time=running.start_time or record.expire_time,
        expire_time=record.expire_time,
    )
    return transfer.StartTransfer(
        transfer=running,
        grant=signed.sign(ctx.grant_key, grant),
        gateway=source.gateway,
        signing_key=source.signing_key,
        dataset_uid=uid,
    )


# What it teaches


def measure(tx: ports.Transaction, ended: transfer.Transfer) -> None:
    """Takes a whole transfer as a measurement of its link, weighed by how long it took.

    One that is too small says nothing of the link, nor does one that was told how fast it may be.
    """
    if ended.object_bytes < MEASURED_BYTES_MIN or ended.bytes_per_second_max:
        return
    source, destination = sites.get_site(tx, ended.source_site), sites.get_site(tx, ended.destination_site)
    seconds = (tx.now - ended.start_time).total_seconds() if ended.start_time else 0
    if seconds <= 0:
        return
    speed = max(1, round(ended.object_bytes / seconds))
    key = f"{source.region}~{destination.region}"
    known = tx.get(site.LinkSpeed, key)
    if known is None:
        tx.insert(
            site.LinkSpeed(
                source_region=source.region, destination_region=destination.region, bytes_per_second=speed, update_time=tx.now
            )
        )
        return
    weight = seconds / (seconds + _SPEED_SECONDS)
    mean = round(known.bytes_per_second * (1 - weight) + speed * weight)
    tx.replace(dataclasses.replace(known, bytes_per_second=mean, samples=known.samples + 1, update_time=tx.now))
