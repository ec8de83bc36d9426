"""The tariffs between many regions at once, as arrays: what a rate card says of every link, found once for each card.

Amounts are exact: a price is a whole number of micro-dollars and a whole numerator over the tariff's own unit, in int64. Where
these could overflow, `fits` says no, and whoever asks must count in Python's integers instead.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from federation.core import ratecard

Ints = npt.NDArray[np.int64]

#: Above every volume and every price that is exact here; what is beyond it is unknown.
BEYOND = 2**62
UNKNOWN = -1
_NOTHING: Ints = np.zeros(1, dtype=np.int64)
_ALL = np.ones(1, dtype=np.bool_)
_UNSEEN = -2


class Tiers(NamedTuple):
    """Tiers of all tariffs, one row each, padded with tiers that nothing reaches.

    F(v) = whole + (rest + rate * (v - begin)) / unit in the tier whose `upto` is the first that is not less than v. `tiers` is
    how many there are. `bowed` says that rates first do not fall and then do not rise: then a volume costs least right at the
    begin of what may come, or at its end. `first` are the rates of the first tiers. `price` are rates over one unit for all
    (`price_unit`), so that they can be compared, if there is one that is not too large (`comparable`); `begins_at` is that of
    each first tier, and after them one of what has no price. `one_unit` is the unit of all tariffs that are not free, 0 if they
    have several.
    """

    upto: Ints
    begin: Ints
    rate: Ints
    whole: Ints
    rest: Ints
    unit: Ints
    tiers: Ints
    flat: npt.NDArray[np.bool_]
    bowed: npt.NDArray[np.bool_]
    all_flat: bool
    comparable: bool
    one_unit: int
    first: Ints
    price: Ints
    price_unit: int
    begins_at: Ints


class Links:
    """The tariffs of a card between the regions that were asked for so far."""

    def __init__(self, card: ratecard.RateCard) -> None:
        self._card = card
        self._index: dict[str, int] = {}
        self._ids: npt.NDArray[np.int32] = np.full((0, 0), _UNSEEN, dtype=np.int32)
        self._known: dict[int, int] = {}
        self.tariffs: list[ratecard.Tariff] = []
        self._tiers: Tiers | None = None
        # Decisions of several threads may meet new regions at once.
        self._growing = threading.Lock()

    def between(
        self, sources: Sequence[str], destinations: Sequence[str], columns: Ints | None = None
    ) -> npt.NDArray[np.int32]:
        """The number of the tariff of each link, a row for each source; UNKNOWN where no row prices it.

        `columns` are the destinations' places, for whoever has asked for them before.
        """
        rows, columns = self.places(sources), self.places(destinations) if columns is None else columns
        found = self._ids.take(rows, axis=0).take(columns, axis=1)
        if len(found) and found.size and found.min() == _UNSEEN:
            with self._growing:
                for i, j in zip(*np.nonzero(found == _UNSEEN), strict=True):
                    found[i, j] = self._ids[rows[i], columns[j]] = self._number(sources[i], destinations[j])
        return found

    @property
    def tiers(self) -> Tiers:
        """All tariffs met so far."""
        found = self._tiers
        if found is None or len(found.unit) != len(self.tariffs):
            found = self._tiers = _stack(list(self.tariffs))
        return found

    def places(self, regions: Sequence[str]) -> Ints:
        """The place of each region among those that were asked for; it never changes."""
        index = self._index
        try:
            return np.array([index[region] for region in regions], dtype=np.int64)
        except KeyError:
            with self._growing:
                known = len(index)
                for region in regions:
                    index.setdefault(region, len(index))
                if len(index) > len(self._ids):
                    wider = np.full((2 * len(index), 2 * len(index)), _UNSEEN, dtype=np.int32)
                    wider[:known, :known] = self._ids[:known, :known]
                    self._ids = wider
            return np.array([index[region] for region in regions], dtype=np.int64)

    def _number(self, source: str, destination: str) -> int:
        tariff = self._card.into(destination)[source]
        if tariff is None:
            return UNKNOWN
        number = self._known.get(id(tariff))
        if number is None:
            number = self._known[id(tariff)] = len(self.tariffs)
            self.tariffs.append(tariff)
        return number


def of(card: ratecard.RateCard) -> Links:
    """The links of a card: the same object each time, so that what one decision found serves the next."""
    found = card.memo.get("links")
    if not isinstance(found, Links):
        found = card.memo["links"] = Links(card)
    return found


def reached(tiers: Tiers, tariff: npt.NDArray[Any], volume: Ints) -> Ints:
    """The tier that a month's volume ends in; the tariff's number of tiers where it ends beyond the last."""
    return np.asarray((tiers.upto.take(tariff, axis=0) < volume[..., None]).sum(axis=-1), dtype=np.int64)


def begun(tiers: Tiers, tariff: npt.NDArray[Any], volume: Ints) -> Ints:
    """The tier that the next byte after a month's volume falls into."""
    return np.asarray((tiers.upto[tariff] <= volume[..., None]).sum(axis=-1), dtype=np.int64)


