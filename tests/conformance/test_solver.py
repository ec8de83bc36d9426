"""What a solver of linear programs promises."""

from __future__ import annotations

import itertools
import sys
import time
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from federation import ports
from federation.adapters.solver import HighsSolver
from federation.core import errors, program
from federation.core.program import Program

INF = float("inf")


@pytest.fixture(params=[HighsSolver], ids=["highs"])
def solver(request: pytest.FixtureRequest) -> ports.Solver:
    """Each solver that ships."""
    made: ports.Solver = request.param()
    return made


def knapsack(values: list[int], weights: list[int], room: int) -> Program:
    """The most valuable things that fit, as a minimum."""
    columns = np.arange(len(values))
    return program.assemble(
        costs=-np.array(values),
        entries=(np.zeros_like(columns), columns, weights),
        row_lower=[-INF],
        row_upper=[room],
    )


def hard(seed: int = 0, *, columns: int = 400, rows: int = 60) -> Program:
    """Many knapsacks at once: no solver ends it in seconds, and any finds something in one."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(1, 100, (rows, columns))
    at = np.nonzero(weights)
    return program.assemble(
        costs=-rng.integers(50, 100, columns),
        entries=(at[0], at[1], weights[at]),
        row_lower=np.full(rows, -INF),
        row_upper=weights.sum(axis=1) // 3,
    )


def test_a_known_program_is_solved(solver: ports.Solver) -> None:
    """Of 3, 4 and 5 for 2, 3 and 4 of the room of 5, the first two fit."""
    found = solver.minimize(knapsack([3, 4, 5], [2, 3, 4], 5), seconds=10)
    assert found.values.tolist() == [1, 1, 0]
    assert (found.objective, found.optimal) == (-7, True)


def test_money_is_not_lost_in_large_numbers(solver: ports.Solver) -> None:
    """Costs of millions of dollars in micro-dollars differ by one part in ten million, and that decides."""
    big = 3 * 10**12
    found = solver.minimize(
        program.assemble(costs=[big + 300_000, big], entries=([0, 0], [0, 1], [1, 1]), row_lower=[1], row_upper=[1]), seconds=10
    )
    assert found.values.tolist() == [0, 1]


def test_columns_that_are_not_integral_may_be_parts(solver: ports.Solver) -> None:
    """Half of the second thing fits."""
    made = program.assemble(
        costs=[-3, -4],
        entries=([0, 0], [0, 1], [2, 4]),
        row_lower=[-INF],
        row_upper=[4],
        integral=[True, False],
    )
    found = solver.minimize(made, seconds=10)
    assert found.values == pytest.approx([1, 0.5])
    assert [found.objective, found.bound] == pytest.approx([-5, -5])


def test_a_linear_program_has_its_optimum_as_bound(solver: ports.Solver) -> None:
    """Where nothing must be whole."""
    made = program.assemble(costs=[1, 2], entries=([0, 0], [0, 1], [1, 1]), row_lower=[1.5], row_upper=[INF], integral=False)
    found = solver.minimize(made, seconds=10)
    assert [found.objective, found.bound] == pytest.approx([2, 2])
    assert found.optimal


def test_what_nothing_satisfies_is_refused(solver: ports.Solver) -> None:
    """Two columns of at most 1 do not add up to 3."""
    made = program.assemble(costs=[1, 1], entries=([0, 0], [0, 1], [1, 1]), row_lower=[3], row_upper=[3])
    with pytest.raises(errors.FailedPrecondition) as refused:
        solver.minimize(made, seconds=10)
    assert refused.value.reason == "PROGRAM_INFEASIBLE"


def test_what_has_no_best_is_refused(solver: ports.Solver) -> None:
    """It gets better for ever."""
    made = program.assemble(
        costs=[-1, 1], entries=([0, 0], [0, 1], [1, -1]), row_lower=[0], row_upper=[INF], upper=INF, integral=False
    )
    with pytest.raises(errors.FailedPrecondition) as refused:
        solver.minimize(made, seconds=10)
    assert refused.value.reason == "PROGRAM_UNBOUNDED"


@pytest.mark.parametrize(("side", "feasible"), [(0.0, True), (1.0, False)])
def test_a_program_without_columns_has_an_answer_too(solver: ports.Solver, side: float, feasible: bool) -> None:
    """Nothing to choose costs nothing, if the rows allow it."""
    made = program.assemble(costs=[], entries=([], [], []), row_lower=[side], row_upper=[INF])
    if feasible:
        assert solver.minimize(made, seconds=1).optimal
        return
    with pytest.raises(errors.FailedPrecondition):
        solver.minimize(made, seconds=1)


def test_a_solver_out_of_time_gives_what_it_has_with_an_honest_bound(solver: ports.Solver) -> None:
    """Its values are feasible, its bound is below what more time finds, and it does not claim to be done."""
    made = hard()
    began = time.monotonic()
    short = solver.minimize(made, seconds=1)
    assert time.monotonic() - began < 30
    longer = solver.minimize(made, seconds=4)
    assert not short.optimal
    assert satisfied(made, short.values)
    assert short.bound <= longer.objective <= short.objective
    assert short.objective == made.costs @ short.values


def test_a_solver_without_any_solution_in_time_says_so(solver: ports.Solver) -> None:
    """And not that there is none."""
    with pytest.raises(errors.Unavailable) as late:
        solver.minimize(hard(), seconds=0)
    assert late.value.reason == "SOLVER_TIMEOUT"


def test_the_same_program_gives_the_same_solution(solver: ports.Solver) -> None:
    """Also where many are equally good."""
    made = knapsack([5] * 30, [3] * 30, 40)
    assert solver.minimize(made, seconds=10).values.tolist() == solver.minimize(made, seconds=10).values.tolist()


@given(st.data())
@settings(max_examples=60, deadline=None)
def test_small_programs_are_solved_as_by_trying_everything(data: st.DataObject) -> None:
    """Costs, rows and bounds of any sign."""
    columns, rows = data.draw(st.integers(1, 6)), data.draw(st.integers(1, 4))
    number = st.integers(-9, 9)
    costs = data.draw(st.lists(number, min_size=columns, max_size=columns))
    matrix = np.array(data.draw(st.lists(st.lists(number, min_size=columns, max_size=columns), min_size=rows, max_size=rows)))
    bounds = [sorted(data.draw(st.tuples(number, number))) for _ in range(rows)]
    at = np.nonzero(matrix)
    made = program.assemble(
        costs=costs,
        entries=(at[0], at[1], matrix[at]),
        row_lower=[low for low, _ in bounds],
        row_upper=[high for _, high in bounds],
    )
    tried = [np.array(x) for x in itertools.product((0, 1), repeat=columns)]
    best = min((float(made.costs @ x) for x in tried if satisfied(made, x)), default=None)
    try:
        found = HighsSolver().minimize(made, seconds=30)
    except errors.FailedPrecondition:
        assert best is None
        return
    assert best == found.objective
    assert found.optimal
    assert satisfied(made, found.values)


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what to type."""
    monkeypatch.setitem(sys.modules, "highspy", None)
    with pytest.raises(errors.FailedPrecondition) as missing:
        HighsSolver().minimize(knapsack([1], [1], 1), seconds=1)
    assert missing.value.reason == "SOLVER_MISSING"
    assert "pip install highspy" in missing.value.help


def satisfied(made: Program, values: Any) -> bool:
    """Whether values keep to every row."""
    sums = np.zeros(len(made.row_lower))
    for row in range(len(sums)):
        part = slice(made.starts[row], made.starts[row + 1])
        sums[row] = made.coefficients[part] @ np.asarray(values, dtype=np.float64)[made.columns[part]]
    return bool(((sums >= made.row_lower - 1e-6) & (sums <= made.row_upper + 1e-6)).all())
