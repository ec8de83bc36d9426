"""Words, as every index takes them, and questions over terms."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from federation.core import terms
from federation.core.terms import Every, Some, Term, Without


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("sales/dep_delay-2013.csv", ["sales", "dep", "delay", "2013", "csv"]),
        ("Orléans ÅNGSTRÖM straße", ["orleans", "angstrom", "strasse"]),
        ("ﬁle 5½", ["file", "512"]),
        ("東京 flights", ["東", "京", "flights"]),
        ("_ / 🛫 ...", []),
        ("x" * 100, ["x" * 64]),
    ],
)
def test_a_word_is_letters_and_digits_folded(text: str, words: list[str]) -> None:
    """Without case and marks; signs part words; what is written without spaces is parted sign by sign."""
    assert [word.text for word in terms.words(text)] == words


def test_a_word_knows_where_it_stood() -> None:
    """In the text as it is written, before folding."""
    text = "Im Büro: OrderId"
    assert [text[word.start : word.end] for word in terms.words(text)] == ["Im", "Büro", "OrderId"]


def test_humps_are_words_too() -> None:
    """Columns are often written so."""
    assert [word.text for word in terms.parts("PassengerCount HTTPServer id")] == [
        *("passengercount", "passenger", "count"),
        *("httpserver", "http", "server"),
        "id",
    ]


@given(st.text())
@example("Ꭰꭰ")
def test_every_word_is_one_that_indexes_leave_alone(text: str) -> None:
    """Letters and digits only, in lower case, and folding it again changes nothing."""
    for word in terms.parts(text):
        assert word.text.isalnum()
        assert word.text == word.text.lower()
        assert terms.folded(word.text) == word.text
        assert 0 <= word.start < word.end <= len(text)


def test_facts_are_told_apart() -> None:
    """By field, by value, and from having any value."""
    found = {terms.fact("kind"), terms.fact("kind", "DATA"), terms.fact("kind", "MODEL"), terms.fact("owner", "DATA")}
    assert len(found) == 4
    assert terms.fact("kind", "") != terms.fact("kind")


def test_a_question_holds_of_terms() -> None:
    """Whole, by its beginning, all, one, and without."""
    known = ("dflight", "dfly", "nsales")
    assert terms.holds(Term("dfly"), known)
    assert not terms.holds(Term("dfl"), known)
    assert terms.holds(Term("dfl", prefix=True), known)
    assert not terms.holds(Term("z", prefix=True), known)
    assert terms.holds(Every((Term("dfly"), Term("nsales"))), known)
    assert not terms.holds(Every((Term("dfly"), Term("x"))), known)
    assert terms.holds(Some((Term("x"), Term("nsales"))), known)
    assert not terms.holds(Some((Term("x"), Term("y"))), known)
    assert terms.holds(Without(Term("dfly"), Term("x")), known)
    assert not terms.holds(Without(Term("dfly"), Term("nsales")), known)
