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


_KEYS = st.lists(st.text("abz/-~", min_size=1, max_size=4), unique=True, max_size=12)


@given(_KEYS, st.text("abz/-~", min_size=1, max_size=2), st.booleans(), st.integers(1, 3))
def test_a_stretch_read_in_pages_is_all_that_begins_so(keys, prefix, newest_first, limit):
    """In either order, with pages of any size, and without going far beyond it: as `pages` reads it."""
    stretch = listing.Stretch(prefix, newest_first)
    found, last = [], ""
    while True:
        begin = stretch.after(last)
        rows = sorted(
            (key for key in keys if not begin or (key < begin if newest_first else key > begin)), reverse=newest_first
        )
        page = rows[:limit]
        found += [key for key in page if stretch.holds(key)]
        if len(rows) <= limit or any(stretch.ends_before(key) for key in page):
            break
        last = page[-1]
    assert found == sorted((key for key in keys if key.startswith(prefix)), reverse=newest_first)


@pytest.mark.parametrize("text", ["", "*", "a b*", "ä*", "a\x00"])
def test_what_can_be_no_name_is_refused(text):
    """A prefix goes into a search by order, where such signs have no place."""
    with pytest.raises(errors.InvalidArgument) as caught:
        listing.named(text)
    assert caught.value.reason == "FILTER_INVALID"


def test_a_name_is_asked_for_whole_or_by_how_it_begins():
    """A star at the end stands for any ending, as AIP-160 has it."""
    assert (listing.named("j-1"), listing.named("j-1*")) == (("j-1", ""), ("", "j-1"))
