"""Money, bytes and time as people write them. Money is integer micro-dollars, sizes are bytes; floats never enter."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation
from fractions import Fraction

from federation.core import errors

MICROS = 1_000_000
_SIZE = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([kmgtpe]?i?)b?\s*", re.IGNORECASE)
_POWERS = {"": 0, "k": 1, "m": 2, "g": 3, "t": 4, "p": 5, "e": 6}
_DURATION = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*(s|m|min|h|d)?\s*", re.IGNORECASE)
_SECONDS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400}


def micros(usd: str | int | Decimal) -> int:
    """Dollars, as a decimal number, to micro-dollars; refuses what is not exact to the micro-dollar."""
    try:
        value = Decimal(str(usd)) * MICROS
    except InvalidOperation:
        raise errors.InvalidArgument(f"{usd!r} is not an amount of dollars", reason="AMOUNT_INVALID") from None
    if not value.is_finite() or value != value.to_integral_value():
        raise errors.InvalidArgument(f"{usd!r} dollars is not a whole number of micro-dollars", reason="AMOUNT_INVALID")
    return int(value)


def usd(amount_micros: int) -> str:
    """Micro-dollars as exact dollars: `$0.000026`, `-$3.12`; at least two decimals, at most six."""
    sign = "-" if amount_micros < 0 else ""
    whole, part = divmod(abs(amount_micros), MICROS)
    decimals = f"{part:06d}".rstrip("0").ljust(2, "0")
    return f"{sign}${whole:,}.{decimals}"


def parse_size(text: str) -> int:
    """`10TiB`, `1.5 GB`, `4096` to bytes: KB is 1000, KiB is 1024."""
    match = _SIZE.fullmatch(text)
    if not match:
        raise errors.InvalidArgument(
            f"{text!r} is not a size", reason="SIZE_INVALID", help="Write a number with a unit, for example 500MB or 10TiB."
        )
    unit = match[2].lower()
    base = 1024 if unit.endswith("i") else 1000
    return int(Fraction(match[1]) * base ** _POWERS[unit.rstrip("i")])


def size(number: int) -> str:
    """Bytes for people, decimal units: `0 B`, `812 B`, `1.2 MB`."""
    value = Fraction(number)
    for unit in ("B", "kB", "MB", "GB", "TB", "PB"):
        if abs(value) < 1000 or unit == "PB":
            return f"{int(value)} B" if unit == "B" else f"{float(value):.1f} {unit}"
        value /= 1000
    raise AssertionError


def parse_duration(text: str) -> int:
    """`90`, `90s`, `15m`, `2h`, `1d` to whole seconds."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise errors.InvalidArgument(
            f"{text!r} is not a duration", reason="DURATION_INVALID", help="Write for example 90s, 15m, 2h or 1d."
        )
    return int(Fraction(match[1]) * _SECONDS[(match[2] or "s").lower()])


def duration(seconds: int) -> str:
    """Seconds for people, in the two largest units: `45 s`, `12 min`, `1 h 30 min`, `26 d 4 h`."""
    parts = []
    for name, length in (("d", 86400), ("h", 3600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, length)
        if count:
            parts.append(f"{count} {name}")
        elif parts:
            break
    return " ".join(parts[:2]) or "0 s"


def round_half_even(value: Fraction) -> int:
    """A rational number of micro-dollars to a whole one, half to even, as a bank rounds."""
    return round(value)


def divide_half_even(numerator: int, denominator: int) -> int:
    """`numerator / denominator` (positive) to a whole number, half to even: `round_half_even` without making a Fraction."""
    whole, rest = divmod(numerator, denominator)
    twice = 2 * rest
    return whole + 1 if twice > denominator or (twice == denominator and whole & 1) else whole
