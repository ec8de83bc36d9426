"""From measured bytes to ledger entries. Pure: what a run moved is priced here, and nowhere else."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING

from federation.core import errors, ratecard

if TYPE_CHECKING:
    from federation.core.kinds import GrantRecord  # kinds lists this module's values too


class Counter(StrEnum):
    """Who counted. What the GATEWAY sent is charged; what the READER says to have received checks it, and is never charged."""

    GATEWAY = "GATEWAY"
    READER = "READER"


#: How far the clock of one who asks may be from the gateway's and still say in which hour its answer counts.
ASK_SECONDS_MAX = 300


@dataclass(frozen=True, kw_only=True)
class Traffic:
    """What one side counted under a grant within one hour, whose beginning `hour_time` is (UTC).

    `bytes` are those of answers that went, or came, whole. An answer that ended early has its `aborted_bytes` apart: some of
    them left and never arrived. An answer counts in the hour in which it was asked for. A reader also tells how often it asked
    again because the gateway had gone away (`retries`), what its memory gave without any request (`cached_bytes`), and what it
    had asked for in answers that ended early and did not get (`unreceived_bytes`): the gateway may have sent that too.
    """

    hour_time: datetime
    bytes: int = 0
    aborted_bytes: int = 0
    responses: int = 0
    aborted_responses: int = 0
    retries: int = 0
    cached_bytes: int = 0
    unreceived_bytes: int = 0

    def plus(self, other: Traffic) -> Traffic:
        """Both together, in this one's hour."""
        return Traffic(
            hour_time=self.hour_time, **{name: getattr(self, name) + getattr(other, name) for name in TRAFFIC_COUNTS}
        )


#: The counters of a `Traffic`.
TRAFFIC_COUNTS = tuple(field.name for field in dataclasses.fields(Traffic) if field.name != "hour_time")


def hour(time: datetime) -> datetime:
    """The beginning of a moment's hour, UTC."""
    return time.astimezone(UTC).replace(minute=0, second=0, microsecond=0)


def hour_asked(ask_seconds: int, now: datetime) -> datetime:
    """The hour in which an answer counts: that of `ask_seconds` (since 1970), as its asker told it, if both clocks agree.

    So both sides count an answer in the same hour, also at the turn of one. A clock that is more than `ASK_SECONDS_MAX` off, or
    0 for not told, gives way to `now`.
    """
    asked = now if abs(ask_seconds - now.timestamp()) > ASK_SECONDS_MAX else datetime.fromtimestamp(ask_seconds, UTC)
    return hour(asked)


def by_hour(traffic: Iterable[Traffic]) -> tuple[Traffic, ...]:
    """Summed for each hour, in order."""
    sums: dict[datetime, Traffic] = {}
    for counted in traffic:
        sums[counted.hour_time] = sums[counted.hour_time].plus(counted) if counted.hour_time in sums else counted
    return tuple(sums[hour] for hour in sorted(sums))


@dataclass(frozen=True, kw_only=True)
class UsageRecord:
    """What one side counted under one grant within one hour, as it is kept and carried to the record. Never changed."""

    grant: str
    hour_time: datetime
    counter: Counter
    namespace: str
    dataset: str
    version: int
    alias: str
    job: str
    run: str
    transfer: str
    source_site: str
    source_region: str
    destination_site: str
    destination_region: str
    bytes: int
    aborted_bytes: int
    responses: int
    aborted_responses: int
    retries: int
    cached_bytes: int
    unreceived_bytes: int = 0

    @property
    def usage(self) -> str:
        """Its id: grant, hour and counter."""
        return usage_id(self.grant, self.hour_time, self.counter)


def usage_id(grant: str, hour: datetime, counter: Counter) -> str:
    """`g-.../2026-11-28T02/GATEWAY`."""
    return f"{grant}/{hour.astimezone(UTC):%Y-%m-%dT%H}/{counter}"


