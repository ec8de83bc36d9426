"""Transfers: asked for by people, jobs, rules and deliveries, and shared by all who want the same; who may have them.

There is at most one live transfer of a version to a site: whoever wants the same joins it. Residency and policy are asked when
a transfer is made, each second while it lives, before its source hands over keys, and in the transaction that makes a replica.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from datetime import timedelta

from federation import ports
from federation.core import columns, dataset, errors, ids, job, policy, site, transfer
from federation.core.authorization import Action, Answer, Denied, Question, Subject, acting, subject
from federation.core.transfer import TransferCause, TransferState
from federation.services import authorization, carrying, datasets, residency, sites
from federation.services.context import Context

#: What a failed staging is remembered by in the job's next plan.
STAGING_FAILED = "STAGING_FAILED"
#: A copy for a job, and one on the way of a relay, is kept so long at least: the job still has to begin.
STAGED_SECONDS = 600
#: A copy that a job wants kept for good, because storing is free, is kept so long: prices change.
FREE_SECONDS = 366 * 86_400
#: No replica is kept by a number of seconds beyond this; who wants it longer wants it for ever.
KEEP_SECONDS_MAX = 3_660 * 86_400
PRIORITY_MAX = 1_000_000
RATE_MAX = 2**50

get = carrying.get


# What people ask


def create(
    tx: ports.Transaction,
    ctx: Context,
    principal: policy.Principal,
    version: str,
    destination: str,
    *,
    source: str = "",
    keep_seconds: int = 0,
    priority: int = 0,
    bytes_per_second_max: int = 0,
) -> transfer.Transfer:
    """Asks for a replica of a version, or of a dataset's newest, at a site; from the cheapest source if none is named.

    A live transfer of the same is joined and answered. Where the replica is there already it is kept as long as asked, and the
    answer is a transfer that has SUCCEEDED without moving anything (TRANSFER_NOT_NEEDED). PermissionDenied (RESIDENCY_DENIED)
    where the data must not lie there; FailedPrecondition where nobody can send it, or at an unknown price.
    """
    _check_terms(keep_seconds, priority, bytes_per_second_max)
    name, number = ids.dataset_or_version(version)
    authorization.visible(tx, ctx, principal, name)
    stored = datasets.usable_dataset(tx, name)
    wanted = datasets.readable_version(tx, ids.VersionName(name, number or datasets.latest(stored)))
    place = sites.get_site(tx, destination)
    replicate(tx, ctx, subject(principal), stored, place)
    asked = dataclasses.replace(
        wish(wanted, place.site, TransferCause.PERSON, who=subject(principal)),
        keep_seconds=keep_seconds,
        priority=priority,
        bytes_per_second_max=bytes_per_second_max,
    )
    held = carrying.replica_at(tx, wanted.name, place.site)
    if held is not None and held.state is dataset.ReplicaState.AVAILABLE:
        return _not_needed(tx, ctx, asked, held)
    sites.require_ready(place)
    return ask(tx, ctx, _sourced(tx, ctx, asked, wanted, place, source), subject(principal))


def cancel(tx: ports.Transaction, name: str, etag: str = "") -> transfer.Transfer:
    """Gives a transfer up. Cancelling twice changes nothing; FailedPrecondition (TRANSFER_ENDED) when it ended otherwise."""
    stored = get(tx, name)
    if etag and etag != stored.etag:
        raise errors.Conflict(f"transfer {stored.transfer} has changed", help="Read it again and redo the change.")
    if stored.state is TransferState.CANCELLED:
        return stored
    if stored.state.terminal:
        raise errors.FailedPrecondition(
            f"transfer {stored.transfer} is {stored.state} already",
            reason="TRANSFER_ENDED",
            metadata={"transfer": stored.transfer, "state": str(stored.state)},
        )
    return carrying.end(tx, stored, TransferState.CANCELLED, "CANCELLED", f"cancelled by {tx.actor or 'the catalog'}")


def _check_terms(keep_seconds: int, priority: int, bytes_per_second_max: int) -> None:
    for name, value, least, most, reason in (
        ("keep_seconds", keep_seconds, 0, KEEP_SECONDS_MAX, "DURATION_INVALID"),
        ("priority", priority, -PRIORITY_MAX, PRIORITY_MAX, "PRIORITY_INVALID"),
        ("bytes_per_second_max", bytes_per_second_max, 0, RATE_MAX, "RATE_INVALID"),
    ):
        if not least <= value <= most:
            raise errors.InvalidArgument(
                f"{name} is {value}",
                reason=reason,
                help=f"Use {least} to {most}.",
                violations={name: f"must be {least} to {most}"},
            )


def _sourced(  # noqa: PLR0917 - what, where to and where from
    tx: ports.Transaction,
    ctx: Context,
    asked: transfer.Transfer,
    wanted: dataset.Version,
    destination: site.Site,
    source: str,
) -> transfer.Transfer:
    """The same from a source: the one that was named, which must be able to send, or else the cheapest."""
    if not source:
        best = carrying.sources(tx, ctx, wanted, destination)[0]
        return dataclasses.replace(asked, source_site=best.place.site, estimate_micros=best.micros)
    place = sites.get_site(tx, source)
    if place.site == destination.site or not carrying.readable_at(tx, wanted.name, place.site):
        raise errors.FailedPrecondition(
            f"site {place.site} holds no replica of {wanted.name.short} that could be sent",
            reason="REPLICA_MISSING",
            help=f"`fed replica list {wanted.name.dataset.short}` shows where it lies.",
            metadata={"version": wanted.name.short, "site": place.site},
        )
    sites.require_ready(place)
    micros = carrying.price(tx, ctx, place, destination, wanted.object_bytes)
    if micros is None:
        raise carrying.unpriced(wanted, [place], destination)
    return dataclasses.replace(asked, source_site=place.site, estimate_micros=micros)


def _not_needed(tx: ports.Transaction, ctx: Context, asked: transfer.Transfer, held: dataset.Replica) -> transfer.Transfer:
    """The answer to who asks for what is there: kept as long as they ask, and told so."""
    prolong(tx, held, asked.keep_seconds)
    name = ctx.ids.new("t")
    done = tx.insert(
        dataclasses.replace(
            asked,
            transfer=name,
            uid=name,
            source_site=held.site,
            state=TransferState.SUCCEEDED,
            reason="TRANSFER_NOT_NEEDED",
            detail=f"{held.version.short} is at {held.site} already",
            create_time=tx.now,
            update_time=tx.now,
            end_time=tx.now,
        )
    )
    tx.emit("transfer.succeeded", f"transfers/{name}", done)
    return done


def prolong(tx: ports.Transaction, held: dataset.Replica, keep_seconds: int) -> dataset.Replica:
    """Keeps a replica that would end for so long from now, 0 for always; never shorter than it was to be kept."""
    if held.expire_time is None:
        return held
    until = max(held.expire_time, tx.now + timedelta(seconds=keep_seconds)) if keep_seconds else None
    if until == held.expire_time:
        return held
    stored = tx.replace(dataclasses.replace(held, expire_time=until))
    tx.emit("replica.updated", stored.version.replica(stored.site), stored)
    return stored


# Who wants the same shares


def wish(wanted: dataset.Version, at: str, cause: TransferCause, *, who: Subject) -> transfer.Transfer:
    """A transfer as it is wished for, before it has a source or a name."""
    return transfer.Transfer(
        transfer="",
        dataset=wanted.name.dataset.short,
        version=wanted.number,
        source_site="",
        destination_site=at,
        cause=cause,
        principal=who.name,
        role=str(who.role),
        groups=who.groups,
        object_bytes=wanted.object_bytes,
        objects=wanted.files,
    )


def ask(
    tx: ports.Transaction, ctx: Context, asked: transfer.Transfer, who: Subject, of: job.Job | None = None
) -> transfer.Transfer:
    """The live transfer of that version to that site, joined, or a new one, with the column classes that may go along."""
    running = carrying.live(tx, carrying.version_name(asked), asked.destination_site)
    if running is not None:
        return _joined(tx, running, asked)
    name = ctx.ids.new("t")
    beside = _classes(tx, ctx, asked, who, of)
    made = tx.insert(
        dataclasses.replace(asked, transfer=name, uid=name, column_classes=beside, create_time=tx.now, update_time=tx.now)
    )
    tx.emit("transfer.created", f"transfers/{name}", made)
    return made


def _classes(
    tx: ports.Transaction, ctx: Context, asked: transfer.Transfer, who: Subject, of: job.Job | None
) -> tuple[str, ...]:
    """The column classes beside `default` whose keys the policy lets go to the destination."""
    version = datasets.get_version(tx, carrying.version_name(asked))
    place = tx.get(site.Site, asked.destination_site)
    if not version.column_classes or place is None:
        return ()
    question = _question(tx, who, datasets.get_dataset(tx, version.name.dataset), place, of)
    names = columns.names(version.column_classes)[1:]
    return authorization.allowed_classes(tx, ctx, question, names, job=f"jobs/{of.job}" if of else "")


def _joined(tx: ports.Transaction, running: transfer.Transfer, asked: transfer.Transfer) -> transfer.Transfer:
    """The more urgent priority and the longer keeping win; what more than a job wants does not end with the job."""
    keeps = (running.keep_seconds, asked.keep_seconds)
    changed = dataclasses.replace(
        running,
        priority=max(running.priority, asked.priority),
        keep_seconds=max(keeps) if all(keeps) else 0,
        jobs=tuple(dict.fromkeys((*running.jobs, *asked.jobs))),
    )
    if running.cause is TransferCause.JOB and asked.cause is not TransferCause.JOB:
        changed = dataclasses.replace(
            changed, cause=asked.cause, rule=asked.rule, principal=asked.principal, role=asked.role, groups=asked.groups
        )
    return running if changed == running else carrying.put(tx, changed, "updated")


# Copies for jobs


def stage(tx: ports.Transaction, ctx: Context, waiting: job.Job, plan: job.Plan) -> tuple[str, ...]:
    """Makes or joins the transfers that a plan's choice wants before its run; () where everything is there already.

    Asked again while they are under way it answers alike; those that failed for the job before stay named. PermissionDenied
    (RESIDENCY_DENIED) before anything is changed, should a plan ever ask for a copy where none may be.
    """
    chosen = plan.choice
    if chosen is None:
        return ()
    legs = [leg for spec in chosen.inputs for leg in _legs(spec, chosen.site)]
    for name, _, destination, _ in legs:
        if not carrying.readable_at(tx, name, destination) and carrying.live(tx, name, destination) is None:
            bound, place = datasets.usable_dataset(tx, name.dataset), sites.get_site(tx, destination)
            replicate(tx, ctx, acting(waiting.request), bound, place, waiting)
    needed: dict[tuple[ids.VersionName, str], str] = {}
    for name, source, destination, keep_seconds in legs:
        if not carrying.readable_at(tx, name, destination):
            after = needed.get((name, source), "")
            needed[name, destination] = _leg(tx, ctx, waiting, name, source, destination, keep_seconds, after)
    return tuple(dict.fromkeys((*(row.transfer for row in _lost(tx, waiting)), *needed.values())))


def replicate(  # noqa: PLR0917 - who, what, where to and for which job
    tx: ports.Transaction, ctx: Context, who: Subject, stored: dataset.Dataset, place: site.Site, of: job.Job | None = None
) -> None:
    """Tells of the decision that lets a replica be made at a site; PermissionDenied where policy or residency forbid it."""
    asked = _question(tx, who, stored, place, of)

    def law() -> None:
        residency.require_site(stored.name.short, stored.residency, place.site, place.jurisdiction)

    authorization.require(tx, ctx, asked, job=f"jobs/{of.job}" if of else "", law=law)


def _question(tx: ports.Transaction, who: Subject, stored: dataset.Dataset, place: site.Site, of: job.Job | None) -> Question:
    """Whether a replica may be made at a site, for a job's plan or because somebody wants it."""
    return _for_job(tx, of, stored, place) if of else authorization.question(tx, who, Action.REPLICATE, stored, at=place)


