"""Rate cards from files: reading them is the adapter's, what they mean is the core's."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.adapters import prices
from federation.core import errors, ratecard


def test_a_deployment_loads_its_own_prices(tmp_path: Path):
    """A CSV file as the shipped one, also with the mark that spreadsheets put first."""
    path = tmp_path / "mine.csv"
    path.write_text(
        ",".join(ratecard.COLUMNS) + "\nmars,a,internet,*,,1.5,1000000000,2026-11-01,contract 7\n", encoding="utf-8-sig"
    )
    price = prices.load_rate_card(path).price("mars:a", "aws:x", 0, 10**9)
    assert price == ratecard.Price(1_500_000, "contract 7", "2026-11-01")


def test_a_rate_card_that_cannot_be_read_is_refused_by_its_path(tmp_path: Path):
    """Missing, a folder, not text: each says so."""
    with pytest.raises(errors.NotFound, match="no rate card at"):
        prices.load_rate_card(tmp_path / "none.csv")
    with pytest.raises(errors.InvalidArgument, match="cannot be read"):
        prices.load_rate_card(tmp_path)
    path = tmp_path / "binary.csv"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(errors.InvalidArgument, match="not UTF-8"):
        prices.load_rate_card(path)


def test_the_prices_ship_with_the_package():
    """Loaded as installed, wherever that is."""
    assert prices.default_rate_card().price("aws:us-east-1", "aws:us-east-2", 0, 2**30) is not None
