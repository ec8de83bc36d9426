"""What it costs to send bytes out of a region: dated price rows, chosen by precedence, and F, the month's exact tariff.

The price of a volume x is F(month to date + x) - F(month to date), where F is piecewise linear, exact (rational) and
continuous; fees for requests are counted in the same way. Beyond a last tier, or without a row, the price is unknown: None,
never a guess. Inside a region it is 0. Across providers the destination is `internet`. The newest row set (all rows of one
date) that prices a pair wins, and within it a row for the specific place beats `*`.
"""

from __future__ import annotations

import csv
import difflib
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from federation.core import errors, ids, pricefile, units
from federation.core.pricefile import ANY
from federation.core.site import INTERNET

SAME_REGION = "inside a region"
#: What the contract can carry, and more than any network moves in a month.
COUNT_MAX = 2**63 - 1
#: What providers count by: powers of 1000 and of 1024.
_GB_BYTES = frozenset(base**power for base in (1000, 1024) for power in range(1, 6))
_MILLION = 1_000_000
COLUMNS = (
    "src_provider",
    "src_region",
    "dst_provider",
    "dst_region",
    "tier_upto_gb",
    "usd_per_gb",
    "gb_bytes",
    "as_of",
    "source",
)
#: Columns that a file may leave out.
OPTIONAL_COLUMNS = ("usd_per_million_requests",)


@dataclass(frozen=True, kw_only=True)
class PriceRow:
    """One tier of a link, as it was published.

    `upto_bytes` counts from the first byte of a month, None without an upper bound. `gb_micros` is the price of `gb_bytes`
    bytes (the provider's own GB, 10^9 or 2^30). `as_of` is an ISO date, empty where the source has none. A million
    requests cost `million_requests_micros`, whatever the tier; None where the row says nothing of them.
    """

    source_provider: str
    source_place: str
    destination_provider: str
    destination_place: str
    upto_bytes: int | None
    gb_micros: int
    gb_bytes: int
    as_of: str
    source: str
    million_requests_micros: int | None = None

    @property
    def link(self) -> Link:
        """What one price list is about: this link, as of this date."""
        return (self.source_provider, self.source_place, self.destination_provider, self.destination_place, self.as_of)


#: Source provider and place, destination provider and place, date.
Link = tuple[str, str, str, str, str]


class Price(NamedTuple):
    """The price of one volume and its requests, with the source and date of the rows that it was read from.

    `request_micros` of the price are fees for requests.
    """

    micros: int
    source: str
    as_of: str
    request_micros: int = 0


@dataclass(frozen=True, kw_only=True)
class TierUse:
    """One tier, as far as a volume fell into it. The charges of a volume's tiers sum to its price, to the micro-dollar."""

    from_bytes: int
    upto_bytes: int | None
    gb_micros: int
    gb_bytes: int
    used_bytes: int
    charge_micros: int


@dataclass(frozen=True, kw_only=True)
class Quote:
    """What a volume would cost, how that comes about, and where it is read from.

    `month_to_date_bytes` and `reserved_bytes` of the `scope` are counted before the volume. `request_micros` are part of
    `charge_micros`. `rate_card` is the card's number, 0 for the one that no import made.
    """

    charge_micros: int
    request_micros: int
    tiers: tuple[TierUse, ...]
    month_to_date_bytes: int
    reserved_bytes: int
    scope: str
    price_source: str
    as_of: str
    rate_card: int


@dataclass(frozen=True, kw_only=True)
class CardInfo:
    """A rate card as it was imported once. `egress` and `compute` are its rows as CSV (UTF-8), empty in listings."""

    number: int
    egress: bytes = b""
    compute: bytes = b""
    digest: str = ""
    note: str = ""
    principal: str = ""
    create_time: datetime | None = None
    egress_rows: int = 0
    compute_rows: int = 0


