"""Replicas that end: kept by being read, dropped once nobody wants them, never the last one and never one that is being read.

Dropping takes two steps, so that no crash loses anything: the replica is DELETING, which no plan chooses and no write builds
on, until its site has said that the objects are gone; then the row goes, and the keys that no other version there needs.
"""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime, timedelta
from fractions import Fraction

from federation import ports
from federation.core import dataset, errors, grants, ids, job, kinds, offers, retention, site, transfer
from federation.core.transfer import TransferCause
from federation.services import carrying, datasets, pricing, rules, scan, sites, transfers
from federation.services.context import Context

#: A log keeps the times of so many reads, one more than the gaps that a decision looks at; older ones are summed up.
TIMES_MAX = retention.RECENT_MAX + 1
_MONTH_SECONDS = 30 * 86_400
_GB = 1_000_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LIVE_RUNS = (job.JobState.PLACED, job.JobState.STARTING, job.JobState.RUNNING)


# Reads


def note_read(tx: ports.Transaction, ctx: Context, name: ids.VersionName, *, reader: str, source: str) -> transfer.ReadLog:
    """Writes down that a run at `reader` reads a version from `source`, and keeps the replica there longer if it was to end."""
    version = datasets.get_version(tx, name)
    log = _logged(tx, ctx, version, reader)
    held = carrying.replica_at(tx, name, source)
    if held is not None and held.expire_time is not None:
        _prolong(tx, ctx, version, held, log)
    return log


def _logged(tx: ports.Transaction, ctx: Context, version: dataset.Version, at: str) -> transfer.ReadLog:
    short = version.name.dataset.short
    known = tx.get(transfer.ReadLog, f"{short}@{version.number:010d}/{at}")
    if known is None:
        new = transfer.ReadLog(dataset=short, version=version.number, site=at, times=(tx.now,), reads=1)
        return tx.insert(new)
    # Servers' clocks differ a little; a log's times never go back.
    log = dataclasses.replace(known, times=(*known.times, max(tx.now, known.times[-1])), reads=known.reads + 1)
    if len(log.times) > TIMES_MAX:
        log = summed_up(log, terms(tx, ctx, version, sites.get_site(tx, at)))
    return tx.replace(log)


