"""The filter of listings: what it reads, and what it says to everything else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, listing

FIELDS = ("state", "owner", "source_region")


@given(st.dictionaries(st.sampled_from(FIELDS), st.text(max_size=20)))
def test_what_is_rendered_is_read_back(where):
    """Whatever the values hold: quotes, backslashes, AND."""
    assert listing.parse(listing.render(where), FIELDS) == where


@pytest.mark.parametrize("text", ['state="A"', '  state  =  "A"  ', 'state = "A" AND owner = "b"', 'owner="b" AND  state="A"'])
def test_spaces_and_order_do_not_matter(text):
    """Only the conditions do."""
    assert listing.parse(text, FIELDS)["state"] == "A"


@pytest.mark.parametrize("text", ["", "   "])
def test_an_empty_filter_keeps_all(text):
    """No condition."""
    assert listing.parse(text, FIELDS) == {}


@pytest.mark.parametrize(
    "text",
    [
        "state",
        "state = A",
        "state = 'A'",
        'state != "A"',
        'state = "A" OR state = "B"',
        'state = "A" AND',
        'AND state = "A"',
        'state = "A" owner = "b"',
        'state = "A" ANDowner = "b"',
        'state = "A',
        'nonsense = "A"',
        'state = "A" AND state = "B"',
        '(state = "A")',
    ],
)
def test_anything_else_is_refused_with_the_fields(text):
    """A clear error that names what could be asked; never an answer to half of the question."""
    with pytest.raises(errors.InvalidArgument) as caught:
        listing.parse(text, FIELDS)
    assert caught.value.reason == "FILTER_INVALID"
    assert "owner, source_region, state" in caught.value.help


@given(st.text(max_size=40))
def test_no_text_breaks_it(text):
    """It is read, or refused as ours."""
    try:
        listing.parse(text, FIELDS)
    except errors.InvalidArgument as error:
        assert error.reason == "FILTER_INVALID"  # noqa: PT017 - either outcome is right
