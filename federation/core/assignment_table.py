"""A queue of jobs as arrays: what each could cost where, what it would take there, and a lower bound that needs no trust.

Rows are jobs, columns are *lanes*: a site's cheapest option for a job, its second, ...; the last lane is waiting, which takes
nothing. All numbers are whole and below 2**50, so that floats hold them exactly and numpy is fast.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.intp]

#: Whole numbers up to here, times the fixed point below, are exact in a float.
NUMBER_MAX = 2**50
_POINT_BITS_MAX = 10
_EXACT = 2.0**53


class Table(NamedTuple):
    """Jobs by lanes. `cost` is infinite where a job has no option; `kind` is the row of `demand` that the option takes.

    `demand` is kinds by resources, its row 0 nothing; `free` is sites by resources, its last row, the waiting room, infinite.
    `sites` maps lanes to rows of `free`.
    """

    cost: Floats
    kind: Ints
    demand: Floats
    free: Floats
    sites: Ints

    @property
    def jobs(self) -> int:
        """How many jobs there are."""
        return int(self.cost.shape[0])

    def pick(self, rows: Ints, free: Floats) -> Table:
        """The table of some jobs, with what is free for them, less what would not fit alone or costs more than waiting."""
        cost, kind = self.cost[rows], self.kind[rows]
        closed = cost > cost[:, -1:]
        for k in range(self.demand.shape[1]):
            closed |= self.demand[:, k][kind] > free[:, k][self.sites]
        return Table(np.where(closed, np.inf, cost), kind, self.demand, free, self.sites)

    def used(self, choice: Ints) -> Floats:
        """What a lane for each job takes: sites by resources."""
        taken = self.demand[self.kind[np.arange(self.jobs), choice]]
        at = self.sites[choice]
        rows = self.free.shape[0]
        columns = [np.bincount(at, weights=taken[:, k], minlength=rows) for k in range(taken.shape[1])]
        return np.stack(columns, axis=1) if columns else np.zeros((rows, 0))

    def fits(self, choice: Ints) -> bool:
        """Whether a lane for each job is more than no site has."""
        return bool((self.used(choice) <= self.free).all())

    def total(self, choice: Ints) -> int:
        """What a lane for each job costs, exactly."""
        return sum(map(int, self.cost[np.arange(self.jobs), choice].tolist()))

    def load_max(self) -> Floats:
        """The most that all jobs together could take: sites by resources. What is free beyond it never binds."""
        found = np.zeros_like(self.free)
        for k in range(self.demand.shape[1]):
            wants = np.where(np.isinf(self.cost), 0.0, self.demand[:, k][self.kind])[:, :-1]
            by_site = wants.reshape(self.jobs, self.free.shape[0] - 1, -1).max(axis=2)
            found[:-1, k] = by_site.sum(axis=0)
        return found


class Prices(NamedTuple):
    """A price for each site's resources in fixed point: `units` of the resource cost `parts / 2**point` micros."""

    parts: Floats
    units: Floats
    point: int


def fixed(table: Table, unit_prices: Floats, units: Floats | None = None) -> Prices:
    """Prices for one of each resource, rounded to fixed point, as prices for `units` (default 1) of each."""
    size = np.ones_like(table.free) if units is None else units
    finite = table.cost[np.isfinite(table.cost)]
    largest = int(finite.max(initial=1.0))
    point = min(_POINT_BITS_MAX, NUMBER_MAX.bit_length() - 1 - largest.bit_length())
    parts = np.minimum(np.rint(unit_prices * size * 2.0**point), float(NUMBER_MAX))
    return Prices(parts, size, point)


def bound(table: Table, prices: Prices) -> int:
    """No placement that fits costs less: the Lagrangian dual at these prices, in whole numbers, whatever the prices are.

    A placement pays for each job its cost plus a toll for what it takes, and gets back what the tolls at a site can sum to. A
    toll is `floor(demand / unit) * price` for each resource, or less, so those at one site sum to at most
    `floor(free / unit) * price`: what is got back is no less than what was paid. So the sum over jobs of their cheapest lane
    *with* toll, less what all sites give back, is at most the cost of any placement that fits.
    """
    least = _paid(table, prices).min(axis=1)
    back = np.floor(table.free[:-1] / prices.units[:-1])
    given = sum(
        int(count) * int(price)
        for count, price in zip(back.ravel().tolist(), prices.parts[:-1].ravel().tolist(), strict=True)
        if price
    )
    parts = sum(map(int, least.tolist())) - given
    return -(-parts >> prices.point)


def excess(table: Table, prices: Prices) -> Floats:
    """What each lane costs beyond the job's cheapest, with toll: whole micros rounded down, infinite where there is no lane.

    A placement that fits costs at least `bound` and the excesses of all its lanes.
    """
    paid = _paid(table, prices)
    found: Floats = np.floor((paid - paid.min(axis=1, keepdims=True)) * 2.0**-prices.point)
    return found


def _paid(table: Table, prices: Prices) -> Floats:
    """The cost of each lane with its toll, in parts of a micro: whole numbers, exact."""
    flat = table.kind * table.free.shape[0] + table.sites
    paid: Floats = table.cost * 2.0**prices.point + _tolls(table.demand, prices).ravel()[flat]
    return paid


def _tolls(demand: Floats, prices: Prices) -> Floats:
    """What each kind of demand pays at each site, kinds by sites: whole numbers, rounded down where a float cannot hold one."""
    tolls = np.zeros((demand.shape[0], prices.parts.shape[0]))
    for k in range(demand.shape[1]):
        counts = np.floor(demand[:, k : k + 1] / prices.units[:, k])
        toll = counts * prices.parts[:, k]
        toll = np.where(toll < _EXACT, toll, np.floor(toll * (1 - 2.0**-50)))
        # More than the dearest cost excludes as well as that: a lower toll is still a valid one, and stays exact.
        tolls = np.minimum(tolls + np.minimum(toll, float(NUMBER_MAX)), float(NUMBER_MAX))
    tolls[:, -1] = 0.0
    return tolls