class Tier(NamedTuple):
    """One straight piece of F in whole numbers: F(x) = (base + rate * (x - from_bytes)) / unit up to `upto_bytes`."""

    from_bytes: int
    upto_bytes: int | None
    base: int
    rate: int


@dataclass(frozen=True, kw_only=True, eq=False)
class Tariff:
    """F of one link: micro-dollars that the first x bytes of a month cost. Non-decreasing and continuous.

    A card holds equal tariffs once, so that they are compared by identity. `unit` is the common multiple of the rows' GB, so
    that every figure inside is a whole number and nothing is rounded before the end. `source` and `as_of` are the rows'.
    `listed` has each tier's price as it was published, micro-dollars for so many bytes.
    """

    tiers: tuple[Tier, ...]
    unit: int
    source: str
    as_of: str
    listed: tuple[tuple[int, int], ...] = ()
    million_requests_micros: int = 0

    @cached_property
    def flat(self) -> bool:
        """Whether every byte of the month costs the same."""
        return len(self.tiers) == 1 and self.tiers[0].upto_bytes is None

    def numerator(self, volume: int) -> int | None:
        """F(volume) * unit, a whole number; None beyond the last tier."""
        for from_bytes, upto_bytes, base, rate in self.tiers:
            if upto_bytes is None or volume <= upto_bytes:
                return base + rate * (volume - from_bytes)
        return None

    def exact(self, volume: int) -> Fraction | None:
        """F(volume), exact; None beyond the last tier."""
        numerator = self.numerator(volume)
        return None if numerator is None else Fraction(numerator, self.unit)

    def rounded(self, volume: int) -> int | None:
        """F(volume) to a whole micro-dollar, half to even; None beyond the last tier."""
        # As `numerator` does it: a decision asks this of every input in several regions.
        for from_bytes, upto_bytes, base, rate in self.tiers:
            if upto_bytes is None or volume <= upto_bytes:
                return units.divide_half_even(base + rate * (volume - from_bytes), self.unit)
        return None

    def marginal(self, month_to_date_bytes: int, volume: int) -> float | None:
        """The unrounded charge, to compare links by: the float next to the exact figure, so that equals are equal."""
        before, after = self.numerator(month_to_date_bytes), self.numerator(month_to_date_bytes + volume)
        return None if before is None or after is None else (after - before) / self.unit

    def charge(self, month_to_date_bytes: int, volume: int) -> int | None:
        """What `volume` bytes cost after the month's first: the difference of two rounded F, so any split sums to the whole."""
        before, after = self.rounded(month_to_date_bytes), self.rounded(month_to_date_bytes + volume)
        return None if before is None or after is None else after - before

    def request_charge(self, month_to_date_requests: int, requests: int) -> int:
        """What `requests` cost after the month's first ones, split as exactly as bytes are."""
        before, after = (
            units.divide_half_even(count * self.million_requests_micros, _MILLION)
            for count in (month_to_date_requests, month_to_date_requests + requests)
        )
        return after - before

    def uses(self, month_to_date_bytes: int, volume: int) -> tuple[TierUse, ...]:
        """The tiers that a volume falls into, the lowest first, each with its bytes and its part of the charge."""
        end = month_to_date_bytes + volume
        found = []
        for tier, (gb_micros, gb_bytes) in zip(self.tiers, self.listed, strict=True):
            low = max(month_to_date_bytes, tier.from_bytes)
            high = end if tier.upto_bytes is None else min(end, tier.upto_bytes)
            if low >= high:
                continue
            found.append(
                TierUse(
                    from_bytes=tier.from_bytes,
                    upto_bytes=tier.upto_bytes,
                    gb_micros=gb_micros,
                    gb_bytes=gb_bytes,
                    used_bytes=high - low,
                    charge_micros=self.charge(low, high - low) or 0,
                )
            )
        return tuple(found)


