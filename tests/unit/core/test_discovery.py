"""Which datasets are found by which words, in which order, and why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core import dataset, discovery, errors, terms
from tests import builders


def place(stored: dataset.Dataset, text: str, columns: tuple[str, ...] = ()) -> int | None:
    """Which question finds it: the smaller, the better; None where none does."""
    known = discovery.terms_of(stored, columns)
    found = [number for number, query in enumerate(discovery.queries(text)) if terms.holds(query, known)]
    assert len(found) <= 1
    return found[0] if found else None


def test_better_places_come_first() -> None:
    """The name itself, words of the name, labels and owner, columns, description and card; whole words before beginnings."""
    stored = builders.dataset(
        "sales/flights-eu",
        labels=(("team", "biology"),),
        owner="users/ada",
        description="Delays by carrier",
        card=dataset.DataCard(consent="Contract", sensitive_columns=("email",)),
    )
    columns = ("DepDelay", "tail_number")
    asked = ["flights-eu", "sales flights", "fligh", "biology", "ad", "tail", "tai", "delays", "contr"]
    found = [place(stored, text, columns) for text in asked]
    assert found == [0, 1, 2, 3, 4, 5, 6, 7, 8]
    assert place(stored, "flights ada", columns) == 3
    assert place(stored, "flights email", columns) == 7
    assert place(stored, "flights nothing", columns) is None


@given(st.text(max_size=20), st.text(max_size=20))
def test_no_dataset_is_found_twice(description: str, text: str) -> None:
    """Questions of one search share nothing, whatever is asked."""
    place(builders.dataset("sales/flights", description=description), text)


@given(st.text(min_size=1, max_size=30))
def test_a_dataset_is_found_by_each_beginning_of_its_own_words(description: str) -> None:
    """Typed letter by letter, it never disappears again."""
    stored = builders.dataset("sales/x", description=description)
    for word in terms.words(description):
        for length in range(1, len(word.text) + 1):
            assert place(stored, word.text[:length]) is not None


@pytest.mark.parametrize(
    ("description", "text"),
    [("ﾃﾞｰﾀｾｯﾄ", "データ"), ("データセット", "ﾃﾞｰﾀ"), ("0㊀", "0一"), ("ｾ" * 100 + "ﾄ", "ト")],
)
def test_characters_without_spaces_are_found_in_every_form(description: str, text: str) -> None:
    """Half-width kana are those of full width, however they are written and searched for, and however many they are."""
    assert place(builders.dataset("sales/x", description=description), text) is not None


@given(st.text(max_size=20), st.text(max_size=20), st.lists(st.text(max_size=8), max_size=3))
def test_the_widest_question_finds_what_any_finds(description: str, text: str, columns: list[str]) -> None:
    """So few matches can be put in order without asking all the questions."""
    stored = builders.dataset("sales/flights", description=description)
    known = discovery.terms_of(stored, columns)
    asked = discovery.queries(text)
    found = [number for number, query in enumerate(asked) if terms.holds(query, known)]
    assert terms.holds(discovery.widest(text), known) is bool(found)
    assert not found or discovery.rank(asked, known) == found[0]


@given(st.text(max_size=12), st.text(min_size=1, max_size=12))
def test_a_word_is_shown_where_it_stands_whatever_is_around_it(before: str, word: str) -> None:
    """Whoever leaves texts out quickly leaves out none that has it."""
    asked = discovery.words(word)
    stored = builders.dataset("sales/x", description=f"{before} {word}")
    if asked:
        assert "description" in {each.field for each in discovery.matches(stored, (), word)}


def test_too_many_words_are_refused() -> None:
    """They would be a text, and no search."""
    with pytest.raises(errors.InvalidArgument) as caught:
        discovery.queries(" ".join(f"w{number}" for number in range(17)))
    assert caught.value.reason == "SEARCH_TOO_LONG"


def shown(match: discovery.Match) -> str:
    """Its text with what was found in brackets."""
    text = match.text
    for span in reversed(match.spans):
        text = f"{text[: span.start]}[{text[span.start : span.end]}]{text[span.end :]}"
    return f"{match.field}: {text}"


def test_a_match_shows_what_was_found_and_where() -> None:
    """In the text as it is written; where folding changes a word's length, the word is shown whole."""
    stored = builders.dataset("sales/flights", labels=(("Größe", "XL"),), description="FLÜGE und Flugzeuge")
    assert [shown(each) for each in discovery.matches(stored, ("DepDelay",), "flu gro del")] == [
        "labels: [Größe]=XL",
        "columns: Dep[Del]ay",
        "description: [FLÜ]GE und [Flu]gzeuge",
    ]
    assert [shown(each) for each in discovery.matches(builders.dataset("a/dep-delay"), (), "depdelay")] == [
        "name: [a/dep-delay]"
    ]
    assert discovery.matches(stored, (), "") == ()


def test_a_long_text_is_cut_to_what_was_found() -> None:
    """With marks where it was cut, and a few fields at most."""
    stored = builders.dataset("sales/x", description="word " * 100 + "needle" + " word" * 100)
    (match,) = discovery.matches(stored, (), "needle")
    assert "[needle]" in shown(match)
    assert match.text.startswith("…")
    assert match.text.endswith("…")
    assert len(match.text) <= discovery.TEXT_CHARS_MAX + 2
    wide = tuple(f"needle_{number}" for number in range(50))
    assert len(discovery.matches(stored, wide, "needle")) == discovery.MATCHES_MAX
