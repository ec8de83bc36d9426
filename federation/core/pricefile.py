"""Price files: CSV of rate cards and of offers, each line read exactly or refused by its number.

What a row means is for `ratecard` and `offers` to say.
"""

from __future__ import annotations

import csv
import functools
import io
import re
from collections.abc import Iterator, Sequence
from decimal import Context, Decimal, Inexact, InvalidOperation
from fractions import Fraction

from federation.core import errors, ids, units

ANY = "*"
#: Figures with more digits than this are no prices and no sizes; reading them exactly could take for ever.
_DIGITS_MAX = 30
#: A file with more rows is refused before it is read to its end.
ROWS_MAX = 200_000
#: A price above this for one GB, or for a million requests, is a slip of the pen.
_MICROS_MAX = 10**12
_DATE = re.compile(r"[0-9]{4}(-(0[1-9]|1[0-2])(-(0[1-9]|[12][0-9]|3[01]))?)?")
_EXACT = Context(prec=120, traps=[Inexact, InvalidOperation])


def lines(text: str, columns: Sequence[str], optional: Sequence[str] = ()) -> Iterator[tuple[int, dict[str, str]]]:
    """The lines of a price file by their numbers, each as its fields; PRICES_INVALID for another kind of file."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        given = reader.fieldnames or ()
        missing = [name for name in columns if name not in given]
        if missing:
            raise wrong(1, f"the columns {', '.join(missing)} are missing", f"Begin the file with {','.join(columns)}.")
        strange = [name for name in given if name not in (*columns, *optional)]
        if strange or len(set(given)) != len(given):
            known = ", ".join((*columns, *optional))
            raise wrong(1, f"the columns {', '.join(strange) or 'that come twice'} mean nothing here", f"Known are {known}.")
        for count, values in enumerate(reader, 1):
            if count > ROWS_MAX:
                raise wrong(reader.line_num, f"there are more than {ROWS_MAX:,} rows", "Leave out links that you do not use.")
            if None in values or None in values.values():
                raise wrong(
                    reader.line_num, "the line has not as many fields as the first", 'Quote text that holds commas: "a, b".'
                )
            if not "".join(values.values()).isprintable():
                raise wrong(reader.line_num, "a field holds a line break or another control character", "Remove it.")
            yield reader.line_num, {name: values.get(name, "").strip() for name in (*columns, *optional)}
    except csv.Error as error:
        raise wrong(reader.reader.line_num, str(error)) from None


def number(line: int, fields: dict[str, str], name: str) -> Fraction:
    """A number, exactly as it was written."""
    value = _number(fields[name])
    if value is None:
        raise wrong(line, f"{name} {fields[name]!r} is not a number")
    return value


@functools.lru_cache(maxsize=4096)
def _number(text: str) -> Fraction | None:
    """Figures come again and again in a card: each is read once."""
    try:
        value = Decimal(text)
    except InvalidOperation:
        return None
    if not value.is_finite() or abs(value.adjusted()) > _DIGITS_MAX or len(value.as_tuple().digits) > _DIGITS_MAX:
        return None
    return Fraction(value)


def micros(line: int, fields: dict[str, str], name: str) -> int:
    """Dollars, zero or more, to whole micro-dollars."""
    amount = number(line, fields, name) * units.MICROS
    if amount < 0 or amount != int(amount):
        raise wrong(line, f"{name} {fields[name]} is not a whole number of micro-dollars of 0 or more")
    if amount > _MICROS_MAX:
        raise wrong(line, f"{name} {fields[name]} is more than {units.usd(_MICROS_MAX)}", "Check the decimal point.")
    return int(amount)


def optional_micros(line: int, fields: dict[str, str], name: str) -> int | None:
    """Dollars, or None where nothing is written."""
    return micros(line, fields, name) if fields[name] else None


def date(line: int, fields: dict[str, str]) -> str:
    """`as_of`: a year, a month or a day, so that text in order is time in order; empty where the source is undated."""
    text = fields["as_of"]
    if text and not _DATE.fullmatch(text):
        raise wrong(line, f"as_of {text!r} is not a date", "Write 2026, 2026-10 or 2026-10-31, or nothing.")
    return text


def place(line: int, fields: dict[str, str], name: str) -> str:
    """A provider's place, or `*` for any."""
    text = fields[name]
    if text != ANY and not ids.REGION.fullmatch(f"x:{text}"):
        raise wrong(line, f"{name} {text!r} is not a place", "Write it as the provider does, for example eu-central-1, or `*`.")
    return text


def stated(line: int, fields: dict[str, str], name: str) -> str:
    """Text that must be there."""
    if not fields[name]:
        raise wrong(line, f"{name} is empty", "A price without a source is not a price.")
    return fields[name]


def wrong(line: int, what: str, help_: str = "") -> errors.InvalidArgument:
    """The refusal of one line of a price file."""
    return errors.InvalidArgument(
        f"prices, line {line}: {what}", reason="PRICES_INVALID", help=help_, metadata={"line": str(line)}
    )


def decimal(value: Fraction) -> str:
    """A fraction as an exact decimal number: `0.0875`."""
    exact = _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))
    return f"{exact:f}"