def still_allowed(tx: ports.Transaction, ctx: Context, of: transfer.Transfer) -> tuple[Question, Answer] | None:
    """Whether the policy, as it is now, lets one of those whom a transfer acts for have it: what was asked, and the answer.

    The first yes, or the first no where there is none; None where its dataset or its site is gone.
    """
    stored, place = tx.get(dataset.Dataset, of.dataset), tx.get(site.Site, of.destination_site)
    if stored is None or place is None:
        return None
    first = None
    for asked in _wanted_by(tx, of, stored, place):
        found = authorization.answer(tx, ctx, asked)
        if found.allowed:
            return asked, found
        first = first or (asked, found)
    return first


def _wanted_by(tx: ports.Transaction, of: transfer.Transfer, stored: dataset.Dataset, place: site.Site) -> Iterator[Question]:
    if of.cause in (TransferCause.PERSON, TransferCause.RULE):
        who = Subject(name=of.principal, role=policy.Role(of.role), groups=of.groups)
        yield authorization.question(tx, who, Action.REPLICATE, stored, at=place)
    for name in of.jobs:
        wanted = tx.get(job.Job, name)
        if wanted is not None:
            yield _for_job(tx, wanted, stored, place)


def _for_job(tx: ports.Transaction, of: job.Job, stored: dataset.Dataset, place: site.Site) -> Question:
    return dataclasses.replace(authorization.run_question(tx, of.request, Action.REPLICATE, stored, place), for_job=True)


