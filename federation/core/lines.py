"""What a byte costs at the least on every link between a federation's regions: found once for each state of what was sent.

A line under each tariff: a price of a byte, and a slack, so that what some bytes add is nowhere below their number times that
price, less the slack, whatever else comes over the link. Floats: they say what may be the best, never what it costs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from federation.core import links, sent

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]

#: A number of bytes is rounded up to so many binary digits: then few lines serve all decisions.
_DIGITS = 4


class Lines:
    """Of all links from origins (region and billing account) into regions, for decisions that move up to `most` bytes.

    `slope` is the price of a byte over `tiers.price_unit`, infinite where it is unknown; `high` what the dearest byte costs,
    infinite where the last tier that is known may be passed. Within a region nothing costs anything. Where all tariffs are
    flat, `price` is the slope in whole numbers: -1 within a region, BEYOND where it is unknown.
    """

    def __init__(
        self, table: links.Links, origins: Sequence[tuple[str, str]], regions: Sequence[str], counted: sent.Sent, most: int
    ) -> None:
        self.sent, self.most = counted, most
        self.numbers = table.between([region for region, _ in origins], regions)
        #: So many tariffs were known then.
        self.tariffs = len(table.tariffs)
        #: None where no link has a price, or int64 could not hold what so many bytes cost.
        self.tiers = _sound(table, most + counted.most)
        if self.tiers is None:
            return
        places = {region: r for r, region in enumerate(regions)}
        here = [n * len(regions) + r for n, (name, _) in enumerate(origins) if (r := places.get(name)) is not None]
        self.price: Ints = self.tiers.begins_at.take(self.numbers)
        self.price.put(here, -1)
        self.slope: Floats = np.where(self.price < links.BEYOND, np.maximum(self.price, 0), np.inf)
        self.high, self.slack = self.slope.copy(), np.zeros(self.slope.shape)
        bent = (self.numbers >= 0) & ~self.tiers.flat.take(self.numbers)
        bent.put(here, False)
        at = bent.ravel().nonzero()[0]
        if len(at):
            self._bend(self.tiers, at, counted.before(origins, regions))

    def _bend(self, tiers: links.Tiers, at: npt.NDArray[np.intp], before: Ints | None) -> None:
        """Links whose bytes do not all cost the same: the slope is the last tier's that may be reached."""
        number = self.numbers.take(at)
        # How many bytes come to the end of each tier, from what was sent already on, and which of them fall into it.
        ends = tiers.upto.take(number, axis=0) - (0 if before is None else before.take(at)[:, None])
        used = np.clip(ends, 0, self.most)
        used[:, 1:] -= used[:, :-1].copy()
        price = tiers.price.take(number, axis=0).astype(np.float64)
        last = (ends < self.most).sum(axis=1)
        slope = np.take_along_axis(price, np.minimum(last, price.shape[1] - 1)[:, None], axis=1)
        self.slope.put(at, slope)
        # Of each tier that may be used, what it is cheaper by.
        self.slack.put(at, (np.maximum(slope - price, 0) * used).sum(axis=1))
        high = np.where(used > 0, price, 0).max(axis=1)
        self.high.put(at, np.where(last < tiers.tiers.take(number), high, np.inf))


def rounded_up(most: int) -> int:
    """A number of bytes rounded up to a few leading bits, so that many decisions share what was found for it."""
    step = 1 << max(most.bit_length() - _DIGITS, 0)
    return -(-most // step) * step


def _sound(table: links.Links, most: int) -> links.Tiers | None:
    if not table.tariffs:
        return None
    tiers = table.tiers
    return tiers if tiers.comparable and links.fits(tiers, max(most, 1)) else None
