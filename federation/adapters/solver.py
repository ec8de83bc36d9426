"""Mixed-integer linear programs solved by HiGHS (`highspy`): silent, repeatable, bounded in time."""

from __future__ import annotations

import importlib
import math
from types import ModuleType
from typing import Any

import numpy as np

from federation.core import errors
from federation.core.program import Program, Solution

#: A bound this near, as a share of the objective, counts as reached: what floating point leaves of a proof.
TOLERANCE = 1e-6
#: One thread and one seed, so that the same program gives the same solution; HiGHS's own gap of 1e-4 would be no proof.
_OPTIONS: dict[str, bool | int | float | str] = {
    "output_flag": False,
    "threads": 1,
    "parallel": "off",
    "random_seed": 0,
    "mip_rel_gap": 0.0,
    "mip_abs_gap": 1e-6,
}
#: HiGHS's tolerances are absolute: costs are scaled, by a power of two and so exactly, until the largest is just below this.
_COST_BITS = 20


class HighsSolver:
    """The port `Solver` over HiGHS. Holds nothing between calls; threads may share it."""

    def minimize(self, program: Program, *, seconds: float) -> Solution:
        """See `ports.Solver`; FailedPrecondition (SOLVER_MISSING) where `highspy` is not installed."""
        highs = _highspy()
        if not len(program.costs):
            return _empty(program)
        scale = _scale(program)
        model = highs.Highs()
        for name, value in _OPTIONS.items():
            _accepted(highs, model.setOptionValue(name, value), f"its option {name}={value}")
        _accepted(highs, model.setOptionValue("time_limit", max(float(seconds), 0.0)), f"a limit of {seconds} s")
        _accepted(highs, _pass(highs, model, program, scale), repr(program))
        model.run()
        return _answer(highs, model, program, scale, seconds)


def _highspy() -> ModuleType:
    try:
        return importlib.import_module("highspy")
    except ImportError as missing:
        raise errors.FailedPrecondition(
            f"the solver HiGHS is not installed: {missing}", reason="SOLVER_MISSING", help="Install it: pip install highspy"
        ) from missing


def _scale(program: Program) -> float:
    largest = float(np.abs(program.costs).max())
    return math.ldexp(1.0, _COST_BITS - math.frexp(largest)[1]) if largest else 1.0


def _pass(highs: ModuleType, model: Any, program: Program, scale: float) -> Any:
    return model.passModel(
        len(program.costs),
        len(program.row_lower),
        len(program.columns),
        int(highs.MatrixFormat.kRowwise),
        int(highs.ObjSense.kMinimize),
        0.0,
        program.costs * scale,
        np.zeros(len(program.costs)),
        program.upper,
        program.row_lower,
        program.row_upper,
        program.starts.astype(np.int32),
        program.columns.astype(np.int32),
        program.coefficients,
        program.integral.astype(np.int32),
    )


def _accepted(highs: ModuleType, status: Any, what: str) -> None:
    if status == highs.HighsStatus.kError:
        raise errors.InvalidArgument(f"HiGHS refuses {what}", reason="PROGRAM_INVALID")


def _answer(highs: ModuleType, model: Any, program: Program, scale: float, seconds: float) -> Solution:
    status, info, statuses = model.getModelStatus(), model.getInfo(), highs.HighsModelStatus
    if status == statuses.kInfeasible:
        raise _infeasible(program)
    if status in {statuses.kUnbounded, statuses.kUnboundedOrInfeasible}:
        raise errors.FailedPrecondition(f"{program!r} has no best solution", reason="PROGRAM_UNBOUNDED")
    if info.primal_solution_status != int(highs.SolutionStatus.kSolutionStatusFeasible):
        raise errors.Unavailable(
            f"no solution of {program!r} was found in {seconds:g} s ({model.modelStatusToString(status)})",
            reason="SOLVER_TIMEOUT",
            help="Allow more time, or ask for less at once.",
            metadata={"seconds": f"{seconds:g}"},
        )
    values = np.array(model.getSolution().col_value, dtype=np.float64)
    values[program.integral] = np.rint(values[program.integral])
    objective = float(program.costs @ values)
    ended = bool(status == statuses.kOptimal)
    proven = info.mip_dual_bound / scale if program.integral.any() else objective if ended else -math.inf
    bound = min(proven, objective)
    near = objective - bound <= TOLERANCE * max(1.0, abs(objective))
    return Solution(values=values, objective=objective, bound=bound, optimal=ended and near)


def _empty(program: Program) -> Solution:
    """The answer where there is nothing to choose: HiGHS has a status of its own for that."""
    if not ((program.row_lower <= 0) & (program.row_upper >= 0)).all():
        raise _infeasible(program)
    return Solution(values=np.zeros(0), objective=0.0, bound=0.0, optimal=True)


def _infeasible(program: Program) -> errors.FailedPrecondition:
    return errors.FailedPrecondition(f"nothing satisfies {program!r}", reason="PROGRAM_INFEASIBLE")