def value(tiers: Tiers, tariff: npt.NDArray[Any], volume: Ints) -> tuple[Ints, Ints, npt.NDArray[np.bool_]]:
    """F of volumes as whole micro-dollars and a numerator over the unit, and whether it is known; one for all where alike."""
    if tiers.all_flat:
        return _NOTHING, tiers.first.take(tariff) * volume, _ALL
    tier = reached(tiers, tariff, volume)
    known = tier < tiers.tiers.take(tariff)
    width = tiers.upto.shape[1]
    place = tariff * width + np.minimum(tier, width - 1)
    numerator = tiers.rest.take(place) + tiers.rate.take(place) * (volume - tiers.begin.take(place))
    return tiers.whole.take(place), numerator, known


def fits(tiers: Tiers, volume: int) -> bool:
    """Whether prices of so many bytes, counted from the first of a month, are exact in int64."""
    return bool(len(tiers.rate)) and volume < BEYOND and int(tiers.rate.max()) * volume < BEYOND


def half_even(whole: Ints, numerator: Ints, unit: Ints | int) -> Ints:
    """`units.divide_half_even` for arrays, of whole + numerator / unit; several times as fast where all have one unit."""
    more = numerator // unit
    whole = whole + more
    # Twice the rest is more than the unit; an odd number is rounded up at just that, too.
    return np.asarray(whole + (2 * (numerator - more * unit) + (whole & 1) > unit), dtype=np.int64)


def _stack(tariffs: Sequence[ratecard.Tariff]) -> Tiers:
    most = max(len(tariff.tiers) for tariff in tariffs)
    upto, begin, rate, whole, rest = (np.zeros((len(tariffs), most), dtype=np.int64) for _ in range(5))
    upto[:] = BEYOND
    for i, tariff in enumerate(tariffs):
        for k, tier in enumerate(tariff.tiers):
            # No volume comes near 2**62 bytes, so a tier that ends there or later has no end.
            upto[i, k] = BEYOND if tier.upto_bytes is None else min(tier.upto_bytes, BEYOND)
            begin[i, k] = min(tier.from_bytes, BEYOND)
            # Where a figure has no room here, the rate says so: then nothing fits, and all is counted in Python's integers.
            wide = max(tier.rate, tier.base // tariff.unit, tariff.unit) >= BEYOND
            rate[i, k] = BEYOND if wide else tier.rate
            whole[i, k], rest[i, k] = (0, 0) if wide else divmod(tier.base, tariff.unit)
    paid = {tariff.unit for tariff in tariffs if any(tier.rate for tier in tariff.tiers)}
    unit = math.lcm(*paid) if paid else 1
    factors = [unit // tariff.unit if tariff.unit in paid else 1 for tariff in tariffs]
    comparable = all(int(row.max()) * factor < BEYOND for row, factor in zip(rate, factors, strict=True))
    price = rate * np.array(factors, dtype=np.int64)[:, None] if comparable else rate
    return Tiers(
        upto=upto,
        begin=begin,
        rate=rate,
        whole=whole,
        rest=rest,
        unit=np.array([min(tariff.unit, BEYOND) for tariff in tariffs], dtype=np.int64),
        tiers=np.array([_open_tiers(tariff, most) for tariff in tariffs], dtype=np.int64),
        flat=np.array([tariff.flat for tariff in tariffs], dtype=np.bool_),
        bowed=np.array([_bowed([tier.rate for tier in tariff.tiers]) for tariff in tariffs], dtype=np.bool_),
        all_flat=all(tariff.flat for tariff in tariffs),
        comparable=comparable,
        one_unit=unit if len(paid) <= 1 else 0,
        first=rate[:, 0].copy(),
        price=price,
        price_unit=unit,
        begins_at=np.append(price[:, 0], BEYOND),
    )


def _bowed(rates: list[int]) -> bool:
    top = rates.index(max(rates))
    return rates[: top + 1] == sorted(rates[: top + 1]) and rates[top:] == sorted(rates[top:], reverse=True)


def _open_tiers(tariff: ratecard.Tariff, most: int) -> int:
    """How many tiers a volume may end in: all, where the last has no end (the padding is never reached then)."""
    return most if tariff.tiers[-1].upto_bytes is None else len(tariff.tiers)