#: Inside a region nothing is charged.
FREE = Tariff(tiers=(Tier(0, None, 0, 0),), unit=1, source=SAME_REGION, as_of="", listed=((0, 10**9),))


def destination_class(source_region: str, destination_region: str) -> str:
    """How a source's provider names the destination: the region itself if it is the same provider's, else `internet`."""
    provider = source_region.partition(":")[0]
    return destination_region if destination_region.partition(":")[0] == provider else INTERNET


def scope(source_region: str, destination_region: str, account: str = "") -> str:
    """The counter whose month-to-date volume decides the tier: `aws:us-east-1~internet`, `aws:us-east-1~aws:eu-west-1`.

    Providers count what leaves a region for the internet together, whoever receives it; and they count each billing account by
    itself: `research/aws:us-east-1~internet`. Without an account it is the federation's own.
    """
    prefix = f"{account}/" if account else ""
    return f"{prefix}{source_region}~{destination_class(source_region, destination_region)}"


def check_link(source_region: str, destination_region: str, account: str = "") -> None:
    """InvalidArgument unless these are regions (the internet only receives) and a billing account's name."""
    ids.region(source_region)
    if destination_region != INTERNET:
        ids.region(destination_region)
    if account:
        ids.segment(account, "account")


@dataclass(frozen=True, kw_only=True)
class RateCard:
    """A set of price rows. Immutable; look-ups are pure. Rows that contradict each other are refused (PRICES_INVALID).

    `number` says which import made it, 0 for none: the card that is shipped, or that the settings name.
    """

    rows: tuple[PriceRow, ...]
    number: int = 0

    def __post_init__(self) -> None:
        assert self._sets is not None  # built now, so that a contradiction shows when a card is made and not when it is used

    def tariff(self, source_region: str, destination_region: str) -> Tariff | None:
        """F of the link, or None where no row prices it."""
        return self.into(destination_region)[source_region]

    def into(self, destination_region: str) -> Mapping[str, Tariff | None]:
        """F of every link into a region, by source region. Each is chosen once and kept."""
        links = self._into.get(destination_region)
        if links is None:
            links = self._into[destination_region] = _Into(self, destination_region)
        return links

    def price(  # noqa: PLR0917 - the link, where it stands and what is to be priced
        self,
        source_region: str,
        destination_region: str,
        month_to_date_bytes: int,
        volume: int,
        requests: int = 0,
        month_to_date_requests: int = 0,
    ) -> Price | None:
        """What `volume` bytes in `requests` cost when others of the same `scope` went before; None if unknown."""
        _require_counts(month_to_date_bytes, volume, what="bytes")
        _require_counts(month_to_date_requests, requests, what="requests")
        tariff = self.tariff(source_region, destination_region)
        micros = tariff.charge(month_to_date_bytes, volume) if tariff else None
        if tariff is None or micros is None:
            return None
        fees = tariff.request_charge(month_to_date_requests, requests)
        return Price(micros + fees, tariff.source, tariff.as_of, fees)

    def quote(
        self,
        source_region: str,
        destination_region: str,
        volume: int,
        *,
        month_to_date_bytes: int = 0,
        reserved_bytes: int = 0,
        requests: int = 0,
        month_to_date_requests: int = 0,
        account: str = "",
    ) -> Quote:
        """The price with everything that explains it; FailedPrecondition (PRICE_UNKNOWN) says what is not priced."""
        check_link(source_region, destination_region, account)
        before = month_to_date_bytes + reserved_bytes
        price = self.price(source_region, destination_region, before, volume, requests, month_to_date_requests)
        tariff = self.tariff(source_region, destination_region)
        if price is None or tariff is None:
            raise self._unknown(source_region, destination_region, before + volume)
        return Quote(
            charge_micros=price.micros,
            request_micros=price.request_micros,
            tiers=tariff.uses(before, volume),
            month_to_date_bytes=month_to_date_bytes,
            reserved_bytes=reserved_bytes,
            scope=scope(source_region, destination_region, account),
            price_source=price.source,
            as_of=price.as_of,
            rate_card=self.number,
        )

    def _unknown(self, source_region: str, destination_region: str, volume: int) -> errors.FailedPrecondition:
        """Why a link has no price: no row at all, or none beyond a last tier."""
        link = f"{source_region} to {destination_region}"
        tariff = self.tariff(source_region, destination_region)
        if tariff is not None:
            what = f"the price of {link} is known up to {tariff.tiers[-1].upto_bytes:,} bytes a month, not for {volume:,}"
            help_ = "Import the tier that follows."
        else:
            near = [f"{region!r}" for region in (source_region, destination_region) for region in self._like(region)]
            what = f"no row of the rate card prices {link}"
            help_ = (
                f"Did you mean {' or '.join(near)}?" if near else "Import its price; an unknown price is never taken for zero."
            )
        metadata = {"source_region": source_region, "destination_region": destination_region}
        return errors.FailedPrecondition(what, reason="PRICE_UNKNOWN", help=help_, metadata=metadata)

    def _like(self, region: str) -> list[str]:
        """The region that a misspelled one might have been; nothing for one that the card names."""
        named = {f"{row.source_provider}:{row.source_place}" for row in self.rows}
        return [] if region in (INTERNET, *named) else difflib.get_close_matches(region, sorted(named), n=3)

    def choose(self, source_region: str, destination_region: str) -> Tariff | None:
        """Finds F of a link by the rules of precedence."""
        if source_region == destination_region:
            return FREE
        provider, _, place = source_region.partition(":")
        to_provider, _, to_place = destination_class(source_region, destination_region).partition(":")
        # Newest date first. Within a date: the provider named before `*`, then the specific places before `*`.
        found = [
            (as_of, by_provider != ANY, (from_place != ANY) + (at_place != ANY), from_place != ANY, tariff)
            for by_provider in (to_provider, ANY)
            for as_of, links in self._sets.get((provider, by_provider), {}).items()
            for from_place in (place, ANY)
            for at_place in {to_place or ANY, ANY}
            if (tariff := links.get((from_place, at_place)))
        ]
        return max(found, key=lambda item: item[:4])[4] if found else None

    @cached_property
    def _sets(self) -> dict[tuple[str, str], dict[str, dict[tuple[str, str], Tariff]]]:
        """(source provider, destination provider) -> date -> (source place, destination place) -> F."""
        sets: dict[tuple[str, str], dict[str, dict[tuple[str, str], Tariff]]] = {}
        same: dict[tuple[object, ...], Tariff] = {}
        for row, rows in _links(self.rows):
            tariff = _tariff(rows)
            same_as = (tariff.tiers, tariff.unit, tariff.source, tariff.as_of, tariff.listed, tariff.million_requests_micros)
            tariff = same.setdefault(same_as, tariff)
            dates = sets.setdefault((row.source_provider, row.destination_provider), {})
            dates.setdefault(row.as_of, {})[row.source_place, row.destination_place] = tariff
        return sets

    @cached_property
    def memo(self) -> dict[str, object]:
        """What other modules have worked out from the rows alone, kept for as long as the card: a memo, not state."""
        return {}

    @cached_property
    def _into(self) -> dict[str, _Into]:
        """What was chosen so far: a memo, not state, since the rows never change."""
        return {}