def usage_record(grant: GrantRecord, counter: Counter, traffic: Traffic) -> UsageRecord:
    """What was counted, with all that the grant says of it."""
    return UsageRecord(
        grant=grant.grant,
        hour_time=traffic.hour_time,
        counter=counter,
        namespace=grant.namespace,
        dataset=grant.dataset,
        version=grant.version,
        alias=grant.alias,
        job=grant.job,
        run=grant.run,
        transfer=grant.transfer,
        source_site=grant.source_site,
        source_region=grant.source_region,
        destination_site=grant.reader_site,
        destination_region=grant.reader_region,
        **{name: getattr(traffic, name) for name in TRAFFIC_COUNTS},
    )


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """What both sides counted of one run's reads over one pair of regions within one hour.

    `agrees`: the answers that went whole are those that came whole, to the byte, and beside them at most those that the reader
    broke off: such an answer may have left whole before the gateway heard of it, so all that was asked for in them, the
    `broken_off_bytes`, may have been sent. `heard` is whether any reader has reported: people's downloads and transfers have
    none.
    """

    run: str
    source_region: str
    destination_region: str
    hour_time: datetime
    sent_bytes: int
    received_bytes: int
    aborted_bytes: int
    broken_off_bytes: int
    retries: int
    cached_bytes: int
    heard: bool

    @property
    def agrees(self) -> bool:
        return self.received_bytes <= self.sent_bytes <= self.received_bytes + self.broken_off_bytes


def agreements(records: Iterable[UsageRecord]) -> tuple[Agreement, ...]:
    """Both sides of each run, pair of regions and hour, in that order. `aborted_bytes` are the gateway's: they are charged."""
    groups: dict[tuple[str, str, str, datetime], dict[Counter, list[UsageRecord]]] = {}
    for record in records:
        key = (record.run, record.source_region, record.destination_region, record.hour_time)
        groups.setdefault(key, {counter: [] for counter in Counter})[record.counter].append(record)
    return tuple(
        Agreement(
            run=run,
            source_region=source,
            destination_region=destination,
            hour_time=hour,
            sent_bytes=sum(record.bytes for record in sides[Counter.GATEWAY]),
            received_bytes=sum(record.bytes for record in sides[Counter.READER]),
            aborted_bytes=sum(record.aborted_bytes for record in sides[Counter.GATEWAY]),
            broken_off_bytes=sum(record.aborted_bytes + record.unreceived_bytes for record in sides[Counter.READER]),
            retries=sum(record.retries for record in sides[Counter.READER]),
            cached_bytes=sum(record.cached_bytes for record in sides[Counter.READER]),
            heard=bool(sides[Counter.READER]),
        )
        for (run, source, destination, hour), sides in sorted(groups.items())
    )


@dataclass(frozen=True, kw_only=True)
class Usage:
    """What left a source gateway under one grant, once it is settled.

    `sent_bytes` were counted; `unsettled_bytes` were granted in quanta but never accounted for, because a process died: they
    are charged too, and the entry is marked. `traffic` is `sent_bytes` by hour: whole and aborted answers together are it.
    """

    grant: str
    source_site: str
    sent_bytes: int
    unsettled_bytes: int = 0
    requests: int = 0
    settle_time: datetime
    traffic: tuple[Traffic, ...] = ()

    @property
    def charged_bytes(self) -> int:
        return self.sent_bytes + self.unsettled_bytes


@dataclass(frozen=True, kw_only=True)
class LedgerEntry:
    """One line of the egress ledger: append-only, a correction is a new entry.

    One entry for each settled grant, the zero ones too: bytes read at no charge inside a region are the proof of what was
    saved. `charge_micros` is F(month to date + bytes) - F(month to date), each F rounded, so that many small reads cost what
    one big one does; `request_micros` of it are fees for requests. `rate_card` is the number of the rate card that priced it, 0
    for the one that no import made. `estimate_micros` and `avoided_micros` keep the baseline that was frozen when the job was
    placed.

    `namespace` is the data's; `payer` is the namespace that is charged: the job's, or the data's where a person or a transfer
    reads. `label` is the job's, `account` the billing account that the source sends from. A correction from a provider's bill
    names the `bill`, the period that its `allocation` is of, and that it bears `allocated_bytes` of `allocated_of_bytes`.
    """

    entry: str
    grant: str
    time: datetime
    month: str
    namespace: str
    dataset: str
    version: int
    alias: str
    job: str
    run: str
    attempt: int
    principal: str
    source_site: str
    source_region: str
    destination_site: str
    destination_region: str
    bytes: int
    unsettled_bytes: int
    requests: int
    charge_micros: int
    estimate_bytes: int
    estimate_micros: int
    avoided_micros: int | None
    month_to_date_bytes: int
    price_source: str
    corrects: str = ""
    transfer: str = ""
    rate_card: int = 0
    request_micros: int = 0
    label: str = ""
    payer: str = ""
    account: str = ""
    bill: str = ""
    allocation: str = ""
    allocated_bytes: int = 0
    allocated_of_bytes: int = 0


