"""Live transfers: what agents are told of them and say of them, and how the catalog starts them and ends them.

What transfers are asked for and who may have them is in `services.transfers`; the single steps are in `services.carrying`.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from datetime import timedelta

from federation import ports
from federation.core import dataset, errors, job, site, transfer
from federation.core.transfer import TransferCause, TransferState
from federation.services import carrying, datasets, scan, sites, transfers
from federation.services.context import Context

#: How many leases long, and of how many transfers, a site is told to give up what ended without it.
UNTOLD_LEASES = 20
UNTOLD_MAX = 100
#: Failures of this kind are of the source: another one may do.
SPEAKS_AGAINST_SOURCE = frozenset(
    {
        *("DATA_CORRUPT", "OBJECT_CORRUPT", "OBJECT_MISSING", "MANIFEST_INVALID", "MANIFEST_MISSING"),
        *("KEY_MISSING", "KEY_INVALID", "KEYS_NOT_SIGNED", "VERSION_FOREIGN"),
    }
)


# What agents are told


def instructions(
    tx: ports.Transaction, ctx: Context, at: str
) -> tuple[transfer.StartTransfer | transfer.StopTransfer | transfer.DropReplica, ...]:
    """All that is due now at a site: transfers to run, transfers to give up, replicas to drop. Asking changes nothing."""
    running = scan.every(tx, transfer.Transfer, where={"destination_site": at, "state": str(TransferState.RUNNING)})
    dropping = scan.every(tx, dataset.Replica, where={"site": at, "state": str(dataset.ReplicaState.DELETING)})
    return (
        *(carrying.instruction(tx, ctx, each) for each in running),
        *_untold(tx, ctx, at),
        *(
            transfer.DropReplica(version=each.version.short, sealed=datasets.sealed_version(tx, each.version, at))
            for each in dropping
        ),
    )


def _untold(tx: ports.Transaction, ctx: Context, at: str) -> Iterable[transfer.StopTransfer]:
    """Transfers that ended a short while ago without a replica, as far as the site ever heard of them."""
    since = tx.now - UNTOLD_LEASES * ctx.lease
    for state in (TransferState.CANCELLED, TransferState.FAILED):
        where = {"destination_site": at, "state": str(state)}
        for row in tx.list(transfer.Transfer, where=where, limit=UNTOLD_MAX, newest_first=True):
            if row.attempt and row.end_time and row.end_time >= since:
                yield transfer.StopTransfer(transfer=row.transfer, reason=row.reason)


# What agents say


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report:
    """An agent's word on a transfer: how far an `attempt` (0: whichever runs) is, or that it FAILED.

    `retryable` says that another attempt may do better.
    """

    state: TransferState
    bytes_done: int = 0
    objects_done: int = 0
    reason: str = ""
    detail: str = ""
    retryable: bool = False
    attempt: int = 0


def report(tx: ports.Transaction, at: str, name: str, told: Report) -> transfer.Transfer:
    """An agent says how far a transfer is, or that it failed. The answer is the transfer as it now is.

    What is said of an attempt that is over changes nothing; the answer says it.
    """
    stored = _of_site(tx, at, name)
    if min(told.bytes_done, told.objects_done) < 0:
        raise errors.InvalidArgument("a transfer's progress cannot be negative", reason="SIZE_INVALID")
    if stored.state is not TransferState.RUNNING or told.attempt not in (0, stored.attempt):
        return stored
    done = dataclasses.replace(
        stored,
        bytes_done=min(told.bytes_done, stored.object_bytes),
        objects_done=min(told.objects_done, stored.objects),
    )
    if told.state is TransferState.RUNNING:
        return stored if done == stored else tx.replace(dataclasses.replace(done, update_time=tx.now))
    if told.state is TransferState.FAILED:
        # What it had brought is there, also where it does not say so with its last word.
        done = dataclasses.replace(
            done,
            bytes_done=max(done.bytes_done, stored.bytes_done),
            objects_done=max(done.objects_done, stored.objects_done),
        )
        return _failed(tx, done, told)
    raise errors.InvalidArgument(
        f"an agent cannot report that a transfer is {told.state}", reason="STATE_INVALID", help="Report RUNNING or FAILED."
    )


def _failed(tx: ports.Transaction, running: transfer.Transfer, told: Report) -> transfer.Transfer:
    """Tried again a bounded number of times, and where the source was at fault from another one, if there is one."""
    tried = (*running.failed_sources, running.source_site)
    others = {place.site for place in carrying.holders(tx, carrying.version_name(running))} - {*tried, running.destination_site}
    reason = told.reason or "TRANSFER_FAILED"
    again = told.retryable or (reason in SPEAKS_AGAINST_SOURCE and others)
    if again and len(tried) < carrying.ATTEMPTS_MAX:
        return carrying.pause(tx, running, reason, told.detail, failed=True)
    return carrying.end(tx, dataclasses.replace(running, failed_sources=tried), TransferState.FAILED, reason, told.detail)


def finish(  # noqa: PLR0917 - the agent and its word
    tx: ports.Transaction, ctx: Context, at: str, name: str, keys: tuple[dataset.WrappedKey, ...], object_bytes: int
) -> transfer.Transfer:
    """Makes what a site has stored and verified a replica, with its keys, in one transaction. Said again, it is answered alike.

    A transfer that may not be any more is CANCELLED with the answer: what was stored is to be removed. FailedPrecondition
    (TRANSFER_SUPERSEDED) for one that ended before.
    """
    stored = _of_site(tx, at, name)
    if stored.state is TransferState.SUCCEEDED:
        return stored
    if stored.state.terminal or not stored.attempt:
        raise _superseded(stored)
    refused = carrying.forbidden(tx, stored) or transfers.no_longer(tx, ctx, stored)
    if refused is not None:
        return carrying.end(tx, stored, TransferState.CANCELLED, *refused)
    version = datasets.get_version(tx, carrying.version_name(stored))
    if object_bytes != version.object_bytes:
        raise errors.InvalidArgument(
            f"{version.name.short} has {version.object_bytes} bytes of objects, and {object_bytes} were stored",
            reason="SIZE_INVALID",
            help="Fetch what is missing before the transfer is finished.",
            metadata={"version": version.name.short},
        )
    whole = stored.attempt == 1 and not any(datasets.keys_at(tx, each, at) for each in version.generations)
    if not carrying.readable_at(tx, version.name, at):
        _arrive(tx, ctx, stored, version, keys)
    if whole:
        carrying.measure(tx, stored)
    done = dataclasses.replace(stored, bytes_done=version.object_bytes, objects_done=version.files)
    return carrying.end(tx, done, TransferState.SUCCEEDED)


def _arrive(
    tx: ports.Transaction, ctx: Context, of: transfer.Transfer, version: dataset.Version, keys: tuple[dataset.WrappedKey, ...]
) -> None:
    at = of.destination_site
    uid = datasets.get_dataset(tx, version.name.dataset).uid
    datasets.take_keys(tx, version.generations, keys, dataset_uid=uid, at=at)
    until = tx.now + timedelta(seconds=of.keep_seconds) if of.keep_seconds else None
    made = dataclasses.replace(datasets.new_replica(tx, ctx, version, at), transfer=of.transfer, expire_time=until)
    tx.emit("replica.created", version.name.replica(at), tx.insert(made))


def _of_site(tx: ports.Transaction, at: str, name: str) -> transfer.Transfer:
    stored = carrying.get(tx, name)
    if stored.destination_site != at:
        raise errors.PermissionDenied(
            f"transfer {stored.transfer} goes to site {stored.destination_site}, not to {at}",
            reason="TRANSFER_FOREIGN_SITE",
            metadata={"transfer": stored.transfer, "site": at},
        )
    return stored


def _superseded(stored: transfer.Transfer) -> errors.FailedPrecondition:
    why = f"it {stored.state} with {stored.reason}" if stored.reason else f"it is {stored.state}"
    return errors.FailedPrecondition(
        f"transfer {stored.transfer} is not under way any more: {why}",
        reason="TRANSFER_SUPERSEDED",
        help="Give it up and remove what it has left.",
        metadata={"transfer": stored.transfer, "state": str(stored.state)},
    )


# What the catalog sees to


def advance(tx: ports.Transaction, ctx: Context) -> int:
    """Ends what may not be or is not wanted, sets back what a lost site had, starts what may start; the number of changes."""
    rows = list(scan.every(tx, transfer.Transfer, where={"live": "1"}))
    left = [each for each in rows if not _looked_after(tx, ctx, each)]
    return len(rows) - len(left) + _started(tx, ctx, left)


def _looked_after(tx: ports.Transaction, ctx: Context, each: transfer.Transfer) -> bool:
    """Whether something outside of a live transfer has ended it or set it back: the policy, too, as it is now."""
    refused = carrying.forbidden(tx, each) or _unwanted(tx, each) or transfers.no_longer(tx, ctx, each)
    if refused is not None:
        carrying.end(tx, each, TransferState.CANCELLED, *refused)
        return True
    if _relay_broke(tx, each):
        detail = f"transfer {each.after} did not bring it to {each.source_site}"
        carrying.end(tx, each, TransferState.FAILED, "RELAY_FAILED", detail)
        return True
    if carrying.readable_at(tx, carrying.version_name(each), each.destination_site):
        carrying.end(tx, each, TransferState.SUCCEEDED, "TRANSFER_NOT_NEEDED", "it is there already")
        return True
    place = sites.get_site(tx, each.destination_site)
    if each.state is TransferState.RUNNING and place.state is not site.SiteState.READY:
        carrying.pause(tx, each, "SITE_LOST", f"site {place.site} does not answer", failed=False)
        return True
    return False


def _unwanted(tx: ports.Transaction, each: transfer.Transfer) -> tuple[str, str] | None:
    """A copy for jobs of which none waits any more: they were cancelled, or run elsewhere by now."""
    if each.cause is not TransferCause.JOB:
        return None
    rows = [tx.get(job.Job, name) for name in each.jobs]
    if any(row is not None and row.state is job.JobState.PENDING for row in rows):
        return None
    return "NOT_WANTED", f"no job waits for it: {', '.join(each.jobs)}"


def _relay_broke(tx: ports.Transaction, each: transfer.Transfer) -> bool:
    before = tx.get(transfer.Transfer, each.after) if each.after else None
    return before is not None and before.state.terminal and before.state is not TransferState.SUCCEEDED and not each.attempt


def _started(tx: ports.Transaction, ctx: Context, rows: list[transfer.Transfer]) -> int:
    """Starts what waits, the most urgent first and then the oldest, as many at each site as may run there."""
    running = [each.destination_site for each in rows if each.state is TransferState.RUNNING]
    waiting = [each for each in rows if each.state is TransferState.PENDING and _may_start(tx, each)]
    changed = 0
    for each in sorted(waiting, key=lambda row: (-row.priority, row.transfer)):
        if running.count(each.destination_site) >= ctx.transfers_per_site:
            continue
        try:
            carrying.start(tx, ctx, each)
        except errors.FederationError as refused:
            # It waits on, and says why: its source may come back, its price may become known.
            changed += carrying.say(tx, each, refused.reason, refused.message)
        else:
            running.append(each.destination_site)
            changed += 1
    return changed


def _may_start(tx: ports.Transaction, each: transfer.Transfer) -> bool:
    due = carrying.due_time(each)
    if due is not None and due > tx.now:
        return False
    before = tx.get(transfer.Transfer, each.after) if each.after else None
    if before is not None and not before.state.terminal:
        return False
    # What is being dropped there must be gone first, of other versions too: they may share objects with this one.
    where = {"site": each.destination_site, "state": str(dataset.ReplicaState.DELETING)}
    gone = not tx.list(dataset.Replica, parent=each.dataset, where=where, limit=1)
    return gone and sites.get_site(tx, each.destination_site).state is site.SiteState.READY
