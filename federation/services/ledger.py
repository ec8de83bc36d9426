"""The egress ledger: each grant is settled once, at the month's marginal price; what was not avoided is taken back."""

from __future__ import annotations

import dataclasses

from federation import ports
from federation.core import errors, grants, job, kinds, metering, site
from federation.services import access, budgets, pricing, profiles, quotas
from federation.services.context import Context


def settle(tx: ports.Transaction, ctx: Context, at: str, usage: metering.Usage) -> metering.LedgerEntry:
    """Turns what left under a grant into its one ledger entry; settled again, the first entry is answered.

    The source's word is final, so the grant is closed with it. A grant that this catalog never issued, or that reads nothing,
    has no entry: the answer is an entry without a name that is not stored, so that its agent can let go of it.
    """
    _check(at, usage)
    record = tx.get(kinds.GrantRecord, usage.grant)
    if record is None or record.access is not grants.Access.READ:
        return _nothing(tx, usage)
    if record.source_site != at:
        raise errors.PermissionDenied(
            f"grant {record.grant} is served by site {record.source_site}, not by {at}",
            reason="GRANT_FOREIGN_SITE",
            metadata={"grant": record.grant, "site": record.source_site},
        )
    settled = tx.get(metering.LedgerEntry, record.entry) if record.entry else None
    return settled or _enter(tx, ctx, record, usage)


def _check(at: str, usage: metering.Usage) -> None:
    if usage.source_site != at:
        raise errors.InvalidArgument(f"site {at} cannot tell what left site {usage.source_site}", reason="GRANT_FOREIGN_SITE")
    if min(usage.sent_bytes, usage.unsettled_bytes, usage.requests) < 0:
        raise errors.InvalidArgument("what left under a grant cannot be negative", reason="SIZE_INVALID")


def _nothing(tx: ports.Transaction, usage: metering.Usage) -> metering.LedgerEntry:
    return metering.LedgerEntry(
        entry="",
        grant=usage.grant,
        time=tx.now,
        month=metering.month(tx.now),
        namespace="",
        dataset="",
        version=0,
        alias="",
        job="",
        run="",
        attempt=0,
        principal="",
        source_site=usage.source_site,
        source_region="",
        destination_site="",
        destination_region="",
        bytes=usage.charged_bytes,
        unsettled_bytes=usage.unsettled_bytes,
        requests=usage.requests,
        charge_micros=0,
        estimate_bytes=0,
        estimate_micros=0,
        avoided_micros=None,
        month_to_date_bytes=0,
        price_source="",
    )


def _enter(tx: ports.Transaction, ctx: Context, record: kinds.GrantRecord, usage: metering.Usage) -> metering.LedgerEntry:
    """The entry, the month's counter, the link's reservation and the grant change together, or not at all."""
    month = metering.month(tx.now)
    scope = access.scope(record)
    counted = tx.get(site.LinkVolume, f"{month}/{scope}") or tx.insert(site.LinkVolume(scope=scope, month=month))
    entry = metering.entry(
        record,
        usage,
        rates=pricing.rates(tx, ctx),
        month_to_date_bytes=counted.sent_bytes,
        month_to_date_requests=counted.requests,
        entry_id=ctx.ids.new("l"),
        time=tx.now,
    )
    stored = post(tx, entry)
    sent_bytes, requests = counted.sent_bytes + usage.charged_bytes, counted.requests + usage.requests
    tx.replace(dataclasses.replace(counted, sent_bytes=sent_bytes, requests=requests))
    access.close(tx, tx.replace(dataclasses.replace(access.release(tx, record), entry=stored.entry)))
    profiles.add_read(tx, stored)
    return stored


def post(tx: ports.Transaction, entry: metering.LedgerEntry) -> metering.LedgerEntry:
    """Appends an entry: it is told, and counted in quotas and budgets."""
    stored = tx.insert(entry)
    tx.emit("ledger.entry", f"ledgerEntries/{stored.entry}", stored)
    quotas.charge(tx, stored)
    budgets.charge(tx, stored)
    return stored


def take_back_avoided(tx: ports.Transaction, run: job.Run) -> None:
    """Corrects the entries of a run that was settled before it ended without success: what they claim was avoided was not."""
    for grant in run.grants:
        record = tx.get(kinds.GrantRecord, grant)
        entry = tx.get(metering.LedgerEntry, record.entry) if record and record.entry else None
        correction = metering.correction(entry, time=tx.now) if entry else None
        if correction and correction.avoided_micros and tx.get(metering.LedgerEntry, correction.entry) is None:
            post(tx, correction)
