"""What computing and storing costs, and the power it draws: dated rows by region, which fill what a site leaves open.

The same precedence as for egress: the newest row set that tells something of a region wins, and within it a named place beats
`*`, and a named provider any. What no row tells stays None: an unknown price is never a guess.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from fractions import Fraction
from functools import cached_property
from typing import NamedTuple

from federation.core import errors, ids, pricefile, site, units
from federation.core.pricefile import ANY

COLUMNS = ("provider", "region", "item", "type", "usd", "usd_spot", "watts", "carbon_g_per_kwh", "as_of", "source")
#: What one piece of hardware may draw, and a grid emit, at most: beyond it somebody has mistaken the unit.
_WATTS_MAX = 100_000
_CARBON_MAX = 5_000


class Item(StrEnum):
    """What a row tells: the price of a CPU-hour, a GPU-hour, a GB of memory for an hour, a GB stored for a month; or facts."""

    CPU = "cpu"
    GPU = "gpu"
    MEMORY = "memory"
    STORAGE = "storage"
    POWER = "power"
    CARBON = "carbon"


#: The columns that rows of an item fill beside `type`, which only those of GPUs have: first what must be there.
_FILLED: Mapping[Item, tuple[str, ...]] = {
    Item.CPU: ("usd",),
    Item.GPU: ("usd", "usd_spot"),
    Item.MEMORY: ("usd",),
    Item.STORAGE: ("usd",),
    Item.POWER: ("watts",),
    Item.CARBON: ("carbon_g_per_kwh",),
}


@dataclass(frozen=True, kw_only=True)
class OfferRow:
    """One figure, as it was published. `provider` and `place` may be `*`; GB are 10^9 bytes.

    `type` is Ray's accelerator name for the price and the power of a GPU, and empty else: power without a type is a CPU's.
    """

    provider: str
    place: str
    item: Item
    as_of: str
    source: str
    type: str = ""
    micros: int | None = None
    spot_micros: int | None = None
    watts: int | None = None
    carbon_g_per_kwh: int | None = None

    @property
    def subject(self) -> Subject:
        """What the row is about: no other row may be about it."""
        return (self.provider, self.place, self.item, self.type, self.as_of)

    @property
    def told(self) -> int | None:
        """The figure that a row of this item is there for; None where it is missing."""
        match self.item:
            case Item.POWER:
                return self.watts
            case Item.CARBON:
                return self.carbon_g_per_kwh
            case _:
                return self.micros


#: Provider, place, item, type and date.
Subject = tuple[str, str, Item, str, str]


class _Ranked(NamedTuple):
    """How well a row fits a region: compared from the left."""

    as_of: str
    provider_named: bool
    place_named: bool


@dataclass(frozen=True, kw_only=True)
class OfferCard:
    """A set of offer rows. Immutable; look-ups are pure. Two rows about the same are refused (PRICES_INVALID).

    `number` says which import made it, 0 for none.
    """

    rows: tuple[OfferRow, ...]
    number: int = 0

    def __post_init__(self) -> None:
        seen: set[Subject] = set()
        for row in self.rows:
            if row.subject in seen:
                raise _contradiction(row)
            seen.add(row.subject)

    def offer(self, region: str) -> site.Offer:
        """All that is known of a region."""
        found = self._offers.get(region)
        if found is None:
            found = self._offers[region] = self._offer(region)
        return found

    def filled(self, region: str, declared: site.Offer) -> site.Offer:
        """What a site of that region declares, with the card's word on what it leaves open."""
        key = (region, declared)
        found = self._filled.get(key)
        if found is None:
            found = self._filled[key] = _fill(declared, self.offer(region), self._watts(region))
        return found

    def rows_for(self, region: str) -> tuple[OfferRow, ...]:
        """The rows that hold in a region, each the truth about its item and type."""
        return tuple(sorted(self._best(region).values(), key=lambda row: (list(Item).index(row.item), row.type)))

    def _offer(self, region: str) -> site.Offer:
        best = self._best(region)
        cpu, memory, storage, carbon = (best.get((item, "")) for item in (Item.CPU, Item.MEMORY, Item.STORAGE, Item.CARBON))
        power = best.get((Item.POWER, ""))
        gpus = sorted(kind for item, kind in best if item is Item.GPU)
        return site.Offer(
            cpu_hour_micros=cpu.micros if cpu else None,
            cpu_source=_cited(cpu),
            gpus=tuple(_gpu(best[Item.GPU, kind], best.get((Item.POWER, kind))) for kind in gpus),
            storage_gb_month_micros=storage.micros if storage else None,
            storage_source=_cited(storage),
            memory_gb_hour_micros=memory.micros if memory else None,
            memory_source=_cited(memory),
            cpu_watts=power.watts if power else None,
            carbon_g_per_kwh=carbon.carbon_g_per_kwh if carbon else None,
            carbon_source=_cited(carbon),
        )

    def _watts(self, region: str) -> dict[str, int]:
        """GPU type -> watts, also of types that the card does not price."""
        best = self._best(region)
        return {kind: row.watts for (item, kind), row in best.items() if item is Item.POWER and kind and row.watts is not None}

    def _best(self, region: str) -> dict[tuple[Item, str], OfferRow]:
        """(item, type) -> the row that is the truth in a region."""
        provider, _, place = region.partition(":")
        best: dict[tuple[Item, str], tuple[_Ranked, OfferRow]] = {}
        for at in dict.fromkeys(((provider, place), (provider, ANY), (ANY, ANY))):
            for row in self._places.get(at, ()):
                rank = _Ranked(row.as_of, row.provider != ANY, row.place != ANY)
                key = (row.item, row.type)
                if key not in best or rank > best[key][0]:
                    best[key] = (rank, row)
        return {key: row for key, (_, row) in best.items()}

    @cached_property
    def _places(self) -> dict[tuple[str, str], list[OfferRow]]:
        places: dict[tuple[str, str], list[OfferRow]] = {}
        for row in self.rows:
            places.setdefault((row.provider, row.place), []).append(row)
        return places

    # Memos, not state, since the rows never change.
    @cached_property
    def _offers(self) -> dict[str, site.Offer]:
        return {}

    @cached_property
    def _filled(self) -> dict[tuple[str, site.Offer], site.Offer]:
        return {}