def require_still(tx: ports.Transaction, ctx: Context, of: transfer.Transfer, column_classes: Iterable[str] = ()) -> None:
    """Tells of the decisions that keys may be handed over for a transfer, of each of these column classes too.

    Denied (POLICY_DENIED) where nobody may any more.
    """
    found = still_allowed(tx, ctx, of)
    if found is not None:
        authorization.require(tx, ctx, found[0])
        for each in column_classes:
            authorization.require(tx, ctx, dataclasses.replace(found[0], column_class=each))


def no_longer(tx: ports.Transaction, ctx: Context, of: transfer.Transfer) -> tuple[str, str] | None:
    """Reason and detail if the policy allows a transfer to nobody any more; that decision is told."""
    try:
        found = still_allowed(tx, ctx, of)
        if found is not None and not found[1].allowed:
            authorization.require(tx, ctx, found[0])
    except (Denied, errors.NotFound) as refused:  # not to be known of any more is not allowed, either
        if isinstance(refused, Denied) and refused.decision is not None:
            authorization.note(tx, refused.decision)
        return Denied.default_reason, refused.message
    return None


def _legs(spec: job.InputPlan, at: str) -> Iterable[tuple[ids.VersionName, str, str, int]]:
    """Version, source, destination and keeping of each transfer that an input's way takes, in their order."""
    name, source = ids.VersionName(ids.dataset(spec.dataset), spec.version), spec.source_site
    keep_seconds = max(spec.keep_seconds, STAGED_SECONDS) if spec.keep_seconds else FREE_SECONDS
    if spec.via_site:
        yield name, source, spec.via_site, STAGED_SECONDS
        source = spec.via_site
    if spec.way is job.Way.COPY and source != at:
        yield name, source, at, keep_seconds


