"""What it costs to send bytes out of a region: dated price rows, chosen by precedence, and F, the month's exact tariff.

The price of a volume x is F(month to date + x) - F(month to date), where F is piecewise linear, exact (rational) and
continuous. Beyond a last tier, or without a row, the price is unknown: None, never a guess. Inside a region it is 0.
Across providers the destination is `internet`. The newest row set (all rows of one date) that prices a pair wins, and within it
a row for the specific place beats `*`.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal, InvalidOperation
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from federation.core import errors, ids, units
from federation.core.site import INTERNET

ANY = "*"
SAME_REGION = "inside a region"
#: Figures with more digits than this are no prices and no sizes; reading them exactly could take for ever.
_DIGITS_MAX = 30
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


@dataclass(frozen=True, kw_only=True)
class PriceRow:
    """One tier of a link, as it was published.

    `upto_bytes` counts from the first byte of a month, None without an upper bound. `gb_micros` is the price of `gb_bytes`
    bytes (the provider's own GB, 10^9 or 2^30). `as_of` is an ISO date, empty where the source has none.
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


class Price(NamedTuple):
    """The price of one volume, with the source and date of the rows that it was read from."""

    micros: int
    source: str
    as_of: str


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
    """

    tiers: tuple[Tier, ...]
    unit: int
    source: str
    as_of: str

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
        numerator = self.numerator(volume)
        return None if numerator is None else units.divide_half_even(numerator, self.unit)

    def marginal(self, month_to_date_bytes: int, volume: int) -> float | None:
        """The unrounded charge, to compare links by: the float next to the exact figure, so that equals are equal."""
        before, after = self.numerator(month_to_date_bytes), self.numerator(month_to_date_bytes + volume)
        return None if before is None or after is None else (after - before) / self.unit

    def charge(self, month_to_date_bytes: int, volume: int) -> int | None:
        """What `volume` bytes cost after the month's first: the difference of two rounded F, so any split sums to the whole."""
        before, after = self.rounded(month_to_date_bytes), self.rounded(month_to_date_bytes + volume)
        return None if before is None or after is None else after - before


#: Inside a region nothing is charged.
FREE = Tariff(tiers=(Tier(0, None, 0, 0),), unit=1, source=SAME_REGION, as_of="")


def destination_class(source_region: str, destination_region: str) -> str:
    """How a source's provider names the destination: the region itself if it is the same provider's, else `internet`."""
    provider = source_region.partition(":")[0]
    return destination_region if destination_region.partition(":")[0] == provider else INTERNET


def scope(source_region: str, destination_region: str) -> str:
    """The counter whose month-to-date volume decides the tier: `aws:us-east-1~internet`, `aws:us-east-1~aws:eu-west-1`.

    Providers count what leaves a region for the internet together, whoever receives it.
    """
    return f"{source_region}~{destination_class(source_region, destination_region)}"


@dataclass(frozen=True, kw_only=True)
class RateCard:
    """A set of price rows. Immutable; look-ups are pure. Rows that contradict each other are refused (PRICES_INVALID)."""

    rows: tuple[PriceRow, ...]

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

    def price(self, source_region: str, destination_region: str, month_to_date_bytes: int, volume: int) -> Price | None:
        """What `volume` bytes cost when `month_to_date_bytes` of the same `scope` went before; None if unknown."""
        if month_to_date_bytes < 0 or volume < 0:
            raise errors.InvalidArgument(
                f"a volume of {min(month_to_date_bytes, volume)} bytes cannot be priced", reason="SIZE_INVALID"
            )
        tariff = self.tariff(source_region, destination_region)
        micros = tariff.charge(month_to_date_bytes, volume) if tariff else None
        return None if tariff is None or micros is None else Price(micros, tariff.source, tariff.as_of)

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
            tariff = same.setdefault((tariff.tiers, tariff.unit, tariff.source, tariff.as_of), tariff)
            dates = sets.setdefault((row.source_provider, row.destination_provider), {})
            dates.setdefault(row.as_of, {})[row.source_place, row.destination_place] = tariff
        return sets

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
    links: dict[tuple[str, ...], list[PriceRow]] = {}
    for row in rows:
        link = (row.source_provider, row.source_place, row.destination_provider, row.destination_place, row.as_of)
        links.setdefault(link, []).append(row)
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
    return Tariff(tiers=tuple(tiers), unit=unit, source=_sources(rows), as_of=rows[0].as_of)


def _sources(rows: Sequence[PriceRow]) -> str:
    return "; ".join(dict.fromkeys(row.source for row in rows))


def _contradiction(row: PriceRow) -> errors.InvalidArgument:
    link = f"{row.source_provider}:{row.source_place} to {row.destination_provider}:{row.destination_place}"
    bound = "no upper bound" if row.upto_bytes is None else f"the upper bound {row.upto_bytes} bytes"
    return errors.InvalidArgument(
        f"two prices for {link} of {row.as_of or 'no date'} have {bound}",
        reason="PRICES_INVALID",
        help="Keep one of them, or give them different dates: the newer wins.",
    )


def parse(text: str) -> RateCard:
    """A rate card from CSV text with the columns `COLUMNS`; InvalidArgument (PRICES_INVALID) names the line that is wrong.

    `*` stands for any place, `internet` for whatever is out of the provider's network. An empty `tier_upto_gb` means no upper
    bound.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        missing = [name for name in COLUMNS if name not in (reader.fieldnames or ())]
        if missing:
            raise _wrong(1, f"the columns {', '.join(missing)} are missing", f"Begin the file with {','.join(COLUMNS)}.")
        rows: dict[int, PriceRow] = {}
        for values in reader:
            rows[reader.line_num] = _row(reader.line_num, values)
    except csv.Error as error:
        raise _wrong(reader.reader.line_num, str(error)) from None
    _refuse_repeats(rows)
    return RateCard(rows=tuple(rows.values()))


def _refuse_repeats(rows: dict[int, PriceRow]) -> None:
    """The same as `RateCard` refuses, but told by lines."""
    lines: dict[PriceRow, int] = {}
    for line, row in rows.items():
        first = lines.setdefault(replace(row, gb_micros=0, gb_bytes=1, source=""), line)
        if first != line:
            raise _wrong(line, f"it prices the same tier as line {first}", "Give it a newer as_of: the newest wins.")


def _row(line: int, values: dict[str, str | None]) -> PriceRow:
    if None in values or None in values.values():
        raise _wrong(line, "the line has not as many fields as the first", 'Quote text that holds commas: "a, b".')
    fields = {name: (values[name] or "").strip() for name in COLUMNS}
    gb_bytes = _number(line, fields, "gb_bytes")
    upto = _number(line, fields, "tier_upto_gb") * gb_bytes if fields["tier_upto_gb"] else None
    if gb_bytes <= 0 or gb_bytes != int(gb_bytes) or (upto is not None and (upto <= 0 or upto != int(upto))):
        raise _wrong(line, "gb_bytes and tier_upto_gb must make whole, positive numbers of bytes")
    return PriceRow(
        source_provider=_provider(line, fields, "src_provider"),
        source_place=_place(line, fields, "src_region"),
        destination_provider=_destination(line, fields),
        destination_place=_place(line, fields, "dst_region"),
        upto_bytes=None if upto is None else int(upto),
        gb_micros=_micros(line, fields),
        gb_bytes=int(gb_bytes),
        as_of=fields["as_of"],
        source=_stated(line, fields, "source"),
    )


def _number(line: int, fields: dict[str, str], name: str) -> Fraction:
    try:
        value = Decimal(fields[name])
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite() or abs(value.adjusted()) > _DIGITS_MAX:
        raise _wrong(line, f"{name} {fields[name]!r} is not a number")
    return Fraction(value)


def _micros(line: int, fields: dict[str, str]) -> int:
    micros = _number(line, fields, "usd_per_gb") * units.MICROS
    if micros < 0 or micros != int(micros):
        raise _wrong(line, f"usd_per_gb {fields['usd_per_gb']} is not a whole number of micro-dollars of 0 or more")
    return int(micros)


def _provider(line: int, fields: dict[str, str], name: str) -> str:
    text = fields[name]
    if not ids.REGION.fullmatch(f"{text}:x"):
        raise _wrong(line, f"{name} {text!r} is not a provider", "Write it as in a region: aws, gcp, vultr.")
    return text


def _destination(line: int, fields: dict[str, str]) -> str:
    if fields["dst_provider"] == ANY:
        return ANY
    provider = _provider(line, fields, "dst_provider")
    if provider not in (INTERNET, fields["src_provider"]):
        # Accepting a row that no look-up would ever reach would hide a contract's price.
        raise _wrong(
            line, f"dst_provider {provider!r} is another provider", "Across providers the price is that to `internet`."
        )
    return provider


def _place(line: int, fields: dict[str, str], name: str) -> str:
    text = fields[name]
    if text != ANY and not ids.REGION.fullmatch(f"x:{text}"):
        raise _wrong(
            line, f"{name} {text!r} is not a place", "Write it as the provider does, for example eu-central-1, or `*`."
        )
    return text


def _stated(line: int, fields: dict[str, str], name: str) -> str:
    if not fields[name]:
        raise _wrong(line, f"{name} is empty", "A price without a source is not a price.")
    return fields[name]


def _wrong(line: int, what: str, help_: str = "") -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"prices, line {line}: {what}", reason="PRICES_INVALID", help=help_, metadata={"line": str(line)}
    )


#: The rate card that prices nothing, and so refuses every link between regions.
NO_PRICES = RateCard(rows=())