def filled(place: site.Site, card: OfferCard) -> site.Site:
    """A site whose offer says all that is known: its own declared prices win, the card fills the gaps by its region."""
    offer = card.filled(place.region, place.offer)
    return place if offer == place.offer else dataclasses.replace(place, offer=offer)


def _fill(own: site.Offer, card: site.Offer, watts: Mapping[str, int]) -> site.Offer:
    """A price and its source go together, so that no figure stands under another's name."""
    changes: dict[str, object] = {}
    for price, source in (
        ("cpu_hour_micros", "cpu_source"),
        ("storage_gb_month_micros", "storage_source"),
        ("memory_gb_hour_micros", "memory_source"),
        ("carbon_g_per_kwh", "carbon_source"),
    ):
        if getattr(own, price) is None:
            changes |= {price: getattr(card, price), source: getattr(card, source)}
    if own.cpu_hour_micros is not None and own.memory_gb_hour_micros is None:
        # Whoever declares what a CPU costs and nothing for memory sells both as one.
        changes |= {"memory_gb_hour_micros": None, "memory_source": ""}
    if own.cpu_watts is None:
        changes["cpu_watts"] = card.cpu_watts
    declared = {gpu.type for gpu in own.gpus}
    # What a GPU draws is the same wherever it stands; whether there is a spot market only the site can say.
    known = [dataclasses.replace(gpu, watts=watts.get(gpu.type)) if gpu.watts is None else gpu for gpu in own.gpus]
    changes["gpus"] = (*known, *(gpu for gpu in card.gpus if gpu.type not in declared))
    return dataclasses.replace(own, **changes)  # type: ignore[arg-type]


def _gpu(price: OfferRow, power: OfferRow | None) -> site.GpuOffer:
    assert price.micros is not None  # a row of this item has one
    return site.GpuOffer(
        type=price.type,
        gpu_hour_micros=price.micros,
        source=_cited(price),
        spot_gpu_hour_micros=price.spot_micros,
        watts=power.watts if power else None,
    )


def _cited(row: OfferRow | None) -> str:
    """A row's source with its date."""
    if row is None:
        return ""
    return f"{row.source} ({row.as_of})" if row.as_of and row.as_of not in row.source else row.source


def _contradiction(row: OfferRow) -> errors.InvalidArgument:
    what = f"{row.item} {row.type}".strip()
    return errors.InvalidArgument(
        f"two rows tell of {what} in {row.provider}:{row.place} as of {row.as_of or 'no date'}",
        reason="PRICES_INVALID",
        help="Keep one of them, or give them different dates: the newer wins.",
    )