def _leg(  # noqa: PLR0917 - one transfer, said in full
    tx: ports.Transaction,
    ctx: Context,
    waiting: job.Job,
    name: ids.VersionName,
    source: str,
    destination: str,
    keep_seconds: int,
    after: str,
) -> str:
    wanted = datasets.get_version(tx, name)
    origin, place = sites.get_site(tx, source), sites.get_site(tx, destination)
    asked = dataclasses.replace(
        wish(wanted, destination, TransferCause.JOB, who=acting(waiting.request)),
        source_site=source,
        jobs=(waiting.job,),
        after=after,
        keep_seconds=keep_seconds,
        priority=waiting.request.priority,
        estimate_micros=carrying.price(tx, ctx, origin, place, wanted.object_bytes) or 0,
    )
    return ask(tx, ctx, asked, acting(waiting.request), waiting).transfer


def past(tx: ports.Transaction, of: job.Job) -> tuple[job.PastAttempt, ...]:
    """What became of copies for a job that never came, so that its next plan knows."""
    known = tuple(each for each in of.plan.attempts if each.reason == STAGING_FAILED) if of.plan else ()
    told = tuple(
        job.PastAttempt(
            attempt=of.attempt + 1,
            site=row.destination_site,
            reason=STAGING_FAILED,
            detail=f"{carrying.version_name(row).short} was not brought there ({row.reason}: {row.detail})",
        )
        for row in _lost(tx, of)
    )
    return tuple(dict.fromkeys((*known, *told)))


def _lost(tx: ports.Transaction, of: job.Job) -> list[transfer.Transfer]:
    rows = (tx.get(transfer.Transfer, name) for name in of.transfers)
    return [row for row in rows if row is not None and row.state in (TransferState.FAILED, TransferState.CANCELLED)]


def asked_again(tx: ports.Transaction, of: job.Job) -> job.JobRequest:
    """A stored job's request as it is planned: once a copy for it has failed for good, without copies."""
    return dataclasses.replace(of.request, no_copies=True) if past(tx, of) else of.request


# Deliveries


def deliver(
    tx: ports.Transaction, ctx: Context, of: job.Job, version: dataset.Version, *, at: str, to: str
) -> transfer.Transfer | None:
    """Brings an output from where it was written to where it is wanted; None if it lies there.

    Never refuses, because the run has succeeded: what may not be brought there is a transfer that has FAILED.
    """
    if to == at or carrying.readable_at(tx, version.name, to):
        return None
    asked = dataclasses.replace(
        wish(version, to, TransferCause.DELIVERY, who=acting(of.request)),
        source_site=at,
        jobs=(of.job,),
        priority=of.request.priority,
    )
    source, place = tx.get(site.Site, at), tx.get(site.Site, to)
    micros = carrying.price(tx, ctx, source, place, version.object_bytes) if source and place else None
    made = ask(tx, ctx, dataclasses.replace(asked, estimate_micros=micros or 0), acting(of.request), of)
    refused = carrying.forbidden(tx, made) or _denied(tx, ctx, of, version, place)
    return made if refused is None else carrying.end(tx, made, TransferState.FAILED, *refused)


def _denied(
    tx: ports.Transaction, ctx: Context, of: job.Job, version: dataset.Version, place: site.Site | None
) -> tuple[str, str] | None:
    """Reason and detail if the policy forbids an output where it is wanted; the decision is told either way."""
    stored = datasets.get_dataset(tx, version.name.dataset)
    if place is None:
        return None
    try:
        replicate(tx, ctx, acting(of.request), stored, place, of)
    except Denied as refused:
        if refused.decision is not None:
            authorization.note(tx, refused.decision)
        return refused.reason, refused.message
    return None
