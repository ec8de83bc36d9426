"""A provider's bill: its lines, its versions, and how what it charges for a link is split over the reads that caused it.

A provider bills a link as a whole; the ledger knows who read. So each amount of the bill is divided among the ledger's entries
of that link and period by their bytes, to the micro-dollar, and what no entry explains is named. Money of a bill is in
pico-dollars (10^-12): providers write more decimals than a micro-dollar has, and only sums are rounded.
"""

from __future__ import annotations

import calendar
import dataclasses
import functools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

from federation.core import errors, metering, units

PICOS = 10**12
#: Pico-dollars in a micro-dollar.
_PICOS_PER_MICRO = 10**6
HOUR_SECONDS = 3600


class Period(StrEnum):
    """For how long a time the bytes of a link are put together before its bill is split by them."""

    HOUR = "HOUR"
    DAY = "DAY"
    MONTH = "MONTH"


class LineKind(StrEnum):
    """What a line of a bill is: for bytes, what is taken off again, or a tax, which no bytes explain."""

    USAGE = "USAGE"
    CREDIT = "CREDIT"
    REFUND = "REFUND"
    DISCOUNT = "DISCOUNT"
    TAX = "TAX"


@dataclass(frozen=True, kw_only=True)
class BillLine:
    """One line that a provider bills for moving data: from where to where, when, how many bytes, for how much.

    `bill` and `version` say which delivery it came with, `line` counts the lines of that delivery from 1. A region that the
    provider does not tell, or in a code that nobody knows, is empty; `usage_type` has the provider's own word.
    """

    bill: str
    version: int
    line: int
    account: str
    usage_type: str
    kind: LineKind
    source_region: str
    destination_region: str
    resource: str
    start_time: datetime
    end_time: datetime
    usage_bytes: int
    cost_picos: int


@dataclass(frozen=True, kw_only=True)
class Bill:
    """A provider's bill of one payer and month, as it was last delivered whole: `version` is the number of that delivery.

    `deliveries` counts those that were begun, so that one that broke off half way shares its number with none.

    `lines` of it are about moving data, and `cost_micros` is their sum; `skipped_lines` are about anything else.
    `unknown_lines` name no link that the federation knows; `regional_lines` never left their region, and the ledger does not
    meter zones: neither is split over runs. It covers the time from the month's start to `covered_time`: a month that is not
    over is billed as far as it has come.
    """

    bill: str
    provider: str
    account: str
    month: str
    version: int = 0
    deliveries: int = 0
    digest: str = ""
    lines: int = 0
    skipped_lines: int = 0
    unknown_lines: int = 0
    regional_lines: int = 0
    cost_micros: int = 0
    unknown_micros: int = 0
    regional_micros: int = 0
    tax_micros: int = 0
    usage_bytes: int = 0
    covered_time: datetime | None = None
    source: str = ""
    principal: str = ""
    uid: str = ""
    etag: str = ""
    create_time: datetime | None = None
    update_time: datetime | None = None


@dataclass(frozen=True, kw_only=True)
class LinkCharge:
    """What one version of a bill charges for one link: an index of its lines.

    `cells` are (start, end, bytes, pico-dollars), times in seconds since 1970, one for each span that lines have, in order.
    """

    bill: str
    version: int
    account: str
    source_region: str
    destination_region: str
    cells: tuple[tuple[int, int, int, int], ...]

    @property
    def link(self) -> str:
        return f"{self.source_region}~{self.destination_region}"


@dataclass(frozen=True, kw_only=True)
class Read:
    """What reconciling needs of a ledger entry: when, how many bytes, its charge, and what corrections have made of it."""

    entry: str
    seconds: int
    bytes: int
    charge_micros: int
    corrected_micros: int = 0
    corrections: int = 0


@dataclass(frozen=True, kw_only=True)
class Share:
    """What one entry bears of a bill: `bytes` of the `of_bytes` that the link carried in the period."""

    entry: str
    period: str
    bytes: int
    of_bytes: int
    micros: int


@dataclass(frozen=True, kw_only=True)
class Split:
    """A link's bill, split: the shares, and what no entry explains. `total_micros` is the sum of all, to the micro."""

    shares: tuple[Share, ...]
    unallocated_micros: int
    unallocated_bytes: int
    total_micros: int


