"""Data cards and labels as people give them: by flags, by a file, field by field; shown, filtered by, refused with a cure."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from federation.cli import app, exits
from federation.client import connect
from federation.core.dataset import DataCard
from federation.services import bindings
from tests.wire.edge import Edge

Fed = Callable[..., str]


@pytest.fixture
def fed(edge: Edge, monkeypatch: pytest.MonkeyPatch) -> Fed:
    """The CLI as an administrator."""
    monkeypatch.setattr(connect, "connect", lambda _context: edge.client("admin"))

    def run(*words: str, code: int = exits.OK) -> str:
        result = CliRunner().invoke(app.fed, list(words))
        assert result.exit_code == code, result.output
        return result.output

    return run


def test_a_card_is_given_by_flags_and_changed_field_by_field(edge: Edge, fed: Fed) -> None:
    """What is not named stays; an empty text and --no-... take away."""
    given = ("--source", "BTS", "--licence", "CC0", "--sensitive-column", "email", "--owner", "groups/ops")
    fed("dataset", "create", "lab/trial", *given, "--known-bias", "no nights")
    made = edge.client().get_dataset("lab/trial")
    assert made.owner == "groups/ops"
    assert made.card == DataCard(origin="BTS", licence="CC0", known_bias="no nights", sensitive_columns=("email",))
    fed("dataset", "update", "lab/trial", "--licence", "", "--without", "consent", "--no-sensitive-columns")
    changed = edge.client().get_dataset("lab/trial")
    assert changed.card == DataCard(origin="BTS", known_bias="no nights", without=("consent",))
    assert "one of both" in fed("dataset", "update", "lab/trial", "--consent", "yes", code=exits.USAGE)
    assert "neither a user nor a group" in fed("dataset", "update", "lab/trial", "--owner", "ops", code=exits.USAGE)
    both = ("--sensitive-column", "x", "--no-sensitive-columns")
    assert "exclude each other" in fed("dataset", "update", "lab/trial", *both, code=exits.USAGE)


def test_a_card_is_given_as_a_file(edge: Edge, fed: Fed, tmp_path: Path) -> None:
    """It is all of the card; a key that is not known is refused with the one that was meant."""
    file = tmp_path / "card.yaml"
    file.write_text("description: A trial\nowner: users/ada\nsource: Site B\nsensitive_columns: [patient, email]\n")
    fed("dataset", "create", "lab/trial", "--card", str(file), "--licence", "MIT", code=exits.USAGE)
    fed("dataset", "create", "lab/trial", "--card", str(file))
    made = edge.client().get_dataset("lab/trial")
    assert (made.description, made.owner) == ("A trial", "users/ada")
    assert made.card == DataCard(origin="Site B", sensitive_columns=("email", "patient"))
    file.write_text("consent: Form 12\n")
    fed("dataset", "update", "lab/trial", "--card", str(file))
    changed = edge.client().get_dataset("lab/trial")
    assert (changed.description, changed.card) == ("A trial", DataCard(consent="Form 12"))
    file.write_text("concent: Form 12\n")
    assert "consent" in fed("dataset", "update", "lab/trial", "--card", str(file), code=exits.USAGE)


def test_show_tells_the_card_and_what_it_inherits(edge: Edge, fed: Fed) -> None:
    """With its source, for people and for programs."""
    fed("dataset", "create", "lab/raw", "--known-bias", "no nights")
    fed("dataset", "create", "lab/model", "--kind", "MODEL", "--licence", "MIT")

    def made(tx) -> None:
        name = edge.client().get_dataset("lab/model").name
        known = bindings.inherited(tx, name)
        bindings.put_inherited(
            tx, type(known)(dataset="lab/model", restrictions=known.restrictions, made_of=("lab/raw",)), known
        )

    edge.catalog.write(made)
    shown = fed("dataset", "show", "lab/model")
    assert "card licence" in shown
    assert "made of" in shown
    assert ["known", "bias", "no", "nights", "lab/raw"] in [line.split() for line in shown.splitlines()]
    answer = json.loads(fed("dataset", "show", "lab/model", "-o", "json"))
    assert answer["made_of"] == ["lab/raw"]
    assert answer["inherited"] == [{"field": "known_bias", "values": ["no nights"], "source": "lab/raw"}]
    assert answer["unseen_sources"] == 0


def test_listings_take_whole_filters(fed: Fed) -> None:
    """By labels and cards, combined; by name order, and only of what there is."""
    for name, label in (("a", "ops"), ("b", "bio"), ("c", "ops")):
        fed("dataset", "create", f"lab/{name}", "--label", f"team={label}", "--licence", "MIT" if name != "c" else "CC0")

    def listed(filter_: str) -> list[str]:
        rows = json.loads(fed("dataset", "list", "lab", "--filter", filter_, "-o", "json"))
        return [row["name"].rpartition("/")[2] for row in rows]

    assert listed("labels.team = ops") == ["a", "c"]
    assert listed("labels.team = ops AND card.licence = MIT") == ["a"]
    assert listed('-labels.team:ops OR kind = "MODEL"') == ["b"]
    assert listed('owner = "users/admin" AND labels:team') == ["a", "b", "c"]
    assert "no field" in fed("dataset", "list", "lab", "--filter", "team = ops", code=exits.USAGE)
