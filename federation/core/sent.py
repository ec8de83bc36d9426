"""What counts as sent already in the pricing scopes of a month: found once for each state of them, shared by decisions.

A value like `prepared.Prepared`: of one tuple of volumes, one of reservations and one list of regions, and good for worlds that
hold these very objects.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from federation.core import checks, ratecard, site

Ints = npt.NDArray[np.int64]


class Sent:
    """Bytes by pricing scope, and by the ways from origins (region and billing account) into regions."""

    def __init__(
        self, volumes: tuple[site.LinkVolume, ...], reservations: tuple[site.LinkReservation, ...], regions: Sequence[str]
    ) -> None:
        self.volumes, self.reservations, self.regions = volumes, reservations, regions
        self._by_scope = by_scope(volumes, reservations)
        checks.sent(self._by_scope)
        #: The most that counts in any scope.
        self.most = max(self._by_scope.values(), default=0)
        self._origins = {scope.partition("~")[0] for scope in self._by_scope}
        self._rows: dict[tuple[str, str], Ints] = {}

    def before(self, origins: Sequence[tuple[str, str]], regions: Sequence[str]) -> Ints | None:
        """What counts before the next byte from each origin into each region, a row for each; None where nothing does."""
        if not self._origins:
            return None
        if regions is not self.regions:
            return self._found([self._row(*origin, regions) for origin in origins])
        known = self._rows
        for origin in origins:
            if origin not in known:
                known[origin] = self._row(*origin, regions)
        return self._found([known[origin] for origin in origins])

    def _found(self, rows: list[Ints]) -> Ints | None:
        found = np.array(rows, dtype=np.int64)
        return found if found.any() else None

    def _row(self, region: str, account: str, regions: Sequence[str]) -> Ints:
        if (f"{account}/{region}" if account else region) not in self._origins:
            return np.zeros(len(regions), dtype=np.int64)
        scopes = (ratecard.scope(region, destination, account) for destination in regions)
        return np.array([self._by_scope.get(scope, 0) for scope in scopes], dtype=np.int64)


def by_scope(volumes: Sequence[site.LinkVolume], reservations: Sequence[site.LinkReservation]) -> dict[str, int]:
    """What was sent this month in each pricing scope, and what quotes in flight will still send in it."""
    found = {row.scope: row.sent_bytes for row in volumes}
    for row in reservations:
        found[row.scope] = found.get(row.scope, 0) + row.reserved_bytes
    return found