@dataclass(frozen=True, kw_only=True)
class LinkReconciliation:
    """One link of a bill beside the ledger.

    `billed_micros` is `allocated_micros` to reads and `unallocated_micros` together. `charged_micros` is what the ledger had
    charged from the rate card for the bytes that the bill covers; `correction_micros` is what is posted now, `entries` how many
    entries for it. The errors are (ledger - bill) / bill of what is allocated: money of the rate card, bytes of the meter
    against the whole link; None where the bill has nothing to compare with. A link that the bill does not mention is not
    `billed`: nothing of it is corrected.
    """

    account: str
    source_region: str
    destination_region: str
    billed: bool = True
    billed_bytes: int = 0
    metered_bytes: int = 0
    billed_micros: int = 0
    charged_micros: int = 0
    allocated_micros: int = 0
    unallocated_micros: int = 0
    correction_micros: int = 0
    entries: int = 0
    bytes_error: float | None = None
    cost_error: float | None = None


@dataclass(frozen=True, kw_only=True)
class Reconciliation:
    """A month's bills of one provider beside the ledger, link by link, and what was posted."""

    month: str
    provider: str
    period: Period
    bills: tuple[str, ...]
    links: tuple[LinkReconciliation, ...]
    billed_micros: int = 0
    charged_micros: int = 0
    allocated_micros: int = 0
    unallocated_micros: int = 0
    correction_micros: int = 0
    entries: int = 0
    etag: str = ""
    create_time: datetime | None = None


@functools.lru_cache(maxsize=1024)
def month_start(month: str) -> datetime:
    """The first moment of a month, UTC; InvalidArgument (MONTH_INVALID) for what is none."""
    try:
        found = datetime.strptime(month, "%Y-%m").replace(tzinfo=UTC)
    except ValueError:
        found = None
    if found is None or f"{found:%Y-%m}" != month:
        raise errors.InvalidArgument(
            f"{month!r} is not a month",
            reason="MONTH_INVALID",
            help="Write it like 2026-11.",
            violations={"month": "must be like 2026-11"},
        )
    return found


@functools.lru_cache(maxsize=1024)
def month_end(month: str) -> datetime:
    """The first moment after a month, UTC."""
    start = month_start(month)
    return start + timedelta(days=calendar.monthrange(start.year, start.month)[1])


def bill_id(provider: str, account: str, month: str) -> str:
    """`aws-111122223333-2026-11`."""
    return f"{provider}-{account}-{month}"


def micros(picos: int) -> int:
    """Pico-dollars to whole micro-dollars, half to even."""
    return units.divide_half_even(picos, _PICOS_PER_MICRO)


def period_of(seconds: int, period: Period) -> str:
    """The period that a moment falls into, as it is written: `2026-11`, `2026-11-03`, `2026-11-03T04`."""
    time = datetime.fromtimestamp(seconds, UTC)
    return f"{time:%Y-%m}" if period is Period.MONTH else f"{time:%Y-%m-%d}" if period is Period.DAY else f"{time:%Y-%m-%dT%H}"


def split(cells: Iterable[tuple[int, int, int, int]], reads: Sequence[Read], period: Period) -> Split:
    """Divides what a link was billed among its reads, by their bytes.

    Spans of a bill that are no longer than `period` are put together by it; longer ones, such as a month's credit, stay as they
    are and are split over all that was read meanwhile. In a period a read bears `its bytes / the link's bytes`, where the
    link's bytes are those of the bill, or those that the ledger has metered if these are more; the rest nobody explains.
    Rounded by largest remainders, so that the parts are the whole.
    """
    groups = _grouped(cells, period)
    usage = {span: used for span, (used, _) in groups.items()}
    shares: dict[str, list[Share]] = {}
    unallocated_micros = unallocated_bytes = total_micros = 0
    for span, (used, picos) in sorted(groups.items()):
        start, end, name = span
        inside = [read for read in reads if start <= read.seconds < end and read.bytes]
        metered = sum(read.bytes for read in inside)
        # A credit has no bytes of its own: those that the bill has in its time say whose it is.
        carried = used or sum(more for (first, last, _), more in usage.items() if start <= first and last <= end)
        of_bytes = max(carried, metered)
        total = micros(picos)
        parts = largest_remainder(total, [*(read.bytes for read in inside), of_bytes - metered]) if of_bytes else [total]
        for read, part in zip(inside, parts[:-1], strict=True):
            shares.setdefault(read.entry, []).append(
                Share(entry=read.entry, period=name, bytes=read.bytes, of_bytes=of_bytes, micros=part)
            )
        unallocated_micros += parts[-1]
        unallocated_bytes += max(used - metered, 0)
        total_micros += total
    return Split(
        shares=tuple(_one(found) for _, found in sorted(shares.items())),
        unallocated_micros=unallocated_micros,
        unallocated_bytes=unallocated_bytes,
        total_micros=total_micros,
    )


