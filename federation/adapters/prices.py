"""Rate cards from files: the one that is shipped, and a deployment's own."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

from federation.core import errors, ratecard


def default_rate_card() -> ratecard.RateCard:
    """The public prices that are shipped in `federation/prices/egress.csv`, each with source and date."""
    return ratecard.parse((resources.files("federation.prices") / "egress.csv").read_text(encoding="utf-8"))


def load_rate_card(path: Path) -> ratecard.RateCard:
    """A rate card from a CSV file of the same columns.

    NotFound (PRICES_MISSING) when it is not there, InvalidArgument (PRICES_INVALID) when it cannot be read.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise errors.NotFound(f"there is no rate card at {path}", reason="PRICES_MISSING") from None
    except UnicodeDecodeError as error:
        raise _unreadable(path, f"it is not UTF-8 ({error.reason} at byte {error.start})") from None
    except OSError as error:
        raise _unreadable(path, error.strerror or type(error).__name__) from None
    return ratecard.parse(text)


def _unreadable(path: Path, why: str) -> errors.InvalidArgument:
    return errors.InvalidArgument(
        f"the rate card {path} cannot be read: {why}",
        reason="PRICES_INVALID",
        help="Give a UTF-8 CSV file like federation/prices/egress.csv.",
    )
