"""Data cards: what they may hold, and what passes to what is made of a dataset."""

from __future__ import annotations

import pytest

from federation.core import card, errors
from federation.core.card import CardFact, Known
from federation.core.dataset import DataCard


def inherited(known: dict[str, Known], columns: tuple[str, ...] = ()) -> list[tuple[str, tuple[str, ...], str]]:
    """What `out` inherits."""
    return [(fact.field, fact.values, fact.source) for fact in card.inherited("out", known.get, columns)]


def test_a_fact_passes_from_the_nearest_that_declares_it() -> None:
    """Past datasets whose card is silent, and no further than one that speaks; origin and licence do not pass."""
    known = {
        "out": Known(card=DataCard(), made_of=("clean", "people")),
        "clean": Known(card=DataCard(known_bias="no nights"), made_of=("raw",)),
        "raw": Known(card=DataCard(known_bias="no winters", consent="contract", origin="a ship", licence="MIT")),
        "people": Known(card=DataCard(sensitive_columns=("email", "address.street"))),
    }
    assert inherited(known) == [
        ("consent", ("contract",), "raw"),
        ("known_bias", ("no nights",), "clean"),
        ("sensitive_columns", ("email", "address.street"), "people"),
    ]
    assert inherited(known, ("address", "delay"))[-1] == ("sensitive_columns", ("address.street",), "people")
    assert "sensitive_columns" not in {field for field, _, _ in inherited(known, ("delay",))}


def test_what_a_card_says_itself_is_not_inherited() -> None:
    """Be it that there is nothing to say; the same of a source that stands in between."""
    source = Known(card=DataCard(known_bias="b", consent="c", sensitive_columns=("email",)))
    own = DataCard(known_bias="corrected", without=("sensitive_columns",))
    assert inherited({"out": Known(card=own, made_of=("in",)), "in": source}) == [("consent", ("c",), "in")]
    between = Known(card=DataCard(without=("consent", "known_bias", "sensitive_columns")), made_of=("in",))
    assert inherited({"out": Known(card=DataCard(), made_of=("mid",)), "mid": between, "in": source}) == []


def test_circles_and_what_is_not_seen_end_the_walk() -> None:
    """A dataset may be made of one that was made of it, and of one that is hidden or gone."""
    known = {
        "out": Known(card=DataCard(), made_of=("a", "hidden")),
        "a": Known(card=DataCard(), made_of=("out", "b")),
        "b": Known(card=DataCard(consent="c"), made_of=("a",)),
    }
    assert inherited(known) == [("consent", ("c",), "b")]
    assert card.inherited("nothing", known.get) == ()


@pytest.mark.parametrize(
    ("given", "field", "cure"),
    [
        (DataCard(known_bias="x" * 4001), "known_bias", "link"),
        (DataCard(sensitive_columns=("emial",)), "sensitive_columns", "Did you mean 'email'"),
        (DataCard(sensitive_columns=("zzz",)), "sensitive_columns", "has email, address"),
        (DataCard(sensitive_columns=(" ",)), "sensitive_columns", "Leave it out"),
        (DataCard(sensitive_columns=tuple(f"c{number}" for number in range(1001))), "sensitive_columns", "at most 1,000"),
        (DataCard(without=("price",)), "without", "known_bias"),
        (DataCard(consent="c", without=("consent",)), "without", "one of both"),
    ],
)
def test_a_card_that_cannot_be_is_refused_with_the_field_and_a_cure(given: DataCard, field: str, cure: str) -> None:
    """A misspelt column above all: it would guard nothing."""
    with pytest.raises(errors.InvalidArgument) as caught:
        card.checked(given, ("email", "address"))
    assert caught.value.reason == "CARD_INVALID"
    assert list(caught.value.violations) == [f"dataset.card.{field}"]
    assert cure in caught.value.help


def test_a_card_in_order_is_kept() -> None:
    """Columns each once and sorted; paths into a column, and any column where none are known."""
    given = DataCard(sensitive_columns=("email", "address.street", "email"))
    assert card.checked(given, ("email", "address")).sensitive_columns == ("address.street", "email")
    assert card.checked(DataCard(sensitive_columns=("anything",))).sensitive_columns == ("anything",)
    assert CardFact(field="consent", values=("c",), source="a/b")