def month(time: datetime) -> str:
    """The month, in UTC, whose tiers a moment falls into: `2026-11`."""
    return f"{time.astimezone(UTC):%Y-%m}"


def entry(
    grant: GrantRecord,
    usage: Usage,
    *,
    rates: ratecard.RateCard,
    month_to_date_bytes: int,
    entry_id: str,
    time: datetime,
    month_to_date_requests: int = 0,
) -> LedgerEntry:
    """The ledger entry that settles a read grant.

    `month_to_date_bytes` and `month_to_date_requests` are what the grant's `ratecard.scope` had carried in `month(time)`
    before. FailedPrecondition (PRICE_UNKNOWN) where the rate card has no price for it: a plan refuses such a read, so the card
    was changed since then. The entry can be made once the price is known; no charge is invented.
    """
    before = (month_to_date_bytes, usage.charged_bytes, usage.requests, month_to_date_requests)
    price = rates.price(grant.source_region, grant.reader_region, *before)
    if price is None:
        raise errors.FailedPrecondition(
            f"the egress price of {grant.source_region} to {grant.reader_region} is unknown for {usage.charged_bytes} bytes"
            f" after {month_to_date_bytes} this month, so grant {grant.grant} cannot be settled",
            reason="PRICE_UNKNOWN",
            help="Add the price of this link to the rate card; the grant is then settled.",
            metadata={"source_region": grant.source_region, "destination_region": grant.reader_region, "grant": grant.grant},
        )
    return LedgerEntry(
        entry=entry_id,
        grant=grant.grant,
        time=time,
        month=month(time),
        namespace=grant.namespace,
        dataset=grant.dataset,
        version=grant.version,
        alias=grant.alias,
        job=grant.job,
        run=grant.run,
        attempt=grant.attempt,
        principal=grant.principal,
        source_site=grant.source_site,
        source_region=grant.source_region,
        destination_site=grant.reader_site,
        destination_region=grant.reader_region,
        bytes=usage.charged_bytes,
        unsettled_bytes=usage.unsettled_bytes,
        requests=usage.requests,
        charge_micros=price.micros,
        estimate_bytes=grant.estimate_bytes,
        estimate_micros=grant.estimate_micros,
        avoided_micros=None if grant.baseline_micros is None else grant.baseline_micros - price.micros,
        month_to_date_bytes=month_to_date_bytes,
        price_source=price.source,
        transfer=grant.transfer,
        rate_card=rates.number,
        request_micros=price.request_micros,
        label=grant.label,
        payer=grant.payer,
        account=grant.account,
    )


def correction(of: LedgerEntry, *, time: datetime) -> LedgerEntry:
    """The entry that takes back what an entry claims to have avoided: its bytes and its charge stay, the baseline goes.

    A run that reads and then does not succeed has saved nothing. Its name follows from the corrected one's, so that correcting
    twice is correcting once. It counts in the month of what it corrects, like a credit note.
    """
    return dataclasses.replace(
        of,
        entry=f"{of.entry}-c",
        corrects=of.entry,
        time=time,
        bytes=0,
        unsettled_bytes=0,
        requests=0,
        charge_micros=0,
        request_micros=0,
        estimate_bytes=0,
        estimate_micros=0,
        avoided_micros=None if of.avoided_micros is None else -(of.avoided_micros + of.charge_micros),
    )


@dataclass(frozen=True, kw_only=True)
class CostSummary:
    """A sum of ledger entries. `bytes` are `local_bytes` (inside a region) and `egress_bytes` together.

    `charge_micros` has the corrections from bills in it, which `correction_micros` tells apart. Entries whose avoided cost is
    unknown add nothing to `avoided_micros`. `keys` are the values that were summed by, `key` the same as one text.
    """

    key: str
    keys: tuple[str, ...] = ()
    entries: int = 0
    bytes: int = 0
    local_bytes: int = 0
    egress_bytes: int = 0
    unsettled_bytes: int = 0
    requests: int = 0
    charge_micros: int = 0
    correction_micros: int = 0
    estimate_micros: int = 0
    avoided_micros: int = 0


