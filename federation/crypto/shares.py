"""A secret split over several, of whom a threshold can put it together and fewer learn nothing (Shamir, 1979).

Byte by byte over GF(2^8) with the polynomial of AES: the secret is a random polynomial's value at 0, share i its value at i. A
share is its number and as many bytes as the secret.
"""

from __future__ import annotations

import functools
import operator
import secrets
from collections.abc import Iterable, Sequence

from federation.core import errors

#: GF(2^8) has so many points beside 0.
SHARES_MAX = 255
_POLYNOMIAL = 0x11B


def split(secret: bytes, *, shares: int, threshold: int) -> tuple[bytes, ...]:
    """So many shares, any `threshold` of which give the secret back."""
    if not 2 <= threshold <= shares <= SHARES_MAX:
        raise errors.InvalidArgument(
            f"a secret is not split over {shares} of whom {threshold} suffice",
            reason="THRESHOLD_INVALID",
            help="Two at least must come together, and as many as there are at most.",
        )
    polynomials = [(byte, *secrets.token_bytes(threshold - 1)) for byte in secret]
    return tuple(
        bytes([number, *(_value(polynomial, number) for polynomial in polynomials)]) for number in range(1, shares + 1)
    )


def combine(shares: Sequence[bytes]) -> bytes:
    """The secret; something else where a share is wrong or too few are given, which whoever uses it must find out."""
    numbers = [share[0] for share in shares]
    if len(set(numbers)) != len(numbers) or not all(numbers) or len({len(share) for share in shares}) != 1:
        raise errors.InvalidArgument("these are not shares of one secret", reason="SHARES_INVALID")
    weights = [_weight(number, numbers) for number in numbers]
    columns = zip(*(share[1:] for share in shares), strict=True)
    return bytes(_sum(_times(value, weight) for value, weight in zip(column, weights, strict=True)) for column in columns)


def _value(polynomial: Sequence[int], at: int) -> int:
    result = 0
    for coefficient in reversed(polynomial):
        result = _times(result, at) ^ coefficient
    return result


def _weight(number: int, numbers: Sequence[int]) -> int:
    """Lagrange's coefficient at 0."""
    result = 1
    for other in numbers:
        if other != number:
            result = _times(result, _times(other, _inverse(other ^ number)))
    return result


def _sum(values: Iterable[int]) -> int:
    return functools.reduce(operator.xor, values, 0)


def _times(left: int, right: int) -> int:
    """The product, in the same time whatever the factors are, as far as Python has that."""
    result = 0
    for bit in range(8):
        result ^= left * (right >> bit & 1)
        left = (left << 1) ^ (_POLYNOMIAL * (left >> 7))
    return result


def _inverse(value: int) -> int:
    """value^254, for a value that is not 0."""
    result = 1
    for _ in range(254):
        result = _times(result, value)
    return result
