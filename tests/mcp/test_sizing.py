"""Answers that fit a model: nothing disappears without a word."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from federation.mcp import sizing

_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(max_size=60),
    lambda inner: st.lists(inner, max_size=12) | st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=6),
    max_leaves=40,
)


def test_a_listing_says_how_to_get_the_rest() -> None:
    """And reads no further than it has to."""
    assert sizing.rows([1, 2], 2, "say more") == {"rows": [1, 2]}
    assert sizing.rows(iter([1, 2, 3]), 2, "say more") == {"rows": [1, 2], "more": "say more"}


@given(answer=st.dictionaries(st.text(min_size=1, max_size=6), _JSON, max_size=6), bytes_max=st.integers(200, 2_000))
def test_an_answer_fits_or_has_no_list_left_to_cut(answer: dict[str, object], bytes_max: int) -> None:
    """Lists are halved, the longest first, and what was cut is counted by where it was."""
    fitted = sizing.fit(answer, bytes_max)
    cut = fitted.pop("left_off", {}) if "left_off" not in answer else {}
    size = len(json.dumps(fitted, ensure_ascii=False).encode())
    assert size <= bytes_max or all(len(found) < 2 for _, found in sizing._lists(fitted))
    assert all(number > 0 for number in cut.values())


def test_what_is_empty_is_left_out_and_a_long_text_is_cut_with_its_length() -> None:
    """False and 0 say something; '' and [] do not."""
    long = "x" * (sizing.TEXT_CHARS_MAX + 7)
    assert sizing.fit({"a": "", "b": [], "c": None, "d": 0, "e": False, "f": long}) == {
        "d": 0,
        "e": False,
        "f": "x" * sizing.TEXT_CHARS_MAX + "… (7 characters more)",
    }