def _grouped(cells: Iterable[tuple[int, int, int, int]], period: Period) -> dict[tuple[int, int, str], tuple[int, int]]:
    """(start, end, name) of each span -> bytes and pico-dollars of it."""
    found: dict[tuple[int, int, str], tuple[int, int]] = {}
    for start, end, used, picos in cells:
        first, last = _bounds(start, period)
        span = (first, last, period_of(start, period)) if end <= last else (start, end, _span_name(start, end))
        before = found.get(span, (0, 0))
        found[span] = (before[0] + used, before[1] + picos)
    return found


def _bounds(seconds: int, period: Period) -> tuple[int, int]:
    if period is Period.MONTH:
        month = period_of(seconds, period)
        return int(month_start(month).timestamp()), int(month_end(month).timestamp())
    length = HOUR_SECONDS if period is Period.HOUR else 24 * HOUR_SECONDS
    return seconds - seconds % length, seconds - seconds % length + length


def _span_name(start: int, end: int) -> str:
    return "/".join(f"{datetime.fromtimestamp(at, UTC):%Y-%m-%dT%H}" for at in (start, end))


def _one(found: list[Share]) -> Share:
    """An entry's share of all periods together; its ratio is that of the one that most of it comes from."""
    most = max(found, key=lambda share: (abs(share.micros), share.period))
    return dataclasses.replace(most, micros=sum(share.micros for share in found))


def largest_remainder(total: int, weights: Sequence[int]) -> list[int]:
    """Divides a whole amount in proportion to weights; the parts sum to it exactly (Hamilton's method).

    Each part is within one of its exact share. Where remainders are equal the earlier one gets more. Negative amounts mirror
    positive ones. With no weight at all nothing can be divided: the last takes all.
    """
    whole = sum(weights)
    if not whole:
        return [0] * (len(weights) - 1) + [total]
    amount, sign = abs(total), 1 if total >= 0 else -1
    parts, rests = [], []
    for weight in weights:
        part, rest = divmod(amount * weight, whole)
        parts.append(part)
        rests.append(rest)
    left = amount - sum(parts)
    for i in sorted(range(len(weights)), key=lambda at: (-rests[at], at))[:left]:
        parts[i] += 1
    return [sign * part for part in parts]


def correction(
    of: metering.LedgerEntry, share: Share, *, number: int, diff_micros: int, bills: str, source: str, time: datetime
) -> metering.LedgerEntry:
    """The entry that brings what an entry was charged to what its share of the bill is: the `number`-th for it.

    Its bytes stay with the entry. What was avoided falls by what is charged more: the baseline is as it was frozen. It counts
    in the month of what it corrects.
    """
    return dataclasses.replace(
        of,
        entry=f"{of.entry}-b{number}",
        corrects=of.entry,
        time=time,
        bytes=0,
        unsettled_bytes=0,
        requests=0,
        charge_micros=diff_micros,
        request_micros=0,
        estimate_bytes=0,
        estimate_micros=0,
        avoided_micros=None if of.avoided_micros is None else -diff_micros,
        price_source=source,
        bill=bills,
        allocation=share.period,
        allocated_bytes=share.bytes,
        allocated_of_bytes=share.of_bytes,
    )


def reconciled(  # noqa: PLR0917 - one link's figures
    account: str, link: str, billed_bytes: int, reads: Sequence[Read], found: Split, diffs: Mapping[str, int]
) -> LinkReconciliation:
    """How a link of a bill compares with the ledger, and what is posted for it."""
    source_region, _, destination_region = link.partition("~")
    metered = sum(read.bytes for read in reads)
    charged = sum(read.charge_micros for read in reads)
    allocated = found.total_micros - found.unallocated_micros
    return LinkReconciliation(
        account=account,
        source_region=source_region,
        destination_region=destination_region,
        billed_bytes=billed_bytes,
        metered_bytes=metered,
        billed_micros=found.total_micros,
        charged_micros=charged,
        allocated_micros=allocated,
        unallocated_micros=found.unallocated_micros,
        correction_micros=sum(diffs.values()),
        entries=len(diffs),
        bytes_error=_error(metered, billed_bytes),
        cost_error=_error(charged, allocated),
    )


def _error(ledger: int, billed: int) -> float | None:
    return (ledger - billed) / abs(billed) if billed else None
