"""Grants as the catalog keeps them: issued with the estimate they are judged by, closed once, renewed never.

The signature is put on elsewhere; here it is decided what a grant says. A grant to read across regions reserves its estimate in
the link's month, so that whoever is priced next counts it as sent, until the grant is settled or given up.
"""

from __future__ import annotations

import dataclasses
import hashlib
from datetime import datetime, timedelta

from federation import ports
from federation.core import dataset, grants, job, kinds, policy, ratecard, site
from federation.crypto import hpke
from federation.services import budgets, scan
from federation.services.context import Context

_ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"
#: How many leases after its end a grant's reservation is given up, if its source has said nothing until then. An agent that
#: lives settles within one or two; one that comes back later is charged all the same, it only keeps nobody from a cheap tier.
GIVE_BACK_LEASES = 20


def run_grant_id(run: str, alias: str) -> str:
    """The id of a run's grant for one input. The same for the same run and alias, so that issuing twice is issuing once."""
    number = int.from_bytes(hashlib.sha256(f"{run}\n{alias}".encode()).digest()[:17])
    return "a-" + "".join(_ALPHABET[(number >> (5 * place)) & 31] for place in range(26))


def issue(tx: ports.Transaction, record: kinds.GrantRecord) -> kinds.GrantRecord:
    """Stores a grant and tells of it; what a read may send out of its region is reserved in the link's month.

    FailedPrecondition (BUDGET_EXHAUSTED) for a person's read or a transfer beyond a hard budget; a run's plan kept within them.
    """
    reading = record.access is grants.Access.READ
    if reading and record.source_region != record.reader_region:
        source = tx.get(site.Site, record.source_site)
        account = record.account or (source.account if source else "")
        payer = record.payer if record.job else record.payer or record.namespace
        record = dataclasses.replace(
            record,
            account=account,
            payer=payer,
            reserved_bytes=record.estimate_bytes,
            reserved_micros=max(record.estimate_micros, 0),
        )
        if not record.job:  # a run's plan was made within the budgets already
            budgets.require(tx, budgets.scopes_of_grant(record), record.estimate_micros)
        _reserve(tx, record, 1)
    stored = tx.insert(record)
    tx.emit("grant.issued", stored.grant, stored)
    return stored


def close(tx: ports.Transaction, record: kinds.GrantRecord) -> kinds.GrantRecord:
    """Closes a grant: nothing opens under it any more, and its source is told to settle it. Closing twice changes nothing."""
    if record.closed:
        return record
    stored = tx.replace(dataclasses.replace(record, closed=True, close_time=tx.now))
    tx.emit("grant.closed", stored.grant, stored)
    return stored


def scope(record: kinds.GrantRecord) -> str:
    """The pricing scope that a read counts in."""
    return ratecard.scope(record.source_region, record.reader_region, record.account)


def release(tx: ports.Transaction, record: kinds.GrantRecord) -> kinds.GrantRecord:
    """Gives back what a grant has reserved, once; the changed record is not stored yet."""
    if not record.reserved_bytes:
        return record
    _reserve(tx, record, -1)
    return dataclasses.replace(record, reserved_bytes=0, reserved_micros=0)


def give_back(tx: ports.Transaction, ctx: Context) -> int:
    """Gives up the reservations of grants that ended long ago and were never settled; returns how many grants those were."""
    over = [
        record
        for record in scan.every(tx, kinds.GrantRecord, where={"closed": "1", "reserved": "1"})
        if (record.close_time or record.expire_time) + GIVE_BACK_LEASES * ctx.lease <= tx.now
    ]
    for record in over:
        stored = tx.replace(release(tx, record))
        tx.emit("grant.given_up", stored.grant, stored)
    return len(over)


def _reserve(tx: ports.Transaction, record: kinds.GrantRecord, sign: int) -> None:
    if not record.reserved_bytes:
        return
    key = scope(record)
    stored = tx.get(site.LinkReservation, key) or tx.insert(site.LinkReservation(scope=key))
    reserved_bytes = stored.reserved_bytes + sign * record.reserved_bytes
    if reserved_bytes < 0:
        raise AssertionError(f"{record.grant} gives back what {key} does not hold")
    tx.replace(dataclasses.replace(stored, reserved_bytes=reserved_bytes, grants=stored.grants + sign))
    budgets.reserve(tx, record, sign)


def close_run(tx: ports.Transaction, run: job.Run) -> None:
    """Closes what was granted to a run that has ended. One that did not succeed has saved nothing: its baseline is 0."""
    for grant in run.grants:
        record = tx.get(kinds.GrantRecord, grant)
        if record is not None:
            close(tx, record if run.state is job.JobState.SUCCEEDED else _claims_nothing(tx, record))


def _claims_nothing(tx: ports.Transaction, record: kinds.GrantRecord) -> kinds.GrantRecord:
    """The record without its baseline. Stored here where it is closed already, since `close` then stores nothing."""
    if not record.baseline_micros or record.entry:
        return record
    changed = dataclasses.replace(record, baseline_micros=0)
    if not record.closed:
        return changed
    stored = tx.replace(changed)
    tx.emit("grant.updated", stored.grant, stored)
    return stored


def close_dataset(tx: ports.Transaction, deleted: dataset.Dataset) -> None:
    """Closes everything that was granted on a dataset."""
    for record in scan.every(tx, kinds.GrantRecord, where={"closed": ""}):
        if (record.namespace, record.dataset) == (deleted.namespace, deleted.dataset):
            close(tx, record)


def close_outside(tx: ports.Transaction, bound: dataset.Dataset) -> None:
    """Closes what was granted on a dataset to sites that its residency forbids, and to people, who may ask again."""
    for record in scan.every(tx, kinds.GrantRecord, where={"closed": ""}):
        if (record.namespace, record.dataset) == (bound.namespace, bound.dataset) and record.access is grants.Access.READ:
            reader = tx.get(site.Site, record.reader_site) if record.reader_site else None
            if reader is None or not policy.residency_allows(bound.residency, reader.jurisdiction):
                close(tx, record)


def ended(record: kinds.GrantRecord | None, now: datetime) -> bool:
    """Whether a source should settle a grant: it is closed, over, or one that this catalog never issued."""
    return record is None or record.closed or record.expire_time <= now


def run_life(ctx: Context, request: job.JobRequest) -> timedelta:
    """How long a run's grants last: no shorter than the run may take."""
    seconds = max(ctx.grant_seconds, 2 * request.duration_seconds, request.duration_limit_seconds + ctx.lease_seconds)
    return timedelta(seconds=seconds)


def run_grant(
    ctx: Context, record: kinds.GrantRecord, *, run: job.Run, dataset_uid: str, source: site.Site, reader: site.Site
) -> grants.Grant:
    """What the grant of a run's input says to its source's gateway. The same for the same record, whenever it is asked for."""
    local = record.source_region == record.reader_region
    return grants.Grant(
        grant=record.grant,
        access=grants.Access.READ,
        subject=record.principal,
        site=source.site,
        dataset=f"{record.namespace}/{record.dataset}",
        dataset_uid=dataset_uid,
        version=f"{record.namespace}/{record.dataset}@{record.version}",
        alias=record.alias,
        run=run.run,
        attempt=run.attempt,
        reader_site=reader.site,
        reader_region=record.reader_region,
        reader_sealing_key=hpke.fingerprint(bytes.fromhex(reader.sealing_key)),
        reader_signing_key=reader.signing_key,
        bytes_max=0 if local else ctx.budget_bytes(record.estimate_bytes),
        issue_time=run.create_time or record.expire_time,
        expire_time=record.expire_time,
    )
