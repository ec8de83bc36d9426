"""What scarce room is worth to a queue: Lagrangian prices, found by subgradient steps that end in the volume algorithm."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from federation.core.assignment_table import Floats, Ints, Table

#: How many of a job's lanes are looked at after the first steps, and how many more after each look at all of them.
_NARROW, _FEW = 32, 4
#: The first stride, as a share of a site's part of the whole cost.
_WARM = 0.04


class _Narrow(NamedTuple):
    """The lanes of each job that are looked at for now: their cost, kind and site, and where their toll stands."""

    cost: Floats
    kind: Ints
    site: Ints
    flat: Ints


class Walk:
    """An ascent of the dual: prices by which each job's cheapest lane with toll asks for as much as there is.

    `best` are the best prices so far, each in micros for all that is free of the resource at the site, `value` their dual.
    """

    def __init__(self, table: Table) -> None:
        self._table = table
        bounded = (table.free > 0) & np.isfinite(table.free)
        self._inverse = np.where(bounded, 1.0 / np.where(bounded, table.free, 1.0), 0.0)
        self._rows = np.arange(table.jobs)
        self.best = np.zeros_like(table.free)
        self._flat = table.kind * table.free.shape[0] + table.sites
        self._view = _Narrow(table.cost, table.kind, np.broadcast_to(table.sites, table.cost.shape), self._flat)
        self._narrow = False
        self.value, self._average = self._answer(self.best)
        self._stride, self._newest, self._dull = 1.0, 0.3, 0

    @property
    def unit_prices(self) -> Floats:
        """Micros for one of each resource, sites by resources."""
        return self.best * self._inverse

    def warm(self, rounds: int) -> None:
        """First steps: each price moves by its own excess, ever less the more it has moved (AdaGrad). Fast, and then slow."""
        table = self._table
        prices, moved = self.best.copy(), np.zeros_like(self.best)
        reach = _WARM * float(table.cost.min(axis=1).sum()) / max(table.free.shape[0] - 1, 1)
        for _ in range(rounds):
            value, excess = self._answer(prices)
            if value > self.value:
                self.best, self.value, self._average = prices, value, excess
            pull = np.clip(np.where((prices > 0) | (excess > 0), excess, 0.0), -1.0, 1.0)
            moved += pull**2
            prices = np.maximum(prices + reach * pull / np.sqrt(moved + 1e-12), 0.0)

    def climb(self, rounds: int, upper: float) -> None:
        """Then the volume algorithm (Barahona and Anbil, Mathematical Programming 87, 2000), while `upper` promises more.

        Steps go from the best prices along the averaged excess; `upper` is the cost of a placement that is known. Most lanes
        never matter by now: only some of each job are looked at, and in each call a few more, those that pay least by then.
        """
        self._widen()
        self.value, _ = self._answer(self.best)
        for _ in range(rounds):
            direction = np.where((self.best > 0) | (self._average > 0), self._average, 0.0)
            steepness = float((direction**2).sum())
            if steepness < 1e-12 or upper - self.value < 0.5:
                break
            tried = np.maximum(self.best + self._stride * (upper - self.value) / steepness * direction, 0.0)
            value, excess = self._answer(tried)
            self._average = self._average + self._newest * (excess - self._average)
            self._judge(tried, value, float((direction * excess).sum()))
        self._newest = max(self._newest * 0.7, 0.05)

    def _judge(self, tried: Floats, value: float, along: float) -> None:
        """Longer strides while the newest answer still points the same way, shorter after a row of failures."""
        if value > self.value:
            self.best, self.value, self._dull = tried, value, 0
            if along > 0:
                self._stride = min(self._stride * 1.15, 2.0)
            return
        self._dull += 1
        if self._dull >= 5:
            self._stride, self._dull = max(self._stride * 0.75, 1e-3), 0

    def _widen(self) -> None:
        """The lanes that pay least at the best prices come into view; at first many, then a few more. Twice does no harm."""
        table = self._table
        width = _FEW if self._narrow else _NARROW
        if table.cost.shape[1] <= _NARROW:
            return
        paid = table.cost + (table.demand @ self.unit_prices.T).ravel()[self._flat]
        lanes = np.argpartition(paid, width, axis=1)[:, :width]
        if not self._narrow:
            # Waiting is always in view, so that every job has an answer to every price.
            lanes[:, 0] = np.where((lanes == table.cost.shape[1] - 1).any(axis=1), lanes[:, 0], table.cost.shape[1] - 1)
        rows = self._rows[:, None]
        more = _Narrow(table.cost[rows, lanes], table.kind[rows, lanes], table.sites[lanes], self._flat[rows, lanes])
        old = self._view if self._narrow else None
        self._view = _Narrow(*(np.hstack(pair) for pair in zip(old, more, strict=True))) if old else more
        self._narrow = True

    def _answer(self, prices: Floats) -> tuple[float, Floats]:
        """The dual's value at these prices, and by how much the jobs' answers exceed what is free, as a share of it."""
        view, demand = self._view, self._table.demand
        paid = view.cost + (demand @ (prices * self._inverse).T).ravel()[view.flat]
        choice = paid.argmin(axis=1)
        value = float(paid[self._rows, choice].sum() - prices.sum())
        taken, at = demand[view.kind[self._rows, choice]], view.site[self._rows, choice]
        rows = prices.shape[0]
        used = np.stack([np.bincount(at, weights=taken[:, k], minlength=rows) for k in range(taken.shape[1])], axis=1)
        return value, np.where(self._inverse > 0, used * self._inverse - 1.0, 0.0)
