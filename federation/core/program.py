"""A mixed-integer linear program as a value, and what a solver found: the language of the port `Solver`."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from federation.core import errors

Floats = npt.NDArray[np.float64]
Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, eq=False)
class Program:
    """Minimize `costs @ x` over `0 <= x <= upper` with `row_lower <= A @ x <= row_upper`; columns marked `integral` are whole.

    A has one row for each pair of row bounds and is held in compressed sparse rows: the entries of row r are
    `columns[starts[r]:starts[r + 1]]` with `coefficients` at the same positions. An absent bound is an infinity.
    InvalidArgument (PROGRAM_INVALID) when lengths do not fit together or a number is not one.
    """

    costs: Floats
    upper: Floats
    integral: Bools
    starts: Ints
    columns: Ints
    coefficients: Floats
    row_lower: Floats
    row_upper: Floats

    def __post_init__(self) -> None:
        for wrong in self._faults():
            raise errors.InvalidArgument(f"the program is not well-formed: {wrong}", reason="PROGRAM_INVALID")

    def __repr__(self) -> str:
        return f"<Program rows={len(self.row_lower)} columns={len(self.costs)} entries={len(self.columns)}>"

    def _faults(self) -> list[str]:
        count, entries = len(self.costs), len(self.columns)
        checks = {
            "costs, upper and integral differ in length": not count == len(self.upper) == len(self.integral),
            "row_lower and row_upper differ in length": len(self.row_lower) != len(self.row_upper),
            "starts has not one entry more than there are rows": len(self.starts) != len(self.row_lower) + 1,
            "columns and coefficients differ in length": entries != len(self.coefficients),
            "starts does not lead from 0 to the number of entries": not _ascends(self.starts, entries),
            "an entry is of no column": entries > 0 and not (self.columns.min() >= 0 and self.columns.max() < count),
            "a cost or coefficient is not finite": not (np.isfinite(self.costs).all() and np.isfinite(self.coefficients).all()),
            "an upper bound is below 0 or not a number": not (self.upper >= 0).all(),
            "a row's bounds are not in order": len(self.row_lower) == len(self.row_upper)
            and not (self.row_lower <= self.row_upper).all(),
        }
        return [name for name, failed in checks.items() if failed]


@dataclass(frozen=True, kw_only=True, eq=False)
class Solution:
    """The best values found, in the program's order of columns; whole where a column is integral.

    `objective` is `costs @ values`; no feasible values cost less than `bound`. Where `optimal`, the two were proven equal. All
    three hold within floating point and the solver's tolerance: one part in a million.
    """

    values: Floats
    objective: float
    bound: float
    optimal: bool

    def __repr__(self) -> str:
        return f"<Solution objective={self.objective:.6g} bound={self.bound:.6g} optimal={self.optimal}>"


def assemble(
    *,
    costs: npt.ArrayLike,
    entries: tuple[npt.ArrayLike, npt.ArrayLike, npt.ArrayLike],
    row_lower: npt.ArrayLike,
    row_upper: npt.ArrayLike,
    upper: npt.ArrayLike = 1.0,
    integral: npt.ArrayLike = True,
) -> Program:
    """A program from its entries in any order: (row numbers, column numbers, coefficients); those of one place add up.

    `upper` and `integral` may be one value for all columns: by default each column is 0 or 1.
    """
    cost = np.asarray(costs, dtype=np.float64)
    lower = np.asarray(row_lower, dtype=np.float64)
    rows, columns = (np.asarray(part, dtype=np.int64) for part in entries[:2])
    coefficients = np.asarray(entries[2], dtype=np.float64)
    if not rows.shape == columns.shape == coefficients.shape:
        raise errors.InvalidArgument("rows, columns and coefficients differ in length", reason="PROGRAM_INVALID")
    if len(rows) and not (rows.min() >= 0 and rows.max() < len(lower)):
        raise errors.InvalidArgument("an entry is of no row", reason="PROGRAM_INVALID")
    order = np.lexsort((columns, rows))
    rows, columns, coefficients = rows[order], columns[order], coefficients[order]
    first = np.ones(len(rows), dtype=np.bool_)
    first[1:] = (rows[1:] != rows[:-1]) | (columns[1:] != columns[:-1])
    heads = np.flatnonzero(first)
    starts = np.zeros(len(lower) + 1, dtype=np.int64)
    np.cumsum(np.bincount(rows[heads], minlength=len(lower)), out=starts[1:])
    return Program(
        costs=cost,
        upper=np.broadcast_to(np.asarray(upper, dtype=np.float64), cost.shape),
        integral=np.broadcast_to(np.asarray(integral, dtype=np.bool_), cost.shape),
        starts=starts,
        columns=columns[heads],
        coefficients=np.add.reduceat(coefficients, heads) if len(heads) else coefficients,
        row_lower=lower,
        row_upper=np.asarray(row_upper, dtype=np.float64),
    )


def _ascends(starts: Ints, last: int) -> bool:
    return len(starts) > 0 and starts[0] == 0 and starts[-1] == last and bool((np.diff(starts) >= 0).all())
