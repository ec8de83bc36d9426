"""`fed price` without a server: quotes from the shipped prices or a file, and what wrong files and sizes are answered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from federation.adapters import prices
from federation.cli import app, exits
from federation.core import offers, ratecard

TO_THE_INTERNET = ("price", "egress", "--from", "aws:us-east-2", "--to", "internet")


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Runs a command line of `fed` for a person without any context."""
    monkeypatch.setenv("FED_CONFIG", str(tmp_path / "contexts.yaml"))
    return lambda *words: CliRunner().invoke(app.fed, list(words))


def answered(result: Any) -> Any:
    """The JSON that a command printed."""
    assert result.exit_code == exits.OK, result.output
    return json.loads(result.stdout)


def refused(result: Any, code: int = exits.USAGE) -> dict[str, Any]:
    """The error that a command told."""
    assert result.exit_code == code, result.output
    error: dict[str, Any] = json.loads(result.stderr)["error"]
    return error


@pytest.mark.parametrize(("size", "usd"), [("10TiB", "921.51"), ("50TiB", "4403.11"), ("150TiB", "11571.11")])
def test_ohio_to_the_internet_costs_what_the_provider_says(run, size, usd):
    """From the first byte of a month, with the tiers that it used, and date and source of the figures."""
    told = answered(run(*TO_THE_INTERNET, "--size", size, "--shipped", "-o", "json"))
    assert (told["charge_usd"], told["as_of"], told["rate_card"]) == (usd, "2026-10", 0)
    assert "get_egress_cost" in told["price_source"]
    assert sum(tier["charge_micros"] for tier in told["tiers"]) == told["charge_micros"]
    assert sum(tier["used_bytes"] for tier in told["tiers"]) == told["volume_bytes"]


def test_the_month_so_far_decides_the_tier(run):
    """4 TiB before, so that 6 TiB of ten are at nine cents and the rest at eight and a half."""
    told = answered(run(*TO_THE_INTERNET, "--size", "10TiB", "--month-to-date", "4TiB", "--shipped", "-o", "json"))
    assert (told["charge_usd"], told["month_to_date_bytes"]) == ("901.12", 4 * 2**40)
    assert [tier["gb_micros"] for tier in told["tiers"]] == [90_000, 85_000]


def test_a_quote_is_told_to_a_person_too(run):
    """One line says it, the tiers explain it, and the source stands under it."""
    told = run(*TO_THE_INTERNET, "--size", "10TiB", "--shipped").stdout
    assert told.startswith("$921.51 for 10,995,116,277,760 bytes from aws:us-east-2 to internet")
    assert "$0.09 / GiB" in told
    assert "2026-10" in told


def test_prices_of_a_file_are_quoted_with_fees_for_requests(run, tmp_path: Path):
    """A deployment tries its contract before it imports it."""
    file = tmp_path / "contract.csv"
    heading = ",".join((*ratecard.COLUMNS, *ratecard.OPTIONAL_COLUMNS))
    file.write_text(f"{heading}\nmars,a,internet,*,,1.5,1000000000,2026-11-01,contract 7,0.4\n")
    words = ("price", "egress", "--from", "mars:a", "--to", "internet", "--size", "1GB", "--requests", "1000000")
    told = answered(run(*words, "--rate-card", str(file), "-o", "json"))
    assert (told["charge_usd"], told["request_micros"], told["price_source"]) == ("1.90", 400_000, "contract 7")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--size", "-5"), "SIZE_INVALID"),
        (("--size", "99EiB"), "SIZE_INVALID"),
        (("--size", "lots"), "SIZE_INVALID"),
        (("--size", "1GB", "--month-to-date", "-1"), "SIZE_INVALID"),
        (("--size", "1GB", "--requests", "-1"), "USAGE"),
        (("--size", "1GB", "--rate-card", "none.csv"), "USAGE"),
    ],
)
def test_a_wrong_question_is_refused(run, words, reason):
    """Negative and absurd sizes, and two sources of prices at once."""
    assert refused(run(*TO_THE_INTERNET, *words, "--shipped", "-o", "json"))["reason"] == reason


def test_an_unknown_region_is_refused_by_name(run):
    """Never free, never the nearest one's price."""
    words = ("price", "egress", "--from", "aws:us-eastt-2", "--to", "internet", "--size", "1GB", "--shipped", "-o", "json")
    error = refused(run(*words), exits.REFUSED)
    assert error["reason"] == "PRICE_UNKNOWN"
    assert "aws:us-east-2" in error["help"]


def test_a_wrong_file_is_told_by_its_line_before_any_server_is_asked(run, tmp_path: Path):
    """There is none here: were it asked first, the answer would be another."""
    file = tmp_path / "bad.csv"
    file.write_text(f"{','.join(ratecard.COLUMNS)}\nmars,a,internet,*,,cheap,1000000000,2026-11-01,contract 7\n")
    error = refused(run("price", "import", str(file), "-o", "json"))
    assert (error["reason"], error["metadata"]["line"]) == ("PRICES_INVALID", "2")
    assert refused(run("price", "import", "-o", "json"))["reason"] == "USAGE"
    missing = refused(run("price", "import", str(tmp_path / "none.csv"), "-o", "json"), exits.NOT_FOUND)
    assert missing["reason"] == "PRICES_MISSING"


def test_offers_are_listed_by_region(run, tmp_path: Path):
    """All rows, or those that hold in one region; from the shipped file or a person's own."""
    everything = answered(run("price", "offers", "--shipped", "-o", "json"))
    assert len(everything) == len(prices.default_offer_card().rows)
    here = answered(run("price", "offers", "--region", "aws:us-east-1", "--shipped", "-o", "json"))
    (h100,) = [row for row in here if (row["item"], row["type"]) == ("gpu", "H100")]
    assert h100["micros"] == 6_880_000
    file = tmp_path / "compute.csv"
    file.write_text(f"{','.join(offers.COLUMNS)}\nmars,a,cpu,,0.5,,,,2026,contract 7\n")
    (cpu,) = answered(run("price", "offers", "--compute", str(file), "-o", "json"))
    assert (cpu["provider"], cpu["micros"]) == ("mars", 500_000)