#: What ledger entries can be summed by. `site` is the one that the bytes left.
SUMMARY_KEYS: dict[str, Callable[[LedgerEntry], str]] = {
    "job": lambda line: line.job,
    "dataset": lambda line: f"{line.namespace}/{line.dataset}",
    "namespace": lambda line: line.namespace,
    "month": lambda line: line.month,
    "link": lambda line: f"{line.source_region}~{line.destination_region}",
    "principal": lambda line: line.principal,
    "payer": lambda line: line.payer,
    "site": lambda line: line.source_site,
    "label": lambda line: line.label,
    "day": lambda line: f"{line.time.astimezone(UTC):%Y-%m-%d}",
}


def summary_keys(by: str) -> tuple[str, ...]:
    """The keys that `namespace,principal` names; InvalidArgument (SUMMARY_KEY_UNKNOWN) for any not in `SUMMARY_KEYS`."""
    names = tuple(name.strip() for name in by.split(","))
    for name in names:
        if name not in SUMMARY_KEYS:
            raise errors.InvalidArgument(
                f"costs cannot be summed by {name!r}",
                reason="SUMMARY_KEY_UNKNOWN",
                help=f"Use one of {', '.join(SUMMARY_KEYS)}, or several with commas between them.",
                violations={"by": f"must be of {', '.join(SUMMARY_KEYS)}"},
            )
    return names


def summarize(entries: Iterable[LedgerEntry], by: str) -> tuple[CostSummary, ...]:
    """One sum for each key, in key order. What no job read, such as a person's download, has the empty job.

    InvalidArgument (SUMMARY_KEY_UNKNOWN) for a key that is not in `SUMMARY_KEYS`.
    """
    names = summary_keys(by)
    sums: dict[tuple[str, ...], CostSummary] = {}
    for line in entries:
        keys = tuple(SUMMARY_KEYS[name](line) for name in names)
        found = of_entry(line, keys)
        sums[keys] = added(sums[keys], found) if keys in sums else found
    return tuple(sums[keys] for keys in sorted(sums))


def of_entry(line: LedgerEntry, keys: tuple[str, ...] = ()) -> CostSummary:
    """The sum of one entry."""
    local = line.bytes if line.source_region == line.destination_region else 0
    return CostSummary(
        key=key_text(keys),
        keys=keys,
        entries=1,
        bytes=line.bytes,
        local_bytes=local,
        egress_bytes=line.bytes - local,
        unsettled_bytes=line.unsettled_bytes,
        requests=line.requests,
        charge_micros=line.charge_micros,
        correction_micros=line.charge_micros if line.bill else 0,
        estimate_micros=line.estimate_micros,
        avoided_micros=line.avoided_micros or 0,
    )


def key_text(keys: tuple[str, ...]) -> str:
    """Several keys as one text; one key as it is."""
    return ", ".join(keys)


#: The figures of a summary, all of which add up.
FIGURES = tuple(field.name for field in dataclasses.fields(CostSummary) if field.name not in ("key", "keys"))


def added(one: CostSummary, other: CostSummary) -> CostSummary:
    """Both together, under the key of the first."""
    figures = {name: getattr(one, name) + getattr(other, name) for name in FIGURES}
    return CostSummary(key=one.key, keys=one.keys, **figures)


def merged(sums: Iterable[CostSummary]) -> tuple[CostSummary, ...]:
    """Sums of parts of the ledger put together, one for each key, in key order."""
    found: dict[tuple[str, ...], CostSummary] = {}
    for row in sums:
        found[row.keys] = added(found[row.keys], row) if row.keys in found else row
    return tuple(found[keys] for keys in sorted(found))


def together(sums: Iterable[CostSummary], key: str = "") -> CostSummary:
    """The sum of all sums, under a key."""
    found = CostSummary(key=key)
    for row in sums:
        found = added(found, row)
    return found


def total(entries: Iterable[LedgerEntry], key: str = "") -> CostSummary:
    """The sum of all entries, under a key."""
    return together((of_entry(line) for line in entries), key)
