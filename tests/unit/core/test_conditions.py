"""Filters as AIP-160 has them: read, refused by name, holding or not, and never narrowing away what they hold of."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import conditions, discovery, errors, terms
from federation.core.conditions import And, Compare, Condition, Not, Or, Shape

FIELDS = discovery.FIELDS
VIEW: dict[str, Any] = {
    "name": "sales/flights",
    "kind": "DATA",
    "owner": "",
    "labels": {"team": "bio", "cost-center": "47 11"},
    "columns": ("id", "dep_delay"),
    "card.licence": "CC-BY-4.0",
    "legal_hold": False,
    "latest_version": 3,
    "create_time": datetime(2026, 11, 28, 12, tzinfo=UTC),
    "use_expire_time": None,
}


def parsed(text: str) -> Condition:
    """A filter that is not empty."""
    found = conditions.parse(text, FIELDS)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ('kind = "DATA"', True),
        ("kind=DATA", True),
        ("kind != DATA", False),
        ("owner:*", False),
        ('name = "sales/fl*"', True),
        ('name = "flights*"', False),
        ('name != "sales/*"', False),
        ('NOT name:"sales/x*"', True),
        ('owner = "users/*"', False),
        ("owner != 'users/ada'", True),
        ("labels:team", True),
        ("labels:purpose", False),
        ("labels.team = bio", True),
        ("labels.team:*", True),
        ('labels."cost-center" = "47 11"', True),
        ("labels.cost-center:*", True),
        ("columns:dep_delay", True),
        ("columns:delay", False),
        ("NOT columns:email", True),
        ("-columns:email", True),
        ("-(columns:email OR columns:id)", False),
        ('card.licence = "CC-BY-4.0"', True),
        ("legal_hold = false", True),
        ("latest_version >= 3 latest_version < 4", True),
        ("latest_version > 3", False),
        ("create_time > 2026-11-28", True),
        ('create_time <= "2026-11-28T12:00:00Z"', True),
        ('create_time < "2026-11-28T13:00:00+02:00"', False),
        ("use_expire_time > 2020-01-01", False),
        ("use_expire_time:*", False),
        # OR binds closer than AND.
        ("kind = MODEL AND kind = MODEL OR kind = DATA", False),
        ("kind = MODEL OR kind = DATA AND labels.team = bio", True),
        ("(kind = MODEL AND kind = MODEL) OR kind = DATA", True),
        ("NOT NOT kind = DATA", True),
    ],
)
def test_a_filter_holds_of_a_value_or_not(text: str, holds: bool) -> None:
    """Equality, presence, order, several values, keys of a map, and their combinations."""
    assert conditions.holds(parsed(text), VIEW) is holds


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("flights", "no field 'flights'"),
        ("kind", "needs ="),
        ("nope = 1", "no field 'nope'"),
        ("card.price = 1", "no field 'card.price'"),
        ("kind =", "needs a value"),
        ("kind = DATA OR", "cannot be read"),
        ("(kind = DATA", "closing parenthesis"),
        ("kind = DATA)", "expected AND"),
        ("labels = bio", "asked for as labels.KEY"),
        ("kind.x = bio", "asked for as kind"),
        ("owner < users/ada", "has no order"),
        ("columns != id", "several values"),
        ("legal_hold = yes", "true or false"),
        ("latest_version = many", "whole number"),
        ("create_time > yesterday", "is a time"),
        ("(" * 50 + "kind = DATA" + ")" * 50, "nests deeper"),
        ("NOT " * 50 + "kind = DATA", "nests deeper"),
        (" OR ".join(["kind = DATA"] * 101), "more than 100"),
        ("'", "cannot be read"),
    ],
)
def test_what_is_no_filter_is_refused_with_the_reason(text: str, why: str) -> None:
    """And with the fields that there are."""
    with pytest.raises(errors.InvalidArgument, match=why) as caught:
        conditions.parse(text, FIELDS)
    assert caught.value.reason == "FILTER_INVALID"
    assert "labels.KEY" in caught.value.help


def test_an_empty_filter_is_none() -> None:
    """It asks for nothing."""
    assert conditions.parse("  ", FIELDS) is None
    assert conditions.narrowing(None) is None


@given(st.text(max_size=60))
def test_any_text_is_a_filter_or_refused(text: str) -> None:
    """Nothing else comes out of it."""
    with contextlib.suppress(errors.InvalidArgument):
        conditions.parse(text, FIELDS)


@pytest.mark.parametrize(
    ("text", "beginning", "rest"),
    [
        ('name = "sales/*" AND kind = DATA', "sales/", "kind = DATA"),
        ('kind = DATA name:"s*"', "s", "kind = DATA"),
        ('name = "s*"', "s", ""),
        ('name = "s*" AND name = "sa*"', "s", 'name = "sa*"'),
        ("name = sales/flights", "", "name = sales/flights"),
        ('name != "s*"', "", 'name != "s*"'),
        ('name = "s*" OR kind = DATA', "", 'name = "s*" OR kind = DATA'),
    ],
)
def test_what_a_name_begins_with_is_taken_out_where_all_else_is_asked_beside_it(text: str, beginning: str, rest: str) -> None:
    """So that an index may go to where such names lie; both together are the filter."""
    assert conditions.beginning(parsed(text), "name") == (beginning, conditions.parse(rest, FIELDS))


_SHAPES = {"a": Shape.TEXT, "b": Shape.LIST, "m": Shape.MAP, "n": Shape.NUMBER, "f": Shape.FLAG, "p": Shape.NAME}
_VALUES = st.sampled_from(["x", "y", ""])
_VIEWS = st.fixed_dictionaries(
    {
        "a": _VALUES,
        "b": st.lists(st.sampled_from("xy"), unique=True).map(tuple),
        "m": st.dictionaries(st.sampled_from("kl"), _VALUES),
        "n": st.integers(0, 3),
        "f": st.booleans(),
        "p": st.sampled_from(["x", "xy", ""]),
    }
)
_COMPARISONS = st.one_of(
    st.builds(Compare, st.just("a"), st.sampled_from(["=", "!=", ":"]), st.sampled_from(["x", "y"])),
    st.builds(Compare, st.sampled_from("abnf"), st.just(":"), st.none()),
    st.builds(Compare, st.just("b"), st.just(":"), st.sampled_from("xy")),
    st.builds(Compare, st.just("m"), st.sampled_from(["=", "!="]), st.sampled_from("xy"), st.sampled_from("kl")),
    st.builds(Compare, st.just("m"), st.just(":"), st.none(), st.sampled_from("kl")),
    st.builds(Compare, st.just("n"), st.sampled_from(["=", "<", ">=", "!="]), st.integers(0, 3)),
    st.builds(Compare, st.just("f"), st.sampled_from(["=", "!="]), st.booleans()),
    st.builds(
        Compare, st.just("p"), st.sampled_from(["=", "!=", ":"]), st.sampled_from(["x", "xy"]), st.just(""), st.booleans()
    ),
)
_CONDITIONS = st.recursive(
    _COMPARISONS,
    lambda inner: st.one_of(
        st.builds(Not, inner),
        st.builds(And, st.lists(inner, min_size=2, max_size=3).map(tuple)),
        st.builds(Or, st.lists(inner, min_size=2, max_size=3).map(tuple)),
    ),
    max_leaves=6,
)


@given(_CONDITIONS, _VIEWS)
def test_an_index_never_loses_what_a_filter_holds_of(condition: Condition, view: dict[str, Any]) -> None:
    """It may tell of more, which is then looked at; of less it never tells."""
    narrowed = conditions.narrowing(condition)
    if narrowed is not None and conditions.holds(condition, view):
        assert terms.holds(narrowed, sorted(conditions.facts(view, _SHAPES)))


@given(_CONDITIONS.filter(lambda found: not any(conditions.mentions(found, field) for field in "np")), _VIEWS)
def test_an_index_alone_answers_what_asks_for_no_measure(condition: Condition, view: dict[str, Any]) -> None:
    """Equality and presence are facts, whatever is combined of them."""
    narrowed = conditions.narrowing(condition)
    assert narrowed is not None
    assert terms.holds(narrowed, sorted(conditions.facts(view, _SHAPES))) == conditions.holds(condition, view)
