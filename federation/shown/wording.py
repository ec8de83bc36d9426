"""Values in words for people: one value's fields line by line, amounts of money, times, and a forecast. Pure."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from federation.core import forecast, units
from federation.wire import codec
from federation.wire.plain import PAIRS, plain


def fields(value: Any) -> list[tuple[str, str]]:
    """A value's fields for a person, without empty ones and without those that the name tells already."""
    named = codec.NAMES.get(type(value))
    told = named.fields if named else frozenset()
    given = {name: item for name, item in plain(value).items() if name == "name" or name not in told}
    # A card's texts are long: each has a line of its own.
    given |= {f"card {name}": item for name, item in given.pop("card", {}).items()}
    pairs = [(name, _field(name, item)) for name, item in given.items()]
    return [(plainly(name), text) for name, text in pairs if text]


def plainly(name: str) -> str:
    """The name of a field as people read it: `legal_hold` is `legal hold`."""
    return name.removesuffix("_micros").replace("_", " ")


def _field(name: str, item: Any) -> str:  # noqa: PLR0911 - one return for each kind of value
    if isinstance(item, bool):
        return "yes" if item else ""
    if isinstance(item, int):
        return _number(name, item)
    if isinstance(item, dict) and name in PAIRS:
        return ", ".join(
            f"{key}={inner}" for key, inner in item.items()
        )  # the keys are people's own: nothing is read into them
    if isinstance(item, dict):
        return ", ".join(f"{plainly(key)}={_field(key, inner)}" for key, inner in item.items() if inner not in ("", [], {}, 0))
    if isinstance(item, list):
        return ", ".join(_field(name, inner) if isinstance(inner, dict) else str(inner) for inner in item)
    if isinstance(item, str) and name.endswith("_time"):
        return moment(datetime.fromisoformat(item))
    return str(item)


def _number(name: str, item: int) -> str:
    if name.endswith("_micros"):
        return units.usd(item)
    if name.endswith("bytes") and item >= 1000:
        return f"{units.size(item)} ({item:,} B)"
    return "" if (name == "rows" and item < 0) else f"{item:,}"


def foretold(found: forecast.Forecast) -> list[tuple[str, str]]:
    """What a month will have cost at its end, by which method, and how sure that is."""
    told = [("month", found.month), ("spent by now", units.usd(found.spent_micros))]
    if found.expected_micros is not None:
        told.append(("expected at its end", money(found.expected_micros)))
        told.append(("80 percent between", f"{money(found.low_micros)} and {money(found.high_micros)}"))
    told.append(("method", f"{found.method}, from {found.days} full days, for {found.days_left} days to come"))
    return [*told, ("note", found.note)] if found.note else told


def moment(time: datetime | None) -> str:
    """A time as people read it, UTC to the second."""
    return time.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%SZ") if time else ""


def money(micros: int | None) -> str:
    """Micro-dollars, exactly; an unknown amount says so."""
    return "unknown" if micros is None else units.usd(micros)
