"""Names: what is legal, what is refused, and that every name survives being written and read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, ids

SEGMENTS = st.from_regex(ids.SEGMENT, fullmatch=True)


@given(SEGMENTS, SEGMENTS, st.integers(1, 10**12))
def test_a_version_name_survives_both_ways_of_writing_it(namespace: str, dataset: str, number: int):
    """People's form and the contract's form parse to the same name."""
    name = ids.VersionName(ids.DatasetName(namespace, dataset), number)
    assert ids.version(name.short) == ids.version(name.resource) == name


@given(SEGMENTS, SEGMENTS)
def test_a_dataset_without_a_version_means_the_latest(namespace: str, dataset: str):
    """`sales/flights` is the dataset with no number."""
    assert ids.dataset_or_version(f"{namespace}/{dataset}") == (ids.DatasetName(namespace, dataset), None)


@pytest.mark.parametrize("bad", ["", "-a", "a-", "A", "a_b", "a" * 64, "a.b", "a*", "a$b", "a'b", "a\n", "ä"])
def test_a_name_outside_the_grammar_is_refused(bad: str):
    """The refusal names the grammar and has a stable reason."""
    with pytest.raises(errors.InvalidArgument) as caught:
        ids.segment(bad, "dataset")
    assert caught.value.reason == "NAME_INVALID"
    assert caught.value.violations


@pytest.mark.parametrize("bad", ["a", "a/b/c", "namespaces/a/tables/b", "a/b@", "a/b@0", "a/b@01", "a/b@x", "/b", "a/"])
def test_what_does_not_name_a_version_is_refused(bad: str):
    """Half a name, an unknown collection, a number that counts from 0."""
    with pytest.raises(errors.InvalidArgument, match="name"):
        ids.version(bad)


@pytest.mark.parametrize(
    "bad", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/./b", "a\\b", "a\x00", "a\nb", "x" * 1025, "\ud800"]
)
def test_a_path_that_could_escape_is_refused(bad: str):
    """Absolute, upward, empty, odd and endless paths."""
    with pytest.raises(errors.InvalidArgument) as caught:
        ids.relative_path(bad)
    assert caught.value.reason == "PATH_INVALID"


def test_a_plain_path_is_taken_as_it_is():
    """Spaces, dots inside names and other scripts are fine."""
    assert ids.relative_path("year=2013/Flüge 1.parquet") == "year=2013/Flüge 1.parquet"


def test_a_child_may_be_named_with_or_without_its_collection():
    """`sites/eu-1` and `eu-1` are the same site; `jobs/eu-1` is not one."""
    assert ids.child("sites/eu-1", "sites") == ids.child("eu-1", "sites") == "eu-1"
    with pytest.raises(errors.InvalidArgument):
        ids.child("jobs/eu-1", "sites")
