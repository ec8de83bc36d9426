"""Linear programs as values: what is put together is what was said, and nonsense is refused where it is made."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from federation.core import errors, program

INF = float("inf")
GOOD: dict[str, Any] = {"costs": [1, 2, 3], "entries": ([0, 1], [2, 0], [5, 7]), "row_lower": [0, 0], "row_upper": [1, 1]}


def test_entries_come_in_any_order_and_add_up() -> None:
    """Row by row, columns ascending, doubles summed, rows without entries kept."""
    made = program.assemble(
        costs=[1, 2, 3],
        entries=([2, 0, 2, 2], [1, 2, 0, 1], [4, 5, 6, 7]),
        row_lower=[0, 0, 0],
        row_upper=[1, 1, 1],
    )
    assert made.starts.tolist() == [0, 1, 1, 3]
    assert made.columns.tolist() == [2, 0, 1]
    assert made.coefficients.tolist() == [5, 6, 11]


def test_columns_are_0_or_1_unless_told_otherwise() -> None:
    """One value may stand for all."""
    plain = program.assemble(**GOOD)
    assert (plain.upper.tolist(), plain.integral.tolist()) == ([1, 1, 1], [True] * 3)
    told = program.assemble(**GOOD, upper=[1, 2, INF], integral=False)
    assert (told.upper.tolist(), told.integral.tolist()) == ([1, 2, INF], [False] * 3)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"costs": [1, INF, 3]}, "not finite"),
        ({"costs": [1, float("nan"), 3]}, "not finite"),
        ({"entries": ([0, 1], [3, 0], [5, 7])}, "no column"),
        ({"entries": ([0, 1], [-1, 0], [5, 7])}, "no column"),
        ({"entries": ([0, 2], [1, 0], [5, 7])}, "no row"),
        ({"entries": ([0, 1], [1, 0], [5, INF])}, "not finite"),
        ({"entries": ([0, 1], [1, 0], [5])}, "differ in length"),
        ({"row_lower": [0, 2]}, "not in order"),
        ({"row_lower": [0, float("nan")]}, "not in order"),
        ({"row_upper": [1]}, "differ in length"),
        ({"upper": -1}, "below 0"),
        ({"upper": float("nan")}, "below 0"),
    ],
)
def test_nonsense_is_refused(changed: dict[str, Any], said: str) -> None:
    """By what is wrong with it, before any solver sees it."""
    with pytest.raises(errors.InvalidArgument, match=said) as refused:
        program.assemble(**{**GOOD, **changed})
    assert refused.value.reason == "PROGRAM_INVALID"


def test_starts_must_lead_through_the_entries() -> None:
    """For whoever makes a program without `assemble`."""
    good = program.assemble(**GOOD)
    for starts in ([0, 2], [1, 1, 2], [0, 1, 1], [0, 3, 2]):
        with pytest.raises(errors.InvalidArgument, match="starts"):
            program.Program(**{**good.__dict__, "starts": np.array(starts)})
