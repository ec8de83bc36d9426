"""The egress ledger: each grant is settled once, at the month's marginal price; what was not avoided is taken back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from federation import ports
from federation.core import errors, grants, job, kinds, metering, site
from federation.services import access, budgets, pricing, profiles, quotas
from federation.services.context import Context

#: Refusals that stay the same: a catalog restored from before a grant was issued has nothing to charge it to.
FINAL = (errors.NotFound, errors.PermissionDenied, errors.FailedPrecondition, errors.InvalidArgument)


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


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """What became of one settlement among many: its entry, or why it was refused."""

    grant: str
    entry: metering.LedgerEntry | None = None
    refusal: errors.FederationError | None = None


def settle_all(tx: ports.Transaction, ctx: Context, at: str, usages: Iterable[metering.Usage]) -> tuple[Outcome, ...]:
    """Settles many grants; one that is refused, for good, keeps none of the others from being settled."""
    outcomes = []
    for usage in usages:
        try:
            outcomes.append(Outcome(grant=usage.grant, entry=settle(tx, ctx, at, usage)))
        except FINAL as error:  # raised before anything of this grant was changed
            outcomes.append(Outcome(grant=usage.grant, refusal=error))
    return tuple(outcomes)


def note_reads(
    tx: ports.Transaction, at: str, run: str, usages: Mapping[str, tuple[metering.Traffic, ...]]
) -> tuple[metering.UsageRecord, ...]:
    """Keeps what the processes of a run, at its site, say to have received, by grant. The first word on each hour counts.

    PermissionDenied (GRANT_FOREIGN_SITE) for a grant that is not that run's, or a run that is not that site's.
    """
    noted = []
    for grant, traffic in usages.items():
        record = tx.get(kinds.GrantRecord, grant)
        if record is None:
            continue  # a catalog restored from before it was issued
        if record.run != run or record.reader_site != at:
            raise errors.PermissionDenied(
                f"grant {grant} is not read by {run} at site {at}",
                reason="GRANT_FOREIGN_SITE",
                metadata={"grant": grant, "site": at},
            )
        noted.extend(_note(tx, record, metering.Counter.READER, traffic))
    return tuple(noted)


def _check(at: str, usage: metering.Usage) -> None:
    if usage.source_site != at:
        raise errors.InvalidArgument(f"site {at} cannot tell what left site {usage.source_site}", reason="GRANT_FOREIGN_SITE")
    if min(usage.sent_bytes, usage.unsettled_bytes, usage.requests) < 0:
        raise errors.InvalidArgument("what left under a grant cannot be negative", reason="SIZE_INVALID")
    hours = sum(counted.bytes + counted.aborted_bytes for counted in usage.traffic)
    if usage.traffic and hours != usage.sent_bytes:
        raise errors.InvalidArgument(
            f"{usage.sent_bytes} bytes left under grant {usage.grant}, but its hours have {hours}",
            reason="TRAFFIC_INVALID",
            help="Tell each byte in one hour.",
            metadata={"grant": usage.grant},
        )


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
    known = tx.get(site.LinkVolume, f"{month}/{scope}")
    counted = known or site.LinkVolume(scope=scope, month=month)
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
    changed = dataclasses.replace(counted, sent_bytes=sent_bytes, requests=requests)
    tx.replace(changed) if known else tx.insert(changed)
    access.close(tx, tx.replace(dataclasses.replace(access.release(tx, record), entry=stored.entry)))
    _note(tx, record, metering.Counter.GATEWAY, usage.traffic)
    profiles.add_read(tx, stored)
    return stored


def post(tx: ports.Transaction, entry: metering.LedgerEntry) -> metering.LedgerEntry:
    """Appends an entry: it is told, and counted in quotas and budgets."""
    stored = tx.insert(entry)
    tx.emit("ledger.entry", f"ledgerEntries/{stored.entry}", stored)
    quotas.charge(tx, stored)
    budgets.charge(tx, stored)
    return stored


def _note(
    tx: ports.Transaction, record: kinds.GrantRecord, counter: metering.Counter, traffic: Iterable[metering.Traffic]
) -> list[metering.UsageRecord]:
    """Keeps what one side counted, hour by hour; what is known of an hour stays."""
    noted = []
    for counted in metering.by_hour(traffic):
        made = metering.usage_record(record, counter, counted)
        if tx.get(metering.UsageRecord, made.usage) is None:
            tx.emit("usage.counted", f"usage/{made.usage}", tx.insert(made))
            noted.append(made)
    return noted


def take_back_avoided(tx: ports.Transaction, run: job.Run) -> None:
    """Corrects the entries of a run that was settled before it ended without success: what they claim was avoided was not."""
    for grant in run.grants:
        record = tx.get(kinds.GrantRecord, grant)
        entry = tx.get(metering.LedgerEntry, record.entry) if record and record.entry else None
        correction = metering.correction(entry, time=tx.now) if entry else None
        if correction and correction.avoided_micros and tx.get(metering.LedgerEntry, correction.entry) is None:
            post(tx, correction)
