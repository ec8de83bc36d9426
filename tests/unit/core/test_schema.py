"""Files are read strictly, by the type hints of what they hold, and an error names the place."""

from __future__ import annotations

import dataclasses
from datetime import UTC, datetime
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import errors, job, schema, site


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaf:
    """A leaf. `size_bytes` is how large it is."""

    name: str
    size_bytes: int = 0
    share: float = 0.0
    fresh: bool = False
    spot: job.Spot = job.Spot.NEVER
    time: datetime | None = None
    limit: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tree:
    """A tree of leaves."""

    leaves: tuple[Leaf, ...] = ()
    counts: tuple[tuple[str, int], ...] = ()
    words: tuple[str, ...] = ()
    etag: str = ""


LEAVES = st.builds(
    Leaf,
    name=st.text(max_size=5),
    size_bytes=st.integers(0, schema.INTEGER_MAX),
    share=st.floats(0, 10, allow_nan=False),
    fresh=st.booleans(),
    spot=st.sampled_from(job.Spot),
    time=st.none() | st.datetimes(timezones=st.just(UTC)),
    limit=st.none() | st.integers(0, 9),
)
TREES = st.builds(
    Tree,
    leaves=st.lists(LEAVES, max_size=3).map(tuple),
    counts=st.dictionaries(st.text(max_size=3), st.integers(0, 9), max_size=3).map(lambda found: tuple(sorted(found.items()))),
    words=st.lists(st.text(max_size=3), max_size=3).map(tuple),
)


@given(TREES)
def test_what_is_written_is_read_back(tree: Tree) -> None:
    """Every value, and what is written satisfies the schema."""
    data = schema.plain(tree)
    assert schema.read(Tree, data) == tree
    jsonschema.validate(data, schema.json_schema(Tree, title="A tree", identifier="urn:tree"))


def test_bookkeeping_is_neither_written_nor_read() -> None:
    """It would change nothing, so it must not look as if it did."""
    assert schema.plain(Tree(etag="5")) == {}
    with pytest.raises(errors.InvalidArgument, match=r"\$ has an unknown key \"etag\""):
        schema.read(Tree, {"etag": "5"})
    assert (
        not {"signing_key", "sealing_key", "gateway"}
        & schema.plain(
            site.Site(site="a", region="x:y", jurisdiction="EU", signing_key="11", sealing_key="22", gateway="h:1")
        ).keys()
    )


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ([], r"\$ is a list, it must be an object"),
        ({"leafs": []}, r"\$ has an unknown key \"leafs\"; did you mean leaves\?"),
        ({"leaves": {}}, r"\$\.leaves is an object, it must be a list"),
        ({"leaves": [{"name": "a"}, {}]}, r"\$\.leaves\[1\] lacks name"),
        ({"leaves": [{"name": 1}]}, r"\$\.leaves\[0\]\.name is 1, it must be text"),
        ({"leaves": [{"name": "a", "size_bytes": -1}]}, r"size_bytes is -1, it must be 0 to"),
        ({"leaves": [{"name": "a", "size_bytes": 2**61}]}, r"size_bytes is .*, it must be 0 to"),
        ({"leaves": [{"name": "a", "size_bytes": 10**100}]}, r"a number of very many digits"),
        ({"leaves": [{"name": "a", "size_bytes": True}]}, r"size_bytes is true, it must be a whole number"),
        ({"leaves": [{"name": "a", "size_bytes": 1.0}]}, r"size_bytes is 1.0, it must be a whole number"),
        ({"leaves": [{"name": "a", "share": float("nan")}]}, r"share is NaN"),
        ({"leaves": [{"name": "a", "fresh": "yes"}]}, r"fresh is \"yes\", it must be true or false"),
        ({"leaves": [{"name": "a", "spot": "SOMETIMES"}]}, r"spot is \"SOMETIMES\", it must be one of NEVER, ALLOWED, ONLY"),
        ({"leaves": [{"name": "a", "time": "2026-11-22T10:00:00"}]}, r"time is .* lacks its offset"),
        ({"leaves": [{"name": "a", "time": 5}]}, r"time is 5, it must be a time such as"),
        ({"leaves": [{"name": None}]}, r"name is null"),
        ({"counts": {"a": "b"}}, r"\$\.counts\[\"a\"\] is \"b\""),
        ({"counts": [["a", 1]]}, r"\$\.counts is a list, it must be an object"),
        ({"words": "abc"}, r"\$\.words is \"abc\", it must be a list"),
    ],
)
def test_what_does_not_fit_is_refused_with_its_place(data: Any, told: str) -> None:
    """And the schema refuses it too, so that an editor shows it."""
    with pytest.raises(errors.InvalidArgument, match=told) as caught:
        schema.read(Tree, data, reason="TREE_INVALID")
    assert caught.value.reason == "TREE_INVALID"
    lenient = ("lacks its offset", "NaN", "1.0")
    if not any(word in told for word in lenient):
        validator = jsonschema.Draft202012Validator(
            schema.json_schema(Tree, title="A tree", identifier="urn:tree"),
            format_checker=jsonschema.FormatChecker(),
        )
        assert not validator.is_valid(data) or "a time such as" in told


def test_the_schema_says_what_the_docstrings_say() -> None:
    """A field's sentence and its unit."""
    made = schema.json_schema(Tree, title="A tree", identifier="urn:tree")
    assert made["$defs"]["Leaf"]["properties"]["size_bytes"]["description"] == "`size_bytes` is how large it is. In bytes."
    assert made["$defs"]["Leaf"]["required"] == ["name"]
    jsonschema.Draft202012Validator.check_schema(made)
