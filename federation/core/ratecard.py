"""What it costs to send bytes out of a region: dated price rows, chosen by precedence, and F, the month's exact tariff.

The price of a volume x is F(month to date + x) - F(month to date), where F is piecewise linear, exact (rational) and
continuous. Beyond a last tier, or without a row, the price is unknown: None, never a guess. Inside a region it is 0.
Across providers the destination is `internet`. A row for the specific pair beats `*` within a row set; the newest set wins.
"""

from __future__ import annotations

from dataclasses import dataclass


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


@dataclass(frozen=True, kw_only=True)
class RateCard:
    """A set of price rows. Immutable; look-ups are pure."""

    rows: tuple[PriceRow, ...]
