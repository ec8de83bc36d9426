"""Price files: reading them is the adapter's, what they mean is the core's."""

from __future__ import annotations

from pathlib import Path

import pytest

from federation.adapters import prices
from federation.core import errors, offers, ratecard


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
    with pytest.raises(errors.NotFound, match="no price file at"):
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
    assert prices.default_offer_card().offer("aws:us-east-1").cpu_hour_micros == 48_000


def test_a_deployment_loads_its_own_offers(tmp_path: Path):
    """By the same rules as egress prices."""
    path = tmp_path / "mine.csv"
    path.write_text(",".join(offers.COLUMNS) + "\nmars,a,cpu,,0.5,,,,2026,contract 7\n")
    assert prices.load_offer_card(path).offer("mars:a").cpu_hour_micros == 500_000


def test_a_file_that_is_no_price_list_is_refused_by_its_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Before it is read."""
    monkeypatch.setattr(prices, "FILE_BYTES_MAX", 10)
    path = tmp_path / "huge.csv"
    path.write_text("x" * 11)
    with pytest.raises(errors.InvalidArgument, match="11 bytes, more than 10"):
        prices.load_rate_card(path)