def merged(kept: Iterable[OfferRow], imported: Iterable[OfferRow]) -> tuple[OfferRow, ...]:
    """The rows of a card after an import: those about the same are replaced, all others stay."""
    new = tuple(imported)
    subjects = {row.subject for row in new}
    return (*(row for row in kept if row.subject not in subjects), *new)


def text(rows: Iterable[OfferRow]) -> str:
    """Rows as the CSV that `parse` reads back to the same rows."""
    lines = io.StringIO(newline="")
    writer = csv.writer(lines, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_fields(row) for row in rows)
    return lines.getvalue()


def _fields(row: OfferRow) -> tuple[str, ...]:
    dollars = (
        "" if each is None else pricefile.decimal(Fraction(each, units.MICROS)) for each in (row.micros, row.spot_micros)
    )
    facts = ("" if each is None else str(each) for each in (row.watts, row.carbon_g_per_kwh))
    return (row.provider, row.place, str(row.item), row.type, *dollars, *facts, row.as_of, row.source)


def parse(text: str) -> OfferCard:
    """An offer card from CSV text with the columns `COLUMNS`; InvalidArgument (PRICES_INVALID) names the line that is wrong."""
    lines: dict[Subject, int] = {}
    rows = []
    for line, fields in pricefile.lines(text, COLUMNS):
        row = _row(line, fields)
        first = lines.setdefault(row.subject, line)
        if first != line:
            raise pricefile.wrong(line, f"it tells of the same as line {first}", "Give it a newer as_of: the newest wins.")
        rows.append(row)
    return OfferCard(rows=tuple(rows))


def _row(line: int, fields: dict[str, str]) -> OfferRow:
    if fields["item"] not in list(Item):
        raise pricefile.wrong(line, f"item {fields['item']!r} is not one of {', '.join(Item)}")
    item = Item(fields["item"])
    _require_filled(line, item, fields)
    return OfferRow(
        provider=_provider(line, fields),
        place=pricefile.place(line, fields, "region"),
        item=item,
        type=fields["type"],
        micros=pricefile.optional_micros(line, fields, "usd"),
        spot_micros=pricefile.optional_micros(line, fields, "usd_spot"),
        watts=_whole(line, fields, "watts", _WATTS_MAX),
        carbon_g_per_kwh=_whole(line, fields, "carbon_g_per_kwh", _CARBON_MAX),
        as_of=pricefile.date(line, fields),
        source=pricefile.stated(line, fields, "source"),
    )


def _require_filled(line: int, item: Item, fields: dict[str, str]) -> None:
    """A figure in a column that nobody reads would be lost in silence."""
    known = _FILLED[item]
    if not fields[known[0]]:
        raise pricefile.wrong(line, f"{known[0]} is empty", f"A row of {item} tells it; leave out what is not known.")
    if item is Item.GPU and not fields["type"]:
        raise pricefile.wrong(line, "type is empty", "Write Ray's accelerator name, for example H100 or A100-80G.")
    typed = item in (Item.GPU, Item.POWER)
    figures = ("usd", "usd_spot", "watts", "carbon_g_per_kwh")
    strange = [name for name in figures if fields[name] and name not in known]
    if fields["type"] and not typed:
        strange.append("type")
    if strange:
        raise pricefile.wrong(line, f"{strange[0]} means nothing in a row of {item}", "Write it into a row of its own item.")


def _provider(line: int, fields: dict[str, str]) -> str:
    text = fields["provider"]
    if text == ANY and fields["region"] == ANY:
        return text
    if not ids.REGION.fullmatch(f"{text}:x"):
        raise pricefile.wrong(
            line, f"provider {text!r} is not a provider", "Write it as in a region: aws, gcp, vultr; or `*,*`."
        )
    return text


def _whole(line: int, fields: dict[str, str], name: str, most: int) -> int | None:
    if not fields[name]:
        return None
    value = pricefile.number(line, fields, name)
    if value < 0 or value != int(value) or value > most:
        raise pricefile.wrong(line, f"{name} {fields[name]} is not a whole number from 0 to {most:,}")
    return int(value)


#: The card that knows nothing: what a site does not declare stays unknown.
NO_OFFERS = OfferCard(rows=())