def summed_up(log: transfer.ReadLog, at: retention.Terms | None) -> transfer.ReadLog:
    """The log without its oldest read, whose gap is in the sums from now on, in whole micro-dollars.

    Hindsight's is rounded down and ours up, but never beyond what the rule allows itself (twice hindsight's and an eighth of a
    fetch, see `retention.keep`): that bound is what its decisions rest on.
    Where the terms are not known the gap is forgotten: it counts neither for nor against us.
    """
    oldest, second = log.times[0], log.times[1]
    shorter = dataclasses.replace(log, times=log.times[1:])
    if at is None:
        return shorter
    before = retention.History(
        last_read_seconds=_seconds(oldest),
        gaps=log.reads - len(log.times),
        online_micros=Fraction(log.paid_micros),
        offline_micros=Fraction(log.optimum_micros),
    )
    after = retention.observe(at, before, _seconds(second))
    optimum_micros = int(after.offline_micros // 1)
    paid_micros = min(-int(-after.online_micros // 1), 2 * optimum_micros + at.fetch_micros // 8)
    return dataclasses.replace(shorter, paid_micros=paid_micros, optimum_micros=optimum_micros)


def history(log: transfer.ReadLog, at: retention.Terms) -> retention.History:
    """What a log remembers, as decisions are made from it. The log has a read."""
    found = retention.History(
        last_read_seconds=_seconds(log.times[0]),
        gaps=log.reads - len(log.times),
        online_micros=Fraction(log.paid_micros),
        offline_micros=Fraction(log.optimum_micros),
    )
    for time in log.times[1:]:
        found = retention.observe(at, found, _seconds(time))
    return found


def terms(tx: ports.Transaction, ctx: Context, version: dataset.Version, place: site.Site) -> retention.Terms | None:
    """What keeping a replica at a site costs, and bringing it there again; None where either is unknown."""
    stored_gb = offers.filled(place, pricing.offers(tx, ctx)).offer.storage_gb_month_micros
    origins = [origin for origin in carrying.holders(tx, version.name) if origin.site != place.site]
    prices = [carrying.price(tx, ctx, origin, place, version.object_bytes) for origin in origins]
    known = [micros for micros in prices if micros is not None]
    if stored_gb is None or not known:
        return None
    rate = Fraction(stored_gb * version.object_bytes, _GB * _MONTH_SECONDS)
    return retention.Terms(fetch_micros=min(known), storage_micros_per_second=rate)


def _prolong(
    tx: ports.Transaction, ctx: Context, version: dataset.Version, held: dataset.Replica, log: transfer.ReadLog
) -> None:
    """As long as whoever wanted it said, or as reads there show that it pays. A job's own copy is kept by what pays alone."""
    made = tx.get(transfer.Transfer, held.transfer) if held.transfer else None
    stated = made.keep_seconds if made else 0
    paying = _paying_seconds(tx, ctx, version, held.site, log)
    if paying is None:
        transfers.prolong(tx, held, max(stated, transfers.STAGED_SECONDS))
    elif made is not None and made.cause is TransferCause.JOB:
        _keep_until(tx, held, tx.now + timedelta(seconds=max(paying, transfers.STAGED_SECONDS)))
    else:
        transfers.prolong(tx, held, max(stated, paying, transfers.STAGED_SECONDS))


def _paying_seconds(
    tx: ports.Transaction, ctx: Context, version: dataset.Version, at: str, log: transfer.ReadLog
) -> int | None:
    """How long the reads at its own site say that a replica is to be kept; None where they or the prices are not known."""
    found = terms(tx, ctx, version, sites.get_site(tx, at)) if log.site == at else None
    if found is None:
        return None
    decided = retention.keep(found, history(log, found)).keep_seconds
    return transfers.FREE_SECONDS if decided is None else min(decided, transfers.FREE_SECONDS)


def _keep_until(tx: ports.Transaction, held: dataset.Replica, until: datetime) -> None:
    if until != held.expire_time:
        stored = tx.replace(dataclasses.replace(held, expire_time=until))
        tx.emit("replica.updated", stored.version.replica(stored.site), stored)


def _seconds(time: datetime) -> int:
    return int((time - _EPOCH) // timedelta(seconds=1))


# Dropping


def expire(tx: ports.Transaction) -> int:
    """Lets go of replicas whose time is over and that nothing holds; their sites are told to drop them. The number of them."""
    where = {"expires": "1", "state": str(dataset.ReplicaState.AVAILABLE)}
    over = [row for row in scan.every(tx, dataset.Replica, where=where) if row.expire_time and row.expire_time <= tx.now]
    # One after the other: of two replicas that would both be the last but one, the first goes and the second stays.
    ending = [row for row in over if not holds(tx, row) and let_go(tx, row)]
    return len(ending)


def let_go(tx: ports.Transaction, held: dataset.Replica) -> dataset.Replica:
    """Has a replica dropped by its site, whoever holds on to it: that is for the caller to have asked."""
    stored = tx.replace(dataclasses.replace(held, state=dataset.ReplicaState.DELETING))
    tx.emit("replica.deleting", stored.version.replica(stored.site), stored)
    return stored


def holds(tx: ports.Transaction, held: dataset.Replica) -> str:
    """What keeps a replica from being dropped, for people; "" where nothing does."""
    if not _other_readable(tx, held):
        return "it is the last one that can be read"
    if rules.wants(tx, held):
        return "a rule wants it"
    return in_use(tx, held)


def in_use(tx: ports.Transaction, held: dataset.Replica) -> str:
    """What is under way with a replica now, for people; "" where nothing is."""
    if _awaited(tx, held):
        return "a job is about to read it"
    if _read_now(tx, held):
        return "it is being read"
    return "something is written beside it" if _built_on(tx, held) else ""


def _other_readable(tx: ports.Transaction, held: dataset.Replica) -> bool:
    """Whether the version can be read elsewhere right now: what a silent site holds may never come back."""
    return any(place.site != held.site and place.state is site.SiteState.READY for place in carrying.holders(tx, held.version))


def _awaited(tx: ports.Transaction, held: dataset.Replica) -> bool:
    """Whether it was brought for a job that still waits to begin, or to begin again."""
    made = tx.get(transfer.Transfer, held.transfer) if held.transfer else None
    rows = (tx.get(job.Job, name) for name in (made.jobs if made else ()))
    return any(row is not None and row.state is job.JobState.PENDING for row in rows)


def _read_now(tx: ports.Transaction, held: dataset.Replica) -> bool:
    """Whether a grant on it is open, or a transfer is to begin from it."""
    open_ = scan.every(tx, kinds.GrantRecord, where={"source_site": held.site, "closed": ""})
    if any((row.namespace, row.dataset, row.version) == (held.namespace, held.dataset, held.number) for row in open_):
        return True
    where = {"source_site": held.site, "version": str(held.number), "live": "1"}
    return bool(tx.list(transfer.Transfer, parent=held.version.dataset.short, where=where, limit=1))


def _built_on(tx: ports.Transaction, held: dataset.Replica) -> bool:
    """Whether a version of the same dataset is being written or brought there, which may share objects with it."""
    short = held.version.dataset.short
    if tx.list(transfer.Transfer, parent=short, where={"destination_site": held.site, "live": "1"}, limit=1):
        return True
    open_ = scan.every(tx, kinds.GrantRecord, where={"source_site": held.site, "closed": ""})
    if any(row.access is grants.Access.WRITE and f"{row.namespace}/{row.dataset}" == short for row in open_):
        return True
    runs = (run for state in _LIVE_RUNS for run in scan.every(tx, job.Run, where={"site": held.site, "state": str(state)}))
    writers = (tx.get(job.Job, run.job) for run in runs)
    return any(row is not None and any(spec.dataset == short for spec in row.request.outputs) for row in writers)


def finish_drop(tx: ports.Transaction, at: str, version: str) -> None:
    """A site says that a replica's objects are gone: the row goes, and the keys that no other version there needs.

    The same word again changes nothing. FailedPrecondition (REPLICA_IN_USE) for a replica that was not to be dropped.
    """
    name = ids.version(version)
    held = carrying.replica_at(tx, name, at)
    if held is None:
        return
    if held.state is not dataset.ReplicaState.DELETING:
        raise errors.FailedPrecondition(
            f"site {at} was not told to drop its replica of {name.short}",
            reason="REPLICA_IN_USE",
            help="Run `fed fsck` for this site: if its objects are gone, the replica is lost.",
            metadata={"version": name.short, "site": at},
        )
    tx.delete(dataset.Replica, kinds.KINDS[dataset.Replica].key(held))
    tx.emit("replica.deleted", name.replica(at), held)
    for generation in _unneeded(tx, name, at):
        for row in datasets.keys_at(tx, generation, at):
            tx.delete(dataset.WrappedKey, kinds.KINDS[dataset.WrappedKey].key(row))


def _unneeded(tx: ports.Transaction, gone: ids.VersionName, at: str) -> list[str]:
    """Generations of a version that no other version with a replica at the site has."""
    rows = scan.every(tx, dataset.Replica, parent=gone.dataset.short, where={"site": at})
    needed = {generation for row in rows for generation in datasets.get_version(tx, row.version).generations}
    return [generation for generation in datasets.get_version(tx, gone).generations if generation not in needed]
