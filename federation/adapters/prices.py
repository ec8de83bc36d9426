"""Price files: rate cards and offer cards, those that are shipped and a deployment's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from federation.core import errors, offers, ratecard

#: A larger file is no price list.
FILE_BYTES_MAX = 64 * 1024 * 1024


def default_rate_card() -> ratecard.RateCard:
    """The public prices that are shipped in `federation/prices/egress.csv`, each with source and date."""
    return ratecard.parse(_shipped("egress.csv"))


def default_offer_card() -> offers.OfferCard:
    """The public prices that are shipped in `federation/prices/compute.csv`, each with source and date."""
    return offers.parse(_shipped("compute.csv"))


def load_rate_card(path: Path) -> ratecard.RateCard:
    """A rate card from a CSV file of the same columns.

    NotFound (PRICES_MISSING) when it is not there, InvalidArgument (PRICES_INVALID) when it cannot be read.
    """
    return ratecard.parse(load_text(path))


def load_offer_card(path: Path) -> offers.OfferCard:
    """An offer card from a CSV file; errors as for `load_rate_card`."""
    return offers.parse(load_text(path))


def load_text(path: Path) -> str:
    """A price file's text, with or without a byte order mark; errors as for `load_rate_card`."""
    try:
        size = path.stat().st_size
        if size > FILE_BYTES_MAX:
            raise _unreadable(path, f"it has {size:,} bytes, more than {FILE_BYTES_MAX:,}")
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise errors.NotFound(f"there is no price file at {path}", reason="PRICES_MISSING") from None
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not UTF-8 ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from None


def _shipped(name: str) -> str:
    return (resources.files("federation.prices") / name).read_text(encoding="utf-8")


def _unreadable(path: Path, why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"the price file {path} cannot be read: {why}",
        reason="PRICES_INVALID",
        help="Give a UTF-8 CSV file like federation/prices/egress.csv.",
    )