class _Into(dict[str, Tariff | None]):
    """Source region -> F of its link into one region, chosen when it is first asked for."""

    def __init__(self, card: RateCard, destination_region: str) -> None:
        super().__init__()
        self._card = card
        self._destination_region = destination_region

    def __missing__(self, source_region: str) -> Tariff | None:
        chosen = self[source_region] = self._card.choose(source_region, self._destination_region)
        return chosen

    def __reduce__(self) -> tuple[object, ...]:
        return (_Into, (self._card, self._destination_region))


def _links(rows: Iterable[PriceRow]) -> Iterator[tuple[PriceRow, list[PriceRow]]]:
    """Rows by link and date, lowest tier first, each with its first row."""
    links: dict[Link, list[PriceRow]] = {}
    for row in rows:
        links.setdefault(row.link, []).append(row)
    for tiers in links.values():
        tiers.sort(key=lambda row: math.inf if row.upto_bytes is None else row.upto_bytes)
        yield tiers[0], tiers


def _tariff(rows: Sequence[PriceRow]) -> Tariff:
    """F from a link's rows in order of their upper bounds."""
    unit = math.lcm(*(row.gb_bytes for row in rows))
    tiers: list[Tier] = []
    begin = base = 0
    for row in rows:
        rate = row.gb_micros * (unit // row.gb_bytes)
        if tiers and (tiers[-1].upto_bytes is None or row.upto_bytes == tiers[-1].upto_bytes):
            raise _contradiction(row)
        tiers.append(Tier(begin, row.upto_bytes, base, rate))
        if row.upto_bytes is not None:
            base += rate * (row.upto_bytes - begin)
            begin = row.upto_bytes
    return Tariff(
        tiers=tuple(tiers),
        unit=unit,
        source=_sources(rows),
        as_of=rows[0].as_of,
        listed=tuple((row.gb_micros, row.gb_bytes) for row in rows),
        million_requests_micros=_request_fee(rows),
    )


def _request_fee(rows: Sequence[PriceRow]) -> int:
    """The one fee for requests that a link's rows state; nothing where none does."""
    stated = sorted({row.million_requests_micros for row in rows if row.million_requests_micros is not None})
    if len(stated) > 1:
        fees = " and ".join(units.usd(fee) for fee in stated)
        raise errors.InvalidArgument(
            f"the rows for {_described(rows[0])} state different fees for a million requests: {fees}",
            reason="PRICES_INVALID",
            help="Fees for requests have no tiers: write the same figure in each row, or in one.",
        )
    return stated[0] if stated else 0


def _sources(rows: Sequence[PriceRow]) -> str:
    return "; ".join(dict.fromkeys(row.source for row in rows))


def _described(row: PriceRow) -> str:
    link = f"{row.source_provider}:{row.source_place} to {row.destination_provider}:{row.destination_place}"
    return f"{link} of {row.as_of or 'no date'}"


def _contradiction(row: PriceRow) -> errors.InvalidArgument:
    bound = "no upper bound" if row.upto_bytes is None else f"the upper bound {row.upto_bytes} bytes"
    return errors.InvalidArgument(
        f"two prices for {_described(row)} have {bound}",
        reason="PRICES_INVALID",
        help="Keep one of them, or give them different dates: the newer wins.",
    )


def _require_counts(before: int, more: int, *, what: str) -> None:
    if min(before, more) < 0:
        problem = f"{min(before, more)} {what} cannot be priced"
    elif max(before, more) > COUNT_MAX:
        problem = f"{max(before, more)} {what} cannot be priced: that is more than {COUNT_MAX}"
    else:
        return
    raise errors.InvalidArgument(problem, reason="SIZE_INVALID", help="Give what is sent in a month, zero or more.")


def merged(kept: Iterable[PriceRow], imported: Iterable[PriceRow]) -> tuple[PriceRow, ...]:
    """The rows of a card after an import: those of a link and date that come again are replaced, all others stay."""
    new = tuple(imported)
    links = {row.link for row in new}
    return (*(row for row in kept if row.link not in links), *new)


def text(rows: Iterable[PriceRow]) -> str:
    """Rows as the CSV that `parse` reads back to the same rows."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow((*COLUMNS, *OPTIONAL_COLUMNS))
    writer.writerows(_fields(row) for row in rows)
    return lines.getvalue()


def _fields(row: PriceRow) -> tuple[str, ...]:
    return (
        *row.link[:4],
        "" if row.upto_bytes is None else pricefile.decimal(Fraction(row.upto_bytes, row.gb_bytes)),
        pricefile.decimal(Fraction(row.gb_micros, units.MICROS)),
        str(row.gb_bytes),
        row.as_of,
        row.source,
        "" if row.million_requests_micros is None else pricefile.decimal(Fraction(row.million_requests_micros, units.MICROS)),
    )


def parse(text: str) -> RateCard:
    """A rate card from CSV text with the columns `COLUMNS`; InvalidArgument (PRICES_INVALID) names the line that is wrong.

    `*` stands for any place, `internet` for whatever is out of the provider's network. An empty `tier_upto_gb` means no upper
    bound. The columns of `OPTIONAL_COLUMNS` may be missing; one that is not known is refused.
    """
    rows = {line: _row(line, values) for line, values in pricefile.lines(text, COLUMNS, OPTIONAL_COLUMNS)}
    _refuse_repeats(rows)
    return RateCard(rows=tuple(rows.values()))


def _refuse_repeats(rows: dict[int, PriceRow]) -> None:
    """The same as `RateCard` refuses, but told by lines."""
    lines: dict[tuple[Link, int | None], int] = {}
    for line, row in rows.items():
        first = lines.setdefault((row.link, row.upto_bytes), line)
        if first != line:
            raise pricefile.wrong(line, f"it prices the same tier as line {first}", "Give it a newer as_of: the newest wins.")


def _row(line: int, fields: dict[str, str]) -> PriceRow:
    gb_bytes = pricefile.number(line, fields, "gb_bytes")
    upto = pricefile.number(line, fields, "tier_upto_gb") * gb_bytes if fields["tier_upto_gb"] else None
    if gb_bytes <= 0 or gb_bytes != int(gb_bytes) or (upto is not None and (upto <= 0 or upto != int(upto))):
        raise pricefile.wrong(line, "gb_bytes and tier_upto_gb must make whole, positive numbers of bytes")
    if gb_bytes not in _GB_BYTES:
        raise pricefile.wrong(line, f"gb_bytes {gb_bytes} is no provider's unit", "Write 1000000000 or 1073741824.")
    if upto is not None and upto > COUNT_MAX:
        raise pricefile.wrong(
            line, f"tier_upto_gb {fields['tier_upto_gb']} is more than anybody sends", "Leave it empty for no upper bound."
        )
    return PriceRow(
        source_provider=_provider(line, fields, "src_provider"),
        source_place=pricefile.place(line, fields, "src_region"),
        destination_provider=_destination(line, fields),
        destination_place=pricefile.place(line, fields, "dst_region"),
        upto_bytes=None if upto is None else int(upto),
        gb_micros=pricefile.micros(line, fields, "usd_per_gb"),
        gb_bytes=int(gb_bytes),
        as_of=pricefile.date(line, fields),
        source=pricefile.stated(line, fields, "source"),
        million_requests_micros=pricefile.optional_micros(line, fields, "usd_per_million_requests"),
    )


def _provider(line: int, fields: dict[str, str], name: str) -> str:
    text = fields[name]
    if not ids.REGION.fullmatch(f"{text}:x"):
        raise pricefile.wrong(line, f"{name} {text!r} is not a provider", "Write it as in a region: aws, gcp, vultr.")
    return text


def _destination(line: int, fields: dict[str, str]) -> str:
    if fields["dst_provider"] == ANY:
        return ANY
    provider = _provider(line, fields, "dst_provider")
    if provider not in (INTERNET, fields["src_provider"]):
        # Accepting a row that no look-up would ever reach would hide a contract's price.
        raise pricefile.wrong(
            line, f"dst_provider {provider!r} is another provider", "Across providers the price is that to `internet`."
        )
    return provider


#: The rate card that prices nothing, and so refuses every link between regions.
NO_PRICES = RateCard(rows=())
