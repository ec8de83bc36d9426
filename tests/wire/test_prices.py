"""Prices over the wire: quoted for anybody, imported by administrators, listed without their rows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from federation.cli import exits
from federation.core import errors, offers, ratecard
from federation.v1 import costs_pb2
from tests import builders
from tests.wire import edge as edges
from tests.wire.typing_fed import Fed, typing

EGRESS = ratecard.text([builders.price_row("mars:a", "internet", "1.5")])
COMPUTE = offers.text([offers.OfferRow(provider="mars", place="a", item=offers.Item.CPU, micros=5, as_of="2026", source="x")])


@pytest.mark.parametrize(("tib", "micros"), [(10, 921_510_000), (50, 4_403_110_000), (150, 11_571_110_000)])
def test_a_volume_is_priced(edge: edges.Edge, tib: int, micros: int):
    """With tiers, scope, date and source; a stated month counts instead of what was counted."""
    quote = edge.client("user").price_egress("aws:us-east-2", "internet", tib * 2**40)
    assert (quote.charge_micros, quote.as_of, quote.rate_card) == (micros, "2026-10", 0)
    assert sum(tier.charge_micros for tier in quote.tiers) == micros
    later = edge.client("user").price_egress("aws:us-east-2", "internet", 2**40, month_to_date_bytes=200 * 2**40)
    assert later.charge_micros == 51_200_000


def test_prices_are_imported_as_a_new_card_and_read_back(edge: edges.Edge):
    """Rows of both files; the card that holds is `-`, the one from before all imports `0`."""
    client = edge.client()
    tried = client.import_rate_card(egress=EGRESS, compute=COMPUTE, validate_only=True)
    assert tried.number == 1
    assert list(client.list_rate_cards()) == []
    made = client.import_rate_card(egress=EGRESS, compute=COMPUTE, note="contract", replace=True)
    assert (made.number, made.egress_rows, made.compute_rows, made.principal) == (1, 1, 1, "users/admin")
    assert client.price_egress("mars:a", "internet", 10**9).charge_micros == 1_500_000
    held = client.get_rate_card()
    assert (held.number, held.egress.decode(), held.compute.decode()) == (1, EGRESS, COMPUTE)
    assert client.get_rate_card("0").egress_rows > 700
    client.import_rate_card(egress=EGRESS.replace("1.5", "1.4"))
    listed = list(client.list_rate_cards())
    assert [card.number for card in listed] == [2, 1]
    assert {card.egress for card in listed} == {b""}


def test_only_administrators_import(edge: edges.Edge):
    """Everybody may know what things cost; nobody else may say it."""
    with pytest.raises(errors.PermissionDenied):
        edge.client("user").import_rate_card(egress=EGRESS)
    assert edge.client("user").get_rate_card().number == 0


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("mars:q", "internet", 1), "PRICE_UNKNOWN"),
        (("internet", "mars:q", 1), "NAME_INVALID"),
        (("aws:us-east-2", "internet", -1), "SIZE_INVALID"),
        (("aws:us-east-2", "internet", 2**63), "VALUE_OUT_OF_RANGE"),
    ],
)
def test_a_wrong_question_is_refused(edge: edges.Edge, arguments: Any, reason: str):
    """By a stable reason."""
    with pytest.raises(errors.FederationError) as caught:
        edge.client().price_egress(*arguments)
    assert caught.value.reason == reason


def test_a_wrong_import_is_refused(edge: edges.Edge):
    """Text that is none, lines that are wrong, and a card that is not there."""
    with pytest.raises(errors.InvalidArgument) as caught:
        edge.call("Costs.ImportRateCard", costs_pb2.ImportRateCardRequest(egress=b"\xff\xfe"))
    assert caught.value.reason == "PRICES_INVALID"
    with pytest.raises(errors.InvalidArgument, match="line 2"):
        edge.client().import_rate_card(egress=EGRESS.replace("1.5", "cheap"))
    with pytest.raises(errors.NotFound):
        edge.client().get_rate_card("7")


@pytest.fixture
def fed(edge: edges.Edge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Fed:
    """Runs a command line of `fed` against the server, as its administrator."""
    return typing(edge, monkeypatch, tmp_path)


def test_prices_are_imported_listed_and_shown_at_the_command_line(fed: Fed, tmp_path: Path):
    """From a file to a card, and the card's rows back to a file."""
    file, compute = tmp_path / "egress.csv", tmp_path / "compute.csv"
    file.write_text(EGRESS)
    compute.write_text(COMPUTE)
    words = ("price", "import", file, "--compute", compute, "--note", "contract 7", "--replace", "-o", "json")
    assert json.loads(fed(*words, "--dry-run").stdout)["egress_rows"] == 1
    assert json.loads(fed("price", "list", "-o", "json").stdout) == []
    assert json.loads(fed(*words).stdout)["name"] == "rateCards/1"
    assert "contract 7" in fed("price", "list").stdout
    told = json.loads(fed("price", "egress", "--from", "mars:a", "--to", "internet", "--size", "1GB", "-o", "json").stdout)
    assert (told["charge_usd"], told["rate_card"]) == ("1.50", 1)
    assert fed("price", "show", "-", "--csv", "egress").stdout == EGRESS
    assert json.loads(fed("price", "show", "1", "-o", "json").stdout)["compute"] == COMPUTE
    shown = fed("price", "show", "1").stdout
    assert "contract 7" in shown
    assert "mars" not in shown, "rows are shown as CSV or not at all"
    assert [row["provider"] for row in json.loads(fed("price", "offers", "-o", "json").stdout)] == ["mars"]
    fed("price", "show", "7", code=exits.NOT_FOUND)
